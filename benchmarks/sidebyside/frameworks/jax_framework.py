"""JAX at its best: compiled steps with donated state, one by one or a whole epoch in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidebyside.cases import Inference
from sidebyside.frameworks.base import Epoch, Framework, Weights
from sidebyside.networks import (
    ADAM,
    LEARNING_RATE,
    NETWORKS,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Floats,
    Network,
    Norm,
    Pool,
)


class JaxFramework(Framework):
    """Training in four variants: a step or an epoch is compiled; pooling by reduce_window, or by reshape.

    The gradient of reduce_window is slow on CPUs. That of the reshaped maximum is shared out where values are equal, which
    after ReLU happens at zeros alone, whose gradient ReLU drops. Networks with normalisation or dropout are left out.
    """

    def __init__(self, threads: int) -> None:
        # XLA takes as many threads as the process may use cores: the worker has limited those.
        import jax

        jax.config.update("jax_platforms", "cpu")
        self._jax = jax

    def versions(self) -> dict[str, str]:
        import jaxlib

        return {"jax": self._jax.__version__, "jaxlib": jaxlib.__version__}

    def own(self, array: NDArray[np.float32]) -> Any:
        return self._jax.device_put(array)

    def training_variants(self, network: Network) -> Sequence[str]:
        if network.has(Norm, Dropout):
            return ()
        return ("step, reduce_window", "step, reshape", "epoch, reduce_window", "epoch, reshape")

    def _logits(self, network: Network, pooling: str) -> Callable[[Any, Any], Any]:
        jax = self._jax
        lax = jax.lax

        def pool(x: Any) -> Any:
            if pooling == "reduce_window":
                return lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            n, h, w, c = x.shape
            return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max((2, 4))

        def logits(parameters: Any, x: Any) -> Any:
            for layer, arrays in zip(network.layers, parameters, strict=True):
                match layer:
                    case Conv():
                        x = lax.conv_general_dilated(
                            x, arrays[0], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
                        )
                        x = x + arrays[1]
                    case Dense():
                        x = x @ arrays[0] + arrays[1]
                    case Pool():
                        x = pool(x)
                    case Flatten():
                        x = x.reshape(len(x), -1)
                if isinstance(layer, Conv | Dense) and layer.activation == "relu":
                    x = jax.nn.relu(x)
            return x[:, 0]

        return logits

    def _step(self, network: Network, pooling: str) -> Callable[[Any, Any, Any], Any]:
        jax = self._jax
        jnp, tree_map = jax.numpy, jax.tree_util.tree_map
        beta1, beta2, epsilon = ADAM["beta_1"], ADAM["beta_2"], ADAM["epsilon"]
        logits_of = self._logits(network, pooling)

        def loss_and_correct(parameters: Any, x: Any, y: Any) -> Any:
            z = logits_of(parameters, x)
            loss = jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))
            return loss, jnp.sum((z > 0) == (y > 0.5))

        def step(state: Any, x: Any, y: Any) -> Any:
            parameters, m, v, t, total, correct = state
            (loss, right), gradient = jax.value_and_grad(loss_and_correct, has_aux=True)(parameters, x, y)
            t = t + 1
            m = tree_map(lambda a, g: a + (g - a) * (1 - beta1), m, gradient)
            v = tree_map(lambda a, g: a + (g * g - a) * (1 - beta2), v, gradient)
            rate = LEARNING_RATE * jnp.sqrt(1 - beta2**t) / (1 - beta1**t)
            parameters = tree_map(lambda p, a, b: p - rate * a / (jnp.sqrt(b) + epsilon), parameters, m, v)
            return parameters, m, v, t, total + loss * len(x), correct + right

        return step

    def epoch(self, variant: str, network: Network, weights: Weights, batch_size: int) -> Epoch:
        jax = self._jax
        jnp = jax.numpy
        unit, pooling = variant.split(", ")
        plain_step = self._step(network, pooling)

        def gathered(state: Any, x: Any, y: Any, rows: Any) -> Any:
            return plain_step(state, x[rows], y[rows])

        def scanned(state: Any, x: Any, y: Any, order: Any) -> Any:
            return jax.lax.scan(lambda s, rows: (gathered(s, x, y, rows), None), state, order)[0]

        step = jax.jit(gathered, donate_argnums=0)
        steps = jax.jit(scanned, donate_argnums=0)
        parameters = jax.tree_util.tree_map(jnp.array, weights)
        zeros = jax.tree_util.tree_map(jnp.zeros_like, parameters)
        slots = [parameters, zeros, jax.tree_util.tree_map(jnp.copy, zeros), jnp.float32(0)]
        rng = np.random.default_rng(0)

        def run(x: Any, y: Any) -> float:
            order = rng.permutation(len(x)).astype(np.int32)
            whole = len(x) // batch_size * batch_size
            batches = order[:whole].reshape(-1, batch_size)
            state: Any = (*slots, jnp.float32(0), jnp.int32(0))
            if unit == "epoch":
                state = steps(state, x, y, batches)
            else:
                for rows in batches:
                    state = step(state, x, y, rows)
            if whole < len(x):
                state = step(state, x, y, order[whole:])
            slots[:] = state[:4]
            int(state[5])
            return float(state[4]) / len(x)

        return run

    def inference_variants(self, case: Inference) -> Sequence[str]:
        return () if NETWORKS[case.network].has(Norm) else ("reduce_window", "reshape")

    def inference(
        self, variant: str, network: Network, weights: Weights, case: Inference, x: Floats
    ) -> Callable[[], Any]:
        jax = self._jax
        jnp = jax.numpy
        logits_of = self._logits(network, variant)
        parameters = jax.tree_util.tree_map(jnp.array, weights)
        probabilities = jax.jit(lambda parameters, x: jax.nn.sigmoid(logits_of(parameters, x))[:, None])
        batches = [self.own(x[i : i + case.batch_size]) for i in range(0, len(x), case.batch_size)]
        if len(batches) == 1:
            return lambda: probabilities(parameters, batches[0]).block_until_ready()
        return lambda: np.concatenate([probabilities(parameters, batch) for batch in batches])
