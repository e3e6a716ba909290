"""Training on a folder of pictures, one subfolder a class: T-shirts against shirts.

    pip install "fastcnn[images]"
    python examples/image_folder.py            # writes the bundled pictures into a folder of its own
    python examples/image_folder.py MY_FOLDER

Pictures are decoded by other threads while the model trains on those before.
"""

import sys
import tempfile
from pathlib import Path

import fastcnn as keras
from fastcnn import layers
from fastcnn.datasets import shirts


def write_pictures(folder: Path) -> None:
    """The bundled pictures as PNG files: folder/T-shirt/0001.png and so on."""
    (x, y), _ = shirts.load_data()
    for number, (picture, label) in enumerate(zip(x, y)):
        place = folder / ("shirt" if label else "T-shirt")
        place.mkdir(exist_ok=True)
        keras.utils.save_img(place / f"{number:04d}.png", picture.reshape(28, 28, 1), scale=False)


with tempfile.TemporaryDirectory() as temporary:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
    if len(sys.argv) == 1:
        write_pictures(folder)
    keras.utils.set_random_seed(1)
    train, validation = keras.utils.image_dataset_from_directory(
        folder, label_mode="categorical", color_mode="grayscale", image_size=(28, 28), validation_split=0.2,
        subset="both", seed=1,
    )  # fmt: skip
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.BatchNormalization(),  # pictures come as 0 to 255
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(len(train.class_names), activation="softmax"),
        ]
    )
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    model.fit(train, epochs=10, validation_data=validation, verbose=2)
