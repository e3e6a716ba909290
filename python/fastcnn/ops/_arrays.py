"""What the functions of fastcnn.ops share: conversion of arrays, checks of arguments."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _core, _messages, config

Floats: TypeAlias = NDArray[np.float32]
IntOrPair: TypeAlias = int | Sequence[int]
Padding: TypeAlias = Literal["valid", "same"]

P = ParamSpec("P")
Result = TypeVar("Result")

_FLOAT32 = np.dtype(np.float32)
IMAGES = "(batch, height, width, channels)"


def keeps_bfloat16(
    native: Callable[[dict[str, Any]], Any] | None = None,
) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Where the first array is bfloat16 (the `ml_dtypes` type), so are the results.

    Args:
        native: the operation on bfloat16 arrays, by its arguments; None from it, or no such function: the arithmetic is
            that of float32, and its results are rounded.
    """

    def decorated(function: Callable[P, Result]) -> Callable[P, Result]:
        def computed(*args: Any, **kwargs: Any) -> Any:
            if native is not None:
                arguments = _bound(function, args, kwargs)
                if arguments is not None and (result := native(arguments)) is not None:
                    return result
            return function(*args, **kwargs)

        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> Result:
            first: Any = args[0] if args else next(iter(kwargs.values()), None)
            dtype = getattr(first, "dtype", None)
            # ml_dtypes' types are of NumPy's kind "V". (`name` is a function of some microseconds.)
            if getattr(dtype, "kind", "") != "V" or getattr(dtype, "name", "") != "bfloat16":
                return function(*args, **kwargs)
            out: Any = kwargs.pop("out", None)
            result: Any = computed(*args, **kwargs)
            arrays = result if isinstance(result, tuple) else (result,)
            arrays = tuple(_rounded(array, dtype) for array in arrays)
            if out is not None:
                if not isinstance(out, np.ndarray) or out.dtype != dtype or out.shape != arrays[0].shape:
                    _messages.fail(function.__name__, "out", f"a bfloat16 array of shape {arrays[0].shape}", out)
                out[...] = arrays[0]
                arrays = (out, *arrays[1:])
            return cast(Result, arrays if isinstance(result, tuple) else arrays[0])

        return wrapped

    return decorated


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any], frozenset[str]]:
    """Names of those that may be positional, defaults, and all names."""
    import inspect

    parameters = inspect.signature(function).parameters.values()
    names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return names, defaults, frozenset(p.name for p in parameters)


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments by name, defaults included; None where the call is wrong. (Signature.bind takes 10 us.)"""
    names, defaults, known = _parameters(function)
    arguments = {**defaults, **dict(zip(names, args)), **kwargs}
    given_twice = not kwargs.keys().isdisjoint(names[: len(args)])
    return None if len(args) > len(names) or arguments.keys() != known or given_twice else arguments


def floats(operation: str, argument: str, value: ArrayLike, rank: int | None = None, axes: str = "") -> Floats:
    """`value` as a C-contiguous, aligned float32 array: itself where it already is one, else a converted copy.

    `axes` names the axes of an array of rank `rank`, for the message.
    """
    array = _array(operation, argument, value)
    if array.dtype is not _FLOAT32 and array.dtype.kind not in "buif" and array.dtype.name != "bfloat16":
        _messages.fail(operation, argument, "an array of numbers", f"dtype {array.dtype}")
    if rank is not None and array.ndim != rank:
        raise ValueError(f"{operation}: {argument}: expected an array of shape {axes}, received shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{operation}: {argument}: expected at least one element, received shape {array.shape}")
    if array.dtype is _FLOAT32 and array.flags.c_contiguous and array.flags.aligned:
        return array
    if array.dtype.kind == "V":  # bfloat16: others have been refused
        return _core.read_samples(np.asarray(array, order="C"))
    return np.require(array, dtype=np.float32, requirements=["C", "A"])


def _rounded(array: NDArray[Any], dtype: Any) -> NDArray[Any]:
    """`array` with elements of the bfloat16 type `dtype`."""
    if array.dtype is not _FLOAT32:
        return array.astype(dtype, copy=False)
    return _core.round_bfloat16(np.asarray(array, order="C")).view(dtype)


def _array(operation: str, argument: str, value: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError:  # rows of different lengths
        _messages.fail(operation, argument, "an array of numbers", value)


def same_shape(operation: str, argument: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuses an array that has not this shape."""
    if array.shape != shape:
        raise ValueError(f"{operation}: {argument}: expected shape {shape}, received shape {array.shape}")


def pair(operation: str, argument: str, value: IntOrPair) -> tuple[int, int]:
    """A positive integer or two of them, as (height, width)."""
    return _messages.pair(operation, argument, value)


def padding_name(operation: str, value: str) -> Padding:
    """'valid' or 'same', in any case."""
    return cast(Padding, _messages.choice(operation, "padding", value, ("valid", "same")))


def channels_last(operation: str, data_format: str | None) -> None:
    """Refuses any other data format."""
    chosen = config.image_data_format() if data_format is None else data_format
    if chosen != "channels_last":
        _messages.fail(operation, "data_format", "'channels_last'", chosen)


def axis_index(operation: str, axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not _messages.is_integer(axis) or not -rank <= axis < rank:
        _messages.fail(operation, "axis", f"an integer from {-rank} to {rank - 1}", axis)
    return int(axis) % rank


def shape_of_images(operation: str, argument: str, value: Sequence[int]) -> tuple[int, int, int, int]:
    """Four positive integers: (batch, height, width, channels)."""
    entries = tuple(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else ()
    if len(entries) != 4 or not all(_messages.is_integer(v) and v > 0 for v in entries):
        _messages.fail(operation, argument, f"four positive integers {IMAGES}", value)
    batch, height, width, channels = (int(v) for v in entries)
    return batch, height, width, channels


def last_axis_rows(array: Floats, axis: int) -> Floats:
    """The array with `axis` moved to the end, as C-contiguous rows (n, size of the axis)."""
    moved = np.moveaxis(array, axis, -1)
    return np.ascontiguousarray(moved).reshape(-1, moved.shape[-1])


def from_last_axis_rows(rows: Floats, shape: tuple[int, ...], axis: int) -> Floats:
    """The inverse of last_axis_rows for an array of shape `shape`."""
    moved = (*shape[:axis], *shape[axis + 1 :], shape[axis])
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), -1, axis))
