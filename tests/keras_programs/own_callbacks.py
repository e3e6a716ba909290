"""Callbacks of one's own: what is called when, early stopping by hand, a schedule by hand."""

import keras
import numpy as np
from programs_data import digits

keras.utils.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = digits(256, 100)
x_train = x_train.reshape(-1, 64).astype("float32") / 255
x_test = x_test.reshape(-1, 64).astype("float32") / 255
calls = []


def get_model():
    model = keras.Sequential()
    model.add(keras.layers.Dense(1))
    model.compile(
        optimizer=keras.optimizers.RMSprop(learning_rate=0.01),
        loss="mean_squared_error",
        metrics=["mean_absolute_error"],
    )
    return model


class CustomCallback(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        calls.append(("train begins", list(logs)))

    def on_train_end(self, logs=None):
        calls.append(("train ends", sorted(logs)))

    def on_epoch_begin(self, epoch, logs=None):
        calls.append(("epoch begins", epoch, list(logs)))

    def on_epoch_end(self, epoch, logs=None):
        calls.append(("epoch ends", epoch, sorted(logs)))

    def on_test_begin(self, logs=None):
        calls.append(("test begins", list(logs)))

    def on_test_end(self, logs=None):
        calls.append(("test ends", sorted(logs)))

    def on_predict_batch_end(self, batch, logs=None):
        calls.append(("predicted", batch, list(logs)))

    def on_train_batch_end(self, batch, logs=None):
        calls.append(("batch ends", batch, sorted(logs)))


class EarlyStoppingAtMinLoss(keras.callbacks.Callback):
    def __init__(self, patience=0):
        super().__init__()
        self.patience = patience
        self.best_weights = None

    def on_train_begin(self, logs=None):
        self.wait = 0
        self.stopped_epoch = 0
        self.best = np.inf

    def on_epoch_end(self, epoch, logs=None):
        current = logs.get("loss")
        if np.less(current, self.best):
            self.best = current
            self.wait = 0
            self.best_weights = self.model.get_weights()
        else:
            self.wait += 1
            if self.wait >= self.patience:
                self.stopped_epoch = epoch
                self.model.stop_training = True
                self.model.set_weights(self.best_weights)


class CustomLearningRateScheduler(keras.callbacks.Callback):
    def __init__(self, schedule):
        super().__init__()
        self.schedule = schedule

    def on_epoch_begin(self, epoch, logs=None):
        lr = float(self.model.optimizer.learning_rate)
        self.model.optimizer.learning_rate = self.schedule(epoch, lr)


model = get_model()
model.fit(
    x_train, y_train, batch_size=128, epochs=1, verbose=0, validation_split=0.5, callbacks=[CustomCallback()]
)  # fmt: skip
model.evaluate(x_test, y_test, batch_size=50, verbose=0, callbacks=[CustomCallback()])
model.predict(x_test, batch_size=50, verbose=0, callbacks=[CustomCallback()])

stopping = EarlyStoppingAtMinLoss(patience=2)
history = get_model().fit(x_train, y_train, batch_size=64, epochs=12, verbose=0, callbacks=[stopping])

scheduled = get_model()
scheduled.fit(
    x_train,
    y_train,
    epochs=4,
    verbose=0,
    callbacks=[
        CustomLearningRateScheduler(lambda epoch, lr: 0.01 if epoch < 2 else lr * 0.5),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: calls.append(("lambda", epoch))),
    ],
)

result = {
    "calls": calls,
    "improves": bool(history.history["loss"][-1] < history.history["loss"][0]),
    "rate": round(float(scheduled.optimizer.learning_rate), 6),
}
