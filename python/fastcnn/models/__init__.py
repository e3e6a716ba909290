"""Models. See https://keras.io/api/models/."""

from fastcnn._lazy import nothing_called
from fastcnn.models.cloning import clone_model
from fastcnn.models.sequential import Sequential

__all__ = ["Sequential", "clone_model"]

__getattr__ = nothing_called(__name__, __all__, {"Model": "there is no functional API; models are Sequential"})
