"""Models to and from ONNX: `model.export("model.onnx")` and `load`. Needs the onnx package: pip install "fastcnn[onnx]".

See https://onnx.ai.
"""

from __future__ import annotations

from fastcnn.onnx.reading import load

__all__ = ["load"]
