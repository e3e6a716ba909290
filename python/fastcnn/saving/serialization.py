"""Objects as plain data that JSON can hold, in Keras 3's form, and back.

Nothing is imported by a name that stands in the data, and there is no code in it: a name is looked up in fastcnn's own
lists, among what is registered, and in what the caller gives.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastcnn import _messages
from fastcnn.saving import registration

_PLAIN = (str, int, float, bool)
_MODULES = (
    *("layers", "initializers", "regularizers", "constraints", "losses", "metrics", "activations"),
    *("optimizers", "dtype_policies"),
)
_WITH_FUNCTIONS = ("fastcnn.losses", "fastcnn.metrics", "fastcnn.activations")
_TOOLS = ("get", "serialize", "deserialize")


def serialize_keras_object(obj: Any) -> Any:
    """An object as plain data.

    Args:
        obj: a layer, model, loss, metric, optimizer, initializer ...; a function; an array; numbers, strings and lists,
            tuples and dictionaries of all these.

    Raises:
        ValueError: a lambda: a file holds no code.
        TypeError: an object without get_config().

    Example:
        >>> from fastcnn import losses
        >>> serialize_keras_object(losses.MeanSquaredError())["class_name"]
        'MeanSquaredError'

    See https://keras.io/api/models/model_saving_apis/serialization_utils/#serializekerasobject-function
    """
    if obj is None or isinstance(obj, _PLAIN):
        return obj
    if isinstance(obj, list):
        return [serialize_keras_object(entry) for entry in obj]
    if isinstance(obj, tuple):
        return tuple(serialize_keras_object(entry) for entry in obj)
    if isinstance(obj, Mapping):
        return {key: serialize_keras_object(value) for key, value in obj.items()}
    if isinstance(obj, np.generic) or (isinstance(obj, np.ndarray) and obj.ndim == 0):
        return obj.item()
    for kind, name, values in _SPECIAL:
        if isinstance(obj, kind):
            return {"class_name": name, "config": values(obj)}
    if isinstance(obj, types.FunctionType | types.BuiltinFunctionType):
        return _function(obj)
    if inspect.isclass(obj) or not hasattr(obj, "get_config"):
        received = _messages.show(obj)
        raise TypeError(f"serialize_keras_object: obj: expected an object with get_config(), received {received}")
    described = registration.describe(obj)
    described["config"] = serialize_keras_object(described["config"])
    for part in ("build_config", "compile_config"):
        get = getattr(obj, f"get_{part}", None)
        found = get() if get is not None else None
        if found:
            described[part] = serialize_keras_object(found)
    return described


_SPECIAL: tuple[tuple[type, str, Callable[[Any], dict[str, Any]]], ...] = (
    (np.ndarray, "__numpy__", lambda array: {"value": array.tolist(), "dtype": array.dtype.name}),
    (bytes, "__bytes__", lambda text: {"value": text.decode("utf-8")}),
    (slice, "__slice__", lambda part: {"start": part.start, "stop": part.stop, "step": part.step}),
    (type(Ellipsis), "__ellipsis__", lambda _: {}),
)


def _function(function: Any) -> dict[str, Any]:
    if function.__name__ == "<lambda>":
        _messages.fail("serialize_keras_object", "obj", "a function with a name: data holds no code", function)
    name = registration.get_registered_name(function)
    parts = function.__module__.split(".")
    module = f"keras.{parts[1]}" if parts[0] == "fastcnn" and len(parts) > 1 else function.__module__
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def deserialize_keras_object(
    config: Any, custom_objects: Mapping[str, Any] | None = None, safe_mode: bool = True, **kwargs: Any
) -> Any:
    """The object that `serialize_keras_object` described, or Keras's function of that name.

    Args:
        config: the data.
        custom_objects: classes and functions by name that it may mean besides fastcnn's and registered ones.
        safe_mode: as in Keras; data that hold code are refused either way.

    Raises:
        ValueError: a name that is not known, code, or a description that is none.

    Example:
        >>> deserialize_keras_object({"module": "keras.losses", "class_name": "MeanSquaredError", "config": {}}).name
        'mean_squared_error'

    See https://keras.io/api/models/model_saving_apis/serialization_utils/#deserializekerasobject-function
    """
    kwargs.pop("module_objects", None)
    for name, value in kwargs.items():
        _messages.fail("deserialize_keras_object", name, "no such argument", value)
    known = registration.known_objects(custom_objects)
    if isinstance(config, str) and config in known:
        return known[config]
    if config is None or isinstance(config, _PLAIN):
        return config
    if isinstance(config, (list, tuple)):
        return [deserialize_keras_object(entry, custom_objects) for entry in config]
    if not isinstance(config, Mapping):
        raise TypeError(
            f"deserialize_keras_object: config: expected plain data, received {_messages.show(type(config))}"
        )
    if "class_name" not in config or "config" not in config:
        return {key: deserialize_keras_object(value, custom_objects) for key, value in config.items()}
    name, settings = config["class_name"], config["config"]
    if not isinstance(name, str):
        _messages.fail("deserialize_keras_object", "class_name", "a string", name)
    if name.startswith("__") and name.endswith("__"):
        return _special(name, settings, custom_objects)
    with registration.custom_object_scope(known):
        return _object(config, name, known)


def _special(name: str, settings: Any, custom_objects: Mapping[str, Any] | None) -> Any:
    if name == "__ellipsis__":
        return ...
    if isinstance(settings, Mapping):
        value = settings.get("value")
        if name in ("__numpy__", "__tensor__"):
            return np.array(value, np.dtype(str(settings.get("dtype"))))
        if name == "__bytes__" and isinstance(value, str):
            return value.encode("utf-8")
        if name == "__slice__":
            return slice(
                *(deserialize_keras_object(settings.get(k), custom_objects) for k in ("start", "stop", "step"))
            )
    expected = "an array, bytes, a slice or an ellipsis: data with code in them are not read"
    return _messages.fail("deserialize_keras_object", "class_name", expected, name)


def _object(config: Mapping[str, Any], name: str, known: Mapping[str, Any]) -> Any:
    import fastcnn

    settings = config["config"]
    wanted = settings if name == "function" else name
    registered = config.get("registered_name")
    found: Any = known.get(registered) if isinstance(registered, str) else None
    if found is None and isinstance(wanted, str):
        found = known.get(wanted)
    vocabulary = _vocabulary(config.get("module"))
    if found is None and isinstance(wanted, str):
        if wanted in ("Sequential", "Variable"):
            found = getattr(fastcnn, wanted)
        for module in [vocabulary] if vocabulary else [getattr(fastcnn, m) for m in _MODULES if hasattr(fastcnn, m)]:
            found = _member(module, wanted) if found is None else found
    if found is None:
        expected = "a name of fastcnn, of custom_objects or of what is registered"
        _messages.fail("deserialize_keras_object", "class_name", expected, wanted)
    if not inspect.isclass(found):  # a function
        return found
    if not isinstance(settings, Mapping):
        _messages.fail("deserialize_keras_object", "config", f"the settings of {name}", settings)
    try:
        made: Any = getattr(found, "from_config")(dict(settings))  # noqa: B009
    except TypeError as error:
        sentence = _messages.Text(f"{_messages.show(settings)} ({error})")
        _messages.fail("deserialize_keras_object", "config", f"the arguments of {name}", sentence)
    build = config.get("build_config")
    if build and not getattr(made, "built", True) and hasattr(made, "build_from_config"):
        made.build_from_config(build)
    if config.get("compile_config") and hasattr(made, "compile_from_config"):
        made.compile_from_config(config["compile_config"])
    return made


def _member(module: Any, name: str) -> Any:
    """A class or function that data may name: one of the module's own vocabulary; None: there is none."""
    found = None if name.startswith("_") or name in _TOOLS else getattr(module, name, None)
    if not getattr(found, "__module__", "").startswith(module.__name__):
        return None
    if inspect.isclass(found):
        return found if hasattr(found, "from_config") else None
    return found if isinstance(found, types.FunctionType) and module.__name__ in _WITH_FUNCTIONS else None


def _vocabulary(module: Any) -> Any:
    """fastcnn's module for what Keras calls "keras.losses" or "keras.src.losses.losses"; None: any."""
    import fastcnn

    parts = module.split(".") if isinstance(module, str) else []
    if "schedules" in parts or "learning_rate_schedule" in str(module):
        return getattr(getattr(fastcnn, "optimizers", None), "schedules", None)
    for part in parts:
        if part in _MODULES:
            return getattr(fastcnn, part, None)
    return None
