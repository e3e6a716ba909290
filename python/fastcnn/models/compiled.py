"""What `compile` was given: loss, metrics and optimizer, and the native trainer that runs them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages, constraints, losses, metrics, optimizers, regularizers
from fastcnn._network import BuiltNetwork
from fastcnn.data.arrays import SIGNED_LOSSES, SPARSE_LOSSES, Dataset


class BoundMetric:
    """One metric, the name its logs get, and whether sample weights count.

    It is computed natively where it has a kernel that can read the labels as the loss of `loss_kind` needs them.
    """

    def __init__(self, metric: Any, name: str, weighted: bool, loss_kind: str | None) -> None:
        self.metric = metric
        self.name = name
        self.weighted = weighted
        native = metric.native()
        if native is not None and not _reads_labels_of(loss_kind, native.get("loss", native)["kind"]):
            native = None
        self.native: dict[str, Any] | None = None if native is None else {**native, "weighted": weighted}


def _reads_labels_of(loss_kind: str | None, metric_kind: str) -> bool:
    if loss_kind == "host" or loss_kind in SIGNED_LOSSES:
        return False
    return metric_kind.startswith("sparse_categorical") == (loss_kind in SPARSE_LOSSES)


class Logs:
    """Sums over the steps of an epoch, and the logs they give."""

    def __init__(self, bound: Sequence[BoundMetric]) -> None:
        self._bound = bound
        self._native = [m for m in bound if m.native is not None]
        self._python = [m for m in bound if m.native is None]
        self._loss = 0.0
        self._weight = 0.0
        for m in bound:
            m.metric.reset_state()

    def get_state(self) -> dict[str, Any]:
        """The sums, as plain data."""
        from fastcnn.callbacks.state import of_metrics

        return {"loss": self._loss, "weight": self._weight, "metrics": of_metrics([m.metric for m in self._bound])}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `get_state` returned."""
        from fastcnn.callbacks.state import restore_metrics

        self._loss, self._weight = float(state["loss"]), float(state["weight"])
        restore_metrics([m.metric for m in self._bound], state["metrics"])

    @property
    def needs_outputs(self) -> bool:
        """Whether a metric is computed in Python, from the model's outputs."""
        return bool(self._python)

    def add(self, sums: Mapping[str, Any]) -> None:
        """Adds what one native call returned."""
        self._loss += sums["loss"]
        self._weight += sums["loss_weight"]
        for m, (total, count) in zip(self._native, sums["metrics"]):
            m.metric.update_native(total, count)

    def add_outputs(
        self, data: Dataset, rows: slice | NDArray[np.int64], outputs: NDArray[np.float32], batch_size: int
    ) -> None:
        """Feeds the Python metrics batch by batch: a function's mean over a batch is one value, as in Keras."""
        labels = data.labels[rows]
        weights = None if data.sample_weight is None else data.sample_weight[rows]
        for begin in range(0, len(outputs), batch_size):
            batch = slice(begin, min(begin + batch_size, len(outputs)))
            for m in self._python:
                weight = weights[batch] if m.weighted and weights is not None else None
                if weight is not None and weight.ndim == 2:  # by position
                    weight = weight.reshape(len(weight), *outputs.shape[1:-1])
                m.metric.update_state(labels[batch], outputs[batch], sample_weight=weight)

    def values(self) -> dict[str, float]:
        """Loss and metrics so far, the loss first."""
        found = {"loss": self._loss / self._weight if self._weight else 0.0}
        for m in self._bound:
            found[m.name] = float(m.metric.result())
        return found

    def sorted(self) -> dict[str, float]:
        """Loss and metrics in the order of their names, as Keras's logs have them."""
        return dict(sorted(self.values().items()))


class Compiled:
    """Loss, metrics and optimizer of a model.

    Args:
        optimizer, loss, metrics, weighted_metrics: as `Sequential.compile` takes them.
        output_shape: one sample's output, where the model is built.

    Raises:
        ValueError: an unknown name, or an object of another kind.
    """

    def __init__(
        self, optimizer: Any, loss: Any, metric_list: Any, weighted_metrics: Any, output_shape: tuple[int, ...] | None
    ) -> None:
        found = optimizers.get(optimizer)
        if found is None:
            _messages.fail("compile", "optimizer", "the name of an optimizer or an object of fastcnn.optimizers", None)
        self.optimizer = found
        self.arguments = {
            "optimizer": found, "loss": loss, "metrics": metric_list, "weighted_metrics": weighted_metrics
        }  # fmt: skip
        self.loss = None if loss is None else losses.get(loss)
        self.loss_config: dict[str, Any] | None = None if self.loss is None else self.loss.native()
        self._identifiers = [(m, False) for m in _as_list("metrics", metric_list)]
        self._identifiers += [(m, True) for m in _as_list("weighted_metrics", weighted_metrics)]
        self._bound: list[BoundMetric] | None = None
        self._bound_shape: tuple[int, ...] | None = None
        # Before the model is built the output's shape is a guess, good enough to refuse unknown names now.
        self._bind(output_shape or (1,), keep=output_shape is not None)
        if output_shape is not None:
            self.check_output(output_shape)

    @property
    def loss_kind(self) -> str:
        """The loss's native name."""
        assert self.loss_config is not None
        return str(self.loss_config["kind"])

    def check_output(self, output_shape: tuple[int, ...]) -> None:
        """Refuses a loss that no label could satisfy for the model's output."""
        if self.loss_config is None:
            return
        if self.loss_kind in ("categorical_crossentropy", "sparse_categorical_crossentropy") and output_shape[-1] < 2:
            expected = f"a model with at least 2 outputs for {self.loss_kind} (one output: binary_crossentropy)"
            _messages.fail("compile", "loss", expected, (None, *output_shape))

    def metrics(self, output_shape: tuple[int, ...]) -> list[BoundMetric]:
        """The metrics for a model of `output_shape`, names made unique as in Keras."""
        if self._bound is None or self._bound_shape != output_shape:
            self._bind(output_shape, keep=True)
        assert self._bound is not None
        return self._bound

    def names(self) -> list[str]:
        """The names of loss and metrics, in the order of `evaluate`'s list."""
        bound = self._bound if self._bound is not None else self._bind((1,), keep=False)
        return ["loss", *(m.name for m in bound)]

    def _bind(self, output_shape: tuple[int, ...], keep: bool) -> list[BoundMetric]:
        found: list[BoundMetric] = []
        used: Counter[str] = Counter()
        for identifier, weighted in self._identifiers:
            metric = metrics.get(identifier, loss=self.loss, output_shape=(None, *output_shape))
            if metric is None:
                _messages.fail("compile", "metrics", "names, objects or functions", None)
            name = metric.name
            if used[name] and weighted:
                name = f"weighted_{name}"
            used[name] += 1
            if used[name] > 1:
                name = f"{name}_{used[name] - 1}"
            kind = None if self.loss_config is None else self.loss_kind
            found.append(BoundMetric(metric, name, weighted, kind))
        if keep:
            self._bound, self._bound_shape = found, output_shape
        return found


class NativeTrainer:
    """The native trainer of one network. The optimizer has its state.

    Args:
        network: the network to train.
        compiled: loss, metrics and optimizer.
        trainable: the variables that are trained; their penalties count too, others' do not, as in Keras.
    """

    def __init__(
        self,
        network: BuiltNetwork,
        compiled: Compiled,
        trainable: Sequence[Any],
    ) -> None:
        self.network = network
        self.compiled = compiled
        self.metrics = compiled.metrics(network.output_shape)
        self.flags = trainable_flags(network, trainable)
        assert compiled.loss_config is not None
        self.updater = compiled.optimizer.updater([v for v, flag in zip(network.variables, self.flags) if flag])
        self.native = _core.Trainer(
            network.native,
            compiled.loss_config,
            [m.native for m in self.metrics if m.native is not None],
            self.updater,
            [_penalty(v) if flag else (0.0, 0.0) for v, flag in zip(network.variables, self.flags)],
            self.flags,
            [constraints.native(v) for v in network.variables] if any(v.constraint for v in network.variables) else [],
        )

    def serves(self, network: BuiltNetwork, compiled: Compiled, trainable: Sequence[Any]) -> bool:
        """Whether this trainer is the one for these arguments."""
        return (
            self.network is network
            and self.compiled is compiled
            and self.metrics is compiled.metrics(network.output_shape)
            and self.flags == trainable_flags(network, trainable)
            and self.updater is compiled.optimizer._updater
        )

    def rates(self, steps: int) -> NDArray[np.float64]:
        """The learning rates for the next `steps`."""
        return self.compiled.optimizer.rates(steps)


def trainable_flags(network: BuiltNetwork, trainable: Sequence[Any]) -> list[bool]:
    """For each of the network's variables, whether it is trained."""
    trained = {id(v) for v in trainable}
    return [id(v) in trained for v in network.variables]


def _penalty(variable: Any) -> Any:
    """What the native trainer takes for a variable's regularizer."""
    regularizer = variable.regularizer
    if regularizer is None:
        return (0.0, 0.0)
    if regularizer._is_native():
        return float(regularizer.l1), float(regularizer.l2)
    return regularizers.HostPenalty(regularizer, variable.path)


def _as_list(argument: str, value: Any) -> list[Any]:
    """The metrics of a model with one output: a list, possibly inside another."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        _messages.fail("compile", argument, "a list of metrics", value)
    if len(value) == 1 and isinstance(value[0], (list, tuple)):
        value = value[0]
    return list(value)
