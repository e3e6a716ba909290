"""Plans with AMX tiles (emulated, and the processor's where there are any): what uses them, and what must not change."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _core, layers

pytestmark = pytest.mark.usefixtures("tiles")


def make(shape: tuple[int, ...], build: Callable[[], list[Any]], policy: str = "mixed_bfloat16") -> keras.Sequential:
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input(shape), *build()])
    keras.config.set_dtype_policy("float32")
    return model


def small() -> list[Any]:
    return [
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(40, 3, padding="same", activation="relu"),
        layers.Flatten(),
        layers.Dense(10, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ]


def images(samples: int, *shape: int) -> Any:
    return np.random.default_rng(samples).standard_normal((samples, *shape)).astype(np.float32)


def kernels(model: keras.Sequential, training: bool = True, batch: int = 32) -> dict[str, str]:
    steps = model._current_network().native.explain(batch, training)[:-1]
    return {step["layers"].split(" ")[0].rstrip("_0123456789"): step["isa"][:3] for step in steps}


def test_the_policy_decides_layer_by_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(kernels(make((12, 12, 1), small)).values()) == {"amx"}
    assert "amx" not in kernels(make((12, 12, 1), small, "float32")).values()
    assert "amx" not in kernels(make((12, 12, 1), small, "mixed_float16")).values()

    def last_in_float32() -> list[Any]:
        return [*small()[:-1], layers.Dense(3, activation="softmax", dtype="float32")]

    model = make((12, 12, 1), last_in_float32)
    isas = [step["isa"][:3] for step in model.explain()[:-1]]
    assert isas[:-2] == ["amx"] * (len(isas) - 2) and "amx" not in isas[-2:]
    assert "amx" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: layers.Conv2D(8, 3, groups=2), "groups of few channels"),
        (lambda: layers.DepthwiseConv2D(3), "groups of few channels"),
    ],
)
def test_what_tiles_do_not_do_is_computed_in_float32(layer: Callable[[], Any], reason: str) -> None:
    model = make((9, 9, 4), lambda: [layer()])
    step = model.explain(4)[0]
    assert not step["isa"].startswith("amx") and reason in step["declined"]
    x = images(4, 9, 9, 4)
    exact = make((9, 9, 4), lambda: [layer()], "float32")
    np.testing.assert_array_equal(model.predict(x, verbose=0), exact.predict(x, verbose=0))


def test_wide_dense_layers_stand_between_layers_with_tiles() -> None:
    def build() -> list[Any]:
        return [
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(2),
        ]

    model, exact = make((18, 18, 3), build), make((18, 18, 3), build, "float32")
    x, y = images(21, 18, 18, 3), images(21, 2)
    used = model.explain(8)
    assert [step["isa"][:3] for step in used[:-1]] == ["amx"] * 4
    assert used[2]["operation"] == "dense, whole batch"
    for m in (model, exact):
        m.compile(keras.optimizers.SGD(0.001), "mse")
        m.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)  # 8, 8, 5
    expected = exact.predict(x, verbose=0)
    assert np.linalg.norm(model.predict(x, verbose=0) - expected) < 0.02 * np.linalg.norm(expected)


def test_steps_that_know_float32_only_stand_between_them() -> None:
    def build() -> list[Any]:
        return [
            layers.Rescaling(0.5),
            layers.Conv2D(16, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, activation="tanh"),
            layers.AveragePooling2D(),
            layers.Dropout(0.5),
            layers.Conv2D(8, 1, activation="relu"),
            layers.GlobalMaxPooling2D(),
            layers.Dense(12),
            layers.LayerNormalization(),
            layers.Dense(4, activation="softmax"),
        ]

    model, exact = make((16, 16, 3), build), make((16, 16, 3), build, "float32")
    x = images(32, 16, 16, 3)
    y = np.arange(32) % 4
    losses = []
    for m in (model, exact):
        keras.utils.set_random_seed(5)
        m.compile("adam", "sparse_categorical_crossentropy")
        losses.append(m.fit(x, y, batch_size=16, epochs=5, verbose=0, shuffle=False).history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    assert losses[0] != losses[1]


def test_the_same_bits_on_any_number_of_threads() -> None:
    x, y = images(150, 12, 12, 1), (images(150)[:, None] > 0).astype(np.float32)
    found = []
    for threads in (1, 2, 3, 8):
        _core.set_num_threads(threads)
        model = make((12, 12, 1), small)
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, batch_size=64, epochs=2, verbose=0).history
        found.append((history, *model.get_weights(), model.predict(x, verbose=0)))
    _core.set_num_threads(0)
    for other in found[1:]:
        assert other[0] == found[0][0]
        assert all(np.array_equal(a, b) for a, b in zip(other[1:], found[0][1:]))


def test_a_sample_s_output_does_not_depend_on_the_batch() -> None:
    model = make((12, 12, 1), small)
    x = images(37, 12, 12, 1)
    whole = model.predict(x, verbose=0)
    for batch in (1, 2, 5, 16, 36):
        np.testing.assert_array_equal(model.predict(x, batch_size=batch, verbose=0), whole)
    np.testing.assert_array_equal(np.concatenate([model(x[i : i + 1]) for i in range(5)]), whole[:5])


def test_frozen_layers() -> None:
    model = make((12, 12, 1), small)
    model.layers[0].trainable = False
    model.layers[4].trainable = False
    before = model.get_weights()
    model.compile("adam", "binary_crossentropy")
    model.fit(images(20, 12, 12, 1), np.ones((20, 1)), batch_size=8, verbose=0)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
    assert changed == [False, False, True, True, False, False, True, True]


def test_nan_comes_through_in_its_own_sample() -> None:
    model = make((12, 12, 1), small)
    x = images(5, 12, 12, 1)
    expected = model.predict(x, verbose=0)
    x[2, 4, 4] = np.nan
    found = model.predict(x, verbose=0)
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(np.delete(found, 2, 0), np.delete(expected, 2, 0))


@pytest.mark.parametrize("activation", ["relu", None])
@pytest.mark.parametrize("pool", [(2, 2), (1, 4)])
@pytest.mark.parametrize(("channels", "filters"), [(1, 32), (1, 70), (2, 33), (3, 16), (4, 64)])
def test_first_layers_with_numbers_near_infinity(
    channels: int, filters: int, pool: tuple[int, int], activation: str | None
) -> None:
    """Blocks with them take another path: the other samples' outputs and all gradients have the same bits there."""

    def build() -> list[Any]:
        first = layers.Conv2D(filters, 3, activation=activation)
        return [first, layers.MaxPooling2D(pool), layers.Conv2D(8, 2), layers.Flatten(), layers.Dense(1)]

    x, y, weights = images(37, 13, 15, channels), images(37, 1), np.ones(37)
    weights[3] = 0
    huge = x.copy()
    huge[3, 2, 2, 0] = 1e36
    models = [make(x.shape[1:], build) for _ in (x, huge)]
    assert kernels(models[0])["conv2d"] == "amx"
    for predicted in np.split(np.arange(37), [1, 12, 20]):
        found = [m.predict(v[predicted], verbose=0) for m, v in zip(models, (x, huge))]
        others = predicted != 3
        np.testing.assert_array_equal(found[0][others], found[1][others])
    for model, values in zip(models, (x, huge)):
        model.compile(keras.optimizers.SGD(0.01), "mse")
        model.fit(values, y, batch_size=37, sample_weight=weights, shuffle=False, verbose=0)
    for a, b, before in zip(*(m.get_weights() for m in models), make(x.shape[1:], build).get_weights()):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, before)


@pytest.mark.parametrize("pool", [[], [layers.MaxPooling2D]])
@pytest.mark.parametrize("kinds", [{"strides": 3, "kernel_size": 2}, {"dilation_rate": 2, "kernel_size": 2}])
def test_nan_that_no_window_reads(kinds: dict[str, Any], pool: list[Any]) -> None:
    """Also in a first layer, which takes whole footprints of pooling windows."""

    def build() -> list[Any]:
        return [layers.Conv2D(8, **kinds), *(kind() for kind in pool)]

    model, exact = make((11, 11, 1), build), make((11, 11, 1), build, "float32")
    for place in ((0, 0), (2, 2), (3, 1), (5, 2), (1, 8)):
        x = images(2, 11, 11, 1)
        x[0][place] = np.nan
        np.testing.assert_array_equal(np.isnan(model.predict(x, verbose=0)), np.isnan(exact.predict(x, verbose=0)))


def grouped() -> list[Any]:
    return [
        layers.Conv2D(64, 1, activation="relu"),
        layers.Conv2D(64, 3, groups=2, activation="relu"),  # lines filled: passed on as they are
        layers.MaxPooling2D(),
        layers.Conv2D(96, 3, groups=4, padding="same", activation="relu"),
        layers.Conv2D(48, 3, groups=3, strides=2),
        layers.Flatten(),
        layers.Dense(2),
    ]


def test_convolutions_in_groups() -> None:
    model, exact = make((20, 18, 3), grouped), make((20, 18, 3), grouped, "float32")
    used = kernels(model)
    assert used.pop("max_pooling2d") != "amx" and set(used.values()) == {"amx"}
    x, y = np.abs(images(37, 20, 18, 3)), np.abs(images(37, 2))
    expected = exact.predict(x, verbose=0)
    assert np.linalg.norm(model.predict(x, verbose=0) - expected) < 0.01 * np.linalg.norm(expected)
    for m in (model, exact):
        m.compile(keras.optimizers.SGD(0.001), "mse")
        m.fit(x, y, batch_size=16, epochs=2, verbose=0, shuffle=False)
    trained = exact.predict(x, verbose=0)
    assert np.linalg.norm(trained - expected) > 0.1 * np.linalg.norm(expected)
    assert np.linalg.norm(model.predict(x, verbose=0) - trained) < 0.02 * np.linalg.norm(trained)


def test_nan_stays_in_its_group() -> None:
    model = make((5, 5, 40), lambda: [layers.Conv2D(36, 3, groups=2)])
    assert model.explain(4)[0]["isa"].startswith("amx")
    x = images(4, 5, 5, 40)
    expected = model.predict(x, verbose=0)
    x[:, :, :, 19] = np.nan
    found = model.predict(x, verbose=0)
    assert np.isnan(found[..., :18]).all()
    np.testing.assert_array_equal(found[..., 18:], expected[..., 18:])


# Relative L2 error of bfloat16, whose numbers lie 1/256 apart: 0.2 % a rounding.
ONE_LAYER = [
    *itertools.product([(1, 1), (3, 3), (2, 5)], ["valid", "same"], [1, 3, 8, 40], [1, 16, 33], [1, 4, 16], [1]),
    *itertools.product([(1, 1), (3, 2)], ["valid", "same"], [60], [30, 60], [1, 4, 16], [2, 3]),
]


@pytest.mark.parametrize(("size", "padding", "channels", "filters", "samples", "groups"), ONE_LAYER)
def test_single_convolutions_and_their_gradients(
    size: tuple[int, int], padding: str, channels: int, filters: int, samples: int, groups: int
) -> None:
    def build() -> list[Any]:
        # The first one lets the second have an input gradient.
        return [
            layers.Conv2D(channels, 1, dtype="float32"),
            layers.Conv2D(filters, size, padding=padding, groups=groups),
        ]

    shape = (7, 9, channels)
    model, exact = make(shape, build), make(shape, build, "float32")
    # Everything has one sign: sums that cancel would show errors of what cancels.
    for m in (model, exact):
        m.set_weights([np.abs(w) for w in m.get_weights()])
    x = np.abs(images(samples, *shape))
    expected = exact.predict(x, verbose=0)
    found = model.predict(x, verbose=0)
    assert np.linalg.norm(found - expected) < 0.003 * np.linalg.norm(expected)
    y = -expected * np.random.default_rng(0).random(expected.shape).astype(np.float32)
    before = exact.get_weights()
    for m in (model, exact):
        m.compile(keras.optimizers.SGD(1.0), "mse")
        m.fit(x, y, batch_size=samples, verbose=0)
    assert model.explain(samples)[1]["isa"].startswith("amx")
    for a, b, w in zip(model.get_weights(), exact.get_weights(), before):
        assert np.linalg.norm(a - b) < 0.006 * np.linalg.norm(b - w)


def late() -> list[Any]:
    return [
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(96, 3, activation="relu", padding="same"),
        layers.Conv2D(100, 2, strides=2, activation="relu"),
        layers.Conv2D(60, 2, groups=2, padding="same"),
        layers.Flatten(),
        layers.Dense(72, activation="relu"),
        layers.Dense(2),
    ]


@pytest.mark.parametrize("samples", [32, 37, 75])
def test_gradients_that_come_with_the_update(samples: int) -> None:
    """Summed over all blocks at once. That of a batch is the sum of its samples' gradients."""
    model = make((11, 11, 40), late)
    steps = model._current_network().native.explain(samples, True)[:-1]
    assert [step["layers"].split("_")[0] for step in steps if "with the update" in step["kernel"]] == [
        *["conv2d"] * 3,
        "dense",
    ]
    # Not the mean: the gradient of a sample would be rounded after a division by the batch's size.
    model.compile(keras.optimizers.SGD(1.0), keras.losses.MeanSquaredError(reduction="sum"))
    weights = model.get_weights()
    x, y = images(samples, 11, 11, 40), images(samples, 2)

    def gradients(first: int, last: int) -> list[Any]:
        model.set_weights(weights)
        model.fit(x[first:last], y[first:last], batch_size=last - first, verbose=0, shuffle=False)
        return [before - after for before, after in zip(weights, model.get_weights())]

    found = gradients(0, samples)
    each = [gradients(i, i + 1) for i in range(samples)]
    for i, gradient in enumerate(found):
        expected = np.sum([of_sample[i] for of_sample in each], axis=0, dtype=np.float64)
        assert np.linalg.norm(gradient - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("clipped", [False, True])
def test_gradients_with_the_update_on_any_number_of_threads(clipped: bool) -> None:
    x, y = images(75, 11, 11, 40), images(75, 2)
    found = []
    for threads in (1, 2, 3, 7):
        _core.set_num_threads(threads)
        model = make((11, 11, 40), late)
        model.compile(keras.optimizers.Adam(global_clipnorm=0.1 if clipped else None), "mse")
        model.fit(x, y, batch_size=32, epochs=2, verbose=0)
        found.append([w.tobytes() for w in model.get_weights()])
    _core.set_num_threads(0)
    assert all(other == found[0] for other in found[1:])


def many_weights(activation: str = "relu") -> list[Any]:
    """Dense layers of more than 256 K weights: behind an image, behind float32 numbers, of odd sizes."""
    return [
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(1031, activation=activation),
        layers.Dense(259, activation=activation),
        layers.Dense(1, activation="sigmoid", dtype="float32"),
    ]


@pytest.mark.parametrize("activation", ["relu", "tanh", "softmax"])
def test_dense_layers_of_many_weights(activation: str) -> None:
    model, exact = (make((8, 8, 2), lambda: many_weights(activation), p) for p in ("mixed_bfloat16", "float32"))
    x, y = images(50, 8, 8, 2), (images(50)[:, None] > 0).astype(np.float32)
    steps = model._current_network().native.explain(21, True)[:-1]
    assert [step["operation"] for step in steps if step["isa"].startswith("amx")][1:] == ["dense, whole batch"] * 2
    start = model.get_weights()
    for m in (model, exact):
        m.compile(keras.optimizers.SGD(0.01), "binary_crossentropy")
        m.fit(x, y, batch_size=21, epochs=2, verbose=0, shuffle=False)  # 21, 21, 8
    for before, found, expected in zip(start, model.get_weights(), exact.get_weights()):
        assert np.linalg.norm(found - expected) < 0.2 * np.linalg.norm(expected - before)
    np.testing.assert_allclose(model.predict(x, verbose=0), exact.predict(x, verbose=0), atol=0.01)


def test_many_weights_in_a_large_batch() -> None:
    # More samples than are summed over at once, more units than are rounded at once.
    model, exact = (
        make((2, 2, 80), lambda: [layers.Flatten(), layers.Dense(1090), layers.Dense(2)], p)
        for p in ("mixed_bfloat16", "float32")
    )
    x, y = images(600, 2, 2, 80), images(600, 2)
    start = model.get_weights()
    for m in (model, exact):
        m.compile(keras.optimizers.SGD(0.1), "mse")
        m.fit(x, y, batch_size=600, verbose=0)
    for before, found, expected in zip(start, model.get_weights(), exact.get_weights()):
        assert np.linalg.norm(found - expected) < 0.01 * np.linalg.norm(expected - before)
    np.testing.assert_allclose(model.predict(x, verbose=0), exact.predict(x, verbose=0), atol=0.02)


def test_many_weights_on_any_number_of_threads() -> None:
    x, y = images(100, 8, 8, 2), (images(100)[:, None] > 0).astype(np.float32)
    found = []
    for threads in (1, 2, 3, 8):
        _core.set_num_threads(threads)
        model = make((8, 8, 2), many_weights)
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        history = model.fit(x, y, batch_size=40, epochs=2, verbose=0).history
        found.append((history, *model.get_weights(), model.predict(x, verbose=0)))
    _core.set_num_threads(0)
    for other in found[1:]:
        assert other[0] == found[0][0]
        assert all(np.array_equal(a, b) for a, b in zip(other[1:], found[0][1:]))


# After tanh the dense layer reads float32 numbers, after 48 filters lines with gaps.
@pytest.mark.parametrize(("activation", "filters"), [("relu", 32), ("tanh", 32), ("relu", 48)])
def test_outputs_of_many_weights_do_not_depend_on_the_batch_nor_on_threads(activation: str, filters: int) -> None:
    model = make(
        (64, 64, 16),
        lambda: [
            layers.Conv2D(filters, 1, activation=activation),
            layers.MaxPooling2D(4),
            layers.Flatten(),
            layers.Dense(33, activation="relu"),
            layers.Dense(3),
        ],
    )
    x = images(130, 64, 64, 16)
    native = model._current_network().native
    whole = native.predict(x)
    found = set()
    for samples in (1, 2, 7, 33, 97, 130):
        found.add(native.explain(samples, False)[-3]["kernel"])
        np.testing.assert_array_equal(native.predict(x[:samples]), whole[:samples])
    assert found == {"bfloat16 tiles", "bfloat16 tiles, natural"}
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        np.testing.assert_array_equal(native.predict(x[:1]), whole[:1])
    _core.set_num_threads(0)


def test_gradients_of_many_weights_that_wait_for_others() -> None:
    x, y = images(32, 8, 8, 2), (images(32)[:, None] > 0).astype(np.float32)
    found = []
    for clip in ({}, {"global_clipnorm": 1e9}, {"clipnorm": 1e9}):
        model = make((8, 8, 2), many_weights)
        model.compile(keras.optimizers.Adam(**clip), "binary_crossentropy")
        model.fit(x, y, batch_size=16, verbose=0, shuffle=False)
        found.append(model.get_weights())
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(other, found[0]))


def test_nan_and_infinity_in_dense_layers_of_many_weights() -> None:
    model = make((8, 8, 2), many_weights)
    x = images(70, 8, 8, 2)
    clean = model.predict(x, verbose=0)
    x[3, 2, 2, 0], x[40, 5, 5, 1] = np.nan, np.inf
    found = model.predict(x, verbose=0)
    assert not np.isfinite(found[3]).any() and not np.isfinite(found[40]).any()
    others = np.delete(np.arange(70), [3, 40])
    np.testing.assert_array_equal(found[others], clean[others])
    model.compile("sgd", "binary_crossentropy")
    model.fit(x[:5], np.ones((5, 1), np.float32), batch_size=5, verbose=0)
    assert np.isnan(model.layers[3].kernel.numpy()).any()


def test_kernels_of_many_weights_that_are_not_trained() -> None:
    x, y = images(20, 8, 8, 2), (images(20)[:, None] > 0).astype(np.float32)
    model = make((8, 8, 2), many_weights)
    model.layers[3].trainable = False
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(1.0), "binary_crossentropy")
    model.fit(x, y, batch_size=20, verbose=0)
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights())]
    assert same == [False, False, True, True, False, False, False, False]


def test_running_allocates_nothing_native() -> None:
    model = make((12, 12, 1), small)
    x = images(32, 12, 12, 1)
    model.predict(x, verbose=0)
    before = _core.native_allocations()
    model.predict(x, verbose=0)
    assert _core.native_allocations() == before


def test_saved_models_keep_the_policy(tmp_path: Any) -> None:
    model = make((12, 12, 1), small)
    x = images(4, 12, 12, 1)
    for name in ("m.safetensors", "m.keras"):
        model.save(tmp_path / name)
        again = keras.models.load_model(tmp_path / name)
        assert again.layers[0].compute_dtype == "bfloat16"
        np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
