"""Trainings that are killed at any moment and go on come to what an undisturbed one comes to, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).parent / "programs" / "interrupted_training.py"
KILLS = 10  # of each kind of backup


def started(folder: Path, save_freq: str, seed: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder), save_freq, str(seed)], stderr=subprocess.PIPE)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("save_freq", ["epoch", "5"])
def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, save_freq: str) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    undisturbed.mkdir()
    killed.mkdir()
    process = started(undisturbed, save_freq, 7)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    chance, kills = random.Random(save_freq), 0
    backup = killed / "backup" / "latest.safetensors"
    while not (killed / "result.npz").exists():
        # A program that goes on draws another seed: those of the first one are in the backup.
        process = started(killed, save_freq, 7 if not backup.exists() else 100 + kills)
        if kills < KILLS:
            before = backup.stat().st_mtime_ns if backup.exists() else None
            while process.poll() is None and (not backup.exists() or backup.stat().st_mtime_ns == before):
                time.sleep(0.002)
            time.sleep(chance.random() * 0.02)
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
        if process.returncode == -signal.SIGKILL:
            kills += 1
        else:
            assert process.returncode == 0, errors.decode()
    assert kills == KILLS
    for name in ("history.json", "log.csv"):
        assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
    expected, found = np.load(undisturbed / "result.npz"), np.load(killed / "result.npz")
    assert sorted(found.files) == sorted(expected.files)
    for name in expected.files:
        np.testing.assert_array_equal(found[name].view(np.uint32), expected[name].view(np.uint32))
    assert not (killed / "backup").exists()
