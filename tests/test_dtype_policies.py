"""Number formats by name: what layers accept, what they say, and that numbers are float32 whatever they say."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _core, dtype_policies, layers, mixed_precision


@pytest.fixture(autouse=True)
def float32_afterwards(monkeypatch):
    monkeypatch.setattr(dtype_policies, "_told", True)
    monkeypatch.setattr(_core, "amx_active", lambda: False)  # for what is said; tests/engine/test_amx.py has the rest
    yield
    keras.config.set_dtype_policy("float32")


def trained(policy, units=3):
    keras.utils.set_random_seed(3)
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([layers.Conv2D(units, 3, input_shape=(8, 8, 1)), layers.Flatten(), layers.Dense(2)])
    model.compile(optimizer="adam", loss="mse")
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)
    model.fit(x, x[:, 0, :2, 0], epochs=2, verbose=0)
    return model, model.predict(x, verbose=0)


@pytest.mark.skipif(_core.amx_active(), reason="mixed_bfloat16 is computed in bfloat16 here")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_policies_train_in_float32(policy):
    plain, expected = trained("float32")
    model, outputs = trained(policy)
    assert outputs.dtype == np.float32
    np.testing.assert_array_equal(outputs, expected)
    assert {v.dtype for v in model.weights} == {"float32"}
    layer = model.layers[0]
    assert (layer.dtype_policy.name, layer.compute_dtype) == (policy, policy.removeprefix("mixed_"))
    assert layer.dtype == layer.variable_dtype == "float32" and layer.input_dtype == layer.compute_dtype


@pytest.mark.parametrize(
    "given",
    [
        "mixed_bfloat16",
        mixed_precision.Policy("mixed_bfloat16"),
        {"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}},
    ],
    ids=["name", "object", "config"],
)
def test_a_layer_s_own_policy(given):
    layer = layers.Dense(2, dtype=given)
    assert layer.dtype_policy == keras.DTypePolicy("mixed_bfloat16")
    again = layers.Dense.from_config(layer.get_config())
    assert again.dtype_policy == layer.dtype_policy
    assert layers.Dense(2).dtype_policy.name == "float32"


def test_the_message_comes_once(monkeypatch):
    monkeypatch.setattr(dtype_policies, "_told", False)
    with pytest.warns(UserWarning, match="mixed_float16: fastcnn computes in float32 under this policy"):
        mixed_precision.set_global_policy("mixed_float16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layers.Dense(2, dtype="mixed_bfloat16")


@pytest.mark.parametrize("name", ["float64", "float16", "bfloat16"])
def test_policies_whose_variables_are_not_float32_are_refused(name):
    for make in (lambda: layers.Dense(2, dtype=name), lambda: keras.config.set_dtype_policy(name)):
        with pytest.raises(ValueError, match=f"variables are float32 in fastcnn, received '{name}'"):
            make()
    with pytest.raises(ValueError, match="set_floatx: value: expected 'float32'"):
        keras.config.set_floatx(name)
    assert keras.config.dtype_policy().name == "float32"
    assert keras.DTypePolicy(name).variable_dtype == name


def test_wrong_policies():
    with pytest.raises(TypeError, match="DTypePolicy: name: expected a string, received 3"):
        keras.DTypePolicy(3)
    with pytest.raises(ValueError, match="DTypePolicy: name: expected one of 'float32', .* received 'float33'"):
        keras.DTypePolicy("float33")
    with pytest.raises(ValueError, match=r"dtype_policies\.get: identifier: expected a policy, its name"):
        dtype_policies.get(object())
    assert dtype_policies.get(np.float32) == dtype_policies.get(None) == dtype_policies.dtype_policy()
