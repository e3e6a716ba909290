"""Single convolutions and their gradients through `fastcnn.ops`, beside PyTorch's with channels last."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sidebyside import cases


@pytest.mark.parametrize("framework", ["fastcnn", "torch"])
@pytest.mark.parametrize("case", cases.CONVOLUTIONS, ids=lambda case: case.name)
def test_convolution(case: cases.Convolution, framework: str, compare: Callable[[cases.Case, str], None]) -> None:
    compare(case, framework)
