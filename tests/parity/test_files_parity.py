"""Files in both directions: what Keras writes is read here and what is written here is read by Keras, with all that is in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn.saving import keras_files

keras = pytest.importorskip("keras")

Layers = Callable[[Any], list[Any]]

# One model each: the input's shape and its layers, made of Keras's or fastcnn's vocabulary.
MODELS: dict[str, tuple[tuple[int, ...], Layers]] = {
    "tutorial": (
        (12, 12, 1),
        lambda k: [
            k.layers.Conv2D(4, (3, 3), activation="relu"),
            k.layers.MaxPooling2D((2, 2)),
            k.layers.Conv2D(6, 3, padding="same", strides=2, kernel_regularizer=k.regularizers.L2(1e-3)),
            k.layers.Flatten(),
            k.layers.Dropout(0.25),
            k.layers.Dense(5, activation="relu", kernel_initializer=k.initializers.HeNormal(seed=3)),
        ],
    ),
    "normalisations": (
        (6, 6, 4),
        lambda k: [
            k.layers.Conv2D(4, 3, use_bias=False),
            k.layers.BatchNormalization(momentum=0.8, scale=False),
            k.layers.ReLU(max_value=6.0),
            k.layers.GroupNormalization(2),
            k.layers.LayerNormalization(),
            k.layers.RMSNormalization(),
            k.layers.UnitNormalization(),
            k.layers.BatchNormalization(trainable=False),
        ],
    ),
    "depthwise": (
        (8, 8, 3),
        lambda k: [
            k.layers.DepthwiseConv2D(3, depth_multiplier=2, activation="elu"),
            k.layers.SeparableConv2D(4, 3, padding="same"),
            k.layers.Conv2DTranspose(2, 3, strides=2),
            k.layers.PReLU(shared_axes=[1, 2]),
            k.layers.LeakyReLU(negative_slope=0.1),
            k.layers.GlobalAveragePooling2D(),
        ],
    ),
    "one dimension": (
        (16, 3),
        lambda k: [
            k.layers.ZeroPadding1D(1),
            k.layers.Conv1D(4, 3, activation="tanh", dilation_rate=2),
            k.layers.DepthwiseConv1D(3),
            k.layers.SeparableConv1D(5, 3),
            k.layers.MaxPooling1D(2),
            k.layers.Conv1DTranspose(3, 3),
            k.layers.UpSampling1D(2),
            k.layers.AveragePooling1D(2),
            k.layers.SpatialDropout1D(0.1),
            k.layers.Cropping1D(1),
            k.layers.PReLU(),
            k.layers.GlobalMaxPooling1D(),
        ],
    ),
    "channels first": (
        (3, 8, 8),
        lambda k: [
            k.layers.Conv2D(4, 3, data_format="channels_first", activation="relu"),
            k.layers.BatchNormalization(axis=1),
            k.layers.AveragePooling2D(2, data_format="channels_first"),
            k.layers.Flatten(data_format="channels_first"),
        ],
    ),
    "shapes and noise": (
        (4, 4, 2),
        lambda k: [
            k.layers.UpSampling2D(2),
            k.layers.Cropping2D(((1, 1), (1, 1))),
            k.layers.ZeroPadding2D(1),
            k.layers.GaussianNoise(0.1),
            k.layers.GaussianDropout(0.1),
            k.layers.SpatialDropout2D(0.1),
            k.layers.ActivityRegularization(l2=1e-4),
            k.layers.Permute((2, 1, 3)),
            k.layers.Reshape((-1, 2)),
            k.layers.Activation("softplus"),
            k.layers.Flatten(),
            k.layers.ELU(),
            k.layers.Dense(3),
            k.layers.RepeatVector(2),
            k.layers.Softmax(),
            k.layers.Identity(),
        ],
    ),
    "pooling": (
        (9, 9, 2),
        lambda k: [
            k.layers.AdaptiveAveragePooling2D(6),
            k.layers.AdaptiveMaxPooling2D(4),
            k.layers.AlphaDropout(0.1),
            k.layers.Reshape((16, 2)),
            k.layers.AdaptiveAveragePooling1D(8),
            k.layers.AdaptiveMaxPooling1D(4),
            k.layers.LayerNormalization(axis=[1, 2]),
            k.layers.GlobalAveragePooling1D(),
            k.layers.Reshape((1, 1, 2)),
            k.layers.GlobalMaxPooling2D(),
        ],
    ),
    "nested": (
        (8, 8, 2),
        lambda k: [
            k.Sequential([k.Input((8, 8, 2)), k.layers.Conv2D(3, 3), k.layers.Conv2D(3, 3, name="second")], name="inner"),
            k.layers.Conv2D(3, 1),
            k.Sequential([k.layers.Flatten(), k.Sequential([k.layers.Dense(4), k.layers.Dense(4, trainable=False)])]),
        ],
    ),
}  # fmt: skip
SGD, ADAM, RMSPROP = "SGD", "Adam", "RMSprop"
OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": (SGD, {"learning_rate": 0.05}),
    "momentum": (SGD, {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "clipnorm": 1.0}),
    "adam": (ADAM, {"learning_rate": 0.003}),
    "amsgrad": (ADAM, {"amsgrad": True, "global_clipnorm": 1.0}),
    "adamw": ("AdamW", {"weight_decay": 0.01}),
    "rmsprop": (RMSPROP, {}),
    "centered": (RMSPROP, {"centered": True, "momentum": 0.5, "clipvalue": 0.1}),
    **{
        name.lower(): (name, {"learning_rate": 0.01})
        for name in ("Adadelta", "Adagrad", "Adamax", "Nadam", "Lamb", "Adafactor")
    },
    **{name.lower(): (name, {"learning_rate": 0.003}) for name in ("Ftrl", "Lion", "Muon")},
    "averaged": (ADAM, {"use_ema": True, "ema_overwrite_frequency": 4}),
    "gathered": (SGD, {"momentum": 0.9, "gradient_accumulation_steps": 3}),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Some first weights make small norms, which enlarge what rounding differs in, or a PReLU that is never negative."""
    keras.utils.set_random_seed(1)
    fastcnn.utils.set_random_seed(1)


def model_of(k: Any, name: str, classes: int = 3, optimizer: str = "adam") -> Any:
    shape, layers = MODELS[name]
    model = k.Sequential(
        [k.Input(shape), *layers(k), k.layers.Flatten(), k.layers.Dense(classes, activation="softmax")]
    )
    kind, arguments = OPTIMIZERS[optimizer]
    model.compile(
        getattr(k.optimizers, kind)(**arguments),
        k.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy", k.metrics.SparseCategoricalAccuracy(name="hits")],
    )
    return model


def data_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.random((24, *MODELS[name][0]), np.float32), random.integers(0, 3, 24)


def assert_same_predictions(one: Any, other: Any, x: np.ndarray) -> None:
    np.testing.assert_allclose(one.predict(x, verbose=0), other.predict(x, verbose=0), atol=1e-5)


def step_both(one: Any, other: Any, name: str, tolerance: float = 2e-5) -> None:
    """Five steps more, each on the same batch: the losses tell whether the optimizers go on from the same state."""
    x, y = data_of(name)
    for _ in range(5):
        losses = [model.train_on_batch(x, y)[0] for model in (one, other)]
        assert losses[0] == pytest.approx(losses[1], abs=tolerance)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_models_of_keras_load_here(tmp_path: Path, name: str, suffix: str) -> None:
    theirs = model_of(keras, name)
    x, y = data_of(name)
    theirs.fit(x, y, epochs=1, batch_size=8, verbose=0)
    theirs.save(tmp_path / f"m.{suffix}")
    ours = keras_files.load_model(tmp_path / f"m.{suffix}")
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert_same_predictions(ours, theirs, x)
    assert int(ours.optimizer.iterations) == 3
    found = ours.evaluate(x, y, verbose=0, return_dict=True)
    assert found == pytest.approx(theirs.evaluate(x, y, verbose=0, return_dict=True), abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_models_from_here_load_in_keras(tmp_path: Path, name: str) -> None:
    ours = model_of(fastcnn, name)
    x, y = data_of(name)
    ours.fit(x, y, epochs=1, batch_size=8, verbose=0)
    (tmp_path / "m.keras").write_bytes(keras_files.model_bytes(ours))
    theirs = keras.models.load_model(tmp_path / "m.keras")
    assert [layer.name for layer in ours.layers] == [layer.name for layer in theirs.layers]
    assert_same_predictions(ours, theirs, x)
    assert int(theirs.optimizer.iterations.numpy()) == 3
    found = ours.evaluate(x, y, verbose=0, return_dict=True)
    assert found == pytest.approx(theirs.evaluate(x, y, verbose=0, return_dict=True), abs=1e-4)
    for variable in theirs.optimizer.variables[2:]:
        assert variable.numpy().any(), variable.path


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_both_ways(tmp_path: Path, name: str) -> None:
    theirs, ours, x = model_of(keras, name), model_of(fastcnn, name), data_of(name)[0]
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    keras_files.load_weights(ours, tmp_path / "theirs.weights.h5")
    assert_same_predictions(ours, theirs, x)
    ours = model_of(fastcnn, name)
    (tmp_path / "ours.weights.h5").write_bytes(keras_files.weights_bytes(ours))
    theirs.load_weights(tmp_path / "ours.weights.h5")
    assert_same_predictions(ours, theirs, x)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_training_goes_on_here_where_keras_left_it(tmp_path: Path, optimizer: str, suffix: str) -> None:
    if (optimizer, suffix) == ("adafactor", "h5"):
        pytest.skip("Keras cannot write it: two of the optimizer's arrays have one name")
    theirs = smooth_model(keras, optimizer)
    step_both(theirs, theirs, "one dimension", 10.0)
    theirs.save(tmp_path / f"m.{suffix}")
    ours = keras_files.load_model(tmp_path / f"m.{suffix}")
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) == (3 if optimizer == "gathered" else 10)
    step_both(ours, theirs, "one dimension")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_goes_on_in_keras_where_it_was_left_here(tmp_path: Path, optimizer: str) -> None:
    ours = smooth_model(fastcnn, optimizer)
    step_both(ours, ours, "one dimension", 10.0)
    (tmp_path / "m.keras").write_bytes(keras_files.model_bytes(ours))
    theirs = keras.models.load_model(tmp_path / "m.keras")
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) == (3 if optimizer == "gathered" else 10)
    assert float(theirs.optimizer.learning_rate.numpy()) == pytest.approx(float(ours.optimizer.learning_rate))
    step_both(ours, theirs, "one dimension")


def smooth_model(k: Any, optimizer: str) -> Any:
    """Without kinks and noise, so that rounding stays what it is."""
    model = k.Sequential([
        k.Input((16, 3)), k.layers.Conv1D(4, 3, activation="tanh"), k.layers.LayerNormalization(), k.layers.Flatten(),
        k.layers.Dense(3, activation="softmax"),
    ])  # fmt: skip
    kind, arguments = OPTIMIZERS[optimizer]
    model.compile(getattr(k.optimizers, kind)(**arguments), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_margins_in_numbers_are_refused_for_keras(tmp_path: Path) -> None:
    model = fastcnn.Sequential(
        [
            fastcnn.Input((6, 6, 1)),
            fastcnn.Sequential([fastcnn.layers.MaxPooling2D(3, padding=((1, 0), (1, 0)), name="p")]),
        ]
    )
    with pytest.raises(
        ValueError, match=r"expected a model that Keras has, for a .keras file, received p with padding"
    ):
        model.save(tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "m.safetensors")
    assert fastcnn.models.load_model(tmp_path / "m.safetensors").layers[0].layers[0].padding == ((1, 0), (1, 0))


def scheduled(k: Any) -> Any:
    model = k.Sequential(
        [
            k.Input((6, 6, 2)),
            k.layers.Pipeline([k.layers.Rescaling(0.5), k.layers.Rescaling(2.0, 0.25)]),
            k.layers.Conv2D(3, 3, kernel_constraint=k.constraints.MaxNorm(0.5, axis=[0, 1, 2])),
            k.layers.Flatten(),
            k.layers.Dense(3, activation="softmax", kernel_regularizer=k.regularizers.OrthogonalRegularizer(0.1)),
        ]
    )
    rate = k.optimizers.schedules.CosineDecay(0.05, 20, warmup_target=0.1, warmup_steps=4)
    model.compile(k.optimizers.SGD(rate, momentum=0.5), "sparse_categorical_crossentropy")
    return model


def test_pipelines_schedules_and_constraints_go_both_ways(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((16, 6, 6, 2), np.float32), rng.integers(0, 3, 16)
    for start, load in ((fastcnn, keras.models.load_model), (keras, fastcnn.models.load_model)):
        one = scheduled(start)
        one.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
        one.save(tmp_path / "m.keras")
        other = load(tmp_path / "m.keras")
        np.testing.assert_allclose(one.predict(x, verbose=0), other.predict(x, verbose=0), atol=1e-5)
        assert float(other.optimizer.learning_rate) == pytest.approx(float(one.optimizer.learning_rate), rel=1e-5)
        for model in (one, other):
            model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)
        for a, b in zip(one.get_weights(), other.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_weights_in_16_bits_are_rounded_as_pytorch_rounds_them(tmp_path: Path) -> None:
    torch, stored = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    chance = np.random.default_rng(0)
    # Every pattern of the upper 16 bits; below them nothing, a half, what is just less or more, and anything.
    upper = np.repeat(np.arange(2**16, dtype=np.uint32) << 16, 5)
    lower = np.stack([[0, 0x8000, 0x7FFF, 0x8001, low] for low in chance.integers(0, 2**16, 2**16)]).ravel()
    numbers = (upper | lower.astype(np.uint32)).view(np.float32)
    model = fastcnn.Sequential([fastcnn.Input((numbers.size,)), fastcnn.layers.Dense(1, use_bias=False)])
    model.layers[0].set_weights([numbers[:, None]])
    model.save_weights(tmp_path / "w.safetensors", dtype="bfloat16")
    ours = stored.load_file(tmp_path / "w.safetensors")["layers/dense/kernel"]
    theirs = torch.from_numpy(numbers[:, None].copy()).to(torch.bfloat16)
    assert ours.dtype == torch.bfloat16 and torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours.nan_to_num(0, 1, -1).view(torch.int16), theirs.nan_to_num(0, 1, -1).view(torch.int16))
    model.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(model.get_weights()[0], theirs.float().numpy())
    small = np.where(np.abs(numbers) < 65520, numbers, 0)[:, None]
    model.layers[0].set_weights([small])
    model.save_weights(tmp_path / "w.safetensors", dtype="float16")
    ours = stored.load_file(tmp_path / "w.safetensors")["layers/dense/kernel"]
    assert torch.equal(ours, torch.from_numpy(small).to(torch.float16))
