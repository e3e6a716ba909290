"""Initializers: values, seeds, fans, configs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastcnn import initializers, random, utils

RANDOM = [cls for cls in initializers._CLASSES if issubclass(cls, initializers.RandomInitializer)]


def test_constants() -> None:
    np.testing.assert_array_equal(initializers.Zeros()((2, 3)), np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(initializers.Ones()((2,)), [1, 1])
    np.testing.assert_array_equal(initializers.Constant([1, 2])((3, 2)), [[1, 2]] * 3)
    np.testing.assert_array_equal(initializers.Identity(2.0)((2, 3)), [[2, 0, 0], [0, 2, 0]])
    with pytest.raises(ValueError, match=r"^Constant: shape: expected one that a value of shape \(2,\) broadcasts to"):
        initializers.Constant([1, 2])((3,))
    with pytest.raises(ValueError, match=r"^Identity: shape: expected rank 2, received \(3,\)$"):
        initializers.Identity()((3,))


@pytest.mark.parametrize("cls", RANDOM)
def test_seeds(cls: type[initializers.RandomInitializer]) -> None:
    shape = (4, 5)
    first = cls(seed=3)
    np.testing.assert_array_equal(first(shape), first(shape))
    np.testing.assert_array_equal(first(shape), cls(seed=3)(shape))
    assert not np.array_equal(first(shape), cls(seed=4)(shape))
    unseeded = cls()
    np.testing.assert_array_equal(unseeded(shape), unseeded(shape))
    assert not np.array_equal(unseeded(shape), cls()(shape))
    assert first(shape).dtype == np.float32
    assert first(shape, dtype="float64").dtype == np.float64


@pytest.mark.parametrize("cls", RANDOM)
def test_unseeded_ones_follow_the_global_seed(cls: type[initializers.RandomInitializer]) -> None:
    utils.set_random_seed(5)
    first = cls()((3, 4))
    utils.set_random_seed(5)
    np.testing.assert_array_equal(first, cls()((3, 4)))


def test_a_seed_generator_moves_on() -> None:
    initializer = initializers.GlorotUniform(seed=random.SeedGenerator(1))
    assert not np.array_equal(initializer((3, 3)), initializer((3, 3)))
    again = initializers.deserialize(initializers.serialize(initializer))
    np.testing.assert_array_equal(again((3, 3)), initializers.GlorotUniform(seed=random.SeedGenerator(1))((3, 3)))


@pytest.mark.parametrize("seed", [1.5, "1", True])
def test_seeds_of_other_types(seed: object) -> None:
    with pytest.raises(ValueError, match=r"^HeNormal: seed: expected an integer, a random.SeedGenerator or None"):
        initializers.HeNormal(seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((), (1, 1)), ((7,), (7, 7)), ((3, 5), (3, 5)), ((3, 3, 16, 32), (144, 288)), ((2, 4, 8), (8, 16))],
)
def test_fans(shape: tuple[int, ...], fans: tuple[int, int]) -> None:
    assert initializers.compute_fans(shape) == fans


def test_fans_of_given_axes() -> None:
    assert initializers.compute_fans((2, 3, 5), input_axes=[0], output_axes=[1, 2]) == (2, 15)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("GlorotUniform", lambda i, o: 2 / (i + o)),
        ("GlorotNormal", lambda i, o: 2 / (i + o)),
        ("HeUniform", lambda i, o: 2 / i),
        ("HeNormal", lambda i, o: 2 / i),
        ("LecunUniform", lambda i, o: 1 / i),
        ("LecunNormal", lambda i, o: 1 / i),
    ],
)
def test_variances(name: str, variance: object) -> None:
    shape = (3, 3, 64, 96)
    values = getattr(initializers, name)(seed=1)(shape)
    expected = variance(*initializers.compute_fans(shape))  # type: ignore[operator]
    assert values.var() == pytest.approx(expected, rel=0.02)
    assert abs(values.mean()) < 0.02 * math.sqrt(expected)
    bound = math.sqrt(3 * expected) if name.endswith("Uniform") else 2 * math.sqrt(expected) / 0.8796
    assert 0.95 * bound < np.abs(values).max() <= bound * 1.0001


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 3, 2, 5)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = initializers.Orthogonal(gain=2.0, seed=1)(shape).reshape(-1, shape[-1])
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-5)
    with pytest.raises(ValueError, match=r"^Orthogonal: shape: expected rank 2 at least"):
        initializers.Orthogonal()((3,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 0.0}, "VarianceScaling: scale: expected a number > 0, received 0.0"),
        ({"mode": "fan"}, "VarianceScaling: mode: expected one of"),
        ({"distribution": "cauchy"}, "VarianceScaling: distribution: expected one of"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        initializers.VarianceScaling(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("cls", initializers._CLASSES)
def test_configs(cls: type[initializers.Initializer]) -> None:
    made = cls(seed=9) if issubclass(cls, initializers.RandomInitializer) else cls()
    config = initializers.serialize(made)
    again = initializers.deserialize(config)
    assert type(again) is cls
    assert again.get_config() == made.get_config()
    np.testing.assert_array_equal(again((4, 4)), made((4, 4)))
    np.testing.assert_array_equal(made.clone()((4, 4)), made((4, 4)))


def test_get() -> None:
    assert isinstance(initializers.get("he_normal"), initializers.HeNormal)
    assert isinstance(initializers.get("GlorotUniform"), initializers.GlorotUniform)
    assert isinstance(initializers.get("normal"), initializers.RandomNormal)
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)
    assert initializers.get(None) is None
    assert initializers.get({"class_name": "Constant", "config": {"value": 2}})((1,))[0] == 2  # type: ignore[misc]

    def custom(shape: tuple[int, ...], dtype: str | None = None) -> np.ndarray:  # type: ignore[type-arg]
        return np.ones(shape)

    assert initializers.get(custom) is custom
    values = np.arange(6.0).reshape(2, 3)
    given = initializers.get(values)
    assert given is not None
    np.testing.assert_array_equal(given((2, 3)), values)
    with pytest.raises(ValueError, match=r"expected that of the array given, \(2, 3\), received \(3, 2\)"):
        given((3, 2))


def test_unknown_ones() -> None:
    with pytest.raises(
        ValueError, match=r"^initializers.get: identifier: .* one of 'he_normal', .* received 'he_norml'$"
    ):
        initializers.get("he_norml")
    with pytest.raises(ValueError, match=r"^initializers.get: identifier: expected an initializer, .* received 3$"):
        initializers.get(3)
    with pytest.raises(ValueError, match=r"^initializers.deserialize: config: expected the arguments of Zeros"):
        initializers.deserialize({"class_name": "Zeros", "config": {"value": 1}})
    with pytest.raises(ValueError, match=r"^initializers.deserialize: config: expected a dict"):
        initializers.deserialize({"config": {}})
