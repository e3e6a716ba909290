"""Fuzz targets: files changed at random must load or be refused with a ValueError, soon and in little memory.

    python tests/fuzz/keras_files.py [--seconds 60] [--seed 0] [keras] [weights] [h5] [json] [native]

Seeds are the golden files. Three kinds of changes: of bytes, of bytes inside an archive that is packed anew with sums that
are right, and of a description's JSON, entry by entry. What breaks the promise is written beside this file.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import random
import resource
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import fastcnn
from fastcnn.saving import keras_archive, keras_weights, legacy_h5, native_file, saving_api
from fastcnn.saving.keras_config import model_from_keras
from fastcnn.variables import limited

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
SLOWEST = 10.0  # seconds of processor time
MEMORY = 400 << 20  # bytes more than the process has at the start
WORDS = (0, 1, 2, 7, 8, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
VALUES = (
    None, True, False, 0, 1, -1, 2, 3, 10**9, 2**31, 2**63, 10**30, -(2**63), 0.5, -1.0, 1e308, float("nan"), float("inf"), "",
    "relu", "../../x", "keras.layers", "Lambda", "Dense", "Sequential", "function", "__lambda__", "__tuple__", "float64",
    [], [None], [None, 4], [1, 2, 3], {}, {"class_name": "Dense", "config": {}}, {"class_name": "L2", "config": {"l2": 1}},
    {"class_name": "function", "config": "system"}, {"class_name": "__tuple__", "items": [3, 3]},
)  # fmt: skip


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        at = chance.randrange(len(out))
        kind = chance.random()
        if kind < 0.3:
            out[at] = chance.randrange(256)
        elif kind < 0.5:
            out[at] ^= 1 << chance.randrange(8)
        elif kind < 0.75:
            size = chance.choice((2, 4, 8))
            word = chance.choice(WORDS) if chance.random() < 0.6 else chance.randrange(2 * len(out))
            out[at : at + size] = (word % 256**size).to_bytes(size, "little")
        elif kind < 0.9:
            other, size = chance.randrange(len(out)), chance.choice((4, 8, 16, 40, 512))
            out[at : at + size] = out[other : other + size]
        elif kind < 0.95:
            del out[at : at + chance.choice((1, 8, 64))]
        else:
            del out[at:]
        if not out:
            break
    return bytes(out)


def changed_json(value: Any, chance: random.Random) -> Any:
    """The same with some entries replaced, left out, doubled or moved."""
    value = json.loads(json.dumps(value))
    places: list[tuple[Any, Any]] = []

    def visit(container: Any) -> None:
        entries = container.items() if isinstance(container, dict) else enumerate(container)
        for key, inner in entries:
            places.append((container, key))
            if isinstance(inner, (dict, list)):
                visit(inner)

    visit(value)
    for _ in range(chance.choice((1, 1, 2, 4))):
        container, key = chance.choice(places)
        kind = chance.random()
        try:
            if kind < 0.6:
                container[key] = chance.choice(VALUES)
            elif kind < 0.75:
                other, where = chance.choice(places)
                container[key] = json.loads(json.dumps(other[where]))
            elif kind < 0.85:
                del container[key]
            elif isinstance(container, list):
                container.insert(key, container[key])
            else:
                container[str(chance.choice(VALUES))] = container[key]
        except (KeyError, IndexError, ValueError, RecursionError):
            continue  # what an earlier change took away
    return value


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@functools.cache
def wide_model() -> fastcnn.Sequential:
    """What the golden files, which are older, do not hold: preparation, constraints, schedules, metrics with tables, averages."""
    layers, x, y = fastcnn.layers, np.zeros((4, 6, 6, 2), np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    model = fastcnn.Sequential(
        [
            fastcnn.Input((6, 6, 2)),
            layers.Pipeline([layers.Rescaling([0.5, 0.25], [0.0, 1.0]), layers.RandomFlip(seed=1)]),
            layers.DepthwiseConv2D(3, depthwise_constraint=fastcnn.constraints.MaxNorm(1.0, axis=[0, 1])),
            layers.GroupNormalization(2, gamma_constraint="non_neg"),
            layers.PReLU(shared_axes=[1, 2]),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(3, activation="softmax", kernel_regularizer=fastcnn.regularizers.OrthogonalRegularizer(0.1)),
        ]
    )
    rate = fastcnn.optimizers.schedules.CosineDecay(0.01, 100, warmup_target=0.02, warmup_steps=5)
    metrics = [fastcnn.metrics.AUC(50, multi_label=True, num_labels=3), fastcnn.metrics.OneHotMeanIoU(3), "accuracy"]
    optimizer = fastcnn.optimizers.Nadam(rate, use_ema=True, gradient_accumulation_steps=2)
    model.compile(optimizer, fastcnn.losses.CategoricalFocalCrossentropy(alpha=[0.2, 0.3, 0.5]), metrics=metrics)
    model.fit(x, y, epochs=2, verbose=0)
    return model


def seeds(name: str) -> list[bytes]:
    files = [path.read_bytes() for path in sorted(GOLDEN.glob(f"*/{name}"))]
    if name == "model.keras":
        files.append(keras_archive.to_bytes(wide_model()))
    elif name == "model.safetensors":
        files.append(native_file.model_bytes(wide_model()))
    return files


def golden_model() -> fastcnn.Sequential:
    return keras_archive.load(seeds("model.keras")[0], "seed")


def keras_target() -> tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]:
    files = seeds("model.keras")
    parts = [members_of(data) for data in files]
    configs = [json.loads(part["config.json"]) for part in parts]

    def make(chance: random.Random) -> bytes:
        index = chance.randrange(len(files))
        kind = chance.random()
        if kind < 0.3:
            return changed_bytes(files[index], chance)
        members = dict(parts[index])
        if kind < 0.6:
            members["model.weights.h5"] = changed_bytes(members["model.weights.h5"], chance)
        elif kind < 0.65:
            members["config.json"] = changed_bytes(members["config.json"], chance)
        else:
            members["config.json"] = json.dumps(changed_json(configs[index], chance)).encode()
        return packed(members)

    return make, lambda data: keras_archive.load(data, "fuzzed.keras")


def weights_target() -> tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]:
    files, model = seeds("model.weights.h5"), golden_model()
    return (
        lambda chance: changed_bytes(chance.choice(files), chance),
        lambda data: keras_weights.load(model, data, "load_weights", "fuzzed.weights.h5", len(data) % 2 == 0),
    )


def h5_target() -> tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]:
    files = seeds("model.h5")
    with h5py.File(io.BytesIO(files[0])) as file:
        attributes = {name: json.loads(file.attrs[name]) for name in ("model_config", "training_config")}

    def make(chance: random.Random) -> bytes:
        if chance.random() < 0.6:
            return changed_bytes(chance.choice(files), chance)
        buffer = io.BytesIO(chance.choice(files))
        with h5py.File(buffer, "r+") as file:
            name = chance.choice(list(attributes))
            file.attrs[name] = json.dumps(changed_json(attributes[name], chance)).encode()
        return buffer.getvalue()

    return make, lambda data: legacy_h5.load(data, "fuzzed.h5")


def json_target() -> tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]:
    configs = [json.loads(members_of(data)["config.json"]) for data in seeds("model.keras")]
    saving_api._MOST_DRAWN = 1 << 20  # the promise is tested within less memory than a user may ask for

    def load(data: bytes) -> None:
        config = keras_archive.read_json(data, "model_from_json", "text")
        if len(data) % 2:
            with limited(100_000, "model_from_json", "text"):
                model_from_keras(config, None, True, "model_from_json", "text")
        else:
            saving_api.model_from_json(data)

    return lambda chance: json.dumps(changed_json(chance.choice(configs), chance)).encode(), load


def native_target() -> tuple[Callable[[random.Random], bytes], Callable[[bytes], object]]:
    files = seeds("model.safetensors")

    def make(chance: random.Random) -> bytes:
        data, kind = chance.choice(files), chance.random()
        if kind < 0.4:
            return changed_bytes(data, chance)
        end = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:end])
        if kind < 0.6:
            header = changed_json(header, chance)
        else:
            description = json.loads(header["__metadata__"]["fastcnn"])
            header["__metadata__"]["fastcnn"] = json.dumps(changed_json(description, chance))
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[end:]

    return make, lambda data: native_file.load_model(data, "fuzzed.safetensors")


TARGETS = {
    "keras": keras_target,
    "weights": weights_target,
    "h5": h5_target,
    "json": json_target,
    "native": native_target,
}


def run(name: str, seconds: float, seed: int) -> int:
    """Returns how many inputs broke the promise."""
    make, load = TARGETS[name]()
    ended, number, loaded, broken, slowest = time.monotonic() + seconds, 0, 0, 0, 0.0
    while time.monotonic() < ended:
        data = make(random.Random(f"{name} {seed} {number}"))
        began, problem = time.process_time(), None
        try:
            load(data)
            loaded += 1
        except ValueError:
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            problem = f"{type(error).__name__}: {error}"
        took = time.process_time() - began
        slowest = max(slowest, took)
        if problem is None and took > SLOWEST:
            problem = f"{took:.1f} s"
        if problem is not None:
            broken += 1
            path = HERE / f"broken_{name}_{seed}_{number}"
            path.write_bytes(data)
            print(f"{name}: {problem} -> {path}", flush=True)
        number += 1
    print(f"{name}: seed {seed}, {seconds:.0f} s, {number} files, {loaded} loaded, slowest {slowest:.2f} s")
    print(f"{name}: {broken} broke the promise", flush=True)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="target")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    golden_model()
    wide_model()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY,) * 2)
    return int(any([run(name, arguments.seconds, arguments.seed) for name in arguments.targets]))


if __name__ == "__main__":
    sys.exit(main())
