"""A search over units and rates, by hand and by scikit-learn."""

import keras
from keras.wrappers import SKLearnClassifier
from programs_data import digits
from sklearn.model_selection import GridSearchCV

keras.utils.set_random_seed(1)
(x, y), (x_test, y_test) = digits(300, 100)
x, x_test = x.reshape(-1, 64) / 255.0, x_test.reshape(-1, 64) / 255.0


def build_model(units, activation, lr):
    model = keras.Sequential()
    model.add(keras.layers.Dense(units=units, activation=activation))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=lr), loss="categorical_crossentropy", metrics=["accuracy"]
    )
    return model


scores = {}
labels, test_labels = keras.utils.to_categorical(y, 10), keras.utils.to_categorical(y_test, 10)
for units, lr in ((4, 1e-2), (64, 1e-2), (64, 1e-5)):
    model = build_model(units, "relu", lr)
    model.fit(x, labels, epochs=6, verbose=0, validation_data=(x_test, test_labels))
    scores[units, lr] = model.evaluate(x_test, test_labels, verbose=0)[1]
best = max(scores, key=scores.get)


def wrapped(X, y, units=8):  # noqa: N803
    model = build_model(units, "relu", 1e-2)
    model(X[:2])
    return model


search = GridSearchCV(SKLearnClassifier(wrapped), {"model_kwargs": [{"units": 2}, {"units": 48}]}, cv=2)
search.fit(x, y, epochs=10, verbose=0)

result = {
    "best": list(best),
    "accuracy": scores[best],
    "found": search.best_params_["model_kwargs"]["units"],
    "accuracy of the search": float(search.best_score_),
}
