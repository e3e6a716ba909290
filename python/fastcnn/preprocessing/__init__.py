"""Keras's older places of the functions that prepare data; `fastcnn.utils` has them too."""

from fastcnn._lazy import nothing_called
from fastcnn.preprocessing import image as image
from fastcnn.preprocessing import sequence as sequence
from fastcnn.utils import image_dataset_from_directory as image_dataset_from_directory

__all__ = ["image", "image_dataset_from_directory", "sequence"]

__getattr__ = nothing_called(__name__, __all__)
