"""Exported models in onnxruntime: every layer of the contract test, options, and whole models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn as keras
from fastcnn import layers

onnx = pytest.importorskip("onnx", reason="needs onnx, which .[parity] installs")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime, which .[parity] installs")

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))
import test_layer_contract as contract  # noqa: E402

from fastcnn.onnx.writer import to_onnx  # noqa: E402

each_layer = pytest.mark.parametrize(
    ("cls", "arguments", "shape"),
    [(cls, arguments, shape) for cls, arguments, shape, _ in contract.CASES],
    ids=[f"{cls.__name__}-{i}" for i, (cls, *_) in enumerate(contract.CASES)],
)


def run(model: Any, x: NDArray[Any]) -> NDArray[Any]:
    """What onnxruntime computes of an `onnx.ModelProto`."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def with_weights(model: Any, seed: int = 2) -> Any:
    """The model with weights that are nowhere special."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        value = rng.standard_normal(variable.shape) * 0.5
        variable.assign((np.abs(value) + 0.5 if "variance" in variable.name else value).astype(np.float32))
    return model


@pytest.fixture(autouse=True)
def direct_sums() -> Iterator[None]:
    """The exported graph is compared, not how Winograd's tiles round."""
    before = keras.config.is_winograd_enabled()
    keras.config.disable_winograd()
    yield
    if before:
        keras.config.enable_winograd()


def compare(model: Any, opset: int | None = None, scale: float = 2.0) -> Any:
    """Asserts that onnxruntime computes the same for several batch sizes; returns the exported model."""
    exported = to_onnx(model, opset)
    rng = np.random.default_rng(1)
    for samples in (5, 1):
        x = (rng.standard_normal((samples, *model.input_shape[1:])) * scale).astype(np.float32)
        expected = model.predict(x, verbose=0)
        found = run(exported, x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    return exported


@each_layer
def test_every_layer(cls: Any, arguments: Any, shape: Any) -> None:
    compare(with_weights(keras.Sequential([keras.Input(shape), contract.make(cls, arguments)])))


@each_layer
@pytest.mark.parametrize("opset", [14, 21])
def test_every_layer_in_the_oldest_and_the_newest_opset(cls: Any, arguments: Any, shape: Any, opset: int) -> None:
    compare(with_weights(keras.Sequential([keras.Input(shape), contract.make(cls, arguments)])), opset)


FIRST = {"data_format": "channels_first"}
IMAGE, SEQUENCE = (8, 7, 4), (9, 4)
# What the contract test's list does not reach: one sample's shape and the layers.
CHAINS: dict[str, tuple[tuple[int, ...], list[Any]]] = {
    "mission": (
        (28, 28, 1),
        [
            layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(8, 3, activation="relu"),
            layers.Flatten(), layers.Dense(8, activation="relu"), layers.Dense(1, activation="sigmoid"),
        ],
    ),
    "normalized": (
        IMAGE,
        [
            layers.BatchNormalization(), layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization(),
            layers.ReLU(6.0), layers.SpatialDropout2D(0.2), layers.AveragePooling2D(3, 2, "same"),
            layers.GlobalAveragePooling2D(), layers.Dropout(0.5), layers.Dense(3, activation="softmax"),
        ],
    ),
    "channels first": (
        (4, 8, 7),
        [
            layers.Conv2D(4, 3, **FIRST), layers.BatchNormalization(axis=1), layers.PReLU(shared_axes=[2, 3]),
            layers.MaxPooling2D(2, **FIRST), layers.UpSampling2D(2, **FIRST), layers.Flatten(), layers.Dense(3),
        ],
    ),
    "sequence": (
        SEQUENCE,
        [
            layers.Conv1D(6, 3, padding="causal", activation="gelu"), layers.MaxPooling1D(2), layers.LayerNormalization(),
            layers.SeparableConv1D(5, 2), layers.GlobalMaxPooling1D(), layers.Dense(2, activation="log_softmax"),
        ],
    ),
    "rearranged": (
        IMAGE,
        [
            layers.Permute((3, 1, 2)), layers.Reshape((8, 28)), layers.Dense(5), layers.Permute((2, 1)),
            layers.Reshape((5, 1, 8)), layers.Softmax(axis=1), layers.UnitNormalization(axis=[1, 3]),
        ],
    ),
    "nested": (IMAGE, [keras.Sequential([layers.Conv2D(3, 2), layers.ReLU()]), layers.Cropping2D(((1, 0), (2, 1)))]),
    "transposed": (
        IMAGE,
        [layers.Conv2DTranspose(3, (2, 3), strides=(3, 2), output_padding=(1, 0)), layers.Conv2DTranspose(2, 3, dilation_rate=2)],
    ),
    "padding as in PyTorch": (
        IMAGE,
        [layers.MaxPooling2D(3, 2, padding=1), layers.AveragePooling2D((2, 3), 1, padding=((1, 0), (2, 1)))],
    ),
    "pooled convolution with padding": (IMAGE, [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(3, 2, padding=1)]),
    "strided without padding": (IMAGE, [layers.Conv2D(3, 1, strides=3, padding="same")]),
    "nothing": (IMAGE, [layers.Identity()]),
    "only rearranged": (IMAGE, [layers.Permute((2, 1, 3))]),
    **{
        name: (SEQUENCE, [layers.Activation(name)])
        for name in (
            "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
            "log_sigmoid", "log_softmax", "mish", "relu6", "selu", "silu", "soft_shrink", "softplus", "softsign",
            "sparse_plus", "sparse_sigmoid", "squareplus", "tanh_shrink",
        )
    },
    "relu with all constants": (SEQUENCE, [layers.ReLU(1.0, 0.2, 0.3)]),
    "group normalization": (IMAGE, [layers.GroupNormalization(2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_chains(name: str) -> None:
    shape, chain = CHAINS[name]
    exported = compare(with_weights(keras.models.clone_model(keras.Sequential([keras.Input(shape), *chain]))))
    kinds = [node.op_type for node in exported.graph.node]
    if name == "channels first":
        assert "Transpose" not in kinds
    if name == "normalized":
        assert kinds.count("Transpose") == 1, "to channels first, and none back: the pooling takes the axes away"


def test_a_file_keeps_keras_s_names_and_a_free_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = keras.Sequential(
        [keras.Input((8, 8, 1), name="picture"), layers.Conv2D(2, 3), layers.Flatten(name="numbers")]
    )
    path = tmp_path / "model.onnx"
    model.export(path)
    assert capsys.readouterr().out == f"Saved artifact at '{path}'.\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path)
    (found_input,), (found_output,) = session.get_inputs(), session.get_outputs()
    assert (found_input.name, found_input.shape, found_input.type) == ("picture", ["batch", 8, 8, 1], "tensor(float)")
    assert (found_output.name, found_output.shape) == ("numbers", ["batch", 72])
    again = tmp_path / "again.bin"
    model.export(again, format="onnx", verbose=False)
    assert again.read_bytes() == path.read_bytes() and capsys.readouterr().out == ""


def test_what_cannot_be_exported_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])

    class Twice(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    for refused, arguments, message in [
        (model, {"filepath": tmp_path / "model.tflite"}, "export: filepath: expected 'onnx'.*received"),
        (model, {"filepath": tmp_path / "model", "format": "tf_saved_model"}, "export: format: expected 'onnx'"),
        (model, {"filepath": tmp_path / "none" / "model.onnx"}, "expected a file in an existing folder"),
        (
            model,
            {"filepath": tmp_path / "model.onnx", "opset_version": 9},
            "opset_version: expected an integer from 14",
        ),
        (model, {"filepath": tmp_path / "model.onnx", "quality": 9}, "unexpected keyword argument 'quality'"),
        (keras.Sequential([layers.Dense(2)]), {"filepath": tmp_path / "model.onnx"}, "expected a built model"),
        (
            keras.Sequential([keras.Input((4,)), Twice(name="twice")]),
            {"filepath": tmp_path / "m.onnx"},
            "layer 'twice'",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            refused.export(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    with pytest.raises(ImportError, match=r'pip install "fastcnn\[onnx\]"'):
        model.export(tmp_path / "model.onnx")
