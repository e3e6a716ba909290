"""The tutorial network for colour pictures: layers added one by one, logits, validation data, curves."""

import keras
from keras import datasets, layers, models  # noqa: F401
from programs_data import coloured

keras.utils.set_random_seed(1)
(train_images, train_labels), (test_images, test_labels) = coloured(400), coloured(100, seed=1)
train_images, test_images = train_images / 255.0, test_images / 255.0

model = models.Sequential()
model.add(layers.Conv2D(16, (3, 3), activation="relu", input_shape=(16, 16, 3)))
model.add(layers.MaxPooling2D((2, 2)))
model.add(layers.Conv2D(32, (3, 3), activation="relu"))
model.add(layers.MaxPooling2D((2, 2)))
shape_of_features = model.output_shape
model.add(layers.Flatten())
model.add(layers.Dense(32, activation="relu"))
model.add(layers.Dense(10))
model.summary()

model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
history = model.fit(train_images, train_labels, epochs=5, validation_data=(test_images, test_labels), verbose=0)
curves = [history.history["accuracy"], history.history["val_accuracy"]]
test_loss, test_acc = model.evaluate(test_images, test_labels, verbose=2)

result = {
    "accuracy": test_acc,
    "last of the curve": curves[1][-1],
    "features": list(shape_of_features),
    "parameters": model.count_params(),
    "names": [type(layer).__name__ for layer in model.layers],
}
