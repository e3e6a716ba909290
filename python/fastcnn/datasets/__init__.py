"""Data sets of small grey-scale images, in Keras's form: ``(x_train, y_train), (x_test, y_test)`` as uint8 arrays.

>>> from fastcnn.datasets import shirts
>>> (x_train, y_train), (x_test, y_test) = shirts.load_data()
>>> x_train.shape, y_train.shape
((2400, 28, 28), (2400,))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastcnn._lazy import nothing_called

if TYPE_CHECKING:
    from fastcnn.datasets import fashion_mnist, mnist, shirts

__all__ = ["fashion_mnist", "mnist", "shirts"]

_PICKLES = (
    "its files are pickles, which run code when they are read; load arrays with numpy.load(..., allow_pickle=False)"
)
_INSTEAD = {"cifar10": _PICKLES, "cifar100": _PICKLES}


def __getattr__(name: str) -> Any:
    """Imports a data set's module at its first use: what reads archives takes a while to import."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    return nothing_called(__name__, __all__, _INSTEAD)(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
