"""Keras's formats without Keras: golden files, damaged files, files of other models, what is kept when one is refused."""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastcnn
from fastcnn.saving import keras_archive, keras_files, keras_weights, legacy_h5

GOLDEN = Path(__file__).parent / "golden"
FOLDERS = sorted(path.name for path in GOLDEN.iterdir() if list(path.glob("model.keras")))


def golden() -> Any:
    spec = importlib.util.spec_from_file_location("make_keras", GOLDEN / "make_keras.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_model(units: int = 3, optimizer: Any = "adam", compiled: bool = True) -> fastcnn.Sequential:
    model = fastcnn.Sequential(
        [fastcnn.Input((4,)), fastcnn.layers.Dense(units, activation="tanh"), fastcnn.layers.Dense(2)], name="small"
    )
    if compiled:
        model.compile(optimizer, "mse", metrics=["mae"])
        model.fit(np.ones((8, 4), np.float32), np.ones((8, 2), np.float32), verbose=0)
    return model


def weights_of(model: fastcnn.Sequential) -> list[Any]:
    state = model._optimizer_state()
    slots = [array.tolist() for name in sorted(state["slots"]) for array in state["slots"][name]]
    return [[w.tolist() for w in model.get_weights()], state["iterations"], slots]


class TestGoldenFiles:
    def test_there_are_some(self) -> None:
        assert {name.split("-")[0] for name in FOLDERS} == {"fastcnn", "keras"}

    @pytest.mark.parametrize("folder", FOLDERS)
    @pytest.mark.parametrize("name", ["model.keras", "model.h5"])
    def test_models(self, folder: str, name: str) -> None:
        path = GOLDEN / folder / name
        if not path.exists():
            assert (folder.split("-")[0], name) == ("fastcnn", "model.h5")  # read, never written
            return
        expected = json.loads((GOLDEN / folder / "expected.json").read_text())
        model, (x, y) = keras_files.load_model(path), golden().inputs()
        np.testing.assert_allclose(model.predict(x, verbose=0), expected["predictions"], atol=1e-5)
        assert model.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(expected["evaluation"], abs=1e-5)
        assert model.optimizer.iterations == expected["iterations"] == 4
        assert model.optimizer.learning_rate == pytest.approx(expected["learning_rate"])
        assert all(np.any(array) for array in model._optimizer_state()["slots"]["v"])
        assert model.layers[0].kernel_regularizer.l2 == pytest.approx(0.01)
        assert [layer.name for layer in model.layers[2].layers] == ["flatten", "dropout", "dense"]

    @pytest.mark.parametrize("folder", FOLDERS)
    @pytest.mark.parametrize("name", ["model.weights.h5", "model.keras", "model.h5"])
    def test_weights(self, folder: str, name: str) -> None:
        path = GOLDEN / folder / name
        if path.exists():
            expected = json.loads((GOLDEN / folder / "expected.json").read_text())
            model = golden().model_of(fastcnn)
            keras_files.load_weights(model, path)
            x = golden().inputs()[0]
            np.testing.assert_allclose(model.predict(x, verbose=0), expected["predictions"], atol=1e-5)


class TestRoundTrips:
    @pytest.mark.parametrize("compiled", [True, False])
    def test_a_model_comes_back(self, compiled: bool) -> None:
        model = small_model(compiled=compiled)
        again = keras_archive.load(keras_archive.to_bytes(model), "m.keras")
        assert weights_of(again) == weights_of(model)
        assert again.compiled is compiled
        assert again.get_config()["layers"] == model.get_config()["layers"]
        if compiled:
            assert again.get_compile_config() == model.get_compile_config()

    def test_compile_false_leaves_the_model_uncompiled(self) -> None:
        assert not keras_archive.load(keras_archive.to_bytes(small_model()), "m.keras", compile=False).compiled

    def test_a_layer_of_ones_own(self) -> None:
        class Twice(fastcnn.layers.Layer):
            def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
                super().__init__(**kwargs)
                self.factor = factor

            def build(self, input_shape: Any) -> None:
                self.offset = self.add_weight((input_shape[-1],), "ones", name="offset")

            def call(self, inputs: Any) -> Any:
                return inputs * self.factor + self.offset.value

            def get_config(self) -> dict[str, Any]:
                return {**super().get_config(), "factor": self.factor}

        model = fastcnn.Sequential([fastcnn.Input((4,)), Twice(3.0)])
        data = keras_archive.to_bytes(model)
        again = keras_archive.load(data, "m.keras", {"Twice": Twice})
        x = np.ones((2, 4), np.float32)
        np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
        assert model.predict(x, verbose=0)[0, 0] == 4
        with pytest.raises(
            ValueError, match="expected a layer of fastcnn or of custom_objects, received 'Twice' in 'm.keras'"
        ):
            keras_archive.load(data, "m.keras")

    def test_the_optimizer_s_state_is_left_out_where_the_optimizer_is_another(self) -> None:
        data = keras_weights.to_bytes(small_model(optimizer="adam"))
        model = small_model(optimizer="sgd")
        with pytest.warns(UserWarning, match="the optimizer starts anew"):
            keras_weights.load(model, data, "load_weights", "m.weights.h5")

    def test_a_file_without_an_optimizer(self) -> None:
        model = small_model()
        keras_weights.load(model, keras_weights.to_bytes(small_model(compiled=False)), "load_weights", "m.weights.h5")
        assert model.optimizer.iterations == 1


class TestFilesThatDoNotFit:
    @pytest.mark.parametrize("skip", [False, True])
    def test_another_shape(self, skip: bool) -> None:
        model, data = small_model(3), keras_weights.to_bytes(small_model(5))
        before = weights_of(model)
        if not skip:
            with pytest.raises(
                ValueError, match=r"expected numbers of shape \(4, 3\) at '/layers/dense/vars/0', received"
            ):
                keras_weights.load(model, data, "load_weights", "m.weights.h5")
        else:
            with pytest.warns(UserWarning, match="2 layers keep their weights"), warnings.catch_warnings():
                keras_weights.load(model, keras_weights.to_bytes(small_model(5, compiled=False)), "x", "m", True)
        assert weights_of(model) == before

    def test_more_or_fewer_layers(self) -> None:
        model = small_model()
        longer = fastcnn.Sequential([fastcnn.Input((4,)), *[fastcnn.layers.Dense(n) for n in (3, 2, 2)]])
        with pytest.raises(ValueError, match="nothing at '/layers/dense_2'"):
            keras_weights.load(longer, keras_weights.to_bytes(model), "load_weights", "m.weights.h5")

    def test_a_failing_optimizer_state_changes_no_weight(self) -> None:
        model, other = small_model(), small_model()
        data = io.BytesIO(keras_weights.to_bytes(other))
        with h5py.File(data, "r+") as file:
            file["optimizer/vars/0"][()] = -3
        before = weights_of(model)
        with pytest.raises(ValueError, match="an optimizer with a number of steps"):
            keras_weights.load(model, data.getvalue(), "load_weights", "m.weights.h5")
        assert weights_of(model) == before

    def test_a_folder_or_a_missing_file(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "m.keras"):
            with pytest.raises(ValueError, match="load_model: filepath: expected an existing file"):
                keras_files.load_model(path)

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            (lambda c: [], "expected a Sequential model"),
            (lambda c: {**c, "class_name": "Functional"}, "expected a Sequential model, received 'Functional'"),
            (lambda c: {**c, "config": {"layers": 3}}, "expected a list of layers, received 3"),
            (lambda c: {**c, "config": None}, "expected an object described by 'class_name' and 'config'"),
            (lambda c: {**c, "config": {**c["config"], "layers": []}}, "expected a model that knows its input's shape"),
            (
                lambda c: {**c, "compile_config": {"optimizer": {"class_name": "Lion2", "config": {}}}},
                "received 'Lion2'",
            ),
            (lambda c: {**c, "compile_config": 3}, "expected what compile was given, received 3"),
        ],
    )
    def test_descriptions(self, change: Any, sentence: str) -> None:
        members = keras_archive.read_members(keras_archive.to_bytes(small_model()), "x", "m.keras")
        members["config.json"] = json.dumps(change(json.loads(members["config.json"]))).encode()
        with pytest.raises(ValueError) as caught:
            keras_archive.load(zipped(members), "m.keras")
        assert sentence in str(caught.value)

    @pytest.mark.parametrize(
        "text",
        [
            b"{",
            b"\xff\xfe",
            b"[" * 100_000,
            b"[" * 80 + b"]" * 80,
            b"1" * 5000,
            b" " * (5 << 20),
        ],
        ids=["cut", "bytes", "endless", "deep", "long number", "long"],
    )
    def test_json(self, text: bytes) -> None:
        with pytest.raises(
            ValueError, match="load_model: filepath: expected a model's description in JSON, received 'm.keras'"
        ):
            keras_archive.read_json(text, "load_model", "m.keras")


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class TestDamage:
    @pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.h5"])
    def test_truncation_at_every_byte(self, name: str) -> None:
        data = (GOLDEN / "keras-3.15.1" / name).read_bytes()
        model = golden().model_of(fastcnn)
        for length in range(len(data)):
            with pytest.raises(ValueError, match="^load_model: filepath: expected"):
                opened(name, data[:length], model)

    @pytest.mark.parametrize("name", ["model.weights.h5", "model.h5"])
    def test_truncation_that_hides_itself(self, name: str) -> None:
        """The length that the file says of itself is that of what is left, so the structures themselves are read."""
        data = (GOLDEN / "keras-3.15.1" / name).read_bytes()
        model = golden().model_of(fastcnn)
        lengths = range(96, len(data) - 3000, 101)
        refused = 0
        for length in lengths:
            cut = bytearray(data[:length])
            cut[40:48] = length.to_bytes(8, "little")
            try:
                opened(name, bytes(cut), model)
            except ValueError as error:
                refused += 1
                assert str(error).startswith("load_model: filepath: expected")
        # What lies last may be what nobody asks for.
        assert refused > 0.9 * len(lengths)

    def test_a_byte_of_the_archive_that_was_changed_is_noticed(self) -> None:
        data = keras_archive.to_bytes(small_model())
        for at in range(40, len(data), 97):
            changed = bytearray(data)
            changed[at] ^= 0x55
            try:
                keras_archive.load(bytes(changed), "m.keras")
            except ValueError as error:
                assert str(error).startswith("load_model: filepath: expected")
            else:
                # Only dates and the like are not covered by a sum.
                assert b"PK" in data[max(0, at - 60) : at + 4]


def opened(name: str, data: bytes, model: fastcnn.Sequential) -> None:
    if name == "model.keras":
        keras_archive.load(data, name)
    elif name == "model.h5":
        legacy_h5.load(data, name)
    else:
        keras_weights.load(model, data, "load_model", name)


class TestOldFiles:
    """What Keras 2 wrote otherwise than Keras 3, built by hand: there is no Keras 2 to write it."""

    def legacy(self, layers: list[Any], training: Any = None) -> bytes:
        model = {"class_name": "Sequential", "config": {"name": "old", "layers": layers}, "keras_version": "2.15.0"}
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            file.attrs["model_config"] = json.dumps(model).encode()
            if training is not None:
                file.attrs["training_config"] = json.dumps(training).encode()
            weights = file.create_group("model_weights")
            weights.attrs["layer_names0"] = np.array([b"normal"])
            weights.attrs["layer_names1"] = np.array([b"dense"])
            names = [b"normal/gamma:0", b"normal/beta:0", b"normal/moving_mean:0", b"normal/moving_variance:0"]
            group = weights.create_group("normal")
            group.attrs["weight_names"] = np.array(names)
            for index, name in enumerate(names):
                group[name] = np.full(4, index + 1, np.float32)
            group = weights.create_group("dense")
            group.attrs["weight_names"] = np.array([b"dense/kernel:0", b"dense/bias:0"])
            group["dense/kernel:0"], group["dense/bias:0"] = np.ones((4, 2), np.float32), np.ones(2, np.float32)
        return buffer.getvalue()

    LAYERS = [
        {"class_name": "BatchNormalization", "config": {"name": "normal", "axis": [1], "batch_input_shape": [None, 4]}},
        {"class_name": "Dense", "config": {"name": "dense", "dtype": "float32", "units": 2, "activation": "linear"}},
    ]

    def test_weights_and_description(self) -> None:
        training = {
            "loss": "mse",
            "metrics": ["mae"],
            "weighted_metrics": None,
            "sample_weight_mode": None,
            "optimizer_config": {
                "class_name": "SGD",
                "config": {"name": "SGD", "lr": 0.5, "decay": 0.0, "momentum": 0.0},
            },
        }
        model = legacy_h5.load(self.legacy(self.LAYERS, training), "m.h5")
        assert model.optimizer.learning_rate == 0.5
        x = np.ones((1, 4), np.float32)
        expected = ((1 - 3) / np.sqrt(4 + 1e-3) + 2) * 4 + 1
        np.testing.assert_allclose(model.predict(x, verbose=0), [[expected] * 2], rtol=1e-5)

    def test_a_file_without_training_configuration(self) -> None:
        with pytest.warns(UserWarning, match="no training configuration"):
            assert not legacy_h5.load(self.legacy(self.LAYERS), "m.h5").compiled
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            legacy_h5.load(self.legacy(self.LAYERS), "m.h5", compile=False)
