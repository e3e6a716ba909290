"""config.disable_winograd() and FASTCNN_WINOGRAD=0: direct sums only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from engine_cases import mission_model

import fastcnn as keras

PROGRAM = "import fastcnn; print(fastcnn.config.is_winograd_enabled())"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = keras.config.is_winograd_enabled()
    yield
    (keras.config.enable_winograd if before else keras.config.disable_winograd)()


def kernels() -> str:
    model = mission_model()
    plans = [model._current_network().native.explain(32, training) for training in (False, True)]
    return " ".join(step["kernel"] for plan in plans for step in plan if "kernel" in step)


def test_no_model_uses_winograd_when_it_is_off() -> None:
    keras.config.enable_winograd()
    assert "winograd" in kernels()
    keras.config.disable_winograd()
    assert not keras.config.is_winograd_enabled()
    assert "winograd" not in kernels()


def test_results_agree_closely() -> None:
    x = np.random.default_rng(0).random((8, 28, 28, 1), np.float32)
    keras.config.enable_winograd()
    with_it = mission_model().predict(x, verbose=0)
    keras.config.disable_winograd()
    without = mission_model().predict(x, verbose=0)
    np.testing.assert_allclose(with_it, without, rtol=1e-5)
    assert not np.array_equal(with_it, without)


def test_a_model_that_has_run_follows_the_switch() -> None:
    x, y = np.random.default_rng(0).random((8, 28, 28, 1), np.float32), np.arange(8) % 2

    def everything(model: keras.Sequential, weights: list[Any]) -> list[bytes]:
        model.set_weights(weights)
        found = [
            model.predict(x, verbose=0),
            model.predict(x[:1], verbose=0),
            np.float64(model.evaluate(x, y, verbose=0)),
        ]
        model.fit(x, y, batch_size=8, verbose=0, shuffle=False)
        return [a.tobytes() for a in [*found, *model.get_weights()]]

    model = mission_model(optimizer=keras.optimizers.SGD(0.1))
    weights = model.get_weights()
    keras.config.enable_winograd()
    with_it = everything(model, weights)
    keras.config.disable_winograd()
    without = everything(model, weights)
    assert with_it[0] != without[0] and with_it[3:] != without[3:]
    fresh = mission_model(optimizer=keras.optimizers.SGD(0.1))
    assert everything(fresh, weights) == without
    keras.config.enable_winograd()
    assert everything(model, weights) == with_it


@pytest.mark.parametrize(("value", "printed"), [("0", "False"), ("1", "True"), ("", "True")])
def test_environment(value: str, printed: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "FASTCNN_WINOGRAD": value}, capture_output=True, text=True
    )
    assert run.stdout.strip() == printed, run.stderr


def test_environment_with_another_value_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, "FASTCNN_WINOGRAD": "no"}, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "FASTCNN_WINOGRAD: expected 0 or 1, received 'no'" in run.stderr
