"""The kernels as functions on NumPy arrays. https://keras.io/api/ops/nn/

Images are (batch, height, width, channels), convolution kernels (height, width, channels / groups, filters), as in
Keras. Arrays of bool, integer, float16, float64 or bfloat16 elements are converted to float32, in which everything is
computed and returned; C-contiguous float32 arrays are read in place. Where the first array is bfloat16 (`ml_dtypes`), the
results are rounded to bfloat16; where AMX tiles are in use, convolutions of stride 1 and one group multiply them as they are
(docs/numerics.md). Where a function has `out=`, the result is written
there: a C-contiguous, writeable float32 array of the result's shape that shares no memory with the inputs.

Functions that `keras.ops` has keep their Keras signature; `conv2d`, `dense` and the gradients are fastcnn's own.

>>> import numpy as np
>>> from fastcnn import ops
>>> ops.max_pool(np.arange(16).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
array([[ 5.,  7.],
       [13., 15.]], dtype=float32)
"""

from fastcnn.ops.convolution import conv, conv2d, conv2d_grad_input, conv2d_grad_kernel
from fastcnn.ops.dense import dense, dense_grad_input, dense_grad_kernel
from fastcnn.ops.nn import (
    batch_normalization,
    binary_crossentropy,
    categorical_crossentropy,
    relu,
    sigmoid,
    softmax,
    sparse_categorical_crossentropy,
    tanh,
)
from fastcnn.ops.pooling import average_pool, average_pool_grad, max_pool, max_pool_grad

__all__ = [
    "average_pool",
    "average_pool_grad",
    "batch_normalization",
    "binary_crossentropy",
    "categorical_crossentropy",
    "conv",
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_kernel",
    "dense",
    "dense_grad_input",
    "dense_grad_kernel",
    "max_pool",
    "max_pool_grad",
    "relu",
    "sigmoid",
    "softmax",
    "sparse_categorical_crossentropy",
    "tanh",
]
