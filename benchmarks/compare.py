"""The speed of fastcnn beside PyTorch, Keras on TensorFlow, JAX and onnxruntime: training and inference of the README's network.

    python benchmarks/compare.py            the figures of docs/performance.md: about six minutes on two cores
    python benchmarks/compare.py --quick    a tenth of the epoch, fewer rounds
    python benchmarks/compare.py --convolutions    the single convolutions too

Frameworks that are not installed are left out. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from sidebyside import cases
from sidebyside.comparison import OURS, Comparison, Result, rounds_for
from sidebyside.frameworks import FRAMEWORKS

BUSY = 0.5
RESULTS = Path(__file__).resolve().parent / "results" / "comparison.json"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the epoch, 3 rounds of training and 5 of the rest"
    )
    parser.add_argument("--convolutions", action="store_true", help="single convolutions, beside PyTorch, too")
    parser.add_argument("--threads", type=int, default=2, help="threads of each framework (default: %(default)s)")
    parser.add_argument("--samples", type=int, help="images of a training epoch (default: 9600, or 960 with --quick)")
    parser.add_argument("--rounds", type=int, help="rounds that count (default: 5 of training, 15 of the rest)")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file (default: %(default)s)")
    return parser.parse_args()


def print_result(result: Result) -> None:
    """One table: rate, times fastcnn is as fast, the variant a framework ran best with."""
    unit = result.case.work[1]
    print(f"\n{result.case.title}")
    print(f"  {'':18}{unit + '/s':>14}{'fastcnn is':>14}")
    for name in sorted(result.seconds, key=result.rate, reverse=True):
        ratio = f"{result.ratio(name):.2f} x" if name != OURS and OURS in result.seconds else ""
        rate = result.rate(name)
        written = f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
        print(f"  {name:18}{written:>14}{ratio:>14}  {result.variants.get(name, '')}".rstrip())
    fastest = result.fastest_peer
    if fastest is not None:
        print(f"  ratio to the fastest peer ({fastest}): {result.ratio(fastest):.2f}", flush=True)


def main() -> None:
    """Runs the comparison, prints it and writes it as JSON."""
    options = arguments()
    training = cases.QUICK_TRAINING if options.quick else cases.TRAINING
    if options.samples:
        training = replace(training, samples=options.samples)
    chosen: list[cases.Case] = [training, *cases.INFERENCES]
    if options.convolutions:
        chosen += cases.CONVOLUTIONS
    samples = max(training.samples, *(case.samples for case in cases.INFERENCES))
    results = []
    with Comparison(options.frameworks, options.threads, samples) as comparison:
        print(f"{comparison.data}; {options.threads} threads each, in turns")
        if (comparison.load_before or 0) > BUSY:
            # Pools that spin at their barriers, OpenMP's in PyTorch above all, fall to a tenth where a core is shared.
            print(f"the machine is busy (load {comparison.load_before:.1f}): these figures are worth nothing")
        for reason in comparison.absent.values():
            print(f"left out: {reason}")
        for case in chosen:
            results.append(comparison.run(case, options.rounds or rounds_for(case, options.quick)))
            print_result(results[-1])
        summary = comparison.summary(results)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(summary, indent=1) + "\n")
    print(f"\nwritten to {options.output}")


if __name__ == "__main__":
    main()
