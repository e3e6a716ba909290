"""Optimizers: settings, native descriptions, state, wrong arguments."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from fastcnn import Variable, optimizers

NAMES = [name for name in optimizers.__all__ if name[0].isupper() and name != "Optimizer"]


def test_native_settings() -> None:
    sgd = optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipvalue=0.5).native()
    assert (sgd["momentum"], sgd["nesterov"], sgd["clipvalue"], sgd["weight_decay"]) == (0.9, True, 0.5, [])
    adam = optimizers.Adam(beta_1=0.8, beta_2=0.99, epsilon=1e-3, amsgrad=True, weight_decay=0.1).native()
    assert (adam["beta_1"], adam["beta_2"], adam["epsilon"], adam["amsgrad"]) == (0.8, 0.99, 1e-3, True)
    assert optimizers.AdamW().native([np.zeros(2, np.float32)])["weight_decay"] == [0.004]
    rmsprop = optimizers.RMSprop(rho=0.7, momentum=0.2, centered=True, global_clipnorm=2.0).native()
    assert (rmsprop["rho"], rmsprop["momentum"], rmsprop["centered"], rmsprop["global_clipnorm"]) == (
        0.7,
        0.2,
        True,
        2.0,
    )


@pytest.mark.parametrize("name", NAMES)
def test_learning_rate(name: str) -> None:
    optimizer = getattr(optimizers, name)()
    assert optimizer.learning_rate == {"SGD": 0.01, "ScheduleFreeAdamW": 0.0025}.get(name, 0.001)
    for value in (0.5, 0, np.float32(0.25), np.array(0.125)):
        optimizer.learning_rate = value
        assert optimizer.learning_rate == float(value)
        assert type(optimizer.learning_rate) is float


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "fast", None, True])
def test_wrong_learning_rates_change_nothing(value: Any) -> None:
    optimizer = optimizers.SGD(0.3)
    with pytest.raises(ValueError, match=r"^SGD: learning_rate: expected a number >= 0, received "):
        optimizer.learning_rate = value
    assert optimizer.learning_rate == 0.3
    with pytest.raises(ValueError, match=r"^Adam: learning_rate: expected a number >= 0, received "):
        optimizers.Adam(value)


def test_iterations() -> None:
    optimizer = optimizers.Adam()
    assert optimizer.iterations == 0
    optimizer.iterations = np.int64(7)
    assert optimizer.iterations == 7
    for value in (-1, 1.5, "2"):
        with pytest.raises(ValueError, match=r"^Adam: iterations: expected an integer >= 0, received "):
            optimizer.iterations = value
    assert optimizer.iterations == 7


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("SGD", {"momentum": 1.5}, r"SGD: momentum: expected a number in \[0, 1\], received 1.5"),
        ("SGD", {"momentum": "big"}, "SGD: momentum: expected a number in"),
        ("Adam", {"beta_1": -0.1}, r"Adam: beta_1: expected a number in \[0, 1\], received -0.1"),
        ("Adam", {"epsilon": -1}, "Adam: epsilon: expected a number >= 0, received -1"),
        ("AdamW", {"weight_decay": None}, "AdamW: weight_decay: expected a number >= 0, received None"),
        ("RMSprop", {"rho": 2}, "RMSprop: rho: expected a number in"),
        ("SGD", {"clipnorm": -1.0}, "SGD: clipnorm: expected a number >= 0, received -1.0"),
        (
            "SGD",
            {"clipnorm": 1.0, "clipvalue": 2.0},
            "SGD: clipvalue: expected at most one of clipnorm, clipvalue and global_clipnorm, "
            "received clipnorm=1.0 and clipvalue=2.0",
        ),
        (
            "Adam",
            {"use_ema": True, "ema_momentum": 1.5},
            r"Adam: ema_momentum: expected a number in \[0, 1\], received 1.5",
        ),
        (
            "Adam",
            {"use_ema": True, "ema_overwrite_frequency": 0.5},
            "Adam: ema_overwrite_frequency: expected a positive integer or None, received 0.5",
        ),
        ("Adam", {"loss_scale_factor": -2.0}, "Adam: loss_scale_factor: expected a number >= 0, received -2.0"),
        (
            "Adam",
            {"gradient_accumulation_steps": 1},
            "Adam: gradient_accumulation_steps: expected an integer >= 2 or None, received 1",
        ),
        ("Lion", {"beta_1": 0.0}, r"Lion: beta_1: expected a number in \(0, 1\], received 0.0"),
        (
            "Ftrl",
            {"learning_rate_power": 0.5},
            r"Ftrl: learning_rate_power: expected a number in \[-inf, 0\], received 0.5",
        ),
        ("Ftrl", {"l1_regularization_strength": -1.0}, "Ftrl: l1_regularization_strength: expected a number >= 0"),
        ("Muon", {"ns_steps": -1}, "Muon: ns_steps: expected an integer >= 0, received -1"),
    ],
)
def test_wrong_settings(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        getattr(optimizers, name)(**settings)


@pytest.mark.parametrize("name", NAMES)
def test_configs(name: str) -> None:
    optimizer = getattr(optimizers, name)(0.2, clipnorm=1.5, name="mine")
    again = optimizers.deserialize(optimizers.serialize(optimizer))
    assert type(again) is type(optimizer)
    assert again.get_config() == optimizer.get_config()
    assert again.native() == optimizer.native()


@pytest.mark.parametrize("identifier", ["adam", "Adam", "ADAM", optimizers.Adam, {"class_name": "adam", "config": {}}])
def test_get(identifier: Any) -> None:
    assert type(optimizers.get(identifier)) is optimizers.Adam


def test_get_keeps_objects() -> None:
    optimizer = optimizers.SGD()
    assert optimizers.get(optimizer) is optimizer
    assert optimizers.get(None) is None


def test_unknown_optimizers() -> None:
    with pytest.raises(
        ValueError,
        match=r"^optimizers.get: identifier: expected the name of an optimizer, one of 'adam', .* received 'adm'$",
    ):
        optimizers.get("adm")
    for wrong in (7, len):
        with pytest.raises(ValueError, match=r"^optimizers.get: identifier: expected an optimizer, its name"):
            optimizers.get(wrong)


def test_an_optimizer_written_in_python_cannot_train() -> None:
    class Mine(optimizers.Optimizer):
        pass

    with pytest.raises(ValueError, match=r"^Mine: optimizer: expected one of fastcnn.optimizers for training"):
        Mine(0.1).native()


# --- alone, on variables and arrays ------------------------------------------------------------------------------


def test_apply_changes_arrays_in_place_and_counts() -> None:
    weight = np.ones((2, 3), np.float32)
    optimizer = optimizers.SGD(0.5, momentum=0.5)
    assert optimizer.apply_gradients([(np.ones((2, 3)), weight)]) == 1
    np.testing.assert_array_equal(weight, 0.5)
    optimizer.apply([np.ones((2, 3))])
    np.testing.assert_array_equal(weight, -0.25)
    assert optimizer.iterations == 2
    assert [v.name for v in optimizer.variables] == ["iteration", "learning_rate", "variable_momentum"]


def test_what_apply_refuses_changes_nothing() -> None:
    weight, other = Variable(np.ones(3)), Variable(np.ones(3))
    optimizer = optimizers.Adam()
    with pytest.raises(ValueError, match=r"^Adam.apply: trainable_variables: expected variables in the first call"):
        optimizer.apply([np.ones(3)])
    optimizer.build([weight])
    for grads, variables, message in (
        ([np.ones(4)], [weight], r"grads: expected shape \(3,\), received shape \(4,\)"),
        ([np.ones(3), np.ones(3)], [weight], "grads: expected 1 gradients, received 2"),
        ([np.ones(3)], [other], "trainable_variables: expected those that the optimizer was built for"),
        ([None], [weight], "grads: expected an array for some variable, received None for all"),
    ):
        with pytest.raises(ValueError, match=f"^Adam.apply: {message}"):
            optimizer.apply(grads, variables)
    assert optimizer.iterations == 0
    np.testing.assert_array_equal(weight, 1.0)
    with pytest.raises(ValueError, match="expected Variables or writable float32 arrays, received list"):
        optimizers.SGD().apply([np.ones(2)], [[1.0, 2.0]])
    optimizer.apply([], [])


def test_variables_without_a_gradient_stay_with_a_warning() -> None:
    first, second = Variable(np.ones(3)), Variable(np.ones(3))
    with pytest.warns(UserWarning, match="1 variables have no gradient"):
        optimizers.SGD(1.0).apply([np.ones(3), None], [first, second])
    np.testing.assert_array_equal(first, 0.0)
    np.testing.assert_array_equal(second, 1.0)


def test_excluded_variables_do_not_decay() -> None:
    kernel, bias = Variable(np.ones(3), name="kernel"), Variable(np.ones(3), name="bias")
    optimizer = optimizers.AdamW(1.0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.apply([np.zeros(3), np.zeros(3)], [kernel, bias])
    np.testing.assert_array_equal(kernel, 0.5)
    np.testing.assert_array_equal(bias, 1.0)
    with pytest.raises(ValueError, match="expected a call before the first step"):
        optimizer.exclude_from_weight_decay([kernel])


@pytest.mark.parametrize("name", NAMES)
def test_copies_and_set_weights_go_on_alike(name: str) -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal((6, 4)).astype(np.float32) for _ in range(4)]
    start = rng.standard_normal((6, 4)).astype(np.float32)
    straight, one, two, three = (Variable(start) for _ in range(4))
    make = getattr(optimizers, name)
    optimizer = make(0.125, use_ema=True, gradient_accumulation_steps=2)
    for gradient in gradients:
        optimizer.apply([gradient], [straight])
    first = make(0.125, use_ema=True, gradient_accumulation_steps=2)
    for gradient in gradients[:2]:
        first.apply([gradient], [one])
    second = make(0.125, use_ema=True, gradient_accumulation_steps=2)
    two.assign(one)
    second.build([two])
    second.set_weights([v.numpy() for v in first.variables])
    third, three = copy.deepcopy((first, one))
    for chosen, variable in ((first, one), (second, two), (third, three)):
        for gradient in gradients[2:]:
            chosen.apply([gradient], [variable])
        np.testing.assert_array_equal(variable, straight)


@pytest.mark.parametrize("name", NAMES)
def test_huge_and_broken_gradients_do_not_hang_or_crash(name: str) -> None:
    weight = Variable(np.ones((3, 3)))
    optimizer = getattr(optimizers, name)()
    for value in (0.0, 1e38, np.nan, np.inf):
        optimizer.apply([np.full((3, 3), value)], [weight])
    assert optimizer.iterations == 4


def test_no_variables_and_empty_ones() -> None:
    empty = Variable(np.ones((0, 3)))
    for name in NAMES:
        getattr(optimizers, name)().apply([np.ones((0, 3))], [empty])


def test_adafactor_survives_units_without_a_gradient() -> None:
    """In Keras the product of two means of 1e-30 is 0 in float32, and 0 / 0 makes the whole weight NaN."""
    weight, gradient = Variable(np.ones((3, 4))), np.ones((3, 4), np.float32)
    gradient[1] = gradient[:, 2] = 0.0
    optimizer = optimizers.Adafactor(0.1)
    for _ in range(3):
        optimizer.apply([gradient], [weight])
    assert np.isfinite(weight.numpy()).all()
    np.testing.assert_array_equal(weight.numpy()[gradient == 0], 1.0)
    assert (weight.numpy()[gradient != 0] < 1.0).all()
