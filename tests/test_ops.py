"""fastcnn.ops: the public functions on arrays, their conversions, `out=` and messages."""

from __future__ import annotations

import doctest
import importlib
from typing import Any

import numpy as np
import pytest

from fastcnn import _core, ops

pytestmark = pytest.mark.isa

REFERENCE = "reference"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def close(actual: Any, expected: Any) -> None:
    assert actual.dtype == np.float32 and actual.flags.c_contiguous
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("name", ["", ".convolution", ".dense", ".nn", ".pooling"])
def test_examples_of_the_docstrings(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"fastcnn.ops{name}"))
    assert results.attempted > 0 and results.failed == 0


@pytest.mark.parametrize("activation", [None, "linear", "relu", "Sigmoid", "tanh", "softmax"])
def test_conv2d_with_every_activation(rng: Any, activation: str | None) -> None:
    x, kernel, bias = rng.standard_normal((2, 7, 8, 4)), rng.standard_normal((3, 2, 2, 6)), rng.standard_normal(6)
    actual = ops.conv2d(x, kernel, bias, strides=(2, 1), padding="SAME", groups=2, activation=activation)
    linear = _core.conv2d(x, kernel, bias, (2, 1), "same", (1, 1), 2, False, isa=REFERENCE)
    close(actual, _core.activation(linear, (activation or "linear").lower(), isa=REFERENCE))


def test_conv_finds_the_groups_and_conv2d_agrees(rng: Any) -> None:
    x, kernel = rng.standard_normal((1, 9, 9, 6)), rng.standard_normal((3, 3, 2, 9))
    actual = ops.conv(x, kernel, strides=1, padding="same", data_format="channels_last", dilation_rate=2)
    np.testing.assert_array_equal(actual, ops.conv2d(x, kernel, padding="same", dilation_rate=2, groups=3))


def test_gradients_of_conv2d(rng: Any) -> None:
    x, kernel = rng.standard_normal((2, 7, 8, 4)), rng.standard_normal((3, 3, 4, 5))
    dy = rng.standard_normal((2, 4, 4, 5))
    window = ((2, 2), "same", (1, 1), 1)
    close(
        ops.conv2d_grad_input(dy, kernel, x.shape, 2, "same"),
        _core.conv2d_grad_input(dy, kernel, x.shape, *window, isa=REFERENCE),
    )
    expected = _core.conv2d_grad_kernel(x, dy, (3, 3), *window, isa=REFERENCE)
    for a, e in zip(ops.conv2d_grad_kernel(x, dy, 3, 2, "same"), expected):
        close(a, e)


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("strides", [None, 1, (2, 3)])
def test_pooling_and_its_gradient(rng: Any, kind: str, strides: Any) -> None:
    x = rng.standard_normal((2, 7, 8, 3)).astype(np.float32).astype(np.float64)
    pair = (3, 2) if strides is None else (1, 1) if strides == 1 else strides
    window = (kind, (3, 2), pair, "same")
    expected = _core.pool2d(x, *window, isa=REFERENCE)
    dy = rng.standard_normal(expected.shape)
    if kind == "max":
        y, dx = ops.max_pool(x, (3, 2), strides, "same"), ops.max_pool_grad(x, dy, (3, 2), strides, "same")
    else:
        y, dx = (
            ops.average_pool(x, (3, 2), strides, "same"),
            ops.average_pool_grad(dy, x.shape, (3, 2), strides, "same"),
        )
    close(y, expected)
    close(dx, _core.pool2d_grad(x, dy, *window, isa=REFERENCE))


@pytest.mark.parametrize("leading", [(5,), (2, 3), (2, 1, 4)])
def test_dense_over_the_last_axis(rng: Any, leading: tuple[int, ...]) -> None:
    x, kernel, bias = rng.standard_normal((*leading, 7)), rng.standard_normal((7, 3)), rng.standard_normal(3)
    dy = rng.standard_normal((*leading, 3))
    close(ops.dense(x, kernel, bias, "relu"), np.maximum(x @ kernel + bias, 0))
    close(ops.dense_grad_input(dy, kernel), dy @ kernel.T)
    dkernel, dbias = ops.dense_grad_kernel(x, dy)
    close(dkernel, x.reshape(-1, 7).T @ dy.reshape(-1, 3))
    close(dbias, dy.reshape(-1, 3).sum(axis=0))
    out = np.full((*leading, 3), np.nan, np.float32)
    assert ops.dense(x, kernel, bias, "tanh", out=out) is out
    close(out, np.tanh(x @ kernel + bias))


def test_activations_of_any_rank(rng: Any) -> None:
    for shape in [(), (3,), (2, 3, 4)]:
        x = rng.standard_normal(shape)
        close(ops.relu(x), np.maximum(x, 0))
        close(ops.sigmoid(x), 1 / (1 + np.exp(-x)))
        close(ops.tanh(x), np.tanh(x))
    x = rng.standard_normal((2, 3, 4))
    for axis in (-3, -1, 0, 1, 2):
        e = np.exp(x)
        close(ops.softmax(x, axis), e / e.sum(axis=axis, keepdims=True))
        out = np.empty((2, 3, 4), np.float32)
        assert ops.softmax(x, axis, out=out) is out
        close(out, e / e.sum(axis=axis, keepdims=True))


@pytest.mark.parametrize("from_logits", [False, True])
def test_crossentropies_are_not_reduced(rng: Any, from_logits: bool) -> None:
    x = rng.standard_normal((2, 3, 4))
    p = 1 / (1 + np.exp(-x))
    t = rng.integers(0, 2, (2, 3, 4))
    actual = ops.binary_crossentropy(t, x if from_logits else p, from_logits)
    close(actual, -(t * np.log(p) + (1 - t) * np.log(1 - p)))
    for axis in (-1, 1):
        q = np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)
        classes = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
        one_hot = np.moveaxis(np.eye(x.shape[axis])[classes], -1, axis)
        expected = -(one_hot * np.log(q)).sum(axis=axis)
        close(ops.categorical_crossentropy(one_hot, x if from_logits else 3 * q, from_logits, axis), expected)
        close(ops.sparse_categorical_crossentropy(classes, x if from_logits else q, from_logits, axis), expected)
        with_axis = np.expand_dims(classes.astype(np.float64), axis)
        close(ops.sparse_categorical_crossentropy(with_axis, x if from_logits else q, from_logits, axis), expected)
    close(ops.categorical_crossentropy([0, 1], [0.25, 0.75]), -np.log(0.75))


def test_batch_normalization_along_any_axis(rng: Any) -> None:
    x = rng.standard_normal((2, 3, 4))
    for axis in (-1, 0, 1):
        n = x.shape[axis]
        mean, variance, offset, scale = rng.random(n), rng.random(n), rng.random(n), rng.random(n)
        form = [1, 1, 1]
        form[axis] = n
        m, v, o, s = (a.reshape(form) for a in (mean, variance, offset, scale))
        close(ops.batch_normalization(x, mean, variance, axis), (x - m) / np.sqrt(v + 1e-3))
        actual = ops.batch_normalization(x, mean, variance, axis, offset, scale, epsilon=0.5)
        close(actual, (x - m) / np.sqrt(v + 0.5) * s + o)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("layout", ["contiguous", "strided", "Fortran"])
def test_arrays_of_any_number_type_and_layout_are_converted(dtype: str, layout: str) -> None:
    values = np.arange(2 * 4 * 4 * 3).reshape(2, 4, 4, 3) % 2
    x = values.astype(dtype)
    if layout == "strided":
        x = np.repeat(x, 2, axis=3)[..., ::2]
    elif layout == "Fortran":
        x = np.asfortranarray(x)
    np.testing.assert_array_equal(ops.max_pool(x, 2), ops.max_pool(values.astype(np.float32), 2))


def test_bfloat16_is_converted() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert ops.relu(np.array(1.5, ml_dtypes.bfloat16)).shape == ()
    x = np.array([-1.5, 2.0], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(ops.relu(x), np.array([0, 2], np.float32))


def test_float32_arrays_are_read_in_place_and_not_changed(rng: Any) -> None:
    x = rng.standard_normal((1, 4, 4, 2)).astype(np.float32)
    kept = x.copy()
    x.flags.writeable = False
    ops.conv2d(x, np.ones((3, 3, 2, 2), np.float32), activation="sigmoid")
    np.testing.assert_array_equal(x, kept)


def test_out_receives_the_result(rng: Any) -> None:
    x = rng.standard_normal((1, 4, 4, 2)).astype(np.float32)
    kernel = rng.standard_normal((3, 3, 2, 5)).astype(np.float32)
    out = np.empty((1, 2, 2, 5), np.float32)
    assert ops.conv2d(x, kernel, activation="softmax", out=out) is out
    np.testing.assert_array_equal(out, ops.conv2d(x, kernel, activation="softmax"))
    assert ops.relu(x, out=x) is x and (x >= 0).all()


X, KERNEL = np.zeros((1, 4, 4, 2), np.float32), np.zeros((3, 3, 2, 5), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ops.conv2d(X[0], KERNEL),
            r"conv2d: x: expected an array of shape \(batch, height, width, channels\), received shape \(4, 4, 2\)",
        ),
        (
            lambda: ops.conv2d(X, KERNEL[:, :, :1]),
            r"conv2d: kernel: expected 2 input channels / 1 groups on its third axis, .*",
        ),
        (
            lambda: ops.conv2d(X, KERNEL, bias=np.zeros(4)),
            r"conv2d: bias: expected a C-contiguous float32 array of shape \(5,\), received float32 \(4,\)",
        ),
        (
            lambda: ops.conv2d(X, KERNEL, strides=0),
            r"conv2d: strides: expected a positive integer or two of them, received 0",
        ),
        (lambda: ops.conv2d(X, KERNEL, strides=(1, 2, 3)), r"conv2d: strides: expected .*, received \(1, 2, 3\)"),
        (
            lambda: ops.conv2d(X, KERNEL, padding="full"),
            r"conv2d: padding: expected 'valid' or 'same', received 'full'",
        ),
        (
            lambda: ops.conv2d(X, KERNEL, groups=3),
            r"conv2d: groups: expected a divisor of 2 input and 5 output channels, received 3",
        ),
        (
            lambda: ops.conv2d(X, KERNEL, activation="swish"),
            r"conv2d: activation: expected 'linear' or .*, received 'swish'",
        ),
        (
            lambda: ops.conv2d(X[:, :2], KERNEL),
            r"conv2d: kernel_size: expected a window of at most 2 x 4, .*, received 3 x 3 .*",
        ),
        (
            lambda: ops.conv2d(np.full((1, 4, 4, 2), None), KERNEL),
            r"conv2d: x: expected an array of numbers, received 'dtype object'",
        ),
        (
            lambda: ops.conv2d([[1], [1, 2]], KERNEL),
            r"conv2d: x: expected an array of numbers, received \[\[1\], \[1, 2\]\]",
        ),
        (lambda: ops.conv2d(X[:0], KERNEL), r"conv2d: x: expected at least one element, received shape \(0, 4, 4, 2\)"),
        (
            lambda: ops.conv2d(X, KERNEL, out=np.zeros((1, 2, 2, 5))),
            r"conv2d: out: expected a C-contiguous float32 array of shape .*, received float64 .*",
        ),
        (
            lambda: ops.conv(X, KERNEL, data_format="channels_first"),
            r"conv: data_format: expected 'channels_last', received 'channels_first'",
        ),
        (
            lambda: ops.conv2d_grad_input(X, KERNEL, (4, 4, 2)),
            r"conv2d_grad_input: input_shape: expected four positive integers .*, received \(4, 4, 2\)",
        ),
        (
            lambda: ops.conv2d_grad_input(X, KERNEL, (1, 6, 6, 2)),
            r"conv2d_grad_input: dy: expected .* of shape \(1, 4, 4, 5\), received float32 \(1, 4, 4, 2\)",
        ),
        (lambda: ops.max_pool(X, 5), r"pool2d: pool_size: expected a window of at most 4 x 4, .*, received 5 x 5 .*"),
        (
            lambda: ops.dense([1.0], [[1.0]]),
            r"dense: x: expected an array of shape \(batch, ..., features\), received \(1,\)",
        ),
        (
            lambda: ops.dense([[1.0]], [[1.0], [1.0]]),
            r"dense: kernel: expected a C-contiguous float32 array of shape \(1, units\), received float32 \(2, 1\)",
        ),
        (lambda: ops.softmax([[1.0]], axis=2), r"softmax: axis: expected an integer from -2 to 1, received 2"),
        (
            lambda: ops.binary_crossentropy([1.0], [[1.0]]),
            r"binary_crossentropy: target: expected shape \(1, 1\), received shape \(1,\)",
        ),
        (
            lambda: ops.sparse_categorical_crossentropy([2], [[0.5, 0.5]]),
            r"sparse_categorical_crossentropy: target: expected integers from 0 to 1, received 2",
        ),
        (
            lambda: ops.sparse_categorical_crossentropy([0.5], [[0.5, 0.5]]),
            r"sparse_categorical_crossentropy: target: expected integers from 0 to 1, received 0.5",
        ),
        (
            lambda: ops.batch_normalization([[1.0]], [1.0, 2.0], [1.0], -1),
            r"batch_normalization: mean: expected shape \(1,\), received shape \(2,\)",
        ),
    ],
)
def test_bad_input_gets_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        call()
