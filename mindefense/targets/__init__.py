"""Models as attackers can ask them: samples in, log-probabilities out.

`base` is query access and its memory, in NumPy alone. Each framework has a file of its own: `cell` (MindSpore),
`torch` (PyTorch), `function` (any function, and scikit-learn). Names are loaded when they are first used, so that none
of them needs another's framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {
    "bank": ("ShadowBank",),
    "base": ("BATCH_SIZE", "Identity", "Model", "InputTransform", "Executor", "Target", "clean_target"),
    "cell": ("BeforeSoftmax", "Network", "forward"),
    "function": ("FunctionTarget",),
    "kinds": ("model_of",),
    "torch": ("TorchTarget",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = [
    "BATCH_SIZE",
    "BeforeSoftmax",
    "Executor",
    "FunctionTarget",
    "Identity",
    "InputTransform",
    "Model",
    "Network",
    "ShadowBank",
    "Target",
    "TorchTarget",
    "clean_target",
    "forward",
    "model_of",
]

if TYPE_CHECKING:
    from mindefense.targets.bank import ShadowBank
    from mindefense.targets.base import BATCH_SIZE, Executor, Identity, InputTransform, Model, Target, clean_target
    from mindefense.targets.cell import BeforeSoftmax, Network, forward
    from mindefense.targets.function import FunctionTarget
    from mindefense.targets.kinds import model_of
    from mindefense.targets.torch import TorchTarget
