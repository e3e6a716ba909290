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
    constraints,
    datasets,
    dtype_policies,
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
    saving,
    utils,
)
from fastcnn._core import __version__
from fastcnn._lazy import nothing_called
from fastcnn.config import show_config
from fastcnn.layers.input_layer import Input
from fastcnn.layers.input_spec import InputSpec
from fastcnn.layers.layer import KerasTensor, Layer
from fastcnn.models.sequential import Sequential
from fastcnn.variables import Variable

DTypePolicy = dtype_policies.DTypePolicy
FloatDTypePolicy = dtype_policies.FloatDTypePolicy
Constraint = constraints.Constraint
Initializer = initializers.Initializer
Loss = losses.Loss
Metric = metrics.Metric
Optimizer = optimizers.Optimizer
Regularizer = regularizers.Regularizer

__all__ = [
    "Constraint",
    "DTypePolicy",
    "FloatDTypePolicy",
    "Initializer",
    "Input",
    "InputSpec",
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
    "constraints",
    "datasets",
    "dtype_policies",
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
    "saving",
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
    "applications": "there are no pretrained models",
}


# Modules that are imported when somebody asks for them.
_WHEN_ASKED = ("backend", "mixed_precision", "onnx", "torch", "wrappers")


def __getattr__(name: str) -> Any:
    if name in _WHEN_ASKED:
        import importlib

        return importlib.import_module(f"fastcnn.{name}")
    return _absent(name)


_absent = nothing_called("fastcnn", (*__all__, *_WHEN_ASKED), _ABSENT)
