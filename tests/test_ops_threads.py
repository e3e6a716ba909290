"""The functions of fastcnn.ops divide a call between threads: the same bits for any number of them, no memory kept that grows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fastcnn import _core, ops

pytestmark = pytest.mark.isa

THREADS = (1, 2, 3, 7)  # more than there are cores, too

# batch, height, width, channels, filters, kernel size, strides, padding, dilation, groups. Large enough for several
# threads; few samples (rows are divided), many small ones, kernels smaller than the stride, rows that no window reads.
CONVOLUTIONS = [
    (1, 65, 61, 3, 16, 3, 1, "same", 1, 1),
    (3, 56, 24, 16, 24, 3, 1, "valid", 1, 1),
    (3, 57, 40, 16, 24, 3, 2, "same", 1, 1),
    (1, 64, 40, 32, 64, 1, 2, "valid", 1, 1),
    (2, 60, 60, 8, 32, 2, 3, "valid", 1, 1),
    (1, 50, 50, 8, 24, 3, 1, "same", 3, 1),
    (2, 50, 50, 16, 32, 5, 1, "same", 1, 4),
    (40, 7, 7, 32, 48, 3, 1, "same", 1, 1),
    (2, 9, 9, 160, 256, 3, 1, "same", 1, 1),
    # Weights beyond L2, which are divided instead: of one group and of two, odd numbers of channels, rows of samples.
    (3, 7, 7, 320, 264, 3, 1, "same", 1, 1),
    (2, 6, 9, 500, 530, 3, 1, "valid", 1, 2),
    (9, 3, 3, 520, 250, 3, 2, "same", 1, 1),
    (5, 8, 7, 1040, 528, 1, 1, "valid", 1, 1),
]


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    _core.set_num_threads(0)


def random(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def assert_same_bits(call: Callable[[], Any]) -> None:
    """Also in a second call, which finds the first one's numbers in its memory."""
    _core.set_num_threads(1)
    expected = call()
    for threads in THREADS:
        _core.set_num_threads(threads)
        for _ in range(2):
            found = call()
            for one, other in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, expected))):
                np.testing.assert_array_equal(one, other, err_msg=f"{threads} threads")


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions_have_the_same_bits_for_any_number_of_threads(case: tuple[Any, ...]) -> None:
    batch, height, width, channels, filters, size, strides, padding, dilation, groups = case
    x, kernel = random(batch, height, width, channels), random(size, size, channels // groups, filters)
    options: Any = {"strides": strides, "padding": padding, "dilation_rate": dilation, "groups": groups}
    dy = random(*ops.conv2d(x, kernel, **options).shape)
    assert_same_bits(lambda: ops.conv2d(x, kernel, **options))
    assert_same_bits(lambda: ops.conv2d_grad_input(dy, kernel, x.shape, **options))
    assert_same_bits(lambda: ops.conv2d_grad_kernel(x, dy, size, **options))


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_divided_convolutions_agree_with_the_oracle(case: tuple[Any, ...]) -> None:
    batch, height, width, channels, filters, size, strides, padding, dilation, groups = case
    x, kernel = random(batch, height, width, channels), random(size, size, channels // groups, filters)
    sliding: Any = ((strides,) * 2, padding, (dilation,) * 2, groups)
    _core.set_num_threads(5)

    def check(found: Any, expected: Any) -> None:
        assert np.linalg.norm(found - expected) <= 4e-6 * np.linalg.norm(expected)

    y = _core.conv2d(x.astype(np.float64), kernel.astype(np.float64), None, *sliding, False, isa="reference")
    dy = random(*y.shape)
    wide = [a.astype(np.float64) for a in (x, kernel, dy)]
    check(_core.conv2d(x, kernel, None, *sliding, False), y)
    check(
        _core.conv2d_grad_input(dy, kernel, x.shape, *sliding),
        _core.conv2d_grad_input(wide[2], wide[1], x.shape, *sliding, isa="reference"),
    )
    found = _core.conv2d_grad_kernel(x, dy, (size, size), *sliding)
    expected = _core.conv2d_grad_kernel(wide[0], wide[2], (size, size), *sliding, isa="reference")
    check(found[0], expected[0])
    check(found[1], expected[1])


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("size", "strides"), [(2, 2), (3, 2), (3, 1)])
@pytest.mark.parametrize("batch", [1, 9])
def test_pooled_convolution_and_pooling(size: int, strides: int, padding: str, batch: int) -> None:
    x, kernel, bias = random(batch, 45, 45, 8), random(3, 3, 8, 24), random(24)
    pool = ((size, size), (strides, strides), padding)
    assert_same_bits(lambda: _core.conv2d(x, kernel, bias, (1, 1), "same", (1, 1), 1, True, *pool))
    y = ops.conv2d(x, kernel, bias, padding="same", activation="relu")
    fused = _core.conv2d(x, kernel, bias, (1, 1), "same", (1, 1), 1, True, *pool)[0]
    np.testing.assert_allclose(fused, ops.max_pool(y, size, strides, padding), rtol=1e-4, atol=1e-4)
    assert_same_bits(lambda: ops.max_pool(y, size, strides, padding))
    assert_same_bits(lambda: ops.average_pool(y, size, strides, padding))
    dy = random(*fused.shape)
    assert_same_bits(lambda: ops.max_pool_grad(y, dy, size, strides, padding))
    assert_same_bits(lambda: ops.average_pool_grad(dy, y.shape, size, strides, padding))


@pytest.mark.parametrize(("batch", "inputs", "units"), [(300, 70, 65), (5, 700, 1030), (64, 900, 300)])
def test_dense_layers_and_activations(batch: int, inputs: int, units: int) -> None:
    x, kernel, bias, dy = random(batch, inputs), random(inputs, units), random(units), random(batch, units)
    assert_same_bits(lambda: ops.dense(x, kernel, bias, activation="relu"))
    assert_same_bits(lambda: ops.dense_grad_input(dy, kernel))
    assert_same_bits(lambda: ops.dense_grad_kernel(x, dy))
    for activation in (ops.relu, ops.sigmoid, ops.tanh, ops.softmax):
        assert_same_bits(lambda f=activation: f(dy))  # type: ignore[misc]


def test_repeated_calls_grant_nothing() -> None:
    x, kernel = random(4, 40, 40, 16), random(3, 3, 16, 32)
    dy = ops.conv2d(x, kernel, padding="same")

    def run() -> None:
        ops.conv2d(x, kernel, padding="same", out=dy)
        ops.conv2d_grad_input(dy, kernel, x.shape, padding="same")
        ops.conv2d_grad_kernel(x, dy, 3, padding="same")

    run()
    before = _core.native_allocations()
    for _ in range(3):
        run()
    assert _core.native_allocations() == before


def test_calls_from_several_python_threads_at_once() -> None:
    x, kernel = random(8, 40, 40, 16), random(3, 3, 16, 32)
    expected = ops.conv2d(x, kernel)
    wrong: list[int] = []

    def call(number: int) -> None:
        for _ in range(20):
            if not np.array_equal(ops.conv2d(x, kernel), expected):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_subnormals_survive_on_every_thread() -> None:
    """The workers take over the caller's floating-point state, whatever the call before them wanted."""
    _core.set_num_threads(4)
    x = np.full((4000, 100), 1e-40, np.float32)
    assert np.array_equal(ops.relu(x), x)
