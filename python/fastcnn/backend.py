"""Keras's older place for settings; see `fastcnn.config` and `fastcnn.utils`. https://keras.io/api/utils/

>>> from fastcnn import backend as K
>>> K.image_data_format(), K.floatx()
('channels_last', 'float32')
"""

from fastcnn._lazy import nothing_called
from fastcnn.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from fastcnn.utils.dtypes import is_float_dtype, is_int_dtype, is_keras_tensor, standardize_dtype
from fastcnn.utils.session import clear_session, get_uid

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]

__getattr__ = nothing_called(__name__, __all__, {"result_type": "NumPy's result_type says what arrays become together"})
