"""A PyTorch module as a target. PyTorch is imported when a target is made."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mindefense.errors import InputError, MindefenseError
from mindefense.keyed_noise import KeyedNoise
from mindefense.targets.base import BATCH_SIZE, InputTransform, Model, checked_logits, one_each, refused

_REMEDIES = {
    "probs": 'leave the softmax out of the module, or give FunctionTarget(f, gives="probs") with an f that calls it',
    "per cent": "leave softmax and factor out of the module",
    "sigmoids": "leave the sigmoid out of the module; if these are logits, subtract 1 from all, which changes no "
    "probability",
}


class TorchTarget(Model):
    """A trained PyTorch module as a target; it runs in evaluation mode, without gradients, on its own device.

    Args:
        module: ``torch.nn.Module`` from ``(n, ...)`` float32 to ``(n, C)`` logits.
        batch_size: Rows per batch.
        prepare: Converts samples to its inputs; None if they are the inputs.

    Raises:
        InputError: If PyTorch is missing, or `module` is not a module; in a query, if it does not accept the samples
            or its answers are not logits.
    """

    remedy_for_randomness = (
        "remove parts that are random in evaluation mode, such as F.dropout(x) without training=self.training, and "
        "statistics of the batch"
    )

    def __init__(self, module: Any, *, batch_size: int = BATCH_SIZE, prepare: InputTransform | None = None):
        torch = _torch()
        if not isinstance(module, torch.nn.Module):
            got = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
            raise InputError("module", expected="a torch.nn.Module", got=got, fix="build it and load its weights")
        super().__init__(prepare=prepare, batch_size=batch_size)
        self.module = module
        self.kind = type(module).__name__

    def ask(
        self, samples: np.ndarray, *, noise: KeyedNoise | None = None, on_rows: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples; see `Model.ask`."""
        torch = _torch()
        if not len(samples):
            raise InputError("features", expected="at least one row", got="none")
        was_training = {module: module.training for module in self.module.modules()}
        first = next(iter((*self.module.parameters(), *self.module.buffers())), None)
        device = torch.device("cpu") if first is None else first.device
        answers = []
        try:
            self.module.eval()
            with torch.no_grad():
                for inputs in self.batches(samples):
                    given = inputs if noise is None else inputs + noise(inputs)
                    answer: Any = self.module(torch.tensor(given, device=device))
                    if not isinstance(answer, torch.Tensor):
                        fix = "wrap the module in one that returns its logits alone"
                        got = type(answer).__name__
                        raise InputError("answer of the network", expected="one Tensor", got=got, fix=fix)
                    answers.append(one_each(answer.float().cpu().numpy(), len(inputs)))
                    if on_rows is not None:
                        on_rows(len(inputs))
        except (MindefenseError, ValueError, TypeError, RuntimeError) as error:
            refused(samples, error)
        finally:
            for module, training in was_training.items():
                module.training = training
        return checked_logits(np.concatenate(answers), _REMEDIES)

    def parameters(self) -> int:
        """Number of parameters of the module."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def digest(self) -> str:
        """SHA-256 of parameters and buffers, hex."""
        digest = hashlib.sha256()
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
        return digest.hexdigest()


def _torch() -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        fix = 'pip install "mindefense[torch]"'
        raise InputError("PyTorch", expected="to be installed", got="none", fix=fix) from error
