"""A convolutional network as a scikit-learn classifier that needs no model to be written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastcnn import _messages, layers, optimizers
from fastcnn.callbacks import EarlyStopping
from fastcnn.layers.input_layer import Input
from fastcnn.models import Sequential
from fastcnn.models.compile_config import copied
from fastcnn.utils.seed import local_seed

_ROWS = 1024  # of one part


class FastCNNClassifier(ClassifierMixin, BaseEstimator):
    """A small convolutional network for images (or rows of features), from start to end.

    The network is the Keras tutorial's: convolutions with ReLU, each but the last followed by 2x2 max pooling, then a
    hidden dense layer. Inputs are standardised by the training samples' statistics: channel by channel for images,
    feature by feature otherwise.

    Args:
        image_shape: (height, width) or (height, width, channels) of one image; X of two axes is reshaped to it. None: X of
            three or four axes is taken as it is, rows of features as (features, 1, 1).
        filters: output channels of the convolutions.
        kernel_size: their kernels' side; smaller where the image is.
        dense_units: units of the hidden dense layer; 0 for none.
        dropout: share of the dense layer's inputs that is dropped in training.
        optimizer: name or object of `fastcnn.optimizers`.
        learning_rate: the optimizer's, or None for its own.
        batch_size: samples a step.
        epochs: passes over the data, at most.
        class_weight: None, "balanced" or {label: weight}.
        early_stopping: whether a share of the samples is set aside to measure each epoch, and the best epoch's weights
            are kept.
        validation_fraction: that share.
        n_iter_no_change: epochs without improvement after which training stops.
        random_state: None, an integer or a NumPy RandomState: weights, order and dropout follow from it.
        verbose: 0, 1 or 2, as for `Sequential.fit`.

    Attributes:
        classes_: the labels, sorted.
        model_: the fitted `Sequential`.
        history_: {name: one number an epoch}.
        n_iter_: epochs done.
        n_features_in_: values of one sample.

    Example:
        >>> from fastcnn.datasets import shirts
        >>> (X, y), _ = shirts.load_data()
        >>> estimator = FastCNNClassifier(image_shape=(28, 28), filters=(8, 8), epochs=1, random_state=0)
        >>> estimator.fit(X[:500], y[:500]).predict_proba(X[:3]).shape
        (3, 2)

    See https://scikit-learn.org/stable/developers/develop.html.
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None = None,
        *,
        filters: Sequence[int] = (32, 64, 64),
        kernel_size: int = 3,
        dense_units: int = 64,
        dropout: float = 0.0,
        optimizer: Any = "adam",
        learning_rate: float | None = None,
        batch_size: int = 32,
        epochs: int = 20,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.image_shape = image_shape
        self.filters = filters
        self.kernel_size = kernel_size
        self.dense_units = dense_units
        self.dropout = dropout
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FastCNNClassifier:
        """Trains a new network.

        Args:
            X: (n, features), (n, height, width) or (n, height, width, channels) samples.
            y: (n,) labels of any kind.
            sample_weight: (n,) weights; samples of weight 0 do not count at all.

        Returns:
            The estimator.

        Raises:
            ValueError: data or arguments that do not fit.
        """
        shape, X = self._rows(X)
        X, y = validate_data(self, X, y)
        check_classification_targets(y)
        seed = int(check_random_state(self.random_state).randint(2**31))
        weights = None
        if sample_weight is not None:
            weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            found = _messages.Text(f"{len(self.classes_)} class")
            _messages.fail("FastCNNClassifier.fit", "y", "labels of at least two classes", found)
        if self.class_weight is not None:
            weights = self._class_weights(y) * (1.0 if weights is None else weights)
        self._image_shape = self._shape(shape, X.shape[1])
        self._set_scale(X)
        with local_seed(seed):
            self.model_ = self._network(seed)
            return self._train(X, numbers, weights, seed)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most likely label of each sample: (n,)."""
        check_is_fitted(self)
        labels: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """The classes' probabilities: (n, classes), in the order of `classes_`."""
        check_is_fitted(self)
        X = validate_data(self, self._rows(X)[1], reset=False)
        outputs = self.model_.predict(self._images(X), verbose=0)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    # --- data ----------------------------------------------------------------------------------------------------

    def _rows(self, X: Any) -> tuple[tuple[int, ...], Any]:
        """One sample's shape, and X with one row a sample."""
        if hasattr(X, "iloc") or not hasattr(X, "ndim") or X.ndim not in (3, 4):
            return (), X
        X = np.asarray(X)
        return X.shape[1:], X.reshape(len(X), -1)

    def _shape(self, given: tuple[int, ...], features: int) -> tuple[int, ...]:
        """(height, width, channels) of one image."""
        shape = given or (features, 1, 1)
        if self.image_shape is not None:
            shape = _messages.shape("FastCNNClassifier", "image_shape", tuple(self.image_shape))
        shape = (*shape, 1) if len(shape) == 2 else shape
        if len(shape) != 3 or math.prod(shape) != features:
            expected = f"(height, width) or (height, width, channels) of {features} values"
            _messages.fail("FastCNNClassifier", "image_shape", expected, self.image_shape)
        return shape

    def _values(self, X: NDArray[Any]) -> NDArray[Any]:
        """X with what is scaled alike along the last axis: channels of images, otherwise features."""
        _, width, channels = self._image_shape
        return X if width == channels == 1 else X.reshape(len(X), -1, channels)

    def _set_scale(self, X: NDArray[Any]) -> None:
        values = self._values(X)
        axes = tuple(range(values.ndim - 1))
        self._mean = values.mean(axis=axes, dtype=np.float64)
        # A part at a time: the data may be bytes, and eight times as large in double precision.
        parts = (values[begin : begin + _ROWS] - self._mean for begin in range(0, len(values), _ROWS))
        squares = np.sum([np.square(part).sum(axis=axes) for part in parts], axis=0)
        deviation = np.sqrt(squares / (values.size / values.shape[-1]))
        # What hardly varies beside its own size is constant but for rounding.
        self._scale = np.where(deviation > 1e-7 * np.abs(self._mean), 1 / np.maximum(deviation, 1e-300), 1.0)

    def _images(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Standardised float32 images."""
        values = self._values(X)
        images = np.empty(values.shape, np.float32)
        np.subtract(values, self._mean, out=images, casting="same_kind")
        np.multiply(images, self._scale, out=images, casting="same_kind")
        return images.reshape(len(X), *self._image_shape)

    def _class_weights(self, y: NDArray[Any]) -> NDArray[np.float64]:
        if self.class_weight != "balanced" and not isinstance(self.class_weight, Mapping):
            expected = "None, 'balanced' or a dictionary from labels to weights"
            _messages.fail("FastCNNClassifier", "class_weight", expected, self.class_weight)
        weights: NDArray[np.float64] = compute_sample_weight(self.class_weight, y)
        return weights

    # --- network -------------------------------------------------------------------------------------------------

    def _network(self, seed: int) -> Sequential:
        kernel = _messages.integer("FastCNNClassifier", "kernel_size", self.kernel_size)
        dense = _messages.integer("FastCNNClassifier", "dense_units", self.dense_units, minimum=0)
        height, width, _ = self._image_shape
        stack: list[Any] = [Input(self._image_shape)]
        for number, channels in enumerate(self.filters, 1):
            sides = min(kernel, height), min(kernel, width)
            stack.append(layers.Conv2D(channels, sides, activation="relu"))
            height, width = height - sides[0] + 1, width - sides[1] + 1
            if number < len(self.filters) and max(height, width) > 1:
                pool = min(2, height), min(2, width)
                stack.append(layers.MaxPooling2D(pool))
                height, width = height // pool[0], width // pool[1]
        stack.append(layers.Flatten())
        if self.dropout:
            stack.append(layers.Dropout(self.dropout))
        if dense:
            stack.append(layers.Dense(dense, activation="relu"))
        binary = len(self.classes_) == 2
        stack.append(layers.Dense(1, "sigmoid") if binary else layers.Dense(len(self.classes_), "softmax"))
        model = Sequential(stack)
        # A new optimizer for every fit: it counts steps.
        optimizer = copied(optimizers.get(self.optimizer))
        if self.learning_rate is not None:
            optimizer.learning_rate = self.learning_rate
        model.compile(optimizer, f"{'binary' if binary else 'sparse_categorical'}_crossentropy", metrics=["accuracy"])
        return model

    def _train(
        self,
        X: NDArray[Any],
        numbers: NDArray[Any],
        weights: NDArray[Any] | None,
        seed: int,
    ) -> FastCNNClassifier:
        rows = np.arange(len(X))
        callbacks, validation = [], None
        if self.early_stopping:
            counts = np.bincount(numbers)
            held = math.ceil(self.validation_fraction * len(X))
            # Shares of all classes, where there are samples enough for that.
            stratify = numbers if counts.min() >= 2 and held >= len(counts) else None
            rows, apart = train_test_split(
                rows, test_size=self.validation_fraction, random_state=seed, stratify=stratify
            )
            validation = [self._images(X[apart]), numbers[apart], *([] if weights is None else [weights[apart]])]
            callbacks.append(EarlyStopping(patience=self.n_iter_no_change, restore_best_weights=True))
        record = self.model_.fit(
            self._images(X[rows]),
            numbers[rows],
            sample_weight=None if weights is None else weights[rows],
            batch_size=self.batch_size,
            epochs=self.epochs,
            validation_data=validation,
            callbacks=callbacks,
            verbose=self.verbose,
        )
        self.history_ = record.history
        self.n_iter_ = len(record.epoch)
        return self
