"""From layers to the native network: collects what layers describe and keeps the result while it is current."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from fastcnn import _core
from fastcnn.variables import Variable

if TYPE_CHECKING:
    from fastcnn.layers.layer import Layer


class ParameterList:
    """The variables that the operations of a graph refer to, by index."""

    def __init__(self) -> None:
        self.variables: list[Variable | None] = []

    def add(self, variable: Variable | None) -> int:
        """Index for an operation's parameter. None is a variable that is not created yet: enough for shapes."""
        self.variables.append(variable)
        return len(self.variables) - 1


def infer_shape(layer: Layer, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one sample's output: asked from the native graph, which alone knows the geometry."""
    graph = _core.Graph(input_shape)
    layer.append_to(graph, ParameterList())
    return tuple(graph.output_shape)


class BuiltNetwork:
    """A native network with the variables it reads, in the network's order."""

    def __init__(self, layers: Sequence[Layer], input_shape: tuple[int, ...]) -> None:
        graph, parameters = _core.Graph(input_shape), ParameterList()
        for layer in layers:
            layer.append_to(graph, parameters)
        self._layers = tuple(layers)
        self._modes = _modes(layers)
        self.variables = [v for v in parameters.variables if v is not None]
        self._bindings = [v._binding for v in self.variables]
        self.native = _core.Network(graph, self._bindings)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one sample's output."""
        return tuple(self.native.output_shape)

    def is_current(self) -> bool:
        """False once a variable moved to another model's buffer or a layer would describe itself differently."""
        for variable, binding in zip(self.variables, self._bindings):
            if variable._binding is not binding:
                return False
        return self._modes == _modes(self._layers)


def _modes(layers: Sequence[Layer]) -> list[Hashable]:
    return [layer._mode() for layer in layers]
