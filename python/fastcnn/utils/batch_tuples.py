"""Batches as tuples (x,), (x, y) or (x, y, sample_weight)."""

from __future__ import annotations

from typing import Any

from fastcnn import _messages


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of what a data set yields; None for what is not there.

    >>> unpack_x_y_sample_weight(("x", "y"))
    ('x', 'y', None)

    Raises:
        ValueError: a tuple of another length.

    See https://keras.io/api/utils/ (unpack_x_y_sample_weight)
    """
    if not isinstance(data, (tuple, list)):
        return data, None, None
    if not 1 <= len(data) <= 3:
        expected = "x, (x,), (x, y) or (x, y, sample_weight)"
        _messages.fail("unpack_x_y_sample_weight", "data", expected, _messages.Text(f"{len(data)} parts"))
    x, y, weight = (*data, None, None)[:3]
    return x, y, weight


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """The shortest form in which a data set yields them; `x` alone is not wrapped unless it is a tuple or list.

    >>> pack_x_y_sample_weight("x"), pack_x_y_sample_weight("x", "y")
    ('x', ('x', 'y'))

    See https://keras.io/api/utils/ (pack_x_y_sample_weight)
    """
    if y is None:
        return (x,) if isinstance(x, (tuple, list)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)
