"""The Python vocabulary around the model against the installed Keras: losses, metrics, initializers, callbacks, bar."""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastcnn import (
    activations,
    callbacks,
    initializers,
    losses,
    metrics,
    optimizers,
    random,
    regularizers,
    utils,
)
from fastcnn.utils import progbar

pytestmark = pytest.mark.parity

# Float32 sums in another order: a few units in the last place of the largest term.
TOLERANCE: dict[str, Any] = {"rtol": 2e-6, "atol": 1e-7}


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def array(value: Any) -> np.ndarray[Any, Any]:
    """A Keras tensor as an array."""
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def signature_of(function: Any) -> dict[str, Any]:
    """Names and defaults of the arguments, those taken in bulk left out."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def same_default(ours: Any, theirs: Any) -> bool:
    return bool(ours == theirs) and (type(ours) is type(theirs) or not isinstance(theirs, bool))


# --- signatures -------------------------------------------------------------------------------------------------------

CLASSES = [
    *[("initializers", cls.__name__) for cls in initializers._CLASSES],
    *[("regularizers", name) for name in ("L1", "L2", "L1L2")],
    *[("losses", name) for name in losses._CLASSES],
    ("losses", "Loss"),
    *[("metrics", name) for name in metrics._CLASSES],
    ("metrics", "MeanMetricWrapper"),
    ("metrics", "Metric"),
    *[("optimizers", name) for name in ("SGD", "Adam", "AdamW", "RMSprop")],
    *[("callbacks", name) for name in callbacks.__all__],
    *[("losses", name) for name in losses._BY_FUNCTION],
    *[("metrics", name) for names in metrics._PLACES.values() for name in names if name[0].islower()],
    *[("activations", name) for name in ("linear", "relu", "sigmoid", "tanh", "softmax")],
    *[("random", name) for name in ("normal", "uniform", "truncated_normal", "randint", "shuffle", "SeedGenerator")],
    ("utils", "Progbar"),
    ("utils", "to_categorical"),
    ("utils", "normalize"),
    ("utils", "set_random_seed"),
]
MODULES: dict[str, Any] = {
    "initializers": initializers,
    "regularizers": regularizers,
    "losses": losses,
    "metrics": metrics,
    "optimizers": optimizers,
    "callbacks": callbacks,
    "activations": activations,
    "random": random,
    "utils": utils,
}


@pytest.mark.parametrize(("module", "name"), CLASSES)
def test_arguments_have_keras_s_names_order_and_defaults(keras: Any, module: str, name: str) -> None:
    ours = signature_of(getattr(MODULES[module], name))
    theirs = signature_of(getattr(getattr(keras, module), name))
    assert list(ours) == list(theirs)
    assert [key for key in ours if not same_default(ours[key], theirs[key])] == []


CONFIGURED = [
    (module, name)
    for module, name in CLASSES
    if hasattr(getattr(MODULES[module], name), "get_config") and name not in ("MeanMetricWrapper", "Loss", "Metric")
]


@pytest.mark.parametrize(("module", "name"), CONFIGURED)
def test_configs_have_keras_s_keys(keras: Any, module: str, name: str) -> None:
    ours, theirs = getattr(MODULES[module], name), getattr(getattr(keras, module), name)
    # Keras forgets some arguments, which would be lost with the config.
    forgotten = {
        "Identity": {"gain"},
        "SparseCategoricalCrossentropy": {"axis"},
        "CosineSimilarity": {"axis"},
        "Huber": {"delta"},
    }
    values = {"num_classes": 3, "target_class_ids": [0, 2]}
    needed = {
        key: values.get(key, 0.4) for key, default in signature_of(ours).items() if default is inspect.Parameter.empty
    }
    made, wanted = ours(**needed).get_config(), theirs(**needed).get_config()
    assert set(made) >= set(wanted)
    assert set(made) - set(wanted) <= forgotten.get(name, set())
    assert ours.from_config(made).get_config() == made


# --- the rest of the vocabulary ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["linear", "relu", "sigmoid", "tanh", "softmax"])
def test_activations(keras: Any, name: str) -> None:
    x = rng().normal(size=(4, 5, 6)).astype(np.float32) * 3
    expected = array(getattr(keras.activations, name)(x))
    np.testing.assert_allclose(getattr(activations, name)(x), expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("settings", [{"negative_slope": 0.2}, {"max_value": 1.5}, {"threshold": 0.5}, {}], ids=str)
def test_relu_with_settings(keras: Any, settings: dict[str, float]) -> None:
    x = rng().normal(size=(50,)).astype(np.float32) * 2
    expected = array(keras.activations.relu(x, **settings))
    np.testing.assert_allclose(activations.relu(x, **settings), expected, **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (cls.__name__, shape)
        for cls in initializers._CLASSES
        for shape in ((200, 150), (3, 3, 40, 60))
        if cls is not initializers.Identity or len(shape) == 2
    ],
)
def test_initializers_have_keras_s_distribution(keras: Any, name: str, shape: tuple[int, ...]) -> None:
    seed = {"seed": 5} if "seed" in signature_of(getattr(initializers, name)) else {}
    ours = getattr(initializers, name)(**seed)
    theirs = getattr(keras.initializers, name)(**seed)
    a, b = ours(shape), array(theirs(shape))
    assert a.dtype == b.dtype == np.float32
    assert a.shape == b.shape
    scale = max(float(np.abs(b).max()), 1e-12)
    # 20,000 and more values: moments agree within a few percent, ranges too.
    assert a.mean() == pytest.approx(b.mean(), abs=0.02 * scale)
    assert a.std() == pytest.approx(b.std(), rel=0.03)
    assert np.abs(a).max() == pytest.approx(scale, rel=0.35 if "Normal" in name or name == "Orthogonal" else 0.01)
    # The same object gives the same values again.
    assert np.array_equal(a, ours(shape)) == np.array_equal(b, array(theirs(shape)))


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2"])
def test_regularizers(keras: Any, name: str) -> None:
    x = rng().normal(size=(30, 20)).astype(np.float32)
    settings = dict.fromkeys(signature_of(getattr(regularizers, name)), 0.03)
    expected = float(getattr(keras.regularizers, name)(**settings)(keras.ops.convert_to_tensor(x)))
    assert getattr(regularizers, name)(**settings)(x) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("labels", [[0, 2, 1], [[0], [2]], [[0, 1], [2, 0]]], ids=str)
@pytest.mark.parametrize("classes", [None, 5])
def test_to_categorical(keras: Any, labels: Any, classes: int | None) -> None:
    ours, theirs = utils.to_categorical(labels, classes), keras.utils.to_categorical(labels, classes)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("axis", "order"), [(-1, 2), (1, 2), (1, 1)])
def test_normalize(keras: Any, axis: int, order: int) -> None:
    x = rng().normal(size=(4, 6))
    x[1] = 0
    np.testing.assert_allclose(utils.normalize(x, axis, order), keras.utils.normalize(x, axis, order))


def test_names_that_keras_makes() -> None:
    pytest.importorskip("keras")
    from keras.src.utils.naming import to_snake_case

    from fastcnn import _naming

    for module, name in CLASSES:
        assert _naming.to_snake_case(name) == to_snake_case(name), module


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_optimizer_configs(keras: Any, name: str) -> None:
    ours, theirs = (
        getattr(optimizers, name)(name="o").get_config(),
        getattr(keras.optimizers, name)(name="o").get_config(),
    )
    assert theirs.pop("learning_rate") == pytest.approx(ours.pop("learning_rate"), rel=1e-6)  # float32 there
    assert ours == theirs


# --- progress bar -----------------------------------------------------------------------------------------------------


class Clock:
    """The time that both bars are told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(keras: Any, monkeypatch: pytest.MonkeyPatch) -> Clock:
    from keras.src.utils import progbar as keras_progbar

    clock = Clock()
    monkeypatch.setattr(progbar, "perf_counter", clock)
    monkeypatch.setattr(keras_progbar, "time", SimpleNamespace(time=clock))
    return clock


def printed(clock: Clock, make: Callable[[], Any], script: Callable[[Any], Iterator[float]]) -> str:
    """What a bar prints, `script` yielding the seconds that pass."""
    clock.now = 1000.0
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        for seconds in script(make()):
            clock.now += seconds
    return stream.getvalue()


def epoch(steps: int, pace: float) -> Callable[[Any], Iterator[float]]:
    def script(bar: Any) -> Iterator[float]:
        yield pace * 3  # the first step is slower
        for step in range(1, steps + 1):
            bar.update(step, [("accuracy", 0.5 + step / 1000), ("loss", 1 / step**3)], finalize=False)
            yield pace
        bar.update(steps, [("accuracy", 0.7), ("loss", 0.25), ("val_loss", 0.5)], finalize=True)

    return script


@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.parametrize("pace", [3e-5, 0.004, 0.06, 2.5, 700.0])
@pytest.mark.parametrize("steps", [1, 7, 10, 120])
@pytest.mark.parametrize("names", [{}, {"stateful_metrics": ["loss"]}, {"stateless_metrics": ()}], ids=str)
def test_the_bar_prints_what_keras_prints(
    keras: Any, clock: Clock, verbose: int, pace: float, steps: int, names: dict[str, Any]
) -> None:
    theirs = printed(clock, lambda: keras.utils.Progbar(steps, verbose=verbose, **names), epoch(steps, pace))
    ours = printed(clock, lambda: utils.Progbar(steps, verbose=verbose, **names), epoch(steps, pace))
    assert ours == theirs
    assert bool(ours) == (verbose > 0)


@pytest.mark.parametrize("target", [None, 9])
def test_add_without_a_target_and_over_it(keras: Any, clock: Clock, target: int | None) -> None:
    def script(bar: Any) -> Iterator[float]:
        for size in (1, 4, 4, 3):
            bar.add(size, values=[("loss", np.float32(0.5 * size)), ("wrong", np.array([-1.0, -2.0]))])
            yield 0.2

    settings: dict[str, Any] = {"width": 13, "unit_name": "sample"}
    theirs = printed(clock, lambda: keras.utils.Progbar(target, **settings), script)
    assert printed(clock, lambda: utils.Progbar(target, **settings), script) == theirs


def test_the_logger_prints_what_keras_prints(keras: Any, clock: Clock) -> None:
    def run(module: Any) -> Callable[[Any], Iterator[float]]:
        def script(_: Any) -> Iterator[float]:
            # Not through a CallbackList: Keras's calls its callbacks from another thread, at another time.
            runner = module.ProgbarLogger()
            runner.set_params({"verbose": 1, "epochs": 2, "steps": 30})
            runner.on_train_begin()
            for number in range(2):
                runner.on_epoch_begin(number)
                for batch in range(30):
                    runner.on_train_batch_begin(batch)
                    yield 0.03
                    runner.on_train_batch_end(batch, {"loss": 1 / (batch + 1), "accuracy": 0.5})
                runner.on_epoch_end(number, {"loss": 0.1, "accuracy": 0.75, "val_loss": 0.3})
            runner.on_train_end()

        return script

    theirs = printed(clock, lambda: None, run(keras.callbacks))
    assert "Epoch 2/2" in theirs
    assert printed(clock, lambda: None, run(callbacks)) == theirs


# --- callbacks --------------------------------------------------------------------------------------------------------


class FakeModel:
    """What callbacks touch of a model: weights (the epoch's number), optimizer, metrics."""

    def __init__(self, metric_list: list[Any]) -> None:
        self.metrics = metric_list
        self.optimizer = SimpleNamespace(learning_rate=1.0, name="sgd")
        self.stop_training = False
        self.weights: Any = -1
        self.history: Any = None

    def get_weights(self) -> Any:
        return self.weights

    def set_weights(self, weights: Any) -> None:
        self.weights = weights


def fake_fit(module: Any, callback: Any, values: list[float]) -> tuple[Any, ...]:
    """Runs a callback over epochs with the given val_loss; returns all that may differ."""
    model = FakeModel([])
    runner = module.CallbackList([callback], add_history=True, model=model, verbose=0, epochs=len(values), steps=1)
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        runner.on_train_begin()
        for number, value in enumerate(values):
            runner.on_epoch_begin(number)
            model.weights = number
            runner.on_epoch_end(number, {"loss": value, "val_loss": value})
            if model.stop_training:
                break
        runner.on_train_end()
    return model.history.history, model.weights, model.optimizer.learning_rate, model.stop_training, stream.getvalue()


CURVES = {
    "falling": [1.0, 0.9, 0.8, 0.7, 0.6],
    "rising": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "plateau": [1.0, 0.5, 0.5, 0.5, 0.49, 0.5, 0.5, 0.3, 0.5, 0.5, 0.5],
    "nan": [float("nan")] * 4,
    "late nan": [1.0, 0.5, float("nan"), 0.4, 0.6, 0.7],
}
MONITORS: list[tuple[str, dict[str, Any]]] = [
    ("EarlyStopping", {}),
    ("EarlyStopping", {"patience": 2, "restore_best_weights": True, "verbose": 1}),
    ("EarlyStopping", {"patience": 1, "min_delta": 0.15, "mode": "min"}),
    ("EarlyStopping", {"patience": 2, "mode": "max", "restore_best_weights": True}),
    ("EarlyStopping", {"patience": 2, "baseline": 0.55, "restore_best_weights": True}),
    ("EarlyStopping", {"patience": 1, "start_from_epoch": 3, "restore_best_weights": True}),
    ("ReduceLROnPlateau", {"patience": 1, "factor": 0.5, "verbose": 1}),
    ("ReduceLROnPlateau", {"patience": 2, "factor": 0.1, "cooldown": 2, "min_lr": 0.05, "verbose": 1}),
    ("ReduceLROnPlateau", {"patience": 1, "min_delta": 0.2, "mode": "max"}),
]


@pytest.mark.parametrize("curve", list(CURVES))
@pytest.mark.parametrize(("name", "settings"), MONITORS, ids=str)
def test_monitors_decide_as_keras_s(keras: Any, name: str, settings: dict[str, Any], curve: str) -> None:
    theirs = fake_fit(keras.callbacks, getattr(keras.callbacks, name)(**settings), CURVES[curve])
    ours = fake_fit(callbacks, getattr(callbacks, name)(**settings), CURVES[curve])
    np.testing.assert_equal(ours[0], theirs[0])
    assert ours[1:] == theirs[1:]


@pytest.mark.parametrize("schedule", [lambda epoch, rate: rate * 0.5, lambda epoch: 0.1 / (epoch + 1)])
def test_scheduler(keras: Any, schedule: Callable[..., float]) -> None:
    theirs = fake_fit(keras.callbacks, keras.callbacks.LearningRateScheduler(schedule, verbose=1), [1.0, 0.5])
    assert fake_fit(callbacks, callbacks.LearningRateScheduler(schedule, verbose=1), [1.0, 0.5]) == theirs


@pytest.mark.parametrize("settings", [{}, {"separator": ";"}, {"append": True}], ids=str)
def test_csv_files_are_those_of_keras(keras: Any, tmp_path: Any, settings: dict[str, Any]) -> None:
    for module, name in ((keras.callbacks, "theirs.csv"), (callbacks, "ours.csv")):
        for _ in range(2):
            fake_fit(module, module.CSVLogger(str(tmp_path / name), **settings), [1.0, 0.25])
    ours, theirs = (tmp_path / "ours.csv").read_bytes(), (tmp_path / "theirs.csv").read_bytes()
    assert ours == theirs
    assert b"val_loss" in ours
