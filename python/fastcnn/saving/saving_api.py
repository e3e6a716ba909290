"""Files of models and of weights, whose format their suffix names. https://keras.io/api/models/model_saving_apis/"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastcnn import _messages
from fastcnn.saving.number_formats import DTYPES
from fastcnn.saving.whole_files import as_path, written_whole
from fastcnn.variables import limited

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

_MODELS = (".safetensors", ".keras")
_WEIGHTS = (".safetensors", ".weights.h5", ".npz")
_MOST_DRAWN = 1 << 30  # bytes of weights that a description alone may ask for
_READABLE = {"load_model": (*_MODELS, ".h5"), "load_weights": (*_WEIGHTS, ".keras", ".h5")}


def save_model(
    model: Sequential,
    filepath: Any,
    overwrite: bool = True,
    zipped: Any = None,
    *,
    include_optimizer: bool = True,
    dtype: str = "float32",
) -> None:
    """Writes a model to one file, whole or not at all: what it is, its weights, how it is compiled, the optimizer's state.

    Args:
        model: a built model.
        filepath: a name that ends in .safetensors (fastcnn's own format, which keeps all that a training needs to go on bit for
            bit) or .keras (Keras 3 reads it).
        overwrite: whether an existing file is replaced.
        zipped: None.
        include_optimizer: whether the optimizer's state is written; .keras files always have it.
        dtype: of the weights in a .safetensors file: "float32"; or "bfloat16" or "float16", rounded to 8 or 11 binary digits,
            which makes a file for inference (with include_optimizer=False) half as large. They are float32 again once loaded.

    Raises:
        ValueError: another ending, an existing file with overwrite=False, a model that is not built, or weights out of
            float16's range.

    Example:
        >>> import os, tempfile, fastcnn as keras
        >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
        >>> keras.saving.save_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), path)
        >>> keras.saving.load_model(path).output_shape
        (None, 2)

    See https://keras.io/api/models/model_saving_apis/model_saving_and_loading/#savemodel-function
    """
    operation = "save_model"
    _messages.only(operation, "zipped", zipped, (None, True))
    path = _new_path(operation, model, filepath, overwrite, _MODELS)
    if path.suffix == ".keras":
        from fastcnn.saving import keras_files

        _messages.only(operation, "dtype", dtype, ("float32",))
        content = keras_files.model_bytes(model)
    else:
        from fastcnn.saving import native_file

        _messages.only(operation, "dtype", dtype, DTYPES)
        content = native_file.model_bytes(model, include_optimizer, dtype)
    _write(path, content)


def load_model(
    filepath: Any, custom_objects: Mapping[str, Any] | None = None, compile: bool = True, safe_mode: bool = True
) -> Sequential:
    """The model of a file; it may come from a stranger: no code in it runs.

    Args:
        filepath: a file *.safetensors, *.keras (written here or by Keras 3) or *.h5 (by Keras 2).
        custom_objects: classes and functions by name that it may mean besides fastcnn's and registered ones.
        compile: whether it is compiled as it was, with the optimizer's state.
        safe_mode: as in Keras; there is no code in a file for it to let run.

    Raises:
        ValueError: no such file, damaged, or not a model of layers that are known here.

    See https://keras.io/api/models/model_saving_apis/model_saving_and_loading/#loadmodel-function
    """
    operation = "load_model"
    path = as_path(operation, filepath)
    from fastcnn.saving import keras_files
    from fastcnn.saving.registration import known_objects

    if path.suffix == ".safetensors":
        from fastcnn.saving import native_file

        return native_file.load_model(keras_files.read(path, operation), str(path), custom_objects, compile)
    if path.suffix not in _READABLE[operation]:
        _other_suffix(operation, path)
    known = known_objects(custom_objects)
    known |= {name.split(">")[-1]: value for name, value in known.items()}
    return keras_files.load_model(path, known, compile, safe_mode)


def save_weights(
    model: Sequential, filepath: Any, overwrite: bool = True, max_shard_size: Any = None, *, dtype: str = "float32"
) -> None:
    """What `Sequential.save_weights` does."""
    operation = "save_weights"
    _messages.only(operation, "max_shard_size", max_shard_size, (None,))
    path = _new_path(operation, model, filepath, overwrite, _WEIGHTS)
    _messages.only(operation, "dtype", dtype, DTYPES if path.suffix == ".safetensors" else ("float32",))
    if path.suffix == ".npz":
        from fastcnn.models import weights_file

        buffer = io.BytesIO()
        weights_file.write(buffer, weights_file.named_variables(model.layers))
        content = buffer.getvalue()
    elif path.suffix == ".h5":
        from fastcnn.saving import keras_files

        content = keras_files.weights_bytes(model)
    else:
        from fastcnn.saving import native_file

        content = native_file.weights_bytes(model, dtype)
    _write(path, content)


def load_weights(model: Sequential, filepath: Any, skip_mismatch: bool = False) -> None:
    """What `Sequential.load_weights` does."""
    operation = "load_weights"
    path = as_path(operation, filepath)
    if path.suffix not in (".npz", ".safetensors", ".keras", ".h5"):
        _other_suffix(operation, path)
    model._require_built(operation)
    from fastcnn.saving import keras_files

    if path.suffix == ".npz":
        from fastcnn.models import weights_file

        weights_file.load(path, weights_file.named_variables(model.layers), skip_mismatch)
    elif path.suffix == ".safetensors":
        from fastcnn.saving import native_file

        native_file.load_weights(model, keras_files.read(path, operation), str(path), skip_mismatch)
    else:
        keras_files.load_weights(model, path, skip_mismatch)


def model_from_json(json_string: str, custom_objects: Mapping[str, Any] | None = None) -> Sequential:
    """A new model, with new weights, from what `to_json` returned, here or in Keras.

    Args:
        json_string: the text.
        custom_objects: classes and functions by name that it may mean besides fastcnn's and registered ones.

    Raises:
        ValueError: not such a text, not a model of layers that are known here, or one with more than 1 GiB of weights, which
            some words can ask for.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model_from_json(model.to_json()).output_shape
        (None, 2)

    See https://keras.io/api/models/model_saving_apis/model_config_serialization/#modelfromjson-function
    """
    from fastcnn.models.sequential import Sequential
    from fastcnn.saving.keras_archive import read_json
    from fastcnn.saving.serialization import deserialize_keras_object

    if not isinstance(json_string, (str, bytes)):
        _messages.fail("model_from_json", "json_string", "a text", json_string)
    config = read_json(json_string, "model_from_json", "json_string")
    try:
        with limited(_MOST_DRAWN, "model_from_json", "json_string", draws=True):
            made = deserialize_keras_object(config, custom_objects)
    except (TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError, MemoryError) as error:
        received = _messages.Text(f"one with {type(error).__name__}: {error}")
        _messages.fail("model_from_json", "json_string", "the description of a Sequential model", received)
    if not isinstance(made, Sequential):
        _messages.fail("model_from_json", "json_string", "the description of a Sequential model", made)
    return made


def to_json(model: Sequential, **kwargs: Any) -> str:
    """What `Sequential.to_json` does."""
    from fastcnn.saving.serialization import serialize_keras_object

    return json.dumps(serialize_keras_object(model), **kwargs)


def _new_path(operation: str, model: Sequential, filepath: Any, overwrite: bool, suffixes: tuple[str, ...]) -> Path:
    path = as_path(operation, filepath)
    if not path.name.endswith(suffixes):
        _other_suffix(operation, path, suffixes)
    model._require_built(operation)
    if path.exists() and not overwrite:
        _messages.fail(operation, "overwrite", f"True to replace the existing file {str(path)!r}", overwrite)
    if not path.parent.is_dir():
        _messages.no_file(operation, "filepath", "a file in an existing folder", path)
    return path


def _other_suffix(operation: str, path: Path, suffixes: tuple[str, ...] | None = None) -> NoReturn:
    known = suffixes or _READABLE[operation]
    _messages.fail(operation, "filepath", f"a name that ends in {' or '.join(known)}", str(path))


def _write(path: Path, content: bytes) -> None:
    with written_whole(path) as file:
        file.write(content)
