"""Losses. https://keras.io/api/losses/

A class is a loss with its settings: called on arrays it gives one number, and `native()` describes it to the trainer.
The functions give one value a sample (all axes but the last). Both compute in float32, as the trainer does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastcnn._identifiers import Registry
from fastcnn._naming import to_snake_case
from fastcnn.losses.functions import binary_crossentropy as binary_crossentropy
from fastcnn.losses.functions import categorical_crossentropy as categorical_crossentropy
from fastcnn.losses.functions import mean_absolute_error as mean_absolute_error
from fastcnn.losses.functions import mean_squared_error as mean_squared_error
from fastcnn.losses.functions import sparse_categorical_crossentropy as sparse_categorical_crossentropy
from fastcnn.losses.loss import Loss as Loss
from fastcnn.losses.loss import LossFunctionWrapper
from fastcnn.losses.native import BinaryCrossentropy as BinaryCrossentropy
from fastcnn.losses.native import CategoricalCrossentropy as CategoricalCrossentropy
from fastcnn.losses.native import MeanAbsoluteError as MeanAbsoluteError
from fastcnn.losses.native import MeanSquaredError as MeanSquaredError
from fastcnn.losses.native import NativeLoss
from fastcnn.losses.native import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy

mse = MSE = mean_squared_error
mae = MAE = mean_absolute_error
bce = BCE = binary_crossentropy

_CLASSES: dict[str, type[NativeLoss]] = {
    cls.__name__: cls
    for cls in (
        BinaryCrossentropy,
        CategoricalCrossentropy,
        SparseCategoricalCrossentropy,
        MeanSquaredError,
        MeanAbsoluteError,
    )
}
_BY_FUNCTION: dict[Any, type[NativeLoss]] = {cls.function: cls for cls in _CLASSES.values()}
_registry = Registry(
    "losses",
    "loss",
    _CLASSES
    | {to_snake_case(name): cls for name, cls in _CLASSES.items()}
    | {"mse": MeanSquaredError, "MSE": MeanSquaredError, "mae": MeanAbsoluteError, "MAE": MeanAbsoluteError}
    | {"bce": BinaryCrossentropy, "BCE": BinaryCrossentropy},
    shown=[*map(to_snake_case, _CLASSES), "mse", "mae", "bce"],
)


def get(identifier: Any) -> Loss | None:
    """Returns the loss for a name, a config, a class, a function f(y_true, y_pred), a `Loss` or None.

    Always a `Loss` object (Keras gives the function for a lower-case name); a function of one's own is wrapped.

    Raises:
        ValueError: an unknown name, or nothing of these.

    Example:
        >>> get("mse").name
        'mean_squared_error'
    """
    if identifier is None:
        return None
    loss = _registry.get(identifier)
    if isinstance(loss, Loss):
        return loss
    if is_built_in(loss):
        return _BY_FUNCTION[loss]()
    return LossFunctionWrapper(loss, name=to_snake_case(getattr(loss, "__name__", type(loss).__name__)))


def serialize(loss: Loss) -> dict[str, Any]:
    """Returns the loss's config.

    >>> serialize(MeanSquaredError())["class_name"]
    'MeanSquaredError'
    """
    return _registry.serialize(loss)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Loss:
    """Returns the loss that `serialize` described.

    >>> deserialize({"class_name": "BinaryCrossentropy", "config": {"from_logits": True}}).from_logits
    True
    """
    loss: Loss = _registry.deserialize(config, custom_objects)
    return loss


def is_built_in(function: Any) -> bool:
    """Returns whether the function is one of this module's losses.

    >>> is_built_in(mse)
    True
    """
    try:
        return function in _BY_FUNCTION
    except TypeError:  # an unhashable object
        return False
