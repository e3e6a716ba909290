"""Models and other objects in files and as plain data. https://keras.io/api/models/model_saving_apis/"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcnn._lazy import attach, nothing_called

if TYPE_CHECKING:
    from fastcnn.saving.registration import CustomObjectScope as CustomObjectScope
    from fastcnn.saving.registration import custom_object_scope as custom_object_scope
    from fastcnn.saving.registration import get_custom_objects as get_custom_objects
    from fastcnn.saving.registration import get_registered_name as get_registered_name
    from fastcnn.saving.registration import get_registered_object as get_registered_object
    from fastcnn.saving.registration import register_keras_serializable as register_keras_serializable
    from fastcnn.saving.saving_api import load_model as load_model
    from fastcnn.saving.saving_api import load_weights as load_weights
    from fastcnn.saving.saving_api import save_model as save_model
    from fastcnn.saving.saving_api import save_weights as save_weights
    from fastcnn.saving.serialization import deserialize_keras_object as deserialize_keras_object
    from fastcnn.saving.serialization import serialize_keras_object as serialize_keras_object

REGISTRATION = (
    "CustomObjectScope",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "register_keras_serializable",
)
FILES = ("load_model", "load_weights", "save_model", "save_weights")
SERIALIZATION = ("deserialize_keras_object", "serialize_keras_object")

__all__ = [*FILES, *REGISTRATION, *SERIALIZATION]  # noqa: PLE0604

__getattr__ = attach(
    __name__,
    {
        "fastcnn.saving.saving_api": FILES,
        "fastcnn.saving.registration": REGISTRATION,
        "fastcnn.saving.serialization": SERIALIZATION,
    },
    otherwise=nothing_called(__name__, __all__),
)
