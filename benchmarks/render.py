"""Writes the figures of benchmarks/results/*.json into docs/performance.md and README.md, between their markers.

    python benchmarks/render.py            rewrites what lies between the markers
    python benchmarks/render.py --check    changes nothing; fails where the pages do not show the recorded figures

A page keeps saying that nothing is recorded where a file of results is absent.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from sidebyside.contestants import OURS
from sidebyside.verdicts import HEADER, NAMES, number, verdicts

_FOLDER = Path(__file__).resolve().parent
_ROOT = _FOLDER.parent
_NOTHING = "No figures are recorded for this version yet."


def load(name: str) -> dict[str, Any] | None:
    """A file of results, or None where there is none."""
    path = _FOLDER / "results" / name
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ratio(entry: dict[str, Any], peer: str) -> str:
    """How many times fastcnn is as fast as a peer in a case."""
    value = entry["ratios"].get(peer)
    if value is None:
        return ""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def circumstances(results: dict[str, Any]) -> str:
    """Machine, versions and date, a sentence."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    threads = f", {results['threads']} threads each" if "threads" in results else ""
    data = f"; {results['data']}" if "data" in results else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}, "
        f"Python {machine['python']}{threads}; {versions}{data}; {results['date']}."
    )


def convolutions(results: dict[str, Any]) -> str:
    """GFLOP/s of single convolutions, a row a shape; empty where none were measured."""
    entries = [e for e in results["cases"] if e["case"]["class"] == "Convolution" and e.get("ours", OURS) == OURS]
    if not entries:
        return ""
    shapes: dict[str, dict[str, str]] = {}
    for entry in entries:
        direction = entry["case"]["direction"]
        shape = entry["title"].removeprefix("convolution of ").removesuffix(f", {direction}")
        measured = entry["frameworks"]
        cell = number(measured["fastcnn"]["rate"]) if "fastcnn" in measured else ""
        if "torch" in measured:
            cell += f" / {number(measured['torch']['rate'])}"
        if entry["ratios"]:
            cell += f" ({entry['ratios']['torch']:.2f})"
        shapes.setdefault(shape, {})[direction] = cell
    directions = ["forward", "grad-input", "grad-kernel"]
    rows = [[shape, *(cells.get(direction, "") for direction in directions)] for shape, cells in shapes.items()]
    return "Single convolutions, GFLOP/s, fastcnn / PyTorch (ratio of the times):\n\n" + table(["", *directions], rows)


def targets_section(results: dict[str, Any] | None) -> str:
    """Every target beside its figure, and the single convolutions."""
    if results is None:
        return _NOTHING
    measured = results["measurements"]
    dates = sorted({entry["taken"]["date"] for entry in measured.values()})
    when = {"date": " to ".join(dict.fromkeys((dates[0], dates[-1])))}
    rows = [verdict.cells() for verdict in verdicts(measured)]
    parts = [
        circumstances(results | when | {"threads": next(iter(measured.values()))["taken"]["threads"]}),
        "A ratio is the median over the rounds; x: how many times as fast as the fastest peer that the row names first.",
        table(HEADER, rows),
        convolutions({"cases": [entry for entry in measured.values() if "case" in entry]}),
    ]
    return "\n\n".join(part for part in parts if part)


def accuracy_section(results: dict[str, Any] | None) -> str:
    """Mean test accuracies, a row a task."""
    if results is None:
        return _NOTHING
    rows = []
    for task in results["tasks"]:
        means = task["means"]
        difference = task.get("difference in points")
        error = task.get("standard error in points")
        rows.append(
            [
                f"{task['title']}: {task['training images']:,} images, {task['epochs']} epochs",
                str(len(task["seeds"])),
                *(f"{means[name]:.4f}" if name in means else "" for name in ("fastcnn", "keras")),
                ("" if difference is None else f"{difference:+.2f}") + ("" if error is None else f" ± {error:.2f}"),
            ]
        )
    header = ["task", "seeds", "fastcnn", "Keras", "difference in points ± standard error"]
    return circumstances(results) + "\n\n" + table(header, rows)


def ratios_for_readme(results: dict[str, Any] | None) -> str:
    """The ratios of whole networks, for the front page."""
    if results is None:
        return _NOTHING
    entries = [
        entry
        for entry in results["measurements"].values()
        if entry.get("case", {}).get("class") in ("Training", "Inference") and OURS in entry["frameworks"]
        if not any(peer.startswith(OURS) for peer in entry["ratios"])
    ]
    peers = [name for name in NAMES if any(name in entry["ratios"] for entry in entries)]
    if not peers:
        return _NOTHING
    rows = [
        [entry["title"], number(entry["frameworks"][OURS]["rate"]), *(ratio(entry, name) for name in peers)]
        for entry in entries
    ]
    header = ["", "fastcnn, samples/s", *(f"times {NAMES[name]}" for name in peers)]
    text = (
        f"On {results['machine']['processor']}, {entries[0]['taken']['threads']} threads each, float32; mission: the network "
        "above. How this is measured, and what falls short: [docs/performance.md](docs/performance.md)."
    )
    return table(header, rows) + "\n\n" + text


def replace(path: Path, marker: str, text: str) -> tuple[str, str]:
    """The page before and after `text` took the place between the markers."""
    page = path.read_text()
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        sys.exit(f"render: {path}: expected the markers '{begin}' and '{end}' once each")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return page, pattern.sub(lambda _: f"{begin}\n{text}\n{end}", page)


def main() -> None:
    """Renders all sections."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is not up to date")
    check = parser.parse_args().check
    accuracy, targets = load("accuracy.json"), load("targets.json")
    sections = [
        (_ROOT / "docs" / "performance.md", "measured targets", targets_section(targets)),
        (
            _ROOT / "docs" / "performance.md",
            "measured targets without AVX-512",
            targets_section(load("targets-avx2.json")),
        ),
        (_ROOT / "docs" / "performance.md", "measured targets with tiles", targets_section(load("targets-amx.json"))),
        (_ROOT / "docs" / "performance.md", "measured accuracy", accuracy_section(accuracy)),
        (_ROOT / "README.md", "measured ratios", ratios_for_readme(targets)),
    ]
    stale = []
    for path, marker, text in sections:
        before, after = replace(path, marker, text)
        if before == after:
            continue
        if check:
            stale.append(f"{path.name} ({marker})")
        else:
            path.write_text(after)
            print(f"{path}: {marker} written")
    if stale:
        sys.exit(f"render: not up to date: {', '.join(stale)}: run python benchmarks/render.py")


if __name__ == "__main__":
    main()
