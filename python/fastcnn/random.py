"""Random arrays, and seeds that move on. https://keras.io/api/random/

`seed` is an integer (the same numbers at every call), a `SeedGenerator` (other numbers at every call, the same sequence
for the same start) or None (drawn from the global stream that `utils.set_random_seed` seeds).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastcnn._lazy import nothing_called
from fastcnn._naming import auto_name
from fastcnn.utils.seed import next_seed

_WORD = 2**64 - 1  # negative seeds wrap around


class SeedGenerator:
    """A seed that changes at every use.

    Args:
        seed: an integer; None draws one from the global stream.
        name: the object's name.

    Example:
        >>> generator = SeedGenerator(seed=3)
        >>> a, b = normal((2,), seed=generator), normal((2,), seed=generator)
        >>> bool((a == b).any())
        False
        >>> bool((normal((2,), seed=SeedGenerator(seed=3)) == a).all())
        True

    See https://keras.io/api/random/seed_generator/
    """

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        self.name = name or auto_name(type(self).__name__)
        self._initial_seed = seed
        self.state = np.array([(next_seed() if seed is None else _integer_seed(seed)) & _WORD, 0], np.uint64)

    def next(self, ordered: bool = True) -> NDArray[np.uint64]:
        """Returns the state (seed, uses so far), shape (2,), and moves on; `ordered` is accepted as in Keras, without effect."""
        state = self.state.copy()
        self.state[1] += np.uint64(1)
        return state

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"seed": self._initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> SeedGenerator:
        """Returns a generator that starts at the seed again."""
        return cls(**config)


def _integer_seed(seed: Any) -> int:
    try:
        return operator.index(seed)
    except TypeError:
        raise ValueError(f"random: seed: expected an integer, a SeedGenerator or None, received {seed!r}") from None


def _generator(seed: int | SeedGenerator | None) -> np.random.Generator:
    if isinstance(seed, SeedGenerator):
        words = [int(word) for word in seed.next()]
    else:
        words = [(next_seed() if seed is None else _integer_seed(seed)) & _WORD, 0]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(words)))


def _float_dtype(operation: str, dtype: DTypeLike | None) -> np.dtype[Any]:
    result = np.dtype("float32" if dtype is None else dtype)
    if result.kind != "f":
        raise ValueError(f"{operation}: dtype: expected a floating point dtype, received {dtype!r}")
    return result


def normal(
    shape: Sequence[int],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns samples of a normal distribution.

    Args:
        shape: the result's shape.
        mean: the distribution's mean.
        stddev: its standard deviation.
        dtype: a floating point dtype, float32 by default.
        seed: see the module.

    Example:
        >>> normal((2, 3), seed=0).shape
        (2, 3)

    See https://keras.io/api/random/random_ops/#normal-function
    """
    result = _float_dtype("random.normal", dtype)
    values = _generator(seed).standard_normal(tuple(shape))
    return np.asarray(values * stddev + mean, dtype=result)


def truncated_normal(
    shape: Sequence[int],
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns samples of a normal distribution cut at two standard deviations: values beyond are drawn again.

    Arguments as for `normal`.

    Example:
        >>> bool((abs(truncated_normal((1000,), seed=0)) <= 2).all())
        True

    See https://keras.io/api/random/random_ops/#truncatednormal-function
    """
    result = _float_dtype("random.truncated_normal", dtype)
    generator = _generator(seed)
    values = generator.standard_normal(math.prod(shape))
    while (beyond := np.flatnonzero(np.abs(values) > 2.0)).size:
        values[beyond] = generator.standard_normal(beyond.size)
    return np.asarray(values * stddev + mean, dtype=result).reshape(tuple(shape))


def uniform(
    shape: Sequence[int],
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns samples spread evenly over [minval, maxval).

    Args:
        shape: the result's shape.
        minval: the least value.
        maxval: the bound above, excluded (rounding to `dtype` may reach it).
        dtype: a floating point dtype, float32 by default.
        seed: see the module.

    Example:
        >>> uniform((3,), minval=5, maxval=6, seed=0).astype(int)
        array([5, 5, 5])

    See https://keras.io/api/random/random_ops/#uniform-function
    """
    result = _float_dtype("random.uniform", dtype)
    values = _generator(seed).random(tuple(shape))
    return np.asarray(values * (maxval - minval) + minval, dtype=result)


def randint(
    shape: Sequence[int],
    minval: int,
    maxval: int,
    dtype: DTypeLike = "int32",
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns integers spread evenly over [minval, maxval).

    Args:
        shape: the result's shape.
        minval: the least value.
        maxval: the bound above, excluded.
        dtype: an integer dtype.
        seed: see the module.

    Raises:
        ValueError: `dtype` is no integer dtype, or the range is empty.

    Example:
        >>> randint((4,), 7, 8, seed=0)
        array([7, 7, 7, 7], dtype=int32)

    See https://keras.io/api/random/random_ops/#randint-function
    """
    result = np.dtype(dtype)
    if result.kind not in "iu":
        raise ValueError(f"random.randint: dtype: expected an integer dtype, received {dtype!r}")
    if minval >= maxval:
        raise ValueError(f"random.randint: maxval: expected more than minval = {minval}, received {maxval}")
    return _generator(seed).integers(minval, maxval, size=tuple(shape), dtype=np.int64).astype(result)


def shuffle(x: ArrayLike, axis: int = 0, seed: int | SeedGenerator | None = None) -> NDArray[Any]:
    """Returns a copy of `x` with its slices along `axis` in random order.

    Args:
        x: the array.
        axis: the axis that is shuffled.
        seed: see the module.

    Example:
        >>> sorted(shuffle([3, 1, 2], seed=0).tolist())
        [1, 2, 3]

    See https://keras.io/api/random/random_ops/#shuffle-function
    """
    return _generator(seed).permutation(np.asarray(x), axis=axis)


def categorical(
    logits: ArrayLike, num_samples: int, dtype: DTypeLike = "int32", seed: int | SeedGenerator | None = None
) -> NDArray[Any]:
    """Returns draws from the distribution that each row of `logits` describes.

    Args:
        logits: (n, classes) logarithms of probabilities, up to a constant for each row.
        num_samples: draws for each row.
        dtype: the result's dtype.
        seed: see the module.

    Returns:
        (n, num_samples) classes.

    Raises:
        ValueError: `logits` of another rank.

    Example:
        >>> categorical([[0.0, 100.0]], 3, seed=0)
        array([[1, 1, 1]], dtype=int32)

    See https://keras.io/api/random/random_ops/#categorical-function
    """
    values = np.asarray(logits, np.float64)
    if values.ndim != 2:
        raise ValueError(f"random.categorical: logits: expected (n, classes), received shape {values.shape}")
    # The largest of logits with Gumbel noise has exactly these probabilities.
    noise = _generator(seed).gumbel(size=(num_samples, *values.shape))
    return np.asarray((values + noise).argmax(axis=-1).T, dtype=np.dtype(dtype))


def dropout(
    inputs: ArrayLike,
    rate: float,
    noise_shape: Sequence[int | None] | None = None,
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns `inputs` with a share of the numbers set to 0 and the others divided by the share that is kept.

    Args:
        inputs: the array.
        rate: the share that is dropped, in [0, 1).
        noise_shape: shape of the decisions, broadcast to the inputs'; None stands for an axis' own size.
        seed: see the module.

    Raises:
        ValueError: another rate.

    Example:
        >>> sorted(set(dropout([1.0] * 100, 0.5, seed=0).tolist()))
        [0.0, 2.0]

    See https://keras.io/api/random/random_ops/#dropout-function
    """
    if not 0 <= rate < 1:
        raise ValueError(f"random.dropout: rate: expected a number in [0, 1), received {rate!r}")
    values = np.asarray(inputs)
    values = values if values.dtype.kind == "f" else values.astype(np.float32)
    shape = values.shape if noise_shape is None else [n or size for n, size in zip(noise_shape, values.shape)]
    kept = _generator(seed).random(tuple(shape)) >= rate
    found: NDArray[Any] = np.where(kept, values / values.dtype.type(1 - rate), values.dtype.type(0))
    return found


def gamma(
    shape: Sequence[int], alpha: ArrayLike, dtype: DTypeLike | None = None, seed: int | SeedGenerator | None = None
) -> NDArray[Any]:
    """Returns samples of the gamma distribution with shape parameter `alpha` and rate 1.

    Args:
        shape: the result's shape.
        alpha: positive number or array that broadcasts to `shape`.
        dtype: a floating point dtype, float32 by default.
        seed: see the module.

    Example:
        >>> bool((gamma((5,), 2.0, seed=0) > 0).all())
        True

    See https://keras.io/api/random/random_ops/#gamma-function
    """
    result = _float_dtype("random.gamma", dtype)
    return np.asarray(_generator(seed).gamma(np.asarray(alpha, np.float64), size=tuple(shape)), dtype=result)


def beta(
    shape: Sequence[int],
    alpha: ArrayLike,
    beta: ArrayLike,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns samples of the beta distribution, arguments as for `gamma`.

    >>> values = beta((5,), 2.0, 3.0, seed=0)
    >>> bool(((values > 0) & (values < 1)).all())
    True

    See https://keras.io/api/random/random_ops/#beta-function
    """
    result = _float_dtype("random.beta", dtype)
    parameters = np.asarray(alpha, np.float64), np.asarray(beta, np.float64)
    return np.asarray(_generator(seed).beta(*parameters, size=tuple(shape)), dtype=result)


def binomial(
    shape: Sequence[int],
    counts: ArrayLike,
    probabilities: ArrayLike,
    dtype: DTypeLike | None = None,
    seed: int | SeedGenerator | None = None,
) -> NDArray[Any]:
    """Returns samples of the binomial distribution.

    Args:
        shape: the result's shape.
        counts: numbers of trials, which broadcast to `shape`.
        probabilities: probability of success of each trial, likewise.
        dtype: a floating point dtype, float32 by default.
        seed: see the module.

    Example:
        >>> binomial((3,), 4, 1.0, seed=0)
        array([4., 4., 4.], dtype=float32)

    See https://keras.io/api/random/random_ops/#binomial-function
    """
    result = _float_dtype("random.binomial", dtype)
    trials = np.asarray(counts, np.float64).astype(np.int64)
    chance = np.asarray(probabilities, np.float64)
    return np.asarray(_generator(seed).binomial(trials, chance, size=tuple(shape)), dtype=result)


__getattr__ = nothing_called(__name__)
