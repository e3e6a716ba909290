"""Seeds, random arrays, one-hot labels, and the progress bar on every kind of stream."""

from __future__ import annotations

import io
import random as python_random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import _identifiers, _naming, random, utils
from fastcnn.utils.io import print_message
from fastcnn.utils.numerical import match_ranks
from fastcnn.utils.seed import next_seed, numpy_generator

# --- seeds ------------------------------------------------------------------------------------------------------------


def draw() -> tuple[Any, ...]:
    return (
        python_random.random(),
        np.random.random(),  # noqa: NPY002
        next_seed(),
        tuple(numpy_generator().permutation(20)),
        tuple(random.uniform((3,))),
    )


def test_one_seed_seeds_all() -> None:
    utils.set_random_seed(12)
    first, second = draw(), draw()
    utils.set_random_seed(np.int64(12))  # type: ignore[arg-type]
    assert draw() == first
    assert draw() == second
    utils.set_random_seed(13)
    assert not any(a == b for a, b in zip(draw(), first, strict=True))


def test_the_streams_are_separate() -> None:
    utils.set_random_seed(1)
    next_seed()
    order = numpy_generator().permutation(50)
    utils.set_random_seed(1)
    np.testing.assert_array_equal(numpy_generator().permutation(50), order)


def test_seeds_use_64_bits() -> None:
    utils.set_random_seed(0)
    seeds = [next_seed() for _ in range(200)]
    assert len(set(seeds)) == 200
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert max(seeds) > 2**63


def test_unseeded_processes_differ() -> None:
    program = "from fastcnn.utils.seed import next_seed; print(next_seed())"
    seeds = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert seeds[0].strip().isdigit()
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, "1", None])
def test_wrong_seeds_change_nothing(seed: Any) -> None:
    utils.set_random_seed(3)
    expected = draw()
    utils.set_random_seed(3)
    with pytest.raises(ValueError, match=r"^set_random_seed: seed: expected an integer in \[0, 2\*\*32\), received "):
        utils.set_random_seed(seed)
    assert draw() == expected


# --- random arrays ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [random.normal, random.uniform, random.truncated_normal])
def test_arrays(function: Any) -> None:
    values = function((200, 100), seed=4)
    assert values.shape == (200, 100)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, function((200, 100), seed=4))
    assert not np.array_equal(values, function((200, 100), seed=-4))
    assert not np.array_equal(function((9,)), function((9,)))
    assert function((3,), dtype="float16").dtype == np.float16
    with pytest.raises(ValueError, match=r"dtype: expected a floating point dtype, received 'int32'$"):
        function((3,), dtype="int32")


def test_distributions() -> None:
    normal = random.normal((100_000,), mean=2.0, stddev=3.0, seed=1)
    assert normal.mean() == pytest.approx(2.0, abs=0.05)
    assert normal.std() == pytest.approx(3.0, rel=0.02)
    cut = random.truncated_normal((100_000,), mean=2.0, stddev=3.0, seed=1)
    assert np.abs(cut - 2).max() <= 6.0001
    assert cut.std() == pytest.approx(3 * 0.8796, rel=0.02)
    even = random.uniform((100_000,), minval=-1, maxval=3, seed=1)
    assert (even.min(), even.max()) == (pytest.approx(-1, abs=0.01), pytest.approx(3, abs=0.01))
    assert even.mean() == pytest.approx(1, abs=0.03)


def test_integers() -> None:
    values = random.randint((1000,), -2, 3, seed=1)
    assert sorted(set(values.tolist())) == [-2, -1, 0, 1, 2]
    assert values.dtype == np.int32
    assert random.randint((1,), 0, 9, dtype="uint8").dtype == np.uint8
    with pytest.raises(ValueError, match=r"^random.randint: maxval: expected more than minval = 3, received 3$"):
        random.randint((1,), 3, 3)
    with pytest.raises(ValueError, match=r"^random.randint: dtype: expected an integer dtype, received 'float32'$"):
        random.randint((1,), 0, 3, dtype="float32")


def test_shuffle() -> None:
    x = np.arange(20).reshape(10, 2)
    shuffled = random.shuffle(x, seed=1)
    assert sorted(map(tuple, shuffled)) == sorted(map(tuple, x))
    assert not np.array_equal(shuffled, x)
    np.testing.assert_array_equal(random.shuffle(x, axis=1, seed=1).sum(axis=1), x.sum(axis=1))


def test_seed_generators() -> None:
    generator = random.SeedGenerator(7, name="mine")
    np.testing.assert_array_equal(generator.next(), [7, 0])
    np.testing.assert_array_equal(generator.next(), [7, 1])
    np.testing.assert_array_equal(random.SeedGenerator.from_config(generator.get_config()).next(), [7, 0])
    for wrong in ("7", 1.5):
        with pytest.raises(ValueError, match=r"^random: seed: expected an integer, a SeedGenerator or None, received "):
            random.normal((1,), seed=wrong)  # type: ignore[arg-type]


# --- labels -----------------------------------------------------------------------------------------------------------


def test_to_categorical() -> None:
    np.testing.assert_array_equal(utils.to_categorical([1, 0]), [[0, 1], [1, 0]])
    assert utils.to_categorical([[1], [0]], 4).shape == (2, 4)
    assert utils.to_categorical(np.zeros((2, 3, 5)), 2).shape == (2, 3, 5, 2)
    assert utils.to_categorical([], 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("x", "classes", "message"),
    [
        ([0, 3], 3, r"expected classes in \[0, 3\), received 3"),
        ([-1], None, r"expected classes in \[0, 0\), received -1"),
        ([], None, "expected at least one class where num_classes is None, received none"),
        (["a"], 3, "expected integers, received list"),
    ],
)
def test_wrong_labels(x: Any, classes: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^to_categorical: x: {message}"):
        utils.to_categorical(x, classes)


def test_normalize() -> None:
    np.testing.assert_allclose(utils.normalize([[3.0, 4.0], [0, 0]], axis=0), [[1, 1], [0, 0]])
    np.testing.assert_allclose(utils.normalize([1.0, 3.0], order=1), [0.25, 0.75])


def test_match_ranks_leaves_what_it_does_not_know() -> None:
    for a, b in (((3,), (3, 2)), ((3, 1), (3, 1)), ((3,), (3, 1, 1))):
        assert [x.shape for x in match_ranks(np.zeros(a), np.zeros(b))] == [a, b]


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_counted_anew_after_a_reset() -> None:
    _naming.reset_names()
    assert [_naming.auto_name("MyThing") for _ in range(3)] == ["my_thing", "my_thing_1", "my_thing_2"]
    _naming.reset_names()
    assert _naming.auto_name("MyThing") == "my_thing"


def test_nearest_names_come_first() -> None:
    names = ["zeros", "ones", "he_normal", "he_uniform"]
    assert _identifiers.nearest_first("He_Norm", names)[0] == "he_normal"
    assert sorted(_identifiers.nearest_first("xyz", names)) == sorted(names)


# --- progress bar -----------------------------------------------------------------------------------------------------


def encoded_stream(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_the_bar_on_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = encoded_stream(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    bar = utils.Progbar(4, width=8, interval=0)
    for step in range(1, 5):
        bar.update(step, [("Verlust größer", 0.5)])
    text = written(stream)
    full, empty = ("━", "━") if encoding == "utf-8" else ("=", ".")
    assert f"\x1b[32m{full * 4}\x1b[0m\x1b[37m{empty * 4}\x1b[0m" in text
    assert f"\x1b[32m{full * 8}\x1b[0m" in text
    # A line shorter than the one before it (the time per step has fewer digits) is padded with spaces.
    assert text.endswith("\n")
    assert text.rstrip().endswith(f" - Verlust gr{'??' if encoding == 'ascii' else 'öß'}er: 0.5000")


def test_messages_where_there_is_no_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    print_message("nothing")
    utils.Progbar(2).update(2)


def test_averages(capsys: pytest.CaptureFixture[str]) -> None:
    bar = utils.Progbar(10, interval=0, stateful_metrics=["now"])
    bar.update(1, [("mean", 1.0), ("now", 1.0)])
    bar.update(3, [("mean", 4.0), ("now", 4.0)])
    out = capsys.readouterr().out
    assert out.endswith(" - mean: 3.0000 - now: 4.0000")  # (1 * 1 + 2 * 4) / 3
    bar.update(10, [("mean", 7.0), ("now", 1e-5)])
    assert capsys.readouterr().out.endswith(" - mean: 7.0000 - now: 1.0000e-05\n")


def test_drawing_is_not_more_often_than_the_interval(capsys: pytest.CaptureFixture[str]) -> None:
    bar = utils.Progbar(1000, interval=60)
    for step in range(1, 1001):
        bar.update(step)
    out = capsys.readouterr().out
    assert out.count("\r") == 2
    assert "1000/1000" in out


def test_a_shorter_line_leaves_nothing_of_the_longer_one(capsys: pytest.CaptureFixture[str]) -> None:
    bar = utils.Progbar(None, interval=0)
    bar.update(1, [("loss", 1e-9)])
    long = len(capsys.readouterr().out)
    bar.update(2, [("loss", 1.0)])
    assert capsys.readouterr().out.endswith(" ")
    assert long > 0


def test_both_kinds_of_names_at_once() -> None:
    with pytest.raises(ValueError, match=r"^Progbar: stateless_metrics: expected None where stateful_metrics is given"):
        utils.Progbar(3, stateful_metrics=["a"], stateless_metrics=["b"])


# --- split_dataset and drawings -------------------------------------------------------------------------------------


def test_split_dataset_of_arrays_and_of_samples():
    x, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    (a, b), (c, d) = utils.split_dataset((x, y), left_size=6)
    np.testing.assert_array_equal(np.concatenate([a, c]), x)
    assert b.tolist() == list(range(6)) and d.tolist() == [6, 7, 8, 9] and np.shares_memory(a, x)
    (a, b), (c, d) = utils.split_dataset((x, y), left_size=3, right_size=2, shuffle=True, seed=1)
    assert len(b) == 3 and len(d) == 2 and not set(b.tolist()) & set(d.tolist()) and (a[:, 0] == 2 * b).all()
    assert utils.split_dataset(y, left_size=3, shuffle=True, seed=1)[0].tolist() == b.tolist()
    utils.set_random_seed(4)
    first = utils.split_dataset(y, left_size=3, shuffle=True)[0].tolist()
    utils.set_random_seed(4)
    assert utils.split_dataset(y, left_size=3, shuffle=True)[0].tolist() == first

    class Samples:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return index * 10

    left, right = utils.split_dataset(Samples(), right_size=0.25)
    assert list(left) == [0, 10, 20] and len(right) == 1 and right[0] == 30


@pytest.mark.parametrize("dataset", [3, "text", [1, 2, 3], [], iter([])])
def test_split_dataset_refuses_what_has_no_samples(dataset):
    with pytest.raises(TypeError, match="split_dataset: dataset: expected an array"):
        utils.split_dataset(dataset, left_size=0.5)


def drawn_model():
    inner = fastcnn.Sequential([fastcnn.layers.MaxPooling2D(2), fastcnn.layers.Flatten()], name="inner")
    layers = [fastcnn.layers.Conv2D(4, 3, activation="relu", name="conv"), inner, fastcnn.layers.Dense(1, name="out")]
    model = fastcnn.Sequential([fastcnn.Input((8, 8, 1)), *layers])
    layers[0].trainable = False
    return model


def test_model_to_dot_shows_what_is_asked_for():
    pytest.importorskip("pydot")
    plain = utils.model_to_dot(drawn_model()).to_string()
    assert plain.count("->") == 2 and "<b>conv</b> (Conv2D)" in plain and "Input shape" not in plain
    shown = dict.fromkeys(
        ("show_shapes", "show_dtype", "show_layer_activations", "show_trainable", "expand_nested"), True
    )
    full = utils.model_to_dot(drawn_model(), **shown, rankdir="LR").to_string()
    assert full.count("->") == 3 and "subgraph cluster_inner" in full and "rankdir=LR" in full
    for text in ("Output shape: <b>(None, 6, 6, 4)</b>", "dtype: <b>float32</b>", "Activation: <b>relu</b>"):
        assert text in full
    assert full.count("Non-trainable") == 1 and full.count("<b>Trainable</b>") == 1
    with pytest.raises(ValueError, match="model_to_dot: model: expected a built model"):
        utils.model_to_dot(fastcnn.Sequential([fastcnn.layers.Dense(1)]))


def test_plot_model_writes_or_says_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("pydot")
    import shutil

    if shutil.which("dot"):
        utils.plot_model(drawn_model(), tmp_path / "model.svg", show_shapes=True)
        assert "<svg" in (tmp_path / "model.svg").read_text()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImportError, match="plot_model: Graphviz: expected its program dot"):
        utils.plot_model(drawn_model())
