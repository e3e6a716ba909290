"""The onnx package, imported when it is needed: pip install "fastcnn[onnx]"."""

from __future__ import annotations

from typing import Any


def onnx_package(operation: str) -> Any:
    """The module `onnx`.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError(
            f'{operation}: onnx: expected to be installed, received none; run: pip install "fastcnn[onnx]"'
        ) from error
    return onnx
