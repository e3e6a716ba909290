"""What a layer tells about itself: number formats, place in the model, penalties, how it was built."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from fastcnn import _messages, dtype_policies

if TYPE_CHECKING:
    from fastcnn.layers.input_spec import InputSpec
    from fastcnn.layers.layer import KerasTensor
    from fastcnn.variables import Variable

# Methods that Keras's layers and models have and fastcnn's cannot have, and what to do instead.
_FUNCTIONAL = "there is no functional API; models are Sequential"
_NATIVE_LOOP = (
    "the training loop is native; what happens around its steps is a callback's, a layer's or a loss's business"
)
_ABSENT = {
    "add_loss": "a loss that depends on outputs is the layer's activity_regularizer, or a loss of your own in compile()",
    "add_metric": "metrics are given to compile()",
    "compute_loss": _NATIVE_LOOP,
    "compute_mask": "there are no masks",
    "compute_metrics": _NATIVE_LOOP,
    "compute_output_spec": _FUNCTIONAL,
    "make_predict_function": _NATIVE_LOOP,
    "make_test_function": _NATIVE_LOOP,
    "make_train_function": _NATIVE_LOOP,
    "predict_step": _NATIVE_LOOP,
    "quantization_mode": "there is no quantisation",
    "quantize": "there is no quantisation",
    "rematerialized_call": "the plan decides what is kept",
    "stateless_call": "variables are always the layer's own",
    "stateless_compute_loss": "variables are always the layer's own",
    "symbolic_call": _FUNCTIONAL,
    "test_step": _NATIVE_LOOP,
    "train_step": _NATIVE_LOOP,
}


class LayerProperties:
    """The part of `Layer` that describes. Nothing here computes an output."""

    supports_masking = False
    # An `InputSpec` where a layer written in Python sets one.
    input_spec: InputSpec | None = None

    if TYPE_CHECKING:
        name: str
        built: bool
        activity_regularizer: Any
        _dtype_policy: dtype_policies.DTypePolicy
        _path_prefix: str
        _build_shape: tuple[int, ...] | None
        _trainable_variables: list[Variable]
        _non_trainable_variables: list[Variable]

        @property
        def trainable_variables(self) -> list[Variable]: ...
        def build(self, input_shape: Any) -> None: ...
        def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]: ...

    def __getattr__(self, name: str) -> Any:
        # Also called where a property raised AttributeError: that error is the better one, so it is raised again.
        if any(name in vars(cls) for cls in type(self).__mro__):
            return object.__getattribute__(self, name)
        reason = f": {_ABSENT[name]}" if name in _ABSENT else ""
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{reason}")

    # --- number formats ------------------------------------------------------------------------------------------

    @property
    def dtype_policy(self) -> dtype_policies.DTypePolicy:
        """The layer's policy; settable."""
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value: Any) -> None:
        self._dtype_policy = dtype_policies.for_layer(self.name, "dtype_policy", value)

    @property
    def dtype(self) -> str:
        """The variables' dtype."""
        return self._dtype_policy.variable_dtype

    @property
    def variable_dtype(self) -> str:
        """The same as `dtype`."""
        return self._dtype_policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        """What the policy says; the computation itself is in float32."""
        return self._dtype_policy.compute_dtype

    @property
    def input_dtype(self) -> str:
        """The same as `compute_dtype`."""
        return self._dtype_policy.compute_dtype

    # --- place ---------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str | None:
        """The name that is unique in a model, such as "sequential/conv2d"; None before the layer is built."""
        return "/".join(part for part in (self._path_prefix, self.name) if part) if self.built else None

    @property
    def input(self) -> KerasTensor:
        """The symbolic input.

        Raises:
            AttributeError: the layer is not built.
        """
        from fastcnn.layers.layer import KerasTensor

        return KerasTensor(self._built_shape("input"), name=f"{self.name}_input")

    @property
    def output(self) -> KerasTensor:
        """The symbolic output.

        Raises:
            AttributeError: the layer is not built.
        """
        from fastcnn.layers.layer import KerasTensor

        return KerasTensor(tuple(self.compute_output_shape(self._built_shape("output"))), name=self.name)

    def _built_shape(self, wanted: str) -> tuple[int | None, ...]:
        if self._build_shape is None:
            raise AttributeError(f"{self.name}: {wanted}: the layer is not built yet")
        return (None, *self._build_shape)

    # --- penalties and metrics -----------------------------------------------------------------------------------

    @property
    def losses(self) -> list[float]:
        """The penalties of the variables that are trained, as they are now; activity penalties belong to a batch."""
        return [float(v.regularizer(v.value)) for v in self.trainable_variables if v.regularizer is not None]

    @property
    def metrics(self) -> list[Any]:
        """A layer has none; a model's are those of `compile`."""
        return []

    @property
    def metrics_variables(self) -> list[Any]:
        """The variables of `metrics`."""
        return [variable for metric in self.metrics for variable in metric.variables]

    # --- how it was built, and what it holds ---------------------------------------------------------------------

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build` was given, {"input_shape": (None, *sample)}; None before."""
        return None if self._build_shape is None else {"input_shape": (None, *self._build_shape)}

    def build_from_config(self, config: Mapping[str, Any] | None) -> None:
        """Builds the layer as `get_build_config()`'s dictionary says."""
        if config and "input_shape" in config:
            self.build(tuple(config["input_shape"]))

    def save_own_variables(self, store: MutableMapping[str, Any]) -> None:
        """Puts copies of the layer's own variables into `store`, under "0", "1", ..."""
        for index, variable in enumerate((*self._trainable_variables, *self._non_trainable_variables)):
            store[str(index)] = variable.numpy()

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Takes over what `save_own_variables` stored; nothing changes where it does not fit.

        Raises:
            ValueError: another number of variables, or another shape.
        """
        variables = [*self._trainable_variables, *self._non_trainable_variables]
        names = [str(index) for index in range(len(variables))]
        if sorted(store) != sorted(names):
            _messages.fail(f"{self.name}.load_own_variables", "store", f"the variables {names}", sorted(store))
        checked = [variable._checked(store[name]) for name, variable in zip(names, variables)]
        for variable, value in zip(variables, checked):
            variable.assign(value)
