"""Constraints and penalties of one's own: alone, in training, in files, wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _core, constraints, regularizers


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((24, 6, 6, 2)).astype(np.float32), rng.standard_normal((24, 3)).astype(np.float32)


def model(**conv: Any) -> Any:
    keras.utils.set_random_seed(1)
    made = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(5, 3, **conv),
            keras.layers.BatchNormalization(gamma_constraint="non_neg"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, kernel_constraint=constraints.MaxNorm(0.5, axis=(0, 1))),
        ]
    )
    made.compile(keras.optimizers.SGD(0.3), loss="mse")
    return made


class AtMost(constraints.Constraint):
    """A constraint in Python."""

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, w: Any) -> Any:
        return np.clip(w, -self.limit, self.limit)

    def get_config(self) -> dict[str, Any]:
        return {"limit": self.limit}


class Fourth(regularizers.Regularizer):
    """A penalty in Python."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: Any) -> Any:
        return self.factor * np.sum(np.asarray(x, np.float64) ** 4)

    def gradient(self, x: Any) -> Any:
        return 4 * self.factor * np.asarray(x, np.float64) ** 3

    def get_config(self) -> dict[str, Any]:
        return {"factor": self.factor}


def test_training_keeps_to_them() -> None:
    x, y = data()
    made = model(kernel_constraint=constraints.UnitNorm(axis=[0, 1, 2]), bias_constraint="non_neg")
    made.fit(x, y, batch_size=8, epochs=2, verbose=0)
    conv, norm, _, dense = made.layers
    np.testing.assert_allclose(np.sqrt((conv.kernel.numpy() ** 2).sum(axis=(0, 1, 2))), 1.0, rtol=1e-5)
    assert conv.bias.numpy().min() >= 0 and norm.gamma.numpy().min() >= 0
    assert np.linalg.norm(dense.kernel.numpy()) <= 0.5 + 1e-6


def test_thread_counts_change_no_bit() -> None:
    x, y = data()
    found = []
    for threads in (1, 2):
        _core.set_num_threads(threads)
        made = model(
            kernel_constraint=constraints.MinMaxNorm(0.2, 0.7, 0.5),
            bias_constraint=AtMost(0.01),
            kernel_regularizer=Fourth(0.1),
        )
        made.fit(x, y, batch_size=8, epochs=2, verbose=0)
        found.append([w.tobytes() for w in made.get_weights()])
    _core.set_num_threads(2)
    assert found[0] == found[1]


def test_python_s_own_and_native_ones_agree() -> None:
    class Slow(constraints.MaxNorm):
        def __call__(self, w: Any) -> Any:
            return super().__call__(w)

    x, y = data()
    one, other = model(kernel_constraint=constraints.MaxNorm(0.3)), model(kernel_constraint=Slow(0.3))
    for made in (one, other):
        made.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_penalty_of_one_s_own_counts_in_loss_and_gradient() -> None:
    x, y = data()
    made = model(kernel_regularizer=Fourth(0.5))
    plain = model()
    penalty = Fourth(0.5)(made.layers[0].kernel)
    assert made.evaluate(x, y, verbose=0) == pytest.approx(plain.evaluate(x, y, verbose=0) + penalty, rel=1e-5)
    before = made.layers[0].kernel.numpy()
    made.compile(keras.optimizers.SGD(0.01), loss="mse")
    plain.compile(keras.optimizers.SGD(0.01), loss="mse")
    loss, without = made.train_on_batch(x, y), plain.train_on_batch(x, y)
    assert loss == pytest.approx(without + penalty, rel=1e-5)
    moved = made.layers[0].kernel.numpy() - plain.layers[0].kernel.numpy()
    np.testing.assert_allclose(moved, -0.01 * Fourth(0.5).gradient(before), rtol=1e-3, atol=1e-6)


def test_clipping_sees_the_penalty_s_gradient() -> None:
    x, y = data()
    made = model(kernel_regularizer=Fourth(100.0))
    made.compile(keras.optimizers.SGD(1.0, clipnorm=0.01), loss="mse")
    before = made.layers[0].kernel.numpy()
    made.train_on_batch(x, y)
    assert np.linalg.norm(made.layers[0].kernel.numpy() - before) == pytest.approx(0.01, rel=1e-4)


def test_errors_of_one_s_own_reach_the_caller() -> None:
    x, y = data()

    def broken(w: Any) -> Any:
        raise ZeroDivisionError("in here")

    with pytest.raises(ZeroDivisionError, match="in here"):
        model(kernel_constraint=broken).fit(x, y, verbose=0)
    with pytest.raises(
        ValueError, match=r"result: expected real numbers of shape \(5,\) for .*bias, received float64 of shape"
    ):
        model(bias_constraint=lambda w: np.ones(7)).fit(x, y, verbose=0)

    class NoGradient(regularizers.Regularizer):
        def __call__(self, x: Any) -> Any:
            return 1.0

    with pytest.raises(ValueError, match=r"^NoGradient: gradient: expected a method gradient\(x\)"):
        model(kernel_regularizer=NoGradient()).fit(x, y, verbose=0)

    class Wrong(Fourth):
        def gradient(self, x: Any) -> Any:
            return np.ones(3)

    made = model(kernel_regularizer=Wrong(1.0))
    before = made.get_weights()
    with pytest.raises(ValueError, match=r"^Wrong: gradient: expected real numbers of shape"):
        made.fit(x, y, verbose=0)
    for layer, kept in zip((0, 1), (before[0], before[1])):
        np.testing.assert_array_equal(made.get_weights()[layer], kept)  # no step was taken
    with pytest.raises(ValueError, match=r"^MaxNorm: axis: expected axes of weights with 4 of them, received 4"):
        model(kernel_constraint=constraints.MaxNorm(axis=4)).fit(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"^constraints.get: identifier: expected .* received 'max_nrm'"):
        keras.layers.Dense(2, kernel_constraint="max_nrm")


@pytest.mark.parametrize("suffix", ["safetensors", "keras", "json"])
def test_files_keep_them(suffix: str, tmp_path: Path) -> None:
    own = {"AtMost": AtMost, "Fourth": Fourth}
    made = model(kernel_constraint=AtMost(0.25), kernel_regularizer=Fourth(0.5), bias_constraint=constraints.MaxNorm(3))
    if suffix == "json":
        again = keras.models.model_from_json(made.to_json(), custom_objects=own)
    else:
        made.save(tmp_path / f"m.{suffix}")
        again = keras.models.load_model(tmp_path / f"m.{suffix}", custom_objects=own)
    conv, norm, _, dense = again.layers
    assert isinstance(conv.kernel_constraint, AtMost) and conv.kernel_constraint.limit == 0.25
    assert isinstance(conv.kernel_regularizer, Fourth) and conv.kernel_regularizer.factor == 0.5
    assert isinstance(conv.kernel.constraint, AtMost)
    assert (conv.bias_constraint.max_value, norm.gamma_constraint.get_config()) == (3, {})
    assert list(dense.kernel_constraint.axis) == [0, 1]
    assert keras.models.clone_model(made).get_config()["layers"][1] == made.get_config()["layers"][1]
