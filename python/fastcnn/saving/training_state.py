"""What a training that goes on bit for bit needs besides weights and the optimizer's state: seeds and random streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fastcnn.utils import seed as seeds
from fastcnn.variables import Structure

if TYPE_CHECKING:
    from fastcnn.layers.layer import Layer
    from fastcnn.models.sequential import Sequential


def of_model(model: Sequential) -> dict[str, Any]:
    """The seeds that layers have drawn, the number of epochs done, and the random streams as they are now."""
    return {
        "layer_seeds": [layer._drawn_seed for layer in _with_seeds(model)],
        "epoch": model._epochs_done,
        "random": seeds.get_state(),
    }


def checked(model: Sequential, training: Mapping[str, Any]) -> Callable[[], None]:
    """A function that takes over what `of_model` returned, of this model.

    The random streams belong to the whole program: they go on when `fit` begins with the epoch after.

    Raises:
        ValueError: not such data (TypeError, KeyError, AttributeError too).
    """
    layers = list(_with_seeds(model))
    found, epoch, random = list(training["layer_seeds"]), training["epoch"], dict(training["random"])
    if len(found) != len(layers) or not all(s is None or (type(s) is int and 0 <= s < 2**64) for s in found):
        raise ValueError("the layers' seeds")
    if type(epoch) is not int or epoch < 0:
        raise ValueError("the number of epochs")
    seeds.check_state(random)

    def restore() -> None:
        for layer, value in zip(layers, found):
            layer._drawn_seed = value
        model._network = None
        Structure.changed()
        model._epochs_done = epoch
        model._resumable = (epoch, random)

    return restore


def _with_seeds(model: Layer) -> Iterator[Any]:
    for layer in getattr(model, "layers", ()):
        yield from _with_seeds(layer)
        if hasattr(layer, "_drawn_seed"):
            yield layer
