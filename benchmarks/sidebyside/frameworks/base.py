"""What a framework offers the benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.cases import Convolution, Inference
from sidebyside.networks import Floats, Network

Weights = list[list[Floats]]

# Trains one epoch over (x, y) and returns the mean loss.
Epoch = Callable[[Any, Any], float]


class Framework:
    """A framework with its best ways of doing each task.

    The constructor imports the framework (ImportError: it is not installed) and sets its number of threads and, where it is
    known for more than float32, its precision (`Contestant`).
    A task has one or more variants; the worker tries them all and keeps the fastest, so that no peer suffers from a setting that
    suits another machine. Whatever a user would do once, before the loop, is done when a variant is made and is not timed.
    """

    offers_convolution = False

    def __init__(self, threads: int) -> None:
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Versions of the packages involved."""
        raise NotImplementedError

    def own(self, array: NDArray[np.float32]) -> Any:
        """The array in the framework's own form, without a copy where possible."""
        return array

    def training_variants(self, network: Network) -> Sequence[str]:
        """The ways of training this network; none where the framework cannot."""
        return ()

    def epoch(self, variant: str, network: Network, weights: Weights, batch_size: int) -> Epoch:
        """A model with these weights, ready to be trained; each call trains one epoch more."""
        raise NotImplementedError

    def inference_variants(self, case: Inference) -> Sequence[str]:
        """The ways of computing this case; none where the framework has no such method."""
        return ()

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        """Computes the probabilities of all images of `x` at every call; returns something `numpy.asarray` understands."""
        raise NotImplementedError

    def convolution(self, case: Convolution, x: Floats, kernel: Floats, dy: Floats) -> Callable[[], Any]:
        """Computes one direction at every call; `to_numpy` turns what it returns into an array in Keras's layout."""
        raise NotImplementedError

    def to_numpy(self, case: Convolution, result: Any) -> NDArray[Any]:
        """Result of a convolution, images (n, h, w, c) or kernel (h, w, c, filters)."""
        return np.asarray(result)
