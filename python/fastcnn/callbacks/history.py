"""The record that `fit` returns."""

from __future__ import annotations

from typing import Any

from fastcnn.callbacks.callback import Callback, Logs


class History(Callback):
    """Keeps the logs of every epoch. `fit` always adds one and returns it.

    Attributes:
        history: name -> list of its values, one an epoch.
        epoch: the epochs' numbers, from 0.

    Example:
        >>> record = History()
        >>> record.on_train_begin()
        >>> record.on_epoch_end(0, {"loss": 0.5})
        >>> record.history
        {'loss': [0.5]}

    See https://keras.io/api/callbacks/
    """

    _saved = ("history", "epoch")

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def _get_state(self) -> dict[str, Any]:
        return {"history": {name: list(values) for name, values in self.history.items()}, "epoch": list(self.epoch)}

    def on_train_begin(self, logs: Logs = None) -> None:
        self.epoch = []

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        if self.model is not None:
            self.model.history = self
