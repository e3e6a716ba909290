"""Optimizers against Keras: alone on variables, and in `fit`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastcnn

keras = pytest.importorskip("keras")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.parity

NAMES = [
    *("SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Nadam", "Ftrl", "Lion", "Lamb"),
    *("Adafactor", "Muon", "ScheduleFreeAdamW"),
]
COMMON: list[dict[str, Any]] = [
    {},
    {"learning_rate": 0.1, "weight_decay": 0.1},
    {"learning_rate": 0.1, "clipnorm": 0.5},
    {"learning_rate": 0.1, "global_clipnorm": 0.5},
    {"learning_rate": 0.1, "clipvalue": 0.1},
    {"learning_rate": 0.1, "use_ema": True, "ema_momentum": 0.8},
    {"learning_rate": 0.1, "use_ema": True, "ema_overwrite_frequency": 3},
    {"learning_rate": 0.1, "gradient_accumulation_steps": 3},
    {"learning_rate": 0.1, "gradient_accumulation_steps": 3, "use_ema": True, "clipnorm": 1.0},
    {"learning_rate": 0.1, "loss_scale_factor": 4.0},
]
OWN: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"momentum": 0.5, "centered": True}),
    ("Adam", {"amsgrad": True, "beta_1": 0.8, "epsilon": 1e-3}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-4}),
    ("Adagrad", {"initial_accumulator_value": 0.0, "epsilon": 1e-3}),
    ("Adamax", {"beta_1": 0.5, "beta_2": 0.9}),
    ("Nadam", {"beta_1": 0.5, "beta_2": 0.9}),
    ("Ftrl", {"learning_rate": 0.1, "l1_regularization_strength": 0.05, "l2_regularization_strength": 0.1}),
    (
        "Ftrl",
        {"learning_rate": 0.1, "learning_rate_power": -0.75, "l2_shrinkage_regularization_strength": 0.1, "beta": 0.5},
    ),
    ("Lion", {"learning_rate": 0.01, "beta_1": 0.5, "beta_2": 0.9}),
    ("Lamb", {"beta_1": 0.5, "beta_2": 0.9}),
    ("Adafactor", {"learning_rate": 0.5, "clip_threshold": 0.5, "relative_step": False, "beta_2_decay": -0.5}),
    ("Muon", {"learning_rate": 0.1, "nesterov": False, "ns_steps": 3, "rms_rate": None, "adam_lr_ratio": 0.5}),
    ("Muon", {"learning_rate": 0.1, "exclude_layers": ["wide"], "adam_weight_decay": None}),
]
CASES = [(name, settings) for name in NAMES if name != "ScheduleFreeAdamW" for settings in COMMON] + OWN
SHAPES = {"tall": (9, 4), "wide": (5, 7), "bias": (7,), "conv": (3, 3, 2, 4)}


def gradients(steps: int) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(1)
    return [[rng.standard_normal(shape).astype(np.float32) for shape in SHAPES.values()] for _ in range(steps)]


def start(library: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        library.Variable(rng.standard_normal(shape).astype(np.float32), name=name) for name, shape in SHAPES.items()
    ]


def numbers(variable: Any) -> np.ndarray:
    value = variable.value
    return value.detach().numpy() if hasattr(value, "detach") else np.asarray(value)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=str)
def test_twenty_steps_alone(name: str, settings: dict[str, Any]) -> None:
    ours, theirs = start(fastcnn), start(keras)
    mine, original = getattr(fastcnn.optimizers, name)(**settings), getattr(keras.optimizers, name)(**settings)
    for step in gradients(20):
        mine.apply(step, ours)
        original.apply([torch.from_numpy(g) for g in step], theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=2e-5, atol=1e-5)
    # The state too: the same arrays in the same order.
    assert [v.shape for v in mine.variables] == [tuple(v.shape) for v in original.variables]
    for a, b in zip(mine.variables, original.variables):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-4, atol=1e-5)
    assert int(mine.iterations) == int(original.iterations)
    mine.finalize_variable_values(ours)
    original.finalize_variable_values(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"learning_rate": 0.1, "warmup_steps": 5}, {"beta_1": 0.5, "weight_decay": 0.1}]
)
def test_schedule_free_adamw_as_its_equations_say(settings: dict[str, Any]) -> None:
    """Keras on PyTorch reads the old iterate after it has changed it in place, so the oracle is the formula, in double."""
    optimizer = fastcnn.optimizers.ScheduleFreeAdamW(**settings)
    config = {**optimizer.get_config(), **settings}
    beta_1, beta_2, warm = config["beta_1"], config["beta_2"], config["warmup_steps"]
    ours = start(fastcnn)
    y = [numbers(v).astype(np.float64) for v in ours]
    z, v = [a.copy() for a in y], [np.zeros_like(a) for a in y]
    x = [a.copy() for a in y]
    for t, step in enumerate(gradients(20), 1):
        optimizer.apply(step, ours)
        rate = config["learning_rate"] * (min(t / warm, 1.0) if warm else 1.0)
        for i, g in enumerate(step):
            decayed = y[i] * (1 - (config["weight_decay"] or 0.0) * config["learning_rate"])
            x[i] = (decayed - (1 - beta_1) * z[i]) / beta_1
            v[i] = beta_2 * v[i] + (1 - beta_2) * g.astype(np.float64) ** 2
            z[i] = z[i] - rate * g / (np.sqrt(v[i] / (1 - beta_2**t)) + config["epsilon"])
            x[i] = (1 - 1 / t) * x[i] + z[i] / t
            y[i] = (1 - beta_1) * z[i] + beta_1 * x[i]
    for a, b in zip(ours, y):
        np.testing.assert_allclose(numbers(a), b, rtol=1e-5, atol=1e-5)


FIT = [
    *((name, {}) for name in NAMES if name != "ScheduleFreeAdamW"),
    ("SGD", {"use_ema": True, "ema_momentum": 0.7}),
    ("Adam", {"use_ema": True, "ema_overwrite_frequency": 2}),
    ("Adam", {"gradient_accumulation_steps": 4, "global_clipnorm": 0.5}),
    ("SGD", {"gradient_accumulation_steps": 4, "momentum": 0.9}),
    ("AdamW", {"weight_decay": 0.1, "excluded": ["bias"]}),
    ("Lamb", {"gradient_accumulation_steps": 2, "use_ema": True, "clipvalue": 0.01}),
]


@pytest.mark.parametrize(("name", "settings"), FIT, ids=str)
def test_twenty_steps_of_fit(name: str, settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 6, 6, 2)).astype(np.float32), rng.standard_normal((40, 3)).astype(np.float32)

    def model(library: Any) -> Any:
        made = library.Sequential(
            [
                library.Input((6, 6, 2)),
                library.layers.Conv2D(4, 3, activation="tanh"),
                library.layers.Flatten(),
                library.layers.Dense(5, activation="tanh", kernel_regularizer="l2"),
                library.layers.Dense(3),
            ]
        )
        options = {k: v for k, v in settings.items() if k != "excluded"}
        optimizer = getattr(library.optimizers, name)(learning_rate=0.01, **options)
        if "excluded" in settings:
            optimizer.exclude_from_weight_decay(var_names=settings["excluded"])
        made.compile(optimizer=optimizer, loss="mse")
        return made

    ours, theirs = model(fastcnn), model(keras)
    theirs.set_weights(ours.get_weights())
    for made in (ours, theirs):
        made.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0)
    for a, b in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations)


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_swapping_weights_and_averages(swap_on_epoch: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((32, 4)).astype(np.float32), rng.standard_normal((32, 2)).astype(np.float32)

    def everything(library: Any) -> Any:
        saved: list[Any] = []

        class Saved(library.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                saved.append([np.array(w) for w in self.model.get_weights()])

        model = library.Sequential([library.Input((4,)), library.layers.Dense(2)])
        model.set_weights([np.full((4, 2), 0.5), np.zeros(2)])
        model.compile(library.optimizers.SGD(0.2, use_ema=True, ema_momentum=0.9), loss="mse")
        swap = library.callbacks.SwapEMAWeights(swap_on_epoch)
        history = model.fit(
            x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, validation_data=(x, y), callbacks=[swap, Saved()]
        )
        evaluated = model.evaluate(x, y, verbose=0, callbacks=[library.callbacks.SwapEMAWeights()])
        return history.history, saved, model.get_weights(), evaluated, model.predict(x, verbose=0)

    ours, theirs = everything(fastcnn), everything(keras)
    for name, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=1e-5)
    for a, b in zip([*ours[1], ours[2]], [*theirs[1], theirs[2]]):
        for one, other in zip(a, b):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert ours[3] == pytest.approx(theirs[3], rel=1e-5)
    np.testing.assert_allclose(ours[4], theirs[4], rtol=1e-5, atol=1e-6)


def test_swapping_needs_averages() -> None:
    model = fastcnn.Sequential([fastcnn.Input((4,)), fastcnn.layers.Dense(2)])
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="SwapEMAWeights: optimizer: expected one with use_ema=True"):
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0, callbacks=[fastcnn.callbacks.SwapEMAWeights(True)])


@pytest.mark.parametrize("name", NAMES)
def test_configs_are_keras_s(name: str) -> None:
    mine, original = getattr(fastcnn.optimizers, name)(name="o"), getattr(keras.optimizers, name)(name="o")
    ours, theirs = mine.get_config(), original.get_config()
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert ours[key] == (pytest.approx(value) if isinstance(value, float) else value), key
