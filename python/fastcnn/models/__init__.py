"""Models. See https://keras.io/api/models/."""

from fastcnn.models.cloning import clone_model
from fastcnn.models.sequential import Sequential

__all__ = ["Sequential", "clone_model"]
