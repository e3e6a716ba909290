"""Keras's older place for number formats; see `fastcnn.dtype_policies`. https://keras.io/api/mixed_precision/

>>> set_global_policy("float32")
>>> global_policy()
<DTypePolicy "float32">
"""

from fastcnn._lazy import nothing_called
from fastcnn.dtype_policies import DTypePolicy, dtype_policy, set_dtype_policy

Policy = DTypePolicy
global_policy = dtype_policy
set_global_policy = set_dtype_policy

__all__ = ["DTypePolicy", "Policy", "dtype_policy", "global_policy", "set_dtype_policy", "set_global_policy"]

__getattr__ = nothing_called(__name__, __all__)
