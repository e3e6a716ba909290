"""Normalization layers."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from fastcnn import _core, _messages, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, sample_axes, serialize, with_trailing_axes
from fastcnn.variables import Variable


class BatchNormalization(Layer):
    """Normalizes each channel: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.

    While training, mean and variance are the batch's, and moving averages of them are kept; otherwise, and where
    `trainable` is False, they are those averages.

    Args:
        axis: the channels' axis (the batch is axis 0).
        momentum: weight of the old moving average, 0 <= momentum <= 1.
        epsilon: added to the variance, above 0.
        center: whether beta is added.
        scale: whether the result is multiplied by gamma.
        beta_initializer, gamma_initializer, moving_mean_initializer, moving_variance_initializer: first values.
        beta_regularizer, gamma_regularizer: penalties, or None.
        beta_constraint, gamma_constraint: what the weights are made to be after each step, or None.

    Input and output: (n, ..., channels). Weights: gamma, beta, moving_mean, moving_variance, each (channels,).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> layer = BatchNormalization(epsilon=1e-7)
        >>> np.round(layer(np.array([[1.0], [3.0]]), training=True), 3).tolist()
        [[-1.0], [1.0]]

    See https://keras.io/api/layers/normalization_layers/batch_normalization/.
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: None = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = "BatchNormalization"
        if not _messages.is_integer(axis):
            _messages.fail(kind, "axis", "an integer", axis)
        self.axis = int(axis)
        self.momentum = _messages.real(kind, "momentum", momentum, "a number from 0 to 1", 0.0, 1.0)
        self.epsilon = _messages.real(kind, "epsilon", epsilon, "a positive number", 1e-30)
        self.center = _messages.flag(kind, "center", center)
        self.scale = _messages.flag(kind, "scale", scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        _messages.only(kind, "renorm", renorm, (False,))
        _messages.only(kind, "renorm_clipping", renorm_clipping, (None,))
        self.renorm_momentum = renorm_momentum  # without effect where there is no renorm
        _messages.only(kind, "synchronized", synchronized, (False,))
        self.gamma: Variable | None = None
        self.beta: Variable | None = None
        self.moving_mean: Variable | None = None
        self.moving_variance: Variable | None = None

    def _channel_axis(self, rank: int) -> int:
        return sample_axes(self.name, self.axis, rank)[0]

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        if not sample:
            _messages.fail(self.name, "input", "a shape (batch, ..., channels)", tuple(input_shape))
        channels = sample[self._channel_axis(len(sample))]
        if self.moving_mean is not None and channels != self.moving_mean.shape[0]:
            expected = f"{self.moving_mean.shape[0]} channels, as the layer was built for"
            _messages.fail(self.name, "input", expected, channels)
        return sample

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates gamma, beta and the moving averages."""
        shape = (input_shape[self._channel_axis(len(input_shape))],)
        if self.scale:
            self.gamma = self.add_weight(
                shape,
                self.gamma_initializer,
                name="gamma",
                regularizer=self.gamma_regularizer,
                constraint=self.gamma_constraint,
            )
        if self.center:
            self.beta = self.add_weight(
                shape,
                self.beta_initializer,
                name="beta",
                regularizer=self.beta_regularizer,
                constraint=self.beta_constraint,
            )
        self.moving_mean = self.add_weight(shape, self.moving_mean_initializer, name="moving_mean", trainable=False)
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, name="moving_variance", trainable=False
        )

    def _mode(self) -> Hashable:
        return self.trainable

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the normalization."""
        arguments = {
            "gamma": parameters.add(self.gamma) if self.scale else -1,
            "beta": parameters.add(self.beta) if self.center else -1,
            "moving_mean": parameters.add(self.moving_mean),
            "moving_variance": parameters.add(self.moving_variance),
        }
        with_trailing_axes(
            graph,
            self.name,
            [self._channel_axis(len(graph.output_shape))],
            lambda: graph.batch_norm(
                self.name, momentum=self.momentum, epsilon=self.epsilon, frozen=not self.trainable, **arguments
            ),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": serialize(self.beta_initializer),
            "gamma_initializer": serialize(self.gamma_initializer),
            "moving_mean_initializer": serialize(self.moving_mean_initializer),
            "moving_variance_initializer": serialize(self.moving_variance_initializer),
            "beta_regularizer": serialize(self.beta_regularizer),
            "beta_constraint": serialize(self.beta_constraint),
            "gamma_regularizer": serialize(self.gamma_regularizer),
            "gamma_constraint": serialize(self.gamma_constraint),
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
            "synchronized": False,
        }
