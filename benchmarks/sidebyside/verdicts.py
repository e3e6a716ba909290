"""The targets: which figure of which measurement has to reach what."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sidebyside.contestants import OURS

Measured = dict[str, dict[str, Any]]

NAMES = {
    "fastcnn": "fastcnn",
    "torch": "PyTorch",
    "keras-tensorflow": "Keras on TensorFlow",
    "jax": "JAX",
    "onnxruntime": "onnxruntime",
    "openvino": "OpenVINO",
    "fastcnn-1-thread": "fastcnn, 1 thread",
    "fastcnn-avx2": "fastcnn limited to AVX2",
    "fastcnn-baseline": "fastcnn, baseline",
    "torch-avx2": "PyTorch limited to AVX2",
    "fastcnn-bfloat16": "fastcnn, mixed_bfloat16",
    "torch-bfloat16": "PyTorch, bfloat16",
    "keras-tensorflow-bfloat16": "Keras on TensorFlow, mixed_bfloat16",
    "openvino-bfloat16": "OpenVINO, bfloat16",
}
_MIXED = f"{OURS}-bfloat16"
_ENOUGH_ROUNDS = 1 / 3  # of all


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured.

    Attributes:
        title: What is asked for.
        peers: The others' figures, in words.
        ours: fastcnn's figure, in words.
        value: What is compared with the bar.
        bar: What the value has to reach; None where it is only reported.
        at_least: Whether the bar is a lower limit, else an upper one.
        unit: Of value and bar; "x" for ratios.
    """

    title: str
    peers: str
    ours: str
    value: float
    bar: float | None = None
    at_least: bool = True
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None where there is none."""
        if self.bar is None:
            return None
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    def cells(self) -> list[str]:
        """Title, peers, ours, value, bar and whether it is met, as texts."""
        bar = "" if self.bar is None else f"{'>=' if self.at_least else '<='} {self._written(self.bar)}"
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return [self.title, self.peers, self.ours, self._written(self.value), bar, met]

    def _written(self, value: float) -> str:
        return f"{value:.3g} {self.unit}"


HEADER = ["target", "peers", "fastcnn", "value", "bar", "met"]


def number(value: float) -> str:
    """A rate with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def verdicts(measured: Measured) -> list[Verdict]:
    """What can be said from these measurements, in the order of the targets."""
    found: list[Verdict] = []
    for judge in _JUDGES:
        found += judge(measured)
    return found


def _figures(entry: dict[str, Any], names: list[str]) -> str:
    """Rates of frameworks, in words."""
    unit = entry["unit"]
    return ", ".join(f"{NAMES[name]} {number(entry['frameworks'][name]['rate'])} {unit}" for name in names)


def _against(name: str, title: str, bar: float | None, *peers: str) -> Callable[[Measured], Iterator[Verdict]]:
    """At least `bar` times the fastest of these peers; of all measured ones for none."""

    def judge(measured: Measured) -> Iterator[Verdict]:
        entry = measured.get(name)
        if entry is None:
            return
        ratios = {peer: ratio for peer, ratio in entry["ratios"].items() if not peers or peer in peers}
        if ratios:
            fastest = min(ratios, key=ratios.__getitem__)
            ordered = sorted(ratios, key=ratios.__getitem__)
            yield Verdict(title, _figures(entry, ordered), _figures(entry, [entry["ours"]]), ratios[fastest], bar)

    return judge


def _one_sample(name: str, title: str, bar: float) -> Callable[[Measured], Iterator[Verdict]]:
    """At most `bar` times onnxruntime's time."""

    def judge(measured: Measured) -> Iterator[Verdict]:
        entry = measured.get(name)
        if entry is None or "onnxruntime" not in entry["ratios"]:
            return
        peers, ours = (
            ", ".join(f"{NAMES[n]} {1e6 / entry['frameworks'][n]['rate']:.0f} us" for n in names)
            for names in (sorted(entry["ratios"], key=entry["ratios"].__getitem__), [OURS])
        )
        yield Verdict(title, peers, ours, 1 / entry["ratios"]["onnxruntime"], bar, at_least=False)

    return judge


def _convolutions(measured: Measured, ours: str, peer: str) -> list[dict[str, Any]]:
    """Entries of single convolutions, ours beside the peer's."""
    entries = (e for e in measured.values() if e.get("case", {}).get("class") == "Convolution" and e["ours"] == ours)
    return [entry for entry in entries if peer in entry["ratios"]]


def _slowest_and_mean(
    which: str, entries: list[dict[str, Any]], peer: str, slowest_bar: float, mean_bar: float | None
) -> Iterator[Verdict]:
    """The slowest direction of any shape, and the geometric mean."""
    if not entries:
        return
    ratios = [entry["ratios"][peer] for entry in entries]
    number_of = f"{len(entries)} directions, {sum(ratio >= slowest_bar for ratio in ratios)} reach {slowest_bar}"
    worst = min(entries, key=lambda entry: entry["ratios"][peer])
    title = f"{which} beside oneDNN: the slowest ({worst['title'].removeprefix('convolution of ')})"
    yield Verdict(title, _figures(worst, [peer]), _figures(worst, [worst["ours"]]), min(ratios), slowest_bar)
    yield Verdict(f"{which} beside oneDNN: geometric mean", "", number_of, statistics.geometric_mean(ratios), mean_bar)


def _kernels(measured: Measured) -> Iterator[Verdict]:
    """First layers apart from the others."""
    entries = _convolutions(measured, OURS, "torch")
    first = [entry for entry in entries if entry["case"]["channels"] in (1, 3)]
    others = [entry for entry in entries if entry not in first]
    yield from _slowest_and_mean("kernels", others, "torch", 0.95, 1.3)
    yield from _slowest_and_mean("first layers", first, "torch", 1.5, None)


def _mixed_kernels(measured: Measured) -> Iterator[Verdict]:
    entries = _convolutions(measured, _MIXED, "torch-bfloat16")
    yield from _slowest_and_mean("bfloat16 kernels", entries, "torch-bfloat16", 0.95, 1.3)


def _mixed_batches(measured: Measured) -> Iterator[Verdict]:
    """Samples a second of two batch sizes, in runs of their own."""
    small, large = (measured.get(f"bfloat16-training-mission-{size}") for size in (32, 128))
    if small and large:
        rates = [entry["frameworks"][_MIXED]["rate"] for entry in (small, large)]
        words = f"batch 32 {number(rates[0])}, batch 128 {number(rates[1])} samples/s"
        yield Verdict("mixed_bfloat16, training, mission: batch 128 over 32", "", words, rates[1] / rates[0], 1.0)


def _baseline(measured: Measured) -> Iterator[Verdict]:
    entry = measured.get("level-avx2")
    if entry is not None and "fastcnn-baseline" in entry["ratios"]:
        figures = entry["frameworks"]
        peers = [name for name in figures if name == "torch-avx2"]
        value = figures["fastcnn-baseline"]["rate"] / figures["fastcnn-avx2"]["rate"]
        ours = _figures(entry, ["fastcnn-avx2", "fastcnn-baseline"])
        yield Verdict("training at the baseline level beside AVX2", _figures(entry, peers), ours, value)


def _scaling(measured: Measured) -> Iterator[Verdict]:
    """Over the rounds in which the processors were cores of their own, where those are enough to say something."""
    entry = measured.get("scaling")
    if entry is None:
        return
    one = "fastcnn-1-thread"
    value, words = entry["ratios"][one], _figures(entry, [entry["ours"]])
    if loops := entry.get("loops"):
        rounds, undisturbed, ratio = (loops[key] for key in ("rounds", "rounds with needed", "ratio of those"))
        words += (
            f"; {value:.2f} x over all {rounds} rounds; independent loops got {loops['needed']:.3g} x one or more around "
            f"{undisturbed} (median {loops['median']:.2f} x)"
        )
        enough = undisturbed >= _ENOUGH_ROUNDS * rounds
        if undisturbed:
            words += f": {ratio:.2f} x over those"
        if not enough:
            words += ", too few to count"
        value = ratio if enough else value
    yield Verdict("2 threads over 1, training", _figures(entry, [one]), words, value, 1.7)


def _flat_cost(measured: Measured) -> Iterator[Verdict]:
    if "flat-cost" in measured:
        costs = {int(size): cost for size, cost in measured["flat-cost"]["seconds a sample"].items()}
        smallest = costs[min(costs)]
        value = max(cost for size, cost in costs.items() if size != min(costs)) / smallest
        words = ", ".join(f"{size:,}: {cost * 1e6:.1f} us" for size, cost in sorted(costs.items()))
        yield Verdict(f"cost of a sample, largest over {min(costs):,} samples", "", words, value, 1.1, at_least=False)


def _bits(measured: Measured) -> Iterator[Verdict]:
    if "bits" in measured:
        digests = {key: value for key, value in measured["bits"].items() if key.isdigit()}
        words = f"{', '.join(digests)} threads"
        different = len(set(digests.values()))
        yield Verdict("different weights, losses, metrics", "", words, different, 1, at_least=False, unit="results")


def _busy_core(measured: Measured) -> Iterator[Verdict]:
    if "busy-core" in measured:
        title = "training beside a process that keeps one core busy, share of the undisturbed speed"
        yield Verdict(title, "", "", measured["busy-core"]["share"], 0.45)


def _idle(measured: Measured) -> Iterator[Verdict]:
    if "idle" in measured:
        entry = measured["idle"]
        words = f"{entry['cpu seconds'] * 1e3:.2f} ms in {entry['seconds']} s"
        share = 100 * entry["cpu seconds"] / entry["seconds"]
        title = "CPU use of idle threads from 50 ms after a call"
        yield Verdict(title, "", words, share, 0.1, at_least=False, unit="%")


def _memory(measured: Measured) -> Iterator[Verdict]:
    sizes = measured.get("memory", {}).get("bytes", {})
    if "torch" in sizes:
        peers, ours = (f"{NAMES[name]} {sizes[name] / 1e6:.0f} MB" for name in ("torch", OURS))
        value = sizes[OURS] / sizes["torch"]
        yield Verdict("peak memory of a training process", peers, ours, value, 1 / 3, at_least=False)


def _start(measured: Measured) -> Iterator[Verdict]:
    if "import" in measured:
        seconds = measured["import"]["seconds"]
        peers, ours = (f"{name} {seconds[name] * 1e3:.0f} ms" for name in ("numpy", OURS))
        value = measured["import"]["over numpy"] * 1e3
        yield Verdict("import, over that of numpy", peers, ours, value, 60, at_least=False, unit="ms")
    if "first-step" in measured:
        entry = measured["first-step"]
        words = f"the second step {entry['second'] * 1e3:.1f} ms"
        yield Verdict(
            "first step of fit, plan included", "", words, entry["seconds"] * 1e3, 50, at_least=False, unit="ms"
        )


_MIXED_PEERS = ("torch-bfloat16", "keras-tensorflow-bfloat16", "openvino-bfloat16")

_JUDGES: tuple[Callable[[Measured], Iterator[Verdict]], ...] = (
    _against("training-mission-32", "training, mission, batch 32", 7.0),
    _against("training-tutorial-32", "training, 64x64x3 tutorial, batch 32", 3.0),
    _against("training-cats-and-dogs-32", "training, 150x150x3 cats and dogs, batch 32", 2.5),
    *(_against(f"training-mission-{n}", f"training, mission, batch {n}", 3.0) for n in (8, 128, 1024)),
    _against("training-normalized-32", "training, mission with BatchNormalization and Dropout, batch 32", 2.0),
    _against("inference-mission-predict-256", "inference, mission, batch 256, onnxruntime", 2.2, "onnxruntime"),
    _against("inference-mission-predict-256", "inference, mission, batch 256, the others", None),
    _one_sample("inference-mission-call-1", "one sample, model(x): time over onnxruntime's", 0.5),
    _one_sample("inference-mission-predict-1", "one sample, model.predict(x): time over onnxruntime's", 1.5),
    _against("inference-tutorial-predict-32", "inference, 64x64x3 tutorial, batch 32", 1.2),
    _against("inference-cats-and-dogs-predict-32", "inference, 150x150x3 cats and dogs, batch 32", 1.2),
    _kernels,
    _against("level-avx2", "training, mission, batch 32, AVX2", 3.0, "torch-avx2"),
    _baseline,
    _scaling,
    _flat_cost,
    _bits,
    _busy_core,
    _idle,
    _memory,
    _start,
    _against("bfloat16-training-mission-32", "mixed_bfloat16, training, mission, batch 32", 12.0, "torch-bfloat16"),
    _against("bfloat16-training-mission-32", "mixed_bfloat16 over fastcnn's float32, training, mission", 0.95, OURS),
    _mixed_batches,
    _against("bfloat16-training-tutorial-32", "mixed_bfloat16, training, 64x64x3", 3.5, *_MIXED_PEERS),
    _against("bfloat16-training-cats-and-dogs-32", "mixed_bfloat16, training, 150x150x3", 3.0, *_MIXED_PEERS),
    _against(
        "bfloat16-inference-mission-predict-256", "bfloat16 inference, mission, batch 256", 3.5, "openvino-bfloat16"
    ),
    _against("bfloat16-inference-tutorial-predict-32", "bfloat16 inference, 64x64x3", 1.2, *_MIXED_PEERS),
    _against("bfloat16-inference-cats-and-dogs-predict-32", "bfloat16 inference, 150x150x3", 1.2, *_MIXED_PEERS),
    _mixed_kernels,
)
