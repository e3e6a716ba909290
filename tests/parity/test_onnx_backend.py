"""The onnx package's own tests of single operators, through `fastcnn.onnx.backend`."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx, which .[parity] installs")
from onnx.backend.test import loader  # noqa: E402

from fastcnn.onnx import backend  # noqa: E402

# The operators whose cases must all pass, but those refused below.
OPERATORS = {
    "Add", "AveragePool", "BatchNormalization", "Clip", "Conv", "ConvTranspose", "Dropout", "Elu", "Flatten", "Gemm",
    "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape",
    "Sigmoid", "Softmax", "Tanh",
}  # fmt: skip
# Why a case is refused -> its names. The reason is part of the message.
REFUSED: dict[str, set[str]] = {
    "an array of float32": {
        *(f"{op}_{kind}" for op in ("add", "mul") for kind in ("int8", "int16", "uint8", "uint16", "uint32", "uint64")),
        *(f"clip_default_int8_{what}" for what in ("min", "max", "inbounds")),
        "maxpool_2d_uint8", "edge_pad", "reflect_pad", "wrap_pad",
    },
    "images (n, channels, height, width) or sequences": {
        "averagepool_3d_default", "averagepool_3d_dilations_small", "convtranspose_3d", "maxpool_3d_default",
        "maxpool_3d_dilations", "maxpool_3d_dilations_use_ref_impl", "maxpool_3d_dilations_use_ref_impl_large",
        *(
            f"averagepool_3d_dilations_large_count_include_pad_is_{count}_ceil_mode_is_{ceil}"
            for count in (0, 1)
            for ceil in (True, False)
        ),
    },
    "outputs: expected one": {
        "batchnorm_example_training_mode", "batchnorm_epsilon_training_mode", "dropout_default_mask",
        "dropout_default_mask_ratio", "training_dropout_default_mask", "training_dropout_mask",
        "training_dropout_zero_ratio_mask", "maxpool_with_argmax_2d_precomputed_pads",
        "maxpool_with_argmax_2d_precomputed_strides",
    },
    "training_mode to be false": {"training_dropout", "training_dropout_default", "training_dropout_zero_ratio"},
    "a matrix or a vector as input 1": {"matmul_3d", "matmul_4d", "matmul_bcast"},
    "an axis besides it": {"matmul_1d_1d", "matmul_1d_3d"},
    "float32 numbers": {"reshape_allowzero_reordered"},  # of no samples
}  # fmt: skip


@cache
def cases() -> dict[str, Any]:
    """All cases of single nodes, and of functions written as several nodes, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {case.name.removeprefix("test_"): case for case in loader.load_model_tests(kind="node")}


def kinds(case: Any) -> set[str]:
    return {node.op_type for node in case.model.graph.node}


def run(case: Any) -> None:
    """Runs a case; a wrong result fails."""
    prepared = backend.prepare(case.model)
    for inputs, outputs in case.data_sets:
        arrays = [np.asarray(v) if not hasattr(v, "dims") else onnx.numpy_helper.to_array(v) for v in inputs]
        for found, expected in zip(prepared.run(arrays), outputs):
            expected = np.asarray(expected) if not hasattr(expected, "dims") else onnx.numpy_helper.to_array(expected)
            assert found.shape == expected.shape and found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=case.rtol, atol=case.atol)


def test_cases_of_the_operators_pass_or_are_refused_for_the_reason_listed() -> None:
    reasons = {name: reason for reason, names in REFUSED.items() for name in names}
    passed, wrong = 0, []
    for name, case in cases().items():
        if not kinds(case) <= OPERATORS:
            continue
        try:
            run(case)
            passed += 1
            if name in reasons:
                wrong.append(f"{name}: passes, and is listed as refused")
        except (ValueError, AssertionError) as error:
            if name not in reasons or reasons[name] not in str(error):
                wrong.append(f"{name}: {error}")
    assert wrong == []
    assert reasons.keys() <= cases().keys()
    assert passed + len(reasons) == sum(kinds(case) <= OPERATORS for case in cases().values())
    assert passed >= 122


def test_cases_of_other_operators_pass_or_are_refused_in_a_sentence() -> None:
    passed = 0
    for name, case in cases().items():
        if kinds(case) <= OPERATORS:
            continue
        try:
            run(case)
            passed += 1
        except ValueError as error:
            assert "onnx.backend: " in str(error) and "expected" in str(error), (name, error)
    assert passed >= 50


def test_a_node_by_itself_and_other_devices() -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    (found,) = backend.run_node(node, [np.array([[-1.0, 2.0]], np.float32)])
    np.testing.assert_array_equal(found, [[0.0, 2.0]])
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:0")
    relu, lstm = (onnx.helper.make_node(kind, ["x"], ["y"]) for kind in ("Relu", "LSTM"))
    for node, expected in ((relu, True), (lstm, False)):
        model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], []))
        assert backend.is_compatible(model) is expected
    with pytest.raises(ValueError, match="device: expected 'CPU', received 'CUDA'"):
        backend.prepare(onnx.ModelProto(), "CUDA")
