"""The process's settings: number format, threads, instruction set."""

from __future__ import annotations

from typing import Any

from fastcnn import _core, _messages


def floatx() -> str:
    """The floating-point type of weights and activations.

    >>> floatx()
    'float32'
    """
    return "float32"


def epsilon() -> float:
    """The small number that keeps probabilities away from 0 and 1.

    >>> epsilon()
    1e-07
    """
    return 1e-7


def image_data_format() -> str:
    """The order of an image's axes.

    >>> image_data_format()
    'channels_last'
    """
    return "channels_last"


def enable_winograd() -> None:
    """Lets 3x3 convolutions use Winograd's method where it is estimated to be faster, as they do at first.

    It multiplies about a third as often as the direct sum. Results stay within the accuracy that fastcnn promises;
    they differ from the direct sum's in the last bits (docs/numerics.md). Models that have run already keep their kernels.

    >>> enable_winograd()
    >>> is_winograd_enabled()
    True

    See https://arxiv.org/abs/1509.09308
    """
    _core.set_winograd(True)


def disable_winograd() -> None:
    """Has every convolution computed as a direct sum from now on; ``FASTCNN_WINOGRAD=0`` does it from the start.

    Models that have run already keep their kernels: call it first.

    >>> disable_winograd()
    >>> is_winograd_enabled()
    False
    >>> enable_winograd()
    """
    _core.set_winograd(False)


def is_winograd_enabled() -> bool:
    """Whether convolutions may use Winograd's method.

    >>> is_winograd_enabled()
    True
    """
    return _core.winograd_allowed()


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Shows version, instruction set, threads and how fastcnn was built.

    Args:
        mode: "stdout" prints; "dicts" returns the same as a dictionary, as `numpy.show_config` does.

    Returns:
        The dictionary for mode="dicts", else None.

    Raises:
        ValueError: another mode.

    Example:
        >>> sorted(show_config(mode="dicts"))
        ['build', 'instruction set', 'threads', 'version']
    """
    _messages.choice("show_config", "mode", mode, ("stdout", "dicts"))
    build, threads = _core.build_config(), _core.thread_config()
    found = {
        "version": _core.__version__,
        "instruction set": {
            "used": build["isa_active"],
            "found": build["isa_detected"],
            "capped by FASTCNN_MAX_ISA": build["isa_cap"] or "no",
            "compiled": ", ".join(build["isa_compiled"]),
        },
        "threads": threads,
        "build": {
            "compiler": build["compiler"],
            "type": build["build_type"],
            "CUDA": "yes" if build["cuda"] else "no",
        },
    }
    if mode.lower() == "dicts":
        return found
    for title, entries in found.items():
        if isinstance(entries, dict):
            print(f"{title}:")
            for key, value in entries.items():
                print(f"    {key}: {value}")
        else:
            print(f"fastcnn {title}: {entries}")
    return None
