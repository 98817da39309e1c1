"""Checkpoints: MindSpore's ``.ckpt`` files with a description, of which a JSON file is a readable copy."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.errors import CheckpointError, InputError
from mindefense.files import replacing, write_json
from mindefense.models.architecture import architecture_of, without_prefix
from mindefense.runtime import muted

_DESCRIPTION = "mindefense"
"""Key of the description inside the file; no parameter has this name."""
_OF_AN_OPTIMIZER = re.compile(
    r"(optimizer|moments?|moment[12]|accum|stat|mean_square|mean_grad|(adam|lamb)_[mv])\.|learning_rate|(momentum|global_step"
    r"|beta[12]_power|epoch_num|step_num|loss_scale|scale_sense|current_iterator_step|last_overflow_iterator_step)$"
)
"""Names of the optimizer's parameters, which MindSpore's training saves together with the network."""


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """The contents of a ``.ckpt`` file.

    Attributes:
        path: Path of the file.
        parameters: Arrays of the network, by name.
        description: Description by the program that wrote it; empty for files of other programs.
        state: Arrays of the optimizer, by name; empty if it was not saved.
    """

    path: Path
    parameters: dict[str, np.ndarray]
    description: dict[str, Any]
    state: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def expect(self, kind: str) -> None:
        """Raises CheckpointError if the description records another kind than `kind`."""
        held = self.description.get("kind", kind)
        if held != kind:
            raise CheckpointError(str(self.path), expected=f"a checkpoint of a {kind}", got=f"one of a {held}")


def save_checkpoint(
    path: str | os.PathLike, parameters: Mapping[str, np.ndarray], description: Mapping[str, Any]
) -> None:
    """Atomically writes parameters and description.

    The description is stored in the ``.ckpt`` file itself, so that both stay together. The file with the suffix
    ``.json`` is a readable copy.

    Args:
        path: A path with the suffix ``.ckpt``.
        parameters: Arrays by name.
        description: A mapping that can be written as JSON, without NaN and infinity.

    Raises:
        InputError: If `path` does not end in ``.ckpt``.
        OutputError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".ckpt":
        raise InputError("path", expected="a name that ends in .ckpt, as MindSpore requires", got=str(path))
    held = [{"name": name, "data": ms.Tensor(np.ascontiguousarray(array))} for name, array in parameters.items()]
    text = json.dumps(dict(description), allow_nan=False)
    with replacing(path) as beside:
        try:
            with muted(logging.CRITICAL):  # the error below has the same information
                ms.save_checkpoint(held, str(beside), append_dict={_DESCRIPTION: text})
        except (RuntimeError, ValueError) as error:  # MindSpore wraps the operating system's error
            raise OSError(str(error).splitlines()[0]) from error
    write_json(path.with_suffix(".json"), description)


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads a ``.ckpt`` file of this package or of another MindSpore program.

    Raises:
        CheckpointError: If it is missing, truncated or not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}", fix="check the path, or train one with `mindefense train`")
    try:
        held = ms.load_checkpoint(str(path))
    except Exception as error:  # errors of protobuf, ValueError, TypeError or RuntimeError, all for the same reason
        raise CheckpointError(
            f"{path} cannot be read",
            expected="a MindSpore .ckpt file",
            got=str(error).splitlines()[0],
            fix="it may be truncated: copy or train it again",
        ) from error
    text = held.pop(_DESCRIPTION, None)
    try:
        description = {} if text is None else json.loads(str(getattr(text, "value", text)))
    except json.JSONDecodeError as error:
        raise CheckpointError(f"{path}: its description is damaged", fix="copy or train it again") from error
    arrays = {name: value.asnumpy() for name, value in held.items() if isinstance(value, ms.Tensor)}
    state = {name: array for name, array in arrays.items() if _OF_AN_OPTIMIZER.match(name)}
    parameters = {name: array for name, array in arrays.items() if name not in state}
    return Checkpoint(path, parameters, description, state)


def parameters_of(net: nn.Cell) -> dict[str, np.ndarray]:
    """The arrays of all parameters of `net`, by name."""
    return {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}


def load_into(net: nn.Cell, checkpoint: Checkpoint) -> None:
    """Sets the parameters of `net` to those of the checkpoint.

    Raises:
        CheckpointError: If names are missing or unexpected, or shapes differ; the message lists them. `net` is then
            unchanged.
    """
    wanted = {parameter.name: parameter for parameter in net.get_parameters()}
    # Parameters of a network may have the same names as those of an optimizer.
    held = checkpoint.parameters | {name: array for name, array in checkpoint.state.items() if name in wanted}
    if not any(name in held for name in wanted):  # saved as a part of another Cell
        bare = without_prefix(held)
        held = bare if any(name in bare for name in wanted) else held
    missing = [name for name in wanted if name not in held]
    unexpected = [name for name in held if name not in wanted]
    misshaped = [
        f"{name} {held[name].shape} instead of {tuple(parameter.shape)}"
        for name, parameter in wanted.items()
        if name in held and held[name].shape != tuple(parameter.shape)
    ]
    faults = [("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped)]
    if any(names for _, names in faults):
        listed = "; ".join(f"{word}: {_short(names)}" for word, names in faults if names)
        there, here = (
            architecture_of({name: tuple(part.shape) for name, part in parameters.items()}) or "no network known here"
            for parameters in (held, wanted)
        )
        raise CheckpointError(
            f"{checkpoint.path} does not fit this network ({listed})",
            expected=here,
            got=f"a file that seems to contain {there}",
            fix="build the network of the file (docs/your_model.md), or choose another checkpoint",
        )
    for name, parameter in wanted.items():
        parameter.set_data(ms.Tensor(held[name], dtype=parameter.dtype))


def _short(names: list[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
