"""The mission's training epoch: the README's program, batch 32, through `model.fit`."""

from __future__ import annotations

import pytest
from sidebyside import cases
from sidebyside.comparison import Compare
from sidebyside.frameworks import FRAMEWORKS

TRAINING_FRAMEWORKS = [name for name in FRAMEWORKS if name not in ("onnxruntime", "openvino")]


@pytest.mark.parametrize("framework", TRAINING_FRAMEWORKS)
def test_training_epoch(framework: str, compare: Compare, pytestconfig: pytest.Config) -> None:
    quick = pytestconfig.getoption("quick")
    compare(cases.QUICK_TRAINING if quick else cases.TRAINING, framework, TRAINING_FRAMEWORKS)
