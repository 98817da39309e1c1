"""``python -m mindefense``: the command line, for launchers that start modules."""

import sys

from mindefense.cli import main

sys.exit(main())
