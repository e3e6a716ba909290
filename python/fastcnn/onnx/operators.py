"""ONNX's operators as layers: a function for each, which reads a node and appends to the chain.

Images stay channels first, as ONNX has them: a layer with data_format="channels_first" costs nothing between others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import layers
from fastcnn.onnx.chain import BATCH, LONGEST_AXIS, Array, Chain
from fastcnn.onnx.proto import Node
from fastcnn.onnx.windows import average_pool, conv, conv_transpose, max_pool, pad_axes

FIRST = {"data_format": "channels_first"}
FLOAT_LIMIT = 3.4e38  # bounds beyond it bound nothing


def _layer(kind: Any, **arguments: Any) -> Callable[[Chain, Node], None]:
    """An operator that is a layer with these arguments."""
    return lambda chain, node: chain.add(node, kind, **arguments)


def _activation(name: str) -> Callable[[Chain, Node], None]:
    return _layer(layers.Activation, activation=name)


# --- elementwise -------------------------------------------------------------------------------------------------


def _other(chain: Chain, node: Node) -> tuple[Array, bool]:
    """The constant of an operator of two inputs, and whether it comes second."""
    if len(node.inputs) != 2 or node.inputs[0] == node.inputs[1]:
        chain.refuse(node, "the samples and a constant", list(node.inputs))
    second = node.inputs[0] == chain.current
    return chain.weights(node, 1 if second else 0), second


def _add(chain: Chain, node: Node) -> None:
    value = _other(chain, node)[0]
    if not _as_bias(chain, node, value):
        chain.affine(node, 1.0, value)


def _as_bias(chain: Chain, node: Node, value: Array) -> bool:
    """Whether what is added became the bias of the dense layer before."""
    layer, weights = chain.layers[-1] if chain.layers else (None, [])
    if not isinstance(layer, layers.Dense) or layer.use_bias or value.size not in (1, layer.units):
        return False
    if value.size != 1 and value.shape[-1] != layer.units:
        return False
    chain.layers.pop()
    chain.shape = (*chain.shape[:-1], weights[0].shape[0])
    chain.add(node, layers.Dense, weights[0], np.broadcast_to(value.reshape(-1), (layer.units,)), units=layer.units)
    return True


def _sub(chain: Chain, node: Node) -> None:
    value, second = _other(chain, node)
    chain.affine(node, 1.0 if second else -1.0, -value if second else value)


def _mul(chain: Chain, node: Node) -> None:
    chain.affine(node, _other(chain, node)[0], 0.0)


def _div(chain: Chain, node: Node) -> None:
    value, second = _other(chain, node)
    if not second or np.any(value == 0.0):
        chain.refuse(node, "a divisor that is a constant without zeros", node.inputs[1])
    chain.affine(node, 1.0 / value, 0.0)


def _neg(chain: Chain, node: Node) -> None:
    chain.affine(node, -1.0, 0.0)


def _bounded(chain: Chain, node: Node, low: float, high: float) -> None:
    """min(max(x, low), high)"""
    if low > high:
        chain.affine(node, 0.0, high)
    elif low < -FLOAT_LIMIT and high > FLOAT_LIMIT:
        pass
    elif low < -FLOAT_LIMIT:
        chain.affine(node, -1.0, high)
        chain.add(node, layers.ReLU)
        chain.affine(node, -1.0, high)
    elif high > FLOAT_LIMIT:
        _shifted(chain, node, low, lambda: chain.add(node, layers.ReLU))
    elif (low, high) == (-1.0, 1.0):
        chain.add(node, layers.Activation, activation="hard_tanh")
    else:
        _shifted(chain, node, low, lambda: chain.add(node, layers.ReLU, max_value=high - low))


def _shifted(chain: Chain, node: Node, by: float, append: Callable[[], None]) -> None:
    if by:
        chain.affine(node, 1.0, -by)
    append()
    if by:
        chain.affine(node, 1.0, by)


def _clip(chain: Chain, node: Node) -> None:
    _bounded(chain, node, chain.number(node, 1, "min", -math.inf), chain.number(node, 2, "max", math.inf))


def _max(chain: Chain, node: Node) -> None:
    _bounded(chain, node, float(_single(chain, node)), math.inf)


def _min(chain: Chain, node: Node) -> None:
    _bounded(chain, node, -math.inf, float(_single(chain, node)))


def _single(chain: Chain, node: Node) -> Any:
    value = _other(chain, node)[0]
    if value.size != 1:
        chain.refuse(node, "a constant that is one number", value.shape)
    return value.reshape(-1)[0]


def _leaky_relu(chain: Chain, node: Node) -> None:
    chain.add(node, layers.LeakyReLU, negative_slope=chain.real(node, "alpha", 0.01))


def _elu(chain: Chain, node: Node) -> None:
    chain.add(node, layers.ELU, alpha=chain.real(node, "alpha", 1.0))


def _thresholded(chain: Chain, node: Node) -> None:
    chain.add(node, layers.ReLU, threshold=chain.real(node, "alpha", 1.0))


def _hard_sigmoid(chain: Chain, node: Node) -> None:
    alpha, beta = chain.real(node, "alpha", 0.2), chain.real(node, "beta", 0.5)
    if abs(alpha - 1.0 / 6.0) < 1e-6 and beta == 0.5:
        chain.add(node, layers.Activation, activation="hard_sigmoid")
    else:
        chain.affine(node, alpha, beta)
        chain.add(node, layers.ReLU, max_value=1.0)


def _with_defaults(name: str, defaults: dict[str, float]) -> Callable[[Chain, Node], None]:
    """An operator whose layer has constants of its own, which are these."""

    def append(chain: Chain, node: Node) -> None:
        for attribute, wanted in defaults.items():
            value = chain.real(node, attribute, wanted)
            if abs(value - wanted) > 1e-5:
                chain.refuse(node, f"{attribute} to be {wanted}", value)
        chain.add(node, layers.Activation, activation=name)

    return append


def _gelu(chain: Chain, node: Node) -> None:
    if node.attributes.get("approximate", "none") != "none":
        chain.refuse(node, "approximate to be 'none'", node.attributes["approximate"])
    chain.add(node, layers.Activation, activation="gelu")


def _prelu(chain: Chain, node: Node) -> None:
    slope = chain.weights(node, 1)
    slope = chain._of_sample(node, slope)
    shared = [axis + 1 for axis, size in enumerate(slope.shape) if size == 1]
    chain.add(node, layers.PReLU, slope, shared_axes=shared or None)


def _softmax(name: str) -> Callable[[Chain, Node], None]:
    def append(chain: Chain, node: Node) -> None:
        since_13 = chain.opset >= 13
        axis = chain.axis(node, chain.integer(node, "axis", -1 if since_13 else 1))
        shape = chain.shape
        if not since_13 and axis + 1 < len(shape):  # over all axes from there on
            chain.reshape(node, (*shape[:axis], math.prod(shape[axis:])))
        elif axis + 1 < len(shape) and name != "softmax":
            chain.refuse(node, "the last axis", axis)
        if name == "softmax":
            chain.add(node, layers.Softmax, axis=min(axis, len(chain.shape) - 1) + 1)
        else:
            chain.add(node, layers.Activation, activation=name)
        chain.reshape(node, shape)

    return append


def _dropout(chain: Chain, node: Node) -> None:
    training = chain.constant(node, 2)
    if training is not None and bool(np.any(training)):
        chain.refuse(node, "training_mode to be false", True)
    rate = chain.number(node, 1, "ratio", 0.5)
    chain.add(node, layers.Dropout, rate=rate)


def _batch_normalization(chain: Chain, node: Node) -> None:
    if chain.flag(node, "training_mode") or not chain.flag(node, "spatial", 1):
        chain.refuse(node, "statistics that are constants, one for each channel", "training_mode or spatial")
    if chain.whole:
        chain.refuse(node, "a batch", "one array")
    weights = [chain.weights(node, position) for position in range(1, 5)]
    if any(array.shape != (chain.shape[0],) for array in weights):
        chain.refuse(node, f"weights of shape ({chain.shape[0]},)", [array.shape for array in weights])
    epsilon, momentum = chain.real(node, "epsilon", 1e-5), chain.real(node, "momentum", 0.9)
    chain.add(node, layers.BatchNormalization, *weights, axis=1, epsilon=epsilon, momentum=momentum)


# --- products ----------------------------------------------------------------------------------------------------


def _gemm(chain: Chain, node: Node) -> None:
    if len(chain.shape) != (2 if chain.whole else 1):
        chain.refuse(node, "a matrix", chain.shape)
    if chain.flag(node, "transA"):
        if not chain.whole:
            chain.refuse(node, "transA to be 0", 1)
        chain.add(node, layers.Permute, dims=(2, 1))
    kernel = chain.weights(node, 1)
    if kernel.ndim != 2:
        chain.refuse(node, "a matrix as input 1", kernel.shape)
    kernel = kernel.T if chain.flag(node, "transB") else kernel
    bias = None if chain.constant(node, 2) is None else chain.weights(node, 2)
    alpha, beta = chain.real(node, "alpha", 1.0), chain.real(node, "beta", 1.0)
    _dense(chain, node, np.float32(alpha) * kernel)
    if bias is not None and not _as_bias(chain, node, np.float32(beta) * bias):
        chain.affine(node, 1.0, np.float32(beta) * bias)


def _matmul(chain: Chain, node: Node) -> None:
    if node.inputs[0] != chain.current:
        chain.refuse(node, "the samples first", list(node.inputs))
    kernel = chain.weights(node, 1)
    if kernel.ndim not in (1, 2):
        chain.refuse(node, "a matrix or a vector as input 1", kernel.shape)
    _dense(chain, node, kernel.reshape(len(kernel), -1))
    if kernel.ndim == 1:
        chain.reshape(node, chain.shape[:-1])


def _dense(chain: Chain, node: Node, kernel: Array) -> None:
    if kernel.shape[0] != chain.shape[-1]:
        chain.refuse(node, f"a matrix of {chain.shape[-1]} rows", kernel.shape)
    chain.add(node, layers.Dense, kernel, units=kernel.shape[1], use_bias=False)


# --- shapes ------------------------------------------------------------------------------------------------------


def _flatten(chain: Chain, node: Node) -> None:
    axis = chain.integer(node, "axis", 1)
    axis += chain.rank() if axis < 0 else 0
    if chain.whole:
        if not 0 <= axis <= chain.rank():
            chain.refuse(node, f"an axis of {chain.rank()}", axis)
        chain.reshape(node, (math.prod(chain.shape[:axis]), math.prod(chain.shape[axis:])))
    elif axis == 1:
        chain.reshape(node, (math.prod(chain.shape),))
    else:
        chain.refuse(node, "axis to be 1: each sample on its own", axis)


def _reshape(chain: Chain, node: Node) -> None:
    name = node.inputs[1] if len(node.inputs) > 1 else ""
    wanted: list[Any] | None = list(chain.shapes[name]) if name in chain.shapes else chain.integers(node, 1, "shape")
    if not wanted or any(n is not BATCH and n < -1 for n in wanted):
        chain.refuse(node, "a shape", wanted)
    full: list[Any] = list(chain.shape) if chain.whole else [BATCH, *chain.shape]
    if chain.flag(node, "allowzero") and 0 in wanted:
        chain.refuse(node, "a shape without zeros", wanted)
    if any(n is not BATCH and n == 0 and i >= len(full) for i, n in enumerate(wanted)):
        chain.refuse(node, "zeros for axes that the input has", wanted)
    wanted = [full[i] if n is not BATCH and n == 0 else n for i, n in enumerate(wanted)]
    size = math.prod(chain.shape)
    if not chain.whole:
        first, wanted = wanted[0], wanted[1:]
        known = -1 not in wanted and BATCH not in wanted and math.prod(wanted) == size
        if first is not BATCH and first != chain.batch and not (first == -1 and known):
            chain.refuse(node, "a shape that begins with the batch", [first, *wanted])
    if BATCH in wanted or wanted.count(-1) > 1:
        chain.refuse(node, "one size at most to be -1, and the batch first", wanted)
    rest = math.prod(n for n in wanted if n != -1)
    if -1 in wanted and (rest == 0 or size % rest):
        chain.refuse(node, f"a shape of {size} elements", wanted)
    chain.reshape(node, [size // rest if n == -1 else n for n in wanted])


def _transpose(chain: Chain, node: Node) -> None:
    rank = chain.rank()
    order = node.attributes.get("perm", list(range(rank))[::-1])
    if not isinstance(order, list) or sorted(order) != list(range(rank)):
        chain.refuse(node, f"perm to be the axes 0 to {rank - 1} in some order", order)
    if not chain.whole and order[0] != 0:
        chain.refuse(node, "the batch to stay first", order)
    dims = tuple(axis + 1 for axis in order) if chain.whole else tuple(order[1:])
    if dims != tuple(range(1, len(dims) + 1)):
        chain.add(node, layers.Permute, dims=dims)


def _squeeze(chain: Chain, node: Node) -> None:
    axes = chain.integers(node, 1, "axes")
    if axes is None:
        chain.refuse(node, "axes", None)
    gone = {chain.axis(node, axis) for axis in axes}
    if any(chain.shape[axis] != 1 for axis in gone):
        chain.refuse(node, "axes of size 1", axes)
    chain.reshape(node, [size for axis, size in enumerate(chain.shape) if axis not in gone])


def _unsqueeze(chain: Chain, node: Node) -> None:
    axes = chain.integers(node, 1, "axes") or []
    rank = chain.rank() + len(axes)
    found = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if (
        not axes
        or len(set(found)) != len(found)
        or found[0] < (0 if chain.whole else 1)
        or found[-1] >= rank
        or rank > 8
    ):
        chain.refuse(node, f"axes of {rank}, the batch before them", axes)
    full: list[int] = list(chain.shape) if chain.whole else [0, *chain.shape]
    for axis in found:
        full.insert(axis, 1)
    chain.reshape(node, full if chain.whole else full[1:])


def _cast(chain: Chain, node: Node) -> None:
    if node.attributes.get("to") != 1:
        chain.refuse(node, "a cast to float32", node.attributes.get("to"))


def _nothing(chain: Chain, node: Node) -> None:
    """The identity."""


def _pad(chain: Chain, node: Node) -> None:
    if node.attributes.get("mode", "constant") != "constant":
        chain.refuse(node, "mode to be 'constant'", node.attributes["mode"])
    rank = chain.rank()
    given = chain.integers(node, 3) if chain.opset >= 18 else None
    axes = list(range(rank)) if given is None else [axis + rank if axis < 0 else axis for axis in given]
    pads = chain.integers(node, 1, "pads" if chain.opset > 1 else "paddings")
    if (
        pads is None
        or len(pads) != 2 * len(axes)
        or len(set(axes)) != len(axes)
        or not all(0 <= a < rank for a in axes)
    ):
        chain.refuse(node, "two integers for each axis", pads)
    value = chain.number(node, 2, "value", 0.0)
    if not math.isfinite(value):
        chain.refuse(node, "a finite number to pad with", value)
    margins = {}
    for i, axis in enumerate(axes):
        before, after = pads[i], pads[i + len(axes)]
        if (before, after) != (0, 0):
            margins[chain.axis(node, axis)] = (before, after)
    _shifted(chain, node, value, lambda: pad_axes(chain, node, margins))


def _slice(chain: Chain, node: Node) -> None:
    begin, end = chain.integers(node, 1, "starts"), chain.integers(node, 2, "ends")
    steps = chain.integers(node, 4)
    axes = chain.integers(node, 3, "axes")
    if begin is None or end is None or len(begin) != len(end) or (steps and set(steps) != {1}):
        chain.refuse(node, "starts and ends, in steps of 1", (begin, end, steps))
    axes = list(range(len(begin))) if axes is None else axes
    if len(axes) != len(begin):
        chain.refuse(node, "an axis for each start", axes)
    margins = {}
    for axis, first, last in zip((chain.axis(node, axis) for axis in axes), begin, end):
        size = chain.shape[axis]
        first, last, _ = slice(first, last).indices(size)
        if first >= last or axis in margins:
            chain.refuse(node, "something to be left of each axis, named once", (begin, end, axes))
        margins[axis] = (-first, last - size)
    pad_axes(chain, node, margins)


# --- pooling over everything -------------------------------------------------------------------------------------


def _global_pool(kind: str) -> Callable[[Chain, Node], None]:
    def append(chain: Chain, node: Node) -> None:
        rank = len(chain.shape) - 1
        if chain.whole or rank not in (1, 2):
            chain.refuse(node, "images or sequences, channels first", chain.shape)
        chain.add(node, getattr(layers, f"Global{kind}Pooling{rank}D"), keepdims=True, **FIRST)

    return append


def _reduce(kind: str) -> Callable[[Chain, Node], None]:
    def append(chain: Chain, node: Node) -> None:
        axes = chain.integers(node, 1, "axes")
        found = sorted(chain.axis(node, axis) for axis in axes or [])
        if chain.whole or len(found) not in (1, 2) or found != list(range(1, len(chain.shape))):
            chain.refuse(node, "all axes after the channels", axes)
        keep = chain.flag(node, "keepdims", 1)
        chain.add(node, getattr(layers, f"Global{kind}Pooling{len(found)}D"), keepdims=keep, **FIRST)

    return append


def _resize(chain: Chain, node: Node) -> None:
    """Enlarging by whole numbers, as UpSampling2D does."""
    scales = chain.constant(node, 1 if chain.opset < 11 else 2)
    mode = node.attributes.get("mode", "nearest")
    place = node.attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    nearest = mode == "nearest" and (chain.opset < 11 or (place == "asymmetric" and rounding == "floor"))
    linear = mode == "linear" and chain.opset >= 11 and place in ("half_pixel", "pytorch_half_pixel")
    if not nearest and not linear:
        chain.refuse(node, "nearest (asymmetric, floor) or linear (half_pixel)", (mode, place, rounding))
    values = [] if scales is None else [float(v) for v in scales.reshape(-1)]
    whole = all(v.is_integer() and 1 <= v <= LONGEST_AXIS for v in values)
    if chain.whole or len(chain.shape) != 3 or len(values) != 4 or values[:2] != [1.0, 1.0] or not whole:
        chain.refuse(node, "images enlarged by whole numbers", values or "no scales")
    size = (int(values[2]), int(values[3]))
    if any(n * times > LONGEST_AXIS for n, times in zip(chain.shape[1:], size)):
        chain.refuse(node, f"at most {LONGEST_AXIS} rows and columns", values)
    interpolation = "nearest" if nearest else "bilinear"
    chain.add(node, layers.UpSampling2D, size=size, interpolation=interpolation, **FIRST)


OPERATORS: dict[str, Callable[[Chain, Node], None]] = {
    "Add": _add,
    "AveragePool": average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Celu": _with_defaults("celu", {"alpha": 1.0}),
    "Clip": _clip,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": _div,
    "Dropout": _dropout,
    "Elu": _elu,
    "Exp": _activation("exponential"),
    "Flatten": _flatten,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool("Average"),
    "GlobalMaxPool": _global_pool("Max"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation("hard_silu"),
    "Identity": _nothing,
    "LeakyRelu": _leaky_relu,
    "LogSoftmax": _softmax("log_softmax"),
    "MatMul": _matmul,
    "Max": _max,
    "MaxPool": max_pool,
    "Min": _min,
    "Mish": _activation("mish"),
    "Mul": _mul,
    "Neg": _neg,
    "PRelu": _prelu,
    "Pad": _pad,
    "ReduceMax": _reduce("Max"),
    "ReduceMean": _reduce("Average"),
    "Relu": _layer(layers.ReLU),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": _with_defaults("selu", {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875}),
    "Sigmoid": _activation("sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax("softmax"),
    "Softplus": _activation("softplus"),
    "Softsign": _activation("softsign"),
    "Squeeze": _squeeze,
    "Sub": _sub,
    "Tanh": _activation("tanh"),
    "ThresholdedRelu": _thresholded,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}
