"""Optimizers: settings, native descriptions, state, wrong arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import optimizers

NAMES = ["SGD", "Adam", "AdamW", "RMSprop"]
KEYS = {
    *("kind", "momentum", "nesterov", "rho", "centered", "beta_1", "beta_2", "epsilon", "amsgrad"),
    *("weight_decay", "clipnorm", "clipvalue", "global_clipnorm"),
}


@pytest.mark.parametrize("name", NAMES)
def test_native_descriptions_are_complete(name: str) -> None:
    described = getattr(optimizers, name)().native()
    assert set(described) == KEYS
    assert described["kind"] == {"AdamW": "adam"}.get(name, name.lower())
    assert [described[clip] for clip in ("clipnorm", "clipvalue", "global_clipnorm")] == [0.0, 0.0, 0.0]


def test_native_settings() -> None:
    sgd = optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipvalue=0.5).native()
    assert (sgd["momentum"], sgd["nesterov"], sgd["clipvalue"], sgd["weight_decay"]) == (0.9, True, 0.5, 0.0)
    adam = optimizers.Adam(beta_1=0.8, beta_2=0.99, epsilon=1e-3, amsgrad=True, weight_decay=0.1).native()
    assert (adam["beta_1"], adam["beta_2"], adam["epsilon"], adam["amsgrad"]) == (0.8, 0.99, 1e-3, True)
    assert adam["weight_decay"] == 0.1
    assert optimizers.AdamW().native()["weight_decay"] == 0.004
    rmsprop = optimizers.RMSprop(rho=0.7, momentum=0.2, centered=True, global_clipnorm=2.0).native()
    assert (rmsprop["rho"], rmsprop["momentum"], rmsprop["centered"], rmsprop["global_clipnorm"]) == (
        0.7,
        0.2,
        True,
        2.0,
    )


@pytest.mark.parametrize("name", NAMES)
def test_learning_rate(name: str) -> None:
    optimizer = getattr(optimizers, name)()
    assert optimizer.learning_rate == (0.01 if name == "SGD" else 0.001)
    for value in (0.5, 0, np.float32(0.25), np.array(0.125)):
        optimizer.learning_rate = value
        assert optimizer.learning_rate == float(value)
        assert type(optimizer.learning_rate) is float


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "fast", None, True])
def test_wrong_learning_rates_change_nothing(value: Any) -> None:
    optimizer = optimizers.SGD(0.3)
    with pytest.raises(ValueError, match=r"^SGD: learning_rate: expected a number >= 0, received "):
        optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.3
    with pytest.raises(ValueError, match=r"^Adam: learning_rate: expected a number >= 0, received "):
        optimizers.Adam(value)


def test_iterations() -> None:
    optimizer = optimizers.Adam()
    assert optimizer.iterations == 0
    optimizer.iterations = np.int64(7)
    assert optimizer.iterations == 7
    for value in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match=r"^Adam: iterations: expected an integer >= 0, received "):
            optimizer.iterations = value
    assert optimizer.iterations == 7


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("SGD", {"momentum": 1.5}, r"SGD: momentum: expected a number in \[0, 1\], received 1.5"),
        ("SGD", {"momentum": "big"}, "SGD: momentum: expected a number in"),
        ("Adam", {"beta_1": -0.1}, r"Adam: beta_1: expected a number in \[0, 1\], received -0.1"),
        ("Adam", {"epsilon": -1}, "Adam: epsilon: expected a number >= 0, received -1"),
        ("AdamW", {"weight_decay": None}, "AdamW: weight_decay: expected a number >= 0, received None"),
        ("RMSprop", {"rho": 2}, "RMSprop: rho: expected a number in"),
        ("SGD", {"clipnorm": -1.0}, "SGD: clipnorm: expected a number >= 0, received -1.0"),
        (
            "SGD",
            {"clipnorm": 1.0, "clipvalue": 2.0},
            "SGD: clipvalue: expected at most one of clipnorm, clipvalue and global_clipnorm, "
            "received clipnorm=1.0 and clipvalue=2.0",
        ),
        (
            "Adam",
            {"use_ema": True},
            r"Adam: use_ema: expected False \(a moving average of the weights is not available\)",
        ),
        ("Adam", {"loss_scale_factor": 2.0}, "Adam: loss_scale_factor: expected None"),
        ("Adam", {"gradient_accumulation_steps": 4}, "Adam: gradient_accumulation_steps: expected None"),
    ],
)
def test_wrong_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        getattr(optimizers, name)(**settings)


@pytest.mark.parametrize("name", NAMES)
def test_configs(name: str) -> None:
    optimizer = getattr(optimizers, name)(0.2, clipnorm=1.5, name="mine")
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.native() == optimizer.native()


@pytest.mark.parametrize("identifier", ["adam", "Adam", "ADAM", optimizers.Adam, {"class_name": "adam", "config": {}}])
def test_get(identifier: Any) -> None:
    assert type(optimizers.get(identifier)) is optimizers.Adam


def test_get_keeps_objects() -> None:
    optimizer = optimizers.SGD()
    assert optimizers.get(optimizer) is optimizer
    assert optimizers.get(None) is None


def test_unknown_optimizers() -> None:
    with pytest.raises(
        ValueError,
        match=r"^optimizers.get: identifier: expected the name of an optimizer, one of 'adam', .* received 'adm'$",
    ):
        optimizers.get("adm")
    for wrong in (7, len):
        with pytest.raises(ValueError, match=r"^optimizers.get: identifier: expected an optimizer, its name"):
            optimizers.get(wrong)


def test_an_optimizer_written_in_python_cannot_train() -> None:
    class Mine(optimizers.Optimizer):
        pass

    with pytest.raises(ValueError, match=r"^Mine: optimizer: expected one of SGD, Adam, AdamW, RMSprop for training"):
        Mine(0.1).native()
