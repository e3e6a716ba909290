"""Training methods of a model: compile, fit, evaluate, predict and their one-batch forms."""

from __future__ import annotations

import contextlib
import math
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages, config
from fastcnn.callbacks import History
from fastcnn.data import arrays, batches
from fastcnn.models import loops
from fastcnn.models.compile_config import described
from fastcnn.models.compiled import Compiled, NativeTrainer
from fastcnn.models.data_methods import batch_size_of, feed_of, steps_of
from fastcnn.models.one_batch import OneBatchMethods, flat
from fastcnn.utils import seed
from fastcnn.variables import Structure

if TYPE_CHECKING:
    from fastcnn._network import BuiltNetwork
    from fastcnn.layers.input_layer import InputLayer
    from fastcnn.variables import Variable


class Running(NamedTuple):
    """The fit that runs, for callbacks that keep its state."""

    callbacks: Any
    order: loops.EpochOrder | None


class TrainingMethods(OneBatchMethods):
    """What `Sequential` can do with data. One thread trains at a time; any number may predict."""

    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool
    history: Any

    if TYPE_CHECKING:
        name: str
        built: bool
        _input_layer: InputLayer | None

        @property
        def trainable_weights(self) -> list[Variable]: ...
        def build(self, input_shape: Any = None) -> None: ...
        def _build_for(self, sample: tuple[int, ...], batch_size: int | None = None) -> None: ...

        _usual: Callable[[Any], NDArray[np.float32] | None]
        _usual_version: int

        def _current_network(self) -> BuiltNetwork: ...
        def _network_for_data(self, operation: str, x: NDArray[Any]) -> BuiltNetwork: ...

    def _init_training(self) -> None:
        self._compiled: Compiled | None = None
        self._trainer: NativeTrainer | None = None
        self._execution: dict[str, Any] = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}
        self._training_lock = threading.RLock()
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.history = None
        self._initial_epoch: int | None = None  # a callback's, for the fit that runs
        self._running: Running | None = None
        self._epochs_done = 0  # by the last fit, its initial_epoch included
        # Of a model that was loaded: (epochs done, the random streams after them), for the fit that goes on.
        self._resumable: tuple[int, dict[str, Any]] | None = None

    def _pickled_training(self) -> dict[str, Any]:
        """What of the attributes above a pickle holds in another form."""
        return {"_trainer": None, "history": None, "_running": None}

    def _optimizer_state(self) -> dict[str, Any]:
        """The optimizer's steps and slots, in the order of the trained variables; {"iterations": 0, "slots": {}} before."""
        with self._training_lock:
            nothing: dict[str, Any] = {"iterations": 0, "slots": {}}
            return nothing if self._compiled is None else self._compiled.optimizer._state()

    def _updater(self) -> Any:
        """The optimizer's native half, for the variables that are trained now."""
        assert self._compiled is not None
        trained = {id(v) for v in self.trainable_weights}
        variables = [v for v in self._current_network().variables if id(v) in trained]
        return self._compiled.optimizer.updater(variables)

    def _restore_optimizer_state(self, state: dict[str, Any]) -> None:
        """Goes on from what `_optimizer_state` returned.

        Raises:
            ValueError: the slots are not those of the trained variables.
        """
        with self._training_lock:
            updater = self._updater()
            slots = sorted(updater.get_state()["slots"])
            if sorted(state["slots"]) != slots:
                _messages.fail("fit", "optimizer state", f"the slots {slots}", sorted(state["slots"]))
            updater.set_state(state)

    # --- compile -------------------------------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Sequence[Any] | None = None,
        weighted_metrics: Sequence[Any] | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: Any = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Sets how the model is trained and measured; the optimizer starts anew.

        Args:
            optimizer: name or object of `fastcnn.optimizers`.
            loss: name or object of `fastcnn.losses`.
            metrics: names, objects or functions (y_true, y_pred); sample weights do not count.
            weighted_metrics: the same, with sample weights.
            loss_weights: None.
            run_eagerly, steps_per_execution, jit_compile, auto_scale_loss: accepted as in Keras, without effect: every
                model runs natively, many steps a call.

        Raises:
            ValueError: an unknown name, or a loss that does not fit the model's output; nothing changed.

        Example:
            >>> import fastcnn as keras
            >>> model = keras.Sequential([keras.layers.Dense(1, activation="sigmoid", input_shape=(4,))])
            >>> model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

        See https://keras.io/api/models/model_training_apis/.
        """
        _messages.only("compile", "loss_weights", loss_weights, (None,))
        execution = {
            "run_eagerly": _messages.flag("compile", "run_eagerly", run_eagerly),
            "steps_per_execution": _messages.integer("compile", "steps_per_execution", steps_per_execution),
            "jit_compile": jit_compile != "auto" and _messages.flag("compile", "jit_compile", jit_compile),
        }
        if execution["run_eagerly"] and execution["jit_compile"]:
            _messages.fail("compile", "jit_compile", "False where run_eagerly is True", jit_compile)
        if isinstance(loss, (list, tuple)) or (isinstance(loss, Mapping) and "class_name" not in loss):
            _messages.fail("compile", "loss", "one loss: the model has one output", loss)
        with self._training_lock:
            shape = None
            if self.built and self._input_layer is not None:
                shape = self._output_for(self._input_layer.sample_shape)
            self._compiled = Compiled(optimizer, loss, metrics, weighted_metrics, shape)
            self._execution = execution

    def get_compile_config(self) -> dict[str, Any]:
        """What `compile` was given, as plain data; empty before. Functions are there by name."""
        if self._compiled is None:
            return {}
        arguments = {name: described(value) for name, value in self._compiled.arguments.items()}
        return {**arguments, "loss_weights": None, **self._execution}

    def compile_from_config(self, config: Mapping[str, Any]) -> None:
        """Compiles the model as `get_compile_config()`'s dictionary says.

        Raises:
            ValueError: not such a dictionary, or names that are not known.
        """
        if not isinstance(config, Mapping) or "optimizer" not in config:
            _messages.fail("compile_from_config", "config", "a dictionary of get_compile_config()", config)
        self.compile(**config)

    @property
    def run_eagerly(self) -> bool:
        """What `compile` was given; without effect."""
        return bool(self._execution["run_eagerly"])

    @property
    def steps_per_execution(self) -> int:
        """What `compile` was given; without effect."""
        return int(self._execution["steps_per_execution"])

    @property
    def jit_compile(self) -> bool:
        """What `compile` was given ("auto" is False); without effect: all code is compiled."""
        return bool(self._execution["jit_compile"])

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self._compiled is not None

    @property
    def optimizer(self) -> Any:
        """The optimizer, or None before `compile`."""
        return None if self._compiled is None else self._compiled.optimizer

    @property
    def loss(self) -> Any:
        """The loss, or None."""
        return None if self._compiled is None else self._compiled.loss

    @property
    def metrics(self) -> list[Any]:
        """The compiled metrics, once the model is built."""
        if self._compiled is None or not self.built:
            return []
        return [m.metric for m in self._compiled.metrics(self._current_network().output_shape)]

    @property
    def metrics_names(self) -> list[str]:
        """Names of what `evaluate` returns, in its order: "loss", then the metrics."""
        return [] if self._compiled is None else self._compiled.names()

    def reset_metrics(self) -> None:
        """Sets all metrics back to their start."""
        for metric in self.metrics:
            metric.reset_state()

    # --- fit -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | str = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """Trains the model.

        Args:
            x: (n, *input shape) array of any real dtype, read in place (a pandas frame and a torch tensor too); or
                something that yields batches (x, y) or (x, y, sample_weight): a generator, a `utils.PyDataset`,
                a torch DataLoader, any iterable.
            y: labels, one row a sample; None where `x` yields batches.
            batch_size: samples a step; 32 by default. Batches come as they are.
            epochs: number of the last epoch.
            verbose: "auto" or 1 a progress bar, 2 a line an epoch, 0 nothing.
            callbacks: a callback or a list of them.
            validation_split: share of the samples, the last ones, that is measured and not trained on.
            validation_data: (x, y) or (x, y, sample_weight), or something that yields batches, to measure after each epoch.
            shuffle: whether each epoch takes the samples in a new order; "batch" for whole batches. Of what yields
                batches, a `PyDataset` alone follows it.
            class_weight: {class: weight}.
            sample_weight: (n,) weights; for an output of more axes, such as a Conv1D's (positions, classes), (n, positions) too.
            initial_epoch: number of epochs done before.
            steps_per_epoch: steps an epoch; all data by default. The next epoch goes on where the last one ended.
            validation_steps: batches to measure; all by default.
            validation_batch_size: `batch_size` by default.
            validation_freq: every how many epochs to measure, or a list of epochs.

        Returns:
            The `History`: its `history` maps each log's name to a list with one number an epoch.

        Raises:
            ValueError: data or an argument that does not fit; nothing changed.

        Example:
            >>> import numpy as np, fastcnn as keras
            >>> model = keras.Sequential([keras.layers.Dense(1, input_shape=(4,))])
            >>> model.compile(optimizer="sgd", loss="mse")
            >>> history = model.fit(np.zeros((8, 4)), np.zeros(8), epochs=2, verbose=0)
            >>> history.history["loss"]
            [0.0, 0.0]

        See https://keras.io/api/models/model_training_apis/.
        """
        with self._training_lock:
            compiled = self._require_compiled("fit")
            epochs = _limited_epochs(_messages.integer("fit", "epochs", epochs, minimum=0))
            initial_epoch = _messages.integer("fit", "initial_epoch", initial_epoch, minimum=0)
            level = _verbosity("fit", verbose)
            frequency = _validation_epochs(validation_freq)
            if shuffle != "batch":
                shuffle = _messages.flag("fit", "shuffle", shuffle)
            steps = steps_of("fit", "steps_per_epoch", steps_per_epoch)
            validation_steps = steps_of("fit", "validation_steps", validation_steps)
            if validation_batch_size is not None:
                validation_batch_size = _messages.integer("fit", "validation_batch_size", validation_batch_size)
            rest: Any = None  # what validation_split takes off
            if batches.yields_batches(x, y):
                if validation_split:
                    _messages.fail("fit", "validation_split", "0 where x yields batches", validation_split)
                work = self._batch_work("fit", compiled, x, y, sample_weight, class_weight, steps, bool(shuffle))
            else:
                work, rest = self._array_work(
                    compiled, x, y, sample_weight, class_weight, validation_split if validation_data is None else 0.0,
                    batch_size, steps, shuffle,
                )  # fmt: skip
            validation = None
            try:
                size = batch_size if validation_batch_size is None else validation_batch_size
                if validation_data is not None or rest is not None:
                    sample = work.inputs.shape[1:]
                    validation = self._validation(compiled, validation_data, rest, size, validation_steps, sample)
                trainer = self._trainer_for(self._network_for_data("fit", work.inputs), compiled)
                runner = loops.callback_list(callbacks, self, True, verbose=level, epochs=epochs, steps=work.steps)
                self._running = Running(runner, work.order)
                return self._fit(trainer, compiled, work, validation, range(initial_epoch, epochs), frequency, runner)
            finally:
                self._running = None
                work.close()
                if validation is not None:
                    validation.close()

    def _fit(
        self,
        trainer: NativeTrainer,
        compiled: Compiled,
        work: loops.Work,
        validation: loops.Work | None,
        epochs: range,
        frequency: Callable[[int], bool],
        runner: Any,
    ) -> Any:
        self.stop_training = False
        logs: dict[str, float] = {}
        self._initial_epoch = None
        runner.on_train_begin()
        if self._initial_epoch is not None:
            epochs = range(self._initial_epoch, epochs.stop)
        resumable, self._resumable = self._resumable, None
        if resumable is not None and resumable[0] == epochs.start > 0 and self._initial_epoch is None:
            seed.set_state(resumable[1])
        self._epochs_done = epochs.start
        for epoch in epochs:
            runner.on_epoch_begin(epoch)
            # A callback may have frozen layers or moved variables since the last epoch.
            trainer = self._trainer_for(self._current_network(), compiled)
            measured = work.run(trainer, callbacks=runner, stopped=lambda: self.stop_training)
            if work.ended():
                warnings.warn(
                    f"fit: x: expected batches for {epochs.stop - epochs.start} epochs, received a source that ran out "
                    f"of data after {epoch - epochs.start}: training ends",
                    stacklevel=3,
                )
                break
            logs = measured
            if validation is not None and frequency(epoch + 1):
                self.stop_evaluating = False
                runner.on_test_begin()
                measured = validation.run(trainer, callbacks=runner, stopped=lambda: self.stop_evaluating)
                runner.on_test_end(dict(sorted(measured.items())))
                logs.update({f"val_{name}": value for name, value in sorted(measured.items())})
            self._epochs_done = epoch + 1
            runner.on_epoch_end(epoch, logs)
            if self.stop_training:
                break
        if epochs:
            compiled.optimizer.finalize_variable_values(self.trainable_weights)
        runner.on_train_end(logs)
        return _history(runner, self)

    # --- evaluate and predict ------------------------------------------------------------------------------------

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Measures loss and metrics, in inference mode.

        Args:
            x, y, sample_weight: data as for `fit`, arrays or something that yields batches.
            batch_size: samples a step; 32 by default.
            verbose: as for `fit`.
            steps: batches to measure; all by default.
            callbacks: a callback or a list of them.
            return_dict: whether the result is {name: value}.

        Returns:
            [loss, metric, ...] in the order of `metrics_names`; the loss alone where there are no metrics.

        Raises:
            ValueError: data or an argument that does not fit.
        """
        with self._training_lock:
            compiled = self._require_compiled("evaluate")
            level = _verbosity("evaluate", verbose)
            count = steps_of("evaluate", "steps", steps)
            if batches.yields_batches(x, y):
                work = self._batch_work("evaluate", compiled, x, y, sample_weight, None, count, False)
            else:
                inputs = arrays.as_inputs("evaluate", x)
                data = self._dataset("evaluate", compiled, inputs, y, sample_weight, None)
                work = loops.measuring(
                    data, batch_size_of("evaluate", "batch_size", batch_size, len(data), count), count
                )
            with contextlib.closing(work):
                trainer = self._trainer_for(self._network_for_data("evaluate", work.inputs), compiled)
                runner = loops.callback_list(callbacks, self, False, verbose=level, epochs=1, steps=work.steps)
                self.stop_evaluating = False
                runner.on_test_begin()
                logs = work.run(trainer, callbacks=runner, stopped=lambda: self.stop_evaluating)
            ordered = dict(sorted(logs.items()))
            runner.on_test_end(ordered)
            return ordered if return_dict else flat(logs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> NDArray[np.float32]:
        """The model's outputs, in inference mode.

        Args:
            x: (n, *input shape) array of any real dtype, read in place; or something that yields batches, of which labels
                are passed over.
            batch_size: samples a step; 32 by default.
            verbose: as for `fit`.
            steps: batches to predict; all by default.
            callbacks: a callback or a list of them.

        Returns:
            (n, *output shape) float32 array.

        Raises:
            ValueError: data or an argument that does not fit.
        """
        if verbose == 0 and batch_size is None and steps is None and callbacks is None:
            outputs = self._predict_usual(x)
            if outputs is not None:
                return outputs
        level = _verbosity("predict", verbose)
        if batches.yields_batches(x):
            return self._predict_batches(x, level, steps_of("predict", "steps", steps), callbacks)
        inputs = arrays.as_inputs("predict", x)
        size = batch_size_of("predict", "batch_size", batch_size, len(inputs), steps)
        count = math.ceil(len(inputs) / size)
        count = min(steps_of("predict", "steps", steps) or count, count)
        network = self._network_for_data("predict", inputs)
        if not level and callbacks is None and count == 1:
            return network.native.predict(inputs, size, 0, min(size, len(inputs)))
        runner = loops.callback_list(callbacks, self, False, verbose=level, epochs=1, steps=count)
        self.stop_predicting = False
        runner.on_predict_begin()
        outputs = loops.predict(network, inputs, size, count, runner, lambda: self.stop_predicting)
        runner.on_predict_end()
        return outputs

    def _predict_batches(self, x: Any, level: int, steps: int | None, callbacks: Any) -> NDArray[np.float32]:
        """`predict` of what yields batches; labels among them are passed over."""
        feed = feed_of("predict", x, None, None, steps, False)

        def prepare(x: Any) -> NDArray[Any]:
            inputs = arrays.as_inputs("predict", x)
            if self._input_layer is not None:
                arrays.check_input_shape("predict", inputs, self._input_layer.sample_shape)
            return inputs

        with contextlib.closing(feed):
            network = self._network_for_data("predict", prepare(feed.peek()[0]))
            runner = loops.callback_list(callbacks, self, False, verbose=level, epochs=1, steps=feed.steps)
            self.stop_predicting = False
            runner.on_predict_begin()
            outputs = loops.predict_batches(network, feed, prepare, runner, lambda: self.stop_predicting)
            runner.on_predict_end()
            return outputs

    def _predict_usual(self, x: Any) -> NDArray[np.float32] | None:
        """The outputs of one batch that needs no checks, None for all others."""
        if type(x) is not np.ndarray or x.ndim < 2 or len(x) > 32 or self._usual_version != Structure.version:
            return None
        return self._usual(x)

    # --- shared --------------------------------------------------------------------------------------------------

    def _require_compiled(self, operation: str) -> Compiled:
        if self._compiled is None:
            raise ValueError(f"{operation}: model: expected a compiled model; call compile() first")
        if self._compiled.loss is None:
            _messages.fail(operation, "loss", "a loss given to compile()", None)
        return self._compiled

    def _trainer_for(self, network: BuiltNetwork, compiled: Compiled) -> NativeTrainer:
        """The trainer, made again where network, compile or the trained variables changed."""
        trainable = self.trainable_weights
        trainer = self._trainer
        if trainer is None or not trainer.serves(network, compiled, trainable):
            trainer = self._trainer = NativeTrainer(network, compiled, trainable)
        return trainer


def _limited_epochs(epochs: int) -> int:
    """`epochs`, or what `config.set_max_epochs` allows."""
    limit = config.max_epochs()
    if limit is None or epochs <= limit:
        return epochs
    warnings.warn(f"fit: epochs: {limit} instead of {epochs}, as config.max_epochs() says", stacklevel=3)
    return limit


def _verbosity(operation: str, value: Any) -> int:
    automatic = 1 if config.is_interactive_logging_enabled() else 2
    level = automatic if isinstance(value, str) and value == "auto" else value
    if not isinstance(level, (int, np.integer, np.bool_)) or level not in (0, 1, 2):
        _messages.fail(operation, "verbose", "'auto', 0, 1 or 2", value)
    return int(level)


def _validation_epochs(value: Any) -> Any:
    """Tells for the number of an epoch, from 1, whether it is measured."""
    if isinstance(value, (list, tuple)):
        wanted = {_messages.integer("fit", "validation_freq", v) for v in value}
        return lambda epoch: epoch in wanted
    every = _messages.integer("fit", "validation_freq", value)
    return lambda epoch: epoch % every == 0


def _history(runner: Any, model: Any) -> Any:
    for callback in runner.callbacks:
        if isinstance(callback, History):
            model.history = callback
    return model.history
