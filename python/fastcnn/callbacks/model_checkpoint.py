"""Saving while training."""

from __future__ import annotations

import os
import warnings
from typing import Any, Literal

import numpy as np

from fastcnn.callbacks.callback import Logs
from fastcnn.callbacks.monitor import MonitorCallback
from fastcnn.utils.io import print_message


class ModelCheckpoint(MonitorCallback):
    """Saves the model or its weights after epochs, or every so many batches.

    Args:
        filepath: the file; `{epoch}`, `{batch}` and the names of the logs are filled in, as in
            "model-{epoch:02d}-{val_loss:.2f}.safetensors". Folders that do not exist are made. A model goes to a file
            .safetensors (fit with `initial_epoch` goes on from it bit for bit) or .keras, weights to .safetensors, .npz or
            .weights.h5.
        monitor: the value that decides which model is best.
        verbose: 1 prints what is saved.
        save_best_only: whether only a model better than all before is saved.
        save_weights_only: whether the weights alone are saved (`model.save_weights`) or the model (`model.save`).
        mode: "min", "max" or "auto" (from the name).
        save_freq: "epoch", or a number of batches: then batches run one by one.
        initial_value_threshold: a value that the first model must beat to be the best one, or None.

    Raises:
        ValueError: `save_freq` is neither, or another ending of the file's name.

    Example:
        >>> callback = ModelCheckpoint("best.npz", save_best_only=True, save_weights_only=True)

    See https://keras.io/api/callbacks/model_checkpoint/
    """

    _batches_may_be_joined = True  # `_needs_every_batch` says when not

    _saved = ("best", "_batches", "_last_batch")

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: int | Literal["epoch"] = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode, initial_value_threshold)
        if save_freq != "epoch" and (isinstance(save_freq, bool) or not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(
                f"ModelCheckpoint: save_freq: expected 'epoch' or a positive number of batches, received {save_freq!r}"
            )
        self.filepath = os.fspath(filepath)
        endings = (".npz", ".safetensors", ".weights.h5") if save_weights_only else (".safetensors", ".keras")
        if not self.filepath.endswith(endings):
            raise ValueError(
                f"ModelCheckpoint: filepath: expected a name that ends in {' or '.join(endings)} where save_weights_only is "
                f"{save_weights_only}, received {self.filepath!r}"
            )
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._epoch = 0
        self._batches = 0  # since the last saving
        self._last_batch = -1

    def _needs_every_batch(self) -> bool:
        return self.save_freq != "epoch" or super()._needs_every_batch()

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch
        self._last_batch = -1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        if self.save_freq == "epoch":
            return
        self._batches += batch - self._last_batch
        self._last_batch = batch
        if self._batches >= self.save_freq:
            self._batches = 0
            self._save(self._epoch, batch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_best_only and self.monitor_op is None:
            self._set_monitor_op()
        if self.save_freq == "epoch":
            self._save(epoch, None, logs or {})

    def _save(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> None:
        path = self._path(epoch, batch, logs)
        if not self._wanted(epoch, logs, path):
            return
        if os.path.isdir(path):
            raise IsADirectoryError(f"ModelCheckpoint: filepath: expected a file, received the folder {path!r}")
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        if self.save_weights_only:
            self.model.save_weights(path, overwrite=True)
        else:
            self.model.save(path, overwrite=True)
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: finished saving model to {path}")

    def _path(self, epoch: int, batch: int | None, logs: dict[str, Any]) -> str:
        values = dict(logs)
        values["epoch"] = epoch + 1
        if batch is not None:
            values.setdefault("batch", batch + 1)
        try:
            return self.filepath.format(**values)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: filepath: expected names among {', '.join(sorted(values))}, "
                f"received {error} in {self.filepath!r}"
            ) from None

    def _wanted(self, epoch: int, logs: dict[str, Any], path: str) -> bool:
        """Whether this model is to be saved, with the message that says so."""
        say = f"\nEpoch {epoch + 1}: "
        current: Any = logs.get(self.monitor)
        if self.save_best_only and (current is None or np.ndim(current) > 0):
            warnings.warn(
                f"ModelCheckpoint: monitor: expected a number called {self.monitor!r} in the logs, received "
                f"{current!r}; the model is saved whether or not it is the best",
                stacklevel=4,
            )
        elif self.save_best_only:
            best = "None" if self.best is None else f"{self.best:.5f}"
            if not self._is_improvement(current, self.best):
                if self.verbose > 0:
                    print_message(f"{say}{self.monitor} did not improve from {best}")
                return False
            if self.verbose > 0:
                print_message(f"{say}{self.monitor} improved from {best} to {current:.5f}, saving model to {path}")
            self.best = current
        elif self.verbose > 0:
            print_message(f"{say}saving model to {path}")
        return True
