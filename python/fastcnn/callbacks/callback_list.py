"""Several callbacks as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastcnn.callbacks.callback import Callback, Logs
from fastcnn.callbacks.history import History
from fastcnn.callbacks.progbar_logger import ProgbarLogger


class CallbackList(Callback):
    """Calls every hook of all its callbacks, in their order.

    Args:
        callbacks: callbacks, in lists within lists too, or a single one.
        add_history: whether a `History` is added where there is none.
        add_progbar: whether a `ProgbarLogger` is added where there is none.
        model: the model that runs.
        **params: the run's parameters (verbose, epochs, steps).

    Raises:
        ValueError: something among the callbacks has no hooks.

    Example:
        >>> class Hello(Callback):
        ...     def on_train_begin(self, logs=None):
        ...         print("hello")
        >>> callbacks = CallbackList([Hello()])
        >>> callbacks.on_train_begin()
        hello
        >>> callbacks.batch_hooks
        False
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ) -> None:
        super().__init__()
        self.callbacks: list[Any] = list(_flat(callbacks))
        self._history = next((c for c in self.callbacks if isinstance(c, History)), None)
        self._progbar = next((c for c in self.callbacks if isinstance(c, ProgbarLogger)), None)
        if add_history and self._history is None:
            self._history = History()
            self.callbacks.append(self._history)
        if add_progbar and self._progbar is None:
            self._progbar = ProgbarLogger()
            self.callbacks.append(self._progbar)
        self.set_model(model)
        self.set_params(params)

    @property
    def batch_hooks(self) -> bool:
        """Whether a callback must be called after every single training batch."""
        return any(_needs_every_batch(callback) for callback in self.callbacks)

    def _needs_every_batch(self) -> bool:
        return self.batch_hooks

    def append(self, callback: Any) -> None:
        """Adds a callback."""
        self.callbacks.extend(_flat(callback))

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params
        if params:
            for callback in self.callbacks:
                callback.set_params(params)

    def set_model(self, model: Any) -> None:
        if model is None:
            return
        super().set_model(model)
        if self._history is not None:
            model.history = self._history
        for callback in self.callbacks:
            callback.set_model(model)

    def _all(self, hook: str, *position: int, logs: Logs) -> None:
        if not self.callbacks:
            return
        # One dict for all of them: what one adds (a learning rate), those after it see.
        numbers = _numbers(logs)
        late = [callback for callback in self.callbacks if getattr(callback, "_runs_last", False)]
        for callback in self.callbacks:
            if not late or callback not in late:
                getattr(callback, hook)(*position, numbers)
        for callback in late:
            getattr(callback, hook)(*position, numbers)

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._all("on_batch_begin", batch, logs=logs)

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._all("on_batch_end", batch, logs=logs)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._all("on_epoch_begin", epoch, logs=logs)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self._all("on_epoch_end", epoch, logs=logs)

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._all("on_train_batch_begin", batch, logs=logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._all("on_train_batch_end", batch, logs=logs)

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._all("on_test_batch_begin", batch, logs=logs)

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._all("on_test_batch_end", batch, logs=logs)

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._all("on_predict_batch_begin", batch, logs=logs)

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._all("on_predict_batch_end", batch, logs=logs)

    def on_train_begin(self, logs: Logs = None) -> None:
        self._all("on_train_begin", logs=logs)

    def on_train_end(self, logs: Logs = None) -> None:
        self._all("on_train_end", logs=logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        self._all("on_test_begin", logs=logs)

    def on_test_end(self, logs: Logs = None) -> None:
        self._all("on_test_end", logs=logs)

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._all("on_predict_begin", logs=logs)

    def on_predict_end(self, logs: Logs = None) -> None:
        self._all("on_predict_end", logs=logs)


def _flat(callbacks: Any) -> Iterator[Any]:
    if callbacks is None:
        return
    if isinstance(callbacks, Iterable) and not isinstance(callbacks, str) and not hasattr(callbacks, "on_epoch_end"):
        for callback in callbacks:
            yield from _flat(callback)
    elif isinstance(callbacks, type) or not hasattr(callbacks, "on_epoch_end"):
        raise ValueError(f"CallbackList: callbacks: expected Callback objects, received {callbacks!r}")
    else:
        yield callbacks


def _needs_every_batch(callback: Any) -> bool:
    # An object that only looks like a callback may do anything in its hooks.
    return callback._needs_every_batch() if isinstance(callback, Callback) else True


def _numbers(logs: Logs) -> dict[str, Any]:
    """The logs in the order of their names, as in Keras, as Python floats where they are numbers."""
    found: dict[str, Any] = {}
    for name, value in sorted((logs or {}).items()):
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            found[name] = value
    return found
