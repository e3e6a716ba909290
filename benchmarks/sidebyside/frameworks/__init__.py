"""One module per framework, each with a class that implements `base.Framework`. Only a worker imports them."""

from __future__ import annotations

# Name in reports: module and class. fastcnn first; what follows are its peers.
FRAMEWORKS = {
    "fastcnn": "fastcnn_framework:FastcnnFramework",
    "torch": "torch_framework:TorchFramework",
    "keras-tensorflow": "keras_framework:KerasTensorflowFramework",
    "jax": "jax_framework:JaxFramework",
    "onnxruntime": "onnxruntime_framework:OnnxruntimeFramework",
    "openvino": "openvino_framework:OpenvinoFramework",
}
