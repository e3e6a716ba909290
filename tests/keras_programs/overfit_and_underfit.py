"""Small and large models, penalties on weights, dropout, a decaying rate, early stopping."""

import keras
from keras import layers, regularizers
from programs_data import frauds

keras.utils.set_random_seed(1)
features, labels = frauds(1200)
FEATURES, STEPS_PER_EPOCH = 10, 30
lr_schedule = keras.optimizers.schedules.InverseTimeDecay(
    0.001, decay_steps=STEPS_PER_EPOCH * 1000, decay_rate=1, staircase=False
)
histories = {}


def get_optimizer():
    return keras.optimizers.Adam(lr_schedule)


def compile_and_fit(model, name, max_epochs=6):
    model.compile(
        optimizer=get_optimizer(),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryCrossentropy(from_logits=True, name="binary_crossentropy"), "accuracy"],
    )
    model.summary()
    histories[name] = model.fit(
        features[:900],
        labels[:900],
        epochs=max_epochs,
        validation_data=(features[900:], labels[900:]),
        callbacks=[keras.callbacks.EarlyStopping(monitor="val_binary_crossentropy", patience=200)],
        verbose=0,
    )
    return histories[name]


tiny = keras.Sequential([layers.Dense(16, activation="elu", input_shape=(FEATURES,)), layers.Dense(1)])
compile_and_fit(tiny, "sizes/Tiny")
combined = keras.Sequential(
    [
        layers.Dense(64, kernel_regularizer=regularizers.l2(0.0001), activation="elu", input_shape=(FEATURES,)),
        layers.Dropout(0.5),
        layers.Dense(64, kernel_regularizer=regularizers.l2(0.0001), activation="elu"),
        layers.Dropout(0.5),
        layers.Dense(1),
    ]
)
compile_and_fit(combined, "regularizers/combined")

result = {
    "accuracy": histories["sizes/Tiny"].history["val_accuracy"][-1],
    "accuracy of the other": histories["regularizers/combined"].history["val_accuracy"][-1],
    "penalty counts": bool(
        histories["regularizers/combined"].history["loss"][-1]
        > histories["regularizers/combined"].history["binary_crossentropy"][-1]
    ),
    "logs": sorted(histories["sizes/Tiny"].history),
}
