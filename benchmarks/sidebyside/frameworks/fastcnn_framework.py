"""fastcnn through its public interface."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sidebyside import networks
from sidebyside.cases import Convolution, Inference
from sidebyside.frameworks.base import Epoch, Framework, Weights
from sidebyside.networks import Floats, Network


class FastcnnFramework(Framework):
    """`model.fit`, `model(x)`, `model.predict` and `fastcnn.ops`. FASTCNN_NUM_THREADS sets the threads."""

    offers_convolution = True

    def __init__(self, threads: int, precision: str = "float32") -> None:
        import fastcnn

        self._fastcnn, self._precision = fastcnn, precision
        if precision == "bfloat16":
            fastcnn.mixed_precision.set_global_policy("mixed_bfloat16")

    def versions(self) -> dict[str, str]:
        used = self._fastcnn.show_config(mode="dicts")["instruction set"]["used"]
        return {"fastcnn": self._fastcnn.__version__, "instruction set of fastcnn": used}

    def training_variants(self, network: Network) -> Sequence[str]:
        return ("fit",)

    def epoch(self, variant: str, network: Network, weights: Weights, batch_size: int) -> Epoch:
        model = networks.keras_model(self._fastcnn, network, weights)
        model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

        def run(x: Floats, y: Floats) -> float:
            return float(model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0).history["loss"][0])

        return run

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return (case.method,)

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        model = networks.keras_model(self._fastcnn, network, weights)
        if variant == "call":
            return lambda: model(x)
        return lambda: model.predict(x, batch_size=case.batch_size, verbose=0)

    def convolution(self, case: Convolution, x: Floats, kernel: Floats, dy: Floats) -> Callable[[], Any]:
        ops = self._fastcnn.ops
        if self._precision == "bfloat16":
            from ml_dtypes import bfloat16

            x, kernel, dy = (array.astype(bfloat16) for array in (x, kernel, dy))
        options = {
            "strides": case.strides,
            "padding": case.padding,
            "dilation_rate": case.dilation,
            "groups": case.groups,
        }
        if case.direction == "forward":
            return lambda: ops.conv2d(x, kernel, **options)
        if case.direction == "grad-input":
            return lambda: ops.conv2d_grad_input(dy, kernel, x.shape, **options)
        # Computes the bias's gradient too: it cannot be asked not to.
        return lambda: ops.conv2d_grad_kernel(x, dy, case.kernel_size, **options)[0]
