"""fastcnn -> PyTorch.

The one difficulty is that torch.nn has channels after the batch and fastcnn mostly last. A `Writer` remembers in which order the
tensor between two modules has the axes that the layers speak of; a module that needs another order gets a `Permute` before
it, and all others none. So a chain of channels-last layers is permuted at its ends, where it is flattened, and nowhere else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastcnn import _messages, config, layers
from fastcnn.layers.layer import Layer, sample_axes
from fastcnn.models.sequential import Sequential
from fastcnn.torch import functions, geometry, modules
from fastcnn.variables import Variable

Order = tuple[int, ...]

_CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d}
_CONV_TRANSPOSE: dict[int, Any] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
_ZERO_PAD: dict[int, Any] = {1: nn.ZeroPad1d, 2: nn.ZeroPad2d}
_CONSTANT_PAD: dict[int, Any] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d}
_MAX_POOL: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
_AVERAGE_POOL: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
_ADAPTIVE_POOL: dict[tuple[str, int], Any] = {
    ("max", 1): nn.AdaptiveMaxPool1d,
    ("max", 2): nn.AdaptiveMaxPool2d,
    ("average", 1): nn.AdaptiveAvgPool1d,
    ("average", 2): nn.AdaptiveAvgPool2d,
}
_BATCH_NORM: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
_CHANNEL_DROPOUT: dict[int, Any] = {1: nn.Dropout1d, 2: nn.Dropout2d}


def to_torch(model: Sequential, *, data_format: str | None = None) -> nn.Sequential:
    """A PyTorch module with the model's layers and copies of its weights: equal outputs, equal gradients.

    Args:
        model: a built model.
        data_format: None: the module takes and gives what the model does. "channels_first": the model is a channels-last one, but
            the module takes and gives images and sequences with their channels after the batch, as is usual in PyTorch.

    Returns:
        An nn.Sequential in evaluation mode; its parts are named for the layers. Weights that are not trained have
        `requires_grad=False`.

    Raises:
        ValueError: a layer that torch.nn cannot express exactly; the sentence names it.

    Regularizers are terms of the loss, for which a module has no place: a warning names the layers that have some.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="relu", name="hidden")])
        >>> to_torch(model)
        Sequential(
          (hidden): Linear(in_features=4, out_features=2, bias=True)
          (hidden_relu): ReLU()
        )
    """
    if not isinstance(model, Sequential):
        _messages.fail("to_torch", "model", "a Sequential model", model)
    if data_format is not None:
        data_format = _messages.choice("to_torch", "data_format", data_format, ("channels_first",))
    model._require_built("to_torch")
    sample = tuple(int(n) for n in model.input_shape[1:] if n is not None)
    writer = Writer(_edge(len(sample), data_format))
    written = _sequence(writer, model, sample)
    writer.arrange(_edge(len(model.output_shape) - 1, data_format))
    if writer.regularized:
        warnings.warn(
            f"to_torch: the regularizers of {', '.join(writer.regularized)} are terms of the loss and not part of the module",
            stacklevel=2,
        )
    return written.eval()


def _edge(rank: int, data_format: str | None) -> Order:
    return _image_order(rank) if data_format == "channels_first" and rank > 1 else tuple(range(rank + 1))


def _image_order(rank: int, data_format: str = "channels_last") -> Order:
    """The axes as torch.nn wants those of an image: the batch, channels, others."""
    return (0, rank, *range(1, rank)) if data_format == "channels_last" else tuple(range(rank + 1))


class Writer:
    """Modules that are being put together, and the order of the axes after the last of them."""

    def __init__(self, order: Order) -> None:
        self.order = order  # axis i of the tensor is what the layers call axis order[i]
        self.written = nn.Sequential()
        self.layer = ""
        self.regularized: list[str] = []

    def add(self, module: nn.Module, what: str = "") -> None:
        """Appends a module of the current layer."""
        wish = "_".join(part for part in (self.layer.replace(".", "_"), what) if part) or "layer"
        name, number = wish, 1
        while hasattr(self.written, name):  # its children, and what nn.Module itself has under that name
            number += 1
            name = f"{wish}_{number}"
        self.written.add_module(name, module)

    def arrange(self, order: Order) -> None:
        """Brings the axes into that order."""
        if order != self.order:
            self.add(modules.Permute(tuple(self.order.index(axis) for axis in order)), "permute")
            self.order = order

    def arrange_last(self, axes: Sequence[int]) -> None:
        """Brings those axes, counted with the batch, to the end."""
        if self.order[len(self.order) - len(axes) :] != tuple(axes):
            self.arrange((*(axis for axis in range(len(self.order)) if axis not in axes), *axes))

    def arrange_second(self, axis: int) -> None:
        """Brings that axis behind the batch."""
        if self.order[1] != axis:
            self.arrange((0, axis, *(other for other in range(1, len(self.order)) if other != axis)))

    def refuse(self, layer: Layer, argument: str, expected: str, received: object) -> NoReturn:
        """Raises the ValueError about a layer."""
        _messages.fail(f"to_torch: {layer.name} ({type(layer).__name__})", argument, expected, received)


def _sequence(writer: Writer, model: Sequential, sample: tuple[int, ...]) -> nn.Sequential:
    written = writer.written
    for layer in model.layers:
        writer.layer = layer.name
        after = tuple(int(n) for n in layer.compute_output_shape((None, *sample))[1:] if n is not None)
        write = _WRITERS.get(type(layer))
        if write is None:
            writer.refuse(layer, "layer", "one that torch.nn has an exact counterpart of", _messages.Text(repr(layer)))
        write(writer, layer, sample)
        penalties = (value for name, value in vars(layer).items() if name.endswith("_regularizer"))
        if any(penalty is not None for penalty in penalties):
            writer.regularized.append(layer.name)
        sample = after
    return written


def _model(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    outer, inner = writer.written, nn.Sequential()
    writer.written = inner
    _sequence(writer, layer, sample)
    writer.written, writer.layer = outer, layer.name
    writer.add(inner)


def _margins(pairs: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """As torch wants them: the last axis first."""
    return tuple(n for pair in reversed(pairs) for n in pair)


def _set(module: nn.Module, name: str, variable: Variable | None, values: NDArray[np.float32] | None = None) -> None:
    """Gives the module a copy of the weight, or none where the layer has none."""
    if variable is None:
        module.register_parameter(name, None)
        return
    array = variable.numpy() if values is None else values
    tensor = torch.from_numpy(np.array(array, np.float32, order="C"))
    setattr(module, name, nn.Parameter(tensor, requires_grad=variable.trainable))


def _without_initial_values(cls: Any, *arguments: Any, **options: Any) -> nn.Module:
    """A module whose weights are set afterwards: draws nothing from PyTorch's random numbers."""
    return nn.utils.skip_init(cls, *arguments, **options)


def _activation(writer: Writer, function: Callable[..., Any], dim: int) -> None:
    name = function.__name__
    if name == "linear":
        return
    if name in ("softmax", "log_softmax"):
        writer.add(nn.Softmax(dim) if name == "softmax" else nn.LogSoftmax(dim), name)
    else:
        cls, arguments = functions.MODULES[name]
        writer.add(cls(**arguments), name)


def _add_conv(writer: Writer, layer: Any, weight: NDArray[np.float32], groups: int, sample: Any, bias: Any) -> None:
    """The convolution of (filters, channels / groups, *kernel) weights, with the layer's window."""
    rank, windows = layer._rank, geometry.windows(layer, sample)
    pairs = geometry.paddings(windows) if layer.padding == "same" else [(0, 0)] * rank
    padding: Any = tuple(before for before, _ in pairs)
    if layer.padding == "causal":
        writer.add(_ZERO_PAD[rank]((layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0)), "pad")
    elif any(before != after for before, after in pairs):
        if max(layer.strides) == 1:
            padding = "same"
        else:
            writer.add(_ZERO_PAD[rank](_margins(pairs)), "pad")
            padding = 0
    module = _without_initial_values(
        _CONV[rank], weight.shape[1] * groups, weight.shape[0], layer.kernel_size, stride=layer.strides, padding=padding,
        dilation=layer.dilation_rate, groups=groups, bias=bias is not None,
    )  # fmt: skip
    _set(module, "weight", layer.kernel, weight)
    _set(module, "bias", bias)
    writer.add(module)


def _conv(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    rank = layer._rank
    writer.arrange(_image_order(rank + 1, layer.data_format))
    weight = layer.kernel.numpy().transpose(rank + 1, rank, *range(rank))
    _add_conv(writer, layer, weight, layer.groups, sample, layer.bias)
    _activation(writer, layer.activation, 1)


def _depthwise_weight(layer: Any) -> NDArray[np.float32]:
    rank = layer._rank
    kernel: NDArray[np.float32] = layer.kernel.numpy()
    return kernel.transpose(rank, rank + 1, *range(rank)).reshape(-1, 1, *layer.kernel_size)


def _depthwise(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(_image_order(layer._rank + 1, layer.data_format))
    _add_conv(writer, layer, _depthwise_weight(layer), layer.kernel.shape[-2], sample, layer.bias)
    _activation(writer, layer.activation, 1)


def _separable(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    rank = layer._rank
    writer.arrange(_image_order(rank + 1, layer.data_format))
    _add_conv(writer, layer, _depthwise_weight(layer), layer.kernel.shape[-2], sample, None)
    kernel = layer.pointwise_kernel
    module = _without_initial_values(_CONV[rank], kernel.shape[-2], kernel.shape[-1], 1, bias=layer.use_bias)
    _set(module, "weight", kernel, kernel.numpy().transpose(rank + 1, rank, *range(rank)))
    _set(module, "bias", layer.bias)
    writer.add(module, "pointwise")
    _activation(writer, layer.activation, 1)


def _conv_transpose(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    """PyTorch cuts off as much at both ends, less at the end by output_padding; what else is cut off is cropped."""
    rank = layer._rank
    writer.arrange(_image_order(rank + 1, layer.data_format))
    padding, extra, crop = [], [], []
    for window in geometry.windows(layer, sample):  # of the convolution that this is the transpose of
        before = window["pad_begin"]
        whole = (window["outputs"] - 1) * window["stride"] + (window["size"] - 1) * window["dilation"] + 1
        after = whole - before - window["inputs"]
        both = max(0, min(before, after))
        padding.append(both)
        extra.append(max(0, both - after))
        crop.append((both - before, min(0, both - after)))
    if any(e >= max(s, d) for e, s, d in zip(extra, layer.strides, layer.dilation_rate)):
        writer.refuse(layer, "output_padding", f"less than strides {layer.strides} in all", extra)
    kernel = layer.kernel
    module = _without_initial_values(
        _CONV_TRANSPOSE[rank], kernel.shape[-1], layer.filters, layer.kernel_size, stride=layer.strides,
        padding=tuple(padding), output_padding=tuple(extra), bias=layer.use_bias, dilation=layer.dilation_rate,
    )  # fmt: skip
    _set(module, "weight", kernel, kernel.numpy().transpose(rank + 1, rank, *range(rank)))
    _set(module, "bias", layer.bias)
    writer.add(module)
    if any(n for pair in crop for n in pair):
        writer.add(_ZERO_PAD[rank](_margins(crop)), "crop")
    _activation(writer, layer.activation, 1)


def _dense(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange_last((len(sample),))
    module = _without_initial_values(nn.Linear, *layer.kernel.shape, bias=layer.use_bias)
    _set(module, "weight", layer.kernel, layer.kernel.numpy().T)
    _set(module, "bias", layer.bias)
    writer.add(module)
    _activation(writer, layer.activation, -1)


def _pooling(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    rank = layer._rank
    writer.arrange(_image_order(rank + 1, layer.data_format))
    pairs = geometry.paddings(geometry.windows(layer, sample)) if layer.padding != "valid" else [(0, 0)] * rank
    even = all(before == after <= size // 2 for (before, after), size in zip(pairs, layer.pool_size))
    padding = tuple(before for before, _ in pairs) if even else (0,) * rank
    if layer._kind == "max":
        if not even:
            writer.add(_CONSTANT_PAD[rank](_margins(pairs), -float("inf")), "pad")
        writer.add(_MAX_POOL[rank](layer.pool_size, layer.strides, padding))
    elif even:
        writer.add(_AVERAGE_POOL[rank](layer.pool_size, layer.strides, padding, count_include_pad=False))
    else:
        writer.add(modules.AveragePool(layer.pool_size, layer.strides, pairs))


def _global_pooling(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(_image_order(layer._rank + 1, layer.data_format))
    writer.add(_ADAPTIVE_POOL[layer._kind, layer._rank](1))
    if not layer.keepdims:
        writer.add(nn.Flatten(), "flatten")
        writer.order = (0, 1)


def _adaptive_pooling(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(_image_order(layer._rank + 1, layer.data_format))
    writer.add(
        _ADAPTIVE_POOL[layer._kind, layer._rank](layer.output_size if layer._rank == 2 else layer.output_size[0])
    )


def _activation_layer(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    _activation(writer, layer.activation, writer.order.index(len(sample)))


def _relu(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    arguments = (layer.max_value, layer.negative_slope, layer.threshold)
    if arguments == (None, 0.0, 0.0):
        writer.add(nn.ReLU())
    elif arguments == (6.0, 0.0, 0.0):
        writer.add(nn.ReLU6())
    elif arguments[::2] == (None, 0.0):
        writer.add(nn.LeakyReLU(layer.negative_slope))
    else:
        writer.add(modules.LimitedReLU(*arguments))


def _prelu(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    free = [axis for axis, size in enumerate(layer.alpha.shape, 1) if size > 1]
    if len(free) > 1 or not sample:
        writer.arrange(tuple(range(len(sample) + 1)))
        module: nn.Module = modules.ElementPReLU(layer.alpha.shape)
        _set(module, "weight", layer.alpha)
    else:
        if free:
            writer.arrange_second(free[0])
        module = nn.PReLU(layer.alpha.size)
        _set(module, "weight", layer.alpha, layer.alpha.numpy().ravel())
    writer.add(module)


def _scale(writer: Writer, scale: Any, offset: Any, sample: tuple[int, ...]) -> None:
    """x * scale + offset, numbers or arrays that are broadcast over samples."""
    scale, offset = np.asarray(scale, np.float32), np.asarray(offset, np.float32)
    if scale.ndim or offset.ndim:
        writer.arrange(tuple(range(len(sample) + 1)))
    writer.add(modules.Scale(scale, offset))


def _rescaling(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    _scale(writer, layer._scale, layer._offset, sample)


def _normalization(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    mean, variance = (
        np.asarray(values, np.float64).reshape(np.shape(values)[1:]) for values in (layer.mean, layer.variance)
    )
    deviation = np.maximum(np.sqrt(variance), config.epsilon())
    scale, offset = (deviation, mean) if layer.invert else (1.0 / deviation, -mean / deviation)
    _scale(writer, scale, offset, sample)


def _softmax(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    axes = [axis + 1 for axis in sample_axes(layer.name, layer.axis, len(sample))]
    if len(axes) == 1:
        writer.add(nn.Softmax(writer.order.index(axes[0])))
        return
    writer.arrange_last(axes)
    writer.add(nn.Flatten(-len(axes)), "flatten")
    writer.add(nn.Softmax(-1))
    writer.add(nn.Unflatten(-1, tuple(sample[axis - 1] for axis in axes)), "unflatten")


def _batch_norm(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    axis = layer._channel_axis(len(sample))
    writer.arrange_second(axis + 1)
    cls: Any = _BATCH_NORM.get(len(sample)) if layer.trainable else modules.FrozenBatchNorm
    if cls is None:
        writer.refuse(layer, "input", "samples of at most 4 axes", sample)
    module = cls(sample[axis], eps=layer.epsilon, momentum=1.0 - layer.momentum)
    _set(module, "weight", layer.gamma)
    _set(module, "bias", layer.beta)
    module.affine = layer.scale or layer.center
    module.running_mean.copy_(torch.from_numpy(layer.moving_mean.numpy()))
    module.running_var.copy_(torch.from_numpy(layer.moving_variance.numpy()))
    writer.add(module)


def _sample_norm(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    """Layer and RMS normalization."""
    axes = sample_axes(layer.name, layer.axis, len(sample))
    writer.arrange_last([axis + 1 for axis in axes])
    sizes = [sample[axis] for axis in axes]
    if isinstance(layer, layers.RMSNormalization):
        module: nn.Module = nn.RMSNorm(sizes, eps=layer.epsilon)
        _set(module, "weight", layer.scale)
    else:
        module = nn.LayerNorm(sizes, eps=layer.epsilon)
        _set(module, "weight", layer.gamma)
        _set(module, "bias", layer.beta)
        module.elementwise_affine = layer.scale or layer.center
    writer.add(module)


def _group_norm(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    axis = sample_axes(layer.name, layer.axis, len(sample))[0]
    writer.arrange_second(axis + 1)
    module = nn.GroupNorm(sample[axis] if layer.groups == -1 else layer.groups, sample[axis], eps=layer.epsilon)
    if layer.scale or not layer.center:
        _set(module, "weight", layer.gamma)
    else:  # PyTorch's gradient of one with a bias alone fails
        module.weight.requires_grad_(False)
    _set(module, "bias", layer.beta)
    writer.add(module)


def _unit_norm(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    axes = sample_axes(layer.name, layer.axis, len(sample))
    writer.add(modules.UnitNorm([writer.order.index(axis + 1) for axis in axes]))


def _dropout(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    if layer.noise_shape is None:
        writer.add(nn.Dropout(layer.rate))
    else:
        writer.add(modules.ShapedDropout(layer.rate, [layer.noise_shape[axis] for axis in writer.order]))


def _alpha_dropout(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    if layer.noise_shape is not None:
        writer.refuse(layer, "noise_shape", "None, as nn.AlphaDropout has no such argument", layer.noise_shape)
    writer.add(nn.AlphaDropout(layer.rate))


def _spatial_dropout(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(_image_order(len(sample), layer.data_format))
    writer.add(_CHANNEL_DROPOUT[len(sample) - 1](layer.rate))


def _flatten(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    rank = len(sample)
    first = layer.data_format == "channels_first" and rank > 1
    writer.arrange((0, *range(2, rank + 1), 1) if first else tuple(range(rank + 1)))
    writer.add(nn.Flatten())
    writer.order = (0, 1)


def _reshape(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(tuple(range(len(sample) + 1)))
    target = layer.compute_output_shape((None, *sample))[1:]
    writer.add(modules.Reshape(target))
    writer.order = tuple(range(len(target) + 1))


def _permute(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    """Nothing moves: only what the axes are called changes."""
    dims = (0, *layer.dims)
    writer.order = tuple(dims.index(axis) for axis in writer.order)


def _repeat(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.add(modules.RepeatVector(layer.n))
    writer.order = (0, 1, 2)


def _margin(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(_image_order(layer._rank + 1, layer.data_format))
    pairs = [(layer._sign * before, layer._sign * after) for before, after in layer._margins]
    writer.add(_ZERO_PAD[layer._rank](_margins(pairs)))


def _up_sampling(writer: Writer, layer: Any, sample: tuple[int, ...]) -> None:
    writer.arrange(_image_order(len(sample), layer.data_format))
    if len(sample) == 2:
        writer.add(nn.Upsample(scale_factor=float(layer.size), mode="nearest"))
        return
    factors = (float(layer.size[0]), float(layer.size[1]))
    align = False if layer.interpolation == "bilinear" else None
    writer.add(nn.Upsample(scale_factor=factors, mode=layer.interpolation, align_corners=align))


def _plain(make: Callable[[Any], nn.Module]) -> Callable[[Writer, Any, tuple[int, ...]], None]:
    """For modules that treat all elements alike."""
    return lambda writer, layer, sample: writer.add(make(layer))


# Exactly these classes: a subclass may compute something else.
_WRITERS: dict[type[Any], Callable[[Writer, Any, tuple[int, ...]], None]] = {
    **dict.fromkeys((layers.Conv1D, layers.Conv2D), _conv),
    **dict.fromkeys((layers.DepthwiseConv1D, layers.DepthwiseConv2D), _depthwise),
    **dict.fromkeys((layers.SeparableConv1D, layers.SeparableConv2D), _separable),
    **dict.fromkeys((layers.Conv1DTranspose, layers.Conv2DTranspose), _conv_transpose),
    layers.Dense: _dense,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
    **dict.fromkeys(
        (layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D), _pooling
    ),
    **dict.fromkeys(
        (
            layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalAveragePooling1D,
            layers.GlobalAveragePooling2D,
        ),
        _global_pooling,
    ),
    **dict.fromkeys(
        (
            layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveAveragePooling1D,
            layers.AdaptiveAveragePooling2D,
        ),
        _adaptive_pooling,
    ),
    layers.Activation: _activation_layer,
    layers.ReLU: _relu,
    layers.LeakyReLU: _plain(lambda layer: nn.LeakyReLU(layer.negative_slope)),
    layers.ELU: _plain(lambda layer: nn.ELU(layer.alpha)),
    layers.PReLU: _prelu,
    layers.Softmax: _softmax,
    layers.BatchNormalization: _batch_norm,
    **dict.fromkeys((layers.LayerNormalization, layers.RMSNormalization), _sample_norm),
    layers.GroupNormalization: _group_norm,
    layers.UnitNormalization: _unit_norm,
    layers.Dropout: _dropout,
    layers.AlphaDropout: _alpha_dropout,
    **dict.fromkeys((layers.SpatialDropout1D, layers.SpatialDropout2D), _spatial_dropout),
    layers.GaussianDropout: _plain(lambda layer: modules.GaussianDropout(layer.rate)),
    layers.GaussianNoise: _plain(lambda layer: modules.GaussianNoise(layer.stddev)),
    **dict.fromkeys((layers.Identity, layers.ActivityRegularization), _plain(lambda layer: nn.Identity())),
    layers.Flatten: _flatten,
    layers.Reshape: _reshape,
    layers.Permute: _permute,
    layers.RepeatVector: _repeat,
    **dict.fromkeys((layers.Cropping1D, layers.Cropping2D, layers.ZeroPadding1D, layers.ZeroPadding2D), _margin),
    **dict.fromkeys((layers.UpSampling1D, layers.UpSampling2D), _up_sampling),
    layers.InputLayer: lambda writer, layer, sample: None,
    Sequential: _model,
}  # fmt: skip
