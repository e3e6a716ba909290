"""What all optimizers share: learning rate, weight decay, gradient clipping, averages, the state of the native updater."""

from __future__ import annotations

import math
import operator
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastcnn import _core
from fastcnn._naming import auto_name
from fastcnn.saving.registration import describe
from fastcnn.variables import Variable

# Arrays that an optimizer keeps beside each variable: (native slot, Keras's name); those of a run stand together.
Run = tuple[tuple[str, str], ...]


class Optimizer:
    """Base of the optimizers: settings, and the native updater that takes the steps, in `fit` or by `apply`.

    Args:
        learning_rate: a number >= 0, a `schedules.LearningRateSchedule`, or a function without arguments.
        weight_decay: before each step weights are multiplied by 1 - weight_decay * learning_rate; None: not at all.
        clipnorm: each weight's gradient is scaled down to this L2 norm at most.
        clipvalue: each element of a gradient is cut to [-clipvalue, clipvalue].
        global_clipnorm: all gradients together are scaled down to this L2 norm at most. At most one of the three.
        use_ema: whether a moving average of the weights is kept, average = ema_momentum * average + (1 - ema_momentum) *
            weight after each step; the weights become their averages at the end of `fit`.
        ema_momentum: in [0, 1].
        ema_overwrite_frequency: after every so many steps, too; None: at the end alone.
        loss_scale_factor: gradients given to `apply` are divided by it. In `fit` it changes nothing: the loss would be
            multiplied by it first, and in float32 neither underflows.
        gradient_accumulation_steps: weights change once in so many steps (2 or more), by the mean of their gradients.
        name: the optimizer's name.

    Raises:
        ValueError: an argument outside of these values.

    Example:
        >>> import numpy as np
        >>> from fastcnn import Variable, optimizers
        >>> weight = Variable(np.array([1.0, 2.0]))
        >>> _ = optimizers.SGD(0.5).apply_gradients([(np.array([1.0, 1.0]), weight)])
        >>> weight.numpy().tolist()
        [0.5, 1.5]

    See https://keras.io/api/optimizers/
    """

    def __init__(
        self,
        learning_rate: Any,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs.pop("decay", None) is not None:  # of Keras 2
            warnings.warn(
                f"{type(self).__name__}: decay: it has no effect any more; learning_rate takes a schedule", stacklevel=3
            )
        if kwargs:
            raise ValueError(
                f"{type(self).__name__}: {next(iter(kwargs))}: expected no such argument, received "
                f"{', '.join(f'{key}={value!r}' for key, value in kwargs.items())}"
            )
        self._variables: list[Any] = []  # that the updater is for
        self._updater: _core.Updater | None = None
        self._kept: dict[str, Any] = {"iterations": 0, "slots": {}}  # the state, while there is no updater
        self._undecayed: tuple[tuple[Any, ...], str | None] = ((), None)
        self._schedule: Any
        self.learning_rate = learning_rate
        self.weight_decay = self._optional("weight_decay", weight_decay)
        clips = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
        given = [clip for clip, value in clips.items() if value is not None]
        if len(given) > 1:
            raise ValueError(
                f"{type(self).__name__}: {given[1]}: expected at most one of clipnorm, clipvalue and global_clipnorm, "
                f"received {' and '.join(f'{clip}={clips[clip]!r}' for clip in given)}"
            )
        self.clipnorm = self._optional("clipnorm", clipnorm)
        self.clipvalue = self._optional("clipvalue", clipvalue)
        self.global_clipnorm = self._optional("global_clipnorm", global_clipnorm)
        self.use_ema = bool(use_ema)
        if use_ema:
            ema_momentum = self._number("ema_momentum", ema_momentum, high=1.0)
            if ema_overwrite_frequency and not _is_count(ema_overwrite_frequency, 1):
                raise self._error("ema_overwrite_frequency", "a positive integer or None", ema_overwrite_frequency)
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = ema_overwrite_frequency
        self.loss_scale_factor = loss_scale_factor
        if loss_scale_factor is not None and not self._number("loss_scale_factor", loss_scale_factor) > 0:
            raise self._error("loss_scale_factor", "a positive number or None", loss_scale_factor)
        if gradient_accumulation_steps and not _is_count(gradient_accumulation_steps, 2):
            raise self._error("gradient_accumulation_steps", "an integer >= 2 or None", gradient_accumulation_steps)
        self.gradient_accumulation_steps = gradient_accumulation_steps
        self.name = name or auto_name(type(self).__name__)

    # --- checks ---

    def _error(self, argument: str, expected: str, received: Any) -> ValueError:
        return ValueError(f"{type(self).__name__}: {argument}: expected {expected}, received {received!r}")

    def _number(self, argument: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
        """`value` as a float; a finite number of [low, high]."""
        try:
            number = float("nan") if isinstance(value, (bool, str)) else float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not (math.isfinite(number) and low <= number <= high):
            bounds = f">= {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
            raise self._error(argument, f"a number {bounds}", value)
        return number

    def _optional(self, argument: str, value: Any) -> float | None:
        return None if value is None else self._number(argument, value)

    # --- state ---

    @property
    def learning_rate(self) -> float:
        """The step size of the next step; settable, also while training (from a callback), where it is not a schedule's."""
        if self._schedule is None:
            return self._learning_rate
        return float(self._schedule(self._steps))

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if callable(value) or isinstance(value, Mapping):
            value = self._as_schedule(value)
            if hasattr(self, "_schedule") and self._schedule is None:
                raise TypeError(
                    f"{type(self).__name__}: learning_rate: expected a number: this optimizer was made with one, "
                    f"received {value!r}"
                )
            self._schedule, self._learning_rate = value, 0.0
        elif getattr(self, "_schedule", None) is not None:
            raise TypeError(
                f"{type(self).__name__}: learning_rate: expected no change: a schedule says what it is, received {value!r}"
            )
        else:
            number = self._number("learning_rate", value)
            self._schedule, self._learning_rate = None, number

    def _as_schedule(self, value: Any) -> Any:
        from fastcnn.optimizers import schedules

        if isinstance(value, Mapping):
            value = schedules.deserialize(value)
        elif not isinstance(value, schedules.LearningRateSchedule):  # a function without arguments, as Keras takes it
            call = value

            class Called(schedules.LearningRateSchedule):
                def __call__(self, step: Any) -> Any:
                    return call()

            value = Called()
        return value

    @property
    def fixed_learning_rate(self) -> float | None:
        """The learning rate where it is a number, None where a schedule says what it is."""
        return self._learning_rate if self._schedule is None else None

    def rates(self, steps: int) -> NDArray[np.float64]:
        """The learning rates of the next `steps` steps, or fewer; one number where it is the same for all."""
        if self._schedule is None:
            return np.array([self._learning_rate], np.float64)
        from fastcnn.optimizers import schedules

        return schedules.rates_of(self._schedule, self._steps, steps)

    @property
    def iterations(self) -> int:
        """Updates made so far: steps taken, or with `gradient_accumulation_steps` so many times fewer; settable."""
        return self._steps // (self.gradient_accumulation_steps or 1)

    @iterations.setter
    def iterations(self, value: Any) -> None:
        try:
            count = operator.index(value)
        except TypeError:
            count = -1
        if count < 0:
            raise self._error("iterations", "an integer >= 0", value)
        self._steps = count * (self.gradient_accumulation_steps or 1)

    @property
    def _steps(self) -> int:
        """Steps taken so far."""
        return int(self._kept["iterations"]) if self._updater is None else self._updater.iterations

    @_steps.setter
    def _steps(self, value: int) -> None:
        if self._updater is None:
            self._kept["iterations"] = value
        else:
            self._updater.iterations = value

    # --- state ---------------------------------------------------------------------------------------------------

    def updater(self, variables: Sequence[Any]) -> _core.Updater:
        """The native updater of these variables. What was kept for those of them that it knew already goes on."""
        if self._updater is None or not _same(variables, self._variables):
            state = self._state()
            fresh = _core.Updater(self.native(variables), [np.shape(v) for v in variables])
            fresh.start([_value(v) for v in variables])
            place = {id(v): i for i, v in enumerate(self._variables)}
            new = fresh.get_state()
            for slot, arrays in new["slots"].items():
                old = state["slots"].get(slot)
                for i, variable in enumerate(variables if old else ()):
                    if id(variable) in place:
                        arrays[i] = old[place[id(variable)]]
            fresh.set_state({**new, "iterations": state["iterations"]})
            self._updater, self._variables = fresh, list(variables)
        return self._updater

    def _state(self) -> dict[str, Any]:
        """Steps and slots, in the order of the variables that it was built for."""
        return self._kept if self._updater is None else self._updater.get_state()

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and deep copies: the numbers instead of the native updater."""
        return {**self.__dict__, "_updater": None, "_kept": self._state()}

    @property
    def built(self) -> bool:
        """Whether the optimizer has its arrays."""
        return self._updater is not None

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the arrays that are kept beside the variables.

        Args:
            variables: `Variable`s, or float32 arrays.
        """
        if self._updater is None:
            self.updater(list(variables))

    @property
    def variables(self) -> list[Variable]:
        """The state in Keras's order, as it is now: steps, learning rate (where it is a number), the arrays.

        These are copies: assigning to them changes nothing.
        """
        found = [Variable(float(self._steps), trainable=False, name="iteration")]
        if self._schedule is None:
            found.append(Variable(self._learning_rate, trainable=False, name="learning_rate"))
        if self.built:
            for variable, _, name, array in self._arrays(self._variables):
                path = getattr(variable, "path", "variable").replace("/", "_")
                found.append(Variable(array, trainable=False, name=f"{path}_{name}"))
            found += [Variable(value, trainable=False, name=name) for name, value in self._scalars()]
        return found

    def _layout(self) -> list[Run]:
        """The runs of arrays that Keras keeps, in its order."""
        runs: list[Run] = [(("average", "average"),)] if self.use_ema else []
        if self.gradient_accumulation_steps:
            runs.append((("accumulated", "gradient_accumulator"),))
        return runs + self._rule_layout()

    def _rule_layout(self) -> list[Run]:
        """Those of the rule itself."""
        return []

    def _scalars(self) -> list[tuple[str, float]]:
        """(name, value) of what Keras keeps behind the arrays and the steps say."""
        return []

    def _keeps(self, slot: str, variable: Any) -> bool:
        """Whether Keras has this array for the variable."""
        return True

    def _places(self, variables: Sequence[Any]) -> list[tuple[Any, str, str]]:
        """(variable, slot, Keras's name) of each array, in Keras's order."""
        return [
            (variable, slot, name)
            for run in self._layout()
            for variable in variables
            for slot, name in run
            if self._keeps(slot, variable)
        ]

    def _slot_shape(self, slot: str, variable: Any) -> tuple[int, ...]:
        """The shape of an array that is kept beside a variable."""
        return tuple(np.shape(variable))

    def _arrays(self, variables: Sequence[Any]) -> list[tuple[Any, str, str, NDArray[np.float32]]]:
        slots, place = self._state()["slots"], {id(v): i for i, v in enumerate(self._variables)}
        return [(v, slot, name, slots[slot][place[id(v)]]) for v, slot, name in self._places(variables)]

    # --- steps ---------------------------------------------------------------------------------------------------

    def apply_gradients(self, grads_and_vars: Iterable[tuple[ArrayLike | None, Any]]) -> int:
        """One step: changes the variables by their gradients.

        Args:
            grads_and_vars: (gradient, variable) pairs; a gradient is an array of the variable's shape, or None.

        Returns:
            The count of steps.

        Raises:
            ValueError: as `apply`.
        """
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._steps

    def apply(self, grads: Sequence[ArrayLike | None], trainable_variables: Sequence[Any] | None = None) -> None:
        """One step: clipping, weight decay, the rule, moving averages, constraints.

        Args:
            grads: an array for each variable; those with None stay as they are, with a warning.
            trainable_variables: `Variable`s, or writable float32 arrays, which are changed in place; the first call says
                for which the optimizer is. None: those that it was built for.

        Raises:
            ValueError: a gradient of another shape, no gradient at all, or a variable that it was not built for.
        """
        operation = f"{type(self).__name__}.apply"
        if len(grads) == 0:
            return
        if trainable_variables is None:
            if not self.built:
                raise ValueError(
                    f"{operation}: trainable_variables: expected variables in the first call, received None"
                )
            variables = self._variables
        else:
            variables = list(trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(f"{operation}: grads: expected {len(variables)} gradients, received {len(grads)}")
        place = {id(v): i for i, v in enumerate(self._variables if self.built else variables)}
        given: list[tuple[Any, NDArray[np.float32]]] = []
        for gradient, variable in zip(grads, variables):
            if id(variable) not in place:
                raise ValueError(
                    f"{operation}: trainable_variables: expected those that the optimizer was built for, received {variable!r}"
                )
            if gradient is not None:
                array = np.array(gradient, np.float32, order="C")
                if array.shape != np.shape(variable):
                    raise ValueError(
                        f"{operation}: grads: expected shape {np.shape(variable)}, received shape {array.shape}"
                    )
                given.append((variable, array / np.float32(self.loss_scale_factor or 1)))
        if not given:
            raise ValueError(f"{operation}: grads: expected an array for some variable, received None for all")
        if len(given) < len(variables):
            warnings.warn(f"{operation}: {len(variables) - len(given)} variables have no gradient", stacklevel=2)
        updater = self.updater(self._variables if self.built else variables)
        values = [np.array(_value(v)) for v, _ in given]
        rate = float(self.learning_rate)
        updater.apply([place[id(v)] for v, _ in given], values, [gradient for _, gradient in given], rate)
        for (variable, _), value in zip(given, values):
            constraint = getattr(variable, "constraint", None)
            _assign(variable, value if constraint is None else constraint(value))

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, for gradients that `apply` is given."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Says which variables do not decay; before the first step.

        Args:
            var_list: variables.
            var_names: parts of names (regular expressions): each variable whose name holds one of them.

        Raises:
            ValueError: the optimizer has taken a step.
        """
        if self.built:
            raise ValueError(f"{type(self).__name__}.exclude_from_weight_decay: expected a call before the first step")
        self._undecayed = (tuple(var_list or ()), "|".join(sorted(set(var_names))) if var_names else None)

    def _decays(self, variable: Any) -> bool:
        listed, pattern = self._undecayed
        if any(variable is other for other in listed):
            return False
        return pattern is None or re.search(pattern, getattr(variable, "name", "")) is None

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """With `use_ema`: gives the variables their averages; `fit` does so at its end."""
        if self.use_ema:
            self._overwrite_with_averages(var_list)

    def _overwrite_with_averages(self, variables: Sequence[Any], swap: bool = False) -> None:
        """The variables become their averages, and with `swap` the averages what the variables were."""
        if not self.built:
            return
        state, place = self._state(), {id(v): i for i, v in enumerate(self._variables)}
        averages = state["slots"]["average"]
        for variable in variables:
            if id(variable) not in place:
                continue
            i = place[id(variable)]
            before = np.array(_value(variable))
            _assign(variable, averages[i])
            if swap:
                averages[i] = before
        if swap and self._updater is not None:
            self._updater.set_state(state)

    def _keep_as_averages(self, variables: Sequence[Any]) -> None:
        """The averages become what the variables are."""
        if self._updater is None:
            return
        state, place = self._state(), {id(v): i for i, v in enumerate(self._variables)}
        for variable in variables:
            state["slots"]["average"][place[id(variable)]] = _value(variable)
        self._updater.set_state(state)

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replaces the state by arrays in the order of `variables`.

        Raises:
            ValueError: not built yet, or arrays of other shapes.
        """
        operation = f"{type(self).__name__}.set_weights"
        if self._updater is None:
            raise ValueError(f"{operation}: expected an optimizer that was built; call build(variables) first")
        shapes, received = [v.shape for v in self.variables], [np.shape(w) for w in weights]
        if shapes != received:
            raise ValueError(f"{operation}: weights: expected arrays of shapes {shapes}, received {received}")
        values = iter(weights)
        steps = int(np.asarray(next(values)))
        if self._schedule is None:
            self.learning_rate = float(np.asarray(next(values)))
        state, place = self._updater.get_state(), {id(v): i for i, v in enumerate(self._variables)}
        for variable, slot, _ in self._places(self._variables):
            array = np.array(next(values), np.float32, order="C")
            state["slots"][slot][place[id(variable)]] = array
        self._updater.set_state({**state, "iterations": steps})

    def save_own_variables(self, store: Any) -> None:
        """Puts the state's arrays into a mapping, under "0", "1", ..."""
        for i, variable in enumerate(self.variables):
            store[str(i)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Takes the state from what `save_own_variables` filled; other numbers of arrays are passed over with a warning."""
        if len(store) != len(self.variables):
            warnings.warn(
                f"{type(self).__name__}: the state starts anew: it has {len(self.variables)} arrays, not {len(store)}",
                stacklevel=2,
            )
            return
        self.set_weights([store[str(i)] for i in range(len(store))])

    # --- descriptions --------------------------------------------------------------------------------------------

    def native(self, variables: Sequence[Any] = ()) -> dict[str, Any]:
        """Returns the description that the native updater takes: every setting but the learning rate."""
        settings = self._native_settings()
        if type(self).native is Optimizer.native and not settings:
            raise ValueError(
                f"{type(self).__name__}: optimizer: expected one of fastcnn.optimizers for training, "
                "received an optimizer written in Python"
            )
        return {
            # Nothing is done for 0, which is what Keras does for None and 0 alike.
            "weight_decay": [self._decay_of(v) if self._decays(v) else 0.0 for v in variables],
            "clipnorm": self.clipnorm or 0.0,
            "clipvalue": self.clipvalue or 0.0,
            "global_clipnorm": self.global_clipnorm or 0.0,
            "accumulation": self.gradient_accumulation_steps or 1,
            "averages": self.use_ema,
            "average_momentum": self.ema_momentum if self.use_ema else 0.0,
            "average_overwrite": (self.ema_overwrite_frequency or 0) if self.use_ema else 0,
            **settings,
            **self._native_choices(variables),
        }

    def _decay_of(self, variable: Any) -> float:
        return self.weight_decay or 0.0

    def _native_choices(self, variables: Sequence[Any]) -> dict[str, Any]:
        """Settings that differ between variables."""
        return {}

    def _native_settings(self) -> dict[str, Any]:
        """The kind and the settings that it adds to those of the base."""
        return {}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "name": self.name,
            "learning_rate": self._learning_rate if self._schedule is None else describe(self._schedule),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "global_clipnorm": self.global_clipnorm,
            "clipvalue": self.clipvalue,
            "use_ema": self.use_ema,
            "ema_momentum": self.ema_momentum,
            "ema_overwrite_frequency": self.ema_overwrite_frequency,
            "loss_scale_factor": self.loss_scale_factor,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Optimizer:
        """Returns the optimizer that `get_config` described."""
        return cls(**config)


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and least <= value < 2**31


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(one is other for one, other in zip(a, b))


def _value(variable: Any) -> NDArray[np.float32]:
    """The numbers of a `Variable` or an array."""
    if isinstance(variable, Variable):
        return np.ascontiguousarray(variable.value).reshape(variable.shape)
    if not (isinstance(variable, np.ndarray) and variable.dtype == np.float32 and variable.flags.writeable):
        raise ValueError(
            f"Optimizer: variables: expected Variables or writable float32 arrays, received {type(variable).__name__}"
        )
    return np.ascontiguousarray(variable).reshape(variable.shape)


def _assign(variable: Any, value: Any) -> None:
    if isinstance(variable, Variable):
        variable.assign(value)
    else:
        variable[...] = value
