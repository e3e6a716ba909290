"""Whole models in one HDF5 file, `*.h5`: the format of Keras 2, which Keras 3 still writes. Read only."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from fastcnn import _messages
from fastcnn.saving import hdf5_reader, optimizer_state
from fastcnn.saving.keras_archive import read_json
from fastcnn.saving.keras_config import model_from_keras
from fastcnn.saving.keras_weights import NUMBERS, check_array, take_over
from fastcnn.variables import limited

if TYPE_CHECKING:
    from fastcnn.layers.layer import Layer
    from fastcnn.models.sequential import Sequential
    from fastcnn.variables import Variable

_DEEPEST = 16  # of models in models
# What Keras 2 wrote into the configuration of an optimizer and Keras 3 does not know; what it says makes no difference.
_FORGOTTEN = ("jit_compile", "is_legacy_optimizer", "decay")
_RENAMED = {"lr": "learning_rate"}


def load(
    data: bytes,
    source: str,
    custom_objects: dict[str, Any] | None = None,
    compile: bool = True,
    safe_mode: bool = True,
    operation: str = "load_model",
) -> Sequential:
    """The model of a file.

    Args:
        data: the file's bytes.
        source: its name, for error sentences.
        custom_objects: classes and functions by name that the description may mean besides fastcnn's.
        compile: whether it is compiled as it was, the optimizer's state included.
        safe_mode: as in Keras; there is no code in a file for it to let run.

    Raises:
        ValueError: damaged, or not a model of layers that are known here.
    """
    file = hdf5_reader.File(data, operation, source)
    config = _described(file, "model_config")
    if config is None:
        file.refuse("no model: there is no attribute 'model_config'")
    _modernise(file, config)
    training = _described(file, "training_config") if compile else None
    if training is not None:
        config["compile_config"] = _compile_config(file, training)
    elif compile:
        warnings.warn(f"{operation}: {source!r} has no training configuration: the model is not compiled", stacklevel=3)
    with limited(len(data), operation, source):
        model = model_from_keras(config, custom_objects, compile, operation, source)
    state = _optimizer_arrays(model, file)
    _load(model, file.root.group("model_weights"), False, state)
    return model


def load_weights(
    model: Sequential, data: bytes, operation: str, source: str, skip_mismatch: bool = False, by_name: bool = False
) -> None:
    """Takes over the weights of a file of weights alone, or of a whole model, layer by layer.

    Args:
        model: a built model.
        data: the file's bytes.
        operation, source: for error sentences.
        skip_mismatch: whether layers whose weights have other shapes keep theirs, with a warning.

    Raises:
        ValueError: damaged, or a file of another model.
    """
    root = hdf5_reader.File(data, operation, source).root
    _load(model, root if "layer_names" in root.attributes else root.group("model_weights"), skip_mismatch, None)


def _load(
    model: Sequential, group: hdf5_reader.Group, skip_mismatch: bool, state: list[hdf5_reader.Dataset] | None
) -> None:
    file = group.file
    names = [name for name in _names(group, "layer_names") if _names(group.group(name), "weight_names")]
    layers = [layer for layer in model.layers if layer.weights]
    if len(names) != len(layers):
        expected = f"a file of {len(layers)} layers with weights"
        _messages.fail(file.operation, "filepath", expected, _messages.Text(f"{file.source!r} with {len(names)}"))
    chosen: list[tuple[Variable, hdf5_reader.Dataset]] = []
    skipped: list[str] = []
    for name, layer in zip(names, layers):
        try:
            chosen += _arrays_of(layer, group.group(name))
        except ValueError as error:
            if not skip_mismatch:
                raise
            skipped.append(str(error))
    take_over(model, chosen, state, skipped, file.operation)


def _arrays_of(layer: Layer, group: hdf5_reader.Group) -> list[tuple[Variable, hdf5_reader.Dataset]]:
    """A layer's variables, the trained ones first, with their arrays."""
    variables = [*layer.trainable_weights, *layer.non_trainable_weights]
    names = _names(group, "weight_names")
    if len(names) != len(variables):
        group.file.refuse(f"{len(names)} arrays at {group.path!r} instead of {len(variables)}")
    arrays = [group.dataset(name) for name in names]
    for array, variable in zip(arrays, variables):
        check_array(array, variable.shape, NUMBERS)
    return list(zip(variables, arrays))


def _optimizer_arrays(model: Sequential, file: hdf5_reader.File) -> list[hdf5_reader.Dataset] | None:
    shapes = optimizer_state.expected_shapes(model)
    if shapes is None or "optimizer_weights" not in file.root:
        return None
    group = file.root.group("optimizer_weights")
    names = _names(group, "weight_names")
    arrays = [group.dataset(name) for name in names] if len(names) == len(shapes) else []
    # Keras 2's older optimizers kept other arrays, or in another order; Keras 3 starts such ones anew, too.
    if [array.shape for array in arrays] != shapes or arrays[0].dtype.kind not in "iu":
        warnings.warn(
            f"{file.operation}: the optimizer of {file.source!r} starts anew: its state is another", stacklevel=4
        )
        return None
    return arrays


def _names(group: hdf5_reader.Group, attribute: str) -> list[str]:
    """A list of names; where it was too long for one attribute it is in several, with numbers."""
    attributes = group.attributes
    if attribute in attributes:
        pieces = [attributes[attribute]]
    else:
        count = 0
        while f"{attribute}{count}" in attributes:
            count += 1
        pieces = [attributes[f"{attribute}{index}"] for index in range(count)]
    if not pieces or not all(isinstance(piece, list) for piece in pieces):
        group.file.refuse(f"no attribute {attribute!r} at {group.path!r}")
    return [name for piece in pieces for name in piece]


def _described(file: hdf5_reader.File, attribute: str) -> dict[str, Any] | None:
    text = file.root.attributes.get(attribute)
    if text is None:
        return None
    value = read_json(text, file.operation, file.source) if isinstance(text, str) else text
    if not isinstance(value, dict):
        file.refuse(f"an attribute {attribute!r} that is no description")
    return value


def _modernise(file: hdf5_reader.File, entry: Any, depth: int = 0) -> None:
    """Changes a layer's description from Keras 2's words to Keras 3's."""
    config = entry.get("config") if isinstance(entry, dict) else None
    if not isinstance(config, dict) or depth > _DEEPEST:
        file.refuse("a description of layers that is none")
    shape = config.pop("batch_input_shape", None)
    if shape is not None:
        config["batch_shape" if entry.get("class_name") == "InputLayer" else "batch_input_shape"] = shape
    axis = config.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        config["axis"] = axis[0]
    if "layers" in config:
        layers = config["layers"]
        if not isinstance(layers, list):
            file.refuse("a description of layers that is none")
        for layer in layers:
            _modernise(file, layer, depth + 1)


def _compile_config(file: hdf5_reader.File, training: dict[str, Any]) -> dict[str, Any]:
    """What `compile` was given, from Keras 2's training configuration."""
    optimizer = training.get("optimizer_config")
    settings = optimizer.get("config") if isinstance(optimizer, dict) else None
    if not isinstance(optimizer, dict) or not isinstance(settings, dict):
        file.refuse("a training configuration without an optimizer")
    kept = {_RENAMED.get(name, name): value for name, value in settings.items() if name not in _FORGOTTEN}
    config = {name: training.get(name) for name in ("loss", "metrics", "weighted_metrics")}
    return {**config, "optimizer": {"class_name": optimizer.get("class_name"), "config": kept}}
