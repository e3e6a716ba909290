"""Pooling of images and its gradients. https://keras.io/api/layers/pooling_layers/"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastcnn import _core
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


def _pool(
    name: str,
    kind: str,
    x: ArrayLike,
    pool_size: IntOrPair,
    strides: IntOrPair | None,
    padding: str,
    out: Floats | None,
) -> Floats:
    size = pair(name, "pool_size", pool_size)
    return _core.pool2d(
        floats(name, "inputs", x, 4, IMAGES),
        kind,
        size,
        size if strides is None else pair(name, "strides", strides),
        padding_name(name, padding),
        out=out,
    )


def _pool_grad(
    name: str,
    kind: str,
    x: Floats,
    dy: ArrayLike,
    pool_size: IntOrPair,
    strides: IntOrPair | None,
    padding: str,
    out: Floats | None,
) -> Floats:
    size = pair(name, "pool_size", pool_size)
    return _core.pool2d_grad(
        x,
        floats(name, "dy", dy, 4, IMAGES),
        kind,
        size,
        size if strides is None else pair(name, "strides", strides),
        padding_name(name, padding),
        out=out,
    )


@keeps_bfloat16()
def max_pool(
    inputs: ArrayLike,
    pool_size: IntOrPair,
    strides: IntOrPair | None = None,
    padding: str = "valid",
    data_format: str | None = None,
    *,
    out: Floats | None = None,
) -> Floats:
    """Maximum over windows of an image; NaN where the window holds one.

    Args:
        inputs: Images, (batch, height, width, channels).
        pool_size: Size of the window in pixels, one integer or (height, width).
        strides: Step of the window in pixels, one integer or (height, width); None for `pool_size`.
        padding: "valid" or "same".
        data_format: None or "channels_last".
        out: Where to write the result, or None.

    Returns:
        float32 array (batch, new_height, new_width, channels).

    Raises:
        ValueError: The window does not fit the image, or an argument is out of its range.

    >>> import numpy as np
    >>> max_pool(np.arange(16).reshape(1, 4, 4, 1), 2, strides=1)[0, :, :, 0]
    array([[ 5.,  6.,  7.],
           [ 9., 10., 11.],
           [13., 14., 15.]], dtype=float32)

    See https://keras.io/api/ops/nn/#maxpool-function
    """
    channels_last("max_pool", data_format)
    return _pool("max_pool", "max", inputs, pool_size, strides, padding, out)


@keeps_bfloat16()
def average_pool(
    inputs: ArrayLike,
    pool_size: IntOrPair,
    strides: IntOrPair | None = None,
    padding: str = "valid",
    data_format: str | None = None,
    *,
    out: Floats | None = None,
) -> Floats:
    """Mean over windows of an image; pixels of the padding do not count.

    Args:
        inputs: Images, (batch, height, width, channels).
        pool_size: Size of the window in pixels, one integer or (height, width).
        strides: Step of the window in pixels, one integer or (height, width); None for `pool_size`.
        padding: "valid" or "same".
        data_format: None or "channels_last".
        out: Where to write the result, or None.

    Returns:
        float32 array (batch, new_height, new_width, channels).

    Raises:
        ValueError: The window does not fit the image, or an argument is out of its range.

    >>> import numpy as np
    >>> average_pool(np.arange(9).reshape(1, 3, 3, 1), 2, padding="same")[0, :, :, 0]
    array([[2. , 3.5],
           [6.5, 8. ]], dtype=float32)

    See https://keras.io/api/ops/nn/#averagepool-function
    """
    channels_last("average_pool", data_format)
    return _pool("average_pool", "average", inputs, pool_size, strides, padding, out)


@keeps_bfloat16()
def max_pool_grad(
    x: ArrayLike,
    dy: ArrayLike,
    pool_size: IntOrPair,
    strides: IntOrPair | None = None,
    padding: str = "valid",
    *,
    out: Floats | None = None,
) -> Floats:
    """Gradient of `max_pool` with respect to its input; of equal maxima the first one in its window gets it.

    Args:
        x: The pool's input, (batch, height, width, channels).
        dy: Gradient of the pool's output, (batch, new_height, new_width, channels).
        pool_size: As in `max_pool`.
        strides: As in `max_pool`.
        padding: As in `max_pool`.
        out: Where to write the result, or None.

    Returns:
        float32 array of x's shape.

    Raises:
        ValueError: Shapes do not fit each other, or an argument is out of its range.

    >>> import numpy as np
    >>> x = np.array([1, 3, 2, 0]).reshape(1, 2, 2, 1)
    >>> max_pool_grad(x, np.full((1, 1, 1, 1), 7.0), 2)[0, :, :, 0]
    array([[0., 7.],
           [0., 0.]], dtype=float32)

    See https://keras.io/api/layers/pooling_layers/max_pooling2d/
    """
    name = "max_pool_grad"
    return _pool_grad(name, "max", floats(name, "x", x, 4, IMAGES), dy, pool_size, strides, padding, out)


@keeps_bfloat16()
def average_pool_grad(
    dy: ArrayLike,
    input_shape: Sequence[int],
    pool_size: IntOrPair,
    strides: IntOrPair | None = None,
    padding: str = "valid",
    *,
    out: Floats | None = None,
) -> Floats:
    """Gradient of `average_pool` with respect to its input.

    Args:
        dy: Gradient of the pool's output, (batch, new_height, new_width, channels).
        input_shape: (batch, height, width, channels) of the input.
        pool_size: As in `average_pool`.
        strides: As in `average_pool`.
        padding: As in `average_pool`.
        out: Where to write the result, or None.

    Returns:
        float32 array of shape `input_shape`.

    Raises:
        ValueError: Shapes do not fit each other, or an argument is out of its range.

    >>> import numpy as np
    >>> average_pool_grad(np.full((1, 1, 1, 1), 8.0), (1, 2, 2, 1), 2)[0, :, :, 0]
    array([[2., 2.],
           [2., 2.]], dtype=float32)

    See https://keras.io/api/layers/pooling_layers/average_pooling2d/
    """
    name = "average_pool_grad"
    # The mean's gradient does not depend on the input: an array that is never touched tells its shape.
    x = np.empty(shape_of_images(name, "input_shape", input_shape), np.float32)
    return _pool_grad(name, "average", x, dy, pool_size, strides, padding, out)
