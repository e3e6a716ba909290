"""From the arguments of fit and evaluate to checked data and the loops that run over them."""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastcnn import _messages, config
from fastcnn.data import arrays, batches
from fastcnn.models import loops

if TYPE_CHECKING:
    from fastcnn.layers.input_layer import InputLayer
    from fastcnn.models.compiled import Compiled


class DataMethods:
    """The part of a model's training methods that takes data in. Nothing is built here, nothing changed."""

    if TYPE_CHECKING:
        _input_layer: InputLayer | None

        def _output_for(self, sample: tuple[int, ...]) -> tuple[int, ...]: ...

    def _array_work(
        self, compiled: Compiled, x: Any, y: Any, sample_weight: Any, class_weight: Any, share: Any, batch_size: Any,
        steps: int | None, shuffle: bool | str,
    ) -> tuple[loops.Work, arrays.Dataset | None]:  # fmt: skip
        """Training on arrays, and the part of them that is measured."""
        inputs = arrays.as_inputs("fit", x)
        labels = arrays.as_array("fit", "y", y)
        weights = None if sample_weight is None else arrays.as_array("fit", "sample_weight", sample_weight)
        # All lengths agree before the split may hide that they do not.
        train, rest = self._dataset("fit", compiled, inputs, labels, weights, class_weight), None
        if share:
            columns = (train.x, train.y, train.labels, train.sample_weight)
            train, rest = (arrays.Dataset(*part) for part in arrays.split("fit", share, *columns))
            if class_weight is not None:
                rest = arrays.Dataset(rest.x, rest.y, rest.labels, None)
        size = batch_size_of("fit", "batch_size", batch_size, len(train), steps)
        order = loops.EpochOrder(len(train), size, steps, shuffle)
        run = partial(loops.train_epoch, data=train, order=order)
        return loops.Work(inputs, order.steps, run, order=order), rest

    def _batch_work(
        self, operation: str, compiled: Compiled, x: Any, y: Any, sample_weight: Any, class_weight: Any,
        steps: int | None, shuffle: bool, sample: tuple[int, ...] | None = None,
    ) -> loops.Work:  # fmt: skip
        """Training on, or with `sample` or another operation than fit measuring of, what yields batches."""
        feed = feed_of(operation, x, y, sample_weight, steps, shuffle)

        def prepare(x: Any, y: Any, sample_weight: Any) -> arrays.Dataset:
            inputs = arrays.as_inputs(operation, x)
            return self._dataset(operation, compiled, inputs, y, sample_weight, class_weight, sample)

        try:
            first = prepare(*feed.peek())
        except BaseException:
            feed.close()
            raise
        loop = loops.train_batches if operation == "fit" else loops.evaluate_batches
        return loops.Work(first.x, feed.steps, partial(loop, feed=feed, prepare=prepare), feed)

    def _validation(
        self, compiled: Compiled, data: Any, rest: arrays.Dataset | None, batch_size: Any, steps: int | None,
        sample: tuple[int, ...],
    ) -> loops.Work:  # fmt: skip
        """Measuring of `fit`'s validation_data, or of the `rest` that validation_split left."""
        if rest is None:
            operation = "fit: validation_data"
            if batches.yields_batches(data) and not isinstance(data, (tuple, list)):
                return self._batch_work(operation, compiled, data, None, None, None, steps, False, sample)
            if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
                expected = "(x, y), (x, y, sample_weight) or something that yields them"
                _messages.fail("fit", "validation_data", expected, _messages.Text(type(data).__name__))
            x, y, weight = (*data, None)[:3]
            if batches.yields_batches(x, y):
                return self._batch_work(operation, compiled, x, y, weight, None, steps, False, sample)
            rest = self._dataset(operation, compiled, arrays.as_inputs(operation, x), y, weight, None, sample)
        size = batch_size_of("fit", "validation_batch_size", batch_size, len(rest), steps)
        return loops.measuring(rest, size, steps)

    def _dataset(
        self,
        operation: str,
        compiled: Compiled,
        x: NDArray[Any],
        y: Any,
        sample_weight: Any,
        class_weight: Any,
        sample: tuple[int, ...] | None = None,
    ) -> arrays.Dataset:
        """Checked data for this model, which may not be built yet; builds nothing."""
        if self._input_layer is not None:
            sample = self._input_layer.sample_shape
        sample = x.shape[1:] if sample is None else sample
        arrays.check_input_shape(operation, x, sample)
        output_shape = self._output_for(sample)
        compiled.check_output(output_shape)
        assert compiled.loss_config is not None
        return arrays.prepare(operation, x, y, sample_weight, class_weight, output_shape, compiled.loss_config)


def feed_of(operation: str, x: Any, y: Any, sample_weight: Any, steps: int | None, shuffle: bool) -> batches.BatchFeed:
    """The feed of `x`; labels and weights must be None, they come with the batches."""
    for argument, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            expected = "None where x yields batches, which bring their own"
            _messages.fail(operation, argument, expected, _messages.Text(type(value).__name__))
    return batches.BatchFeed(operation, x, steps, shuffle)


def batch_size_of(operation: str, argument: str, value: Any, samples: int, steps: Any) -> int:
    """Samples a step: `value`, or what makes `steps` of the `samples`, or 32."""
    if value is not None:
        return _messages.integer(operation, argument, value)
    return math.ceil(samples / _messages.integer(operation, "steps", steps)) if steps is not None else 32


def steps_of(operation: str, argument: str, value: Any) -> int | None:
    """A positive number of steps, at most `config.max_steps_per_epoch()`, or None."""
    steps = None if value is None else _messages.integer(operation, argument, value)
    limit = config.max_steps_per_epoch()
    if limit is None or (steps is not None and steps <= limit):
        return steps
    warnings.warn(f"{operation}: {argument}: {limit}, as config.max_steps_per_epoch() says", stacklevel=3)
    return limit
