"""Tables for people: a model's layers, and the native plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastcnn import _messages

if TYPE_CHECKING:
    from fastcnn.layers import Layer
    from fastcnn.models.sequential import Sequential
    from fastcnn.variables import Variable


def render(
    model: Sequential,
    line_length: int | None,
    positions: Sequence[float] | None,
    expand_nested: bool,
    show_trainable: bool,
    layer_range: Sequence[str] | None,
) -> str:
    """The text that `Sequential.summary` prints."""
    header = ["Layer (type)", "Output Shape", "Param #"]
    shares = list(positions or [0.45, 0.80, 1.0])
    width = 88
    if show_trainable:
        header.append("Trainable")
        width += 12
        if positions is None:
            shares = [0.9 * share for share in shares] + [1.0]
    width = line_length or min(width, _terminal_columns() - 4)
    if len(shares) != len(header):
        _messages.fail("summary", "positions", f"{len(header)} numbers", positions)
    ends = [int(share * width) if share <= 1 else int(share) for share in shares]
    widths = [end - begin for begin, end in zip([0, *ends], ends)]
    widths[1] -= 1  # for the last border
    if min(widths) < 6:
        _messages.fail("summary", "line_length", "room for at least 6 characters a column", width)
    rows = _rows(model, expand_nested, show_trainable, layer_range)
    return "\n".join([f'Model: "{model.name}"', *_table(header, rows, widths), *_totals(model)])


def _terminal_columns() -> int:
    import shutil  # slow to import, for its archives

    return shutil.get_terminal_size().columns


def _rows(
    model: Sequential, expand_nested: bool, show_trainable: bool, layer_range: Sequence[str] | None, prefix: str = ""
) -> list[list[str]]:
    layers = model.layers
    shapes: Sequence[tuple[int, ...] | None] = model._shapes or [None] * len(layers)
    first, last = _range(layers, layer_range)
    rows: list[list[str]] = []
    for layer, shape in list(zip(layers, shapes))[first:last]:
        shown = "?" if shape is None else "(" + ", ".join(("None", *map(str, shape))) + ")"
        parameters = f"{layer.count_params():,}" if layer.built else "0 (unbuilt)"
        row = [f"{prefix}{layer.name} ({type(layer).__name__})", shown, parameters]
        if show_trainable:
            row.append("-" if not layer.weights else "Y" if layer.trainable else "N")
        rows.append(row)
        inner: Any = layer
        if expand_nested and hasattr(layer, "layers"):
            rows += _rows(inner, True, show_trainable, None, "   " * (len(prefix) // 3) + "└ ")
    return rows


def _range(layers: Sequence[Layer], layer_range: Sequence[str] | None) -> tuple[int, int]:
    if layer_range is None:
        return 0, len(layers)
    if isinstance(layer_range, str) or len(layer_range) != 2:
        _messages.fail("summary", "layer_range", "the names of two layers", layer_range)
    found = []
    for name in layer_range:
        matching = [i for i, layer in enumerate(layers) if re.match(name, layer.name)]
        if not matching:
            _messages.fail("summary", "layer_range", f"names among {[layer.name for layer in layers]}", name)
        found.append(matching)
    return min(found[0]), max(found[1]) + 1


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> list[str]:
    """Lines of a table; the numbers' column is aligned to the right."""

    def rule(left: str, middle: str, right: str, line: str) -> str:
        # Each column has a space on both sides and shares its borders.
        return left + middle.join(line * (width - 1) for width in widths) + right

    def entry(cells: Sequence[str], bar: str) -> list[str]:
        wrapped = [_wrap(cell, width - 3) for cell, width in zip(cells, widths)]
        lines = []
        for i in range(max(len(cell) for cell in wrapped)):
            texts = [cell[i] if i < len(cell) else "" for cell in wrapped]
            parts = [
                text.rjust(width - 3) if column == 2 else text.ljust(width - 3)
                for column, (text, width) in enumerate(zip(texts, widths))
            ]
            lines.append(bar + bar.join(f" {part} " for part in parts) + bar)
        return lines

    lines = [rule("┏", "┳", "┓", "━"), *entry(header, "┃"), rule("┡", "╇", "┩", "━")]
    for number, row in enumerate(rows):
        if number:
            lines.append(rule("├", "┼", "┤", "─"))
        lines += entry(row, "│")
    lines.append(rule("└", "┴", "┘", "─"))
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width`, broken at spaces where possible."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
        while len(line) > width:
            lines.append(line[:width])
            line = line[width:]
    return [*lines, line]


def _totals(model: Sequential) -> list[str]:
    trainable = _count(model.trainable_weights)
    fixed = _count(model.non_trainable_weights)
    trainer = model._trainer
    optimizer = 0
    if trainer is not None and model.optimizer.iterations:
        slots = trainer.native.get_state()["slots"].values()
        # As Keras counts them: the slots, the step count and the learning rate.
        optimizer = 2 + sum(int(array.size) for arrays in slots for array in arrays)
    lines = [
        (" Total params", trainable + fixed + optimizer),
        (" Trainable params", trainable),
        (" Non-trainable params", fixed),
    ]
    if optimizer:
        lines.append((" Optimizer params", optimizer))
    return [f"{title}: {count:,} ({readable_bytes(4 * count)})" for title, count in lines]


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
            names = ("threads", "block", "lanes", "segments")
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
