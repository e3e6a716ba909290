"""Input: the shape of one sample, where a model is given it before it sees data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastcnn import _core, _messages, config
from fastcnn._network import ParameterList
from fastcnn.layers.layer import KerasTensor, Layer
from fastcnn.utils.dtypes import standardize_dtype


class InputLayer(Layer):
    """A Sequential model's first entry: the shape of one sample.

    Args:
        shape: one sample's shape, such as (height, width, channels) or (features,).
        batch_size: the batch size where it is known; only shown.
        dtype: the data's type; arrays of any real type are read as they are.
        batch_shape: (batch size or None, *shape), instead of both.
        name: the layer's name.

    Raises:
        ValueError: no shape, or one with unknown or non-positive sizes.

    Example:
        >>> InputLayer((28, 28, 1)).batch_shape
        (None, 28, 28, 1)

    See https://keras.io/api/layers/core_layers/input/.
    """

    def __init__(
        self,
        shape: Sequence[int] | int | None = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Sequence[int | None] | None = None,
        input_tensor: None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        _messages.only("InputLayer", "input_tensor", input_tensor, (None,))
        _messages.only("InputLayer", "optional", optional, (False,))
        _messages.only("InputLayer", "sparse", sparse, (None, False))
        _messages.only("InputLayer", "ragged", ragged, (None, False))
        if (shape is None) == (batch_shape is None):
            _messages.fail("InputLayer", "shape", "either shape or batch_shape", (shape, batch_shape))
        if batch_shape is not None:
            batch_size = batch_shape[0] if len(batch_shape) else None
            sample = _messages.shape("InputLayer", "batch_shape", tuple(batch_shape)[1:])
        else:
            sample = _messages.shape("InputLayer", "shape", shape)
        if batch_size is not None:
            batch_size = _messages.integer("InputLayer", "batch_size", batch_size)
        self.batch_shape: tuple[int | None, ...] = (batch_size, *sample)
        self.sample_shape = sample
        self._dtype = config.floatx() if dtype is None else standardize_dtype(dtype)
        self.built = True

    @property
    def dtype(self) -> str:
        """The data's type."""
        return self._dtype

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Nothing is computed."""

    @property
    def output(self) -> KerasTensor:
        """The symbolic tensor that `Input` returns."""
        return InputTensor(self)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {"batch_shape": self.batch_shape, "dtype": self.dtype, "name": self.name}


class InputTensor(KerasTensor):
    """What `Input` returns: a symbolic tensor that knows its layer."""

    def __init__(self, layer: InputLayer) -> None:
        super().__init__(layer.batch_shape, layer.dtype, name=layer.name)
        self.layer = layer


def Input(  # noqa: N802 (Keras's name)
    shape: Sequence[int] | int | None = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Sequence[int | None] | None = None,
    name: str | None = None,
    tensor: Any = None,
    optional: bool = False,
) -> InputTensor:
    """The shape of one sample, as a Sequential model's first entry.

    Args:
        shape: one sample's shape, without the batch size.
        batch_size: the batch size where it is known; only shown.
        dtype: the data's type; arrays of any real type are read as they are.
        batch_shape: (batch size or None, *shape), instead of both.
        name: the input layer's name.

    Returns:
        A symbolic tensor; `Sequential` takes it as its first entry.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.output_shape
        (None, 2)

    See https://keras.io/api/layers/core_layers/input/.
    """
    _messages.only("Input", "tensor", tensor, (None,))
    layer = InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, optional=optional, name=name)
    return InputTensor(layer)
