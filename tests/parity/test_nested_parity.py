"""Whole models of the newer layers against Keras: nested Sequential, freezing and recompiling, penalties, channels first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn

pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
keras = pytest.importorskip("keras", reason="needs Keras, which .[parity] installs")

STEPS, BATCH = 8, 16


def nested(package: Any) -> Any:
    layers = package.layers
    features = package.Sequential(
        [
            layers.Conv2D(6, 3, padding="same", activation="elu"),
            layers.LayerNormalization(),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(8, 3, activation="relu"),
        ],
        name="features",
    )
    head = package.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(8), layers.LeakyReLU(), layers.Dense(1)])
    return package.Sequential([package.Input((12, 12, 2)), features, head])


def encoder(package: Any) -> Any:
    layers = package.layers
    return package.Sequential(
        [
            package.Input((12, 12, 2)),
            layers.ZeroPadding2D(1),
            layers.DepthwiseConv2D(3, depth_multiplier=2, activity_regularizer="l2"),
            layers.PReLU(alpha_initializer="ones", shared_axes=[1, 2]),
            layers.GroupNormalization(groups=2),
            layers.AveragePooling2D(2),
            layers.Conv2DTranspose(3, 2, strides=2, activation="softplus"),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.Cropping2D(4),
            layers.AdaptiveAveragePooling2D(3),
            layers.Flatten(),
            layers.RMSNormalization(),
            layers.Dense(1),
        ]
    )


def sequences(package: Any) -> Any:
    layers = package.layers
    return package.Sequential(
        [
            package.Input((12, 24)),
            layers.Permute((2, 1)),
            layers.Conv1D(6, 3, padding="causal", activation="relu"),
            layers.MaxPooling1D(2),
            layers.Conv1D(8, 3, activation="gelu"),
            layers.Conv1DTranspose(4, 3, strides=2),
            layers.Softmax(axis=1),
            layers.GlobalMaxPooling1D(),
            layers.RepeatVector(2),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def first(package: Any) -> Any:
    layers, order = package.layers, {"data_format": "channels_first"}
    return package.Sequential(
        [
            package.Input((2, 12, 12)),
            layers.Conv2D(6, 3, activation="relu", **order),
            layers.BatchNormalization(axis=1),
            layers.MaxPooling2D(2, **order),
            layers.Conv2D(8, 3, activation="silu", **order),
            layers.Flatten(**order),
            layers.Dense(1),
        ]
    )


def pair(network: Any) -> tuple[Any, Any]:
    models = []
    for package in (fastcnn, keras):
        fastcnn.utils.set_random_seed(4)
        model = network(package)
        model.compile(package.optimizers.SGD(0.02, momentum=0.9), "mse")
        models.append(model)
    models[1].set_weights(models[0].get_weights())
    return models[0], models[1]


def data(shape: tuple[int, ...]) -> tuple[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((STEPS * BATCH, *shape)).astype(np.float32), rng.standard_normal(
        (STEPS * BATCH, 1)
    ).astype(np.float32)


def train_both(ours: Any, theirs: Any) -> None:
    x, y = data(tuple(ours.input_shape[1:]))
    start = ours.get_weights()
    histories = [
        m.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0).history["loss"] for m in (ours, theirs)
    ]
    np.testing.assert_allclose(histories[0], histories[1], rtol=2e-4)
    for variable, begin, a, b in zip(ours.weights, start, ours.get_weights(), theirs.get_weights()):
        moved = float(np.linalg.norm(b - begin))
        assert float(np.linalg.norm(a - b)) <= 2e-3 * moved + 1e-6, variable.path
    np.testing.assert_allclose(ours.evaluate(x, y, verbose=0), theirs.evaluate(x, y, verbose=0), rtol=2e-4)
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("network", [nested, encoder, sequences, first])
def test_an_epoch_of_training(network: Any) -> None:
    train_both(*pair(network))


def test_nested_models_have_kerass_shapes_weights_and_lists() -> None:
    ours, theirs = pair(nested)
    assert ours.layers[0].name == "features"
    assert ours.output_shape == theirs.output_shape and ours.count_params() == theirs.count_params()
    assert [v.shape for v in ours.weights] == [tuple(v.shape) for v in theirs.weights]
    assert ours.get_layer("features").output_shape[1:] == tuple(theirs.get_layer("features").output_shape[1:])
    lines: list[str] = []
    ours.summary(expand_nested=True, print_fn=lines.append)
    assert "features" in lines[0] and "layer_normalization" in lines[0] and "separable_conv2d" in lines[0]
    again = fastcnn.Sequential.from_config(ours.get_config())
    again.set_weights(ours.get_weights())
    x, _ = data((12, 12, 2))
    np.testing.assert_array_equal(again.predict(x, verbose=0), ours.predict(x, verbose=0))
    inner = ours.get_layer("features")
    np.testing.assert_allclose(inner(x[:4]), theirs.get_layer("features")(x[:4]).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_freezing_a_nested_model_and_recompiling() -> None:
    ours, theirs = pair(nested)
    train_both(ours, theirs)
    theirs.set_weights(ours.get_weights())
    for model, package in ((ours, fastcnn), (theirs, keras)):
        model.get_layer("features").trainable = False
        model.compile(package.optimizers.SGD(0.02, momentum=0.9), "mse")
    assert len(ours.trainable_weights) == len(theirs.trainable_weights) == 4
    before = ours.get_layer("features").get_weights()
    train_both(ours, theirs)
    for a, b in zip(ours.get_layer("features").get_weights(), before):
        np.testing.assert_array_equal(a, b)
    for model, package in ((ours, fastcnn), (theirs, keras)):
        model.get_layer("features").trainable = True
        model.get_layer("features").layers[0].trainable = False
        model.compile(package.optimizers.SGD(0.02, momentum=0.9), "mse")
    theirs.set_weights(ours.get_weights())
    assert len(ours.trainable_weights) == len(theirs.trainable_weights)
    train_both(ours, theirs)
