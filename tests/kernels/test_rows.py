"""Choosing rows: every row of the table has tests, a named row runs or is refused, nothing is silently replaced."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from kernel_cases import COVERED, LEVELS, ROWS, RUNNABLE

from fastcnn import _core


def test_every_operation_of_the_table_has_a_test_case() -> None:
    for file in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(file.stem)
    assert {operation for operation, _, _ in ROWS} == COVERED


def test_every_row_exists_at_every_level() -> None:
    assert len(set(ROWS)) == len(ROWS)
    pairs = {(operation, algorithm) for operation, algorithm, _ in ROWS}
    assert set(ROWS) == {(*pair, level) for pair in pairs for level in LEVELS}


def test_the_baseline_level_always_runs() -> None:
    assert "baseline" in RUNNABLE


@pytest.mark.parametrize("isa", [isa for isa in LEVELS if isa not in RUNNABLE] or ["none beyond this processor"])
def test_a_level_beyond_the_processor_is_refused(isa: str) -> None:
    with pytest.raises(_core.Error, match=r"activation: isa: expected .*, received"):
        _core.activation(np.zeros(4, np.float32), "relu", isa=isa)


def test_an_unknown_level_is_refused_with_the_known_names() -> None:
    with pytest.raises(
        _core.Error, match=r"^dense: isa: expected one of '', 'reference', .*'baseline'.*, received 'sse9'$"
    ):
        _core.dense(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), None, False, isa="sse9")


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(_core.Error, match=r"^activation_forward: no kernel 'fancy' at level"):
        _core.activation(np.zeros(4, np.float32), "relu", algorithm="fancy")


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((2, 3), np.float64), r"float64 \(2, 3\)"),
        (np.zeros((3, 2), np.float32).T, r"float32 \(2, 3\), not C-contiguous"),
        (np.zeros((2, 3), ">f4"), r">f4 \(2, 3\)"),
        (np.zeros((2, 4), np.float32), r"float32 \(2, 4\)"),
        (np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3), r"float32 \(2, 3\), not aligned"),
    ],
)
def test_an_array_that_cannot_be_read_in_place_is_refused(array: np.ndarray, received: str) -> None:
    kernel = np.zeros((5, 4), np.float32) if array.shape[1] == 4 else np.zeros((3, 4), np.float32)
    dy_of_another_batch = np.zeros((2, 3), np.float32)
    with pytest.raises(_core.Error, match=rf"expected a C-contiguous float32 array.*, received {received}$"):
        if array.shape[1] == 4:
            _core.activation_grad(dy_of_another_batch, array, "relu")
        else:
            _core.dense(array, kernel, None, False)


def test_out_that_overlaps_an_input_or_is_read_only_is_refused_and_untouched() -> None:
    x = np.ones((2, 3), np.float32)
    with pytest.raises(_core.Error, match="out: expected memory of its own"):
        _core.dense(x, np.full((3, 3), 2, np.float32), None, False, out=x)
    x.flags.writeable = False
    with pytest.raises(_core.Error, match="out: expected a writeable array"):
        _core.activation(np.zeros((2, 3), np.float32), "relu", out=x)
    assert (x == 1).all()


def test_the_oracle_takes_doubles_only() -> None:
    with pytest.raises(_core.Error, match=r"expected a C-contiguous float64 array, received float32 \(4,\)$"):
        _core.activation(np.zeros(4, np.float32), "relu", isa="reference")
