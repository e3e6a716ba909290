"""What is measured in a process of its own, because it is about the process: memory, start, idle threads, bits.

`python -m sidebyside.probes NAME JSON` runs one and prints its answer as JSON; `run` is the way to call it.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from sidebyside import machine, networks, workers

_BATCH_SIZE = 32
_LOOP_SECONDS = 0.02
_COMPILED = str(Path(tempfile.gettempdir()) / "fastcnn-benchmarks-compiled")


def run(name: str, threads: int, /, **arguments: Any) -> dict[str, Any]:
    """The answer of a probe that ran in a new process with so many threads.

    Raises:
        RuntimeError: It failed; the message holds what it printed.
    """
    command = [sys.executable, "-m", "sidebyside.probes", name, json.dumps(arguments)]
    done = subprocess.run(command, env=workers.environment(threads), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: the probe failed\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def import_seconds(module: str) -> float:
    """Seconds that `import module` takes in a fresh interpreter, the first call's compilation of Python files kept for the
    next ones, as an installer keeps it."""
    code = f"from time import perf_counter as t; a = t(); import {module}; print(t() - a)"
    environment = workers.environment(1, {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _COMPILED})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"import {module} failed\n{done.stderr[-2000:]}")
    return float(done.stdout)


def _model(loss: str = "binary_crossentropy") -> Any:
    import fastcnn

    fastcnn.utils.set_random_seed(0)
    model = networks.keras_model(fastcnn, networks.NETWORKS["mission"])
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    return model


def _bytes_images(samples: int) -> tuple[Any, Any]:
    """uint8 images and labels, Fashion-MNIST where it is there; no more memory than these."""
    found = networks.fashion_mnist()
    if found is None:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (samples, 28, 28, 1), np.uint8), rng.integers(0, 2, samples).astype(np.uint8)
    (pictures, labels), _ = found
    return pictures[:samples, :, :, None], (labels[:samples] >= 5).astype(np.uint8)


def first_step() -> dict[str, Any]:
    """Seconds of the first `fit`, one step of 32 images, planning included; and of the second."""
    x, y = networks.random_images((28, 28, 1), _BATCH_SIZE)
    model = _model()
    seconds = []
    for _ in range(2):
        begin = time.perf_counter()
        model.fit(x, y, batch_size=_BATCH_SIZE, verbose=0)
        seconds.append(time.perf_counter() - begin)
    return {"seconds": seconds[0], "second": seconds[1]}


def bits(samples: int) -> dict[str, Any]:
    """A digest of weights, loss and metrics after an epoch."""
    x, y = networks.random_images((28, 28, 1), samples)
    model = _model()
    history = model.fit(x, y, batch_size=_BATCH_SIZE, verbose=0).history
    digest = hashlib.sha256(json.dumps(history, sort_keys=True).encode())
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return {"digest": digest.hexdigest()}


def idle(seconds: float) -> dict[str, Any]:
    """CPU seconds of all threads from 50 ms after the last call on, and for comparison in the 50 ms before."""

    def cpu_seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    x, y = networks.random_images((28, 28, 1), 1_024)
    model = _model()
    worst = at_once = 0.0
    for call in (lambda: model.fit(x, y, batch_size=_BATCH_SIZE, verbose=0), lambda: model.predict(x, verbose=0)):
        call()
        end = cpu_seconds()
        time.sleep(0.05)
        begin = cpu_seconds()
        time.sleep(seconds)
        worst, at_once = max(worst, cpu_seconds() - begin), max(at_once, begin - end)
    return {"cpu seconds": worst, "cpu seconds of the first 50 ms": at_once, "seconds": seconds}


def loops() -> dict[str, Any]:
    """How many times what one loop of multiply-adds between registers gets is got by one on each processor at once.

    Nothing is shared but what the processors share themselves: as many times as there are processors, if those are
    cores; about once, if they are one core's two.
    """
    from fastcnn import _core

    cores: list[int | None] = [*machine.cores_for(int(os.environ["FASTCNN_NUM_THREADS"]))] or [None, None]
    turns = round(_LOOP_SECONDS * 1e9 * _core.peak_gflops() / _core.fma_loop(1, 1.0, 0.5, 0.5)[1])
    barrier = threading.Barrier(len(cores))

    def rate(core: int | None, together: bool) -> float:
        if core is not None:
            os.sched_setaffinity(0, {core})  # this thread's
        if together:
            barrier.wait()
        begin = time.perf_counter()
        return float(_core.fma_loop(turns, 1.0, 0.5, 0.5)[1]) / (time.perf_counter() - begin)

    with ThreadPoolExecutor(len(cores)) as pool:
        alone = [pool.submit(rate, core, False).result() for core in cores]
        together = [running.result() for running in [pool.submit(rate, core, True) for core in cores]]
    return {"loops": len(cores), "over one": sum(together) / statistics.mean(alone)}


def sample_cost(path: str, sizes: list[int], rounds: int) -> dict[str, Any]:
    """Seconds a sample of an epoch, for epochs of several sizes over uint8 images mapped from a file.

    Short epochs are repeated so that each turn takes a good while; the largest has one turn, it is long enough.
    """
    x = np.memmap(path, np.uint8, "r").reshape(-1, 28, 28, 1)
    y = (np.arange(len(x)) % 2).astype(np.uint8)
    model = _model()
    model.fit(x[:1_000], y[:1_000], batch_size=_BATCH_SIZE, verbose=0)
    costs: dict[int, list[float]] = {size: [] for size in sizes}
    for turn in range(rounds):
        for size in sizes:
            if turn > 0 and size == max(sizes):
                continue
            epochs = max(1, 10_000 // size)
            begin = time.perf_counter()
            for _ in range(epochs):
                model.fit(x[:size], y[:size], batch_size=_BATCH_SIZE, verbose=0)
            costs[size].append((time.perf_counter() - begin) / epochs / size)
    return {"seconds a sample": {str(size): statistics.median(values) for size, values in costs.items()}}


def peak_memory(framework: str, threads: int, samples: int) -> dict[str, Any]:
    """Peak resident bytes of this whole process, which trains an epoch on uint8 images."""
    x, y = _bytes_images(samples)
    if framework == "fastcnn":
        _model().fit(x, y, batch_size=_BATCH_SIZE, verbose=0)
    else:
        _train_torch(x, y, threads)
    # Not ru_maxrss: after fork and exec that starts at the parent's.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    return {"bytes": int(peak.split()[1]) * 1024}


def _train_torch(x: Any, y: Any, threads: int) -> None:
    """An epoch in PyTorch; the images stay uint8, batches are converted."""
    from sidebyside.frameworks.torch_framework import TorchFramework

    network = networks.NETWORKS["mission"]
    framework = TorchFramework(threads)
    epoch = framework.epoch("eager", network, networks.weights(network), _BATCH_SIZE)
    epoch(framework.own(x), framework.own(y))


PROBES: dict[str, Callable[..., dict[str, Any]]] = {
    "first_step": first_step,
    "bits": bits,
    "idle": idle,
    "loops": loops,
    "sample_cost": sample_cost,
    "peak_memory": peak_memory,
}


def main() -> None:
    """Runs the probe that the command line names, on as many processors as it has threads."""
    name, arguments = sys.argv[1:]
    cores = machine.cores_for(int(os.environ["FASTCNN_NUM_THREADS"]))
    if cores:
        os.sched_setaffinity(0, cores)
    print(json.dumps(PROBES[name](**json.loads(arguments))))


if __name__ == "__main__":
    main()
