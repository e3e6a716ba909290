"""The machine a measurement was taken on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Processor, cores, memory, system and Python."""
    return {
        "processor": _processor(),
        "cores": len(usable_cores()) or os.cpu_count(),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def load() -> float | None:
    """Processes that wanted a processor in the last minute, on average; None where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def usable_cores() -> list[int]:
    """Logical processors this process may use; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def cores_for(threads: int) -> list[int]:
    """As many logical processors, of different physical cores where there are enough; empty where the system does not say."""
    first_of_core, others = [], []
    seen: set[str] = set()
    for core in usable_cores():
        siblings = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        key = siblings.read_text().strip() if siblings.is_file() else str(core)
        (others if key in seen else first_of_core).append(core)
        seen.add(key)
    return (first_of_core + others)[:threads]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return platform.processor()
    fields = {}
    for line in cpuinfo.read_text().splitlines():
        if not line.strip():
            break  # one processor is enough
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name", platform.processor())
    flags = set(fields.get("flags", "").split())
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in flags]
    return f"{name} ({', '.join(known)})" if known else name


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{total / 2**30:.0f} GiB"
