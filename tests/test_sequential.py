"""Sequential: building, shapes, weights, files and descriptions."""

import subprocess
import sys
import threading

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _naming, layers


def small(name=None):
    return keras.Sequential(
        [
            layers.Conv2D(4, 3, activation="relu", input_shape=(8, 8, 1)),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ],
        name=name,
    )


def images(n=6, seed=0):
    return np.random.default_rng(seed).random((n, 8, 8, 1), np.float32)


def test_weights_have_keras_names_paths_and_order():
    _naming.reset_names()
    model = small()
    assert [(v.path, v.shape, v.trainable) for v in model.weights] == [
        ("sequential/conv2d/kernel", (3, 3, 1, 4), True),
        ("sequential/conv2d/bias", (4,), True),
        ("sequential/batch_normalization/gamma", (4,), True),
        ("sequential/batch_normalization/beta", (4,), True),
        ("sequential/batch_normalization/moving_mean", (4,), False),
        ("sequential/batch_normalization/moving_variance", (4,), False),
        ("sequential/dense/kernel", (36, 1), True),
        ("sequential/dense/bias", (1,), True),
    ]
    assert model.count_params() == 93
    assert len(model.trainable_weights) == 6 and len(model.non_trainable_weights) == 2


@pytest.mark.parametrize("way", ["input_shape", "Input", "InputLayer", "add", "build", "call", "fit"])
def test_every_way_of_giving_the_input_shape_builds_the_model(way):
    x = np.ones((4, 5))
    if way == "input_shape":
        model = keras.Sequential([layers.Dense(3, input_shape=(5,)), layers.Dense(2)])
    elif way == "Input":
        model = keras.Sequential([keras.Input((5,)), layers.Dense(3), layers.Dense(2)])
    elif way == "InputLayer":
        model = keras.Sequential([layers.InputLayer(batch_shape=(None, 5)), layers.Dense(3), layers.Dense(2)])
    elif way == "add":
        model = keras.Sequential()
        model.add(keras.Input((5,)))
        model.add(layers.Dense(3))
        assert model.output_shape == (None, 3)
        model.add(layers.Dense(2))
    else:
        model = keras.Sequential([layers.Dense(3), layers.Dense(2)])
        assert not model.built and model.weights == []
        with pytest.raises(AttributeError, match="has not been given an input shape yet"):
            _ = model.input_shape
        if way == "build":
            model.build((None, 5))
        elif way == "call":
            model(x)
        else:
            model.compile("sgd", "mse")
            model.fit(x, np.ones((4, 2)), verbose=0)
    assert model.built
    assert (model.input_shape, model.output_shape) == ((None, 5), (None, 2))
    assert (model.inputs[0].shape, model.outputs[0].shape) == ((None, 5), (None, 2))
    assert len(model.layers) == 2
    assert model.predict(x, verbose=0).shape == (4, 2)


def test_layers_hides_the_input_and_get_layer_finds_by_name_and_index():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3, name="a"), layers.Dense(2, name="b")])
    assert [layer.name for layer in model.layers] == ["a", "b"]
    assert model.get_layer("b") is model.get_layer(index=1) is model.layers[1]


def test_add_and_pop_keep_the_weights():
    model = keras.Sequential([keras.Input((5,)), layers.Dense(3)])
    x = np.ones((2, 5))
    before = model.predict(x, verbose=0)
    model.add(layers.Dense(2))
    assert model.predict(x, verbose=0).shape == (2, 2)
    assert model.pop().units == 2
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


def test_a_failed_add_changes_nothing():
    model = keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3)])
    with pytest.raises(ValueError):
        model.add(layers.Conv2D(2, 3))
    assert len(model.layers) == 1 and model.output_shape == (None, 2, 2, 2)


def test_all_variables_of_a_model_share_one_buffer():
    model = small()
    model.predict(images(), verbose=0)
    owners = {id(v._binding[0]) for v in model.weights}
    assert len(owners) == 1 and len(model.weights[0]._binding[0]) == 8


def test_shared_layers_follow_the_model_that_trains_them():
    model = small()
    features = keras.Sequential(model.layers[:-1])
    x = images(32)
    before = features.predict(x, verbose=0)
    model.compile("sgd", "binary_crossentropy")
    model.fit(x, np.arange(32) % 2, verbose=0)
    after = features.predict(x, verbose=0)
    assert not np.array_equal(before, after)
    dense = model.layers[-1]
    np.testing.assert_array_equal(dense(after), model.predict(x, verbose=0))


def test_a_network_made_before_its_variables_moved_is_made_again():
    layer = layers.Dense(2)
    x = np.ones((1, 3))
    layer(x)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.predict(x, verbose=0)
    layer.kernel.assign(np.full((3, 2), 2.0))
    np.testing.assert_array_equal(layer(x), [[6, 6]])
    np.testing.assert_array_equal(model(x), [[6, 6]])


def test_a_model_inside_a_model():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="relu")])
    model = keras.Sequential([inner, layers.Dense(2)])
    assert (model.input_shape, model.output_shape) == ((None, 5), (None, 2))
    assert model.count_params() == 5 * 3 + 3 + 3 * 2 + 2
    x = np.ones((2, 5))
    np.testing.assert_allclose(model(x), model.layers[1](inner(x)), rtol=1e-6)
    inner.trainable = False
    assert len(model.trainable_weights) == 2


def test_config_round_trip_keeps_structure_and_names():
    model = small()
    twin = keras.Sequential.from_config(model.get_config())
    assert twin.get_config() == model.get_config()
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(twin.predict(images(), verbose=0), model.predict(images(), verbose=0))


def test_calls_of_the_model_and_of_its_layers_agree():
    model = small()
    x = images()
    y = x
    for layer in model.layers:
        y = layer(y)
    np.testing.assert_allclose(model(x), y, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model(x), model.predict_on_batch(x))


def test_training_call_uses_batch_statistics():
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization()])
    x = np.random.default_rng(0).normal(5, 2, (64, 3))
    np.testing.assert_allclose(model(x, training=True).mean(0), 0, atol=1e-4)
    assert abs(model(x).mean()) > 1


def test_weights_file_fits_another_model_of_the_same_structure(tmp_path):
    first, second = small(), small()
    first.save_weights(tmp_path / "w.npz")
    second.load_weights(tmp_path / "w.npz")
    for a, b in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]
    with np.load(tmp_path / "w.npz", allow_pickle=False) as archive:
        assert "layers/conv2d/kernel" in archive.files


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    model = small()
    before = model.get_weights()
    other = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(5, 3), layers.Flatten(), layers.Dense(1)])
    other.save_weights(tmp_path / "other.npz")
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(
        ValueError, match=r"load_weights: filepath: expected a file with 'layers/batch_normalization/gamm"
    ):
        model.load_weights(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"load_weights: filepath: expected a \.npz archive of save_weights"):
        model.load_weights(tmp_path / "broken.npz")
    for old, now in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, now)


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    model = small()
    model.save_weights(tmp_path / "w.npz")
    old = (tmp_path / "w.npz").read_bytes()

    def refuse(*args):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        model.save_weights(tmp_path / "w.npz")
    assert (tmp_path / "w.npz").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["w.npz"]


def test_set_weights_that_do_not_fit_change_nothing():
    model = small()
    before = model.get_weights()
    wrong = [w + 1 for w in before]
    wrong[-1] = np.zeros(3)
    with pytest.raises(ValueError):
        model.set_weights(wrong)
    for old, now in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, now)


def test_summary_shows_layers_shapes_and_totals():
    texts = []
    small(name="net").summary(print_fn=texts.append, line_length=70)
    lines = texts[0].splitlines()
    assert lines[0] == 'Model: "net"'
    assert {len(line) for line in lines[1:-3]} == {70}
    assert "(None, 6, 6, 4)" in texts[0] and "BatchNormalization" in texts[0]
    assert lines[-3:] == [
        " Total params: 93 (372.00 B)",
        " Trainable params: 85 (340.00 B)",
        " Non-trainable params: 8 (32.00 B)",
    ]


def test_summary_of_an_unbuilt_model_says_so():
    texts = []
    keras.Sequential([layers.Dense(3)]).summary(print_fn=texts.append)
    assert "0 (unbuilt)" in texts[0] and "?" in texts[0]


def test_explain_prints_and_returns_the_plan(capsys):
    steps = small().explain(batch_size=8)
    assert steps[-1]["operation"] == "total"
    printed = capsys.readouterr().out
    assert "conv2d" in printed and "Total: threads" in printed


def test_predict_from_several_threads_gives_the_same():
    model, x = small(), images(100)
    expected = model.predict(x, verbose=0)
    results = [None] * 6

    def work(i):
        for _ in range(5):
            results[i] = model.predict(x, batch_size=7 + i, verbose=0)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-7)


def test_import_brings_numpy_only():
    heavy = {"torch", "keras", "scipy", "pandas", "sklearn", "matplotlib"}
    code = f"import sys, fastcnn; print(sorted({{m.split('.')[0] for m in sys.modules}} & {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_profile_times_every_step(capsys):
    model = small()
    x = np.zeros((6, *model.input_shape[1:]), np.float32)
    model(x)
    weights = model.get_weights()
    steps = model.profile(x, seconds=0.02)
    assert all(step["forward_seconds"] > 0 and step["backward_seconds"] == 0 for step in steps[:-1])
    total = steps[-1]
    assert total["samples"] == 6 and total["runs"] > 0 and total["peak_gflops"] > 1
    busy = sum(step["forward_seconds"] for step in steps[:-1]) + total["other_seconds"]
    assert 0 < busy <= 1.05 * total["threads"] * total["elapsed_seconds"]
    assert 0 < steps[0]["gflops"] == pytest.approx(steps[0]["share_of_peak"] * total["peak_gflops"], rel=1e-12)
    assert "of peak" in capsys.readouterr().out
    model.compile("sgd", "mse")
    trained = model.profile(x, np.zeros((6, *model.output_shape[1:])), seconds=0.02)
    assert any(step["backward_seconds"] > 0 for step in trained[:-1])
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights))


@pytest.mark.parametrize("seconds", [0, -1.0, "long"])
def test_profile_refuses_times_that_are_not_positive(seconds):
    with pytest.raises(ValueError, match=r"profile: seconds: expected a positive number, received"):
        small().profile(np.zeros((1, *small().input_shape[1:]), np.float32), seconds=seconds)
