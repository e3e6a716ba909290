"""Makes python/fastcnn/datasets/shirts.npz from Fashion-MNIST, the same bytes every time.

    python tools/make_shirts.py [--check]

Rule: the first 2,400 images of class 0 (T-shirt/top) or 6 (Shirt) in the training file and the first 600 in the test
file, in the files' order; labels 0 and 1. (Not so many of each class: then the larger class would fill the end of the
training data, which validation_split takes.) --check compares the stored arrays instead of writing them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastcnn.datasets import _formats, fashion_mnist

TARGET = Path(__file__).resolve().parents[1] / "python" / "fastcnn" / "datasets" / "shirts.npz"
T_SHIRT, SHIRT = 0, 6
TRAIN_IMAGES, TEST_IMAGES = 2400, 600


def select(x: NDArray[np.uint8], y: NDArray[np.uint8], count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns the first `count` images of either class in file order, and labels 0 and 1."""
    rows = np.flatnonzero((y == T_SHIRT) | (y == SHIRT))[:count]
    return x[rows], (y[rows] == SHIRT).astype(np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    train, test = fashion_mnist.load_data()
    x_train, y_train = select(*train, TRAIN_IMAGES)
    x_test, y_test = select(*test, TEST_IMAGES)
    made = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
    if check:
        (x_train, y_train), (x_test, y_test) = _formats.read_npz(TARGET)
        stored = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test}
        wrong = [name for name in made if not np.array_equal(made[name], stored[name])]
        print(f"{TARGET.name}: {'differs in ' + ', '.join(wrong) if wrong else 'as made from Fashion-MNIST'}")
        return 1 if wrong else 0
    np.savez_compressed(TARGET, **made)  # numpy writes one fixed date: the file depends on the arrays and zlib only
    print(f"{TARGET} {TARGET.stat().st_size} bytes, SHA-256 {_formats.sha256_of_file(TARGET)}")
    for name, array in made.items():
        print(f"  {name} {array.shape} SHA-256 {hashlib.sha256(array.tobytes()).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
