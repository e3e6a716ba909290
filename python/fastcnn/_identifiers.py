"""Names for objects: from a string, a config or an object to the object, and back to a config.

Every vocabulary module (losses, metrics, optimizers, ...) owns one `Registry`, so that look-up, its error sentence and
the configs, which are Keras's, are the same everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastcnn._lazy import Lazy
from fastcnn.saving.registration import describe, get_registered_object


def nearest_first(name: str, known: Iterable[str]) -> list[str]:
    """Returns the known names, those that look like `name` first (letter case ignored), the others in order."""
    import difflib  # for error sentences only

    folded = name.casefold()

    def likeness(candidate: str) -> float:
        return difflib.SequenceMatcher(None, folded, candidate.casefold()).ratio()

    ranked = sorted(dict.fromkeys(known), key=lambda candidate: (-likeness(candidate), candidate))
    near = [candidate for candidate in ranked if likeness(candidate) >= 0.6]
    return near + sorted(candidate for candidate in ranked if candidate not in near)


def listing(names: Iterable[str]) -> str:
    """Returns the names quoted and joined with commas."""
    return ", ".join(repr(name) for name in names)


class Registry:
    """The objects that one module knows by name.

    Args:
        module: the module's public name, such as `losses`; it opens the error sentences.
        kind: what one object is called, such as `loss`.
        objects: name -> class or function, or `Lazy` for one whose module is imported when it is wanted. All names are
            accepted.
        shown: the names that error sentences list; all of `objects` by default.
        fold_case: whether letter case is ignored (optimizers).
    """

    def __init__(
        self,
        module: str,
        kind: str,
        objects: Mapping[str, Any],
        *,
        shown: Iterable[str] | None = None,
        fold_case: bool = False,
    ) -> None:
        self.module = module
        self.kind = kind
        self._a_kind = f"{'an' if kind[0] in 'aeio' else 'a'} {kind}"
        self.fold_case = fold_case
        self._objects = {self._key(name): value for name, value in objects.items()}
        self._shown = list(objects if shown is None else shown)

    def _key(self, name: str) -> str:
        return name.lower() if self.fold_case else name

    def look_up(self, name: str, *, operation: str = "get", custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Returns the class or function called `name`.

        Raises:
            ValueError: no such name; the sentence lists those that exist, the nearest first.
        """
        own = get_registered_object(name, custom_objects)
        if own is not None:
            return own
        try:
            found = self._objects[self._key(name)]
        except KeyError:
            names = listing(nearest_first(name, self._shown))
            raise ValueError(
                f"{self.module}.{operation}: identifier: expected the name of {self._a_kind}, one of {names}, "
                f"received {name!r}"
            ) from None
        return found.load() if isinstance(found, Lazy) else found

    def serialize(self, value: Any) -> dict[str, Any]:
        """Returns `{"module": ..., "class_name": ..., "config": ..., "registered_name": ...}` for an object with `get_config`."""
        if inspect.isclass(value) or not hasattr(value, "get_config"):
            raise ValueError(
                f"{self.module}.serialize: {self.kind}: expected an object with get_config(), received {value!r}"
            )
        return describe(value)

    def deserialize(self, config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
        """Returns the object that `serialize` described. A string is the name of a class or function.

        Raises:
            ValueError: the config is not of that form, or names nothing known.
        """
        if isinstance(config, str):
            return self.look_up(config, operation="deserialize", custom_objects=custom_objects)
        settings = config.get("config", {}) if isinstance(config, Mapping) else None
        if isinstance(settings, str) and config.get("class_name") == "function":
            return self.look_up(settings, operation="deserialize", custom_objects=custom_objects)
        if settings is None or not isinstance(config.get("class_name"), str) or not isinstance(settings, Mapping):
            raise ValueError(
                f"{self.module}.deserialize: config: expected a dict {{'class_name': str, 'config': dict}}, "
                f"received {config!r}"
            )
        name = config["class_name"]
        registered = config.get("registered_name")
        cls = get_registered_object(registered, custom_objects) if isinstance(registered, str) else None
        if cls is None:
            cls = self.look_up(name, operation="deserialize", custom_objects=custom_objects)
        if not inspect.isclass(cls):
            return cls
        from_config: Callable[[dict[str, Any]], Any] = getattr(cls, "from_config", lambda values: cls(**values))
        try:
            return from_config(dict(settings))
        except TypeError as error:
            raise ValueError(
                f"{self.module}.deserialize: config: expected the arguments of {cls.__name__}, "
                f"received {dict(settings)!r} ({error})"
            ) from error

    def get(self, identifier: Any) -> Any:
        """Returns the object that a string, a config, a class or the object itself stands for.

        Raises:
            ValueError: nothing of this kind is meant.
        """
        if isinstance(identifier, str):
            identifier = self.look_up(identifier)
        elif isinstance(identifier, Mapping):
            identifier = self.deserialize(identifier)
        if inspect.isclass(identifier):
            identifier = identifier()
        if not callable(identifier):
            raise self.not_understood(identifier)
        return identifier

    def not_understood(self, identifier: Any) -> ValueError:
        """Returns the error for an identifier of a wrong type."""
        return ValueError(
            f"{self.module}.get: identifier: expected {self._a_kind}, its name ({listing(self._shown)}) or its config, "
            f"received {identifier!r}"
        )
