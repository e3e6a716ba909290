"""Batch normalisation: every row against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import EPSILON, REFERENCE, SIZES, assert_within, double, each_row, normal, placed

from fastcnn import _core

SHAPES = [*((3, 5, n) for n in SIZES), *((batch, 4) for batch in (1, 2, 7, 33)), (2, 9, 9, 32), (2, 13, 12, 3)]


def data(shape: tuple[int, ...]) -> tuple[Any, ...]:
    """x, dy, mean, inv_std, scale and shift"""
    rng = np.random.default_rng(shape)
    x, dy = normal(rng, *shape), normal(rng, *shape)
    axes = tuple(range(len(shape) - 1))
    mean = placed(x.mean(axis=axes))
    inv_std = placed(1 / np.sqrt(x.astype(np.float64).var(axis=axes) + 1e-3))
    return x, dy, mean, inv_std, placed(rng.uniform(0.5, 2, shape[-1])), normal(rng, shape[-1])


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@each_row("batch_norm_statistics")
def test_statistics_agree_with_the_oracle(offset: float, algorithm: str, isa: str) -> None:
    for shape in SHAPES:
        x = placed(data(shape)[0] + offset)
        n = x.size // shape[-1]
        mean, m2 = _core.batch_norm_statistics(*double(x), isa=REFERENCE)
        actual_mean, actual_m2 = _core.batch_norm_statistics(x, isa=isa, algorithm=algorithm)
        magnitude = np.abs(x.astype(np.float64)).reshape(n, -1).mean(axis=0)
        mean_error = (n + 3) * EPSILON * magnitude
        assert_within(actual_mean, mean, mean_error, (shape, offset, isa))
        # The squares are taken around the rounded mean: n * (error of the mean)^2 more, and the mean's error against each x.
        bound = (n + 6) * EPSILON * m2 + n * mean_error**2 + 2 * mean_error * EPSILON * n + 1e-37
        assert_within(actual_m2, m2, bound, (shape, offset, isa))


@pytest.mark.parametrize("relu", [False, True])
@each_row("batch_norm_forward")
def test_forward_agrees_with_the_oracle(relu: bool, algorithm: str, isa: str) -> None:
    for shape in SHAPES:
        x, _, mean, _, scale, shift = data(shape)
        x.flat[-1] = np.nan
        expected = _core.batch_norm(*double(x, mean, scale, shift), relu, isa=REFERENCE)
        actual = _core.batch_norm(x, mean, scale, shift, relu, isa=isa, algorithm=algorithm)
        bound = 4 * EPSILON * (np.abs((x - mean) * scale) + np.abs(shift))
        assert_within(actual, expected, bound, (shape, relu, isa))


def check_gradient(shape: tuple[int, ...], algorithm: str, isa: str) -> None:
    x, dy, mean, inv_std, scale, _ = data(shape)
    n = x.size // shape[-1]
    arrays = (x, dy, mean, inv_std, scale)
    dx, sum_dy, sum_dy_x = _core.batch_norm_grad(*double(*arrays), isa=REFERENCE)
    actual = _core.batch_norm_grad(*arrays, isa=isa, algorithm=algorithm)
    normalised = np.abs((x - mean) * inv_std)
    columns = np.abs(dy).reshape(n, -1).sum(axis=0)
    products = (np.abs(dy) * (normalised + 1)).reshape(n, -1).sum(axis=0)
    case = (shape, algorithm, isa)
    assert_within(actual[1], sum_dy, (n + 3) * EPSILON * columns, case)
    assert_within(actual[2], sum_dy_x, (n + 6) * EPSILON * products, case)
    bound = (n + 9) * EPSILON * scale * (np.abs(dy) + columns / n + (normalised + 1) * products / n)
    assert_within(actual[0], dx, bound, case)


@each_row("batch_norm_reduce")
def test_gradient_sums_agree_with_the_oracle(algorithm: str, isa: str) -> None:
    for shape in SHAPES:
        check_gradient(shape, algorithm, isa)


@each_row("batch_norm_backward")
def test_gradient_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for shape in [(257, 6), (2, 31, 3), (1, 40, 40, 5)]:
        check_gradient(shape, algorithm, isa)
