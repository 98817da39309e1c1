"""How much does a model trained on Location reveal about its training rows, and what does DefenMI change?

python examples/location_defense.py --data_path data/location
python examples/location_defense.py --smoke
"""

import argparse
import sys

from mindefense.arguments import Parser, add_common_arguments, add_evaluation_arguments, add_study_arguments
from mindefense.cli import run_command, run_study


def parse_args() -> argparse.Namespace:
    """The arguments; the same as those of `mindefense run`."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_study_arguments(parser)
    add_evaluation_arguments(parser)
    add_common_arguments(parser)
    return parser.parse_args()


def main() -> int:
    """Trains, defends, attacks, reports."""
    return run_command(run_study, parse_args(), prog="location_defense.py")


if __name__ == "__main__":
    sys.exit(main())
