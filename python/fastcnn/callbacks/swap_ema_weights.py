"""SwapEMAWeights."""

from __future__ import annotations

from typing import Any

from fastcnn.callbacks.callback import Callback, Logs


class SwapEMAWeights(Callback):
    """Lets the model be measured, and at the end of epochs saved, with the moving averages of its weights.

    The optimizer must keep them (`use_ema=True`). Before each evaluation, that of `validation_data` too, and each
    prediction the weights and their averages change places, and back afterwards.

    Args:
        swap_on_epoch: whether they change places at the end of each epoch, too, so that a `ModelCheckpoint` that follows
            in the list saves the averages; the next epoch goes on with the weights.

    Raises:
        ValueError: in `fit`: the optimizer keeps no averages.

    Example:
        >>> import fastcnn as keras
        >>> optimizer = keras.optimizers.SGD(use_ema=True)
        >>> swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)

    See https://keras.io/api/callbacks/swap_ema_weights/
    """

    def __init__(self, swap_on_epoch: bool = False) -> None:
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._averages_in_model = False

    def _swap(self, wanted: bool) -> None:
        """Puts the averages into the model, or the weights back."""
        if self._averages_in_model == wanted:
            return
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                "SwapEMAWeights: optimizer: expected one with use_ema=True, received "
                f"{type(optimizer).__name__} with use_ema={getattr(optimizer, 'use_ema', False)}"
            )
        optimizer._overwrite_with_averages(optimizer._variables, swap=True)
        self._averages_in_model = wanted

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        if self.swap_on_epoch:
            self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if not self.swap_on_epoch or self._averages_in_model:
            return
        self._swap(True)
        params: dict[str, Any] = self.params or {}
        if epoch == params.get("epochs", 0) - 1:
            # `fit` ends by giving the weights their averages, which now are the weights before the swap.
            self.model.optimizer._keep_as_averages(self.model.optimizer._variables)

    def on_test_begin(self, logs: Logs = None) -> None:
        self._swap(True)

    def on_test_end(self, logs: Logs = None) -> None:
        self._swap(False)

    def on_predict_begin(self, logs: Logs = None) -> None:
        self._swap(True)

    def on_predict_end(self, logs: Logs = None) -> None:
        self._swap(False)
