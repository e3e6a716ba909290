"""Losses that tie elements of a whole batch together: overlaps of masks, and circle loss. Computed with NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn.losses.functions import Float, check_number
from fastcnn.losses.loss import Backward, Loss
from fastcnn.utils.numerical import match_ranks

_EPSILON = np.float32(1e-7)
Axis = int | Sequence[int] | None


def _masks(operation: str, y_true: ArrayLike, y_pred: ArrayLike) -> tuple[Float, Float]:
    target, prediction = match_ranks(np.asarray(y_true, np.float32), np.asarray(y_pred, np.float32))
    if target.shape != prediction.shape:
        raise ValueError(
            f"{operation}: y_true: expected the shape of y_pred, {np.shape(y_pred)}, received {np.shape(y_true)}"
        )
    return target, prediction


def _axes(axis: Axis) -> int | tuple[int, ...] | None:
    return axis if axis is None or isinstance(axis, int) else tuple(axis)


class _Overlap(Loss):
    """1 - I / D for two sums over `axis` that are linear in the predictions."""

    axis: Axis = None

    def _sums(self, target: Float, prediction: Float) -> tuple[Float, Float, Float, Any]:
        """I and D, kept dimensions, and their derivatives by each prediction."""
        raise NotImplementedError

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[Any]:
        part, whole, _, _ = self._sums(*_masks(self.name, y_true, y_pred))
        return np.asarray(1 - np.squeeze(part / whole, _axes(self.axis)))

    def _evaluate(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> tuple[NDArray[Any], Backward]:
        def backward(factors: NDArray[Any]) -> NDArray[Any]:
            part, whole, by_part, by_whole = self._sums(*_masks(self.name, y_true, y_pred))
            axes = _axes(self.axis)
            kept = np.reshape(factors, part.shape) if axes is None else np.expand_dims(factors, axes)
            return self._shaped(-kept * (by_part * whole - part * by_whole) / whole**2, y_pred)

        return self.call(y_true, y_pred), backward


class Dice(_Overlap):
    """1 - 2 sum(t p) / (sum t + sum p + 1e-7): how little two masks overlap.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        axis: the axes of the sums; None: one loss of the whole batch.
        dtype: see `Loss`.

    Example:
        >>> round(Dice()([[1.0, 0.0]], [[0.5, 0.5]]), 4)
        0.5

    See https://keras.io/api/losses/regression_losses/
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "dice",
        axis: Axis = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.axis = axis

    def _sums(self, target: Float, prediction: Float) -> tuple[Float, Float, Float, Any]:
        def total(values: Float) -> Float:
            return np.asarray(np.sum(values, axis=_axes(self.axis), keepdims=True))

        return 2 * total(target * prediction), total(target) + total(prediction) + _EPSILON, 2 * target, np.float32(1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


class Tversky(_Overlap):
    """1 - I / (I + alpha sum((1 - p) t) + beta sum(p (1 - t)) + 1e-7), I = sum(t p) (Salehi et al., 2017).

    Args:
        alpha: the weight of what was missed.
        beta: the weight of what was taken too much.
        reduction: see `Loss`.
        name: the loss's name.
        axis: the axes of the sums; None: one loss of the whole batch.
        dtype: see `Loss`.

    Example:
        >>> round(Tversky()([[1.0, 0.0]], [[0.5, 0.5]]), 4)
        0.5

    See https://keras.io/api/losses/regression_losses/
    """

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "tversky",
        axis: Axis = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.alpha = check_number("Tversky", "alpha", alpha, "a number", float("-inf"))
        self.beta = check_number("Tversky", "beta", beta, "a number", float("-inf"))
        self.axis = axis

    def _sums(self, target: Float, prediction: Float) -> tuple[Float, Float, Float, Any]:
        alpha, beta = np.float32(self.alpha), np.float32(self.beta)

        def total(values: Float) -> Float:
            return np.asarray(np.sum(values, axis=_axes(self.axis), keepdims=True))

        both = total(target * prediction)
        whole = both + alpha * total((1 - prediction) * target) + beta * total(prediction * (1 - target)) + _EPSILON
        return both, whole, target, target - alpha * target + beta * (1 - target)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta, "axis": self.axis}


def dice(y_true: ArrayLike, y_pred: ArrayLike, axis: Axis = None) -> Float:
    """Returns 1 - 2 sum(t p) / (sum t + sum p + 1e-7).

    Args:
        y_true: masks t, (batch, ...).
        y_pred: masks p of the same shape.
        axis: the axes of the sums; None: all.

    Returns:
        float32, the other axes.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> float(dice([[1.0, 0.0]], [[0.5, 0.5]]))
        0.5

    See https://keras.io/api/losses/
    """
    return Dice(axis=axis).call(y_true, y_pred)


def tversky(y_true: ArrayLike, y_pred: ArrayLike, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None) -> Float:
    """Returns 1 - I / (I + alpha sum((1 - p) t) + beta sum(p (1 - t)) + 1e-7), I = sum(t p).

    Args:
        y_true: masks t, (batch, ...).
        y_pred: masks p of the same shape.
        alpha: the weight of what was missed.
        beta: the weight of what was taken too much.
        axis: the axes of the sums; None: all.

    Returns:
        float32, the other axes.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> round(float(tversky([[1.0, 0.0]], [[0.5, 0.5]])), 4)
        0.5

    See https://keras.io/api/losses/
    """
    return Tversky(alpha, beta, axis=axis).call(y_true, y_pred)


def _log_sum_exp(scores: Float, chosen: NDArray[np.bool_]) -> tuple[Float, Float]:
    """log sum e^score over the chosen ones of each row, and its derivative; -infinity and 0 where there are none."""
    kept = np.where(chosen, scores, -np.inf)
    highest = kept.max(axis=1, keepdims=True)
    shift = np.where(np.isfinite(highest), highest, 0)
    powers = np.exp(kept - shift)
    sums = powers.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return (np.log(sums) + shift)[:, 0], powers / np.where(sums > 0, sums, 1)


class _Circle:
    """The losses of embeddings against references, and what their gradient needs.

    With the distances D = max(1 - P R^T, 0), of pairs of one class s = -gamma (margin + D) (margin - D), of others
    s = gamma max(1 + margin - D, 0) (1 - margin - D): softplus(log sum e^s of the first + log sum e^s of the second).
    """

    def __init__(
        self, labels: ArrayLike, embeddings: ArrayLike, ref_labels: Any, ref_embeddings: Any, remove_diagonal: bool,
        gamma: float, margin: float,
    ) -> None:  # fmt: skip
        self.embeddings = np.asarray(embeddings, np.float32)
        references = self.embeddings if ref_embeddings is None else np.asarray(ref_embeddings, np.float32)
        rows = np.asarray(labels).astype(np.int32).reshape(-1, 1)
        columns = rows if ref_labels is None else np.asarray(ref_labels).astype(np.int32).reshape(-1, 1)
        if self.embeddings.ndim != 2 or len(rows) != len(self.embeddings) or len(columns) != len(references):
            raise ValueError(
                f"circle: y_true: expected one class number for each of the embeddings {self.embeddings.shape}, "
                f"received {np.shape(labels)}"
            )
        positive = rows == columns.T
        negative = ~positive
        if remove_diagonal:
            positive &= np.eye(*positive.shape) == 0
        similarity = self.embeddings @ references.T
        distance = np.maximum(1 - similarity, 0)
        g, m = np.float32(gamma), np.float32(margin)
        reach = np.maximum(1 + m - distance, 0)
        positives, by_positive = _log_sum_exp(-g * (m + distance) * (m - distance), positive)
        negatives, by_negative = _log_sum_exp(g * reach * (1 - m - distance), negative)
        score = positives + negatives
        self.losses = np.asarray(np.logaddexp(0, score), np.float32)
        slope = by_positive * 2 * g * distance - by_negative * g * (reach + (reach > 0) * (1 - m - distance))
        self._by_similarity = np.where(similarity < 1, -slope, 0) * np.exp(score - self.losses)[:, None]

    def backward(self, factors: NDArray[Any]) -> NDArray[Any]:
        """The gradient where the embeddings are their own references."""
        by_similarity = np.reshape(factors, (-1, 1)) * self._by_similarity
        return np.asarray((by_similarity + by_similarity.T) @ self.embeddings, np.float32)


def circle(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    ref_labels: ArrayLike | None = None,
    ref_embeddings: ArrayLike | None = None,
    remove_diagonal: bool = True,
    gamma: float = 80,
    margin: float = 0.4,
) -> Float:
    """Returns the circle loss of each embedding (Sun et al., 2020).

    Args:
        y_true: class numbers, (batch,).
        y_pred: normalised embeddings, (batch, d).
        ref_labels, ref_embeddings: what they are compared with; the batch itself by default.
        remove_diagonal: whether an embedding is not compared with itself.
        gamma: the scale of the scores.
        margin: the margin m of the paper.

    Returns:
        float32, (batch,).

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> circle([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).round(4)
        array([0., 0., 0.], dtype=float32)

    See https://keras.io/api/losses/
    """
    return _Circle(y_true, y_pred, ref_labels, ref_embeddings, remove_diagonal, gamma, margin).losses


class Circle(Loss):
    """Circle loss: embeddings of one class come together, those of others apart (Sun et al., 2020).

    Labels are class numbers, predictions normalised embeddings (batch, d); each is compared with the others of the batch.

    Args:
        gamma: the scale of the scores.
        margin: the margin m of the paper.
        remove_diagonal: whether an embedding is not compared with itself.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(Circle(gamma=1.0)([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 4)
        0.5459

    See https://keras.io/api/losses/
    """

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.gamma = check_number("Circle", "gamma", gamma, "a number", float("-inf"))
        self.margin = check_number("Circle", "margin", margin, "a number", float("-inf"))
        self.remove_diagonal = bool(remove_diagonal)

    def call(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[Any]:
        return circle(y_true, y_pred, None, None, self.remove_diagonal, self.gamma, self.margin)

    def _evaluate(self, y_true: NDArray[Any], y_pred: NDArray[Any]) -> tuple[NDArray[Any], Backward]:
        found = _Circle(y_true, y_pred, None, None, self.remove_diagonal, self.gamma, self.margin)
        return found.losses, found.backward

    def _valid(self, y_true: ArrayLike, y_pred: ArrayLike) -> NDArray[np.bool_] | None:
        return np.asarray(self.call(y_true, y_pred) > 0)

    def get_config(self) -> dict[str, Any]:
        own = {"gamma": self.gamma, "margin": self.margin, "remove_diagonal": self.remove_diagonal}
        return {**super().get_config(), **own}
