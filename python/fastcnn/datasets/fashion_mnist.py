"""Fashion-MNIST: 28 x 28 grey-scale pictures of ten kinds of clothing (Zalando SE, MIT licence)."""

from __future__ import annotations

from fastcnn.datasets import _formats, _places

__all__ = ["CLASS_NAMES", "load_data"]

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# In the order of load_data. SHA-256 of the content, not of the gzip file around it: distributors compress it anew.
_SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_FOLDER = "fashion-mnist"


def load_data() -> _formats.Arrays:
    """Loads Fashion-MNIST: 60,000 training and 10,000 test images.

    Looks in ``FASTCNN_DATA_DIR``, Keras's cache (``KERAS_HOME``, usually ``~/.keras``), Debian's package
    dataset-fashion-mnist and fastcnn's cache; where it is in none of them it is downloaded, checked and kept.

    Returns:
        ``(x_train, y_train), (x_test, y_test)``: images uint8 (n, 28, 28), 0 to 255; labels uint8 (n,), positions in
        ``CLASS_NAMES``.

    Raises:
        OSError: If it is not on this machine and cannot be downloaded; says what to do.
        ValueError: If a file found is damaged; names it.

    Example:
        >>> from fastcnn.datasets import fashion_mnist
        >>> (x_train, y_train), (x_test, y_test) = fashion_mnist.load_data()  # doctest: +SKIP
        >>> x_train.shape  # doctest: +SKIP
        (60000, 28, 28)

    Reference: https://keras.io/api/datasets/fashion_mnist/, https://arxiv.org/abs/1708.07747
    """
    names = list(_SHA256)
    folder = _places.find("fashion_mnist", _FOLDER, names)
    if folder is None:
        folder = _places.own_cache() / _FOLDER
        for name, sha256 in _SHA256.items():
            if not (folder / name).is_file():
                _places.download(
                    "fashion_mnist",
                    name,
                    folder / name,
                    verify=_formats.sha256_of_gzip_content,
                    sha256=sha256,
                    remedy="run 'apt-get install dataset-fashion-mnist', or put its four files "
                    f"({', '.join(names)}) into a folder and name it in FASTCNN_DATA_DIR",
                )
    x_train, y_train, x_test, y_test = (
        _formats.read_idx(folder / name, 3 if "images" in name else 1) for name in names
    )
    return _formats.check_pairs(folder, ((x_train, y_train), (x_test, y_test)))
