"""Small tools: seeds, one-hot labels, normalisation and the progress bar."""

from fastcnn.data.py_dataset import PyDataset as PyDataset
from fastcnn.utils.numerical import normalize as normalize
from fastcnn.utils.numerical import to_categorical as to_categorical
from fastcnn.utils.progbar import Progbar as Progbar
from fastcnn.utils.seed import set_random_seed as set_random_seed

Sequence = PyDataset  # Keras 2's name, which Keras 3 keeps

__all__ = ["Progbar", "PyDataset", "Sequence", "normalize", "set_random_seed", "to_categorical"]
