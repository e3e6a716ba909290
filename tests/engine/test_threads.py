"""Several Python threads on one model, forks, interrupts, and what workers do to subnormal numbers."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_cases import Chain, images, labels, mission_model, run_python, small_model

from fastcnn import _core

CASES = str(Path(__file__).parent)


def in_threads(*bodies: Callable[[], Any]) -> None:
    """Runs the bodies at the same time; the first failure among them is the test's."""
    failures: list[BaseException] = []

    def guarded(body: Callable[[], Any]) -> None:
        try:
            body()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), "a thread hangs"
    if failures:
        raise failures[0]


# --- subnormal numbers ------------------------------------------------------------------------------------------------


@pytest.mark.isa
@pytest.mark.parametrize("threads", [1, 4])
def test_workers_flush_subnormals_and_their_callers_do_not(threads: int) -> None:
    """A product below 1e-38 is zero in every worker; a subnormal input counts as zero, too."""
    if not _core.float_state():
        pytest.skip("this processor has no MXCSR")
    _core.set_num_threads(threads)
    chain = Chain((1,)).dense(1, bias=False)
    chain.values[0][:] = 1e-20
    network, parameters = chain.network()
    x = np.full((200, 1), 1e-20, np.float32)
    assert np.all(x * np.float32(1e-20) > 0), "the product is no subnormal number here"
    assert not network.predict(x, 200).any()
    parameters.assign(0, np.full((1, 1), 1e10, np.float32))
    assert not network.predict(np.full((200, 1), 1e-40, np.float32), 200).any()
    assert np.all(x * np.float32(1e-20) > 0)


def test_floating_point_state_survives_a_refused_call() -> None:
    before = _core.float_state()
    trainer, _ = Chain((3,)).dense(1).trainer({"kind": "mean_squared_error"}, {"kind": "sgd"})
    with pytest.raises(_core.Error):
        trainer.evaluate(np.zeros((2, 3), np.float32), np.zeros(3, np.float32), None, 0, 2, 2, None)
    assert _core.float_state() == before


# --- one model, several threads ---------------------------------------------------------------------------------------


def test_threads_predict_at_once() -> None:
    model, x = mission_model(), images(70)
    sizes = (1, 5, 33, 70)
    expected = {n: model.predict(x[:n], verbose=0) for n in sizes}

    def predict(n: int) -> None:
        for _ in range(20):
            assert np.array_equal(model.predict(x[:n], verbose=0), expected[n])

    in_threads(*(lambda n=n: predict(n) for n in sizes))


def test_threads_evaluate_and_predict_at_once() -> None:
    model, x, y = small_model(), images(70, (8, 8, 1)), labels(70)
    expected, outputs = model.evaluate(x, y, verbose=0), model.predict(x, verbose=0)

    def evaluate() -> None:
        for _ in range(20):
            assert model.evaluate(x, y, verbose=0) == expected

    def predict() -> None:
        for _ in range(50):
            assert np.array_equal(model.predict(x, verbose=0), outputs)

    in_threads(evaluate, predict, evaluate, predict)


def test_predict_while_fit_runs_sees_whole_steps() -> None:
    """Equal samples have equal outputs: no prediction mixes the weights of two steps; and fit is not held up."""
    model, x, y = mission_model(), images(320), labels(320)
    same = np.repeat(x[:1], 40, axis=0)
    expected = mission_model().fit(x, y, epochs=2, verbose=0, shuffle=False).history
    started, done = threading.Event(), threading.Event()
    seen: set[bytes] = set()

    def fit() -> None:
        started.wait(10)
        try:
            assert model.fit(x, y, epochs=2, verbose=0, shuffle=False).history == expected
        finally:
            done.set()

    def predict() -> None:
        while not done.is_set():
            outputs = model.predict(same, batch_size=40, verbose=0)
            assert (outputs == outputs[0]).all()
            seen.add(outputs[0].tobytes())
            started.set()

    in_threads(fit, predict, predict)
    assert len(seen) > 1, "no prediction fell into the training"


def test_fits_of_one_model_take_turns() -> None:
    x, y = images(64, (8, 8, 1)), labels(64)
    expected = small_model()
    for _ in range(3):
        expected.fit(x, y, verbose=0, shuffle=False)
    model = small_model()
    in_threads(*[lambda: model.fit(x, y, verbose=0, shuffle=False)] * 3)
    assert model.optimizer.iterations == expected.optimizer.iterations == 6
    for found, wanted in zip(model.get_weights(), expected.get_weights()):
        assert np.array_equal(found, wanted)


def test_models_train_side_by_side() -> None:
    x, y = images(64, (8, 8, 1)), labels(64)
    expected = small_model()
    expected.fit(x, y, epochs=5, verbose=0, shuffle=False)
    models = [small_model() for _ in range(3)]
    in_threads(*(lambda m=m: m.fit(x, y, epochs=5, verbose=0, shuffle=False) for m in models))
    for model in models:
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), expected.get_weights()))


def test_assign_while_fit_runs_waits_for_the_steps() -> None:
    model, x, y = small_model(), images(64, (8, 8, 1)), labels(64)
    kernel = model.layers[0].kernel
    value = kernel.numpy()

    def assign() -> None:
        for _ in range(200):
            kernel.assign(value)

    in_threads(lambda: model.fit(x, y, epochs=20, verbose=0), assign)
    assert all(np.isfinite(w).all() for w in model.get_weights())


# --- forks ------------------------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="no fork")


@needs_fork
def test_a_fork_trains_to_the_same_bits() -> None:
    printed = run_python(
        """
        import os, sys, warnings
        warnings.simplefilter("ignore")
        sys.path.insert(0, os.environ["CASES"])
        from engine_cases import images, labels, mission_model
        from fastcnn import _core

        def bits():
            model.fit(x, y, verbose=0, shuffle=False)
            outputs = model.predict(x, verbose=0)
            return b"".join(w.tobytes() for w in (*model.get_weights(), outputs))

        _core.set_num_threads(2)
        model, x, y = mission_model(), images(64), labels(64)
        bits()
        reader, writer = os.pipe()
        if not os.fork():
            try:
                with os.fdopen(writer, "wb") as stream:
                    stream.write(bits())
                os._exit(0)
            finally:
                os._exit(1)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            child = stream.read()
        assert os.wait()[1] == 0
        print(child == bits())
        """,
        timeout=60,
        CASES=CASES,
    )
    assert printed.strip() == "True"


@needs_fork
def test_a_pool_of_forked_processes_works() -> None:
    printed = run_python(
        """
        import multiprocessing, os, sys, warnings
        warnings.simplefilter("ignore")
        sys.path.insert(0, os.environ["CASES"])
        from engine_cases import images, labels, mission_model

        model, x, y = mission_model(), images(64), labels(64)
        model.fit(x, y, verbose=0)

        def work(i):
            return model.predict(x, verbose=0).tobytes()

        with multiprocessing.get_context("fork").Pool(3) as pool:
            print({outputs == work(0) for outputs in pool.map(work, range(6))})
        """,
        timeout=60,
        CASES=CASES,
    )
    assert printed.strip() == "{True}"


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------

INTERRUPTED = """
    import os, sys, time
    sys.path.insert(0, os.environ["CASES"])
    import numpy as np
    import fastcnn as keras
    from engine_cases import images, labels, mission_model

    model, x, y = mission_model(), images(20_000), labels(20_000)
    model.fit(x[:320], y[:320], verbose=0)
    ready = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: print("\\nready", flush=True))
    try:
        model.fit(x, y, epochs=1000, verbose=int(os.environ["VERBOSE"]), callbacks=[ready])
    except KeyboardInterrupt:
        print("\\ncaught", flush=True)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert np.isfinite(model.predict(x[:10], verbose=0)).all()
    taken = model._trainer.updater.iterations
    assert model.optimizer.iterations == taken > 10, (model.optimizer.iterations, taken)
    before = model.evaluate(x[:320], y[:320], verbose=0)[0]
    model.fit(x[:320], y[:320], epochs=5, verbose=0)
    assert model.optimizer.iterations == taken + 50
    assert model.evaluate(x[:320], y[:320], verbose=0)[0] < before
    print("trained on", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
@pytest.mark.parametrize("verbose", ["0", "1"])
def test_ctrl_c_stops_fit_at_once_and_training_can_go_on(verbose: str) -> None:
    import os
    import textwrap

    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)],
        env={**os.environ, "CASES": CASES, "VERBOSE": verbose}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stderr is not None
        wait_for(process, "ready")
        time.sleep(0.3)  # well inside a native call
        sent = time.perf_counter()
        process.send_signal(signal.SIGINT)
        wait_for(process, "caught")
        assert time.perf_counter() - sent < 1.0
        rest, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert rest.strip() == "trained on"
    finally:
        process.kill()
        process.wait()


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None and process.stderr is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"ended without {line!r}: {process.stderr.read()}")
