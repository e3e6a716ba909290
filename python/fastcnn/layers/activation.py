"""Layers that apply a function to each element, and softmax."""

from __future__ import annotations

from typing import Any, Literal, cast

from fastcnn import _core, _messages, activations
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer

Kind = Literal["linear", "relu", "sigmoid", "tanh", "softmax"]
_KINDS = ("linear", "relu", "sigmoid", "tanh", "softmax")


def native_activation(operation: str, identifier: Any) -> Kind:
    """The native kind of an activation given by name or function; refuses functions written in Python."""
    function = activations.get(identifier)
    kind = next((name for name in _KINDS if function is getattr(activations, name)), None)
    if kind is None:
        known = ", ".join(_KINDS[:-1]) + f" or {_KINDS[-1]}"
        _messages.fail(operation, "activation", f"{known} (as a name or a function of fastcnn.activations)", identifier)
    return cast(Kind, kind)


def append_activation(graph: _core.Graph, name: str, kind: Kind) -> None:
    """Appends an activation to `graph`; none for "linear"."""
    if kind != "linear":
        graph.activation(name, kind=kind)


class Activation(Layer):
    """Applies an activation function.

    Args:
        activation: "linear", "relu", "sigmoid", "tanh" or "softmax", or that function of `fastcnn.activations`.

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
        self._kind = native_activation("Activation", activation)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        append_activation(graph, self.name, self._kind)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "activation": activations.serialize(self.activation)}


class ReLU(Layer):
    """max(x, 0).

    Args:
        max_value, negative_slope, threshold: Keras's variants of the function; only their defaults are supported.

    Raises:
        ValueError: another value than the default.

    Example:
        >>> import numpy as np
        >>> ReLU()(np.array([[-1.0, 2.0]])).tolist()
        [[0.0, 2.0]]

    See https://keras.io/api/layers/activation_layers/relu/.
    """

    def __init__(
        self, max_value: float | None = None, negative_slope: float = 0.0, threshold: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        _messages.only("ReLU", "max_value", max_value, (None,))
        _messages.only("ReLU", "negative_slope", float(negative_slope), (0.0,))
        _messages.only("ReLU", "threshold", float(threshold), (0.0,))

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        graph.activation(self.name, kind="relu")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "max_value": None, "negative_slope": 0.0, "threshold": 0.0}


class Softmax(Layer):
    """exp(x) / sum(exp(x)) over the last axis.

    Args:
        axis: -1; no other axis is supported.

    Raises:
        ValueError: another axis.

    Example:
        >>> import numpy as np
        >>> Softmax()(np.zeros((1, 4))).tolist()
        [[0.25, 0.25, 0.25, 0.25]]

    See https://keras.io/api/layers/activation_layers/softmax/.
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _messages.only("Softmax", "axis", axis, (-1,))
        self.axis = axis

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the activation."""
        graph.activation(self.name, kind="softmax")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "axis": self.axis}
