"""Checks and conversion of x, y, sample_weight and class_weight.

x is handed to the native side as it is, whatever its dtype and strides: it is read there block by block. y and the
weights, which are small, are converted once. Nothing is changed where something is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages

# Losses whose labels are class numbers, and those whose labels 0 and 1 become -1 and 1.
SPARSE_LOSSES = ("sparse_categorical_crossentropy", "categorical_generalized_cross_entropy")
SIGNED_LOSSES = ("hinge", "squared_hinge")
_READ_NATIVELY = frozenset(np.dtype(code) for code in "?bBhHiIlLqQefd")


@dataclass(frozen=True)
class Dataset:
    """Arrays with one row a sample.

    x: the user's array, as it is. y: as the native loss reads it. labels: y as the user gave it, for metrics written in
    Python. sample_weight: float32, (n,) or (n, positions), or None.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    labels: NDArray[Any]
    sample_weight: NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.x)


def as_array(operation: str, argument: str, value: Any) -> NDArray[Any]:
    """`value` as a NumPy array of real numbers with one row a sample, without a copy where it is one."""
    if value is None:
        _messages.fail(operation, argument, "an array", None)
    try:
        array = value if type(value) is np.ndarray else np.asarray(value)
        if array.dtype.kind == "O" and hasattr(value, "iloc"):
            # A pandas frame of columns of several types; missing entries become NaN.
            array = value.to_numpy(dtype=np.float64, na_value=np.nan)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{operation}: {argument}: expected an array, received {_messages.show(value)} ({error})"
        ) from error
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        _messages.fail(operation, argument, "an array of real numbers", _messages.Text(f"dtype {array.dtype}"))
    if array.ndim == 0:
        _messages.fail(operation, argument, "an array with one row a sample", _messages.Text(f"a scalar ({array})"))
    return array


def as_inputs(operation: str, value: Any) -> NDArray[Any]:
    """`value` as an array x that the native side reads in place."""
    x = as_array(operation, "x", value)
    if x.dtype not in _READ_NATIVELY or not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("=") if x.dtype.newbyteorder("=") in _READ_NATIVELY else np.float64)
    if len(x) == 0:
        _messages.fail(operation, "x", "at least one sample", _messages.Text(f"shape {x.shape}"))
    return x


def check_input_shape(operation: str, x: NDArray[Any], input_shape: tuple[int, ...]) -> None:
    """Refuses samples that are not of `input_shape`; a last axis of 1 may be missing or extra, as in Keras."""
    sample = x.shape[1:]
    if sample != input_shape and (*sample, 1) != input_shape and sample != (*input_shape, 1):
        wanted = ", ".join(("n", *map(str, input_shape)))
        _messages.fail(operation, "x", f"shape ({wanted})", _messages.Text(f"shape {x.shape}"))


def prepare(
    operation: str,
    x: Any,
    y: Any,
    sample_weight: Any,
    class_weight: Any,
    output_shape: tuple[int, ...],
    loss: Mapping[str, Any],
) -> Dataset:
    """Checks and converts one data set for a model of `output_shape` and the loss that `Loss.native` describes.

    Args:
        operation: name for messages.
        x: inputs, from `as_inputs`.
        y: labels, one row a sample.
        sample_weight: None, (n,), (n, 1), or for an output of more axes (n, *positions), its last axis left out.
        class_weight: None or {class: weight}.

    Raises:
        ValueError: something does not fit.
    """
    labels = as_array(operation, "y", y)
    if len(labels) != len(x):
        _messages.fail(operation, "y", f"as many rows as x ({len(x)})", len(labels))
    targets = _targets(operation, labels, output_shape, loss)
    weights = None
    if sample_weight is not None:
        if class_weight is not None:
            raise ValueError(f"{operation}: class_weight: expected None where sample_weight is given, received both")
        positions = () if loss["kind"] == "host" else output_shape[:-1]
        weights = _sample_weights(operation, sample_weight, len(x), positions)
    elif class_weight is not None:
        weights = class_weights(operation, labels, class_weight)
    return Dataset(x, targets, labels, weights)


def _targets(
    operation: str, labels: NDArray[Any], output_shape: tuple[int, ...], loss: Mapping[str, Any]
) -> NDArray[np.float32] | NDArray[np.int32]:
    loss_kind = loss["kind"]
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        bad = labels[~np.isfinite(labels)].flat[0]
        _messages.fail(operation, "y", "finite labels", _messages.Text(str(bad)))
    if loss_kind == "host":
        return np.ascontiguousarray(labels, dtype=np.float32)
    if loss_kind in SPARSE_LOSSES:
        return _class_numbers(operation, labels, output_shape, loss_kind, loss.get("ignore_class"))
    shapes = [output_shape]
    if output_shape and output_shape[-1] == 1:
        shapes.append(output_shape[:-1])
    if labels.shape[1:] not in shapes and labels.shape[1:] != (*output_shape, 1):
        wanted = " or ".join(_rows(shape) for shape in shapes)
        hint = ""
        if loss_kind.startswith("categorical") and labels.shape[1:] in (output_shape[:-1], (*output_shape[:-1], 1)):
            hint = " (class numbers: use the loss sparse_categorical_crossentropy or keras.utils.to_categorical)"
        _messages.fail(operation, "y", f"shape {wanted} for {loss_kind}", _messages.Text(f"shape {labels.shape}{hint}"))
    if loss_kind == "binary_crossentropy":
        low, high = labels.min(), labels.max()
        if low < 0 or high > 1:
            _messages.fail(
                operation, "y", f"labels from 0 to 1 for {loss_kind}", _messages.Text(str(low if low < 0 else high))
            )
    targets = np.ascontiguousarray(labels, dtype=np.float32)
    if loss_kind in SIGNED_LOSSES and ((targets == 0) | (targets == 1)).all():
        targets = 2 * targets - 1
    return targets.reshape(len(labels), *output_shape)


def _class_numbers(
    operation: str, labels: NDArray[Any], output_shape: tuple[int, ...], loss_kind: str, ignored: int | None
) -> NDArray[np.int32]:
    classes, positions = output_shape[-1], output_shape[:-1]
    if labels.shape[1:] not in (positions, (*positions, 1)):
        hint = ""
        if labels.shape[1:] == output_shape:
            hint = " (one-hot labels: use the loss categorical_crossentropy)"
        wanted = f"{_rows(positions)} or {_rows((*positions, 1))}"
        _messages.fail(operation, "y", f"shape {wanted} for {loss_kind}", _messages.Text(f"shape {labels.shape}{hint}"))
    counted = labels if ignored is None else np.where(labels == ignored, 0, labels)
    low, high = counted.min(), counted.max()
    if low < 0 or high >= classes:
        expected = f"class numbers from 0 to {classes - 1} for {loss_kind}"
        _messages.fail(operation, "y", expected, _messages.Text(str(low if low < 0 else high)))
    numbers = labels.astype(np.int32)
    if labels.dtype.kind == "f" and not (numbers == labels).all():
        bad = labels[numbers != labels].flat[0]
        _messages.fail(operation, "y", f"whole class numbers for {loss_kind}", _messages.Text(str(bad)))
    return np.ascontiguousarray(numbers.reshape(len(labels), *positions))


def _sample_weights(operation: str, sample_weight: Any, n: int, positions: tuple[int, ...]) -> NDArray[np.float32]:
    """(n,), or (n, rows) where there is a weight for each of a sample's positions."""
    weights = as_array(operation, "sample_weight", sample_weight)
    by_position = bool(positions) and weights.shape in ((n, *positions), (n, *positions, 1))
    if weights.shape not in ((n,), (n, 1)) and not by_position:
        expected = f"shape ({n},)" + (f" or {(n, *positions)}" if positions else "")
        _messages.fail(operation, "sample_weight", expected, _messages.Text(f"shape {weights.shape}"))
    if weights.dtype.kind == "f" and not np.isfinite(weights).all():
        _messages.fail(
            operation, "sample_weight", "finite numbers", _messages.Text(str(weights[~np.isfinite(weights)][0]))
        )
    weights = np.ascontiguousarray(weights, dtype=np.float32)
    return weights.reshape(n, -1) if by_position else weights.reshape(n)


def class_weights(operation: str, labels: NDArray[Any], class_weight: Any) -> NDArray[np.float32]:
    """The weight of each sample's class; 1 where `class_weight` does not name it. One-hot rows: their largest entry."""
    if not isinstance(class_weight, Mapping):
        _messages.fail(operation, "class_weight", "a dictionary from class numbers to weights", class_weight)
    numbers = labels
    if labels.ndim > 1:
        numbers = labels[..., 0] if labels.shape[-1] == 1 else labels.argmax(axis=-1)
    if numbers.ndim != 1:
        _messages.fail(operation, "class_weight", "None for labels with several classes a sample", class_weight)
    numbers = np.round(numbers.astype(np.float64)).astype(np.int64)
    weights = np.ones(len(numbers), np.float32)
    for number, weight in class_weight.items():
        if not (_messages.is_integer(number) and isinstance(weight, (int, float, np.number)) and math.isfinite(weight)):
            _messages.fail(operation, "class_weight", "class numbers with finite weights", class_weight)
        weights[numbers == int(number)] = weight
    return weights


def split(operation: str, fraction: Any, *arrays: NDArray[Any] | None) -> tuple[list[Any], list[Any]]:
    """The first rows of `arrays` for training, the unshuffled last `fraction` of them for validation."""
    share = _messages.real(operation, "validation_split", fraction, "a number from 0 to below 1", 0.0, 1.0)
    n = next(len(a) for a in arrays if a is not None)
    at = math.floor(n * (1.0 - share))
    if not 0 < at < n:
        expected = f"a share of the {n} samples that leaves some on both sides"
        _messages.fail(operation, "validation_split", expected, fraction)
    return [a if a is None else a[:at] for a in arrays], [a if a is None else a[at:] for a in arrays]


def _rows(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(("n", *map(str, shape))) + ("," if not shape else "") + ")"
