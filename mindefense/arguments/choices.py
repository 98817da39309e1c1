"""The choices of the command line's options, and its exit codes."""

from mindefense.data.registry import DATASETS as _DATASETS
from mindefense.data.registry import SOURCES
from mindefense.study.registry import MODELS as _MODELS

DATASETS = (*_DATASETS, "synthetic")
DOWNLOADS = tuple(SOURCES)
MODELS = tuple(_MODELS)
SCHEDULES = ("step", "cosine")
SHELLS = ("bash", "zsh", "tcsh")
AMP_LEVELS = ("O0", "O2")
TRAINING = (
    "epochs",
    "learning_rate",
    "schedule",
    "warmup_epochs",
    "until_accuracy",
    "weight_decay",
    "label_smoothing",
    "epsilon",
    "training",
    "augment",
    "canaries",
)
EXIT_UNFIT, EXIT_MISTAKE, EXIT_STRICT, EXIT_GATE, EXIT_INCONCLUSIVE, EXIT_INTERRUPTED = 1, 2, 3, 4, 5, 130
EXIT_CODES = {
    0: "done",
    EXIT_UNFIT: "doctor found a problem; or a bug in this package, with a traceback or a request to report it",
    EXIT_MISTAKE: "a mistake in the arguments, or a file that cannot be read or written",
    EXIT_STRICT: "--strict, and a check failed; the report states what that means for the figures",
    EXIT_GATE: "--fail_above or --policy, and a limit is exceeded; or diff --fail_on_rise, and a figure rose",
    EXIT_INCONCLUSIVE: "--fail_above or --policy, and no limit is exceeded, but a leak may have been missed",
    EXIT_INTERRUPTED: "interrupted (Ctrl-C, or SIGTERM)",
}
"""The meaning of each exit code."""
