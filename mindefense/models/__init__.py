"""Networks that return logits."""

from mindefense.models.architecture import architecture_of
from mindefense.models.mlp import MLP
from mindefense.models.nsh import NSH
from mindefense.models.vgg import VGG16, vgg16

__all__ = ["MLP", "NSH", "VGG16", "architecture_of", "vgg16"]
