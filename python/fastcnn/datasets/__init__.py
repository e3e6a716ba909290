"""Data sets of small grey-scale images, in Keras's form: ``(x_train, y_train), (x_test, y_test)`` as uint8 arrays.

>>> from fastcnn.datasets import shirts
>>> (x_train, y_train), (x_test, y_test) = shirts.load_data()
>>> x_train.shape, y_train.shape
((2400, 28, 28), (2400,))
"""

from fastcnn.datasets import fashion_mnist, mnist, shirts

__all__ = ["fashion_mnist", "mnist", "shirts"]
