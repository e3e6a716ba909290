"""Pictures to arrays and back. https://keras.io/api/data_loading/image/"""

from fastcnn.utils.image import array_to_img as array_to_img
from fastcnn.utils.image import img_to_array as img_to_array
from fastcnn.utils.image import load_img as load_img
from fastcnn.utils.image import save_img as save_img
from fastcnn.utils.image import smart_resize as smart_resize

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img", "smart_resize"]
