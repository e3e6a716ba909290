"""Models as ONNX graphs: `model.export("model.onnx")`.

Every operation of the native graph has a method that writes ONNX nodes. Between them stands one tensor, and the order of
its axes: convolutions and poolings want the channels first, everything else is asked for the axes in the order in which
they happen to be, so that transpositions are written only where two operations do not agree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages
from fastcnn.exchange import operations
from fastcnn.onnx._package import onnx_package
from fastcnn.onnx.functions import FUNCTIONS

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

# The nodes written mean the same in all of these.
OPSETS = range(14, 22)
DEFAULT_OPSET = 17
CHANNELS_FIRST = (2, 0, 1)  # axis i of the stored image is axis CHANNELS_FIRST[i] of (height, width, channels)


def to_onnx(model: Sequential, opset_version: int | None = None) -> Any:
    """The model at inference as an `onnx.ModelProto`.

    Input and output are the model's own, channels last where its are; the batch size is free ("batch").

    Args:
        model: a built model.
        opset_version: of ONNX's operators, 14 to 21; 17 by default.

    Raises:
        ValueError: a model that is not built, or with a layer written in Python; another opset.
        ImportError: onnx is not installed.
    """
    onnx = onnx_package("export")
    opset = DEFAULT_OPSET if opset_version is None else opset_version
    if not _messages.is_integer(opset) or opset not in OPSETS:
        _messages.fail("export", "opset_version", f"an integer from {OPSETS[0]} to {OPSETS[-1]}", opset_version)
    chain = operations.inference_operations(model)
    inputs, outputs = model.inputs[0], model.outputs[0]
    writer = Writer(onnx, int(opset), inputs.name, tuple(n for n in inputs.shape[1:] if n is not None))
    for operation in chain:
        writer.write(operation)
    name = outputs.name if outputs.name != inputs.name else f"{outputs.name}_output"
    writer.finish(name)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        writer.nodes,
        model.name,
        [helper.make_tensor_value_info(inputs.name, kind, ["batch", *inputs.shape[1:]])],
        [helper.make_tensor_value_info(name, kind, ["batch", *outputs.shape[1:]])],
        writer.initializers,
    )
    opsets = [helper.make_opsetid("", int(opset))]
    written = helper.make_model(
        graph,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="fastcnn",
        producer_version=_core.__version__,
    )
    onnx.checker.check_model(written, full_check=True)
    return written


def export(model: Sequential, path: Path, opset_version: int | None = None) -> None:
    """Writes `to_onnx(model)` to a file, whole or not at all."""
    from fastcnn.saving.whole_files import written_whole

    content = to_onnx(model, opset_version).SerializeToString(deterministic=True)
    with written_whole(path) as file:
        file.write(content)


class Writer:
    """Nodes and constants of a graph that is being written, and the tensor that it has come to.

    Args:
        onnx: the package.
        opset: the version of ONNX's operators.
        name: the input's name.
        shape: one sample's shape.
    """

    def __init__(self, onnx: Any, opset: int, name: str, shape: tuple[int, ...]) -> None:
        self.onnx = onnx
        self.opset = opset
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.tensor = name
        self.shape = shape  # as the model sees it
        self.order = tuple(range(len(shape)))  # axis i of the stored sample is axis order[i] of `shape`
        self._names: set[str] = {name}
        self._layer = ""

    # --- nodes and constants -------------------------------------------------------------------------------------

    def _unique(self, name: str) -> str:
        number, found = 0, name
        while found in self._names:
            number += 1
            found = f"{name}_{number}"
        self._names.add(found)
        return found

    def constant(self, name: str, value: NDArray[Any] | Sequence[int]) -> str:
        """A constant; a sequence of integers is one of int64."""
        array = np.asarray(value, None if isinstance(value, np.ndarray) else np.int64)
        name = self._unique(f"{self._layer}/{name}")
        self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        """A constant number."""
        return self.constant("constant", np.array(value, np.float32))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Writes a node of one output and gives that."""
        name = self._unique(f"{self._layer}/{kind}")
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def apply(self, kind: str, *others: str, **attributes: Any) -> None:
        """Writes a node on the tensor, whose result is the tensor then."""
        self.tensor = self.node(kind, self.tensor, *others, **attributes)

    # --- the tensor's axes ---------------------------------------------------------------------------------------

    def stored_shape(self) -> tuple[int, ...]:
        """The sample's shape as it is stored."""
        return tuple(self.shape[axis] for axis in self.order)

    def stored_axis(self, axis: int) -> int:
        """Where an axis of the sample is stored, the batch counted."""
        return 1 + self.order.index(axis)

    def arrange(self, order: Sequence[int] | None = None) -> None:
        """Transposes to the wanted order of axes: the model's own by default."""
        wanted = tuple(range(len(self.shape))) if order is None else tuple(order)
        if wanted != self.order:
            self.apply("Transpose", perm=[0, *(self.stored_axis(axis) for axis in wanted)])
            self.order = wanted

    def set_shape(self, stored: Sequence[int]) -> None:
        """Gives the stored sample another shape, in which it is the model's own."""
        self.apply("Reshape", self.constant("shape", [0, *stored]))
        self.shape, self.order = tuple(stored), tuple(range(len(stored)))

    def spread(self, weights: NDArray[np.float32], axes: Sequence[int]) -> NDArray[np.float32]:
        """`weights`, over these axes of the sample, in the shape that broadcasts to the stored one."""
        shape = [1] * len(self.shape)
        for axis, size in zip(axes, weights.shape):
            shape[axis] = size
        return weights.reshape(shape).transpose(self.order)

    def finish(self, name: str) -> None:
        """The model's axes, under the output's name."""
        self.arrange()
        if not self.nodes:
            self.apply("Identity")
        last = self.nodes[-1].output[0]
        for node in self.nodes:  # rename, rather than write an Identity
            node.output[:] = [name if output == last else output for output in node.output]
        self.tensor = name

    # --- operations ----------------------------------------------------------------------------------------------

    def write(self, operation: operations.Operation) -> None:
        """Writes one operation."""
        self._layer = operation.layer
        WRITERS[type(operation)](self, operation)
        assert self.shape == operation.output_shape, operation

    def _conv2d(self, op: operations.Conv2D) -> None:
        self.arrange(CHANNELS_FIRST)
        weights = [self.constant("kernel", op.kernel.transpose(3, 2, 0, 1))]
        if op.bias is not None:
            weights.append(self.constant("bias", op.bias))
        self.apply("Conv", *weights, group=op.groups, **_window(op.height, op.width))
        self.shape = op.output_shape

    def _conv2d_transpose(self, op: operations.Conv2DTranspose) -> None:
        self.arrange(CHANNELS_FIRST)
        windows = (op.height, op.width)
        # Rows that the sum of input and kernel has too many are cut off at the end; too few: added.
        beyond = [w.stride * (w.outputs - 1) + (w.size - 1) * w.dilation + 1 - w.pad_begin - w.inputs for w in windows]
        weights = [self.constant("kernel", op.kernel.transpose(3, 2, 0, 1))]
        if op.bias is not None:
            weights.append(self.constant("bias", op.bias))
        self.apply(
            "ConvTranspose",
            *weights,
            **{
                **_window(*windows),
                "pads": [w.pad_begin for w in windows] + [max(rows, 0) for rows in beyond],
                "output_padding": [max(-rows, 0) for rows in beyond],
            },
        )
        self.shape = op.output_shape

    def _pool2d(self, op: operations.Pool2D) -> None:
        self.arrange(CHANNELS_FIRST)
        windows = (op.height, op.width)
        name = "Average" if op.function == "average" else "Max"
        if all(w.size == w.inputs and w.outputs == 1 and w.pad_begin == w.pad_end == 0 for w in windows):
            self.apply(f"Global{name}Pool")
        else:
            attributes: dict[str, Any] = _window(*windows)
            del attributes["dilations"]
            if op.function == "average":
                attributes["count_include_pad"] = 0
            self.apply(f"{name}Pool", **attributes)
        self.shape = (op.height.outputs, op.width.outputs, op.input_shape[-1])
        if len(op.output_shape) == 1:
            self.apply("Flatten", axis=1)
            self.shape, self.order = op.output_shape, (0,)

    def _adaptive_max_pool2d(self, op: operations.AdaptiveMaxPool2D) -> None:
        self.arrange(CHANNELS_FIRST)
        for axis, (size, wanted) in enumerate(zip(op.input_shape[:2], op.output_shape[:2])):
            first = [o * size // wanted for o in range(wanted)]
            last = [-(-(o + 1) * size // wanted) for o in range(wanted)]
            longest = max(after - before for before, after in zip(first, last))
            # A window's last position again and again, up to the longest window: the maximum stays.
            index = np.minimum(np.add.outer(first, np.arange(longest)), np.array(last)[:, None] - 1)
            at = self.stored_axis(axis)
            gathered = self.node("Gather", self.tensor, self.constant("index", index.astype(np.int64)), axis=at)
            self.tensor = self.reduce("Max", gathered, [at + 1], keepdims=0)
        self.shape = op.output_shape

    def reduce(self, kind: str, tensor: str, axes: Sequence[int], keepdims: int = 1) -> str:
        """Writes a reduction other than Sum, whose axes are attributes up to opset 17 and an input from 18 on."""
        if self.opset < 18:
            return self.node(f"Reduce{kind}", tensor, axes=list(axes), keepdims=keepdims)
        return self.node(f"Reduce{kind}", tensor, self.constant("axes", axes), keepdims=keepdims)

    def _dense(self, op: operations.Dense) -> None:
        self.arrange()
        kernel = self.constant("kernel", op.kernel)
        if len(op.input_shape) == 1:
            bias = [] if op.bias is None else [self.constant("bias", op.bias)]
            self.apply("Gemm", kernel, *bias)
        else:
            self.apply("MatMul", kernel)
            if op.bias is not None:
                self.apply("Add", self.constant("bias", op.bias))
        self.shape = op.output_shape

    def _activation(self, op: operations.Activation) -> None:
        name = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax", "log_softmax": "LogSoftmax"}
        attributes = {"axis": self.stored_axis(len(self.shape) - 1)} if "softmax" in op.function else {}
        self.apply(name[op.function], **attributes)

    def _elementwise(self, op: operations.Elementwise) -> None:
        if op.function not in FUNCTIONS:
            _messages.fail("export", f"layer {op.layer!r}", f"one of the functions {sorted(FUNCTIONS)}", op.function)
        self.tensor = FUNCTIONS[op.function](self, self.tensor, op.a, op.b, op.c)

    def _prelu(self, op: operations.PRelu) -> None:
        self.apply("PRelu", self.constant("alpha", self.spread(op.alpha, range(op.alpha.ndim))))

    def _scale(self, op: operations.Scale) -> None:
        for kind, role, values in zip(("Mul", "Add"), ("factor", "offset"), op.factor_and_offset()):
            self.apply(kind, self.constant(role, self.spread(values, range(values.ndim))))

    def _permute(self, op: operations.Permute) -> None:
        self.order = tuple(op.axes.index(axis) for axis in self.order)
        self.shape = op.output_shape

    def _reshape(self, op: operations.Reshape) -> None:
        if [n for n in op.input_shape if n != 1] == [n for n in op.output_shape if n != 1]:
            self._reshape_ones(op)
        else:
            self.arrange()
            self.set_shape(op.output_shape)

    def _reshape_ones(self, op: operations.Reshape) -> None:
        """Axes of size 1 come and go in any order of the others: a new one is stored beside its neighbour."""
        old = [axis for axis, size in enumerate(op.input_shape) if size != 1]
        new = [axis for axis, size in enumerate(op.output_shape) if size != 1]
        order: list[int] = []
        for axis in self.order:
            if axis in old:
                order.append(new[old.index(axis)])
        for axis in range(len(op.output_shape)):
            if axis not in new:
                order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
        if len(order) == 3 and order[0] == 0 and order != [0, 1, 2]:  # (1, steps, channels) stored channels first
            order = [*CHANNELS_FIRST]
        self.apply("Reshape", self.constant("shape", [0, *(op.output_shape[axis] for axis in order)]))
        self.shape, self.order = op.output_shape, tuple(order)

    def _resample2d(self, op: operations.Resample2D) -> None:
        margins = [_margins(taps) for taps in (op.height, op.width)]
        if None not in margins:
            self._pad([margin for margin in margins if margin is not None])
        else:
            self.arrange(CHANNELS_FIRST)
            if not op.width.is_identity():
                self.apply("MatMul", self.constant("columns", op.width.matrix().T))
            if not op.height.is_identity():
                self.tensor = self.node("MatMul", self.constant("rows", op.height.matrix()), self.tensor)
        self.shape = op.output_shape

    def _pad(self, margins: Sequence[tuple[int, int]]) -> None:
        """Rows and columns of zeros before and after; negative: cut off."""
        rank = len(self.shape) + 1
        if any(min(margin) < 0 for margin in margins):
            axes = [axis for axis, margin in enumerate(margins) if min(margin) < 0]
            begin = [max(-margins[axis][0], 0) for axis in axes]
            end = [self.shape[axis] + min(margins[axis][1], 0) for axis in axes]
            at = self.constant("axes", [self.stored_axis(axis) for axis in axes])
            self.apply("Slice", self.constant("begin", begin), self.constant("end", end), at)
        if any(max(margin) > 0 for margin in margins):
            pads = [0] * (2 * rank)
            for axis, (before, after) in enumerate(margins):
                pads[self.stored_axis(axis)] = max(before, 0)
                pads[rank + self.stored_axis(axis)] = max(after, 0)
            self.apply("Pad", self.constant("pads", pads))

    def _batch_norm(self, op: operations.BatchNorm) -> None:
        last = len(self.shape) - 1
        if len(self.shape) == 3:
            self.arrange(CHANNELS_FIRST)
        if self.stored_axis(last) == 1:
            ones = np.ones_like(op.moving_mean)
            weights = {
                "gamma": ones if op.gamma is None else op.gamma,
                "beta": 0 * ones if op.beta is None else op.beta,
                "moving_mean": op.moving_mean,
                "moving_variance": op.moving_variance,
            }
            names = [self.constant(name, value) for name, value in weights.items()]
            self.apply("BatchNormalization", *names, epsilon=op.epsilon)
        else:
            scale, offset = op.scale_and_offset()
            self.apply("Mul", self.constant("scale", self.spread(scale, [last])))
            self.apply("Add", self.constant("offset", self.spread(offset, [last])))

    def _normalize(self, op: operations.Normalize) -> None:
        shape = self.shape
        self.arrange()
        self.set_shape((op.outer, op.positions, op.groups, op.channels))
        axes = [2, 4]
        if op.function == "standard":
            self.tensor = self.node("Sub", self.tensor, self.reduce("Mean", self.tensor, axes))
        squares = self.node("Mul", self.tensor, self.tensor)
        if op.function == "unit":
            sums = self.node("ReduceSum", squares, self.constant("axes", axes))
            size = self.node("Max", self.node("Sqrt", sums), self.number(op.epsilon))
        else:
            size = self.node("Sqrt", self.node("Add", self.reduce("Mean", squares, axes), self.number(op.epsilon)))
        self.apply("Div", size)
        for kind, weights in (("Mul", op.gamma), ("Add", op.beta)):
            if weights is not None:
                role = "gamma" if kind == "Mul" else "beta"
                self.apply(kind, self.constant(role, weights.reshape(op.groups, op.channels)))
        self.set_shape(shape)


def _window(height: operations.Window, width: operations.Window) -> dict[str, list[int]]:
    windows = (height, width)
    return {
        "kernel_shape": [w.size for w in windows],
        "strides": [w.stride for w in windows],
        "dilations": [w.dilation for w in windows],
        "pads": [w.pad_begin for w in windows] + [w.pad_end for w in windows],
    }


def _margins(taps: operations.Taps) -> tuple[int, int] | None:
    """(before, after), where the axis is only padded with zeros or cut off."""
    counts = np.diff(taps.begin)
    inside = np.flatnonzero(counts)
    if not len(inside) or counts.max() > 1 or not np.all(taps.weight == 1.0):
        return None
    if not np.array_equal(inside - inside[0], np.arange(len(inside))) or not np.all(np.diff(taps.index) == 1):
        return None
    first, last = int(inside[0]), int(inside[-1])
    before = first - int(taps.index[0])
    after = (taps.outputs - 1 - last) - (taps.inputs - 1 - int(taps.index[-1]))
    return before, after


WRITERS: dict[type[operations.Operation], Callable[[Writer, Any], None]] = {
    operations.Activation: Writer._activation,
    operations.AdaptiveMaxPool2D: Writer._adaptive_max_pool2d,
    operations.BatchNorm: Writer._batch_norm,
    operations.Conv2D: Writer._conv2d,
    operations.Conv2DTranspose: Writer._conv2d_transpose,
    operations.Dense: Writer._dense,
    operations.Elementwise: Writer._elementwise,
    operations.Normalize: Writer._normalize,
    operations.PRelu: Writer._prelu,
    operations.Permute: Writer._permute,
    operations.Pool2D: Writer._pool2d,
    operations.Resample2D: Writer._resample2d,
    operations.Reshape: Writer._reshape,
    operations.Scale: Writer._scale,
}
