"""Convolution of bfloat16 arrays: with AMX tiles where they are in use, else natively in what is fastest here.

Each function returns None for other arrays, for what is not computed natively, and for bad input: the float32 path, which then
follows, computes or refuses it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages

Array = NDArray[Any]


def _pair(value: Any) -> tuple[int, int] | None:
    pair = value if isinstance(value, list | tuple) and len(value) == 2 else (value, value)
    if not all(_messages.is_integer(v) and v > 0 for v in pair):
        return None
    return int(pair[0]), int(pair[1])


def _lower(name: Any) -> str:
    return name.lower() if isinstance(name, str) else ""


def _fits(
    x: Any,
    kernel: tuple[int, ...],
    padding: Any,
    dilation: tuple[int, int] | None,
    strides: tuple[int, int] | None,
    groups: Any,
) -> bool:
    """Whether a kernel of this shape slides over images of x's shape."""
    if strides is None or dilation is None or not _messages.is_integer(groups) or groups < 1:
        return False
    if len(x) != 4 or len(kernel) != 4 or 0 in (*x, *kernel) or padding not in ("valid", "same"):
        return False
    if kernel[2] * groups != x[3] or kernel[3] % groups:
        return False
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilation)]
    return padding == "same" or bool(extents[0] <= x[1] and extents[1] <= x[2])


def _shape(array: Any) -> tuple[int, ...]:
    try:
        return np.shape(array)
    except ValueError:  # rows of different lengths
        return ()


def _on_tiles(channels: int, filters: int, groups: int) -> bool:
    return _core.amx_active() and _core.amx_fills(channels, filters, groups)


def _words(array: Any) -> NDArray[np.uint16] | None:
    if not isinstance(array, np.ndarray) or array.dtype.name != "bfloat16":
        return None
    return np.ascontiguousarray(array).view(np.uint16)


def _weights(array: Any, rank: int) -> NDArray[np.float32] | None:
    array = np.asarray(array)
    if array.ndim != rank or (array.dtype.kind not in "buif" and array.dtype.name != "bfloat16"):
        return None
    return np.ascontiguousarray(array, np.float32)


def _rounded(kernel: Any) -> NDArray[np.uint16] | None:
    if (words := _words(kernel)) is not None:
        return words
    weights = _weights(kernel, 4)
    return None if weights is None else _core.round_bfloat16(weights)


def conv2d(arguments: dict[str, Any]) -> Array | None:
    """`ops.conv2d`."""
    if (words := _words(arguments["x"])) is None:
        return None
    strides, dilation, padding = _sliding(arguments)
    kernel, bias, groups, activation = (arguments[name] for name in ("kernel", "bias", "groups", "activation"))
    if activation not in (None, "linear", "relu"):
        return None
    if not _fits(words.shape, _shape(kernel), padding, dilation, strides, groups):
        return None
    filters = _shape(kernel)[3]
    if bias is not None and ((bias := _weights(bias, 1)) is None or len(bias) != filters):
        return None
    rest = (bias, strides, padding, dilation, groups, activation == "relu")
    if _on_tiles(words.shape[3], filters, groups):
        weights = _rounded(kernel)
        y = None if weights is None else _core.amx_conv2d(words, weights, *rest)
    else:
        weight_words = _words(kernel)
        y = None if weight_words is None else _core.bfloat16_conv2d(words, weight_words, *rest)
    return None if y is None else y.view(arguments["x"].dtype)


def conv2d_grad_input(arguments: dict[str, Any]) -> Array | None:
    """`ops.conv2d_grad_input`."""
    if (words := _words(arguments["dy"])) is None:
        return None
    strides, dilation, padding = _sliding(arguments)
    kernel, shape, groups = (arguments[name] for name in ("kernel", "input_shape", "groups"))
    if not isinstance(shape, list | tuple) or not all(_messages.is_integer(size) and size > 0 for size in shape):
        return None
    if not _fits(tuple(shape), _shape(kernel), padding, dilation, strides, groups):
        return None
    sizes = _shape(kernel)
    if words.shape != (shape[0], *_outputs(shape, sizes, padding, dilation, strides), sizes[3]):
        return None
    rest = ((shape[1], shape[2]), strides, padding, dilation, groups)
    if _on_tiles(shape[3], sizes[3], groups):
        weights = _rounded(kernel)
        dx = None if weights is None else _core.amx_conv2d_grad_input(words, weights, *rest)
    else:
        weight_words = _words(kernel)
        dx = None if weight_words is None else _core.bfloat16_conv2d_grad_input(words, weight_words, *rest)
    return None if dx is None else dx.view(arguments["dy"].dtype)


def conv2d_grad_kernel(arguments: dict[str, Any]) -> tuple[Array, Array] | None:
    """`ops.conv2d_grad_kernel`."""
    words, dy, size, groups = (
        _words(arguments["x"]),
        _words(arguments["dy"]),
        _pair(arguments["kernel_size"]),
        arguments["groups"],
    )
    strides, dilation, padding = _sliding(arguments)
    if words is None or dy is None or size is None or words.ndim != 4 or dy.ndim != 4:
        return None
    if not _messages.is_integer(groups) or groups < 1:
        return None
    kernel = (*size, words.shape[3] // groups, dy.shape[3])
    if not _fits(words.shape, kernel, padding, dilation, strides, groups):
        return None
    if dy.shape[:3] != (words.shape[0], *_outputs(words.shape, kernel, padding, dilation, strides)):
        return None
    dtype, rest = arguments["x"].dtype, (words, dy, size, strides, padding, dilation, groups)
    on_tiles = _on_tiles(words.shape[3], dy.shape[3], groups)
    dkernel, dbias = (_core.amx_conv2d_grad_kernel if on_tiles else _core.bfloat16_conv2d_grad_kernel)(*rest)
    return dkernel.view(dtype), dbias.view(dtype)


def _sliding(arguments: dict[str, Any]) -> tuple[Any, Any, str]:
    return _pair(arguments["strides"]), _pair(arguments["dilation_rate"]), _lower(arguments["padding"])


def _outputs(
    x: Any, kernel: tuple[int, ...], padding: str, dilation: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int]:
    reach = [0 if padding == "same" else (size - 1) * step for size, step in zip(kernel, dilation)]
    height, width = ((x[i + 1] - reach[i] - 1) // strides[i] + 1 for i in (0, 1))
    return height, width
