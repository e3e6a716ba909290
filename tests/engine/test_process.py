"""What the engine does to the process around it: memory, floating-point state, threads, forks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_cases import images, labels, mission_model, run_python

from fastcnn import _core

COUNTER = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
static long count;
long allocations(void) { return count; }
void *malloc(size_t n) {
    static void *(*real)(size_t);
    if (!real) real = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    return real(n);
}
void *aligned_alloc(size_t a, size_t n) {
    static void *(*real)(size_t, size_t);
    if (!real) real = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "aligned_alloc");
    __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
    return real(a, n);
}
"""


def trained(epochs: int = 1) -> tuple[Any, Any, Any]:
    model, x, y = mission_model(), images(96), labels(96)
    model.fit(x, y, epochs=epochs, verbose=0)
    return model, x, y


def test_nothing_is_granted_after_the_first_calls() -> None:
    model, x, y = trained()
    model.evaluate(x, y, verbose=0)
    model.predict(x, verbose=0)
    before = _core.native_allocations()
    for _ in range(3):
        model.fit(x, y, verbose=0)
        model.evaluate(x, y, verbose=0)
        model.predict(x, verbose=0)
    assert _core.native_allocations() == before


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs LD_PRELOAD and a C compiler")
def test_steps_allocate_nothing(tmp_path: Path) -> None:
    """A call of 200 steps asks malloc for as much as a call of 2."""
    source, library = tmp_path / "counter.c", tmp_path / "counter.so"
    source.write_text(COUNTER)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"], check=True)
    printed = run_python(
        """
        import ctypes, sys
        import numpy as np
        import fastcnn as keras
        from fastcnn import layers

        counter = ctypes.CDLL(None).allocations
        counter.restype = ctypes.c_long
        model = keras.Sequential([
            layers.Conv2D(8, 3, activation="relu", padding="same", input_shape=(12, 12, 2)), layers.MaxPooling2D(),
            layers.Conv2D(8, 3, use_bias=False), layers.BatchNormalization(), layers.Activation("relu"),
            layers.Dropout(0.2), layers.Flatten(), layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        x = np.random.default_rng(0).random((16 * 200, 12, 12, 2), dtype=np.float32)
        y = np.arange(len(x)) % 3
        model.fit(x[:32], y[:32], batch_size=16, verbose=0)
        trainer, rate, labels = model._trainer.native, np.array([1e-3]), y.astype(np.int32)

        def allocations(steps):
            before = counter()
            trainer.train(x, labels, None, None, 0, len(x), 16, rate, steps, 1e9, None)
            return counter() - before

        allocations(2)
        print(allocations(2), allocations(200))
        """,
        LD_PRELOAD=str(library),
        PYTHONMALLOC="pymalloc",
    )
    few, many = map(int, printed.split())
    assert few > 0, "the counter was not used"
    assert many == few


def test_pooled_steps_keep_no_image_from_before_the_pool() -> None:
    steps = mission_model()._current_network().native.explain(32, True)
    first = steps[0]
    assert first["operation"] == "conv2d + max_pool2d"
    assert first["output_shape"] == (12, 12, 32)  # of 13 x 13 the next step reads 12 x 12
    pooled, before_pool = 13 * 13 * 32, 26 * 26 * 32
    assert first["activation_bytes"] < 4 * pooled + pooled + 512  # values and one byte each for where the maximum was
    total = steps[-1]
    packed = total["threads"] * sum(step["packed_bytes"] for step in steps[:-1])  # each thread has its own
    assert total["context_bytes"] - packed < 4 * 32 * before_pool + 4 * total["lanes"] * 93_000


def test_floating_point_state_is_left_alone() -> None:
    before = _core.float_state()
    model, x, _ = trained()
    model.predict(x, verbose=0)
    assert _core.float_state() == before
    seen: list[int] = []
    thread = threading.Thread(target=lambda: (model.predict(x, verbose=0), seen.append(_core.float_state())))
    thread.start()
    thread.join()
    assert seen == [before]
    assert np.float32(1e-38) * np.float32(1e-3) > 0, "NumPy makes no subnormals any more"


def test_import_leaves_subnormals_alone() -> None:
    assert run_python("import fastcnn, numpy as np; print(np.float32(1e-38) * np.float32(1e-3) > 0)").strip() == "True"


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_fork_of_a_process_that_used_threads_works() -> None:
    printed = run_python(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        sys.path.insert(0, os.environ["CASES"])
        from engine_cases import images, labels, mission_model
        from fastcnn import _core

        _core.set_num_threads(2)
        model, x, y = mission_model(), images(64), labels(64)
        weights = model.get_weights()
        model.fit(x, y, verbose=0, shuffle=False)
        expected = model.predict(x, verbose=0).tobytes()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                again = model.predict(x, verbose=0).tobytes() == expected
                model.fit(x, y, verbose=0, epochs=2)
                os.write(writer, f"{again} {_core.get_num_threads()}".encode())
            finally:
                os._exit(0)
        os.close(writer)
        print(os.read(reader, 100).decode())
        os.waitpid(child, 0)
        model.fit(x, y, verbose=0)
        print(_core.get_num_threads())
        """,
        timeout=60,
        CASES=str(Path(__file__).parent),
    )
    assert printed.split() == ["True", "1", "2"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FASTCNN_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5,2"}, 5),
        ({"FASTCNN_NUM_THREADS": "none"}, None),
    ],
)
def test_environment_decides_the_number_of_threads(variables: dict[str, str], expected: int | None) -> None:
    program = (
        "from fastcnn import _core; c = _core.thread_config(); print(c['threads'], c['affinity'], c['cgroup_quota'])"
    )
    threads, affinity, quota = run_python(
        program, without=("FASTCNN_NUM_THREADS", "OMP_NUM_THREADS"), **variables
    ).split()
    if expected is None:
        limit = int(affinity) if quota == "None" else min(int(affinity), -int(-float(quota) // 1))
        assert int(threads) == max(1, limit)
    else:
        assert int(threads) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="needs sched_setaffinity")
def test_affinity_limits_the_number_of_threads() -> None:
    program = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from fastcnn import _core
        print(_core.get_num_threads())
    """
    assert run_python(program, without=("FASTCNN_NUM_THREADS", "OMP_NUM_THREADS")).strip() == "1"


@pytest.mark.parametrize("level", ["baseline", "avx2", "avx512"])
def test_the_level_asked_for_is_the_level_that_runs(level: str) -> None:
    order = list(_core.build_config()["isa_compiled"])
    if level not in order or order.index(level) > order.index(_core.build_config()["isa_detected"]):
        pytest.skip(f"this processor or build has no {level}")
    program = """
        import os, sys
        sys.path.insert(0, os.environ["CASES"])
        from engine_cases import mission_model
        print(*{step["isa"] for step in mission_model()._current_network().native.explain(32, True)[:-1]})
    """
    assert run_python(program, FASTCNN_MAX_ISA=level, CASES=str(Path(__file__).parent)).strip() == level


def test_an_unknown_level_is_refused() -> None:
    program = """
        try:
            import fastcnn
        except Exception as error:
            print(error)
    """
    message = run_python(program, FASTCNN_MAX_ISA="sse9").strip()
    assert message == "FASTCNN_MAX_ISA: expected one of 'baseline', 'avx2', 'avx512', 'amx', received 'sse9'"
