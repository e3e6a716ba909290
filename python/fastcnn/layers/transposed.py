"""Transposed convolutions, which make images larger."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.convolutional import BaseConv
from fastcnn.layers.layer import serialize
from fastcnn.variables import Variable


class BaseConvTranspose(BaseConv):
    """What transposed convolutions share.

    See https://keras.io/api/layers/convolution_layers/.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        self.output_padding: tuple[int, ...] | None = None
        if output_padding is not None:
            self.output_padding = _messages.integers(kind, "output_padding", output_padding, self._rank, 0)
            if any(p >= s for p, s in zip(self.output_padding, self.strides)):
                _messages.fail(kind, "output_padding", f"less than strides {self.strides}", output_padding)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.kernel: Variable | None = None

    def _kernel_of_depth(self) -> Variable | None:
        return None

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        channels = self._channels_last(sample)[-1]
        if self.kernel is not None and channels != self.kernel.shape[-1]:
            _messages.fail(
                self.name, "input", f"{self.kernel.shape[-1]} channels, as the layer was built for", channels
            )
        return sample

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates kernel and bias."""
        self.kernel = self.add_weight(
            (*self.kernel_size, self.filters, input_shape[-1]),
            self.kernel_initializer,
            name="kernel",
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        self._create_bias(self.filters)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the convolution and its activation."""
        none = (-1,) * self._rank
        self._as_image(
            graph,
            lambda: graph.conv2d_transpose(
                self.name,
                filters=self.filters,
                output_padding=self._pair(self.output_padding or none, of_height=-1),
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
            **self._config_of_window(),
            "output_padding": self.output_padding,
            "kernel_initializer": serialize(self.kernel_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "kernel_constraint": serialize(self.kernel_constraint),
        }


class Conv1DTranspose(BaseConvTranspose):
    """1D transposed convolution: each input step adds its multiple of the kernel to the output.

    Args:
        filters: number of output channels.
        kernel_size: length of the window.
        strides: steps of the output for one of the input.
        padding: "valid", or "same" for an output of input steps * strides.
        output_padding: further steps at the end, less than strides; None for as many as `padding` means.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights, or None.
        kernel_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, steps, channels). Output: (n, new steps, filters). Weights: kernel (kernel size, filters, channels), bias
    (filters,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Conv1DTranspose(4, 3, strides=2, padding="same")(np.zeros((2, 8, 3))).shape
        (2, 16, 4)

    See https://keras.io/api/layers/convolution_layers/convolution1d_transpose/.
    """

    _rank = 1


class Conv2DTranspose(BaseConvTranspose):
    """2D transposed convolution: each input position adds its multiple of the kernel to the output.

    Args:
        filters: number of output channels.
        kernel_size: height and width of the window, one integer or two.
        strides: positions of the output for one of the input, one integer or two.
        padding: "valid", or "same" for an output of input size * strides.
        output_padding: further rows and columns at the end, less than strides; None for as many as `padding` means.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dilation_rate: spacing of the window's taps, one integer or two.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights, or None.
        kernel_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Padding is placed as Keras does on TensorFlow and JAX; on PyTorch it differs where kernel size - strides is odd.

    Input: (n, height, width, channels). Output: (n, new height, new width, filters). Weights: kernel (kernel height,
    kernel width, filters, channels), bias (filters,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Conv2DTranspose(4, 3, strides=2, padding="same")(np.zeros((2, 8, 8, 3))).shape
        (2, 16, 16, 4)

    See https://keras.io/api/layers/convolution_layers/convolution2d_transpose/.
    """

    _rank = 2
