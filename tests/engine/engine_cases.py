"""What the engine's tests share: the mission's network, data, and networks whose every number is also computed in double.

A `Chain` is described once. It gives the native network, and the same computation in float64, forward and backward,
put together from the oracle's operations (`isa="reference"`), which the kernels' tests compare with finite
differences and outside packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastcnn as keras
from fastcnn import _core, layers

Array = NDArray[Any]
Backward = Callable[[Array], Array]
REFERENCE = "reference"


def mission_layers() -> list[Any]:
    """The tutorial's binary network."""
    return [
        layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.MaxPooling2D((2, 2)),
        layers.Conv2D(64, (3, 3), activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(1, activation="sigmoid"),
    ]


def mission_model(seed: int = 1, optimizer: Any = "adam") -> Any:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(mission_layers())
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return model


def small_model(seed: int = 1) -> Any:
    """A convolutional network that is quick to train."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def images(samples: int, shape: tuple[int, ...] = (28, 28, 1), seed: int = 3) -> Array:
    return np.random.default_rng(seed).random((samples, *shape), dtype=np.float32)


def labels(samples: int, classes: int = 2, seed: int = 4) -> Array:
    return np.random.default_rng(seed).integers(0, classes, samples).astype(np.int32)


def run_python(
    program: str, *, timeout: float = 120, prefix: Sequence[str] = (), without: Sequence[str] = (), **variables: str
) -> str:
    """What `program` prints in a fresh interpreter; its failure is this test's, with all it printed."""
    environment = {key: value for key, value in os.environ.items() if key not in without}
    environment.update(variables)
    done = subprocess.run(
        [*prefix, sys.executable, "-c", textwrap.dedent(program)],
        env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Chain:
    """A chain of operations, built natively and computed in double.

    Args:
        input_shape: of one sample.
        seed: of the parameters' values.
    """

    def __init__(self, input_shape: tuple[int, ...], seed: int = 0) -> None:
        self.input_shape = input_shape
        self.graph = _core.Graph(input_shape)
        self.values: list[Array] = []
        self.trainable: list[bool] = []
        self._operations: list[Callable[[Reference, Array], tuple[Array, Backward]]] = []
        self._rng = np.random.default_rng(seed)
        self._dropouts = 0

    def _parameter(self, shape: tuple[int, ...], scale: float = 0.3, offset: float = 0.0, trained: bool = True) -> int:
        self.values.append((self._rng.standard_normal(shape) * scale + offset).astype(np.float32))
        self.trainable.append(trained)
        return len(self.values) - 1

    # --- operations: each appends to the graph and to the computation in double --------------------------------------

    def conv(
        self,
        filters: int,
        kernel_size: tuple[int, int] = (3, 3),
        strides: tuple[int, int] = (1, 1),
        padding: str = "valid",
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        bias: bool = True,
    ) -> Chain:
        channels = self.graph.output_shape[-1]
        k = self._parameter((*kernel_size, channels // groups, filters))
        b = self._parameter((filters,)) if bias else -1
        self.graph.conv2d(
            "conv", filters=filters, kernel_size=kernel_size, strides=strides, padding=padding, dilation_rate=dilation,
            groups=groups, kernel=k, bias=b,
        )  # fmt: skip

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            settings = (strides, padding, dilation, groups)
            y = _core.conv2d(x, r.values[k], r.values[b] if bias else None, *settings, False, isa=REFERENCE)

            def backward(dy: Array) -> Array:
                dk, db = _core.conv2d_grad_kernel(x, dy, kernel_size, *settings, isa=REFERENCE)
                r.gradients[k] = dk
                if bias:
                    r.gradients[b] = db
                return _core.conv2d_grad_input(dy, r.values[k], x.shape, *settings, isa=REFERENCE)

            return y, backward

        self._operations.append(run)
        return self

    def pool(
        self,
        kind: str = "max",
        size: tuple[int, int] = (2, 2),
        strides: tuple[int, int] | None = None,
        padding: str = "valid",
    ) -> Chain:
        strides = strides or size
        self.graph.pool2d("pool", kind=kind, pool_size=size, strides=strides, padding=padding)

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            settings = (kind, size, strides, padding)
            y = _core.pool2d(x, *settings, isa=REFERENCE)
            return y, lambda dy: _core.pool2d_grad(x, dy, *settings, isa=REFERENCE)

        self._operations.append(run)
        return self

    def global_pool(self, kind: str) -> Chain:
        size = self.graph.output_shape[:2]
        self.graph.global_pool2d("global_pool", kind=kind, keepdims=False)

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            y = _core.pool2d(x, kind, size, (1, 1), "valid", isa=REFERENCE)

            def backward(dy: Array) -> Array:
                return _core.pool2d_grad(x, dy.reshape(y.shape), kind, size, (1, 1), "valid", isa=REFERENCE)

            return y.reshape(len(x), -1), backward

        self._operations.append(run)
        return self

    def dense(self, units: int, bias: bool = True) -> Chain:
        inputs = self.graph.output_shape[-1]
        k = self._parameter((inputs, units))
        b = self._parameter((units,)) if bias else -1
        self.graph.dense("dense", units=units, kernel=k, bias=b)

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            rows = x.reshape(-1, inputs)
            y = _core.dense(rows, r.values[k], r.values[b] if bias else None, False, isa=REFERENCE)

            def backward(dy: Array) -> Array:
                dy = dy.reshape(-1, units)
                dk, db = _core.dense_grad_kernel(rows, dy, isa=REFERENCE)
                r.gradients[k] = dk
                if bias:
                    r.gradients[b] = db
                return _core.dense_grad_input(dy, r.values[k], isa=REFERENCE).reshape(x.shape)

            return y.reshape(*x.shape[:-1], units), backward

        self._operations.append(run)
        return self

    def activation(self, kind: str) -> Chain:
        self.graph.activation("activation", kind=kind)

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            y = _core.activation(x, kind, isa=REFERENCE)
            return y, lambda dy: _core.activation_grad(y, dy, kind, isa=REFERENCE)

        self._operations.append(run)
        return self

    def reshape(self, *target: int) -> Chain:
        shape = self.graph.reshape("reshape", target_shape=target or (-1,))

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            return x.reshape(len(x), *shape), lambda dy: dy.reshape(x.shape)

        self._operations.append(run)
        return self

    def dropout(self, rate: float, seed: int = 99) -> Chain:
        self.graph.dropout("dropout", rate=rate, seed=seed)
        position = self._dropouts
        self._dropouts += 1

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            def mask(a: Array) -> Array:
                if rate == 0:
                    return a  # no step of the plan, hence no number
                return _core.dropout(a, rate, seed, r.dropout_steps[position], r.step, isa=REFERENCE)

            return mask(x), mask

        self._operations.append(run)
        return self

    def batch_norm(self, center: bool = True, scale: bool = True, epsilon: float = 1e-3, frozen: bool = False) -> Chain:
        shape = (self.graph.output_shape[-1],)
        g = self._parameter(shape, offset=1.0) if scale else -1
        b = self._parameter(shape) if center else -1
        m = self._parameter(shape, trained=False)
        v = self._parameter(shape, scale=0.1, offset=1.0, trained=False)
        self.graph.batch_norm(
            "batch_norm",
            gamma=g,
            beta=b,
            moving_mean=m,
            moving_variance=v,
            momentum=0.9,
            epsilon=epsilon,
            frozen=frozen,
        )

        def run(r: Reference, x: Array) -> tuple[Array, Backward]:
            rows = x.reshape(-1, shape[0])
            gamma = r.values[g] if scale else np.ones(shape)
            beta = r.values[b] if center else np.zeros(shape)
            mean, variance = (r.values[m], r.values[v]) if frozen else (rows.mean(axis=0), rows.var(axis=0))
            inv_std = 1 / np.sqrt(variance + epsilon)
            normal = (rows - mean) * inv_std

            def backward(dy: Array) -> Array:
                dy = dy.reshape(rows.shape)
                if scale:
                    r.gradients[g] = (dy * normal).sum(axis=0)
                if center:
                    r.gradients[b] = dy.sum(axis=0)
                if frozen:
                    return (dy * gamma * inv_std).reshape(x.shape)
                inner = dy - dy.mean(axis=0) - normal * (dy * normal).mean(axis=0)
                return (gamma * inv_std * inner).reshape(x.shape)

            return (normal * gamma + beta).reshape(x.shape), backward

        self._operations.append(run)
        return self

    # --- what it gives -----------------------------------------------------------------------------------------------

    def network(self) -> tuple[Any, Any]:
        """(Network, Parameters) with this chain's values."""
        parameters = _core.Parameters([value.shape for value in self.values])
        for index, value in enumerate(self.values):
            parameters.assign(index, value)
        return _core.Network(self.graph, [(parameters, index) for index in range(len(self.values))]), parameters

    def trainer(
        self,
        loss: dict[str, Any],
        optimizer: Any = None,
        metrics: Sequence[dict[str, Any]] = (),
        regularizers: Sequence[tuple[float, float]] | None = None,
        trainable: Sequence[bool] | None = None,
    ) -> tuple[Any, Any]:
        """(Trainer, Parameters); `optimizer`: Updater's description, or an Updater."""
        network, parameters = self.network()
        penalties = regularizers or [(0.0, 0.0)] * len(self.values)
        flags = self.trainable if trainable is None else trainable
        return _core.Trainer(network, loss, metrics, self.updater(optimizer, flags), penalties, flags), parameters

    def updater(self, optimizer: Any, flags: Sequence[bool]) -> Any:
        """Updater of the trained parameters, None where there is no optimizer."""
        if optimizer is None or isinstance(optimizer, _core.Updater):
            return optimizer
        shapes = [value.shape for value, flag in zip(self.values, flags) if flag]
        return _core.Updater({"weight_decay": [0.0] * len(shapes), **optimizer}, shapes)


class Reference:
    """One run of a chain in double.

    Args:
        chain: the chain.
        values: its parameters; the chain's own by default.
        dropout_steps: numbers of the plan's dropout steps, in order: they key the random numbers.
        step: the optimizer's step, which keys them too.
    """

    def __init__(
        self, chain: Chain, values: Sequence[Array] | None = None, dropout_steps: Sequence[int] = (), step: int = 0
    ) -> None:
        self.chain = chain
        self.values = [np.asarray(v, np.float64) for v in (chain.values if values is None else values)]
        self.gradients: dict[int, Array] = {}
        self.dropout_steps = dropout_steps
        self.step = step
        self._backward: list[Backward] = []

    def forward(self, x: Array) -> Array:
        """The chain's output in training mode."""
        y = np.asarray(x, np.float64)
        self._backward = []
        for operation in self.chain._operations:
            y, backward = operation(self, np.ascontiguousarray(y))
            self._backward.append(backward)
        return y

    def loss(self, x: Array, y: Array, loss: dict[str, Any], weight: Array | None = None) -> float:
        """Mean loss of the batch; also every parameter's gradient, in `gradients`."""
        prediction = np.ascontiguousarray(self.forward(x))
        target = y if y.dtype == np.int32 else np.asarray(y, np.float64).reshape(prediction.shape)
        count = prediction.size // prediction.shape[-1]
        weights = None if weight is None else np.asarray(weight, np.float64)
        total, gradient, _ = _core.loss(
            prediction, target, loss["kind"], loss.get("from_logits", False), loss.get("label_smoothing", 0.0), weights,
            1.0 / count, isa=REFERENCE,
        )  # fmt: skip
        for backward in reversed(self._backward):
            gradient = backward(np.ascontiguousarray(gradient))
        return total / count


def relative_error(actual: Array, expected: Array) -> float:
    """Distance in the L2 norm, relative to `expected`."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    return float(np.linalg.norm(actual - expected) / max(float(np.linalg.norm(expected)), 1e-12))
