"""Plans: what is fused, what they say of themselves, batches smaller than planned, state, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from engine_cases import Array, Chain, Reference, images, relative_error

from fastcnn import _core

MSE: dict[str, Any] = {"kind": "mean_squared_error"}
SPARSE: dict[str, Any] = {"kind": "sparse_categorical_crossentropy"}
BINARY: dict[str, Any] = {"kind": "binary_crossentropy"}


def operations(plan: list[dict[str, Any]]) -> list[str]:
    assert plan[-1]["operation"] == "total"
    return [step["operation"] for step in plan[:-1]]


def test_gradients_that_come_with_the_update() -> None:
    """Of dense layers whose inputs and output gradients are fewer numbers than a gradient in each lane."""
    trainer = Chain((10, 10, 3)).conv(8).reshape().dense(64).activation("relu").dense(3).trainer(MSE)[0]

    def with_the_update(batch: int) -> list[bool]:
        return ["with the update" in step["kernel"] for step in trainer.explain(batch)[:-1]]

    assert with_the_update(32) == [False, True, False]
    assert with_the_update(4096) == [False, False, False]


def layers_of(plan: list[dict[str, Any]]) -> list[str]:
    return [step["layers"] for step in plan[:-1]]


# --- fusion -----------------------------------------------------------------------------------------------------------


def test_convolution_bias_relu_and_max_pool_are_one_step() -> None:
    plan = Chain((12, 12, 1)).conv(8).activation("relu").pool().network()[0].explain(8, True)
    assert operations(plan) == ["conv2d + max_pool2d"]
    assert layers_of(plan) == ["conv + activation + pool"]
    assert plan[0]["output_shape"] == (5, 5, 8)
    assert plan[0]["flops"] == 2 * 10 * 10 * 8 * 9


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        (lambda: Chain((12, 12, 1)).conv(8).pool("average"), ["conv2d", "average_pool2d"]),
        (lambda: Chain((12, 12, 1)).conv(8).activation("tanh").pool(), ["conv2d", "max_pool2d"]),
        (lambda: Chain((12, 12, 2)).conv(8, groups=2).pool(), ["conv2d", "max_pool2d"]),
        # Rows of windows that overlap by more than half would be computed again and again.
        (lambda: Chain((12, 12, 1)).conv(8).pool(size=(3, 3), strides=(1, 1)), ["conv2d", "max_pool2d"]),
        (lambda: Chain((12, 12, 1)).conv(8).pool(size=(3, 3), strides=(2, 2)), ["conv2d + max_pool2d"]),
        (lambda: Chain((12, 12, 1)).conv(8).pool().pool(), ["conv2d + max_pool2d", "max_pool2d"]),
        (lambda: Chain((12, 12, 1)).conv(8).global_pool("average"), ["conv2d", "average_pool2d"]),
        (lambda: Chain((5,)).dense(8).activation("sigmoid").activation("linear"), ["dense"]),
        (lambda: Chain((5,)).dense(8).activation("relu").activation("tanh"), ["dense", "tanh"]),
        (lambda: Chain((5,)).dense(8).activation("softmax"), ["dense", "softmax"]),
        (lambda: Chain((6,)).dense(8).reshape(4, 2).reshape().dense(3), ["dense", "dense"]),
        (lambda: Chain((6,)).batch_norm().activation("relu"), ["batch_normalization"]),
        (lambda: Chain((6,)).dropout(0.0).dense(3), ["dense"]),
        (lambda: Chain((6,)).dropout(0.5).dense(3), ["dropout", "dense"]),
        (lambda: Chain((6,)).activation("relu"), ["relu"]),
        (lambda: Chain((6,)).reshape(2, 3), []),
    ],
)
def test_steps_of_a_chain(chain: Callable[[], Chain], expected: list[str]) -> None:
    """What is fused, what is not, and that either way gives the right numbers."""
    made = chain()
    assert operations(made.network()[0].explain(8, True)) == expected
    x = images(9, made.input_shape) - 0.5
    network, _ = made.network()
    outputs = network.forward_training(x, 0)
    reference = Reference(made, dropout_steps=[i for i, name in enumerate(expected) if name == "dropout"])
    assert relative_error(outputs, reference.forward(x)) < 2e-6


def test_dropout_is_absent_at_inference() -> None:
    chain = Chain((6,)).dropout(0.5).dense(3).dropout(0.5)
    network, _ = chain.network()
    assert operations(network.explain(8, False)) == ["dense"]
    assert operations(network.explain(8, True)) == ["dropout", "dense", "dropout"]


@pytest.mark.parametrize(
    ("last", "loss", "taken"),
    [
        ("softmax", SPARSE, True),
        ("softmax", {"kind": "categorical_crossentropy"}, True),
        ("sigmoid", BINARY, True),
        ("sigmoid", SPARSE, False),
        ("softmax", BINARY, False),
        ("softmax", MSE, False),
        ("softmax", {**SPARSE, "from_logits": True}, False),
    ],
)
def test_the_last_activation_and_its_cross_entropy_start_from_logits(
    last: str, loss: dict[str, Any], taken: bool
) -> None:
    chain = Chain((6,)).dense(4).activation("relu").dense(3).activation(last)
    trainer, _ = chain.trainer(loss, {"kind": "sgd"})
    names = operations(trainer.explain(8))
    assert names == ["dense", "dense"] if taken or last == "sigmoid" else names == ["dense", "dense", "softmax"]
    if not taken:
        return
    # Probabilities 0 and 1 in float32, and still the exact loss and a gradient.
    chain.values[2][:], chain.values[3][:] = 0, [60, -60, 0]
    trainer, _ = chain.trainer(loss, {"kind": "sgd"})
    x = images(2, (6,))
    y = np.array([1, 1], np.int32) if loss is SPARSE else np.array([[0, 1, 0]] * 2, np.float32)
    sums = trainer.evaluate(x, y, None, 0, 2, 2, None)
    expected = 120.0 if last == "softmax" else (60 + 60 + np.log(2)) / 3
    assert sums["loss"] / sums["loss_weight"] == pytest.approx(expected, rel=1e-6)
    assert np.abs(trainer.gradients(x, y, None, 0)[3]).max() > 0.3
    outputs = np.empty((2, 3), np.float32)
    trainer.train(x, y, None, None, 0, 2, 2, np.array([0.0]), 1, np.inf, outputs)
    assert np.array_equal(outputs, chain.network()[0].predict(x, 2)), "outputs are probabilities"


@pytest.mark.parametrize(("norms", "forward", "backward"), [(0, 1, 0), (1, 2, 1), (3, 4, 3)])
def test_batch_normalisation_cuts_the_plan_into_segments(norms: int, forward: int, backward: int) -> None:
    chain = Chain((6,)).dense(5)
    for _ in range(norms):
        chain.batch_norm().dense(5)
    network, _ = chain.network()
    assert network.explain(32, True)[-1]["segments"] == forward + backward
    assert network.explain(32, False)[-1]["segments"] == 1


def test_frozen_batch_normalisation_does_not_cut() -> None:
    network, _ = Chain((6,)).dense(5).batch_norm(frozen=True).dense(5).network()
    assert network.explain(32, True)[-1]["segments"] == 1


def test_a_dense_layer_shares_its_weights_among_more_samples_than_the_layers_below() -> None:
    chain = Chain((40, 40, 3)).conv(40).activation("relu").conv(24, padding="same").pool().reshape().dense(70).dense(2)
    network, _ = chain.network()
    plan = network.explain(32, False)[-1]
    assert plan["piece"] < 4 < plan["block"]
    x = images(37, chain.input_shape)
    outputs = network.predict(x, 37)
    assert relative_error(outputs, Reference(chain).forward(x)) < 1e-5, "sums of 8,664 terms"
    for count in (2, 5, 16, 33):
        assert np.array_equal(network.predict(x[:count], count), outputs[:count])


def test_explain_names_every_step_and_sums_up() -> None:
    chain = Chain((12, 12, 1)).conv(8).activation("relu").pool().dropout(0.1).reshape().dense(3)
    plan = chain.trainer(MSE, {"kind": "adam"})[0].explain(32)
    for index, step in enumerate(plan[:-1]):
        assert step["index"] == index
        assert step["layers"] and step["kernel"]
        assert step["isa"] == _core.build_config()["isa_active"]
        assert step["activation_bytes"] >= 4 * np.prod(step["output_shape"])
    total = plan[-1]
    assert total["flops"] == sum(step["flops"] for step in plan[:-1])
    assert total["threads"] == min(_core.get_num_threads(), total["lanes"])
    assert total["block"] * total["lanes"] >= 32
    assert total["context_bytes"] > 0


# --- batches of any size ----------------------------------------------------------------------------------------------


def every_operation() -> Chain:
    return (
        Chain((11, 10, 2)).conv(6, padding="same").batch_norm().activation("relu").pool().conv(5, strides=(1, 2))
        .activation("relu").pool(size=(2, 1)).conv(20, (1, 2), padding="same").reshape().dense(9).activation("tanh").dense(3)
    )  # fmt: skip


@pytest.mark.isa
@pytest.mark.parametrize("planned", [5, 32, 100])
def test_a_plan_serves_smaller_batches(planned: int) -> None:
    """The last batch of an epoch: its loss is that of a plan of its own size."""
    chain = every_operation()
    rng, rates = np.random.default_rng(0), np.array([0.0])
    x = rng.standard_normal((2 * planned, *chain.input_shape)).astype(np.float32)
    y = rng.standard_normal((2 * planned, 3)).astype(np.float32)
    for rest in sorted({1, 2, 3, planned // 2, planned - 1}):
        trainer, _ = chain.trainer(MSE, {"kind": "sgd"})
        whole = trainer.train(x, y, None, None, 0, planned + rest, planned, rates, 1, np.inf, None)
        assert whole["samples"] == planned
        found = trainer.train(x, y, None, None, planned, planned + rest, planned, rates, 1, np.inf, None)
        assert found["samples"] == rest
        part = slice(planned, planned + rest)
        own, _ = chain.trainer(MSE, {"kind": "sgd"})
        expected = own.train(x[part].copy(), y[part].copy(), None, None, 0, rest, rest, rates, 1, np.inf, None)
        assert found["loss"] == pytest.approx(expected["loss"], rel=2e-6)
        reference = Reference(chain).loss(x[part], y[part], MSE)
        assert found["loss"] / rest == pytest.approx(reference, rel=2e-6)


@pytest.mark.isa
def test_weights_move_alike_in_small_and_large_plans() -> None:
    """One step on the same batch, from a plan of its size and from one three times as large."""
    chain = every_operation()
    rng, rates = np.random.default_rng(0), np.array([0.1])
    x = rng.standard_normal((61, *chain.input_shape)).astype(np.float32)
    y = rng.standard_normal((61, 3)).astype(np.float32)
    order = np.arange(61)
    ends = []
    for size in (20, 61):
        trainer, parameters = chain.trainer(MSE, {"kind": "sgd"})
        trainer.train(x, y, None, order, 0, 20, size, rates, 1, np.inf, None)
        ends.append([parameters.view(i).copy() for i in range(len(chain.values))])
    for a, b, start in zip(*ends, chain.values):
        assert np.linalg.norm(a - b) <= 1e-5 * max(float(np.linalg.norm(b - start)), 1e-2)


@pytest.mark.isa
@pytest.mark.parametrize("samples", [1, 2, 15, 16, 17, 64, 65, 1030])
def test_prediction_of_any_number_of_samples(samples: int) -> None:
    chain = Chain((7, 6, 2)).conv(6, padding="same").activation("relu").pool().conv(5, (2, 2)).reshape().dense(3)
    network, _ = chain.network()
    x = np.random.default_rng(0).standard_normal((samples, 7, 6, 2)).astype(np.float32)
    assert relative_error(network.predict(x, 32), Reference(chain).forward(x)) < 2e-6


def test_a_batch_size_beyond_the_data_costs_no_memory() -> None:
    trainer, _ = Chain((6,)).dense(5).batch_norm().dense(3).trainer(MSE, {"kind": "sgd"})
    x, y = images(4, (6,)), np.zeros((4, 3), np.float32)
    sums = trainer.train(x, y, None, None, 0, 4, 2**62, np.array([0.1]), 10, np.inf, None)
    assert (sums["steps"], sums["samples"]) == (1, 4)
    assert trainer.evaluate(x, y, None, 0, 4, 2**62, None)["samples"] == 4


def test_no_samples_are_no_work() -> None:
    chain = Chain((6,)).dense(3)
    trainer, parameters = chain.trainer(MSE, {"kind": "adam"}, metrics=[{"kind": "categorical"}])
    network, _ = chain.network()
    x, y = np.zeros((0, 6), np.float32), np.zeros((0, 3), np.float32)
    nothing = {"steps": 0, "samples": 0, "loss": 0.0, "loss_weight": 0.0, "metrics": [(0.0, 0.0)]}
    assert trainer.train(x, y, None, None, 0, 0, 8, np.array([0.1]), 10, np.inf, None) == nothing
    assert trainer.evaluate(x, y, None, 0, 0, 8, None) == nothing
    assert network.predict(x, 8).shape == network.forward_training(x, 0).shape == (0, 3)
    assert trainer.updater.iterations == 0
    assert np.array_equal(parameters.view(0), chain.values[0])


# --- state ------------------------------------------------------------------------------------------------------------

OPTIMIZERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "sgd": ({"kind": "sgd"}, []),
    "momentum": ({"kind": "sgd", "momentum": 0.9, "nesterov": True}, ["m"]),
    "adam": ({"kind": "adam"}, ["m", "v"]),
    "amsgrad": ({"kind": "adam", "amsgrad": True}, ["m", "u", "v"]),
    "rmsprop": ({"kind": "rmsprop"}, ["v"]),
    "rmsprop, centered": ({"kind": "rmsprop", "centered": True, "momentum": 0.5}, ["m", "u", "v"]),
    "adadelta": ({"kind": "adadelta", "rho": 0.9, "epsilon": 1e-7}, ["u", "v"]),
    "adagrad": ({"kind": "adagrad", "first_accumulator": 0.1}, ["v"]),
    "nadam": ({"kind": "nadam", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}, ["m", "v"]),
    "ftrl": ({"kind": "ftrl", "first_accumulator": 0.1, "l1": 1e-3}, ["m", "v"]),
    "lion": ({"kind": "lion", "beta_1": 0.9, "beta_2": 0.99}, ["m"]),
    "lamb": ({"kind": "lamb", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}, ["m", "v"]),
    "adafactor": ({"kind": "adafactor"}, ["c", "r", "v"]),
    "averaged and gathered": (
        {"kind": "sgd", "averages": True, "average_momentum": 0.9, "average_overwrite": 2, "accumulation": 4},
        ["accumulated", "average"],
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_on_bit_for_bit(name: str) -> None:
    optimizer, slots = OPTIMIZERS[name]
    chain = Chain((6,)).dense(8).batch_norm().activation("relu").dropout(0.3).dense(3)
    rng = np.random.default_rng(0)
    x, y = images(40, (6,)), rng.standard_normal((40, 3)).astype(np.float32)

    def steps(trainer: Any, count: int) -> None:
        for _ in range(count):
            trainer.train(x, y, None, None, 0, 40, 16, np.array([0.01]), 100, np.inf, None)

    def updater() -> Any:
        return chain.updater(optimizer, chain.trainable)

    straight, expected = chain.trainer(MSE, updater())
    steps(straight, 4)
    first_state, second_state = updater(), updater()
    first, halfway = chain.trainer(MSE, first_state)
    steps(first, 2)
    state = first_state.get_state()
    assert state["iterations"] == first_state.iterations == 6
    assert sorted(state["slots"]) == slots
    assert all(len(arrays) == sum(chain.trainable) for arrays in state["slots"].values())
    second, parameters = chain.trainer(MSE, second_state)
    for i in range(len(chain.values)):
        parameters.assign(i, halfway.view(i).copy())
    second_state.set_state(state)
    steps(first, 2)  # the state is a copy: this changes nothing of it
    steps(second, 2)
    assert second_state.iterations == 12
    for i in range(len(chain.values)):
        assert np.array_equal(parameters.view(i), expected.view(i))
        assert np.array_equal(halfway.view(i), expected.view(i))


# --- bad input --------------------------------------------------------------------------------------------------------


def f32(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


X, Y = f32(4, 3), f32(4, 2)

REFUSED_RUNS: list[tuple[dict[str, Any], str]] = [
    ({"x": f32(4, 4)}, "train: x: expected shape (n, ...) with samples of (3,), received (4, 4)"),
    ({"x": X.astype(complex)}, "train: x: expected an array of numbers, received dtype complex128"),
    ({"x": X.astype(object)}, "train: x: expected an array of numbers, received dtype object"),
    ({"x": X.astype(">f4")}, "train: x: expected an array of numbers, received dtype >f4"),
    ({"y": f32(4, 3)}, "train: y: expected a C-contiguous float32 array of shape (4, 2), received float32 (4, 3)"),
    ({"y": f32(5, 2)}, "train: y: expected a C-contiguous float32 array of shape (4, 2), received float32 (5, 2)"),
    (
        {"y": np.zeros((4, 2))},
        "train: y: expected a C-contiguous float32 array of shape (4, 2), received float64 (4, 2)",
    ),
    (
        {"y": f32(4, 4)[:, ::2]},
        "train: y: expected a C-contiguous float32 array of shape (4, 2), received float32 (4, 2), not C-contiguous",
    ),
    (
        {"sample_weight": f32(3)},
        "train: sample_weight: expected a C-contiguous float32 array of shape (4,), received float32 (3,)",
    ),
    ({"indices": np.array([0, 1, 2, 4])}, "train: indices: expected rows in [0, 4), received 4"),
    ({"indices": np.array([0, -1, 2, 3])}, "train: indices: expected rows in [0, 4), received -1"),
    (
        {"indices": np.arange(4, dtype=np.int32)},
        "train: indices: expected a C-contiguous int64 array of shape (positions,), received int32 (4,)",
    ),
    ({"end": 5}, "train: begin, end: expected 0 <= begin <= end <= 4, received 0, 5"),
    ({"begin": -1}, "train: begin, end: expected 0 <= begin <= end <= 4, received -1, 4"),
    ({"begin": 3, "end": 2}, "train: begin, end: expected 0 <= begin <= end <= 4, received 3, 2"),
    ({"batch_size": 0}, "train: batch_size: expected a positive integer, received 0"),
    (
        {"learning_rates": np.zeros(0)},
        "train: learning_rates: expected a C-contiguous float64 array of shape (steps,), received float64 (0,)",
    ),
    ({"outputs": f32(3, 2)}, "train: outputs: expected at least 8 elements, received 6"),
    ({"outputs": np.zeros((4, 2))}, "train: outputs: expected a C-contiguous float32 array, received float64 (4, 2)"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), REFUSED_RUNS, ids=[f"{list(a)} {i}" for i, (a, _) in enumerate(REFUSED_RUNS)]
)
def test_a_refused_run_changes_nothing(arguments: dict[str, Any], message: str) -> None:
    chain = Chain((3,)).dense(2)
    trainer, parameters = chain.trainer(MSE, {"kind": "adam"})
    good: dict[str, Any] = {
        "x": X, "y": Y, "sample_weight": None, "indices": None, "begin": 0, "end": 4, "batch_size": 2,
        "learning_rates": np.array([0.1]), "max_steps": 10, "time_limit": np.inf, "outputs": None,
    }  # fmt: skip
    with pytest.raises(_core.Error) as refused:
        trainer.train(**{**good, **arguments})
    assert str(refused.value) == message
    assert trainer.updater.iterations == 0
    assert not any(slot.any() for slots in trainer.updater.get_state()["slots"].values() for slot in slots)
    assert all(np.array_equal(parameters.view(i), value) for i, value in enumerate(chain.values))
    assert trainer.train(**good)["steps"] == 2


def graph(*shape: int) -> Any:
    return _core.Graph(shape)


def conv(**changed: Any) -> Callable[[], Any]:
    good = {"filters": 2, "kernel_size": (3, 3), "strides": (1, 1), "padding": "valid", "dilation_rate": (1, 1)}
    return lambda: graph(8, 8, 3).conv2d("conv", **{**good, "groups": 1, "kernel": 0, "bias": 1, **changed})


def pool(**changed: Any) -> Callable[[], Any]:
    good = {"kind": "max", "pool_size": (2, 2), "strides": (2, 2), "padding": "valid"}
    return lambda: graph(8, 8, 3).pool2d("pool", **{**good, **changed})


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (graph, "Input: shape: expected at least one dimension besides the batch, received ()"),
    (lambda: graph(0), "Input: output: expected positive dimensions, received (0,)"),
    (
        lambda: graph(2**30, 2**30),
        "Input: output: expected at most 2^40 elements a sample, received (1073741824, 1073741824)",
    ),
    (conv(filters=0), "conv: filters: expected a positive integer, received 0"),
    (
        conv(filters=2**60),
        "conv: output: expected at most 2^40 elements a sample, received (6, 6, 1152921504606846976)",
    ),
    (conv(kernel_size=(0, 1)), "conv: kernel_size: expected positive integers, received (0, 1)"),
    (
        conv(kernel_size=(9, 1)),
        "conv: input: expected an image at least as large as the kernel (9, 1), received shape (8, 8, 3)",
    ),
    (conv(strides=(1, -1)), "conv: strides: expected positive integers, received (1, -1)"),
    (conv(strides=(1, 2**31)), "conv: strides: expected integers below 2^31, received (1, 2147483648)"),
    (
        conv(dilation_rate=(2**62, 1), padding="same"),
        "conv: dilation_rate: expected integers below 2^31, received (4611686018427387904, 1)",
    ),
    (conv(groups=2), "conv: groups: expected a divisor of the input's 3 channels, received 2"),
    (conv(groups=3), "conv: groups: expected a divisor of filters = 2, received 3"),
    (conv(padding="full"), "conv: padding: expected 'valid' or 'same', received 'full'"),
    (conv(kernel=-1), "conv: kernel: expected a parameter, received none"),
    (pool(kind="min"), "pool: kind: expected 'max' or 'average', received 'min'"),
    (
        pool(pool_size=(9, 2)),
        "pool: input: expected an image at least as large as the pooling window (9, 2), received shape (8, 8, 3)",
    ),
    (pool(strides=(2, 0)), "pool: strides: expected positive integers, received (2, 0)"),
    (
        lambda: graph(8).global_pool2d("pool", kind="max", keepdims=False),
        "pool: input: expected shape (height, width, channels), received (8,)",
    ),
    (
        lambda: graph(8).dense("dense", units=0, kernel=0, bias=1),
        "dense: units: expected a positive integer, received 0",
    ),
    (
        lambda: graph(8).dense("dense", units=2, kernel=-1, bias=1),
        "dense: kernel: expected a parameter, received none",
    ),
    (
        lambda: graph(8).activation("act", kind="gelu"),
        "act: kind: expected one of 'linear', 'relu', 'sigmoid', 'tanh', 'softmax', 'log_softmax', received 'gelu'",
    ),
    (
        lambda: graph(8).reshape("flat", target_shape=(3, -1)),
        "flat: target_shape: expected 8 elements as in the input (8,), received (3, -1)",
    ),
    (
        lambda: graph(8).reshape("flat", target_shape=(2**40, 2**40)),
        "flat: target_shape: expected positive dimensions and at most one -1, received (1099511627776, 1099511627776)",
    ),
    (
        lambda: graph(8).dropout("drop", rate=float("nan"), seed=0),
        "drop: rate: expected a number in [0, 1], received nan",
    ),
    (lambda: _core.Parameters([(-1,)]), "Parameters: shapes: expected dimensions >= 0, received (-1,)"),
    (
        lambda: _core.Parameters([(2**62, 2**62)]),
        "Parameters: shapes: expected at most 2^40 elements, received (4611686018427387904, 4611686018427387904)",
    ),
    (lambda: _core.Parameters([(2,)]).view(1), "Parameters: index: expected an integer below 1, received 1"),
    (
        lambda: _core.Parameters([(2,)]).assign(0, f32(3)),
        "assign: value: expected a C-contiguous float32 array of shape (2,), received float32 (3,)",
    ),
    (
        lambda: Chain((3,)).dense(2).network()[0].predict(f32(4, 2), 1),
        "predict: x: expected shape (n, ...) with samples of (3,), received (4, 2)",
    ),
    (
        lambda: Chain((3,)).dense(2).network()[0].predict(X, 1, 2, 5),
        "predict: begin, end: expected 0 <= begin <= end <= 4, received 2, 5",
    ),
    (
        lambda: Chain((3,)).dense(2).network()[0].predict(X, 1, 0, 4, f32(3, 2)),
        "predict: out: expected a C-contiguous float32 array of shape (4, 2), received float32 (3, 2)",
    ),
    (
        lambda: Chain((3,)).dense(2).network()[0].explain(0, True),
        "explain: batch_size: expected a positive integer, received 0",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE)[0].explain(-3),
        "explain: batch_size: expected a positive integer, received -3",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer({"kind": "none such"}),
        "Trainer: loss: kind: expected one of 'binary_crossentropy', 'categorical_crossentropy', "
        "'sparse_categorical_crossentropy', 'mean_squared_error', 'mean_absolute_error', 'mean_absolute_percentage_error', "
        "'mean_squared_logarithmic_error', 'huber', 'log_cosh', 'poisson', 'hinge', 'squared_hinge', 'kl_divergence', "
        "'binary_focal_crossentropy', 'categorical_focal_crossentropy', 'categorical_hinge', 'cosine_similarity', "
        "'categorical_generalized_cross_entropy', received 'none such'",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE, metrics=[{"kind": "auc"}]),
        "Trainer: metrics: expected one of 'binary', 'categorical', 'sparse_categorical', received 'auc'",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE, {"kind": "tiger"}),
        "Updater: kind: expected one of 'sgd', 'adam', 'rmsprop', 'adadelta', 'adagrad', 'adamax', 'nadam', 'ftrl', 'lion', "
        "'schedule_free_adamw', 'lamb', 'adafactor', 'muon', received 'tiger'",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE, _core.Updater({"kind": "sgd", "weight_decay": [0.0]}, [(3, 2)])),
        "Trainer: updater: expected one for 2 trainable parameters, received one for 1",
    ),
    (
        lambda: _core.Updater({"kind": "sgd", "weight_decay": []}, [(3, 2)]),
        "Updater: weight_decay: expected 1 entries, received 0",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE, regularizers=[(0.0, 0.0)]),
        "Trainer: regularizers: expected 2 entries, received 1",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE, trainable=[True]),
        "Trainer: trainable: expected 2 entries, received 1",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE)[0].train(X, Y, None, None, 0, 4, 2, np.array([0.1]), 1, 1.0, None),
        "train: optimizer: expected a Trainer with one, received a Trainer for evaluation",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(MSE)[0].gradients(X[:0], Y[:0], None, 0),
        "gradients: x: expected at least one sample, received none",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(SPARSE)[0].evaluate(X, np.array([0, 1, 2, 0], np.int32), None, 0, 4, 4, None),
        "evaluate: y: expected classes from 0 to 1, received 2",
    ),
    (
        lambda: Chain((3,)).dense(2).trainer(SPARSE)[0].gradients(X, np.array([0, 1, -1, 0], np.int32), None, 0),
        "gradients: y: expected classes from 0 to 1, received -1",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "message"), REFUSED, ids=[m.split(":")[0] + f" {i}" for i, (_, m) in enumerate(REFUSED)]
)
def test_bad_input_is_refused_with_one_sentence(action: Callable[[], Any], message: str) -> None:
    with pytest.raises(_core.Error) as refused:
        action()
    assert str(refused.value) == message


def test_a_refused_operation_leaves_the_graph_as_it_was() -> None:
    chain = Chain((8, 8, 3)).conv(2)
    with pytest.raises(_core.Error):
        chain.graph.pool2d("pool", kind="max", pool_size=(7, 7), strides=(1, 1), padding="valid")
    with pytest.raises(_core.Error):
        chain.graph.dense("dense", units=-1, kernel=0, bias=1)
    assert chain.graph.output_shape == (6, 6, 2)
    assert operations(chain.dense(2).network()[0].explain(1, False)) == ["conv2d", "dense"]


def test_parameters_must_be_what_the_graph_needs() -> None:
    parameters = _core.Parameters([(3, 2), (2,), (3,)])
    made = _core.Graph((3,))
    made.dense("dense", units=2, kernel=0, bias=1)
    for indices, message in (
        ([0], "dense: bias: expected a parameter index below 1, received 1"),
        ([0, 2], "dense: bias: expected shape (2,), received (3,)"),
        ([1, 0], "dense: kernel: expected shape (3, 2), received (2,)"),
        ([0, 3], "Parameters: index: expected an integer below 3, received 3"),
    ):
        with pytest.raises(_core.Error) as refused:
            _core.Network(made, [(parameters, i) for i in indices])
        assert str(refused.value) == message


def test_a_refused_state_changes_nothing() -> None:
    trainer, _ = Chain((3,)).dense(2).trainer(MSE, {"kind": "adam"})
    trainer.train(X + 1, Y + 1, None, None, 0, 4, 2, np.array([0.1]), 10, np.inf, None)
    before = trainer.updater.get_state()
    good = before["slots"]
    for state, message in (
        ({"iterations": 9, "slots": {"m": good["m"]}}, "set_state: slots: expected 'v', which is missing"),
        (
            {"iterations": 9, "slots": {"m": good["m"], "v": good["v"][:1]}},
            "set_state: slots: 'v': expected one array a trainable parameter, received 1",
        ),
        (
            {"iterations": 9, "slots": {"m": good["m"], "v": [f32(3, 3), f32(2)]}},
            "set_state: v: expected a C-contiguous float32 array of shape (3, 2), received float32 (3, 3)",
        ),
        (
            {"iterations": -1, "slots": {"m": [f32(3, 2), f32(2)], "v": good["v"]}},
            "set_state: iterations: expected an integer from 0 to 2^53, received -1",
        ),
    ):
        with pytest.raises(_core.Error) as refused:
            trainer.updater.set_state(state)
        assert str(refused.value) == message
    after = trainer.updater.get_state()
    assert after["iterations"] == before["iterations"] == 2
    for slot in good:
        assert all(np.array_equal(a, b) for a, b in zip(after["slots"][slot], good[slot]))


def test_parameter_views_are_read_only_and_follow_training() -> None:
    trainer, parameters = Chain((3,)).dense(2).trainer(MSE, {"kind": "sgd"})
    view = parameters.view(0)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 1
    before = view.copy()
    trainer.train(X + 1, Y, None, None, 0, 4, 4, np.array([0.1]), 1, np.inf, None)
    assert not np.array_equal(view, before)
    del trainer, parameters
    assert np.isfinite(view).all()  # keeps the buffer alive
