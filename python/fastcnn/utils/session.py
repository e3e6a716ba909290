"""A fresh start within a process."""

from __future__ import annotations


def clear_session(free_memory: bool = True) -> None:
    """Starts the numbering of names again: the next Dense layer is called "dense".

    Nothing else is kept globally that models would share.

    Args:
        free_memory: whether Python's garbage is collected now, models in cycles with their callbacks for example.

    Example:
        >>> from fastcnn import layers
        >>> clear_session()
        >>> layers.Dense(1).name, layers.Dense(1).name
        ('dense', 'dense_1')

    See https://keras.io/api/utils/config_utils/#clearsession-function
    """
    from fastcnn._naming import reset_names

    reset_names()
    if free_memory:
        import gc

        gc.collect()


def get_uid(prefix: str = "") -> int:
    """The next number of names that begin with `prefix`, from 1.

    >>> clear_session()
    >>> get_uid("dense"), get_uid("dense")
    (1, 2)
    """
    from fastcnn import _naming

    with _naming._lock:
        _naming._counts[prefix] += 1
        return _naming._counts[prefix]
