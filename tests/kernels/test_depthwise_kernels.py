"""Depthwise convolution: its own rows against the oracle, where blocks, borders and vectors of channels end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases import (
    COVERED,
    REFERENCE,
    RUNNABLE,
    assert_relative_l2,
    assert_same_specials,
    double,
    placed,
)
from test_convolution_kernels import (
    Conv,
    check_forward,
    check_grad_input,
    check_grad_kernel,
    data,
    expected_forward,
    forward,
    grad_input,
    grad_kernel,
    gradient,
)

from fastcnn import _core

ALGORITHM = "depthwise"
each_level = pytest.mark.parametrize("isa", RUNNABLE)
each_check = pytest.mark.parametrize("check", [check_forward, check_grad_input, check_grad_kernel])


def depthwise(channels: int, multiplier: int = 1, **settings_: Any) -> Conv:
    """`channels` groups of one input and `multiplier` output channels."""
    return Conv(channels=channels, filters=channels * multiplier, groups=channels, **settings_)


CASES = [
    *(depthwise(n, padding=p) for n in (2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64, 100, 128) for p in ("same", "valid")),
    *(depthwise(n, m, padding="same") for n in (2, 3, 8, 17) for m in (2, 3, 4)),
    # widths around the blocks of results
    *(depthwise(17, size=(4, width), padding="same", batch=1) for width in (*range(1, 18), 22, 28, 31)),
    *(depthwise(17, size=(6, w), kernel=(5, 5), strides=(2, 2), padding="same") for w in (*range(5, 18), 29)),
    # windows
    *(
        depthwise(n, size=(13, 16), kernel=(k, k), padding=p, strides=s)
        for n in (5, 19)
        for k in (1, 2, 3, 5, 7)
        for p in ("same", "valid")
        for s in ((1, 1), (2, 2), (3, 1), (1, 3))
    ),
    depthwise(20, kernel=(1, 3), padding="same"),
    depthwise(20, kernel=(4, 3), padding="same", relu=True),
    depthwise(20, kernel=(7, 5), padding="same", bias=False),
    depthwise(20, size=(3, 2), kernel=(7, 7), padding="same"),
    *(depthwise(20, size=(15, 14), dilation=d, padding=p) for d in ((2, 2), (1, 3), (3, 1)) for p in ("same", "valid")),
    *(
        depthwise(6, size=(15, 14), strides=s, dilation=(2, 3), padding="same")
        for s in ((2, 2), (3, 3), (4, 2), (2, 6))
    ),
    # strips of the kernel's gradient
    depthwise(18, size=(30, 70), batch=1),
    depthwise(34, size=(40, 9), batch=3, padding="same"),
]


@each_level
@each_check
def test_agrees_with_the_oracle(check: Any, isa: str) -> None:
    for case in CASES:
        assert check(case, ALGORITHM, isa), f"declined {case}"


@st.composite
def convolutions(draw: st.DrawFn) -> Conv:
    pairs = st.tuples
    return depthwise(
        draw(st.integers(2, 40)),
        draw(st.sampled_from((1, 1, 1, 2, 3))),
        size=draw(pairs(st.integers(1, 12), st.integers(1, 33))),
        kernel=draw(pairs(st.integers(1, 7), st.integers(1, 7))),
        strides=draw(pairs(st.integers(1, 4), st.integers(1, 4))),
        padding=draw(st.sampled_from(("valid", "same"))),
        dilation=draw(pairs(st.integers(1, 3), st.integers(1, 3))),
        batch=draw(st.integers(1, 3)),
        relu=draw(st.booleans()),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 999)),
    )


@each_level
@each_check
@settings(max_examples=80)
@given(case=convolutions().filter(lambda case: case.fits))
def test_any_depthwise_convolution(check: Any, isa: str, case: Conv) -> None:
    assert check(case, ALGORITHM, isa), f"declined {case}"


@pytest.mark.parametrize("operation", ["conv2d_forward", "conv2d_grad_input", "conv2d_grad_kernel"])
def test_the_rows_are_in_the_table(operation: str) -> None:
    assert operation in COVERED
    assert {isa for name, algorithm, isa in _core.rows() if (name, algorithm) == (operation, ALGORITHM)} >= set(
        RUNNABLE
    )


@each_level
@pytest.mark.parametrize("channels", [16, 64, 100, 128])
def test_where_an_image_starts_in_memory_does_not_change_the_result(channels: int, isa: str) -> None:
    case = depthwise(channels, padding="same", relu=True)
    x, kernel, bias = data(case)
    dy = gradient(case, expected_forward(case)[0].shape)
    where = {"isa": isa, "algorithm": ALGORITHM}
    results = []
    for offset in (0, 1, 4, 15):
        images = []
        for image in (x, dy):
            buffer = np.full(image.size + 32, np.nan, np.float32)
            first = -buffer.ctypes.data // 4 % 16 + offset
            images.append(buffer[first : first + image.size].reshape(image.shape))
            images[-1][...] = image
        results.append(
            (
                forward(case, images[0], kernel, bias, **where),
                grad_input(case, images[1], kernel, **where),
                *grad_kernel(case, *images, **where),
            )
        )
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@each_level
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "case",
    [
        depthwise(19, padding="same"),
        depthwise(5, padding="same"),
        depthwise(19, kernel=(5, 5), strides=(2, 2), padding="same"),
        depthwise(19, 2, dilation=(2, 2), padding="same"),
    ],
    ids=["3x3", "few channels", "5x5 stride 2", "dilation 2"],
)
def test_specials_go_where_the_oracle_has_them_in_corners_too(case: Conv, special: float, isa: str) -> None:
    where = {"isa": isa, "algorithm": ALGORITHM}
    clean, kernel, bias = data(case)
    clean_dy = gradient(case, expected_forward(case)[0].shape)
    for y, x_ in ((0, 0), (0, -1), (-1, 0), (-1, -1), (2, 3)):
        x, dy = placed(clean), placed(clean_dy)
        x[-1, y, x_, 1] = dy[-1, y, x_, 1] = special
        pairs = [
            (forward(case, x, kernel, bias, **where), forward(case, *double(x, kernel, bias), isa=REFERENCE)),
            (grad_input(case, dy, kernel, **where), grad_input(case, *double(dy, kernel), isa=REFERENCE)),
            *zip(grad_kernel(case, clean, dy, **where), grad_kernel(case, *double(clean, dy), isa=REFERENCE)),
        ]
        for actual, expected in pairs:
            assert_same_specials(actual, expected, (case, special, (y, x_), isa))
            assert not np.isfinite(actual).all()


@each_level
def test_padding_is_not_multiplied_by_the_kernel(isa: str) -> None:
    case = depthwise(18, padding="same")
    x, kernel, bias = data(case)
    kernel[0, 0] = np.inf  # above and left of the image for the first row and column
    actual = forward(case, x, kernel, bias, isa=isa, algorithm=ALGORITHM)
    assert np.isfinite(actual[:, 0]).all() and np.isfinite(actual[:, :, 0]).all()
    assert not np.isfinite(actual[:, 1:, 1:]).any()


@each_level
@pytest.mark.parametrize("kernel", [(3, 3), (5, 5), (4, 4)])
def test_long_sums_of_the_kernels_gradient_keep_their_digits(kernel: tuple[int, int], isa: str) -> None:
    case = depthwise(16, size=(112, 112), kernel=kernel, padding="same", batch=4)
    rng = np.random.default_rng(0)
    # All of one sign: an error of the running sum would add up.
    x, dy = (rng.random((4, 112, 112, 16), np.float32) for _ in range(2))
    expected = grad_kernel(case, *double(x, dy), isa=REFERENCE)
    for a, e in zip(grad_kernel(case, x, dy, isa=isa, algorithm=ALGORITHM), expected):
        assert_relative_l2(a, e, 1e-6, (case, isa))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (Conv(), "not depthwise"),
        (Conv(channels=6, filters=6, groups=2), "not depthwise"),
        (Conv(channels=1, filters=6), "not depthwise"),
        (depthwise(2, 17), "depth multiplier exceeds"),
    ],
    ids=["ordinary", "groups", "one channel", "multiplier"],
)
def test_what_it_does_not_serve_is_declined_with_the_reason(case: Conv, reason: str) -> None:
    x, kernel, bias = data(case)
    dy = gradient(case, expected_forward(case)[0].shape)
    calls = (
        lambda **where: forward(case, x, kernel, bias, **where),
        lambda **where: grad_input(case, dy, kernel, **where),
        lambda **where: grad_kernel(case, x, dy, **where),
    )
    for call in calls:
        with pytest.raises(_core.Error, match=f"{ALGORITHM}: {reason}"):
            call(isa="baseline", algorithm=ALGORITHM)


def test_a_gradient_of_more_phases_than_it_has_room_for_is_declined() -> None:
    case = depthwise(5, size=(4, 20), kernel=(3, 3), strides=(1, 9))
    dy = gradient(case, expected_forward(case)[0].shape)
    with pytest.raises(_core.Error, match=f"{ALGORITHM}: stride exceeds 8"):
        grad_input(case, dy, data(case)[1], isa="baseline", algorithm=ALGORITHM)
    assert check_grad_input(case, "", "")
