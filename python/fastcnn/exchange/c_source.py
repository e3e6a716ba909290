"""Models as one C file that needs nothing but libm: `model.export("model.c")`.

Every operation of the native graph becomes a call of a C function from `c_functions`. Activations go back and forth between two
parts of a workspace; what works element by element works in place, and the last operation that does not writes into the
caller's array.

Names of layers are data: they appear in comments only, and there only their letters, digits and a few signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages
from fastcnn.exchange import c_functions, operations
from fastcnn.saving.whole_files import written_whole

if TYPE_CHECKING:
    from fastcnn.models.sequential import Sequential

Floats = NDArray[np.float32]

_PER_LINE = 8
_MOST = 2**31 - 1  # elements: a C long holds at least as many


def export(model: Sequential, path: Path, name: str | None = None) -> None:
    """Writes `to_c(model)` to a file, whole or not at all."""
    content = to_c(model, name).encode("ascii")
    with written_whole(path) as file:
        file.write(content)


def to_c(model: Sequential, name: str | None = None) -> str:
    """The model at inference as C source: `void predict(const float *input, float *output)` for one sample.

    Args:
        model: a built model.
        name: begins the names of the functions, as in `name_predict`, so that several models fit into one program.

    Returns:
        ASCII text; the same model gives the same text.

    Raises:
        ValueError: a model that is not built or has a layer written in Python or one that no C function is there for; a name that
            cannot begin an identifier.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="relu")])
        >>> "void digits_predict(const float *input, float *output)" in to_c(model, name="digits")
        True
    """
    if name is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", name)):
        _messages.fail("export", "name", "a letter and then letters, digits and _, 31 at most", name)
    prefix = f"{name}_" if name else ""
    chain = operations.inference_operations(model)
    sample = tuple(n for n in model.input_shape[1:] if n is not None)
    outputs = tuple(n for n in model.output_shape[1:] if n is not None)
    writer = Writer()
    for operation in chain:
        writer.write(operation)
    return _file(writer, prefix, sample, outputs, model)


@dataclass
class Call:
    """A call of a C function on one sample."""

    operation: operations.Operation
    function: str
    arguments: str  # after x and y
    in_place: bool


class Writer:
    """The arrays and calls of a file, as they come."""

    def __init__(self) -> None:
        self.arrays: list[str] = []
        self.array_bytes = 0
        self.calls: list[Call] = []
        self.functions: dict[str, str] = {}  # name -> text, in the order of their first use
        self.axes = 0  # most axes of a permutation
        self.structures: set[str] = set()

    def write(self, operation: operations.Operation) -> None:
        """Appends what computes an operation."""
        write = _WRITERS.get(type(operation))
        if write is None:
            _messages.fail(
                "export",
                f"layer {operation.layer!r}",
                "operations that there is C for",
                _messages.Text(type(operation).__name__),
            )
        if max(_size(operation.input_shape), _size(operation.output_shape)) > _MOST:
            _messages.fail("export", f"layer {operation.layer!r}", f"at most {_MOST} elements", operation.output_shape)
        write(self, operation)

    def call(
        self, operation: operations.Operation, function: str, *arguments: object, in_place: bool = False, text: str = ""
    ) -> None:
        """Appends a call; `text` is the function where `c_functions` has none of that name."""
        self.functions.setdefault(function, text or c_functions.FUNCTIONS[function])
        self.calls.append(Call(operation, function, ", ".join(map(str, arguments)), in_place))

    def array(self, operation: operations.Operation, role: str, values: NDArray[Any] | None) -> str:
        """Writes an array of constants down; returns its name, a null pointer for none."""
        if values is None:
            return "0"
        name = f"{role}_{len(self.calls) + 1}"
        integers = np.issubdtype(values.dtype, np.integer)
        texts = [str(v) for v in values.ravel().tolist()] if integers else [_number(v) for v in values.ravel().tolist()]
        lines = [", ".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE)]
        kind = "long" if integers else "float"
        shape = " x ".join(map(str, values.shape))
        self.arrays.append(
            f"/* {_comment(operation.layer)}: {role}, {shape} */\n"
            f"static const {kind} {name}[{values.size}] = {{\n    " + ",\n    ".join(lines) + "\n};\n"
        )
        self.array_bytes += values.size * 4
        return name

    def window(self, axis: operations.Window) -> str:
        """A window as a value of C."""
        self.structures.add(c_functions.WINDOW)
        fields = (axis.size, axis.stride, axis.dilation, axis.inputs, axis.outputs, axis.pad_begin)
        return f"(window){{{', '.join(map(str, fields))}}}"

    def taps(self, operation: operations.Operation, role: str, axis: operations.Taps) -> str:
        """The taps of one axis as a value of C."""
        self.structures.add(c_functions.TAPS)
        begin = self.array(operation, f"{role}_begin", axis.begin)
        index = self.array(operation, f"{role}_index", axis.index if axis.index.size else np.zeros(1, np.int32))
        weight = self.array(operation, f"{role}_weight", axis.weight if axis.weight.size else np.zeros(1, np.float32))
        return f"(taps){{{axis.inputs}, {axis.outputs}, {begin}, {index}, {weight}}}"


def _size(shape: Sequence[int]) -> int:
    size = 1
    for n in shape:
        size *= int(n)
    return size


def _number(value: float) -> str:
    """A float32 number as C: nine digits bring back the same one."""
    if value != value:
        return "NAN"
    if value in (float("inf"), -float("inf")):
        return "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}"
    return text + ("f" if any(sign in text for sign in ".e") else ".0f")


def _comment(text: str) -> str:
    """What of a name may stand in a comment: nothing that ends it, or begins another."""
    return re.sub(r"[^A-Za-z0-9_ .,:()=+-]", "_", text)[:80]


def _conv(writer: Writer, op: operations.Conv2D) -> None:
    channels, filters = op.input_shape[-1], op.output_shape[-1]
    arguments = [
        writer.array(op, "kernel", op.kernel),
        writer.array(op, "bias", op.bias),
        writer.window(op.height),
        writer.window(op.width),
        channels,
    ]
    if op.groups == channels > 1:
        writer.call(op, "depthwise_conv2d", *arguments, filters // channels)
    else:
        writer.call(op, "conv2d", *arguments, filters, op.groups)


def _conv_transpose(writer: Writer, op: operations.Conv2DTranspose) -> None:
    writer.call(
        op,
        "conv2d_transpose",
        writer.array(op, "kernel", op.kernel.transpose(0, 1, 3, 2)),
        writer.array(op, "bias", op.bias),
        writer.window(op.height),
        writer.window(op.width),
        op.input_shape[-1],
        op.output_shape[-1],
    )


def _pool(writer: Writer, op: operations.Pool2D) -> None:
    windows = (writer.window(op.height), writer.window(op.width))
    writer.call(op, f"{op.function}_pool2d", *windows, op.input_shape[-1])


def _adaptive_max(writer: Writer, op: operations.AdaptiveMaxPool2D) -> None:
    writer.call(op, "adaptive_max_pool2d", *op.input_shape[:2], *op.output_shape[:2], op.input_shape[-1])


def _dense(writer: Writer, op: operations.Dense) -> None:
    weights = (writer.array(op, "kernel", op.kernel), writer.array(op, "bias", op.bias))
    writer.call(op, "dense", *weights, _size(op.input_shape[:-1]), op.input_shape[-1], op.output_shape[-1])


def _activation(writer: Writer, op: operations.Activation) -> None:
    if op.function in ("softmax", "log_softmax"):
        sizes = (_size(op.input_shape[:-1]), op.input_shape[-1])
        writer.call(op, op.function, *sizes, in_place=True)
        return
    function = f"{op.function}_of_each"
    text = c_functions.of_each(function, "", c_functions.ACTIVATIONS[op.function])
    writer.call(op, function, _size(op.input_shape), in_place=True, text=text)


def _elementwise(writer: Writer, op: operations.Elementwise) -> None:
    if op.function not in c_functions.ELEMENTWISE:
        _messages.fail("export", f"layer {op.layer!r}", "functions that there is C for", op.function)
    constants, expression = c_functions.ELEMENTWISE[op.function]
    function = f"{op.function}_with_{'_'.join(constants)}" if constants else f"{op.function}_of_each"
    values = [_number(float(np.float32(getattr(op, constant)))) for constant in constants]
    text = c_functions.of_each(function, constants, expression)
    writer.call(op, function, _size(op.input_shape), *values, in_place=True, text=text)


def _permute(writer: Writer, op: operations.Permute) -> None:
    strides = [_size(op.input_shape[axis + 1 :]) for axis in op.axes]
    writer.axes = max(writer.axes, len(op.axes))
    shape = writer.array(op, "shape", np.array(op.output_shape, np.int64))
    stride = writer.array(op, "stride", np.array(strides, np.int64))
    writer.call(op, "permute", shape, stride, len(op.axes))


def _resample(writer: Writer, op: operations.Resample2D) -> None:
    axes = (writer.taps(op, "rows", op.height), writer.taps(op, "columns", op.width))
    writer.call(op, "resample2d", *axes, op.input_shape[-1])


def _shared(sample: tuple[int, ...], *arrays: Floats) -> tuple[tuple[int, int, int], list[Floats]]:
    """Arrays of one shape that are broadcast over a sample, as loops (outer, period, inner) want them.

    Shared axes at both ends are loops; what is shared between others is written out.
    """
    shape = arrays[0].shape
    free = [axis for axis, n in enumerate(shape) if n > 1]
    first, last = (free[0], free[-1] + 1) if free else (0, 0)
    middle = sample[first:last]
    written = [np.broadcast_to(array.reshape(shape[first:last]), middle).reshape(-1) for array in arrays]
    return (_size(sample[:first]), _size(middle), _size(sample[last:])), written


def _prelu(writer: Writer, op: operations.PRelu) -> None:
    sizes, (alpha,) = _shared(op.input_shape, op.alpha)
    writer.call(op, "prelu", writer.array(op, "alpha", alpha), *sizes, in_place=True)


def _batch_norm(writer: Writer, op: operations.BatchNorm) -> None:
    scale, offset = op.scale_and_offset()
    arrays = (writer.array(op, "scale", scale), writer.array(op, "offset", offset))
    writer.call(op, "scale_and_shift", *arrays, _size(op.input_shape[:-1]), op.input_shape[-1], 1, in_place=True)


def _scale(writer: Writer, op: operations.Scale) -> None:
    sizes, (factor, offset) = _shared(op.input_shape, *op.factor_and_offset())
    arrays = (writer.array(op, "scale", factor), writer.array(op, "offset", offset))
    writer.call(op, "scale_and_shift", *arrays, *sizes, in_place=True)


def _normalize(writer: Writer, op: operations.Normalize) -> None:
    weights = (writer.array(op, "gamma", op.gamma), writer.array(op, "beta", op.beta))
    sizes = (op.outer, op.positions, op.groups, op.channels, _number(float(np.float32(op.epsilon))))
    if op.function == "standard":
        writer.call(op, "standardize", *weights, *sizes, in_place=True)
    else:
        writer.call(op, "rescale_rows", *weights, *sizes, int(op.function == "unit"), in_place=True)


# A new class of operations is refused until it has an entry.
_WRITERS: dict[type[operations.Operation], Callable[[Writer, Any], None]] = {
    operations.Conv2D: _conv,
    operations.Conv2DTranspose: _conv_transpose,
    operations.Pool2D: _pool,
    operations.AdaptiveMaxPool2D: _adaptive_max,
    operations.Dense: _dense,
    operations.Activation: _activation,
    operations.Elementwise: _elementwise,
    operations.Reshape: lambda writer, op: None,
    operations.Permute: _permute,
    operations.Resample2D: _resample,
    operations.PRelu: _prelu,
    operations.Scale: _scale,
    operations.BatchNorm: _batch_norm,
    operations.Normalize: _normalize,
}


@dataclass
class Placed:
    """A call with the arrays it reads and writes: "input", "output", "a" or "b"."""

    call: Call
    source: str
    target: str


def _place(calls: Sequence[Call]) -> tuple[list[Placed], dict[str, int]]:
    """Where each call reads and writes, and the sizes of the two parts of the workspace."""
    moving = [number for number, call in enumerate(calls) if not call.in_place]
    last = moving[-1] if moving else 0  # from here on everything is in the caller's array
    placed, sizes, at = [], {"a": 0, "b": 0}, "input"
    for number, call in enumerate(calls):
        if number >= last:
            target = "output"
        elif call.in_place and at != "input":
            target = at
        else:
            target = "b" if at == "a" else "a"
        if target in sizes:
            sizes[target] = max(sizes[target], _size(call.operation.output_shape))
        placed.append(Placed(call, at, target))
        at = target
    return placed, sizes


def _file(writer: Writer, prefix: str, sample: Any, outputs: Any, model: Sequential) -> str:
    placed, sizes = _place(writer.calls)
    workspace = sizes["a"] + sizes["b"]
    parts = [
        _header(writer, prefix, sample, outputs, model, workspace),
        "#include <math.h>\n#include <string.h>\n",
        *sorted(writer.structures, reverse=True),
        *([f"#define MOST_AXES {writer.axes}\n"] if writer.axes else []),
        *writer.functions.values(),
        *writer.arrays,
        _predict(placed, sizes, prefix, sample),
        c_functions.MAIN.replace("@INPUT@", str(_size(sample)))
        .replace("@OUTPUT@", str(_size(outputs)))
        .replace("@PREDICT@", f"{prefix}predict"),
    ]
    return "\n".join(parts)


def _header(writer: Writer, prefix: str, sample: Any, outputs: Any, model: Sequential, workspace: int) -> str:
    rows = [
        f" *   {_comment(call.operation.layer):<28}{call.function:<24}{_sizes(call.operation.output_shape)}"
        for call in writer.calls
    ]
    lines = [
        f"/* The model {_comment(model.name)}, written by fastcnn {_core.__version__}. One sample at a time:",
        " *",
        f" *   void {prefix}predict(const float *input, float *output);",
        f" *   void {prefix}predict_with(const float *input, float *output, float *workspace);",
        " *",
        f" * input:     {_size(sample)} floats, ({_sizes(sample)}), the last axis innermost",
        f" * output:    {_size(outputs)} floats, ({_sizes(outputs)})",
        f" * workspace: {workspace} floats",
        f" * constants: {writer.array_bytes} bytes of weights and tables (of 4 bytes each)",
        " *",
        f" * {prefix}predict works in a static workspace: one call at a time. {prefix}predict_with may be called from several",
        " * threads, each with a workspace of its own. The arrays may not overlap. Nothing is allocated, and nothing written but",
        ' * output and workspace. C++ declares both as extern "C".',
        " *",
        " *   cc -O2 -std=c99 -c model.c                               to link, with -lm",
        " *   cc -O2 -std=c99 -DFASTCNN_MAIN model.c -o model -lm      a program that reads samples from standard input",
        " *",
        " * layer, function, output:",
        *rows,
        " */",
    ]
    return "\n".join(lines) + "\n"


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _predict(placed: Sequence[Placed], sizes: dict[str, int], prefix: str, sample: Any) -> str:
    workspace = sizes["a"] + sizes["b"]
    signature = f"void {prefix}predict_with(const float *input, float *output, float *workspace)"
    lines = [f"{signature};", f"void {prefix}predict(const float *input, float *output);", "", signature, "{"]
    if sizes["a"]:
        lines.append(f"    float *const a = workspace; /* {sizes['a']} floats */")
    if sizes["b"]:
        lines.append(f"    float *const b = workspace + {sizes['a']}; /* {sizes['b']} floats */")
    if not workspace:
        lines.append("    (void)workspace;")
    for step in placed:
        call = step.call
        lines += [
            f"    /* {_comment(call.operation.layer)}: {_sizes(call.operation.output_shape)} */",
            f"    {call.function}({step.source}, {step.target}{', ' if call.arguments else ''}{call.arguments});",
        ]
    if not placed:
        lines.append(f"    memcpy(output, input, {_size(sample)} * sizeof(float));")
    lines += [
        "}",
        "",
        f"void {prefix}predict(const float *input, float *output)",
        "{",
        f"    static float workspace[{max(1, workspace)}];",
        f"    {prefix}predict_with(input, output, workspace);",
        "}",
        "",
    ]
    return "\n".join(lines)
