"""What is not there says so, in every module, and names what is."""

from __future__ import annotations

import importlib
import pickle

import pytest

import fastcnn as keras

CASES = {
    "activations.sparsemax": "'softmax'",
    "backend.result_type": "NumPy's result_type",
    "callbacks.EarlyStoping": "'EarlyStopping'",
    "config.set_backend": "one backend",
    "config.set_epsilom": "'set_epsilon'",
    "datasets.cifar10": "its files are pickles",
    "datasets.fashion_minst": "'fashion_mnist'",
    "initializers.HeNormall": "'HeNormal'",
    "initializers.STFT": "no layers for spectrograms",
    "layers.LSTM": "'Conv1D'",
    "models.Model": "no functional API",
    "preprocessing.images": "'image'",
    "random.norml": "'normal'",
    "utils.FeatureSpace": "scikit-learn",
    "utils.to_categoricl": "'to_categorical'",
}


@pytest.mark.parametrize("path", CASES)
def test_names(path):
    place, _, name = path.rpartition(".")
    module = importlib.import_module(f"fastcnn.{place}")
    with pytest.raises(AttributeError, match=f"fastcnn.{place} has no attribute '{name}'.*{CASES[path]}"):
        getattr(module, name)
    assert not hasattr(module, "__nothing__")


def test_layers_with_absent_members_can_still_be_copied():
    layer = keras.layers.Dense(2)
    assert not hasattr(layer, "add_loss")
    assert pickle.loads(pickle.dumps(layer)).name == layer.name


def test_a_fresh_session_starts_the_names_again():
    keras.backend.clear_session()
    assert [keras.layers.Dense(1).name for _ in range(2)] == ["dense", "dense_1"]
    assert keras.backend.get_uid("dense") == 3
    keras.utils.clear_session(free_memory=False)
    assert keras.layers.Dense(1).name == "dense"
