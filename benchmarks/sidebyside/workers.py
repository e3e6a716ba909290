"""Starts workers and speaks with them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from sidebyside import machine
from sidebyside.contestants import Contestant

_PARENT_OF_PACKAGE = Path(__file__).resolve().parents[1]

# The C library's allocator keeps what it is given back. Else it decides anew in each process whether a result of
# megabytes is fresh memory in every call, whose pages are cleared first: PyTorch takes 0.4 or 2.5 ms for one convolution.
_KEPT_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 29), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


class AbsentError(Exception):
    """The framework is not installed; the message says what is missing."""


class Worker:
    """A process with one framework. It is stopped, not merely idle, except while it answers: its threads cannot spin.

    Args:
        contestant: Whom it runs.
        folder: Where the data lie.

    Raises:
        AbsentError: The framework is not installed.
    """

    def __init__(self, contestant: Contestant, folder: Path) -> None:
        self.name = contestant.name
        self._log = folder / f"{contestant.name}.log"
        cores = ",".join(map(str, machine.cores_for(contestant.threads)))
        arguments = [contestant.framework, contestant.precision, str(contestant.threads), str(folder), cores]
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sidebyside.worker_main", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(contestant.threads, {**_KEPT_MEMORY, **contestant.environment}),
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


def environment(threads: int, additional: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The environment of a measured process: every pool the same size, and quiet."""
    variables = dict(os.environ)
    for name in ("FASTCNN_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        variables[name] = str(threads)
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    variables["CUDA_VISIBLE_DEVICES"] = ""
    paths = [str(_PARENT_OF_PACKAGE), variables.get("PYTHONPATH", "")]
    variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return {**variables, **additional}
