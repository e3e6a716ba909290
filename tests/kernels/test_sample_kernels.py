"""The layers' smaller kernels, functions of one sample each: every row against the oracle, and the oracle's derivatives
against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import (
    EPSILON,
    REFERENCE,
    SIZES,
    assert_relative_l2,
    assert_same_specials,
    assert_within,
    double,
    each_row,
    normal,
    placed,
)

from fastcnn import _core

# Functions with constants, and epsilons allowed: of the result, and of |x| (the error of an argument of exp).
FUNCTIONS: dict[str, tuple[dict[str, float], float, float]] = {
    "relu": ({"a": 0.25, "b": 6.0, "c": 0.5}, 2, 1),
    "relu ": ({"a": 0.0, "b": float("inf"), "c": 0.0}, 0, 0),
    "elu": ({"a": 1.6732632, "b": 0.5, "c": 1.05070098}, 6, 0),
    "exponential": ({}, 3, 0),
    "gelu": ({}, 8, 40),
    "gelu_tanh": ({}, 8, 40),
    "silu": ({}, 5, 0),
    "mish": ({}, 10, 0),
    "softplus": ({}, 6, 0),
    "log_sigmoid": ({}, 6, 0),
    "softsign": ({}, 2, 0),
    "squareplus": ({"a": 4.0}, 4, 0),
    "hard_sigmoid": ({}, 3, 1),
    "hard_silu": ({}, 4, 2),
    "hard_tanh": ({}, 0, 0),
    "hard_shrink": ({"a": 0.5}, 0, 0),
    "soft_shrink": ({"a": 0.5}, 1, 0),
    "tanh_shrink": ({}, 1, 2),
    "threshold": ({"a": 0.5, "b": -2.0}, 0, 0),
    "sparse_plus": ({}, 3, 0),
    "sparse_sigmoid": ({}, 2, 0),
}
each_function = pytest.mark.parametrize("name", FUNCTIONS)


def function(name: str) -> tuple[dict[str, Any], float, float]:
    constants, epsilons, of_input = FUNCTIONS[name]
    return {"kind": name.strip(), **constants}, epsilons, of_input


def inputs(seed: int, *shape: int) -> Any:
    rng = np.random.default_rng(seed)
    return placed(rng.standard_normal(shape) * rng.choice([1e-5, 0.3, 2, 8], shape))


@each_function
@each_row("elementwise_forward")
def test_elementwise_agrees_with_the_oracle(name: str, algorithm: str, isa: str) -> None:
    arguments, epsilons, of_input = function(name)
    for shape in [(n,) for n in SIZES] + [(3, n) for n in SIZES] + [(2, 3000)]:
        x = inputs(sum(shape), *shape)
        expected = _core.elementwise(*double(x), **arguments, isa=REFERENCE)
        actual = _core.elementwise(x, **arguments, isa=isa, algorithm=algorithm)
        bound = EPSILON * (epsilons * np.abs(expected) + of_input * np.abs(x)) + 1e-37
        assert_within(actual, expected, bound, (name, shape, isa))


@each_function
@each_row("elementwise_forward")
def test_elementwise_of_special_values(name: str, algorithm: str, isa: str) -> None:
    arguments, _, _ = function(name)
    x = placed([np.nan, 0.0, -0.0, 1e-45, 1e4, -1e4, 88.0, -88.0, 60.0, -60.0, np.nan] * 3)
    expected = _core.elementwise(*double(x), **arguments, isa=REFERENCE)
    expected[np.abs(expected) > 3.4e38] = np.inf
    actual = _core.elementwise(x, **arguments, isa=isa, algorithm=algorithm)
    assert_same_specials(actual, expected, (name, isa))
    finite = np.isfinite(expected)
    # Tails of e^(-x^2 / 2) beyond the range of float32's normal numbers may be rounded to zero.
    np.testing.assert_allclose(actual[finite], expected[finite], rtol=2e-5, atol=1e-36)


@each_function
@each_row("elementwise_backward")
def test_elementwise_gradient_agrees_with_the_oracle(name: str, algorithm: str, isa: str) -> None:
    arguments, _, _ = function(name)
    for shape in [(n,) for n in SIZES] + [(3, n) for n in SIZES]:
        x, dy = inputs(sum(shape), *shape), normal(np.random.default_rng(1), *shape)
        expected = _core.elementwise_grad(*double(x, dy), **arguments, isa=REFERENCE)
        actual = _core.elementwise_grad(x, dy, **arguments, isa=isa, algorithm=algorithm)
        # Terms of opposite signs meet where the function turns: the error is relative to dy.
        bound = EPSILON * (8 * np.abs(expected) + 16 * np.abs(dy) * np.minimum(np.abs(x) + 0.1, 1))
        assert_within(actual, expected, bound, (name, shape, isa))


@each_function
def test_the_oracles_derivative(name: str) -> None:
    arguments, _, _ = function(name)
    x, h = np.random.default_rng(2).standard_normal(400) * 3, 1e-6
    above, below = (_core.elementwise(x + s * h, **arguments, isa=REFERENCE) for s in (1, -1))
    found = _core.elementwise_grad(x, np.ones_like(x), **arguments, isa=REFERENCE)
    np.testing.assert_allclose(found, (above - below) / (2 * h), rtol=1e-6, atol=1e-7)


@each_row("softmax_forward")
def test_log_softmax_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for shape in [(2, n) for n in SIZES] + [(3, 5, 10), (33, 1000)]:
        x = placed(np.random.default_rng(sum(shape)).standard_normal(shape) * 5)
        expected = _core.activation(*double(x), "log_softmax", isa=REFERENCE)
        actual = _core.activation(x, "log_softmax", isa=isa, algorithm=algorithm)
        spread = np.abs(expected) + 2
        assert_within(actual, expected, (6 + np.sqrt(shape[-1])) * EPSILON * spread, (shape, isa))


@each_row("softmax_backward")
def test_log_softmax_gradient_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for shape in [(2, n) for n in SIZES] + [(3, 5, 10)]:
        rng = np.random.default_rng(sum(shape))
        y = placed(_core.activation(rng.standard_normal(shape), "log_softmax", isa=REFERENCE))
        dy = normal(rng, *shape)
        expected = _core.activation_grad(*double(y, dy), "log_softmax", isa=REFERENCE)
        actual = _core.activation_grad(y, dy, "log_softmax", isa=isa, algorithm=algorithm)
        bound = (shape[-1] + 8) * EPSILON * (np.abs(dy) + np.exp(y) * np.abs(dy).sum(axis=-1, keepdims=True))
        assert_within(actual, expected, bound, (shape, isa))


PERMUTATIONS: list[tuple[tuple[int, ...], list[int]]] = [
    ((7,), [0]),
    ((5, 3), [1, 0]),
    ((1, 4), [1, 0]),
    ((17, 33), [1, 0]),
    ((6, 5, 3), [2, 0, 1]),
    ((3, 6, 5), [1, 2, 0]),
    ((16, 16, 32), [2, 0, 1]),
    ((9, 4, 17), [1, 0, 2]),
    ((4, 5, 6), [2, 1, 0]),
    ((2, 3, 1, 4, 2, 3), [3, 5, 2, 0, 4, 1]),
]


@pytest.mark.parametrize(("shape", "axes"), PERMUTATIONS)
@each_row("permute")
def test_permute_is_numpys_transpose(shape: Any, axes: list[int], algorithm: str, isa: str) -> None:
    x = normal(np.random.default_rng(0), 3, *shape)
    expected = x.transpose(0, *(a + 1 for a in axes))
    np.testing.assert_array_equal(_core.permute(x, axes, isa=isa, algorithm=algorithm), expected)
    np.testing.assert_array_equal(_core.permute(*double(x), axes, isa=REFERENCE), expected.astype(np.float64))


# (kind, size of the input, rows, columns)
MAPS: list[tuple[str, tuple[int, int], tuple[int, int], tuple[int, int]]] = [
    ("pad", (5, 6), (1, 2), (3, 0)),
    ("pad", (5, 6), (-1, -2), (0, -3)),
    ("pad", (5, 6), (2, -1), (-1, 4)),
    ("repeat", (3, 4), (2, 0), (3, 0)),
    ("repeat", (1, 1), (5, 0), (1, 0)),
    ("linear", (4, 5), (8, 0), (15, 0)),
    ("linear", (7, 1), (3, 0), (4, 0)),
    ("mean", (7, 5), (3, 0), (5, 0)),
    ("mean", (4, 6), (6, 0), (1, 0)),
]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("case", MAPS)
@each_row("resample")
def test_resample_agrees_with_the_oracle(case: Any, transposed: bool, algorithm: str, isa: str) -> None:
    kind, size, height, width = case
    for channels in (1, 3, 16, 37):
        x = normal(np.random.default_rng(channels), 2, *size, channels)
        if transposed:
            x = placed(_core.resample(x, kind, size, height, width))
        expected = _core.resample(*double(x), kind, size, height, width, transposed, isa=REFERENCE)
        magnitude = _core.resample(*double(np.abs(x)), kind, size, height, width, transposed, isa=REFERENCE)
        actual = _core.resample(x, kind, size, height, width, transposed, isa=isa, algorithm=algorithm)
        bound = 0 if kind == "pad" else 12 * EPSILON * magnitude
        assert_within(actual, expected, bound, (case, channels, isa))


@pytest.mark.parametrize("case", MAPS)
def test_the_transposed_taps_are_the_transposed_map(case: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *case[1], 3))
    y = _core.resample(x, *case, isa=REFERENCE)
    dy = rng.standard_normal(y.shape)
    assert (y * dy).sum() == pytest.approx((x * _core.resample(dy, *case, True, isa=REFERENCE)).sum())


ADAPTIVE = [((7, 5, 3), (3, 5)), ((4, 6, 17), (1, 1)), ((3, 2, 16), (5, 4)), ((9, 8, 40), (4, 3))]


@pytest.mark.parametrize(("shape", "size"), ADAPTIVE)
@each_row("adaptive_max_forward")
def test_adaptive_max_pool_agrees_with_the_oracle(shape: Any, size: Any, algorithm: str, isa: str) -> None:
    for x in (normal(np.random.default_rng(0), 2, *shape), with_specials(2, *shape)):
        expected = _core.adaptive_max_pool(*double(x), size, isa=REFERENCE)
        actual = _core.adaptive_max_pool(x, size, isa=isa, algorithm=algorithm)
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("shape", "size"), ADAPTIVE)
@each_row("adaptive_max_backward")
def test_adaptive_max_pool_gradient_agrees_with_the_oracle(shape: Any, size: Any, algorithm: str, isa: str) -> None:
    for x in (normal(np.random.default_rng(0), 2, *shape), with_specials(2, *shape)):
        dy = normal(np.random.default_rng(1), 2, *size, shape[-1])
        expected = _core.adaptive_max_pool_grad(*double(x, dy), isa=REFERENCE)
        actual = _core.adaptive_max_pool_grad(x, dy, isa=isa, algorithm=algorithm)
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def with_specials(*shape: int) -> Any:
    """Few different values, so that maxima are tied, and some NaN and infinities."""
    rng = np.random.default_rng(4)
    return placed(rng.choice([0.0, 1.0, 1.0, 2.0, np.nan, np.inf, -np.inf], shape, p=[0.2] * 4 + [0.1, 0.05, 0.05]))


PRELU = [((6,), (6,)), ((5, 4, 3), (1, 1, 3)), ((5, 4, 3), (5, 1, 3)), ((5, 4, 17), (5, 4, 1)), ((4, 33), (1, 1))]


@pytest.mark.parametrize(("shape", "small"), PRELU)
@each_row("prelu_forward")
def test_prelu_agrees_with_the_oracle(shape: Any, small: Any, algorithm: str, isa: str) -> None:
    x, alpha = normal(np.random.default_rng(0), 3, *shape), normal(np.random.default_rng(1), *small)
    x.ravel()[:2] = [np.nan, 0.0]
    expected = _core.prelu(*double(x, alpha), isa=REFERENCE)
    assert_within(_core.prelu(x, alpha, isa=isa, algorithm=algorithm), expected, EPSILON * np.abs(expected), isa)
    slope = np.where(x > 0, 1, alpha)
    np.testing.assert_allclose(expected, slope.astype(np.float64) * x, rtol=1e-12)


@pytest.mark.parametrize(("shape", "small"), PRELU)
@each_row("prelu_backward")
def test_prelu_gradient_agrees_with_the_oracle(shape: Any, small: Any, algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, alpha, dy = normal(rng, 3, *shape), normal(rng, *small), normal(rng, 3, *shape)
    x.ravel()[:2] = 0.0
    dx, dalpha = _core.prelu_grad(*double(x, alpha, dy), isa=REFERENCE)
    actual = _core.prelu_grad(x, alpha, dy, isa=isa, algorithm=algorithm)
    assert_within(actual[0], dx, EPSILON * np.abs(dx), (shape, isa))
    _, magnitude = _core.prelu_grad(*double(-np.abs(x), alpha, np.abs(dy)), isa=REFERENCE)
    assert_within(actual[1], dalpha, 8 * EPSILON * np.abs(magnitude), (shape, isa))


# (outer, positions, groups, channels)
NORMALIZED = [(1, 1, 1, 7), (5, 1, 1, 16), (3, 1, 1, 37), (1, 12, 4, 3), (1, 9, 2, 16), (1, 10, 1, 5), (1, 1, 3, 40)]
each_kind = pytest.mark.parametrize("kind", ["standard", "rms", "unit"])


def small_epsilon(kind: str) -> float:
    return 1e-12 if kind == "unit" else 1e-3


@each_kind
@pytest.mark.parametrize("shape", NORMALIZED)
@each_row("normalize_forward")
def test_normalize_agrees_with_the_oracle(kind: str, shape: Any, algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(0)
    for offset in (0.0, 1000.0):
        x = placed(rng.standard_normal((3, *shape)) + offset)
        gamma, beta = normal(rng, *shape[2:]), normal(rng, *shape[2:])
        for parameters in ((gamma, beta), (None, None)):
            expected = _core.normalize(*double(x), kind, small_epsilon(kind), *double(*parameters), isa=REFERENCE)
            actual = _core.normalize(x, kind, small_epsilon(kind), *parameters, isa=isa, algorithm=algorithm)
            assert_relative_l2(actual, expected, 4e-6, (kind, shape, offset, isa))


@each_kind
@pytest.mark.parametrize("shape", NORMALIZED)
@each_row("normalize_backward")
def test_normalize_gradient_agrees_with_the_oracle(kind: str, shape: Any, algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, dy, gamma = normal(rng, 3, *shape), normal(rng, 3, *shape), normal(rng, *shape[2:])
    for g in (gamma, None):
        expected = _core.normalize_grad(*double(x, dy), kind, small_epsilon(kind), *double(g), isa=REFERENCE)
        actual = _core.normalize_grad(x, dy, kind, small_epsilon(kind), g, isa=isa, algorithm=algorithm)
        for a, e in zip(actual, expected):
            assert_relative_l2(a, e, 4e-6, (kind, shape, isa))


@pytest.mark.parametrize("isa", [REFERENCE, ""])
def test_unit_normalisation_of_zeros_gives_zeros(isa: str) -> None:
    x = np.zeros((1, 1, 1, 1, 4), np.float64 if isa else np.float32)
    np.testing.assert_array_equal(_core.normalize(x, "unit", 1e-12, isa=isa), 0 * x)
    dx, _, _ = _core.normalize_grad(x, x + 1, "unit", 1e-12, isa=isa)
    np.testing.assert_allclose(dx, 1e12, rtol=1e-6)


@each_kind
def test_the_oracles_normalize_gradient(kind: str) -> None:
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((2, 2, 3, 2, 2)), rng.standard_normal((2, 2, 3, 2, 2))
    gamma = rng.standard_normal((2, 2))
    found = _core.normalize_grad(x, dy, kind, small_epsilon(kind), gamma, isa=REFERENCE)

    def value(x: Any, gamma: Any, beta: Any) -> float:
        return float((dy * _core.normalize(x, kind, small_epsilon(kind), gamma, beta, isa=REFERENCE)).sum())

    arguments, h = [x, gamma, np.zeros((2, 2))], 1e-6
    for which, gradient in enumerate(found):
        for i in np.ndindex(gradient.shape):
            moved = [a.copy() for a in arguments]
            moved[which][i] += h
            above = value(*moved)
            moved[which][i] -= 2 * h
            assert (above - value(*moved)) / (2 * h) == pytest.approx(gradient[i], rel=1e-5, abs=1e-7)


NOISE = [((5, 4, 6), (5, 4, 6)), ((5, 4, 6), (1, 1, 6)), ((40, 3), (40, 1)), ((7,), (7,)), ((4, 3, 5), (1, 3, 1))]
NOISE_KINDS = ["dropout", "alpha_dropout", "gaussian_dropout", "gaussian"]


@pytest.mark.parametrize("kind", NOISE_KINDS)
@pytest.mark.parametrize(("shape", "small"), NOISE)
@each_row("noise")
def test_noise_agrees_with_the_oracle(kind: str, shape: Any, small: Any, algorithm: str, isa: str) -> None:
    x = normal(np.random.default_rng(0), 3, *shape)
    for options in ({}, {"backward": True}, {"shared": True, "first_sample": 7, "step": 3, "layer": 2}):
        arguments = (kind, 0.3, 2**40 + 5, small)
        expected = _core.noise(*double(x), *arguments, **options, isa=REFERENCE)
        actual = _core.noise(x, *arguments, **options, isa=isa, algorithm=algorithm)
        bound = 12 * EPSILON * (np.abs(expected) + np.abs(x) + 1)
        assert_within(actual, expected, bound, (kind, shape, small, options, isa))
        if options.get("shared"):
            same = _core.noise(np.ones((2, *shape), np.float32), *arguments, **options, isa=isa)
            np.testing.assert_array_equal(same[0], same[1])


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_has_the_moments_it_should(kind: str) -> None:
    """A standard normal sample keeps mean 0; alpha dropout keeps its variance, the others change it as they say."""
    x = np.random.default_rng(0).standard_normal((8, 40000)).astype(np.float32)
    y = _core.noise(x, kind, 0.25, 1, (40000,))
    variance = {"dropout": 1 / 0.75, "alpha_dropout": None, "gaussian_dropout": 1 + 0.25**2, "gaussian": 1 + 0.25**2}
    assert abs(float(y.mean())) < 0.01
    if kind == "alpha_dropout":  # for SELU's outputs: E x = 0, E x^2 = 1
        assert float(y.var()) == pytest.approx(1.0, abs=0.01)
    else:
        assert float(y.var()) == pytest.approx(variance[kind], abs=0.02)
    if kind == "dropout":
        assert float((y == 0).mean()) == pytest.approx(0.25, abs=0.005)


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_noise_backward_is_the_derivative(kind: str) -> None:
    rng = np.random.default_rng(0)
    x, direction = rng.standard_normal((2, 12)), rng.standard_normal((2, 12))
    arguments = (kind, 0.4, 3, (12,))
    above, below = (_core.noise(x + s * direction, *arguments, isa=REFERENCE) for s in (0.5, -0.5))
    found = _core.noise(direction, *arguments, backward=True, isa=REFERENCE)
    np.testing.assert_allclose(above - below, found, rtol=1e-10, atol=1e-12)
