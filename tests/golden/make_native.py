"""Writes a golden file of fastcnn's own format: `python tests/golden/make_native.py [float32 | float16 | bfloat16]`.

A folder is named for the format and its version and is never written again; a new version of the format gets a new one. Beside
the file stands what it must give, in expected.json. `tests/test_native_files.py` opens them all, for ever.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from make_keras import inputs, model_of

import fastcnn
from fastcnn.saving import native_file


def main(dtype: str = "float32") -> None:
    name = f"native-{native_file.VERSION}"
    folder = Path(__file__).parent / (name if dtype == "float32" else f"{name}-{dtype}")
    folder.mkdir(exist_ok=False)
    fastcnn.utils.set_random_seed(1)
    model, (x, y) = model_of(fastcnn), inputs()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    model.save(folder / "model.safetensors", dtype=dtype)
    if dtype != "float32":
        model = fastcnn.models.load_model(folder / "model.safetensors")  # with rounded weights
    expected = {"predictions": model.predict(x, verbose=0).tolist(), "iterations": int(model.optimizer.iterations)}
    model.fit(x, y, batch_size=4, epochs=3, initial_epoch=2, verbose=0)
    expected["after_an_epoch"] = model.predict(x, verbose=0).tolist()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
