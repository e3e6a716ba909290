"""What the guide to the Sequential model shows: weights made late, adding and taking away, freezing, names."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(1)
keras.backend.clear_session()
model = keras.Sequential(
    [
        layers.Dense(2, activation="relu", name="layer1"),
        layers.Dense(3, activation="relu", name="layer2"),
        layers.Dense(4, name="layer3"),
    ]
)
before = len(model.layers)
unbuilt = len(model.weights)
y = model(np.ones((3, 3), "float32"))
after = [tuple(w.shape) for w in model.weights]
model.pop()
popped = len(model.layers)

layer = layers.Dense(3)
empty = list(layer.weights)
layer(np.ones((1, 4), "float32"))
made = [tuple(w.shape) for w in layer.weights]

named = keras.Sequential(name="my_sequential")
named.add(keras.Input(shape=(50, 50, 3)))
named.add(layers.Conv2D(32, 5, strides=2, activation="relu", name="first"))
named.add(layers.Conv2D(32, 3, activation="relu"))
named.add(layers.MaxPooling2D(3))
shapes = [named.output_shape]
named.add(layers.Conv2D(32, 3, activation="relu"))
named.add(layers.Conv2D(32, 3, activation="relu"))
named.add(layers.MaxPooling2D(2))
shapes.append(named.output_shape)
named.add(layers.GlobalMaxPooling2D())
named.add(layers.Dense(10))
text = []
named.summary(print_fn=text.append)

for frozen in named.layers[:-1]:
    frozen.trainable = False
named.compile(optimizer="adam", loss="mse")
kept = [w.copy() for w in named.get_layer("first").get_weights()]
rng = np.random.default_rng(0)
x, targets = rng.random((8, 50, 50, 3)), rng.random((8, 10))
named.fit(x, targets, verbose=0)
base = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="relu")])
base.trainable = False
headed = keras.Sequential([base, layers.Dense(2)])

errors = []
for wrong in (
    lambda: layers.Dense(0),
    lambda: model.get_layer("nowhere"),
    lambda: keras.Sequential().pop(),
    lambda: named(np.ones((1, 4), "float32")),
    lambda: headed.fit(np.ones((2, 4)), np.ones((2, 2))),
    lambda: keras.Sequential([layers.Dense(1)]).outputs,
):
    try:
        wrong()
        errors.append(None)
    except Exception as error:
        errors.append(type(error).__name__)

result = {
    "numbers": [before, unbuilt, popped, len(empty)],
    "shapes": [list(y.shape), after, made, [list(shape) for shape in shapes]],
    "names": [layer.name for layer in named.layers],
    "text": "".join(text[0].split("(Conv2D)")[1:2]).splitlines()[0],
    "kept": all(np.array_equal(a, b) for a, b in zip(kept, named.get_layer("first").get_weights())),
    "trainable": [len(named.trainable_weights), len(headed.trainable_weights), len(headed.weights)],
    "errors": errors,
}
