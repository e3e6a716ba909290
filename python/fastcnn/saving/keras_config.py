"""Descriptions of models in Keras 3's words: from a file, which is only compared with names known here, and into one.

Keras describes an object as `{"module": ..., "class_name": ..., "config": ..., "registered_name": ...}`. The module is never
imported, nor is anything else looked up outside fastcnn's own lists and what the caller gives: where an object stands says of
which list it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from fastcnn import _messages
from fastcnn.saving.registration import custom_object_scope, known_objects

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

# What Keras's classes have and fastcnn's do not, where it says nothing: None and False always, and these.
_SILENT: dict[str, dict[str, Any]] = {
    "BatchNormalization": {"renorm_momentum": 0.99},
    "SparseCategoricalCrossentropy": {"axis": -1},
}
# What fastcnn's classes have and the constructors of Keras's do not take.
_OMITTED = {"SpatialDropout1D": ("trainable",), "SpatialDropout2D": ("trainable",), "Sequential": ("trainable",)}
_COMPILED = ("optimizer", "loss", "metrics", "weighted_metrics", "loss_weights")
_EXECUTION = ("run_eagerly", "steps_per_execution", "jit_compile")


def model_from_keras(
    config: Any, custom_objects: Mapping[str, Any] | None, compile: bool, operation: str, source: str
) -> Sequential:
    """The model that a file describes.

    Args:
        config: what its JSON says.
        custom_objects: classes and functions by name that it may mean besides fastcnn's.
        compile: whether the model is compiled as it was.
        operation, source: for error sentences.

    Raises:
        ValueError: anything that is not a Sequential model of known parts.
    """
    reader = _Reader(dict(custom_objects or {}), operation, source)
    with custom_object_scope(known_objects(custom_objects)):  # for the parts of layers: initializers, constraints, ...
        return _model(config, compile, reader)


def _model(config: Any, compile: bool, reader: _Reader) -> Sequential:
    from fastcnn.models.sequential import Sequential

    if not isinstance(config, Mapping) or config.get("class_name") not in ("Sequential", "sequential"):
        received = config.get("class_name") if isinstance(config, Mapping) else config
        reader.refuse("a Sequential model", received)
    try:
        model = reader.layer(config)
        assert isinstance(model, Sequential)
        build = config.get("build_config")
        if not model.built and model.layers and isinstance(build, Mapping) and build.get("input_shape"):
            model.build(tuple(build["input_shape"]))
        if not model.built:
            reader.refuse("a model that knows its input's shape", _messages.Text("one that does not"))
        if compile and config.get("compile_config"):
            reader.compile(model, config["compile_config"])
    except RecursionError:
        reader.refuse("a model that is not nested endlessly", _messages.Text("one that is"))
    except MemoryError:
        reader.refuse("a model that fits into memory", _messages.Text("one that does not"))
    except (TypeError, AttributeError, KeyError, IndexError, OverflowError) as error:
        reader.refuse("a model's description", _messages.Text(_messages.show(str(error))))
    return model


class _Reader:
    """Makes objects of descriptions."""

    def __init__(self, custom_objects: dict[str, Any], operation: str, source: str) -> None:
        self.custom_objects = custom_objects
        self.operation = operation
        self.source = source

    def refuse(self, expected: str, received: Any) -> NoReturn:
        """Raises the ValueError."""
        text = _messages.Text(f"{_messages.show(received)} in {self.source!r}")
        _messages.fail(self.operation, "filepath", expected, text)

    def layer(self, entry: Any) -> Any:
        """A layer or model with all that is in it."""
        from fastcnn import layers
        from fastcnn.layers.layer import Layer
        from fastcnn.models.sequential import Sequential

        name, config = self._named(entry)
        known = {key: getattr(layers, key) for key in layers.__all__ if inspect.isclass(getattr(layers, key))}
        cls = self._class(entry, {**known, "Sequential": Sequential}, "layer")
        if not (inspect.isclass(cls) and issubclass(cls, Layer)):
            self.refuse("a layer", name)
        if cls is not Sequential:
            return cls.from_config(self._settings(cls, name, config))
        inner = config.get("layers")
        if not isinstance(inner, list):
            self.refuse("a list of layers", inner)
        model = Sequential([self.layer(layer) for layer in inner], name=config.get("name"))
        if config.get("trainable") is False:
            model._trainable = False  # the layers bring their own flags
        shape = config.get("build_input_shape")
        if not model.built and model.layers and isinstance(shape, (list, tuple)):
            model.build(tuple(shape))
        return model

    def compile(self, model: Sequential, config: Any) -> None:
        """Compiles the model as it was when it was saved."""
        from fastcnn import losses, metrics, optimizers

        if not isinstance(config, Mapping):
            self.refuse("what compile was given", config)
        modules = {"optimizer": optimizers, "loss": losses, "metrics": metrics, "weighted_metrics": metrics}
        arguments = {name: config.get(name) for name in _COMPILED}
        made = {name: self._part(value, modules.get(name)) for name, value in arguments.items()}
        execution = {name: config[name] for name in _EXECUTION if name in config}
        model.compile(**made, **execution)

    def _part(self, entry: Any, module: Any) -> Any:
        """An optimizer, loss or metric, or a list of them; names stay names."""
        if isinstance(entry, (list, tuple)):
            return [self._part(inner, module) for inner in entry]
        if entry is None or isinstance(entry, str):
            if isinstance(entry, str) and entry in self.custom_objects:
                return self.custom_objects[entry]
            return entry
        if isinstance(entry, Mapping) and entry.get("class_name") == "function":
            return self._part(entry.get("config"), module) if isinstance(entry.get("config"), str) else self._named({})
        name, config = self._named(entry)
        try:
            found = module.deserialize(name)
        except ValueError:
            found = None
        cls = self._class(entry, {name: found} if inspect.isclass(found) else {}, "part of compile's arguments")
        settings = self._settings(cls, name, config)
        if "fn" in settings:  # a metric made of a function
            settings["fn"] = self._part(settings["fn"], module)
        return cls.from_config(settings)

    def _named(self, entry: Any) -> tuple[str, dict[str, Any]]:
        name = entry.get("class_name") if isinstance(entry, Mapping) else None
        config = entry.get("config") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not isinstance(config, Mapping):
            self.refuse("an object described by 'class_name' and 'config'", entry)
        return name, dict(config)

    def _class(self, entry: Mapping[str, Any], known: Mapping[str, Any], kind: str) -> Any:
        """The class of that name: the caller's, else fastcnn's."""
        for name in (entry.get("registered_name"), entry["class_name"]):
            if isinstance(name, str) and name in self.custom_objects:
                return self.custom_objects[name]
        registered = entry.get("registered_name")
        if entry["class_name"] not in known or (isinstance(registered, str) and ">" in registered):
            self.refuse(f"a {kind} of fastcnn or of custom_objects", entry["class_name"])
        return known[entry["class_name"]]

    def _settings(self, cls: Any, name: str, config: dict[str, Any]) -> dict[str, Any]:
        """The constructor's arguments, of those that the description has."""
        taken = _arguments(cls)
        silent = _SILENT.get(name, {})
        settings = {}
        for key, value in config.items():
            if key in taken or not (value is None or value is False or (key in silent and value == silent[key])):
                settings[key] = self._plain(value)
        return settings

    def _plain(self, value: Any) -> Any:
        """A description without Keras's wrapping: what fastcnn's own constructors and lists take."""
        if isinstance(value, (list, tuple)):
            return [self._plain(inner) for inner in value]
        if not isinstance(value, Mapping):
            return value
        name, config = value.get("class_name"), value.get("config")
        if name == "__tuple__":
            return tuple(self._plain(list(value.get("items", ()))))
        if name == "__numpy__" or name == "__tensor__":
            return self._plain(config.get("value")) if isinstance(config, Mapping) else self._named(value)
        if name == "function" and isinstance(config, str):
            return self.custom_objects.get(config, config)
        if name == "DTypePolicy" and isinstance(config, Mapping):
            return config.get("name")
        if name is None:
            return {key: self._plain(inner) for key, inner in value.items()}
        name, settings = self._named(value)
        if name in self.custom_objects:
            return self._custom(name, settings)
        return {"class_name": name, "config": self._plain(settings)}

    def _custom(self, name: str, settings: dict[str, Any]) -> Any:
        """An object of a class that the caller gave; a function is only named in a file, never called by it."""
        cls = self.custom_objects[name]
        if not inspect.isclass(cls) or not hasattr(cls, "from_config"):
            self.refuse("a class with from_config() in custom_objects", name)
        return cls.from_config(self._plain(settings))


def _arguments(cls: Any) -> set[str]:
    """The names that a constructor, or the ones that it hands on to, take."""
    names: set[str] = set()
    for base in cls.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        names |= {parameter.name for parameter in parameters}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return names - {"self", "args", "kwargs"}


# --- to Keras ----------------------------------------------------------------------------------------------------


def model_to_keras(model: Sequential) -> dict[str, Any]:
    """The description of a model for Keras: what its `config.json` holds."""
    description = _layer(model)
    if model._compiled is not None:
        config = model.get_compile_config()
        description["compile_config"] = {
            **{
                name: _part(config.get(name), _MODULES[name])
                for name in ("optimizer", "loss", "metrics", "weighted_metrics")
            },
            "loss_weights": None,
            **{name: config[name] for name in _EXECUTION if name in config},
        }
    return description


_MODULES = {"optimizer": "optimizers", "loss": "losses", "metrics": "metrics", "weighted_metrics": "metrics"}


def _layer(layer: Any) -> dict[str, Any]:
    from fastcnn.models.sequential import Sequential

    inner = layer.layers if isinstance(layer, Sequential) else None
    config = {
        key: value for key, value in layer.get_config().items() if key not in _OMITTED.get(type(layer).__name__, ())
    }
    if inner is not None:
        first = [] if layer._input_layer is None else [layer._input_layer]
        config = {"name": layer.name, "trainable": layer.trainable, "dtype": "float32"}
        config["layers"] = [_layer(each) for each in (*first, *inner)]
        if layer.built:
            config["build_input_shape"] = list(layer.input_shape)
    description = _object(type(layer).__name__, {key: _nested(value) for key, value in config.items()}, "layers")
    if inner is not None:
        description["module"] = "keras"
    shape = layer.input_shape if inner is not None and layer.built else layer._build_shape
    if layer.built and shape is not None and layer.weights:
        whole = list(shape) if inner is not None else [None, *shape]
        description["build_config"] = {"input_shape": whole}
    return description


def _object(name: str, config: dict[str, Any], module: str) -> dict[str, Any]:
    return {"module": f"keras.{module}", "class_name": name, "config": config, "registered_name": None}


def _nested(value: Any) -> Any:
    """What stands in a layer's configuration: the objects in it get the module that Keras wants."""
    if isinstance(value, (list, tuple)):
        return [_nested(inner) for inner in value]
    if isinstance(value, Mapping) and {"class_name", "config"} <= set(value) and not value.get("module"):
        from fastcnn import constraints, initializers, regularizers

        known = [(initializers, "initializers"), (regularizers, "regularizers"), (constraints, "constraints")]
        module = next((name for place, name in known if hasattr(place, value["class_name"])), "layers")
        return _object(value["class_name"], {key: _nested(inner) for key, inner in value["config"].items()}, module)
    return value


def _part(value: Any, module: str) -> Any:
    if isinstance(value, (list, tuple)):
        return [_part(inner, module) for inner in value]
    if isinstance(value, Mapping) and "class_name" in value:
        return _object(value["class_name"], dict(value["config"]), module)
    return value
