"""MNIST: 28 x 28 grey-scale handwritten digits (Y. LeCun and C. Cortes, CC BY-SA 3.0)."""

from __future__ import annotations

from pathlib import Path

from fastcnn.datasets import _formats, _places

__all__ = ["load_data"]

_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def load_data(path: str = "mnist.npz") -> _formats.Arrays:
    """Loads MNIST: 60,000 training and 10,000 test images.

    Looks in ``FASTCNN_DATA_DIR``, Keras's cache (``KERAS_HOME``, usually ``~/.keras``) and fastcnn's cache; where it is
    in none of them it is downloaded, checked and kept.

    Args:
        path: Name of the file in those folders, or an absolute path, which must exist.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: images uint8 (n, 28, 28), 0 to 255; labels uint8 (n,), 0 to 9.

    Raises:
        OSError: If it is not on this machine and cannot be downloaded; says what to do.
        ValueError: If the file found is damaged; names it.

    Example:
        >>> from fastcnn.datasets import mnist
        >>> (x_train, y_train), (x_test, y_test) = mnist.load_data()  # doctest: +SKIP
        >>> x_train.shape  # doctest: +SKIP
        (60000, 28, 28)

    Reference: https://keras.io/api/datasets/mnist/
    """
    file = Path(path)
    if file.is_absolute():
        if not file.is_file():
            raise FileNotFoundError(f"mnist: path: expected an existing file, received '{path}'")
    elif file.name != path:
        raise ValueError(f"mnist: path: expected a file name or an absolute path, received '{path}'")
    else:
        folder = _places.find("mnist", "", [path])
        if folder is None:
            folder = _places.own_cache()
            _places.download(
                "mnist",
                "mnist.npz",
                folder / path,
                verify=_formats.sha256_of_file,
                sha256=_SHA256,
                remedy="put Keras's mnist.npz into a folder and name it in FASTCNN_DATA_DIR",
            )
        file = folder / path
    return _formats.check_pairs(file, _formats.read_npz(file))
