"""Every target of speed and manners: the peers' figures, fastcnn's, the ratio, the bar, and whether it is met.

    python benchmarks/targets.py                              everything in float32: 20 minutes on two cores
    python benchmarks/targets.py --only training-mission-32   one measurement; a beginning of names chooses several
    python benchmarks/targets.py --quick                      small data and few rounds, for a first impression
    python benchmarks/targets.py --only bfloat16              mixed precision; only measured when asked for
    python benchmarks/targets.py --list                       names of the measurements

Results are kept in benchmarks/results/targets.json; a measurement that is taken again replaces the older one. Frameworks
that are not installed are left out. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from sidebyside import machine
from sidebyside.comparison import Comparison
from sidebyside.contestants import contestants
from sidebyside.measurements import ALL, Context, chosen
from sidebyside.verdicts import HEADER, NAMES, number, verdicts

BUSY = 0.5
RESULTS = Path(__file__).resolve().parent / "results" / "targets.json"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="measurements whose names begin so (default: all)")
    parser.add_argument("--rounds", type=int, help="rounds that count (default: what settles each measurement)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, few rounds; not recorded by default")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help=f"of {', '.join(contestants(2))} (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each framework (default: %(default)s)")
    parser.add_argument("--output", type=Path, help=f"JSON file to update (default: {RESULTS.name}; none with --quick)")
    parser.add_argument("--list", action="store_true", help="print the names of the measurements and end")
    return parser.parse_args()


def summary(name: str, entry: dict[str, Any], seconds: float) -> str:
    """One line about a measurement."""
    line = f"{name}:"
    if "frameworks" in entry:
        rates = (f"{NAMES[n]} {number(f['rate'])}" for n, f in entry["frameworks"].items())
        ratios = ", ".join(f"{ratio:.2f} x {NAMES[n]}" for n, ratio in entry["ratios"].items())
        line += f" {', '.join(rates)} {entry['unit']}; {ratios}"
        variants = [f"{NAMES[n]}: {f['variant']}" for n, f in entry["frameworks"].items() if f["variant"]]
        if variants and entry["case"]["class"] != "Convolution":
            line += f" ({'; '.join(variants)})"
        if entry["missing"]:
            line += f"; left out: {'; '.join(entry['missing'].values())}"
    else:
        line += " " + ", ".join(f"{key}: {value}" for key, value in entry.items() if not isinstance(value, list))
    return f"{line}  [{seconds:.0f} s]"


def print_verdicts(measured: dict[str, Any]) -> None:
    """The table of targets, its texts wrapped."""
    widths = [34, 32, 28, 10, 12, 6]
    rows = [HEADER, *(verdict.cells() for verdict in verdicts(measured))]
    for row in rows:
        cells = [textwrap.wrap(cell.replace("**", ""), width) or [""] for cell, width in zip(row, widths)]
        for i in range(max(map(len, cells))):
            print("  ".join((cell[i] if i < len(cell) else "").ljust(w) for cell, w in zip(cells, widths)).rstrip())
        if row is HEADER:
            print("  ".join("-" * width for width in widths))


def recorded(path: Path | None) -> dict[str, Any]:
    """What the file holds, where it was taken on this machine; else nothing."""
    empty: dict[str, Any] = {"machine": machine.describe(), "versions": {}, "measurements": {}}
    if path is None or not path.is_file():
        return empty
    content: dict[str, Any] = json.loads(path.read_text())
    return content if content["machine"] == empty["machine"] else empty


def main() -> None:
    """Takes the measurements, prints the targets and records the results."""
    options = arguments()
    if options.list:
        print("\n".join(ALL))
        return
    unknown = set(options.peers or ()) - set(contestants(options.threads))
    if unknown:
        sys.exit(f"targets: peers: expected some of {', '.join(contestants(2))}, received {', '.join(sorted(unknown))}")
    try:
        names = chosen(options.only)
    except ValueError as error:
        sys.exit(f"targets: {error}")
    output = options.output or (None if options.quick else RESULTS)
    record = recorded(output)
    fresh = {}
    with Comparison(options.threads) as comparison:
        print(f"{comparison.data}; {options.threads} threads each, in turns", flush=True)
        if (comparison.load_before or 0) > BUSY:
            # Pools that spin at their barriers, OpenMP's in PyTorch above all, fall to a tenth where a core is shared.
            print(
                f"the machine may be busy (load {comparison.load_before:.1f}): if so, these figures are worth nothing"
            )
        context = Context(comparison, options.rounds, options.quick, options.peers)
        for name in names:
            begin = time.perf_counter()
            entry = ALL[name](context)
            print(summary(name, entry, time.perf_counter() - begin), flush=True)
            entry["taken"] = {
                "date": datetime.date.today().isoformat(),
                "threads": options.threads,
                "load before": comparison.load_before,
                "data": comparison.data,
            }
            fresh[name] = entry
            record["measurements"] = {n: e for n in ALL if (e := (record["measurements"] | fresh).get(n))}
            record["versions"] |= comparison.versions()
            if output is not None:  # after each: what is measured stays, should the rest be broken off
                output.parent.mkdir(parents=True, exist_ok=True)
                output.write_text(json.dumps(record, indent=1) + "\n")
    print()
    print_verdicts(fresh)
    if output is not None:
        print(f"\nwritten to {output}")


if __name__ == "__main__":
    main()
