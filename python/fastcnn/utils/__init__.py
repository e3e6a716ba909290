"""Small tools: data sets and pictures, seeds, one-hot labels, padding, the progress bar, drawings of models."""

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
from fastcnn.utils.splitting import split_dataset as split_dataset

Sequence = PyDataset  # Keras 2's name, which Keras 3 keeps

__all__ = [
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "model_to_dot",
    "normalize",
    "pad_sequences",
    "plot_model",
    "save_img",
    "set_random_seed",
    "split_dataset",
    "to_categorical",
]
