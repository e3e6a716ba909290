"""Callbacks that change the learning rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn.callbacks.callback import Callback, Logs
from fastcnn.callbacks.monitor import MonitorCallback
from fastcnn.utils.io import print_message


class ReduceLROnPlateau(MonitorCallback):
    """Lowers the learning rate when a value has not improved for `patience` epochs; adds `learning_rate` to the logs.

    Args:
        monitor: the value's name.
        factor: what the rate is multiplied with, below 1.
        patience: epochs without an improvement after which it is lowered.
        verbose: 1 prints when it is.
        mode: "min", "max" or "auto" (from the name).
        min_delta: the least change that counts as an improvement.
        cooldown: epochs after a lowering that do not count.
        min_lr: the least rate.

    Raises:
        ValueError: `factor` is 1 or more.

    Example:
        >>> callback = ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5, min_lr=0.001)

    See https://keras.io/api/callbacks/reduce_lr_on_plateau/
    """

    _saved = ("best", "cooldown_counter", "wait")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor: expected a number < 1, received {factor!r}")
        super().__init__(monitor, mode, min_delta=min_delta)
        self.factor = factor
        self.min_lr = min_lr
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.cooldown_counter = 0
        self.wait = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self.best = None
        self.cooldown_counter = 0
        self.wait = 0

    def in_cooldown(self) -> bool:
        """Returns whether a lowering was so recent that epochs do not count."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.monitor_op is None:
            self._set_monitor_op()
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        current = self._monitored(logs, "Learning rate reduction is")
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and self._lower(epoch):
                self.cooldown_counter = self.cooldown
                self.wait = 0

    def _lower(self, epoch: int) -> bool:
        optimizer = self.model.optimizer
        old = float(optimizer.learning_rate)
        if old <= self.min_lr:
            return False
        optimizer.learning_rate = max(old * self.factor, self.min_lr)
        if self.verbose > 0:
            print_message(
                f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {float(optimizer.learning_rate)}."
            )
        return True


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch; adds `learning_rate` to the logs.

    Args:
        schedule: a function (epoch, learning rate) -> learning rate, or (epoch) -> learning rate; epochs from 0.
        verbose: 1 prints the rate.

    Example:
        >>> callback = LearningRateScheduler(lambda epoch, rate: rate if epoch < 10 else rate * 0.9)

    See https://keras.io/api/callbacks/learning_rate_scheduler/
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        optimizer = self.model.optimizer
        if not hasattr(optimizer, "learning_rate"):
            raise ValueError(
                f"LearningRateScheduler: model: expected an optimizer with a learning_rate, received {optimizer!r}"
            )
        rate: Any = self._ask(epoch, float(optimizer.learning_rate))
        if not isinstance(rate, (float, np.floating)):
            raise ValueError(f"LearningRateScheduler: schedule: expected it to return a float, received {rate!r}")
        optimizer.learning_rate = rate
        if self.verbose > 0:
            print_message(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def _ask(self, epoch: int, rate: float) -> Any:
        try:
            takes_rate = _accepts_two(self.schedule)
        except (TypeError, ValueError):  # a builtin without a signature
            takes_rate = True
        return self.schedule(epoch, rate) if takes_rate else self.schedule(epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _accepts_two(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(0, 0.0)
    except TypeError:
        return False
    return True
