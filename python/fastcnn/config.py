"""The process's settings: number format, threads, instruction set."""

from __future__ import annotations

import os
from typing import Any

from fastcnn import _core, _messages
from fastcnn._lazy import nothing_called
from fastcnn.dtype_policies import dtype_policy as dtype_policy
from fastcnn.dtype_policies import set_dtype_policy as set_dtype_policy


class _State:
    """The settings that Python keeps; C++ keeps those of threads and kernels."""

    image_data_format = "channels_last"
    interactive_logging = True
    traceback_filtering = True
    max_epochs: int | None = None
    max_steps_per_epoch: int | None = None


def backend() -> str:
    """The name of the backend: there is one.

    >>> backend()
    'fastcnn'
    """
    return "fastcnn"


def floatx() -> str:
    """The floating-point type of weights and activations.

    >>> floatx()
    'float32'
    """
    return "float32"


def set_floatx(value: str) -> None:
    """Accepts "float32", which weights and activations are.

    >>> set_floatx("float32")

    Raises:
        ValueError: another type.
    """
    _messages.only("set_floatx", "value", value, ("float32",))


def epsilon() -> float:
    """The small number that keeps probabilities away from 0 and 1.

    >>> epsilon()
    1e-07
    """
    return 1e-7


def set_epsilon(value: float) -> None:
    """Accepts 1e-7, which native losses are compiled with.

    >>> set_epsilon(1e-7)

    Raises:
        ValueError: another number.
    """
    _messages.only("set_epsilon", "value", value, (1e-7,))


def image_data_format() -> str:
    """The order of an image's axes where a layer or function is given none.

    >>> image_data_format()
    'channels_last'
    """
    return _State.image_data_format


def set_image_data_format(data_format: str) -> None:
    """Sets the order of an image's axes for layers made from now on that are given none.

    Args:
        data_format: "channels_last" or "channels_first".

    Raises:
        ValueError: another word; nothing changed.

    Example:
        >>> set_image_data_format("channels_last")

    See https://keras.io/api/utils/config_utils/
    """
    choices = ("channels_last", "channels_first")
    _State.image_data_format = _messages.choice("set_image_data_format", "data_format", data_format, choices)


def enable_interactive_logging() -> None:
    """Has progress and messages written to standard output, as they are at first.

    >>> enable_interactive_logging()
    """
    _State.interactive_logging = True


def disable_interactive_logging() -> None:
    """Has progress and messages go to the logger "fastcnn" (level INFO); `verbose="auto"` is then a line an epoch.

    >>> disable_interactive_logging()
    >>> is_interactive_logging_enabled()
    False
    >>> enable_interactive_logging()
    """
    _State.interactive_logging = False


def is_interactive_logging_enabled() -> bool:
    """Whether progress and messages are written to standard output.

    >>> is_interactive_logging_enabled()
    True
    """
    return _State.interactive_logging


def enable_traceback_filtering() -> None:
    """Accepted for Keras's sake: there are no frames of a framework to filter."""
    _State.traceback_filtering = True


def disable_traceback_filtering() -> None:
    """Accepted for Keras's sake: tracebacks are whole anyway."""
    _State.traceback_filtering = False


def is_traceback_filtering_enabled() -> bool:
    """What was asked for last.

    >>> is_traceback_filtering_enabled()
    True
    """
    return _State.traceback_filtering


def max_epochs() -> int | None:
    """The most epochs that `fit` makes, or None.

    >>> max_epochs() is None
    True
    """
    return _from_environment(_State.max_epochs, "KERAS_MAX_EPOCHS")


def set_max_epochs(max_epochs: int | None) -> None:
    """Limits the epochs of every `fit`, for a quick trial of a long program; None lifts the limit.

    The environment variable ``KERAS_MAX_EPOCHS`` does the same.

    >>> set_max_epochs(2)
    >>> max_epochs()
    2
    >>> set_max_epochs(None)
    """
    _State.max_epochs = None if max_epochs is None else _messages.integer("set_max_epochs", "max_epochs", max_epochs)


def max_steps_per_epoch() -> int | None:
    """The most steps that `fit`, `evaluate` and `predict` make in an epoch, or None.

    >>> max_steps_per_epoch() is None
    True
    """
    return _from_environment(_State.max_steps_per_epoch, "KERAS_MAX_STEPS_PER_EPOCH")


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Limits the steps of every epoch, for a quick trial of a long program; None lifts the limit.

    The environment variable ``KERAS_MAX_STEPS_PER_EPOCH`` does the same.

    >>> set_max_steps_per_epoch(10)
    >>> max_steps_per_epoch()
    10
    >>> set_max_steps_per_epoch(None)
    """
    if max_steps_per_epoch is not None:
        _messages.integer("set_max_steps_per_epoch", "max_steps_per_epoch", max_steps_per_epoch)
    _State.max_steps_per_epoch = max_steps_per_epoch


def _from_environment(value: int | None, variable: str) -> int | None:
    text = os.environ.get(variable)
    if value is not None or not text:
        return value
    if not text.isdecimal() or int(text) < 1:
        _messages.fail("config", variable, "a positive integer", text)
    return int(text)


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
            "bfloat16 tiles": build["amx"],
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


_FLASH = "there is no attention"
_INSTEAD = {
    **dict.fromkeys(("enable_flash_attention", "disable_flash_attention", "is_flash_attention_enabled"), _FLASH),
    "enable_unsafe_deserialization": "files never hold code that would be run",
    "is_nnx_enabled": "backend",
    "set_backend": "there is one backend, the native one",
}
__getattr__ = nothing_called(__name__, instead=_INSTEAD)
