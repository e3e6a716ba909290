"""Dropout: the generator's known answers, the same mask at every level, and its statistics."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import REFERENCE, SIZES, assert_epsilons, double, each_row, normal, placed

from fastcnn import _core


@pytest.mark.parametrize(
    ("seed", "counter", "words"),
    [
        # Known answers that the authors publish with Random123 (kat_vectors, philox4x32 with 10 rounds); key words are low, high.
        (0, (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (2**64 - 1, (2**32 - 1,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            0x299F31D0A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(
    seed: int, counter: tuple[int, int, int, int], words: tuple[int, ...]
) -> None:
    assert _core.philox(seed, counter) == words


def test_the_oracle_draws_its_numbers_from_philox() -> None:
    seed, layer, step, first_sample, rate = 0x123456789ABCDEF0, 3, 11, 5, 0.25
    x = np.ones((3, 11))
    y = _core.dropout(x, rate, seed, layer, step, first_sample, isa=REFERENCE)
    for s in range(3):
        for e in range(11):
            word = _core.philox(seed, (e // 4, first_sample + s, step, layer))[e % 4]
            assert y[s, e] == (0.0 if (word >> 8) / 2**24 < rate else 1 / (1 - rate))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.96875])
@each_row("dropout")
def test_dropout_has_the_oracle_s_mask(rate: float, algorithm: str, isa: str) -> None:
    rate = float(np.float32(rate))
    for size in (*SIZES, 1000):
        for seed, layer, step, first in [
            (0, 0, 0, 0),
            (2**64 - 1, 7, 100_000, 3),
            (12345, 2**32 - 1, 2**32 - 1, 2**31),
        ]:
            x = normal(np.random.default_rng(size), 3, size)
            case = (rate, seed, layer, step, first)
            expected = _core.dropout(*double(x), *case, isa=REFERENCE)
            actual = _core.dropout(x, *case, isa=isa, algorithm=algorithm)
            np.testing.assert_array_equal(actual == 0, expected == 0, err_msg=f"repeat with {(size, case, isa)}")
            assert_epsilons(actual, expected, 2, (size, case, isa))


@each_row("dropout")
def test_a_number_equal_to_the_rate_keeps_its_element(algorithm: str, isa: str) -> None:
    x = np.ones((1, 19), np.float32)
    for element in range(19):
        rate = (_core.philox(77, (element // 4, 0, 0, 0))[element % 4] >> 8) / 2**24
        assert _core.dropout(x, rate, 77, isa=isa, algorithm=algorithm)[0, element] != 0


@each_row("dropout")
def test_a_part_of_the_batch_draws_what_the_whole_does(algorithm: str, isa: str) -> None:
    x = normal(np.random.default_rng(1), 6, 21)
    whole = _core.dropout(x, 0.5, 9, 1, 2, 0, isa=isa, algorithm=algorithm)
    part = _core.dropout(placed(x[4:]), 0.5, 9, 1, 2, 4, isa=isa, algorithm=algorithm)
    np.testing.assert_array_equal(whole[4:], part)


@each_row("dropout")
def test_the_share_of_zeros_is_the_rate_and_the_mean_stays(algorithm: str, isa: str) -> None:
    for rate in (0.2, 0.5, 0.8):
        y = _core.dropout(np.ones((64, 4096), np.float32), rate, 42, isa=isa, algorithm=algorithm)
        deviation = np.sqrt(rate * (1 - rate) / y.size)
        assert abs((y == 0).mean() - rate) < 5 * deviation
        assert y.mean() == pytest.approx(1.0, abs=5 * deviation / (1 - rate))
        # Neither samples nor elements share a mask.
        kept = (y != 0).astype(np.float64)
        assert abs(np.corrcoef(kept[0], kept[1])[0, 1]) < 0.1
        assert abs(np.corrcoef(kept[:, 0], kept[:, 1])[0, 1]) < 0.6


@each_row("dropout")
def test_kept_nan_stays_nan(algorithm: str, isa: str) -> None:
    x = np.full((2, 100), np.nan, np.float32)
    y = _core.dropout(x, 0.5, 1, isa=isa, algorithm=algorithm)
    expected = _core.dropout(*double(x), 0.5, 1, isa=REFERENCE)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert 0 < np.isnan(y).sum() < y.size


def test_a_rate_of_one_is_refused() -> None:
    with pytest.raises(_core.Error, match=r"^dropout: rate: expected a number in \[0, 1\), received 1$"):
        _core.dropout(np.ones((1, 4), np.float32), 1.0, 0)
