"""mindefense: membership inference attacks on MindSpore models, the DefenMI defense, and the truth about both."""

__version__ = "0.1.0"
