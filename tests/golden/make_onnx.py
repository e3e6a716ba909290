"""Writes the golden ONNX files: `python tests/golden/make_onnx.py fastcnn`, `... torch`, `... torch-dynamo` or `... skl2onnx`.

A folder is named for the program and version that wrote it and is never written again. Beside model.onnx stands what
onnxruntime computed of it, in expected.json. `tests/parity/test_onnx_golden.py` opens them all, for ever.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def inputs(shape: tuple[int, ...]) -> np.ndarray:
    """The same everywhere, without a generator that could change."""
    size = 4 * int(np.prod(shape))
    return (np.arange(size) * 37 % 101 / 50 - 1).astype(np.float32).reshape(4, *shape)


def fastcnn_file(path: Path) -> tuple[int, ...]:
    import fastcnn as keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(2, 3, activation="gelu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2, 1, "same"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(inputs((6, 6, 2)), np.arange(4) % 3, epochs=2, verbose=0)
    model.export(path, verbose=False)
    return (6, 6, 2)


def torch_file(path: Path, dynamo: bool = False) -> tuple[int, ...]:
    import torch
    from torch import nn

    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU6(), nn.BatchNorm2d(3), nn.MaxPool2d(3, 2, padding=1), nn.Conv2d(3, 4, 2),
        nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.Dropout(), nn.LogSoftmax(dim=1),
    )  # fmt: skip
    with torch.no_grad():
        module(torch.tensor(inputs((2, 8, 8))))
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": {"x": {0: "n"}}}
    if dynamo:
        options = {
            "dynamo": True,
            "external_data": False,
            "dynamic_shapes": ({0: torch.export.Dim("n")},),
            "verbose": False,
        }
    torch.onnx.export(module.eval(), (torch.zeros(2, 2, 8, 8),), path, input_names=["x"], **options)
    if dynamo:  # which writes down where the program's lines stand
        import onnx

        written = onnx.load(path)
        for part in (written, written.graph, *written.graph.node, *written.graph.value_info, *written.graph.output):
            part.ClearField("metadata_props")
        onnx.save(written, path)
    return (2, 8, 8)


def skl2onnx_file(path: Path) -> tuple[int, ...]:
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPRegressor

    x = inputs((5,))
    regressor = MLPRegressor(hidden_layer_sizes=(4, 3), activation="relu", random_state=1, max_iter=20).fit(x, x[:, 0])
    path.write_bytes(to_onnx(regressor, x[:1], target_opset=17).SerializeToString())
    return (5,)


WRITERS = {
    "fastcnn": fastcnn_file,
    "skl2onnx": skl2onnx_file,
    "torch": torch_file,
    "torch-dynamo": lambda path: torch_file(path, dynamo=True),
}


def main(package: str) -> None:
    import onnxruntime

    version = importlib.import_module(package.split("-")[0]).__version__.split("+")[0]
    folder = HERE / f"onnx-{package}-{version}"
    folder.mkdir(exist_ok=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = inputs(WRITERS[package](folder / "model.onnx"))
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    (result,) = session.run(None, {session.get_inputs()[0].name: x})
    expected: dict[str, Any] = {"shape": list(x.shape[1:]), "result": np.asarray(result).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
