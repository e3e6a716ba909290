"""fit, evaluate and predict on what yields batches, and on frames: the same results as on arrays."""

import itertools
import math
import random
import threading
import time

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import layers
from fastcnn.data import py_dataset
from fastcnn.utils import PyDataset

N, SIZE = 50, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 6)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.float32)
W = RNG.uniform(0.5, 2, N).astype(np.float32)


def classifier(**arguments):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(1, "sigmoid")])
    model.compile(**{"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"], **arguments})
    return model


def cut(*columns, size=SIZE):
    for begin in range(0, N, size):
        yield tuple(column[begin : begin + size] for column in columns)


class Numbered(PyDataset):
    """X, Y, W in batches; notes which batches were made, where, and the epochs' hooks."""

    def __init__(self, columns=(X, Y), fail_at=None, **arguments):
        super().__init__(**arguments)
        self.columns, self.fail_at = columns, fail_at
        self.made, self.threads, self.hooks = [], set(), []
        if not self._use_multiprocessing:
            self.second_made = threading.Event()

    def __len__(self):
        return math.ceil(N / SIZE)

    def __getitem__(self, index):
        if index == self.fail_at:
            raise RuntimeError(f"batch {index} is broken")
        self.made.append(index)
        self.threads.add(threading.get_ident())
        if self.workers > 1 and not self.use_multiprocessing:
            if index == 1:
                self.second_made.set()
            assert index or self.second_made.wait(60)  # the first is not the first to finish
        return tuple(column[index * SIZE : (index + 1) * SIZE] for column in self.columns)

    def on_epoch_begin(self):
        self.hooks.append("begin")

    def on_epoch_end(self):
        self.hooks.append("end")


class Again:
    """An iterable that may be read again and does not know its length."""

    def __iter__(self):
        return cut(X, Y)


def torch_loader():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size=SIZE)


SOURCES = {
    "iterable": Again,
    "generator of two epochs": lambda: (batch for _ in range(2) for batch in cut(X, Y)),
    "list of tuples": lambda: list(cut(X, Y)),
    "PyDataset": Numbered,
    "PyDataset of three threads": lambda: Numbered(workers=3, max_queue_size=2),
    "PyDataset of two processes": lambda: Numbered(workers=2, use_multiprocessing=True),
    "DataLoader": torch_loader,
}


@pytest.mark.parametrize("name", SOURCES)
def test_batches_train_as_the_array_does_bit_for_bit(name):
    one, other = classifier(), classifier()
    steps = math.ceil(N / SIZE) if name.startswith("generator") else None
    expected = one.fit(X, Y, batch_size=SIZE, epochs=2, shuffle=False, verbose=0).history
    found = other.fit(SOURCES[name](), epochs=2, shuffle=False, steps_per_epoch=steps, verbose=0).history
    assert found == expected
    for a, b in zip(one.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert other.optimizer.iterations == 14
    assert other.evaluate(SOURCES[name](), steps=steps, verbose=0) == one.evaluate(X, Y, batch_size=SIZE, verbose=0)
    predicted = other.predict(SOURCES[name](), steps=steps, verbose=0)
    np.testing.assert_array_equal(predicted, one.predict(X, batch_size=SIZE, verbose=0))


def test_weights_in_batches_and_class_weight_count():
    one, other = classifier(weighted_metrics=["accuracy"]), classifier(weighted_metrics=["accuracy"])
    expected = one.fit(X, Y, sample_weight=W, batch_size=SIZE, shuffle=False, verbose=0).history
    assert other.fit(cut(X, Y, W), verbose=0).history == expected
    one, other = classifier(), classifier()
    expected = one.fit(X, Y, class_weight={1: 3.0}, batch_size=SIZE, shuffle=False, verbose=0).history
    assert other.fit(Again(), class_weight={1: 3.0}, verbose=0).history == expected
    with pytest.raises(ValueError, match="class_weight: expected None where sample_weight is given"):
        classifier().fit(cut(X, Y, W), class_weight={1: 3.0}, verbose=0)


def test_batches_of_different_sizes_and_a_python_metric():
    def mine(y_true, y_pred):
        return (y_true[:, None] == (y_pred > 0.5)).mean(axis=-1)

    model = classifier(metrics=["accuracy", mine])
    sizes = [3, 20, 1, 26]
    ends = np.cumsum(sizes)
    parts = [(X[end - n : end], Y[end - n : end]) for n, end in zip(sizes, ends)]
    history = model.fit(parts, epochs=2, validation_data=iter(parts), validation_steps=2, verbose=0).history
    assert history["mine"] == pytest.approx(history["accuracy"])
    assert history["val_mine"] == pytest.approx(history["val_accuracy"])
    assert model.predict(parts, verbose=0).shape == (N, 1)


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.calls = []

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch} of {self.params['steps']}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(batch)
        if self.calls.count(4) == 2:
            self.model.stop_training = True

    def on_test_batch_end(self, batch, logs=None):
        self.calls.append(f"test {batch}")

    def on_predict_batch_end(self, batch, logs=None):
        self.calls.append(f"predict {batch} {logs['outputs'].shape}")


def test_callbacks_see_every_batch_and_may_stop():
    recorder, model = Recorder(), classifier()
    history = model.fit(
        Numbered(), epochs=3, validation_data=(Again()), validation_steps=1, callbacks=recorder, verbose=0
    )
    epoch = [*range(7), "test 0"]
    assert recorder.calls == ["epoch 0 of 7", *epoch, "epoch 1 of 7", *range(5), "test 0"]
    assert len(history.history["val_loss"]) == 2
    recorder.calls.clear()
    model.predict(Again(), steps=1, callbacks=recorder, verbose=0)
    assert recorder.calls == ["predict 0 (8, 1)"]


def test_steps_cut_the_source_and_the_next_epoch_goes_on():
    data = Numbered()
    with pytest.warns(UserWarning, match="at least 3 batches an epoch, received 1"):
        classifier().fit(data, steps_per_epoch=3, epochs=3, shuffle=False, verbose=0)
    assert data.made[:7] == list(range(7)) and data.hooks == ["begin", "end"] * 3
    endless = ((X[:SIZE], Y[:SIZE]) for _ in itertools.count())
    model = classifier()
    history = model.fit(endless, steps_per_epoch=4, epochs=2, validation_data=endless, validation_steps=1, verbose=0)
    assert model.optimizer.iterations == 8 and len(history.history["val_loss"]) == 2


def test_epochs_that_use_up_an_iterable_exactly_begin_it_again():
    model = classifier()
    model.fit(Again(), steps_per_epoch=7, epochs=3, verbose=0)
    assert model.optimizer.iterations == 21


def test_what_runs_out_says_so():
    model = classifier()
    with pytest.warns(UserWarning, match="source of at least 9 batches an epoch, received 7 before it ran out"):
        model.fit(Again(), steps_per_epoch=9, verbose=0)
    with pytest.warns(
        UserWarning, match="expected batches for 3 epochs, received a source that ran out of data after 1"
    ):
        history = model.fit(cut(X, Y), epochs=3, verbose=0)
    assert len(history.history["loss"]) == 1


def test_shuffle_is_the_seed_s_and_covers_every_batch():
    orders = []
    for seed in (1, 1, 2):
        data, model = Numbered(), classifier()
        keras.utils.set_random_seed(seed)
        model.fit(data, epochs=2, verbose=0)
        orders.append(data.made)
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0][:7]) == sorted(orders[0][7:]) == list(range(7)) and orders[0][:7] != orders[0][7:]


def test_threads_make_batches_ahead_but_not_more_than_the_queue_holds():
    data = Numbered(workers=4, max_queue_size=3)
    batches = py_dataset.batches(data, shuffle=False)
    first = next(batches)
    np.testing.assert_array_equal(first[0], X[:SIZE])
    time.sleep(0.05)  # for those that must not be made
    assert sorted(data.made) == [0, 1, 2] and len(data.threads) > 1
    assert threading.get_ident() not in data.threads
    batches.close()
    assert sorted(data.made) == [0, 1, 2]


class Drawn(PyDataset):
    """Batches drawn from the global generators: what forked processes would all draw alike."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return np.random.normal(size=(4, 6)), np.full(4, random.random())  # noqa: NPY002


def test_processes_draw_different_batches_that_the_seed_repeats():
    passes = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        passes.append(list(py_dataset.batches(Drawn(workers=3, use_multiprocessing=True), shuffle=False)))
    values = {float(y[0]) for _, y in passes[0]} | {float(x[0, 0]) for x, _ in passes[0]}
    assert len(values) == 12
    for (x, y), (again_x, again_y) in zip(*passes):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)


@pytest.mark.parametrize("arguments", [{}, {"workers": 3}, {"workers": 2, "use_multiprocessing": True}])
def test_an_error_in_a_batch_reaches_the_caller_and_ends_the_workers(arguments):
    model, before = classifier(), threading.active_count()
    data = Numbered(fail_at=3, **arguments)
    with pytest.raises(RuntimeError, match="batch 3 is broken"):
        model.fit(data, shuffle=False, verbose=0)
    assert model.optimizer.iterations == 3 and threading.active_count() == before
    assert data.hooks == ["begin", "end"]
    model.fit(X, Y, verbose=0)


def test_dataset_without_super_init_works_and_warns():
    class Careless(Numbered):
        def __init__(self):
            self.columns, self.fail_at, self.made, self.threads, self.hooks = (X, Y), None, [], set(), []

    with pytest.warns(UserWarning, match="expected a call of super"):
        classifier().fit(Careless(), verbose=0)


def test_endless_dataset():
    class Endless(PyDataset):
        num_batches = None

        def __getitem__(self, index):
            return X[:SIZE], Y[:SIZE]

    for arguments in ({}, {"workers": 2}):
        model = classifier()
        model.fit(Endless(**arguments), steps_per_epoch=3, epochs=2, verbose=0)
        assert model.optimizer.iterations == 6


@pytest.mark.parametrize(
    ("source", "arguments", "message"),
    [
        (lambda: cut(X, Y), {"y": Y}, "fit: y: expected None where x yields batches"),
        (lambda: cut(X, Y), {"sample_weight": W}, "fit: sample_weight: expected None where x yields batches"),
        (lambda: cut(X, Y), {"validation_split": 0.2}, "fit: validation_split: expected 0 where x yields batches"),
        (lambda: iter([]), {}, "fit: x: expected at least one batch, received none"),
        (lambda: iter([{"x": X}]), {}, r"fit: x: expected batches \(x,\), \(x, y\) or \(x, y, sample_weight\)"),
        (lambda: iter([(X,)]), {}, "fit: y: expected an array, received None"),
        (lambda: iter([(X, Y[:3])]), {}, "fit: y: expected as many rows as x"),
        (lambda: iter([(X, Y)]), {"validation_data": iter([(X[:, :4], Y)])}, "fit: validation_data: x: expected shape"),
    ],
)
def test_bad_batches_are_refused_and_build_nothing(source, arguments, message):
    model = classifier()
    with pytest.raises(ValueError, match=message):
        model.fit(source(), verbose=0, **arguments)
    assert not model.built


def test_a_later_batch_of_another_shape_is_refused():
    model = classifier()
    with pytest.raises(ValueError, match="fit: x: expected shape"):
        model.fit(iter([(X, Y), (X[:, :4], Y)]), verbose=0)
    with pytest.raises(ValueError, match="predict: x: expected shape"):
        model.predict(iter([(X,), (X[:, :4],)]), verbose=0)


def test_pandas_frames_are_arrays():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X.astype(np.float64), columns=list("abcdef"))
    frame["f"] = frame["f"] > 0  # columns of several types
    values = X.copy()
    values[:, 5] = X[:, 5] > 0
    one, other = classifier(), classifier()
    arguments = {"validation_split": 0.2, "epochs": 2, "shuffle": False, "verbose": 0}
    expected = one.fit(values, Y, sample_weight=W, **arguments).history
    series = [pandas.Series(column, index=np.arange(N)[::-1]) for column in (Y.astype(int), W)]
    assert other.fit(frame, series[0], sample_weight=series[1], **arguments).history == expected
    np.testing.assert_array_equal(other.predict(frame, verbose=0), one.predict(values, verbose=0))
    with pytest.raises(ValueError, match="fit: x: expected an array"):
        other.fit(frame.assign(a="text"), Y, verbose=0)


def test_progress_bar_counts_what_it_did_not_know(capsys):
    model = classifier()
    model.fit(Again(), epochs=2, verbose=2)
    text = capsys.readouterr().out
    assert text.count("7/7") == 2 and "Epoch 2/2" in text
