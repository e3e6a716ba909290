"""Layers as plain data. https://keras.io/api/models/model_saving_apis/serialization_utils/"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastcnn import _messages
from fastcnn.layers.layer import Layer
from fastcnn.saving.serialization import deserialize_keras_object, serialize_keras_object


def serialize(layer: Layer) -> dict[str, Any]:
    """A layer's description.

    Raises:
        ValueError: not a layer.

    Example:
        >>> from fastcnn import layers
        >>> serialize(layers.Dense(3))["config"]["units"]
        3
    """
    if not isinstance(layer, Layer):
        _messages.fail("layers.serialize", "layer", "a layer", layer)
    described: dict[str, Any] = serialize_keras_object(layer)
    return described


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """The layer that `serialize` described.

    Raises:
        ValueError: not the description of a layer that is known here.

    Example:
        >>> from fastcnn import layers
        >>> deserialize({"class_name": "Dense", "config": {"units": 3}}).units
        3
    """
    made = deserialize_keras_object(config, custom_objects)
    if not isinstance(made, Layer):
        _messages.fail("layers.deserialize", "config", "the description of a layer", config)
    return made
