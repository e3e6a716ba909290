"""A layer of your own in Python: Swish with a trained slope for each channel, x * sigmoid(beta x).

The native plan stops at the layer, hands it the whole batch, and goes on natively behind it. `call` computes the
output with NumPy; `backward` gives the gradient by the inputs and by each variable, in the order of `add_weight`.
The gradients are checked against finite differences before the training begins.
"""

import numpy as np

import fastcnn as keras
from fastcnn import layers
from fastcnn.datasets import shirts


class TrainedSwish(layers.Layer):
    """x * sigmoid(beta * x) with a trained beta for each channel."""

    def build(self, input_shape):
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="beta")

    def call(self, inputs):
        return inputs * keras.activations.sigmoid(self.beta * inputs)

    def backward(self, inputs, gradient):
        gate = keras.activations.sigmoid(self.beta * inputs)
        slope = gate * (1 - gate)
        by_inputs = gradient * (gate + inputs * self.beta * slope)
        by_beta = (gradient * inputs**2 * slope).reshape(-1, inputs.shape[-1]).sum(axis=0)
        return by_inputs, [by_beta]


def check_gradients(layer, shape, step=1e-2):
    """Largest difference between `backward` and central differences of `call`."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
    layer.build((None, *shape[1:]))
    by_inputs, (by_beta,) = layer.backward(x, dy)
    direction = rng.standard_normal(shape).astype(np.float32)
    above, below = (np.sum(dy * layer.call(x + sign * step * direction), dtype=np.float64) for sign in (1, -1))
    errors = [abs((above - below) / (2 * step) - np.sum(by_inputs * direction))]
    start = layer.beta.numpy()
    sums = []
    for sign in (1, -1):
        layer.beta.assign(start + sign * step * by_beta)
        sums.append(np.sum(dy * layer.call(x), dtype=np.float64))
    layer.beta.assign(start)
    errors.append(abs((sums[0] - sums[1]) / (2 * step) - np.sum(by_beta**2)))
    return max(errors)


def main():
    keras.utils.set_random_seed(1)
    print(f"largest error of the gradients: {check_gradients(TrainedSwish(), (4, 5, 5, 3)):.4f}")

    (x_train, y_train), (x_test, y_test) = shirts.load_data()
    x_train, x_test = x_train[..., None] / np.float32(255), x_test[..., None] / np.float32(255)
    model = keras.Sequential(
        [
            keras.Input(x_train.shape[1:]),
            layers.Conv2D(16, 3),
            TrainedSwish(),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, epochs=5, validation_data=(x_test, y_test), verbose=2)
    print("beta of the first channels:", np.round(model.layers[1].beta.numpy()[:4], 3))
    model.explain(32)


if __name__ == "__main__":
    main()
