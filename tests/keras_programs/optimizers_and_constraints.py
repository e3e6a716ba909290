"""Optimizers in turn, averages of the weights, gathered gradients, constraints, and a step taken by hand."""

import keras
import numpy as np
from keras import layers
from keras.constraints import MaxNorm, NonNeg
from programs_data import digits

keras.utils.set_random_seed(1)
(x, y), (x_test, y_test) = digits(480, 200)
x, x_test = x[..., None] / 255.0, x_test[..., None] / 255.0


def network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", kernel_constraint=MaxNorm(2.0, axis=[0, 1, 2])),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="relu", kernel_constraint="max_norm", bias_constraint=NonNeg()),
            layers.Dense(10, activation="softmax", kernel_regularizer=keras.regularizers.OrthogonalRegularizer(1e-3)),
        ]
    )


def accuracy(optimizer, epochs=8, callbacks=()):
    model = network()
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, epochs=epochs, batch_size=32, verbose=0, callbacks=[*callbacks])
    return model, float(model.evaluate(x_test, y_test, verbose=0)[1])


optimizers = {
    "adadelta": keras.optimizers.Adadelta(1.0),
    "adagrad": keras.optimizers.Adagrad(0.05),
    "adamax": keras.optimizers.Adamax(0.01),
    "nadam": keras.optimizers.Nadam(0.005),
    "ftrl": keras.optimizers.Ftrl(0.05),
    "lion": keras.optimizers.Lion(0.001),
    "lamb": keras.optimizers.Lamb(0.01),
    "muon": keras.optimizers.Muon(0.02),
    "adamw": keras.optimizers.AdamW(0.005, weight_decay=0.01),
    "averaged": keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9),
    "gathered": keras.optimizers.Adam(0.01, gradient_accumulation_steps=2),
}
result = {}
for name, optimizer in optimizers.items():
    model, result[name] = accuracy(optimizer)
    result[f"{name} settings"] = sorted(optimizer.get_config())
    result[f"{name} steps"] = int(optimizer.iterations)
    result[f"{name} arrays"] = [tuple(v.shape) for v in optimizer.variables]
    kernel = np.asarray(model.layers[0].get_weights()[0])
    result[f"{name} keeps to the norm"] = bool((np.sqrt((kernel**2).sum(axis=(0, 1, 2))) <= 2.0 + 1e-5).all())
    result[f"{name} keeps to the sign"] = bool((model.layers[3].get_weights()[1] >= 0).all())

averaging = keras.optimizers.Adam(0.005, use_ema=True)
_, result["swapped"] = accuracy(averaging, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)])

weight = keras.Variable(np.ones((2, 2), "float32"))
by_hand = keras.optimizers.SGD(0.5)
by_hand.apply_gradients([(keras.ops.ones((2, 2)) if hasattr(keras.ops, "ones") else np.ones((2, 2)), weight)])
result["by hand"] = np.asarray(weight.numpy() if hasattr(weight, "numpy") else weight).tolist()
