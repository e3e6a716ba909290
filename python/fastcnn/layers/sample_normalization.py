"""Normalization layers that look at one sample at a time, and work alike while training and afterwards."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages, constraints, initializers, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, sample_axes, serialize, with_trailing_axes
from fastcnn.variables import Variable


class ScaledNormalization(Layer):
    """What normalizations with gamma and beta share.

    See https://keras.io/api/layers/normalization_layers/.
    """

    def __init__(
        self,
        axis: Any,
        epsilon: float,
        center: bool,
        scale: bool,
        beta_initializer: Any,
        gamma_initializer: Any,
        beta_regularizer: Any,
        gamma_regularizer: Any,
        beta_constraint: Any,
        gamma_constraint: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        kind = type(self).__name__
        sample_axes(kind, axis, 64)  # whether these are integers; which there are is known when it is built
        self.axis = int(axis) if _messages.is_integer(axis) else list(axis)
        self.epsilon = _messages.real(kind, "epsilon", epsilon, "a positive number", 1e-30)
        self.center = _messages.flag(kind, "center", center)
        self.scale = _messages.flag(kind, "scale", scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)
        self.gamma: Variable | None = None
        self.beta: Variable | None = None

    def _parameter_shape(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sample[axis] for axis in sample_axes(self.name, self.axis, len(sample)))

    def _sample_shape(self, input_shape: Any, operation: str) -> tuple[int, ...]:
        sample = super()._sample_shape(input_shape, operation)
        shape = self._parameter_shape(sample)
        for variable in (self.gamma, self.beta):
            if variable is not None and variable.shape != shape:
                expected = f"sizes {variable.shape} along axis {self.axis}, as the layer was built for"
                _messages.fail(self.name, "input", expected, shape)
        return sample

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates gamma and beta."""
        shape = self._parameter_shape(input_shape)
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

    def _indices(self, parameters: ParameterList) -> dict[str, int]:
        gamma = parameters.add(self.gamma) if self.scale else -1
        return {"gamma": gamma, "beta": parameters.add(self.beta) if self.center else -1}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": serialize(self.beta_initializer),
            "gamma_initializer": serialize(self.gamma_initializer),
            "beta_regularizer": serialize(self.beta_regularizer),
            "beta_constraint": serialize(self.beta_constraint),
            "gamma_regularizer": serialize(self.gamma_regularizer),
            "gamma_constraint": serialize(self.gamma_constraint),
        }


class LayerNormalization(ScaledNormalization):
    """Normalizes each sample over some axes: y = gamma (x - mean) / sqrt(variance + epsilon) + beta.

    Args:
        axis: the axis, or several that are taken together (the batch is axis 0).
        epsilon: added to the variance, above 0.
        center: whether beta is added.
        scale: whether the result is multiplied by gamma.
        beta_initializer, gamma_initializer: first values.
        beta_regularizer, gamma_regularizer: penalties, or None.
        beta_constraint, gamma_constraint: what the weights are made to be after each step, or None.

    Weights: gamma and beta, of the axes' sizes.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> np.round(LayerNormalization(epsilon=1e-7)(np.array([[1.0, 3.0]])), 3).tolist()
        [[-1.0, 1.0]]

    See https://keras.io/api/layers/normalization_layers/layer_normalization/ and https://arxiv.org/abs/1607.06450.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        _messages.only("LayerNormalization", "rms_scaling", kwargs.pop("rms_scaling", False), (False,))
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the normalization."""
        axes, indices = sample_axes(self.name, self.axis, len(graph.output_shape)), self._indices(parameters)
        with_trailing_axes(
            graph,
            self.name,
            axes,
            lambda: graph.normalize(self.name, kind="standard", axes=len(axes), epsilon=self.epsilon, **indices),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "rms_scaling": False}


class GroupNormalization(ScaledNormalization):
    """Normalizes each sample's groups of channels, each over all positions and the group's channels.

    Args:
        groups: number of groups, a divisor of the channels; -1 for as many as channels (instance normalization).
        axis: the channels' axis (the batch is axis 0).
        epsilon: added to the variance, above 0.
        center: whether beta is added.
        scale: whether the result is multiplied by gamma.
        beta_initializer, gamma_initializer: first values.
        beta_regularizer, gamma_regularizer: penalties, or None.
        beta_constraint, gamma_constraint: what the weights are made to be after each step, or None.

    Weights: gamma and beta, (channels,).

    Raises:
        ValueError: an argument outside its range; or, when built, channels that are no multiple of the groups.

    Example:
        >>> import numpy as np
        >>> np.round(GroupNormalization(2, epsilon=1e-7)(np.array([[1.0, 3.0, 10.0, 30.0]])), 3).tolist()
        [[-1.0, 1.0, -1.0, 1.0]]

    See https://keras.io/api/layers/normalization_layers/group_normalization/ and https://arxiv.org/abs/1803.08494.
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ) -> None:
        if not _messages.is_integer(axis):
            _messages.fail("GroupNormalization", "axis", "an integer", axis)
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer, gamma_regularizer,
            beta_constraint, gamma_constraint, **kwargs,
        )  # fmt: skip
        self.groups = -1 if groups == -1 else _messages.integer("GroupNormalization", "groups", groups)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the normalization."""
        axes, indices = sample_axes(self.name, self.axis, len(graph.output_shape)), self._indices(parameters)
        groups = graph.output_shape[axes[0]] if self.groups == -1 else self.groups
        with_trailing_axes(
            graph, self.name, axes, lambda: graph.group_norm(self.name, groups=groups, epsilon=self.epsilon, **indices)
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "groups": self.groups}


class RMSNormalization(Layer):
    """Divides each sample by its root mean square over some axes: y = scale x / sqrt(mean x^2 + epsilon).

    Args:
        axis: the axis, or several that are taken together (the batch is axis 0).
        epsilon: added to the mean square, above 0.

    Weights: scale, of the axes' sizes.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> np.round(RMSNormalization()(np.array([[3.0, -3.0]])), 3).tolist()
        [[1.0, -1.0]]

    See https://keras.io/api/layers/normalization_layers/rms_normalization/ and https://arxiv.org/abs/1910.07467.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sample_axes("RMSNormalization", axis, 64)
        self.axis = int(axis) if _messages.is_integer(axis) else list(axis)
        self.epsilon = _messages.real("RMSNormalization", "epsilon", epsilon, "a positive number", 1e-30)
        self.scale: Variable | None = None

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates scale."""
        axes = sample_axes(self.name, self.axis, len(input_shape))
        self.scale = self.add_weight(tuple(input_shape[axis] for axis in axes), "ones", name="scale")

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the normalization."""
        axes, scale = sample_axes(self.name, self.axis, len(graph.output_shape)), parameters.add(self.scale)
        with_trailing_axes(
            graph,
            self.name,
            axes,
            lambda: graph.normalize(self.name, kind="rms", axes=len(axes), epsilon=self.epsilon, gamma=scale, beta=-1),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "axis": self.axis, "epsilon": self.epsilon}


class UnitNormalization(Layer):
    """Divides each sample by its Euclidean norm over some axes.

    Args:
        axis: the axis, or several that are taken together (the batch is axis 0).

    Raises:
        ValueError: axes that the input does not have, when the layer is built.

    Example:
        >>> import numpy as np
        >>> np.round(UnitNormalization()(np.array([[3.0, 4.0]])), 3).tolist() == np.float32([[0.6, 0.8]]).tolist()
        True

    See https://keras.io/api/layers/normalization_layers/unit_normalization/.
    """

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sample_axes("UnitNormalization", axis, 64)
        self.axis = int(axis) if _messages.is_integer(axis) else list(axis)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the normalization."""
        axes = sample_axes(self.name, self.axis, len(graph.output_shape))
        with_trailing_axes(
            graph,
            self.name,
            axes,
            lambda: graph.normalize(self.name, kind="unit", axes=len(axes), epsilon=1e-12, gamma=-1, beta=-1),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "axis": self.axis}
