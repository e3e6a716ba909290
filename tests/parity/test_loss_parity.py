"""Losses: values, gradients, training against the installed Keras."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import losses

pytestmark = pytest.mark.parity

# Float32 sums in another order: a few units in the last place of the largest term.
TOLERANCE: dict[str, Any] = {"rtol": 2e-6, "atol": 2e-7}


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def array(value: Any) -> np.ndarray[Any, Any]:
    """A Keras tensor as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def loss_case(name: str, shape: tuple[int, ...], from_logits: bool) -> tuple[Any, Any]:
    """Labels and predictions away from saturation, where backends of Keras differ."""
    generator = rng()
    prediction = generator.normal(size=shape).astype(np.float32)
    labels = generator.normal(size=shape).astype(np.float32)
    positive = "Logarithmic" in name or name in ("Poisson", "MeanAbsolutePercentageError")
    if positive:
        return np.exp(labels), np.exp(prediction)
    if name in ("MeanSquaredError", "MeanAbsoluteError", "Huber", "LogCosh", "CosineSimilarity"):
        return labels, prediction
    if name in ("Hinge", "SquaredHinge"):
        return generator.integers(0, 2, size=shape), prediction
    if name == "Circle":
        rows = prediction.reshape(-1, shape[-1])
        return generator.integers(0, 2, size=len(rows)), rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    if not from_logits and name != "CategoricalHinge":
        prediction = 1 / (1 + np.exp(-prediction))
    if name in ("SparseCategoricalCrossentropy", "CategoricalGeneralizedCrossEntropy"):
        return generator.integers(0, shape[-1], size=shape[:-1]), prediction
    if name.startswith("Binary"):
        return generator.integers(0, 2, size=shape), prediction
    if name == "KLDivergence":
        return 1 / (1 + np.exp(-labels)), prediction
    return np.eye(shape[-1])[generator.integers(0, shape[-1], size=shape[:-1])], prediction


def arguments_of(name: str) -> set[str]:
    return set(inspect.signature(getattr(losses, name)).parameters)


LOSS_SETTINGS: list[tuple[str, dict[str, Any]]] = [
    (name, settings)
    for name in losses._CLASSES
    for settings in (
        {},
        {"from_logits": True},
        {"label_smoothing": 0.2},
        {"from_logits": True, "label_smoothing": 0.2},
        {"delta": 0.4},
        {"q": 0.3},
        {"gamma": 1.5, "apply_class_balancing": True},
        {"gamma": 3.0, "from_logits": True, "alpha": 0.6, "apply_class_balancing": True},
        {"gamma": 1.5, "alpha": [0.2, 0.5, 0.3], "label_smoothing": 0.1},
        {"alpha": 0.3, "beta": 0.8},
        {"axis": (1,), "reduction": "sum"},
        {"margin": 0.2, "remove_diagonal": False, "gamma": 2.0},
    )
    if set(settings) <= arguments_of(name)
    and not ("alpha" in settings and isinstance(settings["alpha"], list) and name != "CategoricalFocalCrossentropy")
    and not ("axis" in settings and name not in ("Dice", "Tversky"))
]


@pytest.mark.parametrize(("name", "settings"), LOSS_SETTINGS, ids=str)
@pytest.mark.parametrize("shape", [(7, 3), (5, 4, 3)])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", None])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_their_gradients(
    keras: Any, name: str, settings: dict[str, Any], shape: tuple[int, ...], reduction: str | None, weighted: bool
) -> None:
    y_true, y_pred = loss_case(name, shape, settings.get("from_logits", False))
    settings = {"reduction": reduction, **settings}
    ours, theirs = getattr(losses, name)(**settings), getattr(keras.losses, name)(**settings)
    y_pred = np.asarray(y_pred, np.float32)
    # One weight a sample for losses that mix samples; one a loss otherwise.
    count = y_true.shape if name == "Circle" else shape[:-1]
    whole = name in ("Dice", "Tversky")
    if whole:
        count = (shape[0],) if "axis" not in settings else (shape[0], *shape[2:])
    weight = rng().uniform(0, 2, size=count).astype(np.float32) if weighted else None
    if whole and "axis" not in settings and weighted and settings["reduction"] is None:
        weight = None
    predictions = keras.ops.convert_to_tensor(y_pred).requires_grad_()
    expected = theirs(y_true, predictions, sample_weight=weight)
    np.testing.assert_allclose(ours(y_true, y_pred, sample_weight=weight), array(expected), **TOLERANCE)
    if settings["reduction"] is None:
        return
    # A single loss of the batch is weighted to one for each sample, which Keras then reduces.
    expected.sum().backward()
    value, gradient = ours._host_loss(np.asarray(y_true, np.float32), y_pred, weight, True)
    np.testing.assert_allclose(value, float(expected), rtol=5e-6, atol=2e-7)
    expected_gradient = array(predictions.grad)
    size = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient, expected_gradient, rtol=2e-5, atol=4e-6 * size)


@pytest.mark.parametrize(
    "name",
    [
        "BinaryCrossentropy",
        "BinaryFocalCrossentropy",
        "CategoricalCrossentropy",
        "CategoricalFocalCrossentropy",
        "SparseCategoricalCrossentropy",
        "CosineSimilarity",
    ],
)
def test_losses_along_another_axis(keras: Any, name: str) -> None:
    y_true, y_pred = loss_case(name, (6, 4, 3), False)
    y_pred = np.moveaxis(y_pred, -1, 1)
    y_true = y_true if name.startswith("Sparse") else np.moveaxis(y_true, -1, 1)
    loss = getattr(losses, name)(axis=1)
    predictions = keras.ops.convert_to_tensor(y_pred).requires_grad_()
    expected = getattr(keras.losses, name)(axis=1)(y_true, predictions)
    np.testing.assert_allclose(loss(y_true, y_pred), array(expected), **TOLERANCE)
    expected.backward()
    value, gradient = loss._host_loss(np.asarray(y_true, np.float32), np.asarray(y_pred, np.float32), None, True)
    np.testing.assert_allclose(value, float(expected), rtol=2e-6)
    np.testing.assert_allclose(gradient, array(predictions.grad), rtol=2e-5, atol=1e-7)


def test_sparse_loss_with_an_ignored_class(keras: Any) -> None:
    y_true, y_pred = loss_case("SparseCategoricalCrossentropy", (9, 3), False)
    for reduction in ("sum_over_batch_size", "sum", None):
        ours = losses.SparseCategoricalCrossentropy(ignore_class=1, reduction=reduction)(y_true, y_pred)
        theirs = keras.losses.SparseCategoricalCrossentropy(ignore_class=1, reduction=reduction)(y_true, y_pred)
        np.testing.assert_allclose(ours, array(theirs), **TOLERANCE)


@pytest.mark.parametrize("function", losses._BY_FUNCTION)
def test_loss_functions(keras: Any, function: str) -> None:
    name = losses._BY_FUNCTION[function]
    y_true, y_pred = loss_case(name, (5, 4, 3), False)
    more = {"q": 0.6} if name == "CategoricalGeneralizedCrossEntropy" else {}
    ours = getattr(losses, function)(y_true, y_pred, **more)
    theirs = getattr(keras.losses, function)(
        keras.ops.convert_to_tensor(y_true), keras.ops.convert_to_tensor(np.asarray(y_pred, np.float32)), **more
    )
    np.testing.assert_allclose(ours, array(theirs), **TOLERANCE)


def test_circle_with_references(keras: Any) -> None:
    y_true, y_pred = loss_case("Circle", (6, 4), False)
    references = y_pred[::-1].copy()
    labels = np.array([0, 1, 2, 0, 1, 2])
    ours = losses.circle(y_true, y_pred, labels, references, remove_diagonal=False, gamma=5, margin=0.3)
    theirs = keras.losses.circle(y_true, y_pred, labels, references, remove_diagonal=False, gamma=5, margin=0.3)
    np.testing.assert_allclose(ours, array(theirs), rtol=1e-5)


def test_losses_match_ranks_as_keras_does(keras: Any) -> None:
    flat, column = np.array([0.0, 1.0, 1.0]), np.array([[0.3], [0.6], [0.2]], np.float32)
    for name in ("BinaryCrossentropy", "MeanSquaredError", "Huber", "BinaryFocalCrossentropy"):
        for pair in ((flat, column), (flat[:, None], column[:, 0]), (flat, column[:, 0])):
            theirs = array(getattr(keras.losses, name)()(*pair))
            np.testing.assert_allclose(getattr(losses, name)()(*pair), theirs, **TOLERANCE)


@pytest.mark.parametrize(
    "name", ["mape", "MSLE", "kld", "KLDivergence", "log_cosh", "binary_focal_crossentropy", "Dice", "circle"]
)
def test_names_mean_what_they_mean_in_keras(keras: Any, name: str) -> None:
    theirs = keras.losses.get(name)
    theirs = theirs if inspect.isfunction(theirs) else type(theirs)
    ours = losses.get(name)
    assert theirs.__name__ in (
        type(ours).__name__,
        {cls: f for f, cls in losses._BY_FUNCTION.items()}[type(ours).__name__],
    )


# --- training ---------------------------------------------------------------------------------------------------------


def models(keras: Any, outputs: tuple[int, ...], activation: str | None) -> tuple[Any, Any]:
    """The same small network in both, with the same weights."""

    def network(package: Any) -> Any:
        width = int(np.prod(outputs))
        last = [package.layers.Reshape(outputs)] if len(outputs) > 1 else []
        if activation:
            last.append(package.layers.Activation(activation))
        return package.Sequential(
            [package.Input((6,)), package.layers.Dense(5, activation="tanh"), package.layers.Dense(width), *last]
        )

    ours, theirs = network(fastcnn), network(keras)
    generator = rng()
    ours.set_weights([generator.normal(scale=0.4, size=w.shape).astype(np.float32) for w in ours.get_weights()])
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def trained_alike(keras: Any, pair: tuple[Any, Any], made: Any, y: Any, fit: dict[str, Any], **compiled: Any) -> None:
    x = rng().normal(size=(len(y), 6)).astype(np.float32)
    histories = []
    for package, model in zip((fastcnn, keras), pair):
        model.compile(optimizer=package.optimizers.SGD(0.05), loss=made(package), **compiled)
        history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, **fit).history
        histories.append((history, model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)))
    for ours, theirs in zip(*histories):
        assert set(ours) == set(theirs)
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], rtol=2e-5, atol=2e-6)
    for a, b in zip(pair[0].get_weights(), pair[1].get_weights()):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


ACTIVATIONS = {
    "Poisson": "exponential",
    "MeanSquaredLogarithmicError": "exponential",
    "MeanAbsolutePercentageError": "exponential",
    **dict.fromkeys(("BinaryCrossentropy", "BinaryFocalCrossentropy", "Dice", "Tversky"), "sigmoid"),
    **dict.fromkeys(
        (
            "CategoricalCrossentropy",
            "CategoricalFocalCrossentropy",
            "SparseCategoricalCrossentropy",
            "KLDivergence",
            "CategoricalGeneralizedCrossEntropy",
        ),
        "softmax",
    ),
    "Circle": None,
}


@pytest.mark.parametrize("name", losses._CLASSES)
def test_models_train_as_in_keras(keras: Any, name: str) -> None:
    settings = {"gamma": 2.0} if name == "Circle" else {}
    y, _ = loss_case(name, (20, 3), False)
    trained_alike(
        keras, models(keras, (3,), ACTIVATIONS.get(name)), lambda p: getattr(p.losses, name)(**settings), y, {}
    )


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", ["MeanSquaredError", "SparseCategoricalCrossentropy", "Dice"])
def test_reductions_while_training(keras: Any, name: str, reduction: str) -> None:
    y, _ = loss_case(name, (20, 3), False)
    weights = {"sample_weight": rng().uniform(0, 2, 20).astype(np.float32)}
    trained_alike(
        keras,
        models(keras, (3,), ACTIVATIONS.get(name)),
        lambda p: getattr(p.losses, name)(reduction=reduction),
        y,
        weights,
    )


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignored", [-1, 1])
def test_an_ignored_class_while_training(keras: Any, reduction: str, weighted: bool, ignored: int) -> None:
    # Keras stumbles over weights of samples with several labels.
    shape = (3,) if weighted else (4, 3)
    y = rng().integers(-1 if ignored == -1 else 0, 3, (20, *shape[:-1]))
    fit = {"sample_weight": rng().uniform(0, 2, 20).astype(np.float32)} if weighted else {}
    trained_alike(
        keras,
        models(keras, shape, "softmax"),
        lambda p: p.losses.SparseCategoricalCrossentropy(ignore_class=ignored, reduction=reduction),
        y,
        fit,
    )


@pytest.mark.parametrize("name", ["CategoricalCrossentropy", "CategoricalFocalCrossentropy", "CosineSimilarity"])
def test_another_axis_while_training(keras: Any, name: str) -> None:
    y = np.moveaxis(np.eye(3)[rng().integers(0, 3, (20, 4))], -1, 1)
    trained_alike(keras, models(keras, (3, 4), "sigmoid"), lambda p: getattr(p.losses, name)(axis=1), y, {})


def test_penalties_of_activities_count_beside_any_reduction(keras: Any) -> None:
    def network(package: Any) -> Any:
        return package.Sequential(
            [package.Input((6,)), package.layers.Dense(3), package.layers.ActivityRegularization(l2=0.1)]
        )

    pair = network(fastcnn), network(keras)
    pair[1].set_weights(pair[0].get_weights())
    trained_alike(keras, pair, lambda p: p.losses.Huber(reduction="sum"), rng().normal(size=(20, 3)), {})
