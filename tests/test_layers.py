"""Layers: the contract that all keep, Keras's names and defaults, and calls on arrays."""

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _naming, layers

pytestmark = pytest.mark.isa

# (layer's constructor, one sample's shape, output's shape, weights as {name: shape})
CASES = {
    "conv2d": (lambda: layers.Conv2D(4, 3), (8, 7, 2), (6, 5, 4), {"kernel": (3, 3, 2, 4), "bias": (4,)}),
    "conv2d same": (
        lambda: layers.Conv2D(4, (3, 2), strides=2, padding="same", use_bias=False, activation="tanh"),
        (8, 7, 2),
        (4, 4, 4),
        {"kernel": (3, 2, 2, 4)},
    ),
    "conv2d groups": (
        lambda: layers.Conv2D(4, 3, groups=2, dilation_rate=2, kernel_regularizer="l2"),
        (8, 7, 2),
        (4, 3, 4),
        {"kernel": (3, 3, 1, 4), "bias": (4,)},
    ),
    "max_pooling2d": (layers.MaxPooling2D, (8, 7, 2), (4, 3, 2), {}),
    "average_pooling2d": (lambda: layers.AveragePooling2D(3, strides=2, padding="same"), (8, 7, 2), (4, 4, 2), {}),
    "global_max_pooling2d": (layers.GlobalMaxPooling2D, (8, 7, 2), (2,), {}),
    "global_average_pooling2d": (lambda: layers.GlobalAveragePooling2D(keepdims=True), (8, 7, 2), (1, 1, 2), {}),
    "dense": (lambda: layers.Dense(3, activation="relu"), (5,), (3,), {"kernel": (5, 3), "bias": (3,)}),
    "dense rank 3": (lambda: layers.Dense(3), (4, 5), (4, 3), {"kernel": (5, 3), "bias": (3,)}),
    "flatten": (layers.Flatten, (4, 3, 2), (24,), {}),
    "reshape": (lambda: layers.Reshape((-1, 4)), (4, 3, 2), (6, 4), {}),
    "activation": (lambda: layers.Activation("sigmoid"), (5,), (5,), {}),
    "relu": (layers.ReLU, (4, 3, 2), (4, 3, 2), {}),
    "softmax": (layers.Softmax, (5,), (5,), {}),
    "dropout": (lambda: layers.Dropout(0.5, seed=3), (5,), (5,), {}),
    "batch_normalization": (
        layers.BatchNormalization,
        (4, 3, 2),
        (4, 3, 2),
        {"gamma": (2,), "beta": (2,), "moving_mean": (2,), "moving_variance": (2,)},
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def sample(shape, n=4, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def test_layer_builds_its_weights_and_infers_its_shape(case):
    make, input_shape, output_shape, weights = case
    layer = make()
    assert layer.compute_output_shape((None, *input_shape)) == (None, *output_shape)
    assert layer.compute_output_shape((7, *input_shape)) == (7, *output_shape)
    assert not layer.built and layer.weights == []
    layer.build((None, *input_shape))
    assert layer.built
    assert {v.name: v.shape for v in layer.weights} == weights
    assert [v.path for v in layer.weights] == [f"{layer.name}/{name}" for name in weights]
    assert layer.count_params() == sum(int(np.prod(shape)) for shape in weights.values())


def test_layer_called_on_an_array_gives_that_shape(case):
    make, input_shape, output_shape, _ = case
    x = sample(input_shape)
    layer = make()
    y = layer(x)
    assert y.shape == (4, *output_shape) and y.dtype == np.float32
    assert np.isfinite(y).all()
    np.testing.assert_array_equal(layer(x), y)
    assert layer(x, training=True).shape == y.shape


def test_layer_config_round_trip_computes_the_same(case):
    make, input_shape, _, _ = case
    layer = make()
    x = sample(input_shape)
    y = layer(x)
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    twin.build((None, *input_shape))
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(x), y)


def test_layer_trains_in_a_model_and_saves_its_weights(case, tmp_path):
    make, input_shape, _, _ = case
    layer = make()
    model = keras.Sequential([keras.Input(input_shape), layer, layers.Flatten(), layers.Dense(2)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    x, y = sample(input_shape, 8), sample((2,), 8, seed=1)
    first = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=3, verbose=0)
    assert model.evaluate(x, y, verbose=0) < first
    for variable, old in zip(model.weights, before):
        if variable.trainable and variable.size > 4:
            assert not np.array_equal(variable.numpy(), old), variable.path
    model.save_weights(tmp_path / "weights.npz")
    expected = model.predict(x, verbose=0)
    for variable in model.weights:
        variable.assign(np.zeros(variable.shape))
    model.load_weights(tmp_path / "weights.npz")
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_names_are_numbered_as_in_keras():
    _naming.reset_names()
    made = [
        layers.Conv2D(1, 1),
        layers.Conv2D(1, 1),
        layers.MaxPooling2D(),
        layers.GlobalAveragePooling2D(),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(1),
        keras.Sequential(),
    ]
    assert [layer.name for layer in made] == [
        "conv2d",
        "conv2d_1",
        "max_pooling2d",
        "global_average_pooling2d",
        "batch_normalization",
        "re_lu",
        "dense",
        "sequential",
    ]


def test_aliases_are_the_same_classes():
    assert layers.MaxPool2D is layers.MaxPooling2D
    assert layers.AvgPool2D is layers.AveragePooling2D
    assert layers.GlobalMaxPool2D is layers.GlobalMaxPooling2D
    assert layers.GlobalAvgPool2D is layers.GlobalAveragePooling2D


def test_dense_computes_the_product():
    x = sample((5,))
    layer = layers.Dense(3, bias_initializer="ones")
    y = layer(x)
    np.testing.assert_allclose(y, x @ layer.kernel.numpy() + 1, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axis", [1, 2, (1, 2), [1, 3]])
def test_layer_and_rms_normalization_over_axes_that_are_not_the_last(axis):
    """Keras on PyTorch takes trailing axes only; the definition is the oracle."""
    x = sample((5, 4, 3))
    axes = axis if isinstance(axis, int) else tuple(axis)
    centred = x - x.mean(axis=axes, keepdims=True)
    expected = centred / np.sqrt(x.var(axis=axes, keepdims=True) + 1e-3)
    np.testing.assert_allclose(layers.LayerNormalization(axis=axis)(x), expected, rtol=1e-4, atol=1e-5)
    expected = x / np.sqrt(np.square(x).mean(axis=axes, keepdims=True) + 1e-6)
    np.testing.assert_allclose(layers.RMSNormalization(axis=axis)(x), expected, rtol=1e-4, atol=1e-5)


def test_transposed_convolution_adds_multiples_of_its_kernel():
    """Padding as on TensorFlow and JAX, where Keras on PyTorch differs: kernel size - strides is odd."""
    x, layer = sample((3, 3, 1), n=1), layers.Conv2DTranspose(1, 4, strides=1, padding="same", use_bias=False)
    y = layer(x)[0, :, :, 0]
    whole = np.zeros((6, 6))
    for i in range(3):
        for j in range(3):
            whole[i : i + 4, j : j + 4] += x[0, i, j, 0] * layer.kernel.numpy()[:, :, 0, 0]
    np.testing.assert_allclose(y, whole[1:4, 1:4], rtol=1e-5, atol=1e-6)


def test_channels_first_is_converted_at_the_edges_only():
    """A whole model of such layers permutes its input once and its output once; the inner ones cancel."""
    first = {"data_format": "channels_first"}
    model = keras.Sequential(
        [
            keras.Input((1, 9, 8)),
            layers.Conv2D(4, 3, activation="relu", **first),
            layers.MaxPooling2D(2, **first),
            layers.ZeroPadding2D(1, **first),
            layers.Conv2D(3, 3, **first),
        ]
    )
    steps = model._current_network().native.explain(8, True)[:-1]
    operations = [step["operation"] for step in steps]
    assert operations == ["permute", "conv2d + max_pool2d", "resample", "conv2d", "permute"]


def test_what_is_not_there_names_the_nearest_thing():
    for name, nearest in {
        "LSTM": "Conv1D",
        "MaxPooling3D": "MaxPooling2D",
        "Lambda": "Layer",
        "conv2d": "Conv2D",
    }.items():
        with pytest.raises(
            AttributeError, match=f"has no attribute '{name}'; the nearest thing that it has is '{nearest}'"
        ):
            getattr(layers, name)


def test_dropout_drops_while_training_only_and_anew_each_call():
    x = np.ones((64, 100), np.float32)
    layer = layers.Dropout(0.25, seed=1)
    np.testing.assert_array_equal(layer(x), x)
    first, second = layer(x, training=True), layer(x, training=True)
    assert set(np.unique(first)) == {0.0, np.float32(1 / 0.75)}
    assert abs((first == 0).mean() - 0.25) < 0.03
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(layers.Dropout(0.25, seed=1)(x, training=True), first)


def test_batch_normalization_keeps_moving_statistics():
    x = sample((3,), 256) * 2 + 5
    layer = layers.BatchNormalization(momentum=0.5)
    y = layer(x, training=True)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.5 * x.mean(0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.5 + 0.5 * x.var(0), rtol=1e-3)
    assert [v.name for v in layer.trainable_weights] == ["gamma", "beta"]
    assert [v.name for v in layer.non_trainable_weights] == ["moving_mean", "moving_variance"]


def test_frozen_batch_normalization_works_as_in_inference():
    x = sample((3,), 32) + 5
    layer = layers.BatchNormalization()
    expected = layer(x)
    layer.trainable = False
    np.testing.assert_allclose(layer(x, training=True), expected, rtol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), np.zeros(3))


def test_variable_is_a_read_only_view_that_follows_assign():
    layer = layers.Dense(2)
    layer.build((None, 3))
    view = np.asarray(layer.kernel)
    assert np.shares_memory(view, layer.kernel.value) and not view.flags.writeable
    layer.kernel.assign(np.full((3, 2), 7))
    assert (view == 7).all() and (layer.kernel.numpy() == 7).all()
    copy = layer.kernel.numpy()
    layer.kernel.assign(np.zeros((3, 2)))
    assert (copy == 7).all()
    assert np.asarray(layer.kernel, dtype=np.float64).dtype == np.float64


def test_trainable_moves_weights_between_the_lists():
    layer = layers.Dense(2)
    layer.build((None, 3))
    layer.trainable = False
    assert layer.trainable_weights == [] and len(layer.non_trainable_weights) == 2
    layer.trainable = True
    assert len(layer.trainable_weights) == 2


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float64", ">f4"])
def test_layer_reads_any_real_dtype_and_strides(dtype):
    x = np.random.default_rng(0).integers(0, 2, (4, 10)).astype(dtype)
    layer = layers.Dense(3)
    expected = layer(x.astype(np.float32))
    np.testing.assert_array_equal(layer(x), expected)
    wide = np.repeat(x, 2, axis=1)
    np.testing.assert_array_equal(layer(wide[:, ::2]), expected)


def test_layer_has_no_functional_api():
    with pytest.raises(ValueError, match="the functional API is not part of fastcnn"):
        layers.Dense(1)(keras.Input((3,)))
