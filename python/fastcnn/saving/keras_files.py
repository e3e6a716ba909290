"""Keras's files by their suffix: what writes and reads each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastcnn import _messages
from fastcnn.saving import keras_archive, keras_weights, legacy_h5

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

# No model that fastcnn is made for comes near; a file is read into memory as a whole.
_LARGEST = 4 << 30


def read(path: Path, operation: str) -> bytes:
    """A file's bytes, if it is an ordinary file of a size that fits."""
    if not path.is_file():
        _messages.no_file(operation, "filepath", "an existing file", path)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST:
            _messages.fail(operation, "filepath", f"a file of at most {_LARGEST} bytes", str(path))
        return file.read(size)


def model_bytes(model: Sequential) -> bytes:
    """What a file *.keras of the model holds."""
    return keras_archive.to_bytes(model)


def weights_bytes(model: Sequential) -> bytes:
    """What a file *.weights.h5 of the model holds."""
    return keras_weights.to_bytes(model)


def load_model(
    path: Path, custom_objects: dict[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Sequential:
    """The model of a file *.keras or *.h5.

    Raises:
        ValueError: no such file, damaged, or not a model of layers that are known here.
    """
    load = keras_archive.load if path.suffix == ".keras" else legacy_h5.load
    return load(read(path, "load_model"), str(path), custom_objects, compile, safe_mode)


def load_weights(model: Sequential, path: Path, skip_mismatch: bool = False) -> None:
    """Takes over the weights of a file *.weights.h5, *.keras or, as Keras 2 wrote it, *.h5.

    Raises:
        ValueError: no such file, damaged, or a file of another model; nothing changed.
    """
    operation, source, data = "load_weights", str(path), read(path, "load_weights")
    if path.suffix == ".keras":
        data = keras_archive.read_members(data, operation, source)[keras_archive.WEIGHTS]
    if path.name.endswith((".weights.h5", ".keras")):
        keras_weights.load(model, data, operation, source, skip_mismatch)
    else:
        legacy_h5.load_weights(model, data, operation, source, skip_mismatch)
