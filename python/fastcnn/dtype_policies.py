"""Number formats of layers, by name. https://keras.io/api/mixed_precision/policy/

Variables are float32 under every policy that a layer takes. Under "mixed_bfloat16" convolution and dense layers round what
they multiply to bfloat16 and sum in float32 where AMX tiles are in use (docs/numerics.md).
Elsewhere, and under "mixed_float16", everything is computed in float32: activations, which Keras would round to 16 bits,
are at least as accurate, and no speed is lost by it. A message says so once in a process. Policies whose variables are
not float32 can be made and compared, but no layer takes them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from fastcnn import _core, _messages
from fastcnn._lazy import nothing_called

__all__ = ["DTypePolicy", "FloatDTypePolicy", "deserialize", "get", "serialize"]

_MIXED = {"mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
_DTYPES = (
    *("float16", "bfloat16", "float32", "float64", "uint8", "uint16", "uint32", "uint64"),
    *("int8", "int16", "int32", "int64", "bool"),
)
_COMPUTED = ("float32", *_MIXED)


class DTypePolicy:
    """What a layer computes in, and what its variables are.

    Args:
        name: "float32", "mixed_bfloat16", "mixed_float16" or another dtype's name; None for the global policy.

    Raises:
        TypeError: not a string.
        ValueError: not such a name.

    Example:
        >>> policy = DTypePolicy("mixed_bfloat16")
        >>> policy.compute_dtype, policy.variable_dtype
        ('bfloat16', 'float32')

    See https://keras.io/api/mixed_precision/policy/
    """

    def __init__(self, name: str | None = None) -> None:
        if name is None:
            name = _current.name
        if not isinstance(name, str):
            raise TypeError(f"DTypePolicy: name: expected a string, received {_messages.show(name)}")
        if name not in _MIXED and name not in _DTYPES:
            known = ", ".join(repr(known) for known in (*_COMPUTED, *(d for d in _DTYPES if d != "float32")))
            _messages.fail("DTypePolicy", "name", f"one of {known}", name)
        self._name = name

    @property
    def name(self) -> str:
        """The policy's name."""
        return self._name

    @property
    def compute_dtype(self) -> str:
        """What is computed in under this policy; float32 where nothing faster is at hand, whatever it says."""
        return _MIXED.get(self._name, self._name)

    @property
    def variable_dtype(self) -> str:
        """The variables' dtype."""
        return "float32" if self._name in _MIXED else self._name

    @property
    def quantization_mode(self) -> None:
        """None: there is no quantisation."""
        return

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self._name}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DTypePolicy:
        """A policy from `get_config()`'s dictionary."""
        return cls(**config)

    def __repr__(self) -> str:
        return f'<DTypePolicy "{self._name}">'

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DTypePolicy) and other._name == self._name

    def __hash__(self) -> int:
        return hash(self._name)


class FloatDTypePolicy(DTypePolicy):
    """Another name of `DTypePolicy`, as in Keras."""


_current = DTypePolicy("float32")
_told = False


def dtype_policy() -> DTypePolicy:
    """The policy of layers that are given none.

    >>> dtype_policy()
    <DTypePolicy "float32">
    """
    return _current


def set_dtype_policy(policy: Any) -> None:
    """Sets the policy of layers made from now on that are given none.

    Args:
        policy: "float32", "mixed_bfloat16", "mixed_float16", a `DTypePolicy`, or its configuration.

    Raises:
        ValueError: another policy; nothing changed.

    Example:
        >>> set_dtype_policy("float32")

    See https://keras.io/api/mixed_precision/policy/#setdtypepolicy-function
    """
    global _current
    _current = for_layer("set_dtype_policy", "policy", policy)


def for_layer(operation: str, argument: str, identifier: Any) -> DTypePolicy:
    """The policy that a layer is given, or the ValueError that refuses it. None is the global one."""
    if identifier is None:
        return _current
    policy = get(identifier)
    if policy.name not in _COMPUTED:
        expected = "'float32', 'mixed_bfloat16' or 'mixed_float16': variables are float32 in fastcnn"
        _messages.fail(operation, argument, expected, policy.name)
    if policy.name in _MIXED and not (policy.compute_dtype == "bfloat16" and _core.amx_active()):
        _tell(policy.name)
    return policy


def _tell(name: str) -> None:
    global _told
    if not _told:
        _told = True
        warnings.warn(
            f"{name}: fastcnn computes in float32 under this policy, which is at least as accurate and no slower than "
            "without it",
            stacklevel=5,
        )


def get(identifier: Any) -> DTypePolicy:
    """The policy that a name, a configuration, a dtype or a policy stands for; None is the global one.

    >>> get("mixed_float16")
    <DTypePolicy "mixed_float16">

    Raises:
        ValueError: nothing of the kind.
    """
    if identifier is None:
        return _current
    if isinstance(identifier, DTypePolicy):
        return identifier
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return DTypePolicy(identifier)
    import numpy as np

    try:
        return DTypePolicy(np.dtype(identifier).name)
    except (TypeError, ValueError):
        _messages.fail(
            "dtype_policies.get", "identifier", "a policy, its name or configuration, or a dtype", identifier
        )


def serialize(dtype_policy: DTypePolicy) -> dict[str, Any]:
    """A policy's description, as Keras writes it.

    >>> deserialize(serialize(DTypePolicy("float32")))
    <DTypePolicy "float32">
    """
    from fastcnn.saving.registration import describe

    return describe(dtype_policy)


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> DTypePolicy:
    """The policy that `serialize` described.

    Args:
        config: the description.
        custom_objects: further classes by name.

    Raises:
        ValueError: the description is of another kind.
    """
    from fastcnn._identifiers import Registry

    classes = {"DTypePolicy": DTypePolicy, "FloatDTypePolicy": FloatDTypePolicy}
    found = Registry("dtype_policies", "policy", classes).deserialize(config, custom_objects)
    assert isinstance(found, DTypePolicy)
    return found


__getattr__ = nothing_called(__name__, __all__)
