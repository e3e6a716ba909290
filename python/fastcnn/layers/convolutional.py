"""Convolution layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from fastcnn import _core, _messages, activations, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.activation import append_activation, native_activation
from fastcnn.layers.layer import Layer, read_data_format, serialize
from fastcnn.variables import Variable

_AXES = ("height", "width")


class BaseConv(Layer):
    """What convolutions share: window arguments, bias and activation. One axis is an image of height 1.

    See https://keras.io/api/layers/convolution_layers/.
    """

    _rank: ClassVar[int]
    _paddings: ClassVar[tuple[str, ...]] = ("valid", "same")

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias_initializer: Any,
        bias_regularizer: Any,
        bias_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind, rank = type(self).__name__, self._rank
        self._input_axes = (*_AXES[2 - rank :], "channels") if rank == 2 else ("steps", "channels")
        self.kernel_size = _messages.integers(kind, "kernel_size", kernel_size, rank)
        self.strides = _messages.integers(kind, "strides", strides, rank)
        self.padding = _messages.choice(kind, "padding", padding, self._paddings)
        self.data_format = read_data_format(kind, data_format)
        self.dilation_rate = _messages.integers(kind, "dilation_rate", dilation_rate, rank)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            _messages.fail(kind, "dilation_rate", "1 where strides are above 1", dilation_rate)
        self.activation = activations.get(activation)
        self._native = native_activation(kind, activation)
        self.use_bias = _messages.flag(kind, "use_bias", use_bias)
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.bias_constraint = constraints.get(bias_constraint)
        self.bias: Variable | None = None

    def _kernel_of_depth(self) -> Variable | None:
        """The weight whose third axis goes with the input's channels."""
        raise NotImplementedError

    def _channels_of_kernel(self, size: int) -> int:
        """The input's channels that go with that axis."""
        return size

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        channels = self._channels_last(sample)[-1]
        kernel = self._kernel_of_depth()
        if kernel is not None and channels != self._channels_of_kernel(kernel.shape[self._rank]):
            expected = f"{self._channels_of_kernel(kernel.shape[self._rank])} channels, as the layer was built for"
            _messages.fail(self.name, "input", expected, channels)
        return sample

    def _create_bias(self, filters: int) -> None:
        if self.use_bias:
            self.bias = self.add_weight(
                (filters,),
                self.bias_initializer,
                name="bias",
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def _pair(self, values: tuple[int, ...], of_height: int = 1) -> tuple[int, int]:
        return (values[0], values[1]) if self._rank == 2 else (of_height, values[0])

    def _window(self) -> dict[str, Any]:
        """The graph's arguments that say what a window is."""
        return {
            "kernel_size": self._pair(self.kernel_size),
            "strides": self._pair(self.strides),
            "padding": "valid" if self.padding == "causal" else self.padding,
            "dilation_rate": self._pair(self.dilation_rate),
        }

    def _as_image(self, graph: _core.Graph, append: Callable[[], object]) -> None:
        """Calls `append` for images, then appends the activation; pads where an output may see no later step."""
        if self._rank == 1:
            graph.reshape(self.name, target_shape=(1, *graph.output_shape))
        if self.padding == "causal":
            graph.pad2d(self.name, height=(0, 0), width=(self.dilation_rate[0] * (self.kernel_size[0] - 1), 0))
        append()
        append_activation(graph, self.name, self._native)
        if self._rank == 1:
            graph.reshape(self.name, target_shape=tuple(graph.output_shape[1:]))

    def _config_of_window(self) -> dict[str, Any]:
        return {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "bias_initializer": serialize(self.bias_initializer),
            "bias_regularizer": serialize(self.bias_regularizer),
            "bias_constraint": serialize(self.bias_constraint),
            "activity_regularizer": serialize(self.activity_regularizer),
        }


class BaseFullConv(BaseConv):
    """What Conv1D and Conv2D share."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        kind = type(self).__name__
        self.filters = _messages.integer(kind, "filters", filters)
        self.groups = _messages.integer(kind, "groups", groups)
        if self.filters % self.groups:
            _messages.fail(kind, "filters", f"a multiple of groups ({self.groups})", filters)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.kernel: Variable | None = None

    def _kernel_of_depth(self) -> Variable | None:
        return self.kernel

    def _channels_of_kernel(self, size: int) -> int:
        return size * self.groups

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        channels = self._channels_last(sample)[-1]
        if channels % self.groups:
            _messages.fail(self.name, "input", f"channels that are a multiple of groups ({self.groups})", channels)
        return sample

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates kernel and bias."""
        kernel_shape = (*self.kernel_size, input_shape[-1] // self.groups, self.filters)
        self.kernel = self.add_weight(
            kernel_shape,
            self.kernel_initializer,
            name="kernel",
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self._create_bias(self.filters)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the convolution and its activation."""
        self._as_image(
            graph,
            lambda: graph.conv2d(
                self.name,
                filters=self.filters,
                groups=self.groups,
                kernel=parameters.add(self.kernel),
                bias=parameters.add(self.bias) if self.use_bias else -1,
                **self._window(),
            ),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "groups": self.groups,
            **self._config_of_window(),
            "kernel_initializer": serialize(self.kernel_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "kernel_constraint": serialize(self.kernel_constraint),
        }


class Conv2D(BaseFullConv):
    """2D convolution over images: y = activation(x * kernel + bias).

    Args:
        filters: number of output channels.
        kernel_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two.
        padding: "valid" (no padding) or "same" (zeros, evenly on both sides; output size is input size / strides,
            rounded up).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps, one integer or two.
        groups: number of groups that input and output channels are split into.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights, or None.
        kernel_constraint, bias_constraint: what the weights are made to be after each step, or None.

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

    _rank = 2


class Conv1D(BaseFullConv):
    """1D convolution over sequences: y = activation(x * kernel + bias).

    Args:
        filters: number of output channels.
        kernel_size: length of the window.
        strides: step of the window.
        padding: "valid" (no padding), "same" (zeros, evenly on both sides) or "causal" (zeros before the first step
            only: no output depends on later steps).
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps.
        groups: number of groups that input and output channels are split into.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights, or None.
        kernel_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, steps, channels). Output: (n, new steps, filters). Weights: kernel (kernel size, channels / groups,
    filters), bias (filters,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Conv1D(4, 3)(np.zeros((2, 8, 1))).shape
        (2, 6, 4)

    See https://keras.io/api/layers/convolution_layers/convolution1d/.
    """

    _rank = 1
    _paddings = ("valid", "same", "causal")
