"""Gradients of whole networks: against the same computation in double, and that one against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_cases import Array, Chain, Reference, relative_error

pytestmark = pytest.mark.isa

# Relative distance (L2) of a float32 gradient from the one in double.
TOLERANCE = 4e-6

CHAINS: dict[str, Callable[[], Chain]] = {
    "conv": lambda: Chain((9, 8, 3)).conv(5).reshape().dense(3),
    "conv without bias": lambda: Chain((9, 8, 3)).conv(5, bias=False).reshape().dense(3, bias=False),
    "conv, same": lambda: Chain((9, 8, 3)).conv(5, (3, 2), padding="same").reshape().dense(3),
    "conv, valid, strides": lambda: Chain((9, 8, 3)).conv(4, strides=(2, 3)).conv(5, (2, 2)).reshape().dense(3),
    "conv, same, strides": lambda: Chain((9, 8, 3)).conv(4, padding="same", strides=(2, 2))
    .activation("relu").conv(20, padding="same", strides=(2, 1)).reshape().dense(3),
    "conv, dilation": lambda: Chain((9, 8, 3)).conv(4, dilation=(2, 1), padding="same").conv(5, dilation=(3, 2))
    .reshape().dense(3),
    "conv, groups": lambda: Chain((9, 8, 4)).conv(6, groups=2).activation("tanh").conv(9, groups=3).reshape().dense(3),
    "depthwise conv": lambda: Chain((9, 8, 5)).conv(5, groups=5, padding="same").activation("relu")
    .conv(10, (3, 2), groups=5, strides=(2, 1)).activation("tanh").conv(20, (2, 2), groups=10, bias=False).reshape()
    .dense(3),
    "conv 1x1": lambda: Chain((5, 5, 17)).conv(18, (1, 1)).activation("relu").conv(33, (1, 1)).global_pool("average")
    .dense(3),
    "conv, relu, max pool": lambda: Chain((11, 10, 3)).conv(20).activation("relu").pool().conv(18).activation("relu")
    .pool().reshape().dense(3),
    "conv, max pool without relu": lambda: Chain((11, 10, 3)).conv(5).pool().conv(6, (2, 2)).pool().reshape().dense(3),
    "conv, same, max pool, same": lambda: Chain((11, 10, 3)).conv(6, padding="same").activation("relu")
    .pool(padding="same").conv(20, padding="same").activation("relu").pool(padding="same").reshape().dense(3),
    "strided conv, overlapping max pool": lambda: Chain((17, 16, 2)).conv(6, strides=(2, 1)).activation("relu")
    .pool(size=(3, 3), strides=(2, 2)).conv(5, (2, 2)).activation("relu").pool(size=(2, 2), strides=(1, 1))
    .reshape().dense(3),
    "max pool that is not fused": lambda: Chain((11, 10, 3)).conv(6).activation("sigmoid")
    .pool(size=(3, 3), strides=(1, 1), padding="same").reshape().dense(3),
    "average pool": lambda: Chain((11, 10, 3)).conv(6).activation("relu").pool("average", (3, 2), (2, 2), "same")
    .conv(7).pool("average").reshape().dense(3),
    # The last rows and columns of a step that the next one does not reach are left out.
    "rows that nobody reads, pools": lambda: Chain((15, 14, 2)).conv(6).activation("relu").pool().conv(20)
    .activation("relu").pool(size=(3, 3)).reshape().dense(3),
    "rows that nobody reads, strides": lambda: Chain((15, 14, 2)).conv(6, padding="same").activation("tanh")
    .conv(5, (2, 2), strides=(3, 4)).pool("average", (2, 2)).reshape().dense(3),
    "rows that nobody reads, batch norm": lambda: Chain((16, 15, 3)).conv(5).batch_norm().activation("relu")
    .pool().conv(6).batch_norm().activation("relu").pool().conv(5, (1, 1)).reshape().dense(3),
    # With blocks of 16 samples the gradient between the two convolutions goes down piece by piece.
    "large gradients": lambda: Chain((28, 28, 1)).conv(16).activation("relu").pool().conv(20).activation("relu")
    .pool().reshape().dense(3),
    "large gradients without pools": lambda: Chain((18, 17, 1)).conv(12).activation("relu").conv(10)
    .activation("relu").pool().reshape().dense(3),
    # At 16 samples and more: weights as they are, and Winograd's weights packed once for both directions.
    "small images, many channels": lambda: Chain((5, 5, 32)).conv(64).activation("relu").conv(64, padding="same")
    .activation("relu").reshape().dense(128).activation("relu").dense(64).dense(3),
    "global max pool": lambda: Chain((9, 8, 3)).conv(6).global_pool("max").dense(3),
    "dense": lambda: Chain((7,)).dense(33).activation("relu").dense(16).activation("tanh").dense(3),
    "dense over the last axis": lambda: Chain((5, 7)).dense(6).activation("sigmoid").dense(4).reshape().dense(3),
    "softmax inside": lambda: Chain((5, 7)).dense(6).activation("softmax").reshape().dense(3),
    "batch norm": lambda: Chain((9, 8, 3)).conv(5).batch_norm().activation("relu").conv(6).batch_norm()
    .activation("tanh").reshape().dense(3),
    "batch norm without gamma or beta": lambda: Chain((9, 8, 3)).conv(5).batch_norm(scale=False).activation("relu")
    .pool().conv(6, (2, 2)).batch_norm(center=False).reshape().dense(3),
    "batch norm first": lambda: Chain((9, 8, 3)).batch_norm().conv(5).activation("relu").pool().reshape().dense(3),
    "batch norm of vectors": lambda: Chain((7,)).dense(20).batch_norm().activation("relu").dense(3),
    "frozen batch norm": lambda: Chain((9, 8, 3)).conv(5).batch_norm(frozen=True).activation("relu").conv(6)
    .reshape().dense(3),
    "frozen batch norm without beta": lambda: Chain((9, 8, 3)).conv(5).batch_norm(frozen=True, center=False)
    .conv(6).batch_norm(frozen=True, scale=False).reshape().dense(3),
    # Small patches of the data: statistics and gradients come from the patches' moments.
    "batch norm by moments, pool": lambda: Chain((11, 10, 1)).conv(8).batch_norm().activation("relu").pool()
    .conv(6, (2, 2)).batch_norm().activation("relu").reshape().dense(3),
    "batch norm by moments, same, no bias": lambda: Chain((11, 10, 3)).conv(20, padding="same", bias=False).batch_norm()
    .activation("relu").pool().reshape().dense(3),
    "batch norm by moments, no beta": lambda: Chain((9, 8, 3)).conv(17, strides=(2, 1)).batch_norm(center=False)
    .activation("tanh").reshape().dense(3),
    "batch norm by moments, no gamma": lambda: Chain((9, 8, 1)).conv(16, (5, 5), padding="same", dilation=(1, 2))
    .batch_norm(scale=False).reshape().dense(3),
    "batch norm with neither bias nor beta": lambda: Chain((9, 8, 1)).conv(9, bias=False).batch_norm(center=False)
    .activation("relu").pool().reshape().dense(3),
    "batch norm before a pool": lambda: Chain((11, 10, 3)).conv(5).batch_norm().activation("relu").pool()
    .conv(6, (2, 2)).batch_norm().pool().reshape().dense(3),
    "batch norm over relu, pool": lambda: Chain((12, 11, 1)).conv(9).activation("relu").batch_norm().pool()
    .conv(20, (2, 2)).activation("relu").batch_norm().reshape().dense(33).activation("relu").batch_norm().dense(3),
    "batch norm, other pools": lambda: Chain((25, 22, 3)).conv(5, bias=False).batch_norm().activation("relu")
    .pool(size=(3, 3), strides=(2, 2)).conv(18, (2, 2)).batch_norm().pool(size=(2, 1), strides=(3, 2)).conv(3, (1, 1))
    .batch_norm().activation("relu").pool(padding="same", size=(2, 2)).reshape().dense(3),
    "frozen batch norm, pool": lambda: Chain((9, 8, 3)).conv(5).batch_norm(frozen=True).activation("relu").pool()
    .conv(18, (2, 2)).activation("relu").batch_norm(frozen=True).reshape().dense(3),
    "dropout": lambda: Chain((9, 8, 3)).conv(5).activation("relu").pool().dropout(0.4).conv(6, (2, 2)).reshape()
    .dropout(0.3, seed=2**63 + 5).dense(3),
    "dropout first": lambda: Chain((20,)).dropout(0.5).dense(8).activation("relu").dropout(0.2).dense(3),
    "dropout and batch norm": lambda: Chain((9, 8, 3)).conv(5).batch_norm().activation("relu").dropout(0.3).conv(6)
    .batch_norm().reshape().dropout(0.5).dense(3),
}  # fmt: skip

MSE: dict[str, Any] = {"kind": "mean_squared_error"}


def data(chain: Chain, samples: int, loss: dict[str, Any], seed: int = 7) -> tuple[Array, Array]:
    """Random inputs and labels that the loss accepts."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, *chain.input_shape)).astype(np.float32)
    shape = chain.graph.output_shape
    if loss["kind"] == "sparse_categorical_crossentropy":
        return x, rng.integers(0, shape[-1], (samples, *shape[:-1])).astype(np.int32)
    if loss["kind"] == "categorical_crossentropy":
        classes = rng.integers(0, shape[-1], (samples, *shape[:-1]))
        return x, np.eye(shape[-1], dtype=np.float32)[classes]
    if loss["kind"] == "binary_crossentropy":
        return x, rng.integers(0, 2, (samples, *shape)).astype(np.float32)
    return x, rng.standard_normal((samples, *shape)).astype(np.float32)


def dropout_steps(trainer: Any, samples: int) -> list[int]:
    return [step["index"] for step in trainer.explain(samples) if step["operation"] == "dropout"]


def check(
    chain: Chain,
    loss: dict[str, Any],
    samples: int,
    step: int = 3,
    weight: Array | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    x, y = data(chain, samples, loss)
    trainer, _ = chain.trainer(loss)
    reference = Reference(chain, dropout_steps=dropout_steps(trainer, samples), step=step)
    reference.loss(x, y, loss, weight)
    found = trainer.gradients(x, y, weight, step)
    assert [g is not None for g in found] == chain.trainable
    # The gradient of a bias below batch normalisation is zero but for rounding: compare with the largest.
    scale = max(float(np.linalg.norm(g)) for g in reference.gradients.values())
    assert scale > 1e-3
    for index, expected in reference.gradients.items():
        assert found[index].shape == expected.shape
        error = np.linalg.norm(found[index] - expected)
        norm = max(float(np.linalg.norm(expected)), 1e-2 * scale)
        assert error <= tolerance * norm, f"parameter {index} {expected.shape}: {error / norm:.1e}"


@pytest.mark.parametrize("samples", [1, 5, 37])
@pytest.mark.parametrize("name", CHAINS)
def test_gradients_agree_with_double(name: str, samples: int) -> None:
    if samples == 1 and name == "batch norm of vectors":
        samples = 2  # one row has no variance: every gradient below is zero
    # Normalisation over a batch takes means off the gradient: sums that nearly cancel are left.
    check(CHAINS[name](), MSE, samples, tolerance=5 * TOLERANCE if "norm" in name else TOLERANCE)


LOSSES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "mean squared error": (None, MSE),
    "mean absolute error": (None, {"kind": "mean_absolute_error"}),
    "mean squared error of sigmoid": ("sigmoid", MSE),
    "mean absolute error of softmax": ("softmax", {"kind": "mean_absolute_error"}),
    "binary, sigmoid": ("sigmoid", {"kind": "binary_crossentropy"}),
    "binary, sigmoid, smoothed": ("sigmoid", {"kind": "binary_crossentropy", "label_smoothing": 0.2}),
    "binary, logits": (None, {"kind": "binary_crossentropy", "from_logits": True}),
    "categorical, softmax": ("softmax", {"kind": "categorical_crossentropy"}),
    # Smoothed from logits: from probabilities the double computation clips the small ones, which smoothing then weighs.
    "categorical, logits, smoothed": (
        None,
        {"kind": "categorical_crossentropy", "from_logits": True, "label_smoothing": 0.1},
    ),
    "categorical, logits": (None, {"kind": "categorical_crossentropy", "from_logits": True}),
    "categorical, sigmoid": ("sigmoid", {"kind": "categorical_crossentropy"}),
    "sparse, softmax": ("softmax", {"kind": "sparse_categorical_crossentropy"}),
    "sparse, logits": (None, {"kind": "sparse_categorical_crossentropy", "from_logits": True}),
}


def with_loss(name: str, rows: bool) -> tuple[Chain, dict[str, Any]]:
    last, loss = LOSSES[name]
    chain = Chain((3, 7)).dense(5) if rows else Chain((9, 8, 2)).conv(5).activation("relu").pool().reshape().dense(5)
    return (chain.activation(last) if last else chain), loss


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("rows", [False, True], ids=["", "several rows"])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_of_every_loss(name: str, rows: bool, weighted: bool) -> None:
    samples = 19
    weight = np.random.default_rng(1).random(samples).astype(np.float32) if weighted else None
    chain, loss = with_loss(name, rows)
    if rows and weighted:  # a sample's weight is that of all its rows
        x, y = data(chain, samples, loss)
        trainer, _ = chain.trainer(loss)
        parts = []
        for i in range(samples):
            reference = Reference(chain)
            reference.loss(x[i : i + 1], y[i : i + 1], loss)
            parts.append({p: g * weight[i] / samples for p, g in reference.gradients.items()})
        found = trainer.gradients(x, y, weight, 0)
        for p in parts[0]:
            assert relative_error(found[p], np.sum([part[p] for part in parts], axis=0)) <= TOLERANCE
        return
    check(chain, loss, samples, weight=weight)


@pytest.mark.parametrize("name", CHAINS)
def test_double_agrees_with_finite_differences(name: str) -> None:
    """The yardstick itself: d loss along random directions of all parameters."""
    chain, samples = CHAINS[name](), 4
    x, y = data(chain, samples, MSE)
    steps = dropout_steps(chain.trainer(MSE)[0], samples)
    reference = Reference(chain, dropout_steps=steps)
    reference.loss(x, y, MSE)
    rng, h = np.random.default_rng(2), 1e-7  # a larger step crosses kinks of ReLU
    for _ in range(3):
        direction = [rng.standard_normal(v.shape) * t for v, t in zip(chain.values, chain.trainable)]
        ends = [
            Reference(chain, [v + sign * h * d for v, d in zip(reference.values, direction)], steps).loss(x, y, MSE)
            for sign in (1, -1)
        ]
        expected = sum(float(np.vdot(g, direction[p])) for p, g in reference.gradients.items())
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["conv, relu, max pool", "batch norm", "dropout"])
def test_gradients_are_the_same_again(name: str) -> None:
    """They change neither weights nor optimizer; only the step number draws other dropout."""
    chain = CHAINS[name]()
    trainer, parameters = chain.trainer(MSE, {"kind": "adam"})
    x, y = data(chain, 20, MSE)
    first, again, other = (trainer.gradients(x, y, None, step) for step in (0, 0, 1))
    wanted = [i for i, trained in enumerate(chain.trainable) if trained]
    assert all(np.array_equal(first[i], again[i]) for i in wanted)
    assert all(np.array_equal(first[i], other[i]) for i in wanted) == (name != "dropout")
    assert all(np.array_equal(parameters.view(i), chain.values[i]) for i in wanted)
    assert trainer.updater.iterations == 0
    assert not any(slot.any() for slots in trainer.updater.get_state()["slots"].values() for slot in slots)


@pytest.mark.parametrize(
    "name",
    ["conv", "conv, relu, max pool", "dense", "batch norm", "batch norm by moments, pool", "frozen batch norm"],
)
def test_each_parameter_can_be_trained_alone(name: str) -> None:
    """The others stay as they are, to the bit, and the one moves as if all were trained."""
    chain = CHAINS[name]()
    x, y = data(chain, 21, MSE)
    everything = chain.trainer(MSE)[0].gradients(x, y, None, 0)
    rates = np.array([0.5])
    for index in (i for i, trained in enumerate(chain.trainable) if trained):
        flags = [i == index for i in range(len(chain.values))]
        trainer, parameters = chain.trainer(MSE, {"kind": "sgd"}, trainable=flags)
        found = trainer.gradients(x, y, None, 0)
        assert [g is not None for g in found] == flags
        if name == "frozen batch norm":  # folded only into a convolution that is not trained: another rounding
            assert relative_error(found[index], everything[index]) <= TOLERANCE
        else:
            assert np.array_equal(found[index], everything[index])
        trainer.train(x, y, None, None, 0, 21, 21, rates, 1, np.inf, None)
        for other in range(len(chain.values)):
            same = np.array_equal(parameters.view(other), chain.values[other])
            moving = not chain.trainable[other] and name.startswith("batch norm")
            # A bias below a normalisation that is folded into its convolution has a gradient of exactly zero.
            still = other != index or not found[index].any()
            assert same == still or moving, f"parameter {other} while {index} is trained"


def test_regularizers_join_the_gradient_and_the_loss() -> None:
    chain = CHAINS["conv, relu, max pool"]()
    x, y = data(chain, 9, MSE)
    penalties = [(0.01 * (i % 3), 0.02 * (i % 2)) for i in range(len(chain.values))]
    trainer, _ = chain.trainer(MSE, {"kind": "sgd"}, regularizers=penalties)
    reference = Reference(chain)
    loss = reference.loss(x, y, MSE)
    for i, (found, (l1, l2)) in enumerate(zip(trainer.gradients(x, y, None, 0), penalties)):
        w = reference.values[i]
        assert relative_error(found, reference.gradients[i] + l1 * np.sign(w) + 2 * l2 * w) <= TOLERANCE
        loss += l1 * np.abs(w).sum() + l2 * (w * w).sum()
    evaluated = trainer.evaluate(x, y, None, 0, 9, 9, None)
    assert evaluated["loss"] / evaluated["loss_weight"] == pytest.approx(loss, rel=1e-6)
    trained = trainer.train(x, y, None, None, 0, 9, 9, np.array([0.0]), 1, np.inf, None)
    assert trained["loss"] / trained["loss_weight"] == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "bool", "float16", "float64", ">f4-as-strides"])
def test_inputs_of_any_dtype_and_layout_are_read_alike(dtype: str) -> None:
    chain = CHAINS["conv, relu, max pool"]()
    trainer, _ = chain.trainer(MSE)
    raw = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (6, *chain.input_shape))
    y = data(chain, 6, MSE)[1]
    expected = trainer.gradients(raw.astype(np.float32), y, None, 0)
    if dtype == ">f4-as-strides":  # every second element of a wider array, axes swapped
        wide = np.zeros((6, *chain.input_shape[:2][::-1], 2 * chain.input_shape[2]), np.float32)
        x: Array = wide[..., ::2].transpose(0, 2, 1, 3)
        x[...] = raw
    else:
        x = raw.astype(dtype)
    assert all(np.array_equal(a, b) for a, b in zip(trainer.gradients(x, y, None, 0), expected))


@pytest.mark.parametrize("units", [(1200, 1100), (1300, 512), (1400, 256, 1100)])
def test_a_wide_dense_layer_has_the_same_gradient(units: tuple[int, ...]) -> None:
    """Weights larger than the cache take another way through the plan, packed or as they are."""
    chain = Chain((600,))
    for number in units:
        chain.dense(number).activation("relu")
    chain.dense(3)
    check(chain, MSE, 33)
