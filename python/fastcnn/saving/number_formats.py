"""The number formats in which a file of fastcnn's own holds arrays, and how they come back as float32."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages

DTYPES = ("float32", "float16", "bfloat16")  # of weights
BFLOAT16 = "BF16"
# As safetensors calls them; a bfloat16 number, which NumPy does not have, is read as 16 bits.
_STORED: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I64": np.dtype("<i8"),
    "F16": np.dtype("<f2"),
    BFLOAT16: np.dtype("<u2"),
}


def rounded(operation: str, name: str, array: NDArray[Any], dtype: str) -> NDArray[Any]:
    """float32 numbers rounded to the nearest of "float16" or "bfloat16", to the even one of two; a float16 array.

    Its 16 bits are those of bfloat16 numbers where these are asked for.

    >>> rounded("save_model", "bias", np.float32([1.00390625, -3.0]), "bfloat16").view(np.uint16)
    array([16256, 49216], dtype=uint16)

    Raises:
        ValueError: finite numbers that float16 does not reach (above 65504).
    """
    if dtype == "float16":
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.any(np.isinf(half) & np.isfinite(array)):
            largest = float(np.max(np.abs(array[np.isfinite(array)])))
            expected = "weights within float16's range of -65504 to 65504 (bfloat16 has float32's range)"
            _messages.fail(operation, "dtype", expected, _messages.Text(f"{name} with {largest}"))
        return half
    bits = np.ascontiguousarray(array).view(np.uint32)
    nearest = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    # Rounding could carry a NaN's digits into its sign: it keeps the upper ones, and one that makes it a quiet NaN.
    nan = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(array), nan, nearest).astype(np.uint16).view(np.float16)


def restored(name: str, data: bytes | bytearray, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """The array that a file holds under safetensors' type `name`, float16 and bfloat16 as float32; None where the type is
    another or the bytes do not fill the shape.

    >>> restored("BF16", bytes([0x80, 0x3F, 0x40, 0xC0]), (2,))
    array([ 1., -3.], dtype=float32)
    """
    dtype = _STORED.get(name)
    if dtype is None or math.prod(shape) * dtype.itemsize != len(data):
        return None
    array: NDArray[Any] = np.frombuffer(data, dtype).reshape(shape)
    if name == "F16":
        return array.astype(np.float32)
    if name == BFLOAT16:
        return (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return array
