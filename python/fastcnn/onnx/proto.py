"""ONNX files as plain data, every size checked before anything is made of it.

What a file can make a reader do is decided here: no other file is opened (external data are refused), no code is run, and
arrays are as large as the bytes that the file has for them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn.onnx._package import onnx_package

LARGEST_FILE = 2**31 - 1  # protobuf's own limit
MOST_NODES = 4096
MOST_AXES = 8


@dataclass(frozen=True)
class Node:
    """One operator; `name` is for messages only."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class GraphData:
    """A graph: its nodes in order, constants by name, and the inputs' shapes (None where a size is free)."""

    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, tuple[int | None, ...] | None]
    outputs: tuple[str, ...]
    opset: int


def fail(operation: str, where: str, expected: str, received: object) -> NoReturn:
    """The error for what a file holds."""
    _messages.fail(operation, where, expected, received)


def read(source: Any, operation: str = "onnx.load") -> GraphData:
    """The graph of a file.

    Args:
        source: path, bytes, or an `onnx.ModelProto`.
        operation: what is being done, for messages.

    Raises:
        ValueError: no ONNX file, or one that asks for what a reader must not do.
        ImportError: onnx is not installed.
    """
    onnx = onnx_package(operation)
    model = source if isinstance(source, onnx.ModelProto) else _parsed(onnx, source, operation)
    if len(model.functions):
        fail(operation, "model", "no functions of its own", f"{len(model.functions)}")
    graph = model.graph
    if len(graph.sparse_initializer):
        fail(operation, "initializers", "dense arrays", "sparse ones")
    if len(graph.node) > MOST_NODES:
        fail(operation, "graph", f"at most {MOST_NODES} nodes", len(graph.node))
    constants: dict[str, NDArray[Any]] = {}
    for tensor in graph.initializer:
        if tensor.name in constants or not tensor.name:
            fail(operation, "initializers", "a name of its own for each", tensor.name)
        constants[tensor.name] = array_of(onnx, tensor, operation)
    nodes = tuple(_node(onnx, node, operation) for node in graph.node)
    inputs = {value.name: _shape_of(onnx, value, operation) for value in graph.input if value.name not in constants}
    return GraphData(nodes, constants, inputs, tuple(value.name for value in graph.output), _opset(model, operation))


def _parsed(onnx: Any, source: Any, operation: str) -> Any:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, what = bytes(source), f"{len(source)} bytes"
    elif isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            fail(operation, "source", "an existing file", str(path))
        if path.stat().st_size > LARGEST_FILE:
            fail(operation, "source", "a file below 2 GiB", str(path))
        data, what = path.read_bytes(), str(path)
    else:
        fail(operation, "source", "a path, bytes or an onnx.ModelProto", source)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which only protobuf has
        raise ValueError(f"{operation}: source: expected an ONNX file, received {what} ({error})") from None
    if not model.HasField("graph"):
        fail(operation, "source", "an ONNX file", what)
    return model


def _opset(model: Any, operation: str) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not 1 <= versions[0] <= 99:
        fail(operation, "opset_import", "one version of ONNX's operators", versions)
    return int(versions[0])


def _shape_of(onnx: Any, value: Any, operation: str) -> tuple[int | None, ...] | None:
    """Sizes of an input, or None where the file does not say how many axes it has."""
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or kind.elem_type not in (
        onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.DOUBLE,
    ):  # fmt: skip
        fail(operation, f"input {value.name!r}", "an array of float32", f"type {kind.elem_type}")
    if not kind.HasField("shape"):
        return None
    sizes = tuple(d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim)
    return tuple(None if n is not None and n <= 0 else n for n in sizes)


def _node(onnx: Any, node: Any, operation: str) -> Node:
    label = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in attributes or attribute.ref_attr_name:
            fail(operation, label, "attributes with names and values of their own", attribute.name)
        attributes[attribute.name] = _attribute(onnx, attribute, label, operation)
    return Node(label, node.name, tuple(node.input), tuple(node.output), attributes)


def _attribute(onnx: Any, attribute: Any, label: str, operation: str) -> Any:
    kinds = onnx.AttributeProto
    if attribute.type == kinds.FLOAT:
        return float(attribute.f)
    if attribute.type == kinds.INT:
        return int(attribute.i)
    if attribute.type == kinds.STRING:
        return attribute.s.decode("utf-8", "replace")
    if attribute.type == kinds.TENSOR:
        return array_of(onnx, attribute.t, operation)
    if attribute.type == kinds.FLOATS:
        return [float(v) for v in attribute.floats]
    if attribute.type == kinds.INTS:
        return [int(v) for v in attribute.ints]
    if attribute.type == kinds.STRINGS:
        return [v.decode("utf-8", "replace") for v in attribute.strings]
    fail(operation, label, "attributes that are numbers, strings or arrays", f"{attribute.name} (a graph or a type)")


def array_of(onnx: Any, tensor: Any, operation: str) -> NDArray[Any]:
    """The array of a tensor that has its data in the file itself."""
    where = f"tensor {tensor.name!r}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
        fail(operation, where, "data in the file itself", "data in another file")
    shape = tuple(int(n) for n in tensor.dims)
    if len(shape) > MOST_AXES or any(n < 0 for n in shape):
        fail(operation, where, f"at most {MOST_AXES} sizes, none negative", shape)
    size = math.prod(shape)
    if size == 0 and shape != (0,):
        fail(operation, where, "elements", shape)
    types = onnx.TensorProto
    # type -> (as it lies in raw_data, the field that has it otherwise, as it lies there)
    known: dict[int, tuple[str, str, str]] = {
        types.FLOAT: ("<f4", "float_data", "f4"),
        types.DOUBLE: ("<f8", "double_data", "f8"),
        types.FLOAT16: ("<f2", "int32_data", "u2"),
        types.INT32: ("<i4", "int32_data", "i4"),
        types.INT64: ("<i8", "int64_data", "i8"),
        types.BOOL: ("?", "int32_data", "?"),
    }
    if tensor.data_type not in known:
        fail(operation, where, "float32, float64, float16, int32, int64 or bool", f"type {tensor.data_type}")
    raw, field, typed = known[tensor.data_type]
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size * np.dtype(raw).itemsize:
            fail(operation, where, f"{size * np.dtype(raw).itemsize} bytes for {shape}", len(tensor.raw_data))
        flat = np.frombuffer(tensor.raw_data, raw)
    else:
        values = getattr(tensor, field)
        if len(values) != size:
            fail(operation, where, f"{size} numbers for {shape}", len(values))
        try:
            flat = np.array(values, typed)
        except (OverflowError, ValueError):
            fail(operation, where, f"numbers of type {typed}", "others")
        flat = flat.view("f2") if tensor.data_type == types.FLOAT16 else flat
    array = flat.reshape(shape)
    return np.asarray(array, np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))


def needed(graph: GraphData, output: str, operation: str) -> Iterator[Node]:
    """The nodes that an output depends on, in the file's order, which must be one in which they can be computed."""
    producers: dict[str, int] = {}
    for number, node in enumerate(graph.nodes):
        for name in filter(None, node.outputs):
            if name in producers or name in graph.constants or name in graph.inputs:
                fail(operation, node.kind, "a name of its own for each result", name)
            producers[name] = number
    if output not in producers and output not in graph.inputs:
        fail(operation, "output", f"a result of the graph, such as {list(graph.outputs)}", output)
    wanted, waiting = set[int](), [output]
    while waiting:
        number = producers.get(waiting.pop(), -1)
        if number >= 0 and number not in wanted:
            wanted.add(number)
            waiting.extend(filter(None, graph.nodes[number].inputs))
    return (graph.nodes[number] for number in sorted(wanted))
