"""Objects of the user's own that files and configurations may mean by name. https://keras.io/api/models/model_saving_apis/serialization_utils/

A name in a file is only ever looked up: in fastcnn's own lists, in what is registered here, and in what the caller gives.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastcnn import _messages

T = TypeVar("T")

_registered: dict[str, Any] = {}
_names: dict[Any, str] = {}


class _Scope(threading.local):
    objects: Mapping[str, Any] = {}  # replaced, never changed


_scope = _Scope()


class CustomObjectScope:
    """Inside, configurations may mean these objects by these names.

    Args:
        custom_objects: {name: class or function}.

    Example:
        >>> from fastcnn import initializers
        >>> class Ninths(initializers.Initializer):
        ...     def __call__(self, shape, dtype=None):
        ...         return initializers.Constant(1 / 9)(shape, dtype)
        ...     def get_config(self):
        ...         return {}
        >>> with CustomObjectScope({"Ninths": Ninths}):
        ...     type(initializers.get("Ninths")).__name__
        'Ninths'

    See https://keras.io/api/models/model_saving_apis/serialization_utils/#customobjectscope-class
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None) -> None:
        if custom_objects is not None and not isinstance(custom_objects, Mapping):
            _messages.fail("CustomObjectScope", "custom_objects", "a dictionary of names and objects", custom_objects)
        self.custom_objects = dict(custom_objects or {})
        self._before: list[Mapping[str, Any]] = []

    def __enter__(self) -> CustomObjectScope:
        self._before.append(_scope.objects)
        _scope.objects = {**_scope.objects, **self.custom_objects}
        return self

    def __exit__(self, *exception: object) -> None:
        _scope.objects = self._before.pop()


custom_object_scope = CustomObjectScope


def get_custom_objects() -> dict[str, Any]:
    """The dictionary itself of everything registered: what is put into it is known by that name.

    >>> get_custom_objects().get("nobody's") is None
    True
    """
    return _registered


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """A decorator: the class or function is known to configurations and files as "package>name".

    Args:
        package: what it belongs to.
        name: its own name by default.

    Raises:
        ValueError: a class without `get_config`.

    Example:
        >>> from fastcnn import regularizers
        >>> @register_keras_serializable("my_package")
        ... class Weak(regularizers.L2):
        ...     pass
        >>> get_registered_name(Weak), get_registered_object("my_package>Weak") is Weak
        ('my_package>Weak', True)

    See https://keras.io/api/models/model_saving_apis/serialization_utils/#registerkerasserializable-function
    """

    def register(target: T) -> T:
        if inspect.isclass(target) and not hasattr(target, "get_config"):
            _messages.fail("register_keras_serializable", "class", "a class with a get_config() method", target)
        full = f"{package}>{getattr(target, '__name__', '') if name is None else name}"
        _registered[full] = target
        _names[target] = full
        return target

    return register


def get_registered_name(obj: Any) -> str:
    """The name that an object is registered by; its own name where it is not.

    >>> get_registered_name(len)
    'len'
    """
    try:
        known = _names.get(obj)
    except TypeError:  # not hashable
        known = None
    return obj.__name__ if known is None else known


def get_registered_object(
    name: str, custom_objects: Mapping[str, Any] | None = None, module_objects: Mapping[str, Any] | None = None
) -> Any:
    """The class or function of that name, or None.

    Args:
        name: "package>name", or a name in the scope or in the dictionaries given.
        custom_objects, module_objects: where to look besides the scope and what is registered.

    Example:
        >>> get_registered_object("f", custom_objects={"f": len}) is len
        True
    """
    for known in (_scope.objects, _registered, custom_objects or {}, module_objects or {}):
        if name in known:
            return known[name]
    return None


def known_objects(custom_objects: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All objects of the user's: what is given, what the scope has, what is registered; the later ones first in doubt."""
    return {**(custom_objects or {}), **_scope.objects, **_registered}


def public_module(cls: type) -> str | None:
    """Where Keras has the class that fastcnn's class stands for, such as "keras.layers"; None: it is not fastcnn's.

    >>> from fastcnn import Sequential, layers
    >>> public_module(layers.Dense), public_module(Sequential), public_module(dict)
    ('keras.layers', 'keras', None)
    """
    parts = cls.__module__.split(".")
    if parts[0] != "fastcnn" or len(parts) < 2:
        return None
    if parts[1] in ("models", "dtype_policies", "variables"):
        return "keras"
    return f"keras.{'.'.join(parts[1:3])}" if parts[1:3] == ["optimizers", "schedules"] else f"keras.{parts[1]}"


def describe(value: Any) -> dict[str, Any]:
    """Keras's description of an object with `get_config`: what it is, by name, and its settings.

    >>> from fastcnn import regularizers
    >>> describe(regularizers.L1(0.5))
    {'module': 'keras.regularizers', 'class_name': 'L1', 'config': {'l1': 0.5}, 'registered_name': None}
    """
    cls = type(value)
    module = public_module(cls)
    registered = None if module else get_registered_name(cls)
    if module is None and cls.__module__ != "__main__":
        module = cls.__module__
    return {"module": module, "class_name": cls.__name__, "config": value.get_config(), "registered_name": registered}
