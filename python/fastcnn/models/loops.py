"""The loops of fit, evaluate and predict: native calls of many steps, sliced by time, between callbacks.

A native call returns after about `SLICE` seconds, so that the progress bar moves and Ctrl-C is heard; it takes one step
only where a callback wants to see every batch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn._network import BuiltNetwork
from fastcnn.callbacks import Callback, CallbackList
from fastcnn.data.arrays import Dataset
from fastcnn.data.batches import Batch, BatchFeed
from fastcnn.models.compiled import Logs, NativeTrainer
from fastcnn.utils.seed import numpy_generator

SLICE = 0.04  # seconds of one native call
_OUTPUT_FLOATS = 1 << 20  # outputs kept for metrics written in Python, per call


@dataclass
class Work:
    """What `fit` or `evaluate` run again and again: an epoch, or a measurement.

    inputs: all samples or the first batch's; the model is built for them. steps: of one run, where known.
    run: (trainer, callbacks=, stopped=) -> logs. order: of arrays' samples. feed: where batches come from.
    """

    inputs: NDArray[Any]
    steps: int | None
    run: Callable[..., dict[str, float]]
    feed: BatchFeed | None = None
    order: EpochOrder | None = None  # of arrays

    def ended(self) -> bool:
        """Whether the last run found no data."""
        return self.feed is not None and self.feed.ended

    def close(self) -> None:
        """Ends the feed's workers."""
        if self.feed is not None:
            self.feed.close()


def measuring(data: Dataset, batch_size: int, steps: int | None) -> Work:
    """The measurement of the first `steps` batches of arrays."""
    count = math.ceil(len(data) / batch_size)
    count = count if steps is None else min(steps, count)
    return Work(data.x, count, partial(evaluate, data=data, batch_size=batch_size, steps=count))


class Slices:
    """How many steps to take in the next call, so that it lasts about `SLICE` seconds."""

    def __init__(self, one_by_one: bool) -> None:
        self._one_by_one = one_by_one
        self._steps = 1
        self._began = 0.0

    def next(self, left: int) -> int:
        """Steps of the next call, `left` at most."""
        self._began = perf_counter()
        return min(self._steps, left)

    def done(self, steps: int) -> None:
        """Learns from the call that took `steps` steps."""
        if self._one_by_one:
            return
        seconds = max(perf_counter() - self._began, 1e-6)
        self._steps = max(1, min(int(steps * SLICE / seconds), 4 * steps))


def has_hooks(callbacks: Any, *names: str) -> bool:
    """Whether a callback overrides one of the hooks `names`."""
    for callback in callbacks.callbacks:
        if getattr(callback, "_batches_may_be_joined", False):
            continue
        for name in names:
            if name in vars(callback) or getattr(type(callback), name, None) is not getattr(Callback, name):
                return True
    return False


class EpochOrder:
    """Which samples the steps of each epoch take.

    Without `steps_per_epoch` an epoch is one pass over the data, in a new order each time. With it an epoch is that
    many steps, and the next one goes on where it ended; the order is drawn again when the data has run out.

    Args:
        samples: number of samples.
        batch_size: samples a step.
        steps_per_epoch: steps an epoch, or None.
        shuffle: True, False, or "batch" (the order of whole batches).
    """

    def __init__(self, samples: int, batch_size: int, steps_per_epoch: int | None, shuffle: bool | str) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.passes = math.ceil(samples / batch_size)
        self.steps = steps_per_epoch or self.passes
        self._shuffle = shuffle
        self._step = 0  # of the pass over the data
        self.indices: NDArray[np.int64] | None = None
        # Of the epoch that runs: (next position, its end, steps done, sums so far).
        self.running: tuple[int, int, int, Logs] | None = None
        self._resumed: dict[str, Any] | None = None

    def begin(self, logs: Logs) -> tuple[int, int, int, int]:
        """(next position in `indices`, end, steps done, steps) of the next epoch, or of one that a backup goes on with."""
        if self._resumed is None:
            first, steps = self.next_epoch()
            return first, min(first + steps * self.batch_size, self.samples), 0, steps
        resumed, self._resumed = self._resumed, None
        logs.set_state(resumed["logs"])
        return resumed["begin"], resumed["end"], resumed["done"], resumed["steps"]

    def get_state(self, inside: bool, arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
        """Where the data's order is, as plain data; the order itself goes to `arrays`, where it is needed again."""
        running = None
        if inside and self.running is not None:
            begin, end, done, logs = self.running
            steps = done + math.ceil((end - begin) / self.batch_size)
            running = {"begin": begin, "end": end, "done": done, "steps": steps, "logs": logs.get_state()}
        if self.indices is not None and (running is not None or self._step != 0):
            arrays["order/indices"] = self.indices
        return {"step": self._step, "samples": self.samples, "batch_size": self.batch_size, "running": running}

    def check_state(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Raises ValueError (or TypeError, KeyError) where `get_state` of this order would not return that."""
        if (state["samples"], state["batch_size"]) != (self.samples, self.batch_size):
            raise ValueError(f"{state['samples']!r} samples in batches of {state['batch_size']!r}")
        indices, running = arrays.get("order/indices"), state["running"]
        if not 0 <= state["step"] < self.passes:
            raise ValueError("the position in the data")
        if indices is not None and (
            indices.shape != (self.samples,) or indices.min(initial=0) < 0 or indices.max(initial=0) >= self.samples
        ):
            raise ValueError("the order of the samples")
        if running is not None and not 0 <= running["begin"] <= running["end"] <= self.samples:
            raise ValueError("the position in the epoch")
        if indices is None and self._shuffle and (running is not None or state["step"]):
            raise ValueError("no order of the samples")

    def set_state(self, state: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Goes on from what `get_state` returned."""
        self._step = int(state["step"])
        indices = arrays.get("order/indices")
        self.indices = None if indices is None else np.array(indices, np.int64)
        self._resumed = state["running"]

    def next_epoch(self) -> tuple[int, int]:
        """(first position in `indices`, steps) of the next epoch."""
        if self._step == 0:
            self.indices = self._draw()
        first = self._step
        steps = min(self.steps, self.passes - first)
        if steps < self.steps:
            warnings.warn(
                f"fit: steps_per_epoch: expected at most the {self.passes} batches of the data, received {self.steps}: "
                f"the epoch ends after {steps} steps",
                stacklevel=5,
            )
        self._step = (first + steps) % self.passes
        return first * self.batch_size, steps

    def _draw(self) -> NDArray[np.int64] | None:
        if not self._shuffle:
            return None
        generator = numpy_generator()
        if self._shuffle != "batch":
            return generator.permutation(self.samples)
        whole = self.samples // self.batch_size
        batches = np.arange(whole * self.batch_size, dtype=np.int64).reshape(whole, self.batch_size)
        rest = np.arange(whole * self.batch_size, self.samples, dtype=np.int64)
        return np.concatenate([generator.permutation(batches).ravel(), rest])


def train_epoch(
    trainer: NativeTrainer, data: Dataset, order: EpochOrder, callbacks: Any, stopped: Callable[[], bool]
) -> dict[str, float]:
    """Runs one epoch's steps; returns its logs."""
    logs = Logs(trainer.metrics)
    begin, end, done, steps = order.begin(logs)
    most = 1 if callbacks.batch_hooks else steps
    outputs = None
    if logs.needs_outputs:
        floats = order.batch_size * math.prod(trainer.network.output_shape)
        most = min(most, max(1, _OUTPUT_FLOATS // floats))
        outputs = np.empty((most * order.batch_size, *trainer.network.output_shape), np.float32)
    current: dict[str, float] = {}
    while begin < end and not stopped():
        callbacks.on_train_batch_begin(done)
        count = min(most, steps - done)
        sums = trainer.native.train(
            data.x, data.y, data.sample_weight, order.indices, begin, end, order.batch_size,
            trainer.rates(count), count, SLICE, outputs,
        )  # fmt: skip
        logs.add(sums)
        if outputs is not None:
            rows: Any = slice(begin, begin + sums["samples"])
            rows = rows if order.indices is None else order.indices[rows]
            logs.add_outputs(data, rows, outputs[: sums["samples"]], order.batch_size)
        begin += sums["samples"]
        done += sums["steps"]
        current = logs.sorted()
        order.running = begin, end, done, logs
        callbacks.on_train_batch_end(done - 1, current)
    order.running = None
    return logs.sorted()


def evaluate(
    trainer: NativeTrainer,
    data: Dataset,
    batch_size: int,
    steps: int,
    callbacks: Any,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Loss and metrics of the first `steps` batches in inference mode, the loss first."""
    logs = Logs(trainer.metrics)
    slices = Slices(has_hooks(callbacks, "on_test_batch_begin", "on_test_batch_end"))
    shape = trainer.network.output_shape
    most = max(1, _OUTPUT_FLOATS // (batch_size * math.prod(shape))) if logs.needs_outputs else steps
    done = 0
    while done < steps and not stopped():
        callbacks.on_test_batch_begin(done)
        count = slices.next(min(steps - done, most))
        begin, end = done * batch_size, min((done + count) * batch_size, len(data))
        outputs = np.empty((end - begin, *shape), np.float32) if logs.needs_outputs else None
        logs.add(trainer.native.evaluate(data.x, data.y, data.sample_weight, begin, end, batch_size, outputs))
        if outputs is not None:
            logs.add_outputs(data, slice(begin, end), outputs, batch_size)
        slices.done(count)
        done += count
        current = logs.sorted()
        callbacks.on_test_batch_end(done - 1, current)
    return logs.values()


def predict(
    network: BuiltNetwork,
    x: NDArray[Any],
    batch_size: int,
    steps: int,
    callbacks: Any,
    stopped: Callable[[], bool] = lambda: False,
) -> NDArray[np.float32]:
    """Outputs of the first `steps` batches in inference mode."""
    samples = min(steps * batch_size, len(x))
    outputs = np.empty((samples, *network.output_shape), np.float32)
    slices = Slices(has_hooks(callbacks, "on_predict_batch_begin", "on_predict_batch_end"))
    done = end = 0
    while done < steps and not stopped():
        callbacks.on_predict_batch_begin(done)
        count = slices.next(steps - done)
        begin, end = done * batch_size, min((done + count) * batch_size, samples)
        network.native.predict(x, batch_size, begin, end, outputs[begin:end])
        slices.done(count)
        done += count
        callbacks.on_predict_batch_end(done - 1, {"outputs": outputs[begin:end]})
    return outputs[:end]


# --- data that come as batches: one native call each ---------------------------------------------------------------


def _batches(feed: BatchFeed, stopped: Callable[[], bool]) -> Iterator[tuple[int, Batch]]:
    """The epoch's batches with their numbers, until the loop is told to stop."""
    with closing(feed.epoch()) as epoch:
        for step, batch in enumerate(epoch):
            yield step, batch
            if stopped():
                return


def train_batches(
    trainer: NativeTrainer,
    feed: BatchFeed,
    prepare: Callable[..., Dataset],
    callbacks: Any,
    stopped: Callable[[], bool],
) -> dict[str, float]:
    """Runs one epoch of batches; returns its logs. `prepare` checks and converts (x, y, sample_weight)."""
    logs = Logs(trainer.metrics)
    for step, batch in _batches(feed, stopped):
        callbacks.on_train_batch_begin(step)
        data = prepare(*batch)
        feed.size = max(feed.size, len(data))
        outputs = np.empty((len(data), *trainer.network.output_shape), np.float32) if logs.needs_outputs else None
        sums = trainer.native.train(
            data.x, data.y, data.sample_weight, None, 0, len(data), feed.size, trainer.rates(1), 1, math.inf, outputs
        )
        logs.add(sums)
        if outputs is not None:
            logs.add_outputs(data, slice(None), outputs, len(data))
        callbacks.on_train_batch_end(step, logs.sorted())
    return logs.sorted()


def evaluate_batches(
    trainer: NativeTrainer,
    feed: BatchFeed,
    prepare: Callable[..., Dataset],
    callbacks: Any,
    stopped: Callable[[], bool],
) -> dict[str, float]:
    """Loss and metrics of one epoch of batches in inference mode, the loss first."""
    logs = Logs(trainer.metrics)
    for step, batch in _batches(feed, stopped):
        callbacks.on_test_batch_begin(step)
        data = prepare(*batch)
        feed.size = max(feed.size, len(data))
        outputs = np.empty((len(data), *trainer.network.output_shape), np.float32) if logs.needs_outputs else None
        logs.add(trainer.native.evaluate(data.x, data.y, data.sample_weight, 0, len(data), feed.size, outputs))
        if outputs is not None:
            logs.add_outputs(data, slice(None), outputs, len(data))
        callbacks.on_test_batch_end(step, logs.sorted())
    feed.restart()
    return logs.values()


def predict_batches(
    network: BuiltNetwork,
    feed: BatchFeed,
    prepare: Callable[[Any], NDArray[Any]],
    callbacks: Any,
    stopped: Callable[[], bool],
) -> NDArray[np.float32]:
    """Outputs of one epoch of batches in inference mode; `prepare` checks and converts x."""
    found = []
    for step, (x, _, _) in _batches(feed, stopped):
        callbacks.on_predict_batch_begin(step)
        inputs = prepare(x)
        feed.size = max(feed.size, len(inputs))
        found.append(network.native.predict(inputs, feed.size, 0, len(inputs)))
        callbacks.on_predict_batch_end(step, {"outputs": found[-1]})
    return np.concatenate(found)


def callback_list(callbacks: Any, model: Any, add_history: bool, **params: Any) -> Any:
    """The user's callbacks as one `CallbackList`."""
    if isinstance(callbacks, CallbackList):
        return callbacks
    bar = params["verbose"] != 0
    return CallbackList(callbacks, add_history=add_history, add_progbar=bar, model=model, **params)
