"""Models as C: the compiled file agrees with `predict`, for every layer, and nothing in it is left to chance."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_layer_contract import CASES, FIRST

import fastcnn as keras
from fastcnn import activations, layers
from fastcnn.exchange import c_functions, operations
from fastcnn.exchange.c_source import _WRITERS, _number, to_c

CC = shutil.which("cc")
pytestmark = pytest.mark.skipif(CC is None, reason="needs a C compiler, cc")

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SAMPLES = 3
Array = NDArray[np.float32]

IMAGE = (6, 7, 4)


def large(activation: str) -> list[tuple[Any, dict[str, Any]]]:
    """Whose activation is given numbers far outside of what exp can take."""
    wide = (layers.Dense, {"units": 200})
    return [wide, wide, (layers.Dense, {"units": 5, "activation": activation})]


def nested() -> Any:
    return keras.Sequential([layers.Dense(3, activation="tanh"), layers.Dense(2, activation="log_softmax")])


MODELS: list[tuple[str, Any, tuple[int, ...]]] = [
    *((cls.__name__, [(cls, arguments)], shape) for cls, arguments, shape, _ in CASES),
    *(("Activation", [(layers.Activation, {"activation": f.__name__})], (5, 6)) for f in activations._FUNCTIONS),
    ("PReLU of rows", [(layers.PReLU, {"alpha_initializer": "ones", "shared_axes": [2, 3]})], IMAGE),
    ("PReLU of columns", [(layers.PReLU, {"alpha_initializer": "ones", "shared_axes": [1, 3]})], IMAGE),
    ("PReLU of one", [(layers.PReLU, {"alpha_initializer": "ones", "shared_axes": [1, 2, 3]})], IMAGE),
    ("PReLU of ends", [(layers.PReLU, {"alpha_initializer": "ones", "shared_axes": [2]})], IMAGE),
    *((f"{name} of large numbers", large(name), (10,)) for name in ("softmax", "log_softmax")),
    ("a model in a model", [(nested, {})], (4,)),
    ("nothing", [(layers.Dropout, {"rate": 0.5}), (layers.Identity, {})], IMAGE),
    ("reshape alone", [(layers.Flatten, {})], IMAGE),
    ("in place first", [(layers.Activation, {"activation": "tanh"}), (layers.Conv2D, {"filters": 3, "kernel_size": 2})], IMAGE),
    (
        "a network",
        [
            (layers.Conv2D, {"filters": 5, "kernel_size": 3, "padding": "same", "activation": "relu", **FIRST}),
            (layers.BatchNormalization, {"axis": 1}),
            (layers.MaxPooling2D, {**FIRST}),
            (layers.DepthwiseConv2D, {"kernel_size": 2, "activation": "gelu", **FIRST}),
            (layers.Flatten, {}),
            (layers.Dense, {"units": 4, "activation": "softmax"}),
        ],
        (3, 8, 9),
    ),
]  # fmt: skip


def built(chosen: list[tuple[Any, dict[str, Any]]], shape: tuple[int, ...]) -> Any:
    model = keras.Sequential([keras.Input(shape), *(cls(**arguments) for cls, arguments in chosen)])
    rng = np.random.default_rng(4)
    values = [rng.standard_normal(v.shape).astype(np.float32) * 0.5 for v in model.weights]
    model.set_weights([np.abs(v) + 0.5 if "variance" in w.name else v for v, w in zip(values, model.weights)])
    return model


def samples(shape: tuple[int, ...], count: int = SAMPLES) -> Array:
    return np.random.default_rng(1).standard_normal((count, *shape)).astype(np.float32)


def run(command: list[str], data: bytes = b"") -> bytes:
    result = subprocess.run(command, input=data, capture_output=True, timeout=300)
    assert result.returncode == 0, result.stderr.decode(errors="replace")[:4000]
    return result.stdout


def workspace_of(text: str) -> int:
    found = re.search(r"workspace: (\d+) floats", text)
    assert found is not None
    return int(found[1])


DRIVER = """\
#include <stdio.h>
#include <stdlib.h>
@DECLARATIONS@
int main(void)
{
    static const struct { void (*predict)(const float *, float *, float *); size_t input, output, workspace; } models[] = {
@ROWS@
    };
    for (size_t m = 0; m < sizeof models / sizeof *models; ++m)
        for (int sample = 0; sample < @SAMPLES@; ++sample) {
            /* Exactly as large as the file says: one element too far ends the program. */
            float *input = malloc(models[m].input * sizeof(float)), *output = malloc(models[m].output * sizeof(float));
            float *workspace = malloc(models[m].workspace * sizeof(float));
            if (fread(input, sizeof(float), models[m].input, stdin) != models[m].input) return 2;
            models[m].predict(input, output, workspace);
            fwrite(output, sizeof(float), models[m].output, stdout);
            free(input), free(output), free(workspace);
        }
    return 0;
}
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Array, Array]]:
    """For each of MODELS: the model, its inputs, and the outputs of one program that holds them all, with sanitizers."""
    folder = tmp_path_factory.mktemp("c")
    models = [built(chosen, shape) for _, chosen, shape in MODELS]
    declarations, rows, data = [], [], b""
    for number, model in enumerate(models):
        model.export(folder / f"m{number}.c", name=f"m{number}", verbose=False)
        declarations.append(f"void m{number}_predict_with(const float *, float *, float *);")
        workspace = workspace_of((folder / f"m{number}.c").read_text())
        sizes = (int(np.prod(model.input_shape[1:])), int(np.prod(model.output_shape[1:])), workspace)
        rows.append(f"        {{m{number}_predict_with, {', '.join(map(str, sizes))}}},")
        data += samples(model.input_shape[1:]).tobytes()
    driver = DRIVER.replace("@DECLARATIONS@", "\n".join(declarations)).replace("@ROWS@", "\n".join(rows))
    (folder / "driver.c").write_text(driver.replace("@SAMPLES@", str(SAMPLES)))
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [str(folder / f"m{number}.c") for number in range(len(models))]
    assert CC is not None
    run([CC, "-O0", *STRICT, *sanitize, *sources, str(folder / "driver.c"), "-o", str(folder / "all"), "-lm"])
    found = np.frombuffer(run([str(folder / "all")], data), np.float32)
    parts = []
    for model in models:
        count = SAMPLES * int(np.prod(model.output_shape[1:]))
        parts.append((model, samples(model.input_shape[1:]), found[:count].reshape(SAMPLES, *model.output_shape[1:])))
        found = found[count:]
    assert found.size == 0
    return parts


def agree(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(
        found, expected, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(expected).max(initial=0.0)))
    )


@pytest.mark.parametrize("number", range(len(MODELS)), ids=[f"{name}-{n}" for n, (name, *_) in enumerate(MODELS)])
def test_outputs_are_those_of_predict(number: int, outputs: Any) -> None:
    model, x, found = outputs[number]
    agree(found, model.predict(x, verbose=0))


def test_every_operation_has_c() -> None:
    assert _WRITERS.keys() == set(operations.KINDS.values())


def test_every_function_is_used(outputs: Any) -> None:
    """Each C function above is in one of the compiled files."""
    used = {name for model, *_ in outputs for name in re.findall(r"^static void (\w+)\(", to_c(model), re.MULTILINE)}
    assert c_functions.FUNCTIONS.keys() <= used
    with_constants = {name.split("_with_")[0] for name in used if "_with_" in name}
    plain = {name.removesuffix("_of_each") for name in used if name.endswith("_of_each")}
    assert {name for name, (constants, _) in c_functions.ELEMENTWISE.items() if constants} - with_constants == {
        "threshold"  # no layer has these
    }
    assert {name for name, (constants, _) in c_functions.ELEMENTWISE.items() if not constants} - plain == {"gelu_tanh"}


def test_functions_that_no_layer_has_are_those_of_activations(tmp_path: Path) -> None:
    x = np.linspace(-5, 5, 41).astype(np.float32)
    texts = [c_functions.of_each(name, *c_functions.ELEMENTWISE[name]) for name in ("threshold", "gelu_tanh")]
    source = (
        "#include <math.h>\n#include <stdio.h>\n"
        + "\n".join(texts)
        + "int main(void)\n{\n    static float x[41], y[41];\n"
        "    if (fread(x, 4, 41, stdin) != 41) return 1;\n    threshold(x, y, 41, 0.5f, 9.0f);\n    fwrite(y, 4, 41, stdout);\n"
        "    gelu_tanh(x, y, 41);\n    fwrite(y, 4, 41, stdout);\n    return 0;\n}\n"
    )
    (tmp_path / "f.c").write_text(source)
    assert CC is not None
    run([CC, *STRICT, str(tmp_path / "f.c"), "-o", str(tmp_path / "f"), "-lm"])
    found = np.frombuffer(run([str(tmp_path / "f")], x.tobytes()), np.float32).reshape(2, 41)
    agree(found[0], activations.threshold(x, 0.5, 9.0))
    agree(found[1], activations.gelu(x, approximate=True))


def mission() -> Any:
    """The network of the README."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            layers.Conv2D(32, (3, 3), activation="relu", input_shape=(28, 28, 1)),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def test_a_trained_network_on_real_images_by_its_own_main(tmp_path: Path) -> None:
    """Compiled as the file says; text and binary."""
    (x, y), (x_test, _) = keras.datasets.shirts.load_data()
    x, x_test = x / 255.0, (x_test[:40] / 255.0).astype(np.float32)
    model = mission()
    model.compile("adam", "binary_crossentropy")
    model.fit(x[:512], y[:512], epochs=1, verbose=0)
    path, program = tmp_path / "m.c", str(tmp_path / "m")
    model.export(path, verbose=False)
    assert CC is not None
    for flags in (["-O2", "-std=c99", "-Wall", "-Werror"], ["-O3", *STRICT]):
        run([CC, *flags, "-DFASTCNN_MAIN", str(path), "-o", program, "-lm"])
        expected = model.predict(x_test, verbose=0)
        assert expected.std() > 0.01
        agree(np.frombuffer(run([program, "-b"], x_test.tobytes()), np.float32).reshape(-1, 1), expected)
    text = "\n".join(" ".join(f"{v:.9g}" for v in image.ravel()) for image in x_test[:5])
    lines = run([program], text.encode()).decode().splitlines()
    agree(np.array([line.split() for line in lines], np.float32), expected[:5])
    short = subprocess.run([program], input=b"1 2 3", capture_output=True)
    assert short.returncode == 1
    assert b"expected 784 numbers a sample, received 3" in short.stderr


def test_the_file_is_the_same_each_time_and_plain() -> None:
    model = built([(layers.Conv2D, {"filters": 3, "kernel_size": 3}), (layers.Softmax, {})], IMAGE)
    text = to_c(model)
    assert text == to_c(model) and text.isascii()
    assert set(re.findall(r"#include <(.*)>", text)) == {"math.h", "string.h", "stdio.h"}
    assert text.index("#include <stdio.h>") > text.index("#ifdef FASTCNN_MAIN")
    assert not re.search(r"\b(malloc|calloc|realloc|alloca)\b", text)
    assert max(map(len, text.splitlines())) <= 160


def test_numbers_come_back_bit_by_bit() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 5000, dtype=np.uint32)
    special = np.array([0.0, -0.0, 1.0, -3.0, 1e-45, 3.4028235e38, np.inf, -np.inf], np.float32)
    for value in (*bits.view(np.float32), *special):
        text = _number(float(value))
        if np.isnan(value):
            assert text == "NAN"
        elif np.isinf(value):
            assert text == ("INFINITY" if value > 0 else "-INFINITY")
        else:
            assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?f", text) and ("." in text or "e" in text)
            assert np.float32(text[:-1]).tobytes() == value.tobytes()


HOSTILE = [
    '*/ system("x"); /*',
    "a\nint x = ;",
    "??/\n",
    "\\",
    "// \\\n",
    "*\\\n/",
    "ä\u2028\0",
    '"; #error',
    "x" * 4000,
]


def test_names_of_layers_are_data(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((3,)), *(layers.Dense(3) for _ in HOSTILE)], name="model")
    for layer, name in zip(model.layers, HOSTILE):
        layer.name = name  # the constructor refuses some of them
    model.name = HOSTILE[0]
    text = to_c(model)
    bodies = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert "system" not in bodies and "error" not in bodies and "??" not in text and "\\\n" not in text
    (tmp_path / "m.c").write_text(text)
    assert CC is not None
    run([CC, *STRICT, "-c", str(tmp_path / "m.c"), "-o", str(tmp_path / "m.o")])


class Twice(layers.Layer):
    def call(self, inputs: Any) -> Any:
        return 2 * inputs


def test_refusals(tmp_path: Path) -> None:
    model = built([(layers.Dense, {"units": 2})], (3,))
    for name in ("", "2a", "a b", "int x;", "_a", "a" * 40, 3):
        with pytest.raises(ValueError, match="export: name: expected a letter"):
            model.export(tmp_path / "m.c", name=name)
    with pytest.raises(ValueError, match="export: expected a built model"):
        keras.Sequential([layers.Dense(2)]).export(tmp_path / "m.c")
    with pytest.raises(ValueError, match="layer 'mine': expected a layer that computes natively"):
        keras.Sequential([keras.Input((3,)), Twice(name="mine")]).export(tmp_path / "m.c")
    with pytest.raises(ValueError, match="export: c: .*unexpected keyword"):
        model.export(tmp_path / "m.c", opset_version=17)
    assert not list(tmp_path.iterdir())


def test_an_operation_without_c_is_refused_by_its_layers_name(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built([(layers.Dense, {"units": 2, "name": "mine"})], (3,))
    monkeypatch.delitem(_WRITERS, operations.Dense)
    with pytest.raises(
        ValueError, match="export: layer 'mine': expected operations that there is C for, received Dense"
    ):
        to_c(model)


@st.composite
def architectures(draw: Any) -> tuple[list[tuple[Any, dict[str, Any]]], tuple[int, ...]]:
    """A chain of random layers on images, in either data format."""
    shape = (draw(st.integers(5, 10)), draw(st.integers(5, 10)), draw(st.integers(1, 5)))
    options = draw(st.sampled_from([{}, FIRST]))
    size = st.integers(1, 3)
    padding = st.sampled_from(["valid", "same"])
    activation = st.sampled_from(["relu", "softmax", "elu", "linear"])
    layer = st.one_of(
        st.fixed_dictionaries(
            {"filters": size, "kernel_size": size, "strides": size, "padding": padding, "activation": activation}
        ).map(lambda a: (layers.Conv2D, {**a, **options})),
        st.fixed_dictionaries({"filters": size, "kernel_size": size, "strides": size, "padding": padding})
        .map(lambda a: (layers.Conv2DTranspose, {**a, **options})),
        st.fixed_dictionaries({"kernel_size": size, "depth_multiplier": size, "padding": padding})
        .map(lambda a: (layers.DepthwiseConv2D, {**a, **options})),
        st.fixed_dictionaries({"pool_size": size, "strides": size, "padding": padding})
        .flatmap(lambda a: st.sampled_from([(cls, {**a, **options}) for cls in (layers.MaxPooling2D, layers.AveragePooling2D)])),
        st.sampled_from([1, 2, -1]).map(lambda axis: (layers.BatchNormalization, {"axis": axis})),
        st.sampled_from([1, -1, [1, 2]]).map(lambda axis: (layers.LayerNormalization, {"axis": axis})),
        st.permutations([1, 2, 3]).map(lambda dims: (layers.Permute, {"dims": dims})),
        activation.map(lambda name: (layers.Activation, {"activation": name})),
        st.just((layers.UpSampling2D, {"interpolation": "bilinear", **options})),
    )  # fmt: skip
    return draw(st.lists(layer, min_size=1, max_size=5)), shape


@settings(max_examples=20)
@given(architectures())
def test_random_architectures(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    chosen, shape = drawn
    try:
        model = built(chosen, shape)
    except ValueError:
        return  # windows that do not fit
    folder = tmp_path_factory.mktemp("random")
    model.export(folder / "m.c", verbose=False)
    assert CC is not None
    run([CC, "-O0", *STRICT, "-DFASTCNN_MAIN", str(folder / "m.c"), "-o", str(folder / "m"), "-lm"])
    x = samples(shape, 2)
    found = np.frombuffer(run([str(folder / "m"), "-b"], x.tobytes()), np.float32)
    agree(found.reshape(2, *model.output_shape[1:]), model.predict(x, verbose=0))


def test_the_example_of_the_documentation_compiles_and_runs(
    project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (project_root / "docs/c-export.md").read_text("utf-8")
    blocks = dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(blocks["python"], names)
    (tmp_path / "device.c").write_text(blocks["c"])
    printed = ""
    for line in blocks["sh"].splitlines():
        printed += run(["sh", "-e", "-c", line]).decode()
    expected = names["model"].predict(np.full((1, 28, 28, 1), 0.5, np.float32), verbose=0)[0]
    lines = printed.split()
    assert lines[0] == f"{int(expected.argmax())}", "the device's program prints the class"
    agree(np.array(lines[1:11], np.float32), expected)
