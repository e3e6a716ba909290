"""Pickles, deep copies and clones of models and their parts; compile's arguments as plain data."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import layers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 8, 8, 1)).astype(np.float32)
Y = (X.mean(axis=(1, 2, 3)) > 0).astype(np.float32)


def model_of(**arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            keras.Sequential([layers.MaxPooling2D(2), layers.Flatten()], name="inner"),
            layers.Dropout(0.3),
            layers.Dense(1, "sigmoid"),
        ],
        name="whole",
    )
    auc = keras.metrics.AUC(name="auc")
    model.compile(**{"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy", auc], **arguments})
    return model


def by_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("duplicate", [by_pickle, copy.deepcopy])
def test_copy_goes_on_training_as_the_model_would(duplicate):
    model = model_of()
    model.fit(X, Y, epochs=2, verbose=0)
    twin = duplicate(model)
    np.testing.assert_array_equal(twin.predict(X, verbose=0), model.predict(X, verbose=0))
    assert twin.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    assert twin.optimizer.iterations == model.optimizer.iterations == 4
    frozen = duplicate(twin).get_weights()
    histories = []
    for each in (model, twin):  # Adam's moments, the moving statistics and dropout's step among it
        keras.utils.set_random_seed(2)
        histories.append(each.fit(X, Y, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]
    for a, b in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(frozen, twin.get_weights()))  # and shares no numbers
    assert [v.path for v in twin.weights] == [v.path for v in model.weights]


def test_copy_of_a_copy_that_never_ran_keeps_the_optimizer_s_state():
    model = model_of()
    model.fit(X, Y, verbose=0)
    twin = by_pickle(by_pickle(model))
    keras.utils.set_random_seed(2)
    expected = model.train_on_batch(X, Y), model.evaluate(X, Y, verbose=0)
    assert (twin.train_on_batch(X, Y), twin.evaluate(X, Y, verbose=0)) == expected


def test_frozen_layers_and_attributes_of_a_subclass_survive():
    model = model_of()
    model.layers[0].trainable = False
    model.note = {"by": "hand"}
    twin = by_pickle(model)
    assert [layer.trainable for layer in twin.layers] == [False, True, True, True, True]
    assert twin.note == {"by": "hand"} and len(twin.trainable_weights) == len(model.trainable_weights)


def test_models_that_are_not_built_or_compiled():
    twin = by_pickle(keras.Sequential([layers.Dense(2)]))
    assert not twin.built and not twin.compiled and twin(np.zeros((3, 4))).shape == (3, 2)


def test_layers_variables_and_histories_alone():
    layer = layers.Dense(2)
    x = np.ones((1, 3), np.float32)
    expected = layer(x)
    np.testing.assert_array_equal(by_pickle(layer)(x), expected)
    twin = copy.deepcopy(layer.kernel)
    twin.assign(np.zeros((3, 2)))
    assert layer.kernel.numpy().any() and twin.path == layer.kernel.path
    model = model_of()
    history = model.fit(X, Y, verbose=0)
    assert by_pickle(history).history == history.history and by_pickle(history).model is None


def test_another_process_reads_the_pickle(tmp_path):
    model = model_of()
    model.fit(X, Y, verbose=0)
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "x.npy", X)
    program = (
        "import pickle, sys, numpy as np\n"
        "model = pickle.load(open(sys.argv[1] + '/model.pickle', 'rb'))\n"
        "np.save(sys.argv[1] + '/y.npy', model.predict(np.load(sys.argv[1] + '/x.npy'), verbose=0))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), model.predict(X, verbose=0))


def test_clone_has_new_weights_and_is_compiled_alike():
    model = model_of()
    model.fit(X, Y, verbose=0)
    clone = keras.models.clone_model(model)
    assert clone.name == "whole" and clone.get_config() == model.get_config()
    assert clone.get_compile_config() == model.get_compile_config()
    assert clone.optimizer is not model.optimizer and clone.optimizer.iterations == 0
    assert all(a is not b for a, b in zip(clone.layers, model.layers))
    assert (clone.layers[0].kernel.numpy() != model.layers[0].kernel.numpy()).any()
    before = model.get_weights()
    clone.fit(X, Y, verbose=0)
    for a, b in zip(before, model.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_clone_function_sees_inner_layers_where_recursive():
    seen = []

    def clone_layer(layer):
        seen.append(type(layer).__name__)
        return layers.Dropout(0.9) if isinstance(layer, layers.Dropout) else type(layer).from_config(layer.get_config())

    model = model_of()
    clone = keras.models.clone_model(model, clone_function=clone_layer)
    assert clone.layers[3].rate == 0.9 and seen == [type(layer).__name__ for layer in model.layers]
    seen.clear()
    clone = keras.models.clone_model(model, clone_function=clone_layer, recursive=True)
    assert seen == ["Conv2D", "BatchNormalization", "MaxPooling2D", "Flatten", "Dropout", "Dense"]
    assert clone.output_shape == model.output_shape and clone.layers[2].name == "inner"


def test_clone_of_another_input_shape():
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.GlobalAveragePooling2D()])
    assert keras.models.clone_model(model, input_tensors=keras.Input((12, 10, 3))).input_shape == (None, 12, 10, 3)


@pytest.mark.parametrize(
    "arguments",
    [{"model": 3}, {"call_function": len}, {"clone_function": 3}, {"input_tensors": [1, 2]}, {"input_tensors": 1}],
)
def test_clone_refuses(arguments):
    with pytest.raises(ValueError, match="clone_model: "):
        keras.models.clone_model(**{"model": model_of(), **arguments})


def test_compile_config_round_trip():
    model = model_of(
        optimizer=keras.optimizers.SGD(0.5, momentum=0.9),
        loss=keras.losses.BinaryCrossentropy(label_smoothing=0.1),
        weighted_metrics=["mse"],
        steps_per_execution=4,
        run_eagerly=True,
    )
    config = model.get_compile_config()
    assert config["steps_per_execution"] == 4 and config["run_eagerly"] and config["weighted_metrics"] == ["mse"]
    assert config["metrics"][1]["class_name"] == "AUC" and config["loss"]["config"]["label_smoothing"] == 0.1
    other = keras.models.clone_model(model)
    other.compile_from_config(config)
    assert other.get_compile_config() == config and other.steps_per_execution == 4 and not other.jit_compile
    other.set_weights(model.get_weights())
    assert other.test_on_batch(X, Y) == model.test_on_batch(X, Y)
    assert keras.Sequential([layers.Dense(1)]).get_compile_config() == {}
    with pytest.raises(ValueError, match="compile_from_config: config"):
        other.compile_from_config({})
    with pytest.raises(ValueError, match="jit_compile: expected False where run_eagerly is True"):
        other.compile(run_eagerly=True, jit_compile=True)


def test_unpickled_arrays_are_data_like_others():
    # Their dtype is another object than NumPy's own.
    x, y = by_pickle(X), by_pickle(Y)
    assert x.dtype is not X.dtype
    a, b = model_of(), model_of()
    a.fit(X, Y, sample_weight=Y, shuffle=False, verbose=0)
    b.fit(x, y, sample_weight=y, shuffle=False, verbose=0)
    for one, other in zip(a.get_weights(), b.get_weights()):
        np.testing.assert_array_equal(one, other)
    kernel = np.ones((3, 3, 1, 2), np.float32)
    np.testing.assert_array_equal(keras.ops.conv2d(x, by_pickle(kernel)), keras.ops.conv2d(X, kernel))
