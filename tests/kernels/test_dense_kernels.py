"""Dense layers and their gradients: every row against the oracle."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    REFERENCE,
    RUNNABLE,
    SIZES,
    assert_canaries,
    assert_same_specials,
    assert_sum,
    canaried,
    double,
    each_row,
    normal,
)

from fastcnn import _core

# batch, inputs, units
Case = tuple[int, int, int]

CASES: list[Case] = [
    *product((1, 3), SIZES, SIZES),
    *product((2, 5, 6, 7, 13, 17, 33), (37,), (1, 15, 64)),
    (32, 576, 64),
    (32, 64, 1),
    (1, 3136, 64),
    (8, 2048, 257),
]


def data(case: Case) -> tuple[Any, ...]:
    batch, inputs, units = case
    rng = np.random.default_rng(sum(case))
    return normal(rng, batch, inputs), normal(rng, inputs, units), normal(rng, units), normal(rng, batch, units)


def suited(case: Case, algorithm: str) -> Case:
    """The case as the forward row takes it: `natural` wants units that fill blocks of columns, and few of them."""
    batch, inputs, units = case
    return (batch, inputs, min(512, -(-units // 64) * 64)) if algorithm == "natural" else case


def check_forward(case: Case, relu: bool, with_bias: bool, algorithm: str, isa: str) -> None:
    case = suited(case, algorithm)
    x, kernel, bias, _ = data(case)
    if not with_bias:
        bias = None
    x64, kernel64, bias64 = double(x, kernel, bias)
    expected = _core.dense(x64, kernel64, bias64, relu, isa=REFERENCE)
    magnitude = _core.dense(abs(x64), abs(kernel64), None if bias is None else abs(bias64), False, isa=REFERENCE)
    out = canaried(case[0], case[2])
    _core.dense(x, kernel, bias, relu, out=out, isa=isa, algorithm=algorithm)
    assert_sum(out, expected, magnitude, case[1] + 1, (case, relu, with_bias, algorithm, isa))
    assert_canaries(out)


def check_grad_input(case: Case, algorithm: str, isa: str) -> None:
    _, kernel, _, dy = data(case)
    dy64, kernel64 = double(dy, kernel)
    expected = _core.dense_grad_input(dy64, kernel64, isa=REFERENCE)
    magnitude = _core.dense_grad_input(abs(dy64), abs(kernel64), isa=REFERENCE)
    out = canaried(case[0], case[1])
    _core.dense_grad_input(dy, kernel, out=out, isa=isa, algorithm=algorithm)
    assert_sum(out, expected, magnitude, case[2], (case, algorithm, isa))
    assert_canaries(out)


def check_grad_kernel(case: Case, algorithm: str, isa: str) -> None:
    x, _, _, dy = data(case)
    x64, dy64 = double(x, dy)
    expected = _core.dense_grad_kernel(x64, dy64, isa=REFERENCE)
    magnitude = _core.dense_grad_kernel(abs(x64), abs(dy64), isa=REFERENCE)
    out = canaried(case[1], case[2])
    _, dbias = _core.dense_grad_kernel(x, dy, out=out, isa=isa, algorithm=algorithm)
    assert_sum(out, expected[0], magnitude[0], case[0], (case, algorithm, isa))
    assert_sum(dbias, expected[1], magnitude[1], case[0], (case, algorithm, isa))
    assert_canaries(out)


@each_row("dense_forward")
def test_forward_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for i, case in enumerate(CASES):
        check_forward(case, i % 2 == 0, i % 3 != 0, algorithm, isa)


@each_row("dense_grad_input")
def test_grad_input_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for case in CASES:
        check_grad_input(case, algorithm, isa)


@each_row("dense_grad_kernel")
def test_grad_kernel_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for case in CASES:
        check_grad_kernel(case, algorithm, isa)


any_case = given(st.tuples(st.integers(1, 40), st.integers(1, 150), st.integers(1, 150)))


@each_row("dense_forward")
@settings(max_examples=60)
@any_case
def test_forward_of_any_size(algorithm: str, isa: str, case: Case) -> None:
    check_forward(case, True, True, algorithm, isa)


@each_row("dense_grad_input")
@settings(max_examples=60)
@any_case
def test_grad_input_of_any_size(algorithm: str, isa: str, case: Case) -> None:
    check_grad_input(case, algorithm, isa)


@each_row("dense_grad_kernel")
@settings(max_examples=60)
@any_case
def test_grad_kernel_of_any_size(algorithm: str, isa: str, case: Case) -> None:
    check_grad_kernel(case, algorithm, isa)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("relu", [False, True])
@each_row("dense_forward")
def test_forward_passes_nan_and_infinity_on(relu: bool, special: float, algorithm: str, isa: str) -> None:
    x, kernel, bias, _ = data(suited((5, 19, 21), algorithm))
    x[3, 18] = special
    expected = _core.dense(*double(x, kernel, bias), relu, isa=REFERENCE)
    actual = _core.dense(x, kernel, bias, relu, isa=isa, algorithm=algorithm)
    assert_same_specials(actual, expected, (special, isa))
    assert not np.isfinite(actual).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_row("dense_grad_input")
def test_grad_input_passes_nan_and_infinity_on(special: float, algorithm: str, isa: str) -> None:
    _, kernel, _, dy = data((5, 19, 21))
    dy[3, 20] = special
    expected = _core.dense_grad_input(*double(dy, kernel), isa=REFERENCE)
    assert_same_specials(_core.dense_grad_input(dy, kernel, isa=isa, algorithm=algorithm), expected, (special, isa))
    assert not np.isfinite(expected).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_row("dense_grad_kernel")
def test_grad_kernel_passes_nan_and_infinity_on(special: float, algorithm: str, isa: str) -> None:
    x, _, _, dy = data((5, 19, 21))
    dy[3, 20] = special
    expected = _core.dense_grad_kernel(*double(x, dy), isa=REFERENCE)
    for a, e in zip(_core.dense_grad_kernel(x, dy, isa=isa, algorithm=algorithm), expected):
        assert_same_specials(a, e, (special, isa))
        assert not np.isfinite(a).all()


@pytest.mark.parametrize("batch", [1, 16, 31])
def test_weights_as_they_are_give_the_bits_of_packed_ones(batch: int) -> None:
    x, kernel, bias, dy = data((batch, 70, 64))
    for isa in RUNNABLE:
        forward = [_core.dense(x, kernel, bias, True, isa=isa, algorithm=name) for name in ("direct", "natural")]
        np.testing.assert_array_equal(*forward)
        backward = [_core.dense_grad_input(dy, kernel, isa=isa, algorithm=name) for name in ("direct", "natural")]
        np.testing.assert_array_equal(*backward)


@pytest.mark.parametrize("units", [1, 15, 33, 57, 64, 130, 250])
@pytest.mark.parametrize("algorithm", ["direct", "natural"])
def test_one_sample_has_the_bits_that_it_has_in_a_batch(algorithm: str, units: int) -> None:
    x, kernel, bias, _ = data(suited((3, 70, units), algorithm))
    for isa in RUNNABLE:
        all_, one = (_core.dense(a, kernel, bias, True, isa=isa, algorithm=algorithm) for a in (x, x[:1]))
        np.testing.assert_array_equal(one, all_[:1])


def test_natural_forward_says_what_it_declines() -> None:
    x, kernel, _, _ = data((2, 3, 21))
    with pytest.raises(_core.Error, match="units do not fill blocks of columns"):
        _core.dense(x, kernel, None, False, isa="baseline", algorithm="natural")
    x, kernel, _, _ = data((2, 3, 544))
    with pytest.raises(_core.Error, match="rows of the weights are far apart"):
        _core.dense(x, kernel, None, False, isa="baseline", algorithm="natural")
