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
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    process = started(undisturbed, save_freq, 7)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    expected, chance, kills = np.load(undisturbed / "result.npz"), random.Random(save_freq), 0
    # A training on a busy machine may reach its end between two looks at it, before all kills: then another one is killed.
    for attempt in range(10):
        killed = tmp_path / f"killed {attempt}"
        killed.mkdir()
        kills += killed_and_gone_on(killed, save_freq, chance, KILLS - kills)
        for name in ("history.json", "log.csv"):
            assert (killed / name).read_bytes() == (undisturbed / name).read_bytes()
        found = np.load(killed / "result.npz")
        assert sorted(found.files) == sorted(expected.files)
        for name in expected.files:
            np.testing.assert_array_equal(found[name].view(np.uint32), expected[name].view(np.uint32))
        assert not (killed / "backup").exists()
        if kills == KILLS:
            return
    assert kills == KILLS


def killed_and_gone_on(folder: Path, save_freq: str, chance: random.Random, most: int) -> int:
    """Trains in the folder until it is done, killed up to `most` times; returns how many times it was."""
    kills, backup = 0, folder / "backup" / "latest.safetensors"
    while not (folder / "result.npz").exists():
        # A program that goes on draws another seed: those of the first one are in the backup.
        process = started(folder, save_freq, 7 if not backup.exists() else 100 + kills)
        if kills < most:
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
    return kills
