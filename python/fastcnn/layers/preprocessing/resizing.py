"""Layers that give images another size."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastcnn import _core, _messages
from fastcnn._network import ParameterList
from fastcnn.data.resizing import METHODS, crop_box, taps
from fastcnn.layers.preprocessing.image_layer import ImageLayer

# The size of an axis before, and for each position after it the positions that it is made of, with their weights.
Taps = tuple[int, list[list[int]], list[list[float]]]


def axis_taps(size: int, begin: int, count: int, target: int, method: str, antialias: bool = False) -> Taps:
    """Taps that resize positions [begin, begin + count) of an axis, some of which may lie outside: zeros are there.

    >>> axis_taps(2, -1, 4, 4, "nearest")
    (2, [[], [0], [1], []], [[], [1.0], [1.0], []])
    """
    index, weight = taps(method, count, target, antialias)
    index = index + begin
    used = (weight != 0.0) & (index >= 0) & (index < size)
    positions = [i[u].tolist() for i, u in zip(index, used)]
    return size, positions, [w[u].tolist() for w, u in zip(weight, used)]


def middle_taps(height: int, width: int, target_height: int, target_width: int) -> tuple[Taps, Taps]:
    """Taps that resize the largest part in the middle of an image that has the target's proportions."""
    top, left, rows, columns = crop_box(height, width, target_height, target_width)
    down = axis_taps(height, top, rows, target_height, "bilinear")
    return down, axis_taps(width, left, columns, target_width, "bilinear")


class Resizing(ImageLayer):
    """Gives images another size, in training and at inference.

    Args:
        height, width: the size.
        interpolation: "bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian" or "mitchellcubic", with
            the weights of Keras on TensorFlow and JAX (PyTorch has another bicubic).
        crop_to_aspect_ratio: whether to keep the image's proportions by resizing the largest part in its middle that has
            the size's proportions.
        pad_to_aspect_ratio: whether to keep them by adding rows or columns at both sides first.
        fill_mode: "constant".
        fill_value: of the added rows and columns.
        antialias: whether smaller images average over all that a pixel covers.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, any height, any width, channels). Output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> Resizing(1, 4)(np.array([[[0.0], [4.0]]])).ravel().tolist()
        [0.0, 1.0, 3.0, 4.0]

    See https://keras.io/api/layers/preprocessing_layers/image_preprocessing/resizing/.
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.height = _messages.integer("Resizing", "height", height)
        self.width = _messages.integer("Resizing", "width", width)
        self.interpolation = _messages.choice("Resizing", "interpolation", interpolation, METHODS)
        self.crop_to_aspect_ratio = _messages.flag("Resizing", "crop_to_aspect_ratio", crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = _messages.flag("Resizing", "pad_to_aspect_ratio", pad_to_aspect_ratio)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            _messages.fail("Resizing", "pad_to_aspect_ratio", "False where crop_to_aspect_ratio is True", True)
        _messages.only("Resizing", "fill_mode", fill_mode, ("constant",))
        self.fill_mode = fill_mode
        _messages.real("Resizing", "fill_value", fill_value, "a number", -np.inf)
        self.fill_value = fill_value
        self.antialias = bool(antialias)

    def _window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """(top, left, height, width) of what is resized."""
        if self.crop_to_aspect_ratio:
            return crop_box(height, width, self.height, self.width)
        if self.pad_to_aspect_ratio:
            # Rows or columns that are missing, as many at both sides.
            top = (max(height, int(width * self.height / self.width)) - height) // 2
            left = (max(width, int(height * self.width / self.height)) - width) // 2
            return -top, -left, height + 2 * top, width + 2 * left
        return 0, 0, height, width

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the change of size; around it a shift, where what is added is not 0."""
        height, width = graph.output_shape[:2]
        top, left, rows, columns = self._window(height, width)
        fill = float(self.fill_value) if rows > height or columns > width else 0.0
        if fill:
            graph.scale(self.name, kind="affine", shape=(1, 1, 1), a=[1.0], b=[-fill])
        down = axis_taps(height, top, rows, self.height, self.interpolation, self.antialias)
        right = axis_taps(width, left, columns, self.width, self.interpolation, self.antialias)
        graph.resample2d(self.name, height=down, width=right)
        if fill:
            graph.scale(self.name, kind="affine", shape=(1, 1, 1), a=[1.0], b=[fill])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "height": self.height,
            "width": self.width,
            "interpolation": self.interpolation,
            "crop_to_aspect_ratio": self.crop_to_aspect_ratio,
            "pad_to_aspect_ratio": self.pad_to_aspect_ratio,
            "fill_mode": self.fill_mode,
            "fill_value": self.fill_value,
            "antialias": self.antialias,
        }


class CenterCrop(ImageLayer):
    """Takes the window in the middle of an image, in training and at inference.

    Where the image is smaller than the window, the largest part in its middle that has the window's proportions is resized.

    Args:
        height, width: of the window.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.

    Input: (n, any height, any width, channels). Output: (n, height, width, channels).

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> CenterCrop(1, 1)(np.arange(9).reshape(3, 3, 1)).ravel().tolist()
        [4.0]

    See https://keras.io/api/layers/preprocessing_layers/image_preprocessing/center_crop/.
    """

    def __init__(self, height: int, width: int, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format, **kwargs)
        self.height = _messages.integer("CenterCrop", "height", height)
        self.width = _messages.integer("CenterCrop", "width", width)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the window."""
        height, width = graph.output_shape[:2]
        if height < self.height or width < self.width:
            down, right = middle_taps(height, width, self.height, self.width)
            graph.resample2d(self.name, height=down, width=right)
            return
        top, left = (height - self.height) // 2, (width - self.width) // 2
        margins = ((-top, top + self.height - height), (-left, left + self.width - width))
        graph.pad2d(self.name, height=margins[0], width=margins[1])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "height": self.height, "width": self.width}
