"""Training that goes on where it was interrupted."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn.callbacks.callback import Callback, Logs
from fastcnn.utils.seed import get_shuffle_state, set_shuffle_state

_FILE = "latest.npz"


class BackupAndRestore(Callback):
    """Keeps a backup of the training's state, and begins with it where one is found.

    The backup holds the weights, the optimizer's state, the number of epochs done and the state of the generator that
    shuffles. A program that is started again after an interruption does the epochs that are missing; where it
    calls `utils.set_random_seed` first, the result is bit for bit that of a training without interruption. The file is
    written whole or not at all and holds numbers only. When training ends it is deleted.

    Args:
        backup_dir: the folder for the backup, of this training alone; made where it does not exist.
        save_freq: "epoch", or a number of batches: then batches run one by one. An epoch that was interrupted begins again.
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

    def _needs_every_batch(self) -> bool:
        return self.save_freq not in ("epoch", False) or super()._needs_every_batch()

    def on_train_begin(self, logs: Logs = None) -> None:
        previous = f"{self._path}.bkp"
        for path in (self._path, previous):
            if not os.path.exists(path):
                continue
            try:
                values = _read(path)
            except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile) as error:
                if path == self._path and os.path.exists(previous):
                    continue
                raise OSError(
                    f"BackupAndRestore: backup_dir: expected a backup of this training, received {path!r} ({error}); "
                    "delete it to begin anew"
                ) from error
            self._restore(path, values)
            return

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        self._last_batch = -1

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        if self.save_freq == "epoch" or not self.save_freq:
            return
        self._batches += batch - self._last_batch
        self._last_batch = batch
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save()

    def on_train_end(self, logs: Logs = None) -> None:
        if not self.delete_checkpoint:
            return
        for path in (self._path, f"{self._path}.bkp"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        with contextlib.suppress(OSError):  # somebody else's files are in it, or it never was
            os.rmdir(self.backup_dir)

    # --- the file ------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        state = self.model._optimizer_state()
        arrays: dict[str, Any] = {"epoch": self._epoch, "iterations": state["iterations"]}
        arrays |= {f"weight/{i}": value for i, value in enumerate(self.model.get_weights())}
        arrays |= {f"slot/{slot}/{i}": v for slot, values in state["slots"].items() for i, v in enumerate(values)}
        arrays |= {f"shuffle/{name}": value for name, value in get_shuffle_state().items()}
        os.makedirs(self.backup_dir, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{_FILE}.", dir=self.backup_dir)
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            if self.double_checkpoint and os.path.exists(self._path):
                os.replace(self._path, f"{self._path}.bkp")
            os.replace(temporary, self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def _restore(self, path: str, values: dict[str, NDArray[Any]]) -> None:
        """Takes over all of a backup; nothing changes where it does not fit."""
        model = self.model
        weights = _numbered(values, "weight/")
        shapes = [value.shape for value in weights]
        if shapes != [variable.shape for variable in model.weights]:
            expected = f"a backup of this model, with {len(model.weights)} weights of its shapes"
            _messages.fail("BackupAndRestore", "backup_dir", expected, _messages.Text(f"{path!r} with {shapes}"))
        prefix = "shuffle/"
        shuffle = {name[len(prefix) :]: value for name, value in values.items() if name.startswith(prefix)}
        if set(shuffle) != set(get_shuffle_state()):
            found = _messages.Text(f"{path!r} with {sorted(shuffle)}")
            _messages.fail("BackupAndRestore", "backup_dir", "a backup with the shuffling generator's state", found)
        names = sorted({name.split("/")[1] for name in values if name.startswith("slot/")})
        slots = {name: _numbered(values, f"slot/{name}/") for name in names}
        model._restore_optimizer_state({"iterations": int(values["iterations"]), "slots": slots})
        model.set_weights(weights)
        set_shuffle_state(shuffle)
        model._initial_epoch = int(values["epoch"])


def _numbered(values: dict[str, NDArray[Any]], prefix: str) -> list[NDArray[Any]]:
    """prefix + "0", prefix + "1" and so on, as far as they are there."""
    found: list[NDArray[Any]] = []
    while f"{prefix}{len(found)}" in values:
        found.append(values[f"{prefix}{len(found)}"])
    return found


def _read(path: str) -> dict[str, NDArray[Any]]:
    with np.load(path, allow_pickle=False) as archive:
        values = {name: archive[name] for name in archive.files}
    if not {"epoch", "iterations"} <= set(values):
        raise ValueError("it has no epoch")
    return values
