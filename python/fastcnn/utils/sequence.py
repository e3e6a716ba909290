"""Sequences of several lengths as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastcnn import _messages


def pad_sequences(
    sequences: Sequence[Any],
    maxlen: int | None = None,
    dtype: DTypeLike = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> NDArray[Any]:
    """Makes sequences equally long.

    Args:
        sequences: lists of numbers, or of arrays of one shape.
        maxlen: the length; that of the longest sequence by default.
        dtype: of the result; `object` for strings of any length.
        padding: "pre" or "post": where short ones are filled up.
        truncating: "pre" or "post": where long ones are cut.
        value: what they are filled with.

    Returns:
        (n, maxlen, ...) array.

    Raises:
        ValueError: not sequences, entries of several shapes, or an unknown word.

    Example:
        >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
        array([[0, 1],
               [2, 3],
               [5, 6]], dtype=int32)

    See https://keras.io/api/data_loading/timeseries/#padsequences-function
    """
    if not hasattr(sequences, "__len__"):
        _messages.fail("pad_sequences", "sequences", "a list of sequences", sequences)
    for argument, word in (("padding", padding), ("truncating", truncating)):
        if word not in ("pre", "post"):
            _messages.fail("pad_sequences", argument, "'pre' or 'post'", word)
    for sequence in sequences:
        if not hasattr(sequence, "__len__"):
            _messages.fail("pad_sequences", "sequences", "a list of sequences", sequence)
    text = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_)
    if isinstance(value, str) and np.dtype(dtype) != object and not text:
        _messages.fail("pad_sequences", "dtype", "object or a dtype of strings where value is a string", dtype)
    length = max(map(len, sequences)) if maxlen is None else _messages.integer("pad_sequences", "maxlen", maxlen)
    shape = next((np.asarray(sequence).shape[1:] for sequence in sequences if len(sequence)), ())
    result = np.full((len(sequences), length, *shape), value, dtype=dtype)
    for row, sequence in zip(result, sequences):
        if not len(sequence):
            continue
        kept = np.asarray(sequence[-length:] if truncating == "pre" else sequence[:length], dtype=dtype)
        if kept.shape[1:] != shape:
            received = _messages.Text(f"shapes {shape} and {kept.shape[1:]}")
            _messages.fail("pad_sequences", "sequences", "entries of one shape", received)
        if padding == "post":
            row[: len(kept)] = kept
        else:
            row[-len(kept) :] = kept
    return result
