"""ONNX files of every version that wrote one: they load and compute what they did."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastcnn as keras

pytest.importorskip("onnx", reason="needs onnx, which .[parity] installs")

GOLDEN = Path(__file__).parents[1] / "golden"
FOLDERS = sorted(path.parent for path in GOLDEN.glob("*/model.onnx"))


def maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_onnx", GOLDEN / "make_onnx.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_files_of_each_program() -> None:
    assert {folder.name.removeprefix("onnx-").rpartition("-")[0] for folder in FOLDERS} == set(maker().WRITERS)


@pytest.mark.parametrize("folder", FOLDERS, ids=[folder.name for folder in FOLDERS])
def test_golden_files(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    model = keras.onnx.load(folder / "model.onnx")
    x = maker().inputs(tuple(expected["shape"]))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["result"], rtol=1e-5, atol=1e-5)


def test_the_page_about_onnx_says_what_works(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    text = (project_root / "docs" / "onnx.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
