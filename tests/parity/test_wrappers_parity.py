"""scikit-learn wrappers, clones and compile's configuration against Keras."""

import numpy as np
import pytest

import fastcnn

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
keras = pytest.importorskip("keras")
pytest.importorskip("sklearn", minversion="1.6")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
WEIGHTS = {n: [RNG.normal(size=(4, n)).astype(np.float32), np.zeros(n, np.float32)] for n in (1, 2, 3)}


def network_of(package):
    def network(X, y, loss, activation=None):  # noqa: N803
        model = package.Sequential([package.Input((4,)), package.layers.Dense(y.shape[1], activation=activation)])
        model.compile(package.optimizers.SGD(0.5), loss)
        model.set_weights(WEIGHTS[y.shape[1]])
        return model

    return network


@pytest.mark.parametrize(
    ("name", "arguments", "y"),
    [
        ("SKLearnRegressor", {"loss": "mse"}, X @ [1.0, 2.0, 3.0, 4.0]),
        ("SKLearnRegressor", {"loss": "mse"}, (X @ [1.0, 2.0, 3.0, 4.0])[:, None]),
        ("SKLearnClassifier", {"loss": "categorical_crossentropy", "activation": "softmax"}, (X[:, 0] > 0).astype(int)),
        (
            "SKLearnClassifier",
            {"loss": "categorical_crossentropy", "activation": "softmax"},
            np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)],
        ),
        ("SKLearnTransformer", {"loss": "mse"}, X @ [1.0, 2.0, 3.0, 4.0]),
    ],
)
def test_wrappers(name, arguments, y):
    results = []
    for package in (keras, fastcnn):
        fit_kwargs = {"epochs": 3, "shuffle": False, "verbose": 0}
        wrapper = getattr(package.wrappers, name)
        estimator = wrapper(network_of(package), model_kwargs=arguments, fit_kwargs=fit_kwargs)
        estimator.fit(X, y.copy() if y.ndim == 1 else y[:, 0], batch_size=8)
        methods = [m for m in ("predict", "decision_function", "transform") if hasattr(estimator, m)]
        results.append(([getattr(estimator, m)(X) for m in methods], estimator.history_.history["loss"], methods))
    (theirs, their_loss, their_methods), (ours, our_loss, our_methods) = results
    assert our_methods == their_methods
    np.testing.assert_allclose(our_loss, their_loss, rtol=1e-4, atol=1e-6)
    for a, b in zip(ours, theirs):
        if a.dtype.kind == "f":
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(a, np.ravel(b))


def test_wrappers_refuse_alike():
    for package in (keras, fastcnn):
        model = package.Sequential([package.Input((4,)), package.layers.Dense(1)])
        with pytest.raises(RuntimeError):
            package.wrappers.SKLearnRegressor(model).fit(X, X[:, 0])
        model.compile("sgd", "mse")
        classifier = package.wrappers.SKLearnClassifier(model)
        for y in (X[:, 0], np.zeros(40)):  # not classes; one class
            with pytest.raises(ValueError):
                classifier.fit(X, y)
        with pytest.raises(RuntimeError):
            classifier.set_fit_request(sample_weight=True)


def compiled(package, **arguments):
    model = package.Sequential([package.Input((4,)), package.layers.Dense(3, activation="softmax")], name="chain")
    model.compile(
        package.optimizers.Adam(0.01, beta_1=0.8),
        package.losses.SparseCategoricalCrossentropy(from_logits=False),
        metrics=["accuracy", package.metrics.SparseCategoricalCrossentropy(name="entropy")],
        **arguments,
    )
    return model


def test_compile_config_of_keras_is_understood():
    theirs = compiled(keras)
    ours = fastcnn.Sequential([fastcnn.Input((4,)), fastcnn.layers.Dense(3, activation="softmax")])
    ours.compile_from_config(theirs.get_compile_config())
    assert ours.get_compile_config().keys() == theirs.get_compile_config().keys()
    ours.compile_from_config(compiled(keras, steps_per_execution=2).get_compile_config())
    assert ours.steps_per_execution == 2
    weights = WEIGHTS[3]
    labels = np.arange(40) % 3
    results = []
    for model in (theirs, ours):
        model.set_weights(weights)
        results.append([model.train_on_batch(X, labels) for _ in range(3)])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-5)


def test_clone_keeps_what_keras_keeps():
    kept = []
    for package in (keras, fastcnn):
        model = compiled(package)
        model.layers[0].trainable = False
        clone = package.models.clone_model(model)
        layer = clone.layers[0]
        kept.append(
            (clone.name, clone.compiled, clone.steps_per_execution, len(clone.layers), layer.trainable, clone.trainable)
        )
        assert layer.name == model.layers[0].name and layer is not model.layers[0]
        assert clone.optimizer is not model.optimizer and clone.input_shape == model.input_shape
        other = package.Sequential([package.layers.Dense(2)])
        kept[-1] += (package.models.clone_model(other).built,)
    assert kept[0] == kept[1]
