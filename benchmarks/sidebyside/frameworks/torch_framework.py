"""PyTorch at its best: channels last, fused Adam, loss from logits, no transfer of values to Python within an epoch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.cases import Convolution, Inference
from sidebyside.frameworks.base import Epoch, Framework, Weights
from sidebyside.networks import (
    ADAM,
    LEARNING_RATE,
    NORM_EPSILON,
    NORM_MOMENTUM,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Floats,
    Layer,
    Network,
    Norm,
    Pool,
    Relu,
    Shape,
)


class TorchFramework(Framework):
    """Eager training; eager or traced and frozen inference. Mixed precision: autocast; for inference also a model converted
    to bfloat16.

    torch.compile is not among the variants: its training step was half as fast as the eager one (PyTorch 2.13, one thread,
    batch 32, in turns).
    """

    offers_convolution = True

    def __init__(self, threads: int, precision: str = "float32") -> None:
        import torch

        torch.set_num_threads(threads)
        # Before the first parallel region: its threads inherit this. Adam's moments become denormal otherwise.
        torch.set_flush_denormal(True)
        self._torch, self._mixed = torch, precision == "bfloat16"

    def versions(self) -> dict[str, str]:
        return {"torch": self._torch.__version__}

    def own(self, array: NDArray[np.float32]) -> Any:
        tensor = self._torch.from_numpy(array)
        return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor

    def training_variants(self, network: Network) -> Sequence[str]:
        return ("eager",)

    def _module(self, layer: Layer, shape: Shape, arrays: list[Floats]) -> Any:
        """The layer with its weights; None where it has none."""
        torch = self._torch
        match layer:
            case Conv(filters):
                module, axes = torch.nn.Conv2d(shape[-1], filters, 3), (3, 2, 0, 1)
            case Dense(units):
                module, axes = torch.nn.Linear(shape[-1], units), (1, 0)
            case Norm():
                return torch.nn.BatchNorm2d(shape[-1], eps=NORM_EPSILON, momentum=1 - NORM_MOMENTUM)
            case _:
                return None
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(arrays[0]).permute(axes))
            module.bias.copy_(torch.from_numpy(arrays[1]))
        return module

    def _model(self, network: Network, weights: Weights) -> Any:
        """From images, channels first in shape and last in memory, to logits."""
        torch = self._torch
        functional = torch.nn.functional
        modules = [self._module(*each, arrays) for each, arrays in zip(network.with_shapes(), weights, strict=True)]

        class Chain(torch.nn.Module):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.parts = torch.nn.ModuleList(module or torch.nn.Identity() for module in modules)

            def forward(self, x: Any) -> Any:
                for layer, part in zip(network.layers, self.parts):
                    match layer:
                        case Conv() | Dense() | Norm():
                            x = part(x)
                        case Pool():
                            x = functional.max_pool2d(x, 2)
                        case Flatten():
                            x = x.permute(0, 2, 3, 1).flatten(1)  # a view: channels are last in memory
                        case Dropout(rate):
                            x = functional.dropout(x, rate, self.training)
                    if isinstance(layer, Relu) or getattr(layer, "activation", None) == "relu":
                        x = functional.relu(x, inplace=True)
                return x[:, 0]

        return Chain().to(memory_format=torch.channels_last)

    def epoch(self, variant: str, network: Network, weights: Weights, batch_size: int) -> Epoch:
        torch = self._torch
        loss_of = torch.nn.functional.binary_cross_entropy_with_logits
        model = self._model(network, weights).train()
        betas = (ADAM["beta_1"], ADAM["beta_2"])
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=betas, eps=ADAM["epsilon"], fused=True)

        def run(x: Any, y: Any) -> float:
            images = x.permute(0, 2, 3, 1)  # so that a batch is gathered in channels-last order
            total = torch.zeros(())
            correct = torch.zeros((), dtype=torch.int64)
            for rows in torch.randperm(len(x)).split(batch_size):
                labels = y[rows].float()  # nothing where it is float32; bytes are converted batch by batch
                with self._autocast():
                    logits = model(images[rows].float().permute(0, 3, 1, 2)).float()
                    loss = loss_of(logits, labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                total += loss.detach() * len(rows)
                correct += ((logits.detach() > 0) == (labels > 0.5)).sum()
            float(correct)
            return float(total) / len(x)

        return run

    def _autocast(self) -> Any:
        return self._torch.autocast("cpu", self._torch.bfloat16, enabled=self._mixed)

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return ("autocast", "converted", "converted, traced") if self._mixed else ("eager", "traced")

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        torch = self._torch
        model = self._model(network, weights).eval()
        images = self.own(x)
        if variant.startswith("converted"):
            model, images = model.bfloat16(), images.bfloat16()
        batches = images.split(case.batch_size)
        with torch.inference_mode():
            if variant.endswith("traced"):
                model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, batches[0])))

        autocast = self._autocast() if variant == "autocast" else contextlib.nullcontext()

        def run() -> Any:
            with torch.inference_mode(), autocast:
                if len(batches) == 1:
                    return torch.sigmoid(model(batches[0]).float())[:, None]
                return torch.cat([torch.sigmoid(model(batch).float()) for batch in batches])[:, None]

        return run

    def convolution(self, case: Convolution, x: Floats, kernel: Floats, dy: Floats) -> Callable[[], Any]:
        torch = self._torch
        images, gradient = self.own(x), self.own(dy)
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        if self._mixed:
            images, gradient, weight = images.bfloat16(), gradient.bfloat16(), weight.bfloat16()
        stride, pad, dilation = [case.strides] * 2, [case.pad] * 2, [case.dilation] * 2
        if case.direction == "forward":

            def run() -> Any:
                with torch.inference_mode():
                    return torch.conv2d(images, weight, None, stride, pad, dilation, case.groups)

            return run
        index = 0 if case.direction == "grad-input" else 1
        wanted = [index == 0, index == 1, False]

        def run_backward() -> Any:
            with torch.inference_mode():
                return torch.ops.aten.convolution_backward(
                    gradient, images, weight, None, stride, pad, dilation, False, [0, 0], case.groups, wanted
                )[index]

        return run_backward

    def to_numpy(self, case: Convolution, result: Any) -> NDArray[Any]:
        axes = (2, 3, 1, 0) if case.direction == "grad-kernel" else (0, 2, 3, 1)
        return np.asarray(result.permute(axes).float())
