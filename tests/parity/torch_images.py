"""Images as PyTorch's tensors, channels first, with the padding that Keras gives them."""

from __future__ import annotations

from typing import Any


def same_padding(size: int, window: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's "same": what is missing, the odd pixel at the end."""
    total = max(0, (-(-size // stride) - 1) * stride + (window - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def pad_images(x: Any, padding: str, window: Any, strides: Any, dilation: Any = (1, 1), value: float = 0.0) -> Any:
    import torch  # here: tests skip where it is not installed

    if padding == "valid":
        return x
    pads = [same_padding(x.shape[2 + i], window[i], strides[i], dilation[i]) for i in (1, 0)]
    return torch.nn.functional.pad(x, [*pads[0], *pads[1]], value=value)
