"""Which module of torch.nn is which of fastcnn's activations, with the arguments that make it so."""

from __future__ import annotations

from typing import Any

from torch import nn

from fastcnn.torch.modules import Function

# activation -> (class, arguments); softmax and log_softmax, which have an axis, stand elsewhere.
MODULES: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
    "linear": (nn.Identity, {}),
    "relu": (nn.ReLU, {}),
    "relu6": (nn.ReLU6, {}),
    "leaky_relu": (nn.LeakyReLU, {"negative_slope": 0.2}),
    "elu": (nn.ELU, {"alpha": 1.0}),
    "celu": (nn.CELU, {"alpha": 1.0}),
    "selu": (nn.SELU, {}),
    "sigmoid": (nn.Sigmoid, {}),
    "tanh": (nn.Tanh, {}),
    "gelu": (nn.GELU, {"approximate": "none"}),
    "silu": (nn.SiLU, {}),
    "mish": (nn.Mish, {}),
    "softplus": (nn.Softplus, {"beta": 1.0}),
    "softsign": (nn.Softsign, {}),
    "log_sigmoid": (nn.LogSigmoid, {}),
    "hard_sigmoid": (nn.Hardsigmoid, {}),
    "hard_silu": (nn.Hardswish, {}),
    "hard_tanh": (nn.Hardtanh, {"min_val": -1.0, "max_val": 1.0}),
    "hard_shrink": (nn.Hardshrink, {"lambd": 0.5}),
    "soft_shrink": (nn.Softshrink, {"lambd": 0.5}),
    "tanh_shrink": (nn.Tanhshrink, {}),
    **{name: (Function, {"name": name}) for name in Function.FUNCTIONS},
}


def name_of(module: nn.Module) -> str | None:
    """The activation that `module` is, if it is one of these with these arguments."""
    for name, (cls, arguments) in MODULES.items():
        if type(module) is cls and all(getattr(module, key) == value for key, value in arguments.items()):
            return name
    return None


def wanted(module: nn.Module) -> str:
    """The arguments with which a module of that class would be an activation, in words."""
    arguments = next(arguments for cls, arguments in MODULES.values() if type(module) is cls)
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())
