"""What reads a chain of modules: the layers so far, and shape and order of the axes after the last of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastcnn import _messages, layers
from fastcnn.layers.input_layer import Input
from fastcnn.layers.layer import Layer
from fastcnn.models.sequential import Sequential

Order = tuple[int, ...]
Weights = dict[str, Any]


class Reader:
    """Layers that are being put together, and shape and order of the axes after the last of them."""

    def __init__(self, sample: tuple[int, ...], data_format: str) -> None:
        self.data_format = data_format
        self.order: Order = tuple(range(len(sample) + 1))  # axis i of the tensor is the module's axis order[i]
        self.order = self.edge()
        self.input_shape = tuple(sample[axis - 1] for axis in self.order[1:])
        self.own = self.input_shape  # one sample's shape
        self.path = ""
        self.following: list[nn.Module] = []
        self.border: list[tuple[int, int]] | None = None  # of -inf, for the max pooling that follows
        self.columns: NDArray[np.int64] | None = None  # where the elements of a flattened sample stood in the module's
        self._layers: list[Layer] = []
        self._weights: list[tuple[Layer, Weights]] = []
        self._names: set[str] = set()

    @property
    def shape(self) -> tuple[int, ...]:
        """One sample's shape as the module has it."""
        sizes = dict(zip(self.order[1:], self.own))
        return tuple(sizes[axis] for axis in range(1, len(self.order)))

    def refuse(self, module: nn.Module, argument: str, expected: str, received: object) -> NoReturn:
        """Raises the ValueError about a module."""
        place = f"{self.path} ({type(module).__name__})" if self.path else type(module).__name__
        _messages.fail(f"from_torch: {place}", argument, expected, received)

    def only(self, module: nn.Module, **wanted: Any) -> None:
        """Refuses a module whose arguments have other values."""
        for argument, value in wanted.items():
            if (found := getattr(module, argument)) != value:
                self.refuse(module, argument, repr(value), found)

    def needs_rank(self, module: nn.Module, *ranks: int) -> None:
        """Refuses samples of another number of axes."""
        if len(self.own) not in ranks:
            self.refuse(module, "input", f"samples of {' or '.join(map(str, ranks))} axes", self.shape)

    def edge(self) -> Order:
        """The order at the model's ends and before image layers."""
        rank = len(self.order) - 1
        return (0, *range(2, rank + 1), 1) if self.data_format == "channels_last" and rank > 1 else self.plain()

    def plain(self) -> Order:
        """The module's order."""
        return tuple(range(len(self.order)))

    def arrange(self, order: Order) -> None:
        """Brings the axes into that order."""
        if order != self.order:
            self.append(
                layers.Permute(
                    tuple(self.order.index(axis) for axis in order[1:]), name=self.name("permute", "permute")
                )
            )
            self.order = order

    def name(self, kind: str, what: str = "") -> str:
        """A new layer's name: the module's, or what it is and the numbers that lead to it."""
        parts = [part for part in self.path.replace("/", "_").split(".") if part]
        if all(map(str.isdigit, parts)):
            parts = [kind, *parts]
        elif what:
            parts.append(what)
        wish = "_".join(parts)
        name, number = wish, 1
        while name in self._names:
            number += 1
            name = f"{wish}_{number}"
        self._names.add(name)
        return name

    def append(self, layer: Layer, order: Order | None = None, **weights: Any) -> None:
        """Appends a layer with its weights, (parameter, its values as the layer has them) each; `order`: after it."""
        self.own = tuple(int(n) for n in layer.compute_output_shape((None, *self.own))[1:] if n is not None)
        self.order = (
            tuple(range(len(self.own) + 1)) if order is None and len(self.own) + 1 != len(self.order) else self.order
        )
        if order is not None:
            self.order = order
        self._layers.append(layer)
        self._weights.append((layer, weights))

    def add(self, cls: type[Any], *arguments: Any, weights: Weights | None = None, **options: Any) -> None:
        """Appends a layer of that class, named for the module."""
        self.append(cls(*arguments, name=self.name(cls.__name__.lower()), **options), **(weights or {}))

    def model(self) -> Sequential:
        """The model of these layers, with their weights."""
        model = Sequential([Input(self.input_shape), *self._layers])
        for layer, weights in self._weights:
            for name, (parameter, values) in weights.items():
                variable = getattr(layer, name)
                variable.assign(values)
                if isinstance(parameter, nn.Parameter):
                    variable.trainable = parameter.requires_grad
        return model

    def values(self, module: nn.Module, name: str) -> NDArray[np.float32]:
        """A parameter's or buffer's values."""
        tensor = getattr(module, name)
        if nn.parameter.is_lazy(tensor) or tensor.dtype != torch.float32:
            self.refuse(module, name, "a float32 tensor", _messages.Text(str(tensor.dtype)))
        return np.asarray(tensor.detach().cpu().numpy())

    def weight(
        self, module: Any, name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None
    ) -> Any:
        """(parameter, its values as the layer has them)."""
        values = self.values(module, name)
        return getattr(module, name), values if change is None else change(values)


def as_tuple(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),) * rank


def bias_of(reader: Reader, module: Any) -> Weights:
    return {} if module.bias is None else {"bias": reader.weight(module, "bias")}


def append_margins(reader: Reader, rank: int, pairs: Sequence[tuple[int, int]], data_format: str) -> None:
    """Zeros around an image or sequence, or, where a number is negative, a cut."""
    grow = [(max(0, before), max(0, after)) for before, after in pairs]
    cut = [(max(0, -before), max(0, -after)) for before, after in pairs]
    for margins, name in ((cut, "Cropping"), (grow, "ZeroPadding")):
        if not any(n for pair in margins for n in pair):
            continue
        if rank == 2:
            reader.add(getattr(layers, f"{name}2D"), tuple(margins), data_format=data_format)
        elif name == "ZeroPadding":
            reader.add(layers.ZeroPadding1D, margins[0], data_format=data_format)
        else:
            order = reader.order
            reader.arrange((0, 2, 1))  # Cropping1D knows no channels first
            reader.add(layers.Cropping1D, margins[0])
            reader.arrange(order)


def as_image(reader: Reader, module: nn.Module, rank: int) -> dict[str, Any]:
    reader.needs_rank(module, rank + 1)
    reader.arrange(reader.edge())
    return {"data_format": reader.data_format}
