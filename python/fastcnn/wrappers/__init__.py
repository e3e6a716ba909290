"""Models as scikit-learn estimators. Needs scikit-learn 1.6 or newer: pip install "fastcnn[sklearn]".

See https://keras.io/api/utils/sklearn_wrappers/.
"""

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fastcnn.wrappers: scikit-learn: expected 1.6 or newer, received none; run: pip install "fastcnn[sklearn]"'
    ) from error

from fastcnn.wrappers.classifier import FastCNNClassifier as FastCNNClassifier
from fastcnn.wrappers.model_wrappers import SKLearnClassifier as SKLearnClassifier
from fastcnn.wrappers.model_wrappers import SKLearnRegressor as SKLearnRegressor
from fastcnn.wrappers.model_wrappers import SKLearnTransformer as SKLearnTransformer

__all__ = ["FastCNNClassifier", "SKLearnClassifier", "SKLearnRegressor", "SKLearnTransformer"]
