"""Networks that return logits."""

from mindefense.models.mlp import MLP

__all__ = ["MLP"]
