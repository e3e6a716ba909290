"""New models of the same structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn import _messages
from fastcnn.layers.input_layer import InputLayer
from fastcnn.layers.layer import KerasTensor, Layer
from fastcnn.models.compile_config import copied
from fastcnn.models.sequential import Sequential


def clone_model(
    model: Sequential,
    input_tensors: Any = None,
    clone_function: Callable[[Layer], Layer] | None = None,
    call_function: None = None,
    recursive: bool = False,
) -> Sequential:
    """A model of new layers like the given one's, with new weights, compiled alike.

    Args:
        model: the model.
        input_tensors: what `Input` returned, in a list or not: the clone's input shape; the model's own by default.
        clone_function: makes each layer of the clone; by default
            `type(layer).from_config(layer.get_config())`.
        call_function: None; it is for functional models.
        recursive: whether `clone_function` is called for the layers of models inside the model too.

    Raises:
        ValueError: not a model, or arguments that fit none.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> clone = clone_model(model)
        >>> clone.output_shape, clone.layers[0] is model.layers[0]
        ((None, 2), False)

    See https://keras.io/api/models/model_saving_apis/model_config_serialization/#clonemodel-function
    """
    if not isinstance(model, Sequential):
        _messages.fail("clone_model", "model", "a Sequential model", model)
    if call_function is not None:
        _messages.fail(
            "clone_model", "call_function", "None: a Sequential model does not call its layers", call_function
        )
    if clone_function is not None and not callable(clone_function):
        _messages.fail("clone_model", "clone_function", "a function from a layer to a layer", clone_function)
    input_layer = _input_layer(model, input_tensors)
    layers = _clones(model, clone_function, recursive, {})
    clone = Sequential(layers if input_layer is None else [input_layer, *layers], name=model.name)
    if not model.trainable:
        clone._trainable = False  # the layers bring their own flags
    compiled = model._compiled
    if compiled is not None:
        clone.compile(**{name: copied(value) for name, value in compiled.arguments.items()}, **model._execution)
    return clone


def _clones(
    model: Sequential, function: Callable[[Layer], Layer] | None, recursive: bool, known: dict[int, Layer]
) -> list[Layer]:
    """New layers; one that appears twice, in models inside the model too, is cloned once."""
    for layer in model.layers:
        if id(layer) in known:
            continue
        if recursive and isinstance(layer, Sequential):
            inner: list[Any] = _clones(layer, function, recursive, known)
            if layer._input_layer is not None:
                inner = [_input_layer(layer, None), *inner]
            known[id(layer)] = Sequential(inner, name=layer.name)
        else:
            known[id(layer)] = copied(layer) if function is None else function(layer)
    return [known[id(layer)] for layer in model.layers]


def _input_layer(model: Sequential, tensors: Any) -> InputLayer | None:
    if isinstance(tensors, (list, tuple)):
        if len(tensors) != 1:
            _messages.fail("clone_model", "input_tensors", "one tensor", tensors)
        tensors = tensors[0]
    if tensors is not None:
        if not isinstance(tensors, KerasTensor):
            _messages.fail("clone_model", "input_tensors", "what Input returned", tensors)
        return InputLayer(batch_shape=tensors.shape, dtype=tensors.dtype, name=tensors.name)
    own = model._input_layer
    return None if own is None else InputLayer.from_config(own.get_config())  # type: ignore[return-value]
