"""What frameworks are compared on. A case is plain data: it travels to the workers as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sidebyside.networks import NETWORKS


@dataclass(frozen=True)
class Training:
    """One epoch through `model.fit` or what a framework has for it: shuffled batches, Adam, binary cross-entropy, accuracy.

    Attributes:
        network: Key of `networks.NETWORKS`.
        batch_size: Images of a step.
        samples: Images of the epoch.
    """

    network: str = "mission"
    batch_size: int = 32
    samples: int = 9_600

    @property
    def name(self) -> str:
        return f"training-{self.network}-{self.batch_size}"

    @property
    def title(self) -> str:
        return f"training, {NETWORKS[self.network].title}, batch {self.batch_size}"

    @property
    def work(self) -> tuple[float, str]:
        """Amount of work of one call, and its unit."""
        return self.samples, "samples"

    def smaller(self) -> Training:
        """The case with a tenth of the epoch."""
        return replace(self, samples=max(self.samples // 10, 2 * self.batch_size))


@dataclass(frozen=True)
class Inference:
    """Probabilities of `samples` images.

    Attributes:
        network: Key of `networks.NETWORKS`.
        batch_size: Images that are computed at a time.
        samples: Images of one call.
        method: "call" for `model(x)`, "predict" for `model.predict(x)`; frameworks without models loop over batches.
    """

    network: str
    batch_size: int
    samples: int
    method: str

    @property
    def name(self) -> str:
        return f"inference-{self.network}-{self.method}-{self.batch_size}"

    @property
    def title(self) -> str:
        written = "model(x)" if self.method == "call" else "model.predict(x)"
        return f"inference, {NETWORKS[self.network].title}, batch {self.batch_size}, {written}"

    @property
    def work(self) -> tuple[float, str]:
        """Amount of work of one call, and its unit."""
        return self.samples, "samples"

    def smaller(self) -> Inference:
        """The case with a tenth of the images, in whole batches."""
        return replace(self, samples=max(self.samples // 10 // self.batch_size, 1) * self.batch_size)


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
    dilation: int
    groups: int
    direction: str

    @property
    def name(self) -> str:
        image = f"{self.batch}x{self.height}x{self.width}x{self.channels}"
        numbers = f"k{self.kernel_size}s{self.strides}p{self.pad}d{self.dilation}g{self.groups}"
        return f"kernel-{image}-{self.filters}-{numbers}-{self.direction}"

    @property
    def shape_title(self) -> str:
        """The title without the direction."""
        image = f"{self.batch}x{self.height}x{self.width}x{self.channels}"
        title = f"{image} to {self.filters}, {self.kernel_size}x{self.kernel_size}"
        title += "" if self.pad else " valid"
        title += f", stride {self.strides}" if self.strides > 1 else ""
        title += f", dilation {self.dilation}" if self.dilation > 1 else ""
        return title + (", depthwise" if self.groups == self.channels > 1 else "")

    @property
    def title(self) -> str:
        return f"convolution of {self.shape_title}, {self.direction}"

    @property
    def first_layer(self) -> bool:
        """Whether the input has as few channels as a picture."""
        return self.channels in (1, 3)

    @property
    def padding(self) -> str:
        return "same" if self.pad else "valid"

    @property
    def same_values(self) -> bool:
        """Whether the frameworks pad alike, so that their results can be compared."""
        return self.pad == 0 or self.strides == 1

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """The kernel as Keras has it: height, width, channels of a group, filters."""
        return self.kernel_size, self.kernel_size, self.channels // self.groups, self.filters

    @property
    def output_size(self) -> tuple[int, int]:
        reach = self.dilation * (self.kernel_size - 1) + 1
        height, width = ((n + 2 * self.pad - reach) // self.strides + 1 for n in (self.height, self.width))
        return height, width

    @property
    def work(self) -> tuple[float, str]:
        """Floating-point operations of one call, in 10^9."""
        height, width = self.output_size
        taps = self.kernel_size**2 * self.channels // self.groups * self.filters
        return 2e-9 * self.batch * height * width * taps, "GFLOP"

    def smaller(self) -> Convolution:
        """The case itself: its calls are short, and its shape is what it is about."""
        return self


Case = Training | Inference | Convolution

DIRECTIONS = ("forward", "grad-input", "grad-kernel")

# batch, height, width, channels, filters, kernel size, stride, padding, dilation, groups
CONVOLUTION_SHAPES = (
    # the mission's network
    (32, 28, 28, 1, 32, 3, 1, 0, 1, 1),
    (32, 13, 13, 32, 64, 3, 1, 0, 1, 1),
    (32, 5, 5, 64, 64, 3, 1, 0, 1, 1),
    # the network of 150x150 pixels
    (8, 150, 150, 3, 32, 3, 1, 0, 1, 1),
    (8, 74, 74, 32, 64, 3, 1, 0, 1, 1),
    (8, 36, 36, 64, 128, 3, 1, 0, 1, 1),
    (8, 17, 17, 128, 128, 3, 1, 0, 1, 1),
    # ResNet-50
    (4, 224, 224, 3, 64, 7, 2, 3, 1, 1),
    (4, 56, 56, 64, 64, 3, 1, 1, 1, 1),
    (4, 28, 28, 128, 128, 3, 1, 1, 1, 1),
    (4, 14, 14, 256, 256, 3, 1, 1, 1, 1),
    (4, 7, 7, 512, 512, 3, 1, 1, 1, 1),
    (4, 56, 56, 64, 256, 1, 1, 0, 1, 1),
    (4, 14, 14, 1024, 256, 1, 1, 0, 1, 1),
    (4, 56, 56, 128, 128, 3, 2, 1, 1, 1),
    # more first layers
    (4, 112, 112, 1, 32, 3, 1, 1, 1, 1),
    (32, 64, 64, 3, 32, 3, 1, 0, 1, 1),
    # stride and dilation, depthwise, large windows, channels that fill no vector
    (4, 57, 57, 64, 128, 3, 2, 0, 1, 1),
    (4, 28, 28, 64, 64, 3, 1, 2, 2, 1),
    (4, 112, 112, 32, 32, 3, 1, 1, 1, 32),
    (4, 14, 14, 512, 512, 3, 1, 1, 1, 512),
    (4, 28, 28, 64, 64, 5, 1, 2, 1, 1),
    (4, 28, 28, 32, 32, 7, 1, 3, 1, 1),
    (4, 28, 28, 17, 17, 3, 1, 1, 1, 1),
    (4, 28, 28, 33, 33, 3, 1, 1, 1, 1),
    (4, 28, 28, 100, 100, 3, 1, 1, 1, 1),
)

# Beside oneDNN in bfloat16: the networks' layers alone.
MIXED_CONVOLUTIONS = tuple(
    Convolution(*shape, direction) for shape in CONVOLUTION_SHAPES[:15] for direction in DIRECTIONS
)
CONVOLUTIONS = tuple(Convolution(*shape, direction) for shape in CONVOLUTION_SHAPES for direction in DIRECTIONS)

# Epochs are as short as a peer's rate allows: about two seconds each.
TRAININGS = (
    Training("mission", 32, 9_600),
    Training("mission", 8, 3_200),
    Training("mission", 128, 12_800),
    Training("mission", 1024, 16_384),
    Training("tutorial", 32, 1_600),
    Training("cats-and-dogs", 32, 320),
    Training("normalized", 32, 6_400),
)

MIXED_TRAININGS = tuple(case for case in TRAININGS if case.network != "normalized" and case.batch_size in (32, 128))

TRAINING = TRAININGS[0]
QUICK_TRAINING = TRAINING.smaller()

# The larger networks in batches of 32, what `predict` takes: at 256 the first activations alone are 126 and 718 MB for
# whoever computes layer by layer, which would slow the peers down.
INFERENCES = (
    Inference("mission", 256, 10_240, "predict"),
    Inference("mission", 1, 1, "call"),
    Inference("mission", 1, 1, "predict"),
    Inference("tutorial", 32, 1_024, "predict"),
    Inference("cats-and-dogs", 32, 128, "predict"),
)

MIXED_INFERENCES = tuple(case for case in INFERENCES if case.samples > 1)

_CLASSES = {cls.__name__: cls for cls in (Training, Inference, Convolution)}


def to_json(case: Case) -> dict[str, Any]:
    """The case as JSON values; `from_json` is the inverse."""
    return {"class": type(case).__name__, **asdict(case)}


def from_json(values: dict[str, Any]) -> Case:
    """The case that `to_json` described."""
    rest = dict(values)
    return _CLASSES[rest.pop("class")](**rest)
