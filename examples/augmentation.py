"""Training with augmented images: few T-shirts and shirts, with and without layers that change the images at random.

    python examples/augmentation.py

Uses the bundled pictures: needs no network and takes seconds. The model takes the uint8 pictures as they are: scaling
and augmentation are layers, computed in the same native plan as the network. At inference only the scaling is left.
"""

import numpy as np

import fastcnn as keras
from fastcnn import layers
from fastcnn.datasets import shirts

(x_train, y_train), (x_test, y_test) = shirts.load_data()
x_train, x_test = x_train[..., np.newaxis], x_test[..., np.newaxis]
x_train, y_train = x_train[:240], y_train[:240]  # so few that a network soon knows each by heart


def train(augmentation):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            *augmentation,
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=32, epochs=30, verbose=0)
    return model


plain = train([])
augmented = train(
    [
        layers.RandomFlip("horizontal"),
        layers.RandomTranslation(0.05, 0.05, fill_mode="constant"),
        layers.RandomZoom(0.05, fill_mode="constant"),
    ]
)
for name, model in (("as they are", plain), ("augmented", augmented)):
    for part, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        loss, accuracy = model.evaluate(x, y, verbose=0)
        print(f"Trained on pictures {name}: {part} loss {loss:.3f}, accuracy {accuracy:.3f}")

# A layer called by itself changes images at random, as in training; here the same one four times.
copies = augmented.layers[1](np.repeat(x_test[:1], 4, axis=0))
print("One picture, four times, flipped or not:", [bool((copy != x_test[0]).any()) for copy in copies])
