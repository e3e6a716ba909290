"""Objects as plain data, and the names that data may mean."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import saving


class Doubled(keras.regularizers.L2):
    """A regularizer of a user's."""


def test_registered_classes_are_found_by_their_full_name() -> None:
    registered = saving.register_keras_serializable("tests", "Twice")(Doubled)
    try:
        assert registered is Doubled
        assert saving.get_registered_name(Doubled) == "tests>Twice"
        assert saving.get_registered_object("tests>Twice") is Doubled
        layer = keras.layers.Dense(2, kernel_regularizer=Doubled(0.25))
        config = json.loads(json.dumps(layer.get_config()))
        assert config["kernel_regularizer"]["registered_name"] == "tests>Twice"
        again = keras.layers.Dense.from_config(config)
        assert type(again.kernel_regularizer) is Doubled and again.kernel_regularizer.l2 == 0.25
    finally:
        del saving.get_custom_objects()["tests>Twice"]


def test_classes_without_get_config_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="get_config"):
        saving.register_keras_serializable()(int)


def test_a_scope_ends() -> None:
    with saving.custom_object_scope({"Doubled": Doubled}):
        assert type(keras.regularizers.get("Doubled")) is Doubled
    with pytest.raises(ValueError, match="Doubled"):
        keras.regularizers.get("Doubled")


@pytest.mark.parametrize(
    "value",
    [
        keras.layers.Conv2D(3, 2, activation="relu", kernel_regularizer="l2"),
        keras.losses.BinaryCrossentropy(from_logits=True),
        keras.metrics.AUC(curve="PR"),
        keras.optimizers.Adam(0.5),
        keras.initializers.HeNormal(seed=3),
        keras.regularizers.L1L2(0.1, 0.2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_come_back_from_json(value: Any) -> None:
    described = json.loads(json.dumps(saving.serialize_keras_object(value)))
    again = saving.deserialize_keras_object(described)
    assert type(again) is type(value)
    assert saving.serialize_keras_object(again) == saving.serialize_keras_object(value)


def test_arrays_bytes_slices_and_structures_come_back() -> None:
    value = {"a": np.arange(3, dtype=np.int32), "b": [b"x", slice(1, 2), ...], "c": {"d": None, "e": 1.5}}
    again = saving.deserialize_keras_object(json.loads(json.dumps(saving.serialize_keras_object(value))))
    assert again["a"].tolist() == [0, 1, 2] and again["a"].dtype == np.int32
    assert again["b"] == [b"x", slice(1, 2), ...] and again["c"] == {"d": None, "e": 1.5}


def test_functions_are_named_and_lambdas_refused() -> None:
    described = saving.serialize_keras_object(keras.activations.relu)
    assert described["config"] == "relu" and described["class_name"] == "function"
    assert saving.deserialize_keras_object(described) is keras.activations.relu
    with pytest.raises(ValueError, match="no code"):
        saving.serialize_keras_object(lambda x: x)


@pytest.mark.parametrize("safe_mode", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}},
        {"module": "os", "class_name": "system", "config": {}},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
        {"module": "keras.src.utils", "class_name": "get_file", "config": {}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "print"}},
        {"module": "keras.layers", "class_name": "serialize", "config": {}},
        {"module": "fastcnn.saving.registration", "class_name": "CustomObjectScope", "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2, "hidden": 1}},
        {"module": "keras.layers", "class_name": 3, "config": {}},
        {"module": "keras.layers", "class_name": "Dense", "config": "units"},
    ],
)
def test_names_that_nobody_gave_are_refused(config: Any, safe_mode: bool) -> None:
    with pytest.raises(ValueError, match="deserialize_keras_object|Dense"):
        saving.deserialize_keras_object(config, safe_mode=safe_mode)


def test_layers_have_functions_of_their_own() -> None:
    described = keras.layers.serialize(keras.layers.Dense(3, name="d"))
    assert keras.layers.deserialize(described).name == "d"
    with pytest.raises(ValueError, match=r"layers\.deserialize"):
        keras.layers.deserialize(saving.serialize_keras_object(keras.losses.MeanSquaredError()))


def test_a_description_alone_cannot_ask_for_any_amount_of_memory() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    text = model.to_json().replace('"units": 2', '"units": 1000000000')
    with pytest.raises(
        ValueError, match="expected weights for .*kernel of shape .4, 1000000000., received 'json_string'; 1024 MB"
    ):
        keras.models.model_from_json(text)
    assert keras.models.model_from_json(model.to_json()).get_weights()[0].any()  # drawn, not zeros
