"""Batch normalisation folded into the layer before it: what folds, that numbers stay, that weights are never stale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_cases import Array, Chain, Reference, images, labels, relative_error

import fastcnn as keras
from fastcnn import _core, layers

pytestmark = pytest.mark.isa

MSE: dict[str, Any] = {"kind": "mean_squared_error"}
TOLERANCE = 4e-6


def operations(plan: list[dict[str, Any]]) -> list[str]:
    return [step["operation"] for step in plan[:-1]]


# --- inference --------------------------------------------------------------------------------------------------------

INFERENCE: dict[str, tuple[Callable[[], Chain], list[str]]] = {
    "conv, relu, pool": (
        lambda: Chain((12, 11, 3)).conv(20).batch_norm(frozen=True).activation("relu").pool(),
        ["conv2d + batch_normalization + max_pool2d"],
    ),
    "no bias, same": (
        lambda: Chain((9, 8, 5)).conv(6, bias=False, padding="same").batch_norm(frozen=True).activation("tanh"),
        ["conv2d + batch_normalization"],
    ),
    "groups, neither gamma nor beta": (
        lambda: Chain((9, 8, 4)).conv(6, groups=2).batch_norm(frozen=True, center=False, scale=False).pool(),
        ["conv2d + batch_normalization", "max_pool2d"],
    ),
    "dense": (
        lambda: Chain((40,)).dense(33).batch_norm(frozen=True).activation("relu").dense(20, bias=False)
        .batch_norm(frozen=True),
        ["dense + batch_normalization", "dense + batch_normalization"],
    ),
    "dense over rows": (
        lambda: Chain((5, 7)).dense(18).batch_norm(frozen=True),
        ["dense + batch_normalization"],
    ),
    "after relu, before a pool": (
        lambda: Chain((12, 11, 3)).conv(20).activation("relu").batch_norm(frozen=True).pool(),
        ["conv2d", "batch_normalization + max_pool2d"],
    ),
    "two in a row": (
        lambda: Chain((12, 11, 3)).conv(20).batch_norm(frozen=True).batch_norm(frozen=True),
        ["conv2d + batch_normalization", "batch_normalization"],
    ),
    "first": (lambda: Chain((12, 11, 3)).batch_norm(frozen=True).conv(7), ["batch_normalization", "conv2d"]),
}  # fmt: skip


@pytest.mark.parametrize("name", INFERENCE)
def test_folded_inference_agrees_with_double(name: str) -> None:
    make, expected = INFERENCE[name]
    chain = make()
    network, _ = chain.network()
    plan = network.explain(32, False)
    assert operations(plan) == expected
    for step in plan[:-1]:
        assert ("folded into the weights" in step["kernel"]) == (" + batch_norm" in step["operation"])
    x = images(37, chain.input_shape) - 0.5
    expected_outputs = Reference(chain).forward(x)
    for batch in (1, 5, 37):
        assert relative_error(network.predict(x, batch), expected_outputs) < TOLERANCE


def test_folding_keeps_its_accuracy_where_statistics_are_extreme() -> None:
    """Small variances make large factors; folded in double, what is left is one rounding of each weight."""
    chain = Chain((10, 10, 8)).conv(24).batch_norm(frozen=True, epsilon=1e-5)
    chain.values[5] = np.geomspace(1e-8, 1e4, 24).astype(np.float32)
    network, _ = chain.network()
    x = images(4, chain.input_shape) - 0.5
    expected = Reference(chain).forward(x)
    actual = network.predict(x, 4)
    errors = [relative_error(actual[..., c], expected[..., c]) for c in range(24)]
    assert max(errors) < TOLERANCE


def test_folded_weights_follow_every_write() -> None:
    chain = Chain((9, 8, 3)).conv(5).batch_norm(frozen=True).activation("relu").pool()
    network, parameters = chain.network()
    x = images(6, chain.input_shape) - 0.5
    rng = np.random.default_rng(0)
    for index in range(len(chain.values)):
        assert relative_error(network.predict(x, 6), Reference(chain).forward(x)) < TOLERANCE
        chain.values[index] = (chain.values[index] + rng.random(chain.values[index].shape) + 0.1).astype(np.float32)
        parameters.assign(index, chain.values[index])
    assert relative_error(network.predict(x, 6), Reference(chain).forward(x)) < TOLERANCE


def norm_model() -> Any:
    keras.utils.set_random_seed(4)
    model = keras.Sequential(
        [
            layers.Conv2D(14, 3, input_shape=(10, 10, 1)),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(6, 3),
            layers.BatchNormalization(momentum=0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def by_layers(model: Any, x: Array) -> Array:
    """The model's inference, one layer at a time: nothing to fold into."""
    for layer in model.layers:
        x = np.asarray(layer(x, training=False))
    return x


def test_predict_and_evaluate_follow_training_set_weights_and_trainable() -> None:
    model = norm_model()
    x, y = images(40, (10, 10, 1)), labels(40, 3)
    for change in ("nothing", "fit", "set_weights", "freeze", "fit"):
        if change == "fit":
            model.fit(x, y, batch_size=16, epochs=1, verbose=0)
        elif change == "set_weights":
            model.set_weights([np.abs(w) + 0.1 for w in model.get_weights()])
        elif change == "freeze":
            model.layers[1].trainable = False
            model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        expected = by_layers(model, x)
        assert relative_error(model.predict(x, verbose=0), expected) < TOLERANCE, change
        loss = -np.log(expected[np.arange(40), y]).mean()
        assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(loss, rel=1e-5), change


def test_frozen_layers_are_folded_while_training() -> None:
    frozen = Chain((9, 8, 3)).conv(5).batch_norm(frozen=True).activation("relu").pool().reshape().dense(3)
    flags = [False] * 6 + [True] * 2
    trainer, _ = frozen.trainer(MSE, {"kind": "sgd"}, trainable=flags)
    assert operations(trainer.explain(8)) == ["conv2d + batch_normalization + max_pool2d", "dense"]
    flags[0] = True  # the convolution's own gradient is wanted: the two stay apart
    trainer, _ = frozen.trainer(MSE, {"kind": "sgd"}, trainable=flags)
    assert operations(trainer.explain(8)) == ["conv2d", "batch_normalization + max_pool2d", "dense"]


def test_gradients_pass_through_a_folded_layer() -> None:
    """Frozen in the middle: the layer below is trained through the folded weights."""
    chain = (
        Chain((9, 8, 3)).conv(5).activation("relu").conv(18).batch_norm(frozen=True).activation("relu").pool()
        .reshape().dense(7).batch_norm(frozen=True).activation("relu").dense(3)
    )  # fmt: skip
    flags = [True, True] + [False] * 12 + [True] * 2
    trainer, _ = chain.trainer(MSE, trainable=flags)
    assert operations(trainer.explain(8)).count("dense + batch_normalization") == 1
    rng = np.random.default_rng(1)
    x, y = images(11, chain.input_shape) - 0.5, rng.standard_normal((11, 3)).astype(np.float32)
    reference = Reference(chain)
    reference.loss(x, y, MSE)
    found = trainer.gradients(x, y, None, 0)
    for index in (i for i, trained in enumerate(flags) if trained):
        assert relative_error(found[index], reference.gradients[index]) < TOLERANCE


# --- training with the batch's statistics, from moments ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "from_moments"),
    [
        (lambda: Chain((9, 8, 1)).conv(8).batch_norm(), True),
        (lambda: Chain((9, 8, 3)).conv(14).batch_norm(), True),
        (lambda: Chain((9, 8, 3)).conv(13).batch_norm(), False),  # 27 values for 13 channels: moments cost more
        (lambda: Chain((9, 8, 4)).conv(40).batch_norm(), False),  # 36 values
        (lambda: Chain((9, 8, 2)).conv(16, groups=2).batch_norm(), False),
        (lambda: Chain((9, 8, 1)).conv(8).activation("relu").batch_norm(), False),
        (lambda: Chain((9, 8, 1)).conv(1, (1, 1)).conv(8).batch_norm(), False),  # something below is trained
        (lambda: Chain((6,)).dense(8).batch_norm(), False),
    ],
)
def test_what_gets_its_statistics_from_moments(make: Callable[[], Chain], from_moments: bool) -> None:
    plan = make().trainer(MSE, {"kind": "sgd"})[0].explain(16)
    assert ("from the moments" in plan[-2]["kernel"]) == from_moments
    assert operations(plan)[-1] == ("conv2d + batch_normalization" if from_moments else "batch_normalization")


@pytest.mark.parametrize("dtype", ["float32", "uint8", "far"])
def test_moments_give_the_statistics_of_any_data(dtype: str) -> None:
    """Also of bytes and of values far from zero, where sums of squares would cancel."""
    chain = Chain((28, 28, 1)).conv(32).batch_norm(epsilon=1e-3)
    rng = np.random.default_rng(3)
    x = rng.random((33, 28, 28, 1)).astype(np.float32)
    if dtype == "uint8":
        x = (x * 255).astype(np.uint8)
    elif dtype == "far":
        x = x + np.float32(1000)
    network, parameters = chain.network()
    network.forward_training(x, 0)
    z = _core.conv2d(
        x.astype(np.float64), *(np.asarray(v, np.float64) for v in chain.values[:2]), (1, 1), "valid", (1, 1), 1, False,
        isa="reference",
    ).reshape(-1, 32)  # fmt: skip
    moved = [(parameters.view(i) - 0.9 * chain.values[i].astype(np.float64)) / 0.1 for i in (4, 5)]
    assert relative_error(moved[0], z.mean(axis=0)) < TOLERANCE
    assert relative_error(moved[1], z.var(axis=0)) < 2 * TOLERANCE


def test_outputs_and_gradients_of_bytes_stay_accurate() -> None:
    chain = Chain((14, 13, 1)).conv(9).batch_norm().activation("relu").pool().reshape().dense(3)
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (19, 14, 13, 1)).astype(np.uint8)
    y = rng.standard_normal((19, 3)).astype(np.float32)
    reference = Reference(chain)
    reference.loss(x.astype(np.float64), y, MSE)
    trainer, _ = chain.trainer(MSE)
    found = trainer.gradients(x, y, None, 0)
    for index, expected in reference.gradients.items():
        if index == 1:
            assert not found[index].any(), "the gradient of a bias below a normalisation is zero"
        else:
            assert relative_error(found[index], expected) < 5 * TOLERANCE, index
    assert relative_error(chain.network()[0].forward_training(x, 0), Reference(chain).forward(x)) < TOLERANCE


def test_batches_smaller_than_planned_have_their_own_statistics() -> None:
    chain = Chain((9, 8, 1)).conv(8).batch_norm().activation("relu").pool().reshape().dense(3)
    rng = np.random.default_rng(6)
    x, y = images(45, chain.input_shape), rng.standard_normal((45, 3)).astype(np.float32)
    trainer, parameters = chain.trainer(MSE, {"kind": "sgd"})
    trainer.train(x, y, None, None, 0, 45, 32, np.array([0.1]), 10, np.inf, None)  # 32 samples, then 13
    values = [v.astype(np.float64) for v in chain.values]
    for part in (slice(0, 32), slice(32, 45)):
        reference = Reference(chain, values)
        reference.loss(x[part], y[part], MSE)
        for index, gradient in reference.gradients.items():
            values[index] = values[index] - 0.1 * gradient
    for index in reference.gradients:
        assert relative_error(parameters.view(index), values[index]) < TOLERANCE


def test_a_nan_reaches_every_output() -> None:
    chain = Chain((9, 8, 1)).conv(8).batch_norm().activation("relu").pool()
    x = images(5, chain.input_shape)
    x[3, 4, 4] = np.nan
    assert np.isnan(chain.network()[0].forward_training(x, 0)).all()
