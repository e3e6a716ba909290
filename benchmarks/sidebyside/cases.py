"""What is measured. A case is plain data: it travels to the workers as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Training:
    """One epoch of the README's program: shuffled batches, Adam, binary cross-entropy, accuracy.

    Attributes:
        samples: Images of the epoch.
        batch_size: Images of a step.
    """

    samples: int = 48_000
    batch_size: int = 32

    @property
    def name(self) -> str:
        return "training"

    @property
    def title(self) -> str:
        return f"training epoch, batch {self.batch_size}"

    @property
    def work(self) -> tuple[float, str]:
        """Amount of work of one call, and its unit."""
        return self.samples, "samples"


@dataclass(frozen=True)
class Inference:
    """The README's network on `samples` images.

    Attributes:
        samples: Images of one call.
        batch_size: Images that are computed at a time.
        method: "call" for `model(x)`, "predict" for `model.predict(x)`; frameworks without models loop over batches.
    """

    samples: int
    batch_size: int
    method: str

    @property
    def name(self) -> str:
        return f"inference-{self.method}-batch-{self.batch_size}"

    @property
    def title(self) -> str:
        written = "model(x)" if self.method == "call" else "model.predict(x)"
        return f"inference, batch {self.batch_size}, {written}"

    @property
    def work(self) -> tuple[float, str]:
        """Amount of work of one call, and its unit."""
        return self.samples, "samples"


@dataclass(frozen=True)
class Convolution:
    """One direction of one convolution, float32.

    PyTorch pads by `pad` pixels on every side. fastcnn pads by "valid" or "same", whose output has the same size; with
    a stride of 2 "same" pads one pixel less, behind the image: values differ, the amount of work hardly.
    """

    batch: int
    height: int
    width: int
    channels: int
    filters: int
    kernel_size: int
    strides: int
    pad: int
    direction: str

    @property
    def name(self) -> str:
        sizes = (self.batch, self.height, self.width, self.channels, self.filters)
        numbers = (*sizes, self.kernel_size, self.strides, self.pad)
        return f"convolution-{'-'.join(map(str, numbers))}-{self.direction}"

    @property
    def title(self) -> str:
        image = f"{self.batch}x{self.height}x{self.width}x{self.channels}"
        window = f"{self.kernel_size}x{self.kernel_size}"
        stride = f", stride {self.strides}" if self.strides > 1 else ""
        return f"convolution of {image} to {self.filters}, {window}{stride}, {self.direction}"

    @property
    def padding(self) -> str:
        return "same" if self.pad else "valid"

    @property
    def same_values(self) -> bool:
        """Whether the frameworks pad alike, so that their results can be compared."""
        return self.pad == 0 or self.strides == 1

    @property
    def output_size(self) -> tuple[int, int]:
        height, width = ((n + 2 * self.pad - self.kernel_size) // self.strides + 1 for n in (self.height, self.width))
        return height, width

    @property
    def work(self) -> tuple[float, str]:
        """Floating-point operations of one call, in 10^9."""
        height, width = self.output_size
        taps = self.kernel_size**2 * self.channels * self.filters
        return 2e-9 * self.batch * height * width * taps, "GFLOP"


Case = Training | Inference | Convolution

DIRECTIONS = ("forward", "grad-input", "grad-kernel")

# batch, height, width, channels, filters, kernel size, stride, padding. First the network of the README, then one of
# 150 x 150 pixels (a usual size for pictures of cats and dogs), then layers of ResNet-50.
CONVOLUTION_SHAPES = (
    (32, 28, 28, 1, 32, 3, 1, 0),
    (32, 13, 13, 32, 64, 3, 1, 0),
    (32, 5, 5, 64, 64, 3, 1, 0),
    (8, 150, 150, 3, 32, 3, 1, 0),
    (8, 74, 74, 32, 64, 3, 1, 0),
    (8, 36, 36, 64, 128, 3, 1, 0),
    (8, 17, 17, 128, 128, 3, 1, 0),
    (4, 224, 224, 3, 64, 7, 2, 3),
    (4, 56, 56, 64, 64, 3, 1, 1),
    (4, 28, 28, 128, 128, 3, 1, 1),
    (4, 14, 14, 256, 256, 3, 1, 1),
    (4, 7, 7, 512, 512, 3, 1, 1),
    (4, 56, 56, 64, 256, 1, 1, 0),
    (4, 14, 14, 1024, 256, 1, 1, 0),
    (4, 56, 56, 128, 128, 3, 2, 1),
)

CONVOLUTIONS = tuple(Convolution(*shape, direction) for shape in CONVOLUTION_SHAPES for direction in DIRECTIONS)

TRAINING = Training()
QUICK_TRAINING = Training(samples=4_800)

INFERENCES = (
    Inference(samples=1, batch_size=1, method="call"),
    Inference(samples=1, batch_size=1, method="predict"),
    Inference(samples=10_240, batch_size=256, method="predict"),
)

_CLASSES = {cls.__name__: cls for cls in (Training, Inference, Convolution)}


def to_json(case: Case) -> dict[str, Any]:
    """The case as JSON values; `from_json` is the inverse."""
    return {"class": type(case).__name__, **asdict(case)}


def from_json(values: dict[str, Any]) -> Case:
    """The case that `to_json` described."""
    rest = dict(values)
    return _CLASSES[rest.pop("class")](**rest)
