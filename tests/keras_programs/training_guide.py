"""What the guide to training with built-in methods shows, for Sequential models."""

import os

import keras
import numpy as np
from keras import layers
from programs_data import digits

keras.utils.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = digits(500, 150)
x_train = x_train.reshape(-1, 64).astype("float32") / 255
x_test = x_test.reshape(-1, 64).astype("float32") / 255
x_val, y_val = x_train[-100:], y_train[-100:]
x_train, y_train = x_train[:-100], y_train[:-100]


def get_uncompiled_model():
    return keras.Sequential(
        [
            keras.Input(shape=(64,), name="digits"),
            layers.Dense(64, activation="relu", name="dense_1"),
            layers.Dense(64, activation="relu", name="dense_2"),
            layers.Dense(10, activation="softmax", name="predictions"),
        ]
    )


def get_compiled_model():
    model = get_uncompiled_model()
    model.compile(optimizer="rmsprop", loss="sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    return model


model = get_uncompiled_model()
model.compile(
    optimizer=keras.optimizers.RMSprop(learning_rate=1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
)
history = model.fit(x_train, y_train, batch_size=64, epochs=8, validation_data=(x_val, y_val), verbose=0)
results = model.evaluate(x_test, y_test, batch_size=128, verbose=0)
predictions = model.predict(x_test[:3], verbose=0)
as_dict = model.evaluate(x_test, y_test, batch_size=128, verbose=0, return_dict=True)

class_weight = dict.fromkeys(range(10), 1.0)
class_weight[5] = 2.0
weighted = get_compiled_model()
weighted.fit(x_train, y_train, class_weight=class_weight, batch_size=64, epochs=1, verbose=0)
sample_weight = np.ones(shape=(len(y_train),))
sample_weight[y_train == 5] = 2.0
weighted.fit(x_train, y_train, sample_weight=sample_weight, batch_size=64, epochs=1, verbose=0)


class ExamplePyDataset(keras.utils.PyDataset):
    def __init__(self, x, y, batch_size, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self):
        return int(np.ceil(len(self.x) / float(self.batch_size)))

    def __getitem__(self, idx):
        part = slice(idx * self.batch_size, (idx + 1) * self.batch_size)
        return self.x[part], self.y[part]


from_batches = get_compiled_model()
from_batches.fit(
    ExamplePyDataset(x_train, y_train, batch_size=32),
    batch_size=None,
    validation_data=ExamplePyDataset(x_val, y_val, batch_size=32),
    epochs=2,
    verbose=0,
)


def generator():
    while True:
        for begin in range(0, 384, 64):
            yield x_train[begin : begin + 64], y_train[begin : begin + 64]


generated = from_batches.fit(generator(), steps_per_epoch=6, epochs=2, verbose=0)
os.makedirs("logs")
callbacks = [
    keras.callbacks.EarlyStopping(monitor="val_loss", min_delta=1e2, patience=2, verbose=1),
    keras.callbacks.CSVLogger("logs/log.csv"),
    keras.callbacks.TerminateOnNaN(),
]
stopped = get_compiled_model()
stopped_history = stopped.fit(
    x_train, y_train, epochs=20, batch_size=64, callbacks=callbacks, validation_split=0.2, verbose=0
)
with open("logs/log.csv") as file:
    columns = file.readline().strip().split(",")

result = {
    "accuracy": results[1],
    "the same": bool(abs(as_dict["sparse_categorical_accuracy"] - results[1]) < 1e-6),
    "keys": sorted(as_dict),
    "shape": list(predictions.shape),
    "logs": sorted(history.history),
    "generated": [len(generated.history["loss"]), generated.epoch],
    "stopped after": len(stopped_history.epoch),
    "columns": columns,
    "metrics_names": model.metrics_names[0],
    "steps": int(from_batches.optimizer.iterations),
}
