"""PyDataset: batches by their number, fetched by threads or processes ahead of the model."""

from __future__ import annotations

import itertools
import random
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastcnn import _messages
from fastcnn.utils.seed import numpy_generator

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future


class PyDataset:
    """Base of data sets that make a whole batch for its number.

    Override `__getitem__`, which returns (x,), (x, y) or (x, y, sample_weight), and `__len__` (or the property
    `num_batches`, which may be None: no end). `fit` takes the batches of a data set that ends in a new order each
    epoch unless `shuffle=False`.

    Args:
        workers: how many batches are made at a time; 1 makes each when it is needed.
        use_multiprocessing: whether processes make them instead of threads. Python's and NumPy's global random
            generators are then seeded for each batch, so that batches drawn from them differ, and come again under
            `utils.set_random_seed`.
        max_queue_size: how many batches may wait for the model.

    Example:
        >>> class Squares(PyDataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, index):
        ...         x = np.arange(4.0)[:, None] + 4 * index
        ...         return x, x**2
        >>> [float(y.sum()) for x, y in Squares(workers=2)]
        [14.0, 126.0, 366.0]

    See https://keras.io/api/utils/python_utils/#pydataset-class
    """

    _defaults: ClassVar[dict[str, Any]] = {"_workers": 1, "_use_multiprocessing": False, "_max_queue_size": 10}

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self._workers = workers
        self._use_multiprocessing = use_multiprocessing
        self._max_queue_size = max_queue_size

    def _setting(self, name: str) -> Any:
        if name not in self.__dict__:
            warnings.warn(
                f"{type(self).__name__}: __init__: expected a call of super().__init__(**kwargs), which takes workers, "
                "use_multiprocessing and max_queue_size; received none, their defaults are used",
                stacklevel=3,
            )
            for key, value in self._defaults.items():
                self.__dict__.setdefault(key, value)
        return self.__dict__[name]

    @property
    def workers(self) -> int:
        """How many batches are made at a time."""
        return _messages.integer("PyDataset", "workers", self._setting("_workers"), minimum=0)

    @workers.setter
    def workers(self, value: int) -> None:
        self._workers = value

    @property
    def use_multiprocessing(self) -> bool:
        """Whether processes make the batches instead of threads."""
        return _messages.flag("PyDataset", "use_multiprocessing", self._setting("_use_multiprocessing"))

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._use_multiprocessing = value

    @property
    def max_queue_size(self) -> int:
        """How many batches may wait for the model."""
        return _messages.integer("PyDataset", "max_queue_size", self._setting("_max_queue_size"))

    @max_queue_size.setter
    def max_queue_size(self, value: int) -> None:
        self._max_queue_size = value

    def __getitem__(self, index: int) -> Any:
        """The batch of that number."""
        raise NotImplementedError(f"{type(self).__name__}: __getitem__: expected a method that returns a batch")

    @property
    def num_batches(self) -> int | None:
        """How many batches there are; None: no end."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(
            f"{type(self).__name__}: num_batches: expected a method __len__ or a property num_batches"
        )

    def __iter__(self) -> Iterator[Any]:
        try:
            count = self.num_batches
        except NotImplementedError:
            count = None
        for index in itertools.count() if count is None else range(count):
            yield self[index]

    def on_epoch_begin(self) -> None:
        """Called before an epoch."""

    def on_epoch_end(self) -> None:
        """Called after an epoch."""


def batches(dataset: PyDataset, shuffle: bool) -> Iterator[Any]:
    """One pass over the data set, by its workers where it has several.

    Args:
        dataset: the data set; the pass never ends where its `num_batches` is None.
        shuffle: whether the batches of a pass that ends come in a new order.
    """
    count = dataset.num_batches
    indices: Iterable[int] = itertools.count() if count is None else range(count)
    if shuffle and count is not None:
        indices = numpy_generator().permutation(count).tolist()
    processes = dataset.use_multiprocessing and dataset.workers > 0
    if dataset.workers <= 1 and not processes:
        return (dataset[index] for index in indices)
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor  # not needed by those who have arrays

    if not processes:
        return ordered(dataset.__getitem__, indices, dataset.max_queue_size, ThreadPoolExecutor(dataset.workers))
    seed = int(numpy_generator().integers(2**32))
    # The data set goes to each process once, with the fork where there is one, not with every batch.
    pool = ProcessPoolExecutor(dataset.workers, initializer=_enter_process, initargs=(dataset,))
    return ordered(partial(_batch_in_process, seed), indices, dataset.max_queue_size, pool)


def ordered(get: Callable[[int], Any], indices: Iterable[int], ahead: int, executor: Executor) -> Iterator[Any]:
    """Yields `get(index)` in the order of `indices`, up to `ahead` of them under way; closes the executor."""
    pending: deque[Future[Any]] = deque()
    try:
        for index in indices:
            pending.append(executor.submit(get, index))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_of_process: PyDataset | None = None  # the data set that this worker process serves


def _enter_process(dataset: PyDataset) -> None:
    global _of_process
    _of_process = dataset


def _batch_in_process(seed: int, index: int) -> Any:
    random.seed(f"{seed} {index}")
    # The global generator is what the user's own code draws from.
    np.random.seed(np.random.SeedSequence([seed, index]).generate_state(4))  # noqa: NPY002
    assert _of_process is not None
    return _of_process[index]
