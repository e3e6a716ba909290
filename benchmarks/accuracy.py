"""Test accuracy of fastcnn and Keras with the same program and settings, over several seeds.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --task shirts --seeds 2 --epochs 1 --frameworks fastcnn
    python benchmarks/accuracy.py --frameworks fastcnn --policies float32 mixed_bfloat16 --output mixed.json

The program is the README's: its network, Adam, batch 32, the first 80 % of the training images (what
`validation_split=0.2` leaves), tested on all test images. Tasks, both on Fashion-MNIST: `classes` (class >= 5 against
the rest, all ten classes) and `shirts` (T-shirt, class 0, against shirt, class 6). Keras runs on the backend that
KERAS_BACKEND names, else on the first installed of TensorFlow, PyTorch, JAX.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.util
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sidebyside import machine, networks

RESULTS = Path(__file__).resolve().parent / "results" / "accuracy.json"
TASKS = {"classes": "class >= 5 against the rest", "shirts": "T-shirt (0) against shirt (6)"}
DEFAULT_EPOCHS = {"classes": 3, "shirts": 5}
BATCH_SIZE = 32
FRAMEWORKS = ("fastcnn", "keras")

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def task_data(task: str, limit: int | None) -> tuple[Pair, Pair]:
    """Images (n, 28, 28, 1) from 0 to 1 and labels (n,) of 0 and 1, for training and for the test."""
    loaded = networks.fashion_mnist()
    if loaded is None:
        sys.exit(
            "accuracy: Fashion-MNIST is not on this machine: run 'apt-get install dataset-fashion-mnist', or load it once with "
            "fastcnn.datasets.fashion_mnist.load_data()"
        )
    pairs = []
    for images, labels in loaded:
        if task == "shirts":
            chosen = (labels == 0) | (labels == 6)
            images, labels = images[chosen], labels[chosen]
        y = (labels == 6) if task == "shirts" else (labels >= 5)
        pairs.append(((images[..., None] / np.float32(255)).astype(np.float32), y.astype(np.float32)))
    (x_train, y_train), test = pairs
    kept = int(len(x_train) * 0.8)
    kept = kept if limit is None else min(kept, limit)
    return (x_train[:kept], y_train[:kept]), test


def framework_module(name: str) -> Any:
    """fastcnn, or Keras on the chosen backend."""
    if name == "keras":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        backends = ("tensorflow", "torch", "jax")
        installed = [backend for backend in backends if importlib.util.find_spec(backend)]
        if importlib.util.find_spec("keras") is None or not (installed or "KERAS_BACKEND" in os.environ):
            sys.exit(f"accuracy: frameworks: keras needs the packages keras and one of {', '.join(backends)}")
        if installed:
            os.environ.setdefault("KERAS_BACKEND", installed[0])
    return importlib.import_module(name)


def train_and_test(keras: Any, policy: str, train: Pair, test: Pair, epochs: int, seed: int) -> float:
    """Test accuracy after training with this seed."""
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(policy)
    model = networks.keras_model(keras, networks.NETWORKS["mission"])
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(*train, epochs=epochs, batch_size=BATCH_SIZE, verbose=0)
    return float(model.evaluate(*test, verbose=0)[1])


def compare(
    task: str, modules: dict[str, tuple[Any, str]], epochs: int, seeds: list[int], limit: int | None
) -> dict[str, Any]:
    """All seeds of one task; prints each and the means."""
    train, test = task_data(task, limit)
    print(f"{task}: {TASKS[task]}; {len(train[0])} training and {len(test[0])} test images, {epochs} epochs")
    accuracies: dict[str, list[float]] = {name: [] for name in modules}
    for seed in seeds:
        for name, (module, policy) in modules.items():
            accuracies[name].append(train_and_test(module, policy, train, test, epochs, seed))
        latest = ", ".join(f"{name} {values[-1]:.4f}" for name, values in accuracies.items())
        print(f"  seed {seed}: {latest}", flush=True)
    means = {name: statistics.fmean(values) for name, values in accuracies.items()}
    deviations = {name: statistics.stdev(values) if len(values) > 1 else None for name, values in accuracies.items()}
    print("  mean:   " + ", ".join(f"{name} {mean:.4f}" for name, mean in means.items()))
    result: dict[str, Any] = {
        "task": task,
        "title": TASKS[task],
        "training images": len(train[0]),
        "test images": len(test[0]),
        "epochs": epochs,
        "batch size": BATCH_SIZE,
        "seeds": seeds,
        "accuracies": accuracies,
        "means": means,
        "standard deviations": deviations,
    }
    if set(means) == set(FRAMEWORKS):
        difference = 100 * (means["fastcnn"] - means["keras"])
        result["difference in points"] = difference
        written = f"{difference:+.2f} points"
        if len(seeds) > 1:
            variance = sum(statistics.variance(values) / len(values) for values in accuracies.values())
            result["standard error in points"] = 100 * variance**0.5
            written += f", standard error {result['standard error in points']:.2f}"
        print(f"  fastcnn - keras: {written}")
    return result


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", action="append", choices=TASKS, help="may be given twice (default: both)")
    parser.add_argument("--frameworks", nargs="+", choices=FRAMEWORKS, default=list(FRAMEWORKS))
    parser.add_argument("--policies", nargs="+", default=["float32"], help="dtype policies (default: float32)")
    parser.add_argument("--seeds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--epochs", type=int, help=f"default: {DEFAULT_EPOCHS}")
    parser.add_argument("--limit", type=int, help="at most so many training images, to try the script out")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file (default: %(default)s)")
    return parser.parse_args()


def main() -> None:
    """Runs the comparison, prints it and writes it as JSON."""
    options = arguments()
    modules = {name: framework_module(name) for name in options.frameworks}
    versions = {name: str(module.__version__) for name, module in modules.items()}
    if "keras" in modules:
        backend = modules["keras"].backend.backend()
        versions[f"{backend} (backend of keras)"] = str(importlib.import_module(backend).__version__)
    named = {
        name if policy == "float32" else f"{name} {policy}": (module, policy)
        for name, module in modules.items()
        for policy in options.policies
    }
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": machine.describe(),
        "versions": versions,
        "tasks": [
            compare(task, named, options.epochs or DEFAULT_EPOCHS[task], list(range(options.seeds)), options.limit)
            for task in dict.fromkeys(options.task or TASKS)
        ],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
