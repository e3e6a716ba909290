"""Losses: values by hand, reductions, weights, native descriptions, wrong labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import losses

NATIVE = {
    "BinaryCrossentropy": "binary_crossentropy",
    "CategoricalCrossentropy": "categorical_crossentropy",
    "SparseCategoricalCrossentropy": "sparse_categorical_crossentropy",
    "MeanSquaredError": "mean_squared_error",
    "MeanAbsoluteError": "mean_absolute_error",
}


def case(name: str, shape: tuple[int, ...] = (6, 3)) -> tuple[Any, Any]:
    generator = np.random.default_rng(2)
    prediction = generator.uniform(0.05, 0.95, size=shape).astype(np.float32)
    if name == "SparseCategoricalCrossentropy":
        return generator.integers(0, shape[-1], size=shape[:-1]), prediction
    return generator.integers(0, 2, size=shape), prediction


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 3)])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_class_is_the_mean_of_the_function(name: str, shape: tuple[int, ...], weighted: bool) -> None:
    """The kernel's sum against the function written in NumPy."""
    y_true, y_pred = case(name, shape)
    values = getattr(losses, NATIVE[name])(y_true, y_pred)
    assert values.shape == shape[:-1]
    weight = np.random.default_rng(3).uniform(size=shape[:-1]) if weighted else None
    expected = (values if weight is None else values * weight).sum() / values.size
    loss = getattr(losses, name)()
    result = loss(y_true, y_pred, sample_weight=weight)
    assert isinstance(result, float)
    assert result == pytest.approx(expected, rel=2e-6)
    assert getattr(losses, name)(reduction="sum")(y_true, y_pred, weight) == pytest.approx(
        expected * values.size, rel=2e-6
    )
    unreduced = getattr(losses, name)(reduction=None)(y_true, y_pred, weight)
    np.testing.assert_allclose(unreduced, values if weight is None else values * weight, rtol=1e-6)


def test_values_by_hand() -> None:
    assert losses.MeanSquaredError()([[0.0, 2.0]], [[1.0, 5.0]]) == pytest.approx(5.0)
    assert losses.MeanAbsoluteError()([[0.0, 2.0]], [[1.0, 5.0]]) == pytest.approx(2.0)
    assert losses.BinaryCrossentropy()([[1.0]], [[0.25]]) == pytest.approx(np.log(4), rel=1e-6)
    assert losses.BinaryCrossentropy(from_logits=True)([[1.0]], [[0.0]]) == pytest.approx(np.log(2), rel=1e-6)
    # t = 1 smoothed by 0.2 is 0.9.
    smoothed = losses.BinaryCrossentropy(label_smoothing=0.2)([[1.0]], [[0.25]])
    assert smoothed == pytest.approx(0.9 * np.log(4) + 0.1 * np.log(4 / 3), rel=1e-6)
    assert losses.CategoricalCrossentropy()([[0, 1]], [[1.0, 3.0]]) == pytest.approx(np.log(4 / 3), rel=1e-6)
    assert losses.SparseCategoricalCrossentropy()([1], [[1.0, 3.0]]) == pytest.approx(np.log(4 / 3), rel=1e-6)


@pytest.mark.parametrize("name", ["BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"])
def test_huge_logits_do_not_overflow(name: str) -> None:
    y_pred = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    y_true = np.array([0, 1]) if name.startswith("Sparse") else np.eye(2)
    loss = getattr(losses, name)(from_logits=True)
    assert loss(y_true, y_pred) == pytest.approx(0.0, abs=1e-6)
    assert loss(y_true[::-1], y_pred) == pytest.approx(1e4 if name.startswith("Binary") else 2e4)


@pytest.mark.parametrize("name", ["BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy"])
def test_certain_and_wrong_is_finite(name: str) -> None:
    y_true = np.array([1]) if name.startswith("Sparse") else np.array([[0, 1]])
    assert 15 < getattr(losses, name)(reduction="sum")(y_true, [[1.0, 0.0]]) < 17


def test_label_and_prediction_ranks() -> None:
    column = np.array([[0.2], [0.9]])
    expected = losses.BinaryCrossentropy()([[0], [1]], column)
    assert losses.BinaryCrossentropy()([0, 1], column) == expected
    assert losses.BinaryCrossentropy()([[0], [1]], column[:, 0]) == pytest.approx(expected)
    sparse = losses.SparseCategoricalCrossentropy()
    assert sparse([[0], [1]], np.eye(2) * 0.5 + 0.2) == sparse([0, 1], np.eye(2) * 0.5 + 0.2)


def test_sample_weights_of_samples_and_of_losses() -> None:
    y_true, y_pred = case("MeanSquaredError", (4, 5, 3))
    loss = losses.MeanSquaredError()
    weight = np.array([1.0, 0.0, 2.0, 0.5])
    by_loss = np.repeat(weight[:, None], 5, axis=1)
    assert loss(y_true, y_pred, weight) == pytest.approx(loss(y_true, y_pred, by_loss))
    assert loss(y_true, y_pred, by_loss[..., None]) == pytest.approx(loss(y_true, y_pred, by_loss))
    with pytest.raises(ValueError, match=r"sample_weight: expected shape \(4,\) or \(4, 5\), received \(3,\)"):
        loss(y_true, y_pred, np.ones(3))


def test_reduction_by_weights() -> None:
    loss = losses.MeanSquaredError(reduction="mean_with_sample_weight")
    assert loss([[0.0], [0.0]], [[1.0], [3.0]], [1.0, 3.0]) == pytest.approx((1 + 27) / 4)
    assert loss([[0.0]], [[1.0]], [0.0]) == 0.0


def test_ignored_class() -> None:
    y_true, y_pred = np.array([0, 2, 1]), np.full((3, 2), 0.5, np.float32)
    loss = losses.SparseCategoricalCrossentropy(ignore_class=2)
    assert loss(y_true, y_pred) == pytest.approx(np.log(2), rel=1e-6)
    assert loss(np.array([2, 2, 2]), y_pred) == 0.0
    np.testing.assert_allclose(losses.sparse_categorical_crossentropy(y_true, y_pred, ignore_class=2)[1], 0)


def test_no_samples() -> None:
    assert losses.MeanSquaredError()(np.zeros((0, 2)), np.zeros((0, 2))) == 0.0


# --- native -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NATIVE)
def test_native_descriptions(name: str) -> None:
    described = getattr(losses, name)().native()
    assert described.pop("ignore_class") is None
    expected = {"kind": NATIVE[name], "from_logits": False, "label_smoothing": 0.0, "reduction": "mean"}
    assert described == expected


def test_native_settings() -> None:
    described = losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1, reduction="sum").native()
    assert (described["from_logits"], described["label_smoothing"], described["reduction"]) == (True, 0.1, "sum")
    assert losses.SparseCategoricalCrossentropy(ignore_class=2).native()["ignore_class"] == 2
    assert losses.Huber(delta=0.5).native()["a"] == 0.5


@pytest.mark.parametrize("reduction", [None, "none"])
def test_without_a_reduction_there_is_nothing_to_train(reduction: str | None) -> None:
    with pytest.raises(
        ValueError, match=r"^MeanSquaredError: reduction: expected 'sum_over_batch_size', 'mean', .* for"
    ):
        losses.MeanSquaredError(reduction=reduction).native()


def doubled(y_true: Any, y_pred: Any) -> Any:
    return 2 * abs(y_true - y_pred).mean(axis=-1)


@pytest.mark.parametrize(
    "loss",
    [losses.BinaryCrossentropy(axis=1), losses.LossFunctionWrapper(doubled), losses.Dice()],
    ids=lambda loss: loss.name,
)
def test_what_has_no_kernel_is_asked_for_its_gradient(loss: losses.Loss) -> None:
    assert loss.native() == {"kind": "host", "host": loss}


def test_a_subclass_is_not_taken_for_its_base() -> None:
    class Doubled(losses.MeanSquaredError):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            return 2 * super().call(y_true, y_pred)

    assert Doubled()([[0.0]], [[3.0]]) == 18.0
    assert Doubled().native()["kind"] == "host"


@pytest.mark.parametrize("name", ["CTC", "ctc"])
def test_what_is_not_there_says_so(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"^fastcnn.losses has no attribute '{name}': the loss of sequences"):
        getattr(losses, name)


# --- checks -----------------------------------------------------------------------------------------------------------


def test_wrong_labels() -> None:
    with pytest.raises(
        ValueError, match=r"^mean_squared_error: y_true: expected the shape of y_pred, \(2, 3\), received \(3, 2\)$"
    ):
        losses.MeanSquaredError()(np.zeros((3, 2)), np.zeros((2, 3)))
    sparse = losses.SparseCategoricalCrossentropy()
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=rf"y_true: expected classes in \[0, 3\), received {wrong}$"):
            sparse([0, wrong], np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"y_true: expected classes in \[0, 3\), received nan$"):
        sparse([0, float("nan")], np.ones((2, 3)))
    with pytest.raises(
        ValueError, match=r"y_true: expected shape \(2,\), y_pred's without the classes, received \(3,\)"
    ):
        sparse([0, 1, 2], np.ones((2, 3)))


@pytest.mark.parametrize("value", [-0.1, 1.1, "much", True, float("nan")])
def test_wrong_smoothing(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^CategoricalCrossentropy: label_smoothing: expected a number in \[0, 1\]"):
        losses.CategoricalCrossentropy(label_smoothing=value)


def test_wrong_reduction_and_axis() -> None:
    with pytest.raises(ValueError, match=r"^MeanSquaredError: reduction: expected one of .* received 'avg'$"):
        losses.MeanSquaredError(reduction="avg")
    with pytest.raises(ValueError, match=r"^BinaryCrossentropy: axis: expected an integer, received True$"):
        losses.BinaryCrossentropy(axis=True)


# --- by name ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "cls"),
    [
        ("mse", "MeanSquaredError"),
        ("MAE", "MeanAbsoluteError"),
        ("bce", "BinaryCrossentropy"),
        ("sparse_categorical_crossentropy", "SparseCategoricalCrossentropy"),
        ("CategoricalCrossentropy", "CategoricalCrossentropy"),
        (losses.mean_squared_error, "MeanSquaredError"),
        (losses.BinaryCrossentropy, "BinaryCrossentropy"),
        (losses.BinaryCrossentropy(), "BinaryCrossentropy"),
    ],
)
def test_get(identifier: Any, cls: str) -> None:
    assert type(losses.get(identifier)).__name__ == cls


def test_get_wraps_a_function() -> None:
    def doubled(y_true: Any, y_pred: Any) -> Any:
        return 2 * abs(y_true - y_pred).mean(axis=-1)

    loss = losses.get(doubled)
    assert loss is not None
    assert loss.name == "doubled"
    assert loss([[1.0]], [[2.0]]) == 2.0
    assert losses.get(None) is None


def test_unknown_losses() -> None:
    with pytest.raises(
        ValueError, match=r"^losses.get: identifier: .* one of 'binary_crossentropy', .* 'binary_crossentrpy'"
    ):
        losses.get("binary_crossentrpy")
    with pytest.raises(ValueError, match=r"^losses.get: identifier: expected a loss, its name .* received 7$"):
        losses.get(7)


def test_configs() -> None:
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=3, reduction="sum", name="mine")
    again = losses.deserialize(losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert (again.name, again.reduction) == ("mine", "sum")
