"""Variable: one array of a layer's weights, living in a flat native buffer."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastcnn import _core, _messages


class Structure:
    """Counts the changes after which a model may need another native network; models compare it in every call."""

    version = 0

    @classmethod
    def changed(cls) -> None:
        """A variable moved, or a layer or model would describe itself differently."""
        cls.version += 1


class _Running(threading.local):
    python_layer = False


# Whether this thread computes a layer written in Python for a native plan, which holds the variables' locks.
Running = _Running()


class _Allowance(threading.local):
    left: int | None = None
    sentence: tuple[str, str] = ("", "")


_allowance = _Allowance()


@contextlib.contextmanager
def limited(nbytes: int, operation: str, source: str) -> Iterator[None]:
    """While a model is made from a file: all weights together take at most `nbytes`, checked before memory is taken.

    A configuration of some words can ask for any amount of memory; the weights that belong to it lie in the same file, so a
    model that wants more of them than the file has bytes does not belong to it. As the file's numbers replace the
    first values, those are zeros here: no initializer runs, which could cost much time.

    Args:
        nbytes: the file's size.
        operation, source: for the sentence that refuses.

    Example:
        >>> import fastcnn as keras
        >>> with limited(99, "load_model", "m.keras"):
        ...     keras.layers.Dense(10**9, name="a").build((None, 4))
        Traceback (most recent call last):
            ...
        ValueError: load_model: filepath: expected weights for a/kernel of shape (4, 1000000000), received 'm.keras' of 99 bytes
    """
    before = _allowance.left, _allowance.sentence
    _allowance.left, _allowance.sentence = nbytes, (operation, f"{source!r} of {nbytes} bytes")
    try:
        yield
    finally:
        _allowance.left, _allowance.sentence = before


def first_value(path: str, shape: tuple[int, ...], initializer: Any) -> Any:
    """A new variable's first value: what the initializer gives; zeros where a file's numbers will replace it."""
    if _allowance.left is None:
        return initializer(shape, dtype="float32")
    size = 4
    for length in shape:
        size *= int(length)
    if size > _allowance.left:
        operation, source = _allowance.sentence
        _messages.fail(operation, "filepath", f"weights for {path} of shape {shape}", _messages.Text(source))
    _allowance.left -= size
    return np.zeros(shape, np.float32)


class Variable:
    """A named float32 array: a weight of a layer.

    Its numbers live in a native buffer that a model shares between all its variables. `value` and
    `np.asarray(variable)` are read-only views of them, without a copy, that follow training; writes go through
    `assign`.

    Args:
        initial_value: the first value, any shape.
        name: short name, such as "kernel".
        path: the name that is unique in a model, such as "sequential/conv2d/kernel"; `name` by default.
        trainable: whether the optimizer changes it.
        regularizer: penalty added to the loss while the variable is trained, or None.

    Example:
        >>> import numpy as np
        >>> kernel = Variable(np.zeros((2, 3)), name="kernel")
        >>> kernel.assign(np.ones((2, 3)))
        >>> float(np.sum(kernel))
        6.0

    See https://keras.io/api/utils/ (Variable).
    """

    dtype = "float32"

    def __init__(
        self,
        initial_value: ArrayLike,
        name: str = "variable",
        path: str | None = None,
        trainable: bool = True,
        regularizer: Any = None,
    ) -> None:
        value = np.ascontiguousarray(initial_value, dtype=np.float32)
        self.name = name
        self.path = path or name
        self.trainable = trainable
        self.regularizer = regularizer
        self._shape: tuple[int, ...] = np.shape(initial_value)
        parameters = _core.Parameters([self._shape])
        parameters.assign(0, value.reshape(self._shape))
        # Replaced as a whole where a model moves the variable into its own buffer: `is` tells whether it moved.
        self._binding: tuple[_core.Parameters, int] = (parameters, 0)
        self._owner: weakref.ref[object] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self._shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self._shape, dtype=np.int64))

    @property
    def value(self) -> NDArray[np.float32]:
        """The numbers themselves: a read-only view without a copy, valid until the variable joins another model."""
        parameters, index = self._binding
        return parameters.view(index)

    def numpy(self) -> NDArray[np.float32]:
        """A copy of the numbers as they are now."""
        return np.array(self.value)

    def assign(self, value: ArrayLike) -> None:
        """Replaces all numbers.

        Args:
            value: array of the variable's shape; any real dtype.

        Raises:
            ValueError: another shape, or not numbers.
            RuntimeError: called by a layer written in Python while a model runs it.
        """
        if Running.python_layer:
            raise RuntimeError(
                f"{self.path}.assign: expected no call from a layer's call() or backward(), which run while the model's "
                "weights are in use"
            )
        parameters, index = self._binding
        parameters.assign(index, self._checked(value))

    def _checked(self, value: ArrayLike) -> NDArray[np.float32]:
        """`value` as what `assign` stores, or the ValueError that refuses it."""
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
            _messages.fail(f"{self.path}.assign", "value", "an array of real numbers", array.dtype)
        if array.shape != self._shape:
            _messages.fail(f"{self.path}.assign", "value", f"shape {self._shape}", array.shape)
        # ascontiguousarray gives a scalar one axis: the reshape takes it away again.
        return np.ascontiguousarray(array, dtype=np.float32).reshape(self._shape)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and deep copies: the numbers instead of the place where they live."""
        state = {name: value for name, value in self.__dict__.items() if name not in ("_binding", "_owner")}
        return {**state, "value": self.numpy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        self._binding = (_core.Parameters([state["_shape"]]), 0)
        self._owner = None
        value = state.pop("value")
        self.__dict__.update(state)
        self.assign(value)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        view = self.value
        if dtype is not None and np.dtype(dtype) != view.dtype:
            if copy is False:
                _messages.fail(self.path, "copy", f"True or None for dtype {np.dtype(dtype)}", copy)
            return view.astype(dtype)
        return np.array(view) if copy else view

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, value={self.value}>"


def join(variables: list[Variable], owner: object) -> None:
    """Moves those of `variables` that belong to no other living model into one buffer of `owner`.

    Variables of another model stay where they are: that model's network reads them there. Nothing moves where all
    are at home already.
    """
    mine = [v for v in variables if v._owner is None or v._owner() in (None, owner)]
    if all(v._owner is not None and v._owner() is owner for v in mine):
        return
    parameters = _core.Parameters([v.shape for v in mine])
    for index, variable in enumerate(mine):
        parameters.assign(index, np.ascontiguousarray(variable.value).reshape(variable.shape))
    reference = weakref.ref(owner)
    for index, variable in enumerate(mine):
        variable._binding = (parameters, index)
        variable._owner = reference
    Structure.changed()
