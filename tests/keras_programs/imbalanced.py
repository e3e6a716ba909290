"""Rare events: class weights and the counts of right and wrong alarms."""

import keras
import numpy as np
from programs_data import frauds

keras.utils.set_random_seed(1)
features, targets = frauds(2400)
train_features, train_targets = features[:1800], targets[:1800]
val_features, val_targets = features[1800:], targets[1800:]
counts = np.bincount(train_targets[:, 0])
weight_for_0, weight_for_1 = 1.0 / counts[0], 1.0 / counts[1]
mean, std = np.mean(train_features, axis=0), np.std(train_features, axis=0)
train_features = (train_features - mean) / std
val_features = (val_features - mean) / std

model = keras.Sequential(
    [
        keras.Input(shape=train_features.shape[1:]),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(64, activation="relu"),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
metrics = [
    keras.metrics.FalseNegatives(name="fn"),
    keras.metrics.FalsePositives(name="fp"),
    keras.metrics.TrueNegatives(name="tn"),
    keras.metrics.TruePositives(name="tp"),
    keras.metrics.Precision(name="precision"),
    keras.metrics.Recall(name="recall"),
    keras.metrics.AUC(name="auc"),
]
model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=metrics)
history = model.fit(
    train_features,
    train_targets,
    batch_size=256,
    epochs=10,
    verbose=2,
    validation_data=(val_features, val_targets),
    class_weight={0: weight_for_0, 1: weight_for_1},
)
last = {name: values[-1] for name, values in history.history.items()}

result = {
    "auc": last["val_auc"],
    "recall": last["val_recall"],
    "sum": int(sum(last[f"val_{name}"] for name in ("fn", "fp", "tn", "tp"))),
    "logs": sorted(history.history),
}
