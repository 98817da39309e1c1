"""The command line: arguments in, one public function, a report out.

Nothing here imports MindSpore before the arguments are known to be good, so that help and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from mindefense.arguments import EXIT_INTERRUPTED, EXIT_MISTAKE, EXIT_UNFIT, complain
from mindefense.cli.catalog import build_parser
from mindefense.cli.outcome import Outcome, Screen
from mindefense.cli.studies import run_study, run_tutorial, use_device
from mindefense.errors import InputError, MindefenseError, PackageError

__all__ = ["build_parser", "main", "run_command", "run_study", "run_tutorial"]

Work = Callable[[argparse.Namespace], Outcome | None]
"""What a command does with its arguments, of which ``screen`` is where people are told things."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code, of which `mindefense.arguments.EXIT_CODES` says the meaning."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        code = run_command(args.command, args, prog=parser.prog)
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has had enough, as `head` has; Python would complain when it closes the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    return code


def run_command(work: Work, args: argparse.Namespace, *, prog: str = "mindefense") -> int:
    """Runs `work` and returns its exit code.

    An error of this package's own becomes one line and 2, or 1 for a `PackageError`; ``--debug`` raises it.

    With ``--distributed`` only rank 0 runs it; the other ranks do what it asks of them.
    """
    args.screen = Screen(for_machines=getattr(args, "json", False))
    command = getattr(args, "stage", prog)
    try:
        with _interruptible():
            if getattr(args, "distributed", False):
                outcome = _distributed(work, args)
                if outcome is None:
                    return 0
            elif "MS_ROLE" in os.environ:  # each of its processes would do the whole work, into one folder
                raise InputError("msrun", expected="--distributed among the arguments", got="none", fix="add it")
            else:
                outcome = work(args) or Outcome()
    except MindefenseError as error:
        if args.debug:
            raise
        complain(prog, str(error))
        code = EXIT_UNFIT if isinstance(error, PackageError) else EXIT_MISTAKE
        outcome = Outcome(code, facts={"error": str(error)})
    except KeyboardInterrupt as stop:
        kept = str(stop) or "trainings go on with --resume from the last checkpoint that was written, if one was"
        print(f"{prog}: interrupted; {kept}", file=sys.stderr)
        outcome = Outcome(EXIT_INTERRUPTED, facts={"error": "interrupted"})
    except Exception as error:  # a mistake of this package's own, of which Python shows the traceback
        if args.screen.for_machines:
            args.screen.finish(command, Outcome(EXIT_UNFIT, facts={"error": f"{type(error).__name__}: {error}"}))
        raise
    return args.screen.finish(command, outcome)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Lets Ctrl-C interrupt: once a graph has run, MindSpore makes SIGTERM of it, which would end Python at once.

    While a package is imported it waits: some then end the process, or say that they cannot be imported.
    """
    if threading.current_thread() is not threading.main_thread():  # which alone may say what a signal does
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        while frame is not None:
            if frame.f_code.co_filename.startswith("<frozen importlib"):
                threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
                return
            frame = frame.f_back
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _distributed(work: Work, args: argparse.Namespace) -> Outcome | None:
    """Runs `work` on rank 0; does, on the others, what it asks, and returns None."""
    from mindefense.ranks import join_crew

    if args.device_id is not None:
        fix = "msrun gives each rank its own"
        raise InputError("--device_id", expected="none with --distributed", got=str(args.device_id), fix=fix)
    crew = join_crew(lambda: use_device(args))
    if not crew.leads:
        from mindefense.study.shared import jobs_of

        crew.follow(jobs_of(crew))
        return None
    args.crew = crew
    try:
        outcome = work(args) or Outcome()
    except MindefenseError:
        crew.dismiss()
        raise
    except BaseException:
        crew.abandon()
        raise
    crew.dismiss()
    return outcome
