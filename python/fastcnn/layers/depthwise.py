"""Convolutions of each channel by itself."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.convolutional import BaseConv
from fastcnn.layers.layer import serialize
from fastcnn.variables import Variable


class BaseDepthwiseConv(BaseConv):
    """What depthwise convolutions share.

    See https://keras.io/api/layers/convolution_layers/.
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            bias_regularizer, bias_constraint, activity_regularizer=activity_regularizer, **kwargs,
        )  # fmt: skip
        kind = type(self).__name__
        self.depth_multiplier = _messages.integer(kind, "depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.kernel: Variable | None = None

    def _kernel_of_depth(self) -> Variable | None:
        return self.kernel

    def _create_depthwise(self, channels: int, name: str) -> None:
        self.kernel = self.add_weight(
            (*self.kernel_size, channels, self.depth_multiplier),
            self.depthwise_initializer,
            name=name,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates kernel and bias."""
        self._create_depthwise(input_shape[-1], "kernel")
        self._create_bias(input_shape[-1] * self.depth_multiplier)

    def _depthwise(self, graph: _core.Graph, parameters: ParameterList, bias: bool) -> None:
        graph.depthwise_conv2d(
            self.name,
            depth_multiplier=self.depth_multiplier,
            kernel=parameters.add(self.kernel),
            bias=parameters.add(self.bias) if bias else -1,
            **self._window(),
        )

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the convolution and its activation."""
        self._as_image(graph, lambda: self._depthwise(graph, parameters, self.use_bias))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            **self._config_of_window(),
            "depthwise_initializer": serialize(self.depthwise_initializer),
            "depthwise_regularizer": serialize(self.depthwise_regularizer),
            "depthwise_constraint": serialize(self.depthwise_constraint),
        }


class DepthwiseConv1D(BaseDepthwiseConv):
    """1D convolution of each channel with `depth_multiplier` kernels of its own.

    Args:
        kernel_size: length of the window.
        strides: step of the window.
        padding: "valid" or "same".
        depth_multiplier: outputs of each channel.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        depthwise_initializer, bias_initializer: first values of the weights.
        depthwise_regularizer, bias_regularizer: penalties on the weights, or None.
        depthwise_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, steps, channels). Output: (n, new steps, channels * depth_multiplier). Weights: kernel (kernel size,
    channels, depth_multiplier), bias (channels * depth_multiplier,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> DepthwiseConv1D(3, depth_multiplier=2)(np.zeros((2, 8, 3))).shape
        (2, 6, 6)

    See https://keras.io/api/layers/convolution_layers/depthwise_convolution1d/.
    """

    _rank = 1


class DepthwiseConv2D(BaseDepthwiseConv):
    """2D convolution of each channel with `depth_multiplier` kernels of its own.

    Args:
        kernel_size: height and width of the window, one integer or two.
        strides: step of the window, one integer or two.
        padding: "valid" or "same".
        depth_multiplier: outputs of each channel.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps, one integer or two.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        depthwise_initializer, bias_initializer: first values of the weights.
        depthwise_regularizer, bias_regularizer: penalties on the weights, or None.
        depthwise_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, height, width, channels). Output: (n, new height, new width, channels * depth_multiplier). Weights: kernel
    (kernel height, kernel width, channels, depth_multiplier), bias (channels * depth_multiplier,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> DepthwiseConv2D(3)(np.zeros((2, 8, 8, 3))).shape
        (2, 6, 6, 3)

    See https://keras.io/api/layers/convolution_layers/depthwise_convolution2d/.
    """

    _rank = 2


class BaseSeparableConv(BaseDepthwiseConv):
    """What separable convolutions share: a depthwise convolution, then one that mixes the channels of each position.

    See https://keras.io/api/layers/convolution_layers/.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer, activity_regularizer,
            depthwise_constraint, bias_constraint, **kwargs,
        )  # fmt: skip
        kind = type(self).__name__
        self.filters = _messages.integer(kind, "filters", filters)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)
        self.pointwise_constraint = constraints.get(pointwise_constraint)
        self.pointwise_kernel: Variable | None = None

    @property
    def depthwise_kernel(self) -> Variable | None:
        """The kernel of the depthwise part."""
        return self.kernel

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates both kernels and the bias."""
        channels = input_shape[-1]
        self._create_depthwise(channels, "depthwise_kernel")
        ones = (1,) * self._rank
        self.pointwise_kernel = self.add_weight(
            (*ones, channels * self.depth_multiplier, self.filters),
            self.pointwise_initializer,
            name="pointwise_kernel",
            regularizer=self.pointwise_regularizer,
            constraint=self.pointwise_constraint,
        )
        self._create_bias(self.filters)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends both convolutions and the activation."""

        def append() -> None:
            self._depthwise(graph, parameters, False)
            graph.conv2d(
                self.name,
                filters=self.filters,
                kernel_size=(1, 1),
                strides=(1, 1),
                padding="valid",
                dilation_rate=(1, 1),
                groups=1,
                kernel=parameters.add(self.pointwise_kernel),
                bias=parameters.add(self.bias) if self.use_bias else -1,
            )

        self._as_image(graph, append)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "pointwise_initializer": serialize(self.pointwise_initializer),
            "pointwise_regularizer": serialize(self.pointwise_regularizer),
            "pointwise_constraint": serialize(self.pointwise_constraint),
        }


class SeparableConv1D(BaseSeparableConv):
    """1D depthwise convolution, then a convolution of size 1 that mixes the channels.

    Args:
        filters: number of output channels.
        kernel_size: length of the depthwise window.
        strides: step of the window.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps.
        depth_multiplier: outputs of each channel of the depthwise part.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        depthwise_initializer, pointwise_initializer, bias_initializer: first values of the weights.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: penalties on the weights, or None.
        depthwise_constraint, pointwise_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, steps, channels). Output: (n, new steps, filters). Weights: depthwise_kernel (kernel size, channels,
    depth_multiplier), pointwise_kernel (1, channels * depth_multiplier, filters), bias (filters,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> SeparableConv1D(4, 3)(np.zeros((2, 8, 3))).shape
        (2, 6, 4)

    See https://keras.io/api/layers/convolution_layers/separable_convolution1d/.
    """

    _rank = 1


class SeparableConv2D(BaseSeparableConv):
    """2D depthwise convolution, then a 1x1 convolution that mixes the channels.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the depthwise window, one integer or two.
        strides: step of the window, one integer or two.
        padding: "valid" or "same".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps, one integer or two.
        depth_multiplier: outputs of each channel of the depthwise part.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        depthwise_initializer, pointwise_initializer, bias_initializer: first values of the weights.
        depthwise_regularizer, pointwise_regularizer, bias_regularizer: penalties on the weights, or None.
        depthwise_constraint, pointwise_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, height, width, channels). Output: (n, new height, new width, filters). Weights: depthwise_kernel (kernel
    height, kernel width, channels, depth_multiplier), pointwise_kernel (1, 1, channels * depth_multiplier, filters), bias
    (filters,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> SeparableConv2D(4, 3)(np.zeros((2, 8, 8, 3))).shape
        (2, 6, 6, 4)

    See https://keras.io/api/layers/convolution_layers/separable_convolution2d/.
    """

    _rank = 2
