"""What every layer keeps: shapes, configuration, gradients, training, and its weights' way to files and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn as keras
from fastcnn import _core, layers

pytestmark = pytest.mark.isa

FIRST = {"data_format": "channels_first"}
MOVING_4 = {"moving_mean": (4,), "moving_variance": (4,)}
# (class, arguments, one sample's shape, names and shapes of the weights)
CASES: list[tuple[type[Any], dict[str, Any], tuple[int, ...], dict[str, tuple[int, ...]]]] = [
    (layers.Conv2D, {"filters": 4, "kernel_size": 3}, (7, 6, 3), {"kernel": (3, 3, 3, 4), "bias": (4,)}),
    (
        layers.Conv2D,
        {
            "filters": 6, "kernel_size": (2, 3), "strides": (2, 1), "padding": "same", "groups": 2, "use_bias": False,
            "activation": "tanh", "kernel_regularizer": keras.regularizers.L2(0.01),
        },
        (7, 6, 4),
        {"kernel": (2, 3, 2, 6)},
    ),
    (
        layers.Conv2D,
        {"filters": 3, "kernel_size": 2, "dilation_rate": 2, "bias_initializer": "ones"},
        (7, 6, 2),
        {"kernel": (2, 2, 2, 3), "bias": (3,)},
    ),
    (layers.Dense, {"units": 5}, (6,), {"kernel": (6, 5), "bias": (5,)}),
    (layers.Dense, {"units": 5, "activation": "sigmoid", "use_bias": False}, (3, 4, 6), {"kernel": (6, 5)}),
    (layers.MaxPooling2D, {}, (6, 8, 3), {}),
    (layers.MaxPooling2D, {"pool_size": 3, "strides": 2, "padding": "same"}, (7, 6, 3), {}),
    (layers.AveragePooling2D, {}, (6, 8, 3), {}),
    (layers.AveragePooling2D, {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"}, (7, 6, 3), {}),
    (layers.GlobalMaxPooling2D, {}, (5, 4, 3), {}),
    (layers.GlobalMaxPooling2D, {"keepdims": True}, (5, 4, 3), {}),
    (layers.GlobalAveragePooling2D, {}, (5, 4, 3), {}),
    (layers.GlobalAveragePooling2D, {"keepdims": True}, (5, 4, 3), {}),
    (layers.Activation, {"activation": "sigmoid"}, (4, 3), {}),
    (layers.Activation, {"activation": "linear"}, (4, 3), {}),
    (layers.ReLU, {}, (4, 3), {}),
    (layers.Softmax, {}, (4, 3), {}),
    (layers.Dropout, {"rate": 0.4, "seed": 3}, (12,), {}),
    (layers.Dropout, {"rate": 0.0}, (4, 3), {}),
    (layers.Flatten, {}, (4, 3, 2), {}),
    (layers.Reshape, {"target_shape": (2, -1, 3)}, (4, 6), {}),
    (
        layers.BatchNormalization,
        {"momentum": 0.8},
        (4, 5, 3),
        {"gamma": (3,), "beta": (3,), "moving_mean": (3,), "moving_variance": (3,)},
    ),
    (
        layers.BatchNormalization,
        {"center": False, "scale": False, "epsilon": 0.01},
        (7,),
        {"moving_mean": (7,), "moving_variance": (7,)},
    ),
    (layers.BatchNormalization, {"axis": 1, "center": False, "scale": False}, (4, 5), MOVING_4),
    (layers.Conv2D, {"filters": 4, "kernel_size": 3, **FIRST}, (3, 7, 6), {"kernel": (3, 3, 3, 4), "bias": (4,)}),
    (layers.Conv1D, {"filters": 4, "kernel_size": 3}, (7, 3), {"kernel": (3, 3, 4), "bias": (4,)}),
    (layers.Conv1D, {"filters": 4, "kernel_size": 3, "padding": "causal"}, (7, 3), {"kernel": (3, 3, 4), "bias": (4,)}),
    (layers.DepthwiseConv1D, {"kernel_size": 3}, (7, 3), {"kernel": (3, 3, 1), "bias": (3,)}),
    (
        layers.DepthwiseConv2D,
        {"kernel_size": 3, "depth_multiplier": 2, "activation": "selu"},
        (7, 6, 3),
        {"kernel": (3, 3, 3, 2), "bias": (6,)},
    ),
    (
        layers.SeparableConv1D,
        {"filters": 4, "kernel_size": 3},
        (7, 3),
        {"depthwise_kernel": (3, 3, 1), "pointwise_kernel": (1, 3, 4), "bias": (4,)},
    ),
    (
        layers.SeparableConv2D,
        {"filters": 4, "kernel_size": 3, "use_bias": False},
        (7, 6, 3),
        {"depthwise_kernel": (3, 3, 3, 1), "pointwise_kernel": (1, 1, 3, 4)},
    ),
    (layers.Conv1DTranspose, {"filters": 4, "kernel_size": 3}, (7, 3), {"kernel": (3, 4, 3), "bias": (4,)}),
    (
        layers.Conv2DTranspose,
        {"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"},
        (4, 5, 3),
        {"kernel": (3, 3, 2, 3), "bias": (2,)},
    ),
    (layers.MaxPooling1D, {"pool_size": 3, "strides": 2}, (8, 3), {}),
    (layers.AveragePooling1D, {"padding": "same"}, (7, 3), {}),
    (layers.MaxPooling2D, {"pool_size": 2, **FIRST}, (3, 6, 8), {}),
    (layers.GlobalMaxPooling1D, {}, (7, 3), {}),
    (layers.GlobalAveragePooling1D, {"keepdims": True}, (7, 3), {}),
    (layers.GlobalAveragePooling2D, {**FIRST}, (3, 5, 4), {}),
    (layers.AdaptiveMaxPooling1D, {"output_size": 3}, (7, 3), {}),
    (layers.AdaptiveMaxPooling2D, {"output_size": (3, 2)}, (7, 5, 3), {}),
    (layers.AdaptiveAveragePooling1D, {"output_size": 3}, (7, 3), {}),
    (layers.AdaptiveAveragePooling2D, {"output_size": 3}, (7, 5, 3), {}),
    (layers.ReLU, {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.1}, (4, 3), {}),
    (layers.LeakyReLU, {}, (4, 3), {}),
    (layers.ELU, {"alpha": 0.5}, (4, 3), {}),
    (layers.PReLU, {"alpha_initializer": "ones", "shared_axes": [1]}, (4, 3), {"alpha": (1, 3)}),
    (layers.Activation, {"activation": "mish"}, (4, 3), {}),
    (layers.Softmax, {"axis": 1}, (4, 3), {}),
    (layers.AlphaDropout, {"rate": 0.1, "seed": 3}, (12,), {}),
    (layers.GaussianDropout, {"rate": 0.2, "seed": 3}, (12,), {}),
    (layers.GaussianNoise, {"stddev": 0.1, "seed": 3}, (12,), {}),
    (layers.SpatialDropout1D, {"rate": 0.3, "seed": 3}, (4, 3), {}),
    (layers.SpatialDropout2D, {"rate": 0.3, "seed": 3, **FIRST}, (3, 4, 2), {}),
    (layers.Dropout, {"rate": 0.3, "seed": 3, "noise_shape": (None, 1, 3)}, (4, 3), {}),
    (layers.ActivityRegularization, {"l2": 0.01}, (4, 3), {}),
    (layers.Dense, {"units": 3, "activity_regularizer": "l2"}, (6,), {"kernel": (6, 3), "bias": (3,)}),
    (layers.Identity, {}, (4, 3), {}),
    (layers.Permute, {"dims": (2, 1)}, (4, 3), {}),
    (layers.RepeatVector, {"n": 3}, (5,), {}),
    (layers.Cropping1D, {"cropping": (1, 2)}, (6, 3), {}),
    (layers.Cropping2D, {"cropping": 1}, (5, 4, 3), {}),
    (layers.ZeroPadding1D, {"padding": 2}, (4, 3), {}),
    (layers.ZeroPadding2D, {"padding": (1, 2)}, (3, 2, 3), {}),
    (layers.UpSampling1D, {"size": 3}, (4, 3), {}),
    (layers.UpSampling2D, {"size": 2, "interpolation": "bilinear"}, (3, 2, 3), {}),
    (layers.LayerNormalization, {"epsilon": 0.01}, (4, 3), {"gamma": (3,), "beta": (3,)}),
    (layers.LayerNormalization, {"axis": 1, "center": False}, (5, 3), {"gamma": (5,)}),
    (layers.GroupNormalization, {"groups": 2}, (3, 2, 4), {"gamma": (4,), "beta": (4,)}),
    (layers.RMSNormalization, {}, (4, 3), {"scale": (3,)}),
    (layers.UnitNormalization, {}, (4, 3), {}),
    (layers.Rescaling, {"scale": 0.5, "offset": [1.0, 2.0, 3.0]}, (4, 5, 3), {}),
    (layers.Normalization, {}, (4, 5, 3), {"mean": (3,), "variance": (3,), "count": ()}),
    (layers.Normalization, {"axis": (1, 3), "invert": True}, (4, 5, 3), {"mean": (4, 3), "variance": (4, 3), "count": ()}),
    (layers.Normalization, {"axis": 1, "mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 2.0, 3.0, 4.0]}, (4, 5), {}),
    (layers.Resizing, {"height": 5, "width": 9}, (4, 7, 3), {}),
    (layers.Resizing, {"height": 3, "width": 4, "interpolation": "bicubic", "antialias": True, **FIRST}, (3, 7, 6), {}),
    (layers.Resizing, {"height": 5, "width": 5, "pad_to_aspect_ratio": True, "fill_value": 2.0}, (4, 7, 3), {}),
    (layers.CenterCrop, {"height": 3, "width": 4}, (6, 7, 3), {}),
    (layers.CenterCrop, {"height": 6, "width": 6}, (4, 7, 1), {}),
    (layers.RandomFlip, {"seed": 3}, (4, 5, 3), {}),
    (layers.RandomFlip, {"mode": "horizontal", "seed": 3, **FIRST}, (3, 4, 5), {}),
    (layers.RandomRotation, {"factor": 0.1, "seed": 3}, (6, 5, 3), {}),
    (layers.RandomTranslation, {"height_factor": 0.2, "width_factor": 0.3, "seed": 3, "fill_mode": "constant"}, (6, 5, 3), {}),
    (layers.RandomZoom, {"height_factor": 0.3, "seed": 3, "interpolation": "nearest"}, (6, 5, 3), {}),
    (layers.RandomShear, {"x_factor": 0.3, "seed": 3, "fill_mode": "wrap"}, (6, 5, 3), {}),
    (layers.RandomCrop, {"height": 5, "width": 4, "seed": 3}, (6, 5, 3), {}),
    (layers.RandomCrop, {"height": 8, "width": 4, "seed": 3, **FIRST}, (2, 6, 5), {}),
    (layers.RandomBrightness, {"factor": 0.01, "value_range": (-20, 20), "seed": 3}, (4, 5, 3), {}),
    (layers.RandomContrast, {"factor": 0.5, "value_range": (-20, 20), "seed": 3}, (4, 5, 3), {}),
    (layers.RandomGrayscale, {"factor": 1.0}, (4, 5, 3), {}),
    (layers.RandomInvert, {"value_range": (-1, 1), "seed": 3}, (4, 5, 3), {}),
    (layers.Solarization, {"addition_factor": 0.01, "value_range": (-20, 20), "seed": 3}, (4, 5, 3), {}),
    (layers.RandomErasing, {"fill_value": 0.0, "seed": 3}, (6, 5, 3), {}),
    (layers.RandomErasing, {"value_range": (-1, 1), "seed": 3}, (6, 5, 3), {}),
]  # fmt: skip
each_case = pytest.mark.parametrize(
    ("cls", "arguments", "shape", "weights"), CASES, ids=[f"{c.__name__}-{i}" for i, (c, *_) in enumerate(CASES)]
)
# The base, the entry that only names a shape, and one that only holds others: tested elsewhere.
NOT_COMPUTING = {layers.Layer, layers.InputLayer, layers.Pipeline}
SAMPLES = 6


def test_every_public_layer_is_in_the_list() -> None:
    found = (getattr(layers, name) for name in layers.__all__)
    public = {value for value in found if isinstance(value, type) and issubclass(value, layers.Layer)}
    assert public - NOT_COMPUTING == {cls for cls, *_ in CASES}


def make(cls: type[Any], arguments: dict[str, Any]) -> Any:
    keras.utils.set_random_seed(2)
    return cls(**arguments)


def inputs(shape: tuple[int, ...], samples: int = SAMPLES) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((samples, *shape)).astype(np.float32)


def between_dense(layer: Any, shape: tuple[int, ...]) -> Any:
    """The layer between two trained layers, so that its gradient to its input is used as well."""
    keras.utils.set_random_seed(5)
    size = int(np.prod(shape))
    model = keras.Sequential(
        [keras.Input((size,)), layers.Dense(size), layers.Reshape(shape), layer, layers.Flatten(), layers.Dense(2)]
    )
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse")
    return model


@each_case
def test_output_shape_is_what_it_says(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    layer = make(cls, arguments)
    said = layer.compute_output_shape((SAMPLES, *shape))
    assert not layer.built and not layer.weights, "asking for the shape builds nothing"
    for training in (False, True):
        output = layer(inputs(shape), training=training)
        assert output.dtype == np.float32 and output.shape == said
        assert np.isfinite(output).all()
    assert layer.compute_output_shape((None, *shape)) == (None, *said[1:])
    assert layer(inputs(shape, samples=1)).shape == (1, *said[1:])
    assert keras.Sequential([keras.Input(shape), make(cls, arguments)]).output_shape == (None, *said[1:])


@each_case
def test_weights_have_the_expected_names_and_shapes(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    layer = make(cls, {**arguments, "name": "layer"})
    layer.build((None, *shape))
    assert {v.name: v.shape for v in layer.weights} == weights
    assert [v.path for v in layer.weights] == [f"layer/{name}" for name in weights]
    assert layer.count_params() == sum(int(np.prod(s)) for s in weights.values())
    fixed = ("moving_mean", "moving_variance") + (("mean", "variance", "count") if cls is layers.Normalization else ())
    moving = [v for v in layer.weights if v.name in fixed]
    assert layer.non_trainable_weights == moving
    assert layer.trainable_weights == [v for v in layer.weights if v not in moving]
    layer.trainable = False
    assert layer.trainable_weights == [] and layer.non_trainable_weights == layer.weights


@each_case
def test_configuration_makes_the_same_layer(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    layer = make(cls, {**arguments, "name": "mine", "trainable": False})
    config = layer.get_config()
    again = cls.from_config(config)
    assert again.get_config() == config
    assert (again.name, again.trainable) == ("mine", False)
    for key, value in arguments.items():
        assert key in config, f"{key} is not in the configuration"
        if isinstance(value, (bool, str)):
            found = config[key]
            assert found == value or (isinstance(found, dict) and found["class_name"].lower() == value), key
    layer.build((None, *shape))
    again.build((None, *shape))
    again.set_weights(layer.get_weights())
    x = inputs(shape)
    assert np.array_equal(again(x), layer(x))


@each_case
def test_a_model_of_it_comes_back_from_its_configuration(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    model = keras.Sequential([keras.Input(shape), make(cls, arguments)])
    again = keras.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    assert np.array_equal(again.predict(inputs(shape), verbose=0), model.predict(inputs(shape), verbose=0))


@each_case
def test_gradient_agrees_with_finite_differences(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    """Of all weights, the layer's and those below it, along random directions."""
    model = between_dense(make(cls, arguments), shape)
    x, y = inputs((int(np.prod(shape)),), 20), inputs((2,), 20)
    flags = [v.trainable for v in model.weights]
    trained = [v.shape for v in model.weights if v.trainable]
    updater = _core.Updater({"kind": "sgd", "weight_decay": [0.0] * len(trained)}, trained)
    trainer = _core.Trainer(
        model._current_network().native, {"kind": "mean_squared_error"}, [], updater,
        [(0.0, 0.0)] * len(flags), flags,
    )  # fmt: skip
    start = model.get_weights()
    gradients = trainer.gradients(x, y, None, 0)

    def loss(scale: float, direction: list[NDArray[Any]]) -> float:
        model.set_weights([w + scale * d for w, d in zip(start, direction)])
        updater.iterations = 0  # the same dropout each time
        sums = trainer.train(x, y, None, None, 0, 20, 20, np.zeros(1), 1, np.inf, None)
        return float(sums["loss"] / sums["loss_weight"])

    rng = np.random.default_rng(3)
    for index in [i for i, flag in enumerate(flags) if flag]:
        # Along the gradient itself the derivative is largest, so that float32's rounding matters least.
        gradient = gradients[index]
        noise = rng.standard_normal(gradient.shape) * np.abs(gradient).mean()
        direction = [np.zeros_like(w) for w in start]
        direction[index] = gradient + noise
        expected = float(np.vdot(gradient, direction[index]))
        if np.linalg.norm(gradient) < 1e-5:
            continue  # a bias below batch normalisation
        h = 2e-3 / float(np.linalg.norm(direction[index]))
        found = (loss(h, direction) - loss(-h, direction)) / (2 * h)
        assert found == pytest.approx(expected, rel=2e-2), model.weights[index].path


@each_case
def test_training_steps_lower_the_loss(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    model = between_dense(make(cls, arguments), shape)
    x, y = inputs((int(np.prod(shape)),), 20), inputs((2,), 20)
    before = [v.numpy() for v in model.weights]
    first = model.train_on_batch(x, y)
    for variable, old in zip(model.trainable_weights, [b for v, b in zip(model.weights, before) if v.trainable]):
        assert np.isfinite(variable.numpy()).all()
        moved = not np.array_equal(variable.numpy(), old)
        cancelled = cls is layers.BatchNormalization and variable.path.split("/")[-2:] == ["dense", "bias"]
        assert moved or cancelled, f"{variable.path} did not move"
    for _ in range(30):
        last = model.train_on_batch(x, y)
    assert last < first


@each_case
def test_training_gives_the_same_bits_on_any_number_of_threads(
    cls: Any, arguments: Any, shape: Any, weights: Any
) -> None:
    x, y = inputs((int(np.prod(shape)),), 48), inputs((2,), 48)
    found = []
    for threads in (1, 2, 4):
        _core.set_num_threads(threads)
        model = between_dense(make(cls, arguments), shape)
        model.fit(x, y, batch_size=32, epochs=2, verbose=0)
        found.append([*model.get_weights(), model.predict(x, verbose=0), np.float64(model.evaluate(x, y, verbose=0))])
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


@each_case
def test_weights_go_out_and_in(cls: Any, arguments: Any, shape: Any, weights: Any, tmp_path: Path) -> None:
    """By set_weights, and through a file; a wrong list changes nothing."""
    source, target = (keras.Sequential([keras.Input(shape), cls(**arguments)]) for _ in range(2))
    rng = np.random.default_rng(0)
    values = [rng.random(v.shape).astype(np.float32) + 0.5 for v in source.weights]
    source.set_weights(values)
    assert all(np.array_equal(a, b) for a, b in zip(source.get_weights(), values))
    expected = source.predict(inputs(shape), verbose=0)
    source.save_weights(tmp_path / "saved.npz")
    target.predict(inputs(shape), verbose=0)  # packs the old weights
    target.load_weights(tmp_path / "saved.npz")
    assert np.array_equal(target.predict(inputs(shape), verbose=0), expected)
    if not values:
        return
    with pytest.raises(ValueError, match="weights: expected"):
        source.set_weights(values[1:])
    with pytest.raises(ValueError, match="shape"):
        source.set_weights([*values[:-1], np.zeros((1, 2, 3, 4, 5))])
    assert all(np.array_equal(a, b) for a, b in zip(source.get_weights(), values))


@each_case
def test_a_frozen_layer_stays_as_it_is(cls: Any, arguments: Any, shape: Any, weights: Any) -> None:
    layer = make(cls, arguments)
    model = between_dense(layer, shape)
    layer.trainable = False
    model.compile(optimizer="adam", loss="mse")
    before, others = layer.get_weights(), model.layers[0].get_weights()
    model.train_on_batch(inputs((int(np.prod(shape)),), 20), inputs((2,), 20))
    assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), before))
    assert not np.array_equal(model.layers[0].get_weights()[0], others[0])
