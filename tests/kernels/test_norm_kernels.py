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


GRADIENT_FLAGS = [(False, False), (True, False), (False, True), (True, True)]


def check_gradient(
    shape: tuple[int, ...], algorithm: str, isa: str, relu: bool = False, input_relu: bool = False
) -> None:
    x, dy, mean, inv_std, scale, shift = data(shape)
    if input_relu:
        x[...] = np.maximum(x, 0)
    n = x.size // shape[-1]
    arrays = (x, dy, mean, inv_std, scale, shift)
    dx, sum_dy, sum_dy_x = _core.batch_norm_grad(*double(*arrays), relu, input_relu, isa=REFERENCE)
    actual = _core.batch_norm_grad(*arrays, relu, input_relu, isa=isa, algorithm=algorithm)
    normalised = np.abs((x - mean) * inv_std)
    columns = np.abs(dy).reshape(n, -1).sum(axis=0)
    products = (np.abs(dy) * (normalised + 1)).reshape(n, -1).sum(axis=0)
    case = (shape, relu, input_relu, algorithm, isa)
    assert_within(actual[1], sum_dy, (n + 3) * EPSILON * columns, case)
    assert_within(actual[2], sum_dy_x, (n + 6) * EPSILON * products, case)
    bound = (n + 9) * EPSILON * scale * (np.abs(dy) + columns / n + (normalised + 1) * products / n)
    assert_within(actual[0], dx, bound, case)
    if input_relu:
        assert (actual[0][x == 0] == 0).all()


@pytest.mark.parametrize(("relu", "input_relu"), GRADIENT_FLAGS)
@each_row("batch_norm_reduce")
def test_gradient_sums_agree_with_the_oracle(relu: bool, input_relu: bool, algorithm: str, isa: str) -> None:
    for shape in SHAPES:
        check_gradient(shape, algorithm, isa, relu, input_relu)


@pytest.mark.parametrize(("relu", "input_relu"), GRADIENT_FLAGS)
@each_row("batch_norm_backward")
def test_gradient_agrees_with_the_oracle(relu: bool, input_relu: bool, algorithm: str, isa: str) -> None:
    for shape in [(257, 6), (2, 31, 3), (1, 40, 40, 5)]:
        check_gradient(shape, algorithm, isa, relu, input_relu)


# Image shape, pool size, strides: channels around the vector widths, windows that leave rows and columns over, gaps.
POOLED: list[tuple[tuple[int, ...], tuple[int, int], tuple[int, int]]] = [
    *(((2, 5, 7, channels), (2, 2), (2, 2)) for channels in SIZES),
    ((3, 9, 8, 20), (3, 3), (3, 3)),
    ((2, 9, 11, 5), (2, 3), (4, 3)),
    ((1, 8, 8, 17), (1, 2), (1, 5)),
    ((2, 6, 6, 70), (6, 6), (6, 6)),
]


@pytest.mark.parametrize("relu", [False, True])
@each_row("batch_norm_pool_forward")
def test_normalised_pool_agrees_with_the_oracle(relu: bool, algorithm: str, isa: str) -> None:
    for shape, size, strides in POOLED:
        x, _, mean, _, scale, shift = data(shape)
        scale[0] *= -1  # a maximum of y at a minimum of x
        x[0, 0, 0, 0] = np.nan
        x[0, 1, 1, -1] = np.inf
        case = (shape, size, strides, relu, isa)
        expected = _core.batch_norm_pool(*double(x, mean, scale, shift), relu, size, strides, isa=REFERENCE)
        actual = _core.batch_norm_pool(x, mean, scale, shift, relu, size, strides, isa=isa, algorithm=algorithm)
        finite = np.isfinite(expected[2])
        bound = 4 * EPSILON * (np.abs((np.where(finite, expected[2], 0) - mean) * scale) + np.abs(shift))
        assert_within(actual[0], expected[0], bound, case)
        np.testing.assert_array_equal(actual[1], expected[1], err_msg=f"repeat with {case}")
        np.testing.assert_array_equal(actual[2], expected[2].astype(np.float32), err_msg=f"repeat with {case}")


@each_row("batch_norm_pool_forward")
def test_the_first_of_equal_maxima_is_the_pool_s(algorithm: str, isa: str) -> None:
    x, ones, zeros = np.zeros((1, 4, 4, 19), np.float32), np.ones(19, np.float32), np.zeros(19, np.float32)
    x[0, 1, 3], x[0, 1, 2] = 2, 2
    _, argmax, _ = _core.batch_norm_pool(x, zeros, ones, zeros, True, (2, 2), (2, 2), isa=isa, algorithm=algorithm)
    assert (argmax[0, 0, 1] == 2).all()
    assert (argmax[0, 1] == 0).all()


@pytest.mark.parametrize(("relu", "input_relu"), GRADIENT_FLAGS)
@each_row("batch_norm_pool_backward")
def test_gradient_through_the_pool_agrees_with_the_oracle(
    relu: bool, input_relu: bool, algorithm: str, isa: str
) -> None:
    for shape, size, strides in POOLED:
        x, _, mean, inv_std, scale, shift = data(shape)
        if input_relu:
            x[...] = np.maximum(x, 0)
        _, argmax, picked = _core.batch_norm_pool(x, mean, scale, shift, relu, size, strides)
        dy = normal(np.random.default_rng(1), *argmax.shape)
        channels, settings = (mean, inv_std, scale, shift), (relu, input_relu, size, strides)
        expected = _core.batch_norm_pool_grad(
            *double(x, dy), argmax, *double(picked, *channels), *settings, isa=REFERENCE
        )
        actual = _core.batch_norm_pool_grad(
            x, dy, argmax, placed(picked), *channels, *settings, isa=isa, algorithm=algorithm
        )
        n = x.size // shape[-1]
        normalised = np.abs((x - mean) * inv_std).max() + 1
        total = np.abs(dy).sum(axis=(0, 1, 2)) + 1
        case = (shape, size, strides, relu, input_relu, isa)
        assert_within(actual[1], expected[1], (n + 3) * EPSILON * total, case)
        assert_within(actual[2], expected[2], (n + 6) * EPSILON * total * normalised, case)
        bound = (n + 9) * EPSILON * scale * (np.abs(dy).max() + total / n * normalised**2)
        assert_within(actual[0], expected[0], bound, case)


# x, kernel size, strides, padding, dilation: patches of 1 to 31 values, around the vector widths and tiles.
PATCHES: list[tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int], str, tuple[int, int]]] = [
    ((2, 9, 8, 1), (3, 3), (1, 1), "valid", (1, 1)),
    ((3, 28, 28, 1), (3, 3), (1, 1), "same", (1, 1)),
    ((2, 12, 13, 3), (3, 3), (1, 1), "valid", (1, 1)),
    ((2, 12, 13, 3), (3, 3), (2, 2), "same", (1, 1)),
    ((2, 11, 11, 1), (5, 5), (2, 3), "same", (1, 2)),
    ((1, 9, 9, 3), (2, 5), (1, 1), "valid", (3, 2)),
    ((2, 9, 9, 31), (1, 1), (1, 1), "valid", (1, 1)),
    ((2, 9, 9, 15), (1, 2), (1, 1), "same", (1, 1)),
    *(((2, 5, 6, channels), (1, 1), (1, 1), "valid", (1, 1)) for channels in (1, 3, 4, 7, 8, 11, 12, 13, 15, 16, 17)),
]


def test_the_oracle_s_moments_are_numpy_s() -> None:
    x = np.random.default_rng(4).standard_normal((2, 8, 7, 2))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), axis=(1, 2))[:, ::2]
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    mean, scatter = _core.patch_moments(x, (3, 2), (2, 1), "valid", (1, 1), isa=REFERENCE)
    np.testing.assert_allclose(mean, patches.mean(axis=0), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(scatter, np.cov(patches.T, bias=True) * len(patches), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@each_row("patch_moments")
def test_moments_of_patches_agree_with_the_oracle(offset: float, algorithm: str, isa: str) -> None:
    for shape, *settings in PATCHES:
        x = placed(data(shape)[0] + offset)
        mean, scatter = _core.patch_moments(*double(x), *settings, isa=REFERENCE)
        actual_mean, actual = _core.patch_moments(x, *settings, isa=isa, algorithm=algorithm)
        case = (shape, settings, offset, isa)
        n = shape[0] * 256
        # The pivot takes the offset off, but where padding's zeros stand beside it.
        spread = 8.0 + (offset if settings[2] == "same" else 0.0)
        assert_within(actual_mean, mean, 64 * EPSILON * spread, case)
        assert_within(actual, scatter, 64 * EPSILON * spread**2 * n, case)
        np.testing.assert_array_equal(actual, actual.T)


@each_row("patch_moments")
def test_moments_keep_nan(algorithm: str, isa: str) -> None:
    x = normal(np.random.default_rng(0), 2, 9, 9, 1)
    x[1, 4, 4, 0] = np.nan
    mean, scatter = _core.patch_moments(x, (3, 3), (1, 1), "valid", (1, 1), isa=isa, algorithm=algorithm)
    assert np.isnan(mean).all() and np.isnan(scatter).all()


@each_row("patch_moments")
def test_moments_of_large_patches_are_refused(algorithm: str, isa: str) -> None:
    x = np.zeros((1, 5, 5, 4), np.float32)
    with pytest.raises(_core.Error, match="a patch has more than 31 values"):
        _core.patch_moments(x, (3, 3), (1, 1), "valid", (1, 1), isa=isa, algorithm=algorithm)
