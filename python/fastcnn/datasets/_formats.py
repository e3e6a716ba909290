"""Reading the two file formats of the data sets: gzipped idx and npz. Neither can run code (no pickle)."""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = tuple[tuple[NDArray[np.uint8], NDArray[np.uint8]], tuple[NDArray[np.uint8], NDArray[np.uint8]]]

# A damaged or hostile header may announce anything: nothing is allocated beyond this many elements.
_MAX_ELEMENTS = 1 << 30
_IDX_UINT8 = 0x08


def read_idx(path: Path, rank: int) -> NDArray[np.uint8]:
    """Reads one gzipped idx file of unsigned bytes.

    The format: two zero bytes, the element type (8: unsigned byte), the rank, one big-endian 32-bit size an axis, then
    the elements (http://yann.lecun.com/exdb/mnist/).

    Args:
        path: The file.
        rank: Number of axes it must have: 3 for images, 1 for labels.

    Returns:
        The array, uint8, writable.

    Raises:
        ValueError: If it is anything else, is cut off or goes on after its last element; names the file.
    """
    try:
        with gzip.open(path, "rb") as stream:
            header = stream.read(4 + 4 * rank)
            if len(header) < 4 + 4 * rank or header[:4] != bytes((0, 0, _IDX_UINT8, rank)):
                raise ValueError(
                    f"{path}: expected an idx file of unsigned bytes with {rank} axes "
                    f"(0000{_IDX_UINT8:02x}{rank:02x}), received one that starts with {header[:4].hex() or 'nothing'}"
                )
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4", rank, 4))
            elements = 1
            for size in shape:
                elements *= size
            if elements > _MAX_ELEMENTS:
                raise ValueError(f"{path}: expected at most {_MAX_ELEMENTS} elements, received shape {shape}")
            content = stream.read(elements + 1)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise ValueError(f"{path}: expected a whole gzip file, received a damaged one ({error})") from None
    if len(content) != elements:
        amount = f"{len(content)}" if len(content) < elements else "more"
        raise ValueError(f"{path}: expected {elements} elements of shape {shape}, received {amount}")
    return np.frombuffer(bytearray(content), np.uint8).reshape(shape)


def read_npz(path: Path) -> Arrays:
    """Reads ``x_train``, ``y_train``, ``x_test`` and ``y_test`` from an npz file.

    Raises:
        ValueError: If one is missing or is not uint8, or the file is damaged; names the file.
    """
    arrays: dict[str, NDArray[np.uint8]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in ("x_train", "y_train", "x_test", "y_test"):
                arrays[name] = archive[name]
    except KeyError as error:
        raise ValueError(f"{path}: expected arrays x_train, y_train, x_test, y_test: {error.args[0]}") from None
    except (zipfile.BadZipFile, EOFError, zlib.error, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected an npz file of four arrays, received a damaged one ({error})") from None
    for name, array in arrays.items():
        if array.dtype != np.uint8:
            raise ValueError(f"{path}: {name}: expected uint8, received {array.dtype}")
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def check_pairs(where: Path, arrays: Arrays) -> Arrays:
    """Returns the arrays if they are images of one size with as many labels.

    Raises:
        ValueError: If not; names the file or folder ``where``.
    """
    (x_train, y_train), (x_test, y_test) = arrays
    for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
            raise ValueError(
                f"{where}: {part} data: expected images (n, height, width) and labels (n,), "
                f"received {x.shape} and {y.shape}"
            )
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"{where}: expected training and test images of one size, "
            f"received {x_train.shape[1:]} and {x_test.shape[1:]}"
        )
    return arrays


def sha256_of_file(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return _sha256(file.read)


def sha256_of_gzip_content(path: Path) -> str:
    """Returns the SHA-256 of what a gzip file holds: the same for every way of compressing it.

    Raises:
        ValueError: If it is damaged or holds too much.
    """
    try:
        with gzip.open(path, "rb") as stream:
            return _sha256(stream.read)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"a damaged gzip file: {error}") from None


def _sha256(read: Callable[[int], bytes]) -> str:
    digest = hashlib.sha256()
    total = 0
    while chunk := read(1 << 20):
        total += len(chunk)
        if total > _MAX_ELEMENTS:
            raise ValueError(f"more than {_MAX_ELEMENTS} bytes")
        digest.update(chunk)
    return digest.hexdigest()
