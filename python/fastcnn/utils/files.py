"""get_file: a file from the network, once, and the right one."""

from __future__ import annotations

import os
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastcnn import _messages
from fastcnn.datasets import _places
from fastcnn.utils.io import print_message


def get_file(
    fname: str | os.PathLike[str] | None = None,
    origin: str | None = None,
    untar: bool = False,
    md5_hash: str | None = None,
    file_hash: str | None = None,
    cache_subdir: str = "datasets",
    hash_algorithm: str = "auto",
    extract: bool = False,
    archive_format: Any = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
) -> str:
    """Downloads a file where it is not in the cache yet, checks it and, if asked, unpacks it.

    A file appears whole and checked, or not at all; an archive can write into its own folder only.

    Args:
        fname: the file's name in the cache; the last part of `origin` by default.
        origin: an http or https address.
        untar: Keras's older word for `extract`.
        md5_hash: Keras's older word for an MD5 `file_hash`.
        file_hash: the file's SHA-256 or MD5 in hexadecimal digits; a file in the cache that has another is replaced.
        cache_subdir: folder below the cache; an absolute path stands for itself.
        hash_algorithm: "sha256", "md5", or "auto", which tells them apart by their length.
        extract: whether to unpack a tar or zip archive.
        archive_format: "auto", "tar", "zip", a list of them, or None.
        cache_dir: the cache; ``KERAS_HOME`` or ``~/.keras`` by default.
        force_download: whether the cache is passed over.

    Returns:
        The path of the file, or of the folder that the archive was unpacked to.

    Raises:
        ValueError: arguments that make no sense, a file with another hash, or an archive that cannot be unpacked safely.
        OSError: the file cannot be had.

    Example:
        >>> from fastcnn import utils
        >>> utils.get_file(origin="https://example.com/flowers.tgz", extract=True)  # doctest: +SKIP
        '/home/me/.keras/datasets/flowers'

    See https://keras.io/api/utils/python_utils/#getfile-function
    """
    if origin is None:
        _messages.fail("get_file", "origin", "an http or https address", None)
    if urlsplit(origin).scheme not in ("http", "https"):
        _messages.fail("get_file", "origin", "an http or https address", origin)
    given = os.fspath(fname) if fname else ""
    name = given or os.path.basename(urlsplit(origin).path)
    if not name or name in (".", "..") or os.sep in name:
        _messages.fail("get_file", "fname", "a file's name, without folders", fname)
    if md5_hash is not None and file_hash is None:
        file_hash, hash_algorithm = md5_hash, "md5"
    check = _check(origin, file_hash, _messages.choice("get_file", "hash_algorithm", hash_algorithm, _ALGORITHMS))
    folder = Path(cache_dir or os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / cache_subdir
    unpacks = extract or untar
    target, unpacked = folder / name, folder / name
    if unpacks and given and "." in name:
        unpacked = folder / f"{name.partition('.')[0]}_extracted"
    elif unpacks:
        target = folder / f"{name}_archive"
    if force_download or not _is_good(target, check):
        print_message(f"Downloading data from {origin}")
        _places.fetch("get_file", origin, target, check)
    if not unpacks:
        return str(target)
    _unpack(target, unpacked, "tar" if untar and not extract else archive_format)
    return str(unpacked)


_ALGORITHMS = ("auto", "sha256", "md5")


def _check(origin: str, expected: str | None, algorithm: str) -> Callable[[Path], None]:
    """What raises ValueError for a file with another hash."""
    if expected is None:
        return lambda path: None
    if algorithm == "auto":
        algorithm = "sha256" if len(expected) == 64 else "md5"

    def check(path: Path) -> None:
        import hashlib

        digest = hashlib.new(algorithm, usedforsecurity=algorithm != "md5")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        if digest.hexdigest() != expected.lower():
            received = _messages.Text(f"{digest.hexdigest()} from {origin}; nothing was stored")
            _messages.fail("get_file", "file_hash", f"{algorithm} {expected}", received)

    return check


def _is_good(target: Path, check: Callable[[Path], None]) -> bool:
    if not target.is_file():
        return False
    try:
        check(target)
    except ValueError:
        print_message(f"{target} is not the expected file: it is downloaded again")
        return False
    return True


def _unpack(archive: Path, folder: Path, formats: Any) -> None:
    """Unpacks into `folder`, which appears whole or not at all; one that is there already is kept."""
    kinds = ("tar", "zip") if formats == "auto" else (formats,) if isinstance(formats, str) else tuple(formats or ())
    if folder.is_dir():
        return
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        inside = Path(temporary) / "inside"
        if "tar" in kinds and tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                try:
                    # Refuses absolute paths, "..", links that lead outside, and devices.
                    tar.extractall(inside, filter="data")
                except tarfile.TarError as error:
                    _messages.fail("get_file", "extract", "an archive of plain files", _messages.Text(str(error)))
        elif "zip" in kinds and zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(inside)  # takes "..", drives and absolute paths out of names
        else:
            _messages.fail("get_file", "archive_format", "the format of the archive", formats)
        os.replace(inside, folder)
