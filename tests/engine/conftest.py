"""Every test of the engine leaves the number of threads as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastcnn import _core


@pytest.fixture(autouse=True)
def default_threads() -> Iterator[None]:
    yield
    _core.set_num_threads(0)
