"""Checks of arguments, and the one style of sentence for what they refuse.

Every refusal reads "operation: argument: expected ..., received ..." and is a ValueError.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

_LONGEST = 80


class Text(str):
    """Words that a message shows without quotes."""

    __slots__ = ()


def show(value: object) -> str:
    """`value` as a message shows it: its repr, cut where it would fill the screen; a `Text` as it is."""
    if isinstance(value, Text):
        return value
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def fail(operation: str, argument: str, expected: str, received: object) -> NoReturn:
    """Raises the ValueError for one wrong argument.

    >>> fail("Conv2D", "filters", "a positive integer", -1)
    Traceback (most recent call last):
        ...
    ValueError: Conv2D: filters: expected a positive integer, received -1
    """
    raise ValueError(f"{operation}: {argument}: expected {expected}, received {show(received)}")


class NoFileError(FileNotFoundError, ValueError):
    """A path where there is no file, or no folder for one: Keras raises the one class here and the other there."""


def no_file(operation: str, argument: str, expected: str, path: object) -> NoReturn:
    """Raises the NoFileError: `fail`'s sentence."""
    raise NoFileError(f"{operation}: {argument}: expected {expected}, received {show(str(path))}")


def is_integer(value: object) -> bool:
    """True for Python and NumPy integers; bool is not a number here."""
    return type(value) is int or (isinstance(value, numbers.Integral) and not isinstance(value, bool))


def integer(operation: str, argument: str, value: Any, minimum: int = 1) -> int:
    """`value` as int, at least `minimum`."""
    if is_integer(value) and value >= minimum:
        return int(value)
    kinds = {1: "a positive integer", 0: "a non-negative integer"}
    fail(operation, argument, kinds.get(minimum, f"an integer of at least {minimum}"), value)


def real(operation: str, argument: str, value: Any, expected: str, low: float, high: float = math.inf) -> float:
    """`value` as float with low <= value <= high; `expected` says so in words."""
    # NumPy's scalars register as numbers.Real too.
    number = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    if low <= number <= high:
        return number
    fail(operation, argument, expected, value)


def pair(operation: str, argument: str, value: Any) -> tuple[int, int]:
    """A positive integer or two of them, as (height, width).

    >>> pair("MaxPooling2D", "pool_size", 2)
    (2, 2)
    """
    if is_integer(value) and value >= 1:
        return int(value), int(value)
    entries = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(entries) == 2 and all(is_integer(v) and v >= 1 for v in entries):
        return int(entries[0]), int(entries[1])
    fail(operation, argument, "a positive integer or two of them", value)


def integers(operation: str, argument: str, value: Any, count: int, minimum: int = 1) -> tuple[int, ...]:
    """An integer, repeated `count` times, or a sequence of `count` of them.

    >>> integers("Conv1D", "kernel_size", 3, 1), integers("UpSampling2D", "size", (2, 3), 2)
    ((3,), (2, 3))
    """
    if is_integer(value) and value >= minimum:
        return (int(value),) * count
    entries = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(entries) == count and all(is_integer(v) and v >= minimum for v in entries):
        return tuple(int(v) for v in entries)
    kind = "a positive integer" if minimum > 0 else "a non-negative integer"
    fail(operation, argument, kind + (" or two of them" if count == 2 else ""), value)


def choice(operation: str, argument: str, value: Any, choices: Iterable[str]) -> str:
    """One of `choices`, in any case."""
    names = list(choices)
    if isinstance(value, str) and value.lower() in names:
        return value.lower()
    fail(operation, argument, " or ".join(repr(name) for name in names), value)


def flag(operation: str, argument: str, value: Any) -> bool:
    """A bool (Python's or NumPy's) or the integers 0 and 1."""
    if isinstance(value, numbers.Integral) and value in (0, 1):
        return bool(value)
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    fail(operation, argument, "True or False", value)


def shape(operation: str, argument: str, value: Any) -> tuple[int, ...]:
    """One sample's shape: a sequence of positive integers (one integer stands for a single axis)."""
    entries = (value,) if is_integer(value) else value
    whole = isinstance(entries, Sequence) and not isinstance(entries, str)
    if whole and all(is_integer(v) and v >= 1 for v in entries):
        return tuple(int(v) for v in entries)
    fail(operation, argument, "a shape of positive integers (without the batch size)", value)


def only(operation: str, argument: str, value: Any, accepted: Sequence[Any]) -> None:
    """Refuses a Keras argument's value that fastcnn does not support; `accepted` are those it does."""
    for known in accepted:
        if value is known or (type(value) is type(known) and value == known):
            return
    listed = " or ".join(repr(v) for v in accepted)
    fail(operation, argument, f"{listed} (fastcnn supports no other)", value)
