"""Convolution layers."""

from __future__ import annotations

from typing import Any, Literal, cast

from fastcnn import _core, _messages, activations, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.activation import append_activation, native_activation
from fastcnn.layers.layer import Layer, serialize
from fastcnn.variables import Variable


class BaseConv(Layer):
    """What convolutions share: window arguments, kernel and bias, activation.

    See https://keras.io/api/layers/convolution_layers/.
    """

    _input_axes = ("height", "width", "channels")

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = (1, 1),
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        kind = type(self).__name__
        self.filters = _messages.integer(kind, "filters", filters)
        self.kernel_size = _messages.pair(kind, "kernel_size", kernel_size)
        self.strides = _messages.pair(kind, "strides", strides)
        self.padding = cast(Literal["valid", "same"], _messages.choice(kind, "padding", padding, ("valid", "same")))
        _messages.only(kind, "data_format", data_format, (None, "channels_last"))
        self.data_format = "channels_last"
        self.dilation_rate = _messages.pair(kind, "dilation_rate", dilation_rate)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            _messages.fail(kind, "dilation_rate", "1 where strides are above 1", dilation_rate)
        self.groups = _messages.integer(kind, "groups", groups)
        if self.filters % self.groups:
            _messages.fail(kind, "filters", f"a multiple of groups ({self.groups})", filters)
        self.activation = activations.get(activation)
        self._activation_kind = native_activation(kind, activation)
        self.use_bias = _messages.flag(kind, "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        _messages.only(kind, "kernel_constraint", kernel_constraint, (None,))
        _messages.only(kind, "bias_constraint", bias_constraint, (None,))
        self.kernel: Variable | None = None
        self.bias: Variable | None = None

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        channels = sample[-1]
        if channels % self.groups:
            _messages.fail(self.name, "input", f"channels that are a multiple of groups ({self.groups})", channels)
        if self.kernel is not None and channels != self.kernel.shape[2] * self.groups:
            expected = f"{self.kernel.shape[2] * self.groups} channels, as the layer was built for"
            _messages.fail(self.name, "input", expected, channels)
        return sample

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "bias_regularizer": serialize(self.bias_regularizer),
        }


class Conv2D(BaseConv):
    """2D convolution over images: y = activation(x * kernel + bias).

    Args:
        filters: number of output channels.
        kernel_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two.
        padding: "valid" (no padding) or "same" (zeros, evenly on both sides; output size is input size / strides,
            rounded up).
        data_format: None or "channels_last".
        dilation_rate: spacing of the window's taps, one integer or two.
        groups: number of groups that input and output channels are split into.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights, or None.

    Input: (n, height, width, channels). Output: (n, new height, new width, filters). Weights: kernel (kernel height,
    kernel width, channels / groups, filters), bias (filters,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Conv2D(4, 3, activation="relu")(np.zeros((2, 8, 8, 1))).shape
        (2, 6, 6, 4)

    See https://keras.io/api/layers/convolution_layers/convolution2d/.
    """

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates kernel and bias."""
        kernel_shape = (*self.kernel_size, input_shape[-1] // self.groups, self.filters)
        self.kernel = self.add_weight(
            kernel_shape, self.kernel_initializer, "kernel", regularizer=self.kernel_regularizer
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.filters,), self.bias_initializer, "bias", regularizer=self.bias_regularizer
            )

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the convolution and its activation."""
        graph.conv2d(
            self.name,
            filters=self.filters,
            kernel_size=self.kernel_size,
            strides=self.strides,
            padding=self.padding,
            dilation_rate=self.dilation_rate,
            groups=self.groups,
            kernel=parameters.add(self.kernel),
            bias=parameters.add(self.bias) if self.use_bias else -1,
        )
        append_activation(graph, self.name, self._activation_kind)
