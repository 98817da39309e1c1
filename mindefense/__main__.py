"""``python -m mindefense``: the command line, for launchers that start modules."""

import os
import sys

# If a launcher starts this file by its path, its folder is first in sys.path, and types/ would hide Python's types.
if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from mindefense.cli import main

sys.exit(main())
