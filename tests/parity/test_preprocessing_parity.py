"""Layers on images that are random while training, against Keras: the same change from the same numbers, pixel by pixel; the
numbers' distribution; configurations. And `Normalization.adapt`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn
from fastcnn import _core
from fastcnn._network import ParameterList

torch = pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
keras = pytest.importorskip("keras", reason="needs Keras, which .[parity] installs")

HEIGHT, WIDTH, SAMPLES = 9, 12, 24
Numbers = NDArray[np.float32]


def column(values: Any) -> Any:
    return torch.tensor(np.asarray(values, np.float32).reshape(-1, 1))


def image(values: Any) -> Any:
    return torch.tensor(np.asarray(values, np.float32).reshape(-1, 1, 1, 1))


def turn(layer: Any, n: Numbers) -> Any:
    angle = torch.tensor(np.degrees(np.arctan2(n[:, 3], n[:, 0])))
    none, one = torch.zeros(len(n)), torch.ones(len(n))
    matrix = layer._compute_affine_matrix(0.5, 0.5, angle, none, none, one, none, none, HEIGHT, WIDTH)
    return {"rotation_matrix": matrix}


def box(layer: Any, n: Numbers) -> Any:
    rows, columns = np.arange(HEIGHT)[None, :, None, None], np.arange(WIDTH)[None, None, :, None]
    top, bottom, left, right = (n[:, i].reshape(-1, 1, 1, 1) for i in range(4))
    mask = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    channels = np.zeros((1, 1, 1, 3), bool)
    return {
        "apply_erasing": torch.ones(len(n), dtype=torch.bool),
        "batch_masks": torch.tensor(mask | channels),
        "fill_value": layer._get_fill_value(torch.zeros(1, 1, 1, 3), (1, 1, 1, 3), None),
    }


def solarized(layer: Any, n: Numbers) -> Any:
    low, high = layer.value_range
    unit = 255 / (high - low)
    return {"additions": image(n[:, 0] * unit), "thresholds": image((n[:, 1] - low) * unit)}


# From a sample's numbers, as the kernel gets them, to Keras's transformation: two independent derivations of the same change.
TRANSFORMATIONS: dict[str, Callable[[Any, Numbers], Any]] = {
    "RandomFlip": lambda _, n: {"flips": image(n[:, 0] + n[:, 4] < 2) == 1},
    "RandomRotation": turn,
    "RandomTranslation": lambda _, n: {"translations": torch.tensor(-n[:, [2, 5]])},
    "RandomZoom": lambda _, n: {"width_zoom": column(n[:, 0]), "height_zoom": column(n[:, 4])},
    "RandomShear": lambda _, n: {"shear_factor": torch.tensor(n[:, [1, 3]])},
    "RandomCrop": lambda _, n: (int(n[0, 5]), int(n[0, 2])),
    "RandomBrightness": lambda _, n: {"rgb_delta": image(n[:, 0])},
    "RandomContrast": lambda _, n: {"contrast_factor": image(n[:, 0])},
    "RandomGrayscale": lambda _, n: image(n[:, 0]) == 1,
    "RandomInvert": lambda _, n: {"apply_inversion": torch.tensor(n[:, 0] == 1)},
    "Solarization": solarized,
    "RandomErasing": box,
}
MODES = ("constant", "nearest", "wrap", "reflect")
FILLS = [{"fill_mode": mode, "interpolation": i} for mode in MODES for i in ("bilinear", "nearest")]
CASES: list[tuple[str, dict[str, Any]]] = [
    *[("RandomFlip", {"mode": mode}) for mode in ("horizontal", "vertical", "horizontal_and_vertical")],
    *[("RandomRotation", {"factor": 0.4, "fill_value": 9.0, **fill}) for fill in FILLS],
    ("RandomRotation", {"factor": (0.1, 0.2)}),
    *[
        ("RandomTranslation", {"height_factor": 0.9, "width_factor": (-0.7, 0.3), "fill_value": -20.0, **fill})
        for fill in FILLS
    ],
    *[("RandomZoom", {"height_factor": (-0.6, 0.9), "width_factor": 0.5, **fill}) for fill in FILLS],
    ("RandomZoom", {"height_factor": 0.5}),
    *[("RandomShear", {"x_factor": 0.8, "y_factor": (0.1, 0.5), **fill}) for fill in FILLS],
    ("RandomCrop", {"height": 5, "width": 7}),
    ("RandomBrightness", {"factor": 0.7}),
    ("RandomBrightness", {"factor": (0.2, 0.4), "value_range": (-50, 150)}),
    ("RandomContrast", {"factor": (0.4, 0.9)}),
    ("RandomContrast", {"factor": 0.5, "value_range": (0, 200)}),
    ("RandomGrayscale", {}),
    ("RandomInvert", {"value_range": (0, 200)}),
    ("Solarization", {"addition_factor": 0.3, "threshold_factor": (0.2, 0.9)}),
    ("Solarization", {"addition_factor": (0.1, 0.2), "threshold_factor": 0.5, "value_range": (-10, 300)}),
    ("RandomErasing", {"fill_value": 7.5}),
    ("RandomErasing", {"fill_value": (1, 300, -2), "scale": (0.2, 0.9), "factor": (0.5, 1)}),
]
each_case = pytest.mark.parametrize(
    ("name", "arguments"), CASES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(CASES)]
)


def pair(name: str, arguments: dict[str, Any], **more: Any) -> tuple[Any, Any]:
    settings = dict(arguments, name="mine", **more)
    if name != "RandomGrayscale" or "seed" in more:
        settings.setdefault("seed", 11)
    return getattr(fastcnn.layers, name)(**settings), getattr(keras.layers, name)(**settings)


def images(n: int = SAMPLES) -> NDArray[np.float32]:
    return np.random.default_rng(3).uniform(0, 255, (n, HEIGHT, WIDTH, 3)).astype(np.float32)


def drawn(layer: Any, n: int, shape: tuple[int, ...] = (HEIGHT, WIDTH, 3)) -> Numbers:
    """What the layer draws in its first call."""
    layer.build((None, *shape))
    graph = _core.Graph(shape)
    layer.append_to(graph, ParameterList())
    return _core.draw_numbers(graph, 0, n)


@each_case
def test_the_same_numbers_change_images_as_in_keras(name: str, arguments: Any) -> None:
    ours, theirs = pair(name, arguments)
    x = images()
    numbers = drawn(ours, SAMPLES)
    transformation = TRANSFORMATIONS[name](theirs, numbers)
    expected = theirs.transform_images(torch.tensor(x), transformation, training=True).numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=0, atol=2e-3)  # of values up to 255
    assert not np.array_equal(ours(x), expected), "the next call draws other numbers"


@each_case
def test_gradients(name: str, arguments: Any) -> None:
    """By the layer's input, of a random weighting of its output: the plan's backward pass against automatic derivatives."""
    ours, theirs = pair(name, arguments)
    x = images()
    n = len(x)
    below = fastcnn.layers.Dense(x[0].size, use_bias=False)
    model = fastcnn.Sequential(
        [fastcnn.Input((n,)), below, fastcnn.layers.Reshape(x.shape[1:]), ours, fastcnn.layers.Flatten()]
    )
    below.set_weights([x.reshape(n, -1)])
    y = np.random.default_rng(4).uniform(0, 255, (n, *model.output_shape[1:])).astype(np.float32)
    trainer = _core.Trainer(
        model._current_network().native, {"kind": "mean_squared_error"}, [], None, [(0.0, 0.0)], [True]
    )
    found = trainer.gradients(np.eye(n, dtype=np.float32), y, None, 0)[0].reshape(x.shape)
    inputs = torch.tensor(x, requires_grad=True)
    graph = _core.Graph((HEIGHT, WIDTH, 3))
    ours.append_to(graph, ParameterList())
    # The step before is the dense layer's.
    transformation = TRANSFORMATIONS[name](theirs, _core.draw_numbers(graph, 0, n, layer=1))
    outputs = theirs.transform_images(inputs * 1.0, transformation, training=True)
    ((outputs.reshape(n, -1) - torch.tensor(y)) ** 2).mean().backward()
    expected = inputs.grad.numpy()
    scale = np.abs(expected).max()
    assert np.quantile(np.abs(found - expected), 0.999) < 1e-4 * scale
    assert scale > 0


# How much is drawn, from Keras's transformation, to compare distributions; from ours, the same.
DRAWS: dict[str, tuple[Callable[[Any], Any], Callable[[Numbers], Any]]] = {
    "RandomFlip": (lambda t: t["flips"], lambda n: n[:, 0] + n[:, 4] < 2),
    "RandomRotation": (lambda t: t["angle"], lambda n: np.degrees(np.arctan2(n[:, 3], n[:, 0]))),
    "RandomTranslation": (lambda t: t["translations"], lambda n: -n[:, [2, 5]]),
    "RandomZoom": (lambda t: torch.cat([t["width_zoom"], t["height_zoom"]], 1), lambda n: n[:, [0, 4]]),
    "RandomShear": (lambda t: t["shear_factor"], lambda n: n[:, [1, 3]]),
    "RandomBrightness": (lambda t: t["rgb_delta"], lambda n: n[:, 0]),
    "RandomContrast": (lambda t: t["contrast_factor"], lambda n: n[:, 0]),
    "RandomGrayscale": (lambda t: t, lambda n: n[:, 0]),
    "RandomInvert": (lambda t: t["apply_inversion"], lambda n: n[:, 0]),
    "Solarization": (lambda t: torch.cat([t["additions"], t["thresholds"]], 1), lambda n: n),
    "RandomErasing": (
        lambda t: (t["batch_masks"][..., 0] & t["apply_erasing"][:, None, None]).float().mean(dim=(1, 2)),
        lambda n: (n[:, 1] - n[:, 0]) * (n[:, 3] - n[:, 2]) / (16 * 16),
    ),
}


# Interpolation and filling are drawn from nothing.
DRAWN = [
    (name, arguments)
    for name, arguments in CASES
    if name in DRAWS and arguments.get("fill_mode", "wrap") == "wrap" and "fill_value" not in arguments
]
DRAWN += [
    ("RandomErasing", {"fill_value": 1, "factor": (0.3, 0.9)}),
    ("RandomTranslation", {"height_factor": 0.1, "width_factor": (0, 0.3)}),
]


@pytest.mark.parametrize(("name", "arguments"), DRAWN)
def test_numbers_are_distributed_as_in_keras(name: str, arguments: Any) -> None:
    ours, theirs = pair(name, {k: v for k, v in arguments.items() if k != "value_range"})
    n = 6000
    of_theirs, of_ours = DRAWS[name]
    shape = (16, 16, 3)
    expected = np.asarray(of_theirs(theirs.get_random_transformation(torch.zeros(n, *shape), training=True))).reshape(
        n, -1
    )
    found = np.asarray(of_ours(drawn(ours, n, shape))).reshape(n, -1)
    for a, b in zip(found.T.astype(float), expected.T.astype(float)):
        # Kolmogorov and Smirnov's distance: 1.63 sqrt(2 / n) is passed once in a hundred times, and the seed is fixed.
        at = np.unique(np.concatenate([a, b]))
        distance = np.abs(np.searchsorted(np.sort(a), at, "right") - np.searchsorted(np.sort(b), at, "right")).max() / n
        assert distance < 1.63 * np.sqrt(2 / n)
        assert np.ptp(a) > 0
    if found.shape[1] == 2:
        theirs_r, ours_r = (np.corrcoef(v.T.astype(float))[0, 1] for v in (expected, found))
        assert theirs_r == pytest.approx(ours_r, abs=0.06)


def test_a_crop_is_anywhere_and_the_same_for_a_batch() -> None:
    layer = fastcnn.layers.RandomCrop(3, 9, seed=1)
    layer.build((None, 5, 10, 1))
    graph = _core.Graph((5, 10, 1))
    layer.append_to(graph, ParameterList())
    places = [_core.draw_numbers(graph, 0, 4, step=step)[:, [5, 2]] for step in range(600)]
    assert all((p == p[0]).all() for p in places)
    found, counts = np.unique([p[0] for p in places], axis=0, return_counts=True)
    assert found.tolist() == [[i, j] for i in range(3) for j in range(2)]
    assert counts.min() > 60


@each_case
def test_configuration(name: str, arguments: Any) -> None:
    for data_format in ("channels_last", "channels_first"):
        ours, theirs = pair(name, arguments, data_format=data_format, trainable=False)
        mine, expected = ours.get_config(), theirs.get_config()
        assert mine.keys() == expected.keys()
        for key in expected.keys() - {"dtype"}:
            assert mine[key] == expected[key], key
        again = type(ours).from_config(mine)
        assert again.get_config() == mine


@each_case
def test_defaults_are_keras_s(name: str, arguments: Any) -> None:
    needed = {"RandomRotation": {"factor": 0.1}, "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1}}
    needed |= {"RandomZoom": {"height_factor": 0.1}, "RandomCrop": {"height": 2, "width": 2, "seed": 5}}
    needed |= {key: {"factor": 0.1} for key in ("RandomBrightness", "RandomContrast")}
    settings = {**needed.get(name, {}), "name": "mine"}
    mine, expected = (getattr(p.layers, name)(**settings).get_config() for p in (fastcnn, keras))
    assert {k: v for k, v in mine.items() if k != "dtype"} == {k: v for k, v in expected.items() if k != "dtype"}


@each_case
def test_inference_changes_nothing_and_a_single_image_is_a_batch_of_one(name: str, arguments: Any) -> None:
    ours, theirs = pair(name, arguments)
    x = images()
    if name != "RandomCrop":
        np.testing.assert_array_equal(ours(x, training=False), x)
        np.testing.assert_array_equal(theirs(torch.tensor(x), training=False).numpy(), x)
    twin = type(ours).from_config({**ours.get_config(), **({} if name != "RandomGrayscale" else {"factor": 1.0})})
    other = type(ours).from_config({**ours.get_config(), **({} if name != "RandomGrayscale" else {"factor": 1.0})})
    np.testing.assert_array_equal(twin(x[0]), other(x[:1])[0])


@each_case
def test_channels_first_is_the_same_change(name: str, arguments: Any) -> None:
    if name == "RandomGrayscale":
        arguments = {**arguments, "seed": 3}
    cls = getattr(fastcnn.layers, name)
    settings = {"seed": 3, **arguments}
    last, first = (cls(**settings, data_format=data_format) for data_format in ("channels_last", "channels_first"))
    x = images()
    # The plan's first step is then a permutation, and the second is what draws.
    y = fastcnn.Sequential([fastcnn.layers.Permute((3, 1, 2)), fastcnn.layers.Permute((2, 3, 1)), last])(
        x, training=True
    )
    found = fastcnn.Sequential([fastcnn.layers.Permute((3, 1, 2)), first, fastcnn.layers.Permute((2, 3, 1))])(
        x, training=True
    )
    np.testing.assert_array_equal(found, y)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("RandomRotation", {"factor": 2}),
    ("RandomRotation", {"factor": (0.1, 0.2, 0.3)}),
    ("RandomRotation", {"factor": 0.1, "fill_mode": "mirror"}),
    ("RandomRotation", {"factor": 0.1, "interpolation": "bicubic"}),
    ("RandomTranslation", {"height_factor": 1.5, "width_factor": 0}),
    ("RandomTranslation", {"height_factor": "far", "width_factor": 0}),
    ("RandomZoom", {"height_factor": -1}),
    ("RandomShear", {"x_factor": 1.5}),
    ("RandomBrightness", {"factor": -3}),
    ("RandomBrightness", {"factor": 0.1, "value_range": 255}),
    ("RandomContrast", {"factor": 1.5}),
    ("RandomGrayscale", {"factor": 1.5}),
    ("RandomErasing", {"factor": 1.5}),
    ("RandomErasing", {"scale": (0.1, 0.2, 0.3)}),
    ("RandomInvert", {"factor": -0.5}),
    ("Solarization", {"addition_factor": 1.5}),
    ("Normalization", {"mean": 1.0}),
    ("Normalization", {"mean": [1.0, 2.0], "variance": 1.0}),
    ("Normalization", {"mean": [[1.0, 2.0]], "variance": [[1.0, 2.0]]}),
]


@pytest.mark.parametrize(("name", "arguments"), WRONG)
def test_wrong_arguments_raise_kerass_type_of_error(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(Exception) as theirs:
        getattr(keras.layers, name)(**arguments)
    with pytest.raises(theirs.type, match=rf"^{name}: \w+(, \w+)?: expected .*, received "):
        getattr(fastcnn.layers, name)(**arguments)


# --- scaling and sizes, the same in training and at inference ---------------------------------------------------------

SIZES = [(9, 12), (5, 7), (4, 20), (30, 11), (18, 24)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"interpolation": "nearest"},
        {"antialias": True},
        {"crop_to_aspect_ratio": True},
        {"pad_to_aspect_ratio": True},
        {"pad_to_aspect_ratio": True, "fill_value": 40.0, "interpolation": "nearest"},
        {"pad_to_aspect_ratio": True, "fill_value": 40.0, "antialias": True},
    ],
    ids=str,
)
def test_resizing(size: tuple[int, int], arguments: dict[str, Any]) -> None:
    x = images(3)
    ours, theirs = (package.layers.Resizing(*size, **arguments) for package in (fastcnn, keras))
    expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-4)
    first = fastcnn.layers.Resizing(*size, data_format="channels_first", **arguments)
    np.testing.assert_array_equal(first(x.transpose(0, 3, 1, 2)), ours(x).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos3", "lanczos5"])
def test_resizing_has_the_weights_of_kerass_other_backends(
    size: tuple[int, int], antialias: bool, interpolation: str
) -> None:
    x = images(2)
    ours = fastcnn.layers.Resizing(*size, interpolation=interpolation, antialias=antialias)
    scale = torch.tensor([size[0] / HEIGHT, size[1] / WIDTH])
    expected = keras.ops.image.scale_and_translate(
        torch.tensor(x), (2, *size, 3), scale, torch.zeros(2), (1, 2), interpolation, antialias
    )
    np.testing.assert_allclose(ours(x), expected.numpy(), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("size", SIZES)
def test_center_crop(size: tuple[int, int]) -> None:
    x = images(2)
    ours, theirs = (package.layers.CenterCrop(*size) for package in (fastcnn, keras))
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).numpy(), rtol=1e-5, atol=1e-4)
    # At inference RandomCrop keeps to what Keras documents.
    crop = fastcnn.layers.RandomCrop(*size)(x, training=False)
    expected = keras.ops.image.resize(torch.tensor(x), size, crop_to_aspect_ratio=True).numpy()
    np.testing.assert_allclose(crop, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("scale", "offset", "shape"),
    [
        (1 / 255, 0.0, (4, 3)),
        (2, -1.5, (5,)),
        ([1.0, 2.0, 3.0], 0.5, (2, 4, 3)),
        ([[1.0], [2.0]], [0.0, 1.0, 2.0], (2, 3)),
    ],
)
def test_rescaling(scale: Any, offset: Any, shape: Any) -> None:
    x = np.random.default_rng(0).integers(0, 255, (4, *shape)).astype(np.uint8)
    ours, theirs = (package.layers.Rescaling(scale, offset, name="mine") for package in (fastcnn, keras))
    np.testing.assert_array_equal(ours(x), theirs(torch.tensor(x)).numpy())
    mine, expected = ours.get_config(), theirs.get_config()
    assert {k: v for k, v in mine.items() if k != "dtype"} == {k: v for k, v in expected.items() if k != "dtype"}
    with_array = keras.layers.Rescaling(np.array(scale, np.float32), offset).get_config()
    del with_array["dtype"]
    np.testing.assert_array_equal(fastcnn.layers.Rescaling.from_config(with_array)(x), ours(x))


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", [-1, 1, (1, 3), (-2, -1), None])
def test_normalization_adapts_as_in_keras(axis: Any, invert: bool) -> None:
    x = images(50) * np.array([1, 2, 0], np.float32) + 5  # the last channel is constant
    batches = ((x[i : i + 7], None) for i in range(0, 50, 7))
    for data in (x, [x[:20], x[20:]], batches, x.astype(np.uint8)):
        ours, theirs = (
            package.layers.Normalization(axis=axis, invert=invert, name="mine") for package in (fastcnn, keras)
        )
        ours.adapt(data)
        # Keras needs TensorFlow to look at batches.
        theirs.adapt(data if isinstance(data, np.ndarray) else x)
        for mine, expected in zip(ours.weights, theirs.weights):
            assert (mine.name, mine.shape, mine.trainable) == (expected.name, tuple(expected.shape), expected.trainable)
            np.testing.assert_allclose(mine.numpy(), expected.numpy(), rtol=2e-4, atol=1e-3)
        ours.set_weights([np.asarray(w) for w in theirs.get_weights()])
        mine, expected = ours(x), theirs(torch.tensor(x)).numpy()
        varying = ours.variance > 1e-3
        np.testing.assert_allclose(
            np.where(varying, mine, 0),
            np.where(varying, expected, 0),
            rtol=1e-4,
            atol=1e-4 * np.abs(expected[..., :2]).max(),
        )
        np.testing.assert_allclose(ours.mean, theirs.mean.numpy())
    mine, expected = ours.get_config(), theirs.get_config()
    assert {k: v for k, v in mine.items() if k != "dtype"} == {k: v for k, v in expected.items() if k != "dtype"}


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize(
    ("axis", "mean", "variance"),
    [
        (-1, 3.0, 2.0),
        (-1, [1.0, 2.0, 3.0], [4.0, 5.0, 0.0]),
        (None, 1.0, 4.0),
        ((2, 3), [[1.0, 2.0, 3.0]] * 12, [[4.0, 5.0, 6.0]] * 12),
        ((2, 3), [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]),
    ],
)
def test_normalization_with_numbers(axis: Any, mean: Any, variance: Any, invert: bool) -> None:
    x = images(3)
    ours, theirs = (
        package.layers.Normalization(axis=axis, mean=mean, variance=variance, invert=invert)
        for package in (fastcnn, keras)
    )
    np.testing.assert_allclose(ours(x), theirs(torch.tensor(x)).numpy(), rtol=1e-5, atol=1e-5)
    assert ours.weights == []
    again = fastcnn.layers.Normalization.from_config(ours.get_config())
    np.testing.assert_array_equal(again(x), ours(x))
    np.testing.assert_allclose(ours.mean, theirs.mean.numpy())


def test_pipeline_has_kerass_configuration() -> None:
    ours, theirs = (
        package.layers.Pipeline(
            [package.layers.RandomFlip(name="a"), package.layers.Rescaling(2.0, name="b")], name="mine"
        )
        for package in (fastcnn, keras)
    )
    mine, expected = ours.get_config(), theirs.get_config()
    assert mine.keys() == expected.keys() and mine["name"] == expected["name"]
    for a, b in zip(mine["layers"], expected["layers"]):
        assert a["class_name"] == b["class_name"] and a["config"].keys() == b["config"].keys()


def test_kerass_files_of_models_that_prepare_images(tmp_path: Any) -> None:
    x = images()
    normalization = keras.layers.Normalization()
    normalization.adapt(x)
    theirs = keras.Sequential(
        [
            keras.Input((HEIGHT, WIDTH, 3)),
            keras.layers.Rescaling(0.5, offset=-1.0),
            normalization,
            keras.layers.RandomFlip("horizontal", seed=1),
            keras.layers.RandomRotation(0.1),
            keras.layers.RandomZoom(0.1, 0.2),
            keras.layers.RandomErasing(),
            keras.layers.CenterCrop(6, 6),
            keras.layers.Resizing(8, 8),
            keras.layers.Conv2D(2, 3),
        ]
    )
    theirs.save(tmp_path / "theirs.keras")
    ours = fastcnn.models.load_model(tmp_path / "theirs.keras")
    expected = theirs.predict(x, verbose=0)
    np.testing.assert_allclose(ours.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-3)
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-3)
