"""Losses, accuracies and confusion counts: every row against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import EPSILON, REFERENCE, assert_same_specials, assert_within, double, each_row, placed

from fastcnn import _core

# kind -> settings to try
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "binary_crossentropy": [{}],
    "categorical_crossentropy": [{}],
    "sparse_categorical_crossentropy": [{}, {"ignore_class": 1}],
    "mean_squared_error": [{}],
    "mean_absolute_error": [{}],
    "mean_absolute_percentage_error": [{}],
    "mean_squared_logarithmic_error": [{}],
    "huber": [{"a": 0.75}],
    "log_cosh": [{}],
    "poisson": [{}],
    "hinge": [{}],
    "squared_hinge": [{}],
    "kl_divergence": [{}],
    "binary_focal_crossentropy": [{"a": 2.0}, {"a": 1.5, "b": 0.25}, {"a": 0.0, "b": 0.75}],
    "categorical_focal_crossentropy": [{"a": 2.0, "b": 0.25}, {"a": 1.5, "class_weights": True}, {"a": 0.0, "b": 1.0}],
    "categorical_hinge": [{}],
    "cosine_similarity": [{}],
    "categorical_generalized_cross_entropy": [{"a": 0.5}],
}
KINDS = list(SETTINGS)
FROM_LOGITS = [kind for kind in KINDS if "crossentropy" in kind]
SPARSE = "sparse_categorical_crossentropy"
SPARSE_KINDS = (SPARSE, "categorical_generalized_cross_entropy")
# The mission's output, classes around the vector widths, several rows a sample.
SHAPES = [
    (32, 1),
    (1, 1),
    (3, 10),
    *((2, n) for n in (3, 4, 7, 8, 9, 15, 16, 17, 33, 100)),
    (2, 3, 5),
    (2, 3, 2, 17),
    (5, 1000),
]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def data(kind: str, shape: tuple[int, ...], from_logits: bool, seed: int = 0) -> tuple[Any, Any, Any]:
    """prediction, target and weights"""
    rng = np.random.default_rng([seed, *shape])
    x = rng.standard_normal(shape) * 3
    if kind.startswith("binary") and not from_logits:
        x = 1 / (1 + np.exp(-x))
    elif ("categorical" in kind and kind != "categorical_hinge") or kind == "kl_divergence":
        # Not divided to a sum of 1 exactly: the categorical losses do that.
        x = x if from_logits else softmax(x) * rng.uniform(0.5, 2, (*shape[:-1], 1))
    elif kind in ("poisson", "mean_squared_logarithmic_error"):
        x = np.exp(0.3 * x)
    if kind in SPARSE_KINDS:
        target = placed(rng.integers(0, shape[-1], shape[:-1]), np.int32)
    elif kind.startswith("binary"):
        target = placed(rng.integers(0, 2, shape))
    elif kind.startswith("categorical"):
        target = placed(np.eye(shape[-1])[rng.integers(0, shape[-1], shape[:-1])])
    elif kind.endswith("hinge"):
        target = placed(2.0 * rng.integers(0, 2, shape) - 1)
    elif kind == "kl_divergence":
        target = placed(softmax(rng.standard_normal(shape)))
    elif kind in ("poisson", "mean_squared_logarithmic_error"):
        target = placed(rng.uniform(0, 4, shape))
    else:
        target = placed(rng.standard_normal(shape))
    return placed(x), target, placed(rng.uniform(0, 2, shape[0]))


def settings_for(settings: dict[str, Any], classes: int) -> dict[str, Any]:
    if "class_weights" in settings:
        return {**settings, "class_weights": np.linspace(0.5, 1.5, classes, dtype=np.float32).tolist()}
    return settings


def cancelled(kind: str, x: Any) -> Any:
    """The size of what a gradient is the difference of, where that is not its own size."""
    if kind == "cosine_similarity":
        return 1 / np.linalg.norm(x, axis=-1, keepdims=True)
    return {"poisson": 2.0, "mean_squared_logarithmic_error": 4.0}.get(kind, 0.0) / x.shape[-1]


def in_double(target: Any) -> Any:
    return target if target.dtype == np.int32 else double(target)[0]


CASES = [
    (kind, from_logits, smoothing, settings)
    for kind in KINDS
    for settings in SETTINGS[kind]
    for from_logits in ([False, True] if kind in FROM_LOGITS else [False])
    for smoothing in ([0.0, 0.125] if kind in FROM_LOGITS and kind != SPARSE else [0.0])
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("kind", "from_logits", "smoothing", "settings"), CASES)
@each_row("loss")
def test_loss_and_gradient_agree_with_the_oracle(
    kind: str, from_logits: bool, smoothing: float, settings: dict[str, Any], weighted: bool, algorithm: str, isa: str
) -> None:
    for shape in SHAPES:
        case = (kind, shape, from_logits, smoothing, settings, weighted, isa)
        x, target, weight = data(kind, shape, from_logits)
        if not weighted:
            weight = None
        x64, weight64 = double(x, weight)
        given = {"settings": settings_for(settings, shape[-1])}
        arguments = (kind, from_logits, smoothing)
        expected = _core.loss(x64, in_double(target), *arguments, weight64, 0.25, isa=REFERENCE, **given)
        actual = _core.loss(x, target, *arguments, weight, 0.25, isa=isa, algorithm=algorithm, **given)
        # The row losses are positive: nothing cancels between rows. Within a row the logits' magnitude counts.
        rows = int(np.prod(shape[:-1]))
        scale = abs(expected[0]) + 8 * rows * 2
        assert actual[0] == pytest.approx(expected[0], abs=16 * EPSILON * scale), f"repeat with {case!r}"
        size = np.abs(expected[1]).max(axis=-1, keepdims=True) + cancelled(kind, x64)
        assert_within(actual[1], expected[1], (24 + np.sqrt(shape[-1])) * EPSILON * (np.abs(expected[1]) + size), case)
        spread = np.ptp(x64, axis=-1, keepdims=True) + np.abs(x64)
        assert_within(actual[2], expected[2], (8 + spread + np.sqrt(shape[-1])) * EPSILON * np.abs(expected[2]), case)


@pytest.mark.parametrize("kind", KINDS[:3])
@each_row("loss")
def test_loss_of_saturated_logits_does_not_overflow(kind: str, algorithm: str, isa: str) -> None:
    for classes in (1, 3, 17):
        x = placed([[100.0] * classes, [-100.0] * classes, [1e38] * classes, [-1e38] * classes])
        x[:, 0] *= -1
        target = placed([0, 0, 0, 0], np.int32) if kind == SPARSE else placed(np.eye(classes)[[0] * 4])
        expected = _core.loss(*double(x), in_double(target), kind, True, 0.0, isa=REFERENCE)
        actual = _core.loss(x, target, kind, True, 0.0, isa=isa, algorithm=algorithm)
        assert actual[0] == pytest.approx(expected[0], rel=1e-6), f"repeat with {(kind, classes, isa)}"
        assert_within(actual[1], expected[1], 1e-6, (kind, classes, isa))


@pytest.mark.parametrize("kind", KINDS[:2])
@each_row("loss")
def test_clipped_probabilities_have_a_finite_loss_and_no_gradient(kind: str, algorithm: str, isa: str) -> None:
    for classes in (2, 9, 18):
        x = placed(np.tile([0.0, 1.0], (2, classes // 2 + 1))[:, :classes])
        if kind == "categorical_crossentropy":
            x[:, 2:] = 0.0
        target = placed(1.0 - x)
        loss, gradient, _ = _core.loss(x, target, kind, False, 0.0, isa=isa, algorithm=algorithm)
        assert 0 < loss < 17 * 2 * classes
        np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@each_row("loss")
def test_loss_passes_nan_on(kind: str, from_logits: bool, algorithm: str, isa: str) -> None:
    if kind not in FROM_LOGITS:
        from_logits = False
    given = {"settings": settings_for(SETTINGS[kind][0], 1)}
    for classes in (1, 5, 17):
        x, target, _ = data(kind, (4, classes), from_logits)
        x[2, classes - 1] = np.nan
        if kind == "categorical_generalized_cross_entropy":
            target[2] = classes - 1  # the other classes do not count
        expected = _core.loss(*double(x), in_double(target), kind, from_logits, 0.0, isa=REFERENCE, **given)
        actual = _core.loss(x, target, kind, from_logits, 0.0, isa=isa, algorithm=algorithm, **given)
        assert np.isnan(actual[0]) == np.isnan(expected[0])
        assert_same_specials(actual[1], expected[1], (kind, classes, from_logits, isa))
        assert np.isnan(actual[1]).any()


@each_row("loss")
def test_rows_of_the_ignored_class_have_no_loss_and_no_gradient(algorithm: str, isa: str) -> None:
    x, _, _ = data(SPARSE, (4, 5), True)
    target = placed([0, -1, 3, -1], np.int32)
    given = {"isa": isa, "algorithm": algorithm, "settings": {"ignore_class": -1}}
    loss, gradient, probabilities = _core.loss(x, target, SPARSE, True, 0.0, **given)
    alone = _core.loss(placed(x[[0, 2]]), placed(target[[0, 2]], np.int32), SPARSE, True, 0.0, **given)
    assert loss == alone[0]
    np.testing.assert_array_equal(gradient[[0, 2]], alone[1])
    np.testing.assert_array_equal(gradient[[1, 3]], 0.0)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, rtol=1e-6)
    with pytest.raises(_core.Error, match=r"expected classes from 0 to 4, received -1$"):
        _core.loss(x, target, SPARSE, True, 0.0, isa=isa, algorithm=algorithm)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_row_losses_add_up_to_the_loss(kind: str, from_logits: bool) -> None:
    if kind not in FROM_LOGITS:
        from_logits = False
    given = {"settings": settings_for(SETTINGS[kind][-1], 7)}
    x, target, _ = data(kind, (4, 3, 7), from_logits)
    rows = _core.row_losses(x, target, kind, from_logits, **given)
    assert rows.shape == (4, 3)
    np.testing.assert_allclose(rows.sum(), _core.loss(x, target, kind, from_logits, 0.0, **given)[0], rtol=1e-6)
    expected = _core.row_losses(*double(x), in_double(target), kind, from_logits, isa=REFERENCE, **given)
    np.testing.assert_allclose(rows, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["binary", "categorical", "sparse_categorical"])
@each_row("accuracy")
def test_accuracy_counts_as_the_oracle_does(kind: str, weighted: bool, algorithm: str, isa: str) -> None:
    for shape in SHAPES:
        rng = np.random.default_rng([1, *shape])
        x = placed(rng.integers(0, 5, shape) / 4)  # equal maxima, and predictions at the threshold
        x[rng.random(shape) < 0.05] = np.nan  # the largest, as for NumPy's argmax
        if kind == "sparse_categorical":
            target = placed(rng.integers(0, shape[-1], shape[:-1]), np.int32)
        else:
            target = placed(rng.integers(0, 2, shape))
        weight = placed(rng.integers(0, 4, shape[0])) if weighted else None
        expected = _core.accuracy(*double(x), in_double(target), kind, 0.5, *double(weight), isa=REFERENCE)
        actual = _core.accuracy(x, target, kind, 0.5, weight, isa=isa, algorithm=algorithm)
        assert actual == pytest.approx(expected, rel=1e-6), f"repeat with {(kind, shape, weighted, isa)}"
        assert actual[1] == (shape[0] if weight is None else weight.sum()) * np.prod(shape[1:-1], dtype=int)


@each_row("confusion_counts")
def test_confusion_counts_agree_with_the_oracle(algorithm: str, isa: str) -> None:
    for size in (1, 3, 8, 15, 16, 17, 33, 100, 1000):
        for weighted in (False, True):
            for thresholds in (1, 2, 200):
                rng = np.random.default_rng(size)
                x = placed(rng.integers(0, 9, size) / 8)  # some predictions equal a threshold
                target = placed(rng.integers(0, 2, size))
                weight = placed(rng.integers(0, 5, size) / 4) if weighted else None
                limits = placed(np.linspace(0, 1, thresholds) if thresholds > 1 else [0.5])
                expected = _core.confusion_counts(*double(x, target, limits, weight), isa=REFERENCE)
                actual = _core.confusion_counts(x, target, limits, weight, isa=isa, algorithm=algorithm)
                for a, e in zip(actual, expected):
                    np.testing.assert_array_equal(a, e, err_msg=f"repeat with {(size, weighted, thresholds, isa)}")


def test_targets_that_do_not_fit_are_refused() -> None:
    x = np.full((2, 3), 0.5, np.float32)
    with pytest.raises(_core.Error, match=r"^loss: target: expected classes from 0 to 2, received 3$"):
        _core.loss(x, np.array([0, 3], np.int32), SPARSE, False, 0.0)
    with pytest.raises(
        _core.Error, match=r"^loss: target: expected a C-contiguous int32 array of shape \(2,\), received fl"
    ):
        _core.loss(x, x, SPARSE, False, 0.0)
    with pytest.raises(_core.Error, match=r"^loss: kind: expected one of 'binary_crossentropy'.*, received 'hinges'$"):
        _core.loss(x, x, "hinges", False, 0.0)
    with pytest.raises(
        _core.Error, match=r"^loss: class_weights: expected one number for each of 3 classes, received 2$"
    ):
        _core.loss(x, x, "categorical_focal_crossentropy", False, 0.0, settings={"class_weights": [1, 2]})
