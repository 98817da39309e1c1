"""How much does VGG16 reveal about the CIFAR-100 images it was trained on, and what does a defense change?

MindArmour's tutorial "Using Membership Inference to Test Model Security", complete:

python examples/example_vgg_cifar.py --data_path ./cifar-100-binary/ --pre_trained ./VGG16-100_781.ckpt
python examples/example_vgg_cifar.py --data_path DIR --pre_trained FILE.ckpt --defense defenmi
python examples/example_vgg_cifar.py --smoke
"""

import argparse
import sys

from mindefense.arguments import Parser, add_tutorial_arguments
from mindefense.cli import run_command, run_tutorial


def parse_args() -> argparse.Namespace:
    """The tutorial's arguments and further ones."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_tutorial_arguments(parser)
    return parser.parse_args()


def main() -> int:
    """Attacks, defends if asked to, reports."""
    return run_command(run_tutorial, parse_args(), prog="example_vgg_cifar.py")


if __name__ == "__main__":
    sys.exit(main())
