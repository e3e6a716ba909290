"""Writes the golden file of fastcnn's own format: `python tests/golden/make_native.py`.

A folder is named for the format and its version and is never written again; a new version of the format gets a new one. Beside
the file stands what it must give, in expected.json. `tests/test_native_files.py` opens them all, for ever.
"""

from __future__ import annotations

import json
from pathlib import Path

from make_keras import inputs, model_of

import fastcnn
from fastcnn.saving import native_file


def main() -> None:
    folder = Path(__file__).parent / f"native-{native_file.VERSION}"
    folder.mkdir(exist_ok=False)
    fastcnn.utils.set_random_seed(1)
    model, (x, y) = model_of(fastcnn), inputs()
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    model.save(folder / "model.safetensors")
    expected = {"predictions": model.predict(x, verbose=0).tolist(), "iterations": int(model.optimizer.iterations)}
    model.fit(x, y, batch_size=4, epochs=3, initial_epoch=2, verbose=0)
    expected["after_an_epoch"] = model.predict(x, verbose=0).tolist()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
