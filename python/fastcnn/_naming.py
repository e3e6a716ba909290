"""Names given to layers and models that were not named: conv2d, conv2d_1, ..., as in Keras."""

from __future__ import annotations

import re
import threading
from collections import Counter

_counts: Counter[str] = Counter()
_lock = threading.Lock()


def to_snake_case(class_name: str) -> str:
    """A class's name as its instances' names begin.

    >>> to_snake_case("MaxPooling2D"), to_snake_case("Conv2D"), to_snake_case("ReLU")
    ('max_pooling2d', 'conv2d', 're_lu')
    """
    return re.sub(r"(?<=[^_])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "_", class_name).lower()


def auto_name(class_name: str) -> str:
    """The next unused name for an instance of `class_name` in this process."""
    base = to_snake_case(class_name)
    with _lock:
        used = _counts[base]
        _counts[base] += 1
    return f"{base}_{used}" if used else base


def reset_names() -> None:
    """Starts the numbering again, as Keras's `clear_session` does."""
    with _lock:
        _counts.clear()
