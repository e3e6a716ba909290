"""Data that come as batches: generators, PyDatasets, torch DataLoaders and whatever else can be iterated over."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from fastcnn import _messages
from fastcnn.data import py_dataset
from fastcnn.data.py_dataset import PyDataset

Batch = tuple[Any, Any, Any]  # x, y, sample_weight; the latter two may be None
_END = object()


def yields_batches(x: Any, y: Any = None) -> bool:
    """Whether `x` gives batches one after another instead of being an array.

    Lists are arrays, except lists of tuples without labels beside them.

    >>> yields_batches(iter([])), yields_batches([[1.0], [2.0]]), yields_batches([([1.0], [2.0])])
    (True, False, True)
    """
    if isinstance(x, PyDataset):
        return True
    if x is None or isinstance(x, (str, bytes, Mapping)) or hasattr(x, "__array__"):
        return False
    if isinstance(x, Sequence):
        return y is None and len(x) > 0 and isinstance(x[0], tuple)
    return hasattr(x, "__iter__")


def as_batch(operation: str, value: Any) -> Batch:
    """What a source yielded as (x, y, sample_weight).

    Raises:
        ValueError: something else than an array or a tuple of one to three.
    """
    if hasattr(value, "__array__"):
        value = (value,)
    if not isinstance(value, (tuple, list)) or not 1 <= len(value) <= 3:
        received = _messages.Text(f"{type(value).__name__} {_messages.show(value)}")
        _messages.fail(operation, "x", "batches (x,), (x, y) or (x, y, sample_weight)", received)
    x, y, weight = (*value, None, None)[:3]
    return x, y, weight


class BatchFeed:
    """A source of batches, cut into epochs.

    Without `steps` an epoch is one pass over the source. With it an epoch is that many batches, and the next one goes
    on where it ended, as in Keras.

    Args:
        operation: name for messages.
        source: what `yields_batches` accepts.
        steps: batches an epoch, or None.
        shuffle: whether the batches of a `PyDataset` come in a new order.

    Attributes:
        size: samples of the largest batch so far: the plan for it serves the others.
        ended: whether the last epoch found no batch at all: the source cannot be read again.
    """

    def __init__(self, operation: str, source: Any, steps: int | None, shuffle: bool) -> None:
        self.operation = operation
        self.size = 0
        self.ended = False
        self._source = source
        self._steps = steps
        self._shuffle = shuffle
        self._length = _length(source)
        self._iterator: Iterator[Any] | None = None
        self._first: Batch | None = None  # looked at before its epoch
        self._seen = 0  # batches taken from the iterator
        self._in_epoch = False

    @property
    def steps(self) -> int | None:
        """Batches of an epoch, where that is known."""
        return self._steps if self._steps is not None else self._length

    def peek(self) -> Batch:
        """The first batch of the next epoch, which still gets it.

        Raises:
            ValueError: there is none.
        """
        if self._first is None:
            self._begin()
            self._first = self._next(first=True)
        if self._first is None:
            _messages.fail(self.operation, "x", "at least one batch", _messages.Text("none"))
        return self._first

    def epoch(self) -> Generator[Batch, None, None]:
        """The batches of the next epoch; whoever leaves early closes the iterator."""
        self._begin()
        taken = 0
        try:
            while self._steps is None or taken < self._steps:
                batch, self._first = self._first, None
                if batch is None:
                    batch = self._next(first=taken == 0)
                if batch is None:
                    self._warn(taken)
                    break
                taken += 1
                yield batch
        finally:
            self.ended = taken == 0
            if self._steps is None or self._seen == self._length:
                self.restart()
            self._end()

    def restart(self) -> None:
        """The next epoch begins a new pass. One-shot iterators go on: they have no other."""
        # Generators are the user's: closing one would end it. Workers' passes are ours and must be closed.
        if isinstance(self._source, PyDataset) and self._iterator is not None:
            self._iterator.close()  # type: ignore[attr-defined]
        self._iterator, self._seen = None, 0

    def close(self) -> None:
        """Ends workers; the feed may not be used afterwards."""
        self.restart()
        self._end()

    def _begin(self) -> None:
        if not self._in_epoch:
            self._in_epoch = True
            if isinstance(self._source, PyDataset):
                self._source.on_epoch_begin()

    def _end(self) -> None:
        if self._in_epoch:
            self._in_epoch = False
            if isinstance(self._source, PyDataset):
                self._source.on_epoch_end()
                self._length = _length(self._source)

    def _next(self, first: bool) -> Batch | None:
        """The next batch, the `first` of its epoch or another; None at the source's end."""
        fresh = self._iterator is None
        found = next(self._iterator or self._open(), _END)
        if found is _END and first and not fresh:
            # The last epoch used up exactly a pass whose length nobody knew.
            found = next(self._open(), _END)
        if found is _END:
            self.restart()
            return None
        self._seen += 1
        return as_batch(self.operation, found)

    def _open(self) -> Iterator[Any]:
        self.restart()
        if isinstance(self._source, PyDataset):
            self._iterator = py_dataset.batches(self._source, self._shuffle)
        else:
            self._iterator = iter(self._source)
        return self._iterator

    def _warn(self, taken: int) -> None:
        if self._steps is not None:
            warnings.warn(
                f"{self.operation}: steps: expected a source of at least {self._steps} batches an epoch, received "
                f"{taken} before it ran out of data",
                stacklevel=7,  # the caller of fit
            )


def _length(source: Any) -> int | None:
    if isinstance(source, PyDataset):
        return source.num_batches
    try:
        return len(source)
    except TypeError:  # no __len__, or one that says so itself, as a DataLoader over a stream
        return None
