"""The exceptions a user can meet. Each message is one line: what is wrong, what was expected, what came, what to do."""

import difflib
from collections.abc import Iterable


class MindefenseError(Exception):
    """Root of everything this package raises on purpose.

    The command line turns it into exit code 2, but for `PackageError`.
    """

    def __init__(self, what: str, *, expected: str | None = None, got: str | None = None, fix: str | None = None):
        """Builds the one-line message ``what: expected …, got …; fix``.

        Args:
            what: The argument, file or device at fault.
            expected: What would have been right.
            got: What came instead.
            fix: What to do about it.
        """
        parts = [part for part in (expected and f"expected {expected}", got and f"got {got}") if part]
        message = what + (": " + ", ".join(parts) if parts else "") + (f"; {fix}" if fix else "")
        super().__init__(" ".join(message.split()))


class InputError(MindefenseError, ValueError):
    """An argument or array of the wrong kind, shape, range or value."""


class DataError(MindefenseError, ValueError):
    """A data set that is missing, damaged or not what it claims to be."""


class CheckpointError(MindefenseError, ValueError):
    """A checkpoint that is missing, damaged or of another architecture."""


class DeviceError(MindefenseError, RuntimeError):
    """A device that this machine or this MindSpore build does not have."""


class OutputError(MindefenseError, OSError):
    """A result that could not be written; nothing partial is left behind."""


class RankError(MindefenseError, RuntimeError):
    """Another rank of a distributed job that could not do its part."""


class PackageError(MindefenseError, RuntimeError):
    """A mistake of this package, not of the user; the command line turns it into exit code 1."""


def did_you_mean(name: str, known: Iterable[str], *, mark: str = "") -> str | None:
    """A question with the nearest of the names that are known, after `mark`, or None if none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {mark + near[0]!r}?" if near else None
