"""Models with layers that prepare and change images: the same bits on any number of threads, nothing random at inference,
images read as they are, state saved."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn as keras
from fastcnn import _core, layers

pytestmark = pytest.mark.isa


def pictures(n: int = 80, shape: tuple[int, ...] = (14, 13, 3)) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Dark ones and bright ones."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (n, 1))
    x = rng.integers(0, 140, (n, *shape)) + 100 * y.reshape(-1, 1, 1, 1)
    return x.astype(np.uint8), y.astype(np.float32)


def augmented(*more: Any) -> Any:
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((14, 13, 3)),
            layers.Rescaling(1 / 255),
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            *more,
            layers.Conv2D(6, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def disturbing() -> list[Any]:
    return [
        layers.RandomTranslation(0.2, 0.2, fill_mode="constant"),
        layers.RandomZoom(0.2, interpolation="nearest"),
        layers.RandomBrightness(0.2, value_range=(0, 1)),
        layers.RandomContrast(0.3, value_range=(0, 1)),
        layers.RandomGrayscale(),
        layers.BatchNormalization(),
        layers.RandomErasing(value_range=(-1, 1)),
        layers.RandomCrop(12, 11, seed=5),  # its seed is drawn when it is made, before the model seeds
    ]


@pytest.mark.parametrize("more", [list, disturbing])
def test_training_gives_the_same_bits_on_any_number_of_threads(more: Any) -> None:
    x, y = pictures()
    found = []
    for threads in (1, 2, 3, 8):
        _core.set_num_threads(threads)
        model = augmented(*more())
        history = model.fit(x, y, batch_size=32, epochs=2, verbose=0)
        found.append([*model.get_weights(), np.array(history.history["loss"]), model.predict(x, verbose=0)])
    _core.set_num_threads(0)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


def test_a_model_with_random_layers_learns_and_is_not_random_at_inference() -> None:
    x, y = pictures()
    model = augmented()
    model.compile(keras.optimizers.Adam(0.03), "binary_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=40, batch_size=16, verbose=0)
    first = model.evaluate(x, y, verbose=0)
    assert first == model.evaluate(x, y, verbose=0)
    assert first[1] > 0.9
    assert not np.array_equal(model(x, training=True), model(x, training=True))
    np.testing.assert_array_equal(model.predict(x, verbose=0), model(x))


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    x, y = pictures()

    def weights(seed: int | None) -> list[Any]:
        model = augmented(layers.RandomTranslation(0.3, 0.3, seed=seed))
        model.fit(x, y, epochs=1, verbose=0)
        return [w.tobytes() for w in model.get_weights()]

    assert weights(1) == weights(1) != weights(2)
    assert weights(None) == weights(None)


def test_two_layers_of_the_same_seed_draw_numbers_of_their_own() -> None:
    twice = keras.Sequential([layers.RandomFlip("horizontal", seed=1), layers.RandomFlip("horizontal", seed=1)])
    x, _ = pictures(40)
    changed = (twice(x, training=True) != x).any(axis=(1, 2, 3))
    assert 5 < changed.sum() < 35


def test_nothing_random_is_in_the_plan_of_inference_and_scaling_is_part_of_reading() -> None:
    model = augmented(layers.RandomBrightness(0.1), layers.RandomErasing())
    operations = [(step["operation"], step["layers"]) for step in model.explain(training=False)[:-1]]
    assert [name for name, _ in operations] == ["conv2d + max_pool2d", "average_pool2d", "dense"]
    assert re.match(r"rescaling\w* \+ conv2d\w* \+ max", operations[0][1])
    trained = [step["operation"] for step in model.explain(training=True)[:-1]]
    assert trained[:4] == ["warp", "warp", "recolor", "erase"]
    assert re.fullmatch(r"rescaling\w* \+ random_flip\w*", model.explain(training=True)[0]["layers"])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int16])
def test_scaling_while_reading_is_the_scaling_of_the_layer_alone(dtype: Any) -> None:
    x = pictures()[0].astype(dtype)
    adapted = layers.Normalization()
    adapted.adapt(x)
    everywhere = layers.Rescaling(np.linspace(0.5, 1.5, 14 * 13 * 3).reshape(14, 13, 3), offset=2)
    for scaling in (layers.Rescaling(1 / 255, -0.5), adapted, everywhere):
        convolution = layers.Conv2D(4, 3)
        model = keras.Sequential([keras.Input((14, 13, 3)), scaling, convolution])
        assert len(model.explain(training=False)) == 2  # one step, and the sum
        for n in (1, 50):
            np.testing.assert_array_equal(model.predict(x[:n], verbose=0), convolution(scaling(x[:n])))
        strided = np.repeat(x, 2, axis=2)[:, :, ::2]
        np.testing.assert_array_equal(model.predict(strided, verbose=0), convolution(scaling(x)))


def test_normalization_adapts_inside_of_a_model_and_is_saved_with_it(tmp_path: Any) -> None:
    x, y = pictures()
    layer = layers.Normalization()
    model = keras.Sequential([keras.Input((14, 13, 3)), layer, layers.Flatten(), layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.predict(x, verbose=0)
    layer.adapt(x)
    np.testing.assert_allclose(layer.mean.ravel(), x.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.variance.ravel(), x.var(axis=(0, 1, 2)), rtol=1e-4)
    after = model.predict(x, verbose=0)
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(layer(x).mean(), 0, atol=1e-4)
    np.testing.assert_allclose(layer(x).std(), 1, rtol=1e-4)
    adapted = layer.get_weights()
    model.fit(x, y, epochs=1, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), adapted)), "not trained"
    model.save_weights(tmp_path / "weights.npz")
    again = keras.Sequential.from_config(model.get_config())
    again.load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


def test_adapt_reads_any_iterable_of_batches_and_refuses_the_rest() -> None:
    x = np.random.default_rng(0).normal(3, 2, (50, 4)).astype(np.float32)

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Any:
            return x[10 * index : 10 * index + 10], None

    whole = layers.Normalization()
    whole.adapt(x)
    for data in (Batches(), list(x.reshape(10, 5, 4)), (batch for batch in x.reshape(25, 2, 4)), x.astype(np.float64)):
        layer = layers.Normalization()
        layer.adapt(data)
        np.testing.assert_allclose(layer.mean, whole.mean, rtol=1e-5)
        np.testing.assert_allclose(layer.variance, whole.variance, rtol=1e-5)
    weights = whole.get_weights()
    for data, error in (
        (3, TypeError),
        ([1.0, 2.0], TypeError),
        ([], ValueError),
        (x[:0], ValueError),
        (x[:, :3], ValueError),
        (np.array(["a"]), ValueError),
    ):
        with pytest.raises(error, match=r"normalization.*\.adapt: data: expected .*, received "):
            whole.adapt(data)
        assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), weights))
    one = layers.Normalization(axis=None)
    one.adapt(np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    np.testing.assert_allclose(one(np.array([1.0, 2.0, 3.0])), [-1.4142135, -0.70710677, 0.0], rtol=1e-6)


def test_random_crop_trains_on_windows_and_predicts_from_the_middle() -> None:
    x, _ = pictures(6)
    crop = layers.RandomCrop(14, 13, seed=1)  # not larger: nothing is random
    np.testing.assert_array_equal(crop(x), x)
    crop = layers.RandomCrop(6, 5, seed=1)
    window = crop(x)
    places = [(i, j) for i in range(9) for j in range(9) if np.array_equal(window, x[:, i : i + 6, j : j + 5])]
    assert len(places) == 1
    middle = layers.Resizing(6, 5, crop_to_aspect_ratio=True)
    np.testing.assert_array_equal(crop(x, training=False), middle(x))


def test_a_pipeline_is_its_layers_one_after_the_other(tmp_path: Any) -> None:
    x, y = pictures()
    chain = [layers.Normalization(), layers.RandomFlip(seed=3), layers.RandomCrop(10, 9, seed=4)]
    pipeline = layers.Pipeline(chain)
    assert pipeline.layers == chain
    chain[0].adapt(x)
    assert pipeline(x[0]).shape == (10, 9, 3)
    np.testing.assert_array_equal(pipeline(x, training=False), chain[2](chain[0](x), training=False))
    model = keras.Sequential([keras.Input(x.shape[1:]), pipeline, layers.Flatten(), layers.Dense(1)])
    assert model.output_shape == (None, 1) and len(model.weights) == 5
    assert pipeline.weights == chain[0].weights and pipeline.trainable_weights == []
    model.compile("adam", "mse")
    model.fit(x, y, epochs=2, verbose=0)
    model.save_weights(tmp_path / "weights.npz")
    again = keras.Sequential.from_config(model.get_config())
    again.load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    fresh = layers.Pipeline([layers.Normalization(name="n")], name="p")
    fresh.build((None, 4))
    assert [v.path for v in fresh.weights] == ["p/n/mean", "p/n/variance", "p/n/count"]
    for wrong in ([], "RandomFlip", [1], None):
        with pytest.raises(ValueError, match="Pipeline: layers: expected a list of fastcnn layers, received"):
            layers.Pipeline(wrong)


def test_random_layers_behind_trained_ones_pass_gradients_on() -> None:
    """The first convolution learns through them."""
    x, y = pictures()
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            layers.Rescaling(1 / 255, input_shape=(14, 13, 3)),
            layers.Conv2D(3, 3, padding="same"),
            layers.RandomFlip(),
            layers.RandomZoom(0.2),
            layers.RandomContrast(0.2, value_range=(-5, 5)),
            layers.RandomErasing(value_range=(-1, 1)),
            layers.RandomCrop(8, 8),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile("sgd", "binary_crossentropy")
    before = model.layers[1].get_weights()
    model.fit(x, y, epochs=3, verbose=0)
    assert all(not np.array_equal(a, b) for a, b in zip(before, model.layers[1].get_weights()))


def test_what_does_not_fit_is_refused_in_one_sentence() -> None:
    for make, shape, message in (
        (layers.RandomGrayscale, (4, 4, 2), "expected 1 or 3 channels"),
        (
            lambda: layers.RandomErasing(fill_value=(1, 2, 3)),
            (4, 4, 1),
            "fill_value: expected one number or one for each",
        ),
        (lambda: layers.Rescaling([1.0, 2.0]), (4, 3), "scale and offset: expected numbers whose shape broadcasts"),
        (lambda: layers.Normalization(axis=0), (4, 3), "axis: expected axes of the input"),
        (lambda: layers.Normalization(axis=5), (4, 3), "axis: expected axes of the input"),
        (layers.RandomFlip, (4,), r"input: expected a shape \(batch, height, width, channels\)"),
    ):
        with pytest.raises(ValueError, match=message):
            make().build((None, *shape))
    for make, message in (
        (lambda: layers.RandomFlip("sideways"), "RandomFlip: mode: expected 'horizontal' or"),
        (lambda: layers.Resizing(0, 3), "Resizing: height: expected a positive integer, received 0"),
        (lambda: layers.Resizing(2, 3, interpolation="best"), "Resizing: interpolation: expected 'bilinear' or"),
        (
            lambda: layers.Resizing(2, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
            "pad_to_aspect_ratio: expected False",
        ),
        (lambda: layers.RandomCrop(2, 3, seed="a"), "RandomCrop: seed: expected"),
        (lambda: layers.Rescaling("much"), "Rescaling: scale: expected a number"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_seed_generator_gives_each_layer_another_seed() -> None:
    def outputs() -> list[bytes]:
        generator = keras.random.SeedGenerator(5)
        return [layers.RandomRotation(0.5, seed=generator)(pictures(3)[0]).tobytes() for _ in range(2)]

    first, second = outputs()
    assert first != second
    assert outputs() == [first, second]
