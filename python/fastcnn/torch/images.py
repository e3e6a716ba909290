"""PyTorch -> fastcnn: what slides windows over images and sequences, pads, or makes them larger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fastcnn import layers
from fastcnn.torch import geometry
from fastcnn.torch.reader import Reader, append_margins, as_image, as_tuple, bias_of


def _kernel_last(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(out, in, *window) -> (*window, in, out)."""
    return values.transpose(*range(2, values.ndim), 1, 0)


def _fits(layer: Any, sample: tuple[int, ...], before: Sequence[int], outputs: Sequence[int]) -> bool:
    """Whether the layer's windows begin and end where PyTorch's do."""
    found = geometry.windows(layer, sample)
    return [(w["pad_begin"], w["outputs"]) for w in found] == list(zip(before, outputs))


def conv(reader: Reader, module: Any) -> None:
    rank = len(module.kernel_size)
    options = as_image(reader, module, rank)
    reader.only(module, padding_mode="zeros")
    if reader.shape[0] != module.in_channels:
        reader.refuse(module, "input", f"{module.in_channels} channels", reader.shape)
    if max(module.stride) > 1 and max(module.dilation) > 1:
        reader.refuse(module, "dilation", "1 where stride is above 1", module.dilation)
    options.update(
        strides=module.stride, dilation_rate=module.dilation, use_bias=module.bias is not None,
        name=reader.name(f"conv{rank}d"),
    )  # fmt: skip
    depthwise = module.groups == module.in_channels > 1
    if depthwise:
        cls: type[Any] = layers.DepthwiseConv2D if rank == 2 else layers.DepthwiseConv1D
        arguments: tuple[Any, ...] = (module.kernel_size,)
        options["depth_multiplier"] = module.out_channels // module.in_channels
    else:
        cls = layers.Conv2D if rank == 2 else layers.Conv1D
        arguments = (module.out_channels, module.kernel_size)
        options["groups"] = module.groups
    padding = "valid"
    if module.padding == "same":
        padding = "same"
    elif module.padding != "valid" and any(module.padding):
        outputs = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, p, d, k, s in zip(
                reader.shape[1:], module.padding, module.dilation, module.kernel_size, module.stride
            )
        ]
        if _fits(cls(*arguments, padding="same", **options), reader.own, module.padding, outputs):
            padding = "same"
        else:
            append_margins(reader, rank, [(p, p) for p in module.padding], reader.data_format)

    def kernel(values: NDArray[np.float32]) -> NDArray[np.float32]:
        if not depthwise:
            return _kernel_last(values)
        grouped = values.reshape(module.in_channels, -1, *module.kernel_size)
        return grouped.transpose(*range(2, rank + 2), 0, 1)

    weights = {"kernel": reader.weight(module, "weight", kernel), **bias_of(reader, module)}
    reader.append(cls(*arguments, padding=padding, **options), **weights)


def conv_transpose(reader: Reader, module: Any) -> None:
    rank = len(module.kernel_size)
    options = as_image(reader, module, rank)
    reader.only(module, padding_mode="zeros", groups=1)
    if reader.shape[0] != module.in_channels:
        reader.refuse(module, "input", f"{module.in_channels} channels", reader.shape)
    if max(module.stride) > 1 and max(module.dilation) > 1:
        reader.refuse(module, "dilation", "1 where stride is above 1", module.dilation)
    cls: type[Any] = layers.Conv2DTranspose if rank == 2 else layers.Conv1DTranspose
    options.update(
        strides=module.stride, dilation_rate=module.dilation, use_bias=module.bias is not None,
        name=reader.name(f"conv{rank}dtranspose"),
    )  # fmt: skip
    wanted = [
        (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for size, s, p, d, k, extra in zip(
            reader.shape[1:], module.stride, module.padding, module.dilation, module.kernel_size, module.output_padding
        )
    ]
    extra_padding: list[Any] = [None]
    if all(extra < s for extra, s in zip(module.output_padding, module.stride)):
        extra_padding.append(tuple(module.output_padding))
    weights = {"kernel": reader.weight(module, "weight", _kernel_of_transpose), **bias_of(reader, module)}
    for padding in ("valid", "same"):
        for extra in extra_padding:
            layer = cls(module.out_channels, module.kernel_size, padding=padding, output_padding=extra, **options)
            found = geometry.windows(layer, reader.own)  # of the convolution that this is the transpose of
            if [(w["pad_begin"], w["inputs"]) for w in found] == list(zip(module.padding, wanted)):
                reader.append(layer, **weights)
                return
    whole = cls(module.out_channels, module.kernel_size, padding="valid", **options)
    crops = [
        (p, w["inputs"] - p - out) for p, out, w in zip(module.padding, wanted, geometry.windows(whole, reader.own))
    ]
    if any(after < 0 for _, after in crops):
        reader.refuse(module, "output_padding", f"at most padding {tuple(module.padding)}", module.output_padding)
    reader.append(whole, **weights)
    append_margins(reader, rank, [(-before, -after) for before, after in crops], reader.data_format)


def _kernel_of_transpose(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(in, out, *window) -> (*window, out, in)."""
    return values.transpose(*range(2, values.ndim), 1, 0)


def _pool_outputs(reader: Reader, module: Any, rank: int) -> tuple[list[tuple[int, ...]], bool]:
    """(input, window, stride, padding, outputs) of each axis, and whether ceil_mode made one longer."""
    size = as_tuple(module.kernel_size, rank)
    strides, padding = as_tuple(module.stride, rank), as_tuple(module.padding, rank)
    axes: list[tuple[int, ...]] = []
    longer = False
    for n, k, s, p in zip(reader.shape[1:], size, strides, padding):
        room = n + 2 * p - k
        outputs = room // s + 1
        if module.ceil_mode and room % s and outputs * s < n + p:  # the window begins inside the image or before it
            outputs, longer = outputs + 1, True
        axes.append((n, k, s, p, outputs))
    return axes, longer


def max_pool(reader: Reader, module: Any) -> None:
    rank = 2 if isinstance(module, nn.MaxPool2d) else 1
    options = as_image(reader, module, rank)
    reader.only(module, return_indices=False)
    if set(as_tuple(module.dilation, rank)) != {1}:
        reader.refuse(module, "dilation", "1", module.dilation)
    border, reader.border = reader.border, None
    if border is None:
        axes, _ = _pool_outputs(reader, module, rank)
    else:
        reader.only(module, padding=(0,) * rank, ceil_mode=False)
        sizes = [n + before + after for n, (before, after) in zip(reader.shape[1:], border)]
        shapes = zip(reader.shape[1:], module.kernel_size, module.stride, border, sizes)
        axes = [(n, k, s, before, (whole - k) // s + 1) for n, k, s, (before, _), whole in shapes]
    cls = layers.MaxPooling2D if rank == 2 else layers.MaxPooling1D
    _append_pool(reader, module, cls, axes, options)


def _append_pool(
    reader: Reader, module: Any, cls: type[Any], axes: Sequence[tuple[int, ...]], options: dict[str, Any]
) -> None:
    """The pooling whose windows are PyTorch's, by the simplest padding that makes them so."""
    size, strides, before = (tuple(axis[i] for axis in axes) for i in (1, 2, 3))
    outputs = [axis[4] for axis in axes]
    name = reader.name(cls.__name__.lower())
    pairs = tuple((p, max(0, (out - 1) * s + k - n - p)) for n, k, s, p, out in axes)
    for padding in ("valid", "same", pairs):
        if padding == "valid" and any(n < k for n, k, *_ in axes):
            continue
        if padding is pairs and any(n >= k for pair, k in zip(pairs, size) for n in pair):
            break
        layer = cls(size, strides, padding=padding, name=name, **options)
        if _fits(layer, reader.own, before, outputs):
            reader.append(layer)
            return
    reader.refuse(module, "padding", f"less than the window, {size}", pairs)


def average_pool(reader: Reader, module: Any) -> None:
    rank = 2 if isinstance(module, nn.AvgPool2d) else 1
    options = as_image(reader, module, rank)
    if getattr(module, "divisor_override", None) is not None:
        reader.only(module, divisor_override=None)
    axes, longer = _pool_outputs(reader, module, rank)
    cls = layers.AveragePooling2D if rank == 2 else layers.AveragePooling1D
    padding = as_tuple(module.padding, rank)
    if module.count_include_pad and any(padding):
        if longer:
            reader.refuse(module, "ceil_mode", "False where padding counts", True)
        append_margins(reader, rank, [(p, p) for p in padding], reader.data_format)
        axes = [(n + 2 * p, k, s, 0, outputs) for n, k, s, p, outputs in axes]
    _append_pool(reader, module, cls, axes, options)


def own_average_pool(reader: Reader, module: Any) -> None:
    rank = len(module.size)
    options = as_image(reader, module, rank)
    cls = layers.AveragePooling2D if rank == 2 else layers.AveragePooling1D
    axes = [
        (n, k, s, before, (n + before + after - k) // s + 1)
        for n, k, s, (before, after) in zip(reader.shape[1:], module.size, module.strides, module.padding)
    ]
    _append_pool(reader, module, cls, axes, options)


def adaptive_pool(reader: Reader, module: Any) -> None:
    kind = "Max" if "Max" in type(module).__name__ else "Average"
    rank = 2 if type(module).__name__.endswith("2d") else 1
    options = as_image(reader, module, rank)
    if kind == "Max":
        reader.only(module, return_indices=False)
    given = module.output_size
    entries = tuple(given) if isinstance(given, (tuple, list)) else (given,) * rank
    size = tuple(n if wish is None else int(wish) for wish, n in zip(entries, reader.shape[1:]))
    if set(size) == {1}:
        reader.add(getattr(layers, f"Global{kind}Pooling{rank}D"), keepdims=True, **options)
    else:
        reader.add(getattr(layers, f"Adaptive{kind}Pooling{rank}D"), size, **options)


def padding(reader: Reader, module: Any) -> None:
    rank = 2 if type(module).__name__.endswith("2d") else 1
    options = as_image(reader, module, rank)
    found = as_tuple(module.padding, 2 * rank)
    pairs = [(found[i], found[i + 1]) for i in reversed(range(0, 2 * rank, 2))]
    value = getattr(module, "value", 0.0)
    pools = (nn.MaxPool2d if rank == 2 else nn.MaxPool1d,)
    if value == -float("inf") and reader.following and type(reader.following[0]) in pools:
        reader.border = pairs
        return
    if value != 0.0:
        reader.refuse(module, "value", "0", value)
    append_margins(reader, rank, pairs, options["data_format"])


def upsample(reader: Reader, module: Any) -> None:
    rank = len(reader.own) - 1
    reader.needs_rank(module, 2, 3)
    if module.mode != "nearest" and (module.mode != "bilinear" or rank != 2):
        reader.refuse(module, "mode", "'nearest'" + (" or 'bilinear'" if rank == 2 else ""), module.mode)
    if module.mode == "bilinear" and module.align_corners:
        reader.refuse(module, "align_corners", "False", True)
    if module.size is not None:
        factors = [wish / n for wish, n in zip(as_tuple(module.size, rank), reader.shape[1:])]
    else:
        given = module.scale_factor
        factors = [float(f) for f in given] if isinstance(given, (tuple, list)) else [float(given)] * rank
    if any(f < 1 or f != int(f) for f in factors):
        reader.refuse(module, "scale_factor", "whole factors", tuple(factors))
    whole = tuple(int(f) for f in factors)
    if rank == 2:
        reader.arrange(reader.edge())
        reader.add(layers.UpSampling2D, whole, data_format=reader.data_format, interpolation=module.mode)
    else:
        reader.arrange((0, 2, 1))  # UpSampling1D knows no channels first
        reader.add(layers.UpSampling1D, whole[0])
