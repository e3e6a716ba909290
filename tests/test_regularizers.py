"""Regularizers: penalties, defaults, configs, wrong factors."""

from __future__ import annotations

import numpy as np
import pytest

from fastcnn import regularizers

X = np.array([[1.0, -2.0], [0.5, 0.0]])


def test_penalties() -> None:
    assert regularizers.L1(0.1)(X) == pytest.approx(0.35)
    assert regularizers.L2(0.1)(X) == pytest.approx(0.525)
    assert regularizers.L1L2(l1=0.1, l2=0.2)(X) == pytest.approx(0.35 + 1.05)
    assert regularizers.L1L2()(X) == 0.0


def test_factors_are_what_the_trainer_reads() -> None:
    for made, factors in (
        (regularizers.L1(), (0.01, 0.0)),
        (regularizers.L2(), (0.0, 0.01)),
        (regularizers.L1L2(l1=0.5), (0.5, 0.0)),
        (regularizers.L2(np.float32(0.5)), (0.0, 0.5)),  # type: ignore[arg-type]
    ):
        assert (made.l1, made.l2) == factors
        assert all(type(factor) is float for factor in factors)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "0.1", True])
def test_wrong_factors(value: object) -> None:
    with pytest.raises(ValueError, match=r"^L2: l2: expected a finite number >= 0, received "):
        regularizers.L2(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "cls"), [("l1", "L1"), ("L2", "L2"), ("l1_l2", "L1L2"), ("l1l2", "L1L2")])
def test_by_name_and_back(name: str, cls: str) -> None:
    made = regularizers.get(name)
    assert type(made).__name__ == cls
    assert made is not None
    again = regularizers.deserialize(regularizers.serialize(made))
    assert (again.l1, again.l2) == (made.l1, made.l2)


def test_get() -> None:
    assert regularizers.get(None) is None
    assert isinstance(regularizers.get(regularizers.L1), regularizers.L1)
    assert regularizers.l2 is regularizers.L2
    with pytest.raises(
        ValueError, match=r"^regularizers.get: identifier: expected the name of a regularizer, one of 'l"
    ):
        regularizers.get("l3")
    with pytest.raises(ValueError, match=r"^regularizers.get: identifier: expected a regularizer, "):
        regularizers.get(lambda x: 0.0)
