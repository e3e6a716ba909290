"""What Keras refuses, fastcnn refuses with the same type of error, and a sentence of its own."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn

keras = pytest.importorskip("keras")
pytest.importorskip("torch")

pytestmark = pytest.mark.parity

F32 = np.float32
x = np.random.default_rng(0).random((16, 8, 8, 1), F32)
y = np.random.default_rng(1).integers(0, 2, 16)


def model(k: Any, **changed: Any) -> Any:
    made = k.Sequential(
        [
            k.Input((8, 8, 1)),
            k.layers.Conv2D(2, 3, activation="relu"),
            k.layers.Flatten(),
            k.layers.Dense(1, activation="sigmoid"),
        ]
    )
    made.compile(**{"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy"], **changed})
    return made


def raw(k: Any) -> Any:
    return k.Sequential([k.Input((8, 8, 1)), k.layers.Flatten(), k.layers.Dense(1)])


CALLS: dict[str, Callable[[Any], Any]] = {
    "conv filters 0": lambda k: k.layers.Conv2D(0, 3),
    "conv filters -1": lambda k: k.layers.Conv2D(-1, 3),
    "conv filters str": lambda k: k.layers.Conv2D("a", 3),
    "conv filters float": lambda k: k.layers.Conv2D(1.5, 3),
    "conv kernel 0": lambda k: k.layers.Conv2D(2, 0),
    "conv kernel 3tuple": lambda k: k.layers.Conv2D(2, (1, 2, 3)),
    "conv pad": lambda k: k.layers.Conv2D(2, 3, padding="smae"),
    "conv causal2d": lambda k: k.layers.Conv2D(2, 3, padding="causal"),
    "conv stride 0": lambda k: k.layers.Conv2D(2, 3, strides=0),
    "conv stride dil": lambda k: k.layers.Conv2D(2, 3, strides=2, dilation_rate=2),
    "conv groups": lambda k: k.layers.Conv2D(3, 3, groups=2),
    "conv data_format": lambda k: k.layers.Conv2D(3, 3, data_format="nhwc"),
    "conv act": lambda k: k.layers.Conv2D(3, 3, activation="rellu"),
    "conv init": lambda k: k.layers.Conv2D(3, 3, kernel_initializer="abc"),
    "conv reg": lambda k: k.layers.Conv2D(3, 3, kernel_regularizer="abc"),
    "conv cons": lambda k: k.layers.Conv2D(3, 3, kernel_constraint="abc"),
    "conv unknown kw": lambda k: k.layers.Conv2D(3, 3, foo=1),
    "conv missing": lambda k: k.layers.Conv2D(3),
    "dense 0": lambda k: k.layers.Dense(0),
    "dense -1": lambda k: k.layers.Dense(-3),
    "dense None": lambda k: k.layers.Dense(None),
    "dense str": lambda k: k.layers.Dense("x"),
    "dropout 2": lambda k: k.layers.Dropout(2),
    "dropout -1": lambda k: k.layers.Dropout(-0.1),
    "dropout str": lambda k: k.layers.Dropout("a"),
    "pool 0": lambda k: k.layers.MaxPooling2D(0),
    "pool pad": lambda k: k.layers.MaxPooling2D(2, padding="x"),
    "pool 3": lambda k: k.layers.MaxPooling2D((1, 2, 3)),
    "bn axis str": lambda k: k.layers.BatchNormalization(axis="a"),
    "reshape": lambda k: k.layers.Reshape((3, 5))(np.ones((2, 4), F32)),
    "permute": lambda k: k.layers.Permute((1, 3)),
    "permute0": lambda k: k.layers.Permute((0, 1)),
    "crop": lambda k: k.layers.Cropping2D(((1, 2), (3,))),
    "zeropad": lambda k: k.layers.ZeroPadding2D((1, 2, 3)),
    "upsample": lambda k: k.layers.UpSampling2D(2, interpolation="foo"),
    "gauss": lambda k: k.layers.GaussianNoise(2.0),
    "leaky": lambda k: k.layers.LeakyReLU(-1.0),
    "relu max": lambda k: k.layers.ReLU(max_value=-1),
    "ln axis": lambda k: k.layers.LayerNormalization(axis="a"),
    "group": lambda k: k.layers.GroupNormalization(groups=0),
    "group bad": lambda k: k.layers.GroupNormalization(groups=3)(np.ones((2, 4, 4, 4), F32)),
    "repeat": lambda k: k.layers.RepeatVector(1.5),
    "randflip": lambda k: k.layers.RandomFlip("up"),
    "randrot": lambda k: k.layers.RandomRotation("a"),
    "rescal": lambda k: k.layers.Rescaling("a"),
    "resize": lambda k: k.layers.Resizing(8, 8, interpolation="foo"),
    "contrast": lambda k: k.layers.RandomContrast(2.0),
    "bright": lambda k: k.layers.RandomBrightness(5),
    "call wrong rank": lambda k: k.layers.Conv2D(2, 3)(np.ones((2, 4, 4), F32)),
    "call wrong ch": lambda k: (lambda c: (c(np.ones((2, 4, 4, 1), F32)), c(np.ones((2, 4, 4, 3), F32))))(
        k.layers.Conv2D(2, 3)
    ),
    "call too small": lambda k: k.layers.Conv2D(2, 5)(np.ones((2, 3, 3, 1), F32)),
    "dense wrong": lambda k: (lambda c: (c(np.ones((2, 4), F32)), c(np.ones((2, 3), F32))))(k.layers.Dense(2)),
    "dense str in": lambda k: k.layers.Dense(2)("abc"),
    "pool small": lambda k: k.layers.MaxPooling2D(5)(np.ones((2, 3, 3, 1), F32)),
    "compile opt": lambda k: model(k, optimizer="adm"),
    "compile opt int": lambda k: model(k, optimizer=3),
    "compile loss": lambda k: model(k, loss="bce2").fit(x, y, verbose=0),
    "compile metric": lambda k: model(k, metrics=["acuracy"]).fit(x, y, verbose=0),
    "compile metrics int": lambda k: model(k, metrics=[3]).fit(x, y, verbose=0),
    "compile metrics str": lambda k: model(k, metrics="accuracy").fit(x, y, verbose=0),
    "compile kw": lambda k: model(k, foo=1),
    "fit no compile": lambda k: raw(k).fit(x, y, verbose=0),
    "evaluate no compile": lambda k: raw(k).evaluate(x, y, verbose=0),
    "fit no loss": lambda k: model(k, loss=None).fit(x, y, verbose=0),
    "fit no y": lambda k: model(k).fit(x, verbose=0),
    "fit None": lambda k: model(k).fit(None, y, verbose=0),
    "fit len": lambda k: model(k).fit(x, y[:8], verbose=0),
    "fit shape": lambda k: model(k).fit(x[:, :4], y, verbose=0),
    "fit rank": lambda k: model(k).fit(x[..., 0, 0], y, verbose=0),
    "fit batch 0": lambda k: model(k).fit(x, y, batch_size=0, verbose=0),
    "fit batch str": lambda k: model(k).fit(x, y, batch_size="a", verbose=0),
    "fit batch -1": lambda k: model(k).fit(x, y, batch_size=-1, verbose=0),
    "fit epochs str": lambda k: model(k).fit(x, y, epochs="a", verbose=0),
    "fit vs 1.5": lambda k: model(k).fit(x, y, validation_split=1.5, verbose=0),
    "fit vs str": lambda k: model(k).fit(x, y, validation_split="a", verbose=0),
    "fit vdata": lambda k: model(k).fit(x, y, validation_data=(x,), verbose=0),
    "fit vdata3": lambda k: model(k).fit(x, y, validation_data=(x, y, y, y), verbose=0),
    "fit cw+sw": lambda k: model(k).fit(x, y, class_weight={0: 1, 1: 2}, sample_weight=np.ones(16), verbose=0),
    "fit cw list": lambda k: model(k).fit(x, y, class_weight=[1, 2], verbose=0),
    "fit sw len": lambda k: model(k).fit(x, y, sample_weight=np.ones(5), verbose=0),
    "fit strings": lambda k: model(k).fit(np.array([["a"] * 4] * 16), y, verbose=0),
    "fit obj": lambda k: model(k).fit(np.array([None] * 16), y, verbose=0),
    "fit empty": lambda k: model(k).fit(x[:0], y[:0], verbose=0),
    "fit y shape": lambda k: model(k).fit(x, np.ones((16, 3)), verbose=0),
    "fit kw": lambda k: model(k).fit(x, y, foo=1),
    "fit verbose": lambda k: model(k).fit(x, y, verbose="x"),
    "fit cb": lambda k: model(k).fit(x, y, callbacks=[3], verbose=0),
    "fit dict": lambda k: model(k).fit({"a": x}, y, verbose=0),
    "fit list2": lambda k: model(k).fit([x, x], y, verbose=0),
    "fit gen+y": lambda k: model(k).fit(((x, y) for _ in range(3)), y, verbose=0),
    "fit gen+split": lambda k: model(k).fit(((x, y) for _ in range(3)), validation_split=0.2, verbose=0),
    "fit gen+sw": lambda k: model(k).fit(((x, y) for _ in range(3)), sample_weight=np.ones(16), verbose=0),
    "fit steps": lambda k: model(k).fit(x, y, steps_per_epoch=0, verbose=0),
    "fit complex": lambda k: model(k).fit(x.astype(complex), y, verbose=0),
    "predict shape": lambda k: raw(k).predict(x[:, :3], verbose=0),
    "predict str": lambda k: raw(k).predict("abc", verbose=0),
    "predict empty": lambda k: raw(k).predict(x[:0], verbose=0),
    "predict None": lambda k: raw(k).predict(None, verbose=0),
    "eval len": lambda k: model(k).evaluate(x, y[:3], verbose=0),
    "call shape": lambda k: raw(k)(x[:, :3]),
    "tob": lambda k: model(k).train_on_batch(x, y[:3]),
    "add int": lambda k: k.Sequential([3]),
    "add twice": lambda k: (lambda d: k.Sequential([k.Input((2,)), d, d]))(k.layers.Dense(2)),
    "get_layer": lambda k: raw(k).get_layer("zzz"),
    "get_layer idx": lambda k: raw(k).get_layer(index=9),
    "get_layer none": lambda k: raw(k).get_layer(),
    "get_layer both": lambda k: raw(k).get_layer("a", 1),
    "set_weights": lambda k: raw(k).set_weights([1]),
    "set_weights shape": lambda k: raw(k).set_weights([np.ones((3, 1)), np.ones(1)]),
    "pop empty": lambda k: k.Sequential().pop(),
    "count unbuilt": lambda k: k.Sequential([k.layers.Dense(2)]).count_params(),
    "summary unbuilt": lambda k: k.Sequential([k.layers.Dense(2)]).summary(),
    "weights unbuilt": lambda k: k.Sequential([k.layers.Dense(2)]).weights,
    "build": lambda k: k.Sequential([k.layers.Conv2D(2, 3)]).build((None, 3)),
    "load missing": lambda k: k.models.load_model("/nonexist/x.keras"),
    "load w missing": lambda k: raw(k).load_weights("/nonexist/x.weights.h5"),
    "save ext": lambda k: raw(k).save("/tmp/zz.foo"),
    "save dir": lambda k: raw(k).save("/nonexist/dir/m.keras"),
    "savew ext": lambda k: raw(k).save_weights("/tmp/zz.h5"),
    "from json": lambda k: k.models.model_from_json("{"),
    "from json2": lambda k: k.models.model_from_json("{}"),
    "input neg": lambda k: k.Input((-1,)),
    "input str": lambda k: k.Input("a"),
    "input none": lambda k: k.Input(),
    "input dtype": lambda k: k.Input((2,), dtype="foo"),
    "loss red": lambda k: k.losses.MeanSquaredError(reduction="foo"),
    "loss shape": lambda k: k.losses.MeanSquaredError()(np.ones((2, 3)), np.ones((2, 4))),
    "bce smoothing": lambda k: k.losses.BinaryCrossentropy(label_smoothing=2)(np.ones((2, 1)), np.ones((2, 1))),
    "auc curve": lambda k: k.metrics.AUC(curve="x"),
    "auc sum": lambda k: k.metrics.AUC(summation_method="x"),
    "auc n": lambda k: k.metrics.AUC(num_thresholds=1),
    "prec thr": lambda k: k.metrics.Precision(thresholds=2.0),
    "fbeta": lambda k: k.metrics.FBetaScore(average="x"),
    "fbeta b": lambda k: k.metrics.FBetaScore(beta=-1.0),
    "prec@rec": lambda k: k.metrics.PrecisionAtRecall(2.0),
    "iou": lambda k: k.metrics.IoU(num_classes=2, target_class_ids=[5]),
    "acc shape": lambda k: k.metrics.BinaryAccuracy()(np.ones((2, 3)), np.ones((3, 2))),
    "sgd mom": lambda k: k.optimizers.SGD(momentum=2.0),
    "adam lr str": lambda k: k.optimizers.Adam("fast"),
    "clip both": lambda k: k.optimizers.Adam(clipnorm=1.0, clipvalue=1.0),
    "opt kw": lambda k: k.optimizers.Adam(foo=1),
    "ema": lambda k: k.optimizers.Adam(use_ema=True, ema_momentum=2.0),
    "acc1": lambda k: k.optimizers.Adam(gradient_accumulation_steps=1),
    "lion": lambda k: k.optimizers.Lion(beta_1=0.0),
    "sched": lambda k: k.optimizers.schedules.CosineDecay(0.1, 0),
    "piece": lambda k: k.optimizers.schedules.PiecewiseConstantDecay([1], [1.0]),
    "to_cat": lambda k: k.utils.to_categorical([0, 5], 3),
    "to_cat neg": lambda k: k.utils.to_categorical([-1], 3),
    "split": lambda k: k.utils.split_dataset(np.ones(4), left_size=2.0),
    "split none": lambda k: k.utils.split_dataset(np.ones(4)),
    "imgdir": lambda k: k.utils.image_dataset_from_directory("/nonexist"),
    "load_img": lambda k: k.utils.load_img("/nonexist.png"),
    "arr2img": lambda k: k.utils.array_to_img(np.ones((2, 2))),
    "pad": lambda k: k.utils.pad_sequences([1, 2]),
    "pad2": lambda k: k.utils.pad_sequences([[1]], padding="x"),
    "seed": lambda k: k.utils.set_random_seed("a"),
    "floatx": lambda k: k.config.set_floatx("foo"),
    "idf": lambda k: k.config.set_image_data_format("foo"),
    "es mode": lambda k: k.callbacks.EarlyStopping(mode="x"),
    "mc ext": lambda k: k.callbacks.ModelCheckpoint("/tmp/x"),
    "mc freq": lambda k: k.callbacks.ModelCheckpoint("/tmp/x.keras", save_freq="foo"),
    "rlr": lambda k: k.callbacks.ReduceLROnPlateau(factor=2.0),
    "bar": lambda k: k.callbacks.BackupAndRestore(""),
    "init var": lambda k: k.initializers.VarianceScaling(scale=-1),
    "init mode": lambda k: k.initializers.VarianceScaling(mode="x"),
    "init ident": lambda k: k.initializers.Identity()((2, 3, 4)),
    "init orth": lambda k: k.initializers.Orthogonal()((3,)),
    "l1": lambda k: k.regularizers.L1("a"),
    "orth": lambda k: k.regularizers.OrthogonalRegularizer(mode="x"),
    "orth3": lambda k: k.regularizers.OrthogonalRegularizer()(np.ones((2, 2, 2), F32)),
    "act none": lambda k: k.activations.get("x"),
    "act int": lambda k: k.activations.get(3),
    "clone": lambda k: k.models.clone_model(3),
    "dtype": lambda k: k.layers.Dense(2, dtype="foo"),
    "policy": lambda k: k.mixed_precision.set_global_policy("foo"),
    "seedgen": lambda k: k.random.SeedGenerator("a"),
    "unif": lambda k: k.random.uniform("a"),
}

# Where Keras falls over something else (a comparison of a string, an attribute of None, PyTorch's own check), or takes the
# argument and fails later or never, fastcnn says ValueError.
VALUE_ERROR_HERE = {
    "conv filters str",
    "dropout str",
    "pool pad",
    "upsample",
    "ln axis",
    "randflip",
    "rescal",
    "resize",
    "pool small",
    "evaluate no compile",
    "fit no y",
    "fit batch 0",
    "fit batch str",
    "fit epochs str",
    "fit vs 1.5",
    "fit vs str",
    "fit cw list",
    "fit verbose",
    "fit cb",
    "fit list2",
    "fit steps",
    "fit complex",
    "predict empty",
    "predict None",
    "tob",
    "add twice",
    "from json",
    "from json2",
    "loss shape",
    "bce smoothing",
    "acc shape",
    "to_cat",
    "to_cat neg",
    "clone",
}


def error_of(call: Callable[[Any], Any], library: Any) -> Exception | None:
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            call(library)
        except Exception as error:
            return error
    return None


@pytest.mark.parametrize("name", CALLS)
def test_type_of_error(name: str) -> None:
    theirs, ours = error_of(CALLS[name], keras), error_of(CALLS[name], fastcnn)
    if name in VALUE_ERROR_HERE:
        assert isinstance(ours, ValueError) and not isinstance(ours, type(theirs)), (theirs, ours)
    else:
        assert (ours is None) == (theirs is None), (theirs, ours)
        assert theirs is None or isinstance(ours, type(theirs)), (theirs, ours)
    if ours is not None:
        assert str(ours) and "\n" not in str(ours)
