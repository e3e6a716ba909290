"""Training that goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fastcnn import _messages
from fastcnn.callbacks import state
from fastcnn.callbacks.callback import Callback, Logs
from fastcnn.utils import seed

_FILE = "latest.safetensors"
_OPERATION = "BackupAndRestore"


class BackupAndRestore(Callback):
    """Keeps a backup of the training's state, and begins with it where one is found.

    A program that is started again after an interruption, at whatever moment, goes on where the last backup was made, and comes
    to bit for bit the same weights and history as one that was not interrupted, whether a seed was set or not. The backup
    holds the weights, the optimizer's state and learning rate, the seeds that layers drew, the random streams, the position
    in the epoch, the History and what fastcnn's own callbacks know. Callbacks of one's own take part with `_get_state` and
    `_set_state`. The file is written whole or not at all and holds data only. When training ends it is deleted.

    It works after all other callbacks, wherever it stands in their list. Data that come as batches (a generator, a
    `PyDataset`) cannot be wound to a position: there a backup inside an epoch begins that epoch again with the weights
    that it has.

    Args:
        backup_dir: the folder for the backup, of this training alone; made where it does not exist.
        save_freq: "epoch", or a number of batches: then batches run one by one.
        double_checkpoint: whether the backup before the last one is kept, for the case that the last one cannot be read.
        delete_checkpoint: whether the backup is deleted when training ends.

    Raises:
        ValueError: no folder, or another `save_freq`.

    Example:
        >>> callback = BackupAndRestore("backup")
        >>> # model.fit(x, y, epochs=100, callbacks=[callback])

    See https://keras.io/api/callbacks/backup_and_restore/
    """

    _batches_may_be_joined = True  # `_needs_every_batch` says when not
    _runs_last = True  # what the others have learned by then belongs to the backup
    _saved = ("_batches",)

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: int | Literal["epoch", False] = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        if not backup_dir or not isinstance(backup_dir, (str, os.PathLike)):
            _messages.fail("BackupAndRestore", "backup_dir", "a folder", backup_dir)
        if save_freq != "epoch" and save_freq is not False:
            save_freq = _messages.integer("BackupAndRestore", "save_freq", save_freq)
        self.backup_dir = os.fspath(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._path = os.path.join(self.backup_dir, _FILE)
        self._epoch = 0
        self._batches = 0  # since the last saving
        self._last_batch = -1
        self._rate: Any = None  # before the callbacks of the epoch that runs changed it
        self._inside: dict[str, Any] | None = None  # what begins inside of an epoch: see `on_epoch_begin`

    def _needs_every_batch(self) -> bool:
        return self.save_freq not in ("epoch", False) or super()._needs_every_batch()

    def on_train_begin(self, logs: Logs = None) -> None:
        self._inside, self._batches, self._rate = None, 0, self.model.optimizer.fixed_learning_rate
        for left in Path(self.backup_dir).glob(f".{_FILE}.*"):  # of a program that was killed while it wrote
            left.unlink(missing_ok=True)
        previous = f"{self._path}.bkp"
        for path in (self._path, previous):
            if not os.path.exists(path):
                continue
            try:
                arrays, description = _read(path)
            except (OSError, ValueError, MemoryError) as error:
                if path == self._path and os.path.exists(previous):
                    continue
                raise OSError(
                    f"BackupAndRestore: backup_dir: expected a backup of this training, received {path!r} ({error}); "
                    "delete it to begin anew"
                ) from error
            self._restore(path, arrays, description)
            return

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        self._last_batch = -1
        if self._inside is not None:
            # The callbacks have begun an epoch that had begun before: once more as it was at the backup.
            inside, self._inside = self._inside, None
            state.restore_callbacks(self._callbacks(), inside["callbacks"], inside["arrays"])
            self._last_batch = inside["batch"]
            if inside["rate"] is not None:
                self.model.optimizer.learning_rate = inside["rate"]

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch + 1
        self._last_batch = -1
        self._rate = self.model.optimizer.fixed_learning_rate
        if self.save_freq == "epoch":
            self._save(inside=False)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        if self.save_freq == "epoch" or not self.save_freq:
            return
        self._batches += batch - self._last_batch
        self._last_batch = batch
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save(inside=True)

    def on_train_end(self, logs: Logs = None) -> None:
        if not self.delete_checkpoint:
            return
        for path in (self._path, f"{self._path}.bkp"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):  # somebody else's files are in it, or it never was
            os.rmdir(self.backup_dir)

    # --- the file ------------------------------------------------------------------------------------------------

    def _callbacks(self) -> list[Any]:
        running = getattr(self.model, "_running", None)
        return [self] if running is None else running.callbacks.callbacks

    def _save(self, inside: bool) -> None:
        from fastcnn.saving import native_file, training_state
        from fastcnn.saving.whole_files import written_whole

        model = self.model
        arrays = {f"weights/{i}": variable.value for i, variable in enumerate(model.weights)}
        optimizer = model._optimizer_state()
        for slot, values in optimizer["slots"].items():
            arrays |= {f"slots/{slot}/{i}": value for i, value in enumerate(values)}
        order = None if model._running is None else model._running.order
        position = None if order is None else order.get_state(inside, arrays)
        description = {
            "model": None,
            "optimizer": {
                "iterations": optimizer["iterations"],
                "learning_rate": _number(model.optimizer.fixed_learning_rate),
                "slots": list(optimizer["slots"]),
            },
            "training": {
                **training_state.of_model(model),
                "epoch": self._epoch,
                "batch": self._last_batch,
                "stopped": bool(model.stop_training),
                "rate_before_epoch": _number(self._rate),
                "callbacks": state.of_callbacks(self._callbacks(), arrays),
                "position": position,
            },
        }
        os.makedirs(self.backup_dir, exist_ok=True)
        keep = f"{self._path}.bkp" if self.double_checkpoint else None
        with written_whole(self._path, keep) as file:
            file.write(native_file.to_bytes(arrays, description))

    def _restore(self, path: str, arrays: dict[str, Any], description: dict[str, Any]) -> None:
        """Takes over all of a backup; nothing changes where it does not fit."""
        from fastcnn.saving import training_state

        model, optimizer, training = self.model, description["optimizer"], description["training"]
        weights = _numbered(arrays, "weights/")
        shapes = [value.shape for value in weights]
        if shapes != [variable.shape for variable in model.weights]:
            expected = f"a backup of this model, with {len(model.weights)} weights of its shapes"
            _messages.fail(_OPERATION, "backup_dir", expected, _messages.Text(f"{path!r} with {shapes}"))
        try:
            restore = training_state.checked(model, training)
            slots = {name: _numbered(arrays, f"slots/{name}/") for name in optimizer["slots"]}
            position, order = training["position"], model._running.order
            if order is not None and position is not None:
                order.check_state(position, arrays)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            received = _messages.Text(f"{path!r} with another ({_messages.show(str(error))})")
            _messages.fail(_OPERATION, "backup_dir", "a backup of this training", received)
        model._restore_optimizer_state({"iterations": int(optimizer["iterations"]), "slots": slots})
        model.set_weights(weights)
        restore()
        model._resumable = None
        seed.set_state(training["random"])
        inside = position is not None and position["running"] is not None
        rate = optimizer["learning_rate"]
        if rate is not None:
            model.optimizer.learning_rate = training["rate_before_epoch"] if inside else rate
            self._rate = model.optimizer.learning_rate
        if order is not None and position is not None:
            order.set_state(position, arrays)
        callbacks = training["callbacks"]
        state.restore_callbacks(self._callbacks(), callbacks, arrays)
        if inside:
            self._inside = {"callbacks": callbacks, "arrays": arrays, "batch": int(training["batch"]), "rate": rate}
        model._initial_epoch = _AFTER_ALL if training["stopped"] and not inside else int(training["epoch"])


_AFTER_ALL = 2**62  # an epoch that no training reaches: another callback had ended it


def _number(value: Any) -> float | None:
    return value if isinstance(value, float) else None


def _numbered(arrays: dict[str, Any], prefix: str) -> list[Any]:
    """prefix + "0", prefix + "1" and so on, as far as they are there."""
    found: list[Any] = []
    while f"{prefix}{len(found)}" in arrays:
        found.append(np.asarray(arrays[f"{prefix}{len(found)}"]))
    return found


def _read(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from fastcnn.saving import keras_files, native_file

    arrays, description = native_file.from_bytes(keras_files.read(Path(path), _OPERATION), _OPERATION, path)
    training = (description or {}).get("training")
    if description is None or not isinstance(training, dict) or not {"position", "callbacks"} <= set(training):
        raise ValueError("it is no backup")
    return arrays, description
