"""mindefense: measures membership inference attacks on MindSpore models, and defends models with DefenMI.

Names are imported on first use, so that importing the package is fast and prints nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

__version__ = "0.1.0"

# Log only errors, because users of this package cannot act on MindSpore's warnings. Set before mindspore is imported.
os.environ.setdefault("GLOG_v", "3")

_HOMES = {
    "attacks": (
        "Attack",
        "AttackContext",
        "AttackSpec",
        "AveragingAttack",
        "BitFlipAttack",
        "BoundaryDistanceAttack",
        "ClassifierAttack",
        "ConfidenceAttack",
        "EntropyAttack",
        "GapAttack",
        "LossAttack",
        "MaxConfidenceAttack",
        "MindArmourAttack",
        "ModifiedEntropyAttack",
        "NSHAttack",
        "NeuralAttack",
        "NoiseRobustnessAttack",
        "ScoreAttack",
        "ShiftAttack",
    ),
    "data": (
        "from_datasets",
        "load_cifar100",
        "load_dataset",
        "load_location",
        "load_outputs",
        "make_cifar_like",
        "make_location_like",
        "parts_split",
        "published_split",
        "split_from_config",
    ),
    "defenses": (
        "ClassMean",
        "DefenMI",
        "DefenMIConfig",
        "DefendedModel",
        "DefenderClassifier",
        "Defense",
        "LabelOnly",
        "LaplaceOutput",
        "MemGuard",
        "MemGuardBudget",
        "MemGuardConfig",
        "Rounding",
        "Temperature",
        "TopK",
        "class_mean_probs",
        "defended_target",
        "fit_defender",
        "fit_defenmi",
        "load_defense",
    ),
    "evaluation": (
        "EvaluationConfig",
        "Gate",
        "Policy",
        "compare",
        "compare_outputs",
        "evaluate",
        "evaluate_outputs",
        "train_shadows",
    ),
    "images": ("ImageTransform",),
    "keyed_noise": ("read_key", "write_key"),
    "metrics": ("budget_table", "membership_metrics", "utility_metrics"),
    "models": ("MLP", "NSH", "VGG16", "vgg16"),
    "private": ("epsilon", "train_privately", "why_not_private"),
    "reports.save": ("save_evaluation",),
    "serving": ("GuardedModel", "export_guarded"),
    "study": ("Study", "StudyConfig"),
    "targets": ("BeforeSoftmax", "FunctionTarget", "Network", "ShadowBank", "Target", "TorchTarget"),
    "training": ("TrainConfig", "train_classifier"),
    "types": ("LabelledData", "Samples"),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = ["__version__", *(name for names in _HOMES.values() for name in names)]  # pyright: ignore[reportUnsupportedDunderAll]

if TYPE_CHECKING:
    from mindefense.attacks import *  # noqa: F403
    from mindefense.data import *  # noqa: F403
    from mindefense.defenses import *  # noqa: F403
    from mindefense.evaluation import *  # noqa: F403
    from mindefense.images import *  # noqa: F403
    from mindefense.keyed_noise import *  # noqa: F403
    from mindefense.metrics import *  # noqa: F403
    from mindefense.models import *  # noqa: F403
    from mindefense.private import *  # noqa: F403
    from mindefense.reports.save import *  # noqa: F403
    from mindefense.serving import *  # noqa: F403
    from mindefense.study import *  # noqa: F403
    from mindefense.targets import *  # noqa: F403
    from mindefense.training import *  # noqa: F403
    from mindefense.types import *  # noqa: F403
