"""A graph of ONNX nodes as the layers of a Sequential model.

The nodes are gone through in order with one array on its way, the samples; everything else must be known beforehand.
What each operator becomes stands in operators.py; here is what these share: the array's shape, layers with their weights,
constants, and shapes that the graph computes at run time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastcnn import layers
from fastcnn.layers.input_layer import Input
from fastcnn.onnx.proto import GraphData, Node, fail, needed
from fastcnn.onnx.recognition import ELEMENTWISE, recognised
from fastcnn.variables import limited

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

Array = NDArray[Any]
# Positions of an axis that a layer keeps a table of; and elements of a sample at any place in the chain.
LONGEST_AXIS = 2**18
LARGEST_SAMPLE = 2**31


class _Batch:
    """The number of samples, in shapes that the graph computes."""

    def __repr__(self) -> str:
        return "batch"


BATCH = _Batch()


class Chain:
    """Layers made so far, and the array that they have come to.

    Args:
        graph: the graph.
        operation: what is being done, for messages.
        data: the name of the input that samples come in by.
        shape: its whole shape, None for a free batch size.
        whole: whether axis 0 belongs to a sample as well, which is then the whole array; otherwise it is the batch.
        constants: values of the other inputs.
    """

    def __init__(
        self,
        graph: GraphData,
        operation: str,
        data: str,
        shape: Sequence[int | None],
        whole: bool = False,
        constants: dict[str, Array] | None = None,
    ) -> None:
        self.graph, self.operation, self.opset, self.whole = graph, operation, graph.opset, whole
        self.constants: dict[str, Array] = {**graph.constants, **(constants or {})}
        self.shapes: dict[str, Array] = {}  # results that are shapes: arrays of integers and BATCH
        self.current = data
        self.batch = None if whole or not shape else shape[0]
        sizes = shape if whole else shape[1:]
        self.shape = tuple(n for n in sizes if n is not None)
        if len(self.shape) != len(sizes) or not sizes:
            free = "the batch's size alone to be free, and an axis besides it"
            fail(operation, f"input {data!r}", f"{free}; give input_shape=", tuple(shape))
        self.input_shape = self.shape
        self.layers: list[tuple[Any, list[Array]]] = []
        self._affine: tuple[int, int, Array, Array] | None = None  # the last layer, where it is scale and offset
        self._check_size(data)

    # --- messages ------------------------------------------------------------------------------------------------

    def refuse(self, node: Node, expected: str, received: object) -> NoReturn:
        """Raises the error for a node."""
        fail(self.operation, f"{node.kind} {node.name!r}" if node.name else node.kind, expected, received)

    def _check_size(self, where: str) -> None:
        if math.prod(self.shape) > LARGEST_SAMPLE:
            fail(self.operation, where, f"at most {LARGEST_SAMPLE} elements in a sample", self.shape)

    # --- what nodes read -----------------------------------------------------------------------------------------

    def rank(self) -> int:
        """The number of the array's axes, as ONNX counts them."""
        return len(self.shape) + (0 if self.whole else 1)

    def constant(self, node: Node, position: int) -> Array | None:
        """An input that must be a constant; None where it is absent."""
        name = node.inputs[position] if position < len(node.inputs) else ""
        if not name:
            return None
        if name in self.constants:
            return self.constants[name]
        return self.refuse(node, f"a constant as input {position}", name)

    def weights(self, node: Node, position: int) -> Array:
        """An input that must be an array of float32."""
        value = self.constant(node, position)
        if value is None or value.dtype.kind != "f":
            self.refuse(node, f"float32 weights as input {position}", None if value is None else str(value.dtype))
        return value

    def integers(self, node: Node, position: int, attribute: str = "") -> list[int] | None:
        """Integers given as an input or, in older opsets, an attribute."""
        value = self.constant(node, position)
        if value is None:
            found = node.attributes.get(attribute) if attribute else None
            if found is not None and not (isinstance(found, list) and all(isinstance(v, int) for v in found)):
                self.refuse(node, f"{attribute} to be integers", found)
            return found
        if value.dtype.kind != "i" or value.ndim > 1:
            self.refuse(node, f"integers as input {position}", f"{value.dtype} {value.shape}")
        return [int(v) for v in value.reshape(-1)]

    def number(self, node: Node, position: int, attribute: str, default: float) -> float:
        """A number given as an input or an attribute."""
        value = self.constant(node, position)
        if value is None:
            return self.real(node, attribute, default)
        if value.size != 1 or np.isnan(value.reshape(-1).astype(np.float64)[0]):
            self.refuse(node, f"a number as input {position}", value.shape)
        return float(value.reshape(-1)[0])

    def real(self, node: Node, attribute: str, default: float) -> float:
        """An attribute that is a number."""
        found = node.attributes.get(attribute, default)
        if isinstance(found, (int, float)) and not math.isnan(found):
            return float(found)
        return self.refuse(node, f"{attribute} to be a number", found)

    def flag(self, node: Node, name: str, default: int = 0) -> bool:
        """An attribute that is 0 or 1."""
        return bool(self.integer(node, name, default))

    def integer(self, node: Node, name: str, default: int) -> int:
        """An integer attribute."""
        value = node.attributes.get(name, default)
        if not isinstance(value, int):
            self.refuse(node, f"{name} to be an integer", value)
        return value

    def axis(self, node: Node, axis: int) -> int:
        """The sample's axis for one of ONNX; the batch is refused."""
        rank = self.rank()
        found = axis + rank if axis < 0 else axis
        if not 0 <= found < rank:
            self.refuse(node, f"an axis of {rank}", axis)
        if not self.whole and found == 0:
            self.refuse(node, "an operation within each sample", "one along the batch, axis 0")
        return found if self.whole else found - 1

    # --- what nodes write ----------------------------------------------------------------------------------------

    def add(self, node: Node, kind: Any, *weights: Array, **arguments: Any) -> None:
        """Appends a layer with its weights."""
        try:
            layer = kind(**arguments)
            found = layer.compute_output_shape((None, *self.shape))
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{self.operation}: {node.kind}: {error}") from None
        self.shape = tuple(int(n) for n in found[1:])
        self._affine = None
        self.layers.append((layer, list(weights)))
        self._check_size(node.kind)

    def reshape(self, node: Node, shape: Sequence[int]) -> None:
        """Gives the sample another shape."""
        if not shape or math.prod(shape) != math.prod(self.shape) or len(shape) > 8:
            self.refuse(node, f"a shape of {math.prod(self.shape)} elements and at most 8 axes", tuple(shape))
        if tuple(shape) == self.shape:
            return
        if len(shape) == 1:
            self.add(node, layers.Flatten, data_format="channels_last")
        else:
            self.add(node, layers.Reshape, target_shape=tuple(shape))

    def affine(self, node: Node, scale: Array | float, offset: Array | float) -> None:
        """scale * x + offset, constants that broadcast to the array."""
        pair = [self._of_sample(node, np.asarray(value, np.float32)) for value in (scale, offset)]
        varying = [axis for axis in range(len(self.shape)) if any(array.shape[axis] > 1 for array in pair)]
        whole, shape = self.shape, self.shape
        if not varying:  # one number: along the channels, or on its own
            varying = [0 if len(shape) == 3 else len(shape) - 1]
            if shape[varying[0]] > 64:
                self.reshape(node, (math.prod(shape), 1))
                pair, varying = [array.reshape(1, 1) for array in pair], [1]
                shape = self.shape
        first, last = varying[0], varying[-1] + 1
        middle = math.prod(shape[first:last])
        flat = []
        for array in pair:
            part = array.shape[first:last]
            if math.prod(part) not in (1, middle):
                self.refuse(node, "a constant along neighbouring axes", array.shape)
            flat.append(np.broadcast_to(array.reshape(-1) if part else array, (middle,)))
        if last - first > 1:
            self.reshape(node, (math.prod(shape[:first]), middle, math.prod(shape[last:])))
            first = 1
        self._scale_axis(node, first, flat[0], flat[1])
        self.reshape(node, whole)

    def _scale_axis(self, node: Node, axis: int, scale: Array, offset: Array) -> None:
        """As a normalization that is not trained: with mean 0 and variance 1."""
        before = self._affine
        if before is not None and before[:2] == (axis, len(self.shape)):
            self.layers.pop()
            scale, offset = before[2] * scale, before[3] * scale + offset
        zeros = np.zeros_like(offset)
        arguments = {"axis": axis + 1, "epsilon": 1e-30, "trainable": False}
        self.add(node, layers.BatchNormalization, scale, offset, zeros, zeros + 1.0, **arguments)
        self._affine = axis, len(self.shape), scale, offset

    def _of_sample(self, node: Node, value: Array) -> Array:
        """A constant with the sample's axes; 1 where it is the same along one."""
        rank = self.rank()
        if value.ndim > rank:
            self.refuse(node, f"a constant of at most {rank} axes", value.shape)
        value = value.reshape((1,) * (rank - value.ndim) + value.shape)
        if not self.whole:
            if value.shape[0] != 1:
                self.refuse(node, "a constant that is the same for every sample", value.shape)
            value = value[0]
        if any(n not in (1, size) for n, size in zip(value.shape, self.shape)):
            self.refuse(node, f"a constant that broadcasts to {self.shape}", value.shape)
        return value

    # --- running -------------------------------------------------------------------------------------------------

    def read(self, output: str) -> None:
        """Goes through the nodes that `output` needs."""
        from fastcnn.onnx.operators import OPERATORS

        nodes = list(needed(self.graph, output, self.operation))
        known = {*OPERATORS, *SHAPES, *ELEMENTWISE}
        for node in nodes:  # before anything else: what is not there at all
            if node.kind not in known:
                self.refuse(node, "an operator that fastcnn.onnx reads", node.kind)
        for node in nodes:
            if node.kind == "Constant":
                self._shape_node(node)
        nodes = [node for node in nodes if node.kind != "Constant"]
        consumers = Counter(
            name
            for node in nodes
            if node.kind != "Shape"
            for name in node.inputs
            if name and name not in self.constants
        )
        position = 0
        while position < len(nodes):
            if consumers[self.current] > 1:
                position += self._read_branches(nodes[position:], consumers)
            else:
                self._read_node(nodes[position])
                position += 1
        if output != self.current:
            fail(self.operation, "output", "what the layers compute", output)

    def _read_branches(self, nodes: Sequence[Node], consumers: Counter[str]) -> int:
        """Nodes from where the array is read several times to where it is one again; returns how many."""
        aside = 0
        while (
            aside < len(nodes) - 1 and nodes[aside].kind in SHAPES and self._shape_node(nodes[aside])
        ):  # constants in between
            aside += 1
        found = recognised(self.current, nodes[aside:], consumers, self.constants.get)
        node = nodes[aside]
        if found is None:
            self.refuse(node, "a chain of operators", f"branches at {self.current!r}")
        name, result, count = found
        self.add(node, layers.Activation, activation=name)
        self.current = result
        return aside + count

    def _read_node(self, node: Node) -> None:
        from fastcnn.onnx.operators import OPERATORS

        if node.kind in SHAPES and self._shape_node(node):
            return
        if self.current not in node.inputs or node.kind not in OPERATORS:
            unknown = [name for name in node.inputs if name and name != self.current and name not in self.constants]
            self.refuse(node, "the samples and constants as inputs", unknown or list(node.inputs))
        if not node.outputs or not node.outputs[0]:
            self.refuse(node, "a result", node.outputs)
        OPERATORS[node.kind](self, node)
        self.current = node.outputs[0]

    # --- shapes and constants that the graph computes ------------------------------------------------------------

    def _shape_node(self, node: Node) -> bool:
        """Computes a node that is about shapes or constants alone; False where it is about the samples."""
        if len(node.outputs) < 1 or not node.outputs[0]:
            return False
        output = node.outputs[0]
        if node.kind == "Constant":
            self.constants[output] = self._constant_node(node)
            return True
        if node.kind == "Shape":
            if not node.inputs or node.inputs[0] != self.current:
                self.refuse(node, "the samples", list(node.inputs))
            sizes: list[Any] = list(self.shape) if self.whole else [BATCH, *self.shape]
            self.shapes[output] = np.array(sizes, object)
            return True
        known: list[Array] = []
        for name in filter(None, node.inputs):
            found = self.shapes.get(name, self.constants.get(name))
            if found is None:
                return False
            known.append(found)
        if not known:
            return False
        try:
            result = SHAPES[node.kind](node, *known)
        except (IndexError, TypeError, ValueError, KeyError):
            self.refuse(node, "a shape or a constant that can be computed", list(node.inputs))
        if result is None or result.size > max(64, *(array.size for array in known)):
            self.refuse(node, "a shape or a constant no larger than its inputs", list(node.inputs))
        (self.shapes if result.dtype == object else self.constants)[output] = result
        return True

    def _constant_node(self, node: Node) -> Array:
        for name, kind in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64),
                           ("value_ints", np.int64)):  # fmt: skip
            if name in node.attributes:
                try:
                    return np.array(node.attributes[name], kind)
                except (TypeError, ValueError, OverflowError):
                    self.refuse(node, f"{name} to be numbers", node.attributes[name])
        value = node.attributes.get("value")
        if not isinstance(value, np.ndarray):
            self.refuse(node, "an array or numbers", sorted(node.attributes))
        return value

    # --- the result ----------------------------------------------------------------------------------------------

    def model(self) -> Sequential:
        """The layers as a model with their weights."""
        from fastcnn.models.sequential import Sequential

        chain = [layer for layer, _ in self.layers] or [layers.Identity()]
        size = sum(array.nbytes for _, weights in self.layers for array in weights)
        with limited(size, self.operation, "the file's weights"):  # takes no more than they are, and draws nothing
            model = Sequential([Input(self.input_shape), *chain])
        for layer, weights in self.layers:
            if weights:
                layer.set_weights([np.ascontiguousarray(array, np.float32) for array in weights])
        return model


def _gather(node: Node, values: Array, index: Array) -> Array:
    return np.asarray(np.take(values, index.astype(np.int64), axis=node.attributes.get("axis", 0)))


def _concat(node: Node, *arrays: Array) -> Array:
    return np.concatenate([np.atleast_1d(array) for array in arrays], axis=node.attributes.get("axis", 0))


def _unsqueeze(node: Node, values: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(values, tuple(node.attributes["axes"] if axes is None else axes.tolist()))


def _squeeze(node: Node, values: Array, axes: Array | None = None) -> Array:
    chosen = node.attributes.get("axes") if axes is None else axes.tolist()
    return np.squeeze(values, None if chosen is None else tuple(chosen))


def _slice(node: Node, values: Array, begin: Array, end: Array, axes: Any = None, steps: Any = None) -> Array:
    chosen = range(len(begin)) if axes is None else axes.tolist()
    along = [1] * len(begin) if steps is None else steps.tolist()
    index = [slice(None)] * values.ndim
    for axis, first, last, step in zip(chosen, begin.tolist(), end.tolist(), along):
        index[axis] = slice(first, last, step)
    return values[tuple(index)]


def _constant_of_shape(node: Node, shape: Array) -> Array:
    value = node.attributes.get("value", np.zeros(1, np.float32))
    if math.prod(int(n) for n in shape) > 64:
        raise ValueError(node.kind)
    return np.full(tuple(int(n) for n in shape), value.reshape(-1)[0])


def _cast(node: Node, values: Array) -> Array | None:
    kinds = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float32}
    return values if values.dtype == object else values.astype(kinds[node.attributes["to"]])


# Operators that may be about shapes or constants.
SHAPES: dict[str, Any] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": None,
    "ConstantOfShape": _constant_of_shape,
    "Gather": _gather,
    "Identity": lambda node, values: values,
    "Neg": lambda node, values: -values,
    "Reshape": lambda node, values, shape: values.reshape([int(n) for n in shape]),
    "Shape": None,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": lambda node, values: np.transpose(values, node.attributes.get("perm")),
    "Unsqueeze": _unsqueeze,
}
