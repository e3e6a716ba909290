"""A small convolutional network on digits: one-hot labels, dropout, a validation split."""

import keras
import numpy as np
from keras import layers
from programs_data import large_digits

keras.utils.set_random_seed(1)
num_classes, input_shape = 10, (16, 16, 1)
(x_train, y_train), (x_test, y_test) = large_digits()
x_train = x_train.astype("float32") / 255
x_test = x_test.astype("float32") / 255
x_train, x_test = np.expand_dims(x_train, -1), np.expand_dims(x_test, -1)
y_train = keras.utils.to_categorical(y_train, num_classes)
y_test = keras.utils.to_categorical(y_test, num_classes)

model = keras.Sequential(
    [
        keras.Input(shape=input_shape),
        layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(num_classes, activation="softmax"),
    ]
)
model.summary()
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=32, epochs=6, validation_split=0.1, verbose=2)
score = model.evaluate(x_test, y_test, verbose=0)
print("Test loss:", score[0])
print("Test accuracy:", score[1])

result = {
    "accuracy": score[1],
    "parameters": model.count_params(),
    "logs": sorted(history.history),
    "epochs": history.epoch,
}
