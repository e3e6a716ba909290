"""Models to and from ONNX: `model.export("model.onnx")`. Needs the onnx package: pip install "fastcnn[onnx]".

See https://onnx.ai.
"""

from __future__ import annotations
