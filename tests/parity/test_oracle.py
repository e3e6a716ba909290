"""The oracle against PyTorch in float64: what the kernels are tested against is itself right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch_images import pad_images

from fastcnn import _core

torch = pytest.importorskip("torch", reason='torch not installed: pip install ".[parity]"')
F = torch.nn.functional

REFERENCE = "reference"
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def tensor(x: Any, grad: bool = True) -> Any:
    return torch.tensor(x, dtype=torch.float64, requires_grad=grad)


def channels_first(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "dilation", "groups"),
    [
        ((3, 3), (1, 1), (1, 1), 1),
        ((1, 1), (2, 2), (1, 1), 1),
        ((5, 2), (2, 3), (1, 1), 1),
        ((3, 3), (1, 1), (2, 3), 1),
        ((3, 2), (2, 1), (1, 2), 3),
        ((3, 3), (2, 2), (1, 1), 6),
    ],
)
def test_convolution(rng: Any, kernel_size: Any, strides: Any, dilation: Any, groups: int, padding: str) -> None:
    x, kernel = tensor(rng.standard_normal((2, 9, 10, 6))), tensor(rng.standard_normal((*kernel_size, 6 // groups, 12)))
    bias = tensor(rng.standard_normal(12))
    padded = pad_images(channels_first(x), padding, kernel_size, strides, dilation)
    y = F.conv2d(padded, kernel.permute(3, 2, 0, 1), bias, strides, 0, dilation, groups).permute(0, 2, 3, 1)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    window = (strides, padding, dilation, groups)
    arrays = [a.detach().numpy() for a in (x, kernel, bias)]
    np.testing.assert_allclose(_core.conv2d(*arrays, *window, False, isa=REFERENCE), y.detach(), **CLOSE)
    np.testing.assert_allclose(_core.conv2d(*arrays, *window, True, isa=REFERENCE), y.detach().relu(), **CLOSE)
    dx = _core.conv2d_grad_input(dy, arrays[1], x.shape, *window, isa=REFERENCE)
    dkernel, dbias = _core.conv2d_grad_kernel(arrays[0], dy, kernel_size, *window, isa=REFERENCE)
    for actual, expected in [(dx, x.grad), (dkernel, kernel.grad), (dbias, bias.grad)]:
        np.testing.assert_allclose(actual, expected, **CLOSE)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool", "strides"), [((2, 2), (2, 2)), ((3, 2), (1, 2)), ((3, 3), (2, 2)), ((2, 2), (3, 3))])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling(rng: Any, kind: str, pool: Any, strides: Any, padding: str) -> None:
    x = tensor(rng.standard_normal((2, 7, 8, 3)))
    images = channels_first(x)
    if kind == "max":
        y = F.max_pool2d(pad_images(images, padding, pool, strides, value=-np.inf), pool, strides)
    else:  # the padding does not count: a sum divided by the number of pixels
        pixels = pad_images(torch.ones_like(images), padding, pool, strides)
        y = F.avg_pool2d(pad_images(images, padding, pool, strides), pool, strides) / F.avg_pool2d(
            pixels, pool, strides
        )
    y = y.permute(0, 2, 3, 1)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    window = (kind, pool, strides, padding)
    np.testing.assert_allclose(_core.pool2d(x.detach().numpy(), *window, isa=REFERENCE), y.detach(), **CLOSE)
    np.testing.assert_allclose(_core.pool2d_grad(x.detach().numpy(), dy, *window, isa=REFERENCE), x.grad, **CLOSE)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("pool", "strides"), [((2, 2), (2, 2)), ((3, 3), (2, 2))])
def test_convolution_under_a_max_pool(rng: Any, pool: Any, strides: Any, padding: str) -> None:
    x, kernel = tensor(rng.standard_normal((2, 9, 8, 3))), tensor(rng.standard_normal((3, 3, 3, 5)))
    bias = tensor(rng.standard_normal(5))
    z = F.conv2d(channels_first(x), kernel.permute(3, 2, 0, 1), bias, padding=1)
    y = F.max_pool2d(pad_images(z, padding, pool, strides, value=-np.inf), pool, strides).permute(0, 2, 3, 1)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    arrays = [a.detach().numpy() for a in (x, kernel, bias)]
    conv, pooling = ((1, 1), "same", (1, 1)), (pool, strides, padding)
    actual, argmax = _core.conv2d(*arrays, *conv, 1, False, *pooling, isa=REFERENCE)
    np.testing.assert_allclose(actual, y.detach(), **CLOSE)
    gradients = _core.pooled_conv2d_grad(*arrays[:2], dy, argmax, *conv, *pooling, isa=REFERENCE)
    for a, e in zip(gradients, (x.grad, kernel.grad, bias.grad)):
        np.testing.assert_allclose(a, e, **CLOSE)


def test_dense(rng: Any) -> None:
    x, kernel, bias = (tensor(rng.standard_normal(shape)) for shape in [(4, 6), (6, 5), (5,)])
    y = x @ kernel + bias
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    arrays = [a.detach().numpy() for a in (x, kernel, bias)]
    np.testing.assert_allclose(_core.dense(*arrays, False, isa=REFERENCE), y.detach(), **CLOSE)
    np.testing.assert_allclose(_core.dense_grad_input(dy, arrays[1], isa=REFERENCE), x.grad, **CLOSE)
    for a, e in zip(_core.dense_grad_kernel(arrays[0], dy, isa=REFERENCE), (kernel.grad, bias.grad)):
        np.testing.assert_allclose(a, e, **CLOSE)


@pytest.mark.parametrize("kind", ["relu", "sigmoid", "tanh", "softmax"])
def test_activation(rng: Any, kind: str) -> None:
    x = tensor(rng.standard_normal((3, 2, 7)) * 4)
    y = torch.softmax(x, -1) if kind == "softmax" else getattr(torch, kind)(x)
    dy = rng.standard_normal(y.shape)
    y.backward(torch.tensor(dy))
    actual = _core.activation(x.detach().numpy(), kind, isa=REFERENCE)
    np.testing.assert_allclose(actual, y.detach(), **CLOSE)
    np.testing.assert_allclose(_core.activation_grad(actual, dy, kind, isa=REFERENCE), x.grad, **CLOSE)


def torch_row_losses(kind: str, x: Any, target: Any, from_logits: bool, smoothing: float) -> Any:
    """The loss of each row as Keras defines it on PyTorch, label smoothing included."""
    if kind == "mean_squared_error":
        return (x - target).square().mean(-1)
    if kind == "mean_absolute_error":
        return (x - target).abs().mean(-1)
    if kind == "binary_crossentropy":
        target = target * (1 - smoothing) + smoothing / 2
        if from_logits:
            return F.binary_cross_entropy_with_logits(x, target, reduction="none").mean(-1)
        return F.binary_cross_entropy(x.clip(1e-7, 1 - 1e-7), target, reduction="none").mean(-1)
    log_p = F.log_softmax(x, -1) if from_logits else (x / x.sum(-1, keepdim=True)).clip(1e-7, 1 - 1e-7).log()
    if kind == "sparse_categorical_crossentropy":
        return -log_p.gather(-1, target[..., None])[..., 0]
    return -((target * (1 - smoothing) + smoothing / x.shape[-1]) * log_p).sum(-1)


@pytest.mark.parametrize("saturated", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        "binary_crossentropy",
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
        "mean_squared_error",
        "mean_absolute_error",
    ],
)
def test_loss(rng: Any, kind: str, from_logits: bool, smoothing: float, saturated: bool) -> None:
    values = rng.standard_normal((4, 3, 5)) * 3 if from_logits else rng.uniform(0.05, 0.95, (4, 3, 5))
    if saturated:  # where probabilities are clipped, and exponentials overflow
        values[0, 0, 0], values[1, 1, 1:4] = (800.0, -800.0) if from_logits else (1e-9, 1e-9)
    target = np.eye(5)[rng.integers(0, 5, (4, 3))]
    if kind == "sparse_categorical_crossentropy":
        target = rng.integers(0, 5, (4, 3)).astype(np.int32)
    weight = rng.uniform(0.5, 2, 4)
    x = tensor(values)
    labels = torch.tensor(target, dtype=torch.int64 if target.dtype == np.int32 else torch.float64)
    rows = torch_row_losses(kind, x, labels, from_logits, smoothing)
    total = (rows * torch.tensor(weight)[:, None]).sum()
    total.backward()
    settings = (kind, from_logits, 0.0 if target.dtype == np.int32 else smoothing)
    loss, gradient, _ = _core.loss(values, target, *settings, weight, 0.25, isa=REFERENCE)
    np.testing.assert_allclose(loss, total.item(), rtol=1e-9)
    np.testing.assert_allclose(gradient, 0.25 * x.grad, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(_core.row_losses(values, target, *settings, isa=REFERENCE), rows.detach(), rtol=1e-9)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (9, 2)])
def test_batch_normalisation(rng: Any, shape: tuple[int, ...]) -> None:
    x, gamma, beta = (
        tensor(rng.standard_normal(shape) + 3),
        tensor(rng.uniform(0.5, 2, shape[-1])),
        tensor(np.ones(shape[-1])),
    )
    y = F.batch_norm(x.reshape(-1, shape[-1]), None, None, gamma, beta, training=True, eps=1e-3).reshape(shape)
    dy = rng.standard_normal(shape)
    y.backward(torch.tensor(dy))
    values = x.detach().numpy()
    mean, m2 = _core.batch_norm_statistics(values, isa=REFERENCE)
    inv_std = 1 / np.sqrt(m2 / (values.size / shape[-1]) + 1e-3)
    scale = gamma.detach().numpy() * inv_std
    actual = _core.batch_norm(values, mean, scale, beta.detach().numpy(), isa=REFERENCE)
    np.testing.assert_allclose(actual, y.detach(), **CLOSE)
    dx, dbeta, dgamma = _core.batch_norm_grad(values, dy, mean, inv_std, scale, isa=REFERENCE)
    for a, e in [(dx, x.grad), (dgamma, gamma.grad), (dbeta, beta.grad)]:
        np.testing.assert_allclose(a, e, **CLOSE)


RATE = 0.05
# name: our rule, our hyper-parameters, PyTorch's class, its arguments
OPTIMIZERS: dict[str, tuple[str, dict[str, float], str, dict[str, Any]]] = {
    "sgd": ("sgd", {}, "SGD", {}),
    "momentum": ("sgd", {"momentum": 0.9}, "SGD", {"momentum": 0.9}),
    "nesterov": ("sgd", {"momentum": 0.9, "nesterov": 1}, "SGD", {"momentum": 0.9, "nesterov": True}),
    # PyTorch adds epsilon after the bias correction, Keras before it: with none both are the same rule.
    "adam": ("adam", {}, "Adam", {"betas": (0.9, 0.99), "eps": 0.0}),
    "adamw": ("adam", {"weight_decay": 0.1}, "AdamW", {"betas": (0.9, 0.99), "eps": 0.0, "weight_decay": 0.1}),
    # PyTorch adds epsilon to the square root, Keras under it: again with none.
    "rmsprop": ("rmsprop", {"rho": 0.9}, "RMSprop", {"alpha": 0.9, "eps": 0.0}),
    "centered": ("rmsprop", {"rho": 0.9, "centered": 1}, "RMSprop", {"alpha": 0.9, "eps": 0.0, "centered": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(rng: Any, name: str) -> None:
    kind, hyper, torch_name, torch_settings = OPTIMIZERS[name]
    param = rng.standard_normal(6)
    slots = {slot: np.zeros(6) for slot in "mvu"}
    expected = tensor(param.copy())
    optimizer = getattr(torch.optim, torch_name)([expected], lr=RATE, **torch_settings)
    for t in range(1, 6):
        gradient = rng.standard_normal(6)
        expected.grad = torch.tensor(gradient)
        optimizer.step()
        alpha = RATE * np.sqrt(1 - 0.99**t) / (1 - 0.9**t)
        settings = {"learning_rate": RATE, "alpha": alpha, "beta_1": 0.9, "beta_2": 0.99, **hyper}
        _core.optimizer_update(kind, param, gradient, slots, settings, isa=REFERENCE)
        np.testing.assert_allclose(param, expected.detach(), **CLOSE)
