"""Starts workers and speaks with them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

_PARENT_OF_PACKAGE = Path(__file__).resolve().parents[1]


class AbsentError(Exception):
    """The framework is not installed; the message says what is missing."""


class Worker:
    """A process with one framework. It is stopped, not merely idle, except while it answers: its threads cannot spin.

    Args:
        name: One of `frameworks.FRAMEWORKS`.
        threads: Threads the framework may use.
        cores: Processors the process may use; empty for all.
        folder: Where the data lie.

    Raises:
        AbsentError: The framework is not installed.
    """

    def __init__(self, name: str, threads: int, cores: list[int], folder: Path) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        arguments = [name, str(threads), str(folder), ",".join(map(str, cores))]
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sidebyside.worker_main", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(threads),
            )
        try:
            answer = self._receive()
        except BaseException:
            self.close()
            raise
        if "absent" in answer:
            self.close()
            raise AbsentError(answer["absent"])
        self.versions: dict[str, str] = answer["versions"]
        self._pause()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Has the worker do something and returns its answer.

        Raises:
            RuntimeError: It failed; the message holds its traceback.
        """
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
        self._process.stdin.flush()
        answer = self._receive()
        self._pause()
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {do} failed\n{answer['error']}")
        return answer

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            log = self._log.read_text()[-4000:]
            raise RuntimeError(f"{self.name}: the worker ended ({self._process.returncode})\n{log}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _environment(threads: int) -> dict[str, str]:
    """The environment of a worker: every pool the same size, and quiet."""
    environment = dict(os.environ)
    for name in ("FASTCNN_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    environment["CUDA_VISIBLE_DEVICES"] = ""
    paths = [str(_PARENT_OF_PACKAGE), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment
