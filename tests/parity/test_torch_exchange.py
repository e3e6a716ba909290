"""Models to and from PyTorch: equal outputs, equal gradients, or a refusal in one sentence."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_layer_parity import CASES, FIRST, IMAGE, RANDOM, SAMPLES, SEQUENCE

import fastcnn as keras
from fastcnn import _core, layers

torch = pytest.importorskip("torch", reason="needs PyTorch, which .[parity] installs")
from torch import nn  # noqa: E402

from fastcnn.torch import from_torch, modules, to_torch  # noqa: E402
from fastcnn.torch.reading import _READERS  # noqa: E402
from fastcnn.torch.writing import _WRITERS  # noqa: E402

Array = NDArray[np.float32]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch's threads cost more than such small sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# Layers that torch.nn has no counterpart of: what prepares images is done before a PyTorch module.
REFUSED = {"CenterCrop", "Pipeline", "Resizing", "Solarization"}
REFUSED |= {name for name in layers.__all__ if name.startswith("Random")}


def test_every_layer_is_written_or_refused() -> None:
    found = (getattr(layers, name) for name in layers.__all__)
    public = {value for value in found if isinstance(value, type) and issubclass(value, layers.Layer)}
    assert {cls.__name__ for cls in public - _WRITERS.keys()} == {"Layer", *REFUSED}
    assert all(name in layers.__all__ for name in REFUSED)


def gradients(model: Any, x: Array, y: Array) -> list[Array | None]:
    """Of the mean squared error by each weight."""
    flags = [v.trainable for v in model.weights]
    network = model._current_network()
    trainer = _core.Trainer(network.native, {"kind": "mean_squared_error"}, [], None, [(0.0, 0.0)] * len(flags), flags)
    return trainer.gradients(x, y, None, 0)


def random_weights(model: Any, seed: int = 2) -> None:
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(v.shape).astype(np.float32) * 0.5 for v in model.weights]
    model.set_weights([np.abs(v) + 0.5 if "variance" in w.name else v for v, w in zip(values, model.weights)])


def as_torch(model: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about regularizers
        return to_torch(model)


def close(found: Any, expected: Any, what: str, tolerance: float) -> None:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, what
    error = np.linalg.norm(found - expected) / max(float(np.linalg.norm(expected)), 1e-3)
    assert error < tolerance, f"{what}: relative error {error:.1e}"


def same(model: Any, module: Any, x: Array, order: tuple[int, ...] | None = None) -> None:
    """Equal outputs at inference, and in training equal outputs and gradients by all weights."""
    twin = copy.deepcopy(module)
    theirs = torch.tensor(x)
    ours = x if order is None else np.ascontiguousarray(x.transpose(order))
    with torch.no_grad():
        close(model.predict(ours, verbose=0), twin.eval()(theirs).numpy(), "inference", 1e-5)
    outputs = twin.train()(theirs)
    y = np.random.default_rng(5).standard_normal(outputs.shape).astype(np.float32)
    ((outputs - torch.tensor(y)) ** 2).mean().backward()
    found = gradients(model, ours, y)
    # The gradients take the places of the weights, so that both have PyTorch's layout.
    held = keras.models.clone_model(model)
    held.build()
    weights = model.get_weights()
    held.set_weights([np.zeros_like(w) if g is None else g for g, w in zip(found, weights)])
    names = [(name, p) for name, p in as_torch(held).named_parameters()]
    theirs_by_place = list(twin.named_parameters())
    assert len(names) == len(theirs_by_place)
    for (name, gradient), (_, parameter) in zip(names, theirs_by_place):
        if parameter.requires_grad:
            close(gradient.detach().numpy(), parameter.grad.numpy(), name, 1e-4)
    close(model(ours, training=True), outputs.detach().numpy(), "training", 1e-5)


def one_hot(layer: Any, shape: tuple[int, ...], seed: int = 2) -> Any:
    """A model whose first kernel holds the samples, so that the gradient by them is compared as well."""
    keras.utils.set_random_seed(seed)
    below = layers.Dense(int(np.prod(shape)), use_bias=False)
    model = keras.Sequential([keras.Input((SAMPLES,)), below, layers.Reshape(shape), layer, layers.Flatten()])
    random_weights(model)
    return model


LAYERS = [
    *CASES,
    ("Rescaling", {"scale": 0.5, "offset": -1.0}, IMAGE),
    ("Rescaling", {"scale": [0.5, 0.25, 2.0, 1.0], "offset": 1.0}, IMAGE),
    ("Normalization", {"mean": [0.5, 0.25, 0.1, 1.0], "variance": [4.0, 1.0, 0.25, 2.0]}, IMAGE),
    ("Normalization", {"mean": 0.5, "variance": 4.0, "axis": None, "invert": True}, SEQUENCE),
    ("BatchNormalization", {"trainable": False}, IMAGE),
    ("BatchNormalization", {"center": False}, (4,)),
    ("BatchNormalization", {"scale": False, "axis": 1}, SEQUENCE),
    ("Conv2D", {"filters": 4, "kernel_size": (2, 5), "strides": (3, 2), "padding": "same"}, (7, 9, 2)),
    ("Conv2D", {"filters": 4, "kernel_size": 2, "dilation_rate": (2, 3), "padding": "same", "trainable": False}, IMAGE),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": (4, 5), "strides": (2, 3), "padding": "same"}, IMAGE),
    ("AveragePooling2D", {"pool_size": (4, 3), "strides": (1, 2), "padding": "same"}, IMAGE),
    ("AveragePooling1D", {"pool_size": 4, "strides": 1, "padding": "same"}, SEQUENCE),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": 1}, IMAGE),
    ("MaxPooling2D", {"pool_size": 3, "strides": 2, "padding": ((2, 0), (1, 2)), **FIRST}, (4, 6, 7)),
    ("AveragePooling2D", {"pool_size": 4, "strides": 3, "padding": ((2, 0), (1, 3))}, IMAGE),
    ("AveragePooling1D", {"pool_size": 4, "strides": 2, "padding": 2}, SEQUENCE),
    ("MaxPooling2D", {"pool_size": 2, "strides": 3, "padding": "same", **FIRST}, IMAGE),
    ("UpSampling1D", {"size": 2}, SEQUENCE),
    ("PReLU", {"alpha_initializer": "ones", "shared_axes": [1, 2, 3]}, IMAGE),
    ("PReLU", {"alpha_initializer": "ones", "shared_axes": [2]}, IMAGE),
    ("GroupNormalization", {"groups": 2, "scale": False}, (4,)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "shape"), LAYERS, ids=[f"{name}-{number}" for number, (name, *_) in enumerate(LAYERS)]
)
def test_layers(name: str, arguments: Any, shape: Any) -> None:
    """There, and there and back, in both data formats."""
    if "activity_regularizer" in arguments or name == "ActivityRegularization":
        arguments = {key: value for key, value in arguments.items() if key not in ("activity_regularizer", "l1", "l2")}
    if name in REFUSED:
        model = keras.Sequential([keras.Input(shape), getattr(layers, name)(**arguments)])
        with pytest.raises(ValueError, match=f"to_torch: .* \\({name}\\)"):
            to_torch(model)
        return
    model = one_hot(getattr(layers, name)(**arguments), shape)
    x = np.eye(SAMPLES, dtype=np.float32)
    module, expected = as_torch(model), model(x)
    same(model, module, x)  # moves the averages of batch normalization
    for data_format in ("channels_first", "channels_last"):
        again = from_torch(module, (SAMPLES,), data_format=data_format)
        close(again(x), expected, data_format, 1e-5)
        for first, second in zip(as_torch(again).parameters(), module.parameters()):
            assert first.requires_grad == second.requires_grad
    same(again, as_torch(again), x)


@pytest.mark.parametrize("name", sorted(RANDOM))
@pytest.mark.parametrize("first", [False, True])
def test_random_layers_do_nothing_at_inference_and_the_like_in_training(name: str, first: bool) -> None:
    argument = "stddev" if name == "GaussianNoise" else "rate"
    shape = (30, 40) if name == "SpatialDropout1D" else (10, 20, 8)
    options = FIRST if first and name == "SpatialDropout2D" else {}
    layer = getattr(layers, name)(**{argument: 0.25}, **options)
    model = keras.Sequential([keras.Input(shape), layer])
    module = to_torch(model)
    again = from_torch(module, shape)
    x = np.ones((500, *shape), np.float32)
    torch.manual_seed(1)
    for outputs in (module(torch.tensor(x)).numpy(), again(x)):
        np.testing.assert_array_equal(outputs, x)
    expected = model(x, training=True)
    for outputs in (module.train()(torch.tensor(x)).numpy(), again(x, training=True)):
        assert outputs.mean() == pytest.approx(expected.mean(), abs=0.1)
        assert outputs.std() == pytest.approx(expected.std(), rel=0.1)
        axes = [axes for axes in ((1,), (2,), (1, 2), (2, 3)) if max(axes) < x.ndim]
        for axis in axes:  # what is dropped together
            assert outputs.mean(axis=axis).std() == pytest.approx(expected.mean(axis=axis).std(), rel=0.2)


MODULES: list[tuple[Any, tuple[int, ...]]] = [
    (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 6, 7)),
    (lambda: nn.Conv2d(3, 4, 3, padding=1, stride=2), (3, 6, 7)),
    (lambda: nn.Conv2d(4, 6, (3, 2), padding=(2, 0), groups=2, bias=False), (4, 6, 7)),
    (lambda: nn.Conv2d(4, 8, 3, padding="same", groups=4, dilation=2), (4, 6, 7)),
    (lambda: nn.Conv2d(1, 4, 5, stride=2, padding="valid"), (1, 8, 8)),
    (lambda: nn.Conv1d(3, 4, 4, padding=3, stride=3), (3, 11)),
    (lambda: nn.Conv1d(3, 6, 4, padding="same", groups=3), (3, 11)),
    (lambda: nn.ConvTranspose2d(3, 4, 3), (3, 5, 4)),
    (lambda: nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1), (3, 5, 4)),
    (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), (3, 5, 4)),
    (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (3, 5, 4)),
    (lambda: nn.ConvTranspose2d(3, 4, 2, stride=3, output_padding=1), (3, 5, 4)),
    (lambda: nn.ConvTranspose2d(3, 4, 3, dilation=2, padding=(2, 0)), (3, 5, 4)),
    (lambda: nn.ConvTranspose1d(3, 4, 5, stride=2, padding=2, output_padding=1, bias=False), (3, 7)),
    (lambda: nn.ConvTranspose1d(3, 4, 5, padding=1), (3, 7)),
    (lambda: nn.Linear(5, 3), (4, 5)),
    (lambda: nn.Linear(5, 3, bias=False), (2, 4, 5)),
    (lambda: nn.MaxPool2d(2), (3, 7, 6)),
    (lambda: nn.MaxPool2d(2, ceil_mode=True), (3, 7, 6)),
    (lambda: nn.MaxPool2d(3, 2, padding=1), (3, 7, 9)),
    (lambda: nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)), (3, 8, 6)),
    (lambda: nn.Sequential(nn.Sigmoid(), nn.Identity(), nn.MaxPool1d(3, 2, padding=1, ceil_mode=True)), (3, 8)),
    (lambda: nn.MaxPool1d(3, 1, padding=1), (3, 8)),
    (lambda: nn.AvgPool2d(2, ceil_mode=True), (3, 7, 5)),
    (lambda: nn.AvgPool2d(3, 2, padding=1), (3, 8, 6)),
    (lambda: nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), (3, 8, 6)),
    (lambda: nn.AvgPool1d(3, 2, padding=1), (3, 8)),
    (lambda: nn.AvgPool1d(2), (3, 8)),
    (lambda: nn.MaxPool2d(3, 2, padding=1), (3, 8, 8)),
    (lambda: nn.MaxPool2d(4, (3, 2), padding=(2, 1), ceil_mode=True), (3, 8, 8)),
    (lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), (3, 8, 8)),
    (lambda: nn.AvgPool2d(4, 3, padding=2, count_include_pad=False, ceil_mode=True), (3, 8, 7)),
    (lambda: nn.AdaptiveAvgPool2d((None, 2)), (3, 7, 5)),
    (lambda: nn.AdaptiveAvgPool2d(1), (3, 7, 5)),
    (lambda: nn.AdaptiveMaxPool2d((2, 3)), (3, 7, 5)),
    (lambda: nn.AdaptiveMaxPool1d(1), (3, 7)),
    (lambda: nn.AdaptiveAvgPool1d(3), (3, 7)),
    (lambda: nn.BatchNorm2d(3, eps=0.01, momentum=0.3), (3, 5, 4)),
    (lambda: nn.BatchNorm1d(3, affine=False), (3, 5)),
    (lambda: nn.BatchNorm1d(3), (3,)),
    (lambda: nn.LayerNorm((3, 5, 4)), (3, 5, 4)),
    (lambda: nn.LayerNorm((5, 4)), (3, 5, 4)),
    (lambda: nn.LayerNorm(4, bias=False), (3, 5, 4)),
    (lambda: nn.LayerNorm(4, elementwise_affine=False), (3, 4)),
    (lambda: nn.RMSNorm(4), (3, 4)),
    (lambda: nn.RMSNorm((5, 4), eps=1e-3), (3, 5, 4)),
    (lambda: nn.GroupNorm(2, 4), (4, 5, 3)),
    (lambda: nn.GroupNorm(4, 4, affine=False), (4, 5)),
    (nn.Flatten, (3, 4, 2)),
    (lambda: nn.Flatten(2), (3, 4, 2)),
    (lambda: nn.Flatten(1, 2), (3, 4, 2)),
    (lambda: nn.Unflatten(1, (2, 2)), (4, 5)),
    (lambda: nn.Unflatten(-1, (5, 1)), (4, 5)),
    (lambda: nn.Softmax(1), (3, 4, 2)),
    (lambda: nn.Softmax(-1), (3, 4, 2)),
    (lambda: nn.Softmax(None), (3,)),
    (nn.Softmax2d, (3, 4, 2)),
    (lambda: nn.LogSoftmax(1), (3, 4, 2)),
    (lambda: nn.LogSoftmax(-1), (3,)),
    (nn.PReLU, (3, 4, 2)),
    (lambda: nn.PReLU(3, init=0.4), (3, 4, 2)),
    (lambda: nn.PReLU(3), (3,)),
    (lambda: nn.LeakyReLU(0.3), (3, 4)),
    (lambda: nn.ELU(0.4), (3, 4)),
    (lambda: nn.Hardtanh(0, 2), (3, 4)),
    (nn.Hardtanh, (3, 4)),
    (nn.Softplus, (3, 4)),
    (lambda: nn.Threshold(0, 0), (3, 4)),
    (lambda: nn.ZeroPad2d((1, 2, 0, -1)), (3, 4, 5)),
    (lambda: nn.ZeroPad1d((-1, 2)), (3, 4)),
    (lambda: nn.ConstantPad2d(1, 0.0), (3, 4, 5)),
    (lambda: nn.Upsample(scale_factor=2), (3, 4, 5)),
    (lambda: nn.Upsample(scale_factor=(2, 3), mode="bilinear"), (3, 4, 5)),
    (lambda: nn.Upsample(size=(8, 5)), (3, 4, 5)),
    (lambda: nn.Upsample(scale_factor=3), (3, 4)),
    (lambda: nn.UpsamplingNearest2d(scale_factor=2), (3, 4, 5)),
    (nn.Identity, (3, 4, 5)),
    (lambda: modules.Permute((0, 2, 1)), (3, 4)),
    (lambda: modules.Reshape((6, 2)), (3, 4)),
]


def touched(module: Any) -> Any:
    """The module with parameters and statistics that are nowhere special."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.5)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
    return module


def compare_from_torch(module: Any, shape: tuple[int, ...], seed: int = 1) -> None:
    """In both data formats, from the module and, for the gradients, between two layers with weights."""
    x = np.random.default_rng(seed).standard_normal((SAMPLES, *shape)).astype(np.float32)
    size = int(np.prod(shape))
    held = nn.Sequential(nn.Linear(SAMPLES, size, bias=False), nn.Unflatten(1, shape), module, nn.Flatten())
    held[0].weight.data = torch.tensor(x.reshape(SAMPLES, size).T.copy())
    for data_format in ("channels_first", "channels_last"):
        with torch.no_grad():
            expected = module.eval()(torch.tensor(x)).numpy()
        model = from_torch(module, shape, data_format=data_format)
        last = data_format == "channels_last"
        found = model.predict(np.moveaxis(x, 1, -1) if last else x, verbose=0)
        close(np.moveaxis(found, -1, 1) if last else found, expected, data_format, 1e-5)
        model = from_torch(held, (SAMPLES,), data_format=data_format)
        same(model, held, np.eye(SAMPLES, dtype=np.float32))


@pytest.mark.parametrize(("make", "shape"), MODULES, ids=range(len(MODULES)))
def test_modules(make: Any, shape: Any) -> None:
    torch.manual_seed(0)
    compare_from_torch(touched(make()), shape)


def test_every_module_is_compared() -> None:
    """Those of torch.nn; ours come up in the layers' round trips."""
    compared = {type(part) for make, _ in MODULES for part in make().modules()}
    activations = {cls for cls, _ in __import__("fastcnn.torch.functions").torch.functions.MODULES.values()}
    random = {nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout}
    own = set(modules.all_modules().values())
    assert _READERS.keys() - own == (compared | activations | random | {nn.ConstantPad1d}) - {nn.Sequential} - own
    assert own <= _READERS.keys()


REFUSALS: list[tuple[Any, tuple[int, ...], str]] = [
    (lambda: nn.LSTM(3, 4), (5, 3), "from_torch: LSTM: module: expected one that .* received LSTM"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="reflect", padding=1), (3, 6, 6), "padding_mode: expected 'zeros'"),
    (lambda: nn.Conv2d(3, 4, 3, stride=2, dilation=2), (3, 9, 9), "dilation: expected 1"),
    (lambda: nn.Conv2d(3, 4, 3), (4, 9, 9), "input: expected 3 channels"),
    (lambda: nn.Conv2d(3, 4, 3), (3, 9), "input: expected samples of 3 axes"),
    (lambda: nn.ConvTranspose2d(4, 4, 3, groups=2), (4, 9, 9), "groups: expected 1"),
    (lambda: nn.MaxPool2d(2, dilation=2), (3, 8, 8), "dilation: expected 1"),
    (lambda: nn.MaxPool2d(2, return_indices=True), (3, 8, 8), "return_indices: expected False"),
    (lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), (3, 8, 8), "ceil_mode: expected False"),
    (lambda: nn.AvgPool2d(2, divisor_override=3), (3, 8, 8), "divisor_override: expected None"),
    (lambda: nn.BatchNorm2d(3, momentum=None), (3, 8, 8), "momentum: expected a number"),
    (lambda: nn.BatchNorm2d(3, track_running_stats=False), (3, 8, 8), "track_running_stats: expected True"),
    (lambda: nn.GELU("tanh"), (3,), "arguments: expected approximate='none', received approximate='tanh'"),
    (lambda: nn.CELU(2.0), (3,), "arguments: expected alpha=1.0"),
    (lambda: nn.Softplus(threshold=5), (3,), "threshold: expected at least 20"),
    (lambda: nn.Softmax(0), (3,), "dim: expected an axis of a sample"),
    (lambda: nn.Softmax(None), (3, 4), "dim: expected an axis of a sample"),
    (lambda: nn.Flatten(0), (3, 4), "start_dim: expected axes of a sample"),
    (lambda: nn.ConstantPad2d(1, 2.0), (3, 4, 4), "value: expected 0"),
    (lambda: nn.Upsample(scale_factor=1.5), (3, 4, 4), "scale_factor: expected whole factors"),
    (lambda: nn.Upsample(scale_factor=2, mode="bicubic"), (3, 4, 4), "mode: expected 'nearest' or 'bilinear'"),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (3, 4, 4), "align_corners"),
    (lambda: nn.Linear(3, 4).double(), (3,), "weight: expected a float32 tensor, received torch.float64"),
    (lambda: nn.LazyLinear(4), (3,), "module: expected one that"),
    (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), (3,), "module: expected one that"),
    (
        lambda: nn.Sequential(nn.Sequential(nn.ReLU(), nn.RReLU())),
        (3,),
        r"from_torch: 0\.1 \(RReLU\): module: expected",
    ),
]


@pytest.mark.parametrize(("make", "shape", "sentence"), REFUSALS, ids=[s for *_, s in REFUSALS])
def test_what_has_no_exact_counterpart_is_refused(make: Any, shape: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"from_torch.*{sentence.removeprefix('from_torch')}"):
        from_torch(make(), shape)


def test_hooks_are_refused() -> None:
    module = nn.Sequential(nn.ReLU())
    module[0].register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match="received ReLU with hooks"):
        from_torch(module, (3,))


def test_layers_written_in_python_are_refused() -> None:
    class Twice(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    class Narrow(layers.Dense):
        pass

    for layer in (Twice(name="twice"), Narrow(2, name="twice")):
        with pytest.raises(ValueError, match=r"to_torch: twice \(.*\): layer: expected one that torch.nn has an exact"):
            to_torch(keras.Sequential([keras.Input((3,)), layer]))


def test_refused_arguments() -> None:
    model = keras.Sequential([layers.Dense(2)])
    with pytest.raises(ValueError, match="to_torch: expected a built model"):
        to_torch(model)
    with pytest.raises(ValueError, match="to_torch: model: expected a Sequential model"):
        to_torch(layers.Dense(2))
    with pytest.raises(ValueError, match="from_torch: module: expected a torch.nn.Module"):
        from_torch(model, (3,))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from_torch: data_format: expected 'channels_first' or 'channels_last'"):
        from_torch(nn.ReLU(), (3,), data_format="NCHW")
    noisy = keras.Sequential([keras.Input((3, 4)), layers.AlphaDropout(0.1, noise_shape=(None, 1, 4))])
    with pytest.raises(ValueError, match="noise_shape: expected None"):
        to_torch(noisy)


def test_regularizers_are_named_in_a_warning() -> None:
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, kernel_regularizer="l2", name="penalized")])
    with pytest.warns(UserWarning, match="to_torch: the regularizers of penalized"):
        to_torch(model)


def test_images_go_in_and_out_as_pytorch_has_them_where_that_is_wanted() -> None:
    model = keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.UpSampling2D(),
        ]
    )
    random_weights(model)
    module = to_torch(model, data_format="channels_first")
    assert not any(isinstance(part, modules.Permute) for part in module)
    x = np.random.default_rng(0).random((2, 8, 6, 3)).astype(np.float32)
    with torch.no_grad():
        found = module(torch.tensor(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    close(found, model(x), "outputs", 1e-5)


def test_names_weights_and_seeds_stay() -> None:
    inner = keras.Sequential([layers.Dense(3, name="a.b"), layers.Dense(3, name="training")], name="inner")
    model = keras.Sequential([keras.Input((3,)), inner, layers.ReLU(name="append")])
    state = torch.get_rng_state()
    module = to_torch(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(module.state_dict()) == [
        "inner.a_b.weight",
        "inner.a_b.bias",
        "inner.training_2.weight",
        "inner.training_2.bias",
    ]
    before = model.get_weights()
    with torch.no_grad():
        module[0][0].weight.zero_()
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    again = from_torch(module, (3,))
    assert [layer.name for layer in again.layers] == ["inner_a_b", "inner_training_2", "append_2"]
    same(again, module, np.eye(3, dtype=np.float32))


def test_a_small_convolutional_network_trains_alike_on_both_sides() -> None:
    """Several steps of SGD: batch normalisation's statistics excepted, which PyTorch scales by n / (n - 1)."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.GroupNorm(3, 12), nn.SiLU(), nn.AvgPool2d(2)),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(12 * 3 * 3, 10),
    )
    rng = np.random.default_rng(2)
    x, y = rng.random((16, 1, 28, 28)).astype(np.float32), rng.random((16, 10)).astype(np.float32)
    models = [from_torch(module, (1, 28, 28), data_format=f) for f in ("channels_first", "channels_last")]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    for model in models:
        model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    module.train()
    for _ in range(5):
        optimizer.zero_grad()
        loss = ((module(torch.tensor(x)) - torch.tensor(y)) ** 2).mean()
        loss.backward()
        optimizer.step()
        for model in models:
            images = x if model is models[0] else x.transpose(0, 2, 3, 1)
            assert model.train_on_batch(images, y) == pytest.approx(loss.item(), rel=1e-4)
    for model in models:
        for ours, theirs in zip(
            from_torch(
                module, (1, 28, 28), data_format="channels_first" if model is models[0] else "channels_last"
            ).weights,
            model.weights,
        ):
            if "variance" not in ours.path:
                close(theirs.numpy(), ours.numpy(), ours.path, 1e-3)


@st.composite
def architectures(draw: Any) -> tuple[Any, tuple[int, ...]]:
    """A chain of random layers on images, in either data format."""
    chosen: list[Any] = []
    shape = (draw(st.integers(6, 12)), draw(st.integers(6, 12)), draw(st.integers(1, 4)))
    options = draw(st.sampled_from([{}, FIRST]))
    padding = st.sampled_from(["valid", "same"])
    size = st.integers(1, 3)
    activation = st.sampled_from(["relu", "gelu", "softmax", "tanh", None])
    for _ in range(draw(st.integers(1, 4))):
        chosen.append(
            draw(
                st.one_of(
                    st.builds(lambda f, k, s, p, a: layers.Conv2D(f, k, s, p, activation=a, **options),
                              st.integers(1, 6), size, size, padding, activation),
                    st.builds(lambda m, p: layers.DepthwiseConv2D(2, padding=p, depth_multiplier=m, **options), size, padding),
                    st.builds(lambda f, s, p: layers.Conv2DTranspose(f, 3, s, p, **options), size, size, padding),
                    st.builds(lambda k, s: layers.MaxPooling2D(k, s, "same", **options), size, size),
                    st.builds(lambda k, s: layers.AveragePooling2D(k, s, "same", **options), size, size),
                    st.builds(lambda a: layers.BatchNormalization(axis=a), st.sampled_from([1, -1])),
                    st.builds(lambda a: layers.LayerNormalization(axis=a), st.sampled_from([1, -1, [1, 2]])),
                    st.builds(layers.Permute, st.permutations([1, 2, 3])),
                    st.builds(lambda: layers.ZeroPadding2D(((1, 0), (0, 2)), **options)),
                    st.builds(layers.Activation, activation.filter(bool)),
                )
            )
        )  # fmt: skip
    ends = draw(
        st.sampled_from([[], [layers.Flatten(**options), layers.Dense(3)], [layers.GlobalMaxPooling2D(**options)]])
    )
    return [*chosen, *ends], shape


@settings(max_examples=40)
@given(architectures())
def test_random_architectures_come_through(drawn: tuple[Any, tuple[int, ...]]) -> None:
    chosen, shape = drawn
    names = [type(layer).__name__ for layer in chosen]
    for number, layer in enumerate(chosen):
        layer.name = f"{names[number].lower()}_{number}"
    try:
        model = keras.Sequential([keras.Input(shape), *chosen])
    except ValueError:
        return  # windows that do not fit
    random_weights(model)
    x = np.random.default_rng(1).standard_normal((3, *shape)).astype(np.float32)
    module = to_torch(model)
    expected = model(x)
    with torch.no_grad():
        close(module(torch.tensor(x)).numpy(), expected, str(names), 1e-5)
    again = from_torch(module, shape)
    close(again(x), expected, str(names), 1e-5)


def test_the_example_of_the_documentation_runs(project_root: Path) -> None:
    text = (project_root / "docs/pytorch.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)


def test_the_documentation_names_every_module(project_root: Path) -> None:
    text = (project_root / "docs/pytorch.md").read_text("utf-8")
    missing = [cls.__name__ for cls in _READERS if f"`{cls.__name__}`" not in text]
    assert missing == []
