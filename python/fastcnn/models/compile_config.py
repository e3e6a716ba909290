"""What `compile` is given, copied and as plain data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fastcnn.saving.registration import custom_object_scope


def copied(value: Any) -> Any:
    """A new object with the configuration of `value`; lists entry by entry; names and functions as they are."""
    if isinstance(value, (list, tuple)):
        return [copied(entry) for entry in value]
    if inspect.isclass(value) or not hasattr(value, "get_config"):
        return value
    # Classes of the caller's among its parts are not registered; they are these.
    parts = {type(part).__name__: type(part) for part in vars(value).values() if hasattr(part, "get_config")}
    with custom_object_scope(parts):
        return type(value).from_config(value.get_config())


def described(value: Any) -> Any:
    """What compile was given as plain data: names as they are, functions by name, objects by class and configuration."""
    if value is None or isinstance(value, (str, Mapping)):
        return value
    if isinstance(value, (list, tuple)):
        return [described(entry) for entry in value]
    if inspect.isclass(value) or not hasattr(value, "get_config"):
        return getattr(value, "__name__", type(value).__name__)
    return {"class_name": type(value).__name__, "config": value.get_config()}
