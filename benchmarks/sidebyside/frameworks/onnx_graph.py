"""The networks as ONNX models, for the runtimes that read those."""

from __future__ import annotations

from typing import Any

import numpy as np

from sidebyside.frameworks.base import Weights
from sidebyside.networks import NORM_EPSILON, Conv, Dense, Dropout, Flatten, Floats, Network, Norm, Pool, Relu

_OPSET, _IR_VERSION = 17, 8  # old enough for every runtime of the last years


def model(network: Network, weights: Weights) -> bytes:
    """The network in ONNX's own layout (channels first), so that no transposition is left in it; input "x"."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes: list[Any] = []
    initializers: list[Any] = []
    last = "x"

    def append(operation: str, *arrays: Floats, **attributes: Any) -> None:
        nonlocal last
        output = f"{operation}_{len(nodes)}"
        inputs = [f"{output}_{i}" for i in range(len(arrays))]
        initializers.extend(
            onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for array, name in zip(arrays, inputs)
        )
        nodes.append(helper.make_node(operation, [last, *inputs], [output], **attributes))
        last = output

    flattened: tuple[int, ...] | None = None
    for (layer, shape), arrays in zip(network.with_shapes(), weights, strict=True):
        match layer:
            case Conv():
                append("Conv", arrays[0].transpose(3, 2, 0, 1), arrays[1])
            case Norm():
                append("BatchNormalization", *arrays, epsilon=NORM_EPSILON)
            case Relu():
                append("Relu")
            case Pool():
                append("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
            case Flatten():
                append("Flatten", axis=1)
                flattened = shape
            case Dense(units):
                kernel = arrays[0]
                if flattened is not None:  # Keras flattens height, width, channels; here the channels come first
                    kernel = kernel.reshape(*flattened, units).transpose(2, 0, 1, 3).reshape(-1, units)
                    flattened = None
                append("Gemm", kernel, arrays[1])
            case Dropout():
                pass
        if isinstance(layer, Conv | Dense) and layer.activation:
            append("Relu" if layer.activation == "relu" else "Sigmoid")
    height, width, channels = network.input_shape
    inputs = [helper.make_tensor_value_info("x", kind, ["n", channels, height, width])]
    outputs = [helper.make_tensor_value_info(last, kind, ["n", 1])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", _OPSET)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString()
    return content


def channels_first(x: Floats, batch_size: int) -> list[Floats]:
    """The images as the model takes them, in batches."""
    images = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    return [images[i : i + batch_size] for i in range(0, len(x), batch_size)]
