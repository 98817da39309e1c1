"""From a trained model behind a defense to one graph in a file, and from the file to answers.

Names are loaded when they are first used: who serves does without what exports, and with it without training,
attacks and defenses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {"export": ("export_guarded",), "guarded": ("GuardedModel",), "manifest": ("Manifest",)}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["GuardedModel", "Manifest", "export_guarded"]

if TYPE_CHECKING:
    from mindefense.serving.export import export_guarded
    from mindefense.serving.guarded import GuardedModel
    from mindefense.serving.manifest import Manifest


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
