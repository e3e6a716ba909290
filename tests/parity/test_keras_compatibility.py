"""docs/keras-compatibility.md says what is the case, and what it calls different is different on purpose."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fastcnn

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def tool(project_root: Path) -> ModuleType:
    path = project_root / "tools" / "keras_compatibility.py"
    spec = importlib.util.spec_from_file_location("keras_compatibility", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for annotations
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_tool_writes(keras: Any, tool: ModuleType) -> None:
    if f"Keras {keras.__version__}," not in tool.PAGE.read_text(encoding="utf-8"):
        pytest.skip(f"the page is about another version of Keras than {keras.__version__}")
    up_to_date = tool.page(keras, fastcnn) == tool.PAGE.read_text(encoding="utf-8")
    assert up_to_date, f"{tool.PAGE.name} is out of date; write it again and look at what changed: {tool.COMMAND}"


class TestTheTool:
    """A comparison that finds nothing proves nothing."""

    def test_signatures(self, tool: ModuleType) -> None:
        def theirs(a, b=1, *, c=(1, 1)): ...

        def same(a, b=1, *, c=[1, 1]): ...  # noqa: B006

        def other(b, a, *, d=2): ...

        assert tool.difference(same, theirs) == ""
        found = tool.difference(other, theirs)
        for part in ("without `c`", "also `d`", "other order", "`b`: default `none` instead of `1`"):
            assert part in found

    def test_arguments_that_a_base_class_takes(self, tool: ModuleType) -> None:
        def written(a, name=None): ...

        def handed_on(a, **kwargs): ...

        assert tool.difference(handed_on, written) == tool.difference(written, handed_on) == ""
        assert tool.difference(lambda a: None, written) == "without `name`"

    def test_names_that_are_not_there(self, keras: Any, tool: ModuleType) -> None:
        found = {row.path: row for row in tool.rows(keras, fastcnn)}
        assert found["layers.LSTM"].verdict == "no"
        assert found["layers.Flatten"].verdict == "yes"
        assert found["layers.Layer"].verdict == "different"
        assert len(found) > 500
