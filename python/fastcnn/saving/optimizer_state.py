"""The state of optimizers in the order in which Keras keeps it.

Keras numbers an optimizer's variables: the count of steps, the learning rate, then its arrays, one for each trained weight and
purpose. fastcnn keeps the arrays in slots of the native trainer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn.models.compiled import StoppedTrainer

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential
    from fastcnn.variables import Variable

# Optimizer -> runs of arrays: within a run a weight's arrays, in this order, stand together; whether the optimizer has it.
_Run = tuple[tuple[str, ...], Callable[[Any], bool]]
_RUNS: dict[str, tuple[_Run, ...]] = {
    "SGD": ((("m",), lambda o: o.momentum != 0),),
    "Adam": ((("m", "v"), lambda o: True), (("u",), lambda o: o.amsgrad)),
    "RMSprop": (
        (("v",), lambda o: True),
        (("m",), lambda o: o.momentum > 0),
        (("u",), lambda o: o.centered),
    ),
}
_RUNS["AdamW"] = _RUNS["Adam"]


def _runs(optimizer: Any) -> list[tuple[str, ...]] | None:
    """None: an optimizer whose arrays have no known place in Keras's files."""
    known = _RUNS.get(type(optimizer).__name__)
    return None if known is None else [names for names, there in known if there(optimizer)]


def keras_arrays(model: Sequential) -> list[NDArray[Any]] | None:
    """What Keras's optimizer would call its variables; without the weights' arrays before the first step.

    None: not compiled, or an optimizer whose arrays have no known place.
    """
    compiled = model._compiled
    runs = None if compiled is None else _runs(compiled.optimizer)
    if compiled is None or runs is None:
        return None
    optimizer = compiled.optimizer
    found: list[NDArray[Any]] = [np.asarray(int(optimizer.iterations), np.int32)]
    if optimizer.fixed_learning_rate is not None:
        found.append(np.asarray(optimizer.fixed_learning_rate, np.float32))
    trainer = StoppedTrainer.of(model._trainer)
    if trainer is None or trainer.compiled is not compiled:
        return found
    slots = trainer.get_state()["slots"]
    place = {id(variable): index for index, variable in enumerate(trainer._trained())}
    trained = model.trainable_weights
    if {id(variable) for variable in trained} != set(place):
        return found  # frozen or thawed since: the next step starts anew with what is trained then
    for names in runs:
        for variable in trained:
            found += [slots[name][place[id(variable)]] for name in names]
    return found


def expected_shapes(model: Sequential) -> list[tuple[int, ...]] | None:
    """The shapes of `keras_arrays` for an optimizer that has taken a step; None where it has no known place."""
    compiled = model._compiled
    runs = None if compiled is None else _runs(compiled.optimizer)
    if compiled is None or runs is None:
        return None
    return scalar_shapes(model) + [
        variable.shape for names in runs for variable in model.trainable_weights for _ in names
    ]


def scalar_shapes(model: Sequential) -> list[tuple[int, ...]]:
    """Those of the count of steps and, where it is a number, of the learning rate."""
    return [(), ()] if model.optimizer.fixed_learning_rate is not None else [()]


def restore(model: Sequential, arrays: list[NDArray[Any]], operation: str) -> None:
    """Goes on from Keras's arrays, whose shapes are those of `expected_shapes`, or the scalars alone."""
    compiled = model._compiled
    assert compiled is not None
    optimizer = compiled.optimizer
    iterations = arrays[0]
    if iterations.dtype.kind not in "iu" or int(iterations) < 0:
        _messages.fail(operation, "filepath", "an optimizer with a number of steps", iterations)
    following = 1
    if optimizer.fixed_learning_rate is not None:
        # Keras keeps it in single precision; the description, in double, says it better where both mean the same.
        if np.float32(optimizer.learning_rate) != np.float32(arrays[1]):
            optimizer.learning_rate = float(arrays[1])
        following = 2
    if len(arrays) == following:
        optimizer.iterations = int(iterations)
        return
    trained: list[Variable] = model.trainable_weights
    values = iter(arrays[following:])
    by_slot: dict[str, dict[int, NDArray[Any]]] = {}
    for names in _runs(optimizer) or []:
        for variable in trained:
            for name in names:
                by_slot.setdefault(name, {})[id(variable)] = np.ascontiguousarray(next(values), np.float32)
    order = [variable for variable in model._current_network().variables if id(variable) in {id(v) for v in trained}]
    slots = {name: [found[id(v)].reshape(v.shape) for v in order] for name, found in by_slot.items()}
    model._restore_optimizer_state({"iterations": int(iterations), "slots": slots})
