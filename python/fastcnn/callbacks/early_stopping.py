"""Stopping when training no longer helps."""

from __future__ import annotations

from typing import Any

from fastcnn.callbacks.callback import Logs
from fastcnn.callbacks.monitor import MonitorCallback
from fastcnn.utils.io import print_message


class EarlyStopping(MonitorCallback):
    """Stops training when a value has not improved for `patience` epochs.

    Args:
        monitor: the value's name.
        min_delta: the least change that counts as an improvement.
        patience: epochs without one after which training stops.
        verbose: 1 prints when it stops.
        mode: "min", "max" or "auto" (from the name).
        baseline: a value that must be beaten within `patience` epochs, or None.
        restore_best_weights: whether the model gets the weights of its best epoch at the end.
        start_from_epoch: epochs before it do not count.

    Example:
        >>> callback = EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True)

    See https://keras.io/api/callbacks/early_stopping/
    """

    _saved = ("wait", "stopped_epoch", "best", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._forget()

    def _forget(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best = None
        self.best_weights: Any = None
        self.best_epoch = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._forget()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.monitor_op is None:
            self._set_monitor_op()
        current = self._monitored(logs, "Early stopping")
        if current is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        improved = self._is_improvement(current, self.best)
        # The first epoch's weights are kept even where its value is NaN and no improvement on anything.
        if self.restore_best_weights and (improved or self.best_weights is None):
            self.best_weights = self.model.get_weights()
            self.best_epoch = epoch
        if improved:
            self.best = current
            self.best_epoch = epoch
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch > 0 and self.verbose > 0:
            print_message(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose > 0:
                print_message(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)
