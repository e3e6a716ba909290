"""Writes docs/keras-compatibility.md: every public name of the installed Keras, and whether fastcnn has it.

What the page says is found out, not remembered: a name is there where `fastcnn` has it at the same place; it is "yes"
where its arguments have Keras's names, order and defaults too, and "different" where they do not, with the difference.
The tables below add only what signatures cannot tell.

    python tools/keras_compatibility.py            # writes the page
    python tools/keras_compatibility.py --check    # fails where the page is not what it would write
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "keras-compatibility.md"
COMMAND = "KERAS_BACKEND=torch python tools/keras_compatibility.py"

# Modules that are one decision: their names are not listed one by one. Path below `keras` -> why.
LEFT_OUT = {
    "applications": "there are no pretrained models",
    "distillation": "not part of fastcnn",
    "distribution": "one process trains one model; scikit-learn's searches run in parallel",
    "export": "models are written to ONNX and other formats by functions of their own",
    "legacy": "Keras 2's remains",
    "optimizers.legacy": "Keras 2's remains",
    "ops.image": "the same names as in `keras.ops`, or not there",
    "ops.linalg": "the same names as in `keras.ops`, or not there",
    "ops.nn": "the same names as in `keras.ops`, or not there",
    "ops.numpy": "NumPy's own functions work on all arrays that fastcnn takes and returns",
    "quantizers": "there is no quantisation",
    "tree": "models have one input and one output, so nested structures do not occur",
    "utils.bounding_boxes": "detection is not part of fastcnn",
    "utils.legacy": "Keras 2's remains",
    "visualization": "detection and segmentation are not part of fastcnn",
}

# What is the same by signature and yet differs: the path -> how.
DIFFERENT = {
    "KerasTensor": "shape, dtype and name of a model's input and output; there is no functional API to compute with it",
    "Sequential": "the native plan trains and runs it; layers form a chain",
    "callbacks.TensorBoard": "writes through tensorboardX; no graphs, no profiles",
    "layers.Layer": "a layer of one's own has `call` and `backward`, both on NumPy arrays: there is no automatic differentiation",
}

# Why something is not there: a path, or the beginning of paths -> the reason. The longest that fits counts.
REASONS = {
    "Function": "no functional API",
    "Model": "no functional API: models are Sequential",
    "Operation": "no functional API",
    "Quantizer": "no quantisation",
    "RematScope": "memory is planned; nothing is computed twice",
    "StatelessScope": "one backend, which needs no such scope",
    "SymbolicScope": "no functional API",
    "device": "computation is on the CPU",
    "name_scope": "names follow from the layers",
    "remat": "memory is planned; nothing is computed twice",
    "models.Model": "no functional API: models are Sequential",
    "activations.glu": "no layer would compute it natively",
    "callbacks.OrbaxCheckpoint": "a format of JAX's; `ModelCheckpoint`",
    "config.enable_unsafe_deserialization": "files never hold code that would be run",
    "config.disable_flash_attention": "there is no attention",
    "config.enable_flash_attention": "there is no attention",
    "config.is_flash_attention_enabled": "there is no attention",
    "config.is_nnx_enabled": "a setting of JAX's",
    "config.set_backend": "there is one backend",
    "backend.result_type": "NumPy's rules hold",
    "datasets.boston_housing.": "no pictures",
    "datasets.california_housing.": "no pictures",
    "datasets.cifar10.": "its files are pickles, which run code when they are read",
    "datasets.cifar100.": "its files are pickles, which run code when they are read",
    "datasets.imdb.": "no pictures",
    "datasets.reuters.": "no pictures",
    "dtype_policies.": "there is no quantisation",
    "initializers.STFT": "there are no layers for spectrograms",
    "initializers.STFTInitializer": "there are no layers for spectrograms",
    "initializers.stft": "there are no layers for spectrograms",
    "mixed_precision.LossScaleOptimizer": "float32 needs no scaling of the loss",
    "optimizers.LossScaleOptimizer": "float32 needs no scaling of the loss",
    "optimizers.MultiOptimizer": "one optimizer trains a model",
    "optimizers.OptimizerMap": "one optimizer trains a model",
}

# Classes whose members are compared as well.
MEMBERS = (
    "Sequential",
    "layers.Layer",
    "Variable",
    "losses.Loss",
    "metrics.Metric",
    "optimizers.Optimizer",
    "callbacks.Callback",
    "callbacks.History",
    "initializers.Initializer",
    "regularizers.Regularizer",
    "utils.PyDataset",
    "utils.Progbar",
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One public name of Keras: its path below `keras`, "yes", "different" or "no", and what there is to say."""

    path: str
    verdict: str
    note: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def public_names(module: Any, path: str = "", seen: set[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Yields path and object of all public names below a package, its submodules' after its own."""
    seen = set() if seen is None else seen
    inner = []
    for name in sorted(vars(module)):
        value = getattr(module, name)
        place = f"{path}.{name}" if path else name
        if name.startswith("_") or place == "src":
            continue
        if not inspect.ismodule(value):
            yield place, value
        elif value.__name__.split(".")[0] == "keras" and place not in seen:
            seen.add(place)
            inner.append((place, value))
    for place, value in inner:
        if place not in LEFT_OUT:
            yield from public_names(value, place, seen)


def find(root: Any, path: str) -> Any:
    """The object at `path` below a package, importing its modules; AttributeError where it is not there."""
    found = root
    for name in path.split("."):
        found = getattr(found, name)
    return found


def parameters_of(value: Any) -> dict[str, inspect.Parameter] | None:
    """The arguments by name, without `self` and those taken in bulk; None where there is no signature to read."""
    try:
        signature = inspect.signature(value.__init__ if inspect.isclass(value) else value)
    except (TypeError, ValueError):
        return None
    kept = list(signature.parameters.values())
    if inspect.isclass(value) or (kept and kept[0].name == "self"):
        kept = kept[1:]
    return {p.name: p for p in kept if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}


def takes_more(value: Any, by_position: bool = False) -> bool:
    """Whether other keyword arguments are handed on to a base class; or whether any arguments are taken."""
    function = value.__init__ if inspect.isclass(value) else value
    kind = inspect.Parameter.VAR_POSITIONAL if by_position else inspect.Parameter.VAR_KEYWORD
    return any(p.kind is kind for p in inspect.signature(function).parameters.values())


def show(value: Any) -> str:
    """A default as the page writes it: what has no lasting text is named by its class."""
    text = repr(value)
    return f"<{type(value).__name__}>" if " at 0x" in text else text


def same_default(ours: Any, theirs: Any) -> bool:
    """Whether two defaults are the same; tuples and lists are, and so are two objects that only serve as marks."""
    if isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return list(ours) == list(theirs)
    if isinstance(ours, int) and isinstance(theirs, tuple):  # an integer stands for both axes
        return {ours} == set(theirs)
    if {type(ours), type(theirs)} == {int, float}:
        return bool(ours == theirs)
    return show(ours) == show(theirs)


def difference(ours: Any, theirs: Any) -> str:
    """How the arguments of two functions or classes differ; empty where they do not."""
    mine, wanted = parameters_of(ours), parameters_of(theirs)
    if mine is None or wanted is None:
        return ""
    found = []
    missing = [name for name in wanted if name not in mine]
    if takes_more(ours):  # what every layer takes may come by name, without being written down
        missing = [name for name in missing if name not in ("name", "trainable", "dtype", "activity_regularizer")]
    extra = [name for name in mine if name not in wanted]
    if takes_more(theirs, by_position=True):
        extra = []
    elif takes_more(theirs):
        extra = [name for name in extra if name not in ("name", "trainable", "dtype", "activity_regularizer")]
    if missing:
        found.append("without " + ", ".join(f"`{name}`" for name in missing))
    if extra:
        found.append("also " + ", ".join(f"`{name}`" for name in extra))
    by_position = [name for name in wanted if wanted[name].kind is not inspect.Parameter.KEYWORD_ONLY and name in mine]
    if [name for name in mine if name in by_position] != by_position:
        found.append("other order of arguments")
    for name in by_position:
        if mine[name].kind is inspect.Parameter.KEYWORD_ONLY:
            found.append(f"`{name}` by name only")
    for name in wanted:
        if name in mine and not same_default(mine[name].default, wanted[name].default):
            texts = [
                "none" if p.default is inspect.Parameter.empty else show(p.default) for p in (mine[name], wanted[name])
            ]
            found.append(f"`{name}`: default `{texts[0]}` instead of `{texts[1]}`")
    return "; ".join(found)


def row(path: str, theirs: Any, ours: Callable[[], Any]) -> Row:
    """What is to be said about one name; `ours` finds fastcnn's object or raises AttributeError."""
    try:
        mine = ours()
    except AttributeError:
        reasons = [start for start in REASONS if path == start or (start.endswith(".") and path.startswith(start))]
        return Row(path, "no", REASONS[max(reasons, key=len)] if reasons else "")
    notes = [difference(mine, theirs)] if callable(theirs) and callable(mine) else []
    notes.append(DIFFERENT.get(path, ""))
    note = "; ".join(part for part in notes if part)
    return Row(path, "different" if note else "yes", note)


def rows(keras: Any, fastcnn: Any) -> list[Row]:
    """A row for each public name of Keras."""
    return [
        row(path, value, lambda path=path: find(fastcnn, path))  # type: ignore[misc]
        for path, value in public_names(keras)
    ]


def members(keras: Any, fastcnn: Any, path: str) -> list[Row]:
    """A row for each public member of the class at `path`."""
    theirs, ours = find(keras, path), find(fastcnn, path)
    names = [name for name in sorted(dir(theirs)) if not name.startswith("_") and is_keras_s_own(theirs, name)]
    return [
        row(f"{path}.{name}", inspect.getattr_static(theirs, name), lambda name=name: member(ours, name))  # type: ignore[misc]
        for name in names
    ]


def is_keras_s_own(cls: Any, name: str) -> bool:
    """Whether Keras itself gives the class that member, rather than the backend (its layers are PyTorch's modules too)."""
    return any(name in vars(base) for base in cls.__mro__ if base.__module__.startswith("keras"))


def member(cls: Any, name: str) -> Any:
    """A class's attribute as it is written down; what objects are given by their constructor counts too."""
    try:
        return inspect.getattr_static(cls, name)
    except AttributeError:
        made = MADE.get(cls.__name__)
        if made is not None and hasattr(made(), name):
            return None
        raise


# How to make an object of the classes whose members are compared, for attributes that constructors set.
MADE: dict[str, Callable[[], Any]] = {}


def _fill_made(fastcnn: Any) -> None:
    MADE.update(
        Sequential=lambda: fastcnn.Sequential([fastcnn.layers.Dense(1, input_shape=(2,))]),
        Layer=fastcnn.layers.Layer,
        Variable=lambda: fastcnn.Variable([0.0]),
        Callback=fastcnn.callbacks.Callback,
        History=fastcnn.callbacks.History,
        Progbar=lambda: fastcnn.utils.Progbar(1),
    )


def table(found: list[Row]) -> list[str]:
    """The rows as a table; the names that are not there, and of which there is nothing to say, in one line below."""
    listed = [entry for entry in found if entry.verdict != "no" or entry.note]
    lines = []
    if listed:
        lines += ["| name | there | note |", "|---|---|---|"]
        lines += [f"| `{entry.name}` | {entry.verdict} | {entry.note.replace('|', '/')} |" for entry in listed]
    rest = [f"`{entry.name}`" for entry in found if entry.verdict == "no" and not entry.note]
    if rest:
        lines += [""] * bool(listed) + ["no: " + ", ".join(rest) + "."]
    return lines


def page(keras: Any, fastcnn: Any) -> str:
    """The whole page."""
    _fill_made(fastcnn)
    found = rows(keras, fastcnn)
    counts = {verdict: sum(entry.verdict == verdict for entry in found) for verdict in ("yes", "different", "no")}
    lines = [
        "# Keras's names in fastcnn",
        "",
        f"Every public name of Keras {keras.__version__}, and whether `fastcnn` has it at the same place: {counts['yes']} yes, "
        f"{counts['different']} different, {counts['no']} no, modules that are left out as a whole not counted.",
        "",
        '"yes": the name is there and its arguments have the same names, order and defaults; tests compare behaviour. '
        '"different": it is there, and the note says how it differs. "no": asking for it raises an AttributeError.',
        "",
        "This page is written by `tools/keras_compatibility.py` from both packages as they are installed; a test fails where "
        "it is out of date.",
        "",
        "## Left out as a whole",
        "",
        "| module | reason |",
        "|---|---|",
        *(f"| `keras.{path}` | {reason} |" for path, reason in sorted(LEFT_OUT.items())),
    ]
    modules = dict.fromkeys(entry.path.rpartition(".")[0] for entry in found)
    for module in sorted(modules):
        lines += ["", f"## keras{'.' if module else ''}{module}", ""]
        lines += table([entry for entry in found if entry.path.rpartition(".")[0] == module])
    lines += ["", "# Members of classes"]
    for path in MEMBERS:
        lines += ["", f"## keras.{path}", "", *table(members(keras, fastcnn, path))]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    text = page(importlib.import_module("keras"), importlib.import_module("fastcnn"))
    if not arguments.check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print(f"{PAGE.name} is out of date; write it again: {COMMAND}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
