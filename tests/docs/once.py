"""What was computed for one page is not computed again for another one.

Pages call for the same trainings and searches, most of whose time goes into compiling. The same network, rows and
settings give the same bytes, which the tests of `train_classifier`, `forward` and `Reshaper` hold. Pictures of one name
are drawn once, of whatever comes first: nobody looks at them here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import sys
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from mindspore import Tensor, nn

from mindefense import training
from mindefense.checkpoint import parameters_of, save_checkpoint
from mindefense.defenses.driver import Reshaper
from mindefense.targets import cell


class Memory:
    """Remembers what networks were trained to, what they answered, and what searches found."""

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}
        self._train, self._forward = training.train_classifier, cell.forward
        self._reshape, self._draw = Reshaper.run, Figure.savefig

    def remember(self, patch: pytest.MonkeyPatch) -> None:
        """Takes the place of the four wherever they are called."""
        patch.setattr(Figure, "savefig", lambda figure, sink, **options: self.draw(figure, sink, **options))
        patch.setattr(Reshaper, "run", lambda reshaper, *given, **options: self.reshape(reshaper, *given, **options))
        for module in list(sys.modules.values()):
            for name, original, instead in (
                ("train_classifier", self._train, self.train),
                ("forward", self._forward, self.forward),
            ):
                if getattr(module, "__dict__", {}).get(name) is original:
                    patch.setattr(module, name, instead)

    def train(self, net, features, labels, config, *, checkpoint=None, description=None, on_epoch=None, **others):
        """As `train_classifier`; a training that was done leaves the same weights, file and figures."""
        key = digest("train", net, features, labels, config, others.get("prepare"))
        if key not in self._held:
            given = {"checkpoint": checkpoint, "description": description, "on_epoch": on_epoch, **others}
            history = self._train(net, features, labels, config, **given)
            self._held[key] = history, parameters_of(net)
            return history
        history, found = self._held[key]
        for parameter in net.get_parameters():
            parameter.set_data(Tensor(found[parameter.name]))
        net.set_train(False)
        if checkpoint is not None:
            described = json.loads(json.dumps({**(description or {}), "train": dataclasses.asdict(config)}))
            columns = {name: [getattr(epoch, name) for epoch in history] for name in ("loss", "accuracy")}
            save_checkpoint(checkpoint, found, {**described, "history": columns})
        if on_epoch is not None:
            on_epoch(history[-1])
        return history

    def forward(self, net, samples, *, on_rows=None, **options):
        """As `forward`; a network is not asked twice about the same rows."""
        key = digest("forward", net, samples, *sorted(options.items(), key=str))
        if key not in self._held:
            options["as_graph"] = len(samples) > 2000  # the same bits, sooner
            self._held[key] = self._forward(net, samples, on_rows=on_rows, **options)
        elif on_rows is not None:
            on_rows(len(samples))
        return self._held[key].copy()

    def reshape(self, reshaper, clean_probs, start_logits, *, on_progress=None, **options):
        """As `Reshaper.run`, in this process."""
        key = digest("reshape", reshaper, clean_probs, start_logits)
        if key not in self._held:
            self._held[key] = self._reshape(reshaper, clean_probs, start_logits, workers=1)
        if on_progress is not None:
            on_progress(len(clean_probs))
        return dataclasses.replace(self._held[key], probs=self._held[key].probs.copy())

    def draw(self, figure, sink, *, format, **options):
        """As `Figure.savefig`; a picture of the same name is taken for the same."""
        key = digest("draw", matplotlib.rcParams["svg.hashsalt"], format)
        if key not in self._held:
            drawn = io.BytesIO()
            self._draw(figure, drawn, format=format, **options)
            self._held[key] = drawn.getvalue()
        sink.write(self._held[key])


def digest(*given: Any) -> str:
    """A fingerprint of arrays, networks, and what has a telling ``repr``, in any nesting."""
    found = hashlib.sha256()
    for value in given:
        if isinstance(value, np.ndarray):
            found.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, nn.Cell):
            found.update(f"{type(value)}{value}{digest(*parameters_of(value).items())}".encode())
        elif dataclasses.is_dataclass(value):  # whose repr may hide a secret
            found.update(f"{type(value)}{digest(*vars(value).values())}".encode())
        elif isinstance(value, list | tuple):
            found.update(f"({digest(*value)})".encode())
        else:
            found.update(f"{value!r};".encode())
    return found.hexdigest()
