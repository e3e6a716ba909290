"""Keras 3's files of whole models, `*.keras`: a zip archive of two JSON texts and an HDF5 file of weights."""

from __future__ import annotations

import datetime
import io
import json
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NoReturn

from fastcnn import _messages
from fastcnn.layers.pooling import BasePooling
from fastcnn.saving import keras_weights
from fastcnn.saving.keras_config import model_from_keras, model_to_keras
from fastcnn.variables import limited

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

_CONFIG, _METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
# The version of Keras whose format this is: what its loader is told.
_KERAS_VERSION = "3.15.1"
_LONGEST_DIRECTORY = 4096  # bytes of the archive's table of contents; three entries take some 200
_LONGEST_TEXT = 4 << 20  # bytes of JSON; a thousand layers take about one million
_MOST_EXPANSION = 16  # Keras compresses nothing; archives packed again may
_DEEPEST = 64  # of nested lists and objects in JSON


def to_bytes(model: Sequential) -> bytes:
    """The archive of a built model.

    Raises:
        ValueError: a layer with settings that Keras's layer does not take.
    """
    _refuse_margins(model)
    weights = keras_weights.to_bytes(model)
    saved = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_METADATA, json.dumps({"keras_version": _KERAS_VERSION, "date_saved": saved}))
        archive.writestr(_CONFIG, json.dumps(model_to_keras(model)))
        archive.writestr(WEIGHTS, weights)
    return buffer.getvalue()


def _refuse_margins(model: Sequential) -> None:
    """Keras's pooling layers take no margins in numbers, as layers that came from PyTorch or ONNX may have them."""
    from fastcnn.models.sequential import Sequential

    for layer in model.layers:
        if isinstance(layer, Sequential):
            _refuse_margins(layer)
        padding = layer.get_config().get("padding") if isinstance(layer, BasePooling) else None
        if padding is not None and not isinstance(padding, str):
            received = _messages.Text(f"{layer.name} with padding={padding}; a .safetensors file holds it")
            _messages.fail("save_model", "filepath", "a model that Keras has, for a .keras file", received)


def read_members(data: bytes, operation: str, source: str) -> dict[str, bytes]:
    """The archive's members; nothing is unpacked to a disk.

    Raises:
        ValueError: not an archive as Keras writes it: other members than the three, a compression that no honest file has,
            damaged.
    """

    def refuse(received: str) -> NoReturn:
        expected = f"a .keras archive of {_METADATA}, {_CONFIG} and {WEIGHTS}"
        _messages.fail(operation, "filepath", expected, _messages.Text(f"{source!r}: {received}"))

    # The end record, read here: a table of contents of many entries would cost memory before its first name is seen.
    end = data[-22:]
    if len(end) < 22 or end[:4] != b"PK\x05\x06":
        refuse("no zip archive, or one cut short")
    size, start = int.from_bytes(end[12:16], "little"), int.from_bytes(end[16:20], "little")
    if size > _LONGEST_DIRECTORY or start + size != len(data) - 22:
        refuse("a zip archive with more in it")
    found: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            names = [entry.filename for entry in entries]
            if sorted(names) != sorted({_CONFIG, _METADATA, WEIGHTS}):
                refuse(f"members {names}")
            for entry in entries:
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or entry.flag_bits & 1:
                    refuse(f"{entry.filename} packed in another way than deflate")
                if entry.external_attr >> 16 & 0o170000 not in (0, 0o100000):  # of the kind of file that Unix knows
                    refuse(f"{entry.filename} as a link or folder")
                if entry.file_size > _MOST_EXPANSION * len(data):
                    refuse(f"{entry.filename} of {entry.file_size} bytes in an archive of {len(data)}")
            if sum(entry.file_size for entry in entries) > _MOST_EXPANSION * len(data):
                refuse("members that are much larger than the archive")
            for entry in entries:
                with archive.open(entry) as member:
                    found[entry.filename] = member.read()
                if len(found[entry.filename]) != entry.file_size:
                    refuse(f"{entry.filename} cut short")
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
        OverflowError,
    ) as error:
        refuse(f"a damaged archive ({error})")
    return found


def read_json(text: bytes | str, operation: str, source: str) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: not JSON, or longer or deeper nested than the description of a model.
    """
    expected = "a model's description in JSON"
    if len(text) > _LONGEST_TEXT:
        _messages.fail(operation, "filepath", expected, _messages.Text(f"{source!r}: {len(text)} bytes"))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        _messages.fail(operation, "filepath", expected, _messages.Text(f"{source!r}: {_messages.show(str(error))}"))
    if _depth(value) > _DEEPEST:
        _messages.fail(operation, "filepath", expected, _messages.Text(f"{source!r}: nested more than {_DEEPEST} deep"))
    return value


def _depth(value: Any) -> int:
    """How deep lists and objects are nested; not much further than is allowed, so that it costs no recursion."""
    level, depth = [value], 0
    while level and depth <= _DEEPEST:
        containers = [
            outer.values() if isinstance(outer, dict) else outer for outer in level if isinstance(outer, (dict, list))
        ]
        level = [inner for container in containers for inner in container]
        depth += 1
    return depth


def load(
    data: bytes,
    source: str,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    operation: str = "load_model",
) -> Sequential:
    """The model of an archive.

    Args:
        data: the file's bytes.
        source: its name, for error sentences.
        custom_objects: classes and functions by name that the description may mean besides fastcnn's.
        compile: whether it is compiled as it was, the optimizer's state included.
        safe_mode: as in Keras; there is no code in a file for it to let run.

    Raises:
        ValueError: damaged, or not a model of layers that are known here.
    """
    members = read_members(data, operation, source)
    config = read_json(members[_CONFIG], operation, source)
    read_json(members[_METADATA], operation, source)
    weights = members[WEIGHTS]
    with limited(len(weights), operation, source):
        model = model_from_keras(config, custom_objects, compile, operation, source)
    keras_weights.load(model, weights, operation, source)
    return model
