"""Memory stays bounded: few plans, few contexts, nothing kept of a call."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_cases import Chain, images, labels, mission_model, small_model

from fastcnn import _core

MSE = {"kind": "mean_squared_error"}
needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")


def resident() -> float:
    """Resident memory of this process, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_native_calls_grant_nothing_after_the_first() -> None:
    """Evaluation and prediction of other sizes reuse the plans there are."""
    chain = Chain((12, 12, 2)).conv(8).batch_norm().activation("relu").pool().dropout(0.2).reshape().dense(3)
    trainer, _ = chain.trainer(MSE, {"kind": "adam"})
    network, _ = chain.network()
    x, y = images(50, (12, 12, 2)), np.zeros((50, 3), np.float32)

    def run() -> None:
        trainer.train(x, y, None, None, 0, 50, 16, np.array([1e-3]), 100, np.inf, None)
        trainer.gradients(x[:16], y[:16], None, 0)
        for n in (50, 33, 17, 16, 9, 3, 1):
            trainer.evaluate(x, y, None, 0, n, 8, None)
            network.predict(x, 32, 0, n)

    run()
    before = _core.native_allocations()
    run()
    assert _core.native_allocations() == before
    network.forward_training(x, 0)  # makes its plan for each call: the counter does count
    assert _core.native_allocations() > before


def test_every_fused_pool_step_keeps_only_what_is_pooled() -> None:
    for pool in (2, 3):
        chain = Chain((61, 61, 1)).conv(32).activation("relu").pool(size=(pool, pool))
        network, _ = chain.network()
        step = network.explain(1, True)[0]
        assert step["operation"] == "conv2d + max_pool2d"
        height, width, channels = step["output_shape"]
        pooled = height * width * channels
        # A float for the value, a byte for the place of the maximum, and the ends of cache lines.
        assert 5 * pooled <= step["activation_bytes"] <= 5 * pooled + 512
        inference = network.explain(1, False)[-1]
        assert inference["context_bytes"] < 4 * 59 * 59 * channels, "as large as the image before the pool"


@needs_proc
@pytest.mark.parametrize("kind", ["train", "predict", "evaluate"])
def test_many_batch_sizes_do_not_pile_up_plans(kind: str) -> None:
    model, x, y = mission_model(), images(110), labels(110)

    def run(n: int) -> Any:
        if kind == "train":
            return model.train_on_batch(x[:n], y[:n])
        return model.predict_on_batch(x[:n]) if kind == "predict" else model.test_on_batch(x[:n], y[:n])

    for n in (110, 64, 32, 16, 8, 4, 2, 1):
        run(n)
    before = resident()
    for n in range(1, 110):
        run(n)
    grown = resident() - before
    # A training plan of this network keeps about 5 MB: all of them together would keep 500.
    assert grown < 60, f"{grown:.0f} MB"


@needs_proc
@pytest.mark.slow
def test_predict_and_fit_keep_nothing_of_a_call() -> None:
    model, x, y = small_model(), images(64, (8, 8, 1)), labels(64)

    def run(predictions: int, fits: int) -> None:
        for i in range(predictions):
            model.predict(x[: 1 + i % 64], verbose=0)
        for _ in range(fits):
            model.fit(x, y, batch_size=16, verbose=0)

    run(300, 30)
    before = resident()
    run(3000, 300)
    assert resident() - before < 8


@needs_proc
@pytest.mark.slow
def test_models_are_freed() -> None:
    def run(models: int) -> None:
        for i in range(models):
            mission_model(seed=i).train_on_batch(images(32), labels(32))

    run(5)
    before = resident()
    run(60)  # about 8 MB each
    assert resident() - before < 100
