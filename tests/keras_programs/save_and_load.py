"""Weights during training and afterwards, and whole models, to files and back."""

import os

import keras
import numpy as np
from programs_data import digits

keras.utils.set_random_seed(1)
(train_images, train_labels), (test_images, test_labels) = digits(300, 100)
train_images = train_images.reshape(-1, 8 * 8) / 255.0
test_images = test_images.reshape(-1, 8 * 8) / 255.0


def create_model():
    model = keras.Sequential(
        [
            keras.layers.Dense(64, activation="relu", input_shape=(64,)),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer="adam",
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model


model = create_model()
checkpoint_path = "training_1/cp.weights.h5"
callback = keras.callbacks.ModelCheckpoint(filepath=checkpoint_path, save_weights_only=True, verbose=1)
model.fit(
    train_images, train_labels, epochs=8, validation_data=(test_images, test_labels), callbacks=[callback], verbose=0
)
expected = model.predict(test_images, verbose=0)

fresh = create_model()
fresh.load_weights(checkpoint_path)
loss, accuracy = fresh.evaluate(test_images, test_labels, verbose=2)

every = "training_2/cp-{epoch:04d}.weights.h5"
callback = keras.callbacks.ModelCheckpoint(filepath=every, save_weights_only=True, save_freq="epoch")
os.makedirs("training_2")
other = create_model()
other.save_weights(every.format(epoch=0))
other.fit(train_images, train_labels, epochs=2, callbacks=[callback], verbose=0)

model.save("my_model.keras")
new_model = keras.models.load_model("my_model.keras")
new_model.summary()
again, _ = new_model.evaluate(test_images, test_labels, verbose=0)

result = {
    "accuracy": accuracy,
    "same weights": bool(np.allclose(fresh.predict(test_images, verbose=0), expected, atol=1e-5)),
    "same model": bool(np.allclose(new_model.predict(test_images, verbose=0), expected, atol=1e-5)),
    "same loss": bool(abs(again - loss) < 1e-4),
    "files": sorted(os.listdir("training_2")),
}
