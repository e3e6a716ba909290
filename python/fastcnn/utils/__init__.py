"""Small tools: data sets and pictures, seeds, one-hot labels, padding, the progress bar, drawings of models."""

from typing import TYPE_CHECKING

from fastcnn import saving
from fastcnn._lazy import attach, nothing_called
from fastcnn.config import disable_interactive_logging as disable_interactive_logging
from fastcnn.config import enable_interactive_logging as enable_interactive_logging
from fastcnn.config import is_interactive_logging_enabled as is_interactive_logging_enabled
from fastcnn.data.image_folder import image_dataset_from_directory as image_dataset_from_directory
from fastcnn.data.py_dataset import PyDataset as PyDataset
from fastcnn.utils.image import array_to_img as array_to_img
from fastcnn.utils.image import img_to_array as img_to_array
from fastcnn.utils.image import load_img as load_img
from fastcnn.utils.image import save_img as save_img
from fastcnn.utils.model_plot import model_to_dot as model_to_dot
from fastcnn.utils.model_plot import plot_model as plot_model
from fastcnn.utils.numerical import normalize as normalize
from fastcnn.utils.numerical import to_categorical as to_categorical
from fastcnn.utils.progbar import Progbar as Progbar
from fastcnn.utils.seed import set_random_seed as set_random_seed
from fastcnn.utils.sequence import pad_sequences as pad_sequences
from fastcnn.utils.session import clear_session as clear_session
from fastcnn.utils.splitting import split_dataset as split_dataset

if TYPE_CHECKING:
    from fastcnn.saving import CustomObjectScope as CustomObjectScope
    from fastcnn.saving import custom_object_scope as custom_object_scope
    from fastcnn.saving import deserialize_keras_object as deserialize_keras_object
    from fastcnn.saving import get_custom_objects as get_custom_objects
    from fastcnn.saving import get_registered_name as get_registered_name
    from fastcnn.saving import get_registered_object as get_registered_object
    from fastcnn.saving import register_keras_serializable as register_keras_serializable
    from fastcnn.saving import serialize_keras_object as serialize_keras_object
    from fastcnn.utils.batch_tuples import pack_x_y_sample_weight as pack_x_y_sample_weight
    from fastcnn.utils.batch_tuples import unpack_x_y_sample_weight as unpack_x_y_sample_weight
    from fastcnn.utils.dtypes import is_keras_tensor as is_keras_tensor
    from fastcnn.utils.dtypes import standardize_dtype as standardize_dtype
    from fastcnn.utils.files import get_file as get_file
    from fastcnn.utils.gradients import check_gradients as check_gradients

Sequence = PyDataset  # Keras 2's name, which Keras 3 keeps

__all__ = [  # noqa: PLE0604
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "check_gradients",
    "clear_session",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_file",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "save_img",
    "set_random_seed",
    "split_dataset",
    "standardize_dtype",
    "to_categorical",
    "unpack_x_y_sample_weight",
    *saving.__all__,
]

_PLACES = {
    "fastcnn.saving": saving.__all__,
    "fastcnn.utils.batch_tuples": ("pack_x_y_sample_weight", "unpack_x_y_sample_weight"),
    "fastcnn.utils.dtypes": ("is_keras_tensor", "standardize_dtype"),
    "fastcnn.utils.files": ("get_file",),
    "fastcnn.utils.gradients": ("check_gradients",),
}
_INSTEAD = {
    "FeatureSpace": "there are no tables of mixed columns; see scikit-learn's ColumnTransformer",
    "audio_dataset_from_directory": "image_dataset_from_directory",
    "text_dataset_from_directory": "image_dataset_from_directory",
    "timeseries_dataset_from_array": "PyDataset",
    "get_source_inputs": "there is no functional API; models are Sequential",
}

__getattr__ = attach(__name__, _PLACES, nothing_called(__name__, __all__, _INSTEAD))
