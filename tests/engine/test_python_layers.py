"""Layers written in Python, run between two phases of the native plan."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import _core, layers


class Shift(layers.Layer):
    """x * factor + offset, as a native layer could do it: one variable of each kind, and a record of its calls."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.calls: list[tuple[int, bool]] = []

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")
        self.offset = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="offset")

    def call(self, inputs: Any, training: bool = False) -> Any:
        self.calls.append((len(inputs), training))
        return inputs * self.factor + self.offset

    def backward(self, inputs: Any, gradient: Any) -> Any:
        axes = tuple(range(inputs.ndim - 1))
        return gradient * self.factor, [(gradient * inputs).sum(axis=axes), gradient.sum(axis=axes)]


class Halves(layers.Layer):
    """Every second column: another shape, no variables, and no gradient but the input's."""

    def call(self, inputs: Any) -> Any:
        return inputs[:, ::2]

    def backward(self, inputs: Any, gradient: Any) -> Any:
        result = np.zeros_like(inputs)
        result[:, ::2] = gradient
        return result


def model(custom: Any, below: bool = True, seed: int = 3) -> Any:
    keras.utils.set_random_seed(seed)
    parts = [layers.Conv2D(3, 3, activation="relu"), layers.MaxPooling2D(2)] if below else []
    made = keras.Sequential([keras.Input((8, 8, 2)), *parts, custom, layers.Flatten(), layers.Dense(2)])
    made.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
    return made


def data(n: int = 40) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 8, 8, 2)).astype(np.float32), rng.standard_normal((n, 2)).astype(np.float32)


@pytest.mark.parametrize("below", [True, False])
def test_it_trains_as_the_native_layer_does(below: bool) -> None:
    """A frozen normalisation with mean 0 and variance 1 is the same function with the same gradients."""
    x, y = data()
    native = layers.BatchNormalization(epsilon=1e-12)
    ours, theirs = model(Shift(), below), model(native, below)
    native._trainable = False  # its statistics; gamma and beta stay trainable
    theirs.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
    theirs.layers[-1].set_weights(ours.layers[-1].get_weights())
    if below:
        theirs.layers[0].set_weights(ours.layers[0].get_weights())
    np.testing.assert_allclose(ours.predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=1e-5, atol=1e-6)

    def gradients(of: Any) -> list[Any]:
        flags = [v in of.layers[-3]._trainable_variables or v.trainable for v in of._current_network().variables]
        flags = [f and not v.name.startswith("moving") for f, v in zip(flags, of._current_network().variables)]
        trainer = _core.Trainer(
            of._current_network().native, {"kind": "mean_squared_error"}, [], None,
            [(0.0, 0.0)] * len(flags), flags,
        )  # fmt: skip
        return [g for g in trainer.gradients(x, y, None, 0) if g is not None]

    for a, b in zip(gradients(ours), gradients(theirs)):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)


def test_fit_lowers_the_loss_and_moves_its_weights() -> None:
    x, y = data()
    layer = Shift()
    made = model(layer)
    history = made.fit(x, y, batch_size=16, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
    assert not np.allclose(layer.factor.numpy(), 1) and not np.allclose(layer.offset.numpy(), 0)
    layer.calls.clear()
    made.fit(x, y, batch_size=16, epochs=1, verbose=0)
    assert layer.calls == [(16, True), (16, True), (8, True)], "a whole batch at once"
    layer.calls.clear()
    made.predict(x, verbose=0)
    assert {training for _, training in layer.calls} == {False}


@pytest.mark.parametrize("custom", [Shift, Halves])
def test_the_bits_do_not_depend_on_the_threads(custom: Any) -> None:
    x, y = data(80)
    found = []
    for threads in (1, 2, 4):
        _core.set_num_threads(threads)
        made = model(custom())
        made.fit(x, y, batch_size=40, epochs=2, verbose=0)
        found.append([*made.get_weights(), made.predict(x, verbose=0), np.float64(made.evaluate(x, y, verbose=0))])
    _core.set_num_threads(0)
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def test_gradient_of_the_layers_below_agrees_with_finite_differences() -> None:
    x, y = data(20)
    made = model(Halves())
    native = made._current_network()
    flags = [True] * len(native.variables)
    trainer = _core.Trainer(native.native, {"kind": "mean_squared_error"}, [], None, [(0.0, 0.0)] * len(flags), flags)
    gradient = trainer.gradients(x, y, None, 0)[0]
    kernel = made.layers[0].kernel
    start, h = kernel.numpy(), 1e-2 / np.linalg.norm(gradient)
    losses = []
    for sign in (1, -1):
        kernel.assign(start + sign * h * gradient)
        losses.append(made.evaluate(x, y, verbose=0))
    assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(float((gradient**2).sum()), rel=2e-2)


def test_weights_are_made_once_where_another_class_builds_them() -> None:
    class Base(layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.weight = self.add_weight((input_shape[-1],), "ones", name="weight")

    class Derived(Base):
        def call(self, inputs: Any) -> Any:
            return inputs * self.weight

    for built_first in (False, True):
        layer = Derived()
        if built_first:
            layer.build((None, 3))
        layer(np.ones((2, 3)))
        layer(np.ones((2, 3)))
        assert layer.built and [v.name for v in layer.weights] == ["weight"]


def test_called_alone_built_and_configured() -> None:
    layer = Shift(name="mine")
    x = np.arange(6, dtype=np.float64).reshape(2, 3)
    np.testing.assert_array_equal(layer(x), x)
    assert layer.built and [v.path for v in layer.weights] == ["mine/factor", "mine/offset"]
    assert layer.compute_output_shape((None, 3)) == (None, 3)
    assert Halves().compute_output_shape((4, 5, 2)) == (4, 3, 2)
    assert Shift.from_config(layer.get_config()).name == "mine"
    made = model(Shift())
    assert [v.path for v in made.layers[2].weights] == [
        f"{made.name}/{made.layers[2].name}/{n}" for n in ("factor", "offset")
    ]
    again = keras.Sequential.from_config(made.get_config(), custom_objects={"Shift": Shift})
    again.set_weights(made.get_weights())
    np.testing.assert_array_equal(again.predict(data()[0], verbose=0), made.predict(data()[0], verbose=0))


class Failing(layers.Layer):
    def __init__(self, message: str, where: str) -> None:
        super().__init__()
        self.message, self.where = message, where
        self.armed = False

    def call(self, inputs: Any) -> Any:
        if self.armed and self.where == "call":
            raise KeyError(self.message)
        return inputs[:, :-1] if self.armed and self.where == "shape" else inputs

    def backward(self, inputs: Any, gradient: Any) -> Any:
        if self.armed and self.where == "backward":
            raise KeyError(self.message)
        return gradient


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("where", ["call", "backward", "shape"])
def test_an_error_comes_out_and_no_weight_changes(where: str, threads: int) -> None:
    _core.set_num_threads(threads)
    x, y = data()
    layer = Failing("broken", where)
    made = model(layer)
    made.fit(x, y, verbose=0)
    before = made.get_weights()
    layer.armed = True
    expected = ValueError if where == "shape" else KeyError
    with pytest.raises(expected, match="call: expected a result of shape" if where == "shape" else "broken"):
        made.fit(x, y, verbose=0)
    if where != "backward":
        with pytest.raises(expected):
            made.predict(x, verbose=0)
    for a, b in zip(made.get_weights(), before):
        np.testing.assert_array_equal(a, b)
    layer.armed = False
    assert np.isfinite(made.fit(x, y, verbose=0).history["loss"]).all()


def test_without_backward_it_predicts_and_training_says_what_is_missing() -> None:
    class Doubles(layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2 * inputs

    x, y = data()
    made = model(Doubles())
    assert np.isfinite(made.predict(x, verbose=0)).all()
    with pytest.raises(NotImplementedError, match="Doubles: backward: expected a method that gives the gradients"):
        made.fit(x, y, verbose=0)
    made.layers[0].trainable = False
    made.compile(optimizer="sgd", loss="mse")
    made.fit(x, y, verbose=0)  # nothing below it is trained: no gradient is asked for


def test_assigning_a_variable_in_a_call_is_refused_and_does_not_hang() -> None:
    class Counting(Shift):
        def call(self, inputs: Any, training: bool = False) -> Any:
            self.offset.assign(self.offset.numpy() + 1)
            return inputs

    layer = Shift()
    made = model(layer)
    made.layers[2].__class__ = Counting
    with pytest.raises(RuntimeError, match=r"offset\.assign: expected no call from a layer's call\(\)"):
        made.predict(data()[0], verbose=0)
    layer.offset.assign(np.ones(3))  # outside it works


def test_a_native_layers_call_cannot_be_replaced_unnoticed() -> None:
    with pytest.raises(TypeError, match="Doubled: call: expected a subclass of Layer"):

        class Doubled(layers.Dense):
            def call(self, inputs: Any) -> Any:
                return 2 * inputs


def test_wrong_gradients_are_refused() -> None:
    class Wrong(Shift):
        def call(self, inputs: Any, training: bool = False) -> Any:
            return super().call(inputs, training)

        def backward(self, inputs: Any, gradient: Any) -> Any:
            return gradient, [np.zeros(7)]

    x, y = data()
    with pytest.raises(ValueError, match=r"backward: gradients: expected 2 of variables, received 1"):
        model(Wrong()).fit(x, y, verbose=0)


def test_other_layers_may_be_called_inside_and_models_by_several_threads() -> None:
    class Inner(layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.inner = layers.AveragePooling2D(1)

        def call(self, inputs: Any) -> Any:
            return self.inner(inputs)

        def backward(self, inputs: Any, gradient: Any) -> Any:
            return gradient

    x, _ = data(64)
    made = model(Inner())
    expected = made.predict(x, verbose=0)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(made.predict(x, verbose=0))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_a_model_with_such_a_layer_goes_when_nobody_holds_it() -> None:
    made = model(Shift())
    made.predict(data()[0], verbose=0)
    made.fit(*data(), verbose=0)
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None
