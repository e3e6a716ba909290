"""fastcnn.wrappers: scikit-learn's own checks, and what they do not look at."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import layers

sklearn = pytest.importorskip("sklearn", minversion="1.6")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from fastcnn.wrappers import (  # noqa: E402
    FastCNNClassifier,
    SKLearnClassifier,
    SKLearnRegressor,
    SKLearnTransformer,
)


def network(X, y, loss, out_activation=None, units=(10,)):
    keras.utils.set_random_seed(1)  # the checks fit twice and compare
    model = keras.Sequential([keras.Input(X.shape[1:])])
    for count in units:
        model.add(layers.Dense(count, activation="relu"))
    model.add(layers.Dense(y.shape[1] if y.ndim > 1 else 1, activation=out_activation))
    model.compile("rmsprop", loss)
    return model


CLASSIFIER = SKLearnClassifier(
    network,
    model_kwargs={"loss": "categorical_crossentropy", "out_activation": "softmax", "units": (20, 20, 20)},
    fit_kwargs={"epochs": 5, "verbose": 0},
)
EXPECTED_FAILURES = {
    "FastCNNClassifier": {
        "check_sample_weight_equivalence_on_dense_data": "a sample of weight 2 and one that occurs twice are "
        "different batches of stochastic gradient descent",
    },
    "SKLearnClassifier": {
        "check_classifiers_train": "decision_function is the model's outputs, one a class for two classes too, as in "
        "Keras",
        "check_classifiers_classes": "five epochs of so few samples do not always find every class",
    },
    "SKLearnRegressor": {"check_regressor_multioutput": "predictions are float32, as the model's outputs are"},
    "SKLearnTransformer": {},
}


@parametrize_with_checks(
    [
        FastCNNClassifier(),
        CLASSIFIER,
        SKLearnRegressor(network, model_kwargs={"loss": "mse"}, fit_kwargs={"verbose": 0}),
        SKLearnTransformer(network, model_kwargs={"loss": "mse"}, fit_kwargs={"verbose": 0}),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES[type(estimator).__name__],
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# --- FastCNNClassifier ---------------------------------------------------------------------------------------------


def stripes(n=120, side=8, classes=2, seed=0):
    """Images with a bright row or column; labels that are words."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(classes, size=n)
    x = rng.integers(0, 60, size=(n, side, side, 1)).astype(np.uint8)
    for image, number in zip(x, numbers):
        place = rng.integers(side)
        image[(slice(None), place) if number == 0 else (place,) if number == 1 else (slice(2, 6), slice(2, 6))] = 200
    return x, np.array(["column", "row", "square"])[numbers]


def small(**arguments):
    return FastCNNClassifier(**{"filters": (8, 8), "dense_units": 16, "epochs": 12, "random_state": 0, **arguments})


@pytest.mark.parametrize("classes", [2, 3])
def test_images_of_every_form_give_the_same(classes):
    x, y = stripes(classes=classes)
    estimator = small(epochs=12 * (classes - 1), learning_rate=3e-3).fit(x, y)
    assert estimator.score(x, y) > 0.9 and list(estimator.classes_) == ["column", "row", "square"][:classes]
    probabilities = estimator.predict_proba(x)
    assert probabilities.shape == (120, classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    for form, shape in (
        (x[..., 0], None),
        (x.reshape(120, 64), (8, 8)),
        (x.reshape(120, 64).astype(float), (8, 8, 1)),
    ):
        other = clone(estimator).set_params(image_shape=shape).fit(form, y)
        np.testing.assert_array_equal(other.predict_proba(form), probabilities)
        np.testing.assert_array_equal(estimator.predict_proba(form), probabilities)


def test_rows_without_image_shape_are_features():
    x, y = stripes()
    estimator = small().fit(x.reshape(120, 64), y)
    assert estimator.model_.input_shape == (None, 64, 1, 1) and estimator.n_features_in_ == 64


def test_random_state_repeats_bits_and_leaves_the_global_streams_alone():
    x, y = stripes()
    keras.utils.set_random_seed(1)
    expected = keras.random.normal((3,), seed=None), keras.utils.seed.numpy_generator().permutation(9)
    keras.utils.set_random_seed(1)
    runs = [small(random_state=seed, dropout=0.2, epochs=2).fit(x, y).predict_proba(x) for seed in (3, 3, 4)]
    found = keras.random.normal((3,), seed=None), keras.utils.seed.numpy_generator().permutation(9)
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()
    for a, b in zip(expected, found):
        np.testing.assert_array_equal(a, b)


def test_early_stopping_keeps_the_best_epoch():
    x, y = stripes()
    estimator = small(early_stopping=True, epochs=200, n_iter_no_change=2, learning_rate=0.02).fit(x, y)
    losses = estimator.history_["val_loss"]
    assert estimator.n_iter_ == len(losses) < 200 and np.argmin(losses) == len(losses) - 3
    whole = small(early_stopping=True, epochs=2).fit(x, y, sample_weight=np.ones(120))
    assert "val_accuracy" in whole.history_


def test_class_weight_and_sample_weight_count_alike():
    x, y = stripes()
    keep = np.r_[np.flatnonzero(y == "row"), np.flatnonzero(y == "column")[:5]]
    x, y = x[keep], y[keep]
    balanced = small(class_weight="balanced").fit(x, y).predict_proba(x)
    counts = {name: (y == name).sum() for name in ("row", "column")}
    by_hand = {name: len(y) / (2 * count) for name, count in counts.items()}
    np.testing.assert_array_equal(small(class_weight=by_hand).fit(x, y).predict_proba(x), balanced)
    weights = np.array([by_hand[name] for name in y])
    np.testing.assert_array_equal(small().fit(x, y, sample_weight=weights).predict_proba(x), balanced)
    assert (small().fit(x, y).predict_proba(x) != balanced).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (3, 3)}, r"image_shape: expected \(height, width\).* of 64 values"),
        ({"class_weight": "equal"}, "class_weight: expected None, 'balanced'"),
        ({"kernel_size": 0}, "kernel_size: expected a positive integer"),
        ({"optimizer": "adamm"}, "expected the name of an optimizer"),
        ({"batch_size": 0}, "batch_size: expected a positive integer"),
    ],
)
def test_bad_arguments_are_refused_in_fit(arguments, message):
    x, y = stripes()
    with pytest.raises(ValueError, match=message):
        small(**arguments).fit(x.reshape(120, 64), y)
    with pytest.raises(ValueError, match="labels of at least two classes, received 1 class"):
        small().fit(x, np.zeros(120))


def test_an_optimizer_object_is_not_used_up():
    x, y = stripes()
    optimizer = keras.optimizers.SGD(0.1)
    estimator = small(optimizer=optimizer, epochs=1).fit(x, y)
    assert optimizer.iterations == 0 and estimator.model_.optimizer.iterations == 4


@pytest.mark.parametrize("duplicate", [lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy])
def test_fitted_estimators_are_copied(duplicate):
    x, y = stripes()
    for estimator in (small(epochs=2), clone(CLASSIFIER)):
        data = x if isinstance(estimator, FastCNNClassifier) else x.reshape(120, 64)
        estimator.fit(data, y)
        np.testing.assert_array_equal(duplicate(estimator).predict(data), estimator.predict(data))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_searches_in_parallel_give_what_they_give_alone(backend):
    joblib = pytest.importorskip("joblib")
    x, y = stripes()
    alone = cross_val_score(small(epochs=6), x, y, cv=3)
    grid = {"filters": [(4,), (8, 8)], "learning_rate": [1e-3, 1e-2]}
    search = GridSearchCV(small(epochs=3), grid, cv=2, error_score="raise").fit(x, y)
    with joblib.parallel_backend(backend, n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(small(epochs=6), x, y, cv=3), alone)
        parallel = GridSearchCV(small(epochs=3), grid, cv=2, error_score="raise").fit(x, y)
    for name in ("mean_test_score", "std_test_score"):
        np.testing.assert_array_equal(parallel.cv_results_[name], search.cv_results_[name])
    assert search.best_estimator_.score(x, y) >= search.best_score_ - 0.2


# --- the wrappers of models -----------------------------------------------------------------------------------------


def compiled(outputs=1, loss="mse"):
    model = keras.Sequential([keras.Input((4,)), layers.Dense(outputs)])
    model.compile("sgd", loss)
    return model


X, TARGETS = np.random.default_rng(0).normal(size=(30, 4)), np.random.default_rng(1).normal(size=(30, 2))


def test_model_is_cloned_unless_warm_start():
    model = compiled()
    estimator = SKLearnRegressor(model, fit_kwargs={"verbose": 0}).fit(X, TARGETS[:, 0], epochs=2)
    assert estimator.model_ is not model and model.optimizer.iterations == 0
    assert estimator.history_.epoch == [0, 1] and estimator.fit_kwargs == {"verbose": 0}
    first = estimator.fit(X, TARGETS[:, 0]).model_
    assert estimator.fit(X, TARGETS[:, 0]).model_ is not first
    warm = SKLearnRegressor(model, warm_start=True, fit_kwargs={"verbose": 0}).fit(X, TARGETS[:, 0])
    assert warm.fit(X, TARGETS[:, 0]).model_ is model and model.optimizer.iterations == 2
    assert clone(warm).model is not model and clone(warm).fit_kwargs == {"verbose": 0}


def test_several_targets_and_images():
    estimator = SKLearnRegressor(compiled(2), fit_kwargs={"verbose": 0}).fit(X, TARGETS)
    assert estimator.predict(X).shape == (30, 2)
    assert SKLearnRegressor(compiled(), fit_kwargs={"verbose": 0}).fit(X, TARGETS[:, 0]).predict(X).shape == (30,)
    x, y = stripes()

    def convolutional(X, y):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input(X.shape[1:]),
                layers.Conv2D(4, 3, activation="relu"),
                layers.Flatten(),
                layers.Dense(2, "softmax"),
            ]
        )
        model.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy")
        return model

    classifier = SKLearnClassifier(convolutional, fit_kwargs={"verbose": 0, "epochs": 20}).fit(x / 255, y)
    assert classifier.score(x / 255, y) > 0.8 and set(classifier.predict(x / 255)) <= {"row", "column"}


def test_model_that_cannot_be_fitted():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    for wrapper in (SKLearnClassifier, SKLearnRegressor, SKLearnTransformer):
        with pytest.raises(RuntimeError, match="expected a compiled model with a loss"):
            wrapper(model).fit(X, np.arange(30) % 2)
        with pytest.raises(ValueError, match="model: expected a Sequential model"):
            wrapper(lambda X, y: 3).fit(X, np.arange(30) % 2)


def test_metadata_routing():
    with pytest.raises(RuntimeError, match="metadata routing"):
        clone(CLASSIFIER).set_fit_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = clone(CLASSIFIER).set_fit_request(sample_weight=True)
        scores = cross_val_score(estimator, X, np.arange(30) % 2, params={"sample_weight": np.ones(30)}, cv=2)
    assert scores.shape == (2,)


def test_without_scikit_learn_the_sentence_says_what_to_install():
    program = "import sys; sys.modules['sklearn'] = None\nimport fastcnn\nfastcnn.wrappers"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ImportError: fastcnn.wrappers: scikit-learn: expected 1.6 or newer" in result.stderr
    assert 'pip install "fastcnn[sklearn]"' in result.stderr
