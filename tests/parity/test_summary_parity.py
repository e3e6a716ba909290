"""`summary` prints what Keras's prints, character by character."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest

import fastcnn

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.parity


def cnn(package: Any) -> Any:
    layers = package.layers
    return package.Sequential(
        [
            package.Input((12, 12, 3)),
            layers.Conv2D(16, 3, activation="relu", name="first"),
            layers.BatchNormalization(name="norm"),
            layers.MaxPooling2D(name="pool"),
            layers.Dropout(0.5, name="a_layer_with_a_name_that_is_much_too_long_for_its_column_of_the_table"),
            layers.Flatten(name="flat"),
            layers.Dense(10_000, name="wide[0]"),
            layers.Dense(2, activation="softmax", name="last"),
        ],
        name="cnn[x]",
    )


def nested(package: Any) -> Any:
    layers = package.layers
    inner = package.Sequential([layers.Conv2D(4, 3, name="conv"), layers.ReLU(name="relu")], name="inner")
    middle = package.Sequential([inner, layers.GlobalAveragePooling2D(name="average")], name="middle")
    return package.Sequential([package.Input((9, 9, 1), batch_size=4), middle, layers.Dense(1, name="out")], name="all")


def frozen(package: Any) -> Any:
    model = cnn(package)
    model.get_layer("first").trainable = False
    model.get_layer("norm").trainable = False
    return model


def unbuilt(package: Any) -> Any:
    layers = package.layers
    return package.Sequential([layers.Flatten(name="flat"), layers.Dense(3, name="dense")], name="unbuilt")


def empty(package: Any) -> Any:
    return package.Sequential(name="empty")


def trained(optimizer: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def make(package: Any) -> Any:
        model = package.Sequential([package.Input((4,)), package.layers.Dense(3, name="dense")], name="trained")
        model.compile(optimizer(package), loss="mse")
        model.fit(np.zeros((8, 4)), np.zeros((8, 3)), verbose=0)
        return model

    return make


def text(model: Any, **arguments: Any) -> str:
    texts: list[str] = []
    model.summary(print_fn=texts.append, **arguments)
    assert len(texts) == 1
    return texts[0]


MODELS = {
    "cnn": cnn,
    "nested": nested,
    "frozen": frozen,
    "unbuilt": unbuilt,
    "empty": empty,
    "adam": trained(lambda package: "adam"),
    "sgd": trained(lambda package: "sgd"),
    "momentum": trained(lambda package: package.optimizers.SGD(0.1, momentum=0.9)),
    "rmsprop": trained(lambda package: "rmsprop"),
}
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"line_length": 60},
    {"line_length": 120},
    {"show_trainable": True},
    {"expand_nested": True},
    {"expand_nested": True, "show_trainable": True, "line_length": 70},
    {"positions": [0.3, 0.6, 1.0]},
]


@pytest.mark.parametrize("name", MODELS)
def test_texts(name: str) -> None:
    ours, theirs = MODELS[name](fastcnn), MODELS[name](keras)
    for arguments in ARGUMENTS:
        assert text(ours, **arguments) == text(theirs, **arguments), arguments


@pytest.mark.parametrize("layer_range", [["pool", "flat"], ["last", "norm"], ["f", "pool"], ("wide", "wide")], ids=str)
def test_a_part_of_the_layers(layer_range: Any) -> None:
    assert text(cnn(fastcnn), layer_range=layer_range) == text(cnn(keras), layer_range=layer_range)


@pytest.mark.parametrize(
    "arguments",
    [{"layer_range": ["nowhere", "last"]}, {"layer_range": ["last"]}, {"layer_range": [1, 2]}, {"line_length": 9}],
    ids=str,
)
def test_refusals(arguments: dict[str, Any]) -> None:
    for package in (fastcnn, keras):
        with pytest.raises(ValueError):
            text(cnn(package), **arguments)


@pytest.mark.parametrize("columns", ["60", "100"])
def test_standard_output(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    found = []
    for package in (fastcnn, keras):
        with redirect_stdout(io.StringIO()) as stream:
            cnn(package).summary()
        found.append(stream.getvalue())
    assert found[0] == found[1] and "Total params" in found[0]
