"""Names whose modules are imported when somebody asks for them, so that `import fastcnn` costs little more than NumPy.

A module that offers such names has beside it, for readers and type checkers, the ordinary imports under `TYPE_CHECKING`.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn


class Lazy:
    """Stands for an object of a module that is not imported yet.

    >>> Lazy("fastcnn.optimizers.sgd", "SGD").load().__name__
    'SGD'
    """

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def load(self) -> Any:
        """The object; imports its module."""
        return getattr(importlib.import_module(self.module), self.name)


def attach(
    package: str, places: Mapping[str, Iterable[str]], otherwise: Callable[[str], Any] | None = None
) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names come from others.

    Args:
        package: the module's own `__name__`.
        places: module -> the names that it brings.
        otherwise: what is asked for names that stand nowhere: raises AttributeError, or returns a value.

    Returns:
        The function; a name found is kept in the module, so that each is looked up once.
    """
    where = {name: Lazy(module, name) for module, names in places.items() for name in names}

    def find(name: str) -> Any:
        if name not in where:
            if otherwise is not None:
                return otherwise(name)
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = where[name].load()
        setattr(sys.modules[package], name, value)
        return value

    return find


def nothing_called(
    package: str, names: Iterable[str] | None = None, instead: Mapping[str, str] | None = None
) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module, or its `otherwise`, that says what there is in place of a name that is not there.

    Args:
        package: the module's own `__name__`.
        names: what it has; the nearest to the name in question is named. Its own functions and classes by default.
        instead: a name that is not there -> the name that stands in for it, or a sentence.
    """

    def refuse(name: str) -> NoReturn:
        known = list(names) if names is not None else _own_names(package)
        sentence = f"{package} has no attribute {name!r}"
        if not name.startswith("_"):  # what looks modules over asks for many such names
            import difflib

            folded = {each.casefold(): each for each in reversed(known)}
            near = [folded[each] for each in difflib.get_close_matches(name.casefold(), folded, 1)]
            hint = (instead or {}).get(name) or (near[0] if near else "it has " + ", ".join(known))
            sentence += f"; the nearest thing that it has is {hint!r}" if hint in known else f": {hint}"
        raise AttributeError(sentence)

    return refuse


def _own_names(package: str) -> list[str]:
    module = sys.modules[package]
    public = (name for name in vars(module) if not name.startswith("_"))
    return sorted(name for name in public if str(getattr(vars(module)[name], "__module__", "")) == package)
