"""Reads archives of NumPy arrays that may come from a stranger."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_EXPANSION = 16  # of a compressed archive
_LONGEST_HEADER = 10_000


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name.

    An array's size is compared with what its entry holds, and that with the file's size, before memory is taken for it.
    `np.load` takes what the header of the entry says.

    Raises:
        ValueError: not an archive of arrays of numbers, or damaged.
        OSError: no such file.
    """
    found: dict[str, NDArray[Any]] = {}
    left = _MOST_EXPANSION * path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                left -= entry.file_size
                if left < 0 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ValueError(f"{entry.filename!r} announces {entry.file_size} bytes")
                with archive.open(entry) as file:
                    content = file.read()
                found[entry.filename.removesuffix(".npy")] = _array(content, entry.filename)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OverflowError) as error:
        raise ValueError(str(error)) from error
    return found


def _array(content: bytes, name: str) -> NDArray[Any]:
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{name!r} has an unknown version")
    shape, fortran, dtype = readers[version](file, max_header_size=_LONGEST_HEADER)
    count = 1
    for length in shape:
        count *= length
    if dtype.hasobject or count < 0 or count * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{name!r} announces {dtype} of shape {shape}")
    return np.frombuffer(content, dtype, count, file.tell()).reshape(shape, order="F" if fortran else "C")
