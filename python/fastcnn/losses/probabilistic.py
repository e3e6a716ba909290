"""Losses of probabilities beside the cross-entropies: focal ones, divergence, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from fastcnn import _messages
from fastcnn.losses.functions import Float, check_axis, check_number, check_smoothing, row_losses
from fastcnn.losses.native import NativeLoss


def kl_divergence(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns sum t log(t / p) over the last axis, t and p clipped to [1e-7, 1].

    Args:
        y_true: probabilities t, (batch, ..., d).
        y_pred: probabilities p of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> kl_divergence([[0.0, 1.0]], [[0.5, 0.5]])
        array([0.69314563], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#kldivergence-function
    """
    return row_losses("kl_divergence", y_true, y_pred)


class KLDivergence(NativeLoss):
    """Mean of sum t log(t / p), the divergence of the predicted probabilities p from t.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(KLDivergence()([[0.0, 1.0]], [[0.5, 0.5]]), 4)
        0.6931

    See https://keras.io/api/losses/probabilistic_losses/#kldivergence-class
    """

    function = staticmethod(kl_divergence)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "kl_divergence",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)

    @property
    def _kind(self) -> str:
        return "kl_divergence"


def poisson(y_true: ArrayLike, y_pred: ArrayLike) -> Float:
    """Returns the mean of y_pred - y_true log(y_pred + 1e-7) over the last axis.

    Args:
        y_true: labels, (batch, ..., d).
        y_pred: predictions of the same shape.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> poisson([[1.0, 2.0]], [[1.0, 1.0]])
        array([0.9999998], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#poisson-function
    """
    return row_losses("poisson", y_true, y_pred)


class Poisson(NativeLoss):
    """Mean of y_pred - y_true log(y_pred + 1e-7), for counts.

    Args:
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(Poisson()([[1.0, 2.0]], [[1.0, 1.0]]), 4)
        1.0

    See https://keras.io/api/losses/probabilistic_losses/#poisson-class
    """

    function = staticmethod(poisson)

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "poisson",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)


def _binary_focal(alpha: float, gamma: float, apply_class_balancing: bool) -> dict[str, Any]:
    return {"a": gamma, "b": alpha if apply_class_balancing else None}


def _check_gamma(operation: str, gamma: Any) -> float:
    return check_number(operation, "gamma", gamma, "a number of at least 0", 0.0)


def _check_share(operation: str, argument: str, value: Any) -> float:
    return check_number(operation, argument, value, "a number in [0, 1]", 0.0, 1.0)


def binary_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Float:
    """Returns the mean over `axis` of the binary cross-entropies times m^gamma, m = t (1 - p) + (1 - t) p.

    Args:
        y_true: labels t in [0, 1], (batch, ..., d).
        y_pred: probabilities p, or logits, of the same shape.
        apply_class_balancing: whether labels 1 are weighted with alpha and labels 0 with 1 - alpha.
        alpha: the weight of labels 1.
        gamma: the focusing exponent.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / 2.
        axis: the axis of the mean.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ, or a setting outside of its values.

    Example:
        >>> binary_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
        array([0.1732868], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#binaryfocalcrossentropy-function
    """
    operation = "binary_focal_crossentropy"
    settings = _binary_focal(
        _check_share(operation, "alpha", alpha), _check_gamma(operation, gamma), apply_class_balancing
    )
    return row_losses(operation, y_true, y_pred, axis, from_logits, label_smoothing, **settings)


class BinaryFocalCrossentropy(NativeLoss):
    """Mean of binary cross-entropies times m^gamma, m = t (1 - p) + (1 - t) p: what is certain counts less.

    Args:
        apply_class_balancing: whether labels 1 are weighted with alpha and labels 0 with 1 - alpha.
        alpha: the weight of labels 1.
        gamma: the focusing exponent.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / 2.
        axis: the axis of the mean.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(BinaryFocalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]), 4)
        0.1733

    See https://keras.io/api/losses/probabilistic_losses/#binaryfocalcrossentropy-class
    """

    function = staticmethod(binary_focal_crossentropy)

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "binary_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.apply_class_balancing = bool(apply_class_balancing)
        self.alpha = _check_share("BinaryFocalCrossentropy", "alpha", alpha)
        self.gamma = _check_gamma("BinaryFocalCrossentropy", gamma)
        self.from_logits = bool(from_logits)
        self.label_smoothing = check_smoothing("BinaryFocalCrossentropy", label_smoothing)
        self.axis = check_axis("BinaryFocalCrossentropy", axis)

    def _settings(self) -> dict[str, Any]:
        return {
            "apply_class_balancing": self.apply_class_balancing,
            "alpha": self.alpha,
            "gamma": self.gamma,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }

    def _kernel_settings(self) -> dict[str, Any]:
        return _binary_focal(self.alpha, self.gamma, self.apply_class_balancing)


def _categorical_focal(operation: str, alpha: Any, gamma: float) -> dict[str, Any]:
    if isinstance(alpha, Sequence) or getattr(alpha, "ndim", 0) == 1:
        weights = [check_number(operation, "alpha", w, "a number or one for each class", float("-inf")) for w in alpha]
        return {"a": gamma, "class_weights": weights}
    return {"a": gamma, "b": check_number(operation, "alpha", alpha, "a number or one for each class", float("-inf"))}


def categorical_focal_crossentropy(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Float:
    """Returns -sum alpha (1 - p)^gamma t log p over the classes.

    Args:
        y_true: one-hot rows or probabilities t, (batch, ..., classes).
        y_pred: probabilities p (each row is divided by its sum), or logits, of the same shape.
        alpha: the weight of all classes, or one for each.
        gamma: the focusing exponent.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / classes.
        axis: the axis of the classes.

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes differ, or a setting outside of its values.

    Example:
        >>> categorical_focal_crossentropy([[0, 1]], [[0.5, 0.5]])
        array([0.0433217], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#categoricalfocalcrossentropy-function
    """
    operation = "categorical_focal_crossentropy"
    settings = _categorical_focal(operation, alpha, _check_gamma(operation, gamma))
    return row_losses(operation, y_true, y_pred, axis, from_logits, label_smoothing, **settings)


class CategoricalFocalCrossentropy(NativeLoss):
    """Mean of -sum alpha (1 - p)^gamma t log p over the classes: what is certain counts less.

    Args:
        alpha: the weight of all classes, or one for each.
        gamma: the focusing exponent.
        from_logits: whether predictions are logits instead of probabilities.
        label_smoothing: s in [0, 1]: t becomes t (1 - s) + s / classes.
        axis: the axis of the classes.
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(CategoricalFocalCrossentropy()([[0, 1]], [[0.5, 0.5]]), 4)
        0.0433

    See https://keras.io/api/losses/probabilistic_losses/#categoricalfocalcrossentropy-class
    """

    function = staticmethod(categorical_focal_crossentropy)

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_focal_crossentropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.alpha = alpha
        self.gamma = _check_gamma("CategoricalFocalCrossentropy", gamma)
        self.from_logits = bool(from_logits)
        self.label_smoothing = check_smoothing("CategoricalFocalCrossentropy", label_smoothing)
        self.axis = check_axis("CategoricalFocalCrossentropy", axis)
        self._kernel_settings()  # refuses a wrong alpha now

    def _settings(self) -> dict[str, Any]:
        return {
            "alpha": self.alpha,
            "gamma": self.gamma,
            "from_logits": self.from_logits,
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }

    def _kernel_settings(self) -> dict[str, Any]:
        return _categorical_focal("CategoricalFocalCrossentropy", self.alpha, self.gamma)


def categorical_generalized_cross_entropy(y_true: ArrayLike, y_pred: ArrayLike, q: float) -> Float:
    """Returns (1 - p^q) / q of each sample's class: between cross-entropy (q near 0) and absolute error (q = 1).

    Args:
        y_true: class numbers, (batch, ...) or (batch, ..., 1).
        y_pred: probabilities p, (batch, ..., classes).
        q: the exponent, in (0, 1).

    Returns:
        float32, (batch, ...).

    Raises:
        ValueError: the shapes do not fit, or a class lies outside of [0, classes).

    Example:
        >>> categorical_generalized_cross_entropy([1], [[0.75, 0.25]], q=0.5)
        array([1.], dtype=float32)

    See https://keras.io/api/losses/probabilistic_losses/#categoricalgeneralizedcrossentropy-class
    """
    return row_losses("categorical_generalized_cross_entropy", y_true, y_pred, a=_check_q(q))


def _check_q(q: Any) -> float:
    value = check_number("CategoricalGeneralizedCrossEntropy", "q", q, "a number in (0, 1)", 0.0, 1.0)
    if value in (0.0, 1.0):
        _messages.fail("CategoricalGeneralizedCrossEntropy", "q", "a number in (0, 1)", q)
    return value


class CategoricalGeneralizedCrossEntropy(NativeLoss):
    """Mean of (1 - p^q) / q of the sample's class, which mislabelled samples harm less (Zhang & Sabuncu, 2018).

    Args:
        q: the exponent, in (0, 1).
        reduction: see `Loss`.
        name: the loss's name.
        dtype: see `Loss`.

    Example:
        >>> round(CategoricalGeneralizedCrossEntropy()([1], [[0.75, 0.25]]), 4)
        1.0

    See https://keras.io/api/losses/probabilistic_losses/#categoricalgeneralizedcrossentropy-class
    """

    function = staticmethod(categorical_generalized_cross_entropy)

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str = "categorical_generalized_cross_entropy",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.q = _check_q(q)

    def _settings(self) -> dict[str, Any]:
        return {"q": self.q}

    def _kernel_settings(self) -> dict[str, Any]:
        return {"a": self.q}
