"""Files built as the known attacks on Keras's loaders: each is refused, nothing else is touched, little memory is taken.

docs/security.md tells the story of each. One process opens all of them, with an audit hook that writes down whatever Python
does meanwhile, under a limit of memory.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import stat
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastcnn
from fastcnn.saving import keras_files

WEIGHTS, CONFIG, METADATA = "model.weights.h5", "config.json", "metadata.json"


def small_model() -> fastcnn.Sequential:
    model = fastcnn.Sequential([fastcnn.Input((4,)), fastcnn.layers.Dense(3, name="first"), fastcnn.layers.Dense(2)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(keras_files.model_bytes(small_model()))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(contents: dict[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def with_config(change: Callable[[dict[str, Any]], object]) -> bytes:
    """A .keras archive whose description was changed."""
    parts = members()
    config = json.loads(parts[CONFIG])
    change(config)
    return archive_of({**parts, CONFIG: json.dumps(config).encode()})


def with_layer(layer: dict[str, Any]) -> bytes:
    return with_config(lambda config: config["config"]["layers"].insert(1, layer))


def with_weights(change: Callable[[h5py.File], object]) -> bytes:
    parts = members()
    buffer = io.BytesIO(parts[WEIGHTS])
    with h5py.File(buffer, "r+") as file:
        change(file)
    return archive_of({**parts, WEIGHTS: buffer.getvalue()})


def legacy(layers: list[Any], fill: Callable[[h5py.Group], object] = lambda group: None) -> bytes:
    """A whole model in Keras 2's format."""
    first = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, 4], "dtype": "float32", "name": "input"},
    }
    model = {"class_name": "Sequential", "config": {"name": "sequential", "layers": [first, *layers]}}
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = json.dumps(model).encode()
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = np.array([layer["config"]["name"].encode() for layer in layers])
        for layer in layers:
            group = weights.create_group(layer["config"]["name"])
            group.attrs["weight_names"] = np.array([b"kernel:0", b"bias:0"])
            group["kernel:0"], group["bias:0"] = np.ones((4, 2), np.float32), np.ones(2, np.float32)
        fill(weights)
    return buffer.getvalue()


def keras_object(module: str, name: str, config: Any, **more: Any) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": config, "registered_name": name, **more}


LAMBDA_CODE = {
    "class_name": "__lambda__",
    "config": {"code": "4wEAAAAAAAAAAAAAAAIAAAAD", "defaults": None, "closure": None},
}
LAMBDA = keras_object("keras.layers", "Lambda", {"name": "code", "function": LAMBDA_CODE, "arguments": {}})
OLD_LAMBDA = {
    "class_name": "Lambda",
    "config": {"name": "code", "function": ["4wEAAAAAAAAAAAAAAAIAAAAD", None, None], "function_type": "lambda"},
}
DENSE = {"class_name": "Dense", "config": {"name": "dense", "units": 2}}


class Opens:
    """What a pickle can do: a call of any function as soon as it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, ("pickled-and-run", "w")


def symbolic_link(name: str, target: bytes) -> bytes:
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return archive_of({**{key: value for key, value in members().items() if key != name}, entry: target})


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("../escaped")
        entry.size = 4
        archive.addfile(entry, io.BytesIO(b"text"))
    return buffer.getvalue()


def external(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", (4, 3), "f4", external=[("secret", 0, 48)])


def virtual(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("secret", "a", (4, 3))
    file.create_virtual_dataset("layers/dense/vars/0", layout)


def external_link(file: h5py.File) -> None:
    del file["layers/dense"]
    file["layers/dense"] = h5py.ExternalLink("secret", "/a")


def shape_bomb(file: h5py.File) -> None:
    del file["layers/dense/vars/0"]
    file.create_dataset("layers/dense/vars/0", (1 << 19, 1 << 19), "f4", chunks=(1024, 1024), compression="gzip")


def compressed_bomb(file: h5py.File) -> None:
    del file["optimizer/vars/0"]
    file.create_dataset("optimizer/vars/0", data=np.zeros((1 << 11, 1 << 11), np.float32), compression="gzip")


def soft_link(group: h5py.Group) -> None:
    del group["dense"]
    group["dense"] = h5py.SoftLink("/elsewhere")


def hard_links(group: h5py.Group) -> None:
    for index in range(30):
        group[f"again{index}"] = group["dense"]
    group["dense"].attrs["weight_names"] = np.array([b"../again0/kernel:0", b"/etc/passwd"])


def npz_bomb() -> bytes:
    """An .npy entry that announces 4 TB and holds nothing."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1048576, 1048576), }"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    return archive_of({"layers/dense/kernel.npy": npy})


def pickled_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{"layers/dense/kernel": np.array([Opens()], dtype=object)})
    return buffer.getvalue()


def huge_layer() -> bytes:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1]["config"]["units"] = 10**9

    return with_config(change)


def set_activation(value: Any) -> bytes:
    def change(config: dict[str, Any]) -> None:
        config["config"]["layers"][1]["config"]["activation"] = value

    return with_config(change)


def set_loss(value: Any) -> bytes:
    return with_config(lambda config: config["compile_config"].update(loss=value))


def with_metrics(metrics: list[tuple[str, dict[str, Any]]]) -> bytes:
    found = [keras_object("keras.metrics", name, config) for name, config in metrics]
    return with_config(lambda config: config["compile_config"].update(metrics=found))


# Row of the table in docs/security.md -> files: suffix, what is in it, part of the sentence that refuses it.
CASES: dict[str, list[tuple[str, Callable[[], bytes], str]]] = {
    "pickled data sets": [
        (".keras", lambda: pickle.dumps(Opens()), "no zip archive"),
        (".h5", lambda: pickle.dumps(Opens()), "no HDF5 file"),
        (".npz", pickled_npz, "received"),
    ],
    "CVE-2024-3660": [
        (".keras", lambda: with_layer(LAMBDA), "expected a layer of fastcnn"),
        (".keras", lambda: set_activation(LAMBDA_CODE), "activation"),
        (".keras", lambda: set_loss(LAMBDA_CODE), "received '__lambda__'"),
    ],
    "CVE-2024-55459": [(".keras", tar, "no zip archive")],
    "CVE-2025-1550": [
        (".keras", lambda: with_layer(keras_object("os", "system", {"command": "touch run"})), "received 'system'"),
        (".keras", lambda: with_layer(keras_object("builtins", "exec", {})), "received 'exec'"),
        (".keras", lambda: set_activation(keras_object("os", "function", "system")), "activation"),
        (".keras", lambda: set_loss(keras_object("subprocess", "Popen", {"args": "touch run"})), "received 'Popen'"),
    ],
    "CVE-2025-8747": [
        (
            ".keras",
            lambda: with_layer(keras_object("keras.utils", "get_file", {"origin": "http://127.0.0.1:9/x"})),
            "received 'get_file'",
        ),
        (".keras", lambda: set_activation(keras_object("keras.utils", "function", "get_file")), "activation"),
    ],
    "CVE-2025-9906": [
        (
            ".keras",
            lambda: with_layer(keras_object("keras.config", "enable_unsafe_deserialization", {})),
            "received 'enable_unsafe_deserialization'",
        )
    ],
    "CVE-2025-9905": [(".h5", lambda: legacy([OLD_LAMBDA]), "received 'Lambda'")],
    "CVE-2025-49655": [
        (
            ".keras",
            lambda: with_layer(keras_object("keras.layers", "TorchModuleWrapper", {"name": "t", "module": "gASV"})),
            "received 'TorchModuleWrapper'",
        )
    ],
    "CVE-2025-12058": [
        (
            ".keras",
            lambda: with_layer(keras_object("keras.layers", "StringLookup", {"name": "s", "vocabulary": "secret"})),
            "received 'StringLookup'",
        )
    ],
    "CVE-2025-12060": [
        (".keras", lambda: archive_of({**members(), "../escaped": b"text"}), "members"),
        (".keras", lambda: archive_of({**members(), "/tmp/escaped": b"text"}), "members"),
    ],
    "CVE-2026-0897": [
        (".keras", lambda: with_weights(shape_bomb), "filtered array"),
        (".keras", huge_layer, "expected weights for sequential"),
        (".keras", lambda: with_metrics([("AUC", {"num_thresholds": 10**9})]), "expected 1000000000 thresholds of AUC"),
        (".keras", lambda: with_metrics([("AUC", {"multi_label": True, "num_labels": 10**9})]), "expected AUC of 1000000000"),
        (".keras", lambda: with_metrics([("MeanIoU", {"num_classes": 10**9})]), "expected a confusion matrix of 1000000000"),
        (
            ".keras",
            lambda: with_metrics([("PrecisionAtRecall", {"recall": 0.5, "num_thresholds": 10**9})]),
            "expected 1000000000 thresholds of PrecisionAtRecall",
        ),
        (".keras", lambda: with_metrics([("MeanIoU", {"num_classes": 600})] * 100), "expected a confusion matrix of 600"),
    ],
    "CVE-2026-1669": [
        (".keras", lambda: with_weights(external), "an array whose numbers lie in other files"),
        (".keras", lambda: with_weights(external_link), "an external link"),
    ],
    "CVE-2026-1462": [
        (
            ".keras",
            lambda: with_layer(keras_object("keras.layers", "TFSMLayer", {"name": "t", "filepath": "secret"})),
            "received 'TFSMLayer'",
        )
    ],
    "CVE-2026-12479": [
        (
            ".keras",
            lambda: with_config(lambda config: config["config"]["layers"][1]["config"].update(name="../../escaped")),
            "without '/'",
        )
    ],
    "CVE-2026-12570": [(".keras", lambda: with_weights(compressed_bomb), "filtered array")],
    "CVE-2026-11816": [
        (".keras", lambda: archive_of({**members(), "assets/../../escaped": b"text"}), "members"),
        (".keras", lambda: archive_of({**members(), "assets\\..\\..\\escaped": b"text"}), "members"),
    ],
    "virtual datasets": [(".keras", lambda: with_weights(virtual), "virtual array")],
    "soft links": [(".h5", lambda: legacy([DENSE], soft_link), "a soft link 'dense'")],
    "npz shape bomb": [
        (".npz", npz_bomb, "received"),
        (".keras", lambda: archive_of({**members(), "model.weights.npz": npz_bomb()}), "members"),
    ],
    "zip bomb": [
        (
            ".keras",
            lambda: archive_of({**members(), WEIGHTS: bytes(1 << 25)}, zipfile.ZIP_DEFLATED),
            f"{WEIGHTS} of 33554432 bytes",
        ),
        (
            ".keras",
            lambda: archive_of({**members(), CONFIG: b" " * (1 << 25)}, zipfile.ZIP_DEFLATED),
            f"{CONFIG} of 33554432 bytes",
        ),
        (".keras", lambda: archive_of({f"{index}": b"" for index in range(20_000)}), "a zip archive with more in it"),
    ],
    "symbolic links": [
        (".keras", lambda: symbolic_link(WEIGHTS, b"secret"), "as a link"),
        (".keras", lambda: symbolic_link("link/../escaped", b"/"), "members"),
    ],
    "hard links": [(".h5", lambda: legacy([DENSE], hard_links), "nothing at '/model_weights/dense/..'")],
    "from_config without safe_mode": [
        (".json", lambda: json.dumps({**json.loads(with_config_json(LAMBDA))}).encode(), "received 'Lambda'"),
    ],
}  # fmt: skip


def with_config_json(layer: dict[str, Any]) -> str:
    config = json.loads(members()[CONFIG])
    config["config"]["layers"].insert(1, layer)
    return json.dumps(config)


FILES = {f"{row} {index}": case for row, cases in CASES.items() for index, case in enumerate(cases)}

# Reads every file of a folder and tells what happened meanwhile.
PROGRAM = """
import json, resource, sys, time, warnings
from pathlib import Path
import numpy
import fastcnn
from fastcnn.saving import keras_files
from fastcnn.saving.keras_config import model_from_keras

warnings.simplefilter("ignore")
folder = Path(sys.argv[1])
events, watching = [], False

def watch(event, arguments):
    if watching:
        events.append([event, repr(arguments)[:200]])

def load(path):
    if path.suffix == ".npz":
        model = fastcnn.Sequential([fastcnn.Input((4,)), fastcnn.layers.Dense(3)])
        return model.load_weights(path)
    if path.suffix == ".json":
        return model_from_keras(json.loads(path.read_text()), None, False, "from_config", path.name)
    return keras_files.load_model(path, safe_mode=path.stem[-1] == "0")

def attempt(path):
    global watching
    try:
        watching = True
        load(path)
        return None
    except BaseException as error:
        return [type(error).__name__, str(error)]
    finally:
        watching = False

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() >> 20

# What is imported on first use is not what the test is about.
for path in sorted(folder.glob("good*")):
    assert attempt(path) is None, path
sys.addaudithook(watch)
found = {}
resource.setrlimit(resource.RLIMIT_AS, ((megabytes() + 200) << 20,) * 2)
for path in sorted(folder.glob("bad*")):
    events.clear()
    began = time.monotonic()
    error = attempt(path)
    found[path.name] = {"error": error, "events": list(events), "seconds": time.monotonic() - began}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each file, by case; checks that the folder holds nothing new."""
    folder = tmp_path_factory.mktemp("outer") / "inner"
    folder.mkdir()
    (folder / "secret").write_bytes(np.ones(12, np.float32).tobytes())
    (folder / "good.keras").write_bytes(keras_files.model_bytes(small_model()))
    recall = ("PrecisionAtRecall", {"recall": 0.5})
    (folder / "good_metrics.keras").write_bytes(with_metrics([("AUC", {}), ("MeanIoU", {"num_classes": 2}), recall]))
    (folder / "good.h5").write_bytes(legacy([DENSE]))
    (folder / "good.json").write_bytes(members()[CONFIG])
    fastcnn.Sequential([fastcnn.Input((4,)), fastcnn.layers.Dense(3)]).save_weights(folder / "good.npz")
    names = {}
    for index, (case, (suffix, content, _)) in enumerate(FILES.items()):
        path = folder / f"bad{index}_{case[-1]}{suffix}"
        path.write_bytes(content())
        names[case] = path.name
    before = sorted(folder.parent.rglob("*"))
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, cwd=folder, timeout=200
    )
    assert result.returncode == 0, result.stderr[-2000:]
    found = json.loads(result.stdout)
    return {
        "unchanged": sorted(folder.parent.rglob("*")) == before,
        **{case: found[name] for case, name in names.items()},
    }


@pytest.mark.parametrize("case", FILES)
def test_the_file_is_refused(outcomes: dict[str, Any], case: str) -> None:
    outcome = outcomes[case]
    assert outcome["error"] is not None, "the file was opened"
    kind, sentence = outcome["error"]
    assert kind == "ValueError"
    assert FILES[case][2] in sentence
    assert outcome["seconds"] < 20


@pytest.mark.parametrize("case", FILES)
def test_nothing_is_opened_imported_or_run_meanwhile(outcomes: dict[str, Any], case: str) -> None:
    opened = [arguments for event, arguments in outcomes[case]["events"] if event == "open"]
    others = {event for event, _ in outcomes[case]["events"]} - {"open"}
    assert all(re.search(r"inner/bad\d+_\d\.", arguments) and "'w" not in arguments for arguments in opened), opened
    # NumPy reads the headers of .npy entries with ast.literal_eval, which makes a tree of them and runs nothing.
    harmless = HARMLESS | ({"compile"} if FILES[case][0] == ".npz" else set())
    assert others <= harmless, others


HARMLESS = {"sys._getframe", "sys._getframemodulename", "object.__getattr__", "builtins.id"}


def test_no_file_is_written(outcomes: dict[str, Any]) -> None:
    assert outcomes["unchanged"]


def test_the_page_has_every_row(project_root: Path) -> None:
    page = (project_root / "docs" / "security.md").read_text(encoding="utf-8")
    assert re.findall(r"`test_loader_security\.py\[([^\]]+)\]`", page) == list(CASES)


@pytest.mark.parametrize("safe_mode", [True, False])
def test_no_setting_makes_a_file_run_code(tmp_path: Path, safe_mode: bool) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(with_layer(LAMBDA))
    with pytest.raises(ValueError, match="expected a layer of fastcnn or of custom_objects, received 'Lambda'"):
        keras_files.load_model(path, safe_mode=safe_mode)


def test_functions_in_custom_objects_are_named_by_a_file_but_not_called(tmp_path: Path) -> None:
    called = []
    path = tmp_path / "m.keras"
    path.write_bytes(set_activation(keras_object("x", "spy", {"a": 1})))
    with pytest.raises(ValueError):
        keras_files.load_model(path, {"spy": lambda **values: called.append(values)})
    assert called == []
