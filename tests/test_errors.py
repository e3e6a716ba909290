"""What is refused, with which sentence; and that nothing changes then."""

import re

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import layers

KINDS = "linear, relu, sigmoid, tanh or softmax (as a name or a function of fastcnn.activations)"

CONSTRUCTORS = [
    (lambda: layers.Conv2D(-1, 3), "Conv2D: filters: expected a positive integer, received -1"),
    (lambda: layers.Conv2D(True, 3), "Conv2D: filters: expected a positive integer, received True"),
    (lambda: layers.Conv2D(4, 0), "Conv2D: kernel_size: expected a positive integer or two of them, received 0"),
    (
        lambda: layers.Conv2D(4, (3, 3, 3)),
        "Conv2D: kernel_size: expected a positive integer or two of them, received (3, 3, 3)",
    ),
    (
        lambda: layers.Conv2D(4, 3, strides=1.5),
        "Conv2D: strides: expected a positive integer or two of them, received 1.5",
    ),
    (lambda: layers.Conv2D(4, 3, padding="full"), "Conv2D: padding: expected 'valid' or 'same', received 'full'"),
    (lambda: layers.Conv2D(4, 3, groups=3), "Conv2D: filters: expected a multiple of groups (3), received 4"),
    (
        lambda: layers.Conv2D(4, 3, strides=2, dilation_rate=2),
        "Conv2D: dilation_rate: expected 1 where strides are above 1, received 2",
    ),
    (
        lambda: layers.Conv2D(4, 3, data_format="first"),
        "Conv2D: data_format: expected 'channels_last' or 'channels_first', received 'first'",
    ),
    (
        lambda: layers.Conv2D(4, 3, kernel_constraint="max_nor"),
        "constraints.get: identifier: expected the name of a constraint, one of 'max_norm', 'min_max_norm', 'non_neg', "
        "'unit_norm', received 'max_nor'",
    ),
    (
        lambda: layers.Permute((0, 1)),
        "Permute: dims: expected each of the axes 1, 2, ... once, received (0, 1)",
    ),
    (lambda: layers.Dense(0), "Dense: units: expected a positive integer, received 0"),
    (lambda: layers.Dense("4"), "Dense: units: expected a positive integer, received '4'"),
    (lambda: layers.Dense(4, colour=3), "Dense: colour: unknown argument, received 3"),
    (
        lambda: layers.Dense(4, dtype="float16"),
        "Dense: dtype: expected 'float32', 'mixed_bfloat16' or 'mixed_float16': variables are float32 in fastcnn, "
        "received 'float16'",
    ),
    (
        lambda: layers.Dense(4, input_shape=(-3,)),
        "Dense: input_shape: expected a shape of positive integers (without the batch size), received (-3,)",
    ),
    (lambda: layers.Dense(4, name="a/b"), "Dense: name: expected a string without '/', received 'a/b'"),
    (lambda: layers.MaxPooling2D(0), "MaxPooling2D: pool_size: expected a positive integer or two of them, received 0"),
    (lambda: layers.Dropout(2), "Dropout: rate: expected a number from 0 to 1, received 2"),
    (lambda: layers.Dropout(float("nan")), "Dropout: rate: expected a number from 0 to 1, received nan"),
    (
        lambda: layers.BatchNormalization(momentum=1.5),
        "BatchNormalization: momentum: expected a number from 0 to 1, received 1.5",
    ),
    (
        lambda: layers.BatchNormalization(epsilon=0),
        "BatchNormalization: epsilon: expected a positive number, received 0",
    ),
    (
        lambda: layers.Reshape((-1, -1)),
        "Reshape: target_shape: expected positive integers, at most one of them -1, received (-1, -1)",
    ),
    (
        lambda: layers.ReLU(max_value=-6.0),
        "ReLU: max_value: expected a number of at least 0, received -6.0",
    ),
    (lambda: layers.Softmax(axis=0), "Softmax: axis: expected axes of the input, 1 to 64 or from the end, received 0"),
    (
        lambda: keras.Input((None, 28, 1)),
        "InputLayer: shape: expected a shape of positive integers (without the batch size), received (None, 28, 1)",
    ),
    (keras.Input, "InputLayer: shape: expected either shape or batch_shape, received (None, None)"),
    (lambda: keras.Sequential([3]), "Sequential.add: layer: expected a fastcnn layer, received 3"),
    (lambda: keras.Sequential(3), "Sequential: layers: expected a list of layers, received 3"),
    (
        lambda: keras.Sequential([layers.Dense(1, name="a"), layers.Dense(1, name="a")]),
        "Sequential.add: layer: expected a name that no other layer of the model has, received 'a'",
    ),
    (lambda: keras.Sequential().build((None, 3)), "net: build: expected a model with layers, received one without"),
]


def message_of(action):
    with pytest.raises(ValueError) as caught:
        action()
    return str(caught.value)


def test_noise_that_divides_by_what_is_kept_refuses_to_drop_all():
    for layer in (layers.AlphaDropout(1.0, name="noise"), layers.GaussianDropout(1.0, name="noise")):
        with pytest.raises(ValueError, match=r"^noise: rate: expected a number below 1, received 1\.0$"):
            layer(np.ones((2, 3)), training=True)


@pytest.mark.parametrize(("make", "message"), CONSTRUCTORS)
def test_constructor_refuses(make, message):
    assert re.sub(r"^sequential(_\d+)?:", "net:", message_of(make)) == message


def test_activation_written_in_python_is_refused():
    message = message_of(lambda: layers.Dense(1, activation=np.sin))
    assert message.startswith(("Dense: activation: ", "activations.get: "))


SHAPES = [
    (
        [keras.Input((28, 28)), layers.Conv2D(4, 3, name="conv")],
        "conv: input: expected a shape (batch, height, width, channels), received (None, 28, 28)",
    ),
    (
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, groups=2, name="conv")],
        "conv: input: expected channels that are a multiple of groups (2), received 3",
    ),
    (
        [keras.Input((4, 4, 1)), layers.Conv2D(4, 3), layers.MaxPooling2D(), layers.Conv2D(4, 3, name="conv")],
        "conv: input: expected an image at least as large as the kernel (3, 3), received shape (1, 1, 4)",
    ),
    (
        [keras.Input((1, 8, 1)), layers.MaxPooling2D(name="pool")],
        "pool: input: expected an image at least as large as the pooling window (2, 2), received shape (1, 8, 1)",
    ),
    (
        [keras.Input((8,)), layers.Reshape((3, -1), name="reshape")],
        "reshape: target_shape: expected 8 elements as in the input (8,), received (3, -1)",
    ),
    (
        [keras.Input((4, 5)), layers.BatchNormalization(axis=3, name="norm")],
        "norm: axis: expected axes of the input, 1 to 2 or from the end, received 3",
    ),
]


@pytest.mark.parametrize(("entries", "message"), SHAPES)
def test_shapes_that_do_not_fit_are_refused(entries, message):
    assert message_of(lambda: keras.Sequential(entries)) == message
    assert not any(layer.built for layer in entries[1:])


def model_of(outputs=1, activation="sigmoid", loss="binary_crossentropy"):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(outputs, activation=activation)], name="net")
    model.compile("adam", loss, metrics=["accuracy"])
    return model


X, Y = np.ones((10, 6), np.float32), np.zeros(10)

FIT = [
    (lambda m: m.fit(X, Y, batch_size=0), "fit: batch_size: expected a positive integer, received 0"),
    (lambda m: m.fit(X, Y, epochs=-1), "fit: epochs: expected a non-negative integer, received -1"),
    (lambda m: m.fit(X, Y, epochs=1.5), "fit: epochs: expected a non-negative integer, received 1.5"),
    (lambda m: m.fit(X, Y, verbose=3), "fit: verbose: expected 'auto', 0, 1 or 2, received 3"),
    (lambda m: m.fit(X, Y, shuffle="yes"), "fit: shuffle: expected True or False, received 'yes'"),
    (lambda m: m.fit(X, Y, steps_per_epoch=0), "fit: steps_per_epoch: expected a positive integer, received 0"),
    (
        lambda m: m.fit(X, Y, validation_batch_size=0),
        "fit: validation_batch_size: expected a positive integer, received 0",
    ),
    (lambda m: m.fit(X, Y, validation_freq=0), "fit: validation_freq: expected a positive integer, received 0"),
    (
        lambda m: m.fit(X, Y, validation_split=1.0),
        "fit: validation_split: expected a share of the 10 samples that leaves some on both sides, received 1.0",
    ),
    (
        lambda m: m.fit(X, Y, validation_split=-0.1),
        "fit: validation_split: expected a number from 0 to below 1, received -0.1",
    ),
    (
        lambda m: m.fit(X, Y, validation_data=X),
        "fit: validation_data: expected (x, y), (x, y, sample_weight) or something that yields them, received ndarray",
    ),
    (
        lambda m: m.fit(X, Y, validation_data=(X, Y[:3])),
        "fit: validation_data: y: expected as many rows as x (10), received 3",
    ),
    (lambda m: m.fit(X), "fit: y: expected an array, received None"),
    (lambda m: m.fit(None, Y), "fit: x: expected an array, received None"),
    (lambda m: m.fit(X, Y[:3]), "fit: y: expected as many rows as x (10), received 3"),
    (lambda m: m.fit(X[:0], Y[:0]), "fit: x: expected at least one sample, received shape (0, 6)"),
    (lambda m: m.fit(X[:, :5], Y), "fit: x: expected shape (n, 6), received shape (10, 5)"),
    (lambda m: m.fit(X[:, :, None, None], Y), "fit: x: expected shape (n, 6), received shape (10, 6, 1, 1)"),
    (lambda m: m.fit(1.0, Y), "fit: x: expected an array with one row a sample, received a scalar (1.0)"),
    (lambda m: m.fit(X.astype(object), Y), "fit: x: expected an array of real numbers, received dtype object"),
    (lambda m: m.fit(X.astype(complex), Y), "fit: x: expected an array of real numbers, received dtype complex128"),
    (lambda m: m.fit(X, ["a"] * 10), "fit: y: expected an array of real numbers, received dtype <U1"),
    (lambda m: m.fit(X, Y * np.nan), "fit: y: expected finite labels, received nan"),
    (lambda m: m.fit(X, Y + 2), "fit: y: expected labels from 0 to 1 for binary_crossentropy, received 2.0"),
    (lambda m: m.fit(X, Y - 1), "fit: y: expected labels from 0 to 1 for binary_crossentropy, received -1.0"),
    (
        lambda m: m.fit(X, np.zeros((10, 3))),
        "fit: y: expected shape (n, 1) or (n,) for binary_crossentropy, received shape (10, 3)",
    ),
    (
        lambda m: m.fit(X, Y, sample_weight=np.ones(3)),
        "fit: sample_weight: expected shape (10,), received shape (3,)",
    ),
    (
        lambda m: m.fit(X, Y, sample_weight=np.full(10, np.inf)),
        "fit: sample_weight: expected finite numbers, received inf",
    ),
    (
        lambda m: m.fit(X, Y, class_weight=[1, 2]),
        "fit: class_weight: expected a dictionary from class numbers to weights, received [1, 2]",
    ),
    (
        lambda m: m.fit(X, Y, class_weight={0: 1.0}, sample_weight=Y),
        "fit: class_weight: expected None where sample_weight is given, received both",
    ),
    (lambda m: m.evaluate(X, Y + 2), "evaluate: y: expected labels from 0 to 1 for binary_crossentropy, received 2.0"),
    (lambda m: m.evaluate(X, Y, steps=0, batch_size=2), "evaluate: steps: expected a positive integer, received 0"),
    (lambda m: m.predict(X[:, :5]), "predict: x: expected shape (n, 6), received shape (10, 5)"),
    (lambda m: m.predict(X, batch_size=0), "predict: batch_size: expected a positive integer, received 0"),
    (lambda m: m.train_on_batch(X, Y[:3]), "train_on_batch: y: expected as many rows as x (10), received 3"),
    (lambda m: m(X[:, :5]), "net: x: expected shape (n, 6), received shape (10, 5)"),
    (
        lambda m: m.compile("adam", "categorical_crossentropy"),
        "compile: loss: expected a model with at least 2 outputs for categorical_crossentropy "
        "(one output: binary_crossentropy), received (None, 1)",
    ),
    (
        lambda m: m.compile("adam", ["mse"]),
        "compile: loss: expected one loss: the model has one output, received ['mse']",
    ),
    (lambda m: m.compile("adam", "mse", metrics="mae"), "compile: metrics: expected a list of metrics, received 'mae'"),
    (
        lambda m: m.compile(None, "mse"),
        "compile: optimizer: expected the name of an optimizer or an object of fastcnn.optimizers, received None",
    ),
    (lambda m: m.get_layer("z"), "get_layer: name: expected one of ['dense'], received 'z'"),
    (lambda m: m.set_weights([1]), "net.set_weights: weights: expected 2 arrays, received 1"),
    (
        lambda m: m.weights[0].assign(np.zeros((2, 2))),
        "net/dense/kernel.assign: value: expected shape (6, 1), received (2, 2)",
    ),
    (
        lambda m: m.save_weights("model.h5"),
        "save_weights: filepath: expected a name that ends in .safetensors or .weights.h5 or .npz, received 'model.h5'",
    ),
    (
        lambda m: m.load_weights("no-such-file.npz"),
        "load_weights: filepath: expected an existing file, received 'no-such-file.npz'",
    ),
    (
        lambda m: m.build((None, 7)),
        "net.build: input_shape: expected the model's input shape (None, 6), received (None, 7)",
    ),
]


@pytest.mark.parametrize(("action", "message"), FIT)
def test_bad_data_and_arguments_are_refused_and_change_nothing(action, message):
    model = model_of()
    compiled, before = model._compiled, model.get_weights()
    assert re.sub(r"dense_\d+", "dense", message_of(lambda: action(model))) == message
    assert model._compiled is compiled and model.optimizer.iterations == 0
    for old, now in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, now)


SPARSE = [
    (np.full(10, 3), "class numbers from 0 to 2 for sparse_categorical_crossentropy, received 3"),
    (np.full(10, -1), "class numbers from 0 to 2 for sparse_categorical_crossentropy, received -1"),
    (np.full(10, 0.5), "whole class numbers for sparse_categorical_crossentropy, received 0.5"),
    (
        np.zeros((10, 3)),
        "shape (n,) or (n, 1) for sparse_categorical_crossentropy, received shape (10, 3) "
        "(one-hot labels: use the loss categorical_crossentropy)",
    ),
]


@pytest.mark.parametrize(("labels", "message"), SPARSE)
def test_class_numbers_that_the_loss_cannot_use_are_refused(labels, message):
    model = model_of(3, "softmax", "sparse_categorical_crossentropy")
    assert message_of(lambda: model.fit(X, labels)) == f"fit: y: expected {message}"


def test_class_numbers_for_the_one_hot_loss_are_refused_with_a_hint():
    model = model_of(3, "softmax", "categorical_crossentropy")
    assert message_of(lambda: model.fit(X, Y)) == (
        "fit: y: expected shape (n, 3) for categorical_crossentropy, received shape (10,) "
        "(class numbers: use the loss sparse_categorical_crossentropy or keras.utils.to_categorical)"
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"optimizer": "adamm"}, "adamm"),
        ({"loss": "binary_crosentropy"}, "binary_crosentropy"),
        ({"metrics": ["acuracy"]}, "acuracy"),
        ({"weighted_metrics": ["acuracy"]}, "acuracy"),
    ],
)
@pytest.mark.parametrize("built", [True, False])
def test_unknown_names_are_refused_when_compiling(arguments, name, built):
    model = keras.Sequential([layers.Dense(1)])
    if built:
        model.build((None, 3))
    assert message_of(lambda: model.compile(**{"optimizer": "adam", "loss": "mse", **arguments})).endswith(
        f"received {name!r}"
    )
    assert not model.compiled


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_model_must_be_compiled_with_a_loss(method):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    assert message_of(lambda: getattr(model, method)(X, Y)) == (
        f"{method}: model: expected a compiled model; call compile() first"
    )
    model.compile("adam")
    assert message_of(lambda: getattr(model, method)(X, Y)) == (
        f"{method}: loss: expected a loss given to compile(), received None"
    )


def test_bad_data_do_not_build_a_deferred_model():
    model = keras.Sequential([layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    for action in (
        lambda: model.fit(X, Y + 2),
        lambda: model.fit(X, Y, batch_size=0),
        lambda: model.fit(X, Y, validation_data=(X, Y + 2)),
        lambda: model.evaluate(X, Y[:2]),
    ):
        message_of(action)
        assert not model.built and model.weights == []


def test_unbuilt_model_cannot_save_or_count():
    model = keras.Sequential([layers.Dense(1)], name="net")
    expected = "expected a built model; give it an input shape, call build(), or call it on data"
    assert message_of(lambda: model.save_weights("w.npz")) == f"net: save_weights: {expected}"
    assert message_of(model.explain) == f"net: explain: {expected}"
    assert message_of(model.count_params).startswith("net: count_params: expected a built layer")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Model", "fastcnn has no attribute 'Model': models are Sequential; there is no functional API"),
        ("nonsense", f"fastcnn has no attribute 'nonsense': it has {', '.join((*keras.__all__, *keras._WHEN_ASKED))}"),
        ("Sequental", "fastcnn has no attribute 'Sequental'; the nearest thing that it has is 'Sequential'"),
        ("__path_to_nowhere__", "fastcnn has no attribute '__path_to_nowhere__'"),
    ],
)
def test_names_of_keras_that_are_not_there(name, sentence):
    with pytest.raises(AttributeError) as caught:
        getattr(keras, name)
    assert str(caught.value) == sentence
    with pytest.raises(AttributeError, match=r"has no attribute 'LSTM'; the nearest thing that it has is 'Conv1D'"):
        _ = layers.LSTM
