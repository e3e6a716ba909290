"""Lets frameworks take turns at a case, and says what came of it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from sidebyside import cases, machine, networks
from sidebyside.contestants import OURS, contestants
from sidebyside.workers import AbsentError, Worker

# Images of the largest case on 28x28x1.
_SAMPLES = 16_384

# A case, the framework whose times are asked for, and all that take turns at the case.
Compare = Callable[[cases.Case, str, Sequence[str]], None]


def rounds_for(case: cases.Case, quick: bool) -> int:
    """Rounds that settle the ratios of a case; `quick` for a first impression."""
    full = {cases.Training: 5, cases.Inference: 15, cases.Convolution: 7}[type(case)]
    return min(full, 3) if quick else full


@dataclass
class Result:
    """A case's times.

    Attributes:
        case: What was measured.
        ours: The contestant whose ratios are asked for.
        seconds: For each framework the seconds of one call, an entry a round.
        variants: The variant each framework used.
        losses: For each framework that trained, the mean loss of each round's epoch.
        missing: For each framework that took no part, why.
    """

    case: cases.Case
    ours: str = OURS
    seconds: dict[str, list[float]] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def rate(self, framework: str) -> float:
        """Work per second (samples, or 10^9 floating-point operations), from the median time."""
        return self.case.work[0] / statistics.median(self.seconds[framework])

    def ratio(self, peer: str) -> float:
        """How many times fastcnn is as fast as the peer: the median of the rounds' ratios."""
        return statistics.median(theirs / ours for theirs, ours in zip(self.seconds[peer], self.seconds[self.ours]))

    @property
    def peers(self) -> list[str]:
        """The others that were measured; none where ours was not."""
        return [name for name in self.seconds if name != self.ours] if self.ours in self.seconds else []

    @property
    def fastest_peer(self) -> str | None:
        """The peer with the smallest ratio."""
        return min(self.peers, key=self.ratio) if self.peers else None

    def to_json(self) -> dict[str, Any]:
        """Everything, with the ratios, as JSON values."""
        amount, unit = self.case.work
        ratios = {name: self.ratio(name) for name in self.peers}
        fastest = self.fastest_peer
        return {
            "name": self.case.name,
            "title": self.case.title,
            "case": cases.to_json(self.case),
            "ours": self.ours,
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
    """The workers, each started when it is first needed.

    Args:
        threads: Threads each framework may use.
        samples: Images of the mission's data to make ready.

    Attributes:
        absent: For each framework that was asked for and is not installed, what is missing.
        load_before: The machine's load before the workers started.
        data: What the images are.
    """

    def __init__(self, threads: int, samples: int = _SAMPLES) -> None:
        self.threads = threads
        self.load_before = machine.load()
        self.absent: dict[str, str] = {}
        self._contestants = contestants(threads)
        self._workers: dict[str, Worker] = {}
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastcnn-benchmarks-"))
            self._folder = Path(folder)
            x, y, self.data = networks.mission_images(samples)
            np.save(self._folder / "x.npy", x)
            np.save(self._folder / "y.npy", y)
            self._stack = stack.pop_all()

    def worker(self, name: str) -> Worker | None:
        """The worker of a contestant; None where its framework is not installed."""
        if name not in self._workers and name not in self.absent:
            try:
                self._workers[name] = self._stack.enter_context(Worker(self._contestants[name], self._folder))
            except AbsentError as reason:
                self.absent[name] = f"{name} cannot be imported: {reason}"
        return self._workers.get(name)

    def __enter__(self) -> Comparison:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers and removes the data."""
        self._stack.close()

    def run(
        self,
        case: cases.Case,
        names: Sequence[str],
        rounds: int,
        turn_seconds: float | None = None,
        between: Callable[[], None] = lambda: None,
    ) -> Result:
        """Measures a case.

        Args:
            case: What to measure.
            names: Contestants; ratios are those of the first to the others.
            rounds: Turns of each that count. One before them does not, except of training, whose epochs are long: there
                an epoch to warm up stands for it.
            turn_seconds: Calls are repeated within a turn until it takes about that long.
            between: Called before the first turn and after each.

        Raises:
            RuntimeError: A worker failed, or the frameworks computed different things.
        """
        training = isinstance(case, cases.Training)
        if turn_seconds is None:
            turn_seconds = 0.5 if training else 0.05
        result = Result(case, names[0])
        values: dict[str, Any] = {}
        calls: dict[str, int] = {}
        for name in names:
            worker = self.worker(name)
            if worker is None:
                result.missing[name] = self.absent[name]
                continue
            answer = worker.ask("prepare", values=cases.to_json(case))
            if "missing" in answer:
                result.missing[name] = f"{name} {answer['missing']}"
                continue
            result.variants[name] = answer["variant"]
            values[name] = answer.get("values")
            calls[name] = worker.ask("calls_for", seconds=turn_seconds)["calls"]
        rounds_off = any(self._contestants[name].precision != "float32" for name in values)
        _check_equal(case, values, 0.05 if rounds_off else 1e-3)
        between()
        for turn in range(rounds if training else rounds + 1):
            for name, number in calls.items():
                answer = self._workers[name].ask("measure", calls=number)
                if turn == 0 and not training:
                    continue
                result.seconds.setdefault(name, []).append(answer["seconds"])
                if answer["loss"] is not None:
                    result.losses.setdefault(name, []).append(answer["loss"])
            between()
        return result

    def versions(self) -> dict[str, str]:
        """Versions of the packages of all workers that were started; the instruction set, of one that is not limited."""
        found: dict[str, str] = {}
        for name, worker in self._workers.items():
            limited = name.startswith(f"{OURS}-")
            found |= {key: value for key, value in worker.versions.items() if not (limited and "instruction" in key)}
        return found


def _check_equal(case: cases.Case, values: dict[str, Any], tolerance: float) -> None:
    """Refuses to time frameworks that do not compute the same, up to this part of the largest value."""
    known = [(name, np.array(v)) for name, v in values.items() if v is not None]
    for name, theirs in known[1:]:
        first, ours = known[0]
        scale = max(float(np.abs(theirs).max()), 1e-30)
        difference = float(np.abs(theirs - ours).max()) / scale if theirs.shape == ours.shape else np.inf
        if not difference < tolerance:
            what = f"{first} and {name} computed different results"
            raise RuntimeError(f"{case.name}: {what} (by {difference:.1e} of the largest)")
