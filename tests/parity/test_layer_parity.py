"""Every layer against Keras on PyTorch: outputs, gradients, shapes and names of weights, configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastcnn
from fastcnn import _core

torch = pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
keras = pytest.importorskip("keras", reason="needs Keras, which .[parity] installs")

SAMPLES = 5
IMAGE, SEQUENCE = (6, 7, 4), (9, 4)
FIRST = {"data_format": "channels_first"}

# (class, arguments, one sample's shape)
CASES: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("Conv2D", {"filters": 3, "kernel_size": 3}, IMAGE),
    ("Conv2D", {"filters": 3, "kernel_size": (2, 3), "strides": 2, "padding": "same", "activation": "gelu"}, IMAGE),
    ("Conv2D", {"filters": 6, "kernel_size": 3, "groups": 2, "activation": "relu", **FIRST}, IMAGE),
    ("Conv2D", {"filters": 2, "kernel_size": 3, "activity_regularizer": "l2"}, IMAGE),
    ("Conv1D", {"filters": 3, "kernel_size": 3}, SEQUENCE),
    ("Conv1D", {"filters": 4, "kernel_size": 4, "padding": "same", "strides": 2, "groups": 2}, SEQUENCE),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "padding": "causal", "dilation_rate": 2}, SEQUENCE),
    ("Conv1D", {"filters": 3, "kernel_size": 3, "activation": "relu", "use_bias": False, **FIRST}, SEQUENCE),
    ("DepthwiseConv2D", {"kernel_size": 3}, IMAGE),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 2, "padding": "same", "strides": 2}, IMAGE),
    ("DepthwiseConv1D", {"kernel_size": 3, "depth_multiplier": 3, "activation": "elu"}, SEQUENCE),
    ("DepthwiseConv1D", {"kernel_size": 3, **FIRST}, SEQUENCE),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3, "depth_multiplier": 2, "padding": "same"}, IMAGE),
    ("SeparableConv2D", {"filters": 5, "kernel_size": 3, "activation": "relu", **FIRST}, IMAGE),
    ("SeparableConv1D", {"filters": 5, "kernel_size": 3, "padding": "same"}, SEQUENCE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3}, IMAGE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 4, "strides": 2, "padding": "same", "activation": "relu"}, IMAGE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": (2, 3), "strides": (3, 2), "use_bias": False}, IMAGE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "strides": 2, "output_padding": 1}, IMAGE),
    ("Conv2DTranspose", {"filters": 3, "kernel_size": 3, "dilation_rate": 2, **FIRST}, IMAGE),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 4, "strides": 2, "padding": "same"}, SEQUENCE),
    ("Conv1DTranspose", {"filters": 3, "kernel_size": 3, **FIRST}, SEQUENCE),
    ("Dense", {"units": 3, "activation": "silu"}, (7,)),
    ("Dense", {"units": 3, "activation": "log_softmax", "activity_regularizer": "l1"}, (5, 7)),
    # Keras on PyTorch averages otherwise than on TensorFlow where "same" pads one side only.
    *[
        (f"{kind}Pooling{rank}D", {"pool_size": 2, **options}, IMAGE if rank == 2 else SEQUENCE)
        for rank in (1, 2)
        for kind in ("Max", "Average")
        for options in ({}, {"strides": 1}, {"pool_size": 3, "strides": 1, "padding": "same"}, FIRST)
    ],
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, IMAGE),
    *[
        (f"Global{kind}Pooling{rank}D", options, IMAGE if rank == 2 else SEQUENCE)
        for rank in (1, 2)
        for kind in ("Max", "Average")
        for options in ({}, {"keepdims": True}, FIRST, {"keepdims": True, **FIRST})
    ],
    *[(f"Adaptive{kind}Pooling2D", {"output_size": (4, 3)}, IMAGE) for kind in ("Max", "Average")],
    *[(f"Adaptive{kind}Pooling1D", {"output_size": 4, **FIRST}, SEQUENCE) for kind in ("Max", "Average")],
    ("Flatten", {}, IMAGE),
    ("Flatten", FIRST, IMAGE),
    ("Reshape", {"target_shape": (7, -1)}, IMAGE),
    ("Permute", {"dims": (3, 1, 2)}, IMAGE),
    ("RepeatVector", {"n": 3}, (6,)),
    ("Identity", {}, IMAGE),
    ("Cropping1D", {"cropping": (1, 2)}, SEQUENCE),
    ("Cropping2D", {"cropping": ((1, 2), (0, 3))}, IMAGE),
    ("Cropping2D", {"cropping": (1, 2), **FIRST}, (3, 6, 7)),
    ("ZeroPadding1D", {"padding": 2}, SEQUENCE),
    ("ZeroPadding1D", {"padding": (0, 2), **FIRST}, SEQUENCE),
    ("ZeroPadding2D", {"padding": ((1, 0), (2, 3))}, IMAGE),
    ("ZeroPadding2D", {**FIRST}, IMAGE),
    ("UpSampling1D", {"size": 3}, SEQUENCE),
    ("UpSampling2D", {"size": (2, 3)}, IMAGE),
    ("UpSampling2D", {"size": 2, "interpolation": "bilinear"}, IMAGE),
    ("UpSampling2D", {"size": (3, 1), "interpolation": "bilinear", **FIRST}, IMAGE),
    ("ReLU", {}, IMAGE),
    ("ReLU", {"max_value": 0.8, "negative_slope": 0.3, "threshold": 0.2}, IMAGE),
    ("LeakyReLU", {}, IMAGE),
    ("ELU", {"alpha": 0.7}, IMAGE),
    ("PReLU", {"alpha_initializer": "glorot_uniform"}, SEQUENCE),
    ("PReLU", {"alpha_initializer": "glorot_uniform", "shared_axes": [1, 2]}, IMAGE),
    ("Softmax", {}, SEQUENCE),
    ("Softmax", {"axis": 1}, IMAGE),
    ("Softmax", {"axis": [1, 2]}, IMAGE),
    ("ActivityRegularization", {"l1": 0.01, "l2": 0.02}, IMAGE),
    ("BatchNormalization", {}, IMAGE),
    ("BatchNormalization", {"axis": 1}, IMAGE),
    ("LayerNormalization", {}, IMAGE),
    ("LayerNormalization", {"axis": [1, 2, 3], "epsilon": 1e-5}, IMAGE),
    ("LayerNormalization", {"axis": [2, 3], "center": False}, IMAGE),
    ("LayerNormalization", {"scale": False}, IMAGE),
    ("GroupNormalization", {"groups": 2}, IMAGE),
    ("GroupNormalization", {"groups": -1, "epsilon": 1e-5}, IMAGE),
    ("GroupNormalization", {"groups": 3, "axis": 1}, IMAGE),
    ("RMSNormalization", {}, SEQUENCE),
    ("RMSNormalization", {"axis": [1, 2]}, SEQUENCE),
    ("UnitNormalization", {}, SEQUENCE),
    ("UnitNormalization", {"axis": [1, 2]}, IMAGE),
    ("Rescaling", {"scale": 0.5, "offset": [1.0, 2.0, 3.0, 4.0]}, IMAGE),
    ("Normalization", {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [4.0, 3.0, 2.0, 1.0]}, IMAGE),
    ("Normalization", {"axis": None, "mean": 1.0, "variance": 4.0, "invert": True}, SEQUENCE),
    ("Resizing", {"height": 9, "width": 4}, IMAGE),
    ("Resizing", {"height": 4, "width": 5, "antialias": True, **FIRST}, IMAGE),
    ("CenterCrop", {"height": 3, "width": 4}, IMAGE),
    *[
        ("Activation", {"activation": name}, SEQUENCE)
        for name in (
            "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
            "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
            "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish",
            "tanh", "tanh_shrink",
        )
    ],
]  # fmt: skip
each_case = pytest.mark.parametrize(
    ("name", "arguments", "shape"), CASES, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(CASES)]
)

# Where random numbers decide: compared by their statistics in tests/kernels/test_sample_kernels.py.
RANDOM = {"AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D", "SpatialDropout2D"}
# The same, and compared with Keras in tests/parity/test_preprocessing_parity.py.
ELSEWHERE = {"Pipeline", "Solarization"} | {name for name in fastcnn.layers.__all__ if name.startswith("Random")}


def test_every_layer_is_compared() -> None:
    public = {value.__name__ for n in fastcnn.layers.__all__ if isinstance(value := getattr(fastcnn.layers, n), type)}
    assert public - RANDOM - ELSEWHERE - {"Layer", "InputLayer", "InputSpec"} == {name for name, *_ in CASES}


def samples(shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.random.default_rng(1).standard_normal((SAMPLES, *shape)).astype(np.float32)


def pair(name: str, arguments: dict[str, Any], shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The layer of fastcnn and that of Keras, with equal weights that are nowhere special."""
    layers = [getattr(package.layers, name)(**arguments) for package in (fastcnn, keras)]
    for layer in layers:
        layer.build((None, *shape))
    rng = np.random.default_rng(2)
    values = [rng.standard_normal(v.shape) * 0.5 for v in layers[1].weights]
    values = [np.abs(v) + 0.5 if "variance" in w.name else v for v, w in zip(values, layers[1].weights)]
    for layer in layers:
        layer.set_weights([v.astype(np.float32) for v in values])
    return layers[0], layers[1]


@each_case
def test_weights_and_shapes(name: str, arguments: Any, shape: Any) -> None:
    ours, theirs = pair(name, arguments, shape)
    assert [(v.name, v.shape, v.trainable) for v in ours.weights] == [
        (v.name, tuple(v.shape), v.trainable) for v in theirs.weights
    ]
    batch = (SAMPLES, *shape)
    assert ours.compute_output_shape(batch) == tuple(theirs.compute_output_shape(batch))


@each_case
def test_configuration(name: str, arguments: Any, shape: Any) -> None:
    ours, theirs = (getattr(package.layers, name)(**arguments, name="mine") for package in (fastcnn, keras))
    mine, expected = ours.get_config(), theirs.get_config()
    for key in mine.keys() & expected.keys() - {"dtype"}:
        if isinstance(expected[key], dict):
            assert mine[key]["class_name"] == expected[key]["class_name"], key
        else:
            assert list_of(mine[key]) == list_of(expected[key]), key
    again = type(theirs).from_config({k: v for k, v in mine.items() if not isinstance(v, dict)} | {"dtype": "float32"})
    assert again.name == "mine"


def list_of(value: Any) -> Any:
    return [list_of(v) for v in value] if isinstance(value, (list, tuple)) else value


@each_case
def test_outputs(name: str, arguments: Any, shape: Any) -> None:
    ours, theirs = pair(name, arguments, shape)
    x = samples(shape)
    expected = theirs(x).detach().numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(ours(x[:1]), expected[:1], rtol=2e-5, atol=2e-6)


@each_case
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients(name: str, arguments: Any, shape: Any, threads: int) -> None:
    """Of the mean squared error by the layer's input and weights; and the loss itself, with penalties."""
    ours, theirs = pair(name, arguments, shape)
    x = samples(shape)
    y = np.random.default_rng(3).standard_normal((SAMPLES, int(np.prod(theirs.compute_output_shape((1, *shape))))))
    y = y.astype(np.float32)

    # Samples are rows of a Dense kernel and the data one-hot: the kernel's gradient is the one by the samples.
    below = fastcnn.layers.Dense(int(np.prod(shape)), use_bias=False)
    model = fastcnn.Sequential(
        [fastcnn.Input((SAMPLES,)), below, fastcnn.layers.Reshape(shape), ours, fastcnn.layers.Flatten()]
    )
    below.set_weights([x.reshape(SAMPLES, -1)])
    flags = [v.trainable for v in model.weights]
    _core.set_num_threads(threads)
    trainer = _core.Trainer(
        model._current_network().native, {"kind": "mean_squared_error"}, [], None,
        [(0.0, 0.0)] * len(flags), flags,
    )  # fmt: skip
    one_hot = np.eye(SAMPLES, dtype=np.float32)
    found = trainer.gradients(one_hot, y, None, 0)
    loss = trainer.evaluate(one_hot, y, None, 0, SAMPLES, SAMPLES, None)["loss"] / SAMPLES
    _core.set_num_threads(0)

    inputs = torch.tensor(x, requires_grad=True)
    training = name == "BatchNormalization"
    outputs = theirs(inputs, training=True) if training else theirs(inputs)
    total = ((outputs.reshape(SAMPLES, -1) - torch.tensor(y)) ** 2).mean() + sum(theirs.losses)
    total.backward()
    if not training:
        assert loss == pytest.approx(float(total), rel=1e-5)
    compare(found[0].reshape(x.shape), inputs.grad, "input")
    expected = [v.value.grad for v in theirs.weights if v.trainable]
    for gradient, variable, theirs_gradient in zip(found[1:], ours.trainable_weights, expected):
        compare(gradient, theirs_gradient, variable.name)


def compare(actual: Any, expected: Any, what: str) -> None:
    expected = expected.detach().numpy()
    error = np.linalg.norm(actual - expected) / max(float(np.linalg.norm(expected)), 1e-6)
    assert error < 2e-5, f"{what}: relative error {error:.1e}"


@pytest.mark.parametrize("name", sorted(RANDOM))
def test_random_layers_have_kerass_configuration_and_do_nothing_at_inference(name: str) -> None:
    argument = "stddev" if name == "GaussianNoise" else "rate"
    ours, theirs = (
        getattr(package.layers, name)(**{argument: 0.3}, seed=4, name="mine") for package in (fastcnn, keras)
    )
    mine, expected = ours.get_config(), theirs.get_config()
    assert {k: mine[k] for k in expected if k != "dtype"} == {k: v for k, v in expected.items() if k != "dtype"}
    x = samples(SEQUENCE if name == "SpatialDropout1D" else IMAGE)
    np.testing.assert_array_equal(ours(x), x)
    if name.startswith("SpatialDropout"):
        dropped = ours(x, training=True) == 0
        whole = dropped.all(axis=tuple(range(1, x.ndim - 1)))
        np.testing.assert_array_equal(whole, dropped.any(axis=tuple(range(1, x.ndim - 1))))
        assert whole.any() and not whole.all()


def test_poolings_with_explicit_padding_are_pytorchs() -> None:
    functional = torch.nn.functional
    x = samples(IMAGE)
    for kind, arguments in [("Max", {}), ("Average", {"count_include_pad": False})]:
        layer = getattr(fastcnn.layers, f"{kind}Pooling2D")((3, 2), (2, 1), padding=1)
        below = fastcnn.layers.Dense(int(np.prod(IMAGE)), use_bias=False)
        model = fastcnn.Sequential(
            [fastcnn.Input((SAMPLES,)), below, fastcnn.layers.Reshape(IMAGE), layer, fastcnn.layers.Flatten()]
        )
        below.set_weights([x.reshape(SAMPLES, -1)])
        inputs = torch.tensor(x, requires_grad=True)
        pool = functional.max_pool2d if kind == "Max" else functional.avg_pool2d
        expected = pool(inputs.permute(0, 3, 1, 2), (3, 2), (2, 1), 1, **arguments).permute(0, 2, 3, 1)
        np.testing.assert_allclose(layer(x), expected.detach().numpy(), rtol=1e-6, atol=1e-6)
        assert type(layer).from_config(layer.get_config())(x).shape == tuple(expected.shape)
        native = model._current_network().native
        trainer = _core.Trainer(native, {"kind": "mean_squared_error"}, [], None, [(0.0, 0.0)], [True])
        y = np.random.default_rng(3).standard_normal((SAMPLES, *model.output_shape[1:])).astype(np.float32)
        (found,) = trainer.gradients(np.eye(SAMPLES, dtype=np.float32), y, None, 0)
        ((expected.reshape(SAMPLES, -1) - torch.tensor(y)) ** 2).mean().backward()
        compare(found.reshape(x.shape), inputs.grad, kind)
    with pytest.raises(ValueError, match="padding: expected integers below pool_size"):
        fastcnn.layers.MaxPooling1D(2, padding=2)


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("ReLU", {"max_value": -1}),
    ("LeakyReLU", {"negative_slope": -0.1}),
    ("RepeatVector", {"n": 1.5}),
    ("Cropping2D", {"cropping": (1, 2, 3)}),
    ("ZeroPadding2D", {"padding": "same"}),
    ("UpSampling2D", {"size": (1, 2, 3)}),
    ("Conv1D", {"filters": 0, "kernel_size": 2}),
    ("Conv1D", {"filters": 2, "kernel_size": 2, "padding": "full"}),
    ("Conv2DTranspose", {"filters": -2, "kernel_size": 2}),
    ("DepthwiseConv2D", {"kernel_size": (1, 2, 3)}),
    ("SeparableConv2D", {"filters": 2, "kernel_size": 2, "depth_multiplier": 0}),
    ("MaxPooling1D", {"pool_size": 2, "data_format": "channels_middle"}),
    ("GaussianNoise", {"stddev": 2.0}),
    ("AlphaDropout", {"rate": 1.5}),
]


@pytest.mark.parametrize(("name", "arguments"), WRONG)
def test_wrong_arguments_raise_kerass_type_of_error(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError)) as theirs:
        getattr(keras.layers, name)(**arguments)
    with pytest.raises(theirs.type, match="expected .*, received"):
        getattr(fastcnn.layers, name)(**arguments)


FUNCTIONS: list[tuple[str, dict[str, Any]]] = [
    ("relu", {"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.3}),
    ("leaky_relu", {"negative_slope": 0.4}),
    ("elu", {"alpha": 0.5}),
    ("celu", {"alpha": 0.5}),
    ("gelu", {"approximate": True}),
    ("hard_shrink", {"threshold": 0.2}),
    ("soft_shrink", {"threshold": 0.2}),
    ("squareplus", {"b": 2}),
    ("threshold", {"threshold": 0.1, "default_value": 3.0}),
    ("softmax", {"axis": 1}),
    ("log_softmax", {"axis": 0}),
]


@pytest.mark.parametrize(("name", "arguments"), FUNCTIONS)
def test_activation_functions_with_arguments(name: str, arguments: dict[str, Any]) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32) * 2
    expected = getattr(keras.activations, name)(torch.tensor(x), **arguments).numpy()
    np.testing.assert_allclose(getattr(fastcnn.activations, name)(x, **arguments), expected, rtol=1e-5, atol=1e-6)


def test_activations_by_name_are_kerass() -> None:
    for name in dir(keras.activations):
        if name in ("glu", "sparsemax", "get", "serialize", "deserialize") or name.startswith("_"):
            continue
        assert fastcnn.activations.get(name).__name__ == keras.activations.get(name).__name__, name
