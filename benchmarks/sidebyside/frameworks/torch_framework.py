"""PyTorch at its best: channels last, fused Adam, loss from logits, no transfer of values to Python within an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.cases import Convolution, Inference
from sidebyside.frameworks.base import Epoch, Framework
from sidebyside.network import ADAM, LEARNING_RATE, SHAPES, Floats


class TorchFramework(Framework):
    """Eager training; eager or traced and frozen inference.

    torch.compile is not among the variants: its training step was half as fast as the eager one (PyTorch 2.13, one thread,
    batch 32, in turns).
    """

    training_variants = ("eager",)
    offers_convolution = True

    def __init__(self, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        # Before the first parallel region: its threads inherit this. Adam's moments become denormal otherwise.
        torch.set_flush_denormal(True)
        self._torch = torch

    def versions(self) -> dict[str, str]:
        return {"torch": self._torch.__version__}

    def own(self, array: NDArray[np.float32]) -> Any:
        tensor = self._torch.from_numpy(array)
        return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor

    def _model(self, weights: list[Floats]) -> Any:
        torch = self._torch
        functional = torch.nn.functional

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                for (name, shape), kernel, bias in zip(SHAPES.items(), weights[::2], weights[1::2], strict=True):
                    if len(shape) == 4:
                        layer = torch.nn.Conv2d(shape[2], shape[3], shape[0])
                        axes: tuple[int, ...] = (3, 2, 0, 1)
                    else:
                        layer = torch.nn.Linear(*shape)
                        axes = (1, 0)
                    with torch.no_grad():
                        layer.weight.copy_(torch.from_numpy(kernel).permute(axes))
                        layer.bias.copy_(torch.from_numpy(bias))
                    setattr(self, name, layer)

            def forward(self, x: Any) -> Any:
                x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
                x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
                x = functional.relu(self.conv3(x))
                x = x.permute(0, 2, 3, 1).reshape(-1, 576)  # a view: channels are last in memory
                return self.dense2(functional.relu(self.dense1(x)))[:, 0]

        return Network().to(memory_format=torch.channels_last)

    def epoch(self, variant: str, weights: list[Floats], batch_size: int) -> Epoch:
        torch = self._torch
        loss_of = torch.nn.functional.binary_cross_entropy_with_logits
        model = self._model(weights).train()
        betas = (ADAM["beta_1"], ADAM["beta_2"])
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, betas=betas, eps=ADAM["epsilon"], fused=True)

        def run(x: Any, y: Any) -> float:
            images = x.permute(0, 2, 3, 1)  # so that a batch is gathered in channels-last order
            total = torch.zeros(())
            correct = torch.zeros((), dtype=torch.int64)
            for rows in torch.randperm(len(x)).split(batch_size):
                labels = y[rows]
                logits = model(images[rows].permute(0, 3, 1, 2))
                loss = loss_of(logits, labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                total += loss.detach() * len(rows)
                correct += ((logits.detach() > 0) == (labels > 0.5)).sum()
            float(correct)
            return float(total) / len(x)

        return run

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return ("eager", "traced") if case.method == "call" or case.batch_size > 1 else ()

    def inference(self, variant: str, weights: list[Floats], case: Inference, x: Floats) -> Callable[[], Any]:
        torch = self._torch
        model = self._model(weights).eval()
        batches = self.own(x).split(case.batch_size)
        with torch.inference_mode():
            if variant == "traced":
                model = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(model, batches[0])))

        def run() -> Any:
            with torch.inference_mode():
                if len(batches) == 1:
                    return torch.sigmoid(model(batches[0]))[:, None]
                return torch.cat([torch.sigmoid(model(batch)) for batch in batches])[:, None]

        return run

    def convolution(self, case: Convolution, x: Floats, kernel: Floats, dy: Floats) -> Callable[[], Any]:
        torch = self._torch
        images, gradient = self.own(x), self.own(dy)
        weight = torch.from_numpy(kernel).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
        stride, pad = [case.strides] * 2, [case.pad] * 2
        if case.direction == "forward":

            def run() -> Any:
                with torch.inference_mode():
                    return torch.nn.functional.conv2d(images, weight, stride=stride, padding=pad)

            return run
        index = 0 if case.direction == "grad-input" else 1
        wanted = [index == 0, index == 1, False]

        def run_backward() -> Any:
            with torch.inference_mode():
                return torch.ops.aten.convolution_backward(
                    gradient, images, weight, None, stride, pad, [1, 1], False, [0, 0], 1, wanted
                )[index]

        return run_backward

    def to_numpy(self, case: Convolution, result: Any) -> NDArray[Any]:
        axes = (2, 3, 1, 0) if case.direction == "grad-kernel" else (0, 2, 3, 1)
        return np.asarray(result.permute(axes))
