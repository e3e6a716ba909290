"""Convolution and its gradients: every row against the oracle."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    REFERENCE,
    ROWS,
    RUNNABLE,
    assert_canaries,
    assert_same_specials,
    assert_sum,
    canaried,
    double,
    each_row,
    is_compiled,
    placed,
    unless_declined,
)

from fastcnn import _core


@dataclass(frozen=True)
class Conv:
    """One convolution and the seed of its data."""

    size: tuple[int, int] = (9, 10)
    channels: int = 5
    filters: int = 7
    kernel: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str = "valid"
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    batch: int = 2
    relu: bool = False
    bias: bool = True
    seed: int = 0

    @property
    def window(self) -> tuple[Any, ...]:
        return self.strides, self.padding, self.dilation, self.groups

    @property
    def fits(self) -> bool:
        return self.padding == "same" or all((k - 1) * d < n for n, k, d in zip(self.size, self.kernel, self.dilation))


CASES = [
    Conv(),
    Conv(relu=True, bias=False),
    # the networks' own shapes
    Conv((28, 28), 1, 32, batch=3, relu=True),
    Conv((13, 13), 32, 64, batch=2, relu=True),
    Conv((5, 5), 64, 64, batch=3),
    Conv((16, 16), 3, 16, padding="same", batch=1),
    # channels and filters around the vector widths
    *(Conv((6, 7), channels, 9) for channels in (1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 100)),
    *(Conv((6, 7), 3, filters) for filters in (1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100)),
    # widths around the blocks of pixels
    *(Conv((3, width), 2, 17, (1, 3)) for width in (3, 4, 6, 9, 11, 14, 15, 16, 17, 18, 35)),
    # windows
    *(Conv((8, 9), 4, 8, (k, k), padding=padding) for k in (1, 2, 4, 5, 7) for padding in ("valid", "same")),
    Conv((9, 5), 4, 8, (1, 5)),
    Conv((9, 5), 4, 8, (7, 1), padding="same"),
    Conv((2, 2), 3, 4, (5, 5), padding="same"),
    Conv((1, 1), 17, 33, (1, 1), batch=5),
    # strides and dilation
    *(Conv((11, 12), 3, 10, strides=s, padding=p) for s in ((2, 2), (1, 3), (4, 4)) for p in ("valid", "same")),
    Conv((10, 10), 8, 16, (1, 1), strides=(2, 2)),
    *(Conv((12, 11), 3, 10, dilation=d, padding=p) for d in ((2, 2), (1, 3)) for p in ("valid", "same")),
    Conv((12, 13), 4, 6, strides=(2, 1), dilation=(1, 2), padding="same"),
    Conv((14, 14), 2, 3, strides=(2, 2), dilation=(2, 2), padding="same"),
    # first layers: 1 to 4 channels, their usual windows, filters and images around the vector widths
    *(Conv((15, 19), n, 33, (k, k), padding="same", batch=1) for n in (1, 2, 3, 4) for k in (3, 5, 7)),
    *(Conv((25, 23), n, 18, (7, 7), strides=(2, 2), padding=p) for n in (1, 3) for p in ("valid", "same")),
    *(Conv((20, 37), n, 16, strides=s, padding="same") for n in (1, 3) for s in ((2, 1), (3, 2), (1, 3))),
    Conv((40, 70), 1, 20, batch=1),
    Conv((31, 33), 3, 64, (5, 5), batch=2),
    # images whose rows are taken in several bands
    *(Conv((64, 49), n, 36, padding="same") for n in (2, 3, 4)),
    *(Conv((61, 90), n, 40, (7, 7), strides=(2, 2), padding="same", batch=1) for n in (1, 2, 3, 4)),
    Conv((50, 62), 3, 17, (5, 4), strides=(3, 1), dilation=(2, 1), padding="same"),
    Conv((30, 27), 4, 8, (2, 6), strides=(1, 2)),
    Conv((30, 27), 4, 20, (2, 6), strides=(3, 2)),  # rows of the image that no kernel reads
    *(Conv((19, 31), 2, 9, (rows, 3), padding="same") for rows in (16, 17)),
    # groups
    Conv(channels=6, filters=8, groups=2),
    Conv(channels=34, filters=66, groups=2, padding="same"),
    Conv(channels=6, filters=6, groups=6, padding="same"),
    Conv(channels=33, filters=33, groups=33, strides=(2, 2), padding="same"),
    Conv(channels=16, filters=48, groups=16, batch=1),
    Conv(channels=12, filters=4, groups=4, dilation=(2, 2), padding="same"),
    # columns that end in a block of three vectors
    *(Conv((6, 14), 5, filters, padding="same") for filters in (20, 40, 48, 76, 80)),
    *(Conv((6, 14), channels, 5, padding="same") for channels in (20, 40, 48, 76, 80)),
    # several blocks of columns that share out their vectors unevenly: wide ones, and narrow ones of large weights
    *(Conv((6, 9), 20, filters, padding="same") for filters in (72, 100, 144)),
    *(Conv((6, 9), channels, 20, padding="same") for channels in (72, 100, 144)),
    Conv((6, 9), 144, 112, padding="same"),
    Conv((4, 8), 300, 75, padding="same"),
    Conv((4, 8), 75, 300, padding="same"),
    # images that are cut into strips of rows, and strips of several samples whose last is shorter
    Conv((72, 75), 8, 17, padding="same"),
    Conv((72, 75), 8, 17, (1, 1)),
    Conv((9, 14), 512, 40, (1, 1), batch=2),  # rows that are copied, in the forward pass and in the gradient
    Conv((5, 7), 24, 1024, (1, 1), batch=2),
    Conv((5, 7), 1024, 512, (1, 1), groups=2),
    Conv((91, 75), 9, 20, (5, 3), strides=(2, 2), padding="same"),
    Conv((91, 75), 9, 20, (2, 1), strides=(3, 2), batch=1),
    Conv((75, 74), 9, 20, dilation=(5, 3), padding="same"),
    Conv((3, 700), 40, 33, (3, 5), padding="same"),
    Conv((13, 12), 33, 35, padding="same", batch=23),
    Conv((13, 12), 6, 4, strides=(2, 3), padding="same", groups=2, batch=23),
    # batches
    *(Conv((7, 7), 3, 20, batch=batch) for batch in (1, 5, 17)),
]


def data(case: Conv) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(case.seed)
    x = placed(rng.standard_normal((case.batch, *case.size, case.channels)))
    kernel = placed(rng.standard_normal((*case.kernel, case.channels // case.groups, case.filters)))
    return x, kernel, placed(rng.standard_normal(case.filters)) if case.bias else None


def forward(case: Conv, x: Any, kernel: Any, bias: Any, **where: Any) -> Any:
    return _core.conv2d(x, kernel, bias, *case.window, case.relu, **where)


@functools.cache
def expected_forward(case: Conv) -> tuple[Any, Any]:
    """The oracle's output, and the sum of the products' magnitudes."""
    x, kernel, bias = double(*data(case))
    y = forward(case, x, kernel, bias, isa=REFERENCE)
    return y, forward(case, abs(x), abs(kernel), None if bias is None else abs(bias), isa=REFERENCE)


def gradient(case: Conv, shape: tuple[int, ...]) -> Any:
    return placed(np.random.default_rng(case.seed + 1).standard_normal(shape))


def grad_input(case: Conv, dy: Any, kernel: Any, **where: Any) -> Any:
    return _core.conv2d_grad_input(dy, kernel, (case.batch, *case.size, case.channels), *case.window, **where)


def grad_kernel(case: Conv, x: Any, dy: Any, **where: Any) -> Any:
    return _core.conv2d_grad_kernel(x, dy, case.kernel, *case.window, **where)


@functools.cache
def expected_gradients(case: Conv) -> tuple[tuple[Any, Any], ...]:
    """(value, magnitude) of dx, dkernel and dbias by the oracle."""
    x, kernel, _ = double(*data(case))
    (dy,) = double(gradient(case, expected_forward(case)[0].shape))
    pairs = []
    for f in (lambda a: a, np.abs):
        dkernel, dbias = grad_kernel(case, f(x), f(dy), isa=REFERENCE)
        pairs.append((grad_input(case, f(dy), f(kernel), isa=REFERENCE), dkernel, dbias))
    return tuple(zip(*pairs))


# The checks return False where the row declines the case.


def check_forward(case: Conv, algorithm: str, isa: str) -> bool:
    expected, magnitude = expected_forward(case)
    out = canaried(*expected.shape)
    actual = unless_declined(forward, case, *data(case), out=out, isa=isa, algorithm=algorithm)
    if actual is None:
        return False
    terms = case.kernel[0] * case.kernel[1] * case.channels // case.groups + 1
    assert actual is out
    assert_sum(actual, expected, magnitude, terms, (case, algorithm, isa))
    assert_canaries(out)
    return True


def check_grad_input(case: Conv, algorithm: str, isa: str) -> bool:
    expected, magnitude = expected_gradients(case)[0]
    out = canaried(*expected.shape)
    dy = gradient(case, expected_forward(case)[0].shape)
    if unless_declined(grad_input, case, dy, data(case)[1], out=out, isa=isa, algorithm=algorithm) is None:
        return False
    terms = case.kernel[0] * case.kernel[1] * case.filters // case.groups
    assert_sum(out, expected, magnitude, terms, (case, algorithm, isa))
    assert_canaries(out)
    return True


def check_grad_kernel(case: Conv, algorithm: str, isa: str) -> bool:
    (dkernel, kernel_magnitude), (dbias, bias_magnitude) = expected_gradients(case)[1:]
    out = canaried(*dkernel.shape)
    y_shape = expected_forward(case)[0].shape
    dy = gradient(case, y_shape)
    actual = unless_declined(grad_kernel, case, data(case)[0], dy, out=out, isa=isa, algorithm=algorithm)
    if actual is None:
        return False
    bias = actual[1]
    terms = y_shape[0] * y_shape[1] * y_shape[2]
    assert_sum(out, dkernel, kernel_magnitude, terms, (case, algorithm, isa))
    assert_sum(bias, dbias, bias_magnitude, terms, (case, algorithm, isa))
    assert_canaries(out)
    return True


def case_id(case: Conv) -> str:
    changed = [f"{name}={value}" for name, value in vars(case).items() if value != getattr(Conv, name)]
    return ",".join(changed).replace(" ", "") or "default"


each_case = pytest.mark.parametrize("case", CASES, ids=case_id)


@each_case
@each_row("conv2d_forward")
def test_forward_agrees_with_the_oracle(case: Conv, algorithm: str, isa: str) -> None:
    check_forward(case, algorithm, isa)


@each_case
@each_row("conv2d_grad_input")
def test_grad_input_agrees_with_the_oracle(case: Conv, algorithm: str, isa: str) -> None:
    check_grad_input(case, algorithm, isa)


@each_case
@each_row("conv2d_grad_kernel")
def test_grad_kernel_agrees_with_the_oracle(case: Conv, algorithm: str, isa: str) -> None:
    check_grad_kernel(case, algorithm, isa)


@pytest.mark.parametrize(("kernel", "channels"), [(3, 1), (3, 8), (1, 8), (3, 3), (4, 3)])
@each_row("conv2d_forward")
def test_a_result_written_past_the_caches_has_the_same_bits(
    channels: int, kernel: int, algorithm: str, isa: str
) -> None:
    case = Conv((193, 190), channels, 64, (kernel, kernel), batch=1, relu=True)
    result = unless_declined(forward, case, *data(case), isa=isa, algorithm=algorithm)
    if result is None:
        return
    assert result.nbytes > 8 << 20 and result.ctypes.data % 64 == 0
    misaligned = canaried(*result.shape)  # which no such store can write
    forward(case, *data(case), out=misaligned, isa=isa, algorithm=algorithm)
    assert_canaries(misaligned)
    np.testing.assert_array_equal(result, misaligned)


# A row may decline a case, but not all of them; and some row takes each.
def test_some_row_takes_every_case() -> None:
    for case in CASES:
        assert check_forward(case, "", "") and check_grad_input(case, "", "") and check_grad_kernel(case, "", "")


@each_row("conv2d_forward")
def test_every_row_takes_some_forward(algorithm: str, isa: str) -> None:
    compiled = is_compiled(algorithm, isa) and algorithm != "windows"  # which pools
    assert any(check_forward(case, algorithm, isa) for case in CASES) == compiled


@each_row("conv2d_grad_input")
def test_every_row_takes_some_grad_input(algorithm: str, isa: str) -> None:
    assert any(check_grad_input(case, algorithm, isa) for case in CASES) == is_compiled(algorithm, isa)


@each_row("conv2d_grad_kernel")
def test_every_row_takes_some_grad_kernel(algorithm: str, isa: str) -> None:
    assert any(check_grad_kernel(case, algorithm, isa) for case in CASES) == is_compiled(algorithm, isa)


def pairs_of(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    groups = draw(st.sampled_from((1, 1, 1, 2, 3)))
    return Conv(
        size=draw(pairs_of(1, 19)),
        channels=groups * draw(st.integers(1, 20)),
        filters=groups * draw(st.integers(1, 36)),
        kernel=draw(pairs_of(1, 7)),
        strides=draw(pairs_of(1, 3)),
        padding=draw(st.sampled_from(("valid", "same"))),
        dilation=draw(pairs_of(1, 3)),
        groups=groups,
        batch=draw(st.integers(1, 3)),
        relu=draw(st.booleans()),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 999)),
    )


def suited(case: Conv, algorithm: str) -> Conv:
    """The case, or one like it that Winograd's rows take."""
    if not algorithm.startswith("winograd"):
        return case
    if algorithm.startswith("winograd_rows"):
        stride = min(case.strides[1], 2)
        width = (3 + case.kernel[1] % 2) if stride == 1 else 5 + case.kernel[1] % 4
        return replace(
            case,
            size=(case.size[0], case.size[1] + 12),
            channels=1 + case.channels % 4,
            kernel=(case.kernel[0] + 2, width),
            strides=(case.strides[0], stride),
            dilation=(case.dilation[0], 1),
            groups=1,
            padding="same",
        )
    padding = case.padding if min(case.size) >= 3 else "same"
    return replace(case, kernel=(3, 3), strides=(1, 1), dilation=(1, 1), groups=1, padding=padding)


any_convolution = given(convolutions().filter(lambda case: case.fits))
few = settings(max_examples=60)


@each_row("conv2d_forward")
@few
@any_convolution
def test_forward_of_any_convolution(algorithm: str, isa: str, case: Conv) -> None:
    check_forward(suited(case, algorithm), algorithm, isa)


@each_row("conv2d_grad_input")
@few
@any_convolution
def test_grad_input_of_any_convolution(algorithm: str, isa: str, case: Conv) -> None:
    check_grad_input(suited(case, algorithm), algorithm, isa)


@each_row("conv2d_grad_kernel")
@few
@any_convolution
def test_grad_kernel_of_any_convolution(algorithm: str, isa: str, case: Conv) -> None:
    check_grad_kernel(suited(case, algorithm), algorithm, isa)


SPECIALS = (np.nan, np.inf, -np.inf)
SPECIAL_CASES = [
    Conv(),
    Conv(relu=True, padding="same"),
    Conv((9, 9), 3, 17, strides=(2, 2), padding="same"),
    Conv((9, 9), 6, 4, groups=2, dilation=(2, 2)),
    # which Winograd's method along rows takes
    Conv((9, 12), 3, 17, padding="same", relu=True),
    Conv((19, 16), 3, 33, (7, 7), strides=(2, 2)),
    Conv((11, 19), 2, 5, (5, 4), strides=(2, 1), padding="same"),
]
each_special = pytest.mark.parametrize("special", SPECIALS)
# and, forward, with as many columns as it wants at a stride of 2, and with several strips of tiles a row
FORWARD_CASES = [
    Conv((19, 16), 3, 33, (7, 7), strides=(2, 2), padding="same"),
    Conv((9, 61), 3, 40, padding="same"),
]
each_special_case = pytest.mark.parametrize("case", SPECIAL_CASES, ids=case_id)


@each_special
@pytest.mark.parametrize("case", SPECIAL_CASES + FORWARD_CASES, ids=case_id)
@each_row("conv2d_forward")
def test_forward_passes_nan_and_infinity_on(case: Conv, special: float, algorithm: str, isa: str) -> None:
    x, kernel, bias = data(case)
    x[-1, 4, 5, 1] = x[-1, 4, -3, 1] = special
    expected = forward(case, *double(x, kernel, bias), isa=REFERENCE)
    actual = unless_declined(forward, case, x, kernel, bias, isa=isa, algorithm=algorithm)
    if actual is None:
        return
    assert_same_specials(actual, expected, (case, special, isa))
    assert not np.isfinite(actual).all()


@each_special
@each_special_case
@each_row("conv2d_grad_input")
def test_grad_input_passes_nan_and_infinity_on(case: Conv, special: float, algorithm: str, isa: str) -> None:
    kernel = data(case)[1]
    dy = gradient(case, expected_forward(case)[0].shape)
    dy[-1, 1, 2, 3] = special
    expected = grad_input(case, *double(dy, kernel), isa=REFERENCE)
    actual = unless_declined(grad_input, case, dy, kernel, isa=isa, algorithm=algorithm)
    if actual is None:
        return
    assert_same_specials(actual, expected, (case, special, isa))
    assert not np.isfinite(actual).all()


@each_special
@each_special_case
@each_row("conv2d_grad_kernel")
def test_grad_kernel_passes_nan_and_infinity_on(case: Conv, special: float, algorithm: str, isa: str) -> None:
    x = data(case)[0]
    dy = gradient(case, expected_forward(case)[0].shape)
    dy[-1, 1, 2, 3] = special
    expected = grad_kernel(case, *double(x, dy), isa=REFERENCE)
    actual = unless_declined(grad_kernel, case, x, dy, isa=isa, algorithm=algorithm)
    if actual is None:
        return
    for a, e in zip(actual, expected):
        assert_same_specials(a, e, (case, special, isa))
        assert not np.isfinite(a).all()


@pytest.mark.parametrize("groups", [1, 3])
def test_sizes_that_do_not_fit_are_refused(groups: int) -> None:
    x, kernel, bias = data(replace(Conv(), channels=6, filters=6))
    with pytest.raises(_core.Error, match=r"^conv2d: kernel: expected 6 input channels / \d groups on its third axis"):
        forward(replace(Conv(), groups=groups), x, np.ascontiguousarray(kernel[:, :, :5]), bias)
    with pytest.raises(
        _core.Error, match=r"^conv2d: kernel_size: expected a window of at most 9 x 10, .* received 9 x 11"
    ):
        forward(Conv(dilation=(4, 5)), x, kernel, bias)
    with pytest.raises(
        _core.Error, match=r"^conv2d: groups: expected a divisor of 6 input and 6 output channels, received 4"
    ):
        forward(Conv(groups=4), x, kernel, bias)


SCRATCH: list[dict[str, Any]] = [
    {"size": (5, 5), "channels": 64, "filters": 64},
    {"size": (13, 13), "channels": 32, "filters": 64},
    {"size": (4, 4), "channels": 8, "filters": 300},
    {"size": (6, 5), "channels": 100, "filters": 17},
    {"size": (14, 14), "channels": 256, "filters": 256, "padding": "same"},
    {"size": (9, 30), "channels": 40, "filters": 24, "strides": (2, 2), "padding": "same"},
    {"size": (12, 12), "channels": 64, "filters": 64, "dilation_rate": (2, 2), "padding": "same"},
    {"size": (28, 28), "channels": 1, "filters": 32},
    {"size": (20, 20), "channels": 3, "filters": 24, "padding": "same"},
    {"size": (10, 10), "channels": 32, "filters": 32, "groups": 32, "padding": "same"},
    {"size": (7, 7), "channels": 48, "filters": 96, "groups": 2, "padding": "same"},
    {"size": (7, 7), "channels": 200, "filters": 72, "kernel_size": (1, 1)},
    {"size": (16, 16), "channels": 24, "filters": 24, "kernel_size": (5, 5), "padding": "same"},
]


@pytest.mark.parametrize("direction", ["forward", "pooled forward", "grad_input", "grad_kernel"])
@pytest.mark.parametrize("case", SCRATCH, ids=str)
def test_memory_for_a_batch_serves_every_smaller_one(case: dict[str, Any], direction: str) -> None:
    """A plan's blocks, and the parts of a call that threads share out, may be smaller than what memory was asked for."""
    name, pooled = direction.removeprefix("pooled "), direction.startswith("pooled")
    asked = 0
    for isa in RUNNABLE:
        for algorithm in sorted({algorithm for operation, algorithm, _ in ROWS if operation == f"conv2d_{name}"}):
            options = {"kernel_size": (3, 3), "pooled": pooled, "isa": isa, "algorithm": algorithm, **case}
            try:
                floats = [_core.conv2d_scratch(name, batch, **options) for batch in range(1, 70)]
            except _core.Error as error:
                assert "no kernel" in str(error), error
                continue
            asked += 1
            assert floats == sorted(floats), (isa, algorithm)
    assert asked or pooled


@pytest.mark.parametrize("tile", [2, 3, 4, 5])
@pytest.mark.parametrize("filters", [8, 40, 64, 200])
def test_a_single_tile_has_the_bits_that_it_has_among_others(tile: int, filters: int) -> None:
    """One tile is multiplied by many columns of the weights at once."""
    rng = np.random.default_rng(filters)
    x = rng.standard_normal((3, tile + 2, tile + 2, 21), np.float32)
    kernel = rng.standard_normal((3, 3, 21, filters), np.float32)
    bias = rng.standard_normal(filters, np.float32)
    for isa in (isa for isa in RUNNABLE if is_compiled(f"winograd{tile}", isa)):
        row = {"isa": isa, "algorithm": f"winograd{tile}"}
        all_, one = (_core.conv2d(a, kernel, bias, (1, 1), "valid", (1, 1), 1, True, **row) for a in (x, x[:1]))
        np.testing.assert_array_equal(one, all_[:1])


@pytest.mark.parametrize("tile", [3, 4])
@pytest.mark.parametrize(("batch", "size", "padding"), [(1, 5, "valid"), (16, 5, "valid"), (19, 9, "same")])
def test_lanes_of_tiles_give_the_bits_of_winograd_with_weights_of_its_own(
    tile: int, batch: int, size: int, padding: str
) -> None:
    """The forward pass's transformed weights serve both directions."""
    rng = np.random.default_rng(tile)
    kernel = rng.standard_normal((3, 3, 40, 64), np.float32)
    out = size - 2 if padding == "valid" else size
    dy = rng.standard_normal((batch, out, out, 64), np.float32)
    dy[batch // 2, 0, 0, 3] = np.inf
    for isa in (isa for isa in RUNNABLE if is_compiled(f"winograd{tile}", isa)):
        found = [
            _core.conv2d_grad_input(
                dy,
                kernel,
                (batch, size, size, 40),
                (1, 1),
                padding,
                (1, 1),
                1,
                isa=isa,
                algorithm=f"winograd{tile}{end}",
            )
            for end in ("", "_lanes")
        ]
        np.testing.assert_array_equal(*found)
        assert not np.isfinite(found[0]).all()
