"""`model.export`: which format a file is written in, and by whom."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcnn import _messages
from fastcnn._lazy import Lazy

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

# The format's name, which is also the file's ending, and the function that writes a model to a path.
FORMATS: dict[str, Lazy] = {
    "onnx": Lazy("fastcnn.onnx.writer", "export"),
    "c": Lazy("fastcnn.exchange.c_source", "export"),
}


def export(
    model: Sequential, filepath: Any, format: str | None, verbose: Any, input_signature: Any, arguments: dict[str, Any]
) -> None:
    """What `Sequential.export` does."""
    if not isinstance(filepath, (str, os.PathLike)):
        _messages.fail("export", "filepath", "a path", filepath)
    path = Path(filepath)
    wanted = path.suffix.removeprefix(".") if format is None else format
    if wanted not in FORMATS:
        names = " or ".join(repr(name) for name in FORMATS)
        given = ("filepath", str(path)) if format is None else ("format", format)
        _messages.fail("export", given[0], f"{names}, or a file that ends so", given[1])
    _messages.only("export", "input_signature", input_signature, (None,))
    if not path.parent.is_dir():
        _messages.no_file("export", "filepath", "a file in an existing folder", path)
    write: Callable[..., None] = FORMATS[wanted].load()
    try:
        write(model, path, **arguments)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise ValueError(f"export: {wanted}: {error}") from error
    if verbose is None or _messages.flag("export", "verbose", verbose):
        print(f"Saved artifact at '{path}'.")
