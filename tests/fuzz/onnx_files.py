"""A fuzz target for ONNX: files changed at random must load or be refused with a ValueError, soon and in little memory.

    python tests/fuzz/onnx_files.py [--seconds 60] [--seed 0]

Seeds are the golden files. Changes are of bytes, and of fields of the parsed file, so that what comes out is well formed. How a
target is run, and what becomes of a file that breaks the promise: keras_files.py, beside this file.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

import keras_files as harness
import onnx

import fastcnn.onnx

INTEGERS = (-(2**63), -1, 0, 1, 2, 3, 7, 64, 1000, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
FLOATS = (0.0, 1.0, -1.0, 1e-30, 1e30, 3.4e38, float("inf"), float("-inf"), float("nan"))
KINDS = (
    "Relu", "Conv", "ConvTranspose", "Reshape", "Flatten", "Pad", "MaxPool", "Softmax", "Gemm", "MatMul", "Transpose", "Add",
    "Mul", "Clip", "Squeeze", "Unsqueeze", "Slice", "Resize", "Dropout", "Identity", "Shape", "Gather", "Concat", "Cast", "If",
    "BatchNormalization", "AveragePool", "GlobalAveragePool", "PRelu", "ReduceMean", "Sigmoid", "ConstantOfShape",
)  # fmt: skip
NAMES = (
    "pads", "strides", "dilations", "kernel_shape", "group", "axis", "axes", "perm", "auto_pad", "ceil_mode", "shape",
    "output_padding", "output_shape", "alpha", "min", "max", "epsilon", "mode", "count_include_pad", "allowzero",
)  # fmt: skip


def changed_fields(data: bytes, chance: random.Random) -> bytes:
    model = onnx.ModelProto.FromString(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        chance.choice((_node, _node, _attribute, _attribute, _tensor, _input))(model.graph, chance)
    return model.SerializeToString()


def _node(graph: Any, chance: random.Random) -> None:
    node = chance.choice(graph.node)
    kind = chance.randrange(6)
    everything = [name for other in graph.node for name in (*other.input, *other.output)]
    if kind == 0:
        node.op_type = chance.choice(KINDS)
    elif kind == 1 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice([*everything, ""])
    elif kind == 2 and node.output:
        node.output[0] = chance.choice(everything)
    elif kind == 3:
        node.input.append(chance.choice(everything))
    elif kind == 4:
        graph.node.append(node)
    else:
        del graph.node[chance.randrange(len(graph.node))]
        if not graph.node:
            graph.node.add(op_type="Relu", input=["x"], output=["y"])


def _attribute(graph: Any, chance: random.Random) -> None:
    node = chance.choice(graph.node)
    if not node.attribute or chance.random() < 0.3:
        name = chance.choice(NAMES)
        count = chance.choice((1, 2, 4))
        values: Any = [chance.choice(INTEGERS) for _ in range(count)]
        value = chance.choice((values, values[0], chance.choice(FLOATS), "SAME_UPPER"))
        node.attribute.append(onnx.helper.make_attribute(name, value))
        return
    attribute = chance.choice(node.attribute)
    if attribute.ints:
        attribute.ints[chance.randrange(len(attribute.ints))] = chance.choice(INTEGERS)
    attribute.i, attribute.f = chance.choice(INTEGERS), chance.choice(FLOATS)
    if chance.random() < 0.1:
        attribute.type = chance.randrange(15)


def _tensor(graph: Any, chance: random.Random) -> None:
    tensors = list(graph.initializer) + [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
    if not tensors:
        return
    tensor = chance.choice(tensors)
    kind = chance.randrange(5)
    if kind == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(INTEGERS)
    elif kind == 1:
        tensor.data_type = chance.randrange(25)
    elif kind == 2:
        tensor.data_location = 1
    elif kind == 3 and tensor.data_type == onnx.TensorProto.INT64 and not tensor.data_location:
        array = onnx.numpy_helper.to_array(tensor).copy()
        if array.size:
            array.reshape(-1)[chance.randrange(array.size)] = chance.choice(INTEGERS)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    elif tensor.raw_data:
        tensor.raw_data = harness.changed_bytes(tensor.raw_data, chance)


def _input(graph: Any, chance: random.Random) -> None:
    if graph.input:
        shape = graph.input[0].type.tensor_type.shape
        if shape.dim and chance.random() < 0.8:
            chance.choice(shape.dim).dim_value = chance.choice(INTEGERS)
        else:
            shape.dim.add(dim_value=chance.choice(INTEGERS))


def target() -> tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]:
    files = harness.seeds("model.onnx")

    def make(chance: random.Random) -> bytes:
        data = chance.choice(files)
        if chance.random() < 0.4:
            return harness.changed_bytes(data, chance)
        try:
            return changed_fields(data, chance)
        except (TypeError, ValueError, KeyError):  # what protobuf or onnx's helpers do not write
            return harness.changed_bytes(data, chance)

    return make, fastcnn.onnx.load


if __name__ == "__main__":
    harness.TARGETS.clear()
    harness.TARGETS["onnx"] = target
    sys.exit(harness.main())
