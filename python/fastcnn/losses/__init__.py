"""Losses. https://keras.io/api/losses/

A class is a loss with its settings: called on arrays it gives one number, and `native()` describes it to the trainer.
The functions give one value a sample (all axes but the last). Both compute in float32, as the trainer does.

Losses that are a function of a sample are native. Those that tie a batch together (Dice, Tversky, Circle), those along
another axis than the last, and those written in Python are stops of the plan, which hands them the whole batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastcnn._identifiers import Registry
from fastcnn._lazy import Lazy, attach, nothing_called
from fastcnn._naming import to_snake_case

if TYPE_CHECKING:
    from fastcnn.losses.coupled import Circle as Circle
    from fastcnn.losses.coupled import Dice as Dice
    from fastcnn.losses.coupled import Tversky as Tversky
    from fastcnn.losses.coupled import circle as circle
    from fastcnn.losses.coupled import dice as dice
    from fastcnn.losses.coupled import tversky as tversky
    from fastcnn.losses.functions import binary_crossentropy as binary_crossentropy
    from fastcnn.losses.functions import categorical_crossentropy as categorical_crossentropy
    from fastcnn.losses.functions import mean_absolute_error as mean_absolute_error
    from fastcnn.losses.functions import mean_squared_error as mean_squared_error
    from fastcnn.losses.functions import sparse_categorical_crossentropy as sparse_categorical_crossentropy
    from fastcnn.losses.loss import Loss as Loss
    from fastcnn.losses.margin import CategoricalHinge as CategoricalHinge
    from fastcnn.losses.margin import Hinge as Hinge
    from fastcnn.losses.margin import SquaredHinge as SquaredHinge
    from fastcnn.losses.margin import categorical_hinge as categorical_hinge
    from fastcnn.losses.margin import hinge as hinge
    from fastcnn.losses.margin import squared_hinge as squared_hinge
    from fastcnn.losses.native import BinaryCrossentropy as BinaryCrossentropy
    from fastcnn.losses.native import CategoricalCrossentropy as CategoricalCrossentropy
    from fastcnn.losses.native import MeanAbsoluteError as MeanAbsoluteError
    from fastcnn.losses.native import MeanSquaredError as MeanSquaredError
    from fastcnn.losses.native import SparseCategoricalCrossentropy as SparseCategoricalCrossentropy
    from fastcnn.losses.probabilistic import BinaryFocalCrossentropy as BinaryFocalCrossentropy
    from fastcnn.losses.probabilistic import CategoricalFocalCrossentropy as CategoricalFocalCrossentropy
    from fastcnn.losses.probabilistic import CategoricalGeneralizedCrossEntropy as CategoricalGeneralizedCrossEntropy
    from fastcnn.losses.probabilistic import KLDivergence as KLDivergence
    from fastcnn.losses.probabilistic import Poisson as Poisson
    from fastcnn.losses.probabilistic import binary_focal_crossentropy as binary_focal_crossentropy
    from fastcnn.losses.probabilistic import categorical_focal_crossentropy as categorical_focal_crossentropy
    from fastcnn.losses.probabilistic import kl_divergence as kl_divergence
    from fastcnn.losses.probabilistic import poisson as poisson
    from fastcnn.losses.regression import CosineSimilarity as CosineSimilarity
    from fastcnn.losses.regression import Huber as Huber
    from fastcnn.losses.regression import LogCosh as LogCosh
    from fastcnn.losses.regression import MeanAbsolutePercentageError as MeanAbsolutePercentageError
    from fastcnn.losses.regression import MeanSquaredLogarithmicError as MeanSquaredLogarithmicError
    from fastcnn.losses.regression import cosine_similarity as cosine_similarity
    from fastcnn.losses.regression import huber as huber
    from fastcnn.losses.regression import log_cosh as log_cosh
    from fastcnn.losses.regression import mean_absolute_percentage_error as mean_absolute_percentage_error
    from fastcnn.losses.regression import mean_squared_logarithmic_error as mean_squared_logarithmic_error

# Class -> module. The function of a class is in the same module, but for native.
_CLASSES: dict[str, str] = {
    "BinaryCrossentropy": "native",
    "CategoricalCrossentropy": "native",
    "SparseCategoricalCrossentropy": "native",
    "MeanSquaredError": "native",
    "MeanAbsoluteError": "native",
    "MeanAbsolutePercentageError": "regression",
    "MeanSquaredLogarithmicError": "regression",
    "CosineSimilarity": "regression",
    "Huber": "regression",
    "LogCosh": "regression",
    "Hinge": "margin",
    "SquaredHinge": "margin",
    "CategoricalHinge": "margin",
    "KLDivergence": "probabilistic",
    "Poisson": "probabilistic",
    "BinaryFocalCrossentropy": "probabilistic",
    "CategoricalFocalCrossentropy": "probabilistic",
    "CategoricalGeneralizedCrossEntropy": "probabilistic",
    "Dice": "coupled",
    "Tversky": "coupled",
    "Circle": "coupled",
}


def _function_name(cls: str) -> str:
    return "kl_divergence" if cls == "KLDivergence" else to_snake_case(cls)


_BY_FUNCTION: dict[str, str] = {_function_name(cls): cls for cls in _CLASSES}
_SHORT = {
    "mse": "MeanSquaredError",
    "mae": "MeanAbsoluteError",
    "bce": "BinaryCrossentropy",
    "mape": "MeanAbsolutePercentageError",
    "msle": "MeanSquaredLogarithmicError",
    "kld": "KLDivergence",
}
_ALIASES = {**_SHORT, **{name.upper(): cls for name, cls in _SHORT.items()}, "logcosh": "LogCosh"}


def _lazy_class(cls: str) -> Lazy:
    return Lazy(f"fastcnn.losses.{_CLASSES[cls]}", cls)


def _lazy_function(cls: str) -> tuple[str, str]:
    module = _CLASSES[cls]
    return f"fastcnn.losses.{'functions' if module == 'native' else module}", _function_name(cls)


_registry = Registry(
    "losses",
    "loss",
    {cls: _lazy_class(cls) for cls in _CLASSES}
    | {name: _lazy_class(cls) for name, cls in _BY_FUNCTION.items()}
    | {name: _lazy_class(cls) for name, cls in _ALIASES.items()},
    shown=[*_BY_FUNCTION, *_SHORT],
)


_PLACES: dict[str, list[str]] = {"fastcnn.losses.loss": ["Loss", "LossFunctionWrapper"]}
for _cls in _CLASSES:
    _PLACES.setdefault(f"fastcnn.losses.{_CLASSES[_cls]}", []).append(_cls)
    _PLACES.setdefault(_lazy_function(_cls)[0], []).append(_lazy_function(_cls)[1])
_no_ctc = (
    "the loss of sequences, which fastcnn does not have; a loss written in Python (see fastcnn.losses.Loss) can be trained "
    "with"
)
_refuse = nothing_called(
    __name__, [name for names in _PLACES.values() for name in names], {"CTC": _no_ctc, "ctc": _no_ctc}
)


def _missing(name: str) -> Any:
    if name in _ALIASES:
        return Lazy(*_lazy_function(_ALIASES[name])).load()
    return _refuse(name)


__getattr__ = attach(__name__, _PLACES, _missing)


def get(identifier: Any) -> Loss | None:
    """Returns the loss for a name, a config, a class, a function f(y_true, y_pred), a `Loss` or None.

    Always a `Loss` object (Keras gives the function for a lower-case name); a function of one's own is wrapped.

    Raises:
        ValueError: an unknown name, or nothing of these.

    Example:
        >>> get("mse").name
        'mean_squared_error'
    """
    from fastcnn.losses.loss import Loss, LossFunctionWrapper

    if identifier is None:
        return None
    loss = _registry.get(identifier)
    if isinstance(loss, Loss):
        return loss
    if is_built_in(loss):
        found: Loss = _lazy_class(_BY_FUNCTION[loss.__name__]).load()()
        return found
    return LossFunctionWrapper(loss, name=to_snake_case(getattr(loss, "__name__", type(loss).__name__)))


def serialize(loss: Loss) -> dict[str, Any]:
    """Returns the loss's config.

    >>> serialize(get("mse"))["class_name"]
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

    >>> from fastcnn import losses
    >>> is_built_in(get), is_built_in(losses.mse)
    (False, True)
    """
    module = getattr(function, "__module__", None) or ""
    return (
        isinstance(module, str)
        and module.startswith("fastcnn.losses.")
        and getattr(function, "__name__", "") in _BY_FUNCTION
    )
