"""What the native graph says of itself, and the operations that exporters start from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _core, layers
from fastcnn.exchange import operations
from fastcnn.exchange.operations import inference_operations

WINDOW = {"kernel_size": (2, 2), "strides": (1, 1), "padding": "valid", "dilation_rate": (1, 1)}
# Every method of the graph that appends an operation, in a chain that starts from (6, 6, 4).
APPEND: dict[str, dict[str, Any]] = {
    "conv2d": {**WINDOW, "filters": 4, "groups": 2, "kernel": 0, "bias": 1},
    "depthwise_conv2d": {**WINDOW, "depth_multiplier": 1, "kernel": 2, "bias": -1},
    "conv2d_transpose": {**WINDOW, "filters": 4, "output_padding": (-1, -1), "kernel": 3, "bias": -1},
    "pool2d": {"kind": "average", "pool_size": (2, 2), "strides": (1, 1), "padding": "same"},
    "padded_pool2d": {"kind": "max", "pool_size": (2, 2), "strides": (1, 1), "height": (1, 0), "width": (0, 1)},
    "adaptive_pool2d": {"kind": "max", "output_size": (3, 3)},
    "elementwise": {"kind": "elu", "a": 0.5, "b": 1.0, "c": 1.0},
    "activation": {"kind": "tanh"},
    "permute": {"axes": (1, 0, 2)},
    "pad2d": {"height": (1, 0), "width": (0, -1)},
    "upsample2d": {"size": (2, 1), "bilinear": True},
    "prelu": {"alpha_shape": (1, 1, 4), "alpha": 4},
    "normalize": {"kind": "rms", "axes": 1, "epsilon": 0.1, "gamma": 5, "beta": -1},
    "group_norm": {"groups": 2, "epsilon": 0.1, "gamma": 6, "beta": 7},
    "batch_norm": {
        "gamma": 8, "beta": 9, "moving_mean": 10, "moving_variance": 11, "momentum": 0.9, "epsilon": 0.1,
    },
    "noise": {"kind": "gaussian", "rate": 0.1, "seed": 1, "noise_shape": (8, 2, 4), "shared": False},
    "dropout": {"rate": 0.5, "seed": 2},
    "activity": {"l1": 0.1, "l2": 0.2},
    "scale": {"kind": "affine", "shape": (1, 1, 4), "a": [1.0] * 4, "b": [0.0] * 4},
    "normalize_by": {
        "kind": "normalize", "shape": (1, 2, 1), "parameter_shape": (2,), "mean": 14, "variance": 15, "epsilon": 0.1,
    },
    "resample2d": {"height": (8, [[i] for i in range(8)], [[1.0]] * 8), "width": (2, [[0], [1]], [[1.0], [1.0]])},
    "warp": {"kind": "flip", "height": (0.0, 1.0), "width": (0.0, 0.0), "seed": 3},
    "random_crop": {
        "size": (8, 2), "height": (8, [[0]] * 8, [[1.0]] * 8), "width": (2, [[0], [1]], [[1.0], [1.0]]), "seed": 4,
    },
    "recolor": {"kind": "invert", "factor": (0.0, 1.0), "value_range": (0.0, 1.0), "seed": 5},
    "erase": {
        "rate": (0.0, 1.0), "area": (0.1, 0.2), "fill": [], "deviation": 1.0, "value_range": (0.0, 1.0), "seed": 6,
    },
    "host": {"layer": layers.Layer(), "output_shape": (8, 2, 4), "parameters": [12]},
    "global_pool2d": {"kind": "max", "keepdims": False},
    "reshape": {"target_shape": (2, 2)},
    "dense": {"units": 3, "kernel": 13, "bias": -1},
}  # fmt: skip


def everything() -> list[dict[str, Any]]:
    graph = _core.Graph((6, 6, 4))
    for method, arguments in APPEND.items():
        getattr(graph, method)("layer", **arguments)
    return graph.operations()


def test_every_kind_of_operation_is_described_and_known(project_root: Path) -> None:
    methods = {name for name in dir(_core.Graph) if not name.startswith("_")} - {
        "operations",
        "output_shape",
        "bfloat16",
    }
    known = set(operations.KINDS) | operations.TRAINING_ONLY | {operations.HOST}
    for method in methods - APPEND.keys():  # a new one fails here until it is in the list above
        pytest.fail(f"Graph.{method} is not in this test's list")
    assert {said["kind"] for said in everything()} == known
    variant = re.search(
        r"using Op\s*=\s*std::variant<([^>]*)>", (project_root / "cpp/graph/graph.h").read_text("utf-8")
    )
    assert variant is not None
    assert len(variant[1].split(",")) == len(known)


def test_shapes_and_parameters_are_the_graphs() -> None:
    found = everything()
    assert [said["input_shape"] for said in found] == [(6, 6, 4), *(said["output_shape"] for said in found[:-1])]
    for said, (method, arguments) in zip(found, APPEND.items()):
        roles = ("kernel", "bias", "alpha", "gamma", "beta", "moving_mean", "moving_variance", "mean", "variance")
        expected = {role: arguments[role] for role in roles if arguments.get(role, -1) != -1}
        assert said["parameters"] == ({"0": 12} if method == "host" else expected), method
        assert said["layer"] == "layer"


def test_a_window_says_where_it_stands() -> None:
    graph = _core.Graph((7, 9, 1))
    graph.conv2d(
        "layer", filters=1, kernel_size=(3, 2), strides=(2, 1), padding="same", dilation_rate=(1, 2), groups=1, kernel=0,
        bias=-1,
    )  # fmt: skip
    attributes = graph.operations()[0]["attributes"]
    assert attributes["height"] == {
        "size": 3, "stride": 2, "dilation": 1, "inputs": 7, "outputs": 4, "pad_begin": 1, "pad_end": 1,
    }  # fmt: skip
    assert attributes["width"] == {
        "size": 2, "stride": 1, "dilation": 2, "inputs": 9, "outputs": 9, "pad_begin": 1, "pad_end": 1,
    }  # fmt: skip


def test_taps_are_a_matrix() -> None:
    graph = _core.Graph((3, 4, 1))
    graph.pad2d("layer", height=(1, -1), width=(0, 0))
    height, width = (operations.Taps(**graph.operations()[0]["attributes"][axis]) for axis in ("height", "width"))
    np.testing.assert_array_equal(height.matrix(), [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert width.is_identity() and not height.is_identity()


def test_what_does_nothing_at_inference_is_left_out_and_neighbours_become_one() -> None:
    first = {"data_format": "channels_first"}
    model = keras.Sequential(
        [
            keras.Input((3, 8, 8)),
            layers.Conv2D(4, 3, activation="linear", **first),
            layers.GaussianNoise(0.1),
            layers.MaxPooling2D(2, **first),
            layers.Dropout(0.5),
            layers.ZeroPadding2D(0, **first),
            layers.Reshape((4, 9)),
            layers.Reshape((6, 6)),
            layers.Dense(2, activity_regularizer="l2"),
        ]
    )
    found = inference_operations(model)
    assert [type(operation).__name__ for operation in found] == [
        "Permute", "Conv2D", "Pool2D", "Permute", "Reshape", "Dense",
    ]  # fmt: skip
    assert found[4].input_shape == (4, 3, 3) and found[4].output_shape == (6, 6)


def test_weights_come_along_depthwise_ones_as_groups() -> None:
    model = keras.Sequential([keras.Input((5, 5, 3)), layers.DepthwiseConv2D(3, depth_multiplier=2)])
    (operation,) = inference_operations(model)
    assert isinstance(operation, operations.Conv2D)
    assert operation.groups == 3
    np.testing.assert_array_equal(operation.kernel.reshape(3, 3, 3, 2), model.layers[0].kernel.numpy())
    np.testing.assert_array_equal(operation.bias, np.zeros(6))


def test_batch_normalization_as_scale_and_offset() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization()])
    rng = np.random.default_rng(0)
    model.set_weights([rng.random(3).astype(np.float32) + 0.5 for _ in range(4)])
    (operation,) = inference_operations(model)
    assert isinstance(operation, operations.BatchNorm)
    scale, offset = operation.scale_and_offset()
    x = rng.random((4, 3), dtype=np.float32)
    np.testing.assert_allclose(scale * x + offset, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_layer_written_in_python_is_refused_by_name() -> None:
    class Twice(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    model = keras.Sequential([keras.Input((3,)), Twice(name="twice")])
    with pytest.raises(
        ValueError, match="export: layer 'twice': expected a layer that computes natively, received one"
    ):
        inference_operations(model)


def test_an_unknown_kind_and_a_model_without_shape_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="expected a built model"):
        inference_operations(keras.Sequential([layers.Dense(2)]))
    monkeypatch.delitem(operations.KINDS, "dense")
    with pytest.raises(ValueError, match="export: layer 'mine': expected one of the operations .*, received 'dense'"):
        inference_operations(keras.Sequential([keras.Input((3,)), layers.Dense(2, name="mine")]))
