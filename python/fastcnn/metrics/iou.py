"""Intersection over union of classes, from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from fastcnn import _messages
from fastcnn.metrics.metric import Metric
from fastcnn.variables import charge_table


class IoU(Metric):
    """The mean over classes of true positives / (true positives + false positives + false negatives).

    Args:
        num_classes: the number of classes.
        target_class_ids: the classes of the mean.
        name: the metric's name.
        dtype: see `Metric`; an integer dtype, the default, takes weights as whole numbers.
        ignore_class: a label whose elements do not count.
        sparse_y_true: whether labels are class numbers; otherwise their largest entry along `axis` counts.
        sparse_y_pred: whether predictions are class numbers; otherwise their largest entry along `axis` counts.
        axis: the axis of the classes.

    Raises:
        ValueError: a class outside of [0, num_classes).

    Example:
        >>> round(IoU(num_classes=2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1]), 4)
        0.3333

    See https://keras.io/api/metrics/segmentation_metrics/#iou-class
    """

    _direction: Literal["up", "down"] | None = "up"
    _sums = ("total_cm",)

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        super().__init__(dtype=dtype or "int", name=name)
        self.num_classes = _messages.integer(type(self).__name__, "num_classes", num_classes)
        charge_table(f"a confusion matrix of {num_classes} classes", 8 * self.num_classes**2)
        if max(target_class_ids) >= num_classes:
            expected = f"classes in [0, {num_classes})"
            _messages.fail(type(self).__name__, "target_class_ids", expected, list(target_class_ids))
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.reset_state()

    def reset_state(self) -> None:
        self.total_cm = np.zeros((self.num_classes, self.num_classes))

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        """Takes in labels and predictions of the same number of elements, and a weight for each."""
        target, prediction = np.asarray(y_true), np.asarray(y_pred)
        target = (target if self.sparse_y_true else target.argmax(axis=self.axis)).reshape(-1).astype(np.int64)
        prediction = prediction if self.sparse_y_pred else prediction.argmax(axis=self.axis)
        prediction = prediction.reshape(-1).astype(np.int64)
        if len(target) != len(prediction):
            raise ValueError(
                f"{self.name}: y_true: expected as many classes as y_pred, {np.shape(y_pred)}, received "
                f"{np.shape(y_true)}"
            )
        counted = (target >= 0) & (target < self.num_classes) & (prediction >= 0) & (prediction < self.num_classes)
        if self.ignore_class is not None:
            counted &= target != self.ignore_class
        weight = np.asarray(1 if sample_weight is None else sample_weight)
        if "int" in str(self.dtype):
            weight = weight.astype(np.int64)
        weight = np.broadcast_to(weight.reshape(-1) if weight.ndim else weight, target.shape)
        cells = target[counted] * self.num_classes + prediction[counted]
        counts = np.bincount(cells, weights=weight[counted].astype(np.float64), minlength=self.num_classes**2)
        self.total_cm = self.total_cm + counts.reshape(self.num_classes, self.num_classes)

    def result(self) -> float:
        both = np.diag(self.total_cm)
        union = (self.total_cm.sum(axis=0) + self.total_cm.sum(axis=1) - both)[self.target_class_ids]
        found = union > 1e-9
        shares = np.where(found, both[self.target_class_ids] / (union + 1e-7), 0)
        return float(shares.sum() / (found.sum() + 1e-7))

    def _config(self, *names: str) -> dict[str, Any]:
        return {**Metric.get_config(self), **{name: getattr(self, name) for name in names}}

    def get_config(self) -> dict[str, Any]:
        return self._config(
            "num_classes", "target_class_ids", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis"
        )  # fmt: skip


class BinaryIoU(IoU):
    """Intersection over union of labels 0 and 1.

    Args:
        target_class_ids: the classes of the mean.
        threshold: predictions of at least it mean 1.
        name: the metric's name.
        dtype: see `IoU`.

    Raises:
        ValueError: a class other than 0 and 1.

    Example:
        >>> round(BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]), 4)
        0.3333

    See https://keras.io/api/metrics/segmentation_metrics/#binaryiou-class
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None) -> None:
        super().update_state(y_true, np.asarray(y_pred, np.float32) >= np.float32(self.threshold), sample_weight)

    def get_config(self) -> dict[str, Any]:
        return self._config("target_class_ids", "threshold")


class MeanIoU(IoU):
    """The mean of intersection over union over all classes.

    Args:
        num_classes: the number of classes.
        name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis: see `IoU`.

    Example:
        >>> round(MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]), 4)
        0.3333

    See https://keras.io/api/metrics/segmentation_metrics/#meaniou-class
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        classes = range(_messages.integer(type(self).__name__, "num_classes", num_classes))
        super().__init__(num_classes, classes, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return self._config("num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis")


class OneHotIoU(IoU):
    """`IoU` of one-hot labels.

    Args:
        num_classes, target_class_ids, name, dtype, ignore_class, axis: see `IoU`.
        sparse_y_pred: whether predictions are class numbers in place of scores.

    Example:
        >>> round(OneHotIoU(num_classes=2, target_class_ids=[0])([[1, 0], [0, 1]], [[0.8, 0.2], [0.6, 0.4]]), 4)
        0.5

    See https://keras.io/api/metrics/segmentation_metrics/#onehotiou-class
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return self._config("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` of one-hot labels.

    Args:
        num_classes, name, dtype, ignore_class, axis: see `IoU`.
        sparse_y_pred: whether predictions are class numbers in place of scores.

    Example:
        >>> round(OneHotMeanIoU(num_classes=2)([[1, 0], [0, 1]], [[0.8, 0.2], [0.6, 0.4]]), 4)
        0.25

    See https://keras.io/api/metrics/segmentation_metrics/#onehotmeaniou-class
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        super().__init__(num_classes, name, dtype, ignore_class, False, sparse_y_pred, axis)

    def get_config(self) -> dict[str, Any]:
        return self._config("num_classes", "ignore_class", "sparse_y_pred", "axis")
