"""fastcnn's own files, `*.safetensors`: the safetensors format, with what is not numbers as one JSON text beside the numbers.

The metadata's key `fastcnn` holds `{"format_version": 1, "model": the model's description, "optimizer": its steps, rate and
slots, "training": what a training that goes on needs besides}`; of a file of weights alone the last three are null.
Weights are called by layer path ("layers/conv2d_1/kernel"), the optimizer's arrays "optimizer/<slot>/<weight>".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn.models.weights_file import named_variables
from fastcnn.saving import training_state
from fastcnn.saving.keras_archive import read_json
from fastcnn.saving.keras_config import model_from_keras, model_to_keras
from fastcnn.saving.number_formats import BFLOAT16, restored, rounded
from fastcnn.saving.registration import known_objects
from fastcnn.variables import limited

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

KEY, VERSION = "fastcnn", 1
_LONGEST_HEADER = 4 << 20  # bytes
Arrays = dict[str, NDArray[Any]]


def to_bytes(
    arrays: Mapping[str, NDArray[Any]],
    description: Mapping[str, Any],
    dtype: str = "float32",
    operation: str = "save_model",
) -> bytes:
    """A file of arrays and their description; the weights among the arrays, those of layers, in numbers of `dtype`."""
    from safetensors.numpy import save

    weights = [name for name, array in arrays.items() if name.startswith("layers/") and array.dtype == np.float32]
    stored = dict(arrays)
    if dtype != "float32":
        stored |= {name: rounded(operation, name, arrays[name], dtype) for name in weights}
    content: bytes = save(
        {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in stored.items()},
        {KEY: json.dumps({"format_version": VERSION, **description})},
    )
    return _with_bfloat16(content, weights) if dtype == "bfloat16" else content


def _with_bfloat16(content: bytes, names: list[str]) -> bytes:
    """A file whose 16-bit arrays `names` are called bfloat16: NumPy, and with it safetensors, has no such type to write."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    for name in names:
        header[name]["dtype"] = BFLOAT16
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def from_bytes(data: bytes, operation: str, source: str) -> tuple[Arrays, dict[str, Any] | None]:
    """The arrays of a file by name, and its description; None where another program wrote it.

    Raises:
        ValueError: damaged, or arrays of other types than float32, float16, bfloat16 (both come back as float32) and int64.
    """
    from safetensors import SafetensorError, deserialize

    def refuse(received: str) -> NoReturn:
        expected = "a whole .safetensors file of float32, float16 or bfloat16 arrays"
        _messages.fail(operation, "filepath", expected, _messages.Text(f"{source!r}: {received}"))

    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _LONGEST_HEADER):
        refuse("a header that is longer than the file, or than any model's")
    header = read_json(data[8 : 8 + length], operation, source)
    if not isinstance(header, dict):
        refuse("a header that is no table of arrays")
    metadata = header.pop("__metadata__", {})
    try:
        found: list[tuple[str, Any]] = deserialize(data)  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, OverflowError) as error:
        refuse(_messages.show(str(error)))
    arrays: Arrays = {}
    for name, entry in found:
        shape = tuple(entry["shape"])
        array = restored(entry["dtype"], entry["data"], shape)
        if name in arrays or array is None:
            refuse(f"{name!r} of {entry['dtype']} and shape {_messages.show(shape)}")
        arrays[name] = array
    if set(arrays) != set(header):
        refuse("names that stand twice in the header")
    text = metadata.get(KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        return arrays, None
    description = read_json(text, operation, source)
    if not isinstance(description, dict) or description.get("format_version") != VERSION:
        version = description.get("format_version") if isinstance(description, dict) else description
        refuse(f"version {_messages.show(version)} of the format (this fastcnn reads version {VERSION})")
    return arrays, description


def weights_bytes(model: Sequential, dtype: str = "float32") -> bytes:
    """A file of the model's weights alone."""
    description = {"model": None, "optimizer": None, "training": None}
    return to_bytes(_weights(model), description, dtype, "save_weights")


def model_bytes(model: Sequential, include_optimizer: bool = True, dtype: str = "float32") -> bytes:
    """A file of the whole model."""
    arrays = _weights(model)
    optimizer = optimizer_arrays(model, arrays) if include_optimizer else None
    training = training_state.of_model(model)
    return to_bytes(arrays, {"model": model_to_keras(model), "optimizer": optimizer, "training": training}, dtype)


def _weights(model: Sequential) -> Arrays:
    return {name: variable.value for name, variable in named_variables(model.layers).items()}


def optimizer_arrays(model: Sequential, arrays: Arrays) -> dict[str, Any] | None:
    """Adds the optimizer's arrays to `arrays`; returns what else is known of it, None where the model is not compiled."""
    compiled = model._compiled
    if compiled is None:
        return None
    rate = compiled.optimizer.fixed_learning_rate
    slots: list[str] = []
    optimizer = compiled.optimizer
    # Not where variables were frozen or thawed since: the next step starts anew with what is trained then.
    if {id(v) for v in optimizer._variables} == {id(v) for v in model.trainable_weights}:
        names = {id(variable): name for name, variable in named_variables(model.layers).items()}
        for slot, values in optimizer._state()["slots"].items():
            slots.append(slot)
            arrays |= {f"optimizer/{slot}/{names[id(v)]}": array for v, array in zip(optimizer._variables, values)}
    return {"iterations": optimizer._steps, "learning_rate": rate, "slots": slots}


def load_model(
    data: bytes, source: str, custom_objects: Mapping[str, Any] | None = None, compile: bool = True
) -> Sequential:
    """The model of a file.

    Raises:
        ValueError: damaged, a file of weights alone, or not a model of layers that are known here.
    """
    operation = "load_model"
    arrays, description = from_bytes(data, operation, source)
    if description is None or not description.get("model"):
        _messages.fail(operation, "filepath", "a file of a whole model", _messages.Text(f"{source!r} of weights alone"))
    known = known_objects(custom_objects)
    known |= {name.split(">")[-1]: value for name, value in known.items()}
    # Weights that are stored in 16 bits take twice their bytes in the file.
    with limited(max(len(data), sum(array.nbytes for array in arrays.values())), operation, source):
        model = model_from_keras(description["model"], known, compile, operation, source)
    take_over(model, arrays, description, operation, source)
    return model


def load_weights(model: Sequential, data: bytes, source: str, skip_mismatch: bool = False) -> None:
    """Takes over a file's weights; everything is checked before anything changes."""
    arrays, _ = from_bytes(data, "load_weights", source)
    for variable, array in _matching(model, arrays, "load_weights", source, skip_mismatch):
        variable.assign(array)


def take_over(model: Sequential, arrays: Arrays, description: Mapping[str, Any], operation: str, source: str) -> None:
    """Weights, the optimizer's state where the model is compiled, and the seeds; checked before anything changes."""
    weights = _matching(model, arrays, operation, source, False)
    optimizer, training = description.get("optimizer"), description.get("training")
    try:
        restore = training_state.checked(model, training) if training else None
        state = _optimizer_state(model, arrays, optimizer) if optimizer and model._compiled is not None else None
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError, IndexError) as error:
        received = _messages.Text(f"{source!r} with another ({_messages.show(str(error))})")
        _messages.fail(operation, "filepath", "the state of this model's training", received)
    if restore is not None:
        restore()
    if state is not None and model._compiled is not None:
        if state["slots"]:
            model._restore_optimizer_state(state)
        model._compiled.optimizer._steps = state["iterations"]
        if optimizer and optimizer.get("learning_rate") is not None:
            model._compiled.optimizer.learning_rate = optimizer["learning_rate"]
    for variable, array in weights:
        variable.assign(array)


def _matching(
    model: Sequential, arrays: Arrays, operation: str, source: str, skip: bool
) -> list[tuple[Any, NDArray[Any]]]:
    variables = named_variables(model.layers)
    extra = [name for name in arrays if name not in variables and name.startswith("layers/")]
    found = []
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is not None and array.shape == variable.shape and array.dtype == np.float32:
            found.append((variable, array))
        elif not skip:
            shown = "nothing of that name" if array is None else f"{array.dtype} of shape {array.shape}"
            expected = f"{name!r} of shape {variable.shape}"
            _messages.fail(operation, "filepath", expected, _messages.Text(f"{source!r} with {shown}"))
    if extra and not skip:
        received = _messages.Text(f"{source!r} with {_messages.show(extra[0])} too")
        _messages.fail(operation, "filepath", "the weights of this model", received)
    return found


def _optimizer_state(model: Sequential, arrays: Arrays, optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """What `_restore_optimizer_state` takes; raises ValueError where it does not fit."""
    iterations, slots, rate = optimizer["iterations"], optimizer["slots"], optimizer.get("learning_rate")
    if not _messages.is_integer(iterations) or not 0 <= iterations < 2**53:
        raise ValueError(f"iterations {iterations!r}")
    if rate is not None and not (isinstance(rate, float) and math.isfinite(rate) and rate >= 0):
        raise ValueError(f"learning rate {rate!r}")
    if rate is not None and model._compiled is not None and model._compiled.optimizer.fixed_learning_rate is None:
        raise ValueError(f"learning rate {rate!r} beside a schedule")
    names = {id(variable): name for name, variable in named_variables(model.layers).items()}
    trained = {id(v) for v in model.trainable_weights}
    order = [v for v in model._current_network().variables if id(v) in trained] if slots else []
    found = {slot: [arrays[f"optimizer/{slot}/{names[id(v)]}"] for v in order] for slot in slots}
    if slots:
        fresh = model._updater().get_state()["slots"]
        if set(found) != set(fresh):
            raise ValueError(f"slots {sorted(found)}")
        for slot, values in found.items():
            for variable, array, like in zip(order, values, fresh[slot]):
                if array.shape != like.shape or array.dtype != np.float32:
                    raise ValueError(f"{slot} of {names[id(variable)]} of shape {array.shape}")
    return {"iterations": iterations, "slots": found}
