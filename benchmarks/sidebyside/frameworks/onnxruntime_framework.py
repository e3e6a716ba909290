"""onnxruntime, for inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sidebyside.cases import Inference
from sidebyside.frameworks.base import Framework
from sidebyside.network import SHAPES, Floats

_OPSET, _IR_VERSION = 17, 8  # old enough for every onnxruntime of the last years


class OnnxruntimeFramework(Framework):
    """The network as an ONNX graph in ONNX's own layout (channels first), so that no transposition is left in it."""

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self._onnx, self._onnxruntime, self._threads = onnx, onnxruntime, threads

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": self._onnxruntime.__version__, "onnx": self._onnx.__version__}

    def _graph(self, weights: list[Floats]) -> bytes:
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
        nodes, initializers = [], []
        last = "x"

        def append(operation: str, *inputs: str, **attributes: Any) -> str:
            output = f"{operation}_{len(nodes)}"
            nodes.append(helper.make_node(operation, [last, *inputs], [output], **attributes))
            return output

        for (name, shape), kernel, bias in zip(SHAPES.items(), weights[::2], weights[1::2], strict=True):
            if len(shape) == 4:
                kernel = kernel.transpose(3, 2, 0, 1)
            elif name == "dense1":  # its rows follow Keras's (3, 3, 64); here the channels come first
                kernel = kernel.reshape(3, 3, 64, 64).transpose(2, 0, 1, 3).reshape(576, 64)
            for part, array in (("kernel", kernel), ("bias", bias)):
                values = np.ascontiguousarray(array)
                initializers.append(self._onnx.numpy_helper.from_array(values, f"{name}_{part}"))
            if name == "dense1":
                last = append("Flatten", axis=1)
            last = append("Conv" if len(shape) == 4 else "Gemm", f"{name}_kernel", f"{name}_bias")
            last = append("Sigmoid" if name == "dense2" else "Relu")
            if name in ("conv1", "conv2"):
                last = append("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        inputs = [helper.make_tensor_value_info("x", kind, ["n", 1, 28, 28])]
        outputs = [helper.make_tensor_value_info(last, kind, ["n", 1])]
        graph = helper.make_graph(nodes, "network", inputs, outputs, initializers)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION).SerializeToString()

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return ("InferenceSession.run",) if case.method == "call" or case.batch_size > 1 else ()

    def inference(self, variant: str, weights: list[Floats], case: Inference, x: Floats) -> Callable[[], Any]:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        session = self._onnxruntime.InferenceSession(self._graph(weights), options, providers=["CPUExecutionProvider"])
        images = x.reshape(len(x), 1, 28, 28)
        batches = [images[i : i + case.batch_size] for i in range(0, len(x), case.batch_size)]
        if len(batches) == 1:
            return lambda: session.run(None, {"x": images})[0]
        return lambda: np.concatenate([session.run(None, {"x": batch})[0] for batch in batches])
