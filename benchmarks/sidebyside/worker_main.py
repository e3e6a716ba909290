"""A worker: one process with one framework, which prepares a case and times calls when it is asked to.

Reads one request a line from standard input and answers each with one line, both JSON. Started by `workers.Worker`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside import cases, networks

_PROBE_SAMPLES = 2_048  # enough steps to tell the variants of a training loop apart
_PROBE_SECONDS = 0.1
_PROBES = 3
_LONG_PROBE_SECONDS = 0.5  # what takes so long is told apart by one probe
_COMPARED_VALUES = 64


class Session:
    """A framework and the case it is prepared for."""

    def __init__(self, name: str, precision: str, threads: int, folder: Path) -> None:
        from sidebyside.frameworks import FRAMEWORKS

        module, cls = FRAMEWORKS[name].split(":")
        make = getattr(importlib.import_module(f"sidebyside.frameworks.{module}"), cls)
        self._framework = make(threads) if precision == "float32" else make(threads, precision)
        self._folder = folder
        self._call: Callable[[], Any] = lambda: None
        self._warm_up = False

    def versions(self) -> dict[str, str]:
        return self._framework.versions()

    def prepare(self, values: dict[str, Any]) -> dict[str, Any]:
        """Makes the case's call ready; answers with its variant and some of its values, or with what is missing."""
        case = cases.from_json(values)
        if isinstance(case, cases.Training):
            return self._prepare_training(case)
        if isinstance(case, cases.Inference):
            return self._prepare_inference(case)
        return self._prepare_convolution(case)

    def _images(self, case: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The mission's data from the folder; noise for networks of another size, alike in every worker."""
        shape = networks.NETWORKS[case.network].input_shape
        if shape != (28, 28, 1):
            return networks.random_images(shape, case.samples)
        x, y = (np.load(self._folder / f"{name}.npy", mmap_mode="r")[: case.samples] for name in "xy")
        return np.array(x), np.array(y)

    def _prepare_training(self, case: Any) -> dict[str, Any]:
        framework = self._framework
        network = networks.NETWORKS[case.network]
        weights = networks.weights(network)
        variants = framework.training_variants(network)
        if not variants:
            return {"missing": "does not train this network"}
        x, y = self._images(case)

        def probe(variant: str) -> Callable[[], Any]:
            epoch = framework.epoch(variant, network, weights, case.batch_size)
            part = framework.own(x[:_PROBE_SAMPLES]), framework.own(y[:_PROBE_SAMPLES])
            return lambda: epoch(*part)

        variant = _fastest(variants, probe)
        epoch = framework.epoch(variant, network, weights, case.batch_size)
        own_x, own_y = framework.own(x), framework.own(y)
        self._call = lambda: epoch(own_x, own_y)
        self._warm_up = False  # an epoch is long enough
        return {"variant": variant}

    def _prepare_inference(self, case: Any) -> dict[str, Any]:
        framework = self._framework
        variants = framework.inference_variants(case)
        if not variants:
            return {"missing": f"has no {case.method}"}
        network = networks.NETWORKS[case.network]
        weights = networks.weights(network)
        x, _ = self._images(case)
        variant = _fastest(variants, lambda v: framework.inference(v, network, weights, case, x))
        self._call = framework.inference(variant, network, weights, case, x)
        self._warm_up = True
        return {"variant": variant, "values": _some_values(np.asarray(self._call()))}

    def _prepare_convolution(self, case: Any) -> dict[str, Any]:
        framework = self._framework
        if not framework.offers_convolution:
            return {"missing": "is not measured on single convolutions"}
        rng = np.random.default_rng(0)
        x = rng.standard_normal((case.batch, case.height, case.width, case.channels), np.float32)
        kernel = rng.standard_normal(case.kernel_shape, np.float32)
        dy = rng.standard_normal((case.batch, *case.output_size, case.filters), np.float32)
        self._call = framework.convolution(case, x, kernel, dy)
        self._warm_up = True
        result = framework.to_numpy(case, self._call())
        return {"variant": "", "values": _some_values(result) if case.same_values else None}

    def calls_for(self, seconds: float) -> dict[str, Any]:
        """How many calls take about that long, found after a first one that warms everything up."""
        if _time(self._call, 1) > seconds:
            return {"calls": 1}
        calls = 1
        while (taken := _time(self._call, calls)) < seconds / 4 and calls < 1 << 20:
            calls *= 2
        return {"calls": max(1, round(calls * seconds / taken))}

    def measure(self, calls: int) -> dict[str, Any]:
        """Seconds of one call, as a mean over that many. What the last one returned, where that is a number."""
        if self._warm_up:
            self._call()  # after its pause the process's threads sleep and the caches hold another's data
        result: Any = None
        begin = time.perf_counter()
        for _ in range(calls):
            result = self._call()
        seconds = (time.perf_counter() - begin) / calls
        return {"seconds": seconds, "loss": result if isinstance(result, float) else None}


def _time(call: Callable[[], Any], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - begin


def _fastest(variants: Any, make: Callable[[str], Callable[[], Any]]) -> str:
    """The variant with the shortest time; they are tried in turns, each after an untimed call."""
    if len(variants) == 1:
        return str(variants[0])
    calls = {variant: make(variant) for variant in variants}
    best = dict.fromkeys(calls, float("inf"))
    repeats = {}
    for variant, call in calls.items():
        call()
        best[variant] = _time(call, 1)
        repeats[variant] = max(1, round(_PROBE_SECONDS / max(best[variant], 1e-6)))
    for _ in range(_PROBES):
        for variant, call in calls.items():
            if best[variant] > _LONG_PROBE_SECONDS:
                continue
            best[variant] = min(best[variant], _time(call, repeats[variant]) / repeats[variant])
    return min(best, key=best.__getitem__)


def _some_values(array: NDArray[Any]) -> list[float]:
    """Values spread over the array, for the comparison of frameworks."""
    flat = array.ravel()
    places = np.linspace(0, flat.size - 1, min(flat.size, _COMPARED_VALUES)).astype(np.int64)
    return [float(v) for v in flat[places]]


def _answer(stream: Any, values: dict[str, Any]) -> None:
    stream.write(json.dumps(values) + "\n")
    stream.flush()


def main() -> None:
    """Serves requests until standard input ends. Arguments: framework, precision, threads, folder of the data, cores."""
    name, precision, threads, folder, cores = sys.argv[1:]
    # What frameworks print must not mix with the answers: those keep the original standard output for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    try:
        session = Session(name, precision, int(threads), Path(folder))
        _answer(answers, {"versions": session.versions()})
    except ImportError as error:
        _answer(answers, {"absent": str(error)})
        return
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _answer(answers, getattr(session, request["do"])(**request["with"]))
        except Exception:
            _answer(answers, {"error": traceback.format_exc()})


if __name__ == "__main__":
    main()
