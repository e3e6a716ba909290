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


def get_state() -> dict[str, dict[str, Any]]:
    """The state of both streams, as integers and lists of them."""
    drawn, shuffle = _streams_in_use()
    found = {}
    for stream, generator in (("seeds", drawn), ("shuffle", shuffle.bit_generator)):
        state: Any = generator.state
        numbers = {name: int(state[name]) for name in _BOUNDS}
        words = {"counter": state["state"]["counter"], "key": state["state"]["key"], "buffer": state["buffer"]}
        found[stream] = {**numbers, **{name: [int(word) for word in words[name]] for name in words}}
    return found


# Where Philox's state ends, for what comes out of a file: a position outside of the buffer would be read.
_BOUNDS = {"buffer_pos": 4, "has_uint32": 1, "uinteger": 2**32 - 1}
_WORDS = {"counter": 4, "key": 2, "buffer": 4}


def check_state(state: Mapping[str, Any]) -> None:
    """Raises ValueError (or TypeError, KeyError) where `state` is not what `get_state` returns."""
    for stream in ("seeds", "shuffle"):
        values = state[stream]
        fits = all(type(values[name]) is int and 0 <= values[name] <= most for name, most in _BOUNDS.items())
        for name, count in _WORDS.items():
            words = list(values[name])
            fits = fits and len(words) == count and all(type(w) is int and 0 <= w < 2**64 for w in words)
        if not fits:
            raise ValueError(f"seed: state: expected that of the stream {stream!r}")


def set_state(state: Mapping[str, Any]) -> None:
    """Goes on from what `get_state` returned.

    >>> state = get_state()
    >>> first = numpy_generator().permutation(5), next_seed()
    >>> set_state(state)
    >>> bool((numpy_generator().permutation(5) == first[0]).all()), next_seed() == first[1]
    (True, True)
    """
    check_state(state)
    drawn, shuffle = _streams_in_use()
    for stream, generator in (("seeds", drawn), ("shuffle", shuffle.bit_generator)):
        values = state[stream]
        inner = {name: np.array(values[name], np.uint64) for name in ("counter", "key")}
        numbers = {name: values[name] for name in _BOUNDS}
        buffer = np.array(values["buffer"], np.uint64)
        generator.state = {"bit_generator": "Philox", "state": inner, "buffer": buffer, **numbers}


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
