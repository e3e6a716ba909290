"""ONNX's convolutions, poolings and paddings as layers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastcnn import layers
from fastcnn.onnx.chain import LONGEST_AXIS, Array, Chain
from fastcnn.onnx.proto import Node

FIRST = {"data_format": "channels_first"}
LARGEST_WINDOW = 2**20
MOST_GROUPS = 8  # of a transposed convolution, whose weights are written out as for one group
Margins = list[tuple[int, int]]


def per_axis(chain: Chain, node: Node, name: str, count: int, default: int = 1, low: int = 1) -> list[int]:
    """An attribute of an integer for each axis of a window."""
    value = node.attributes.get(name, [default] * count)
    ok = isinstance(value, list) and len(value) == count and all(isinstance(v, int) for v in value)
    if not ok or not all(low <= v <= LARGEST_WINDOW for v in value):
        chain.refuse(node, f"{name} to be {count} integers from {low} on", value)
    return list(value)


def spatial(chain: Chain, node: Node, rank: int) -> tuple[int, ...]:
    """Height and width, or the length, of what samples are here."""
    if chain.whole or rank not in (1, 2) or len(chain.shape) != rank + 1:
        shape = chain.shape if chain.whole else (chain.batch or "batch", *chain.shape)
        chain.refuse(node, "images (n, channels, height, width) or sequences (n, channels, length)", shape)
    return chain.shape[1:]


def window_pads(
    chain: Chain, node: Node, sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]
) -> Margins:
    """(before, after) of each axis, from `pads` or `auto_pad`."""
    mode = node.attributes.get("auto_pad", "NOTSET")
    count = len(sizes)
    if mode == "NOTSET":
        pads = per_axis(chain, node, "pads", 2 * count, 0, 0)
        return list(zip(pads[:count], pads[count:]))
    if mode == "VALID":
        return [(0, 0)] * count
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        chain.refuse(node, "auto_pad to be NOTSET, VALID, SAME_UPPER or SAME_LOWER", mode)
    same = same_pads(sizes, extents, strides)
    return same if mode == "SAME_UPPER" else [(after, before) for before, after in same]


def same_pads(sizes: Sequence[int], extents: Sequence[int], strides: Sequence[int]) -> Margins:
    """What the layers' padding="same" is."""
    found = []
    for size, extent, stride in zip(sizes, extents, strides):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        found.append((total // 2, total - total // 2))
    return found


def pad_axes(chain: Chain, node: Node, margins: Mapping[int, tuple[int, int]]) -> None:
    """Zeros before and after positions of the sample's axes; negative: cut off."""
    for axis, margin in margins.items():
        if chain.shape[axis] + sum(max(n, 0) for n in margin) > LONGEST_AXIS:
            chain.refuse(node, f"an axis of at most {LONGEST_AXIS} after padding", (chain.shape[axis], *margin))
    rank = len(chain.shape)
    for sign, kind, argument in ((-1, "Cropping", "cropping"), (1, "ZeroPadding", "padding")):
        wanted = {a: (max(sign * before, 0), max(sign * after, 0)) for a, (before, after) in margins.items()}
        wanted = {a: margin for a, margin in wanted.items() if any(margin)}
        if rank == 3 and wanted and 0 not in wanted:
            pairs = tuple(wanted.get(axis, (0, 0)) for axis in (1, 2))
            chain.add(node, getattr(layers, f"{kind}2D"), **{argument: pairs}, **FIRST)
            continue
        for axis, margin in wanted.items():  # any axis is the columns of an image of all before and all after it
            shape = chain.shape
            rows, columns, depth = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
            if max(rows, columns) > LONGEST_AXIS:
                chain.refuse(node, f"at most {LONGEST_AXIS} positions before the padded axis", shape)
            chain.reshape(node, (rows, columns, depth))
            pairs = ((0, 0), margin)
            chain.add(node, getattr(layers, f"{kind}2D"), **{argument: pairs}, data_format="channels_last")
            chain.reshape(node, (*shape[:axis], chain.shape[1], *shape[axis + 1 :]))


def _spatial_pads(chain: Chain, node: Node, pads: Margins) -> None:
    pad_axes(chain, node, {axis + 1: pad for axis, pad in enumerate(pads) if pad != (0, 0)})


def _kernel(chain: Chain, node: Node) -> tuple[Array, int, tuple[int, ...]]:
    """Weights, the number of spatial axes, and the window's size along them."""
    weights = chain.weights(node, 1)
    rank = weights.ndim - 2
    spatial(chain, node, rank)
    if per_axis(chain, node, "kernel_shape", rank) != [1] * rank and node.attributes["kernel_shape"] != list(
        weights.shape[2:]
    ):
        chain.refuse(node, f"kernel_shape to be {list(weights.shape[2:])}", node.attributes["kernel_shape"])
    return weights, rank, weights.shape[2:]


def _bias(chain: Chain, node: Node, filters: int) -> list[Array]:
    if chain.constant(node, 2) is None:
        return []
    bias = chain.weights(node, 2)
    if bias.shape != (filters,):
        chain.refuse(node, f"a bias of shape ({filters},)", bias.shape)
    return [bias]


def conv(chain: Chain, node: Node) -> None:
    """Conv."""
    weights, rank, size = _kernel(chain, node)
    groups = chain.integer(node, "group", 1)
    filters, channels = weights.shape[:2]
    if groups < 1 or channels * groups != chain.shape[0] or filters % groups:
        chain.refuse(node, f"weights for {chain.shape[0]} channels in {groups} groups", weights.shape)
    strides, dilations = per_axis(chain, node, "strides", rank), per_axis(chain, node, "dilations", rank)
    extents = [(n - 1) * d + 1 for n, d in zip(size, dilations)]
    sizes = chain.shape[1:]
    pads = window_pads(chain, node, sizes, extents, strides)
    padding = "same" if any(map(any, pads)) and pads == same_pads(sizes, extents, strides) else "valid"
    if padding == "valid":
        _spatial_pads(chain, node, pads)
    bias = _bias(chain, node, filters)
    chain.add(
        node, getattr(layers, f"Conv{rank}D"), weights.transpose(*range(2, rank + 2), 1, 0), *bias, filters=filters,
        kernel_size=tuple(size), strides=tuple(strides), dilation_rate=tuple(dilations), groups=groups, padding=padding,
        use_bias=bool(bias), **FIRST,
    )  # fmt: skip


def conv_transpose(chain: Chain, node: Node) -> None:
    """ConvTranspose."""
    weights, rank, size = _kernel(chain, node)
    groups = chain.integer(node, "group", 1)
    if not 1 <= groups <= MOST_GROUPS or weights.shape[0] != chain.shape[0] or weights.shape[0] % groups:
        chain.refuse(node, f"weights for {chain.shape[0]} channels in at most {MOST_GROUPS} groups", weights.shape)
    strides, dilations = per_axis(chain, node, "strides", rank), per_axis(chain, node, "dilations", rank)
    extents = [(n - 1) * d + 1 for n, d in zip(size, dilations)]
    extra = per_axis(chain, node, "output_padding", rank, 0, 0)
    sizes = chain.shape[1:]
    full = [(n - 1) * s + e + p for n, s, e, p in zip(sizes, strides, extents, extra)]
    pads = _transposed_pads(chain, node, sizes, strides, full)
    extra = [p + max(-after, 0) for p, (_, after) in zip(extra, pads)]
    crops = [(before, max(after, 0)) for before, after in pads]
    if any(before < 0 for before, _ in crops) or any(p >= s for p, s in zip(extra, strides) if p):
        chain.refuse(node, f"padding at the end below strides {strides}", pads)
    kernel = _one_group(weights, groups)
    bias = _bias(chain, node, kernel.shape[1])
    if max(full) > LONGEST_AXIS:
        chain.refuse(node, f"at most {LONGEST_AXIS} rows and columns", full)
    chain.add(
        node, getattr(layers, f"Conv{rank}DTranspose"), kernel.transpose(*range(2, rank + 2), 1, 0), *bias,
        filters=kernel.shape[1], kernel_size=tuple(size), strides=tuple(strides), dilation_rate=tuple(dilations),
        output_padding=tuple(extra), use_bias=bool(bias), **FIRST,
    )  # fmt: skip
    _spatial_pads(chain, node, [(-before, -after) for before, after in crops])


def _transposed_pads(
    chain: Chain, node: Node, sizes: Sequence[int], strides: Sequence[int], full: Sequence[int]
) -> Margins:
    """What is cut off before and after; negative: added."""
    mode = node.attributes.get("auto_pad", "NOTSET")
    rank = len(sizes)
    if "output_shape" in node.attributes:
        wanted = per_axis(chain, node, "output_shape", rank)
    elif mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(sizes, strides)]
    else:
        return window_pads(chain, node, sizes, [1] * rank, strides)
    found = []
    for n, out in zip(full, wanted):
        total = n - out
        if total < 0:
            found.append((0, total))
        else:
            small, large = total // 2, total - total // 2
            found.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return found


def _one_group(weights: Array, groups: int) -> Array:
    """(channels, filters / groups, ...) as (channels, filters, ...), zero between the groups."""
    if groups == 1:
        return weights
    channels, filters = weights.shape[0] // groups, weights.shape[1]
    kernel = np.zeros((weights.shape[0], filters * groups, *weights.shape[2:]), np.float32)
    for g in range(groups):
        at = slice(g * channels, (g + 1) * channels)
        kernel[at, g * filters : (g + 1) * filters] = weights[at]
    return kernel


def max_pool(chain: Chain, node: Node) -> None:
    """MaxPool."""
    _pool(chain, node, "Max", count_padding=False)


def average_pool(chain: Chain, node: Node) -> None:
    """AveragePool."""
    _pool(chain, node, "Average", count_padding=chain.flag(node, "count_include_pad"))


def _pool(chain: Chain, node: Node, kind: str, count_padding: bool) -> None:
    size = node.attributes.get("kernel_shape")
    rank = len(size) if isinstance(size, list) else 0
    sizes = spatial(chain, node, rank)
    window = per_axis(chain, node, "kernel_shape", rank)
    strides = per_axis(chain, node, "strides", rank)
    dilations = per_axis(chain, node, "dilations", rank)
    extents = [(n - 1) * d + 1 for n, d in zip(window, dilations)]
    pads = window_pads(chain, node, sizes, extents, strides)
    if dilations != [1] * rank:
        whole = not chain.flag(node, "ceil_mode") or all((n - e) % s == 0 for n, e, s in zip(sizes, extents, strides))
        if any(map(any, pads)) or not whole or any(n < e for n, e in zip(sizes, extents)):
            chain.refuse(node, "neither padding nor ceil_mode where dilations are above 1", pads)
        for axis in range(rank):
            _dilated_pool(chain, node, kind, axis + 1, window[axis], strides[axis], dilations[axis])
        return
    rounded = pads
    if chain.flag(node, "ceil_mode") and node.attributes.get("auto_pad", "NOTSET") == "NOTSET":
        rounded = [_rounded_up(n, k, s, pad) for n, k, s, pad in zip(sizes, window, strides, pads)]
    arguments: dict[str, Any] = {"pool_size": tuple(window), "strides": tuple(strides), **FIRST}
    if count_padding and any(map(any, pads)):
        if any(over[1] > pad[1] for over, pad in zip(rounded, pads)):
            chain.refuse(node, "windows within the padding, where that counts", rounded)
        _spatial_pads(chain, node, rounded)
        arguments["padding"] = "valid"
    elif count_padding and rounded != pads:  # beyond the image nothing counts
        arguments["padding"] = tuple(rounded)
    elif not any(map(any, rounded)):
        arguments["padding"] = "valid"
    elif rounded == same_pads(sizes, window, strides):
        arguments["padding"] = "same"
    else:
        arguments["padding"] = tuple(rounded)
    chain.add(node, getattr(layers, f"{kind}Pooling{rank}D"), **arguments)


def _dilated_pool(chain: Chain, node: Node, kind: str, axis: int, window: int, stride: int, dilation: int) -> None:
    """One axis, over positions `dilation` apart: put in rows of that many, they are neighbours in a column."""
    shape = chain.shape
    before, size, after = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    rows = -(-size // dilation)
    outputs = size - (window - 1) * dilation
    pad_axes(chain, node, {axis: (0, rows * dilation - size)})
    chain.reshape(node, (before, rows, dilation * after))
    pooling = getattr(layers, f"{kind}Pooling2D")
    chain.add(node, pooling, pool_size=(1, window), strides=1, data_format="channels_last")
    surplus = (rows - window + 1) * dilation
    chain.reshape(node, (*shape[:axis], surplus, *shape[axis + 1 :]))
    pad_axes(chain, node, {axis: (0, outputs - surplus)})
    if stride > 1:
        chain.reshape(node, (before, outputs, after))
        chain.add(node, layers.MaxPooling2D, pool_size=1, strides=(1, stride), data_format="channels_last")
        chain.reshape(node, (*shape[:axis], chain.shape[1], *shape[axis + 1 :]))


def _rounded_up(size: int, window: int, stride: int, pad: tuple[int, int]) -> tuple[int, int]:
    """Padding with which the last window, begun inside the image, is one more than fits."""
    before, after = pad
    count = -(-(size + before + after - window) // stride) + 1
    if (count - 1) * stride >= size + before:
        count -= 1
    end = (count - 1) * stride + window - size - before
    return before, max(end, 0)
