"""Winograd's method rounds as docs/numerics.md says: relative L2 error against double precision, every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import REFERENCE, is_compiled
from numpy.typing import NDArray

from fastcnn import _core

# Bounds of docs/numerics.md for 16 to 256 channels: tile -> forward, grad-input, grad-kernel.
BOUNDS = {2: (6e-7, 6e-7, 6e-7), 3: (9e-7, 1.4e-6, 6e-7), 4: (1.1e-6, 2.0e-6, 6e-7), 5: (1.6e-6, 3e-6, 7e-7)}
LEVELS = _core.build_config()["isa_compiled"]
SLIDING: Any = ((1, 1), "same", (1, 1), 1)


def relative(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("channels", [16, 64, 256])
@pytest.mark.parametrize("tile", sorted(BOUNDS))
def test_errors_are_within_the_stated_bounds(tile: int, channels: int) -> None:
    """Inputs between 0 and 1 as after ReLU, He-scaled weights: what the layers of a network see."""
    rng = np.random.default_rng(channels)
    x = rng.random((2, 14, 14, channels), np.float32)
    kernel = (rng.standard_normal((3, 3, channels, channels)) * np.sqrt(2 / (9 * channels))).astype(np.float32)
    dy = rng.standard_normal(x.shape).astype(np.float32)
    x64, kernel64, dy64 = (a.astype(np.float64) for a in (x, kernel, dy))
    expected = (
        _core.conv2d(x64, kernel64, None, *SLIDING, False, isa=REFERENCE),
        _core.conv2d_grad_input(dy64, kernel64, x.shape, *SLIDING, isa=REFERENCE),
        _core.conv2d_grad_kernel(x64, dy64, (3, 3), *SLIDING, isa=REFERENCE)[0],
    )
    for isa in LEVELS[: LEVELS.index(_core.build_config()["isa_detected"]) + 1]:
        row = {"isa": isa, "algorithm": f"winograd{tile}"}
        if not is_compiled(row["algorithm"], isa):
            continue
        found = (
            _core.conv2d(x, kernel, None, *SLIDING, False, **row),
            _core.conv2d_grad_input(dy, kernel, x.shape, *SLIDING, **row),
            _core.conv2d_grad_kernel(x, dy, (3, 3), *SLIDING, **row)[0],
        )
        errors = [relative(a, b) for a, b in zip(found, expected)]
        assert all(error <= bound for error, bound in zip(errors, BOUNDS[tile])), (isa, errors)


@pytest.mark.parametrize(("channels", "size", "stride"), [(1, 7, 2), (2, 7, 2), (3, 3, 1), (3, 4, 1), (4, 8, 2)])
@pytest.mark.parametrize(
    ("isa", "forward", "grad_kernel"),
    [("avx2", "winograd_rows_stored", None), ("avx512", "winograd_rows", "winograd_rows")],
)
def test_errors_along_rows_are_within_the_stated_bounds(
    isa: str, forward: str, grad_kernel: str | None, channels: int, size: int, stride: int
) -> None:
    """Inputs and weights around zero, the worst of what docs/numerics.md names."""
    if isa not in LEVELS[: LEVELS.index(_core.build_config()["isa_detected"]) + 1]:
        pytest.skip(f"no {isa}")
    rng = np.random.default_rng(channels)
    sliding: Any = ((stride, stride), "same", (1, 1), 1)
    x = rng.standard_normal((2, 56, 56, channels)).astype(np.float32)
    kernel = rng.standard_normal((size, size, channels, 40)).astype(np.float32)
    x64, kernel64 = x.astype(np.float64), kernel.astype(np.float64)
    expected = _core.conv2d(x64, kernel64, None, *sliding, False, isa=REFERENCE)

    def error(algorithm: str) -> float:
        return relative(_core.conv2d(x, kernel, None, *sliding, False, isa=isa, algorithm=algorithm), expected)

    assert error(forward) <= 3 * error("direct")
    if grad_kernel is None:
        return
    dy = rng.standard_normal(expected.shape).astype(np.float32)
    gradient = _core.conv2d_grad_kernel(x64, dy.astype(np.float64), (size, size), *sliding, isa=REFERENCE)[0]

    def gradient_error(algorithm: str) -> float:
        found = _core.conv2d_grad_kernel(x, dy, (size, size), *sliding, isa=isa, algorithm=algorithm)[0]
        return relative(found, gradient)

    assert gradient_error(grad_kernel) <= 1.5 * gradient_error("taps")
