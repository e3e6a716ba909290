"""Convolution under a max pool: the fused forward pass, and the gradients from compressed lists."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    EPSILON,
    REFERENCE,
    assert_canaries,
    assert_same_specials,
    assert_sum,
    assert_within,
    canaried,
    double,
    each_row,
    placed,
    unless_declined,
)

from fastcnn import _core


@dataclass(frozen=True)
class Pooled:
    """A convolution, the pool over it, and the seed of the data."""

    size: tuple[int, int] = (10, 11)
    channels: int = 5
    filters: int = 9
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str = "valid"
    dilation: tuple[int, int] = (1, 1)
    pool: tuple[int, int] = (2, 2)
    pool_strides: tuple[int, int] = (2, 2)
    pool_padding: str = "valid"
    batch: int = 2
    relu: bool = True
    seed: int = 0

    @property
    def conv_size(self) -> tuple[int, ...]:
        """Height and width between convolution and pool; 0 or less where the window does not fit."""
        if self.padding == "same":
            return tuple(-(-n // s) for n, s in zip(self.size, self.strides))
        zipped = zip(self.size, self.kernel, self.dilation, self.strides)
        return tuple((n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zipped)

    @property
    def fits(self) -> bool:
        if min(self.conv_size) < 1:
            return False
        return self.pool_padding == "same" or all(n >= p for n, p in zip(self.conv_size, self.pool))


CASES = [
    Pooled(),
    Pooled(relu=False),
    # the networks' own shapes
    Pooled((28, 28), 1, 32, batch=3),
    Pooled((13, 13), 32, 64),
    Pooled((18, 18), 5, 70, padding="same", batch=8),  # 81 windows: three samples together, and two at the end
    Pooled((12, 12), 16, 16, padding="same"),
    # cells of Winograd's tiles: filled, one window too many, one tile of a cell
    *(Pooled((h, w), 20, 40, batch=3) for h, w in ((12, 22), (14, 13), (24, 5), (4, 4))),
    # channels around the vector widths
    *(Pooled((6, 7), n, 9) for n in (1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 100)),
    *(Pooled((6, 7), 3, n) for n in (1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 100)),
    # windows of the convolution
    *(Pooled((9, 8), 3, 6, (k, k), padding=p) for k in (1, 2, 5, 7) for p in ("valid", "same")),
    Pooled(strides=(2, 2)),
    Pooled(dilation=(2, 1), padding="same"),
    Pooled(dilation=(2, 3)),
    # first layers
    *(Pooled((17, 21), n, 18, (k, k), padding=p) for n in (1, 2, 3, 4) for k in (3, 5, 7) for p in ("valid", "same")),
    *(Pooled((28, 27), n, 17, (k, k), (2, 2), "same", batch=1) for n in (1, 3) for k in (3, 7)),
    Pooled((70, 66), 3, 16, batch=1),
    Pooled((19, 18), 3, 40, strides=(1, 2), dilation=(2, 1)),
    Pooled((20, 20), 3, 16, pool=(2, 2), pool_strides=(3, 3)),
    # windows of the pool
    Pooled(pool=(3, 3), pool_strides=(3, 3)),
    Pooled(pool=(3, 3), pool_strides=(2, 2)),
    Pooled(pool=(3, 2), pool_strides=(1, 2)),
    Pooled(pool=(2, 2), pool_strides=(3, 3)),
    Pooled(pool=(3, 3), pool_strides=(2, 2), pool_padding="same", padding="same"),
    Pooled(pool=(2, 2), pool_strides=(2, 2), pool_padding="same"),
    Pooled(pool=(1, 1), pool_strides=(1, 1)),
    Pooled((18, 18), 2, 3, pool=(16, 16), pool_strides=(16, 16)),
    # images that are cut into strips of rows
    Pooled((102, 75), 12, 20, padding="same", batch=2),
    Pooled((130, 75), 12, 20, pool=(3, 3), pool_strides=(2, 2), pool_padding="same", padding="same", batch=1),
    Pooled((130, 75), 12, 20, strides=(1, 2), pool=(2, 3), pool_strides=(3, 1), batch=1),
    *(Pooled((7, 7), 3, 20, batch=batch) for batch in (1, 5, 17)),
]


def data(case: Pooled) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(case.seed)
    x = placed(rng.standard_normal((case.batch, *case.size, case.channels)))
    kernel = placed(rng.standard_normal((*case.kernel, case.channels, case.filters)))
    return x, kernel, placed(rng.standard_normal(case.filters))


def forward(case: Pooled, x: Any, kernel: Any, bias: Any, **where: Any) -> tuple[Any, Any]:
    conv = (case.strides, case.padding, case.dilation, 1, case.relu)
    return _core.conv2d(x, kernel, bias, *conv, case.pool, case.pool_strides, case.pool_padding, **where)


def unpooled(case: Pooled, x: Any, kernel: Any, bias: Any) -> Any:
    """The oracle's convolution without the pool."""
    return _core.conv2d(x, kernel, bias, case.strides, case.padding, case.dilation, 1, case.relu, isa=REFERENCE)


def gradients(case: Pooled, x: Any, kernel: Any, dy: Any, argmax: Any, **where: Any) -> Any:
    conv = (case.strides, case.padding, case.dilation)
    return _core.pooled_conv2d_grad(
        x, kernel, dy, argmax, *conv, case.pool, case.pool_strides, case.pool_padding, **where
    )


@functools.cache
def expected_forward(case: Pooled) -> tuple[Any, Any, float]:
    """The oracle's pooled output, its positions, and a bound of the convolution's rounding errors."""
    x, kernel, bias = double(*data(case))
    y, argmax = forward(case, x, kernel, bias, isa=REFERENCE)
    terms = case.kernel[0] * case.kernel[1] * case.channels + 4
    magnitude = unpooled(case, abs(x), abs(kernel), abs(bias)).max()
    return y, argmax, terms * EPSILON * magnitude


def at_positions(case: Pooled, z: Any, argmax: Any) -> Any:
    """The elements of the convolution's output that the positions name."""
    batch, height, width, channels = argmax.shape
    pads = [0, 0]
    if case.pool_padding == "same":
        zipped = zip((height, width), case.pool_strides, case.pool, z.shape[1:3])
        pads = [max(0, (out - 1) * s + p - n) // 2 for out, s, p, n in zipped]
    n, oy, ox, c = np.indices(argmax.shape)
    iy = oy * case.pool_strides[0] - pads[0] + argmax // case.pool[1]
    ix = ox * case.pool_strides[1] - pads[1] + argmax % case.pool[1]
    assert (iy >= 0).all() and (iy < z.shape[1]).all() and (ix >= 0).all() and (ix < z.shape[2]).all()
    return z[n, iy, ix, c]


def check_forward(case: Pooled, algorithm: str, isa: str) -> bool:
    """False where the row declined."""
    expected, _, bound = expected_forward(case)
    out = canaried(*expected.shape)
    result = unless_declined(forward, case, *data(case), out=out, isa=isa, algorithm=algorithm)
    if result is None:
        return False
    y, argmax = result
    if algorithm == "winograd5":  # with few terms its transforms round more than a sum's bound allows
        bound *= 2
    assert_within(y, expected, bound, (case, algorithm, isa))
    assert_canaries(out)
    # A position is right where it names an element that could be the maximum; after ReLU a zero has no gradient.
    z = unpooled(case, *double(*data(case)))
    named = at_positions(case, z, argmax.astype(np.int64))
    live = expected > 2 * bound if case.relu else np.ones_like(expected, bool)
    assert_within(named[live], expected[live], 2 * bound, (case, algorithm, isa))
    return True


@functools.cache
def expected_gradients(case: Pooled) -> tuple[Any, Any, Any]:
    """dy (a third of it zero), and (value, magnitude) of dx, dkernel and dbias by the oracle."""
    y, argmax, _ = expected_forward(case)
    rng = np.random.default_rng(case.seed + 1)
    dy = placed(rng.standard_normal(y.shape) * (rng.random(y.shape) > 1 / 3))
    x, kernel, _ = double(*data(case))
    value = gradients(case, x, kernel, *double(dy), argmax, isa=REFERENCE)
    magnitude = gradients(case, abs(x), abs(kernel), *double(abs(dy)), argmax, isa=REFERENCE)
    return dy, argmax, tuple(zip(value, magnitude))


def check_gradients(case: Pooled, algorithm: str, isa: str) -> bool:
    """False where the row declined."""
    dy, argmax, expected = expected_gradients(case)
    x, kernel, _ = data(case)
    actual = unless_declined(gradients, case, x, kernel, dy, argmax, isa=isa, algorithm=algorithm)
    if actual is None:
        return False
    windows = dy.size // case.filters
    overlapping = -(-case.pool[0] // case.pool_strides[0]) * -(-case.pool[1] // case.pool_strides[1])
    terms = (case.kernel[0] * case.kernel[1] * case.filters * overlapping, windows, windows)
    for a, (value, magnitude), n in zip(actual, expected, terms):
        assert_sum(a, value, magnitude, n, (case, algorithm, isa))
    return True


@each_row("conv2d_forward")
def test_pooled_forward_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    if not any([check_forward(case, algorithm, isa) for case in CASES]):
        pytest.skip(f"{algorithm} declines every case at {isa}")


@each_row("pooled_conv2d_grad_input")
def test_gradients_agree_with_the_oracle(algorithm: str, isa: str) -> None:
    if not any([check_gradients(case, algorithm, isa) for case in CASES]):
        pytest.skip(f"{algorithm} declines every case at {isa}")


def test_some_row_takes_the_gradients_of_every_case() -> None:
    assert all(check_gradients(case, "", "") for case in CASES)


# pooled_conv2d_grad runs three operations and lets the caller choose only the last one's row. The first two have one row each.
@each_row("pooled_gradient")
def test_lists_of_every_case(algorithm: str, isa: str) -> None:
    assert algorithm == "lists"
    assert all([check_gradients(case, "", isa) for case in CASES])


@each_row("pooled_conv2d_grad_kernel")
def test_grad_kernel_adds_up_over_many_windows(algorithm: str, isa: str) -> None:
    assert algorithm == "lists"
    assert check_gradients(Pooled((25, 27), 17, 33, batch=7, pool=(3, 3), pool_strides=(1, 1)), "", isa)


def grad_kernel(case: Pooled, x: Any, dy: Any, argmax: Any, **where: Any) -> Any:
    conv = (case.kernel, case.strides, case.padding, case.dilation, 1)
    return _core.pooled_conv2d_grad_kernel(
        x, dy, argmax, *conv, case.pool, case.pool_strides, case.pool_padding, **where
    )


def check_grad_kernel(case: Pooled, algorithm: str, isa: str) -> bool:
    """False where the row declined."""
    dy, argmax, expected = expected_gradients(case)
    out = canaried(*expected[1][0].shape)
    actual = unless_declined(grad_kernel, case, data(case)[0], dy, argmax, out=out, isa=isa, algorithm=algorithm)
    if actual is None:
        return False
    for a, (value, magnitude) in zip(actual, expected[1:]):
        assert_sum(a, value, magnitude, dy.size // case.filters, (case, algorithm, isa))
    assert_canaries(out)
    return True


@each_row("pooled_conv2d_grad_kernel_direct")
def test_grad_kernel_without_lists_agrees_with_the_oracle(algorithm: str, isa: str) -> None:
    taken = [check_grad_kernel(case, algorithm, isa) for case in CASES]
    assert any(taken) and not all(taken)


def test_the_oracle_of_the_grad_kernel_is_that_of_both_gradients() -> None:
    case = Pooled(channels=3)
    dy, argmax, expected = expected_gradients(case)
    actual = grad_kernel(case, *double(data(case)[0], dy), argmax, isa=REFERENCE)
    for a, (value, _) in zip(actual, expected[1:]):
        np.testing.assert_array_equal(a, value)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_row("pooled_conv2d_grad_kernel_direct")
def test_grad_kernel_without_lists_passes_nan_and_infinity_on(special: float, algorithm: str, isa: str) -> None:
    case = Pooled(channels=3)
    dy, argmax, _ = expected_gradients(case)
    dy = placed(dy)
    dy[-1, 1, 2, 3] = special
    x = data(case)[0]
    expected = grad_kernel(case, *double(x, dy), argmax, isa=REFERENCE)
    for a, e in zip(grad_kernel(case, x, dy, argmax, isa=isa, algorithm=algorithm), expected):
        assert_same_specials(a, e, (case, special, isa))
        assert not np.isfinite(a).all()


def pairs_of(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def pooled_convolutions(draw: st.DrawFn, channels: int = 20) -> Pooled:
    padding = st.sampled_from(("valid", "same"))
    return Pooled(
        size=draw(pairs_of(1, 15)),
        channels=draw(st.integers(1, channels)),
        filters=draw(st.integers(1, 36)),
        kernel=draw(st.one_of(st.just((3, 3)), pairs_of(1, 5))),
        strides=draw(st.one_of(st.just((1, 1)), pairs_of(1, 2))),
        padding=draw(padding),
        dilation=draw(st.one_of(st.just((1, 1)), pairs_of(1, 2))),
        pool=(pool := draw(st.one_of(st.just((2, 2)), pairs_of(1, 4)))),
        pool_strides=draw(st.one_of(st.just(pool), pairs_of(1, 4))),
        pool_padding=draw(padding),
        batch=draw(st.integers(1, 3)),
        relu=draw(st.booleans()),
        seed=draw(st.integers(0, 999)),
    )


any_case = given(pooled_convolutions().filter(lambda case: case.fits))


@each_row("conv2d_forward")
@settings(max_examples=60)
@any_case
def test_pooled_forward_of_any_case(algorithm: str, isa: str, case: Pooled) -> None:
    check_forward(case, algorithm, isa)


@each_row("pooled_conv2d_grad_input")
@settings(max_examples=60)
@any_case
def test_gradients_of_any_case(algorithm: str, isa: str, case: Pooled) -> None:
    check_gradients(case, algorithm, isa)


@each_row("pooled_conv2d_grad_kernel_direct")
@settings(max_examples=60)
@given(pooled_convolutions(channels=4).filter(lambda case: case.fits))
def test_grad_kernel_without_lists_of_any_case(algorithm: str, isa: str, case: Pooled) -> None:
    check_grad_kernel(case, algorithm, isa)


def suited(case: Pooled, algorithm: str) -> Pooled:
    """The case, or one like it that Winograd's method along rows takes."""
    if not algorithm.startswith("winograd_rows"):
        return case
    stride = case.strides[1]
    return replace(
        case,
        size=(case.size[0] + 6, case.size[1] * 3 + 18),
        kernel=(case.kernel[0] + 2, case.kernel[1] % 2 + 3 if stride == 1 else case.kernel[1] % 4 + 5),
        padding="same",
        dilation=(case.dilation[0], 1),
        pool=(2, 2),
        pool_strides=(2, 2),
        pool_padding="valid",
    )


@each_row("conv2d_forward")
@settings(max_examples=60)
@given(pooled_convolutions(channels=4).filter(lambda case: case.fits))
def test_pooled_forward_of_few_channels(algorithm: str, isa: str, case: Pooled) -> None:
    check_forward(suited(case, algorithm), algorithm, isa)


@pytest.mark.parametrize(
    "case",
    [Pooled(relu=False), Pooled(relu=False, channels=3, filters=21), Pooled(relu=False, filters=33, pool=(3, 3))],
    ids=["2x2", "3 channels", "3x3"],
)
@each_row("conv2d_forward")
def test_the_first_of_equal_maxima_is_remembered(case: Pooled, algorithm: str, isa: str) -> None:
    if algorithm in ("winograd3", "winograd4", "winograd5", "winograd_rows", "winograd_rows_stored"):
        pytest.skip("its transforms round: equal sums come out a rounding apart")
    rng = np.random.default_rng(5)  # small integers: every sum is exact, ties are many
    arrays = [placed(rng.integers(-1, 2, a.shape)) for a in data(case)]
    y, argmax = forward(case, *double(*arrays), isa=REFERENCE)
    result = unless_declined(forward, case, *arrays, isa=isa, algorithm=algorithm)
    if result is None:
        return
    actual, positions = result
    np.testing.assert_array_equal(actual, y)
    np.testing.assert_array_equal(positions, argmax)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "case",
    [
        Pooled(),
        Pooled(pool=(3, 3), pool_strides=(3, 3)),
        Pooled(channels=3),
        Pooled((11, 77), 3, 17, padding="same"),
        Pooled((21, 63), 3, 9, (7, 7), (2, 2), "same"),
    ],
    ids=["2x2", "3x3", "3 channels", "3 channels, wide", "7x7, stride 2"],
)
@each_row("conv2d_forward")
def test_pooled_forward_passes_nan_and_infinity_on(
    case: Pooled, relu: bool, special: float, algorithm: str, isa: str
) -> None:
    # The convolution's rows 2 to 4 and columns 3 to 5 become special: windows hold one first, last and in between.
    case = replace(case, relu=relu)
    x, kernel, bias = data(case)
    x[0, 4, 5, 1] = special
    expected = forward(case, *double(x, kernel, bias), isa=REFERENCE)[0]
    result = unless_declined(forward, case, x, kernel, bias, isa=isa, algorithm=algorithm)
    if result is None:
        return
    actual = result[0]
    assert_same_specials(actual, expected, (case, special, isa))
    assert np.isnan(special) == np.isnan(actual).any()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@each_row("pooled_conv2d_grad_input")
def test_gradients_pass_nan_and_infinity_on(special: float, algorithm: str, isa: str) -> None:
    case = Pooled()
    dy, argmax, _ = expected_gradients(case)
    dy = placed(dy)
    dy[-1, 1, 2, 3] = special
    x, kernel, _ = data(case)
    expected = gradients(case, *double(x, kernel, dy), argmax, isa=REFERENCE)
    actual = unless_declined(gradients, case, x, kernel, dy, argmax, isa=isa, algorithm=algorithm)
    if actual is None:
        pytest.skip(f"{algorithm} declines at {isa}")
    for a, e in zip(actual, expected):
        assert_same_specials(a, e, (case, special, isa))
        assert not np.isfinite(a).all()


def test_positions_outside_the_window_are_refused() -> None:
    case = Pooled()
    dy, argmax, _ = expected_gradients(case)
    x, kernel, _ = data(case)
    wrong = argmax.copy()
    wrong[0, 0, 0, 5] = 4
    with pytest.raises(
        _core.Error, match=r"argmax: expected positions of the pooling window .* received 4 at element 5$"
    ):
        gradients(case, x, kernel, dy, wrong)
