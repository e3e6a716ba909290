"""A training that tests kill and start again: `interrupted_training.py FOLDER SAVE_FREQ SEED`; it ends with FOLDER/result.npz."""

import json
import sys
from pathlib import Path

import numpy as np

import fastcnn as keras
from fastcnn import callbacks, layers

EPOCHS = 20


def model() -> keras.Sequential:
    made = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(3, activation="softmax"),
        ]
    )
    metrics = ["accuracy", keras.metrics.AUC(num_thresholds=20, multi_label=True)]
    made.compile(keras.optimizers.Adam(0.01), "categorical_crossentropy", metrics=metrics)
    return made


def main(folder: Path, save_freq: str, seed: int) -> None:
    keras.utils.set_random_seed(seed)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(600, 8, 8, 1)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[generator.integers(0, 3, 600)]
    trained = model()
    steps = None if save_freq == "epoch" else 23
    history = trained.fit(
        x,
        y,
        batch_size=16,
        epochs=EPOCHS,
        steps_per_epoch=steps,
        validation_data=(x[:100], y[:100]),
        verbose=0,
        callbacks=[
            callbacks.BackupAndRestore(folder / "backup", save_freq if save_freq == "epoch" else int(save_freq)),
            callbacks.ReduceLROnPlateau("val_loss", factor=0.7, patience=1),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.97),
            callbacks.EarlyStopping("val_loss", patience=EPOCHS, restore_best_weights=True),
            callbacks.ModelCheckpoint(folder / "best.safetensors", save_best_only=True),
            callbacks.CSVLogger(folder / "log.csv"),
        ],
    )
    record = {"history": history.history, "epoch": history.epoch, "steps": trained.optimizer.iterations}
    (folder / "history.json").write_text(json.dumps(record))
    arrays = {str(i): weight for i, weight in enumerate(trained.get_weights())}
    np.savez(folder / "unfinished.npz", **arrays)
    (folder / "unfinished.npz").replace(folder / "result.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
