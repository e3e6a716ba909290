"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastcnn import _messages


def as_path(operation: str, filepath: object) -> Path:
    """`filepath` as a Path.

    Raises:
        ValueError: not a path.
    """
    if not isinstance(filepath, (str, os.PathLike)) or not os.fspath(filepath):
        _messages.fail(operation, "filepath", "a path", filepath)
    path = os.fspath(filepath)
    if not isinstance(path, str):
        _messages.fail(operation, "filepath", "a path", filepath)
    return Path(path)


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str], keep: str | os.PathLike[str] | None = None) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of `path` when everything is on the disk.

    Until then the file that is there stays as it is: after a crash, a full disk or an error too.

    Args:
        path: the file, in an existing folder.
        keep: a name that the file that is there gets first, or None.

    Example:
        >>> import tempfile
        >>> name = os.path.join(tempfile.mkdtemp(), "a.bin")
        >>> with written_whole(name) as file:
        ...     _ = file.write(b"123")
        >>> os.listdir(os.path.dirname(name))
        ['a.bin']
    """
    path = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _use_default_permissions(temporary)
        if keep is not None and path.exists():
            os.replace(path, keep)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Brings the new name to the disk, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _use_default_permissions(temporary: str) -> None:
    """Gives a file of mkstemp, which only its owner may read, the permissions of an ordinary new file."""
    if os.name == "posix":
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
