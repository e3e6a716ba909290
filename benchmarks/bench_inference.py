"""The networks' inference: one image, and many in batches."""

from __future__ import annotations

import pytest
from sidebyside import cases
from sidebyside.comparison import Compare
from sidebyside.frameworks import FRAMEWORKS


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("case", cases.INFERENCES, ids=lambda case: case.name)
def test_inference(case: cases.Inference, framework: str, compare: Compare) -> None:
    compare(case, framework, list(FRAMEWORKS))
