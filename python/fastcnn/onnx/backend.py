"""fastcnn as a backend of the onnx package: `prepare`, `run_model`, `supports_device`, as `onnx.backend.base` has them.

A model's first input is the data, whose axis 0 is the batch; values of the others are taken as constants. Where the
operators are not ones within samples (a Softmax along axis 0, a reshape of everything), the whole array is one sample.

See https://onnx.ai/onnx/api/backend.html.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn.onnx._package import onnx_package
from fastcnn.onnx.chain import SHAPES, Chain
from fastcnn.onnx.operators import OPERATORS
from fastcnn.onnx.proto import GraphData, fail, read

onnx_package("onnx.backend")
from onnx.backend import base  # noqa: E402

_OPERATION = "onnx.backend"


class BackendRep(base.BackendRep):
    """A prepared model."""

    def __init__(self, graph: GraphData, output: str) -> None:
        self._graph = graph
        self._output = output

    def run(self, inputs: Any, **kwargs: Any) -> tuple[NDArray[np.float32]]:
        """The model's result.

        Args:
            inputs: arrays in the order of the graph's inputs, or a single one.

        Raises:
            ValueError: values that do not fit, or that make the model something other than a chain of layers.
        """
        arrays = [np.asarray(a) for a in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
        names = list(self._graph.inputs)
        if len(arrays) != len(names):
            fail(_OPERATION, "inputs", f"values for {names}", f"{len(arrays)} arrays")
        x = arrays[0]
        if x.dtype != np.float32 or x.size == 0:
            fail(_OPERATION, f"input {names[0]!r}", "float32 numbers", f"{x.dtype} {x.shape}")
        constants = dict(zip(names[1:], arrays[1:]))
        try:
            return (self._within_samples(x, constants),)
        except ValueError as first:
            try:
                return (self._as_one_sample(x, constants),)
            except ValueError:
                raise first from None

    def _within_samples(self, x: NDArray[Any], constants: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        name = next(iter(self._graph.inputs))
        chain = Chain(self._graph, _OPERATION, name, x.shape, constants=constants)
        chain.read(self._output)
        return chain.model()(x)

    def _as_one_sample(self, x: NDArray[Any], constants: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        name = next(iter(self._graph.inputs))
        chain = Chain(self._graph, _OPERATION, name, x.shape, whole=True, constants=constants)
        chain.read(self._output)
        result: NDArray[np.float32] = chain.model()(x[None])[0]
        return result


class Backend(base.Backend):
    """What `onnx.backend.test` and others call."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether every operator of the model is one that fastcnn reads."""
        known = {*OPERATORS, *SHAPES}
        return cls.supports_device(device) and all(node.op_type in known for node in model.graph.node)

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Reads a model.

        Args:
            model: an `onnx.ModelProto`, path or bytes.
            device: "CPU".

        Raises:
            ValueError: another device, an operator that is not read, or several outputs.
        """
        if not cls.supports_device(device):
            fail(_OPERATION, "device", "'CPU'", device)
        graph = read(model, _OPERATION)
        for node in graph.nodes:
            if node.kind not in OPERATORS and node.kind not in SHAPES:
                fail(_OPERATION, node.kind, "an operator that fastcnn.onnx reads", node.kind)
        if len(graph.outputs) != 1 or not graph.inputs:
            fail(_OPERATION, "outputs", "one, of a graph with inputs", list(graph.outputs))
        return BackendRep(graph, graph.outputs[0])

    @classmethod
    def run_node(cls, node: Any, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any) -> Any:
        """The result of a single node.

        Args:
            node: an `onnx.NodeProto`.
            inputs: its inputs' values.
            device: "CPU".
            outputs_info: not used.
            **kwargs: `opset_version`; onnx's newest by default.
        """
        onnx = onnx_package(_OPERATION)
        helper = onnx.helper
        names = [name for name in node.input if name]
        arrays = [np.asarray(a) for a in (inputs if isinstance(inputs, (list, tuple)) else [inputs])]
        values = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in zip(names, arrays)
        ]
        result = helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        graph = helper.make_graph([node], "node", values, [result])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
        return cls.prepare(model, device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether computing on a device, such as "CPU" or "CUDA:1", is possible."""
        return device.split(":")[0] == "CPU"


prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
is_compatible = Backend.is_compatible
