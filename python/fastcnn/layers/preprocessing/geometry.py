"""Layers that flip, turn, shift, zoom, shear and crop images at random while training."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.layers.preprocessing.image_layer import (
    RandomImageLayer,
    RandomWarp,
    checked_range,
    draw_default_seed,
    factor_range,
)
from fastcnn.layers.preprocessing.resizing import middle_taps

HORIZONTAL, VERTICAL = "horizontal", "vertical"
HORIZONTAL_AND_VERTICAL = "horizontal_and_vertical"


class RandomFlip(RandomImageLayer):
    """While training, mirrors an image with probability 1/2.

    Args:
        mode: "horizontal" (left and right change places), "vertical", or "horizontal_and_vertical": both at once, or
            neither.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> image = np.array([[[1], [2]]])
        >>> layer = RandomFlip("horizontal", seed=1)
        >>> sorted({tuple(layer(image).ravel().tolist()) for _ in range(20)})
        [(1.0, 2.0), (2.0, 1.0)]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_flip/.
    """

    def __init__(
        self, mode: str = HORIZONTAL_AND_VERTICAL, seed: Any = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode = _messages.choice("RandomFlip", "mode", mode, (HORIZONTAL, VERTICAL, HORIZONTAL_AND_VERTICAL))

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the flip."""
        vertical, horizontal = (float(self.mode != other) for other in (HORIZONTAL, VERTICAL))
        graph.warp(self.name, kind="flip", height=(0.0, vertical), width=(0.0, horizontal), seed=self._seed())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "mode": self.mode}


class RandomRotation(RandomWarp):
    """While training, turns an image about its middle.

    Args:
        factor: the largest turn either way, as a part of a whole turn, or (least, largest); positive is counterclockwise.
        fill_mode: what lies outside of the image: "reflect" (d c b a | a b c d | d c b a), "constant", "wrap" (a b c d |
            a b c d | a b c d) or "nearest" (a a a a | a b c d | d d d d).
        interpolation: "bilinear" or "nearest".
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        fill_value: of "constant".
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.
        NotImplementedError: an unknown `fill_mode` or `interpolation`.

    Example:
        >>> import numpy as np
        >>> quarter = RandomRotation((0.25, 0.25))
        >>> quarter(np.array([[[1.0], [2.0]], [[3.0], [4.0]]]))[..., 0].round(4).tolist()
        [[2.0, 4.0], [1.0, 3.0]]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_rotation/.
    """

    def __init__(
        self,
        factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self.factor = factor_range("RandomRotation", "factor", factor or 0.0, -1, 1)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the rotation."""
        self._append(graph, "rotation", (0.0, 0.0), self.factor)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "factor": self.factor}


class RandomTranslation(RandomWarp):
    """While training, shifts an image.

    Args:
        height_factor: the largest shift up or down, as a part of the height, or (least, largest); positive is down.
        width_factor: the same of the width; positive is to the right.
        fill_mode, interpolation, seed, fill_value, data_format: as for `RandomRotation`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.
        NotImplementedError: an unknown `fill_mode` or `interpolation`.

    Example:
        >>> import numpy as np
        >>> shift = RandomTranslation(0, (0.5, 0.5), fill_mode="constant", fill_value=9)
        >>> shift(np.array([[[1.0], [2.0]]])).ravel().tolist()
        [9.0, 1.0]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_translation/.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self._height = checked_range("RandomTranslation", "height_factor", height_factor, -1, 1)
        self._width = checked_range("RandomTranslation", "width_factor", width_factor, -1, 1)
        self.height_factor, self.width_factor = height_factor, width_factor

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the shift."""
        self._append(graph, "translation", self._height, self._width)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomZoom(RandomWarp):
    """While training, makes what an image shows larger or smaller.

    Args:
        height_factor: how much more of the height is seen at the most, as a part of it, or (least, largest); negative
            numbers zoom in.
        width_factor: the same of the width; None: as the height, so that proportions stay.
        fill_mode, interpolation, seed, fill_value, data_format: as for `RandomRotation`.

    Input and output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.
        NotImplementedError: an unknown `fill_mode` or `interpolation`.

    Example:
        >>> import numpy as np
        >>> zoom = RandomZoom((0.5, 0.5), fill_mode="constant")
        >>> zoom(np.ones((1, 4, 4, 1)))[0, 0, :, 0].tolist()
        [0.0625, 0.25, 0.25, 0.0625]

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_zoom/.
    """

    def __init__(
        self,
        height_factor: Any,
        width_factor: Any = None,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        self._height = checked_range("RandomZoom", "height_factor", height_factor, -1, 1, open_low=True)
        self._width = self._height
        if width_factor is not None:
            self._width = checked_range("RandomZoom", "width_factor", width_factor, -1, 1, open_low=True)
        self.height_factor, self.width_factor = height_factor, width_factor

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the zoom."""
        self._append(graph, "zoom", self._height, self._width, tied=self.width_factor is None)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "height_factor": self.height_factor, "width_factor": self.width_factor}


class RandomShear(RandomWarp):
    """While training, moves the rows or columns of an image against one another.

    Args:
        x_factor: how far at the most a row moves against the next, in columns, or (least, largest).
        y_factor: the same of columns. Both get the same random sign.
        interpolation, fill_mode, fill_value, data_format, seed: as for `RandomRotation`.

    Input and output: (n, height, width, channels). The first row and column stay where they are.

    Raises:
        ValueError: an argument outside its range.
        NotImplementedError: an unknown `fill_mode` or `interpolation`.

    Example:
        >>> import numpy as np
        >>> RandomShear(0.3, 0.2)(np.ones((2, 4, 5, 3))).shape
        (2, 4, 5, 3)

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_shear/.
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fill_mode, interpolation, seed, fill_value, data_format, **kwargs)
        # Keras refuses negative numbers, though its own configurations have them.
        self.x_factor = checked_range("RandomShear", "x_factor", x_factor, -1, 1)
        self.y_factor = checked_range("RandomShear", "y_factor", y_factor, -1, 1)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the shear."""
        self._append(graph, "shear", self.y_factor, self.x_factor)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "x_factor": self.x_factor, "y_factor": self.y_factor}


class RandomCrop(RandomImageLayer):
    """While training, takes a window of an image at a random place, the same for all images of a batch.

    At inference, and for images that are not larger than the window both ways, the largest window in the middle with the
    proportions asked for is resized (bilinear). Keras says so too; its version 3.15 returns the whole image at inference.

    Args:
        height, width: of the window.
        seed: integer or `SeedGenerator`; drawn from the global stream by default.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, any height, any width, channels). Output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> RandomCrop(2, 3, seed=1)(np.ones((4, 5, 5, 1))).shape
        (4, 2, 3, 1)

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/random_crop/.
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: Any = None,
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(draw_default_seed() if seed is None else seed, data_format, name=name, **kwargs)
        self.height = _messages.integer("RandomCrop", "height", height)
        self.width = _messages.integer("RandomCrop", "width", width)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the window at a random place, and what stands for it at inference."""
        height, width = graph.output_shape[:2]
        down, right = middle_taps(height, width, self.height, self.width)
        if height > self.height and width > self.width:
            size = (self.height, self.width)
            graph.random_crop(self.name, size=size, height=down, width=right, seed=self._seed())
        else:
            graph.resample2d(self.name, height=down, width=right)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "height": self.height, "width": self.width}
