"""Pictures to arrays and back, through Pillow: pip install "fastcnn[images]"."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastcnn import _messages, config
from fastcnn.data.resizing import METHODS, crop_box, resize

_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
# 16 and 32 bits a pixel stay what they are.
_GRAY_MODES = ("L", "I;16", "I")


def pillow(operation: str) -> Any:
    """Pillow's `PIL.Image`.

    Raises:
        ImportError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            f'{operation}: Pillow: expected to be installed, received none; run: pip install "fastcnn[images]"'
        ) from error
    return Image


def in_mode(operation: str, image: Any, color_mode: str) -> Any:
    """A Pillow image in "grayscale", "rgb" or "rgba"."""
    if color_mode not in _MODES:
        _messages.fail(operation, "color_mode", "'grayscale', 'rgb' or 'rgba'", color_mode)
    if image.mode == _MODES[color_mode] or (color_mode == "grayscale" and image.mode in _GRAY_MODES):
        return image
    return image.convert(_MODES[color_mode])


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """Reads a picture.

    Args:
        path: a path, or an `io.BytesIO`.
        color_mode: "grayscale", "rgb" or "rgba".
        target_size: (height, width), or None for the picture's own size.
        interpolation: Pillow's "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming".
        keep_aspect_ratio: whether the largest part in the middle that has the target's proportions is taken.

    Returns:
        A Pillow image.

    Raises:
        TypeError: `path` is not a path.
        ValueError: an unknown mode or method.
        OSError: no such file, or not a picture.

    Example:
        >>> image = load_img("cat.jpg", target_size=(32, 32))  # doctest: +SKIP
        >>> img_to_array(image).shape  # doctest: +SKIP
        (32, 32, 3)

    See https://keras.io/api/data_loading/image/#loadimg-function
    """
    image_module = pillow("load_img")
    if isinstance(path, io.BytesIO):
        image = image_module.open(path)
    elif isinstance(path, (str, bytes, os.PathLike)):
        # Read at once: an open file per lazily decoded image would run out of file handles.
        image = image_module.open(io.BytesIO(Path(os.fsdecode(path)).read_bytes()))
    else:
        raise TypeError(f"load_img: path: expected a path or io.BytesIO, received {_messages.show(path)}")
    image = in_mode("load_img", image, color_mode)
    if target_size is None:
        return image
    height, width = target_size
    if image.size == (width, height):
        return image
    methods = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
    if interpolation not in methods:
        _messages.fail("load_img", "interpolation", f"one of {', '.join(methods)}", interpolation)
    box = None
    if keep_aspect_ratio:
        top, left, part_height, part_width = crop_box(image.size[1], image.size[0], height, width)
        box = (left, top, left + part_width, top + part_height)
    return image.resize((width, height), getattr(image_module.Resampling, interpolation.upper()), box=box)


def img_to_array(img: Any, data_format: str | None = None, dtype: DTypeLike | None = None) -> NDArray[Any]:
    """The pixels of a Pillow image.

    Args:
        img: the image, or an array of two or three axes.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        dtype: float32 by default.

    Returns:
        (height, width, channels), or (channels, height, width).

    Raises:
        ValueError: an array of another rank, or an unknown format.

    Example:
        >>> img_to_array(np.zeros((2, 3), np.uint8)).shape
        (2, 3, 1)

    See https://keras.io/api/data_loading/image/#imgtoarray-function
    """
    first = _channels_first("img_to_array", data_format)
    pixels: NDArray[Any] = np.asarray(img, dtype=dtype or np.float32)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3:
        _messages.fail("img_to_array", "img", "an image of two or three axes", _messages.Text(f"shape {pixels.shape}"))
    return pixels.transpose(2, 0, 1) if first else pixels


def array_to_img(
    x: ArrayLike, data_format: str | None = None, scale: bool = True, dtype: DTypeLike | None = None
) -> Any:
    """A Pillow image of an array.

    Args:
        x: (height, width, channels) array with 1, 3 or 4 channels.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        scale: whether the least value becomes 0 and the largest 255.
        dtype: of the arithmetic, float32 by default.

    Raises:
        ValueError: another rank, or another number of channels.

    Example:
        >>> array_to_img(np.zeros((2, 3, 1))).size  # doctest: +SKIP
        (3, 2)

    See https://keras.io/api/data_loading/image/#arraytoimg-function
    """
    first = _channels_first("array_to_img", data_format)
    image_module = pillow("array_to_img")
    pixels = np.asarray(x, dtype=dtype or np.float32)
    if pixels.ndim != 3:
        expected = "one image (height, width, channels)"
        _messages.fail("array_to_img", "x", expected, _messages.Text(f"shape {pixels.shape}"))
    if first:
        pixels = pixels.transpose(1, 2, 0)
    if scale:
        pixels = pixels - pixels.min()
        largest = pixels.max()
        pixels = pixels * (255 / largest) if largest else pixels
    channels = pixels.shape[2]
    if channels == 1:
        # Values beyond a byte keep 32 bits.
        wide = pixels.max() > 255
        return image_module.fromarray(pixels[:, :, 0].astype(np.int32 if wide else np.uint8))
    if channels not in (3, 4):
        _messages.fail("array_to_img", "x", "1, 3 or 4 channels", channels)
    return image_module.fromarray(pixels.astype(np.uint8))


def save_img(
    path: Any,
    x: ArrayLike,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Writes an array as a picture.

    Args:
        path: a path or a binary file.
        x: (height, width, channels) array with 1, 3 or 4 channels.
        data_format: "channels_last", "channels_first" or None for `config.image_data_format()`.
        file_format: such as "png"; from the path's ending by default.
        scale: whether the least value becomes 0 and the largest 255.
        **kwargs: arguments for Pillow's `save`.

    Raises:
        ValueError: as `array_to_img`, or a format that Pillow does not know.

    See https://keras.io/api/data_loading/image/#saveimg-function
    """
    if file_format is None and isinstance(path, (str, os.PathLike)):
        file_format = Path(path).suffix[1:].lower() or None
    if file_format is not None and file_format.lower() == "jpg":
        file_format = "jpeg"
    image = array_to_img(x, data_format=data_format, scale=scale)
    if image.mode == "RGBA" and file_format == "jpeg":
        warnings.warn(
            "save_img: file_format: expected one that has transparency for an RGBA image, received jpeg: saved as RGB",
            stacklevel=2,
        )
        image = image.convert("RGB")
    image.save(path, format=file_format, **kwargs)


def smart_resize(
    x: ArrayLike, size: tuple[int, int], interpolation: str = "bilinear", data_format: str = "channels_last"
) -> NDArray[np.float32]:
    """Images at another size, their proportions kept: the largest part in the middle that fits is taken.

    Args:
        x: (height, width, channels) or (n, height, width, channels) array.
        size: (height, width).
        interpolation: "bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian" or "mitchellcubic".
        data_format: "channels_last" or "channels_first".

    Raises:
        ValueError: another rank, another size or an unknown method.

    Example:
        >>> smart_resize(np.zeros((8, 6, 3)), (4, 4)).shape
        (4, 4, 3)

    See https://keras.io/api/data_loading/image/
    """
    height, width = _messages.pair("smart_resize", "size", size)
    method = _messages.choice("smart_resize", "interpolation", interpolation, METHODS)
    first = _channels_first("smart_resize", data_format)
    images = np.asarray(x)
    if images.ndim not in (3, 4):
        expected = "(height, width, channels) or (n, height, width, channels)"
        _messages.fail("smart_resize", "x", expected, _messages.Text(f"shape {images.shape}"))
    stack = images if images.ndim == 4 else images[None]
    stack = stack.transpose(0, 2, 3, 1) if first else stack
    top, left, part_height, part_width = crop_box(stack.shape[1], stack.shape[2], height, width)
    parts = stack[:, top : top + part_height, left : left + part_width]
    found = np.stack([resize(part, height, width, method) for part in parts])
    found = found.transpose(0, 3, 1, 2) if first else found
    return found if images.ndim == 4 else found[0]


def _channels_first(operation: str, data_format: str | None) -> bool:
    chosen = config.image_data_format() if data_format is None else data_format
    return _messages.choice(operation, "data_format", chosen, ("channels_last", "channels_first")) != "channels_last"
