"""Pictures from scratch with augmentation layers inside the model, rescaling, dropout."""

import keras
import numpy as np
from keras import layers
from programs_data import coloured

keras.utils.set_random_seed(1)
x_train, y_train = coloured(300, size=24)
x_test, y_test = coloured(100, size=24, seed=1)

data_augmentation = keras.Sequential(
    [
        layers.RandomFlip("horizontal", input_shape=(24, 24, 3)),
        layers.RandomRotation(0.05),
        layers.RandomZoom(0.05),
    ]
)
augmented = data_augmentation(x_train[:9].astype("float32"), training=True)
model = keras.Sequential(
    [
        data_augmentation,
        layers.Rescaling(1.0 / 255),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Dropout(0.2),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(4, name="outputs"),
    ]
)
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.summary()
history = model.fit(x_train, y_train, validation_data=(x_test, y_test), epochs=8, verbose=0)
predictions = model.predict(x_test, verbose=0)
score = np.exp(predictions[0]) / np.exp(predictions[0]).sum()

result = {
    "accuracy": float(np.mean(predictions.argmax(axis=1) == y_test[:, 0])),
    "augmented": list(augmented.shape),
    "parameters": model.count_params(),
    "confident": bool(score.max() > 0.3),
}
