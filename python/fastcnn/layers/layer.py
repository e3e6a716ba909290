"""Layer: what every layer has. A layer only describes itself; the native network computes."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _core, _messages, config, constraints, dtype_policies, initializers, regularizers
from fastcnn._naming import auto_name
from fastcnn._network import BuiltNetwork, ParameterList, infer_shape
from fastcnn.data.arrays import as_inputs
from fastcnn.layers.properties import LayerProperties
from fastcnn.saving.registration import describe
from fastcnn.variables import Running, Structure, Variable, first_value

Shape = Sequence[int | None]
Margins = tuple[tuple[int, int], ...]


class KerasTensor:
    """A symbolic tensor: the shape and dtype of a model's input or output, without numbers.

    >>> from fastcnn import Input
    >>> Input((28, 28, 1)).shape
    (None, 28, 28, 1)
    """

    def __init__(
        self,
        shape: Sequence[int | None],
        dtype: str = "float32",
        sparse: bool | None = False,
        ragged: bool | None = False,
        record_history: bool = True,
        name: str | None = None,
    ) -> None:
        _messages.only("KerasTensor", "sparse", sparse, (None, False))
        _messages.only("KerasTensor", "ragged", ragged, (None, False))
        self.shape = tuple(shape)
        self.dtype = dtype
        self.name = name or auto_name("KerasTensor")

    @property
    def ndim(self) -> int:
        """The number of axes, the batch included."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"


class Layer(LayerProperties):
    """Base of all layers.

    A layer of your own is a subclass with `call`, which computes the output from a batch with NumPy, and, to be trained or to
    stand above trained layers, `backward`, which gives the gradients. Variables are made in `build` by `add_weight`. The
    native plan stops at such a layer and hands it the whole batch, so it costs what its NumPy costs; what stands before
    and after it stays native. Neither method may assign variables: the plan that calls them holds their locks.

    Args:
        name: unique in a model; made from the class's name by default.
        trainable: whether the optimizer changes the layer's weights.
        dtype: number format: "float32", "mixed_bfloat16", "mixed_float16" (see `fastcnn.dtype_policies`), a `DTypePolicy`, its
            configuration, or None for `config.dtype_policy()`.
        autocast: accepted as in Keras, without effect.
        activity_regularizer: penalty on each sample's output, its mean over the batch added to the loss, or None.
        input_shape, input_dim, batch_input_shape: one sample's shape (with the batch size first for the last), where
            the layer is a Sequential model's first.

    Example:
        >>> import numpy as np
        >>> class Scale(Layer):
        ...     def build(self, input_shape):
        ...         self.factor = self.add_weight((input_shape[-1],), "ones", name="factor")
        ...     def call(self, inputs):
        ...         return inputs * self.factor
        ...     def backward(self, inputs, gradient):
        ...         return gradient * self.factor, [(gradient * inputs).reshape(-1, inputs.shape[-1]).sum(axis=0)]
        >>> Scale()(np.array([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]

    See https://keras.io/api/layers/base_layer/.
    """

    # Axes of one sample that `build` accepts, in words for the message; None: any.
    _input_axes: tuple[str, ...] | None = None
    # Where the axes of images are what the layer was told: "channels_last" or "channels_first".
    data_format = "channels_last"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "call" in cls.__dict__ and cls.describe is not Layer.describe:
            raise TypeError(
                f"{cls.__name__}: call: expected a subclass of Layer, received one of a layer that computes natively and "
                "would not call it; hold that layer as an attribute and call it inside"
            )
        if "build" in cls.__dict__ and not hasattr(cls, "fit"):  # a model builds its layers
            cls.build = _built_once(cls.__dict__["build"])  # type: ignore[method-assign]

    def __init__(
        self,
        *,
        name: str | None = None,
        trainable: bool = True,
        dtype: Any = None,
        autocast: bool = True,
        activity_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        kind = type(self).__name__
        if name is not None and (not isinstance(name, str) or not name or "/" in name):
            _messages.fail(kind, "name", "a string without '/'", name)
        self._dtype_policy = dtype_policies.for_layer(kind, "dtype", dtype)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self._penalty(kind)
        self._input_shape_argument = _input_shape_argument(kind, kwargs)
        for key in kwargs:
            raise ValueError(f"{kind}: {key}: unknown argument, received {_messages.show(kwargs[key])}")
        self._trainable = _messages.flag(kind, "trainable", trainable)
        self.name = name or auto_name(kind)
        self.built = False
        self._trainable_variables: list[Variable] = []
        self._non_trainable_variables: list[Variable] = []
        self._build_shape: tuple[int, ...] | None = None
        self._path_prefix = ""
        self._own_network: tuple[tuple[int, ...], BuiltNetwork] | None = None
        self._training_calls = 0

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and deep copies: all but the native network, which is made again when it is needed."""
        return {**self.__dict__, "_own_network": None}

    # --- what a subclass says ------------------------------------------------------------------------------------

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates the variables for samples of `input_shape`."""

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the layer's operations to `graph`, its variables to `parameters`."""
        if not self._is_written_in_python():
            raise NotImplementedError(f"{type(self).__name__}: call: expected a method that computes the output")
        sample = tuple(graph.output_shape)
        if not self.built:
            self.build((None, *sample))
        indices = [parameters.add(variable) for variable in self._trainable_variables]
        graph.host(self.name, layer=self, output_shape=self._python_output_shape(sample), parameters=indices)

    # --- layers written in Python --------------------------------------------------------------------------------

    def call(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The output for a batch; what a layer written in Python computes.

        Args:
            inputs: (n, *one sample's shape) float32 array.
            training: whether a training step is being made, where the method has such an argument.

        Returns:
            (n, *output shape) array.
        """
        raise NotImplementedError(f"{type(self).__name__}: call: not a layer written in Python")

    def backward(self, inputs: Any, gradient: Any) -> Any:
        """Gradients of a layer written in Python.

        Args:
            inputs: what `call` was given.
            gradient: of the loss by what it returned.

        Returns:
            The loss's gradient by `inputs`; or a pair of it and a list of those by the trainable variables, in the order in
            which they were added.
        """
        raise NotImplementedError(
            f"{type(self).__name__}: backward: expected a method that gives the gradients, which training needs"
        )

    def _is_written_in_python(self) -> bool:
        return type(self).call is not Layer.call

    def _python_output_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        if type(self).compute_output_shape is not Layer.compute_output_shape:
            found = tuple(self.compute_output_shape((None, *sample)))
        else:
            found = np.shape(self._host_forward(np.zeros((1, *sample), np.float32), False))
        return tuple(int(n) for n in found[1:] if n is not None)

    def _host_forward(self, inputs: NDArray[np.float32], training: bool) -> Any:
        takes_training = "training" in inspect.signature(self.call).parameters
        with _python_layer():
            return self.call(inputs, training=training) if takes_training else self.call(inputs)

    def _host_backward(self, inputs: NDArray[np.float32], gradient: NDArray[np.float32]) -> tuple[Any, list[Any]]:
        with _python_layer():
            found = self.backward(inputs, gradient)
        by_inputs, by_variables = found if isinstance(found, tuple) else (found, [])
        variables = self._trainable_variables
        if len(by_variables) != len(variables):
            _messages.fail(f"{self.name}.backward", "gradients", f"{len(variables)} of variables", len(by_variables))
        arrays = [np.asarray(array, np.float32) for array in by_variables]
        for variable, array in zip(variables, arrays):
            if array.shape != variable.shape:
                expected = f"shape {variable.shape} for {variable.name}"
                _messages.fail(f"{self.name}.backward", "gradients", expected, array.shape)
        return by_inputs, arrays

    def append_to(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends what `describe` does, channels last, between the axes' order outside and inside, and the penalty."""
        first = self.data_format == "channels_first"
        rank = len(graph.output_shape)
        if first and rank > 1:
            graph.permute(self.name, axes=(*range(1, rank), 0))
        outside, graph.bfloat16 = graph.bfloat16, self.compute_dtype == "bfloat16"
        self.describe(graph, parameters)
        graph.bfloat16 = outside
        rank = len(graph.output_shape)
        if first and rank > 1:
            graph.permute(self.name, axes=(rank - 1, *range(rank - 1)))
        penalty = self._penalty(self.name)
        if penalty != (0.0, 0.0):
            graph.activity(self.name, l1=penalty[0], l2=penalty[1])

    def _penalty(self, operation: str) -> tuple[float, float]:
        regularizer = self.activity_regularizer
        if regularizer is None:
            return 0.0, 0.0
        if not regularizer._is_native():
            _messages.fail(operation, "activity_regularizer", "L1, L2 or L1L2", regularizer)
        return float(regularizer.l1), float(regularizer.l2)

    def _channels_last(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """A sample's shape as `describe` and `create_weights` see it."""
        return (*sample[1:], sample[0]) if self.data_format == "channels_first" and len(sample) > 1 else sample

    def _mode(self) -> Hashable:
        """What `describe` depends on and may change after construction."""
        return None

    # --- variables -----------------------------------------------------------------------------------------------

    def add_weight(
        self,
        shape: Sequence[int] | int | None = None,
        initializer: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        aggregation: str = "none",
        overwrite_with_gradient: bool = False,
        name: str | None = None,
    ) -> Variable:
        """Creates a variable of this layer.

        Args:
            shape: its shape; () by default.
            initializer: name, configuration or `Initializer`; "glorot_uniform" by default.
            dtype: None or "float32".
            trainable: whether the optimizer changes it.
            autocast, aggregation, overwrite_with_gradient: accepted as in Keras, without effect.
            regularizer: name, configuration or `Regularizer`, or None.
            constraint: name, configuration, `Constraint` or function, or None; applied after each step.
            name: short name, such as "kernel"; "variable" by default.
        """
        dtype_policies.for_layer(f"{self.name}.add_weight", "dtype", dtype)
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        name = name or "variable"
        path = "/".join(part for part in (self._path_prefix, self.name, name) if part)
        value = first_value(path, shape, _initializer(initializer))
        variable = Variable(value, name=name, path=path, trainable=trainable, regularizer=regularizers.get(regularizer))
        variable.constraint = constraints.get(constraint)
        (self._trainable_variables if trainable else self._non_trainable_variables).append(variable)
        return variable

    def add_variable(
        self,
        shape: Sequence[int] | int,
        initializer: Any,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        regularizer: Any = None,
        constraint: Any = None,
        name: str | None = None,
    ) -> Variable:
        """Keras's older name of `add_weight`."""
        return self.add_weight(shape, initializer, dtype, trainable, autocast, regularizer, constraint, name=name)

    @property
    def weights(self) -> list[Variable]:
        """All variables: trainable ones first."""
        return [*self._trainable_variables, *self._non_trainable_variables]

    @property
    def variables(self) -> list[Variable]:
        """The same as `weights`."""
        return self.weights

    @property
    def trainable_weights(self) -> list[Variable]:
        """The variables that the optimizer changes; none where `trainable` is False."""
        return [v for v in self.weights if v.trainable] if self.trainable else []

    @property
    def trainable_variables(self) -> list[Variable]:
        """The same as `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_weights(self) -> list[Variable]:
        """The variables that the optimizer leaves alone."""
        return [v for v in self.weights if not (self.trainable and v.trainable)]

    @property
    def non_trainable_variables(self) -> list[Variable]:
        """The same as `non_trainable_weights`."""
        return self.non_trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether the optimizer changes this layer; settable."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = _messages.flag(self.name, "trainable", value)
        Structure.changed()
        for variable in self._trainable_variables:
            variable.trainable = self._trainable

    def count_params(self) -> int:
        """The number of weights' elements.

        Raises:
            ValueError: the layer is not built yet.
        """
        if not self.built:
            raise ValueError(
                f"{self.name}: count_params: expected a built layer; "
                "call it, call build(), or give its model an input shape"
            )
        return sum(v.size for v in self.weights)

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copies of all weights' values, in the order of `weights`."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replaces all weights' values; nothing changes where one does not fit.

        Args:
            weights: arrays in the order and of the shapes of `weights`.

        Raises:
            ValueError: another number of arrays, or another shape.
        """
        variables = self.weights
        if len(weights) != len(variables):
            _messages.fail(f"{self.name}.set_weights", "weights", f"{len(variables)} arrays", len(weights))
        checked = [variable._checked(value) for variable, value in zip(variables, weights)]
        for variable, value in zip(variables, checked):
            variable.assign(value)

    # --- building ------------------------------------------------------------------------------------------------

    def build(self, input_shape: Shape) -> None:
        """Creates the weights for inputs of `input_shape`.

        Args:
            input_shape: (batch size or None, *one sample's shape).

        Raises:
            ValueError: the layer cannot work on that shape.
        """
        sample = self._sample_shape(input_shape, "build")
        if self.built:
            return
        if not self._is_written_in_python():
            infer_shape(self, sample)
        self.create_weights(self._channels_last(sample))
        self._build_shape = sample
        self.built = True

    def compute_output_shape(self, input_shape: Shape) -> tuple[int | None, ...]:
        """Shape of the output for inputs of `input_shape`, batch size first in both."""
        sample = self._sample_shape(input_shape, "compute_output_shape")
        return (input_shape[0], *infer_shape(self, sample))

    def _sample_shape(self, input_shape: Shape, operation: str) -> tuple[int, ...]:
        """One sample's shape of (batch, ...), checked against `_input_axes`."""
        entries = tuple(input_shape) if isinstance(input_shape, Sequence) else ()
        if not entries or not all(_messages.is_integer(v) and v is not None and v >= 1 for v in entries[1:]):
            _messages.fail(
                f"{self.name}.{operation}", "input_shape", "(batch size or None, positive integers ...)", input_shape
            )
        sample = tuple(int(v) for v in entries[1:] if v is not None)
        if self._input_axes is not None and len(sample) != len(self._input_axes):
            axes = self._input_axes if self.data_format == "channels_last" else ("channels", *self._input_axes[:-1])
            expected = f"a shape (batch, {', '.join(axes)})"
            _messages.fail(self.name, "input", expected, (entries[0], *sample))
        if self.input_spec is not None and (expected := self.input_spec.problem((entries[0], *sample))):
            _messages.fail(self.name, "input", expected, (entries[0], *sample))
        return sample

    # --- calling -------------------------------------------------------------------------------------------------

    def __call__(self, inputs: Any, training: bool = False) -> NDArray[np.float32]:
        """The layer's output for an array, computed by a network of this layer alone; builds the layer where needed.

        Args:
            inputs: (n, ...) array of any real dtype.
            training: True for training behaviour (dropout, batch statistics).

        Returns:
            (n, *output shape) float32 array.
        """
        if isinstance(inputs, KerasTensor):
            raise ValueError(
                f"{self.name}: inputs: expected an array, received a KerasTensor: the functional API is not part of "
                "fastcnn, put the layers into a Sequential model"
            )
        x = as_inputs(self.name, inputs)
        if not self.built:
            self.build((None, *x.shape[1:]))
        network = self._network_for(self._sample_shape((None, *x.shape[1:]), "call"))
        if not training:
            return network.native.predict(x, len(x))
        self._training_calls += 1
        return network.native.forward_training(x, self._training_calls - 1)

    def _network_for(self, input_shape: tuple[int, ...]) -> BuiltNetwork:
        cached = self._own_network
        if cached is None or cached[0] != input_shape or not cached[1].is_current():
            cached = self._own_network = (input_shape, BuiltNetwork([self], input_shape))
        return cached[1]

    # --- configuration -------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        settings: dict[str, Any] = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": dtype_policies.serialize(self._dtype_policy),
        }
        if self.activity_regularizer is not None:
            settings["activity_regularizer"] = serialize(self.activity_regularizer)
        return settings

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        """A new layer from `get_config()`'s dictionary."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _input_shape_argument(kind: str, kwargs: dict[str, Any]) -> tuple[int, ...] | None:
    """Takes `input_shape`, `batch_input_shape` or `input_dim` out of `kwargs`."""
    found: tuple[int, ...] | None = None
    if (value := kwargs.pop("input_dim", None)) is not None:
        found = (_messages.integer(kind, "input_dim", value),)
    if (value := kwargs.pop("batch_input_shape", None)) is not None:
        found = _messages.shape(kind, "batch_input_shape", tuple(value)[1:])
    if (value := kwargs.pop("input_shape", None)) is not None:
        found = _messages.shape(kind, "input_shape", value)
    return found


@contextlib.contextmanager
def _python_layer() -> Iterator[None]:
    before, Running.python_layer = Running.python_layer, True
    try:
        yield
    finally:
        Running.python_layer = before


def _built_once(build: Callable[..., Any]) -> Callable[..., None]:
    """A subclass's `build` that runs once and says afterwards that the layer is built."""

    @functools.wraps(build)
    def wrapped(self: Layer, input_shape: Shape) -> None:
        sample = self._sample_shape(input_shape, "build")
        if not self.built:
            build(self, tuple(input_shape))
            self._build_shape = sample
            self.built = True

    return wrapped


def _initializer(identifier: Any) -> Callable[..., Any]:
    found = initializers.get("glorot_uniform" if identifier is None else identifier)
    assert found is not None
    return found


def read_data_format(kind: str, value: Any) -> str:
    """ "channels_last" or "channels_first"; None is `config.image_data_format()`."""
    if value is None:
        return config.image_data_format()
    return _messages.choice(kind, "data_format", value, ("channels_last", "channels_first"))


def read_margins(kind: str, argument: str, value: Any, rank: int) -> Margins:
    """(before, after) of each axis: from one integer, one for each axis, or pairs."""
    if _messages.is_integer(value) and value >= 0:
        return ((int(value), int(value)),) * rank
    entries = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if rank == 1 and len(entries) == 2:
        entries = (entries,)
    found = []
    for entry in entries:
        pair = (entry, entry) if _messages.is_integer(entry) else tuple(entry) if isinstance(entry, Sequence) else ()
        if len(pair) == 2 and all(_messages.is_integer(v) and v >= 0 for v in pair):
            found.append((int(pair[0]), int(pair[1])))
    if len(found) != rank or len(entries) != rank:
        forms = "a non-negative integer or two of them" + (", or two pairs of them" if rank == 2 else "")
        _messages.fail(kind, argument, forms, value)
    return tuple(found)


def sample_axes(operation: str, axis: Any, rank: int) -> tuple[int, ...]:
    """Axes of one sample for Keras's `axis`, which counts the batch: an integer or several, in rising order."""
    values = (axis,) if _messages.is_integer(axis) else tuple(axis) if isinstance(axis, Sequence) else ()
    found = tuple(sorted(v - 1 if v > 0 else rank + v for v in values if _messages.is_integer(v) and v))
    if not found or len(set(found)) != len(values) or found[0] < 0 or found[-1] >= rank:
        _messages.fail(operation, "axis", f"axes of the input, 1 to {rank} or from the end", axis)
    return found


def with_trailing_axes(graph: _core.Graph, name: str, axes: Sequence[int], append: Callable[[], object]) -> None:
    """Calls `append` while `axes` are the last ones of a sample, and puts the axes back."""
    rank = len(graph.output_shape)
    order = [axis for axis in range(rank) if axis not in axes] + list(axes)
    moved = order != list(range(rank))
    if moved:
        graph.permute(name, axes=tuple(order))
    append()
    if moved:
        graph.permute(name, axes=tuple(order.index(axis) for axis in range(rank)))


def serialize(value: Any) -> Any:
    """The description of an initializer, regularizer or constraint; None for None."""
    if value is None:
        return None
    if not hasattr(value, "get_config"):
        _messages.fail("get_config", "initializer", "an object with get_config()", value)
    return describe(value)
