"""Weights as Keras 3 keeps them: the HDF5 file `*.weights.h5`, which is also a part of `*.keras`.

A layer's arrays are called `layers/<class>_<number>/vars/<index>`: layers are counted by class within their model, as the names
that they have in a process are not the same in the next one.
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn._naming import to_snake_case
from fastcnn.saving import hdf5_reader, optimizer_state

if TYPE_CHECKING:
    from fastcnn.layers.layer import Layer
    from fastcnn.models.sequential import Sequential
    from fastcnn.variables import Variable

# Kinds of NumPy types that may stand where numbers are expected; Keras counts in integers what are floats here.
NUMBERS = "fiu"


@dataclass
class Part:
    """What one layer, or the model itself, keeps in a file."""

    path: str
    name: str
    variables: list[Variable]


def parts(model: Layer, path: str = "", seen: set[int] | None = None) -> Iterator[Part]:
    """The model and its layers, inner models' too, in Keras's order."""
    seen = set() if seen is None else seen
    inner: list[Layer] | None = getattr(model, "layers", None)
    yield Part(path, model.name, [] if inner is not None else model.weights)
    counts: Counter[str] = Counter()
    for layer in inner or []:
        base = to_snake_case(type(layer).__name__)
        number = counts[base]
        counts[base] += 1
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        name = f"{base}_{number}" if number else base
        yield from parts(layer, f"{path}/layers/{name}".lstrip("/"), seen)


def to_bytes(model: Sequential) -> bytes:
    """The file: weights and, of a compiled model, the optimizer's state."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for part in parts(model):
            _write(file, part.path, part.name, [variable.value for variable in part.variables])
        arrays = optimizer_state.keras_arrays(model)
        if arrays is not None and model._compiled is not None:
            _write(file, "optimizer", model._compiled.optimizer.name, arrays)
    return buffer.getvalue()


def _write(file: Any, path: str, name: str, arrays: list[NDArray[Any]]) -> None:
    group = file.create_group(f"{path}/vars".lstrip("/"))
    group.attrs["name"] = name
    for index, array in enumerate(arrays):
        group.create_dataset(str(index), data=array)


def load(model: Sequential, data: bytes, operation: str, source: str, skip_mismatch: bool = False) -> None:
    """Takes over weights and optimizer state; everything is checked before anything changes.

    Args:
        model: a built model.
        data: the file's bytes.
        operation, source: for error sentences.
        skip_mismatch: whether layers whose weights are missing or of other shapes keep theirs, with a warning.

    Raises:
        ValueError: damaged, or a file of another model.
    """
    file = hdf5_reader.File(data, operation, source)
    chosen: list[tuple[Variable, hdf5_reader.Dataset]] = []
    skipped: list[str] = []
    for part in parts(model):
        try:
            shapes = [variable.shape for variable in part.variables]
            chosen += zip(part.variables, _datasets(file, part.path, shapes, NUMBERS))
        except ValueError as error:
            if not skip_mismatch:
                raise
            skipped.append(str(error))
    state = _optimizer_datasets(model, file)
    take_over(model, chosen, state, skipped, operation)


def take_over(
    model: Sequential,
    chosen: list[tuple[Variable, hdf5_reader.Dataset]],
    state: list[hdf5_reader.Dataset] | None,
    skipped: list[str],
    operation: str,
) -> None:
    """Reads what was found to fit: all first, then nothing can go wrong any more."""
    values = [(variable, dataset.read()) for variable, dataset in chosen]
    if state is not None:
        optimizer_state.restore(model, [dataset.read() for dataset in state], operation)
    for variable, value in values:
        variable.assign(value)
    if skipped:
        warnings.warn(f"{operation}: {len(skipped)} layers keep their weights; the first: {skipped[0]}", stacklevel=5)


def check_array(dataset: hdf5_reader.Dataset, shape: tuple[int, ...], kinds: str) -> None:
    """Refuses an array that is not what the model has there, before it is read."""
    if dataset.shape != shape or dataset.dtype.kind not in kinds:
        file = dataset.file
        expected = f"numbers of shape {shape} at {dataset.path!r}"
        received = f"{file.source!r} with {dataset.dtype} of shape {_messages.show(dataset.shape)}"
        _messages.fail(file.operation, "filepath", expected, _messages.Text(received))


def _datasets(
    file: hdf5_reader.File, path: str, shapes: list[tuple[int, ...]], kinds: str
) -> list[hdf5_reader.Dataset]:
    """The arrays of one part, if there are as many as expected, of the shapes expected."""
    place = f"{path}/vars".lstrip("/")
    group = file.root.group(place) if shapes or file.root.has_path(place) else None
    names = [] if group is None else group.names()
    if sorted(names) != sorted(str(index) for index in range(len(shapes))):
        expected = f"{len(shapes)} arrays at {place!r}"
        _messages.fail(file.operation, "filepath", expected, _messages.Text(f"{file.source!r} with {len(names)}"))
    found = [group.dataset(str(index)) for index in range(len(shapes))] if group is not None else []
    for dataset, shape in zip(found, shapes):
        check_array(dataset, shape, kinds)
    return found


def _optimizer_datasets(model: Sequential, file: hdf5_reader.File) -> list[hdf5_reader.Dataset] | None:
    """The optimizer's arrays; None where there are none for this model's optimizer."""
    shapes = optimizer_state.expected_shapes(model)
    if shapes is None or not file.root.has_path("optimizer/vars"):
        return None
    count = len(file.root.group("optimizer/vars").names())
    scalars = optimizer_state.scalar_shapes(model)
    if count == len(scalars):  # before the first step
        return _datasets(file, "optimizer", scalars, NUMBERS)
    if count != len(shapes):
        warnings.warn(
            f"{file.operation}: the optimizer starts anew: its state has {len(shapes)} arrays, that of {file.source!r} {count}",
            stacklevel=5,
        )
        return None
    return _datasets(file, "optimizer", shapes, NUMBERS)
