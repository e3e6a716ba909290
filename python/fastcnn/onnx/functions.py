"""The elementwise functions of the native graph as ONNX nodes; equations: `Function` in cpp/kernels/api_layers.h."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastcnn.onnx.writer import Writer

Write = Callable[["Writer", str, float, float, float], str]


def _relu(w: Writer, x: str, a: float, b: float, c: float) -> str:
    if c == 0.0 and math.isinf(b):
        return w.node("Relu", x) if a == 0.0 else w.node("LeakyRelu", x, alpha=a)
    if c == 0.0 and a == 0.0:
        return w.node("Clip", x, w.number(0.0), w.number(b))
    above = x if math.isinf(b) else w.node("Min", x, w.number(b))
    below = w.node("Mul", w.node("Sub", x, w.number(c)), w.number(a))
    return w.node("Where", w.node("Greater", x, w.number(c)), above, below)


def _elu(w: Writer, x: str, a: float, b: float, c: float) -> str:
    if b == 1.0:
        return w.node("Elu", x, alpha=a) if c == 1.0 else w.node("Selu", x, alpha=a, gamma=c)
    below = w.node("Sub", w.node("Exp", w.node("Mul", w.node("Min", x, w.number(0.0)), w.number(b))), w.number(1.0))
    y = w.node("Where", w.node("Greater", x, w.number(0.0)), x, w.node("Mul", below, w.number(a)))
    return w.node("Mul", y, w.number(c))


def _gelu(w: Writer, x: str, a: float, b: float, c: float) -> str:
    share = w.node("Add", w.node("Erf", w.node("Mul", x, w.number(math.sqrt(0.5)))), w.number(1.0))
    return w.node("Mul", w.node("Mul", x, share), w.number(0.5))


def _gelu_tanh(w: Writer, x: str, a: float, b: float, c: float) -> str:
    cube = w.node("Mul", w.node("Mul", w.node("Mul", x, x), x), w.number(0.044715))
    inner = w.node("Mul", w.node("Add", x, cube), w.number(math.sqrt(2.0 / math.pi)))
    share = w.node("Add", w.node("Tanh", inner), w.number(1.0))
    return w.node("Mul", w.node("Mul", x, share), w.number(0.5))


def _squareplus(w: Writer, x: str, a: float, b: float, c: float) -> str:
    root = w.node("Sqrt", w.node("Add", w.node("Mul", x, x), w.number(a)))
    return w.node("Mul", w.node("Add", x, root), w.number(0.5))


def _sparse_plus(w: Writer, x: str, a: float, b: float, c: float) -> str:
    rise = w.node("Add", w.node("Max", x, w.number(-1.0)), w.number(1.0))
    curve = w.node("Mul", w.node("Mul", rise, rise), w.number(0.25))
    return w.node("Where", w.node("Less", x, w.number(1.0)), curve, x)


FUNCTIONS: dict[str, Write] = {
    "relu": _relu,
    "elu": _elu,
    "exponential": lambda w, x, a, b, c: w.node("Exp", x),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": lambda w, x, a, b, c: w.node("Mul", x, w.node("Sigmoid", x)),
    "mish": lambda w, x, a, b, c: w.node("Mul", x, w.node("Tanh", w.node("Softplus", x))),
    "softplus": lambda w, x, a, b, c: w.node("Softplus", x),
    "log_sigmoid": lambda w, x, a, b, c: w.node("Neg", w.node("Softplus", w.node("Neg", x))),
    "softsign": lambda w, x, a, b, c: w.node("Softsign", x),
    "squareplus": _squareplus,
    "hard_sigmoid": lambda w, x, a, b, c: w.node("HardSigmoid", x, alpha=1.0 / 6.0, beta=0.5),
    "hard_silu": lambda w, x, a, b, c: w.node("HardSwish", x),
    "hard_tanh": lambda w, x, a, b, c: w.node("Clip", x, w.number(-1.0), w.number(1.0)),
    "hard_shrink": lambda w, x, a, b, c: w.node("Shrink", x, lambd=a, bias=0.0),
    "soft_shrink": lambda w, x, a, b, c: w.node("Shrink", x, lambd=a, bias=a),
    "tanh_shrink": lambda w, x, a, b, c: w.node("Sub", x, w.node("Tanh", x)),
    "threshold": lambda w, x, a, b, c: w.node("Where", w.node("Greater", x, w.number(a)), x, w.number(b)),
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": lambda w, x, a, b, c: w.node("HardSigmoid", x, alpha=0.5, beta=0.5),
}
