"""Layers that disturb their input while training, or add to the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from fastcnn import _core, _messages, regularizers
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, read_data_format
from fastcnn.random import SeedGenerator
from fastcnn.utils import seed as seeds

NoiseShape = tuple[int | None, ...]


class RandomLayer(Layer):
    """What layers with random numbers share: the seed.

    See https://keras.io/api/layers/regularization_layers/.
    """

    def __init__(self, seed: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self._drawn_seed: int | None = None
        if isinstance(seed, SeedGenerator):
            words = seed.next()
            self._drawn_seed = (int(words[0]) << 32 ^ int(words[1])) % 2**64
        elif seed is not None:
            self.seed = _messages.integer(type(self).__name__, "seed", seed, minimum=0)
            self._drawn_seed = self.seed % 2**64

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Draws the seed where none was given."""
        if self._drawn_seed is None:
            self._drawn_seed = seeds.next_seed()

    def _plain_seed(self) -> int | None:
        return self._drawn_seed if isinstance(self.seed, SeedGenerator) else self.seed


class BaseDropout(RandomLayer):
    """What layers with a rate share.

    See https://keras.io/api/layers/regularization_layers/.
    """

    _kind: ClassVar[Literal["dropout", "alpha_dropout", "gaussian_dropout"]] = "dropout"

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = _messages.real(type(self).__name__, "rate", rate, "a number from 0 to 1", 0.0, 1.0)

    def _noise_shape(self, sample: tuple[int, ...]) -> tuple[NoiseShape, bool]:
        """Shape of a sample's random numbers, and whether all samples have the same."""
        return sample, False

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the noise; nothing at rate 0."""
        sample = tuple(graph.output_shape)
        shape, shared = self._noise_shape(sample)
        seed = self._drawn_seed or 0
        if self._kind == "dropout" and shape == sample and not shared:
            graph.dropout(self.name, rate=self.rate, seed=seed)
        elif self.rate > 0.0:
            if self._kind != "dropout" and self.rate == 1.0:
                _messages.fail(self.name, "rate", "a number below 1", self.rate)
            whole = tuple(size if n is None else n for n, size in zip(shape, sample))
            graph.noise(self.name, kind=self._kind, rate=self._strength(), seed=seed, noise_shape=whole, shared=shared)

    def _strength(self) -> float:
        return self.rate

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "rate": self.rate, "seed": self._plain_seed()}


class ShapedDropout(BaseDropout):
    """What layers with a noise shape share.

    See https://keras.io/api/layers/regularization_layers/.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.noise_shape: NoiseShape | None = None
        if noise_shape is not None:
            entries = tuple(noise_shape) if isinstance(noise_shape, Sequence) else ()
            if len(entries) < 2 or not all(n is None or (_messages.is_integer(n) and n >= 1) for n in entries):
                expected = "positive integers or None, one for each axis of the input"
                _messages.fail(type(self).__name__, "noise_shape", expected, noise_shape)
            self.noise_shape = entries

    def _noise_shape(self, sample: tuple[int, ...]) -> tuple[NoiseShape, bool]:
        if self.noise_shape is None:
            return sample, False
        if len(self.noise_shape) != len(sample) + 1:
            expected = f"{len(sample) + 1} entries, as the input has axes"
            _messages.fail(self.name, "noise_shape", expected, self.noise_shape)
        shape = tuple(size if n is None else n for n, size in zip(self.noise_shape[1:], sample))
        return shape, self.noise_shape[0] == 1

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "noise_shape": self.noise_shape}


class Dropout(ShapedDropout):
    """While training, sets elements to zero with probability `rate` and scales the others by 1 / (1 - rate).

    Args:
        rate: probability of an element to be dropped, 0 <= rate <= 1.
        noise_shape: shape of the random decisions, with the batch; 1 where one decision holds along an axis, None for the
            input's size.
        seed: integer or `SeedGenerator` that fixes which elements are dropped; drawn from the global stream by default.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Dropout(0.5)(np.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]

    See https://keras.io/api/layers/regularization_layers/dropout/.
    """


class AlphaDropout(ShapedDropout):
    """Dropout for SELU networks: dropped elements take SELU's limit, and mean and variance stay as they are.

    Args:
        rate: probability of an element to be dropped, 0 <= rate < 1.
        noise_shape: as for `Dropout`.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> AlphaDropout(0.5)(np.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]

    See https://keras.io/api/layers/regularization_layers/alpha_dropout/.
    """

    _kind = "alpha_dropout"


class GaussianDropout(BaseDropout):
    """While training, multiplies elements by normal numbers of mean 1 and deviation sqrt(rate / (1 - rate)).

    Args:
        rate: as a dropout's of the same variance, 0 <= rate < 1.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> GaussianDropout(0.5)(np.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]

    See https://keras.io/api/layers/regularization_layers/gaussian_dropout/.
    """

    _kind = "gaussian_dropout"

    def _strength(self) -> float:
        return math.sqrt(self.rate / (1.0 - self.rate))


class SpatialDropout1D(BaseDropout):
    """Dropout of whole channels of a sequence.

    Args:
        rate: probability of a channel to be dropped, 0 <= rate <= 1.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.

    Input and output: (n, steps, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> SpatialDropout1D(0.5)(np.ones((1, 2, 1))).ravel().tolist()
        [1.0, 1.0]

    See https://keras.io/api/layers/regularization_layers/spatial_dropout1d/.
    """

    _input_axes: tuple[str, ...] | None = ("steps", "channels")

    def __init__(self, rate: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)

    def _noise_shape(self, sample: tuple[int, ...]) -> tuple[NoiseShape, bool]:
        return (*(1,) * (len(sample) - 1), sample[-1]), False


class SpatialDropout2D(SpatialDropout1D):
    """Dropout of whole channels of an image.

    Args:
        rate: probability of a channel to be dropped, 0 <= rate <= 1.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> SpatialDropout2D(0.5)(np.ones((1, 2, 2, 1))).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0]

    See https://keras.io/api/layers/regularization_layers/spatial_dropout2d/.
    """

    _input_axes = ("height", "width", "channels")

    def __init__(self, rate: float, data_format: str | None = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(rate, seed, **kwargs)
        self.data_format = read_data_format("SpatialDropout2D", data_format)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "data_format": self.data_format}


class GaussianNoise(RandomLayer):
    """While training, adds normal numbers of mean 0.

    Args:
        stddev: their deviation, 0 <= stddev <= 1.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> GaussianNoise(0.5)(np.ones((1, 3))).tolist()
        [[1.0, 1.0, 1.0]]

    See https://keras.io/api/layers/regularization_layers/gaussian_noise/.
    """

    def __init__(self, stddev: float, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = _messages.real("GaussianNoise", "stddev", stddev, "a number from 0 to 1", 0.0, 1.0)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the noise; nothing at deviation 0."""
        if self.stddev > 0.0:
            shape = tuple(graph.output_shape)
            seed = self._drawn_seed or 0
            graph.noise(self.name, kind="gaussian", rate=self.stddev, seed=seed, noise_shape=shape, shared=False)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "stddev": self.stddev, "seed": self._plain_seed()}


class ActivityRegularization(Layer):
    """Gives its input, and adds a penalty on it to the loss: a sample's l1 * sum |x| + l2 * sum x^2, on the average.

    Args:
        l1, l2: factors, not negative.

    Raises:
        ValueError: a negative factor.

    Example:
        >>> import numpy as np
        >>> ActivityRegularization(l2=0.1)(np.array([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]

    See https://keras.io/api/layers/regularization_layers/activity_regularization/.
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(activity_regularizer=regularizers.L1L2(l1=l1, l2=l2), **kwargs)
        self.l1, self.l2 = float(l1), float(l2)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends nothing: the penalty is every layer's."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        config = super().get_config()
        del config["activity_regularizer"]
        return {**config, "l1": self.l1, "l2": self.l2}
