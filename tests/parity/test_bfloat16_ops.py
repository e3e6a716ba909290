"""bfloat16 arrays in and out of fastcnn.ops: float32 arithmetic, results rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastcnn import ops

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
