"""Lets frameworks take turns at a case, and says what came of it."""

from __future__ import annotations

import datetime
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sidebyside import cases, machine, network
from sidebyside.frameworks import FRAMEWORKS
from sidebyside.workers import AbsentError, Worker

OURS = "fastcnn"


def rounds_for(case: cases.Case, quick: bool) -> int:
    """Rounds that settle the ratios of a case; `quick` for a first impression."""
    if isinstance(case, cases.Training):
        return 3 if quick else 5
    return 5 if quick else 15


@dataclass
class Result:
    """A case's times.

    Attributes:
        case: What was measured.
        seconds: For each framework the seconds of one call, an entry a round.
        variants: The variant each framework used.
        losses: For each framework that trained, the mean loss of each round's epoch.
        missing: For each framework that took no part, why.
    """

    case: cases.Case
    seconds: dict[str, list[float]] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def rate(self, framework: str) -> float:
        """Work per second (samples, or 10^9 floating-point operations), from the median time."""
        return self.case.work[0] / statistics.median(self.seconds[framework])

    def ratio(self, peer: str) -> float:
        """How many times fastcnn is as fast as the peer: the median of the rounds' ratios."""
        return statistics.median(theirs / ours for theirs, ours in zip(self.seconds[peer], self.seconds[OURS]))

    @property
    def fastest_peer(self) -> str | None:
        """The peer with the smallest ratio."""
        peers = [name for name in self.seconds if name != OURS]
        return min(peers, key=self.ratio) if peers and OURS in self.seconds else None

    def to_json(self) -> dict[str, Any]:
        """Everything, with the ratios, as JSON values."""
        amount, unit = self.case.work
        ratios = {name: self.ratio(name) for name in self.seconds if name != OURS and OURS in self.seconds}
        fastest = self.fastest_peer
        return {
            "name": self.case.name,
            "title": self.case.title,
            "case": cases.to_json(self.case),
            "work": amount,
            "unit": f"{unit}/s",
            "frameworks": {
                name: {
                    "seconds": times,
                    "rate": self.rate(name),
                    "variant": self.variants.get(name, ""),
                    **({"losses": self.losses[name]} if name in self.losses else {}),
                }
                for name, times in self.seconds.items()
            },
            "ratios": ratios,
            "fastest peer": fastest,
            "ratio to fastest peer": ratios[fastest] if fastest else None,
            "missing": self.missing,
        }


class Comparison:
    """The workers of all installed frameworks.

    Args:
        frameworks: Names out of `FRAMEWORKS`.
        threads: Threads each may use.
        samples: Images to make ready.

    Attributes:
        absent: For each framework that is not installed, what is missing.
        load_before: The machine's load before the workers started.
    """

    def __init__(self, frameworks: Sequence[str], threads: int, samples: int) -> None:
        unknown = [name for name in frameworks if name not in FRAMEWORKS]
        if unknown:
            raise ValueError(f"Comparison: frameworks: expected some of {list(FRAMEWORKS)}, received {unknown}")
        self.threads = threads
        self.load_before = machine.load()
        self.absent: dict[str, str] = {}
        self.workers: dict[str, Worker] = {}
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastcnn-benchmarks-")))
            x, y, self.data = network.images(samples)
            np.save(folder / "x.npy", x)
            np.save(folder / "y.npy", y)
            np.savez(folder / "weights.npz", *network.weights())
            cores = machine.cores_for(threads)
            for name in frameworks:
                try:
                    self.workers[name] = stack.enter_context(Worker(name, threads, cores, folder))
                except AbsentError as reason:
                    self.absent[name] = f"{name} cannot be imported: {reason}"
            self._stack = stack.pop_all()

    def __enter__(self) -> Comparison:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers and removes the data."""
        self._stack.close()

    def run(self, case: cases.Case, rounds: int, turn_seconds: float = 0.1) -> Result:
        """Measures a case.

        Args:
            case: What to measure.
            rounds: Turns of each framework that count; one before them does not.
            turn_seconds: Calls are repeated within a turn until it takes about that long; a training epoch is called once.

        Raises:
            RuntimeError: A worker failed, or the frameworks computed different things.
        """
        result = Result(case, missing=dict(self.absent))
        values: dict[str, Any] = {}
        calls: dict[str, int] = {}
        for name, worker in self.workers.items():
            answer = worker.ask("prepare", values=cases.to_json(case))
            if "missing" in answer:
                result.missing[name] = f"{name} {answer['missing']}"
                continue
            result.variants[name] = answer["variant"]
            values[name] = answer.get("values")
            training = isinstance(case, cases.Training)
            calls[name] = 1 if training else worker.ask("calls_for", seconds=turn_seconds)["calls"]
        _check_equal(case, values)
        for turn in range(rounds + 1):
            for name, number in calls.items():
                answer = self.workers[name].ask("measure", calls=number)
                if turn == 0:
                    continue
                result.seconds.setdefault(name, []).append(answer["seconds"])
                if answer["loss"] is not None:
                    result.losses.setdefault(name, []).append(answer["loss"])
        return result

    def summary(self, results: Sequence[Result]) -> dict[str, Any]:
        """Results with the circumstances they were taken in, as JSON values."""
        versions = {key: value for worker in self.workers.values() for key, value in worker.versions.items()}
        return {
            "date": datetime.date.today().isoformat(),
            "machine": machine.describe(),
            "threads": self.threads,
            "load before": self.load_before,
            "versions": versions,
            "data": self.data,
            "absent": self.absent,
            "cases": [result.to_json() for result in results],
        }


def _check_equal(case: cases.Case, values: dict[str, Any]) -> None:
    """Refuses to time frameworks that do not compute the same."""
    known = {name: np.array(v) for name, v in values.items() if v is not None}
    if OURS not in known:
        return
    for name, theirs in known.items():
        scale = max(float(np.abs(theirs).max()), 1e-30)
        difference = float(np.abs(theirs - known[OURS]).max()) / scale
        if theirs.shape != known[OURS].shape or not difference < 1e-3:
            what = f"{OURS} and {name} computed different results"
            raise RuntimeError(f"{case.name}: {what} (by {difference:.1e} of the largest)")
