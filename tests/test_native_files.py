"""fastcnn's own files, *.safetensors: whole models and weights, training that goes on from them, and damage."""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import callbacks, layers
from fastcnn.saving import native_file, saving_api

GOLDEN = Path(__file__).parent / "golden"
X = np.random.default_rng(0).normal(size=(60, 6, 6, 2)).astype(np.float32)
Y = np.arange(60) % 3


def model_of(optimizer: Any = "adam") -> keras.Sequential:
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            keras.Sequential([layers.Flatten(), layers.Dropout(0.5), layers.Dense(4)], name="inner"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def same(a: keras.Sequential, b: keras.Sequential) -> None:
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adamw", keras.optimizers.SGD(0.1, momentum=0.9)])
def test_a_loaded_model_goes_on_bit_for_bit(tmp_path: Path, optimizer: Any) -> None:
    model, path = model_of(optimizer), tmp_path / "m.safetensors"
    model.fit(X, Y, epochs=2, verbose=0)
    model.save(path)
    loaded = keras.models.load_model(path)
    same(model, loaded)
    np.testing.assert_array_equal(model.predict(X, verbose=0), loaded.predict(X, verbose=0))
    assert loaded.optimizer.iterations == model.optimizer.iterations == 4
    model.fit(X, Y, epochs=4, initial_epoch=2, verbose=0)
    keras.utils.set_random_seed(99)  # another program
    loaded.fit(X, Y, epochs=4, initial_epoch=2, verbose=0)
    same(model, loaded)


def test_a_checkpoint_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = model_of()
    model.fit(X, Y, epochs=4, verbose=0, callbacks=callbacks.ModelCheckpoint(tmp_path / "{epoch}.safetensors"))
    loaded = keras.saving.load_model(str(tmp_path / "2.safetensors"))
    loaded.fit(X, Y, epochs=4, initial_epoch=2, verbose=0)
    same(model, loaded)


@pytest.mark.parametrize("suffix", [".safetensors", ".weights.safetensors", ".npz", ".weights.h5"])
def test_weights_alone(tmp_path: Path, suffix: str) -> None:
    model, other, path = model_of(), model_of(), tmp_path / f"w{suffix}"
    model.save_weights(path)
    other.load_weights(path)
    same(model, other)
    smaller = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    before = smaller.get_weights()
    with pytest.raises(ValueError, match="^load_weights: "):
        smaller.load_weights(path)
    np.testing.assert_array_equal(before[0], smaller.get_weights()[0])
    with pytest.raises(ValueError, match="overwrite: expected True"):
        model.save_weights(path, overwrite=False)


def test_options(tmp_path: Path) -> None:
    model, path = model_of(), tmp_path / "m.safetensors"
    model.fit(X, Y, verbose=0)
    model.save(path, include_optimizer=False)
    assert keras.models.load_model(path).optimizer.iterations == 0
    assert not keras.models.load_model(path, compile=False).compiled
    model.save(tmp_path / "m.keras")
    same(model, keras.models.load_model(tmp_path / "m.keras"))
    for save in (model.save, model.save_weights):
        with pytest.raises(ValueError, match="filepath: expected a name that ends in .safetensors or"):
            save(tmp_path / "m.pkl")
        with pytest.raises(ValueError, match="filepath: expected a file in an existing folder"):
            save(tmp_path / "none" / "m.safetensors")
    model.save_weights(path)
    with pytest.raises(ValueError, match="load_model: filepath: expected a file of a whole model"):
        keras.models.load_model(path)


@pytest.mark.parametrize(("dtype", "digits"), [("float16", 11), ("bfloat16", 8)])
def test_weights_in_16_bits(tmp_path: Path, dtype: str, digits: int) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(300), layers.BatchNormalization(), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(X[:, :1, :, 0].reshape(-1, 6), np.arange(len(X)), verbose=0)
    whole, half, weights = (tmp_path / f"{name}.safetensors" for name in ("whole", "half", "weights"))
    model.save(whole, include_optimizer=False)
    model.save(half, include_optimizer=False, dtype=dtype)
    model.save_weights(weights, dtype=dtype)
    numbers = 4 * model.count_params()
    assert whole.stat().st_size - half.stat().st_size in range(numbers // 2 - 64, numbers // 2 + 64)
    for path in (half, weights):
        other = keras.models.load_model(path) if path == half else keras.models.clone_model(model)
        other.load_weights(path)
        for ours, theirs in zip(model.get_weights(), other.get_weights()):
            assert theirs.dtype == np.float32
            np.testing.assert_allclose(theirs, ours, rtol=2.0**-digits, atol=2.0**-25)
        assert any((a != b).any() for a, b in zip(model.get_weights(), other.get_weights()))
    # What was rounded once is not rounded again; the optimizer's arrays never are.
    other.compile("adam", "mse")
    other.fit(X[:, :1, :, 0].reshape(-1, 6), np.arange(len(X)), verbose=0)
    other.save(half, dtype=dtype)
    again = keras.models.load_model(half)
    again.save(whole, dtype=dtype)
    first, second = (native_file.from_bytes(path.read_bytes(), "test", "m")[0] for path in (half, whole))
    assert first.keys() == second.keys() and any(name.startswith("optimizer/") for name in first)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
    for ours, theirs in zip(other.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_weights_in_16_bits_that_are_refused(tmp_path: Path) -> None:
    model, path = keras.Sequential([keras.Input((2,)), layers.Dense(1)]), tmp_path / "m.safetensors"
    for save in (model.save, model.save_weights):
        with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float16' or 'bfloat16'.*received 'int8'"):
            save(path, dtype="int8")
    with pytest.raises(ValueError, match="save_model: dtype: expected 'float32' "):
        model.save(tmp_path / "m.keras", dtype="float16")
    with pytest.raises(ValueError, match="save_weights: dtype: expected 'float32' "):
        model.save_weights(tmp_path / "m.weights.h5", dtype="float16")
    model.layers[0].set_weights([np.float32([[np.inf], [-65521]]), np.float32([np.nan])])
    with pytest.raises(
        ValueError,
        match="expected weights within float16's range .* layers/dense/kernel with 65521.0",
    ):
        model.save(path, dtype="float16")
    assert not path.exists()
    model.layers[0].set_weights([np.float32([[np.inf], [-65519]]), np.float32([np.nan])])
    for dtype in ("float16", "bfloat16"):
        model.save_weights(path, dtype=dtype)
        model.load_weights(path)
        assert model.get_weights()[0][0] == np.inf and np.isnan(model.get_weights()[1][0])


def test_json() -> None:
    model = model_of()
    again = keras.models.model_from_json(model.to_json())
    assert again.output_shape == model.output_shape and [v.shape for v in again.weights] == [
        v.shape for v in model.weights
    ]
    for text in (
        "",
        "[]",
        "{",
        '{"class_name": "Lambda", "config": {}}',
        '{"class_name": "Dense", "config": {"units": 1}}',
    ):
        with pytest.raises(ValueError):
            keras.models.model_from_json(text)


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, path = model_of(), tmp_path / "m.safetensors"
    model.save(path)
    before = path.read_bytes()
    assert os.name != "posix" or stat.S_IMODE(path.stat().st_mode) & stat.S_IRGRP or os.umask(os.umask(0)) & 0o040

    def full(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        model.save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["m.safetensors"]


# --- files from strangers ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def content() -> bytes:
    model = model_of()
    model.fit(X, Y, verbose=0)
    return native_file.model_bytes(model)


def parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def packed(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_cut_short_at_every_byte(content: bytes) -> None:
    header = struct.unpack("<Q", content[:8])[0] + 8
    for length in [*range(header), *range(header, len(content), 7)]:
        with pytest.raises(ValueError, match="^load_model: filepath: expected"):
            native_file.load_model(content[:length], "m")


def with_description(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    def changed(header: dict[str, Any]) -> None:
        description = json.loads(header["__metadata__"]["fastcnn"])
        change(description)
        header["__metadata__"]["fastcnn"] = json.dumps(description)

    return changed


def first_layer(description: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = description["model"]["config"]["layers"][1]
    return found


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "overlapping": lambda h: h["layers/conv2d/bias"].update(data_offsets=h["layers/dense/bias"]["data_offsets"]),
    "beyond the end": lambda h: h["layers/conv2d/bias"].update(data_offsets=[0, 10**12], shape=[10**12 // 4]),
    "negative": lambda h: h["layers/conv2d/bias"].update(data_offsets=[-8, 0]),
    "another shape": lambda h: h["layers/conv2d/kernel"].update(shape=h["layers/conv2d/kernel"]["shape"][::-1]),
    "a shape of overflow": lambda h: h["layers/conv2d/bias"].update(shape=[2**40, 2**40]),
    "another type": lambda h: h["layers/conv2d/bias"].update(dtype="I32"),
    "missing": lambda h: h.update({"layers/other/bias": h.pop("layers/conv2d/bias")}),
    "no metadata": lambda h: h.pop("__metadata__"),
    "metadata of numbers": lambda h: h["__metadata__"].update(fastcnn=3),
    "no JSON": lambda h: h["__metadata__"].update(fastcnn="{"),
    "deep JSON": lambda h: h["__metadata__"].update(fastcnn="[" * 100_000 + "]" * 100_000),
    "a later version": with_description(lambda d: d.update(format_version=2)),
    "huge layer": with_description(lambda d: d["model"]["config"]["layers"][-1]["config"].update(units=10**9)),
    "unknown layer": with_description(lambda d: first_layer(d).update(class_name="Lambda")),
    "a module": with_description(lambda d: first_layer(d).update(class_name="system", module="os")),
    "no model": with_description(lambda d: d.update(model=[])),
    "steps": with_description(lambda d: d["optimizer"].update(iterations=-1)),
    "rate": with_description(lambda d: d["optimizer"].update(learning_rate="x")),
    "rate beside a schedule": with_description(
        lambda d: d["model"]["compile_config"]["optimizer"]["config"].update(
            learning_rate={
                "module": "keras.optimizers.schedules",
                "class_name": "CosineDecay",
                "config": {"initial_learning_rate": 0.5, "decay_steps": 9},
                "registered_name": None,
            }
        )
    ),
    "slots": with_description(lambda d: d["optimizer"].update(slots=["../x"])),
    "position in the buffer": with_description(lambda d: d["training"]["random"]["seeds"].update(buffer_pos=-9)),
    "words": with_description(lambda d: d["training"]["random"]["shuffle"].update(key=[1])),
    "seeds": with_description(lambda d: d["training"].update(layer_seeds=[2**64])),
    "epoch": with_description(lambda d: d["training"].update(epoch="1")),
}


@pytest.mark.parametrize("name", CHANGES)
def test_damage_is_one_sentence(content: bytes, name: str) -> None:
    header, body = parts(content)
    CHANGES[name](header)
    with pytest.raises(ValueError, match="^load_model: filepath: expected") as caught:
        native_file.load_model(packed(header, body), "m")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{}", b"null", b"[" * 200_000, b'{"a":' * 100_000, b"\xff", b'{"__metadata__":[]}']
)
def test_headers_that_are_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="^load_model: filepath: expected"):
        native_file.load_model(packed(text, b""), "m")
    with pytest.raises(ValueError, match="^load_model: filepath: expected"):
        native_file.load_model(struct.pack("<Q", 2**63) + text, "m")


@pytest.mark.parametrize("folder", sorted(GOLDEN.glob("*/model.safetensors")), ids=lambda path: path.parent.name)
def test_golden_files(folder: Path) -> None:
    expected = json.loads((folder.parent / "expected.json").read_text())
    model = saving_api.load_model(folder)
    x = (np.arange(8 * 6 * 6 * 2) * 37 % 101 / 101).astype(np.float32).reshape(8, 6, 6, 2)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["predictions"], rtol=1e-5, atol=1e-6)
    assert model.optimizer.iterations == expected["iterations"]
    model.fit(x, np.arange(8) % 3, batch_size=4, epochs=3, initial_epoch=2, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["after_an_epoch"], rtol=1e-4, atol=1e-5)


def test_a_model_compiled_without_a_loss_comes_back(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.25))
    for name in ("m.safetensors", "m.keras"):
        model.save(tmp_path / name)
        assert keras.models.load_model(tmp_path / name).optimizer.learning_rate == 0.25
