"""Losses written in Python, run between two phases of the native plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _core, layers, losses


class Squares(losses.Loss):
    """Mean squared error, as the kernel computes it."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ((y_pred - y_true) ** 2).mean(axis=-1)

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return 2 * (y_pred - y_true) / y_pred.shape[-1]


def squares(y_true: Any, y_pred: Any) -> Any:
    return Squares().call(y_true, y_pred), Squares().gradient(y_true, y_pred)


def values_only(y_true: Any, y_pred: Any) -> Any:
    return ((y_pred - y_true) ** 2).mean(axis=-1)


class WithoutGradient(losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return values_only(y_true, y_pred)


def model(loss: Any, head: tuple[Any, ...] = ()) -> Any:
    keras.utils.set_random_seed(1)
    parts = [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)]
    made = keras.Sequential([keras.Input((6, 6, 2)), *parts, *head])
    made.compile(optimizer=keras.optimizers.SGD(0.05), loss=loss, metrics=["mae"], weighted_metrics=["mse"])
    return made


def data(n: int = 37) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 6, 6, 2)), rng.normal(size=(n, 3))
    return x.astype(np.float32), y.astype(np.float32), rng.uniform(0, 2, n).astype(np.float32)


@pytest.mark.parametrize("loss", [Squares(), squares], ids=["class", "function"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("head", [(), (layers.Activation("softmax"),)], ids=["dense", "softmax"])
def test_it_trains_as_the_kernel_does(loss: Any, weighted: bool, head: tuple[Any, ...]) -> None:
    x, y, weight = data()
    found = []
    for each in (loss, "mse"):
        made = model(each, tuple(layers.Activation("softmax") for _ in head))
        weights = weight if weighted else None
        history = made.fit(x, y, sample_weight=weights, batch_size=8, epochs=2, verbose=0, shuffle=False).history
        found.append(
            (history, made.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True), made.get_weights())
        )
    for ours, theirs in zip(found[0][:2], found[1][:2]):
        assert ours == {key: pytest.approx(value, rel=1e-5) for key, value in theirs.items()}
    for a, b in zip(found[0][2], found[1][2]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_class_weights_and_batches_one_by_one() -> None:
    x, y, _ = data(24)
    labels = np.eye(3)[np.arange(24) % 3]
    found = []
    for each in (squares, "mse"):
        made = model(each)
        made.fit(x, labels, class_weight={0: 0.5, 2: 2.0}, batch_size=8, epochs=1, shuffle=False, verbose=0)
        made.fit(((x[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)), verbose=0)
        found.append([made.train_on_batch(x[:8], y[:8]), made.test_on_batch(x[8:16], y[8:16]), *made.get_weights()])
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [values_only, WithoutGradient()], ids=["function", "class"])
def test_without_a_gradient_it_measures_and_refuses_to_train(loss: Any) -> None:
    x, y, _ = data()
    made = model(loss)
    before = made.get_weights()
    expected = model("mse").evaluate(x, y, verbose=0)
    assert made.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(
        NotImplementedError, match=r": gradient: expected a method gradient\(y_true, y_pred\) that returns"
    ):
        made.fit(x, y, verbose=0)
    trained = [w.trainable for w in made.weights]
    for a, b, flag in zip(before, made.get_weights(), trained):
        assert not flag or np.array_equal(a, b)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (
            lambda t, p: (values_only(t, p), np.ones((2, 2))),
            ValueError,
            r"gradient: expected the shape of y_pred, \(37, 3\)",
        ),
        (lambda t, p: (np.ones(5), p), ValueError, r"call: expected one loss for each of the 37 samples"),
        (lambda t, p: 1 / 0, ZeroDivisionError, "division by zero"),
    ],
    ids=["gradient", "losses", "its own"],
)
def test_what_goes_wrong_in_it_comes_out_before_a_weight_changes(loss: Any, error: Any, message: str) -> None:
    x, y, _ = data()
    made = model(loss)
    before = [w.numpy().copy() for w in made.trainable_weights]
    for _ in range(2):
        with pytest.raises(error, match=message):
            made.fit(x, y, batch_size=37, verbose=0)
    for a, w in zip(before, made.trainable_weights):
        np.testing.assert_array_equal(a, w.numpy())


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    x, y, weight = data(150)
    found = []
    try:
        for count in (1, 2, 5):
            _core.set_num_threads(count)
            made = model(Squares())
            logs = made.fit(x, y, sample_weight=weight, batch_size=64, epochs=2, verbose=0, shuffle=False).history
            found.append([*made.get_weights(), logs["loss"], made.evaluate(x, y, verbose=0)])
    finally:
        _core.set_num_threads(0)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_labels_may_have_a_shape_of_their_own() -> None:
    """Class numbers for a loss that wants them; an accuracy that follows their shape."""
    x, _, _ = data(30)
    classes = np.arange(30) % 3

    def picked(y_true: Any, y_pred: Any) -> Any:
        rows = np.arange(len(y_pred))
        gradient = np.zeros_like(y_pred)
        gradient[rows, y_true.astype(int)] = -1
        return -y_pred[rows, y_true.astype(int)], gradient

    made = model(picked)
    made.compile(optimizer="sgd", loss=picked, metrics=["accuracy"])
    logs = made.evaluate(x, classes, verbose=0, return_dict=True)
    outputs = made.predict(x, verbose=0)
    assert logs["accuracy"] == pytest.approx((outputs.argmax(axis=-1) == classes).mean())
    assert logs["loss"] == pytest.approx(-outputs[np.arange(30), classes].mean(), rel=1e-5)
    assert made.fit(x, classes, epochs=3, verbose=0).history["loss"][-1] < logs["loss"]
