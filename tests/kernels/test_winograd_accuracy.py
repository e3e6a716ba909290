"""Winograd's method rounds as docs/numerics.md says: relative L2 error against double precision, every instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import REFERENCE
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
        found = (
            _core.conv2d(x, kernel, None, *SLIDING, False, **row),
            _core.conv2d_grad_input(dy, kernel, x.shape, *SLIDING, **row),
            _core.conv2d_grad_kernel(x, dy, (3, 3), *SLIDING, **row)[0],
        )
        errors = [relative(a, b) for a, b in zip(found, expected)]
        assert all(error <= bound for error, bound in zip(errors, BOUNDS[tile])), (isa, errors)
