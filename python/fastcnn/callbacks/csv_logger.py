"""Logs as a table in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from fastcnn.callbacks.callback import Callback, Logs

if TYPE_CHECKING:
    import csv


class CSVLogger(Callback):
    """Writes the logs of each epoch as a row of a CSV file.

    Args:
        filename: the file.
        separator: what stands between the columns.
        append: whether rows are added to an existing file, whose header is then kept; otherwise it is replaced.

    Example:
        >>> callback = CSVLogger("training.csv")

    See https://keras.io/api/callbacks/csv_logger/
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False) -> None:
        super().__init__()
        self.sep = separator
        self.filename = os.fspath(filename)
        self.append = append
        self.csv_file: IO[str] | None = None
        self.keys: list[str] | None = None
        self._header = True
        self._writer: csv.DictWriter[str] | None = None
        self._begin: int | None = None  # where the first row goes; None: after it

    def _get_state(self) -> dict[str, Any]:
        """Where the next row goes, and the columns."""
        if self.csv_file is None:
            return {}
        self.csv_file.flush()
        size = os.fstat(self.csv_file.fileno()).st_size
        return {"position": size if self._begin is None else self._begin, "keys": self.keys, "header": self._header}

    def _set_state(self, state: dict[str, Any]) -> None:
        if self.csv_file is not None and os.fstat(self.csv_file.fileno()).st_size >= state["position"]:
            self._begin, self.keys, self._header = state["position"], state["keys"], state["header"]
            self._writer = None

    def on_train_begin(self, logs: Logs = None) -> None:
        self._close()
        # Stays open over the epochs; the csv module writes line ends itself. What is replaced stays until the first row comes:
        # a backup may say that it goes on.
        self.csv_file = open(self.filename, "a", newline="", encoding="utf-8")  # noqa: SIM115
        self._begin = os.fstat(self.csv_file.fileno()).st_size if self.append else 0
        self._header = self._begin == 0
        self.keys = None
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        if self.csv_file is None:
            raise ValueError("CSVLogger: on_epoch_end: expected on_train_begin before it, received no such call")
        self._cut()
        if self._writer is None:
            if self.keys is None:
                self.keys = sorted(logs)
                if not any(key.startswith("val_") for key in self.keys):
                    # Validation may come in later epochs (validation_freq): the columns are there from the start.
                    self.keys += [f"val_{key}" for key in self.keys]
            import csv

            self._writer = csv.DictWriter(self.csv_file, ["epoch", *self.keys], delimiter=self.sep)
            if self._header:
                self._writer.writeheader()
                self._header = False
        assert self.keys is not None
        self._writer.writerow({"epoch": epoch, **{key: _cell(logs.get(key, "NA")) for key in self.keys}})
        self.csv_file.flush()

    def on_train_end(self, logs: Logs = None) -> None:
        self._cut()
        self._close()

    def _cut(self) -> None:
        """Takes away what stands behind the place of the first row."""
        if self.csv_file is not None and self._begin is not None:
            self.csv_file.truncate(self._begin)
        self._begin = None

    def _close(self) -> None:
        if self.csv_file is not None:
            self.csv_file.close()
        self.csv_file = None
        self._writer = None


def _cell(value: Any) -> Any:
    if isinstance(value, Iterable) and not isinstance(value, str) and np.ndim(value) > 0:  # type: ignore[arg-type]
        return f'"[{", ".join(map(str, value))}]"'
    return value
