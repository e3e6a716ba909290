"""Pictures in a folder as batches: indexed once, decoded by several threads ahead of the model."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages, config
from fastcnn.data.py_dataset import ordered
from fastcnn.data.resizing import METHODS, fit_image
from fastcnn.utils.image import in_mode, pillow
from fastcnn.utils.io import print_message

FORMATS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_OPERATION = "image_dataset_from_directory"
_CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}


class Decoding(NamedTuple):
    """How a file becomes an array."""

    size: tuple[int, int]
    color_mode: str
    interpolation: str
    crop: bool
    pad: bool
    channels_first: bool

    def read(self, path: str) -> NDArray[np.float32]:
        """The picture at `path`."""
        with pillow(_OPERATION).open(path) as image:
            pixels = np.asarray(in_mode(_OPERATION, image, self.color_mode))
        pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
        array = fit_image(pixels, self.size, self.interpolation, self.crop, self.pad)
        return array.transpose(2, 0, 1) if self.channels_first else array


class ImageDataset:
    """Batches (images, labels), or images alone, of picture files; what `image_dataset_from_directory` returns.

    Every iteration decodes the files anew: several threads work ahead, batches come in order. A file that cannot be read is
    named in a warning and left out of its batch; where there are no labels, and outputs are told apart by their
    position, it is an error.

    Attributes:
        file_paths: the files, in the order of their samples where nothing is shuffled.
        labels: their classes' numbers, or None.
        class_names: the classes' names, or None.
    """

    def __init__(
        self,
        file_paths: list[str],
        labels: NDArray[np.int32] | None,
        class_names: list[str] | None,
        label_mode: str | None,
        batch_size: int | None,
        decoding: Decoding,
        shuffle: bool,
        seed: int,
    ) -> None:
        self.file_paths = file_paths
        self.labels = labels
        self.class_names = class_names
        self._targets = None if labels is None else _targets(labels, label_mode, len(class_names or ()))
        self._batch_size = batch_size
        self._decoding = decoding
        self._shuffle = shuffle
        self._seed = seed
        self._pass = 0

    def __len__(self) -> int:
        """The number of batches."""
        return math.ceil(len(self.file_paths) / (self._batch_size or 1))

    def __iter__(self) -> Iterator[Any]:
        from concurrent.futures import ThreadPoolExecutor

        count = len(self.file_paths)
        order = np.arange(count)
        if self._shuffle:
            order = np.random.default_rng([self._seed, self._pass]).permutation(count)
        self._pass += 1
        size = self._batch_size or 1
        threads = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)

        def batch(number: int) -> tuple[list[int], list[NDArray[np.float32]], list[str]]:
            return self._read(order[number * size : (number + 1) * size])

        for good, images, bad in ordered(batch, range(len(self)), threads + 2, ThreadPoolExecutor(threads)):
            for sentence in bad:
                if self.labels is None:
                    raise ValueError(sentence)
                warnings.warn(f"{sentence}; it is left out", stacklevel=2)
            if not images:
                continue
            x: NDArray[np.float32] = images[0] if self._batch_size is None else np.stack(images)
            if self._targets is None:
                yield x
            else:
                yield x, self._targets[good[0] if self._batch_size is None else good]

    def _read(self, indices: NDArray[Any]) -> tuple[list[int], list[NDArray[np.float32]], list[str]]:
        """The pictures that can be read, with their numbers, and a sentence for each that cannot."""
        good, images, bad = [], [], []
        for index in indices.tolist():
            path = self.file_paths[index]
            try:
                images.append(self._decoding.read(path))
                good.append(index)
            except Exception as error:  # Pillow's decoders raise what they like on broken files
                if isinstance(error, ImportError):
                    raise
                bad.append(f"{_OPERATION}: {path}: expected a picture, received a file that cannot be read ({error})")
        return good, images, bad


def image_dataset_from_directory(
    directory: Any,
    labels: Any = "inferred",
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int | None = 32,
    image_size: Any = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    data_format: str | None = None,
    format: str = "tf",
    verbose: bool = True,
) -> Any:
    """Batches of the pictures (.bmp, .gif, .jpeg, .jpg, .png) below a folder.

    The same seed gives the same split into training and validation files as Keras.

    Args:
        directory: the folder.
        labels: "inferred": each subfolder is a class; None; or one class number a file, in the order of the files' paths.
        label_mode: "int" (int32), "binary" (float32, (n, 1)), "categorical" (one-hot rows) or None.
        class_names: the subfolders to take, in the order of their numbers; sorted by default.
        color_mode: "grayscale", "rgb" or "rgba".
        batch_size: pictures a batch; None for single ones.
        image_size: (height, width) of all pictures.
        shuffle: whether every epoch takes them in a new order; False: sorted by path.
        seed: of the order and the split.
        validation_split: share of the files that is set aside.
        subset: with `validation_split`: "training", "validation", or "both" for a list of the two.
        interpolation: "bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian" or "mitchellcubic".
        follow_links: whether links to folders are followed.
        crop_to_aspect_ratio: whether pictures of other proportions are cropped instead of stretched.
        pad_to_aspect_ratio: whether they are padded with zeros instead.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        format: accepted as in Keras, without effect.
        verbose: whether the number of files is printed.

    Returns:
        An `ImageDataset` for `fit`, `evaluate`, `predict` and loops: float32 images from 0 to 255.

    Raises:
        ValueError: arguments that do not fit, or no pictures.
        ImportError: Pillow is not installed.

    Example:
        >>> train, test = image_dataset_from_directory(  # doctest: +SKIP
        ...     "pictures", image_size=(64, 64), validation_split=0.2, subset="both", seed=1
        ... )
        Found 100 files belonging to 2 classes.

    See https://keras.io/api/data_loading/image/#imagedatasetfromdirectory-function
    """
    pillow(_OPERATION)
    if labels is None or label_mode is None:
        labels = label_mode = None
    _check(labels, label_mode, class_names, validation_split, subset, shuffle, seed, format)
    color_mode = _messages.choice(_OPERATION, "color_mode", color_mode, _CHANNELS)
    chosen = config.image_data_format() if data_format is None else data_format
    decoding = Decoding(
        size=_messages.pair(_OPERATION, "image_size", image_size),
        color_mode=color_mode,
        interpolation=_messages.choice(_OPERATION, "interpolation", interpolation, METHODS),
        crop=_messages.flag(_OPERATION, "crop_to_aspect_ratio", crop_to_aspect_ratio),
        pad=_messages.flag(_OPERATION, "pad_to_aspect_ratio", pad_to_aspect_ratio),
        channels_first=_messages.choice(_OPERATION, "data_format", chosen, ("channels_last", "channels_first"))
        == "channels_first",
    )
    if decoding.crop and decoding.pad:
        _messages.fail(_OPERATION, "pad_to_aspect_ratio", "False where crop_to_aspect_ratio is True", True)
    if batch_size is not None:
        batch_size = _messages.integer(_OPERATION, "batch_size", batch_size)
    if seed is None:
        # What Keras draws it from; set_random_seed seeds it.
        seed = int(np.random.randint(int(1e6)))  # noqa: NPY002
    paths, numbers, names = _index(directory, labels, class_names, follow_links, verbose)
    if label_mode == "binary" and names is not None and len(names) != 2:
        _messages.fail(_OPERATION, "label_mode", "another than 'binary' for other than two classes", names)
    if shuffle:
        paths = _shuffled(paths, seed)
        numbers = None if numbers is None else np.array(_shuffled(numbers.tolist(), seed), np.int32)

    def part(which: str | None) -> ImageDataset:
        chosen = slice(None)
        if validation_split:
            held = int(validation_split * len(paths))
            chosen = slice(0, len(paths) - held) if which == "training" else slice(len(paths) - held, None)
            if verbose:
                count = len(range(*chosen.indices(len(paths))))
                print_message(f"Using {count} files for {which}.")
        if not paths[chosen]:
            found = _messages.Text(f"none in {os.fspath(directory)!r}")
            what = f"pictures for {which}" if which else "pictures"
            _messages.fail(_OPERATION, "directory", f"a folder with {what} ({', '.join(FORMATS)})", found)
        mixed = shuffle and not (subset == "both" and which == "validation")
        labels_of = None if numbers is None else numbers[chosen]
        return ImageDataset(paths[chosen], labels_of, names, label_mode, batch_size, decoding, mixed, seed)

    return [part("training"), part("validation")] if subset == "both" else part(subset)


def _check(
    labels: Any, label_mode: Any, class_names: Any, share: Any, subset: Any, shuffle: Any, seed: Any, format: Any
) -> None:
    if labels is not None and labels != "inferred" and not isinstance(labels, (list, tuple, np.ndarray)):
        _messages.fail(_OPERATION, "labels", "'inferred', None or a list of one class number a file", labels)
    if class_names is not None and not (isinstance(labels, str) and labels == "inferred"):
        _messages.fail(_OPERATION, "class_names", "None where labels are not 'inferred'", class_names)
    if label_mode not in ("int", "categorical", "binary", None):
        _messages.fail(_OPERATION, "label_mode", "'int', 'categorical', 'binary' or None", label_mode)
    if format not in ("tf", "grain"):
        _messages.fail(_OPERATION, "format", "'tf' or 'grain'", format)
    if share and not 0 < share < 1:
        _messages.fail(_OPERATION, "validation_split", "a number between 0 and 1", share)
    if subset not in ("training", "validation", "both", None):
        _messages.fail(_OPERATION, "subset", "'training', 'validation', 'both' or None", subset)
    if bool(share) != bool(subset):
        _messages.fail(_OPERATION, "subset", "one of it and validation_split only with the other", subset)
    if share and shuffle and seed is None:
        expected = "an integer where validation_split and shuffle are given: the two subsets must not overlap"
        _messages.fail(_OPERATION, "seed", expected, None)


def _index(
    directory: Any, labels: Any, class_names: Sequence[str] | None, follow_links: bool, verbose: bool
) -> tuple[list[str], NDArray[np.int32] | None, list[str] | None]:
    """Paths, class numbers and class names, all sorted."""
    directory = os.fspath(directory)
    inferred = isinstance(labels, str)
    folders = [directory]
    names: list[str] | None = None
    if inferred:
        present = sorted(e.name for e in os.scandir(directory) if e.is_dir() and not e.name.startswith("."))
        names = present if class_names is None else list(class_names)
        if not set(names) <= set(present):
            _messages.fail(_OPERATION, "class_names", f"names of subfolders, among {present}", names)
        folders = [os.path.join(directory, name) for name in names]
    found = [_files(folder, follow_links) for folder in folders]
    paths = [path for files in found for path in files]
    numbers: NDArray[np.int32] | None = None
    if inferred:
        numbers = np.repeat(np.arange(len(found), dtype=np.int32), [len(files) for files in found])
    elif labels is not None:
        if len(labels) != len(paths):
            _messages.fail(_OPERATION, "labels", f"one for each of the {len(paths)} files", len(labels))
        numbers = np.asarray(labels, np.int32)
        names = [str(label) for label in sorted(set(numbers.tolist()))]
    if verbose:
        print_message(f"Found {len(paths)} files" + (f" belonging to {len(names)} classes." if names else "."))
    return paths, numbers, names


def _files(folder: str, follow_links: bool) -> list[str]:
    walked = sorted(os.walk(folder, followlinks=follow_links), key=lambda entry: entry[0])
    return [
        os.path.join(root, name)
        for root, _, files in walked
        for name in sorted(files)
        if name.lower().endswith(FORMATS)
    ]


def _shuffled(values: list[Any], seed: int) -> list[Any]:
    """A new order: the one that Keras gives for the seed."""
    values = list(values)
    np.random.RandomState(seed).shuffle(values)
    return values


def _targets(numbers: NDArray[np.int32], label_mode: str | None, classes: int) -> NDArray[Any]:
    if label_mode == "binary":
        return numbers.astype(np.float32)[:, None]
    return np.eye(classes, dtype=np.float32)[numbers] if label_mode == "categorical" else numbers
