"""Functions as a callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn.callbacks.callback import Callback


class LambdaCallback(Callback):
    """A callback made of functions.

    Args:
        on_epoch_begin: (epoch, logs), and so on: a function for each hook, with the hook's arguments.
        on_epoch_end: (epoch, logs).
        on_train_begin: (logs).
        on_train_end: (logs).
        on_train_batch_begin: (batch, logs); batches then run one by one.
        on_train_batch_end: (batch, logs); batches then run one by one.
        **kwargs: functions for further hooks (on_test_begin=..., ...), or attributes.

    Example:
        >>> callback = LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))
        >>> callback.on_epoch_end(3, {"loss": 0.5})
        3 0.5

    See https://keras.io/api/callbacks/lambda_callback/
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.__dict__.update(kwargs)
        hooks = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        # An attribute of the object stands before the method of the class.
        self.__dict__.update({name: hook for name, hook in hooks.items() if hook is not None})
