"""The same bits for any number of threads, and for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from engine_cases import images, labels, mission_layers, mission_model

import fastcnn as keras
from fastcnn import _core, layers

pytestmark = pytest.mark.isa

THREADS = (1, 2, 3, 7)  # more than there are cores, too


def norm_layers() -> list[Any]:
    return [
        layers.Conv2D(12, 3, use_bias=False, input_shape=(14, 14, 2)),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.MaxPooling2D(2),
        layers.Dropout(0.3),
        layers.Conv2D(20, 3, activation="relu"),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(5, activation="softmax"),
    ]


def strided_layers() -> list[Any]:
    return [
        layers.Conv2D(8, 5, strides=2, padding="same", activation="tanh", input_shape=(15, 15, 3)),
        layers.Conv2D(8, 3, padding="same", groups=2, activation="sigmoid"),
        layers.AveragePooling2D(3, strides=2, padding="same"),
        layers.Conv2D(16, 3, dilation_rate=2, padding="same", activation="relu"),
        layers.MaxPooling2D(3, strides=2, padding="same"),
        layers.Flatten(),
        layers.Dense(33, activation="relu"),
        layers.Dense(5, activation="softmax"),
    ]


# name: (layers, one sample's shape, classes, samples, batch size, optimizer)
CASES: dict[str, tuple[Callable[[], list[Any]], tuple[int, ...], int, int, int, Any]] = {
    "mission": (mission_layers, (28, 28, 1), 2, 100, 32, lambda: "adam"),
    "mission, batch 100": (mission_layers, (28, 28, 1), 2, 150, 100, lambda: "adam"),
    "mission, batch 1": (mission_layers, (28, 28, 1), 2, 5, 1, lambda: "adam"),
    "norm and dropout": (norm_layers, (14, 14, 2), 5, 75, 32, lambda: keras.optimizers.SGD(0.05, momentum=0.9)),
    "norm and dropout, batch 100": (norm_layers, (14, 14, 2), 5, 150, 100, lambda: "rmsprop"),
    "same padding and strides": (strided_layers, (15, 15, 3), 5, 75, 32, lambda: keras.optimizers.AdamW(0.01)),
    "clipped by norm": (strided_layers, (15, 15, 3), 5, 40, 16, lambda: keras.optimizers.Adam(global_clipnorm=0.1)),
}


def bits(arrays: Sequence[Any]) -> list[bytes]:
    return [np.asarray(a).tobytes() for a in arrays]


def everything(case: str, seed: int = 5, threads: Sequence[int] = (1,)) -> dict[str, Any]:
    """All that a short training gives, as bits; `threads` take turns, one for each epoch."""
    make, shape, classes, samples, batch_size, optimizer = CASES[case]
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(make())
    loss = "binary_crossentropy" if classes == 2 else "sparse_categorical_crossentropy"
    model.compile(optimizer=optimizer(), loss=loss, metrics=["accuracy"])
    x, y = images(samples, shape), labels(samples, classes)
    logs: list[Any] = []
    for count in threads:
        _core.set_num_threads(count)
        logs.append(model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0).history)
    return {
        "logs": logs,
        "weights": bits(model.get_weights()),
        "evaluation": model.evaluate(x, y, verbose=0),
        "predictions": bits([model.predict(x, batch_size=n, verbose=0) for n in (1, 32, samples)]),
        "one by one": bits([model.predict(x[i : i + 1], verbose=0) for i in range(3)]),
        "slots": {k: bits(v) for k, v in model._optimizer_state()["slots"].items()},
    }


@pytest.mark.parametrize("case", CASES)
def test_thread_count_changes_no_bit(case: str) -> None:
    expected = everything(case, threads=(1, 1))
    for threads in THREADS[1:]:
        assert everything(case, threads=(threads, threads)) == expected, f"{threads} threads"


def test_threads_may_change_between_epochs() -> None:
    assert everything("mission", threads=(1, 7, 2)) == everything("mission", threads=(1, 1, 1))


@pytest.mark.parametrize("case", ["mission", "norm and dropout"])
def test_same_seed_same_bits_other_seed_other_bits(case: str) -> None:
    first = everything(case, seed=11)
    assert everything(case, seed=11) == first
    other = everything(case, seed=12)
    assert other["weights"] != first["weights"]
    assert other["predictions"] != first["predictions"]
    assert other["logs"] != first["logs"]


def test_seed_reaches_dropout_and_shuffling_alone() -> None:
    """From equal weights, another seed still gives another training."""

    def trained(seed: int, rate: float, shuffle: bool) -> list[bytes]:
        keras.utils.set_random_seed(1)
        model = keras.Sequential([layers.Dense(16, input_shape=(8,), activation="relu")])
        weights = model.get_weights()
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [layers.Dense(16, input_shape=(8,), activation="relu"), layers.Dropout(rate), layers.Dense(1)]
        )
        model.layers[0].set_weights(weights)
        model.layers[2].set_weights([np.ones((16, 1)), np.zeros(1)])
        model.compile(optimizer="sgd", loss="mse")
        model.fit(images(40, (8,)), labels(40), batch_size=8, verbose=0, shuffle=shuffle)
        return bits(model.get_weights())

    assert trained(1, 0.0, False) == trained(2, 0.0, False)
    assert trained(1, 0.5, False) != trained(2, 0.5, False)
    assert trained(1, 0.0, True) != trained(2, 0.0, True)


@pytest.mark.parametrize("threads", THREADS)
def test_as_many_threads_work_as_there_are_lanes(threads: int) -> None:
    """The comparison above means something only where the teams were really that large."""
    model = mission_model()
    _core.set_num_threads(threads)
    total = model._current_network().native.explain(100, True)[-1]
    assert total["lanes"] == 7  # blocks of 16
    assert total["threads"] == threads


def test_time_slices_change_no_bit() -> None:
    """How many steps a native call takes depends on the clock; the result does not."""
    x, y = images(100), labels(100).astype(np.float32)
    order = np.random.default_rng(0).permutation(100)
    rates = np.array([1e-3])

    def trained(most: int, limit: float) -> list[bytes]:
        model = mission_model(optimizer="adam")
        model.train_on_batch(x[:1], y[:1])  # makes the trainer
        trainer, begin = model._trainer.native, 0
        while begin < 100:
            begin += trainer.train(x, y, None, order, begin, 100, 32, rates, most, limit, None)["samples"]
        return bits(model.get_weights())

    expected = trained(100, np.inf)
    assert trained(1, np.inf) == expected
    assert trained(100, 0.0) == expected


@pytest.mark.parametrize("penalised", [False, True])
def test_evaluation_below_a_dense_layer_with_many_weights(penalised: bool) -> None:
    """Its lower layers go through a block in turns, but where a penalty wants the whole of it."""
    penalty = [layers.ActivityRegularization(l2=0.01)] if penalised else []
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((40, 40, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(24, 3, activation="relu"),
            *penalty,
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(3),
        ]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    network = model._current_network().native
    assert network.explain(1000, False)[-1]["piece"] < network.explain(1000, False)[-1]["block"]
    x, y = images(37, (40, 40, 3)), np.random.default_rng(0).random((37, 3), np.float32)
    error = model.predict(x, verbose=0).astype(np.float64) - y
    added = 0.0
    if penalised:
        below = keras.Sequential([keras.Input((40, 40, 3)), *model.layers[:2]])
        added = 0.01 * float(np.square(below.predict(x, verbose=0), dtype=np.float64).sum()) / len(x)
    found = []
    for threads in THREADS:
        _core.set_num_threads(threads)
        found.append(model.evaluate(x, y, verbose=0))
    assert len(set(map(tuple, found))) == 1
    assert found[0] == pytest.approx([np.square(error).mean() + added, np.abs(error).mean()], rel=1e-5)
