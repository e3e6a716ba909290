"""Activations, softmax and their derivatives: every row against the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import (
    EPSILON,
    REFERENCE,
    SIZES,
    assert_canaries,
    assert_epsilons,
    assert_same_specials,
    assert_within,
    canaried,
    double,
    each_row,
    normal,
    placed,
)

from fastcnn import _core

# Allowed error in epsilons of the result.
FORWARD = {"linear": 0, "relu": 0, "sigmoid": 4, "tanh": 4}
KINDS = pytest.mark.parametrize("kind", FORWARD)


def inputs(seed: int, *shape: int) -> np.ndarray:
    """Mostly moderate, some tiny, some where the function saturates."""
    rng = np.random.default_rng(seed)
    return placed(rng.standard_normal(shape) * rng.choice([1e-6, 0.3, 3, 20], shape))


@KINDS
@each_row("activation_forward")
def test_activation_agrees_with_the_oracle(kind: str, algorithm: str, isa: str) -> None:
    for shape in [(n,) for n in SIZES] + [(3, n) for n in SIZES] + [(2, 5, 7, 3), (2, 3000)]:
        x = inputs(sum(shape), *shape)
        out = canaried(*shape)
        _core.activation(x, kind, out=out, isa=isa, algorithm=algorithm)
        assert_epsilons(out, _core.activation(*double(x), kind, isa=REFERENCE), FORWARD[kind], (kind, shape, isa))
        assert_canaries(out)


@KINDS
@each_row("activation_forward")
def test_activation_in_place_gives_the_same_bits(kind: str, algorithm: str, isa: str) -> None:
    x = inputs(7, 3, 37)
    expected = _core.activation(x, kind, isa=isa, algorithm=algorithm)
    assert _core.activation(x, kind, out=x, isa=isa, algorithm=algorithm) is x
    np.testing.assert_array_equal(x, expected)


@KINDS
@each_row("activation_forward")
def test_activation_of_special_values(kind: str, algorithm: str, isa: str) -> None:
    values = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 88.8, -88.8, 104.0, -104.0, 9.1, -9.1]
    for x in (placed(values), placed(values * 3)):
        expected = _core.activation(*double(x), kind, isa=REFERENCE)
        actual = _core.activation(x, kind, isa=isa, algorithm=algorithm)
        # Sigmoids below the smallest normal number may round to zero; linear and ReLU keep every bit.
        tiny = float(np.finfo(np.float32).tiny) if FORWARD[kind] else 0.0
        bound = FORWARD[kind] * EPSILON * np.abs(np.nan_to_num(expected, posinf=0, neginf=0)) + tiny
        assert_within(actual, expected, bound, (kind, isa))


@KINDS
@each_row("activation_backward")
def test_activation_gradient_agrees_with_the_oracle(kind: str, algorithm: str, isa: str) -> None:
    for shape in [(n,) for n in SIZES] + [(3, n) for n in SIZES]:
        y = placed(_core.activation(*double(inputs(sum(shape), *shape)), kind, isa=REFERENCE))
        dy = normal(np.random.default_rng(1), *shape)
        expected = _core.activation_grad(*double(y, dy), kind, isa=REFERENCE)
        actual = _core.activation_grad(y, dy, kind, isa=isa, algorithm=algorithm)
        # 1 - y and 1 - y^2 cancel: the error is relative to dy.
        bound = 0 if kind in ("linear", "relu") else 3 * EPSILON * np.abs(dy)
        assert_within(actual, expected, bound, (kind, shape, isa))


@each_row("activation_backward")
def test_relu_gradient_passes_where_y_is_nan_and_stops_at_zero(algorithm: str, isa: str) -> None:
    y = placed([np.nan, 0.0, -0.0, 1e-45, np.inf, 1.0, np.nan] * 3)
    dy = placed([2.0, np.nan, np.inf, 3.0, 4.0, np.nan, np.nan] * 3)
    expected = np.array([2.0, 0.0, 0.0, 3.0, 4.0, np.nan, np.nan] * 3, np.float32)
    np.testing.assert_array_equal(_core.activation_grad(y, dy, "relu", isa=isa, algorithm=algorithm), expected)


SOFTMAX_SHAPES = [(2, n) for n in SIZES] + [(3, 5, 10), (2, 2, 3, 17), (1000,), (33, 1000)]


@each_row("softmax_forward")
def test_softmax_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for shape in SOFTMAX_SHAPES:
        x = placed(np.random.default_rng(sum(shape)).standard_normal(shape) * 5)
        expected = _core.activation(*double(x), "softmax", isa=REFERENCE)
        out = canaried(*shape)
        _core.activation(x, "softmax", out=out, isa=isa, algorithm=algorithm)
        # The exponent's rounding: |x - max| epsilons; the sum's: one per term at most.
        spread = x.max(axis=-1, keepdims=True) - x
        assert_within(out, expected, (8 + spread + np.sqrt(shape[-1])) * EPSILON * expected, (shape, isa))
        assert_canaries(out)


@each_row("softmax_forward")
def test_softmax_of_large_and_special_values(algorithm: str, isa: str) -> None:
    for classes in (3, 16, 19):
        rows = np.tile(np.linspace(-1, 1, classes), (6, 1))
        rows[0] += 1e30
        rows[1, 1] = 3e38
        rows[2, 2] = -np.inf
        rows[3, 2] = np.inf
        rows[4, classes - 1] = np.nan
        rows[5] = -3e38
        x = placed(rows)
        expected = _core.activation(*double(x), "softmax", isa=REFERENCE)
        actual = _core.activation(x, "softmax", isa=isa, algorithm=algorithm)
        assert_same_specials(actual, expected, (classes, isa))
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-37, err_msg=f"repeat with {(classes, isa)}")


@each_row("softmax_backward")
def test_softmax_gradient_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for shape in SOFTMAX_SHAPES:
        rng = np.random.default_rng(sum(shape))
        y = placed(_core.activation(*double(rng.standard_normal(shape)), "softmax", isa=REFERENCE))
        dy = normal(rng, *shape)
        expected = _core.activation_grad(*double(y, dy), "softmax", isa=REFERENCE)
        actual = _core.activation_grad(y, dy, "softmax", isa=isa, algorithm=algorithm)
        bound = (shape[-1] + 5) * EPSILON * y * (np.abs(dy) + (np.abs(dy) * y).sum(axis=-1, keepdims=True))
        assert_within(actual, expected, bound, (shape, isa))


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(_core.Error, match=r"^activation: kind: expected one of 'linear', .*, received 'swish'$"):
        _core.activation(np.zeros(3, np.float32), "swish")
