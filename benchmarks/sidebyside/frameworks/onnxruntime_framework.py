"""onnxruntime, for inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sidebyside.cases import Inference
from sidebyside.frameworks import onnx_graph
from sidebyside.frameworks.base import Framework, Weights
from sidebyside.networks import Floats, Network


class OnnxruntimeFramework(Framework):
    """`InferenceSession.run`, whatever the method is called elsewhere."""

    def __init__(self, threads: int) -> None:
        import onnx
        import onnxruntime

        self._onnx, self._onnxruntime, self._threads = onnx, onnxruntime, threads

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": self._onnxruntime.__version__, "onnx": self._onnx.__version__}

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return ("run",)

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        options = self._onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        content = onnx_graph.model(network, weights)
        session = self._onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        batches = onnx_graph.channels_first(x, case.batch_size)
        if len(batches) == 1:
            return lambda: session.run(None, {"x": batches[0]})[0]
        return lambda: np.concatenate([session.run(None, {"x": batch})[0] for batch in batches])
