"""A loss written in Python: its values, its gradient, a check of the gradient, and a network trained with it.

python examples/custom_loss.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

import fastcnn as keras
from fastcnn import layers
from fastcnn.datasets import shirts


class Bootstrapped(keras.losses.Loss):
    """Binary cross-entropy with labels that are drawn a little towards what the network says.

    Wrong labels among many right ones disturb less (https://arxiv.org/abs/1412.6596, "soft" bootstrapping).
    """

    def __init__(self, trust: float = 0.9, name: str = "bootstrapped") -> None:
        super().__init__(name=name)
        self.trust = trust

    def call(self, y_true: Any, y_pred: Any) -> Any:
        p = np.clip(y_pred, 1e-6, 1 - 1e-6)
        label = self.trust * y_true + (1 - self.trust) * p
        return -(label * np.log(p) + (1 - label) * np.log(1 - p)).mean(axis=-1)

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        p = np.clip(y_pred, 1e-6, 1 - 1e-6)
        label = self.trust * y_true + (1 - self.trust) * p
        by_label = (1 - self.trust) * (np.log(1 - p) - np.log(p))
        return (by_label - label / p + (1 - label) / (1 - p)) / p.shape[-1]


def main() -> None:
    error = keras.utils.check_gradients(Bootstrapped(), [[0.0], [1.0], [1.0]], [[0.3], [0.6], [0.1]])
    print(f"largest error of the gradient: {error:.1e}")

    keras.utils.set_random_seed(1)
    (x_train, y_train), (x_test, y_test) = shirts.load_data()
    noisy = np.where(np.random.default_rng(0).random(len(y_train)) < 0.1, 1 - y_train, y_train)  # a tenth is wrong
    model = keras.Sequential(
        [
            layers.Rescaling(1 / 255.0, input_shape=(28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss=Bootstrapped(), metrics=["accuracy"])
    model.fit(x_train, noisy, epochs=3, verbose=2)
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"test loss {loss:.3f}, test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
