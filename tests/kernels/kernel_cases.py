"""What the kernel tests share: the table's rows as parameters, guarded arrays, and comparisons that name their case.

Every array that a kernel reads lies at an odd address between NaNs, and every array that it may be told to write lies
between canaries: what is read or written outside shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastcnn import _core

EPSILON = float(np.finfo(np.float32).eps)
CANARY = np.float32(-1.2345e30)
REFERENCE = "reference"

ROWS = _core.rows()
# Operations that some test module takes its rows from; test_rows.py compares it with the table.
COVERED: set[str] = set()

# Sizes around the widths of the vectors (4, 8, 16 floats).
SIZES = (1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 100)


def runnable(isa: str) -> bool:
    """Whether this processor can run rows of the level."""
    try:
        _core.activation(np.zeros(1, np.float32), "linear", isa=isa)
    except _core.Error:
        return False
    return True


LEVELS = list(dict.fromkeys(isa for _, _, isa in ROWS))
RUNNABLE = [isa for isa in LEVELS if runnable(isa)]


def each_row(operation: str) -> Callable[..., Any]:
    """Runs a test with (algorithm, isa) of every row of the operation; names the operation as covered."""
    COVERED.add(operation)
    found = [(algorithm, isa) for name, algorithm, isa in ROWS if name == operation]
    return pytest.mark.parametrize(
        ("algorithm", "isa"),
        [
            pytest.param(
                algorithm,
                isa,
                id=f"{algorithm}-{isa}",
                marks=() if isa in RUNNABLE else pytest.mark.skip(reason=f"this processor cannot run {isa}"),
            )
            for algorithm, isa in found
        ],
    )


def is_compiled(algorithm: str, isa: str) -> bool:
    """Whether the row computes anything at this level.

    Winograd's tiles other than 4 are left out of the baseline, and of its kernels along rows one
    wants the registers of AVX-512, the other is for AVX2.
    """
    if algorithm == "winograd_rows":
        return isa not in ("baseline", "avx2")
    if algorithm == "winograd_rows_stored":
        return isa == "avx2"
    return isa != "baseline" or not algorithm.startswith("winograd") or algorithm.startswith("winograd4")


def unless_declined(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The function's result, or None where the row that was asked for says why it does not take these arguments."""
    try:
        return function(*args, **kwargs)
    except _core.Error as error:
        assert "no kernel" in str(error) and "(" in str(error), error
        return None


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Standard normal float32 array, misaligned, between NaNs."""
    return placed(rng.standard_normal(shape))


def placed(values: Any, dtype: Any = np.float32) -> NDArray[Any]:
    """A copy of `values` one element past a cache line, with NaN (or the largest integer) before and behind it."""
    values = np.asarray(values, dtype)
    poison = np.nan if values.dtype.kind == "f" else np.iinfo(values.dtype).max
    return _view(values.shape, values.dtype, poison, values)


def canaried(*shape: int) -> NDArray[np.float32]:
    """A misaligned float32 array for out=, NaN at first, between canaries."""
    return _view(shape, np.dtype(np.float32), CANARY, np.full(shape, np.nan, np.float32))


def _view(shape: tuple[int, ...], dtype: np.dtype[Any], around: float, values: NDArray[Any]) -> NDArray[Any]:
    margin = 64
    buffer = np.full(values.size + 2 * margin + 64, around, dtype)
    first = margin + 1 - (buffer.ctypes.data // dtype.itemsize) % (64 // dtype.itemsize) % margin
    first += 64 // dtype.itemsize
    view = buffer[first : first + values.size].reshape(shape)
    view[...] = values
    return view


def assert_canaries(array: NDArray[np.float32]) -> None:
    """Nothing was written around an array made by canaried()."""
    buffer = array.base
    while buffer.base is not None:
        buffer = buffer.base
    first = (array.ctypes.data - buffer.ctypes.data) // 4
    outside = np.concatenate([buffer[:first], buffer[first + array.size :]])
    assert (outside == CANARY).all(), f"written outside the result at {np.flatnonzero(outside != CANARY)[:4]}"


def double(*arrays: Any) -> list[Any]:
    """The arrays in double, for the oracle; None stays."""
    return [None if a is None else np.ascontiguousarray(a, np.float64) for a in arrays]


def assert_same_specials(actual: NDArray[Any], expected: NDArray[Any], case: object) -> None:
    """NaN and infinities are where the oracle has them."""
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), err_msg=f"NaN: repeat with {case!r}")
    infinite = np.isinf(expected)
    np.testing.assert_array_equal(np.isinf(actual), infinite, err_msg=f"infinite: repeat with {case!r}")
    np.testing.assert_array_equal(actual[infinite], expected[infinite], err_msg=f"sign: repeat with {case!r}")


def assert_within(actual: NDArray[Any], expected: NDArray[Any], bound: Any, case: object) -> None:
    """|actual - expected| <= bound, element by element; specials alike."""
    assert actual.shape == expected.shape, f"shape {actual.shape}: repeat with {case!r}"
    assert_same_specials(actual, expected, case)
    finite = np.isfinite(expected)
    error = np.abs(actual[finite].astype(np.float64) - expected[finite])
    bound = np.broadcast_to(bound, expected.shape)[finite]
    excess = error - bound
    if excess.size and excess.max() > 0:
        worst = int(excess.argmax())
        raise AssertionError(
            f"error {error[worst]:.3g}, allowed {bound[worst]:.3g}, expected value {expected[finite][worst]:.9g}: "
            f"repeat with {case!r}"
        )


def assert_relative_l2(actual: NDArray[Any], expected: NDArray[Any], tolerance: float, case: object) -> None:
    """||actual - expected|| <= tolerance * ||expected||."""
    error = np.linalg.norm((actual - expected).ravel()) / max(np.linalg.norm(expected.ravel()), 1e-300)
    assert error <= tolerance, f"relative L2 error {error:.3g}, allowed {tolerance:.3g}: repeat with {case!r}"


def assert_sum(actual: NDArray[Any], expected: NDArray[Any], magnitude: NDArray[Any], terms: int, case: object) -> None:
    """A float32 sum of `terms` products, of which `magnitude` is the sum of absolute values.

    Any order of summation keeps within (terms + 3) epsilons of the magnitude; where enough outputs average out, the result is
    also within the project's 4e-6 relative L2 of double. Winograd's tiles mix the terms of neighbouring results: there the
    magnitude is the largest one, and 8 times as many epsilons are allowed.
    """
    if any(isinstance(part, str) and part.startswith("winograd") for part in (case if isinstance(case, tuple) else ())):
        magnitude, terms = np.broadcast_to(magnitude.max(initial=0.0), magnitude.shape), 8 * terms
    assert_within(actual, expected, (terms + 3) * EPSILON * magnitude + 1e-37, case)
    if expected.size >= 64:
        assert_relative_l2(actual, expected, 4e-6, case)


def assert_epsilons(actual: NDArray[Any], expected: NDArray[Any], epsilons: float, case: object) -> None:
    """Element by element within a number of float32 epsilons of the expected value (denormals: of the smallest normal)."""
    tiny = float(np.finfo(np.float32).tiny)
    assert_within(actual, expected, epsilons * EPSILON * np.maximum(np.abs(expected), tiny), case)
