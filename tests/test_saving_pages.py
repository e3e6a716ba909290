"""The programs of the pages on files run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_the_page_on_keras_files_runs(project_root: Path, tmp_path: Path) -> None:
    page = (project_root / "docs" / "keras-files.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.keras", "model.weights.h5"]
