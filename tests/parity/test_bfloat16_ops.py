"""bfloat16 arrays in and out of fastcnn.ops: float32 arithmetic, results rounded once; convolution with (emulated) AMX tiles and
with dot products of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import _core, ops

bfloat16 = pytest.importorskip("ml_dtypes", reason="needs ml_dtypes, which .[parity] installs").bfloat16


@pytest.fixture
def images() -> Any:
    return np.random.default_rng(0).standard_normal((2, 6, 5, 3)).astype(bfloat16)


@pytest.fixture
def kernel() -> Any:
    return np.random.default_rng(1).standard_normal((3, 3, 3, 4)).astype(bfloat16)


def test_results_are_the_float32_results_rounded(images: Any, kernel: Any) -> None:
    exact = ops.conv2d(images.astype(np.float32), kernel.astype(np.float32), padding="same")
    result = ops.conv2d(images, kernel, padding="same")
    assert result.dtype == bfloat16
    np.testing.assert_array_equal(result, exact.astype(bfloat16))


def test_every_array_of_a_tuple_is_rounded(images: Any) -> None:
    dy = np.ones((2, 4, 3, 4), bfloat16)
    dkernel, dbias = ops.conv2d_grad_kernel(images, dy, 3)
    assert dkernel.dtype == bfloat16 and dbias.dtype == bfloat16


def test_out_is_written_and_returned(images: Any) -> None:
    out = np.zeros((2, 3, 2, 3), bfloat16)
    assert ops.max_pool(images, 2, out=out) is out
    np.testing.assert_array_equal(out, ops.max_pool(images, 2))


def test_out_of_another_type_is_refused(images: Any) -> None:
    out = np.zeros((2, 3, 2, 3), np.float32)
    with pytest.raises(ValueError, match="max_pool: out: expected a bfloat16 array of shape"):
        ops.max_pool(images, 2, out=out)
    assert not out.any()


def near(found: Any, expected: Any) -> bool:
    """Rounded once after sums in another order: most are equal, the rest a step (1/256) apart, few of them."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    differs = np.abs(found - expected) > 1e-6 * np.abs(expected).max()
    return bool(
        differs.mean() < 0.01
        and np.all(np.abs(found - expected) <= np.abs(expected) / 127 + 1e-5 * np.abs(expected).max())
    )


SHAPES = [
    # batch, height, width, channels, filters, kernel, dilation, strides, groups
    (1, 1, 1, 1, 1, (1, 1), 1, 1),
    (2, 6, 5, 3, 4, (3, 3), 1, 1),
    (5, 7, 7, 64, 32, (3, 3), 1, 1),
    (3, 20, 33, 33, 17, (2, 5), 1, 1),
    (9, 9, 2, 32, 48, (3, 1), 1, 1),
    (2, 12, 12, 40, 8, (3, 3), 2, 1),
    (17, 4, 4, 16, 100, (1, 1), 1, 1),
    (2, 13, 14, 35, 20, (3, 3), 1, 2),
    (1, 23, 41, 3, 18, (7, 7), 1, 2),
    (7, 9, 10, 8, 33, (1, 1), 1, 2),
    (3, 11, 40, 20, 16, (3, 2), 1, (1, 3)),
    (3, 17, 16, 16, 17, (3, 3), 2, (3, 2)),
    (4, 12, 12, 5, 5, (2, 2), 1, 5),
    (3, 7, 7, 64, 64, (3, 3), 1, 1, 2),
    (2, 8, 9, 60, 90, (3, 3), 1, 1, 3),
    (5, 6, 6, 76, 38, (2, 3), 2, 1, 2),
    (2, 11, 10, 128, 64, (3, 3), 1, 2, 4),
    (3, 5, 5, 33, 120, (1, 1), 1, 1, 3),
    (2, 40, 50, 32, 40, (3, 3), 1, 1),
    (3, 6, 7, 256, 130, (3, 3), 1, 1),
    (2, 9, 9, 256, 130, (3, 3), 1, 2),
    (8, 130, 131, 3, 32, (3, 3), 1, 1),  # more than 8 MB of results
    (4, 128, 130, 64, 32, (1, 1), 1, 1),  # more than 8 MB of the input's gradient
    (4, 128, 130, 64, 32, (1, 1), 1, 2),  # in phases
    (250, 14, 14, 32, 96, (1, 1), 1, 1),  # of several samples side by side
]


each_convolution = pytest.mark.parametrize("shape", SHAPES, ids=str)
each_padding = pytest.mark.parametrize("padding", ["valid", "same"])


def check_convolution(shape: Any, padding: str) -> None:
    batch, height, width, channels, filters, size, dilation, strides, groups = (*shape, 1)[:9]
    rng = np.random.default_rng(batch)
    kinds: Any = {"padding": padding, "dilation_rate": dilation, "strides": strides, "groups": groups}
    x = rng.standard_normal((batch, height, width, channels)).astype(bfloat16)
    kernel = rng.standard_normal((*size, channels // groups, filters)).astype(bfloat16)
    bias = rng.standard_normal(filters).astype(bfloat16)
    if padding == "valid" and any((k - 1) * dilation >= n for k, n in zip(size, (height, width))):
        with pytest.raises(ValueError, match=r"conv2d: kernel_size: expected a window of at most"):
            ops.conv2d(x, kernel, **kinds)
        return
    exact = [a.astype(np.float32) for a in (x, kernel, bias)]
    y = ops.conv2d(x, kernel, bias, activation="relu", **kinds)
    assert y.dtype == bfloat16
    assert near(y, ops.conv2d(*exact, activation="relu", **kinds).astype(bfloat16))
    dy = rng.standard_normal(y.shape).astype(bfloat16)
    dx = ops.conv2d_grad_input(dy, kernel, x.shape, **kinds)
    assert near(dx, ops.conv2d_grad_input(dy.astype(np.float32), exact[1], x.shape, **kinds).astype(bfloat16))
    expected = ops.conv2d_grad_kernel(exact[0], dy.astype(np.float32), size, **kinds)
    for found, one in zip(ops.conv2d_grad_kernel(x, dy, size, **kinds), expected):
        assert found.dtype == bfloat16 and found.flags.c_contiguous and near(found, one.astype(bfloat16))


@each_padding
@each_convolution
def test_convolution_with_tiles(tiles: None, shape: Any, padding: str) -> None:
    check_convolution(shape, padding)


@each_padding
@each_convolution
def test_convolution_with_pairs(pairs: None, shape: Any, padding: str) -> None:
    check_convolution(shape, padding)


def results(batch: int, size: int, channels: int, filters: int, strides: int) -> list[Any]:
    """A convolution and its gradients, 3x3, padded."""
    rng = np.random.default_rng(0)
    kinds: Any = {"padding": "same", "strides": strides}
    x = rng.standard_normal((batch, size, size, channels)).astype(bfloat16)
    kernel = rng.standard_normal((3, 3, channels, filters)).astype(bfloat16)
    y = ops.conv2d(x, kernel, **kinds)
    dy = rng.standard_normal(y.shape).astype(bfloat16)
    return [
        y,
        ops.conv2d_grad_input(dy, kernel, x.shape, **kinds),
        *ops.conv2d_grad_kernel(x, dy, 3, **kinds),
    ]


def check_threads() -> None:
    # Divided by strips, by filters, with patches.
    for shape in ((21, 9, 32, 48, 1), (3, 8, 256, 160, 1), (5, 41, 3, 32, 2)):
        found = []
        for threads in (1, 2, 5):
            _core.set_num_threads(threads)
            found.append(results(*shape))
        _core.set_num_threads(0)
        for other in found[1:]:
            assert all(np.array_equal(a, b) for a, b in zip(other, found[0]))


def test_the_same_bits_with_tiles_on_any_number_of_threads(tiles: None) -> None:
    check_threads()


def test_the_same_bits_with_pairs_on_any_number_of_threads(pairs: None) -> None:
    check_threads()


def test_what_is_not_finite_comes_through_tiles(tiles: None) -> None:
    """A NaN or an infinity reaches the results that it belongs to, and no others."""
    for channels, filters, size in ((32, 40, 3), (3, 8, 3), (64, 3, 1)):
        rng = np.random.default_rng(0)
        kernel = rng.standard_normal((size, size, channels, filters)).astype(bfloat16)
        for value in (np.nan, np.inf):
            x = rng.standard_normal((3, 9, 9, channels)).astype(bfloat16)
            x[1, 4, 5, channels // 2] = value
            expected = ops.conv2d(x.astype(np.float32), kernel.astype(np.float32))
            np.testing.assert_array_equal(np.isfinite(ops.conv2d(x, kernel)), np.isfinite(expected))
            dy = rng.standard_normal(expected.shape).astype(bfloat16)
            dy[2, 3, 2, filters // 2] = value
            dx = ops.conv2d_grad_input(dy, kernel, x.shape)
            exact = ops.conv2d_grad_input(dy.astype(np.float32), kernel.astype(np.float32), x.shape)
            np.testing.assert_array_equal(np.isfinite(dx), np.isfinite(exact))


def test_pairs_are_taken_where_they_are_faster(pairs: None) -> None:
    """1x1 convolutions, which have no better algorithm in float32: sums in another order."""
    rng = np.random.default_rng(0)
    for channels, differs in ((128, True), (127, False)):
        x = rng.standard_normal((4, 28, 28, channels)).astype(bfloat16)
        kernel = rng.standard_normal((1, 1, channels, 64)).astype(bfloat16)
        found = []
        for used in (False, True):
            _core.set_pairs(used)
            found.append(ops.conv2d(x, kernel))
        assert near(found[1], found[0]) and bool((found[0] != found[1]).any()) == differs


def test_what_tiles_do_not_compute_is_computed_in_float32(tiles: None, images: Any) -> None:
    kernel = np.random.default_rng(1).standard_normal((3, 3, 3, 6)).astype(bfloat16)
    exact = images.astype(np.float32), kernel.astype(np.float32)
    for kinds in ({"strides": 2, "activation": "tanh"}, {"activation": "sigmoid"}):
        np.testing.assert_array_equal(ops.conv2d(images, kernel, **kinds), ops.conv2d(*exact, **kinds).astype(bfloat16))
    np.testing.assert_array_equal(
        ops.conv2d(images, kernel[:, :, :1], groups=3),
        ops.conv2d(exact[0], exact[1][:, :, :1], groups=3).astype(bfloat16),
    )
    np.testing.assert_array_equal(
        ops.conv2d(images, kernel, padding="SAME"), ops.conv2d(images, kernel, padding="same")
    )
    with pytest.raises(ValueError, match=r"conv2d: kernel: expected 3 input channels"):
        ops.conv2d(images, kernel[:, :, :2])
    with pytest.raises(ValueError, match=r"conv2d: bias"):
        ops.conv2d(images, kernel, np.ones(5))
    for wrong in ({"kernl": kernel}, {"kernel": kernel, "colour": 1}, {"x": images, "kernel": kernel}):
        with pytest.raises(TypeError):
            ops.conv2d(images, **wrong)
    with pytest.raises(TypeError):
        ops.conv2d(images)
    out = np.zeros((2, 4, 3, 6), bfloat16)
    assert ops.conv2d(images[:, ::1], kernel, out=out) is out and out.any()
    np.testing.assert_array_equal(ops.conv2d(images[::-1], kernel), out[::-1])
