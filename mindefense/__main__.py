"""``python -m mindefense``: the command line, for launchers that start modules."""

import os
import sys

# A launcher may start this file by its path. Then its folder comes first, where types/ would be taken for Python's.
if sys.path and os.path.abspath(sys.path[0]) == os.path.dirname(os.path.abspath(__file__)):
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from mindefense.cli import main

sys.exit(main())
