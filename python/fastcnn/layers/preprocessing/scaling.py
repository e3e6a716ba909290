"""Layers that bring numbers into another range."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _core, _messages, config
from fastcnn._network import ParameterList
from fastcnn.layers.layer import Layer, sample_axes
from fastcnn.variables import Structure, Variable


class Rescaling(Layer):
    """inputs * scale + offset, in training and at inference.

    As a model's first layer it takes images as they are: uint8 in, float32 inside.

    Args:
        scale: a number, or an array that broadcasts to the input; with `config.image_data_format()` "channels_first" one
            number a channel goes along the first axis.
        offset: the same.

    Raises:
        ValueError: not numbers; or, when built, a shape that does not fit the input.

    Example:
        >>> import numpy as np
        >>> Rescaling(1 / 127.5, offset=-1)(np.array([[0, 255]], np.uint8)).tolist()
        [[-1.0, 1.0]]

    See https://keras.io/api/layers/preprocessing_layers/image_preprocessing/rescaling/.
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = _numbers("Rescaling", "scale", scale)
        self._offset = _numbers("Rescaling", "offset", offset)
        self.scale, self.offset = scale, offset

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the multiplication and addition."""
        sample = tuple(graph.output_shape)
        scale = self._scale
        if scale.ndim and config.image_data_format() == "channels_first":
            scale = scale.reshape(scale.shape + (1,) * (3 - scale.ndim))
        try:
            scale, offset = np.broadcast_arrays(scale, self._offset)
            fits = np.broadcast_shapes(scale.shape, (1, *sample)) == (1, *sample)
        except ValueError:
            fits = False
        if not fits:
            expected = f"numbers whose shape broadcasts to the input's {sample}"
            shapes = _messages.Text(f"{self._scale.shape} and {self._offset.shape}")
            _messages.fail(self.name, "scale and offset", expected, shapes)
        shape = (1,) * (len(sample) - scale.ndim) + scale.shape[max(scale.ndim - len(sample), 0) :]
        graph.scale(self.name, kind="affine", shape=shape, a=scale.ravel().tolist(), b=offset.ravel().tolist())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {**super().get_config(), "scale": _plain(self.scale), "offset": _plain(self.offset)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Rescaling:
        """A new layer from `get_config()`'s dictionary, or Keras's."""
        return cls(**{key: _from_keras(value) for key, value in config.items()})


def _numbers(kind: str, argument: str, value: Any) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or not array.size:
        _messages.fail(kind, argument, "a number or an array of numbers", value)
    return array.astype(np.float64)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _from_keras(value: Any) -> Any:
    """An array where Keras's configuration describes one."""
    if isinstance(value, Mapping) and value.get("class_name") == "__numpy__":
        return np.asarray(value["config"]["value"], value["config"]["dtype"])
    return value


class Normalization(Layer):
    """(inputs - mean) / sqrt(variance), in training and at inference; the deviation is at least `config.epsilon()`.

    Mean and variance are given, or found by `adapt`; then they are weights: `mean`, `variance` and `count`, not trained.

    Args:
        axis: the axis, or axes, that have a mean and variance for each position, counted with the batch; None: one for all.
        mean, variance: numbers, or arrays that broadcast to those axes; both or none.
        invert: whether to do the opposite: inputs * sqrt(variance) + mean.

    Raises:
        ValueError: an argument outside its range.

    Example:
        >>> import numpy as np
        >>> layer = Normalization()
        >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
        >>> layer(np.array([[0.0, 9.0]])).tolist()
        [[-1.0, 1.0]]

    See https://keras.io/api/layers/preprocessing_layers/numerical/normalization/.
    """

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        entries = () if axis is None else (axis,) if _messages.is_integer(axis) else axis
        if not isinstance(entries, Sequence) or not all(_messages.is_integer(a) for a in entries):
            _messages.fail("Normalization", "axis", "an integer, integers or None", axis)
        self.axis = tuple(int(a) for a in entries)
        self.invert = _messages.flag("Normalization", "invert", invert)
        if (mean is None) != (variance is None):
            _messages.fail("Normalization", "mean, variance", "both or none", (mean, variance))
        self.input_mean, self.input_variance = mean, variance
        self._given: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if mean is not None:
            self._given = _numbers("Normalization", "mean", mean), _numbers("Normalization", "variance", variance)
            shapes = self._given[0].shape, self._given[1].shape
            if shapes[0] != shapes[1] or len(shapes[0]) > len(self.axis):
                expected = f"the same shape, of at most {len(self.axis)} axes as `axis` has"
                _messages.fail(
                    "Normalization", "mean, variance", expected, _messages.Text(" and ".join(map(str, shapes)))
                )
        self.adapt_mean: Variable | None = None
        self.adapt_variance: Variable | None = None
        self.count: Variable | None = None

    # --- building ------------------------------------------------------------------------------------------------

    def _kept(self, sample: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of one sample that have numbers of their own."""
        return sample_axes(self.name, self.axis, len(sample)) if self.axis else ()

    def create_weights(self, input_shape: tuple[int, ...]) -> None:
        """Creates mean and variance where they are not given."""
        if self._given is not None:
            return
        shape = tuple(input_shape[axis] for axis in self._kept(input_shape))
        self.adapt_mean = self.add_weight(shape, "zeros", name="mean", trainable=False)
        self.adapt_variance = self.add_weight(shape, "ones", name="variance", trainable=False)
        self.count = self.add_weight((), "zeros", name="count", trainable=False)

    def describe(self, graph: _core.Graph, parameters: ParameterList) -> None:
        """Appends the normalisation."""
        sample = tuple(graph.output_shape)
        kept = self._kept(sample)
        sizes = tuple(sample[axis] for axis in kept)
        shape = tuple(n if axis in kept else 1 for axis, n in enumerate(sample))
        kind = "denormalize" if self.invert else "normalize"
        if self._given is None:
            # `count` is used by nothing, but is a weight of the layer like the others.
            indices = [parameters.add(variable) for variable in (self.adapt_mean, self.adapt_variance, self.count)]
            graph.normalize_by(
                self.name,
                kind=kind,
                shape=shape,
                parameter_shape=sizes,
                mean=indices[0],
                variance=indices[1],
                epsilon=config.epsilon(),
            )
            return
        try:
            mean, variance = (np.broadcast_to(array, sizes).ravel().tolist() for array in self._given)
        except ValueError:
            expected = f"numbers whose shape broadcasts to {sizes}"
            _messages.fail(self.name, "mean, variance", expected, self._given[0].shape)
        graph.scale(self.name, kind=kind, shape=shape, a=mean, b=variance, epsilon=config.epsilon())

    def _mode(self) -> Hashable:
        return config.epsilon()

    def __call__(self, inputs: Any, training: bool = False) -> NDArray[np.float32]:
        """The layer's output for an array; also for one of single numbers, (n,)."""
        if np.ndim(inputs) == 1:
            single: NDArray[np.float32] = super().__call__(np.asarray(inputs)[:, None], training)[:, 0]
            return single
        return super().__call__(inputs, training)

    # --- mean and variance ---------------------------------------------------------------------------------------

    @property
    def mean(self) -> NDArray[np.float32] | None:
        """The mean, with an axis of 1 for each that shares it, the batch included; None before the layer is built."""
        return self._statistic(0)

    @property
    def variance(self) -> NDArray[np.float32] | None:
        """The variance, in the shape of `mean`."""
        return self._statistic(1)

    def _statistic(self, which: int) -> NDArray[np.float32] | None:
        if self._build_shape is None:
            return None
        sample = self._build_shape
        kept = self._kept(sample)
        if self._given is None:
            variable = (self.adapt_mean, self.adapt_variance)[which]
            assert variable is not None
            values: NDArray[Any] = variable.numpy()
        else:
            values = np.broadcast_to(self._given[which], tuple(sample[axis] for axis in kept))
        shape = (1, *(n if axis in kept else 1 for axis, n in enumerate(sample)))
        return values.astype(np.float32).reshape(shape)

    def adapt(self, data: Any) -> None:
        """Finds mean and variance of data, all of it, and keeps them; what an earlier call found is forgotten.

        Args:
            data: (n, ...) array, read block by block; or an iterable of batches, such as a `PyDataset`, a list of arrays or a
                generator, each an array or a tuple that begins with one.

        Raises:
            ValueError: no data, a shape that does not fit, or mean and variance were given.
            TypeError: neither an array nor batches.
        """
        if self._given is not None:
            _messages.fail(f"{self.name}.adapt", "data", "a layer without given mean and variance", self.input_mean)
        found: _Moments | None = None
        for batch in _batches(self.name, data):
            if found is None:
                if not self.built:
                    self.build((None, *batch.shape[1:]))
                assert self._build_shape is not None
                found = _Moments(self._kept(self._build_shape))
            assert self._build_shape is not None
            for axis in found.kept:
                if batch.ndim != len(self._build_shape) + 1 or batch.shape[1 + axis] != self._build_shape[axis]:
                    _messages.fail(f"{self.name}.adapt", "data", f"samples of shape {self._build_shape}", batch.shape)
            found.add(batch)
        if found is None or not found.count:
            _messages.fail(f"{self.name}.adapt", "data", "at least one batch", _messages.Text("none"))
        assert self.adapt_mean is not None and self.adapt_variance is not None
        self.adapt_mean.assign(found.mean)
        self.adapt_variance.assign(found.variance)
        Structure.changed()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, as plain data."""
        return {
            **super().get_config(),
            "axis": self.axis,
            "invert": self.invert,
            "mean": np.array(self.input_mean).tolist(),
            "variance": np.array(self.input_variance).tolist(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Normalization:
        """A new layer from `get_config()`'s dictionary."""
        return cls(**{**config, "axis": config.get("axis", -1) or None})


class _Moments:
    """Mean and variance of what comes in blocks, in double precision.

    Blocks are joined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979.
    """

    _BLOCK = 1 << 18  # elements

    def __init__(self, kept: tuple[int, ...]) -> None:
        self.kept = kept
        self.count = 0
        self.mean: Any = 0.0
        self.variance: Any = 0.0

    def add(self, batch: NDArray[Any]) -> None:
        """Adds (n, ...) samples."""
        step = max(1, self._BLOCK // max(1, batch[:1].size))
        shared = tuple(axis for axis in range(batch.ndim) if axis - 1 not in self.kept)
        for begin in range(0, len(batch), step):
            block = np.asarray(batch[begin : begin + step], np.float64)
            mean, variance = block.mean(axis=shared), block.var(axis=shared)
            count = block.size // max(1, mean.size)
            part = count / (self.count + count)
            shift = mean - self.mean
            self.variance = self.variance * (1 - part) + variance * part + shift**2 * part * (1 - part)
            self.mean = self.mean + shift * part
            self.count += count


def _batches(name: str, data: Any) -> Iterator[NDArray[Any]]:
    """Arrays with one axis at least besides the batch's, whatever they came in."""
    if hasattr(data, "shape") and hasattr(data, "__array__"):
        entries: Iterable[Any] = (data,)
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (Sequence, Mapping)):
        entries = (data[i] for i in range(len(data)))
    elif hasattr(data, "__iter__") and not isinstance(data, (str, Mapping)):
        entries = data
    else:
        raise TypeError(
            f"{name}.adapt: data: expected an array or an iterable of batches, received {_messages.show(data)}"
        )
    for entry in entries:
        first = entry[0] if isinstance(entry, tuple) else entry
        if not hasattr(first, "shape"):
            raise TypeError(f"{name}.adapt: data: expected batches that are arrays, received {_messages.show(first)}")
        array = np.asarray(first)
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            _messages.fail(f"{name}.adapt", "data", "arrays of real numbers", array.dtype)
        if array.size:
            yield array[:, None] if array.ndim == 1 else array
