"""Convolution of images and its gradients. https://keras.io/api/layers/convolution_layers/convolution2d/"""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from fastcnn import _core, _messages
from fastcnn.ops import _bfloat16
from fastcnn.ops._arrays import (
    IMAGES,
    Floats,
    IntOrPair,
    channels_last,
    floats,
    keeps_bfloat16,
    padding_name,
    pair,
    shape_of_images,
)
from fastcnn.ops.nn import apply_activation, is_relu

_KERNEL = "(height, width, channels / groups, filters)"


@keeps_bfloat16(_bfloat16.conv2d)
def conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    strides: IntOrPair = 1,
    padding: str = "valid",
    dilation_rate: IntOrPair = 1,
    groups: int = 1,
    activation: str | None = None,
    *,
    out: Floats | None = None,
) -> Floats:
    """Convolves images with a kernel, adds a bias and applies an activation.

    Args:
        x: Images, (batch, height, width, channels).
        kernel: Weights, (height, width, channels / groups, filters).
        bias: (filters,), or None.
        strides: Step of the window in pixels, one integer or (height, width).
        padding: "valid" (none) or "same" (zeros, so that the output has ceil(size / stride) pixels).
        dilation_rate: Distance of the kernel's taps in pixels, one integer or (height, width).
        groups: Number of groups that channels and filters are divided into.
        activation: None, "linear", "relu", "sigmoid", "tanh" or "softmax" (over the filters).
        out: Where to write the result, or None.

    Returns:
        float32 array (batch, new_height, new_width, filters).

    Raises:
        ValueError: Shapes do not fit each other, or an argument is out of its range.

    >>> import numpy as np
    >>> x = np.ones((1, 3, 3, 1))
    >>> conv2d(x, np.ones((2, 2, 1, 1)), bias=[0.5], padding="same")[0, :, :, 0]
    array([[4.5, 4.5, 2.5],
           [4.5, 4.5, 2.5],
           [2.5, 2.5, 1.5]], dtype=float32)

    See https://keras.io/api/layers/convolution_layers/convolution2d/
    """
    name = "conv2d"
    relu = is_relu(name, activation)
    y = _core.conv2d(
        floats(name, "x", x, 4, IMAGES),
        floats(name, "kernel", kernel, 4, _KERNEL),
        None if bias is None else floats(name, "bias", bias, 1, "(filters,)"),
        pair(name, "strides", strides),
        padding_name(name, padding),
        pair(name, "dilation_rate", dilation_rate),
        _messages.integer(name, "groups", groups),
        relu,
        out=out,
    )
    result: Floats = y if relu else apply_activation(y, activation)
    return result


@keeps_bfloat16(_bfloat16.conv2d_grad_input)
def conv2d_grad_input(
    dy: ArrayLike,
    kernel: ArrayLike,
    input_shape: Sequence[int],
    strides: IntOrPair = 1,
    padding: str = "valid",
    dilation_rate: IntOrPair = 1,
    groups: int = 1,
    *,
    out: Floats | None = None,
) -> Floats:
    """Gradient of a convolution with respect to its input.

    Args:
        dy: Gradient of the convolution's output, (batch, new_height, new_width, filters).
        kernel: Weights, (height, width, channels / groups, filters).
        input_shape: (batch, height, width, channels) of the input.
        strides: As in `conv2d`.
        padding: As in `conv2d`.
        dilation_rate: As in `conv2d`.
        groups: As in `conv2d`.
        out: Where to write the result, or None.

    Returns:
        float32 array of shape `input_shape`.

    Raises:
        ValueError: Shapes do not fit each other, or an argument is out of its range.

    >>> import numpy as np
    >>> conv2d_grad_input(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1)), (1, 3, 3, 1))[0, :, :, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]], dtype=float32)

    See https://keras.io/api/layers/convolution_layers/convolution2d/
    """
    name = "conv2d_grad_input"
    return _core.conv2d_grad_input(
        floats(name, "dy", dy, 4, IMAGES),
        floats(name, "kernel", kernel, 4, _KERNEL),
        shape_of_images(name, "input_shape", input_shape),
        pair(name, "strides", strides),
        padding_name(name, padding),
        pair(name, "dilation_rate", dilation_rate),
        _messages.integer(name, "groups", groups),
        out=out,
    )


@keeps_bfloat16(_bfloat16.conv2d_grad_kernel)
def conv2d_grad_kernel(
    x: ArrayLike,
    dy: ArrayLike,
    kernel_size: IntOrPair,
    strides: IntOrPair = 1,
    padding: str = "valid",
    dilation_rate: IntOrPair = 1,
    groups: int = 1,
    *,
    out: Floats | None = None,
) -> tuple[Floats, Floats]:
    """Gradients of a convolution with respect to its kernel and bias, summed over the batch.

    Args:
        x: Images, (batch, height, width, channels).
        dy: Gradient of the convolution's output, (batch, new_height, new_width, filters).
        kernel_size: Size of the window in pixels, one integer or (height, width).
        strides: As in `conv2d`.
        padding: As in `conv2d`.
        dilation_rate: As in `conv2d`.
        groups: As in `conv2d`.
        out: Where to write the kernel's gradient, or None.

    Returns:
        Two float32 arrays: the kernel's gradient (height, width, channels / groups, filters) and the bias's (filters,).

    Raises:
        ValueError: Shapes do not fit each other, or an argument is out of its range.

    >>> import numpy as np
    >>> x = np.arange(9).reshape(1, 3, 3, 1)
    >>> dkernel, dbias = conv2d_grad_kernel(x, np.ones((1, 2, 2, 1)), kernel_size=2)
    >>> dkernel[:, :, 0, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    >>> dbias
    array([4.], dtype=float32)

    See https://keras.io/api/layers/convolution_layers/convolution2d/
    """
    name = "conv2d_grad_kernel"
    return _core.conv2d_grad_kernel(
        floats(name, "x", x, 4, IMAGES),
        floats(name, "dy", dy, 4, IMAGES),
        pair(name, "kernel_size", kernel_size),
        pair(name, "strides", strides),
        padding_name(name, padding),
        pair(name, "dilation_rate", dilation_rate),
        _messages.integer(name, "groups", groups),
        out=out,
    )


@keeps_bfloat16()
def conv(
    inputs: ArrayLike,
    kernel: ArrayLike,
    strides: IntOrPair = 1,
    padding: str = "valid",
    data_format: str | None = None,
    dilation_rate: IntOrPair = 1,
) -> Floats:
    """Convolves images with a kernel; the number of groups follows from the channels of both.

    Args:
        inputs: Images, (batch, height, width, channels).
        kernel: Weights, (height, width, channels / groups, filters).
        strides: As in `conv2d`.
        padding: As in `conv2d`.
        data_format: None or "channels_last".
        dilation_rate: As in `conv2d`.

    Returns:
        float32 array (batch, new_height, new_width, filters).

    Raises:
        ValueError: Shapes do not fit each other, or an argument is out of its range.

    >>> import numpy as np
    >>> conv(np.ones((1, 5, 5, 4)), np.ones((3, 3, 2, 6)), strides=2).shape
    (1, 2, 2, 6)

    See https://keras.io/api/ops/nn/#conv-function
    """
    channels_last("conv", data_format)
    x = floats("conv", "inputs", inputs, 4, IMAGES)
    weights = floats("conv", "kernel", kernel, 4, _KERNEL)
    groups, rest = divmod(x.shape[3], weights.shape[2])
    if rest:
        _messages.fail("conv", "kernel", f"a third axis that divides {x.shape[3]} channels", weights.shape)
    return conv2d(x, weights, None, strides, padding, dilation_rate, groups)
