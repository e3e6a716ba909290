"""Layers that change the colours of images at random while training, or erase parts of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.preprocessing.image_layer import (
    RandomColor,
    RandomImageLayer,
    checked_range,
    factor_range,
    is_real,
    read_value_range,
)


class RandomBrightness(RandomColor):
    """While training, adds one random number to all of an image.

    Args:
        factor: the largest change either way, as a part of `value_range`, or (least, largest), from -1 to 1.
        value_range: the least and largest value that the images have; results are cut off there.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> RandomBrightness((0.1, 0.1))(np.array([[[1], [240]]])).ravel().tolist()
        [26.5, 255.0]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_brightness/.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.factor = factor_range("RandomBrightness", "factor", factor or 0.0, -1, 1)
        self.value_range = sorted(read_value_range("RandomBrightness", value_range))

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change."""
        whole = self.value_range[1] - self.value_range[0]
        self._append(graph, "brightness", (self.factor[0] * whole, self.factor[1] * whole))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class RandomContrast(RandomColor):
    """While training, multiplies the distances of an image's values from their channel's mean by a random factor.

    Args:
        factor: two numbers: the factor is drawn from [1 - the smaller, 1 + the larger]. One number, as in Keras, stands for
            0 and that number.
        value_range: the least and largest value that the images have; results are cut off there.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> RandomContrast((0.5, 0.5), seed=1)(np.full((1, 2, 2, 1), 7)).ravel().tolist()
        [7.0, 7.0, 7.0, 7.0]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_contrast/.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.factor = factor_range("RandomContrast", "factor", factor, 0, 1)
        self.value_range = read_value_range("RandomContrast", value_range)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change."""
        self._append(graph, "contrast", (1.0 - self.factor[0], 1.0 + self.factor[1]))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class RandomGrayscale(RandomColor):
    """While training, makes an image gray with some probability; the number of channels stays.

    Args:
        factor: the probability.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.

    Input and output: (n, height, width, 3), or 1 channel, which stays as it is.

    Raises:
        ValueError: an argument outside its range; or, when built, another number of channels.

    Example:
        >>> import numpy as np
        >>> RandomGrayscale(1.0)(np.array([[[100, 200, 50]]])).round(2).tolist()
        [[[152.9900054931640..., 152.9900054931640..., 152.9900054931640...]]]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_grayscale/.
    """

    def __init__(self, factor: float = 0.5, data_format: str | None = None, seed: Any = None, **kwargs: Any) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor
        _messages.real("RandomGrayscale", "factor", factor, "a number from 0 to 1", 0.0, 1.0)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change."""
        self._append(graph, "grayscale", (float(self.factor), float(self.factor)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data; like Keras's without the seed."""
        config = {**super().get_config(), "factor": self.factor}
        del config["seed"]
        return config


class RandomInvert(RandomColor):
    """While training, subtracts an image from the largest value with some probability.

    Args:
        factor: the probability's range: two numbers between which it is drawn for each image, or one for 0 and that.
        value_range: the least and largest value that the images have.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> RandomInvert((1, 1))(np.array([[[100], [200]]])).ravel().tolist()
        [155.0, 55.0]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_invert/.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        value_range: Any = (0, 255),
        seed: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range("RandomInvert", "factor", factor, 0, 1)
        self.value_range = read_value_range("RandomInvert", value_range)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change."""
        self._append(graph, "invert", self.factor)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "factor": self.factor, "value_range": self.value_range}


class Solarization(RandomColor):
    """While training, adds a random number to an image and inverts the values above a random threshold.

    Args:
        addition_factor: largest number added, as a part of `value_range`, or (least, largest), from 0 to 1.
        threshold_factor: the same for the threshold.
        value_range: the least and largest value that the images have; the sum is cut off there.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Solarization()(np.array([[[100], [200]]])).ravel().tolist()
        [155.0, 55.0]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/solarization/.
    """

    def __init__(
        self,
        addition_factor: Any = 0.0,
        threshold_factor: Any = 0.0,
        value_range: Any = (0, 255),
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, **kwargs)
        self.addition_factor = _from_zero("addition_factor", addition_factor)
        self.threshold_factor = _from_zero("threshold_factor", threshold_factor)
        self.value_range = sorted(read_value_range("Solarization", value_range))

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change."""
        low, high = self.value_range
        # Keras draws from [least, 255 largest) for values of 0 to 255.
        unit = (high - low) / 255.0
        added, threshold = ((f[0] * unit, f[1] * 255.0 * unit) for f in (self.addition_factor, self.threshold_factor))
        self._append(graph, "solarize", added, (low + threshold[0], low + threshold[1]))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "value_range": self.value_range,
            "addition_factor": self.addition_factor,
            "threshold_factor": self.threshold_factor,
        }


def _from_zero(argument: str, value: Any) -> tuple[float, float]:
    lower, upper = checked_range("Solarization", argument, value, 0, 1)
    return (0, upper) if is_real(value) else (lower, upper)


class RandomErasing(RandomImageLayer):
    """While training, fills a rectangle of an image, at a random place and of a random size, with some probability.

    Args:
        factor: the probability's range: two numbers between which it is drawn for each image, or one for 0 and that.
        scale: range of the squares of the rectangle's sides, as parts of the image's; height and width are drawn each.
        fill_value: a number, or three, one for each channel; None: normal noise of deviation `value_range[1]`.
        value_range: the least and largest value that the images have; what is filled in is cut off there.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> erased = RandomErasing((1, 1), scale=(0.25, 0.25), fill_value=0)(np.ones((1, 8, 8, 1)))
        >>> int(erased.sum())
        48

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_erasing/.
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: Any = None,
        value_range: Any = (0, 255),
        seed: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.factor = factor_range("RandomErasing", "factor", factor, 0, 1)
        self.scale = factor_range("RandomErasing", "scale", scale, 0, 1)
        numbers = fill_value if isinstance(fill_value, Sequence) else () if fill_value is None else (fill_value,)
        if not all(map(is_real, numbers)) or (isinstance(fill_value, Sequence) and len(fill_value) != 3):
            _messages.fail("RandomErasing", "fill_value", "None, a number or three of them", fill_value)
        self.fill_value = fill_value
        self._fill = [float(v) for v in numbers]
        self.value_range = read_value_range("RandomErasing", value_range)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the rectangle."""
        low, high = (float(v) for v in self.value_range)
        fill = [min(max(value, low), high) for value in self._fill]
        limits = (low, high)
        graph.erase(
            self.name,
            rate=self.factor,
            area=self.scale,
            fill=fill,
            deviation=high,
            value_range=limits,
            seed=self._seed(),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "factor": self.factor,
            "scale": self.scale,
            "fill_value": self.fill_value,
            "value_range": self.value_range,
        }
