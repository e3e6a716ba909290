"""Models to and from PyTorch. Needs PyTorch 2.4 or newer: pip install "fastcnn[torch]".

`to_torch` and `from_torch` give models of equal outputs and equal gradients, or refuse in one sentence what has no exact
counterpart; docs/pytorch.md says what becomes of what.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fastcnn.torch: PyTorch: expected 2.4 or newer, received none; run: pip install "fastcnn[torch]"'
    ) from error

from fastcnn.torch import modules as modules
from fastcnn.torch.reading import from_torch as from_torch
from fastcnn.torch.writing import to_torch as to_torch

__all__ = ["from_torch", "modules", "to_torch"]
