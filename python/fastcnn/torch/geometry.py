"""The windows of a layer: asked from the graph, which alone computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import _core
from fastcnn._network import ParameterList


def windows(layer: Any, sample: tuple[int, ...]) -> list[dict[str, int]]:
    """The windows of the layer's first sliding operation, one for each of its axes.

    Args:
        layer: a convolution or windowed pooling.
        sample: one sample's shape before it.
    """
    graph = _core.Graph(sample)
    layer.append_to(graph, ParameterList())
    both = next(
        (operation["attributes"]["height"], operation["attributes"]["width"])
        for operation in graph.operations()
        if "stride" in operation["attributes"].get("height", ())
    )
    return list(both if layer._rank == 2 else both[1:])


def paddings(found: Sequence[dict[str, int]]) -> list[tuple[int, int]]:
    """(before, after) of each of these windows' axes."""
    return [(window["pad_begin"], window["pad_end"]) for window in found]
