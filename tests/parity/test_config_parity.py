"""`get_config` of every class that Keras has too: the same words for the same arguments, and back again."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastcnn

keras = pytest.importorskip("keras")
pytest.importorskip("torch")

pytestmark = pytest.mark.parity

KINDS = ("layers", "losses", "metrics", "initializers", "regularizers", "constraints", "optimizers")
BASES = {"Layer", "Loss", "Metric", "Optimizer", "Regularizer", "Initializer", "InputSpec", "Wrapper", "InputLayer"}

# Arguments without a default.
NEEDED: dict[str, Any] = {
    "filters": 4, "kernel_size": 3, "units": 3, "pool_size": 2, "n": 2, "dims": (2, 1), "target_shape": (-1, 2),
    "rate": 0.25, "stddev": 0.25, "height": 4, "width": 4, "factor": 0.25, "height_factor": 0.125, "width_factor": 0.125,
    "scale": 0.5, "output_size": 2, "activation": "relu", "num_classes": 3, "target_class_ids": [0],
    "recall": 0.5, "precision": 0.5, "specificity": 0.5, "sensitivity": 0.5, "value_range": (0.0, 1.0), "seed": 1,
}  # fmt: skip
# Another value than the default for an argument of that name.
OTHERS: dict[str, Any] = {
    "strides": 2, "padding": "same", "dilation_rate": 2, "groups": 2, "activation": "relu", "use_bias": False,
    "kernel_initializer": "he_normal", "bias_initializer": "ones", "kernel_regularizer": "l2", "bias_regularizer": "l1",
    "activity_regularizer": "l2", "kernel_constraint": "max_norm", "bias_constraint": "non_neg", "depth_multiplier": 2,
    "depthwise_initializer": "he_normal", "pointwise_initializer": "ones", "depthwise_regularizer": "l2",
    "pointwise_regularizer": "l1", "depthwise_constraint": "max_norm", "pointwise_constraint": "unit_norm",
    "data_format": "channels_first", "keepdims": True, "momentum": 0.5, "epsilon": 0.25, "center": False, "scale": False,
    "beta_initializer": "ones", "gamma_initializer": "zeros", "beta_regularizer": "l1", "gamma_regularizer": "l2",
    "beta_constraint": "non_neg", "gamma_constraint": "unit_norm", "moving_mean_initializer": "ones", "axis": 1,
    "moving_variance_initializer": "zeros", "max_value": 4.0, "negative_slope": 0.25, "threshold": 0.25, "alpha": 0.5,
    "alpha_initializer": "ones", "alpha_regularizer": "l2", "alpha_constraint": "non_neg", "shared_axes": [1], "seed": 7,
    "interpolation": "nearest", "crop_to_aspect_ratio": True, "offset": 0.5, "fill_mode": "constant", "fill_value": 0.5,
    "mode": "horizontal", "reduction": "sum", "from_logits": True, "label_smoothing": 0.125, "delta": 0.5, "gamma": 1.5,
    "apply_class_balancing": True, "num_thresholds": 50, "curve": "PR", "top_k": 2, "class_id": 1, "average": "macro",
    "beta": 0.5, "learning_rate": 0.5, "weight_decay": 0.25, "clipnorm": 0.5, "use_ema": True, "amsgrad": True,
    "nesterov": True, "centered": True, "rho": 0.5, "beta_1": 0.5, "beta_2": 0.5, "mean": 0.5, "stddev": 0.25,
    "minval": -0.25, "maxval": 0.25, "gain": 2.0, "value": 0.5, "l1": 0.5, "l2": 0.5, "factor": 0.125,
    "min_value": 0.25, "invert": True, "brightness": 0.5, "value_range": (0.0, 2.0), "thresholds": 0.25, "k": 3,
    "ema_momentum": 0.5, "gradient_accumulation_steps": 2, "initial_accumulator_value": 0.5, "ns_steps": 3,
}  # fmt: skip

# (class, key): fastcnn says what Keras forgets, so that the object comes back as it was.
SAID_HERE_ALONE = {
    ("CosineSimilarity", "axis"), ("Huber", "delta"), ("SparseCategoricalCrossentropy", "axis"), ("Identity", "gain"),
    ("IdentityInitializer", "gain"), ("SpatialDropout1D", "trainable"), ("SpatialDropout2D", "trainable"),
}  # fmt: skip
# What depends on chance, or is the same thing in other words.
IN_OTHER_WORDS = {
    ("SpatialDropout1D", "dtype"), ("SpatialDropout2D", "dtype"), ("RandomCrop", "seed"), ("MeanMetricWrapper", "fn"),
    *[(name, "dtype") for name in ("BinaryIoU", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU")],
}  # fmt: skip


def classes() -> Iterator[tuple[str, str]]:
    for kind in KINDS:
        ours, theirs = getattr(fastcnn, kind), getattr(keras, kind)
        for name in sorted(dir(theirs)):
            both = (getattr(theirs, name), getattr(ours, name, None))
            if name[0].isupper() and name not in BASES and all(inspect.isclass(one) for one in both):
                yield kind, name


def arguments(library: Any, kind: str, name: str) -> dict[str, Any]:
    signature = inspect.signature(getattr(getattr(library, kind), name).__init__).parameters
    found: dict[str, Any] = {}
    for key, parameter in list(signature.items())[1:]:
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if key == "layers":
                found[key] = [library.layers.Rescaling(0.5, name="r")]
            elif key == "fn":
                found[key] = library.losses.mean_squared_error
            elif parameter.default is parameter.empty or (key == "pool_size" and parameter.default is None):
                found[key] = NEEDED[key]
    if kind in ("layers", "losses", "metrics", "optimizers"):
        found["name"] = "x"
    return found


def plain(value: Any) -> Any:
    """A configuration without what differs by package."""
    if isinstance(value, dict):
        if {"module", "class_name", "config"} <= set(value):
            return {"class_name": value["class_name"], "config": plain(value["config"])}
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-6)
    return getattr(value, "__name__", str(value)) if callable(value) else value


def same(name: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    differing = {
        key: (ours.get(key, "absent"), theirs.get(key, "absent"))
        for key in {*ours, *theirs}
        if plain(ours.get(key, "absent")) != plain(theirs.get(key, "absent"))
        and (name, key) not in IN_OTHER_WORDS
        and not (key not in theirs and (name, key) in SAID_HERE_ALONE)
    }
    assert not differing


def test_there_are_as_many_as_expected() -> None:
    assert len(list(classes())) > 180


@pytest.mark.parametrize(("kind", "name"), classes())
def test_usual_settings(kind: str, name: str) -> None:
    ours = getattr(getattr(fastcnn, kind), name)(**arguments(fastcnn, kind, name))
    theirs = getattr(getattr(keras, kind), name)(**arguments(keras, kind, name))
    same(name, ours.get_config(), theirs.get_config())
    again = type(ours).from_config(ours.get_config())
    assert plain(again.get_config()) == plain(ours.get_config())


@pytest.mark.parametrize(("kind", "name"), classes())
def test_other_settings(kind: str, name: str) -> None:
    """One argument at a time; where Keras refuses it for this class, so does fastcnn."""
    cls, original = getattr(getattr(fastcnn, kind), name), getattr(getattr(keras, kind), name)
    taken = set(inspect.signature(cls.__init__).parameters) & set(OTHERS)
    usual = inspect.signature(cls.__init__).parameters
    for key in sorted(taken):
        if key == "scale" and not isinstance(usual[key].default, bool):
            continue  # a number, which is among the arguments that are needed
        given, expected = arguments(fastcnn, kind, name), arguments(keras, kind, name)
        given[key] = expected[key] = OTHERS[key]
        try:
            theirs = original(**expected)
        except (ValueError, TypeError):
            with pytest.raises((ValueError, TypeError)):
                cls(**given)
            continue
        ours = cls(**given)
        same(name, ours.get_config(), theirs.get_config())
        again = cls.from_config(ours.get_config())
        assert plain(again.get_config()) == plain(ours.get_config()), key
