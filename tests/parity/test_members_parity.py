"""What layers, models and variables tell about themselves, beside Keras's."""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import pytest

import fastcnn

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.parity

PACKAGES = [fastcnn, keras]


def network(package: Any) -> Any:
    layers = package.layers
    inner = package.Sequential(
        [layers.Conv2D(2, 3, kernel_regularizer="l2", name="conv"), layers.Flatten(name="flat")], name="inner"
    )
    out = layers.Dense(1, kernel_regularizer=package.regularizers.L1(0.1), bias_regularizer="l2", name="out")
    return package.Sequential([package.Input((6, 6, 1)), inner, out], name="whole")


def both() -> tuple[Any, Any]:
    ours, theirs = network(fastcnn), network(keras)
    theirs.set_weights([w + 0.1 for w in ours.get_weights()])
    ours.set_weights(theirs.get_weights())
    return ours, theirs


def test_penalties_paths_and_shapes() -> None:
    ours, theirs = both()
    assert sum(ours.losses) == pytest.approx(float(sum(theirs.losses)), rel=1e-6)
    assert len(ours.losses) == len(theirs.losses) == 3
    for mine, other in zip([*ours.layers, *ours.layers[0].layers], [*theirs.layers, *theirs.layers[0].layers]):
        assert (mine.input.shape, mine.output.shape) == (other.input.shape, other.output.shape)
        assert mine.get_build_config() == other.get_build_config()
        assert mine.path == other.path
        assert mine.metrics_variables == other.metrics_variables == []
    assert (ours.input.shape, ours.output.shape) == (theirs.inputs[0].shape, theirs.outputs[0].shape)
    assert [v.path for v in ours.layers[1].weights] == [v.path for v in theirs.layers[1].weights]


def test_what_is_not_built_has_no_input() -> None:
    for package in PACKAGES:
        layer = package.layers.Dense(2)
        assert layer.path is None and layer.get_build_config() is None
        for name in ("input", "output"):
            with pytest.raises(AttributeError):
                getattr(layer, name)


def test_own_variables_travel() -> None:
    ours, theirs = (package.layers.BatchNormalization() for package in PACKAGES)
    for layer in (ours, theirs):
        layer.build_from_config({"input_shape": (None, 3)})
    ours.set_weights([np.full(3, i, np.float32) for i in range(4)])
    store: dict[str, Any] = {}
    ours.save_own_variables(store)
    theirs.load_own_variables(store)
    for mine, other in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_array_equal(mine, other)
    for package in PACKAGES:
        layer = package.layers.BatchNormalization()
        layer.build((None, 3))
        with pytest.raises(ValueError):
            layer.load_own_variables({"0": np.zeros(3)})


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (settings, shape)
        for settings in (
            {"ndim": 2},
            {"min_ndim": 3},
            {"max_ndim": 2},
            {"axes": {-1: 4}},
            {"axes": {1: 4}, "min_ndim": 2},
            {"shape": (None, 4)},
            {"shape": (None, 4, 1), "allow_last_axis_squeeze": True},
            {"shape": (None, 4), "allow_last_axis_squeeze": True},
        )
        for shape in ((2, 4), (2, 5), (2, 4, 1), (2, 4, 4), (2, 3, 3, 4))
    ],
    ids=str,
)
def test_input_specs(settings: dict[str, Any], shape: tuple[int, ...]) -> None:
    def accepts(package: Any) -> bool:
        class Same(package.layers.Layer):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.input_spec = package.layers.InputSpec(**settings)

            def call(self, inputs: Any) -> Any:
                return inputs

        try:
            Same()(np.zeros(shape, np.float32))
        except ValueError:
            return False
        return True

    assert accepts(fastcnn) == accepts(keras)


def test_input_specs_that_make_no_sense() -> None:
    for package in PACKAGES:
        with pytest.raises(TypeError):
            package.InputSpec(axes={"a": 1})
        with pytest.raises(ValueError):
            package.InputSpec(ndim=2, axes={2: 1})


BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("name", BINARY)
def test_variables_compute_as_arrays_do(name: str) -> None:
    function = getattr(operator, name)
    values, others = np.array([[1.0, 2.0], [3.0, 0.5]], np.float32), np.array([2.0, 4.0], np.float32)
    ours, theirs = fastcnn.Variable(values), keras.Variable(values)
    for left, right, expected in (
        (ours, others, function(theirs, others)),
        (ours, 2.0, function(theirs, 2.0)),
        (3.0, ours, function(3.0, theirs)),
        (others, ours, function(keras.ops.convert_to_tensor(others), theirs)),
    ):
        found = function(left, right)
        assert type(found) is np.ndarray
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), rtol=1e-6)


def test_other_operations_of_variables() -> None:
    values = np.array([[1.25, -2.0], [3.0, 0.5]], np.float32)
    ours, theirs = fastcnn.Variable(values, name="v"), keras.Variable(values, name="v")
    for function in (operator.neg, operator.pos, abs, round, lambda v: v[0], lambda v: v[:, 1], lambda v: v @ values):
        np.testing.assert_allclose(function(ours), keras.ops.convert_to_numpy(function(theirs)), rtol=1e-6)
    assert (float(fastcnn.Variable([2.5])), int(fastcnn.Variable(3.7)), bool(fastcnn.Variable(0.0))) == (2.5, 3, False)
    for package in PACKAGES:
        with pytest.raises(TypeError):
            float(package.Variable(values))
    for method in ("assign", "assign_add", "assign_sub"):
        returned = [getattr(v, method)(values * 3) for v in (ours, theirs)]
        np.testing.assert_allclose(returned[0], keras.ops.convert_to_numpy(returned[1]), rtol=1e-6)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
    before = ours.numpy()
    changed = ours
    changed += 1
    np.testing.assert_allclose(changed, before + 1)
    np.testing.assert_array_equal(ours.numpy(), before)
    assert ours in [ours] and ours != copy.copy(ours) and len({ours, ours}) == 1
    np.testing.assert_allclose(np.exp(ours), np.exp(before))


def test_variables_from_initializers() -> None:
    for package in PACKAGES:
        assert package.Variable("ones", shape=(2, 3)).numpy().tolist() == [[1.0] * 3] * 2
        assert package.Variable(package.initializers.Constant(2), (2,), trainable=False).numpy().tolist() == [2.0, 2.0]
        for wrong in ({"initializer": "ones"}, {"initializer": [1.0], "name": "a/b"}):
            with pytest.raises(ValueError):
                package.Variable(**wrong)


def test_methods_that_cannot_be_there_say_why() -> None:
    model = network(fastcnn)
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute 'train_step': the training loop is"):
        _ = model.train_step
    with pytest.raises(
        AttributeError, match="'Dense' object has no attribute 'add_loss': a loss that depends on outputs"
    ):
        model.layers[1].add_loss(1.0)
    with pytest.raises(AttributeError, match="'Dense' object has no attribute 'colour'$"):
        _ = model.layers[1].colour
    with pytest.raises(AttributeError, match="input_shape: the model has not been given an input shape yet"):
        _ = fastcnn.Sequential().input_shape
    with pytest.raises(TypeError, match="Mine: train_step: expected no method of that name, which the native training"):

        class Mine(fastcnn.Sequential):
            def train_step(self, data: Any) -> Any: ...


def test_layers_as_plain_data_cross_over() -> None:
    layers = fastcnn.layers
    for layer in (
        layers.Conv2D(3, 2, activation="relu", kernel_regularizer="l2", name="c"),
        layers.BatchNormalization(momentum=0.5),
        layers.Dense(4, dtype="mixed_bfloat16"),
        layers.Dropout(0.25, seed=3),
    ):
        theirs = keras.layers.deserialize(layers.serialize(layer))
        again = layers.deserialize(keras.layers.serialize(theirs))
        assert type(again) is type(layer)
        assert again.get_config() == layer.get_config()
        assert theirs.dtype_policy.name == layer.dtype_policy.name
    for wrong in ({"class_name": "LSTM", "config": {}}, {"class_name": "L2", "config": {}}):
        with pytest.raises(ValueError):
            layers.deserialize(wrong)
    with pytest.raises(ValueError):
        layers.serialize(3)
