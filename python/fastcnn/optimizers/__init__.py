"""Optimizers. https://keras.io/api/optimizers/"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastcnn._identifiers import Registry
from fastcnn._lazy import nothing_called
from fastcnn.optimizers.adadelta import Adadelta as Adadelta
from fastcnn.optimizers.adafactor import Adafactor as Adafactor
from fastcnn.optimizers.adagrad import Adagrad as Adagrad
from fastcnn.optimizers.adam import Adam as Adam
from fastcnn.optimizers.adam import AdamW as AdamW
from fastcnn.optimizers.adamax import Adamax as Adamax
from fastcnn.optimizers.ftrl import Ftrl as Ftrl
from fastcnn.optimizers.lamb import Lamb as Lamb
from fastcnn.optimizers.lion import Lion as Lion
from fastcnn.optimizers.muon import Muon as Muon
from fastcnn.optimizers.nadam import Nadam as Nadam
from fastcnn.optimizers.optimizer import Optimizer as Optimizer
from fastcnn.optimizers.rmsprop import RMSprop as RMSprop
from fastcnn.optimizers.schedule_free_adamw import ScheduleFreeAdamW as ScheduleFreeAdamW
from fastcnn.optimizers.sgd import SGD as SGD

if TYPE_CHECKING:
    from fastcnn.optimizers import schedules as schedules

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "ScheduleFreeAdamW",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

_registry = Registry(
    "optimizers",
    "optimizer",
    {
        "adadelta": Adadelta,
        "adafactor": Adafactor,
        "adagrad": Adagrad,
        "adam": Adam,
        "adamax": Adamax,
        "adamw": AdamW,
        "ftrl": Ftrl,
        "lamb": Lamb,
        "lion": Lion,
        "muon": Muon,
        "nadam": Nadam,
        "rmsprop": RMSprop,
        "schedulefreeadamw": ScheduleFreeAdamW,
        "sgd": SGD,
    },
    fold_case=True,
)


def get(identifier: Any) -> Optimizer | None:
    """Returns the optimizer for a name (in any letter case), a config, a class, an object or None.

    Raises:
        ValueError: an unknown name, or something that is no `Optimizer`.

    Example:
        >>> get("rmsprop").learning_rate
        0.001
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if not isinstance(identifier, (str, Mapping)) and not (
        isinstance(identifier, type) and issubclass(identifier, Optimizer)
    ):
        raise _registry.not_understood(identifier)
    if isinstance(identifier, str):
        identifier = _registry.look_up(identifier)
    optimizer: Optimizer = deserialize(identifier) if isinstance(identifier, Mapping) else identifier()
    return optimizer


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """Returns the optimizer's config.

    >>> serialize(SGD(0.5))["config"]["learning_rate"]
    0.5
    """
    return _registry.serialize(optimizer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Optimizer:
    """Returns the optimizer that `serialize` described.

    >>> deserialize({"class_name": "SGD", "config": {"learning_rate": 0.5}}).learning_rate
    0.5
    """
    optimizer: Optimizer = _registry.deserialize(config, custom_objects)
    return optimizer


_absent = nothing_called(__name__, __all__)


def __getattr__(name: str) -> Any:
    if name == "schedules":  # imported when somebody asks for it
        import importlib

        return importlib.import_module("fastcnn.optimizers.schedules")
    return _absent(name)
