"""A data set in two parts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastcnn import _messages
from fastcnn.utils.seed import numpy_generator


class Subset:
    """Some of the samples of a data set, fetched when they are asked for."""

    def __init__(self, dataset: Any, indices: list[int]) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index] for index in self.indices)


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
    preferred_backend: str | None = None,
) -> tuple[Any, Any]:
    """Splits a data set into the first part and the last.

    Args:
        dataset: an array, a list or tuple of arrays with one row a sample, or anything with a length and samples by their
            number (a torch Dataset, a `PyDataset` with its batches).
        left_size: a share below 1 or a number of samples; what `right_size` leaves by default.
        right_size: the same for the last part.
        shuffle: whether the samples are shuffled before.
        seed: of the order, as Keras's; from `set_random_seed` by default.
        preferred_backend: accepted as in Keras, without effect.

    Returns:
        For an array two arrays, for a list or tuple two tuples of arrays, both views where nothing is shuffled; otherwise
        two objects with a length and samples by their number.

    Raises:
        TypeError: not a data set, or sizes that are not numbers.
        ValueError: sizes that do not fit the data.

    Example:
        >>> (x, y), (x_test, y_test) = split_dataset((np.zeros((10, 4)), np.zeros(10)), left_size=0.8)
        >>> x.shape, y_test.shape
        ((8, 4), (2,))

    See https://keras.io/api/utils/python_utils/#splitdataset-function
    """
    columns = dataset if isinstance(dataset, (list, tuple)) else (dataset,)
    arrays = len(columns) > 0 and all(isinstance(column, np.ndarray) and column.ndim for column in columns)
    if not arrays and (isinstance(dataset, (str, list, tuple, dict)) or not _indexable(dataset)):
        raise TypeError(
            "split_dataset: dataset: expected an array, a list or tuple of arrays, or an object with samples by their "
            f"number, received {_messages.show(dataset)}"
        )
    count = len(columns[0])
    if any(len(column) != count for column in columns):
        _messages.fail("split_dataset", "dataset", "arrays of one length", [len(column) for column in columns])
    left, right = _sizes(left_size, right_size, count)
    order: Any = slice(None)
    if shuffle:
        order = list(range(count))
        random.Random(int(numpy_generator().integers(10**6)) if seed is None else seed).shuffle(order)
    if not arrays:
        numbers = list(range(count)) if order == slice(None) else order
        return Subset(dataset, numbers[:left]), Subset(dataset, numbers[count - right :])
    mixed = [column[order] for column in columns]
    first, last = (tuple(column[part] for column in mixed) for part in (slice(left), slice(count - right, None)))
    return (first, last) if isinstance(dataset, (list, tuple)) else (first[0], last[0])


def _indexable(dataset: Any) -> bool:
    return hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")


def _sizes(left: Any, right: Any, count: int) -> tuple[int, int]:
    """Both sizes as numbers of samples."""
    if left is None and right is None:
        _messages.fail("split_dataset", "left_size", "a size where right_size is None", None)
    found = []
    for argument, size in (("left_size", left), ("right_size", right)):
        if size is not None and type(size) not in (int, float):
            raise TypeError(
                f"split_dataset: {argument}: expected an integer, a float or None, received {_messages.show(size)}"
            )
        if size is not None and not 0 < size < (count if isinstance(size, int) else 1):
            expected = f"a number of samples from 1 to {count - 1}, or a share between 0 and 1"
            _messages.fail("split_dataset", argument, expected, size)
        found.append(round(size * count) if isinstance(size, float) else size)
    first = count - found[1] if found[0] is None else found[0]
    last = count - first if found[1] is None else found[1]
    if first + last > count:
        _messages.fail("split_dataset", "right_size", f"sizes that add up to {count} at most", (left, right))
    if first < 1 or last < 1:
        _messages.fail(
            "split_dataset", "left_size", f"sizes that leave some of the {count} samples on both sides", left
        )
    return first, last
