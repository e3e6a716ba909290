"""Single convolutions and their gradients through `fastcnn.ops`, beside PyTorch's with channels last."""

from __future__ import annotations

import pytest
from sidebyside import cases
from sidebyside.comparison import Compare

PAIR = ("fastcnn", "torch")


@pytest.mark.parametrize("framework", PAIR)
@pytest.mark.parametrize("case", cases.CONVOLUTIONS, ids=lambda case: case.name)
def test_convolution(case: cases.Convolution, framework: str, compare: Compare) -> None:
    compare(case, framework, PAIR)
