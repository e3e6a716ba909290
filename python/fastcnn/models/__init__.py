"""Models. See https://keras.io/api/models/."""

from fastcnn.models.sequential import Sequential

__all__ = ["Sequential"]
