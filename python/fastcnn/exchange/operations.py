"""A model as the operations that it computes at inference, with their weights: what every exporter starts from.

Layers describe themselves to the native graph in about twenty kinds of operations. An exporter that knows these knows all
layers, those of one axis, those with channels first and activations inside layers included.

>>> import fastcnn as keras
>>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.Dense(2, activation="relu")])
>>> [type(operation).__name__ for operation in inference_operations(model)]
['Dense', 'Activation']
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core
from fastcnn._network import ParameterList

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Window:
    """One axis of a sliding window; padding is explicit."""

    size: int
    stride: int
    dilation: int
    inputs: int
    outputs: int
    pad_begin: int
    pad_end: int


@dataclass(frozen=True)
class Taps:
    """What positions of one axis read: output o is the sum of weight[i] * input[index[i]], begin[o] <= i < begin[o + 1]."""

    inputs: int
    begin: NDArray[np.int32]
    index: NDArray[np.int32]
    weight: Floats

    @property
    def outputs(self) -> int:
        """The number of output positions."""
        return len(self.begin) - 1

    def is_identity(self) -> bool:
        """Whether the axis stays as it is."""
        return self.outputs == self.inputs and np.array_equal(self.matrix(), np.eye(self.inputs))

    def matrix(self) -> Floats:
        """The same as an (outputs, inputs) matrix."""
        rows = np.repeat(np.arange(self.outputs), np.diff(self.begin))
        matrix = np.zeros((self.outputs, self.inputs), np.float32)
        np.add.at(matrix, (rows, self.index), self.weight)
        return matrix


@dataclass(frozen=True)
class Operation:
    """What all operations have: the layer that asked for it, and the shapes of one sample, channels last."""

    layer: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]


@dataclass(frozen=True)
class Conv2D(Operation):
    """Convolution. kernel: (height, width, channels / groups, filters); depthwise ones are of as many groups as channels."""

    height: Window
    width: Window
    groups: int
    kernel: Floats
    bias: Floats | None = None


@dataclass(frozen=True)
class Conv2DTranspose(Operation):
    """Transposed convolution. kernel: (height, width, filters, channels). The windows are those of the convolution that this
    is the transpose of: `inputs` is the size of the output here."""

    height: Window
    width: Window
    kernel: Floats
    bias: Floats | None = None


@dataclass(frozen=True)
class Pool2D(Operation):
    """function: "max" or "average"; padding counts for neither. A global one may drop the axes of size 1."""

    function: str
    height: Window
    width: Window


@dataclass(frozen=True)
class AdaptiveMaxPool2D(Operation):
    """Output o of an axis is the maximum of inputs floor(o in / out) to ceil((o + 1) in / out)."""


@dataclass(frozen=True)
class Dense(Operation):
    """The last axis times kernel (inputs, units), plus bias."""

    kernel: Floats
    bias: Floats | None = None


@dataclass(frozen=True)
class Activation(Operation):
    """function: "relu", "sigmoid", "tanh", or, over the last axis, "softmax" and "log_softmax"."""

    function: str


@dataclass(frozen=True)
class Elementwise(Operation):
    """A function of one number with its constants: `Function` in cpp/kernels/api_layers.h."""

    function: str
    a: float
    b: float
    c: float


@dataclass(frozen=True)
class Reshape(Operation):
    """The same elements in another shape."""


@dataclass(frozen=True)
class Permute(Operation):
    """Axis i of the output is axis axes[i] of the input."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class Resample2D(Operation):
    """Height and width each by their taps: cropping, zero padding, resizing, adaptive mean pooling."""

    height: Taps
    width: Taps


@dataclass(frozen=True)
class PRelu(Operation):
    """x > 0 ? x : alpha x. alpha: of the sample's shape, or 1 along axes where it is shared."""

    alpha: Floats


@dataclass(frozen=True)
class BatchNorm(Operation):
    """(x - mean) / sqrt(variance + epsilon) gamma + beta over the last axis."""

    epsilon: float
    moving_mean: Floats
    moving_variance: Floats
    gamma: Floats | None = None
    beta: Floats | None = None

    def scale_and_offset(self) -> tuple[Floats, Floats]:
        """The same as scale * x + offset, computed in double."""
        scale = 1.0 / np.sqrt(self.moving_variance.astype(np.float64) + self.epsilon)
        if self.gamma is not None:
            scale *= self.gamma
        offset = -self.moving_mean * scale
        if self.beta is not None:
            offset += self.beta
        return scale.astype(np.float32), offset.astype(np.float32)


@dataclass(frozen=True)
class Normalize(Operation):
    """A sample as (outer, positions, groups, channels): each (outer, group) by itself, over its positions and channels.

    function: "standard" (mean 0, variance 1), "rms" (mean square 1) or "unit" (sum of squares 1; epsilon is the least norm):
    `NormalizeKind` in cpp/kernels/api_layers.h. gamma, beta: groups * channels numbers.
    """

    function: str
    outer: int
    positions: int
    groups: int
    channels: int
    epsilon: float
    gamma: Floats | None = None
    beta: Floats | None = None


@dataclass(frozen=True)
class Scale(Operation):
    """function: "affine" (x a + b), "normalize" ((x - a) / max(sqrt(b), epsilon)) or "denormalize" (x max(sqrt(b), epsilon) + a).

    shape: that of a sample, or 1 along axes where numbers are shared. Of a and b the numbers, or mean and variance instead.
    """

    function: str
    shape: tuple[int, ...]
    epsilon: float
    a: Sequence[float] | None = None
    b: Sequence[float] | None = None
    mean: Floats | None = None
    variance: Floats | None = None

    def factor_and_offset(self) -> tuple[Floats, Floats]:
        """The same as factor * x + offset, both of `shape`, computed in double."""
        pairs = ((self.a, self.mean), (self.b, self.variance))
        a, b = (
            np.asarray(second if first is None else first, np.float64).reshape(self.shape) for first, second in pairs
        )
        if self.function == "affine":
            return a.astype(np.float32), b.astype(np.float32)
        deviation = np.maximum(np.sqrt(b), self.epsilon)
        factor, offset = (1 / deviation, -a / deviation) if self.function == "normalize" else (deviation, a)
        return factor.astype(np.float32), offset.astype(np.float32)


# The name that the native graph gives a kind -> its class here. What is new in cpp/graph needs an entry.
KINDS: dict[str, type[Operation]] = {
    "activation": Activation,
    "adaptive_max_pool2d": AdaptiveMaxPool2D,
    "batch_norm": BatchNorm,
    "conv2d": Conv2D,
    "conv2d_transpose": Conv2DTranspose,
    "dense": Dense,
    "elementwise": Elementwise,
    "normalize": Normalize,
    "permute": Permute,
    "pool2d": Pool2D,
    "prelu": PRelu,
    "resample2d": Resample2D,
    "reshape": Reshape,
    "scale": Scale,
    "warp": Resample2D,  # at inference, where it is anything then
}
# Those that do nothing at inference.
TRAINING_ONLY = frozenset({"activity", "dropout", "erase", "noise", "recolor"})
# A layer written in Python.
HOST = "host"


def inference_operations(model: Sequential, operation: str = "export") -> list[Operation]:
    """The operations of a built model at inference, in order.

    What does nothing then is left out; permutations and reshapes that follow each other are one, or none.

    Args:
        model: the model.
        operation: what is being done, for messages.

    Returns:
        The operations; the first one's input is a sample of the model's input, each one's the output of the one before.

    Raises:
        ValueError: the model is not built, or has a layer written in Python.
    """
    model._require_built(operation)
    sample = tuple(n for n in model.input_shape[1:] if n is not None)
    graph, parameters = _core.Graph(sample), ParameterList()
    model.describe(graph, parameters)
    weights = [None if variable is None else variable.numpy() for variable in parameters.variables]
    found = [_operation(said, weights, operation) for said in graph.operations() if _is_inference(said)]
    return simplified(found)


def _is_inference(said: Mapping[str, Any]) -> bool:
    if said["kind"] == "warp":
        return "height" in said["attributes"]
    return said["kind"] not in TRAINING_ONLY


def _operation(said: Mapping[str, Any], weights: list[Floats | None], operation: str) -> Operation:
    kind, layer = said["kind"], said["layer"]
    if kind == HOST:
        raise ValueError(
            f"{operation}: layer {layer!r}: expected a layer that computes natively, received one written in Python"
        )
    if kind not in KINDS:
        raise ValueError(
            f"{operation}: layer {layer!r}: expected one of the operations {sorted(KINDS)}, received {kind!r}"
        )
    values: dict[str, Any] = {name: _attribute(value) for name, value in said["attributes"].items()}
    values.update({role: weights[index] for role, index in said["parameters"].items()})
    if "kernel" in values and "height" in values:  # of one axis, or depthwise: the same array in other shapes
        inputs = said["input_shape"][-1]
        channels = (
            (inputs // values["groups"], values["filters"]) if "groups" in values else (values["filters"], inputs)
        )
        values["kernel"] = values["kernel"].reshape(values["height"].size, values["width"].size, *channels)
    names = {field.name for field in dataclasses.fields(KINDS[kind])}
    chosen = {name: value for name, value in values.items() if name in names}
    return KINDS[kind](layer=layer, input_shape=said["input_shape"], output_shape=said["output_shape"], **chosen)


def _attribute(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return Taps(**value) if "weight" in value else Window(**value)


def simplified(operations: list[Operation]) -> list[Operation]:
    """The same without operations that do nothing, and with neighbouring permutations and reshapes made one."""
    kept: list[Operation] = []
    for operation in operations:
        before = kept[-1] if kept else None
        if isinstance(operation, Permute) and isinstance(before, Permute):
            axes = tuple(before.axes[axis] for axis in operation.axes)
            operation = Permute(operation.layer, before.input_shape, operation.output_shape, axes)
            kept.pop()
        elif isinstance(operation, Reshape) and isinstance(before, Reshape):
            operation = Reshape(operation.layer, before.input_shape, operation.output_shape)
            kept.pop()
        if not _does_nothing(operation):
            kept.append(operation)
    return kept


def _does_nothing(operation: Operation) -> bool:
    if isinstance(operation, Reshape):
        return operation.input_shape == operation.output_shape
    if isinstance(operation, Permute):
        return operation.axes == tuple(range(len(operation.axes)))
    if isinstance(operation, Activation):
        return operation.function == "linear"
    return isinstance(operation, Resample2D) and operation.height.is_identity() and operation.width.is_identity()
