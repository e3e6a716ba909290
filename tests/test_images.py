"""Pictures: files to arrays and back, folders as batches."""

import io
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import layers
from fastcnn.data import image_folder, resizing
from fastcnn.utils import array_to_img, image_dataset_from_directory, img_to_array, load_img, save_img

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten pictures of two classes, in several formats and sizes, one of them in a folder further down."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs", ".hidden"):
        (root / name / "more").mkdir(parents=True)
    for number in range(10):
        kind, ending = ("cats", "dogs")[number % 2], ("png", "jpg", "bmp", "gif", "jpeg")[number % 5]
        pixels = rng.integers(0, 256, (6 + number, 9, 3)).astype(np.uint8)
        place = root / kind / ("more" if number == 4 else "") / f"{number}.{ending}"
        Image.fromarray(pixels).save(place)
    (root / "cats" / "notes.txt").write_text("not a picture")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(root / ".hidden" / "x.png")
    return root


def dataset(folder, **arguments):
    return image_dataset_from_directory(folder, **{"image_size": (8, 8), "verbose": False, **arguments})


# --- one picture ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "channels"), [("grayscale", 1), ("rgb", 3), ("rgba", 4)])
def test_picture_to_file_and_back(tmp_path, mode, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels)).astype(np.float32)
    pixels[0, 0], pixels[0, 1] = 0, 255  # scaling changes nothing
    save_img(tmp_path / "x.png", pixels)
    array = img_to_array(load_img(tmp_path / "x.png", color_mode=mode))
    np.testing.assert_array_equal(array, pixels)
    assert array.dtype == np.float32 and img_to_array(array, "channels_first", "uint8").shape == (channels, 5, 7)
    stream = io.BytesIO()
    save_img(stream, pixels.transpose(2, 0, 1), data_format="channels_first", file_format="png")
    stream.seek(0)
    np.testing.assert_array_equal(img_to_array(load_img(stream, color_mode=mode)), pixels)


def test_sixteen_bits_stay(tmp_path):
    pixels = (np.arange(12).reshape(3, 4) * 5000).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    np.testing.assert_array_equal(img_to_array(load_img(tmp_path / "x.png", "grayscale"))[:, :, 0], pixels)
    assert array_to_img(pixels[:, :, None], scale=False).mode == "I"


def test_rgba_as_jpeg_warns(tmp_path):
    with pytest.warns(UserWarning, match="saved as RGB"):
        save_img(tmp_path / "x.jpg", np.zeros((4, 4, 4)))
    assert load_img(tmp_path / "x.jpg").mode == "RGB"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda path: load_img(3), TypeError, "path: expected a path"),
        (lambda path: load_img(path / "none.png"), OSError, "none.png"),
        (lambda path: load_img(path / "x.png", color_mode="cmyk"), ValueError, "color_mode"),
        (lambda path: load_img(path / "x.png", target_size=(9, 9), interpolation="cubic"), ValueError, "interpolation"),
        (lambda path: array_to_img(np.zeros((2, 2))), ValueError, r"received shape \(2, 2\)"),
        (lambda path: array_to_img(np.zeros((2, 2, 2))), ValueError, "1, 3 or 4 channels"),
        (lambda path: img_to_array(np.zeros(3)), ValueError, r"shape \(3,\)"),
        (lambda path: img_to_array(np.zeros((2, 2)), "first"), ValueError, "data_format"),
        (lambda path: save_img(path / "x.xyz", np.zeros((2, 2, 1))), (ValueError, KeyError), "(?i)xyz"),
    ],
)
def test_bad_pictures_and_arguments(tmp_path, call, error, message):
    save_img(tmp_path / "x.png", np.zeros((4, 4, 3)))
    with pytest.raises(error, match=message):
        call(tmp_path)


def test_resizing_by_hand():
    row = np.arange(4.0)[None, :, None]
    assert resizing.resize(row, 1, 2)[0, :, 0].tolist() == [0.5, 2.5]
    assert resizing.resize(row, 1, 2, "area")[0, :, 0].tolist() == [0.5, 2.5]
    assert resizing.resize(row, 1, 2, "nearest")[0, :, 0].tolist() == [1.0, 3.0]
    for method in resizing.METHODS:  # what is constant stays so
        np.testing.assert_allclose(resizing.resize(np.full((5, 7, 2), 3.0), 11, 3, method), 3.0, rtol=1e-6)


# --- folders --------------------------------------------------------------------------------------------------------


def test_batches_of_a_folder(folder, capsys):
    data = dataset(folder, shuffle=False, batch_size=4, verbose=True)
    assert capsys.readouterr().out == "Found 10 files belonging to 2 classes.\n"
    assert data.class_names == ["cats", "dogs"] and len(data) == 3
    names = [path.rsplit("/", 1)[1] for path in data.file_paths]
    assert names == ["0.png", "2.bmp", "6.jpg", "8.gif", "4.jpeg", "1.jpg", "3.gif", "5.png", "7.bmp", "9.jpeg"]
    batches = list(data)
    assert [x.shape for x, _ in batches] == [(4, 8, 8, 3), (4, 8, 8, 3), (2, 8, 8, 3)]
    labels = np.concatenate([y for _, y in batches])
    assert labels.dtype == np.int32 and labels.tolist() == [0] * 5 + [1] * 5 == data.labels.tolist()
    pixels = np.asarray(Image.open(data.file_paths[0]).convert("RGB"))
    np.testing.assert_array_equal(batches[0][0][0], resizing.resize(pixels, 8, 8))


def test_label_modes_colours_formats(folder):
    x, y = next(iter(dataset(folder, label_mode="binary", color_mode="grayscale", shuffle=False)))
    assert x.shape == (10, 8, 8, 1) and y.dtype == np.float32 and y.tolist() == [[0.0]] * 5 + [[1.0]] * 5
    x, y = next(iter(dataset(folder, label_mode="categorical", color_mode="rgba", data_format="channels_first")))
    assert x.shape == (10, 4, 8, 8) and y.shape == (10, 2) and (y.sum(axis=1) == 1).all()
    # Without classes every picture below the folder counts, as in Keras.
    assert next(iter(dataset(folder, labels=None))).shape == (11, 8, 8, 3)
    single = list(dataset(folder, batch_size=None, shuffle=False))
    assert len(single) == 10 and single[7][0].shape == (8, 8, 3) and single[7][1] == 1
    explicit = dataset(folder, labels=list(range(11)), shuffle=False)
    assert explicit.class_names == [str(n) for n in range(11)] and next(iter(explicit))[1].tolist() == list(range(11))
    turned = dataset(folder, class_names=["dogs", "cats"], shuffle=False)
    assert turned.class_names == ["dogs", "cats"] and turned.file_paths[0].endswith("dogs/1.jpg")


def test_proportions_are_kept_by_cropping_or_padding(folder):
    path = dataset(folder, shuffle=False).file_paths[9]
    pixels = np.asarray(Image.open(path).convert("RGB"))  # 15 x 9
    cropped = next(iter(dataset(folder, shuffle=False, crop_to_aspect_ratio=True)))[0][9]
    np.testing.assert_array_equal(cropped, resizing.resize(pixels[3:12], 8, 8))
    padded = next(iter(dataset(folder, shuffle=False, pad_to_aspect_ratio=True)))[0][9]
    np.testing.assert_array_equal(padded[:, 2:6], resizing.resize(pixels, 8, 4))
    assert not padded[:, :2].any() and not padded[:, 6:].any()


def test_epochs_come_in_new_orders_that_the_seed_repeats(folder):
    runs = []
    for seed in (1, 1, 2):
        data = dataset(folder, seed=seed)
        runs.append([next(iter(data))[0] for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0][0] != runs[0][1]).any() and (runs[0][0] != runs[2][0]).any()
    np.testing.assert_array_equal(np.sort(runs[0][0], axis=0), np.sort(runs[2][1], axis=0))


def test_training_and_validation_files_are_apart(folder, capsys):
    train, held = dataset(folder, validation_split=0.3, subset="both", seed=3, verbose=True)
    text = capsys.readouterr().out
    assert text.endswith("Using 7 files for training.\nUsing 3 files for validation.\n")
    assert not set(train.file_paths) & set(held.file_paths) and len(train.file_paths) == 7
    one = dataset(folder, validation_split=0.3, subset="training", seed=3)
    assert one.file_paths == train.file_paths
    for a, b in zip(held, held):  # validation keeps its order
        np.testing.assert_array_equal(a[0], b[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "given"}, "labels: expected 'inferred'"),
        ({"labels": [1, 2]}, "labels: expected one for each of the 11 files, received 2"),
        ({"labels": None, "class_names": ["cats"]}, "class_names: expected None"),
        ({"class_names": ["cows"]}, "class_names: expected names of subfolders"),
        ({"label_mode": "one-hot"}, "label_mode: expected 'int'"),
        ({"label_mode": "binary", "class_names": ["cats"]}, "label_mode: expected another than 'binary'"),
        ({"color_mode": "cmyk"}, "color_mode: expected"),
        ({"image_size": (8, 8, 3)}, "image_size: expected"),
        ({"interpolation": "cubic"}, "interpolation: expected"),
        ({"batch_size": 0}, "batch_size: expected"),
        ({"format": "npz"}, "format: expected"),
        ({"validation_split": 0.2}, "subset: expected one of it and validation_split only with the other"),
        ({"validation_split": 2, "subset": "both"}, "validation_split: expected a number between 0 and 1"),
        ({"validation_split": 0.2, "subset": "test"}, "subset: expected 'training'"),
        ({"validation_split": 0.2, "subset": "both"}, "seed: expected an integer"),
        (
            {"validation_split": 0.01, "subset": "both", "seed": 1},
            "directory: expected a folder with pictures for validation",
        ),
        ({"crop_to_aspect_ratio": True, "pad_to_aspect_ratio": True}, "pad_to_aspect_ratio: expected False"),
    ],
)
def test_bad_arguments_for_folders(folder, arguments, message):
    with pytest.raises(ValueError, match=f"image_dataset_from_directory: {message}"):
        dataset(folder, **arguments)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(ValueError, match="directory: expected a folder with pictures"):
        dataset(tmp_path)
    with pytest.raises(FileNotFoundError):
        dataset(tmp_path / "none")


# --- training on them -----------------------------------------------------------------------------------------------


def classifier():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(1, "sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def test_fit_on_a_folder_is_fit_on_its_arrays(folder):
    data = dataset(folder, shuffle=False, batch_size=4, label_mode="binary")
    x, y = (np.concatenate(column) for column in zip(*data))
    one, other = classifier(), classifier()
    expected = one.fit(x, y, batch_size=4, shuffle=False, epochs=2, validation_data=(x, y), verbose=0).history
    found = other.fit(data, epochs=2, validation_data=data, verbose=0).history
    assert found["loss"] == expected["loss"]
    assert found["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-6)  # measured in batches of 4, not 32
    unlabelled = dataset(folder, shuffle=False, label_mode=None)
    expected = one.predict(np.concatenate(list(unlabelled)), verbose=0)
    np.testing.assert_allclose(other.predict(unlabelled, verbose=0), expected, rtol=1e-6)


@pytest.mark.parametrize("damage", [b"", b"not a picture", "cut"])
def test_a_corrupt_picture_is_named_and_left_out(folder, tmp_path, damage):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for picture in range(3):
            save_img(tmp_path / name / f"{picture}.jpg", np.random.default_rng(picture).uniform(size=(40, 40, 3)))
    broken = tmp_path / "a" / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:400] if damage == "cut" else damage)
    data = dataset(tmp_path, shuffle=False, batch_size=2)
    with pytest.warns(
        UserWarning, match=r"a/1\.jpg: expected a picture, received a file that cannot be read .* left out"
    ):
        batches = list(data)
    assert [len(x) for x, _ in batches] == [1, 2, 2]
    assert np.concatenate([y for _, y in batches]).tolist() == [0, 0, 1, 1, 1]
    with pytest.warns(UserWarning, match="left out"):
        assert classifier().fit(data, verbose=0).history["loss"]
    # Outputs of predict are told apart by their position: none may be missing.
    with pytest.raises(ValueError, match=r"a/1\.jpg: expected a picture"):
        list(dataset(tmp_path, labels=None, shuffle=False))


def test_decoding_runs_ahead_in_other_threads(folder, monkeypatch):
    """While the caller works on one batch, the next ones are being made; not all of them."""
    seen, threads = [], set()
    read = image_folder.Decoding.read

    def slow(self, path):
        seen.append(path)
        threads.add(threading.get_ident())
        return read(self, path)

    monkeypatch.setattr(image_folder.Decoding, "read", slow)
    iterator = iter(dataset(folder, batch_size=1, shuffle=False))
    next(iterator)
    deadline = time.monotonic() + 30
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(seen) >= 3 and threading.get_ident() not in threads
    before = threading.active_count()
    iterator.close()
    assert threading.active_count() < before  # those who leave early leave no threads


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    save_img(tmp_path / "a" / "0.png", np.zeros((50, 50, 1)))
    save_img(tmp_path / "a" / "1.png", np.zeros((5, 5, 1)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ((x, _),) = list(dataset(tmp_path, shuffle=False))
    assert len(x) == 1 and any("0.png" in str(entry.message) for entry in caught)


def test_without_pillow_the_sentence_says_what_to_install():
    program = "import sys; sys.modules['PIL'] = None\nimport fastcnn\nfastcnn.utils.load_img('x.png')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ImportError: load_img: Pillow: expected to be installed" in result.stderr
    assert 'pip install "fastcnn[images]"' in result.stderr
