"""The command line: arguments in, one public function, a report out.

Nothing here imports MindSpore before the arguments are known to be good, so that help and mistakes answer at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from mindefense.arguments import EXIT_INTERRUPTED, EXIT_MISTAKE
from mindefense.cli.catalog import build_parser
from mindefense.cli.outcome import Outcome, Screen
from mindefense.cli.studies import run_study, run_tutorial, use_device
from mindefense.errors import InputError, MindefenseError, complain

__all__ = ["build_parser", "guarded", "main", "run_study", "run_tutorial"]

Work = Callable[[argparse.Namespace], Outcome | None]
"""What a command does with its arguments, of which ``screen`` is where people are told things."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code, of which `mindefense.arguments.EXIT_CODES` says the meaning."""
    parser = build_parser()
    args = parser.parse_args(argv)
    return guarded(args.command, args, prog=parser.prog)


def guarded(work: Work, args: argparse.Namespace, *, prog: str = "mindefense") -> int:
    """Runs `work` and returns its exit code; an error the user can mend becomes one line and 2, unless ``--debug``.

    With ``--distributed`` only rank 0 runs it; the other ranks do what it asks of them.
    """
    args.screen = Screen(for_machines=getattr(args, "json", False))
    command = getattr(args, "stage", prog)
    try:
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
        outcome = Outcome(EXIT_MISTAKE, facts={"error": str(error)})
    except KeyboardInterrupt as stop:
        kept = str(stop) or "trainings go on with --resume from the last checkpoint that was written, if one was"
        print(f"{prog}: interrupted; {kept}", file=sys.stderr)
        outcome = Outcome(EXIT_INTERRUPTED, facts={"error": "interrupted"})
    return args.screen.finish(command, outcome)


def _distributed(work: Work, args: argparse.Namespace) -> Outcome | None:
    """Runs `work` on rank 0; does, on the others, what it asks, and returns None."""
    from mindefense.ranks import join_crew

    if args.device_id is not None:
        fix = "msrun gives each rank its own"
        raise InputError("--device_id", expected="none with --distributed", got=str(args.device_id), fix=fix)
    crew = join_crew(lambda: use_device(args))
    if not crew.leads:
        from mindefense.evaluation.shared import jobs_of

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
