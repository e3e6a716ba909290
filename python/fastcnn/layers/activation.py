"""Layers that apply a function to each element, and softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

from fastcnn import _core, _messages, activations, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.activations import Native
from fastcnn.layers.layer import Layer, sample_axes, serialize, with_trailing_axes
from fastcnn.variables import Variable


def native_activation(operation: str, identifier: Any) -> Native:
    """The native form of an activation given by name or function; refuses functions written in Python."""
    found = activations.native(activations.get(identifier))
    if found is None:
        expected = "a name or a function of fastcnn.activations that needs no further argument"
        _messages.fail(operation, "activation", expected, identifier)
    return found


def append_activation(graph: _core.Graph, name: str, native: Native) -> None:
    """Appends an activation to `graph`; none for "linear"."""
    if native.constants is not None:
        a, b, c = native.constants
        graph.elementwise(name, kind=native.kind, a=a, b=b, c=c)
    elif native.kind != "linear":
        kind = cast(Literal["relu", "sigmoid", "tanh", "softmax", "log_softmax"], native.kind)
        graph.activation(name, kind=kind)


class Activation(Layer):
    """Applies an activation function.

    Args:
        activation: name or function of `fastcnn.activations`.

    Raises:
        ValueError: another activation.

    Example:
        >>> import numpy as np
        >>> Activation("relu")(np.array([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]

    See https://keras.io/api/layers/core_layers/activation/.
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)
        self._native = native_activation("Activation", activation)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        append_activation(graph, self.name, self._native)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(Layer):
    """x above `threshold`, at most `max_value`; below it negative_slope * (x - threshold).

    Args:
        max_value: largest result, not negative; None for no limit.
        negative_slope: slope below the threshold, not negative.
        threshold: where the function starts to rise, not negative.

    Raises:
        ValueError: a negative argument.

    Example:
        >>> import numpy as np
        >>> ReLU(max_value=1.5)(np.array([[-1.0, 1.0, 2.0]])).tolist()
        [[0.0, 1.0, 1.5]]

    See https://keras.io/api/layers/activation_layers/relu/.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        positive = "a number of at least 0"
        self.max_value = None if max_value is None else _messages.real("ReLU", "max_value", max_value, positive, 0.0)
        self.negative_slope = _messages.real("ReLU", "negative_slope", negative_slope, positive, 0.0)
        self.threshold = _messages.real("ReLU", "threshold", threshold, positive, 0.0)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        if (self.max_value, self.negative_slope, self.threshold) == (None, 0.0, 0.0):
            graph.activation(self.name, kind="relu")
            return
        limit = float("inf") if self.max_value is None else self.max_value
        graph.elementwise(self.name, kind="relu", a=self.negative_slope, b=limit, c=self.threshold)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "max_value": self.max_value,
            "negative_slope": self.negative_slope,
            "threshold": self.threshold,
        }


class LeakyReLU(Layer):
    """x above 0, negative_slope * x below.

    Args:
        negative_slope: slope below 0, not negative.

    Raises:
        ValueError: a negative slope.

    Example:
        >>> import numpy as np
        >>> LeakyReLU(negative_slope=0.5)(np.array([[-1.0, 2.0]])).tolist()
        [[-0.5, 2.0]]

    See https://keras.io/api/layers/activation_layers/leaky_relu/.
    """

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        negative_slope = kwargs.pop("alpha", negative_slope)  # its name before Keras 3, which Keras still takes
        super().__init__(**kwargs)
        positive = "a number of at least 0"
        self.negative_slope = _messages.real("LeakyReLU", "negative_slope", negative_slope, positive, 0.0)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        graph.elementwise(self.name, kind="relu", a=self.negative_slope, b=float("inf"), c=0.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "negative_slope": self.negative_slope}


class ELU(Layer):
    """x above 0, alpha * (exp(x) - 1) below.

    Args:
        alpha: minus the limit at -infinity.

    Example:
        >>> import numpy as np
        >>> ELU()(np.array([[0.0, 2.0]])).tolist()
        [[0.0, 2.0]]

    See https://keras.io/api/layers/activation_layers/elu/.
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = _messages.real("ELU", "alpha", alpha, "a number", -float("inf"))

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        graph.elementwise(self.name, kind="elu", a=self.alpha, b=1.0, c=1.0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "alpha": self.alpha}


class PReLU(Layer):
    """x above 0, alpha * x below, alpha being trained.

    Args:
        alpha_initializer: first values of alpha.
        alpha_regularizer: penalty on alpha, or None.
        alpha_constraint: what the weights are made to be after each step, or None.
        shared_axes: axes (the batch is axis 0) along which alpha is the same, such as [1, 2] for images.

    Weights: alpha, of a sample's shape with 1 along shared axes.

    Raises:
        ValueError: axes that the input does not have.

    Example:
        >>> import numpy as np
        >>> PReLU(alpha_initializer="ones")(np.array([[-1.0, 2.0]])).tolist()
        [[-1.0, 2.0]]

    See https://keras.io/api/layers/activation_layers/prelu/.
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        if shared_axes is not None and not isinstance(shared_axes, Sequence):
            shared_axes = [shared_axes]
        self.shared_axes = None if shared_axes is None else list(shared_axes)
        self.alpha: Variable | None = None

    def _alpha_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        shared = sample_axes(self.name, self.shared_axes, len(sample)) if self.shared_axes else ()
        return tuple(1 if axis in shared else size for axis, size in enumerate(sample))

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        if self.alpha is not None and self.alpha.shape != self._alpha_shape(sample):
            _messages.fail(self.name, "input", f"a shape that alpha {self.alpha.shape} was built for", sample)
        return sample

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates alpha."""
        self.alpha = self.add_weight(
            self._alpha_shape(input_shape),
            self.alpha_initializer,
            name="alpha",
            regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint,
        )

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        shape = self._alpha_shape(tuple(graph.output_shape))
        graph.prelu(self.name, alpha_shape=shape, alpha=parameters.add(self.alpha))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "alpha_initializer": serialize(self.alpha_initializer),
            "alpha_regularizer": serialize(self.alpha_regularizer),
            "alpha_constraint": serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over an axis, or over several together.

    Args:
        axis: the axis (the batch is axis 0), or several.

    Raises:
        ValueError: axes that the input does not have, when the layer is built.

    Example:
        >>> import numpy as np
        >>> Softmax()(np.zeros((1, 4))).tolist()
        [[0.25, 0.25, 0.25, 0.25]]

    See https://keras.io/api/layers/activation_layers/softmax/.
    """

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sample_axes("Softmax", axis, 64)  # whether these are integers; which there are is known when it is built
        self.axis = int(axis) if _messages.is_integer(axis) else list(axis)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation, over one axis at the end."""
        axes = sample_axes(self.name, self.axis, len(graph.output_shape))

        def append() -> None:
            shape = tuple(graph.output_shape)
            if len(axes) > 1:
                graph.reshape(self.name, target_shape=(*shape[: -len(axes)], -1))
            graph.activation(self.name, kind="softmax")
            if len(axes) > 1:
                graph.reshape(self.name, target_shape=shape)

        with_trailing_axes(graph, self.name, axes, append)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "axis": self.axis}
