"""OpenVINO, for inference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sidebyside.cases import Inference
from sidebyside.frameworks import onnx_graph
from sidebyside.frameworks.base import Framework, Weights
from sidebyside.networks import Floats, Network


class OpenvinoFramework(Framework):
    """One request after the other on all threads ("latency"), or a queue with a request on every thread ("throughput").

    float32 is asked for where it is wanted: OpenVINO would take bfloat16 of its own accord where the processor has it.
    Shapes are fixed.
    """

    def __init__(self, threads: int, precision: str = "float32") -> None:
        import onnx  # noqa: F401 (the networks come as ONNX models)
        import openvino

        self._openvino, self._threads, self._hint = openvino, threads, {"float32": "f32", "bfloat16": "bf16"}[precision]
        self._core = openvino.Core()

    def versions(self) -> dict[str, str]:
        return {"openvino": self._openvino.__version__.split("-")[0]}

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return ("latency", "throughput") if case.samples > case.batch_size else ("latency",)

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        if len(x) % case.batch_size:
            raise ValueError(f"openvino: samples: expected a multiple of {case.batch_size}, received {len(x)}")
        batches = onnx_graph.channels_first(x, case.batch_size)
        model = self._core.read_model(onnx_graph.model(network, weights))
        model.reshape(batches[0].shape)
        settings = {
            "INFERENCE_PRECISION_HINT": self._hint,
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": self._threads if variant == "throughput" else 1,
        }
        compiled = self._core.compile_model(model, "CPU", settings)
        result = np.empty((len(x), 1), np.float32)
        if variant == "latency":
            request = compiled.create_infer_request()

            def run() -> Any:
                for i, batch in enumerate(batches):
                    request.infer([batch], share_inputs=True)
                    result[i * case.batch_size : (i + 1) * case.batch_size] = request.get_output_tensor().data
                return result

            return run
        queue = self._openvino.AsyncInferQueue(compiled, self._threads)

        def keep(request: Any, i: int) -> None:
            result[i * case.batch_size : (i + 1) * case.batch_size] = request.get_output_tensor().data

        queue.set_callback(keep)

        def run_queue() -> Any:
            for i, batch in enumerate(batches):
                queue.start_async([batch], i, share_inputs=True)
            queue.wait_all()
            return result

        return run_queue
