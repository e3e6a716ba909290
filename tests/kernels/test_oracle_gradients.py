"""The oracle's gradients against finite differences of its own forward functions, in double.

The forward functions are checked against PyTorch in tests/parity/test_oracle.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_cases import REFERENCE

from fastcnn import _core

Function = Callable[[Any], Any]


def numerical_gradient(function: Function, x: Any, dy: Any, step: float = 1e-6) -> Any:
    """d sum(dy * function(x)) / dx by central differences."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + step
        above = (dy * function(x)).sum()
        x[i] = kept - step
        below = (dy * function(x)).sum()
        x[i] = kept
        gradient[i] = (above - below) / (2 * step)
    return gradient


def assert_gradient(function: Function, x: Any, dy: Any, gradient: Any) -> None:
    np.testing.assert_allclose(gradient, numerical_gradient(function, x, dy), rtol=1e-5, atol=1e-8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("strides", "padding", "dilation", "groups", "kernel_size"),
    [
        ((1, 1), "valid", (1, 1), 1, (3, 3)),
        ((2, 1), "same", (1, 1), 1, (3, 2)),
        ((2, 2), "valid", (1, 2), 2, (2, 2)),
        ((1, 1), "same", (2, 2), 4, (3, 3)),
        ((3, 2), "same", (1, 1), 2, (1, 1)),
    ],
)
def test_convolution(rng: Any, strides: Any, padding: str, dilation: Any, groups: int, kernel_size: Any) -> None:
    x = rng.standard_normal((2, 6, 7, 4))
    kernel = rng.standard_normal((*kernel_size, 4 // groups, 4))
    bias = rng.standard_normal(4)
    window = (strides, padding, dilation, groups)

    def forward(x: Any = x, kernel: Any = kernel, bias: Any = bias) -> Any:
        return _core.conv2d(x, kernel, bias, *window, False, isa=REFERENCE)

    dy = rng.standard_normal(forward().shape)
    dkernel, dbias = _core.conv2d_grad_kernel(x, dy, kernel_size, *window, isa=REFERENCE)
    dx = _core.conv2d_grad_input(dy, kernel, x.shape, *window, isa=REFERENCE)
    assert_gradient(lambda x: forward(x=x), x, dy, dx)
    assert_gradient(lambda kernel: forward(kernel=kernel), kernel, dy, dkernel)
    assert_gradient(lambda bias: forward(bias=bias), bias, dy, dbias)


@pytest.mark.parametrize(
    ("pool", "pool_strides", "pool_padding"), [((2, 2), (2, 2), "valid"), ((3, 2), (2, 1), "same")]
)
def test_convolution_under_a_max_pool(rng: Any, pool: Any, pool_strides: Any, pool_padding: str) -> None:
    x, kernel, bias = rng.standard_normal((2, 6, 7, 2)), rng.standard_normal((3, 3, 2, 3)), rng.standard_normal(3)
    conv, pooling = ((1, 1), "same", (1, 1)), (pool, pool_strides, pool_padding)

    def forward(x: Any = x, kernel: Any = kernel, bias: Any = bias) -> Any:
        return _core.conv2d(x, kernel, bias, *conv, 1, False, *pooling, isa=REFERENCE)[0]

    argmax = _core.conv2d(x, kernel, bias, *conv, 1, False, *pooling, isa=REFERENCE)[1]
    dy = rng.standard_normal(argmax.shape)
    dx, dkernel, dbias = _core.pooled_conv2d_grad(x, kernel, dy, argmax, *conv, *pooling, isa=REFERENCE)
    assert_gradient(lambda x: forward(x=x), x, dy, dx)
    assert_gradient(lambda kernel: forward(kernel=kernel), kernel, dy, dkernel)
    assert_gradient(lambda bias: forward(bias=bias), bias, dy, dbias)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool", "strides"), [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((2, 2), (3, 3))])
def test_pooling(rng: Any, kind: str, padding: str, pool: Any, strides: Any) -> None:
    x = rng.standard_normal((2, 5, 6, 3))
    window = (kind, pool, strides, padding)
    dy = rng.standard_normal(_core.pool2d(x, *window, isa=REFERENCE).shape)
    gradient = _core.pool2d_grad(x, dy, *window, isa=REFERENCE)
    assert_gradient(lambda x: _core.pool2d(x, *window, isa=REFERENCE), x, dy, gradient)


def test_dense(rng: Any) -> None:
    x, kernel, bias = rng.standard_normal((3, 5)), rng.standard_normal((5, 4)), rng.standard_normal(4)
    dy = rng.standard_normal((3, 4))
    dkernel, dbias = _core.dense_grad_kernel(x, dy, isa=REFERENCE)
    dx = _core.dense_grad_input(dy, kernel, isa=REFERENCE)
    assert_gradient(lambda x: _core.dense(x, kernel, bias, False, isa=REFERENCE), x, dy, dx)
    assert_gradient(lambda kernel: _core.dense(x, kernel, bias, False, isa=REFERENCE), kernel, dy, dkernel)
    assert_gradient(lambda bias: _core.dense(x, kernel, bias, False, isa=REFERENCE), bias, dy, dbias)


@pytest.mark.parametrize("kind", ["linear", "relu", "sigmoid", "tanh", "softmax"])
def test_activation(rng: Any, kind: str) -> None:
    x, dy = rng.standard_normal((3, 2, 5)), rng.standard_normal((3, 2, 5))
    gradient = _core.activation_grad(_core.activation(x, kind, isa=REFERENCE), dy, kind, isa=REFERENCE)
    assert_gradient(lambda x: _core.activation(x, kind, isa=REFERENCE), x, dy, gradient)


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "binary_crossentropy",
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        "mean_squared_error",
        "mean_absolute_error",
    ],
)
def test_loss(rng: Any, kind: str, from_logits: bool) -> None:
    x = rng.uniform(0.1, 0.9, (3, 2, 4))
    target: Any = rng.uniform(0, 1, (3, 2, 4))
    if kind == "sparse_categorical_crossentropy":
        target = rng.integers(0, 4, (3, 2)).astype(np.int32)
    weight = rng.uniform(0.5, 2, 3)
    settings = (kind, from_logits, 0.125)
    gradient = _core.loss(x, target, *settings, weight, 0.5, isa=REFERENCE)[1]
    total = lambda x: np.array(_core.loss(x, target, *settings, weight, 0.5, isa=REFERENCE)[0])  # noqa: E731
    assert_gradient(total, x, np.array(0.5), gradient)


def test_batch_normalisation_of_a_batch_by_its_own_statistics(rng: Any) -> None:
    x, dy, gamma, beta = (
        rng.standard_normal((4, 3, 2)),
        rng.standard_normal((4, 3, 2)),
        np.array([0.5, 2.0]),
        np.ones(2),
    )

    def forward(x: Any = x, gamma: Any = gamma, beta: Any = beta) -> Any:
        mean, m2 = _core.batch_norm_statistics(x, isa=REFERENCE)
        return _core.batch_norm(x, mean, gamma / np.sqrt(m2 / 12 + 1e-3), beta, isa=REFERENCE)

    mean, m2 = _core.batch_norm_statistics(x, isa=REFERENCE)
    inv_std = 1 / np.sqrt(m2 / 12 + 1e-3)
    dx, sum_dy, sum_dy_x = _core.batch_norm_grad(x, dy, mean, inv_std, gamma * inv_std, isa=REFERENCE)
    assert_gradient(lambda x: forward(x=x), x, dy, dx)
    assert_gradient(lambda gamma: forward(gamma=gamma), gamma, dy, sum_dy_x)
    assert_gradient(lambda beta: forward(beta=beta), beta, dy, sum_dy)


def test_regularisation(rng: Any) -> None:
    param = rng.standard_normal(7)
    gradient, _, sum_squares = _core.sum_gradients(np.zeros((2, 7)), param, 0.25, 0.5, isa=REFERENCE)
    penalty = lambda param: np.array(_core.sum_gradients(np.zeros((2, 7)), param, 0.25, 0.5, isa=REFERENCE)[1])  # noqa: E731
    assert_gradient(penalty, param, np.array(1.0), gradient)
    assert sum_squares == pytest.approx((gradient**2).sum())
