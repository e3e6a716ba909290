"""Variable: one array of a layer's weights, living in a flat native buffer."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastcnn import _core, _messages
from fastcnn._naming import auto_name


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
    draws: bool = False
    tables: int = 0
    sentence: tuple[str, str] = ("", "")


_allowance = _Allowance()
_USUAL_TABLES = 4 << 20  # bytes: some hundred metrics of 200 thresholds, or a confusion matrix of 700 classes


@contextlib.contextmanager
def limited(nbytes: int, operation: str, source: str, draws: bool = False) -> Iterator[None]:
    """While a model is made from a file: all weights together take at most `nbytes`, checked before memory is taken.

    A configuration of some words can ask for any amount of memory; the weights that belong to it lie in the same file, so a
    model that wants more of them than the file has bytes does not belong to it. As the file's numbers replace the
    first values, those are zeros here: no initializer runs, which could cost much time.

    Args:
        nbytes: the file's size.
        operation, source: for the sentence that refuses.
        draws: whether first values are drawn all the same: no numbers follow.

    Example:
        >>> import fastcnn as keras
        >>> with limited(99, "load_model", "m.keras"):
        ...     keras.layers.Dense(10**9, name="a").build((None, 4))
        Traceback (most recent call last):
            ...
        ValueError: load_model: filepath: expected weights for a/kernel of shape (4, 1000000000), received 'm.keras' of 99 bytes
    """
    before = _allowance.left, _allowance.tables, _allowance.sentence, _allowance.draws
    _allowance.left, _allowance.tables, _allowance.draws = nbytes, _USUAL_TABLES, draws
    of = f"{source!r} of {nbytes} bytes"
    _allowance.sentence = (operation, f"{source!r}; {nbytes >> 20} MB may be asked for" if draws else of)
    try:
        yield
    finally:
        _allowance.left, _allowance.tables, _allowance.sentence, _allowance.draws = before


def first_value(path: str, shape: tuple[int, ...], initializer: Any) -> Any:
    """A new variable's first value: what the initializer gives; zeros where a file's numbers will replace it."""
    if _allowance.left is None:
        return initializer(shape, dtype="float32")
    size = 4
    for length in shape:
        size *= int(length)
    charge(f"weights for {path} of shape {shape}", size)
    return initializer(shape, dtype="float32") if _allowance.draws else np.zeros(shape, np.float32)


def charge(what: str, nbytes: int) -> None:
    """Says that memory is going to be taken for what a configuration asks for; refused where a file is too small for it."""
    if _allowance.left is None:
        return
    if nbytes > _allowance.left:
        operation, source = _allowance.sentence
        _messages.fail(operation, "filepath", what, _messages.Text(source))
    _allowance.left -= nbytes


def charge_table(what: str, nbytes: int) -> None:
    """The same for what metrics keep, which no file holds: all of them together may take some usual amount for nothing."""
    if _allowance.left is not None and nbytes <= _allowance.tables:
        _allowance.tables -= nbytes
    else:
        charge(what, nbytes)


class Variable(NDArrayOperatorsMixin):
    """A named float32 array: a weight of a layer.

    Its numbers live in a native buffer that a model shares between all its variables. `value` and
    `np.asarray(variable)` are read-only views of them, without a copy, that follow training; writes go through
    `assign`.

    It computes as an array does (`variable * 2`, `variable @ x`, `variable[0]`, `np.exp(variable)`); only `==` compares
    objects, not numbers: variables are looked up in lists and dictionaries.

    Args:
        initializer: the first value, any shape; or an initializer, its name or a function, which needs `shape`.
        shape: the shape for an initializer.
        dtype: None or "float32": integers become float32 too.
        trainable: whether the optimizer changes it.
        autocast, aggregation, synchronization, layout: accepted as in Keras, without effect.
        name: short name, such as "kernel".
        path: the name that is unique in a model, such as "sequential/conv2d/kernel"; `name` by default.
        regularizer: penalty added to the loss while the variable is trained, or None.

    Raises:
        ValueError: a name with "/", an initializer without a shape, another dtype.

    Example:
        >>> import numpy as np
        >>> kernel = Variable(np.zeros((2, 3)), name="kernel")
        >>> _ = kernel.assign(np.ones((2, 3)))
        >>> float(np.sum(kernel))
        6.0

    See https://keras.io/api/utils/ (Variable).
    """

    dtype = "float32"
    aggregation = "none"
    synchronization = "auto"
    overwrite_with_gradient = False

    def __init__(
        self,
        initializer: Any,
        shape: Any = None,
        dtype: Any = None,
        trainable: bool = True,
        autocast: bool = True,
        aggregation: str | None = "none",
        synchronization: str | None = "auto",
        name: str | None = None,
        layout: Any = None,
        *,
        path: str | None = None,
        regularizer: Any = None,
    ) -> None:
        name = auto_name("Variable") if name is None else name
        if not isinstance(name, str) or "/" in name:
            _messages.fail("Variable", "name", "a string without '/'", name)
        if dtype is not None and np.dtype(dtype) != np.float32:
            _messages.fail("Variable", "dtype", "None or 'float32' (fastcnn supports no other)", dtype)
        first = _first_value(initializer, shape)
        value = np.ascontiguousarray(first, dtype=np.float32)
        self.name = name
        self.path = path or name
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint: Any = None
        self._shape: tuple[int, ...] = np.shape(first)
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

    def assign(self, value: ArrayLike) -> NDArray[np.float32]:
        """Replaces all numbers.

        Args:
            value: array of the variable's shape; any real dtype.

        Returns:
            The variable's `value`.

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
        return parameters.view(index)

    def assign_add(self, value: ArrayLike) -> NDArray[np.float32]:
        """Adds to all numbers; returns the variable's `value`.

        >>> Variable([1.0, 2.0]).assign_add([0.5, 0.5]).tolist()
        [1.5, 2.5]
        """
        return self.assign(self.value + np.asarray(value))

    def assign_sub(self, value: ArrayLike) -> NDArray[np.float32]:
        """Subtracts from all numbers; returns the variable's `value`."""
        return self.assign(self.value - np.asarray(value))

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

    # --- computing as an array does ------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `variable += 1` gives the name an array, as in Keras: numbers change through `assign` alone.
        if any(isinstance(target, Variable) for target in kwargs.get("out", ())):
            del kwargs["out"]
        plain = (value.value if isinstance(value, Variable) else value for value in inputs)
        return getattr(ufunc, method)(*plain, **kwargs)

    __eq__ = object.__eq__
    __ne__ = object.__ne__
    __hash__ = object.__hash__

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __int__(self) -> int:
        return int(self._one("int"))

    def __float__(self) -> float:
        return float(self._one("float"))

    def __bool__(self) -> bool:
        return bool(self._one("bool"))

    def __round__(self, ndigits: int | None = None) -> Any:
        return np.round(self.value, ndigits or 0)

    def _one(self, operation: str) -> Any:
        if self.size != 1:
            raise TypeError(f"{operation}: {self.path}: expected a variable of one number, received shape {self.shape}")
        return self.value.item()

    def __repr__(self) -> str:
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}, value={self.value}>"


def _first_value(initializer: Any, shape: Any) -> Any:
    """The array that a new variable starts from."""
    if isinstance(initializer, str):
        from fastcnn import initializers

        initializer = initializers.get(initializer)
    if not callable(initializer):
        return initializer
    if shape is None:
        _messages.fail("Variable", "shape", "a shape for the initializer", None)
    return initializer(tuple(shape), dtype="float32")


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
