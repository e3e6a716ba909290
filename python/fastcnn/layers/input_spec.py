"""InputSpec: what shapes a layer of one's own accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastcnn import _messages


class InputSpec:
    """What a layer's inputs must look like; a layer written in Python sets one as `self.input_spec`.

    Args:
        dtype: the data's type; not checked, arrays of any real type are read.
        shape: (batch size, *sizes), None for any size.
        ndim: the number of axes, the batch included.
        max_ndim, min_ndim: bounds of it.
        axes: {axis: size}, axes counted with the batch, or from the end.
        allow_last_axis_squeeze: an axis of length 1 at the end of either does not count.
        name: only kept.
        optional: only kept.

    Raises:
        TypeError: `axes` is no dictionary with integers as keys.
        ValueError: an axis beyond `ndim` or `max_ndim`.

    Example:
        >>> InputSpec(min_ndim=3, axes={-1: 4})
        InputSpec(min_ndim=3, axes={-1: 4})
        >>> InputSpec(ndim=2).problem((None, 8, 8))
        '2 axes, the batch included'

    See https://keras.io/api/layers/base_layer/ (input_spec).
    """

    def __init__(
        self,
        dtype: str | None = None,
        shape: Sequence[int | None] | None = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ) -> None:
        self.dtype = dtype
        self.shape = None if shape is None else tuple(shape)
        self.ndim = ndim if self.shape is None else len(self.shape)
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        self.name = name
        self.optional = optional
        try:
            self.axes = {int(axis): size for axis, size in dict(axes or {}).items()}
        except (TypeError, ValueError):
            received = _messages.show(axes)
            raise TypeError(f"InputSpec: axes: expected a dictionary {{axis: size}}, received {received}") from None
        most = self.ndim if self.ndim is not None else self.max_ndim
        if most is not None and self.axes and max(self.axes) >= most:
            _messages.fail("InputSpec", "axes", f"axes below {most}", max(self.axes))

    def problem(self, shape: Sequence[int | None]) -> str:
        """What was expected instead of `shape` (batch first), in words; empty where it fits."""
        found, wanted, count = tuple(shape), self.shape, len(shape)
        if self.ndim is not None and count != self.ndim and not self.allow_last_axis_squeeze:
            return f"{self.ndim} axes, the batch included"
        if self.min_ndim is not None and count < self.min_ndim:
            return f"at least {self.min_ndim} axes, the batch included"
        if self.max_ndim is not None and count > self.max_ndim:
            return f"at most {self.max_ndim} axes, the batch included"
        for axis, size in self.axes.items():
            if size is not None and found[axis] not in (size, None):
                return f"size {size} along axis {axis}"
        if self.allow_last_axis_squeeze:  # as in Keras, what one of the two has more is not looked at
            found = found[:-1] if found and found[-1] == 1 else found
            wanted = wanted[:-1] if wanted and wanted[-1] == 1 else wanted
        if wanted is not None and any(None not in (w, f) and w != f for w, f in zip(wanted, found)):
            return f"shape {wanted}"
        return ""

    def get_config(self) -> dict[str, Any]:
        """The description as plain data."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> InputSpec:
        """An object from `get_config()`'s dictionary."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"InputSpec({', '.join(f'{name}={value}' for name, value in self.get_config().items() if value)})"
