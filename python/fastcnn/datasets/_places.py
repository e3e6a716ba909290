"""Where data files are looked for, and how one that is nowhere is downloaded."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from http.client import HTTPResponse

# The public folder that Keras's own loaders read; FASTCNN_DATA_URL names a mirror of it.
PUBLIC_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
DEBIAN_FOLDER = Path("/usr/share/datasets")
TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 20


def find(dataset: str, subfolder: str, names: Sequence[str]) -> Path | None:
    """Returns the first folder that holds all files of a data set.

    Looks in ``FASTCNN_DATA_DIR`` (its ``subfolder``, then the folder itself), Keras's cache, Debian's data sets and
    fastcnn's own cache, in this order.

    Args:
        dataset: Name for messages.
        subfolder: The data set's own folder inside a collection; "" where the file names tell data sets apart.
        names: File names that must all be there.

    Returns:
        The folder, or None.

    Raises:
        FileNotFoundError: If ``FASTCNN_DATA_DIR`` is set and is no folder.
    """
    for folder in _folders(dataset, subfolder):
        if all((folder / name).is_file() for name in names):
            return folder
    return None


def own_cache() -> Path:
    """Returns the folder that downloads are kept in: ``$XDG_CACHE_HOME/fastcnn``, usually ``~/.cache/fastcnn``."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "fastcnn"


def download(dataset: str, name: str, target: Path, verify: Callable[[Path], str], sha256: str, remedy: str) -> None:
    """Downloads one file and puts it in place only when it is whole and the right one.

    Args:
        dataset: Name for messages.
        name: The file's name below the public folder.
        target: Where it goes; the folder is made. The file appears there at once or not at all.
        verify: Returns the SHA-256 that identifies the downloaded file; ValueError where it cannot be read.
        sha256: The expected one.
        remedy: What a reader without a network can do instead, the end of a sentence.

    Raises:
        OSError: If the file cannot be had or is not the expected one; nothing is stored.
    """
    url = _base_url() + name

    def check(path: Path) -> None:
        try:
            received = verify(path)
        except ValueError as error:
            received = f"something else ({error})"
        if received != sha256:
            raise OSError(f"{dataset}: {url}: expected SHA-256 {sha256}, received {received}; nothing was stored")

    print(f"Downloading {url}", file=sys.stderr)
    fetch(f"{dataset}: not found on this machine and", url, target, check, remedy)


def fetch(operation: str, url: str, target: Path, check: Callable[[Path], None], remedy: str = "") -> None:
    """Downloads `url` and puts it at `target` once it is whole and `check` has not raised.

    Args:
        operation: How the sentence of an error begins.
        url: An http or https address.
        target: Where it goes; the folder is made. The file appears there at once or not at all.
        check: Raises for a file that is not the expected one.
        remedy: What can be done instead, the end of a sentence.

    Raises:
        OSError: If the file cannot be had; nothing is stored.
    """
    # Imported here: urllib.request brings in http, ssl and email, which importing fastcnn should not cost.
    from http.client import HTTPException
    from urllib.error import URLError
    from urllib.request import urlopen

    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary_name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(temporary_name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            try:
                with urlopen(url, timeout=TIMEOUT_SECONDS) as response:
                    _copy(response, file)
            except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
                reason = error.reason if isinstance(error, URLError) else error
                end = f": {remedy}" if remedy else ""
                raise OSError(f"{operation} {url} cannot be downloaded ({reason}){end}") from None
        check(temporary)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _folders(dataset: str, subfolder: str) -> list[Path]:
    folders: list[Path] = []
    own = os.environ.get("FASTCNN_DATA_DIR")
    if own:
        if not Path(own).is_dir():
            raise FileNotFoundError(f"{dataset}: FASTCNN_DATA_DIR: expected a folder, received '{own}'")
        folders += [Path(own) / subfolder, Path(own)]
    keras_home = os.environ.get("KERAS_HOME")
    folders.append((Path(keras_home) if keras_home else Path.home() / ".keras") / "datasets" / subfolder)
    folders.append(DEBIAN_FOLDER / subfolder)
    folders.append(own_cache() / subfolder)
    return folders


def _base_url() -> str:
    base = os.environ.get("FASTCNN_DATA_URL") or PUBLIC_URL
    if not base.startswith(("https://", "http://")):
        raise ValueError(f"datasets: FASTCNN_DATA_URL: expected an http or https address, received '{base}'")
    return base.rstrip("/") + "/"


def _copy(response: HTTPResponse, file: BinaryIO) -> None:
    """Copies the body; ConnectionError where it ends before its announced length."""
    written = 0
    while chunk := response.read(_CHUNK_BYTES):
        file.write(chunk)
        written += len(chunk)
    announced = response.headers.get("Content-Length")
    if announced is not None and written != int(announced):
        raise ConnectionError(f"the connection ended after {written} of {announced} bytes")
