"""Files of weights: one NumPy .npz archive, written whole or not at all."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastcnn import _messages
from fastcnn._naming import to_snake_case
from fastcnn.saving.npz import read_arrays
from fastcnn.variables import Variable

if TYPE_CHECKING:
    from fastcnn.layers import Layer


def named_variables(layers: Sequence[Layer]) -> dict[str, Variable]:
    """Variables by the name they have in a file: "layers/conv2d_1/kernel".

    Layers are counted per class and model, so that a file fits every model of the same structure, whatever the names
    that its layers have in this process.
    """
    found: dict[str, Variable] = {}
    counts: Counter[str] = Counter()
    for layer in layers:
        base = to_snake_case(type(layer).__name__)
        number = counts[base]
        counts[base] += 1
        prefix = f"layers/{base}_{number}" if number else f"layers/{base}"
        inner = getattr(layer, "layers", None)
        if inner is not None:
            found.update({f"{prefix}/{name}": v for name, v in named_variables(inner).items()})
        else:
            found.update({f"{prefix}/{v.name}": v for v in layer.weights})
    return found


def write(file: IO[bytes], variables: dict[str, Variable]) -> None:
    """Writes the archive of `variables`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, variable in variables.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, variable.numpy(), allow_pickle=False)


def load(path: Path, variables: dict[str, Variable], skip_mismatch: bool) -> None:
    """Reads `path` into `variables`; every name and shape is checked before anything changes."""
    if not path.is_file():
        _messages.no_file("load_weights", "filepath", "an existing file", path)
    values = _read(path)
    missing = [name for name in variables if name not in values]
    unknown = [name for name in values if name not in variables]
    if not skip_mismatch:
        if missing:
            _messages.fail("load_weights", "filepath", f"a file with {missing[0]!r}", sorted(values))
        if unknown:
            _messages.fail("load_weights", "filepath", f"a file with {sorted(variables)} only", unknown)
    checked: list[tuple[Variable, NDArray[np.float32]]] = []
    for name, variable in variables.items():
        if name not in values:
            continue
        if values[name].shape != variable.shape or values[name].dtype.kind not in "biuf":
            if skip_mismatch:
                continue
            received = f"{values[name].dtype} {values[name].shape}"
            _messages.fail("load_weights", name, f"shape {variable.shape} of real numbers", received)
        checked.append((variable, values[name]))
    for variable, value in checked:
        variable.assign(value)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"load_weights: filepath: expected a .npz archive of save_weights, received {str(path)!r} ({error})"
        ) from error
