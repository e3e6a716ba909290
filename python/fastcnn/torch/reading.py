"""PyTorch -> fastcnn.

A `Reader` follows the tensor through the modules. With channels-first layers its axes stand as in PyTorch; with channels-last
ones it remembers their order, and only what needs another one gets a `Permute` before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastcnn import _messages, layers
from fastcnn.models.sequential import Sequential
from fastcnn.torch import functions, images, modules
from fastcnn.torch.reader import Reader, bias_of

# Functions of single elements: nothing about them depends on the order of a sample's elements.
_POINTWISE = (
    *(cls for cls, _ in functions.MODULES.values()), modules.LimitedReLU, nn.Dropout, nn.AlphaDropout, modules.GaussianNoise,
    modules.GaussianDropout, nn.Threshold,
)  # fmt: skip


def from_torch(module: nn.Module, input_shape: Sequence[int], *, data_format: str = "channels_first") -> Sequential:
    """A model with the layers of a PyTorch module and copies of its weights: equal outputs, equal gradients.

    Args:
        module: an nn.Sequential of modules that fastcnn has layers for, of further nn.Sequential's, or one such module.
        input_shape: one sample's shape as the module takes it, such as (channels, height, width).
        data_format: "channels_first": the model takes and gives what the module does. "channels_last": it takes and gives
            images and sequences with their channels last, and works so inside.

    Returns:
        A built model, not compiled. Weights with `requires_grad=False` are not trained.

    Raises:
        ValueError: a module or an argument that fastcnn cannot express exactly; the sentence names it.

    Example:
        >>> model = from_torch(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten()), (3, 6, 6))
        >>> model.input_shape, model.output_shape
        ((None, 3, 6, 6), (None, 128))
        >>> from_torch(nn.Sequential(nn.Conv2d(3, 8, 3)), (3, 6, 6), data_format="channels_last").input_shape
        (None, 6, 6, 3)
    """
    if not isinstance(module, nn.Module):
        _messages.fail("from_torch", "module", "a torch.nn.Module", module)
    sample = _messages.shape("from_torch", "input_shape", input_shape)
    data_format = _messages.choice("from_torch", "data_format", data_format, ("channels_first", "channels_last"))
    chain = _chain(module, "")
    if not chain:
        _messages.fail("from_torch", "module", "a module with parts", module)
    reader = Reader(sample, data_format)
    for position, (path, part) in enumerate(chain):
        reader.path, reader.following = path, [after for _, after in chain[position + 1 :]]
        read = _READERS.get(type(part))
        if read is None or part._forward_hooks or part._forward_pre_hooks:
            what = _messages.Text(type(part).__name__ + (" with hooks" if read else ""))
            reader.refuse(part, "module", "one that fastcnn has an exact counterpart of", what)
        read(reader, part)
    reader.arrange(reader.edge())
    return reader.model()


def _chain(module: nn.Module, path: str) -> list[tuple[str, nn.Module]]:
    """All parts in order, each with its path; nn.Sequential's inside each other become one."""
    if type(module) is not nn.Sequential or module._forward_hooks or module._forward_pre_hooks:
        return [(path, module)]
    children = module._modules.items()  # one that appears twice, twice
    return [found for name, child in children if child for found in _chain(child, f"{path}.{name}" if path else name)]


def _linear(reader: Reader, module: Any) -> None:
    if reader.shape[-1] != module.in_features:
        reader.refuse(module, "input", f"{module.in_features} features", reader.shape)
    last = len(reader.own)
    if reader.order[-1] != last:
        reader.arrange((*(axis for axis in range(last) if axis), last) if last == 1 else reader.plain())
    columns, reader.columns = reader.columns, None

    def kernel(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return (values if columns is None else values[:, columns]).T

    weights = {"kernel": reader.weight(module, "weight", kernel), **bias_of(reader, module)}
    reader.add(layers.Dense, module.out_features, use_bias=module.bias is not None, weights=weights)


def _batch_norm(reader: Reader, module: Any) -> None:
    frozen = isinstance(module, modules.FrozenBatchNorm)
    if not frozen:
        reader.needs_rank(module, *((1, 2) if isinstance(module, nn.BatchNorm1d) else (3,)))
    if module.momentum is None:
        reader.refuse(module, "momentum", "a number (None, the plain mean over all batches, has no counterpart)", None)
    if module.running_mean is None:
        reader.only(module, track_running_stats=True)
    if reader.shape[0] != module.num_features:
        reader.refuse(module, "input", f"{module.num_features} channels", reader.shape)
    weights = {
        "moving_mean": reader.weight(module, "running_mean"),
        "moving_variance": reader.weight(module, "running_var"),
        **({} if module.weight is None else {"gamma": reader.weight(module, "weight")}),
        **({} if module.bias is None else {"beta": reader.weight(module, "bias")}),
    }
    reader.add(
        layers.BatchNormalization, reader.order.index(1), momentum=1.0 - module.momentum, epsilon=module.eps,
        scale=module.weight is not None, center=module.bias is not None, trainable=not frozen, weights=weights,
    )  # fmt: skip


def _sample_norm(reader: Reader, module: Any) -> None:
    """Layer and RMS normalization, over the module's last axes."""
    sizes, rank = tuple(module.normalized_shape), len(reader.own)
    if reader.shape[-len(sizes) :] != sizes:
        reader.refuse(module, "input", f"samples whose last axes are {sizes}", reader.shape)
    first = rank + 1 - len(sizes)
    axes = sorted(reader.order.index(axis) for axis in range(first, rank + 1))
    turn = [reader.order[axis] - first for axis in axes]  # the weights' axes as the layer has them
    rms = isinstance(module, nn.RMSNorm)
    names = {"weight": "scale"} if rms else {"weight": "gamma", "bias": "beta"}
    present = {ours: name for name, ours in names.items() if getattr(module, name) is not None}
    weights = {ours: reader.weight(module, name, lambda w: w.transpose(turn)) for ours, name in present.items()}
    if rms:
        epsilon = float(torch.finfo(torch.float32).eps) if module.eps is None else module.eps
        reader.add(layers.RMSNormalization, axes, epsilon, weights=weights)
    else:
        options = {"scale": "gamma" in present, "center": "beta" in present}
        reader.add(layers.LayerNormalization, axes, module.eps, weights=weights, **options)


def _group_norm(reader: Reader, module: Any) -> None:
    if reader.shape[0] != module.num_channels:
        reader.refuse(module, "input", f"{module.num_channels} channels", reader.shape)
    weights = {
        **({} if module.weight is None else {"gamma": reader.weight(module, "weight")}),
        **({} if module.bias is None else {"beta": reader.weight(module, "bias")}),
    }
    reader.add(
        layers.GroupNormalization, module.num_groups, reader.order.index(1), module.eps,
        scale=module.weight is not None, center=module.bias is not None, weights=weights,
    )  # fmt: skip


def _unit_norm(reader: Reader, module: Any) -> None:
    axes = [dim % (len(reader.own) + 1) for dim in module.dims]
    if 0 in axes:
        reader.refuse(module, "dims", "axes of a sample", module.dims)
    reader.add(layers.UnitNormalization, sorted(reader.order.index(axis) for axis in axes))


def _activation(reader: Reader, module: Any) -> None:
    name = functions.name_of(module)
    if name is None:
        arguments = {
            key: getattr(module, key)
            for cls, given in functions.MODULES.values()
            if type(module) is cls
            for key in given
        }
        received = _messages.Text(", ".join(f"{key}={value!r}" for key, value in arguments.items()))
        reader.refuse(module, "arguments", functions.wanted(module), received)
    if name == "linear":
        reader.add(layers.Identity)
    else:
        reader.add(layers.Activation, name)


def _hard_tanh(reader: Reader, module: Any) -> None:
    if module.min_val == 0.0 and module.max_val >= 0.0:
        reader.add(layers.ReLU, float(module.max_val))
    else:
        _activation(reader, module)


def _softplus(reader: Reader, module: Any) -> None:
    if module.threshold < 20:  # from there on log(1 + e^x) and x are the same float32 number
        reader.refuse(module, "threshold", "at least 20", module.threshold)
    _activation(reader, module)


def _prelu(reader: Reader, module: Any) -> None:
    rank = len(reader.own)
    channel = reader.order.index(1)
    if module.num_parameters not in (1, reader.shape[0]):
        reader.refuse(module, "input", f"{module.num_parameters} channels", reader.shape)
    shared = [axis for axis in range(1, rank + 1) if module.num_parameters == 1 or axis != channel]
    shape = tuple(1 if axis in shared else module.num_parameters for axis in range(1, rank + 1))
    weights = {"alpha": reader.weight(module, "weight", lambda w: w.reshape(shape))}
    reader.add(layers.PReLU, shared_axes=shared or None, weights=weights)


def _scale(reader: Reader, module: Any) -> None:
    scale, offset = module.scale.numpy(), module.offset.numpy()
    if scale.ndim or offset.ndim:
        reader.arrange(reader.plain())
    reader.add(layers.Rescaling, scale.tolist(), offset.tolist())


def _element_prelu(reader: Reader, module: Any) -> None:
    reader.arrange(reader.plain())
    shape = tuple(module.weight.shape)
    if len(shape) != len(reader.own) or any(a not in (1, n) for a, n in zip(shape, reader.own)):
        reader.refuse(module, "input", f"samples that slopes {shape} fit", reader.shape)
    shared = [axis for axis, n in enumerate(shape, 1) if n == 1]
    reader.add(layers.PReLU, shared_axes=shared or None, weights={"alpha": reader.weight(module, "weight")})


def _softmax(reader: Reader, module: Any) -> None:
    rank, dim = len(reader.own), module.dim
    if dim is None:  # what PyTorch takes then
        dim = 0 if rank + 1 == 3 else 1
    axis = dim + rank + 1 if dim < 0 else dim
    if not 1 <= axis <= rank:
        reader.refuse(module, "dim", "an axis of a sample", module.dim)
    if isinstance(module, nn.Softmax):
        reader.add(layers.Softmax, reader.order.index(axis))
        return
    if reader.order[-1] != axis:
        reader.arrange((*(other for other in range(rank + 1) if other != axis), axis))
    reader.add(layers.Activation, "log_softmax")


def _softmax2d(reader: Reader, module: Any) -> None:
    reader.needs_rank(module, 3)
    reader.add(layers.Softmax, reader.order.index(1))


def _channel_dropout(reader: Reader, module: Any) -> None:
    rank = 2 if type(module).__name__.endswith("2d") else 1
    reader.needs_rank(module, rank + 1)
    if rank == 2:
        reader.arrange(reader.edge())
        reader.add(layers.SpatialDropout2D, module.p, data_format=reader.data_format)
    else:
        channel = reader.order.index(1)
        reader.add(layers.Dropout, module.p, noise_shape=(None, *(None if i == channel else 1 for i in (1, 2))))


def _shaped_dropout(reader: Reader, module: Any) -> None:
    if len(module.shape) != len(reader.order):
        reader.refuse(module, "shape", f"{len(reader.order)} entries, as the input has axes", module.shape)
    reader.add(layers.Dropout, module.p, noise_shape=tuple(module.shape[axis] for axis in reader.order))


def _flatten(reader: Reader, module: Any) -> None:
    rank = len(reader.own)
    first, last = (dim + rank + 1 if dim < 0 else dim for dim in (module.start_dim, module.end_dim))
    if not 1 <= first <= last <= rank:
        reader.refuse(module, "start_dim", "axes of a sample", (module.start_dim, module.end_dim))
    if (first, last) == (1, rank):
        _flatten_all(reader)
        return
    reader.arrange(reader.plain())
    shape = reader.own
    joined = int(np.prod(shape[first - 1 : last]))
    reader.add(layers.Reshape, (*shape[: first - 1], joined, *shape[last:]))


def _flatten_all(reader: Reader) -> None:
    """Elements may stay in the model's order where a Linear follows: its weights are put in that order instead."""
    after = next((module for module in reader.following if type(module) not in _POINTWISE), None)
    if reader.order != reader.plain() and type(after) is nn.Linear:
        places = np.arange(int(np.prod(reader.own))).reshape(reader.shape)
        reader.columns = places.transpose([axis - 1 for axis in reader.order[1:]]).ravel()
    else:
        reader.arrange(reader.plain())
    reader.add(layers.Flatten, data_format="channels_last")
    reader.order = (0, 1)


def _unflatten(reader: Reader, module: Any) -> None:
    dim = module.dim
    if not isinstance(dim, int):
        reader.refuse(module, "dim", "an integer", dim)
    axis = dim + len(reader.own) + 1 if dim < 0 else dim
    if not 1 <= axis <= len(reader.own):
        reader.refuse(module, "dim", "an axis of a sample", dim)
    reader.arrange(reader.plain())
    sizes = [int(n) for n in module.unflattened_size]
    reader.add(layers.Reshape, (*reader.own[: axis - 1], *sizes, *reader.own[axis:]))
    reader.order = reader.plain()


def _reshape(reader: Reader, module: Any) -> None:
    reader.arrange(reader.plain())
    reader.add(layers.Reshape, module.shape)


def _permute(reader: Reader, module: Any) -> None:
    """Nothing moves: only what the axes are called changes."""
    if module.dims[0] != 0 or sorted(module.dims) != list(reader.plain()):
        reader.refuse(module, "dims", f"0 and then each of {list(reader.plain()[1:])} once", module.dims)
    reader.order = tuple(module.dims.index(axis) for axis in reader.order)


def _repeat(reader: Reader, module: Any) -> None:
    reader.needs_rank(module, 1)
    reader.add(layers.RepeatVector, module.times)


def _threshold(reader: Reader, module: Any) -> None:
    if (module.threshold, module.value) != (0, 0):
        reader.refuse(module, "threshold", "0, and value 0", (module.threshold, module.value))
    reader.add(layers.ReLU)


def _plain(make: Callable[[Any], tuple[Any, ...]]) -> Callable[[Reader, Any], None]:
    """For modules that treat all elements alike: (class, *arguments)."""

    def read(reader: Reader, module: Any) -> None:
        cls, *arguments = make(module)
        reader.add(cls, *arguments)

    return read


# Exactly these classes: a subclass may compute something else.
_READERS: dict[type[Any], Callable[[Reader, Any], None]] = {
    **dict.fromkeys((cls for cls, _ in functions.MODULES.values()), _activation),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d), images.conv),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d), images.conv_transpose),
    nn.Linear: _linear,
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d), images.max_pool),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d), images.average_pool),
    modules.AveragePool: images.own_average_pool,
    **dict.fromkeys(
        (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), images.adaptive_pool
    ),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, modules.FrozenBatchNorm), _batch_norm),
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), _sample_norm),
    nn.GroupNorm: _group_norm,
    modules.UnitNorm: _unit_norm,
    nn.LeakyReLU: _plain(lambda module: (layers.LeakyReLU, float(module.negative_slope))),
    nn.ELU: _plain(lambda module: (layers.ELU, float(module.alpha))),
    modules.LimitedReLU: _plain(lambda m: (layers.ReLU, m.max_value, m.negative_slope, m.threshold)),
    nn.Hardtanh: _hard_tanh,
    nn.Softplus: _softplus,
    nn.Threshold: _threshold,
    nn.PReLU: _prelu,
    modules.ElementPReLU: _element_prelu,
    modules.Scale: _scale,
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax), _softmax),
    nn.Softmax2d: _softmax2d,
    nn.Dropout: _plain(lambda module: (layers.Dropout, module.p)),
    nn.AlphaDropout: _plain(lambda module: (layers.AlphaDropout, module.p)),
    **dict.fromkeys((nn.Dropout1d, nn.Dropout2d), _channel_dropout),
    modules.ShapedDropout: _shaped_dropout,
    modules.GaussianNoise: _plain(lambda module: (layers.GaussianNoise, module.stddev)),
    modules.GaussianDropout: _plain(lambda module: (layers.GaussianDropout, module.p)),
    nn.Flatten: _flatten,
    nn.Unflatten: _unflatten,
    modules.Reshape: _reshape,
    modules.Permute: _permute,
    modules.RepeatVector: _repeat,
    **dict.fromkeys((nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d), images.padding),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d), images.upsample),
}
