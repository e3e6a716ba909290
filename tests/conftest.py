"""What all tests share: reproducible property tests, data sets and outside packages that may be absent."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

# Keras is the oracle of the parity tests and needs a backend; PyTorch is the one that `.[parity]` installs.
os.environ.setdefault("KERAS_BACKEND", "torch")

try:
    import hypothesis
except ImportError:
    pass
else:
    # No random failures: the same examples every time, and a failure prints the line that repeats it.
    hypothesis.settings.register_profile("fastcnn", derandomize=True, deadline=None, print_blob=True)
    hypothesis.settings.load_profile("fastcnn")

PARITY_PACKAGES = ("torch", "keras")

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@pytest.hookimpl(tryfirst=True)  # before `-m` selects by marker
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what lies in tests/parity, and skips parity tests where a package they compare with is absent.

    `parity("sklearn", ...)` names the packages; without names they are torch and keras.
    """
    parity_folder = Path(__file__).parent / "parity"
    for item in items:
        marker = item.get_closest_marker("parity")
        if marker is None and parity_folder in item.path.parents:
            item.add_marker("parity")  # such a file asks for its packages itself, with importorskip
        if marker is None:
            continue
        absent = [name for name in marker.args or PARITY_PACKAGES if importlib.util.find_spec(name) is None]
        if absent:
            reason = f'{", ".join(absent)} not installed: pip install ".[parity]"'
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout, for tests that read sources. Skips where the tests run without one."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "cpp").is_dir():
        pytest.skip("no sources beside the tests")
    return root


@pytest.fixture(scope="session")
def full_fashion_mnist() -> tuple[Pair, Pair]:
    """Fashion-MNIST from this machine. Skips where it is not there: tests never use the network."""
    from fastcnn.datasets import _places, fashion_mnist

    if _places.find("fashion_mnist", "fashion-mnist", list(fashion_mnist._SHA256)) is None:
        pytest.skip("Fashion-MNIST is not on this machine: apt-get install dataset-fashion-mnist")
    return fashion_mnist.load_data()


@pytest.fixture(params=["emulated", "hardware"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AMX tiles in use: emulated ones, and the processor's own where it has them."""
    from fastcnn import _core, config, dtype_policies

    before = _core.build_config()["amx"]
    if request.param == "hardware" and before != "amx":
        pytest.skip("no AMX tiles, or FASTCNN_MAX_ISA forbids them")
    monkeypatch.setattr(dtype_policies, "_told", True)
    _core.set_amx_emulated(request.param == "emulated")
    yield
    config.set_dtype_policy("float32")
    _core.set_amx_emulated(before == "amx_emulated")


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dot products of bfloat16 pairs wherever they can compute a convolution of arrays, and no tiles."""
    from fastcnn import _core
    from fastcnn.ops import _bfloat16

    if not _core.has_bfloat16_pairs():
        pytest.skip("no AVX512-BF16")
    monkeypatch.setattr(_bfloat16, "_on_tiles", lambda *_: False)
    before = _core.pairs_active()
    _core.set_pairs(True, always=True)
    yield
    _core.set_pairs(before)
