"""Writes the golden files of Keras's formats: `python tests/golden/make_keras.py keras` or `... fastcnn`.

A folder is named for the program and version that wrote it and is never written again; a new version gets a new one. Beside
the files stands what they must give, in expected.json. `tests/test_golden_keras.py` opens them all, for ever.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """The same everywhere, without a generator that could change."""
    x = (np.arange(8 * 6 * 6 * 2) * 37 % 101 / 101).astype(np.float32).reshape(8, 6, 6, 2)
    return x, np.arange(8) % 3


def model_of(keras: Any) -> Any:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(2, 3, activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            keras.Sequential([layers.Flatten(), layers.Dropout(0.5), layers.Dense(4, activation="tanh")], name="inner"),
            layers.Dense(3, activation="softmax", name="outputs"),
        ],
        name="golden",
    )
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main(package: str) -> None:
    keras = importlib.import_module(package)
    folder = HERE / f"{package}-{keras.__version__}"
    folder.mkdir(exist_ok=False)
    keras.utils.set_random_seed(1)
    model, (x, y) = model_of(keras), inputs()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    if package == "keras":
        model.save(folder / "model.keras")
        model.save_weights(folder / "model.weights.h5")
        model.save(folder / "model.h5")
    else:
        from fastcnn.saving import keras_files

        (folder / "model.keras").write_bytes(keras_files.model_bytes(model))
        (folder / "model.weights.h5").write_bytes(keras_files.weights_bytes(model))
    expected = {
        "predictions": model.predict(x, verbose=0).tolist(),
        "evaluation": model.evaluate(x, y, verbose=0, return_dict=True),
        "iterations": int(np.asarray(model.optimizer.iterations)),
        "learning_rate": float(np.asarray(model.optimizer.learning_rate)),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
