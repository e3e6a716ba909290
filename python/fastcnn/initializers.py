"""First values of weights. https://keras.io/api/layers/initializers/

A random initializer has a seed from the start: calling the same object twice gives the same values. Without `seed=` the
seed comes from the global stream (`utils.set_random_seed`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastcnn import random
from fastcnn._identifiers import Registry
from fastcnn._lazy import nothing_called
from fastcnn._naming import to_snake_case
from fastcnn.random import SeedGenerator
from fastcnn.utils.seed import next_seed


class Initializer:
    """Base of the initializers: a callable from a shape to an array.

    Example:
        >>> class Twos(Initializer):
        ...     def __call__(self, shape, dtype="float32"):
        ...         return np.full(shape, 2, dtype)
        >>> Twos()((2,))
        array([2., 2.], dtype=float32)

    See https://keras.io/api/layers/initializers/#creating-custom-initializers
    """

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        """Returns an array of the shape and dtype (None: float32)."""
        raise NotImplementedError(f"{type(self).__name__}: __call__: expected to be overridden")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Initializer:
        """Returns the initializer that `get_config` described."""
        return cls(**config)

    def clone(self) -> Initializer:
        """Returns a new initializer of the same configuration; without a given seed it draws its own."""
        return type(self).from_config(self.get_config())


class Zeros(Initializer):
    """All 0.

    >>> Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        return np.zeros(tuple(shape), dtype or "float32")


class Ones(Initializer):
    """All 1.

    >>> Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        return np.ones(tuple(shape), dtype or "float32")


class Constant(Initializer):
    """All `value`.

    Args:
        value: a number, or an array that broadcasts to the shape.

    Example:
        >>> Constant(0.5)((2,))
        array([0.5, 0.5], dtype=float32)

    See https://keras.io/api/layers/initializers/#constant-class
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        value = np.asarray(self.value, dtype or "float32")
        try:
            return np.broadcast_to(value, tuple(shape)).copy()
        except ValueError:
            raise ValueError(
                f"Constant: shape: expected one that a value of shape {value.shape} broadcasts to, "
                f"received {tuple(shape)}"
            ) from None

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value.tolist() if isinstance(self.value, (np.ndarray, np.generic)) else self.value}


class Identity(Initializer):
    """`gain` on the diagonal of a matrix, 0 elsewhere.

    Args:
        gain: the diagonal's value.

    Example:
        >>> Identity()((2, 2))
        array([[1., 0.],
               [0., 1.]], dtype=float32)

    See https://keras.io/api/layers/initializers/#identity-class
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        if len(shape) != 2:
            raise ValueError(f"Identity: shape: expected rank 2, received {tuple(shape)}")
        return np.asarray(self.gain * np.eye(shape[0], shape[1]), dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        return {"gain": self.gain}


class RandomInitializer(Initializer):
    """Base of the random initializers: holds the seed."""

    def __init__(self, seed: int | SeedGenerator | Mapping[str, Any] | None = None) -> None:
        if isinstance(seed, Mapping):
            seed = SeedGenerator.from_config(seed["config"])
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer, SeedGenerator))):
            raise ValueError(
                f"{type(self).__name__}: seed: expected an integer, a random.SeedGenerator or None, received {seed!r}"
            )
        self._init_seed = seed
        self.seed = next_seed() if seed is None else seed

    def get_config(self) -> dict[str, Any]:
        seed: Any = self._init_seed
        if isinstance(seed, SeedGenerator):
            seed = {"class_name": "SeedGenerator", "config": seed.get_config()}
        return {"seed": seed}


class RandomNormal(RandomInitializer):
    """A normal distribution.

    Args:
        mean: the mean.
        stddev: the standard deviation.
        seed: see the module.

    Example:
        >>> initializer = RandomNormal(stddev=0.1, seed=1)
        >>> bool((initializer((3,)) == initializer((3,))).all())
        True

    See https://keras.io/api/layers/initializers/#randomnormal-class
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | SeedGenerator | None = None) -> None:
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        return random.normal(shape, self.mean, self.stddev, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "mean": self.mean, "stddev": self.stddev}


class TruncatedNormal(RandomNormal):
    """A normal distribution cut at two standard deviations.

    Args:
        mean: the mean.
        stddev: the standard deviation before the cut.
        seed: see the module.

    Example:
        >>> bool((abs(TruncatedNormal(stddev=0.1, seed=1)((100,))) <= 0.2).all())
        True

    See https://keras.io/api/layers/initializers/#truncatednormal-class
    """

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        return random.truncated_normal(shape, self.mean, self.stddev, dtype, self.seed)


class RandomUniform(RandomInitializer):
    """Values spread evenly over [minval, maxval).

    Args:
        minval: the least value.
        maxval: the bound above.
        seed: see the module.

    Example:
        >>> bool((abs(RandomUniform(seed=1)((100,))) <= 0.05).all())
        True

    See https://keras.io/api/layers/initializers/#randomuniform-class
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | SeedGenerator | None = None) -> None:
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        return random.uniform(shape, self.minval, self.maxval, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "minval": self.minval, "maxval": self.maxval}


# Standard deviation of a standard normal distribution cut at +-2: dividing by it keeps the variance asked for.
_TRUNCATED_STDDEV = 0.87962566103423978
_MODES = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS = ("uniform", "truncated_normal", "untruncated_normal")


class VarianceScaling(RandomInitializer):
    """Zero mean and a variance of scale / n, where n counts the weight's inputs, outputs or their mean.

    Args:
        scale: positive.
        mode: what n is: "fan_in", "fan_out" or "fan_avg".
        distribution: "truncated_normal" (also "normal"), "untruncated_normal" or "uniform".
        seed: see the module.
        input_axes: the shape's axes that count as inputs; by default those of a dense (in, out) or convolution
            (..., in, out) kernel. Given together with `output_axes`.
        output_axes: the shape's axes that count as outputs.

    Raises:
        ValueError: an argument outside of the values above.

    Example:
        >>> weights = VarianceScaling(scale=2.0, mode="fan_out", seed=1)((3, 3, 64, 64))
        >>> round(float(weights.var()) * 3 * 3 * 64, 1)
        2.0

    See https://keras.io/api/layers/initializers/#variancescaling-class
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | SeedGenerator | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        if not scale > 0.0:
            raise ValueError(f"VarianceScaling: scale: expected a number > 0, received {scale!r}")
        if mode not in _MODES:
            raise ValueError(f"VarianceScaling: mode: expected one of {_MODES}, received {mode!r}")
        folded = str(distribution).lower()
        folded = "truncated_normal" if folded == "normal" else folded
        if folded not in _DISTRIBUTIONS:
            raise ValueError(
                f"VarianceScaling: distribution: expected one of {_DISTRIBUTIONS}, received {distribution!r}"
            )
        super().__init__(seed)
        self.scale = scale
        self.mode = mode
        self.distribution = folded
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        fan_in, fan_out = compute_fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return random.uniform(shape, -limit, limit, dtype, self.seed)
        if self.distribution == "untruncated_normal":
            return random.normal(shape, 0.0, math.sqrt(variance), dtype, self.seed)
        return random.truncated_normal(shape, 0.0, math.sqrt(variance) / _TRUNCATED_STDDEV, dtype, self.seed)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "scale": self.scale,
            "mode": self.mode,
            "distribution": self.distribution,
            "input_axes": self.input_axes,
            "output_axes": self.output_axes,
        }


def compute_fans(
    shape: Sequence[int], input_axes: Sequence[int] | None = None, output_axes: Sequence[int] | None = None
) -> tuple[int, int]:
    """Returns how many inputs and outputs a weight of this shape joins.

    >>> compute_fans((3, 3, 16, 32))  # an HWIO kernel
    (144, 288)
    """
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[axis] for axis in input_axes), math.prod(shape[axis] for axis in output_axes)
    if len(shape) == 0:
        return 1, 1
    if len(shape) == 1:
        return int(shape[0]), int(shape[0])
    receptive_field = math.prod(shape[:-2])
    return receptive_field * int(shape[-2]), receptive_field * int(shape[-1])


class _NamedScaling(VarianceScaling):
    """A variance scaling with its scale, mode and distribution fixed by the class."""

    _fixed: tuple[float, str, str]

    def __init__(
        self,
        seed: int | SeedGenerator | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(*self._fixed, seed=seed, input_axes=input_axes, output_axes=output_axes)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        return {name: config[name] for name in ("seed", "input_axes", "output_axes")}


class GlorotUniform(_NamedScaling):
    """Uniform within sqrt(6 / (fan_in + fan_out)); Keras's default for kernels (Glorot & Bengio, 2010).

    >>> bool((abs(GlorotUniform(seed=1)((2, 4))) <= 1).all())
    True

    See https://keras.io/api/layers/initializers/#glorotuniform-class
    """

    _fixed = (1.0, "fan_avg", "uniform")


class GlorotNormal(_NamedScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot & Bengio, 2010).

    See https://keras.io/api/layers/initializers/#glorotnormal-class
    """

    _fixed = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_NamedScaling):
    """Uniform within sqrt(6 / fan_in) (He et al., 2015).

    See https://keras.io/api/layers/initializers/#heuniform-class
    """

    _fixed = (2.0, "fan_in", "uniform")


class HeNormal(_NamedScaling):
    """Truncated normal of variance 2 / fan_in (He et al., 2015).

    See https://keras.io/api/layers/initializers/#henormal-class
    """

    _fixed = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_NamedScaling):
    """Uniform within sqrt(3 / fan_in) (LeCun et al., 1998).

    See https://keras.io/api/layers/initializers/#lecununiform-class
    """

    _fixed = (1.0, "fan_in", "uniform")


class LecunNormal(_NamedScaling):
    """Truncated normal of variance 1 / fan_in (LeCun et al., 1998).

    See https://keras.io/api/layers/initializers/#lecunnormal-class
    """

    _fixed = (1.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """An orthogonal matrix (Saxe et al., 2014); axes but the last are flattened to rows.

    Args:
        gain: factor of the matrix.
        seed: see the module.

    Raises:
        ValueError: when called with a shape of rank below 2.

    Example:
        >>> q = Orthogonal(seed=1)((4, 3))
        >>> bool(np.allclose(q.T @ q, np.eye(3), atol=1e-6))
        True

    See https://keras.io/api/layers/initializers/#orthogonal-class
    """

    def __init__(self, gain: float = 1.0, seed: int | SeedGenerator | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal: shape: expected rank 2 at least, received {tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        gaussian = random.normal((max(rows, columns), min(rows, columns)), dtype="float64", seed=self.seed)
        q, r = np.linalg.qr(gaussian)
        q *= np.sign(np.diagonal(r))  # makes the distribution uniform over the orthogonal matrices
        matrix = q if rows >= columns else q.T
        return np.asarray(self.gain * matrix, dtype or "float32").reshape(tuple(shape))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gain": self.gain}


class _Values(Initializer):
    """Given values, which must have the shape asked for."""

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values

    def __call__(self, shape: Sequence[int], dtype: DTypeLike | None = "float32") -> NDArray[Any]:
        if tuple(shape) != self.values.shape:
            raise ValueError(
                f"initializer: shape: expected that of the array given, {self.values.shape}, received {tuple(shape)}"
            )
        return self.values.astype(dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        return {"values": self.values.tolist()}


# Keras's other spellings of the classes.
zeros = Zeros
ones = Ones
constant = Constant
identity = Identity
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal
orthogonal = Orthogonal

_CLASSES: tuple[type[Initializer], ...] = (
    Zeros,
    Ones,
    Constant,
    Identity,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
    GlorotUniform,
    GlorotNormal,
    HeUniform,
    HeNormal,
    LecunUniform,
    LecunNormal,
    Orthogonal,
)
_registry = Registry(
    "initializers",
    "initializer",
    {cls.__name__: cls for cls in _CLASSES}
    | {to_snake_case(cls.__name__): cls for cls in _CLASSES}
    | {"zero": Zeros, "one": Ones, "normal": RandomNormal, "uniform": RandomUniform},
    shown=[to_snake_case(cls.__name__) for cls in _CLASSES],
)


def get(identifier: Any) -> Callable[..., Any] | None:
    """Returns the initializer for a name, a config, a class, an array, a function (shape, dtype) -> array or None.

    Raises:
        ValueError: an unknown name, or nothing of these.

    Example:
        >>> type(get("he_normal")).__name__
        'HeNormal'
    """
    if identifier is None:
        return None
    if isinstance(identifier, (np.ndarray, np.generic)):
        return _Values(np.asarray(identifier))
    initializer: Callable[..., Any] = _registry.get(identifier)
    return initializer


def serialize(initializer: Initializer) -> dict[str, Any]:
    """Returns the initializer's config.

    >>> serialize(Constant(0.5))["config"]
    {'value': 0.5}
    """
    return _registry.serialize(initializer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Initializer:
    """Returns the initializer that `serialize` described.

    >>> deserialize({"class_name": "Constant", "config": {"value": 0.5}}).value
    0.5
    """
    initializer: Initializer = _registry.deserialize(config, custom_objects)
    return initializer


IdentityInitializer, OrthogonalInitializer = Identity, Orthogonal

_NO_STFT = "there are no layers for spectrograms"
__getattr__ = nothing_called(__name__, instead=dict.fromkeys(("STFT", "STFTInitializer", "stft"), _NO_STFT))
