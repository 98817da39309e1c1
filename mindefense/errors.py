"""Exceptions. Each message is one line: what is wrong, what was expected, what was given, and what to do."""

import difflib
from collections.abc import Iterable


class MindefenseError(Exception):
    """Base class of the exceptions of this package.

    The command line returns exit code 2 for them, except for `PackageError`.
    """

    def __init__(self, what: str, *, expected: str | None = None, got: str | None = None, fix: str | None = None):
        """Builds the one-line message ``what: expected …, got …; fix``.

        Args:
            what: The wrong argument, file or device.
            expected: What was expected.
            got: What was given instead.
            fix: What to do.
        """
        parts = [part for part in (expected and f"expected {expected}", got and f"got {got}") if part]
        message = what + (": " + ", ".join(parts) if parts else "") + (f"; {fix}" if fix else "")
        super().__init__(" ".join(message.split()))


class InputError(MindefenseError, ValueError):
    """An argument or array has the wrong type, shape, range or value."""


class DataError(MindefenseError, ValueError):
    """A data file is missing, damaged or in another format."""


class CheckpointError(MindefenseError, ValueError):
    """A checkpoint is missing, damaged or of another architecture."""


class DeviceError(MindefenseError, RuntimeError):
    """This machine or this MindSpore build does not have a device, or the device does not work."""


class OutputError(MindefenseError, OSError):
    """A result could not be written; no incomplete file is left behind."""


class RankError(MindefenseError, RuntimeError):
    """Another rank of a distributed job failed, or the ranks could not connect."""


class PackageError(MindefenseError, RuntimeError):
    """An error of this package and not of the user; the command line returns exit code 1."""


def did_you_mean(name: str, known: Iterable[str], *, mark: str = "") -> str | None:
    """The question "did you mean …?" with the most similar known name after `mark`; None if none is similar."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"did you mean {mark + near[0]!r}?" if near else None
