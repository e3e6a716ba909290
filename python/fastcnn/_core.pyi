"""The native module: what Python may ask of the C++ side. Private; the public names are in the package around it."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__version__: str

class Error(ValueError):
    """Bad input found natively; the message names operation, argument, expected and received."""

# --- configuration ---------------------------------------------------------------------------------------------

def build_config() -> dict[str, Any]:
    """compiler, build_type, cuda (bool), isa_compiled (list), isa_detected, isa_active, isa_cap (str | None),
    amx (the level in use, or why there is none)."""

def get_num_threads() -> int: ...
def set_num_threads(n: int) -> None:
    """Threads of every later call; n = 0 returns to the default."""

def winograd_allowed() -> bool: ...
def set_winograd(allowed: bool) -> None:
    """Whether choices made from now on may fall on Winograd's kernels."""

def amx_active() -> bool:
    """Whether AMX tiles are in use, the processor's or emulated ones."""

def set_amx_emulated(emulated: bool) -> None:
    """Whether plans made from now on use the kernels for AMX tiles with the tiles in memory: slow, for tests."""

def thread_config() -> dict[str, Any]:
    """threads, reason (why that many, a sentence), affinity, cgroup_quota (float | None)."""

# --- parameters ------------------------------------------------------------------------------------------------

class Parameters:
    """One flat, aligned float32 buffer holding an array per shape, zero at first."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None: ...
    def __len__(self) -> int: ...
    def view(self, index: int) -> NDArray[np.float32]:
        """Read-only, zero-copy; keeps the buffer alive."""
    def assign(self, index: int, value: NDArray[np.float32]) -> None:
        """Same shape, C-contiguous float32. Waits for steps running on these parameters; packed copies become stale."""

# --- graph -----------------------------------------------------------------------------------------------------

# Size of an axis; for each position of the result the positions that it is made of, and their weights.
Taps = tuple[int, Sequence[Sequence[int]], Sequence[Sequence[float]]]

class Graph:
    """A chain of operations on one sample; each call appends one and returns the new output shape.

    Parameters are given as indices into the list that the Network receives; -1 means absent.
    `name` is the layer's name, used in messages and explain().
    """

    bfloat16: bool
    """Whether operations appended from now on may round their arrays and weights to bfloat16."""

    def __init__(self, input_shape: tuple[int, ...]) -> None: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    def operations(self) -> list[dict[str, Any]]:
        """What was appended, a dict each: kind, layer, input_shape and output_shape (of one sample), parameters (index by role,
        absent ones left out), attributes (numbers, strings, tuples; a window of one axis is a dict of size, stride,
        dilation, inputs, outputs, pad_begin, pad_end; the taps of one are a dict of inputs and the arrays begin, index, weight)."""
    def conv2d(
        self,
        name: str,
        *,
        filters: int,
        kernel_size: tuple[int, int],
        strides: tuple[int, int],
        padding: Literal["valid", "same"],
        dilation_rate: tuple[int, int],
        groups: int,
        kernel: int,
        bias: int,
    ) -> tuple[int, ...]: ...
    def pool2d(
        self,
        name: str,
        *,
        kind: Literal["max", "average"],
        pool_size: tuple[int, int],
        strides: tuple[int, int],
        padding: Literal["valid", "same"],
    ) -> tuple[int, ...]: ...
    def padded_pool2d(
        self,
        name: str,
        *,
        kind: Literal["max", "average"],
        pool_size: tuple[int, int],
        strides: tuple[int, int],
        height: tuple[int, int],
        width: tuple[int, int],
    ) -> tuple[int, ...]:
        """Rows and columns of padding before and after, fewer than the window has; padding counts neither way."""
    def global_pool2d(self, name: str, *, kind: Literal["max", "average"], keepdims: bool) -> tuple[int, ...]: ...
    def dense(self, name: str, *, units: int, kernel: int, bias: int) -> tuple[int, ...]: ...
    def activation(
        self, name: str, *, kind: Literal["linear", "relu", "sigmoid", "tanh", "softmax", "log_softmax"]
    ) -> tuple[int, ...]: ...
    def depthwise_conv2d(
        self,
        name: str,
        *,
        depth_multiplier: int,
        kernel_size: tuple[int, int],
        strides: tuple[int, int],
        padding: str,
        dilation_rate: tuple[int, int],
        kernel: int,
        bias: int,
    ) -> tuple[int, ...]: ...
    def conv2d_transpose(
        self,
        name: str,
        *,
        filters: int,
        kernel_size: tuple[int, int],
        strides: tuple[int, int],
        padding: str,
        output_padding: tuple[int, int],
        dilation_rate: tuple[int, int],
        kernel: int,
        bias: int,
    ) -> tuple[int, ...]:
        """output_padding: -1 for none given."""
    def elementwise(self, name: str, *, kind: str, a: float = 0.0, b: float = 0.0, c: float = 0.0) -> tuple[int, ...]:
        """A function of one number with its constants: `Function` in cpp/kernels/api_layers.h."""
    def permute(self, name: str, *, axes: tuple[int, ...]) -> tuple[int, ...]:
        """Axis i of the output is axis axes[i] of the input."""
    def pad2d(self, name: str, *, height: tuple[int, int], width: tuple[int, int]) -> tuple[int, ...]:
        """Before and after; negative: cut off."""
    def upsample2d(self, name: str, *, size: tuple[int, int], bilinear: bool) -> tuple[int, ...]: ...
    def adaptive_pool2d(
        self, name: str, *, kind: Literal["max", "average"], output_size: tuple[int, int]
    ) -> tuple[int, ...]: ...
    def prelu(self, name: str, *, alpha_shape: tuple[int, ...], alpha: int) -> tuple[int, ...]: ...
    def normalize(
        self, name: str, *, kind: Literal["standard", "rms", "unit"], axes: int, epsilon: float, gamma: int, beta: int
    ) -> tuple[int, ...]:
        """Over the last `axes` axes together."""
    def group_norm(self, name: str, *, groups: int, epsilon: float, gamma: int, beta: int) -> tuple[int, ...]: ...
    def noise(
        self,
        name: str,
        *,
        kind: Literal["dropout", "alpha_dropout", "gaussian_dropout", "gaussian"],
        rate: float,
        seed: int,
        noise_shape: tuple[int, ...],
        shared: bool,
    ) -> tuple[int, ...]: ...
    def host(
        self, name: str, *, layer: object, output_shape: tuple[int, ...], parameters: Sequence[int]
    ) -> tuple[int, ...]:
        """A layer written in Python, which answers to _host_forward and _host_backward; not kept alive."""
    def scale(
        self,
        name: str,
        *,
        kind: str,
        shape: Sequence[int],
        a: Sequence[float],
        b: Sequence[float],
        epsilon: float = 0.0,
    ) -> tuple[int, ...]:
        """Numbers of `shape`, which is the input's with 1 along shared axes: `ScaleKind` in cpp/kernels/api_images.h."""
    def normalize_by(
        self,
        name: str,
        *,
        kind: str,
        shape: Sequence[int],
        parameter_shape: Sequence[int],
        mean: int,
        variance: int,
        epsilon: float,
    ) -> tuple[int, ...]:
        """The same with parameters, which are kept in `parameter_shape`."""
    def resample2d(self, name: str, *, height: Taps, width: Taps) -> tuple[int, ...]: ...
    def warp(
        self,
        name: str,
        *,
        kind: str,
        height: tuple[float, float],
        width: tuple[float, float],
        tied: bool = False,
        bilinear: bool = True,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        seed: int,
    ) -> tuple[int, ...]:
        """Ranges of what is drawn: `WarpKind` in cpp/graph/image_ops.h. tied: one number for both axes."""
    def random_crop(self, name: str, *, size: tuple[int, int], height: Taps, width: Taps, seed: int) -> tuple[int, ...]:
        """A window at a random place; at inference the taps."""
    def recolor(
        self,
        name: str,
        *,
        kind: str,
        factor: tuple[float, float],
        second: tuple[float, float] = (0.0, 0.0),
        value_range: tuple[float, float],
        seed: int,
    ) -> tuple[int, ...]:
        """Ranges of what is drawn: `RecolorOp` in cpp/graph/image_ops.h."""
    def erase(
        self,
        name: str,
        *,
        rate: tuple[float, float],
        area: tuple[float, float],
        fill: Sequence[float],
        deviation: float,
        value_range: tuple[float, float],
        seed: int,
    ) -> tuple[int, ...]:
        """fill: one number, or one a channel; none: noise."""
    def activity(self, name: str, *, l1: float, l2: float) -> tuple[int, ...]:
        """The identity, with a penalty in the loss."""
    def reshape(self, name: str, *, target_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Also Flatten. One entry may be -1."""
    def dropout(self, name: str, *, rate: float, seed: int) -> tuple[int, ...]:
        """seed: 64-bit, drawn when the layer is built."""
    def batch_norm(
        self,
        name: str,
        *,
        gamma: int,
        beta: int,
        moving_mean: int,
        moving_variance: int,
        momentum: float,
        epsilon: float,
        frozen: bool = False,
    ) -> tuple[int, ...]:
        """Over the last axis. frozen: works as in inference while training too (moving statistics used, not updated)."""

# --- running ---------------------------------------------------------------------------------------------------

class Network:
    """A graph over parameters. Immutable; every method may be called from several Python threads at once.

    Arrays `x` are (n, *input_shape) or anything with n rows and as many elements a row; any dtype of uint8..uint64, int8..int64,
    bool, float16, float32, float64, any strides; they are read in place, block by block. Releases the GIL.
    """

    def __init__(self, graph: Graph, parameters: Sequence[tuple[Parameters, int]]) -> None: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def output_shape(self) -> tuple[int, ...]: ...
    def predict(
        self, x: NDArray[Any], batch_size: int, begin: int = 0, end: int = -1, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Outputs of samples [begin, end) in inference mode, (end - begin, *output_shape); `out` is that array or None."""
    def predict_usual(self, x: Any) -> NDArray[np.float32] | None:
        """predict for a C-contiguous float32 or uint8 array of the input's exact shape; None, at once, for all others."""

    def profile(self, x: NDArray[Any], seconds: float) -> list[dict[str, Any]]:
        """explain's list for predict of x, with forward_seconds of all threads (and backward_...: 0) a run; in the last
        entry samples, runs, elapsed_seconds (of a run), other_seconds (of no step)."""

    def forward_training(self, x: NDArray[Any], step: int) -> NDArray[np.float32]:
        """Outputs of one batch in training mode: dropout drawn for `step`, batch statistics used and moving ones updated."""
    def explain(self, batch_size: int, training: bool) -> list[dict[str, Any]]:
        """One dict a step: index, layers, operation, kernel, isa, output_shape, flops (a sample), activation_bytes (a
        sample), scratch_bytes, packed_bytes, declined (str); the last one sums up: operation == "total", threads, block,
        piece (of a block, that its largest tensors' steps take at a time), lanes, segments, context_bytes."""

class Updater:
    """What an optimizer does to parameters of these shapes, the arrays that it keeps beside them and its count of steps.

    description: {"kind": "sgd" | "adam" | "rmsprop" | "adadelta" | "adagrad" | "adamax" | "nadam" | "ftrl" | "lion" |
        "schedule_free_adamw" | "lamb" | "adafactor" | "muon", "weight_decay": [a number for each parameter], and the
        settings that differ from none; see OptimizerSpec in cpp/engine/updater.h}.
    """

    def __init__(self, description: dict[str, Any], shapes: Sequence[tuple[int, ...]]) -> None: ...
    @property
    def iterations(self) -> int:
        """Steps taken; settable."""
    @iterations.setter
    def iterations(self, value: int) -> None: ...
    def start(self, params: Sequence[NDArray[np.float32]]) -> None:
        """For rules that begin with a copy of the parameters; once, before the first step."""
    def apply(
        self,
        places: Sequence[int],
        params: Sequence[NDArray[np.float32]],
        gradients: Sequence[NDArray[np.float32]],
        learning_rate: float,
    ) -> None:
        """One step of the parameters at `places`, in place; the gradients are written over."""
    def get_state(self) -> dict[str, Any]:
        """Copies: {"iterations": int, "slots": {"m": [array per parameter], ...}}."""
    def set_state(self, state: dict[str, Any]) -> None: ...

class Trainer:
    """Loss, native metrics and optimizer over a network. One call runs many steps without Python.

    loss: {"kind": the name of a loss's function, "from_logits": bool, "label_smoothing": float, "reduction": "mean" |
        "weighted_mean" | "sum", and the settings of `loss`}. Probabilities from a final sigmoid or softmax are taken back to
        logits by the plan for cross-entropies. Or {"host": an object}, whose _host_loss(y_true, y_pred, weight, wants_gradient)
        gives (the batch's loss, its gradient); y is then float32 of any shape, one row a sample.
    metrics: [{"kind": "binary" | "categorical" | "sparse_categorical", "threshold": float, "weighted": bool}, ...]: accuracies.
    updater: of the trainable parameters, in their order, which several trainers may share; None: evaluation only.
    regularizers: for each parameter of the network (l1, l2), or an object with _host_penalty(values, wants_gradient) -> (penalty,
        gradient). trainable: bool for each.
    constraints: none, or for each parameter None, {"kind": "norm", "minimum", "maximum", "rate", "epsilon", "axes"},
        {"kind": "non_negative"}, or an object with _host_constrain(values) -> values; applied after each step.
    """

    def __init__(
        self,
        network: Network,
        loss: dict[str, Any],
        metrics: Sequence[dict[str, Any]],
        updater: Updater | None,
        regularizers: Sequence[Any],
        trainable: Sequence[bool],
        constraints: Sequence[Any] = (),
    ) -> None: ...
    @property
    def updater(self) -> Updater | None: ...
    def train(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[np.float32] | None,
        indices: NDArray[np.int64] | None,
        begin: int,
        end: int,
        batch_size: int,
        learning_rates: NDArray[np.float64],
        max_steps: int,
        time_limit: float,
        outputs: NDArray[np.float32] | None,
    ) -> dict[str, Any]:
        """Takes steps over positions [begin, end) of `indices` (rows of x, y, sample_weight; None: rows in order), `batch_size` each, the last may be smaller.

        y: float32 (n, *output_shape) (for a last axis of 1, (n,) too); int32 (n, *output_shape[:-1]) for the sparse loss; C-contiguous.
        learning_rates: one for each step, or a single one for all. Stops after max_steps, at `end`, or after the first step past time_limit seconds.
        outputs: (max_steps * batch_size at least, *output_shape) or None: receives each sample's training-mode prediction (probabilities).

        Returns steps, samples, and sums over the steps taken: loss (sum of batch loss * batch size; regularisation included),
        loss_weight (sum of batch size), metrics: list of (total, count). Batch loss is sum(weight * loss) / number of losses, as Keras.
        """
    def evaluate(
        self,
        x: NDArray[Any],
        y: NDArray[Any],
        sample_weight: NDArray[np.float32] | None,
        begin: int,
        end: int,
        batch_size: int,
        outputs: NDArray[np.float32] | None,
    ) -> dict[str, Any]:
        """The same sums over rows [begin, end) in inference mode; changes nothing."""
    def profile(
        self, x: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[np.float32] | None, seconds: float
    ) -> list[dict[str, Any]]:
        """Network.profile's list for the gradients of one batch; changes nothing."""

    def gradients(
        self, x: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[np.float32] | None, step: int
    ) -> list[NDArray[np.float32] | None]:
        """Gradient of one batch's loss (regularisation included, no clipping) for each parameter; None where not trainable.
        Changes nothing but batch normalisation's moving statistics."""

# --- kernels on arrays -----------------------------------------------------------------------------------------

Rows = list[tuple[str, str, str]]

def rows() -> Rows:
    """Every kernel row of this build: (operation, algorithm, isa)."""

# The functions below take float32 arrays and use the best row, or the row named by `algorithm` and `isa`; with isa="reference" they take
# float64 arrays and run the double-precision oracle. Arrays are C-contiguous (the caller sees to it); `out` is None or the result's array.

def conv2d(
    x: NDArray[Any],
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
    relu: bool,
    pool_size: tuple[int, int] | None = None,
    pool_strides: tuple[int, int] | None = None,
    pool_padding: str = "valid",
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> Any:
    """y, or (y, argmax uint8) where pool_size is given (max pooling)."""

def amx_fills(channels: int, filters: int, groups: int) -> bool:
    """Whether a convolution in so many groups is for tiles: groups of few channels leave them mostly empty."""

def amx_conv2d(
    x: NDArray[np.uint16],
    kernel: NDArray[np.uint16],
    bias: NDArray[np.float32] | None,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
    relu: bool,
) -> NDArray[np.uint16]:
    """conv2d of bfloat16 words with AMX tiles; shapes are checked by the caller."""

def amx_conv2d_grad_input(
    dy: NDArray[np.uint16],
    kernel: NDArray[np.uint16],
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
) -> NDArray[np.uint16]:
    """conv2d_grad_input likewise; `size` is the images' height and width."""

def amx_conv2d_grad_kernel(
    x: NDArray[np.uint16],
    dy: NDArray[np.uint16],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """conv2d_grad_kernel likewise."""

def has_bfloat16_pairs() -> bool:
    """Whether the processor multiplies bfloat16 numbers in pairs (AVX512-BF16), and AVX-512 is in use."""

def pairs_active() -> bool:
    """Whether bfloat16 arrays are multiplied so: where that is faster than float32."""

def set_pairs(used: bool, always: bool = False) -> None:
    """For tests; `always`: also where float32 is estimated to be faster."""

def bfloat16_conv2d(
    x: NDArray[np.uint16],
    kernel: NDArray[np.uint16],
    bias: NDArray[np.float32] | None,
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
    relu: bool,
) -> NDArray[np.uint16]:
    """conv2d of bfloat16 words, by pairs where they fit and are faster, else in float32. Shapes are checked by the caller."""

def bfloat16_conv2d_grad_input(
    dy: NDArray[np.uint16],
    kernel: NDArray[np.uint16],
    size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
) -> NDArray[np.uint16]:
    """conv2d_grad_input likewise; `size` is the images' height and width."""

def bfloat16_conv2d_grad_kernel(
    x: NDArray[np.uint16],
    dy: NDArray[np.uint16],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """conv2d_grad_kernel likewise: the kernel's gradient as Keras has it, and the bias's."""

def conv2d_grad_input(
    dy: NDArray[Any],
    kernel: NDArray[Any],
    input_shape: tuple[int, int, int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def conv2d_grad_kernel(
    x: NDArray[Any],
    dy: NDArray[Any],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(dkernel, dbias)"""

def conv2d_scratch(
    direction: str,
    batch: int,
    size: tuple[int, int],
    channels: int,
    kernel_size: tuple[int, int],
    filters: int,
    strides: tuple[int, int] = ...,
    padding: str = "valid",
    dilation_rate: tuple[int, int] = ...,
    groups: int = 1,
    pooled: bool = False,
    isa: str = "",
    algorithm: str = "",
) -> int:
    """Floats that a kernel of "forward", "grad_input" or "grad_kernel" wants for any batch up to this one."""

def pooled_conv2d_grad(
    x: NDArray[Any],
    kernel: NDArray[Any],
    dy: NDArray[Any],
    argmax: NDArray[np.uint8],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    pool_size: tuple[int, int],
    pool_strides: tuple[int, int],
    pool_padding: str,
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(dx, dkernel HWIO, dbias) of the convolution below a max pool; `algorithm` is the grad-input's row."""

def pooled_conv2d_grad_kernel(
    x: NDArray[Any],
    dy: NDArray[Any],
    argmax: NDArray[np.uint8],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    groups: int,
    pool_size: tuple[int, int],
    pool_strides: tuple[int, int],
    pool_padding: str,
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[Any]]:
    """(dkernel HWIO, dbias) of the convolution below a max pool, without lists."""

def pool2d(
    x: NDArray[Any],
    kind: str,
    pool_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def pool2d_grad(
    x: NDArray[Any],
    dy: NDArray[Any],
    kind: str,
    pool_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def dense(
    x: NDArray[Any],
    kernel: NDArray[Any],
    bias: NDArray[Any] | None,
    relu: bool,
    out: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def dense_grad_input(
    dy: NDArray[Any], kernel: NDArray[Any], out: NDArray[Any] | None = None, isa: str = "", algorithm: str = ""
) -> NDArray[Any]: ...
def dense_grad_kernel(
    x: NDArray[Any], dy: NDArray[Any], out: NDArray[Any] | None = None, isa: str = "", algorithm: str = ""
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def activation(
    x: NDArray[Any], kind: str, out: NDArray[Any] | None = None, isa: str = "", algorithm: str = ""
) -> NDArray[Any]:
    """linear, relu, sigmoid, tanh, softmax and log_softmax (last axis)"""

def activation_grad(
    y: NDArray[Any], dy: NDArray[Any], kind: str, isa: str = "", algorithm: str = ""
) -> NDArray[Any]: ...
def loss(
    prediction: NDArray[Any],
    target: NDArray[Any],
    kind: str,
    from_logits: bool,
    label_smoothing: float,
    weight: NDArray[Any] | None = None,
    scale: float = 1.0,
    settings: dict[str, Any] = ...,
    isa: str = "",
    algorithm: str = "",
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """prediction (batch, ..., classes) -> (weighted sum of the row losses, gradient, activated); without from_logits
    `activated` is the prediction itself. target: float as prediction, or int32 (batch, ...) for the sparse losses.
    settings: the loss's own, {"a": float, "b": float, "class_weights": one float a class, "ignore_class": int}."""

def row_losses(
    prediction: NDArray[Any],
    target: NDArray[Any],
    kind: str,
    from_logits: bool,
    label_smoothing: float = 0.0,
    out: NDArray[Any] | None = None,
    settings: dict[str, Any] = ...,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]:
    """prediction (batch, ..., classes) -> each row's loss (batch, ...)"""

def accuracy(
    prediction: NDArray[Any],
    target: NDArray[Any],
    kind: str,
    threshold: float = 0.5,
    weight: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> tuple[float, float]:
    """(total, count)"""

def confusion_counts(
    prediction: NDArray[Any],
    target: NDArray[Any],
    thresholds: NDArray[Any],
    weight: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(tp, fp, fn, tn), each (len(thresholds),)"""

def patch_moments(
    x: NDArray[Any],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    padding: str,
    dilation_rate: tuple[int, int],
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, sum of (p - mean)(p - mean)^T) over a convolution's input patches p, at most 31 values each"""

def batch_norm_statistics(x: NDArray[Any], isa: str = "", algorithm: str = "") -> tuple[NDArray[Any], NDArray[Any]]:
    """(mean, sum of squared deviations) over all axes but the last"""

def batch_norm(
    x: NDArray[Any],
    mean: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any],
    relu: bool = False,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def batch_norm_pool(
    x: NDArray[Any],
    mean: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any],
    relu: bool,
    pool_size: tuple[int, int],
    strides: tuple[int, int],
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[np.uint8], NDArray[Any]]:
    """(y, argmax, x at the argmax): batch_norm, then a max pool whose windows neither overlap nor pad"""

def batch_norm_grad(
    x: NDArray[Any],
    dy: NDArray[Any],
    mean: NDArray[Any],
    inv_std: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any] | None = None,
    relu: bool = False,
    input_relu: bool = False,
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(dx, sum_dy, sum_dy_x): reduce, then backward. input_relu: x is a ReLU's result and dx the gradient before it"""

def batch_norm_pool_grad(
    x: NDArray[Any],
    dy: NDArray[Any],
    argmax: NDArray[np.uint8],
    picked: NDArray[Any],
    mean: NDArray[Any],
    inv_std: NDArray[Any],
    scale: NDArray[Any],
    shift: NDArray[Any] | None,
    relu: bool,
    input_relu: bool,
    pool_size: tuple[int, int],
    strides: tuple[int, int],
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(dx, sum_dy, sum_dy_x) through batch_norm_pool"""

def dropout(
    x: NDArray[Any],
    rate: float,
    seed: int,
    layer: int = 0,
    step: int = 0,
    first_sample: int = 0,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def elementwise(
    x: NDArray[Any], kind: str, a: float = 0.0, b: float = 0.0, c: float = 0.0, isa: str = "", algorithm: str = ""
) -> NDArray[Any]: ...
def elementwise_grad(
    x: NDArray[Any],
    dy: NDArray[Any],
    kind: str,
    a: float = 0.0,
    b: float = 0.0,
    c: float = 0.0,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def permute(x: NDArray[Any], axes: Sequence[int], isa: str = "", algorithm: str = "") -> NDArray[Any]:
    """Axes of a sample, the batch not counted."""

def resample(
    x: NDArray[Any],
    kind: str,
    input_size: tuple[int, int],
    height: tuple[int, int],
    width: tuple[int, int],
    transposed: bool = False,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]:
    """kind: pad (before, after), repeat, linear or mean (size, unused), of an image of input_size."""

def adaptive_max_pool(
    x: NDArray[Any], output_size: tuple[int, int], isa: str = "", algorithm: str = ""
) -> NDArray[Any]: ...
def adaptive_max_pool_grad(x: NDArray[Any], dy: NDArray[Any], isa: str = "", algorithm: str = "") -> NDArray[Any]: ...
def prelu(x: NDArray[Any], alpha: NDArray[Any], isa: str = "", algorithm: str = "") -> NDArray[Any]: ...
def prelu_grad(
    x: NDArray[Any], alpha: NDArray[Any], dy: NDArray[Any], isa: str = "", algorithm: str = ""
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def normalize(
    x: NDArray[Any],
    kind: str,
    epsilon: float,
    gamma: NDArray[Any] | None = None,
    beta: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]:
    """x: (batch, outer, positions, groups, channels)"""

def normalize_grad(
    x: NDArray[Any],
    dy: NDArray[Any],
    kind: str,
    epsilon: float,
    gamma: NDArray[Any] | None = None,
    isa: str = "",
    algorithm: str = "",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]: ...
def noise(
    x: NDArray[Any],
    kind: str,
    rate: float,
    seed: int,
    noise_shape: Sequence[int],
    shared: bool = False,
    backward: bool = False,
    layer: int = 0,
    step: int = 0,
    first_sample: int = 0,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def scale(
    x: NDArray[Any],
    a: NDArray[Any],
    b: NDArray[Any],
    kind: str,
    epsilon: float = 0.0,
    backward: bool = False,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def warp(
    x: NDArray[Any],
    transforms: NDArray[Any],
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    output_size: tuple[int, int] = (0, 0),
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]:
    """transforms: (batch, 6)."""

def warp_grad(
    dy: NDArray[Any],
    transforms: NDArray[Any],
    input_size: tuple[int, int],
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def recolor(
    x: NDArray[Any],
    parameters: NDArray[Any],
    kind: str,
    value_range: tuple[float, float] = (0.0, 255.0),
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]:
    """parameters: (batch, 2)."""

def recolor_grad(
    x: NDArray[Any],
    dy: NDArray[Any],
    parameters: NDArray[Any],
    kind: str,
    value_range: tuple[float, float] = (0.0, 255.0),
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]: ...
def erase(
    x: NDArray[Any],
    boxes: NDArray[Any],
    fill: NDArray[Any] | None = None,
    deviation: float = 255.0,
    value_range: tuple[float, float] = (0.0, 255.0),
    seed: int = 0,
    layer: int = 0,
    step: int = 0,
    first_sample: int = 0,
    backward: bool = False,
    isa: str = "",
    algorithm: str = "",
) -> NDArray[Any]:
    """boxes: (batch, 4), first row, row after the last, first column, column after the last."""

def draw_numbers(graph: Graph, node: int, batch: int, layer: int = 0, step: int = 0) -> NDArray[np.float32]:
    """What operation `node` draws for samples [0, batch), as its kernel gets it: transforms, parameters or boxes."""

def optimizer_update(
    kind: str,
    param: NDArray[Any],
    gradient: NDArray[Any],
    slots: dict[str, NDArray[Any]],
    hyper: dict[str, float],
    isa: str = "",
    algorithm: str = "",
) -> None:
    """In place on param and slots ("m", "v", "u"); hyper: fields of OptimizerUpdate."""

def sum_gradients(
    lanes: NDArray[Any], param: NDArray[Any], l1: float, l2: float, isa: str = "", algorithm: str = ""
) -> tuple[NDArray[Any], float, float]:
    """lanes (k, n) -> (gradient, penalty, sum of squares)"""

def sum_gradients_transposed(lanes: NDArray[Any], isa: str = "", algorithm: str = "") -> NDArray[Any]:
    """lanes (k, columns, rows) -> (rows, columns)"""

def read_samples(x: NDArray[Any], isa: str = "", algorithm: str = "") -> NDArray[np.float32]: ...
def round_bfloat16(x: NDArray[np.float32], isa: str = "", algorithm: str = "") -> NDArray[np.uint16]: ...
def pair_words(
    a: NDArray[np.uint16], b: NDArray[np.uint16] | None, isa: str = "", algorithm: str = ""
) -> NDArray[np.uint32]: ...
def fma_loop(rounds: int, start: float, a: float, b: float, isa: str = "", algorithm: str = "") -> tuple[float, int]:
    """r = a r + b, rounds times in every lane of a tile's registers: (mean of the lanes, operations done)."""

def peak_gflops() -> float:
    """10^9 multiply-adds, counted twice, that one thread does a second at the level in use; measured once."""

def philox(seed: int, counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """One block of Philox4x32-10."""

# --- process state (tests) ---------------------------------------------------------------------------------------

def float_state() -> int:
    """The calling thread's floating-point control register (MXCSR)."""

def native_allocations() -> int:
    """Allocations made so far through the engine's own allocator and operator new inside this module."""
