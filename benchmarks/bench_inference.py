"""The README's network on one image, and on many in batches of 256."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sidebyside import cases
from sidebyside.frameworks import FRAMEWORKS


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", cases.INFERENCES, ids=lambda case: case.name)
def test_inference(case: cases.Inference, framework: str, compare: Callable[[cases.Case, str], None]) -> None:
    compare(case, framework)
