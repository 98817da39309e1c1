"""mindefense: membership inference attacks on MindSpore models, the DefenMI defense, and the truth about both."""

import os

__version__ = "0.1.0"

# Errors only: MindSpore warns of things no user of this package can act on. Must be set before mindspore is imported.
os.environ.setdefault("GLOG_v", "3")
