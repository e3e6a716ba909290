"""Scaling, geometry, colours and erasing: every row against the oracle, and the oracle's gradients against the maps
themselves. Coordinates of the maps are multiples of 1/8, exact in float32, so that no pixel is a matter of rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_cases import EPSILON, REFERENCE, assert_within, double, each_row, normal, placed

from fastcnn import _core

SCALES = [
    ((7,), (1,)),
    ((5, 6, 3), (1, 1, 3)),
    ((5, 6, 40), (1, 1, 40)),
    ((4, 5, 3), (4, 1, 3)),
    ((3, 4), (3, 4)),
    ((4, 5), (4, 1)),
]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("kind", ["affine", "normalize", "denormalize"])
@pytest.mark.parametrize(("sample", "shape"), SCALES)
@each_row("scale")
def test_scale_agrees_with_the_oracle(
    sample: Any, shape: Any, kind: str, backward: bool, algorithm: str, isa: str
) -> None:
    rng = np.random.default_rng(len(sample))
    x, a = normal(rng, 3, *sample), normal(rng, *shape)
    b = placed(rng.uniform(0.5, 2, shape))
    b.flat[0] = 1e-9  # below the square of the least deviation
    if kind == "affine":
        b = normal(rng, *shape)
    expected = _core.scale(*double(x, a, b), kind, 1e-3, backward, isa=REFERENCE)
    factor = np.abs(_core.scale(np.ones_like(double(x)[0]), *double(a, b), kind, 1e-3, True, isa=REFERENCE))
    bound = 4 * EPSILON * (factor * (np.abs(x) + np.abs(a)) + np.abs(a) + np.abs(b))
    assert_within(
        _core.scale(x, a, b, kind, 1e-3, backward, isa=isa, algorithm=algorithm), expected, bound, (sample, kind)
    )


def test_scale_keeps_nan_and_infinity() -> None:
    x = np.array([[np.nan, np.inf, -np.inf, 1]], np.float32)
    y = _core.scale(x, np.array([2], np.float32), np.array([1], np.float32), "affine")
    np.testing.assert_array_equal(y, [[np.nan, np.inf, -np.inf, 3]])


# Transforms of images of 6 x 5, and results' sizes: whole and half shifts, a mirror image, and two that leave the image.
TRANSFORMS = {
    "identity": (1, 0, 0, 0, 1, 0),
    "mirrored": (-1, 0, 4, 0, -1, 5),
    "shifted": (1, 0, 2, 0, 1, -1),
    "half": (1, 0, 0.5, 0, 1, -0.25),
    "turned": (0, -1, 5, 1, 0, 0),
    "sheared": (1, 0.25, -1, 0.125, 1, 0.5),
    "stretched": (0.5, 0, 1, 0, 1.75, -2),
    "far": (40, 3, -90, 2, 17, 60),
}


def transforms(*names: str) -> Any:
    return placed(np.array([TRANSFORMS[name] for name in names]))


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "wrap", "reflect"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("channels", [1, 3, 17])
@each_row("warp_forward")
def test_warp_agrees_with_the_oracle(
    channels: int, interpolation: str, fill_mode: str, algorithm: str, isa: str
) -> None:
    x = normal(np.random.default_rng(0), len(TRANSFORMS), 6, 5, channels)
    t = transforms(*TRANSFORMS)
    for size in ((6, 5), (3, 18)):
        arguments = (interpolation, fill_mode, 0.75, size)
        expected = _core.warp(*double(x, t), *arguments, isa=REFERENCE)
        actual = _core.warp(x, t, *arguments, isa=isa, algorithm=algorithm)
        assert_within(actual, expected, 8 * EPSILON * np.abs(x).max() if interpolation == "bilinear" else 0, arguments)


@pytest.mark.parametrize("fill_mode", ["constant", "nearest", "wrap", "reflect"])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("channels", [1, 3])
@each_row("warp_backward")
def test_warp_gradient_is_the_transposed_map(
    channels: int, interpolation: str, fill_mode: str, algorithm: str, isa: str
) -> None:
    rng = np.random.default_rng(1)
    t = transforms(*TRANSFORMS)
    x, dy = normal(rng, len(t), 6, 5, channels), normal(rng, len(t), 4, 7, channels)
    expected = _core.warp_grad(*double(dy, t), (6, 5), interpolation, fill_mode, isa=REFERENCE)
    y = _core.warp(*double(x, t), interpolation, fill_mode, 0.0, (4, 7), isa=REFERENCE)
    np.testing.assert_allclose((y * dy).sum(axis=(1, 2, 3)), (x * expected).sum(axis=(1, 2, 3)), rtol=1e-12, atol=1e-12)
    actual = _core.warp_grad(dy, t, (6, 5), interpolation, fill_mode, isa=isa, algorithm=algorithm)
    assert_within(actual, expected, 64 * EPSILON * np.abs(dy).max(), (interpolation, fill_mode))


@each_row("warp_forward")
def test_whole_shifts_and_mirror_images_copy_every_bit(algorithm: str, isa: str) -> None:
    x = np.full((1, 4, 5, 2), np.nan, np.float32)
    x[0, 1, 2] = (np.inf, 3.5)
    mirrored = _core.warp(x, np.array([[-1, 0, 4, 0, -1, 3]], np.float32), isa=isa, algorithm=algorithm)
    np.testing.assert_array_equal(mirrored, x[:, ::-1, ::-1])
    window = _core.warp(x, np.array([[1, 0, 2, 0, 1, 1]], np.float32), output_size=(2, 3), isa=isa, algorithm=algorithm)
    np.testing.assert_array_equal(window, x[:, 1:3, 2:5])


COLORS = {
    "brightness": [(30, 0), (-200, 0), (0, 0)],
    "contrast": [(1.5, 0), (0.25, 0), (3, 0)],
    "grayscale": [(1, 0), (0, 0), (1, 0)],
    "invert": [(1, 0), (0, 0), (1, 0)],
    "solarize": [(10, 100), (0, 255), (40, 0)],
}


def colors(kind: str, channels: int) -> tuple[Any, Any]:
    x = placed(np.random.default_rng(channels).uniform(-5, 260, (3, 5, 7, channels)))
    return x, placed(np.array(COLORS[kind]))


@pytest.mark.parametrize("channels", [1, 3, 17])
@pytest.mark.parametrize("kind", COLORS)
@each_row("recolor_forward")
def test_recolor_agrees_with_the_oracle(kind: str, channels: int, algorithm: str, isa: str) -> None:
    if kind == "grayscale" and channels > 3:
        pytest.skip("grayscale is of one or three channels")
    x, p = colors(kind, channels)
    expected = _core.recolor(*double(x, p), kind, isa=REFERENCE)
    assert_within(_core.recolor(x, p, kind, isa=isa, algorithm=algorithm), expected, 2000 * EPSILON, kind)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", COLORS)
@each_row("recolor_backward")
def test_recolor_gradient_is_the_derivative(kind: str, channels: int, algorithm: str, isa: str) -> None:
    x, p = colors(kind, channels)
    rng = np.random.default_rng(5)
    dy = normal(rng, *x.shape)
    expected = _core.recolor_grad(*double(x, dy, p), kind, isa=REFERENCE)
    assert_within(_core.recolor_grad(x, dy, p, kind, isa=isa, algorithm=algorithm), expected, 64 * EPSILON, kind)
    direction = rng.standard_normal(x.shape) * 1e-6
    above, below = (_core.recolor(x + s * direction, double(p)[0], kind, isa=REFERENCE) for s in (0.5, -0.5))
    assert ((above - below) * dy).sum() == pytest.approx((expected * direction).sum(), rel=1e-5)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("fill", [None, (1.0, 2.0, 3.0)])
@each_row("erase")
def test_erase_agrees_with_the_oracle(fill: Any, backward: bool, algorithm: str, isa: str) -> None:
    x = normal(np.random.default_rng(2), 4, 9, 8, 3)
    boxes = placed(np.array([(0, 0, 0, 0), (2, 5, 1, 8), (0, 9, 0, 8), (8, 9, 7, 8)]))
    noise = {"deviation": 0.5, "value_range": (-0.6, 0.7), "seed": 7, "layer": 3, "step": 2, "first_sample": 5}
    values = None if fill is None else np.array(fill, np.float32)
    expected = _core.erase(
        *double(x, boxes), None if fill is None else np.array(fill), **noise, backward=backward, isa=REFERENCE
    )
    actual = _core.erase(x, boxes, values, **noise, backward=backward, isa=isa, algorithm=algorithm)
    assert_within(actual, expected, 1e-6, (fill, backward))
    outside = np.ones(x.shape, bool)
    for image, (top, bottom, left, right) in zip(outside, boxes.astype(int)):
        image[top:bottom, left:right] = False
    np.testing.assert_array_equal(actual[outside], np.asarray(x)[outside])
    if fill is None and not backward:
        assert len(np.unique(actual[2])) > 100  # and clipped, no number comes twice
