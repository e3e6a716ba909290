"""Models. See https://keras.io/api/models/."""

from typing import TYPE_CHECKING

from fastcnn._lazy import attach, nothing_called
from fastcnn.models.cloning import clone_model
from fastcnn.models.sequential import Sequential

if TYPE_CHECKING:
    from fastcnn.saving.saving_api import load_model as load_model
    from fastcnn.saving.saving_api import model_from_json as model_from_json
    from fastcnn.saving.saving_api import save_model as save_model

__all__ = ["Sequential", "clone_model", "load_model", "model_from_json", "save_model"]

__getattr__ = attach(
    __name__,
    {"fastcnn.saving.saving_api": ("load_model", "model_from_json", "save_model")},
    nothing_called(__name__, __all__, {"Model": "there is no functional API; models are Sequential"}),
)
