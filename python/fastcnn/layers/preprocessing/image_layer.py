"""What the layers on images share: batches and single images, the axes' order, and how factors are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages
from fastcnn.layers.layer import Layer, read_data_format
from fastcnn.layers.regularization import RandomLayer
from fastcnn.utils import seed as seeds

FILL_MODES = ("reflect", "wrap", "constant", "nearest")
INTERPOLATIONS = ("nearest", "bilinear")

Range = tuple[float, float]


class ImageLayer(Layer):
    """What layers on images share.

    See https://keras.io/api/layers/preprocessing_layers/image_preprocessing/.
    """

    _input_axes = ("height", "width", "channels")

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = read_data_format(type(self).__name__, data_format)

    def __call__(self, inputs: Any, training: bool = True) -> NDArray[np.float32]:
        """The layer's output for a batch of images, or for one image.

        Args:
            inputs: (n, height, width, channels) or (height, width, channels) array of any real dtype; the channels first where
                the layer's `data_format` says so.
            training: False for what a model does in `predict` and `evaluate`. As in Keras, a layer called by itself trains.

        Returns:
            float32 array with as many axes.
        """
        if np.ndim(inputs) == 3:
            single: NDArray[np.float32] = super().__call__(np.asarray(inputs)[None], training)[0]
            return single
        return super().__call__(inputs, training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "data_format": self.data_format}


class RandomImageLayer(ImageLayer, RandomLayer):
    """What layers share that change images at random while training.

    Every image of a batch gets random numbers of its own: they depend on the seed, the layer's place, the step and the
    image's place in the batch, and not on the number of threads.

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/.
    """

    def __init__(self, seed: Any = None, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(data_format=data_format, seed=seed, **kwargs)

    def _seed(self) -> int:
        return self._drawn_seed or 0

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "seed": self._plain_seed()}


class RandomWarp(RandomImageLayer):
    """What layers share that map positions to positions.

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/.
    """

    def __init__(
        self,
        fill_mode: str = "reflect",
        interpolation: str = "bilinear",
        seed: Any = None,
        fill_value: float = 0.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        for argument, value, known in (
            ("fill_mode", fill_mode, FILL_MODES),
            ("interpolation", interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                unknown(type(self).__name__, argument, known, value)
        self.fill_mode = fill_mode
        self.interpolation = interpolation
        self.fill_value = fill_value
        _messages.real(type(self).__name__, "fill_value", fill_value, "a number", -np.inf)

    def _append(self, graph: _core.Graph, kind: str, height: Range, width: Range, tied: bool = False) -> None:
        graph.warp(
            self.name,
            kind=kind,
            height=height,
            width=width,
            tied=tied,
            bilinear=self.interpolation == "bilinear",
            fill_mode=self.fill_mode,
            fill_value=float(self.fill_value),
            seed=self._seed(),
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "fill_mode": self.fill_mode,
            "interpolation": self.interpolation,
            "fill_value": self.fill_value,
        }


class RandomColor(RandomImageLayer):
    """What layers share that change colours.

    See https://keras.io/api/layers/preprocessing_layers/image_augmentation/.
    """

    value_range: Sequence[float] = (0, 255)

    def _append(self, graph: _core.Graph, kind: str, factor: Range, second: Range = (0.0, 0.0)) -> None:
        low, high = self.value_range
        graph.recolor(
            self.name, kind=kind, factor=factor, second=second, value_range=(float(low), float(high)), seed=self._seed()
        )


def unknown(kind: str, argument: str, known: Sequence[str], received: Any) -> NoReturn:
    """Raises what Keras raises for a name that it does not know."""
    listed = " or ".join(repr(name) for name in known)
    raise NotImplementedError(f"{kind}: {argument}: expected {listed}, received {_messages.show(received)}")


def is_real(value: Any) -> bool:
    """True for numbers, NumPy's too; bool is none here."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_pair(value: Any) -> bool:
    """True for a sequence of two numbers."""
    return isinstance(value, Sequence) and len(value) == 2 and all(map(is_real, value))


def factor_range(kind: str, argument: str, value: Any, low: float, high: float) -> Range:
    """(lower, upper) from two numbers, or from one: then from its negative, or `low` where that is more.

    As in Keras, of two numbers only one end each is compared with the limits.

    >>> factor_range("RandomRotation", "factor", 0.2, -1, 1), factor_range("RandomContrast", "factor", 0.2, 0, 1)
    ((-0.2, 0.2), (0, 0.2))
    """
    if is_real(value) and low <= value <= high:
        return max(-abs(value), low), abs(value)
    entries = value if is_pair(value) else (high + 1, low - 1)
    if entries[0] > high or entries[1] < low:
        _messages.fail(kind, argument, f"a number or two of them in the range [{low}, {high}]", value)
    return min(entries), max(entries)


def checked_range(kind: str, argument: str, value: Any, low: float, high: float, open_low: bool = False) -> Range:
    """(lower, upper) from two numbers, or from one: then from its negative. All lie within the limits.

    >>> checked_range("RandomZoom", "height_factor", (0.3, -0.1), -1, 1)
    (-0.1, 0.3)
    """
    values = (value,) if is_real(value) else tuple(value) if isinstance(value, Sequence) else ()
    inside = all(is_real(v) and low <= v <= high and not (open_low and v == low) for v in values)
    if isinstance(value, str) or not inside or len(values) not in (1, 2) or (len(values) == 1 and not is_real(value)):
        limits = f"{'(' if open_low else '['}{low}, {high}]"
        _messages.fail(kind, argument, f"a number or two of them in the range {limits}", value)
    if len(values) == 1:
        return -abs(values[0]), abs(values[0])
    return min(values), max(values)


def read_value_range(kind: str, value: Any) -> Sequence[float]:
    """Two numbers."""
    if not is_pair(value):
        _messages.fail(kind, "value_range", "two numbers", value)
    checked: Sequence[float] = value
    return checked


def draw_default_seed() -> int:
    """A seed for layers that have one even where none was given."""
    return 1 + seeds.next_seed() % 10**9
