"""Everything that is measured, by name. A measurement answers with JSON values; `verdicts` judges them."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidebyside import cases, machine, networks, probes
from sidebyside.comparison import Comparison, rounds_for
from sidebyside.contestants import OURS

TRAINERS = (OURS, "torch", "keras-tensorflow")
RUNTIMES = (OURS, "onnxruntime", "openvino")

_MISSION = cases.TRAININGS[0]
_FLAT_SIZES = (1_000, 10_000, 100_000, 1_000_000)
_QUICK_FLAT_SIZES = (1_000, 4_000)
_SCALING_ROUNDS = 21
_SCALING_LOOPS = 0.95  # of the number of threads, that loops have to get over one where a round counts


@dataclass
class Context:
    """How to measure.

    Attributes:
        comparison: The workers.
        rounds: Turns that count; None for what settles each measurement.
        quick: A tenth of the data, for a first impression.
        peers: Contestants to leave out everybody else but fastcnn; None for all that a measurement names.
    """

    comparison: Comparison
    rounds: int | None = None
    quick: bool = False
    peers: Sequence[str] | None = None

    def compare(
        self,
        case: cases.Case,
        names: Sequence[str],
        usual: int | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Lets the contestants take turns at a case, usually so many, with something done before and after each."""
        if self.quick:
            case = case.smaller()
        names = [name for name in names if self.wants(name)]
        rounds = self.turns(usual) if usual else self.rounds or rounds_for(case, self.quick)
        return self.comparison.run(case, names, rounds, between=between).to_json()

    def wants(self, name: str) -> bool:
        """Whether a contestant is not left out; a framework's name stands for its mixed precision too."""
        return name.startswith(OURS) or self.peers is None or name.removesuffix("-bfloat16") in self.peers

    def turns(self, usual: int) -> int:
        """Rounds of a measurement that usually takes so many."""
        return self.rounds or (2 if self.quick else usual)

    def training_call(self) -> Callable[[], float]:
        """fastcnn's epoch on the mission's network, in its worker; answers with seconds."""
        worker = self.comparison.worker(OURS)
        assert worker is not None
        case = _MISSION.smaller() if self.quick else _MISSION
        worker.ask("prepare", values=cases.to_json(case))
        calls = worker.ask("calls_for", seconds=0.5)["calls"]
        return lambda: float(worker.ask("measure", calls=calls)["seconds"])


def _scaling(context: Context) -> dict[str, Any]:
    """Training on all threads beside one thread, and around each round what loops get that share nothing.

    A shared machine's two processors are one core at times: then no two threads get more than one.
    """
    loops: list[float] = []
    one, threads = "fastcnn-1-thread", context.comparison.threads

    def measure_loops() -> None:
        loops.append(probes.run("loops", threads)["over one"])

    entry = context.compare(_MISSION, (OURS, one), usual=_SCALING_ROUNDS, between=measure_loops)
    needed = _SCALING_LOOPS * threads
    ours, theirs = (entry["frameworks"][name]["seconds"] for name in (OURS, one))
    undisturbed = [
        alone / both
        for alone, both, before, after in zip(theirs, ours, loops, loops[1:])
        if min(before, after) >= needed
    ]
    entry["loops"] = {
        "over one": loops,
        "median": statistics.median(loops),
        "needed": needed,
        "rounds": len(ours),
        "rounds with needed": len(undisturbed),
        "ratio of those": statistics.median(undisturbed) if undisturbed else None,
    }
    return entry


def _busy_core(context: Context) -> dict[str, Any]:
    """Times of an epoch undisturbed and with another process busy on one core, in turns."""
    epoch = context.training_call()
    alone, disturbed = [], []
    for _ in range(context.turns(7)):
        alone.append(epoch())
        with _neighbour(machine.cores_for(context.comparison.threads)[-1:]):
            disturbed.append(epoch())
    share = statistics.median(a / b for a, b in zip(alone, disturbed))
    return {"alone": alone, "disturbed": disturbed, "share": share}


@contextmanager
def _neighbour(cores: list[int]) -> Iterator[None]:
    """A process that computes without a pause, on these processors."""
    code = "import os, sys\nif sys.argv[1:]: os.sched_setaffinity(0, map(int, sys.argv[1:]))\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, cores)])
    try:
        time.sleep(0.2)  # until it has started
        yield
    finally:
        process.kill()
        process.wait()


def _flat_cost(context: Context) -> dict[str, Any]:
    """Cost of a sample in epochs from 1,000 to 1,000,000 samples, uint8 mapped from a file."""
    sizes = _QUICK_FLAT_SIZES if context.quick else _FLAT_SIZES
    images, _, _ = networks.mission_images(10_000)
    block = (images * 255).astype(np.uint8)
    with tempfile.TemporaryDirectory(prefix="fastcnn-benchmarks-") as folder:
        path = Path(folder) / "images.bin"
        with open(path, "wb") as file:
            for first in range(0, max(sizes), len(block)):
                file.write(block[: max(sizes) - first].tobytes())
        threads, rounds = context.comparison.threads, context.turns(5)
        return probes.run("sample_cost", threads, path=str(path), sizes=list(sizes), rounds=rounds)


def _bits(context: Context) -> dict[str, Any]:
    """Digests of what 1, 2, 3 and 8 threads computed."""
    samples = 256 if context.quick else 2_000
    return {str(threads): probes.run("bits", threads, samples=samples)["digest"] for threads in (1, 2, 3, 8)}


def _idle(context: Context) -> dict[str, Any]:
    """CPU use of waiting threads."""
    return probes.run("idle", context.comparison.threads, seconds=0.2 if context.quick else 1.0)


def _memory(context: Context) -> dict[str, Any]:
    """Peak resident bytes of whole training processes, in turns."""
    threads = context.comparison.threads
    samples = 640 if context.quick else 60_000
    wanted = [name for name in (OURS, "torch") if name == OURS or context.peers is None or name in context.peers]
    names = [name for name in wanted if context.comparison.worker(name) is not None]
    peaks: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(min(context.turns(2), 2)):
        for name in names:
            answer = probes.run("peak_memory", threads, framework=name, threads=threads, samples=samples)
            peaks[name].append(answer["bytes"])
    return {"samples": samples, "bytes": {name: statistics.median(values) for name, values in peaks.items()}}


def _import(context: Context) -> dict[str, Any]:
    """Seconds of `import numpy` and `import fastcnn` in fresh interpreters, in turns."""
    seconds: dict[str, list[float]] = {"numpy": [], OURS: []}
    for name in seconds:
        probes.import_seconds(name)  # from the disk, once
    for _ in range(max(context.turns(15), 5)):
        for name, values in seconds.items():
            values.append(probes.import_seconds(name))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    over = statistics.median(ours - numpy for ours, numpy in zip(seconds[OURS], seconds["numpy"]))
    return {"seconds": medians, "over numpy": over}


def _first_step(context: Context) -> dict[str, Any]:
    """Seconds of the first step of a fresh process; the median of several."""
    threads = context.comparison.threads
    answers = [probes.run("first_step", threads) for _ in range(max(context.turns(7), 3))]
    return {key: statistics.median(answer[key] for answer in answers) for key in ("seconds", "second")}


def _comparing(case: cases.Case, *names: str) -> Callable[[Context], dict[str, Any]]:
    return lambda context: context.compare(case, names)


def _mixed(case: cases.Case, *peers: str) -> Callable[[Context], dict[str, Any]]:
    """Mixed precision beside the peers' and beside fastcnn's own float32."""
    return _comparing(case, f"{OURS}-bfloat16", *(f"{peer}-bfloat16" for peer in peers), OURS)


def _inference(case: cases.Inference) -> Callable[[Context], dict[str, Any]]:
    """Everybody takes part on the mission's network, the fastest alone on the larger ones."""
    others = ("torch", "keras-tensorflow") if case.network == "mission" else ()
    return _comparing(case, *RUNTIMES, *others)


MEASUREMENTS: dict[str, Callable[[Context], dict[str, Any]]] = {
    **{case.name: _comparing(case, *TRAINERS) for case in cases.TRAININGS},
    **{case.name: _inference(case) for case in cases.INFERENCES},
    **{case.name: _comparing(case, OURS, "torch") for case in cases.CONVOLUTIONS},
    "level-avx2": _comparing(_MISSION, "fastcnn-avx2", "torch-avx2", "fastcnn-baseline"),
    "scaling": _scaling,
    "bits": _bits,
    "flat-cost": _flat_cost,
    "busy-core": _busy_core,
    "idle": _idle,
    "memory": _memory,
    "import": _import,
    "first-step": _first_step,
}

# Measured where they are asked for: on processors that have no products of bfloat16 some peers take minutes.
MIXED: dict[str, Callable[[Context], dict[str, Any]]] = {
    **{f"bfloat16-{case.name}": _mixed(case, *TRAINERS[1:]) for case in cases.MIXED_TRAININGS},
    **{f"bfloat16-{case.name}": _mixed(case, "torch", "openvino") for case in cases.MIXED_INFERENCES},
    **{f"bfloat16-{case.name}": _mixed(case, "torch") for case in cases.MIXED_CONVOLUTIONS},
}
ALL = MEASUREMENTS | MIXED


def chosen(prefixes: Sequence[str] | None) -> list[str]:
    """Names of the measurements that begin with one of these; for None of all but those of mixed precision.

    Raises:
        ValueError: A prefix that no measurement has.
    """
    if prefixes is None:
        return list(MEASUREMENTS)
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in ALL):
            raise ValueError(f"only: expected beginnings of {', '.join(ALL)}, received {prefix!r}")
    return [name for name in ALL if name.startswith(tuple(prefixes))]
