"""Tables for people: a model's layers, and the native plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fastcnn import _messages, config
from fastcnn.utils.io import print_message

if TYPE_CHECKING:
    from fastcnn.layers import Layer
    from fastcnn.models.sequential import Sequential
    from fastcnn.variables import Variable


def print_summary(
    model: Sequential,
    line_length: int | None,
    positions: Sequence[float] | None,
    print_fn: Callable[[str], Any] | None,
    expand_nested: bool,
    show_trainable: bool,
    layer_range: Sequence[str] | None,
) -> None:
    """What `Sequential.summary` does: the table through rich, in colours on a terminal, to `print_fn` as plain text."""
    import rich.console  # when somebody asks for a summary: importing it takes longer than importing fastcnn
    import rich.table

    header, justify = ["Layer (type)", "Output Shape", "Param #"], ["left", "left", "right"]
    ends = list(positions or [0.45, 0.80, 1.0])
    width = 88
    if show_trainable:
        header.append("Trainable")
        justify.append("center")
        width += 12
        ends = [0.9 * end for end in ends] + [1.0]
    width = line_length or min(width, _terminal_columns() - 4)
    if len(ends) != len(header):
        _messages.fail("summary", "positions", f"{len(header) - bool(show_trainable)} numbers", positions)
    # Keras's arithmetic: every end but the last is a share of the width, from what the columns before have taken.
    widths: list[int] = []
    for end in ends:
        widths.append(int(end * width) - sum(widths))
    if min(widths) < 4:
        _messages.fail("summary", "line_length", "room for at least 4 characters a column", width)
    columns = [rich.table.Column(h, justify=j, width=w) for h, j, w in zip(header, justify, widths)]  # type: ignore[arg-type]
    table = rich.table.Table(*columns, width=width, show_lines=True)
    for row in _rows(model, expand_nested, show_trainable, layer_range):
        table.add_row(*row)
    if print_fn is None and not config.is_interactive_logging_enabled():
        print_fn = partial(print_message, line_break=False)
    if print_fn is None:
        console = rich.console.Console(highlight=False)
    else:
        console = rich.console.Console(highlight=False, force_terminal=False, color_system=None)
        console.begin_capture()
    console.print(_bold(f'Model: "{_escaped(model.name)}"'))
    console.print(table)
    for line in _totals(model):
        console.print(line)
    if print_fn is not None:
        print_fn(console.end_capture())


def _terminal_columns() -> int:
    import shutil  # slow to import, for its archives

    return shutil.get_terminal_size().columns


def _number(value: object) -> str:
    return f"[color({45 if value is None else 34})]{value}[/]"


def _bold(text: str, colour: int | None = None) -> str:
    return f"[bold]{text}[/]" if colour is None else f"[bold][color({colour})]{text}[/][/]"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _rows(
    model: Sequential, expand_nested: bool, show_trainable: bool, layer_range: Sequence[str] | None, depth: int = 0
) -> list[list[str]]:
    layers = model.layers
    batch = model._input_layer.batch_shape[0] if model._input_layer is not None else None
    shapes: Sequence[tuple[int, ...] | None] = model._shapes or [None] * len(layers)
    first, last = _range(layers, layer_range)
    rows: list[list[str]] = []
    for layer, shape in list(zip(layers, shapes))[first:last]:
        name = _escaped(f"{'   ' * depth}{'└ ' if depth else ''}{layer.name}")
        row = [f"{name} ([color(33)]{_escaped(type(layer).__name__)}[/])"]
        row.append("?" if shape is None else f"({', '.join(map(_number, (batch, *shape)))})")
        row.append(_number(f"{layer.count_params():,}") if layer.built else f"{_number(0)} (unbuilt)")
        if show_trainable:
            row.append(_bold("-") if not layer.weights else _bold("Y", 34) if layer.trainable else _bold("N", 9))
        rows.append(row)
        inner: Any = layer
        if expand_nested and getattr(layer, "layers", None):
            rows += _rows(inner, True, show_trainable, None, depth + 1)
    return rows


def _range(layers: Sequence[Layer], layer_range: Sequence[str] | None) -> tuple[int, int]:
    if layer_range is None:
        return 0, len(layers)
    names = [] if isinstance(layer_range, str) else list(layer_range)
    if len(names) != 2 or not all(isinstance(name, str) for name in names):
        _messages.fail("summary", "layer_range", "the names of two layers", layer_range)
    found = []
    for name in names:
        matching = [i for i, layer in enumerate(layers) if re.match(name, layer.name)]
        if not matching:
            _messages.fail("summary", "layer_range", f"names among {[layer.name for layer in layers]}", name)
        found.append(matching)
    if min(found[0]) > max(found[1]):
        found.reverse()
    return min(found[0]), max(found[1]) + 1


def _totals(model: Sequential) -> list[str]:
    trainable = _count(model.trainable_weights)
    fixed = _count(model.non_trainable_weights)
    optimizer = _optimizer_parameters(model)
    counts = {"Total": trainable + fixed + optimizer, "Trainable": trainable, "Non-trainable": fixed}
    if optimizer:
        counts["Optimizer"] = optimizer
    return [
        _bold(f" {kind} params: ") + _number(f"{count:,}") + f" ({readable_bytes(4 * count)})"
        for kind, count in counts.items()
    ]


def _optimizer_parameters(model: Sequential) -> int:
    """What Keras counts once the optimizer has worked: the step count, the learning rate, its arrays."""
    optimizer = model.optimizer
    if optimizer is None or not optimizer.built:
        return 0
    return sum(variable.size for variable in optimizer.variables)


def _count(variables: Sequence[Variable]) -> int:
    return sum(v.size for v in variables)


def readable_bytes(size: float) -> str:
    """A size in the unit that suits it.

    >>> readable_bytes(2048)
    '2.00 KB'
    """
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} TB"


def explain_table(steps: Sequence[dict[str, Any]]) -> str:
    """The native plan's steps, a line each, and its sum."""
    rows = [["", "layers", "operation", "kernel", "isa", "output", "FLOPs", "activations", "scratch", "packed"]]
    notes = []
    for step in steps:
        if step["operation"] == "total":
            continue
        layers = step["layers"]
        rows.append(
            [
                str(step["index"]),
                layers if isinstance(layers, str) else " + ".join(layers),
                step["operation"],
                step["kernel"],
                step["isa"],
                str(tuple(step["output_shape"])),
                f"{step['flops']:,}",
                *(readable_bytes(step[key]) for key in ("activation_bytes", "scratch_bytes", "packed_bytes")),
            ]
        )
        if step["declined"]:
            notes.append(f"  step {step['index']}: {step['declined']}")
    lines = _columns(rows)
    if notes:
        lines += ["Kernels that declined:", *notes]
    for step in steps:
        if step["operation"] == "total":
            names = ("threads", "block", "piece", "lanes", "segments")
            parts = [f"{name} {step[name]}" for name in names if name in step]
            parts.append(f"{step['flops']:,} FLOPs a sample")
            parts.append(f"memory {readable_bytes(step.get('context_bytes', 0))}")
            lines.append("Total: " + ", ".join(parts))
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def add_speeds(steps: Sequence[dict[str, Any]], peak: float) -> None:
    """Adds what follows from the times of `Sequential.profile` to its dictionaries."""
    total = steps[-1]
    total["peak_gflops"] = peak
    for step in steps[:-1]:
        for name, flops in (("", step["flops"]), ("backward_", step["backward_flops"])):
            seconds = step[f"{name or 'forward_'}seconds"]
            speed = 1e-9 * flops * total["samples"] / seconds if seconds > 0 else 0.0
            step[f"{name}gflops"] = speed
            step[f"{name}share_of_peak"] = speed / peak


def profile_table(steps: Sequence[dict[str, Any]]) -> str:
    """A line each step with its times a sample, and a sum."""
    total = steps[-1]
    samples, trains = total["samples"], any(step["backward_seconds"] for step in steps[:-1])
    passes = ["", "backward_"] if trains else [""]
    rows = [["", "layers", "operation", "kernel"]]
    for name in passes:
        rows[0] += ["backward us" if name else "us a sample", "GFLOP/s", "of peak"]
    for step in steps[:-1]:
        layers = step["layers"]
        row = [str(step["index"]), layers if isinstance(layers, str) else " + ".join(layers)]
        row += [step["operation"], step["kernel"]]
        for name in passes:
            time = 1e6 * step[f"{name or 'forward_'}seconds"] / samples
            row += [f"{time:.2f}", f"{step[f'{name}gflops']:.1f}", f"{step[f'{name}share_of_peak']:.0%}"]
        rows.append(row)
    busy = sum(step["forward_seconds"] + step["backward_seconds"] for step in steps[:-1]) + total["other_seconds"]
    elapsed, threads = total["elapsed_seconds"], total["threads"]
    return "\n".join(
        [
            *_columns(rows),
            f"Reading, loss and metrics: {1e6 * total['other_seconds'] / samples:.2f} us a sample",
            f"{samples} samples: {1e6 * elapsed:.1f} us, {samples / elapsed:,.0f} samples a second; "
            f"{threads} threads, busy {busy / (threads * elapsed):.0%} of the time",
            f"Peak of one thread: {total['peak_gflops']:.1f} GFLOP/s",
        ]
    )
