"""fastcnn: train and run small convolutional networks, fast. Keras 3's Sequential API over native kernels.

>>> import fastcnn as keras
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
>>> model.count_params()
5
"""

from typing import Any

from fastcnn import (
    activations,
    callbacks,
    config,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    preprocessing,
    random,
    regularizers,
    utils,
)
from fastcnn._core import __version__
from fastcnn.config import show_config
from fastcnn.layers.input_layer import Input
from fastcnn.layers.layer import KerasTensor, Layer
from fastcnn.models.sequential import Sequential
from fastcnn.variables import Variable

Initializer = initializers.Initializer
Loss = losses.Loss
Metric = metrics.Metric
Optimizer = optimizers.Optimizer
Regularizer = regularizers.Regularizer

__all__ = [
    "Initializer",
    "Input",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Variable",
    "__version__",
    "activations",
    "callbacks",
    "config",
    "datasets",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "show_config",
    "utils",
    "version",
]


def version() -> str:
    """The version of fastcnn.

    >>> version() == __version__
    True
    """
    return __version__


# What a Keras user may reach for, and what to do instead.
_ABSENT = {
    "Model": "models are Sequential; there is no functional API",
    "Function": "models are Sequential; there is no functional API",
    "backend": "there is one backend, the native one; see fastcnn.config and fastcnn.ops",
    "applications": "there are no pretrained models",
    "saving": "use Sequential.save_weights and Sequential.load_weights",
    "mixed_precision": "all computing is in float32",
    "constraints": "constraints are not supported",
}


def __getattr__(name: str) -> Any:
    if name == "wrappers":  # imports scikit-learn: only when somebody wants it
        import importlib

        return importlib.import_module("fastcnn.wrappers")
    reason = f": {_ABSENT[name]}" if name in _ABSENT else ""
    raise AttributeError(f"fastcnn has no attribute {name!r}{reason}")
