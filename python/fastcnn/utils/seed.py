"""The two global random streams: 64-bit seeds for layers and initializers, and a NumPy generator for shuffling.

Both follow from the seed of `set_random_seed`; until that is called they are seeded from the operating system. They are
separate streams, so that drawing a seed more (another layer) does not change the order in which samples are shuffled.
"""

from __future__ import annotations

import contextlib
import operator
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# Keys of the streams: the same user's seed must not give them the same bits.
_SEEDS, _SHUFFLE = 0, 1


def _streams(seed: int | None) -> tuple[np.random.Philox, np.random.Generator]:
    entropy = np.random.SeedSequence().entropy if seed is None else seed
    assert isinstance(entropy, int)
    seeds = np.random.Philox(np.random.SeedSequence([entropy, _SEEDS]))
    shuffle = np.random.Generator(np.random.Philox(np.random.SeedSequence([entropy, _SHUFFLE])))
    return seeds, shuffle


# Made at the first use: numpy.random takes longer to import than the rest of fastcnn's Python.
_current: tuple[np.random.Philox, np.random.Generator] | None = None
_own = threading.local()  # a thread's streams inside `local_seed`


def _streams_in_use() -> tuple[np.random.Philox, np.random.Generator]:
    global _current
    own: tuple[np.random.Philox, np.random.Generator] | None = getattr(_own, "streams", None)
    if own is not None:
        return own
    if _current is None:
        _current = _streams(None)
    return _current


def set_random_seed(seed: int) -> None:
    """Seeds every source of random numbers: Python's `random`, NumPy's legacy state and fastcnn's own streams.

    A program that calls it first gives the same weights, order of samples, dropout and results again.

    Args:
        seed: an integer in [0, 2**32).

    Raises:
        ValueError: `seed` is not such an integer; nothing is seeded.

    Example:
        >>> from fastcnn import initializers, utils
        >>> utils.set_random_seed(7)
        >>> first = initializers.GlorotUniform()((2, 2))
        >>> utils.set_random_seed(7)
        >>> bool((initializers.GlorotUniform()((2, 2)) == first).all())
        True

    See https://keras.io/api/utils/python_utils/#setrandomseed-function
    """
    import random as python_random

    global _current
    try:
        value = operator.index(seed)
    except TypeError:
        value = -1
    if not 0 <= value < 2**32:  # the range of NumPy's legacy generator
        raise ValueError(f"set_random_seed: seed: expected an integer in [0, 2**32), received {seed!r}")
    python_random.seed(value)
    np.random.seed(value)  # noqa: NPY002 (users draw from it)
    _current = _streams(value)


@contextlib.contextmanager
def local_seed(seed: int) -> Iterator[None]:
    """Inside, this thread draws from streams of that seed; the global ones and other threads' stay as they are.

    >>> def drawn():
    ...     with local_seed(3):
    ...         return next_seed()
    >>> drawn() == drawn()
    True
    """
    before = getattr(_own, "streams", None)
    _own.streams = _streams(seed)
    try:
        yield
    finally:
        _own.streams = before


def get_shuffle_state() -> dict[str, Any]:
    """The state of the generator for shuffling, as numbers and arrays of numbers."""
    state = numpy_generator().bit_generator.state
    return {**{k: v for k, v in state.items() if k not in ("bit_generator", "state")}, **state["state"]}


def set_shuffle_state(values: Mapping[str, Any]) -> None:
    """Goes on from what `get_shuffle_state` returned.

    >>> state = get_shuffle_state()
    >>> first = numpy_generator().permutation(5)
    >>> set_shuffle_state(state)
    >>> bool((numpy_generator().permutation(5) == first).all())
    True
    """
    inner = {name: np.asarray(values[name], np.uint64) for name in ("counter", "key")}
    numbers = {name: int(values[name]) for name in ("buffer_pos", "has_uint32", "uinteger")}
    buffer = np.asarray(values["buffer"], np.uint64)
    numpy_generator().bit_generator.state = {"bit_generator": "Philox", "state": inner, "buffer": buffer, **numbers}


def next_seed() -> int:
    """Returns the next 64-bit seed of the global stream.

    >>> set_random_seed(1)
    >>> a, b = next_seed(), next_seed()
    >>> set_random_seed(1)
    >>> (a, b) == (next_seed(), next_seed()), a != b
    (True, True)
    """
    return int(_streams_in_use()[0].random_raw())


def numpy_generator() -> np.random.Generator:
    """Returns the global generator for shuffling. Ask for it at each use: `set_random_seed` replaces it.

    >>> set_random_seed(1)
    >>> order = numpy_generator().permutation(5)
    >>> set_random_seed(1)
    >>> bool((numpy_generator().permutation(5) == order).all())
    True
    """
    return _streams_in_use()[1]
