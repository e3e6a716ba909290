"""fastcnn.random: distributions, seeds, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from fastcnn import random

MANY = (200, 300)
DRAWS = {
    # name -> (a draw, its mean, its standard deviation)
    "beta": (lambda seed: random.beta(MANY, 2.0, 3.0, seed=seed), 0.4, 0.2),
    "gamma": (lambda seed: random.gamma(MANY, 4.0, seed=seed), 4.0, 2.0),
    "binomial": (lambda seed: random.binomial(MANY, 10, 0.5, seed=seed), 5.0, np.sqrt(2.5)),
    "categorical": (lambda seed: random.categorical(np.log([[0.5, 0.0, 0.5]] * 200), 300, seed=seed), 1.0, 1.0),
    "dropout": (lambda seed: random.dropout(np.ones(MANY), 0.2, seed=seed), 1.0, 0.5),
}


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("name", DRAWS)
def test_distributions(name):
    draw, mean, deviation = DRAWS[name]
    values = draw(3)
    kind = {"categorical": "int32", "dropout": "float64"}.get(name, "float32")
    assert values.shape == MANY and values.dtype == kind
    assert values.mean() == pytest.approx(mean, abs=5 * deviation / np.sqrt(values.size))
    assert values.std() == pytest.approx(deviation, rel=0.02)
    np.testing.assert_array_equal(values, draw(3))
    generator = random.SeedGenerator(3)
    assert not np.array_equal(draw(generator), draw(generator))


def test_dropout_decides_for_whole_axes():
    values = random.dropout(np.ones((50, 4, 3), np.float32), 0.5, noise_shape=(None, 1, 3), seed=1)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, np.broadcast_to(values[:, :1], values.shape))


@pytest.mark.parametrize(
    "call",
    [
        lambda: random.categorical([0.0, 1.0], 2),
        lambda: random.dropout([1.0], 1.0),
        lambda: random.gamma((2,), 1.0, dtype="int32"),
    ],
)
def test_refusals(call):
    with pytest.raises(ValueError, match=r"random\.\w+: \w+: expected"):
        call()
