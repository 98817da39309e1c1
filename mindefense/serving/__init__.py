"""From a trained model behind a defense to one graph in a file, and from the file to answers.

Names are loaded when they are first used: who serves does without what exports, and with it without training,
attacks and defenses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {"export": ("export_guarded",), "guarded": ("GuardedModel",), "manifest": ("Manifest",)}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = ["GuardedModel", "Manifest", "export_guarded"]

if TYPE_CHECKING:
    from mindefense.serving.export import export_guarded
    from mindefense.serving.guarded import GuardedModel
    from mindefense.serving.manifest import Manifest
