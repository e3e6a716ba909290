"""Convolution of bfloat16 arrays where AMX tiles are in use.

Each function returns None for what tiles do not compute, and for bad input: the float32 path, which then follows, computes or
refuses it.
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
    """Whether tiles slide a kernel of this shape over images of x's shape."""
    if not _core.amx_active() or strides is None or dilation is None or not _messages.is_integer(groups) or groups < 1:
        return False
    if len(x) != 4 or len(kernel) != 4 or 0 in (*x, *kernel) or padding not in ("valid", "same"):
        return False
    if kernel[2] * groups != x[3] or kernel[3] % groups or not _core.amx_fills(x[3], kernel[3], groups):
        return False
    extents = [(size - 1) * step + 1 for size, step in zip(kernel, dilation)]
    return padding == "same" or bool(extents[0] <= x[1] and extents[1] <= x[2])


def _words(array: Any) -> NDArray[np.uint16] | None:
    if not isinstance(array, np.ndarray) or array.dtype.name != "bfloat16":
        return None
    return np.ascontiguousarray(array).view(np.uint16)


def _weights(array: Any, rank: int) -> NDArray[np.float32] | None:
    array = np.asarray(array)
    if array.ndim != rank or (array.dtype.kind not in "buif" and array.dtype.name != "bfloat16"):
        return None
    return np.ascontiguousarray(array, np.float32)


def conv2d(arguments: dict[str, Any]) -> Array | None:
    """`ops.conv2d`."""
    words, kernel, dilation = (
        _words(arguments["x"]),
        _weights(arguments["kernel"], 4),
        _pair(arguments["dilation_rate"]),
    )
    activation, bias, padding = arguments["activation"], arguments["bias"], _lower(arguments["padding"])
    strides = _pair(arguments["strides"])
    if words is None or kernel is None or dilation is None or strides is None:
        return None
    if activation not in (None, "linear", "relu"):
        return None
    if not _fits(words.shape, kernel.shape, padding, dilation, strides, arguments["groups"]):
        return None
    if bias is not None and ((bias := _weights(bias, 1)) is None or len(bias) != kernel.shape[3]):
        return None
    y = _core.amx_conv2d(words, kernel, bias, strides, padding, dilation, arguments["groups"], activation == "relu")
    result: Array = y.view(arguments["x"].dtype)
    return result


def conv2d_grad_input(arguments: dict[str, Any]) -> Array | None:
    """`ops.conv2d_grad_input`."""
    words, kernel, dilation = (
        _words(arguments["dy"]),
        _weights(arguments["kernel"], 4),
        _pair(arguments["dilation_rate"]),
    )
    shape, padding, strides = arguments["input_shape"], _lower(arguments["padding"]), _pair(arguments["strides"])
    if words is None or kernel is None or dilation is None or strides is None or not isinstance(shape, list | tuple):
        return None
    if not all(_messages.is_integer(size) and size > 0 for size in shape):
        return None
    if not _fits(tuple(shape), kernel.shape, padding, dilation, strides, arguments["groups"]):
        return None
    if words.shape != (shape[0], *_outputs(shape, kernel.shape, padding, dilation, strides), kernel.shape[3]):
        return None
    dx = _core.amx_conv2d_grad_input(
        words, kernel, (shape[1], shape[2]), strides, padding, dilation, arguments["groups"]
    )
    result: Array = dx.view(arguments["dy"].dtype)
    return result


def conv2d_grad_kernel(arguments: dict[str, Any]) -> tuple[Array, Array] | None:
    """`ops.conv2d_grad_kernel`."""
    words, dy, dilation = _words(arguments["x"]), _words(arguments["dy"]), _pair(arguments["dilation_rate"])
    size, padding, strides = _pair(arguments["kernel_size"]), _lower(arguments["padding"]), _pair(arguments["strides"])
    if words is None or dy is None or dilation is None or strides is None or size is None:
        return None
    if words.ndim != 4 or dy.ndim != 4:
        return None
    groups = arguments["groups"]
    if not _messages.is_integer(groups) or groups < 1:
        return None
    kernel = (*size, words.shape[3] // groups, dy.shape[3])
    if not _fits(words.shape, kernel, padding, dilation, strides, groups):
        return None
    if dy.shape[:3] != (words.shape[0], *_outputs(words.shape, kernel, padding, dilation, strides)):
        return None
    dkernel, dbias = _core.amx_conv2d_grad_kernel(words, dy, size, strides, padding, dilation, groups)
    dtype = arguments["x"].dtype
    return dkernel.T.reshape(kernel).astype(dtype, order="C"), dbias.astype(dtype)


def _outputs(
    x: Any, kernel: tuple[int, ...], padding: str, dilation: tuple[int, int], strides: tuple[int, int]
) -> tuple[int, int]:
    reach = [0 if padding == "same" else (size - 1) * step for size, step in zip(kernel, dilation)]
    height, width = ((x[i + 1] - reach[i] - 1) // strides[i] + 1 for i in (0, 1))
    return height, width
