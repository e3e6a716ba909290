"""The loop that a processor's peak is measured with does what it counts."""

from __future__ import annotations

from kernel_cases import REFERENCE, each_row

from fastcnn import _core


@each_row("fma_loop")
def test_the_loop_does_all_rounds_in_all_lanes(algorithm: str, isa: str) -> None:
    for rounds in (0, 1, 7, 20):
        value, flops = _core.fma_loop(rounds, 3.0, 0.5, 0.5, isa, algorithm)
        assert value == _core.fma_loop(rounds, 3.0, 0.5, 0.5, REFERENCE)[0] == 1.0 + 2.0 * 0.5**rounds
        assert flops % 2 == 0 and flops == rounds * _core.fma_loop(1, 3.0, 0.5, 0.5, isa, algorithm)[1]


def test_the_peak_is_above_what_one_multiply_add_a_cycle_gives() -> None:
    assert _core.peak_gflops() > 4.0  # SSE2 at 1 GHz
    assert _core.peak_gflops() == _core.peak_gflops()
