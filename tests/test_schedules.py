"""Learning rates that are functions of the step."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn.optimizers import schedules

CASES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "exponential": ("ExponentialDecay", (0.1, 7, 0.9), {}),
    "exponential, staircase": ("ExponentialDecay", (0.1, 7, 0.9), {"staircase": True}),
    "inverse time": ("InverseTimeDecay", (0.1, 7, 0.5), {}),
    "inverse time, staircase": ("InverseTimeDecay", (0.1, 7, 0.5), {"staircase": True}),
    "polynomial": ("PolynomialDecay", (0.1, 20), {}),
    "polynomial, squared": ("PolynomialDecay", (0.1, 20, 0.01), {"power": 2.0}),
    "polynomial, cycle": ("PolynomialDecay", (0.1, 20), {"cycle": True}),
    "cosine": ("CosineDecay", (0.1, 20), {"alpha": 0.1}),
    "cosine, warm-up": ("CosineDecay", (0.0, 20), {"warmup_target": 0.1, "warmup_steps": 5}),
    "restarts": ("CosineDecayRestarts", (0.1, 7), {}),
    "restarts, alike": ("CosineDecayRestarts", (0.1, 7), {"t_mul": 1.0, "m_mul": 0.5, "alpha": 0.1}),
    "piecewise": ("PiecewiseConstantDecay", ([5, 9], [0.3, 0.2, 0.1]), {}),
}


def small_model(optimizer: Any) -> keras.Sequential:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(4,))])
    model.compile(optimizer=optimizer, loss="mse")
    return model


def data() -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    return generator.normal(size=(40, 4)).astype(np.float32), generator.normal(size=40).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parity
def test_rates_are_those_of_keras(case: str) -> None:
    import keras as real

    name, arguments, settings = CASES[case]
    ours = getattr(schedules, name)(*arguments, **settings)
    theirs = getattr(real.optimizers.schedules, name)(*arguments, **settings)
    expected = [float(theirs(step)) for step in range(60)]
    np.testing.assert_allclose(ours(np.arange(60)), expected, rtol=2e-5, atol=1e-7)
    assert [ours(step) for step in range(60)] == ours(np.arange(60)).tolist()
    assert ours.get_config() == theirs.get_config()


@pytest.mark.parametrize("case", CASES)
def test_schedules_come_back_from_their_config(case: str) -> None:
    name, arguments, settings = CASES[case]
    schedule = getattr(schedules, name)(*arguments, **settings)
    again = schedules.deserialize(schedules.serialize(schedule))
    assert type(again) is type(schedule) and again.get_config() == schedule.get_config()
    assert pickle.loads(pickle.dumps(schedule))(3) == schedule(3)


def test_training_takes_each_steps_rate_whatever_the_calls() -> None:
    """A rate of zero from step 5 on: what is trained is what five steps train."""
    schedule = schedules.PiecewiseConstantDecay([4], [0.1, 0.0])
    model = small_model(keras.optimizers.SGD(schedule))
    model.fit(*data(), batch_size=4, epochs=3, shuffle=False, verbose=0)
    x, y = data()
    other = small_model(keras.optimizers.SGD(0.1))
    other.fit(x[:20], y[:20], batch_size=4, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], other.get_weights()[0])
    assert model.optimizer.iterations == 30 and model.optimizer.learning_rate == 0.0


class Halved(schedules.LearningRateSchedule):
    """A user's, for one step at a time."""

    def __call__(self, step: Any) -> Any:
        return 0.1 if step < 5 else 0.0

    def get_config(self) -> dict[str, Any]:
        return {}


def test_a_schedule_of_the_users_and_a_function_are_called_for_every_step() -> None:
    built_in = small_model(keras.optimizers.SGD(schedules.PiecewiseConstantDecay([4], [0.1, 0.0])))
    own = small_model(keras.optimizers.SGD(Halved()))
    for model in (built_in, own):
        model.fit(*data(), batch_size=4, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(built_in.get_weights()[0], own.get_weights()[0])
    called = keras.optimizers.SGD(lambda: 0.25)
    assert called.learning_rate == 0.25


@pytest.mark.parametrize("ending", [".safetensors", ".keras"])
def test_a_file_keeps_the_schedule(tmp_path: Path, ending: str) -> None:
    model = small_model(keras.optimizers.Adam(schedules.CosineDecay(0.1, 30)))
    model.fit(*data(), batch_size=4, epochs=1, shuffle=False, verbose=0)
    model.save(tmp_path / f"m{ending}")
    again = keras.models.load_model(tmp_path / f"m{ending}")
    assert again.optimizer.learning_rate == model.optimizer.learning_rate
    for each in (model, again):
        each.fit(*data(), batch_size=4, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], again.get_weights()[0])


def test_a_scheduled_rate_cannot_be_set() -> None:
    optimizer = keras.optimizers.SGD(schedules.CosineDecay(0.1, 30))
    with pytest.raises(TypeError, match="a schedule says what it is"):
        optimizer.learning_rate = 0.1
    assert optimizer.learning_rate == 0.1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: schedules.PiecewiseConstantDecay([1], [0.1]), "values: expected 2 rates"),
        (lambda: schedules.CosineDecay(0.1, 0), "decay_steps: expected a positive number"),
        (lambda: schedules.ExponentialDecay("x", 1, 0.5), "initial_learning_rate: expected a number"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
