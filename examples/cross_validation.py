"""scikit-learn's cross-validation and hyper-parameter search of a convolutional network: T-shirts against shirts.

    pip install "fastcnn[sklearn]"
    python examples/cross_validation.py

Uses the bundled pictures: needs no network and takes seconds. `n_jobs=2` or a joblib backend such as Dask or Ray
spreads the fits over processes or machines; the results stay the same.
"""

import numpy as np
from sklearn.metrics import classification_report
from sklearn.model_selection import GridSearchCV, cross_val_score

from fastcnn.datasets import shirts
from fastcnn.wrappers import FastCNNClassifier

(x_train, y_train), (x_test, y_test) = shirts.load_data()
y_train, y_test = (np.where(y > 0, "shirt", "T-shirt") for y in (y_train, y_test))

# The tutorial's network: 32, 64 and 64 channels, 64 hidden units.
classifier = FastCNNClassifier(epochs=5, random_state=1)
scores = cross_val_score(classifier, x_train, y_train, cv=3)
print(f"Cross-validation: {scores.mean():.3f} +- {scores.std():.3f}")

search = GridSearchCV(
    FastCNNClassifier(epochs=5, early_stopping=True, random_state=1),
    {"filters": [(16, 32, 32), (32, 64, 64)], "dropout": [0.0, 0.3]},
    cv=2,
)
search.fit(x_train, y_train)
print(f"Best: {search.best_params_}, {search.best_score_:.3f} in cross-validation")
print(classification_report(y_test, search.predict(x_test)))
