"""Who takes part: a framework, its threads, its precision, and what its process's environment says."""

from __future__ import annotations

from dataclasses import dataclass, field

from sidebyside.frameworks import FRAMEWORKS

OURS = "fastcnn"


@dataclass(frozen=True)
class Contestant:
    """One worker process.

    Attributes:
        name: Name in results.
        framework: Key of `frameworks.FRAMEWORKS`.
        threads: Threads the framework may use, each on a processor of its own.
        environment: Additional variables of the process's environment.
        precision: "float32", or "bfloat16" for mixed precision as the framework has it: weights stay float32.
    """

    name: str
    framework: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    precision: str = "float32"


def contestants(threads: int) -> dict[str, Contestant]:
    """All that are known, by name: every framework as it is, some in mixed precision, and fastcnn and PyTorch held back."""
    mixed = (OURS, "torch", "keras-tensorflow", "openvino")
    avx2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    known = [
        *(Contestant(framework, framework, threads) for framework in FRAMEWORKS),
        Contestant("fastcnn-1-thread", OURS, 1),
        Contestant("fastcnn-avx2", OURS, threads, {"FASTCNN_MAX_ISA": "avx2"}),
        Contestant("fastcnn-baseline", OURS, threads, {"FASTCNN_MAX_ISA": "baseline"}),
        Contestant("torch-avx2", "torch", threads, avx2),
        *(Contestant(f"{name}-bfloat16", name, threads, precision="bfloat16") for name in mixed),
    ]
    return {contestant.name: contestant for contestant in known}
