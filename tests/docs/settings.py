"""What pages need that does not stand on them, and what on them cannot run here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import brought
from running import Reader


@dataclasses.dataclass(frozen=True)
class Setting:
    """What the reader of a page has before it begins.

    Attributes:
        has: Puts files into the reader's folder or names into its namespace, in this order.
        before: Part of a block → what happens before that block.
        exempt: Part of a block or command → why it does not run here.
    """

    has: tuple[Callable[[Reader], object], ...] = ()
    before: Mapping[str, Callable[[Reader], object]] = dataclasses.field(default_factory=dict)
    exempt: Mapping[str, str] = dataclasses.field(default_factory=dict)


EXEMPT = {
    "make demo": "installs; `mindefense demo`, which it calls, runs as a smoke test of two attackers",
    "make test": "it is what runs this",
    "make docs": "tests/test_docs_site.py builds the site as it does",
    "python -m pytest": "it is what runs this",
    "python3 -m venv": "installs",
    "pip install": "installs",
    ". .venv/bin/activate": "the environment of the tests is active",
    "msrun ": "tests/distributed runs commands on several ranks",
    "--device_target Ascend": "there is no Ascend",
    "set_device('Ascend')": "there is no Ascend",
    "--device_target GPU": "there is no GPU",
    "set_device('GPU')": "there is no GPU",
    "use_device('auto'": "is to be typed where there is an Ascend or a GPU; tests/test_runtime.py calls it",
    "mindefense doctor": "tests/test_doctor.py runs it, which takes many seconds",
    "cmp runs/smoke_1p": "compares what a page's exempt commands left",
}
"""Part of a command, on any page → why it does not run here. Commands of ours are parsed nevertheless."""

TORCH = "PyTorch is an extra; tests/docs/test_torch_blocks.py runs it where there is one"

BANK = "trains eight models; tests/study/test_bank_of_a_study.py trains four"

PAGES: dict[str, Setting] = {
    "README.md": Setting(
        has=(brought.vgg16_checkpoint, brought.own_model, brought.queries),
        before={"mindefense export --out runs/location": brought.study},
    ),
    "docs/command_line.md": Setting(has=(brought.location,)),
    "docs/configuration.md": Setting(has=(brought.config_ini,)),
    "docs/deployment.md": Setting(
        has=(brought.location, brought.study, brought.defense, brought.queries, brought.guarded_images),
        before={"defenmi,defenmi@300": brought.study, "noise_64": brought.noise},
    ),
    "docs/evaluation.md": Setting(exempt=dict.fromkeys(("train-shadows --out", "evaluate --out runs/location"), BANK)),
    "docs/large_inputs.md": Setting(
        has=(brought.study, brought.big_vectors),
        before={
            "import numpy as np, torch": brought.of_torch,
            "model.predict": brought.of_keras,
            "net.set_train(False)": brought.of_mindspore,
            "write_key(": brought.no_key,
            'load_defense("defense.ckpt")': brought.defense_file,
        },
    ),
    "docs/outputs.md": Setting(
        has=(brought.recorded_outputs, brought.live_models),
        exempt={"TorchTarget(module": TORCH},
        before={
            "import numpy as np, torch": brought.of_torch,
            "model.predict(": brought.of_keras,
            "model.predict_proba": brought.of_scikit_learn,
            "net.set_train(False)": brought.of_mindspore,
            "for pair in range(4)": brought.of_bank,
        },
    ),
    "docs/report.md": Setting(has=(brought.study, brought.found)),
    "docs/results_format.md": Setting(has=(brought.study,)),
    "docs/tutorials/vgg16.md": Setting(has=(brought.vgg16_checkpoint,)),
    "docs/your_model.md": Setting(exempt={"torch.nn.Linear(144, 4)": TORCH}),
    "docs/results/location/README.md": Setting(
        has=(brought.location,), exempt=dict.fromkeys(("train-shadows --out", "lira,rmia"), BANK)
    ),
    "docs/results/vgg16_cifar100_32px/README.md": Setting(has=(brought.cifar100,)),
}
"""Pages that need something."""
