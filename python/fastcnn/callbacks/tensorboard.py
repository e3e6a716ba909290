"""Event files for TensorBoard, written by tensorboardX: pip install "fastcnn[tensorboard]"."""

from __future__ import annotations

import json
import os
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn.callbacks.callback import Callback, Logs

_IMAGES = 3  # of one weight, as many as TensorFlow writes


class TensorBoard(Callback):
    """Writes the logs, and the weights' histograms where asked for, in files that TensorBoard shows.

    Names and folders are Keras's: `epoch_loss` below `train` and `validation`, `evaluation_loss_vs_iterations` for
    `evaluate`, `batch_loss` with `update_freq`.

    Args:
        log_dir: the folder, for one training.
        histogram_freq: every how many epochs the weights' histograms are written; 0: never.
        write_graph: whether the model's layers are written.
        write_images: whether the weights are written as pictures too, with their histograms. Needs Pillow.
        write_steps_per_second: whether steps a second are written.
        update_freq: "epoch"; or every how many batches ("batch": 1) the logs are written: then batches run one by one.
        profile_batch: 0; `Sequential.profile` shows where the time goes.
        embeddings_freq: 0; there are no embedding layers.
        embeddings_metadata: None.

    Raises:
        ValueError: another value.
        ImportError: tensorboardX is not installed.

    Example:
        >>> callback = TensorBoard("logs", histogram_freq=1)  # doctest: +SKIP

    See https://keras.io/api/callbacks/tensorboard/
    """

    _batches_may_be_joined = True  # `_needs_every_batch` says when not

    _saved = ("_train_batch",)

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: int | Literal["batch", "epoch"] = "epoch",
        profile_batch: int = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ) -> None:
        super().__init__()
        _messages.only("TensorBoard", "profile_batch", profile_batch, (0, None))
        _messages.only("TensorBoard", "embeddings_freq", embeddings_freq, (0, None))
        _messages.only("TensorBoard", "embeddings_metadata", embeddings_metadata, (None,))
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = _messages.integer("TensorBoard", "histogram_freq", histogram_freq, minimum=0)
        self.write_graph = write_graph
        self.write_images = write_images
        self.write_steps_per_second = write_steps_per_second
        if update_freq != "epoch":
            update_freq = 1 if update_freq == "batch" else _messages.integer("TensorBoard", "update_freq", update_freq)
        self.update_freq = update_freq
        self._writers: dict[str, Any] = {}
        self._train_batch = 0
        self._batch_began = self._epoch_began = 0.0
        self._iterations_before = 0
        self._training = False
        _writer_class()

    def _needs_every_batch(self) -> bool:
        return self.update_freq != "epoch" or super()._needs_every_batch()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_writers": {}}

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._close()
        if self.write_graph:
            self._write_graph()

    # --- hooks ---------------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Logs = None) -> None:
        self._train_batch = 0
        self._training = True

    def on_train_end(self, logs: Logs = None) -> None:
        self._training = False
        self._close()

    def on_test_end(self, logs: Logs = None) -> None:
        if self.model.optimizer is not None:
            values = {f"evaluation_{name}_vs_iterations": value for name, value in (logs or {}).items()}
            self._scalars("validation", values, int(self.model.optimizer.iterations))
        if not self._training:
            self._close()

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_begin(batch, logs)
        self._train_batch += 1
        self._batch_began = perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        super().on_train_batch_end(batch, logs)
        if not isinstance(self.update_freq, int) or self._train_batch % self.update_freq:
            return
        values = {f"batch_{name}": value for name, value in (logs or {}).items()}
        if self.write_steps_per_second:
            values["batch_steps_per_second"] = 1.0 / max(perf_counter() - self._batch_began, 1e-9)
        self._scalars("train", values, self._train_batch)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._iterations_before = int(self.model.optimizer.iterations)
        self._epoch_began = perf_counter()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        train = {f"epoch_{name}": value for name, value in logs.items() if not name.startswith("val_")}
        train["epoch_learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            steps = int(self.model.optimizer.iterations) - self._iterations_before
            train["epoch_steps_per_second"] = steps / max(perf_counter() - self._epoch_began, 1e-9)
        self._scalars("train", train, epoch)
        held = {f"epoch_{name[4:]}": value for name, value in logs.items() if name.startswith("val_")}
        self._scalars("validation", held, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_weights(epoch)
        for writer in self._writers.values():
            writer.flush()

    # --- writing -------------------------------------------------------------------------------------------------

    def _writer(self, kind: str) -> Any:
        if kind not in self._writers:
            self._writers[kind] = _writer_class()(os.path.join(self.log_dir, kind))
        return self._writers[kind]

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _scalars(self, kind: str, values: dict[str, Any], step: int) -> None:
        for name, value in values.items():
            self._writer(kind).add_scalar(name, float(value), step)

    def _write_weights(self, epoch: int) -> None:
        writer = self._writer("train")
        for variable in self.model.weights:
            values = variable.numpy()
            writer.add_histogram(f"{variable.path}/histogram", values, epoch)
            if self.write_images:
                for number, picture in enumerate(_pictures(values)[:_IMAGES]):
                    writer.add_image(f"{variable.path}/image/{number}", picture, epoch, dataformats="HWC")

    def _write_graph(self) -> None:
        """The layers, for TensorBoard's conceptual graph of a Keras model."""
        from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
        from tensorboardX.proto.tensor_pb2 import TensorProto
        from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

        text = json.dumps({"class_name": "Sequential", "config": self.model.get_config()}, default=str)
        plugin = SummaryMetadata.PluginData(plugin_name="graph_keras_model", content=b"1")
        tensor = TensorProto(dtype="DT_STRING", string_val=[text.encode()], tensor_shape=TensorShapeProto())
        value = Summary.Value(tag="keras", metadata=SummaryMetadata(plugin_data=plugin), tensor=tensor)
        self._writer("train").file_writer.add_summary(Summary(value=[value]), 0)


def _pictures(values: NDArray[Any]) -> list[NDArray[Any]]:
    """A weight as pictures (height, width, 1): none where it has more axes than a kernel of one channel."""
    values = np.squeeze(values)
    if values.ndim == 1:
        return [values[:, None, None]]
    if values.ndim == 2:
        return [(values.T if len(values) > values.shape[1] else values)[:, :, None]]
    return [values[:, :, i, None] for i in range(values.shape[2])] if values.ndim == 3 else []


def _writer_class() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard: tensorboardX: expected to be installed, received none; "
            'run: pip install "fastcnn[tensorboard]"'
        ) from error
    return SummaryWriter
