"""Compiled models as scikit-learn estimators, as Keras wraps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from fastcnn import _messages
from fastcnn.models import Sequential, clone_model


class _ModelWrapper(BaseEstimator):
    """What the three wrappers share.

    Args:
        model: a compiled model, which is cloned before it is fitted; or a function of X, y and `model_kwargs` that
            returns one.
        warm_start: whether a further `fit` goes on with the weights of the last one; then a model is not cloned.
        model_kwargs: further arguments for `model` where it is a function.
        fit_kwargs: arguments for the model's `fit`; those given to the estimator's `fit` come first.
    """

    _labels_are: ClassVar[dict[str, bool]] = {"multi_output": True, "y_numeric": True}

    def __init__(
        self,
        model: Sequential | Callable[..., Sequential],
        warm_start: bool = False,
        model_kwargs: dict[str, Any] | None = None,
        fit_kwargs: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.warm_start = warm_start
        self.model_kwargs = model_kwargs
        self.fit_kwargs = fit_kwargs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True  # the weights' start follows fastcnn's own seed
        return tags

    def set_fit_request(self, **kwargs: Any) -> _ModelWrapper:
        """Which metadata scikit-learn's routing passes to `fit`.

        Args:
            **kwargs: True, False, None or another name for each argument of `fit`.

        Raises:
            RuntimeError: metadata routing is not enabled.
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                f"{type(self).__name__}.set_fit_request: expected metadata routing to be enabled "
                "(sklearn.set_config(enable_metadata_routing=True)), received a configuration without it"
            )
        self._metadata_request = MetadataRequest(owner=type(self).__name__)
        for argument, alias in kwargs.items():
            self._metadata_request.fit.add_request(param=argument, alias=alias)
        return self

    def _model(self, X: NDArray[Any], y: NDArray[Any]) -> Sequential:
        if self.warm_start and hasattr(self, "model_"):
            model = self.model_
        elif isinstance(self.model, Sequential):
            model = self.model if self.warm_start else clone_model(self.model)
        else:
            model = self.model(X=X, y=y, **(self.model_kwargs or {}))
        if not isinstance(model, Sequential):
            _messages.fail(type(self).__name__, "model", "a Sequential model or a function that returns one", model)
        if not model.compiled or model.loss is None:
            raise RuntimeError(
                f"{type(self).__name__}: model: expected a compiled model with a loss and an optimizer, received one "
                f"that is {'compiled without a loss' if model.compiled else 'not compiled'}"
            )
        return model

    def fit(self, X: Any, y: Any, **kwargs: Any) -> Any:
        """Fits a new model.

        Args:
            X: (n, ...) samples.
            y: (n,) or (n, outputs) targets.
            **kwargs: arguments for the model's `fit`.

        Returns:
            The estimator.

        Raises:
            RuntimeError: the model is not compiled.
            ValueError: data that do not fit.
        """
        X, y = validate_data(self, X, y, allow_nd=True, **self._labels_are)
        targets = self._encode(y)
        model = self._model(X, targets)
        self.history_ = model.fit(X, targets, **{**(self.fit_kwargs or {}), **kwargs})
        self.model_ = model
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predictions in the form of `fit`'s y, one a sample."""
        return self._decode(self._outputs(X))

    def _outputs(self, X: Any) -> NDArray[np.float32]:
        check_is_fitted(self)
        X = validate_data(self, X, allow_nd=True, reset=False)
        return self.model_.predict(X, verbose=0)

    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        """y as the model's targets: two axes at least."""
        kind = type_of_target(y)
        if kind == "unknown":
            raise ValueError(f"{type(self).__name__}.fit: y: expected numbers, received unknown label type: {y!r}")
        self._target_axes = y.ndim
        return y.reshape(-1, 1) if y.ndim == 1 else y

    def _decode(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        single = self._target_axes == 1 and outputs.ndim == 2 and outputs.shape[1] == 1
        return outputs[:, 0] if single else outputs


class SKLearnClassifier(ClassifierMixin, _ModelWrapper):
    """A compiled model as a scikit-learn classifier. Labels of any kind become one-hot rows.

    Args:
        model: a compiled model, which is cloned before it is fitted; or a function of X, y (one-hot) and
            `model_kwargs` that returns one.
        warm_start: whether a further `fit` goes on with the weights of the last one; then a model is not cloned.
        model_kwargs: further arguments for `model` where it is a function.
        fit_kwargs: arguments for the model's `fit`; those given to the estimator's `fit` come first.

    Attributes:
        model_: the fitted model.
        history_: what its `fit` returned.
        classes_: the labels, sorted.

    Example:
        >>> import fastcnn as keras
        >>> def network(X, y):
        ...     model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(y.shape[1], "softmax")])
        ...     model.compile("adam", "categorical_crossentropy")
        ...     return model
        >>> X, y = np.eye(4).repeat(50, axis=0), np.array(["no", "yes", "no", "yes"]).repeat(50)
        >>> estimator = SKLearnClassifier(network, fit_kwargs={"epochs": 200, "verbose": 0}).fit(X, y)
        >>> estimator.predict(np.eye(4)).tolist()
        ['no', 'yes', 'no', 'yes']

    See https://keras.io/api/utils/sklearn_wrappers/#sklearnclassifier-class
    """

    _labels_are: ClassVar[dict[str, bool]] = {}  # one label a sample, of any type

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # it depends on the model
        return tags

    def decision_function(self, X: Any) -> NDArray[np.float32]:
        """The model's outputs: (n, classes)."""
        return self._outputs(X)

    def _encode(self, y: NDArray[Any]) -> NDArray[Any]:
        kind = type_of_target(y, raise_unknown=True)
        if kind not in ("binary", "multiclass"):
            raise ValueError(
                f"{type(self).__name__}.fit: y: expected labels of one class a sample, received target type {kind}. "
                "Only binary and multiclass target types are supported. Unknown label type"
            )
        self.classes_ = np.unique(y)
        if len(self.classes_) == 1:
            raise ValueError(
                f"{type(self).__name__}.fit: y: expected at least two classes, received one. "
                "Classifier can't train when only one class is present."
            )
        rows: NDArray[Any] = LabelBinarizer().fit(self.classes_).transform(y)
        return np.hstack([1 - rows, rows]) if rows.shape[1] == 1 else rows

    def _decode(self, outputs: NDArray[np.float32]) -> NDArray[Any]:
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=-1)]
        return labels


class SKLearnRegressor(RegressorMixin, _ModelWrapper):
    """A compiled model as a scikit-learn regressor.

    Args:
        model: a compiled model, which is cloned before it is fitted; or a function of X, y and `model_kwargs` that
            returns one.
        warm_start: whether a further `fit` goes on with the weights of the last one; then a model is not cloned.
        model_kwargs: further arguments for `model` where it is a function.
        fit_kwargs: arguments for the model's `fit`; those given to the estimator's `fit` come first.

    Attributes:
        model_: the fitted model.
        history_: what its `fit` returned.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> estimator = SKLearnRegressor(model, fit_kwargs={"epochs": 100, "verbose": 0}).fit(X, 3 * X[:, 0])
        >>> round(float(estimator.score(X, 3 * X[:, 0])), 3)
        1.0

    See https://keras.io/api/utils/sklearn_wrappers/#sklearnregressor-class
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = True  # it depends on the model
        return tags


class SKLearnTransformer(TransformerMixin, _ModelWrapper):
    """A compiled model as a scikit-learn transformer: `transform` gives the model's outputs.

    Args:
        model: a compiled model, which is cloned before it is fitted; or a function of X, y and `model_kwargs` that
            returns one.
        warm_start: whether a further `fit` goes on with the weights of the last one; then a model is not cloned.
        model_kwargs: further arguments for `model` where it is a function.
        fit_kwargs: arguments for the model's `fit`; those given to the estimator's `fit` come first.

    Attributes:
        model_: the fitted model.
        history_: what its `fit` returned.

    Example:
        >>> import fastcnn as keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> SKLearnTransformer(model, fit_kwargs={"verbose": 0}).fit(np.eye(3), np.eye(3)[:, :2]).transform(np.eye(3)).shape
        (3, 2)

    See https://keras.io/api/utils/sklearn_wrappers/#sklearntransformer-class
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def transform(self, X: Any) -> NDArray[np.float32]:
        """The model's outputs for (n, ...) samples."""
        return self._outputs(X)
