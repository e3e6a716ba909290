"""Models read from ONNX files: exported here, by PyTorch and by scikit-learn's converter; and what is refused."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn as keras

onnx = pytest.importorskip("onnx", reason="needs onnx, which .[parity] installs")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which .[parity] installs")
torch = pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
from torch import nn  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import test_layer_contract as contract  # noqa: E402

from fastcnn.onnx.writer import to_onnx  # noqa: E402


def run(model: Any, x: NDArray[Any]) -> NDArray[Any]:
    """What onnxruntime computes of a file's bytes."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def compare(file: bytes, shape: tuple[int, ...], scale: float = 2.0, batch: int = 4) -> Any:
    """Asserts that the model read from a file computes what onnxruntime does; returns it."""
    model = keras.onnx.load(file)
    assert model.input_shape == (None, *shape)
    x = (np.random.default_rng(1).standard_normal((batch, *shape)) * scale).astype(np.float32)
    expected = run(file, x)
    found = model.predict(x, verbose=0)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return model


def from_torch(module: Any, shape: tuple[int, ...], dynamic: bool = True, **options: Any) -> bytes:
    """The file that PyTorch writes."""
    torch.manual_seed(0)
    for part in module.modules():  # statistics and scales that are nowhere special
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            for tensor in (part.weight.data, part.bias.data, part.running_mean):
                tensor.uniform_(-0.5, 0.5)
            part.running_var.uniform_(0.5, 1.5)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), torch.zeros(1 if dynamic else 4, *shape), file, dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "n"}} if dynamic else None, **options,
        )  # fmt: skip
    return file.getvalue()


class View(nn.Module):
    """A network that flattens with view(), as tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 7, 2)

    def forward(self, x: Any) -> Any:
        x = torch.relu(self.conv(x))
        x = x.view(x.size(0), -1)
        return torch.softmax(self.dense(x), dim=1)


class Mean(nn.Module):
    """Global pooling as a mean; a product with constants in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Any) -> Any:
        return self.conv((x / 255.0 - 0.5) * 2.0).mean(dim=(2, 3))


IMAGE = (3, 8, 9)
MODULES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "classifier": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.Dropout2d(0.2),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(),
            nn.Linear(8 * 2 * 3, 5), nn.Dropout(), nn.Softmax(dim=1),
        ),
        IMAGE,
    ),
    "depthwise": (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, groups=3), nn.ReLU6(), nn.Conv2d(6, 4, 1), nn.Hardswish(), nn.AvgPool2d(2, padding=1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2), nn.Sigmoid(),
        ),
        IMAGE,
    ),
    "activations": (
        nn.Sequential(
            nn.Conv2d(3, 4, (2, 3), dilation=2), nn.GELU(), nn.Mish(), nn.LeakyReLU(0.1), nn.ELU(0.7), nn.SELU(),
            nn.PReLU(4), nn.Tanh(), nn.Hardsigmoid(), nn.Softplus(), nn.Softsign(), nn.CELU(), nn.LogSoftmax(dim=-1),
        ),
        IMAGE,
    ),
    "transposed": (
        nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2, groups=2),
            nn.ConvTranspose2d(4, 2, (2, 3), dilation=(1, 2), padding=(1, 0), bias=False), nn.Upsample(scale_factor=2),
        ),
        IMAGE,
    ),
    "padded": (
        nn.Sequential(
            nn.ZeroPad2d((1, 2, 0, 3)), nn.ConstantPad2d((1, 0, 2, 1), 0.5), nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.AvgPool2d((3, 2), (2, 1), padding=(1, 0), count_include_pad=False), nn.Hardtanh(-0.5, 2.0),
        ),
        IMAGE,
    ),
    "dilated": (
        nn.Sequential(nn.MaxPool2d(2, 1, dilation=2), nn.Conv2d(3, 2, 1), nn.MaxPool2d((3, 2), 2, dilation=(1, 3))), (3, 11, 12),
    ),
    "sequence": (
        nn.Sequential(
            nn.Conv1d(3, 6, 4, padding=2), nn.BatchNorm1d(6), nn.ReLU(), nn.MaxPool1d(2), nn.AvgPool1d(2, 1), nn.Flatten(),
            nn.Linear(36, 2),
        ),
        (3, 14),
    ),
    "dense": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3, bias=False)), (6,)),
    "rows": (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)), (4, 6)),
    "view": (View(), IMAGE),
    "mean": (Mean(), IMAGE),
}  # fmt: skip


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", MODULES)
def test_what_pytorch_exports(name: str, dynamic: bool) -> None:
    module, shape = MODULES[name]
    compare(from_torch(module, shape, dynamic), shape)


def test_a_model_read_can_be_trained_on_and_keeps_its_statistics() -> None:
    shape = IMAGE  # PyTorch folds what follows a convolution at once
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(4 * 6 * 7, 2),
        nn.Softmax(1),
    )
    model = keras.onnx.load(from_torch(module, shape))
    norm = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    np.testing.assert_allclose(norm.moving_mean.numpy(), module[2].running_mean.numpy())
    before = norm.moving_mean.numpy()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    x = np.random.default_rng(0).standard_normal((32, *shape)).astype(np.float32)
    y = (x.mean(axis=(1, 2, 3)) > 0).astype(np.int32)
    history = model.fit(x, y, epochs=8, batch_size=8, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert not np.array_equal(norm.moving_mean.numpy(), before)


def test_an_output_by_name_and_a_free_size() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten())
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, torch.zeros(1, *IMAGE), file, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n", 2: "h"}}
        )
    with pytest.raises(ValueError, match="give input_shape="):
        keras.onnx.load(file.getvalue())
    with pytest.raises(ValueError, match="input_shape: expected sizes that fit"):
        keras.onnx.load(file.getvalue(), input_shape=(3, 8, 10))
    model = keras.onnx.load(file.getvalue(), input_shape=IMAGE)
    assert model.output_shape == (None, 2 * 6 * 7)
    inside = onnx.load_from_string(file.getvalue()).graph.node[0].output[0]
    assert keras.onnx.load(file.getvalue(), input_shape=IMAGE, output=inside).output_shape == (None, 2, 6, 7)
    with pytest.raises(ValueError, match="output: expected a result of the graph"):
        keras.onnx.load(file.getvalue(), input_shape=IMAGE, output="nowhere")


@pytest.mark.parametrize("opset", [9, 12, 13, 18])
def test_opsets_of_pytorch(opset: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(2), nn.Dropout(), nn.ZeroPad2d(1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3), nn.Softmax(dim=1),
    )  # fmt: skip
    compare(from_torch(module, IMAGE, opset_version=opset), IMAGE)


# Written with operators that no layer by itself stands for.
NOT_READ = {
    "AdaptiveAveragePooling2D", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "GroupNormalization", "LayerNormalization",
    "RMSNormalization", "UnitNormalization",
}  # fmt: skip
# Read where their settings leave something that a layer by itself stands for.
SOMETIMES_READ = {"CenterCrop", "Normalization", "RandomCrop", "Resizing"}
BILINEAR = {"size": 2, "interpolation": "bilinear"}
ALL_OF_RELU = {"max_value": 1.0, "negative_slope": 0.2, "threshold": 0.1}


@pytest.mark.parametrize(
    ("cls", "arguments", "shape"),
    [(cls, arguments, shape) for cls, arguments, shape, _ in contract.CASES],
    ids=[f"{cls.__name__}-{i}" for i, (cls, *_) in enumerate(contract.CASES)],
)
def test_our_own_exports(cls: Any, arguments: Any, shape: Any) -> None:
    model = keras.Sequential([keras.Input(shape), contract.make(cls, arguments)])
    file = to_onnx(model).SerializeToString()
    x = np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)
    if cls.__name__ in NOT_READ or arguments in (BILINEAR, ALL_OF_RELU):
        with pytest.raises(ValueError, match="onnx.load: .*expected"):
            keras.onnx.load(file)
        return
    try:
        again = keras.onnx.load(file)
    except ValueError as error:
        assert cls.__name__ in SOMETIMES_READ and str(error).startswith("onnx.load: "), error
        return
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5, atol=1e-5)
