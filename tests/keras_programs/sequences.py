"""One-dimensional convolutions over time series, with normalisation and callbacks that keep the best."""

import keras
from programs_data import waves

keras.utils.set_random_seed(1)
x_train, y_train = waves(300)
x_test, y_test = waves(100, seed=1)
num_classes = 2


def make_model(input_shape):
    model = keras.Sequential([keras.Input(input_shape)])
    for _ in range(2):
        model.add(keras.layers.Conv1D(filters=16, kernel_size=3, padding="same"))
        model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.ReLU())
    model.add(keras.layers.GlobalAveragePooling1D())
    model.add(keras.layers.Dense(num_classes, activation="softmax"))
    return model


model = make_model(input_shape=x_train.shape[1:])
callbacks = [
    keras.callbacks.ModelCheckpoint("best.weights.h5", save_best_only=True, save_weights_only=True, monitor="val_loss"),
    keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=20, min_lr=0.0001),
    keras.callbacks.EarlyStopping(monitor="val_loss", patience=50, verbose=1),
]
model.compile(
    optimizer=keras.optimizers.Adam(0.01),
    loss="sparse_categorical_crossentropy",
    metrics=["sparse_categorical_accuracy"],
)
history = model.fit(x_train, y_train, batch_size=32, epochs=12, callbacks=callbacks, validation_split=0.2, verbose=0)
model.load_weights("best.weights.h5")
test_loss, test_acc = model.evaluate(x_test, y_test, verbose=0)

result = {"accuracy": test_acc, "parameters": model.count_params(), "logs": sorted(history.history)}
