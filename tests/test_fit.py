"""fit, evaluate, predict and the one-batch methods: data, order, logs, callbacks, optimizer state."""

import math
import signal
import threading
import time
import warnings

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import callbacks, layers

N = 50


def data(n=N, features=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features)).astype(np.float32)
    return x, (x[:, 0] + 0.5 * x[:, 1] > 0).astype(np.float32)


def classifier(seed=1, **compile_arguments):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(1, "sigmoid")])
    model.compile(**{"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"], **compile_arguments})
    return model


def linear(learning_rate=0.1, **arguments):
    """y = x w, w = 0: gradients that can be worked out by hand."""
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(learning_rate), "mse", **arguments)
    return model


def test_history_has_keras_names_in_keras_order():
    model = classifier()
    history = model.fit(*data(), epochs=3, batch_size=16, validation_split=0.2, verbose=0)
    assert list(history.history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 3 and all(type(v) is float for v in values) for values in history.history.values())
    assert history.epoch == [0, 1, 2] and history.params == {"verbose": 0, "epochs": 3, "steps": 3}
    assert model.history is history


@pytest.mark.isa
def test_training_learns():
    model = classifier()
    x, y = data(400)
    model.fit(x, y, epochs=30, verbose=0)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy > 0.95 and loss < 0.3
    assert model.evaluate(x, y, verbose=0, return_dict=True) == {"accuracy": accuracy, "loss": loss}
    assert model.metrics_names == ["loss", "accuracy"]
    predicted = model.predict(x, verbose=0)
    assert ((predicted[:, 0] > 0.5) == y).mean() == pytest.approx(accuracy)


def test_same_seed_gives_the_same_bits_and_another_does_not():
    runs = []
    for seed in (1, 1, 2):
        model = classifier(seed)
        history = model.fit(*data(), epochs=2, verbose=0)
        runs.append((history.history["loss"], model.get_weights()))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    for a, b in zip(runs[0][1], runs[1][1]):
        np.testing.assert_array_equal(a, b)


def test_step_of_gradient_descent_by_hand():
    model = linear()
    x, y = np.array([[1.0], [2.0]]), np.array([2.0, 4.0])
    assert model.train_on_batch(x, y) == pytest.approx(10.0)  # loss before the step: (4 + 16) / 2
    assert model.weights[0].numpy()[0, 0] == pytest.approx(1.0)  # 0 + 0.1 * mean(2 * [2 * 1, 4 * 2])
    assert model.optimizer.iterations == 1
    assert model.test_on_batch(x, y, return_dict=True) == {"loss": pytest.approx(2.5)}


def test_sample_and_class_weights_scale_the_loss():
    x, y = np.array([[1.0], [1.0]]), np.array([0.0, 2.0])
    assert linear().test_on_batch(x, y, sample_weight=np.array([5.0, 0.5])) == pytest.approx(1.0)
    assert linear().train_on_batch(x, y, class_weight={2: 3.0}) == pytest.approx(6.0)
    model = linear()
    model.fit(x, y, sample_weight=np.zeros((2, 1)), verbose=0)
    assert model.weights[0].numpy()[0, 0] == 0
    one_hot = keras.Sequential([keras.Input((1,)), layers.Dense(2, "softmax", kernel_initializer="zeros")])
    one_hot.compile("sgd", "categorical_crossentropy")
    loss = one_hot.train_on_batch(x, np.eye(2), class_weight={1: 3.0})
    assert loss == pytest.approx(2 * math.log(2), rel=1e-5)


def test_unweighted_and_weighted_metrics():
    model = classifier(weighted_metrics=["accuracy"])
    x, y = data()
    weights = (y == 1).astype(np.float32)
    assert model.metrics_names == ["loss", "accuracy", "weighted_accuracy"]
    logs = model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    right = (model.predict(x, verbose=0)[:, 0] > 0.5) == y
    assert logs["accuracy"] == pytest.approx(right.mean())
    assert logs["weighted_accuracy"] == pytest.approx(right[y == 1].mean())


@pytest.mark.parametrize("batch_size", [7, 32, 200])
def test_python_metric_sees_the_same_as_a_native_one(batch_size):
    def mine(y_true, y_pred):
        assert y_true.shape == (len(y_pred),)
        return (y_true[:, None] == (y_pred > 0.5)).mean(axis=-1)

    model = classifier(metrics=["accuracy", mine])
    history = model.fit(*data(), batch_size=batch_size, epochs=2, validation_split=0.3, verbose=0).history
    assert history["mine"] == pytest.approx(history["accuracy"])
    assert history["val_mine"] == pytest.approx(history["val_accuracy"])


def test_metric_written_in_python_adds_its_own_state():
    class Count(keras.metrics.Metric):
        def __init__(self, name="count"):
            super().__init__(name=name)
            self.seen = self.add_weight(name="seen", initializer="zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.seen.assign_add(float(len(y_pred)))

        def result(self):
            return self.seen

    model = classifier(metrics=[Count()])
    history = model.fit(*data(), epochs=2, validation_split=0.2, verbose=0).history
    assert history["count"] == [40.0, 40.0] and history["val_count"] == [10.0, 10.0]


class Recorder(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"batch {batch}")
        self.logs = dict(logs)

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(f"test {batch}")

    def on_predict_batch_end(self, batch, logs=None):
        self.calls.append(f"predict {batch} {logs['outputs'].shape}")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(f"end {epoch} {sorted(logs)}")


def test_callbacks_see_every_batch_in_order():
    model, recorder = classifier(), Recorder()
    model.fit(*data(), batch_size=20, validation_split=0.2, callbacks=[recorder], verbose=0)
    assert recorder.calls == [
        "train",
        "epoch 0",
        "batch 0",
        "batch 1",
        "test 0",
        "end 0 ['accuracy', 'loss', 'val_accuracy', 'val_loss']",
    ]
    assert sorted(recorder.logs) == ["accuracy", "loss"]
    recorder.calls.clear()
    model.predict(data()[0], batch_size=30, callbacks=recorder, verbose=0)
    assert recorder.calls == ["predict 0 (30, 1)", "predict 1 (20, 1)"]


def test_batch_callbacks_do_not_change_the_result():
    results = []
    for extra in ([], [Recorder()]):
        model = classifier()
        results.append((model.fit(*data(), epochs=2, callbacks=extra, verbose=0).history, model.get_weights()))
    assert results[0][0] == results[1][0]
    for a, b in zip(results[0][1], results[1][1]):
        np.testing.assert_array_equal(a, b)


def test_stop_training_ends_after_the_batch():
    class Stop(Recorder):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if batch == 1:
                self.model.stop_training = True

    stop = Stop()
    model = classifier()
    history = model.fit(*data(), batch_size=10, epochs=5, callbacks=stop, verbose=0)
    assert [call for call in stop.calls if call.startswith("batch")] == ["batch 0", "batch 1"]
    assert len(history.history["loss"]) == 1 and model.optimizer.iterations == 2


def test_interrupt_leaves_a_working_model():
    class Interrupt(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    model = classifier()
    x, y = data()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=10, callbacks=[Interrupt()], verbose=0)
    assert model.optimizer.iterations == 3
    assert np.isfinite(model.predict(x, verbose=0)).all()
    model.fit(x, y, batch_size=10, verbose=0)
    assert model.optimizer.iterations == 8


def test_ctrl_c_is_heard_within_a_slice_without_batch_callbacks():
    model = classifier()
    x, y = data(2000)
    model.fit(x, y, verbose=0)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=1, epochs=100_000, verbose=0)
    assert time.monotonic() - start < 10  # a loaded machine; usually a tenth of a second after the signal
    assert model.optimizer.iterations > 0 and all(np.isfinite(w).all() for w in model.get_weights())
    before = model.optimizer.iterations
    model.fit(x, y, batch_size=1000, verbose=0)
    assert model.optimizer.iterations == before + 2


def test_learning_rate_is_read_before_each_step():
    model = linear(learning_rate=0.0)
    x, y = np.ones((4, 1)), np.ones(4)
    model.train_on_batch(x, y)
    assert model.weights[0].numpy()[0, 0] == 0
    model.optimizer.learning_rate = 0.5
    model.train_on_batch(x, y)
    assert model.weights[0].numpy()[0, 0] == 1.0


def test_validation_split_takes_the_unshuffled_tail():
    x, y = data()
    model = classifier()
    model.fit(x, y, validation_split=0.2, verbose=0)
    split = model.history.history["val_loss"][-1]
    assert split == pytest.approx(model.evaluate(x[40:], y[40:], verbose=0)[0], rel=1e-6)
    twin = classifier()
    twin.fit(x[:40], y[:40], validation_data=(x[40:], y[40:]), verbose=0)
    assert twin.history.history == model.history.history


def test_validation_data_with_weights_frequency_and_steps():
    x, y = data()
    model = classifier()
    model.fit(x, y, epochs=4, validation_data=(x, y, np.zeros(N)), validation_freq=2, verbose=0)
    assert model.history.history["val_loss"] == [0.0, 0.0]
    model.fit(
        x,
        y,
        epochs=3,
        validation_data=(x, y),
        validation_freq=[3],
        validation_steps=2,
        validation_batch_size=5,
        verbose=0,
    )
    expected = model.evaluate(x[:10], y[:10], verbose=0)[0]
    assert model.history.history["val_loss"] == [pytest.approx(expected, rel=1e-6)]


def test_initial_epoch_and_epochs():
    history = classifier().fit(*data(), initial_epoch=2, epochs=4, verbose=0)
    assert history.epoch == [2, 3]


def seen_rows(n, **fit_arguments):
    """The rows that each epoch's steps take, from the outputs of a model that copies its input."""
    model = linear(learning_rate=0.0)
    model.weights[0].assign([[1.0]])
    rows, epochs = [], []

    def record(y_true, y_pred):
        rows.append(y_pred[:, 0].astype(int).tolist())
        return np.zeros(len(y_pred))

    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=[record])

    class Collect(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            epochs.append(rows.copy())
            rows.clear()

    x = np.arange(n, dtype=np.float32)[:, None]
    model.fit(x, np.zeros(n), callbacks=[Collect()], verbose=0, **fit_arguments)
    return epochs


def test_each_epoch_takes_every_sample_once_in_a_new_order():
    keras.utils.set_random_seed(3)
    epochs = seen_rows(10, batch_size=4, epochs=2)
    flat = [[row for batch in batches for row in batch] for batches in epochs]
    assert [len(batch) for batch in epochs[0]] == [4, 4, 2]
    assert sorted(flat[0]) == sorted(flat[1]) == list(range(10))
    assert flat[0] != flat[1] and flat[0] != list(range(10))


def test_shuffle_false_keeps_the_order_and_batch_shuffles_whole_batches():
    assert seen_rows(5, batch_size=2, shuffle=False) == [[[0, 1], [2, 3], [4]]]
    keras.utils.set_random_seed(4)
    batches = seen_rows(11, batch_size=2, shuffle="batch")[0]
    assert sorted(batches) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]] and batches[-1] == [10]
    assert batches != sorted(batches)


def test_steps_per_epoch_goes_on_where_the_last_epoch_ended():
    epochs = seen_rows(8, batch_size=2, steps_per_epoch=2, epochs=3, shuffle=False)
    assert epochs == [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[0, 1], [2, 3]]]


def test_steps_per_epoch_beyond_the_data_warns():
    with pytest.warns(UserWarning, match="steps_per_epoch: expected at most the 4 batches"):
        epochs = seen_rows(8, batch_size=2, steps_per_epoch=9, shuffle=False)
    assert len(epochs[0]) == 4


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float16", "float32", "float64", "bool"])
def test_inputs_of_any_dtype_and_strides_train_alike(dtype):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (N, 12)).astype(dtype)[:, ::2]
    y = data()[1]
    model = classifier()
    model.fit(x, y, verbose=0)
    twin = classifier()
    twin.fit(np.ascontiguousarray(x, dtype=np.float32), y, verbose=0)
    for a, b in zip(model.get_weights(), twin.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: y.astype(bool),
        lambda y: y.astype(np.uint8),
        lambda y: y.astype(np.int64)[:, None],
        lambda y: y.astype(np.float64),
        lambda y: y.tolist(),
    ],
)
def test_labels_of_any_type_train_alike(convert):
    x, y = data()
    model = classifier()
    model.fit(x, convert(y), verbose=0)
    twin = classifier()
    twin.fit(x, y, verbose=0)
    assert model.history.history == twin.history.history


def test_sparse_and_one_hot_labels_train_alike():
    x, _ = data()
    y = np.arange(N) % 3
    histories = []
    for loss, labels in (
        ("sparse_categorical_crossentropy", y),
        ("sparse_categorical_crossentropy", y[:, None].astype(float)),
        ("categorical_crossentropy", np.eye(3)[y]),
    ):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation="softmax")])
        model.compile("adam", loss, metrics=["accuracy"])
        histories.append(model.fit(x, labels, epochs=2, verbose=0).history)
    assert histories[0] == histories[1]
    for name, values in histories[0].items():
        assert histories[2][name] == pytest.approx(values, rel=1e-5)


def test_images_may_lack_the_axis_of_one_channel():
    model = keras.Sequential([keras.Input((6, 6, 1)), layers.Flatten(), layers.Dense(1)])
    x = np.random.default_rng(0).random((9, 6, 6))
    expected = model.predict(x[..., None], verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), expected)
    np.testing.assert_array_equal(model(x), expected)
    flat = keras.Sequential([keras.Input((6,)), layers.Dense(1)])
    assert flat.predict(np.ones((4, 6, 1)), verbose=0).shape == (4, 1)


def test_anything_with_array_protocol_is_data():
    class Table:
        def __init__(self, values):
            self.values = values

        def __array__(self, dtype=None, copy=None):
            return np.asarray(self.values, dtype=dtype)

    x, y = data()
    assert classifier().evaluate(Table(x), Table(y), verbose=0) == classifier().evaluate(x, y, verbose=0)


def test_recompile_starts_the_optimizer_anew():
    model = classifier()
    model.fit(*data(), verbose=0)
    assert model.optimizer.iterations == 2
    model.compile("adam", "binary_crossentropy")
    assert model.optimizer.iterations == 0
    model.fit(*data(), verbose=0)
    assert model.optimizer.iterations == 2


def test_recompile_with_the_same_optimizer_goes_on():
    x, y = data()
    runs = []
    for again in (False, True):
        model = classifier()
        model.fit(x, y, shuffle=False, verbose=0)
        if again:
            model.compile(model.optimizer, "binary_crossentropy")
        model.fit(x, y, shuffle=False, verbose=0)
        runs.append((model.optimizer.iterations, model.get_weights()))
    assert runs[0][0] == runs[1][0] == 4
    for a, b in zip(runs[0][1], runs[1][1]):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_stay():
    model = classifier()
    model.layers[0].trainable = False
    before = model.get_weights()
    model.fit(*data(), verbose=0)
    after = model.get_weights()
    np.testing.assert_array_equal(before[0], after[0])
    assert not np.array_equal(before[2], after[2])
    model.layers[0].trainable = True
    model.fit(*data(), verbose=0)
    assert not np.array_equal(model.get_weights()[0], after[0])
    assert model.optimizer.iterations == 4


def test_regularizer_adds_to_the_loss_while_trained():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_regularizer=keras.regularizers.L2(0.5))])
    model.weights[0].assign([[2.0]])
    model.compile("sgd", "mse")
    assert model.evaluate(np.zeros((2, 1)), np.zeros(2), verbose=0) == pytest.approx(2.0)


def test_verbose_2_prints_a_line_an_epoch(capsys):
    classifier().fit(*data(), epochs=2, validation_split=0.2, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2" and len(lines) == 4
    assert lines[1].startswith("2/2 - 0s - ")
    names = [part.split(":")[0] for part in lines[1].split(" - ")[3:]]
    assert names == ["accuracy", "loss", "val_accuracy", "val_loss"]


@pytest.mark.parametrize("verbose", ["auto", 1])
def test_verbose_1_draws_a_bar(capsys, verbose):
    model = classifier()
    model.fit(*data(), verbose=verbose)
    assert "━" in capsys.readouterr().out
    model.evaluate(*data(), verbose=verbose)
    printed = capsys.readouterr().out
    assert "━" in printed and "accuracy:" in printed
    model.predict(data()[0], verbose=verbose)
    assert "━" in capsys.readouterr().out


def test_verbose_0_prints_nothing(capsys):
    model = classifier()
    model.fit(*data(), epochs=2, validation_split=0.2, verbose=0)
    model.evaluate(*data(), verbose=0)
    model.predict(data()[0], verbose=0)
    assert capsys.readouterr().out == ""


def test_predict_in_batches_and_steps():
    model, (x, _) = classifier(), data()
    whole = model.predict(x, batch_size=N, verbose=0)
    np.testing.assert_allclose(model.predict(x, batch_size=7, verbose=0), whole, rtol=1e-6)
    assert model.predict(x, batch_size=7, steps=2, verbose=0).shape == (14, 1)
    assert model.predict(x, steps=5, verbose=0).shape == (N, 1)


def test_two_threads_that_fit_take_turns_and_others_may_predict():
    model, (x, y) = classifier(), data(300)
    failures = []

    def run(work):
        try:
            work()
        except Exception as error:
            failures.append(error)

    def predict():
        for _ in range(30):
            assert np.isfinite(model.predict(x, verbose=0)).all()

    works = [lambda: model.fit(x, y, epochs=5, verbose=0)] * 2 + [predict] * 2
    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert model.optimizer.iterations == 2 * 5 * 10


def test_zero_epochs_change_nothing():
    model = classifier()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = model.fit(*data(), epochs=0, verbose=0)
    assert history.history == {} and model.optimizer.iterations == 0


@pytest.mark.parametrize(("inputs", "units"), [(784, 400), (5280, 64)])
def test_a_network_that_begins_with_a_dense_layer_of_many_weights(inputs, units):
    model = keras.Sequential([keras.Input((inputs,)), layers.Dense(units)])
    kernel, bias = model.get_weights()
    x, y = np.random.default_rng(0).normal(size=(2, 16, inputs)).astype(np.float32)
    y = y[:, :units]
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.fit(x, y, batch_size=16, verbose=0)
    dy = 2 * (x.astype(np.float64) @ kernel + bias - y) / y.size
    np.testing.assert_allclose(model.get_weights()[0], kernel - x.T @ dy, atol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], bias - dy.sum(0), atol=1e-5)
