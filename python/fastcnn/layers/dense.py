"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages, activations, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.activation import append_activation, native_activation
from fastcnn.layers.layer import Layer, serialize
from fastcnn.variables import Variable


class Dense(Layer):
    """Fully connected layer over the last axis: y = activation(x kernel + bias).

    Args:
        units: number of outputs.
        activation: name or function of `fastcnn.activations`, None for none.
        use_bias: whether a bias is added.
        kernel_initializer, bias_initializer: first values of the weights.
        kernel_regularizer, bias_regularizer: penalties on the weights, or None.
        kernel_constraint, bias_constraint: what the weights are made to be after each step, or None.

    Input: (n, ..., features). Output: (n, ..., units). Weights: kernel (features, units), bias (units,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Dense(3, kernel_initializer="ones")(np.ones((1, 2))).tolist()
        [[2.0, 2.0, 2.0]]

    See https://keras.io/api/layers/core_layers/dense/.
    """

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        quantization_config: None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = _messages.integer("Dense", "units", units)
        self.activation = activations.get(activation)
        self._native = native_activation("Dense", activation)
        self.use_bias = _messages.flag("Dense", "use_bias", use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        _messages.only("Dense", "lora_rank", lora_rank, (None,))
        _messages.only("Dense", "lora_alpha", lora_alpha, (None,))
        _messages.only("Dense", "quantization_config", quantization_config, (None,))
        self.kernel: Variable | None = None
        self.bias: Variable | None = None

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        if not sample:
            _messages.fail(self.name, "input", "a shape (batch, ..., features)", tuple(input_shape))
        if self.kernel is not None and sample[-1] != self.kernel.shape[0]:
            expected = f"{self.kernel.shape[0]} features, as the layer was built for"
            _messages.fail(self.name, "input", expected, sample[-1])
        return sample

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates kernel and bias."""
        self.kernel = self.add_weight(
            (input_shape[-1], self.units),
            self.kernel_initializer,
            name="kernel",
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,),
                self.bias_initializer,
                name="bias",
                regularizer=self.bias_regularizer,
                constraint=self.bias_constraint,
            )

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the product and its activation."""
        kernel = parameters.add(self.kernel)
        bias = parameters.add(self.bias) if self.use_bias else -1
        graph.dense(self.name, units=self.units, kernel=kernel, bias=bias)
        append_activation(graph, self.name, self._native)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": serialize(self.kernel_initializer),
            "bias_initializer": serialize(self.bias_initializer),
            "kernel_regularizer": serialize(self.kernel_regularizer),
            "kernel_constraint": serialize(self.kernel_constraint),
            "bias_regularizer": serialize(self.bias_regularizer),
            "bias_constraint": serialize(self.bias_constraint),
            "quantization_config": None,
        }
