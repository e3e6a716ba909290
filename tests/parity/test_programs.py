"""Keras's programs of Sequential classifiers run with the import changed, and come to the same.

Each file of tests/keras_programs is written for `keras` and leaves its findings in `result`. It runs twice: as it is, and with
`keras` replaced by `fastcnn` in its import lines. What is not a floating point number must be equal; floating point
numbers come out of trainings from other random numbers, so they must be near each other.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.parity, pytest.mark.slow]

FOLDER = Path(__file__).parents[1] / "keras_programs"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "programs_data")
NEAR = 0.15


def with_the_import_changed(source: str) -> str:
    source = re.sub(r"^import keras$", "import fastcnn as keras", source, flags=re.MULTILINE)
    return re.sub(r"^from keras(\.[\w.]+)? import ", r"from fastcnn\1 import ", source, flags=re.MULTILINE)


def run(source: str, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(FOLDER))
    variables: dict[str, Any] = {"__name__": "__main__", "__file__": name}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns of input_shape=
        exec(compile(source, name, "exec"), variables)
    found: dict[str, Any] = variables["result"]
    return found


def test_only_import_lines_change() -> None:
    source = "import keras\nfrom keras import layers\nfrom keras.models import x\nkeras.Input((1,))\n# import keras\n"
    changed = "import fastcnn as keras\nfrom fastcnn import layers\nfrom fastcnn.models import x\n"
    assert with_the_import_changed(source) == changed + "keras.Input((1,))\n# import keras\n"
    assert len(PROGRAMS) >= 12


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keras")
    pytest.importorskip("sklearn")
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    ours = run(with_the_import_changed(source), f"{name} with fastcnn", tmp_path / "fastcnn", monkeypatch)
    theirs = run(source, f"{name} with Keras", tmp_path / "keras", monkeypatch)
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        if isinstance(value, float):
            assert ours[key] == pytest.approx(value, abs=NEAR), key
        else:
            assert ours[key] == value, key
