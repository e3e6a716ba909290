"""Optimizer steps and sums of gradients: every row against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import (
    EPSILON,
    REFERENCE,
    SIZES,
    assert_epsilons,
    assert_same_specials,
    assert_within,
    double,
    each_row,
    placed,
)

from fastcnn import _core

# Hyper-parameters are float32 in the kernels: 2^-n where possible, so that the oracle has the same.
RATE = 2.0**-7
BETAS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 2.0**-23, "alpha": RATE / 4}
RULES: dict[str, tuple[str, dict[str, float]]] = {
    "sgd": ("sgd", {}),
    "sgd with weight decay": ("sgd", {"weight_decay": 0.125}),
    "sgd with clipping": ("sgd", {"clip_value": 0.5, "gradient_scale": 0.25}),
    "momentum": ("sgd", {"momentum": 0.875}),
    "nesterov": ("sgd", {"momentum": 0.875, "nesterov": 1}),
    "adam": ("adam", BETAS),
    "adam with weight decay and clipping": ("adam", {**BETAS, "weight_decay": 0.25, "clip_value": 0.25}),
    "amsgrad": ("adam", {**BETAS, "amsgrad": 1}),
    "rmsprop": ("rmsprop", {"rho": 0.9, "epsilon": 2.0**-10}),
    "rmsprop with momentum": ("rmsprop", {"rho": 0.9, "epsilon": 2.0**-10, "momentum": 0.5}),
    "centered rmsprop": ("rmsprop", {"rho": 0.9, "epsilon": 2.0**-10, "centered": 1}),
    "adadelta": ("adadelta", {"rho": 0.9, "epsilon": 2.0**-10}),
    "adagrad": ("adagrad", {"epsilon": 2.0**-23, "weight_decay": 0.25}),
    "adamax": ("adamax", BETAS),
    "nadam": ("nadam", {**BETAS, "gradient_rate": RATE / 2, "correction": 8, "clip_value": 0.25}),
    "ftrl": ("ftrl", {"l1": 0.125, "l2": 0.25, "shrinkage": 0.125}),
    "ftrl with another power": ("ftrl", {"l1": 0.125, "power": 0.75}),
    "lion": ("lion", {"beta_1": 0.9, "beta_2": 0.99}),
    "schedule-free adamw": ("schedule_free_adamw", {**BETAS, "correction": 8, "mix": 0.25}),
    "centered rmsprop with momentum": ("rmsprop", {"rho": 0.9, "epsilon": 2.0**-10, "centered": 1, "momentum": 0.5}),
}
each_rule = pytest.mark.parametrize("rule", RULES)


def step(rule: str, param: Any, gradient: Any, slots: dict[str, Any], **where: Any) -> None:
    kind, hyper = RULES[rule]
    _core.optimizer_update(kind, param, gradient, slots, {"learning_rate": RATE, "gradient_scale": 1, **hyper}, **where)


@each_rule
@each_row("optimizer_update")
def test_three_steps_agree_with_the_oracle(rule: str, algorithm: str, isa: str) -> None:
    for size in (*SIZES, 1000):
        rng = np.random.default_rng(size)
        param, slots = placed(rng.standard_normal(size)), {name: placed(np.zeros(size)) for name in "mvu"}
        param64, slots64 = double(param)[0], {name: np.zeros(size) for name in "mvu"}
        for _ in range(3):
            gradient = placed(rng.standard_normal(size))
            step(rule, param, gradient, slots, isa=isa, algorithm=algorithm)
            step(rule, param64, double(gradient)[0], slots64, isa=REFERENCE)
        case = (rule, size, isa)
        # A step moves a parameter by a few RATE; v - u^2 of the centered rule loses up to three digits to cancellation,
        # and the difference of powers that are no square roots up to one.
        digits = 2000 if "centered" in rule else 200 if "power" in rule else 60
        bound = EPSILON * (5 * np.abs(param64) + digits * RATE)
        assert_within(param, param64, bound, case)
        for name in "mvu":
            limit = 2000 if "centered" in rule and name == "m" else 24
            assert_within(slots[name], slots64[name], limit * EPSILON * np.abs(slots64[name]).max(), (name, *case))


@each_rule
@each_row("optimizer_update")
def test_a_step_writes_nothing_around_its_arrays(rule: str, algorithm: str, isa: str) -> None:
    for size in (1, 15, 17):
        arrays = [placed(np.full(size, 0.5)) for _ in range(4)]
        slots = dict(zip("mvu", arrays[1:]))
        step(rule, arrays[0], placed(np.ones(size)), slots, isa=isa, algorithm=algorithm)
        for array in arrays:
            whole = array.base if array.base.base is None else array.base.base
            assert np.isfinite(whole).sum() == size


@each_rule
@each_row("optimizer_update")
def test_a_step_passes_nan_and_infinity_on(rule: str, algorithm: str, isa: str) -> None:
    gradient = placed(np.ones(19))
    gradient[[0, 17, 18]] = np.nan, np.inf, -np.inf
    param, slots = placed(np.ones(19)), {name: placed(np.full(19, 0.5)) for name in "mvu"}
    param64, slots64 = np.ones(19), {name: np.full(19, 0.5) for name in "mvu"}
    step(rule, param, gradient, slots, isa=isa, algorithm=algorithm)
    step(rule, param64, double(gradient)[0], slots64, isa=REFERENCE)
    assert_same_specials(param, param64, (rule, isa))
    assert np.isnan(param[0])


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.25, 0.0), (0.0, 0.125), (0.25, 0.125)])
@each_row("sum_gradients")
def test_sum_of_lanes_agrees_with_the_oracle(l1: float, l2: float, algorithm: str, isa: str) -> None:
    for lanes in (1, 2, 3, 16):
        for size in (*SIZES, 1000):
            rng = np.random.default_rng([lanes, size])
            lane, param = placed(rng.standard_normal((lanes, size))), placed(rng.standard_normal(size))
            param[size // 2] = 0.0  # sign(0) is 0
            expected = _core.sum_gradients(*double(lane, param), l1, l2, isa=REFERENCE)
            actual = _core.sum_gradients(lane, param, l1, l2, isa=isa, algorithm=algorithm)
            case = (lanes, size, l1, l2, isa)
            magnitude = np.abs(lane).sum(axis=0) + l1 + 2 * l2 * np.abs(param)
            assert_within(actual[0], expected[0], (lanes + 3) * EPSILON * magnitude, case)
            assert actual[1] == pytest.approx(expected[1], rel=1e-5), f"repeat with {case!r}"
            assert actual[2] == pytest.approx(expected[2], rel=1e-5), f"repeat with {case!r}"


@each_row("sum_gradients_transposed")
def test_sum_of_transposed_lanes_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for lanes in (1, 2, 5):
        for rows in SIZES:
            for columns in SIZES:
                lane = placed(np.random.default_rng([lanes, rows, columns]).standard_normal((lanes, columns, rows)))
                expected = _core.sum_gradients_transposed(*double(lane), isa=REFERENCE)
                actual = _core.sum_gradients_transposed(lane, isa=isa, algorithm=algorithm)
                bound = lanes * EPSILON * np.abs(lane).sum(axis=0).T
                assert_within(actual, expected, bound, (lanes, rows, columns, isa))


@each_row("sum_gradients")
def test_lanes_are_summed_in_their_order(algorithm: str, isa: str) -> None:
    lane = placed(np.tile([[1.0], [2.0**24], [-(2.0**24)], [1.0]], (1, 37)))
    gradient, _, sum_squares = _core.sum_gradients(lane, placed(np.zeros(37)), 0.0, 0.0, isa=isa, algorithm=algorithm)
    # (1 + 2^24) rounds to 2^24 in float32; any other order gives another sum.
    np.testing.assert_array_equal(gradient, 1.0)
    assert sum_squares == 37


def test_unknown_hyper_parameters_and_absent_slots_are_refused() -> None:
    param, gradient = np.ones(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(_core.Error, match="hyper: expected fields of OptimizerUpdate, received 'decay'"):
        _core.optimizer_update("sgd", param, gradient, {}, {"decay": 1.0})
    with pytest.raises(_core.Error, match="slots: expected an array 'm', received none"):
        _core.optimizer_update("adam", param, gradient, {}, BETAS)
    np.testing.assert_array_equal(param, 1.0)


def test_epsilons_is_a_tolerance_that_can_fail() -> None:
    with pytest.raises(AssertionError, match="repeat with 'this case'"):
        assert_epsilons(np.float32([1 + 8 * EPSILON]), np.array([1.0]), 4, "this case")
