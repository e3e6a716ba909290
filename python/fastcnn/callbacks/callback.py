"""The base of the callbacks: all hooks, doing nothing."""

from __future__ import annotations

from typing import Any, ClassVar

Logs = dict[str, Any] | None

_TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class Callback:
    """Base of the callbacks: override the hooks that matter.

    `logs` holds the loss and the metrics: at the end of a batch averages since the epoch began, at the end of the epoch
    those of all its batches, and `val_...`. A callback that overrides a hook for training batches gets one call a
    batch; otherwise many batches run in one native call.

    Attributes:
        model: the model that runs, once it runs.
        params: verbose, epochs and steps of the run.

    Example:
        >>> class Stop(Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         if logs["loss"] < 0.1:
        ...             self.model.stop_training = True

    See https://keras.io/api/callbacks/base_callback/
    """

    # Whether the train-batch hooks that this very class defines also work for several batches at a time.
    _batches_may_be_joined: ClassVar[bool] = True

    def __init__(self) -> None:
        self.params: dict[str, Any] | None = None
        self._model: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and deep copies: all but the model, which `fit` gives again."""
        return {**self.__dict__, "_model": None}

    def set_params(self, params: dict[str, Any]) -> None:
        """Takes the run's parameters."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Takes the model."""
        self._model = model

    @property
    def model(self) -> Any:
        """The model that runs."""
        return self._model

    # Attributes that a backup of a training holds: numbers, strings, lists of them, lists of arrays.
    _saved: ClassVar[tuple[str, ...]] = ()
    # Whether the hooks are called after those of all other callbacks.
    _runs_last: ClassVar[bool] = False

    def _get_state(self) -> dict[str, Any]:
        """What `BackupAndRestore` keeps of this callback, as plain data."""
        return {name: getattr(self, name) for name in self._saved}

    def _set_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `_get_state` returned."""
        for name in self._saved:
            if name in state:
                setattr(self, name, state[name])

    def _needs_every_batch(self) -> bool:
        """Whether a train-batch hook is overridden that must be called after every single batch."""
        if any(hook in self.__dict__ for hook in _TRAIN_BATCH_HOOKS):
            return True
        for hook in _TRAIN_BATCH_HOOKS:
            owner = next(cls for cls in type(self).__mro__ if hook in cls.__dict__)
            if not owner.__dict__.get("_batches_may_be_joined", False):
                return True
        return False

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Another name for `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Another name for `on_train_batch_end`."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Called before an epoch of training; `epoch` counts from 0."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Called after an epoch of training and its validation; `logs` holds both."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Called before a batch of training; `batch` counts from 0 in each epoch."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Called after a batch of training; `logs` holds averages over the epoch so far."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Called before a batch of evaluation or validation."""

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Called after a batch of evaluation or validation; `logs` holds averages so far."""

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Called before a batch of prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Called after a batch of prediction; `logs` holds its outputs."""

    def on_train_begin(self, logs: Logs = None) -> None:
        """Called when training begins."""

    def on_train_end(self, logs: Logs = None) -> None:
        """Called when training ends; `logs` are those of the last epoch."""

    def on_test_begin(self, logs: Logs = None) -> None:
        """Called when evaluation or validation begins."""

    def on_test_end(self, logs: Logs = None) -> None:
        """Called when evaluation or validation ends; `logs` holds the results."""

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Called when prediction begins."""

    def on_predict_end(self, logs: Logs = None) -> None:
        """Called when prediction ends."""
