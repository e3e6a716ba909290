"""Names of dtypes, and what they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import _messages, dtype_policies


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype: a string, a NumPy dtype or type, Python's float, int or bool; None is `config.floatx()`.

    >>> standardize_dtype(float), standardize_dtype(np.dtype("<i8")), standardize_dtype(None)
    ('float32', 'int64', 'float32')

    Raises:
        ValueError: no dtype that Keras has.

    See https://keras.io/api/utils/backend_utils/#standardizedtype-function
    """
    if dtype is None or dtype is float or (isinstance(dtype, str) and dtype == "float"):
        return "float32"
    if dtype is int or (isinstance(dtype, str) and dtype == "int"):
        return "int32"
    name = str(dtype)
    name = name.rpartition(".")[2] if name.startswith("torch.") else name  # torch.float32, without importing torch
    if name not in dtype_policies._DTYPES:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = ""
    if name not in dtype_policies._DTYPES:
        known = ", ".join(repr(known) for known in dtype_policies._DTYPES)
        _messages.fail("standardize_dtype", "dtype", f"one of {known}", dtype)
    return name


def is_float_dtype(dtype: Any) -> bool:
    """Whether numbers of that dtype have fractions.

    >>> is_float_dtype("bfloat16"), is_float_dtype("int32")
    (True, False)
    """
    return "float" in standardize_dtype(dtype)


def is_int_dtype(dtype: Any) -> bool:
    """Whether it is an integer dtype, with sign or without.

    >>> is_int_dtype("uint8"), is_int_dtype("bool")
    (True, False)
    """
    return "int" in standardize_dtype(dtype)


def is_keras_tensor(x: Any) -> bool:
    """Whether `x` is a `KerasTensor`, such as `Input` returns.

    >>> from fastcnn import Input
    >>> is_keras_tensor(Input((3,))), is_keras_tensor(np.zeros(3))
    (True, False)
    """
    from fastcnn.layers.layer import KerasTensor

    return isinstance(x, KerasTensor)
