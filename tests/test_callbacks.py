"""Callbacks: hooks, when they need every batch, what each one does to a model."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from fastcnn import callbacks, metrics, optimizers

HOOKS = [
    *("on_train_begin", "on_train_end", "on_test_begin", "on_test_end", "on_predict_begin", "on_predict_end"),
    *("on_epoch_begin", "on_epoch_end", "on_batch_begin", "on_batch_end"),
    *("on_train_batch_begin", "on_train_batch_end", "on_test_batch_begin", "on_test_batch_end"),
    *("on_predict_batch_begin", "on_predict_batch_end"),
]


class Model:
    """What callbacks touch of a model."""

    def __init__(self, *metric_list: metrics.Metric) -> None:
        self.metrics = list(metric_list)
        self.optimizer = optimizers.SGD(1.0)
        self.stop_training = False
        self.history: Any = None
        self.weights = [np.array(0.0)]
        self.saved: list[str] = []

    def get_weights(self) -> list[Any]:
        return [weight.copy() for weight in self.weights]

    def set_weights(self, weights: list[Any]) -> None:
        self.weights = weights

    def save_weights(self, filepath: str, overwrite: bool = False) -> None:
        assert overwrite
        self.saved.append(filepath)


def fit(model: Any, callback: Any, epochs: list[dict[str, float]], batches: int = 1) -> callbacks.History:
    """Drives a callback as `fit` does; epoch k ends with weights of k."""
    runner = callbacks.CallbackList(
        [callback], add_history=True, model=model, verbose=0, epochs=len(epochs), steps=batches
    )
    model.stop_training = False
    runner.on_train_begin()
    for number, logs in enumerate(epochs):
        runner.on_epoch_begin(number)
        for batch in range(batches):
            runner.on_train_batch_begin(batch)
            runner.on_train_batch_end(batch, logs)
            if model.stop_training:
                break
        model.weights = [np.array(float(number))]
        runner.on_epoch_end(number, logs)
        if model.stop_training:
            break
    runner.on_train_end()
    history: callbacks.History = model.history
    return history


def losses(*values: float) -> list[dict[str, float]]:
    return [{"val_loss": value} for value in values]


# --- base and list ----------------------------------------------------------------------------------------------------


def test_every_hook_reaches_every_callback() -> None:
    seen: list[tuple[str, tuple[Any, ...]]] = []

    def record(hook: str) -> Any:
        return lambda self, *args, **kwargs: seen.append((hook, args))

    recorder = type("Recorder", (callbacks.Callback,), {hook: record(hook) for hook in HOOKS})
    runner = callbacks.CallbackList([recorder(), [recorder()]])
    for hook in HOOKS:
        seen.clear()
        arguments = (3,) if "batch" in hook or "epoch" in hook else ()
        getattr(runner, hook)(*arguments, {"loss": np.float32(0.5)})
        assert seen == [(hook, (*arguments, {"loss": 0.5}))] * 2


def test_the_old_batch_hooks_are_called_by_the_new_ones() -> None:
    class Old(callbacks.Callback):
        seen: ClassVar[list[Any]] = []

        def on_batch_begin(self, batch: int, logs: Any = None) -> None:
            self.seen.append(("begin", batch))

        def on_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen.append(("end", batch, logs))

    runner = callbacks.CallbackList(Old())
    runner.on_train_batch_begin(2)
    runner.on_train_batch_end(2, {"loss": 1})
    assert Old.seen == [("begin", 2), ("end", 2, {"loss": 1.0})]
    assert runner.batch_hooks


def test_logs_are_sorted_floats_shared_by_the_callbacks() -> None:
    class Adds(callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            assert [*logs] == ["accuracy", "loss"]
            assert type(logs["loss"]) is float
            logs["extra"] = 1

    given = {"loss": np.float32(0.5), "accuracy": 1}
    history = callbacks.History()
    runner = callbacks.CallbackList([Adds(), history])
    runner.on_train_begin()
    runner.on_epoch_end(0, given)
    assert history.history == {"accuracy": [1.0], "loss": [0.5], "extra": [1]}
    assert "extra" not in given


def test_model_params_and_defaults() -> None:
    model, callback = Model(), callbacks.Callback()
    runner = callbacks.CallbackList(
        [callback], add_history=True, add_progbar=True, model=model, epochs=3, verbose=0, steps=None
    )
    assert callback.model is model
    assert callback.params == {"epochs": 3, "verbose": 0, "steps": None}
    assert [type(c).__name__ for c in runner.callbacks] == ["Callback", "History", "ProgbarLogger"]
    again = callbacks.CallbackList(runner.callbacks, add_history=True, add_progbar=True, model=model)
    assert len(again.callbacks) == 3
    assert model.history is again.callbacks[1]


@pytest.mark.parametrize("wrong", [3, "EarlyStopping", callbacks.History, [callbacks.History]])
def test_what_is_no_callback(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^CallbackList: callbacks: expected Callback objects, received "):
        callbacks.CallbackList([callbacks.History(), wrong])


class EndsBatches(callbacks.Callback):
    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


class EndsEpochs(callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        pass

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


class OwnStop(callbacks.TerminateOnNaN):
    def on_batch_end(self, batch: int, logs: Any = None) -> None:
        pass


@pytest.mark.parametrize(
    ("callback", "needed"),
    [
        (callbacks.Callback(), False),
        (EndsEpochs(), False),
        (EndsBatches(), True),
        (OwnStop(), True),
        (type("Below", (EndsBatches,), {})(), True),
        (callbacks.TerminateOnNaN(), False),
        (callbacks.ProgbarLogger(), False),
        (callbacks.EarlyStopping(), False),
        (callbacks.ModelCheckpoint("a.npz", save_weights_only=True), False),
        (callbacks.ModelCheckpoint("a.npz", save_weights_only=True, save_freq=5), True),
        (callbacks.LambdaCallback(on_epoch_end=print), False),
        (callbacks.LambdaCallback(on_train_batch_end=print), True),
        (callbacks.LambdaCallback(on_batch_begin=print), True),
        (callbacks.CallbackList([EndsBatches()]), True),
        (SimpleNamespace(on_epoch_end=None), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_who_needs_every_batch(callback: Any, needed: bool) -> None:
    assert callbacks.CallbackList([callback]).batch_hooks is needed


# --- EarlyStopping ----------------------------------------------------------------------------------------------------


def test_early_stopping_waits_and_restores(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    history = fit(model, stopping, losses(1.0, 0.5, 0.6, 0.7, 0.1))
    assert history.epoch == [0, 1, 2, 3]
    assert model.weights[0] == 1
    assert (stopping.stopped_epoch, stopping.best_epoch, stopping.best) == (3, 1, 0.5)
    assert capsys.readouterr().out == (
        "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n"
    )
    fit(model, stopping, losses(1.0, 0.9))  # a second fit starts anew
    assert (stopping.stopped_epoch, stopping.best_epoch) == (0, 1)


@pytest.mark.parametrize(
    ("settings", "values", "epochs"),
    [
        ({"patience": 1}, (1.0, 0.95, 0.9, 0.85), 4),
        ({"patience": 1, "min_delta": 0.2}, (1.0, 0.95, 0.9, 0.85), 2),
        ({"patience": 1, "mode": "max"}, (1.0, 0.9, 0.8, 0.7), 2),
        ({"patience": 2, "baseline": 0.5}, (1.0, 0.9, 0.8, 0.8), 4),
        ({"patience": 1, "start_from_epoch": 2}, (1.0, 2.0, 3.0, 4.0), 4),
        ({"patience": 2}, (float("nan"),) * 4, 3),
    ],
    ids=str,
)
def test_when_early_stopping_stops(settings: dict[str, Any], values: tuple[float, ...], epochs: int) -> None:
    model = Model()
    history = fit(model, callbacks.EarlyStopping(**settings), losses(*values))
    assert len(history.epoch) == epochs


def test_the_direction_is_the_metric_s() -> None:
    model = Model(metrics.BinaryAccuracy(name="accuracy"))
    stopping = callbacks.EarlyStopping(monitor="val_accuracy", patience=1)
    fit(model, stopping, [{"val_accuracy": value} for value in (0.5, 0.6, 0.7)])
    assert stopping.stopped_epoch == 0
    unknown = callbacks.EarlyStopping(monitor="val_score")
    with pytest.raises(ValueError, match=r"^EarlyStopping: mode: expected 'min' or 'max', .*'val_score' is better"):
        fit(model, unknown, [{"val_score": 1.0}])


def test_a_monitored_value_that_is_not_there() -> None:
    with pytest.warns(UserWarning, match=r"conditioned on metric `val_loss` which is not available.*are: loss"):
        fit(Model(), callbacks.EarlyStopping(), [{"loss": 1.0}])
    with pytest.warns(UserWarning, match=r"^EarlyStopping: mode: expected 'auto', 'min' or 'max', received 'least'"):
        assert callbacks.EarlyStopping(mode="least").mode == "auto"


# --- ModelCheckpoint --------------------------------------------------------------------------------------------------


def test_checkpoints_after_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    pattern = tmp_path / "new" / "w-{epoch:02d}-{val_loss:.2f}.npz"
    fit(model, callbacks.ModelCheckpoint(pattern, save_weights_only=True, verbose=1), losses(1.0, 0.5))
    assert [Path(name).name for name in model.saved] == ["w-01-1.00.npz", "w-02-0.50.npz"]
    assert (tmp_path / "new").is_dir()
    assert capsys.readouterr().out.splitlines()[:2] == ["", f"Epoch 1: saving model to {model.saved[0]}"]


def test_only_the_best_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    path = str(tmp_path / "{epoch}.npz")
    checkpoint = callbacks.ModelCheckpoint(path, save_weights_only=True, save_best_only=True, verbose=1)
    fit(model, checkpoint, losses(1.0, 0.5, 0.7, 0.4))
    assert [Path(name).stem for name in model.saved] == ["1", "2", "4"]
    lines = capsys.readouterr().out.splitlines()
    assert "Epoch 3: val_loss did not improve from 0.50000" in lines
    assert f"Epoch 4: val_loss improved from 0.50000 to 0.40000, saving model to {model.saved[-1]}" in lines
    model.saved.clear()
    threshold = callbacks.ModelCheckpoint(
        path, save_weights_only=True, save_best_only=True, initial_value_threshold=0.6
    )
    fit(model, threshold, losses(1.0, 0.5))
    assert [Path(name).stem for name in model.saved] == ["2"]


def test_without_the_monitored_value_all_are_saved(tmp_path: Path) -> None:
    model = Model()
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "{epoch}.npz", save_weights_only=True, save_best_only=True)
    with pytest.warns(UserWarning, match=r"^ModelCheckpoint: monitor: expected a number called 'val_loss'"):
        fit(model, checkpoint, [{"loss": 1.0}])
    assert len(model.saved) == 1


def test_checkpoints_after_batches(tmp_path: Path) -> None:
    model = Model()
    path = tmp_path / "{epoch}-{batch}.npz"
    fit(model, callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=4), losses(1.0, 1.0), batches=6)
    assert [Path(name).stem for name in model.saved] == ["1-4", "2-2", "2-6"]


def test_checkpoints_of_whole_models(tmp_path: Path) -> None:
    checkpoint = callbacks.ModelCheckpoint(tmp_path / "whole.keras")
    saved = []
    model = Model()
    model.save = lambda path, overwrite: saved.append(path)  # type: ignore[attr-defined]
    fit(model, checkpoint, losses(1.0))
    assert saved == [str(tmp_path / "whole.keras")]


def test_wrong_checkpoints(tmp_path: Path) -> None:
    for freq in (0, "step", 1.5, True):
        with pytest.raises(ValueError, match=r"^ModelCheckpoint: save_freq: expected 'epoch' or a positive number"):
            callbacks.ModelCheckpoint("a.npz", save_weights_only=True, save_freq=freq)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^ModelCheckpoint: filepath: expected a name that ends in .npz .*'a.h5'$"):
        callbacks.ModelCheckpoint("a.h5", save_weights_only=True)
    missing = callbacks.ModelCheckpoint(str(tmp_path / "{nothing}.npz"), save_weights_only=True)
    with pytest.raises(KeyError, match=r"filepath: expected names among epoch, val_loss, received 'nothing'"):
        fit(Model(), missing, losses(1.0))
    (tmp_path / "folder.npz").mkdir()
    folder = callbacks.ModelCheckpoint(tmp_path / "folder.npz", save_weights_only=True)
    with pytest.raises(IsADirectoryError, match=r"^ModelCheckpoint: filepath: expected a file, received the folder"):
        fit(Model(), folder, losses(1.0))


# --- learning rate ----------------------------------------------------------------------------------------------------


def test_reduce_on_plateau(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    reduce = callbacks.ReduceLROnPlateau(factor=0.5, patience=2, cooldown=1, min_lr=0.2, verbose=1)
    history = fit(model, reduce, losses(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0))
    assert history.history["learning_rate"] == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    assert "Epoch 3: ReduceLROnPlateau reducing learning rate to 0.5." in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"^ReduceLROnPlateau: factor: expected a number < 1, received 1.0$"):
        callbacks.ReduceLROnPlateau(factor=1.0)


def test_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    history = fit(model, callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2, verbose=1), losses(1, 1))
    assert history.history["learning_rate"] == [0.5, 0.25]
    assert "Epoch 2: LearningRateScheduler setting learning rate to 0.25." in capsys.readouterr().out
    fit(model, callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1)), losses(1, 1))
    assert model.optimizer.learning_rate == pytest.approx(0.2)
    with pytest.raises(
        ValueError, match=r"^LearningRateScheduler: schedule: expected it to return a float, received 'fast'"
    ):
        fit(model, callbacks.LearningRateScheduler(lambda epoch: "fast"), losses(1))  # type: ignore[arg-type,return-value]


def test_errors_inside_a_schedule_come_through() -> None:
    def broken(epoch: int, rate: float) -> float:
        raise TypeError("inside")

    with pytest.raises(TypeError, match=r"^inside$"):
        fit(Model(), callbacks.LearningRateScheduler(broken), losses(1))


# --- files and the rest -----------------------------------------------------------------------------------------------


def read(path: Path, separator: str = ",") -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=separator))


def test_csv_logger(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    epochs = [{"loss": 1.0, "val_loss": 2.0}, {"loss": 0.5}]
    fit(Model(), callbacks.CSVLogger(path), epochs)
    assert read(path) == [["epoch", "loss", "val_loss"], ["0", "1.0", "2.0"], ["1", "0.5", "NA"]]
    fit(Model(), callbacks.CSVLogger(path, append=True), epochs[:1])
    assert read(path)[3:] == [["0", "1.0", "2.0"]]
    fit(Model(), callbacks.CSVLogger(path, separator=";"), epochs[1:])
    assert read(path, ";") == [["epoch", "loss", "val_loss"], ["0", "0.5", "NA"]]


def test_csv_logger_closes_its_file(tmp_path: Path) -> None:
    logger = callbacks.CSVLogger(tmp_path / "log.csv")
    fit(Model(), logger, losses(1.0))
    assert logger.csv_file is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_terminate_on_nan(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    model = Model()
    history = fit(model, callbacks.TerminateOnNaN(), [{"loss": 1.0}, {"loss": value}, {"loss": 1.0}], batches=3)
    assert history.epoch == [0, 1]
    assert capsys.readouterr().out == "Batch 0: Invalid loss, terminating training\n"
    with pytest.raises(RuntimeError, match=r"^TerminateOnNaN: loss: expected a finite number at batch 0"):
        fit(model, callbacks.TerminateOnNaN(raise_error=True), [{"loss": value}])


def test_lambda_callback() -> None:
    seen: list[Any] = []
    callback = callbacks.LambdaCallback(
        on_train_begin=lambda logs: seen.append("begin"),
        on_train_batch_end=lambda batch, logs: seen.append(batch),
        on_test_begin=lambda logs: seen.append("test"),
    )
    fit(Model(), callback, losses(1.0), batches=2)
    callbacks.CallbackList([callback]).on_test_begin()
    assert seen == ["begin", 0, 1, "test"]


def test_history_of_two_fits_goes_on() -> None:
    history = callbacks.History()
    model = Model()
    fit(model, history, losses(1.0, 0.5))
    fit(model, history, losses(0.25))
    assert history.history == {"val_loss": [1.0, 0.5, 0.25]}
    assert model.history is history


def test_the_logger_is_silent_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    logger = callbacks.ProgbarLogger()
    fit(Model(), logger, losses(1.0))
    assert capsys.readouterr().out == ""
    runner = callbacks.CallbackList([logger], model=Model(), verbose=2, epochs=1, steps=4)
    runner.on_epoch_begin(0)
    runner.on_epoch_end(0, {"loss": 0.5})
    line = capsys.readouterr().out
    assert line.startswith("4/4 - ")
    assert line.endswith("/step - loss: 0.5000\n")
