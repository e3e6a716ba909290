"""Max and average pooling and their gradients: every row against the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    EPSILON,
    REFERENCE,
    SIZES,
    assert_canaries,
    assert_same_specials,
    assert_within,
    canaried,
    double,
    each_row,
    placed,
)

from fastcnn import _core


@dataclass(frozen=True)
class Pool:
    """One pool and the seed of its data."""

    kind: str
    size: tuple[int, int] = (8, 9)
    channels: int = 5
    pool: tuple[int, int] = (2, 2)
    strides: tuple[int, int] = (2, 2)
    padding: str = "valid"
    batch: int = 2
    seed: int = 0

    @property
    def fits(self) -> bool:
        return self.padding == "same" or all(n >= p for n, p in zip(self.size, self.pool))

    @property
    def window(self) -> tuple[Any, ...]:
        return self.kind, self.pool, self.strides, self.padding


def cases_of(kind: str) -> list[Pool]:
    return [
        *(Pool(kind, channels=channels) for channels in SIZES),
        Pool(kind, (26, 26), 32, batch=3),
        *(Pool(kind, (1, width), 1, (1, 2), (1, 2)) for width in (2, 3, 16, 33)),
        *(Pool(kind, pool=(3, 3), strides=s, padding=p) for s in ((1, 1), (2, 2), (3, 1)) for p in ("valid", "same")),
        *(Pool(kind, pool=p, strides=p, padding="same") for p in ((2, 2), (3, 2), (5, 7), (9, 9))),
        Pool(kind, pool=(2, 2), strides=(4, 3)),
        # large windows, which overlap, around the groups of vectors that go through one together
        *(Pool(kind, (12, 13), n, (5, 5), (2, 3), p) for n in (3, 17, 33, 64, 100) for p in ("valid", "same")),
        *(Pool(kind, (9, 8), n, (3, 3), (2, 1), "same") for n in (1, 2, 17, 64, 100)),
        Pool(kind, pool=(1, 1), strides=(1, 1)),
        Pool(kind, (7, 7), 64, pool=(7, 7), strides=(7, 7)),  # global
        Pool(kind, (20, 20), 3, pool=(20, 20), strides=(20, 20)),
        *(Pool(kind, batch=batch) for batch in (1, 5, 17)),
    ]


CASES = cases_of("max") + cases_of("average")


def data(case: Pool) -> Any:
    rng = np.random.default_rng(case.seed)
    shape = (case.batch, *case.size, case.channels)
    # Half of the images repeat few values, so that maxima tie.
    return placed(rng.standard_normal(shape) if case.seed % 2 else rng.integers(-2, 3, shape))


def check_forward(case: Pool, algorithm: str, isa: str) -> None:
    x = data(case)
    expected = _core.pool2d(*double(x), *case.window, isa=REFERENCE)
    out = canaried(*expected.shape)
    _core.pool2d(x, *case.window, out=out, isa=isa, algorithm=algorithm)
    terms = case.pool[0] * case.pool[1]
    bound = 0 if case.kind == "max" else (terms + 3) * EPSILON * np.abs(x).max()
    assert_within(out, expected, bound, (case, algorithm, isa))
    assert_canaries(out)


def check_backward(case: Pool, algorithm: str, isa: str) -> None:
    x = data(case)
    shape = _core.pool2d(*double(x), *case.window, isa=REFERENCE).shape
    dy = placed(np.random.default_rng(case.seed + 1).standard_normal(shape))
    expected = _core.pool2d_grad(*double(x, dy), *case.window, isa=REFERENCE)
    out = canaried(*x.shape)
    _core.pool2d_grad(x, dy, *case.window, out=out, isa=isa, algorithm=algorithm)
    overlapping = -(-case.pool[0] // case.strides[0]) * -(-case.pool[1] // case.strides[1])
    assert_within(out, expected, (overlapping + 3) * EPSILON * overlapping * np.abs(dy).max(), (case, algorithm, isa))
    assert_canaries(out)


@each_row("pool_forward")
def test_forward_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for case in CASES:
        check_forward(case, algorithm, isa)


@each_row("pool_backward")
def test_gradient_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    for case in CASES:
        check_backward(case, algorithm, isa)


def pairs_of(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


any_pool = given(
    st.builds(
        Pool,
        st.sampled_from(("max", "average")),
        size=pairs_of(1, 19),
        channels=st.integers(1, 40),
        pool=pairs_of(1, 6),
        strides=pairs_of(1, 6),
        padding=st.sampled_from(("valid", "same")),
        batch=st.integers(1, 3),
        seed=st.integers(0, 999),
    ).filter(lambda case: case.fits)
)


@each_row("pool_forward")
@settings(max_examples=60)
@any_pool
def test_forward_of_any_pool(algorithm: str, isa: str, case: Pool) -> None:
    check_forward(case, algorithm, isa)


@each_row("pool_backward")
@settings(max_examples=60)
@any_pool
def test_gradient_of_any_pool(algorithm: str, isa: str, case: Pool) -> None:
    check_backward(case, algorithm, isa)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pool", [(2, 2), (3, 3)])
@pytest.mark.parametrize("kind", ["max", "average"])
@each_row("pool_forward")
def test_forward_passes_nan_and_infinity_on(
    kind: str, pool: tuple[int, int], special: float, algorithm: str, isa: str
) -> None:
    for channels in (1, 17):
        for place in np.ndindex(pool):
            case = Pool(kind, channels=channels, pool=pool, strides=pool)
            x = data(case)
            x[1, place[0], place[1], channels - 1] = special
            expected = _core.pool2d(*double(x), *case.window, isa=REFERENCE)
            actual = _core.pool2d(x, *case.window, isa=isa, algorithm=algorithm)
            assert_same_specials(actual, expected, (case, place, special, isa))
            assert (special == -np.inf and kind == "max") or not np.isfinite(actual).all()


@pytest.mark.parametrize("pool", [(2, 2), (3, 3), (5, 4)])
@pytest.mark.parametrize("kind", ["max", "average"])
@each_row("pool_backward")
def test_gradient_passes_nan_on_and_goes_to_a_nan(kind: str, pool: tuple[int, int], algorithm: str, isa: str) -> None:
    for channels in (1, 17):
        for place in np.ndindex(pool):
            case = Pool(kind, (2 * pool[0] + 1, 2 * pool[1]), channels, pool, pool)
            x = data(case)
            x[1, place[0], place[1], channels - 1] = np.nan  # the maximum of its window
            dy = placed(np.random.default_rng(1).standard_normal((2, 2, 2, channels)))
            dy[0, 1, 1, 0] = np.nan
            expected = _core.pool2d_grad(*double(x, dy), *case.window, isa=REFERENCE)
            actual = _core.pool2d_grad(x, dy, *case.window, isa=isa, algorithm=algorithm)
            assert_within(actual, expected, 4 * EPSILON * np.abs(expected[np.isfinite(expected)]).max(), (case, place))


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(
        _core.Error, match=r"^pool2d: pool_size: expected a window of at most 8 x 9, .* received 2 x 10"
    ):
        _core.pool2d(data(Pool("max")), "max", (2, 10), (1, 1), "valid")
