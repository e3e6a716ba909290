"""ONNX files from strangers: what they must not reach, and truncation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn as keras

onnx = pytest.importorskip("onnx", reason="needs onnx, which .[parity] installs")

GOLDEN = Path(__file__).parents[1] / "golden"
FLOAT = onnx.TensorProto.FLOAT


def node(kind: str, inputs: list[str], output: str = "y", **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, [output], **attributes)


def model(
    nodes: list[Any], shape: list[Any] | None = None, constants: dict[str, Any] | None = None, opset: int = 17
) -> Any:
    """A file of these nodes, from x to y."""
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", FLOAT, ["n", 4] if shape is None else shape)],
        [onnx.helper.make_tensor_value_info("y", FLOAT, None)],
        tensors,
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


KERNEL = np.ones((4, 2), np.float32)
IMAGE = ["n", 1, 4, 4]


def external() -> Any:
    built = model([node("MatMul", ["x", "w"])], constants={"w": KERNEL})
    tensor = built.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return built


def with_tensor(**fields: Any) -> Any:
    built = model([node("MatMul", ["x", "w"])], constants={"w": KERNEL})
    for name, value in fields.items():
        if isinstance(value, list):
            built.graph.initializer[0].ClearField(name)
            built.graph.initializer[0].dims.extend(value)
        else:
            setattr(built.graph.initializer[0], name, value)
    return built


def with_function() -> Any:
    built = model([node("Relu", ["x"])])
    built.functions.add(name="f", domain="d")
    return built


def twice(name: str) -> Any:
    return model([node("Relu", ["x"], name), node("Relu", [name], name), node("Relu", [name])])


def subgraph() -> Any:
    branch = onnx.helper.make_graph([node("Relu", ["x"])], "b", [], [])
    return model([node("If", ["x"], then_branch=branch, else_branch=branch)])


# name -> (the file, what the sentence says)
ATTACKS: dict[str, tuple[Callable[[], Any], str]] = {
    "data in another file": (external, "data in the file itself"),
    "a tensor larger than its bytes": (lambda: with_tensor(dims=[2**31, 2**31]), "bytes for"),
    "a tensor of negative size": (lambda: with_tensor(dims=[-1, 2]), "none negative"),
    "a tensor of nothing, and of much": (lambda: with_tensor(dims=[0, 2**62]), "expected elements"),
    "a tensor of strings": (lambda: with_tensor(data_type=onnx.TensorProto.STRING), "expected float32"),
    "functions": (with_function, "no functions of its own"),
    "subgraphs": (subgraph, "numbers, strings or arrays"),
    "a custom operator": (lambda: model([node("Run", ["x"], domain="evil")]), "an operator that fastcnn.onnx reads"),
    "names used twice": (lambda: twice("a"), "a name of its own for each result"),
    "a cycle": (lambda: model([node("Relu", ["b"], "a"), node("Relu", ["a"], "b"), node("Relu", ["b"])]), "samples"),
    "an undefined name": (lambda: model([node("Relu", ["nowhere"])]), "samples and constants"),
    "an input of huge shape": (lambda: model([node("Relu", ["x"])], ["n", 2**40, 2**20]), "at most"),
    "a huge reshape": (
        lambda: model([node("Reshape", ["x", "s"])], constants={"s": np.array([-1, 2**62, 2**62])}), "a shape",
    ),
    "huge padding": (
        lambda: model([node("Pad", ["x", "p"])], IMAGE, {"p": np.array([0, 0, 0, 2**40, 0, 0, 0, 0])}), "at most",
    ),
    "a padded axis that is huge itself": (
        lambda: model([node("Pad", ["x", "p"])], ["n", 1, 1, 2**30], {"p": np.array([0, 0, 0, 1, 0, 0, 0, 0])}), "at most",
    ),
    "huge strides of a transposed convolution": (
        lambda: model(
            [node("ConvTranspose", ["x", "w"], strides=[2**20, 2**20])], IMAGE, {"w": np.ones((1, 1, 2, 2), np.float32)}
        ),
        "rows and columns",
    ),
    "huge output_padding": (
        lambda: model(
            [node("ConvTranspose", ["x", "w"], output_padding=[2**40, 0])], IMAGE, {"w": np.ones((1, 1, 2, 2), np.float32)}
        ),
        "output_padding",
    ),
    "huge enlarging": (
        lambda: model(
            [node("Resize", ["x", "", "s"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")],
            IMAGE,
            {"s": np.array([1, 1, 2**30, 2**30], np.float32)},
        ),
        "enlarged by whole numbers",
    ),
    "constants that multiply": (
        lambda: model(
            [
                node("ConstantOfShape", ["s"], "c", value=onnx.numpy_helper.from_array(np.ones(1, np.float32))),
                node("Add", ["x", "c"]),
            ],
            constants={"s": np.array([2**20, 2**20])},
        ),
        "can be computed",
    ),
    "weights that do not fit": (
        lambda: model([node("Conv", ["x", "w"])], IMAGE, {"w": np.ones((1, 3, 2, 2), np.float32)}), "weights for 1 channels",
    ),
    "an input without axes": (lambda: model([node("Relu", ["x"])], []), "an axis besides it"),
    "attributes of another type": (lambda: model([node("MaxPool", ["x"], kernel_shape=2)], IMAGE), "images"),
    "a constant of letters": (
        lambda: model([node("Constant", [], "c", value_float="no"), node("Add", ["x", "c"])]), "to be numbers",
    ),
    "another opset": (lambda: model([node("Relu", ["x"])], opset=10**6), "one version of ONNX's operators"),
    "too many nodes": (
        lambda: model([node("Relu", [f"a{i}" if i else "x"], f"a{i + 1}") for i in range(5000)]), "at most 4096 nodes",
    ),
}  # fmt: skip

# Loads a file with Python's audit hook writing down what else is opened, started or connected to, in little more memory.
PROGRAM = """
import json, resource, sys
import numpy as np, fastcnn, fastcnn.onnx.reading, fastcnn.onnx.operators, onnx.checker, onnx.helper, onnx.numpy_helper
fastcnn.onnx.load(open(sys.argv[1], "rb").read())
events, files = [], json.load(open(sys.argv[2]))
watched = ("open", "exec", "compile", "import", "os.system", "subprocess.Popen", "socket.connect", "ctypes.dlopen")
sys.addaudithook(lambda name, args: events.append((name, str(args)[:80])) if name in watched else None)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)
events.clear()
found = {}
for name, path in files.items():
    data = bytes.fromhex(path)
    try:
        fastcnn.onnx.load(data)
        found[name] = "loaded"
    except BaseException as error:
        found[name] = f"{type(error).__name__}: {error}"
opened = list(events)
open(sys.argv[1], "rb").close()
assert len(events) > len(opened), "the hook sees nothing"
print(json.dumps([found, opened]))
"""


def test_attacks_are_refused_in_a_sentence_and_reach_nothing(tmp_path: Path) -> None:
    files = {name: build().SerializeToString().hex() for name, (build, _) in ATTACKS.items()}
    (tmp_path / "files.json").write_text(json.dumps(files))
    golden = next(iter(sorted(GOLDEN.glob("onnx-fastcnn-*/model.onnx"))))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(golden), str(tmp_path / "files.json")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, events = json.loads(done.stdout)
    assert events == []
    for name, (_, sentence) in ATTACKS.items():
        assert found[name].startswith("ValueError: onnx.load: ") and sentence in found[name], (name, found[name])


def test_truncation_at_every_byte_is_refused_or_a_whole_model() -> None:
    """A file has no length of its own: what ends between two fields may be one that lacks something."""
    for path in sorted(GOLDEN.glob("*/model.onnx")):
        data = path.read_bytes()
        for end in range(len(data)):
            try:
                keras.onnx.load(data[:end])
            except ValueError as error:
                assert "onnx.load: " in str(error)
            else:
                whole, cut = (onnx.load_from_string(part) for part in (data, data[:end]))
                assert whole.graph == cut.graph, f"{path} cut at {end} loads as another model"


def test_what_is_no_file(tmp_path: Path) -> None:
    for source, sentence in [
        (tmp_path / "none.onnx", "expected an existing file"),
        (b"", "expected an ONNX file"),
        (b"not a model", "expected an ONNX file"),
        (3.5, "a path, bytes or an onnx.ModelProto"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            keras.onnx.load(source)
