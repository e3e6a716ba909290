"""The first tutorial: a dense network, probabilities by a second model around the first, one picture's prediction."""

import keras
import numpy as np
from programs_data import digits

keras.utils.set_random_seed(1)
(train_images, train_labels), (test_images, test_labels) = digits()
train_images = train_images / 255.0
test_images = test_images / 255.0

model = keras.Sequential(
    [
        keras.layers.Flatten(input_shape=(8, 8)),
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dense(10),
    ]
)
model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
model.fit(train_images, train_labels, epochs=10, verbose=2)
test_loss, test_acc = model.evaluate(test_images, test_labels, verbose=2)

probability_model = keras.Sequential([model, keras.layers.Softmax()])
predictions = probability_model.predict(test_images)
img = np.expand_dims(test_images[1], 0)
predictions_single = probability_model.predict(img)

result = {
    "accuracy": test_acc,
    "agreement": float(np.mean(predictions.argmax(axis=1) == test_labels)),
    "shape": list(predictions.shape),
    "sum": round(float(predictions[0].sum()), 3),
    "single": list(predictions_single.shape),
}
