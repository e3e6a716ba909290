"""One sample: divided between threads inside its steps, and called without checks where the array needs none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from engine_cases import Chain, images, mission_model, small_model

import fastcnn as keras
from fastcnn import _core, layers


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    _core.set_num_threads(0)


def chains() -> dict[str, Chain]:
    return {
        "pooled": Chain((61, 50, 3))
        .conv(32)
        .activation("relu")
        .pool()
        .conv(48)
        .activation("tanh")
        .reshape()
        .dense(200),
        "same padding": Chain((40, 41, 4)).conv(20, padding="same").pool(size=(3, 3), strides=(2, 2), padding="same"),
        "strides": Chain((80, 60, 8)).conv(40, (5, 3), strides=(3, 2), padding="same").activation("sigmoid"),
        "wide dense": Chain((300,)).dense(1000).activation("relu").dense(600).activation("softmax"),
        # Winograd's method has a row of tiles or three: the channels are divided.
        "few rows": Chain((13, 13, 32)).conv(64).activation("relu").pool().conv(70).activation("relu"),
        "few rows, groups": Chain((5, 5, 96)).conv(192, groups=3).conv(200, (1, 1)).activation("tanh"),
        "nothing to divide": Chain((6, 6, 1)).conv(4).pool().reshape().dense(3),
    }


@pytest.mark.isa
@pytest.mark.parametrize("name", chains())
def test_one_sample_has_the_bits_of_a_batch_for_any_number_of_threads(name: str) -> None:
    network, _ = chains()[name].network()
    x = images(9, network.input_shape)
    _core.set_num_threads(1)
    expected = network.predict(x, 9)
    for threads in (1, 2, 3, 5, 8):
        _core.set_num_threads(threads)
        for i in (0, 8):
            assert np.array_equal(network.predict(x[i : i + 1], 1)[0], expected[i]), threads


def test_one_sample_is_divided_where_steps_are_worth_it() -> None:
    _core.set_num_threads(4)
    made = chains()
    for name in ("pooled", "few rows", "few rows, groups"):
        assert made[name].network()[0].explain(1, False)[-1]["threads"] > 1
    assert made["nothing to divide"].network()[0].explain(1, False)[-1]["threads"] == 1


def test_usual_arrays_give_the_same_as_checked_ones() -> None:
    model, x = mission_model(), images(3)
    first = model(x)
    assert np.array_equal(model(x), first)
    assert np.array_equal(model(x.astype(np.float64)), first)
    assert np.array_equal(model(x.tolist()), first)
    assert np.array_equal(model(np.asfortranarray(x)), first)
    assert np.array_equal(model(x[..., 0]), first)
    assert np.array_equal(model(x.astype(">f4")), first)
    assert np.array_equal(model.predict(x, verbose=0), first)
    pixels = (255 * x).astype(np.uint8)
    assert np.array_equal(model(pixels), model(pixels.astype(np.float32)))


@pytest.mark.parametrize("x", [np.zeros((2, 3), np.float32), np.zeros((0, 28, 28, 1), np.float32), np.float32(1)])
def test_unfit_arrays_are_refused_after_fit_ones(x: Any) -> None:
    model = mission_model()
    model(images(1))
    for call in (model, lambda a: model.predict(a, verbose=0)):
        with pytest.raises(ValueError):
            call(x)


def test_calls_see_every_change_of_the_model() -> None:
    model, x = small_model(), images(2, (8, 8, 1))
    before = model(x)
    model.layers[0].kernel.assign(0.5 * model.layers[0].kernel.numpy())
    halved = model(x)
    assert not np.array_equal(halved, before)
    model.add(layers.Dense(7))
    assert model(x).shape == (2, 7)
    model.pop()
    assert np.array_equal(model(x), halved)
    model.fit(x, np.zeros(2), verbose=0)
    assert not np.array_equal(model(x), halved)


def test_calls_see_a_change_of_a_model_inside() -> None:
    inner = keras.Sequential([layers.Dense(3, input_shape=(4,))])
    outer = keras.Sequential([inner])
    x = images(2, (4,))
    assert outer(x).shape == outer.predict(x, verbose=0).shape == (2, 3)
    inner.add(layers.Activation("tanh"))
    assert np.array_equal(outer(x), inner(x)) and np.abs(outer(x)).max() < 1
    assert np.array_equal(outer.predict(x, verbose=0), outer(x))


def test_training_calls_are_training_calls() -> None:
    model = keras.Sequential([layers.Dropout(0.5, input_shape=(100,))])
    x = np.ones((4, 100), np.float32)
    assert np.array_equal(model(x), x)
    assert not np.array_equal(model(x, training=True), x)


def test_repeated_calls_grant_nothing() -> None:
    model, x = mission_model(), images(1)
    model(x)
    before = _core.native_allocations()
    for _ in range(5):
        model(x)
        model.predict(x, verbose=0)
    assert _core.native_allocations() == before
