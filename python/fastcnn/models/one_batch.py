"""The training methods of one batch at a time."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn.data import arrays
from fastcnn.models.compiled import Compiled, Logs, NativeTrainer
from fastcnn.models.data_methods import DataMethods

if TYPE_CHECKING:
    from fastcnn._network import BuiltNetwork


class OneBatchMethods(DataMethods):
    """train_on_batch, test_on_batch, predict_on_batch."""

    if TYPE_CHECKING:
        _training_lock: threading.RLock

        def _network_for_data(self, operation: str, x: NDArray[Any]) -> BuiltNetwork: ...
        def _require_compiled(self, operation: str) -> Compiled: ...
        def _trainer_for(self, network: BuiltNetwork, compiled: Compiled) -> NativeTrainer: ...

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Takes one step on one batch.

        Args:
            x, y, sample_weight, class_weight: the batch, as for `fit`.
            return_dict: whether the result is {name: value}.

        Returns:
            [loss, metric, ...] of the batch before the step; the loss alone where there are no metrics.

        Raises:
            ValueError: data that do not fit; nothing changed.
        """
        with self._training_lock:
            data, trainer = self._batch("train_on_batch", x, y, sample_weight, class_weight)
            logs, outputs = self._batch_logs(trainer, data)
            sums = trainer.native.train(
                data.x,
                data.y,
                data.sample_weight,
                None,
                0,
                len(data),
                len(data),
                trainer.rates(1),
                1,
                math.inf,
                outputs,
            )
            return _batch_result(logs, sums, data, outputs, return_dict)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """Measures one batch, in inference mode.

        Args:
            x, y, sample_weight: the batch, as for `fit`.
            return_dict: whether the result is {name: value}.

        Returns:
            [loss, metric, ...]; the loss alone where there are no metrics.

        Raises:
            ValueError: data that do not fit.
        """
        with self._training_lock:
            data, trainer = self._batch("test_on_batch", x, y, sample_weight, None)
            logs, outputs = self._batch_logs(trainer, data)
            sums = trainer.native.evaluate(data.x, data.y, data.sample_weight, 0, len(data), len(data), outputs)
            return _batch_result(logs, sums, data, outputs, return_dict)

    def predict_on_batch(self, x: Any) -> NDArray[np.float32]:
        """The outputs of one batch, in inference mode: (n, *output shape) float32."""
        inputs = arrays.as_inputs("predict_on_batch", x)
        return self._network_for_data("predict_on_batch", inputs).native.predict(inputs, len(inputs))

    def _profile_training(self, x: Any, y: Any, sample_weight: Any, seconds: float) -> list[dict[str, Any]]:
        """The native times of one training batch, without the optimizer."""
        with self._training_lock:
            data, trainer = self._batch("profile", x, y, sample_weight, None)
            return trainer.native.profile(data.x, data.y, data.sample_weight, seconds)

    def _batch(
        self, operation: str, x: Any, y: Any, sample_weight: Any, class_weight: Any
    ) -> tuple[arrays.Dataset, NativeTrainer]:
        compiled = self._require_compiled(operation)
        inputs = arrays.as_inputs(operation, x)
        data = self._dataset(operation, compiled, inputs, y, sample_weight, class_weight)
        return data, self._trainer_for(self._network_for_data(operation, inputs), compiled)

    def _batch_logs(self, trainer: NativeTrainer, data: arrays.Dataset) -> tuple[Logs, NDArray[np.float32] | None]:
        logs = Logs(trainer.metrics)
        shape = (len(data), *trainer.network.output_shape)
        return logs, np.empty(shape, np.float32) if logs.needs_outputs else None


def flat(logs: dict[str, float]) -> Any:
    """Logs as a list, the loss first; the loss alone where there is nothing else."""
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _batch_result(
    logs: Logs, sums: Any, data: arrays.Dataset, outputs: NDArray[np.float32] | None, return_dict: bool
) -> Any:
    logs.add(sums)
    if outputs is not None:
        logs.add_outputs(data, slice(None), outputs, len(data))
    return logs.sorted() if return_dict else flat(logs.values())
