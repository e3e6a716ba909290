"""Keras on TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from sidebyside import networks
from sidebyside.cases import Inference
from sidebyside.frameworks.base import Epoch, Framework, Weights
from sidebyside.networks import Floats, Network

# compile()'s settings: with and without XLA; one step or several in a TensorFlow call (fewer returns to Python).
_TRAINING: dict[str, dict[str, Any]] = {
    "defaults": {},
    "jit_compile=False": {"jit_compile": False},
    "jit_compile=False, steps_per_execution=50": {"jit_compile": False, "steps_per_execution": 50},
}


class KerasTensorflowFramework(Framework):
    """`model.fit`, `model(x)` (also inside tf.function) and `model.predict`."""

    def __init__(self, threads: int, precision: str = "float32") -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        import keras

        if precision == "bfloat16":
            keras.mixed_precision.set_global_policy("mixed_bfloat16")
        self._tensorflow, self._keras = tensorflow, keras

    def versions(self) -> dict[str, str]:
        return {"keras": self._keras.__version__, "tensorflow": self._tensorflow.__version__}

    def training_variants(self, network: Network) -> Sequence[str]:
        return tuple(_TRAINING)

    def epoch(self, variant: str, network: Network, weights: Weights, batch_size: int) -> Epoch:
        model = networks.keras_model(self._keras, network, weights)
        model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"], **_TRAINING[variant])

        def run(x: Floats, y: Floats) -> float:
            return float(model.fit(x, y, batch_size=batch_size, epochs=1, verbose=0).history["loss"][0])

        return run

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return ("eager", "tf.function") if case.method == "call" else ("defaults", "jit_compile=False")

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        model = networks.keras_model(self._keras, network, weights)
        if case.method == "predict":
            model.compile(**_TRAINING[variant])
            return lambda: model.predict(x, batch_size=case.batch_size, verbose=0)
        tensor = self._tensorflow.constant(x)
        if variant == "tf.function":
            model = self._tensorflow.function(model)
        return lambda: model(tensor)
