"""T-shirts against shirts with batch normalisation, dropout, early stopping and a smaller learning rate on plateaus.

    python examples/shirts_with_callbacks.py

Uses the bundled pictures: needs no network and takes seconds.
"""

import fastcnn as keras
from fastcnn import layers
from fastcnn.datasets import shirts

keras.utils.set_random_seed(1)
(x_train, y_train), (x_test, y_test) = shirts.load_data()
x_train, x_test = x_train / 255.0, x_test / 255.0

model = keras.Sequential(
    [
        keras.Input(shape=(28, 28, 1)),
        layers.Conv2D(16, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(32, 3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.2),
        layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=3e-3, weight_decay=1e-3),
    loss="binary_crossentropy",
    metrics=["accuracy", keras.metrics.AUC(name="auc")],
)
history = model.fit(
    x_train,
    y_train,
    epochs=20,
    batch_size=64,
    validation_split=0.2,
    verbose=2,
    callbacks=[
        keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.3, patience=2),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True),
    ],
)
print(f"Best of {len(history.epoch)} epochs: {max(history.history['val_accuracy']):.3f} on the validation pictures")
for name, value in model.evaluate(x_test, y_test, verbose=0, return_dict=True).items():
    print(f"test {name}: {value:.3f}")
