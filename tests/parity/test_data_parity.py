"""Data utilities against Keras: pictures, folders, padding, splitting."""

import inspect
from functools import reduce

import numpy as np
import pytest

import fastcnn
from fastcnn.data import resizing

pytestmark = pytest.mark.parity
keras = pytest.importorskip("keras")
RNG = np.random.default_rng(0)


NAMES = [
    *(f"utils.{name}" for name in fastcnn.utils.__all__ if hasattr(keras.utils, name)),
    *(f"wrappers.{name}" for name in ("SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer")),
    "models.clone_model",
    "preprocessing.image.smart_resize",
    *(f"Sequential.{name}" for name in ("compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch")),
    *(f"Sequential.{name}" for name in ("predict_on_batch", "get_compile_config", "compile_from_config")),
]


@pytest.mark.parametrize("name", NAMES)
def test_arguments_have_keras_s_names_order_and_defaults(name):
    signatures = []
    for package in (keras, fastcnn):
        function = reduce(getattr, name.split("."), package)
        parameters = inspect.signature(function).parameters.values()
        signatures.append({p.name: p.default for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)})
    assert list(signatures[1]) == list(signatures[0])
    assert signatures[1] == signatures[0]


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(20, 20), (64, 80), (37, 10), (5, 90)])
@pytest.mark.parametrize("crop", [False, True])
def test_resizing(method, size, crop):
    image = RNG.integers(0, 256, (37, 53, 3)).astype(np.uint8)
    expected = keras.ops.image.resize(image.astype("float32"), size, method, crop_to_aspect_ratio=crop)
    found = resizing.fit_image(image, size, method, crop)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), atol=2e-3)


@pytest.mark.parametrize(
    "arguments", [{}, {"maxlen": 2}, {"maxlen": 2, "truncating": "post"}, {"padding": "post"}, {"value": -1}]
)
def test_pad_sequences(arguments):
    sequences = [[1], [], [2, 3], [4, 5, 6]]
    expected = keras.utils.pad_sequences(sequences, **arguments)
    found = fastcnn.utils.pad_sequences(sequences, **arguments)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    blocks = [RNG.normal(size=(n, 2)) for n in (3, 1)]
    np.testing.assert_array_equal(
        fastcnn.utils.pad_sequences(blocks, dtype="float32", **arguments),
        keras.utils.pad_sequences(blocks, dtype="float32", **arguments),
    )


@pytest.mark.parametrize(
    ("sizes", "error"),
    [
        ({}, ValueError),
        ({"left_size": 0}, ValueError),
        ({"left_size": 10}, ValueError),
        ({"left_size": 1.0}, ValueError),
        ({"left_size": 0.7, "right_size": 0.6}, ValueError),
        ({"left_size": 7, "right_size": 6}, ValueError),
        ({"left_size": "all"}, TypeError),
        ({"left_size": 0.01}, ValueError),
    ],
)
def test_split_dataset_refuses_alike(sizes, error):
    for package in (keras, fastcnn):
        with pytest.raises(error):
            package.utils.split_dataset(np.zeros((10, 2)), **sizes)


@pytest.mark.parametrize("sizes", [{"left_size": 0.7}, {"left_size": 3, "right_size": 7}, {"right_size": 0.25}])
def test_split_dataset_sizes(sizes):
    data = np.arange(10.0)
    found = fastcnn.utils.split_dataset(data, **sizes)
    # Which samples they are Keras draws at random on PyTorch; on TensorFlow they are the first and the last.
    assert [len(part) for part in found] == [len(part) for part in keras.utils.split_dataset(data, **sizes)]
    np.testing.assert_array_equal(found[0], data[: len(found[0])])
    np.testing.assert_array_equal(found[1], data[-len(found[1]) :])


@pytest.mark.parametrize("name", ["load_img", "img_to_array", "array_to_img", "save_img", "smart_resize"])
def test_one_picture(tmp_path, name):
    pillow = pytest.importorskip("PIL.Image")
    path = tmp_path / "x.png"
    pillow.fromarray(RNG.integers(0, 256, (9, 12, 3)).astype(np.uint8)).save(path)
    pixels = RNG.normal(size=(9, 12, 3)).astype(np.float32)
    results = []
    for package in (keras, fastcnn):
        utils = package.utils
        if name == "load_img":
            images = [
                utils.load_img(path, mode, size, method, keep)
                for mode in ("grayscale", "rgb", "rgba")
                for size in (None, (5, 7))
                for method in ("nearest", "bilinear", "lanczos")
                for keep in (False, True)
            ]
            results.append(np.concatenate([np.asarray(image).ravel() for image in images]))
        elif name == "img_to_array":
            image = pillow.open(path)
            orders = ("channels_first", "channels_last")
            results.append(np.stack([utils.img_to_array(image, order).ravel() for order in orders]))
        elif name == "array_to_img":
            arrays = [utils.array_to_img(pixels[:, :, :n], scale=scale) for n in (1, 3) for scale in (True, False)]
            results.append(np.concatenate([np.asarray(image).ravel() for image in arrays]))
        elif name == "save_img":
            utils.save_img(tmp_path / "y.png", pixels)
            results.append(np.asarray(pillow.open(tmp_path / "y.png")))
        else:
            resize = package.preprocessing.image.smart_resize
            results.append(np.asarray(resize(pixels, (4, 9))))
    np.testing.assert_allclose(results[1], results[0], atol=1e-5 if name == "smart_resize" else 0)


def test_folder_s_files_labels_and_split(tmp_path):
    pillow = pytest.importorskip("PIL.Image")
    dataset_utils = pytest.importorskip("keras.src.utils.dataset_utils")  # Keras's datasets themselves need TensorFlow
    for kind in ("b", "a", "c"):
        (tmp_path / kind / "deep").mkdir(parents=True)
        for number in range(7):
            place = tmp_path / kind / ("deep" if number == 3 else "") / f"{number}.png"
            pillow.fromarray(np.zeros((2, 2), np.uint8)).save(place)
    formats = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
    for arguments in ({"shuffle": False}, {"seed": 5}, {"seed": 5, "class_names": ["c", "a"]}):
        found = fastcnn.utils.image_dataset_from_directory(tmp_path, verbose=False, **arguments)
        paths, labels, names = dataset_utils.index_directory(
            str(tmp_path), "inferred", formats, verbose=False, **arguments
        )
        assert found.file_paths == paths and found.class_names == names
        np.testing.assert_array_equal(found.labels, labels)
    for subset in ("training", "validation"):
        found = fastcnn.utils.image_dataset_from_directory(
            tmp_path, seed=5, validation_split=0.3, subset=subset, verbose=False
        )
        paths, labels, _ = dataset_utils.index_directory(str(tmp_path), "inferred", formats, seed=5, verbose=False)
        paths, labels = dataset_utils.get_training_or_validation_split(paths, labels, 0.3, subset)
        assert found.file_paths == paths
        np.testing.assert_array_equal(found.labels, labels)


SOURCES = {
    "generator": lambda x, y, package: ((x[i : i + 8], y[i : i + 8]) for _ in range(3) for i in range(0, 40, 8)),
    "PyDataset": lambda x, y, package: dataset_class(package)(x, y),
    "DataLoader": lambda x, y, package: loader(x, y),
}


def dataset_class(package):
    class Batches(package.utils.PyDataset):
        def __init__(self, x, y):
            super().__init__()
            self.x, self.y = x, y

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return self.x[8 * index : 8 * index + 8], self.y[8 * index : 8 * index + 8]

    return Batches


def loader(x, y):
    data = pytest.importorskip("torch.utils.data")
    torch = pytest.importorskip("torch")
    return data.DataLoader(data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SOURCES)
def test_fit_on_batches(name):
    """Three epochs of the same batches give the same losses; evaluate and predict agree."""
    x = RNG.normal(size=(40, 4)).astype(np.float32)
    y = (x[:, :1] > 0).astype(np.float32)
    weights = [RNG.normal(size=(4, 1)).astype(np.float32), np.zeros(1, np.float32)]
    results = []
    for package in (keras, fastcnn):
        model = package.Sequential([package.Input((4,)), package.layers.Dense(1, activation="sigmoid")])
        model.compile(package.optimizers.SGD(0.5), "binary_crossentropy", metrics=["accuracy"])
        model.set_weights(weights)
        make = SOURCES[name]
        record = model.fit(make(x, y, package), epochs=3, steps_per_epoch=5, shuffle=False, verbose=0)
        measured = model.evaluate(make(x, y, package), steps=3, verbose=0)
        predicted = model.predict(make(x, y, package), steps=2, verbose=0)
        results.append((record.history, record.params["steps"], measured, predicted))
    theirs, ours = results
    assert list(ours[0]) == list(theirs[0]) and ours[1] == theirs[1]
    for key in theirs[0]:
        np.testing.assert_allclose(ours[0][key], theirs[0][key], rtol=1e-5)
    np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-5)
    np.testing.assert_allclose(ours[3], theirs[3], rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "arguments",
    [{"y": np.zeros((8, 1))}, {"sample_weight": np.ones(8)}, {"validation_split": 0.2}],
)
@pytest.mark.parametrize("name", SOURCES)
def test_what_batches_do_not_go_with_is_refused_alike(name, arguments):
    x, y = np.zeros((40, 4), np.float32), np.zeros((40, 1), np.float32)
    for package in (keras, fastcnn):
        model = package.Sequential([package.Input((4,)), package.layers.Dense(1)])
        model.compile("sgd", "mse")
        with pytest.raises(ValueError):
            model.fit(SOURCES[name](x, y, package), verbose=0, **arguments)
