"""Stopping when the loss is no number."""

from __future__ import annotations

import math

from fastcnn.callbacks.callback import Callback, Logs
from fastcnn.utils.io import print_message


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite.

    The loss in the logs is an average over the epoch, which stays NaN once a batch's loss was: nothing is missed where
    several batches run in one native call, and training stops within the epoch, at the end of that call.

    Args:
        raise_error: whether it raises a RuntimeError in place of stopping quietly.

    Example:
        >>> callback = TerminateOnNaN()

    See https://keras.io/api/callbacks/terminate_on_nan/
    """

    _batches_may_be_joined = True

    def __init__(self, raise_error: bool = False) -> None:
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(f"TerminateOnNaN: loss: expected a finite number at batch {batch}, received {loss}")
        print_message(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
