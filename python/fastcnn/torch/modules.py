"""Modules for what fastcnn's layers do and torch.nn has no module for. `from_torch` knows them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F


class Permute(nn.Module):
    """Axes in another order: axis i of the output is axis dims[i] of the input; the batch stays axis 0.

    >>> Permute((0, 3, 1, 2))(torch.zeros(2, 5, 6, 3)).shape
    torch.Size([2, 3, 5, 6])
    """

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        """The permuted tensor."""
        return x.permute(self.dims)

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        return f"{self.dims}"


class Reshape(nn.Module):
    """Samples of another shape with as many elements.

    >>> Reshape((3, 2))(torch.zeros(2, 6)).shape
    torch.Size([2, 3, 2])
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """The tensor in its new shape."""
        return x.reshape(x.shape[0], *self.shape)

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        return f"{self.shape}"


class RepeatVector(nn.Module):
    """(n, features) repeated to (n, times, features)."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        """The repeated vectors."""
        return x.unsqueeze(1).expand(-1, self.times, -1)


def _squareplus(x: Tensor) -> Tensor:
    return (x + torch.sqrt(x * x + 4.0)) / 2.0


def _sparse_plus(x: Tensor) -> Tensor:
    return torch.where(x <= -1.0, torch.zeros_like(x), torch.where(x < 1.0, (x + 1.0) ** 2 / 4.0, x))


def _sparse_sigmoid(x: Tensor) -> Tensor:
    return torch.clamp((x + 1.0) / 2.0, 0.0, 1.0)


class Function(nn.Module):
    """One of fastcnn's activations that torch.nn has no module for, by its name.

    >>> Function("squareplus")(torch.zeros(1)).tolist()
    [1.0]
    """

    FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {  # noqa: RUF012 (constant)
        "exponential": torch.exp,
        "squareplus": _squareplus,
        "sparse_plus": _sparse_plus,
        "sparse_sigmoid": _sparse_sigmoid,
    }

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.function = self.FUNCTIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        """The function of each element."""
        return self.function(x)

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        return self.name


class Scale(nn.Module):
    """x * scale + offset, both broadcast over samples; not trained.

    >>> Scale(np.array(2.0, np.float32), np.array(1.0, np.float32))(torch.ones(1)).tolist()
    [3.0]
    """

    def __init__(self, scale: NDArray[np.float32], offset: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("offset", torch.tensor(offset))

    def forward(self, x: Tensor) -> Tensor:
        """The scaled samples."""
        return x * self.scale + self.offset


class LimitedReLU(nn.Module):
    """x above `threshold`, at most `max_value`; below it negative_slope * (x - threshold)."""

    def __init__(self, max_value: float | None, negative_slope: float, threshold: float) -> None:
        super().__init__()
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: Tensor) -> Tensor:
        """The function of each element."""
        above = x if self.max_value is None else torch.clamp(x, max=self.max_value)
        return torch.where(x > self.threshold, above, self.negative_slope * (x - self.threshold))


class ElementPReLU(nn.Module):
    """PReLU with a slope for each element of a sample, or for some of its axes: `weight` is broadcast over samples."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(tuple(shape)))

    def forward(self, x: Tensor) -> Tensor:
        """The function of each element."""
        return torch.where(x > 0.0, x, self.weight * x)


class AveragePool(nn.Module):
    """Mean over windows of the last axes, zeros around them not counted.

    Args:
        size, strides: of the window, an entry an axis.
        padding: (before, after) of each axis.
    """

    def __init__(self, size: Sequence[int], strides: Sequence[int], padding: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.size, self.strides = tuple(size), tuple(strides)
        self.padding = tuple((int(before), int(after)) for before, after in padding)

    def forward(self, x: Tensor) -> Tensor:
        """The means."""
        pool: Callable[..., Tensor] = F.avg_pool2d if len(self.size) == 2 else F.avg_pool1d
        margins = [n for pair in reversed(self.padding) for n in pair]
        counted = pool(F.pad(torch.ones_like(x[:1, :1]), margins), self.size, self.strides)
        return pool(F.pad(x, margins), self.size, self.strides) / counted

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        return f"size={self.size}, strides={self.strides}, padding={self.padding}"


class UnitNorm(nn.Module):
    """Each sample divided by its Euclidean norm over the axes `dims`."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = tuple(dims)

    def forward(self, x: Tensor) -> Tensor:
        """The normalized tensor."""
        return x * torch.rsqrt(torch.clamp((x * x).sum(dim=self.dims, keepdim=True), min=1e-12))

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        return f"dims={self.dims}"


class FrozenBatchNorm(nn.BatchNorm1d):
    """Batch normalization, of any number of axes, that uses its running statistics while training too."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any shape with channels will do."""

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stays in evaluation mode."""
        super().train(False)
        return self


class ShapedDropout(nn.Module):
    """Dropout whose random decisions have the shape `shape`, the batch's first: 1 where one holds along an axis."""

    def __init__(self, p: float, shape: Sequence[int | None]) -> None:
        super().__init__()
        self.p, self.shape = p, tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """The tensor, with elements dropped while training."""
        if not self.training:
            return x
        shape = [size if n is None else n for n, size in zip(self.shape, x.shape)]
        return x * F.dropout(x.new_ones(shape), self.p)

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        return f"p={self.p}, shape={self.shape}"


class GaussianNoise(nn.Module):
    """Adds normal numbers of mean 0 while training."""

    def __init__(self, stddev: float) -> None:
        super().__init__()
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        """The tensor, disturbed while training."""
        return x + self.stddev * torch.randn_like(x) if self.training else x


class GaussianDropout(nn.Module):
    """Multiplies by normal numbers of mean 1 and deviation sqrt(p / (1 - p)) while training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The tensor, disturbed while training."""
        return x * (1.0 + (self.p / (1.0 - self.p)) ** 0.5 * torch.randn_like(x)) if self.training else x


def all_modules() -> dict[str, Any]:
    """The modules of this file, by name."""
    return {
        name: value
        for name, value in globals().items()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == __name__
    }
