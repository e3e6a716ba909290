"""The team of threads, from its own sources: what a test in Python is too slow to meet."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CPP = HERE.parents[1] / "cpp"


@pytest.fixture(scope="module")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    program = tmp_path_factory.mktemp("team") / "stress"
    sources = [HERE / "team_stress.cpp", CPP / "base" / "team.cpp", CPP / "base" / "threads.cpp"]
    subprocess.run(
        [compiler, "-std=c++20", "-O2", "-pthread", f"-I{CPP}", *map(str, sources), "-o", str(program)], check=True
    )
    return program


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_short_jobs_on_more_threads_than_cores_all_end(stress: Path, threads: int) -> None:
    """Between two looks at the work a thread may lose its core for long, and the others go on meanwhile."""
    assert subprocess.run([str(stress), "4", str(threads)], timeout=120).returncode == 0
