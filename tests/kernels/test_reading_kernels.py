"""Reading samples of any dtype: every row against the oracle and NumPy, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import REFERENCE, SIZES, each_row

from fastcnn import _core

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "float32",
    "float64",
]


def values(dtype: np.dtype[Any], size: int) -> Any:
    rng = np.random.default_rng(size)
    if dtype.kind == "b":
        return rng.integers(0, 2, size).astype(bool)
    if dtype.kind == "f":
        special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8, 1e-7, 6e-5, 65504.0, 1 / 3]
        numbers = rng.standard_normal(size) * 10.0 ** rng.integers(-4, 4, size)
        numbers[: min(size, 10)] = special[: min(size, 10)]
        return numbers.astype(dtype)
    limits = np.iinfo(dtype)
    numbers = rng.integers(limits.min, limits.max, size, dtype, endpoint=True)
    # Where rounding once and rounding twice (through double) differ.
    for i, exact in enumerate([limits.max, limits.min, 2**24 + 1, 2**62 + 2**38 + 1, -(2**24) - 1]):
        if i < size and limits.min <= exact <= limits.max:
            numbers[i] = exact
    return numbers


@pytest.mark.parametrize("name", DTYPES)
@each_row("read_samples")
def test_reading_is_exact_at_any_address(name: str, algorithm: str, isa: str) -> None:
    dtype = np.dtype(name)
    for size in (*SIZES, 256, 784):
        x = values(dtype, size)
        with np.errstate(over="ignore"):
            expected = x.astype(np.float32)
        for shift in (0, 1, 3):
            x_bytes = np.empty(x.nbytes + shift, np.uint8)
            x_bytes[shift:] = x.view(np.uint8)
            shifted = np.frombuffer(x_bytes, dtype, size, shift)
            case = f"repeat with {(name, size, shift, isa)}"
            actual = _core.read_samples(shifted, isa=isa, algorithm=algorithm)
            np.testing.assert_array_equal(actual, expected, err_msg=case)
            np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected), err_msg=case)
            np.testing.assert_array_equal(_core.read_samples(shifted, isa=REFERENCE), expected, err_msg=case)


@each_row("read_samples")
def test_every_byte_and_every_half_is_read_exactly(algorithm: str, isa: str) -> None:
    for name, bits in [("uint8", np.uint8), ("int8", np.uint8), ("float16", np.uint16)]:
        x = np.arange(np.iinfo(bits).max + 1, dtype=bits).view(name)
        np.testing.assert_array_equal(_core.read_samples(x, isa=isa, algorithm=algorithm), x.astype(np.float32))


@pytest.mark.parametrize("dtype", [">f4", "complex64", "object", "datetime64[s]"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(_core.Error, match=r"^read_samples: x: expected bool, integer or float elements"):
        _core.read_samples(np.zeros(3, dtype))


@each_row("round_bfloat16")
def test_rounding_to_bfloat16_is_that_of_ml_dtypes(algorithm: str, isa: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    rng = np.random.default_rng(0)
    words = np.arange(2**16, dtype=np.uint32) << 16
    halves = [words | low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]  # below, at and above the middle
    for bits in (*halves, rng.integers(0, 2**32, 100_003, np.uint32), rng.integers(0, 2**32, 5, np.uint32)):
        x = bits.view(np.float32)
        with np.errstate(invalid="ignore"):
            expected = x.astype(ml_dtypes.bfloat16)
        actual = _core.round_bfloat16(x, isa=isa, algorithm=algorithm).view(ml_dtypes.bfloat16)
        read = _core.read_samples(expected, isa=isa)
        np.testing.assert_array_equal(read, expected.astype(np.float32))
        np.testing.assert_array_equal(_core.read_samples(expected, isa=REFERENCE), read)
        np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
        numbers = ~np.isnan(x)
        np.testing.assert_array_equal(actual.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])


def test_many_numbers_are_divided_between_the_threads() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.random.default_rng(0).standard_normal((37, 41, 1003)).astype(np.float32)
    rounded = x.astype(ml_dtypes.bfloat16)
    actual = _core.round_bfloat16(x)
    assert actual.shape == x.shape
    np.testing.assert_array_equal(actual, rounded.view(np.uint16))
    np.testing.assert_array_equal(_core.read_samples(rounded), rounded.astype(np.float32))


@pytest.mark.parametrize("x", [np.zeros(3), np.zeros((4, 4), np.float32).T, np.zeros(0, np.float32)])
def test_only_contiguous_float32_arrays_are_rounded(x: np.ndarray[Any, Any]) -> None:
    with pytest.raises(_core.Error, match=r"^round_bfloat16: x: expected"):
        _core.round_bfloat16(x)


@each_row("pair_words")
def test_words_are_paired(algorithm: str, isa: str) -> None:
    rng = np.random.default_rng(0)
    for size in (*SIZES, 5000, 100_003):
        a, b = (rng.integers(0, 2**16, size, np.uint16) for _ in "ab")
        row = {"isa": isa, "algorithm": algorithm}
        np.testing.assert_array_equal(_core.pair_words(a, b, **row), a + b.astype(np.uint32) * 2**16)
        np.testing.assert_array_equal(_core.pair_words(a, None, **row), a)
    with pytest.raises(_core.Error, match=r"^pair_words: b: expected"):
        _core.pair_words(a, b[1:])
