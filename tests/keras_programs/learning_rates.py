"""Learning rates that change: schedules as objects, by a function, and where nothing improves any more."""

import math

import keras
from programs_data import digits

keras.utils.set_random_seed(1)
(x, y), (x_test, y_test) = digits(320, 100)
x, x_test = x[..., None] / 255.0, x_test[..., None] / 255.0


def network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def trained(optimizer, callbacks=()):
    model = network()
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(
        x, y, epochs=4, batch_size=32, verbose=0, validation_data=(x_test, y_test), callbacks=[*callbacks]
    )
    return model, history


schedules = keras.optimizers.schedules
decayed = schedules.ExponentialDecay(initial_learning_rate=1e-2, decay_steps=10, decay_rate=0.9)
_, exponential = trained(keras.optimizers.SGD(learning_rate=decayed, momentum=0.9))
_, cosine = trained(keras.optimizers.Adam(schedules.CosineDecay(1e-2, decay_steps=40, alpha=0.1)))
pieces = schedules.PiecewiseConstantDecay([10, 20], [1e-2, 1e-3, 1e-4])
_, constant = trained(keras.optimizers.RMSprop(pieces))


def step_decay(epoch, lr=None):
    return 0.1 * math.pow(0.5, math.floor((1 + epoch) / 2))


_, stepped = trained("sgd", [keras.callbacks.LearningRateScheduler(step_decay)])
reduced, plateau = trained(
    keras.optimizers.SGD(0.1),
    [keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=1, min_delta=10.0, min_lr=0.001)],
)

result = {
    "at 25": [round(float(schedule(25)), 8) for schedule in (decayed, pieces)],
    "stepped": [round(float(rate), 6) for rate in stepped.history["learning_rate"]],
    "plateau": [round(float(rate), 6) for rate in plateau.history["learning_rate"]],
    "rate at the end": round(float(reduced.optimizer.learning_rate), 6),
    "improve": [bool(h.history["loss"][-1] < h.history["loss"][0]) for h in (exponential, cosine, constant)],
}
