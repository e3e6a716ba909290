"""The state of optimizers in the order in which Keras keeps it.

Keras numbers an optimizer's variables: the count of steps, the learning rate, then its arrays, one for each trained weight and
purpose. fastcnn keeps the arrays in slots of the native updater; an optimizer says which of them is where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential
    from fastcnn.variables import Variable


def keras_arrays(model: Sequential) -> list[NDArray[Any]] | None:
    """What Keras's optimizer would call its variables; without the weights' arrays before the first step.

    None: not compiled.
    """
    compiled = model._compiled
    if compiled is None:
        return None
    optimizer = compiled.optimizer
    found: list[NDArray[Any]] = [np.asarray(optimizer._steps, np.int32)]
    if optimizer.fixed_learning_rate is not None:
        found.append(np.asarray(optimizer.fixed_learning_rate, np.float32))
    trained = model.trainable_weights
    if not trained or {id(v) for v in trained} != {id(v) for v in optimizer._variables}:
        return found  # before the first step, or frozen or thawed since: the next one starts anew with what is trained then
    found += [array for *_, array in optimizer._arrays(trained)]
    return found + [np.asarray(value, np.float32) for _, value in optimizer._scalars()]


def expected_shapes(model: Sequential) -> list[tuple[int, ...]] | None:
    """The shapes of `keras_arrays` for an optimizer that has taken a step; None where the model is not compiled."""
    compiled = model._compiled
    if compiled is None:
        return None
    optimizer = compiled.optimizer
    places = optimizer._places(model.trainable_weights)
    return [
        *scalar_shapes(model),
        *(optimizer._slot_shape(slot, variable) for variable, slot, _ in places),
        *(() for _ in optimizer._scalars()),
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
        optimizer._steps = int(iterations)
        return
    trained: list[Variable] = model.trainable_weights
    updater = model._updater()
    state, place = updater.get_state(), {id(v): i for i, v in enumerate(optimizer._variables)}
    for (variable, slot, _), array in zip(optimizer._places(trained), arrays[following:]):
        kept = state["slots"][slot]
        kept[place[id(variable)]] = np.array(array, np.float32, order="C").reshape(kept[place[id(variable)]].shape)
    updater.set_state({**state, "iterations": int(iterations)})
