"""The end of a report: the threat models, what each attacker uses, and how to reproduce the figures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mindefense.attacks.registry import ATTACKS
from mindefense.reports.wording import Row, learned_from

_THREATS = {
    "none": ("learned from nothing", "is not fitted, and uses only the model's answers (knowledge: none)"),
    "auditor": (
        "learned from the target",
        "knows for some samples whether they were in this model's training data, and is evaluated on others "
        "(knowledge: auditor)",
    ),
    "shadow": (
        "learned from a shadow",
        "knows no members of this model; trained a shadow model on data of the same kind and learned from the answers "
        "of the shadow model (knowledge: shadow)",
    ),
    "online": (
        "learned from an online bank",
        "has the evaluated samples, and trained shadow models on half of them each; so it knows, for each sample, the "
        "answers of models that were trained on it and of models that were not (knowledge: online)",
    ),
    "offline": (
        "learned from an offline bank",
        "trained shadow models on other samples; so it knows, for each sample, the answers only of models that were "
        "not trained on it (knowledge: offline)",
    ),
    "static": ("unaware", "does not know of the defense; learned from undefended answers (adversary: static)"),
    "adaptive": (
        "adapts",
        "knows of the defense and learned from defended answers; its shadow model has the same defense with another "
        "key, and so with other noise. Expect such an attacker (adversary: adaptive)",
    ),
}


_ORDINARY = {"alignment": "corrected", "width_multiplier": 1.0, "batch_size": 64, "noise": "keyed", "max_queries": 1000,
             "targets": 0, "amp": "O0"}  # fmt: skip
"""Defaults of the command line."""


_TRAINED_BY = (
    *("dataset", "data_path", "split_config", "split_section", "defense", "alignment", "max_steps", "seed", "smoke"),
    *("model", "epochs", "learning_rate", "schedule", "warmup_epochs", "until_accuracy", "weight_decay"),
    *(
        "label_smoothing",
        "epsilon",
        "canaries",
        "batch_size",
        "image_size",
        "width_multiplier",
        "members",
        "num_samples",
    ),
    *("augment", "parity", "amp"),
)
_ATTACKED_BY = ("attacks", "knowledge", "adversary", "noise", "max_queries", "targets")
"""Settings with an argument of the same name."""


def threat_models(threat_models: Row, attacks: Iterable[Row]) -> list[tuple[str, str]]:
    """The threat models of these attackers, explained; those that are not in `_THREATS` in the words of the file."""
    there = {attack[key] for attack in attacks for key in ("knowledge", "adversary")}
    words = {**threat_models.get("knowledge", {}), **threat_models.get("adversary", {})}
    words = {name: text for name, text in words.items() if name in there}
    noise = [(f"{name} noise", text) for name, text in threat_models.get("noise", {}).items() if name != "none"]
    return [
        ("member", "a sample that the model was trained on; a leak is any way to distinguish members from non-members"),
        *(_THREATS.get(name, (name, text)) for name, text in words.items()),
        *noise,
    ]


def known_attackers(names: Any) -> list[tuple[str, str]]:
    """The attackers that took part, and what each uses."""
    there = set(names)
    known = [(name, spec.looks_at) for name, spec in ATTACKS.items() if name in there]
    return [*known, *((name, "A user-defined attacker.") for name in sorted(there - set(ATTACKS)))]


def not_run_by_reason(not_run: Sequence[Row]) -> list[tuple[str, str]]:
    """Each reason with the attackers that were left out for it, by what they would have learned from."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for one in not_run:
        reasons.setdefault(one["reason"], {}).setdefault(one["name"], []).append(learned_from(one))
    said = []
    for reason, names in reasons.items():
        groups: dict[str, list[str]] = {}
        for name, learned in names.items():
            groups.setdefault(" or ".join(dict.fromkeys(learned)), []).append(name)
        parts = [
            ", ".join(who) + ("" if how == "training" else f" (learned from {how})") for how, who in groups.items()
        ]
        said.append((reason, "; ".join(parts)))
    return said


def how_to_repeat(results: Row, last: Sequence[str]) -> dict[str, Any]:
    """The commands that reproduce these figures, and their settings."""
    settings = results["settings"]
    commands, note = [], ""
    if "outputs" in settings:
        chosen = _arguments(settings, ("attacks", "adversary"))
        commands = [["mindefense", "evaluate", "--outputs", settings["outputs"], "--seed", results["seed"], *chosen]]
        note = "The file of recorded outputs must be in the folder where you run this."
    elif "dataset" in settings and last[0] == "compare":
        trained = [*_arguments(settings, _TRAINED_BY), *_adopted(settings)]
        searching = any(
            one.startswith(("defenmi", "memguard")) for one in " ".join(map(str, last)).replace(",", " ").split()
        )
        commands = [["mindefense", "train", *trained]]
        if searching:
            commands.append(["mindefense", "train-defender"])
        if "shadow" in settings.get("knowledge", ()) and settings.get("model") == "mlp":
            commands.append(["mindefense", "train-shadow"])
        commands += [["mindefense", "train-shadows", f"--{kind}", "--shadows", str(count)]
                     for kind, count in settings.get("shadows", {}).items()]  # fmt: skip
        commands.append(["mindefense", *last, *_arguments(settings, _ATTACKED_BY)])
    elif "dataset" in settings:
        commands = [["mindefense", "run", *_arguments(settings, (*_TRAINED_BY, *_ATTACKED_BY)), *_adopted(settings)]]
    else:
        note = "These figures were made in Python, by mindefense.evaluate with the settings below, not by a command."
    if settings.get("data_path"):
        note = "Replace the paths by yours: they are names of files and folders on the machine where this was made."
        if settings.get("order") == "published":
            note += " The rows were in the published order: shuffle_index.npz must be beside the data."
    for command in commands:
        command += ["--out", "runs/again"]
    return {
        "commands": [" ".join(_quoted(str(word)) for word in command) for command in commands],
        "note": note,
        "facts": [
            *_judged(results.get("evidence")),
            (
                "Seed and versions",
                [("seed", str(results["seed"])), *((n, str(v)) for n, v in results["versions"].items())],
            ),
            ("Settings", [(name, _said(value)) for name, value in settings.items() if value is not None]),
            *((("Seconds", _seconds(results["timings"])),) if results["timings"] else ()),
        ],
    }


_DIGESTS = {
    "checkpoint": "SHA-256 of the checkpoint file",
    "parameters": "SHA-256 of the parameters",
    "outputs": "SHA-256 of the file of recorded outputs",
    "data": "SHA-256 of the data",
    "members": "SHA-256 of the members' indices",
}


def _judged(evidence: Row | None) -> list[tuple[str, list[tuple[str, str]]]]:
    """What was evaluated and when, if the file states it."""
    if evidence is None:
        return []
    size = "" if evidence["parameters"] is None else f", {evidence['parameters']:,} parameters"
    network = [] if evidence["network"] is None else [("network", f"{evidence['network']}{size}")]
    words = [(name, evidence[name]) for name in ("note", "command") if evidence[name]]
    digests = [(_DIGESTS.get(str(name), str(name)), digest) for name, digest in evidence["digests"].items()]
    return [("What was evaluated, and when", [("ended", evidence["created"]), *words, *network, *digests])]


def _seconds(timings: Mapping[str, float]) -> list[tuple[str, str]]:
    """Seconds by stage; the attackers are one stage."""
    attackers = sum(seconds for name, seconds in timings.items() if name.startswith("attack "))
    stages = {name: seconds for name, seconds in timings.items() if not name.startswith("attack ")}
    total = {"total": stages.pop("total")} if "total" in stages else {}
    stages |= ({"attackers": attackers} if attackers else {}) | total
    return [(name, f"{seconds:,.1f}") for name, seconds in stages.items()]


def _arguments(settings: Row, names: Sequence[str]) -> list[str]:
    words: list[str] = []
    synthetic = settings.get("dataset") == "synthetic"
    for name in names:
        value = settings.get(name)
        if value is None or value is False or value == _ORDINARY.get(name) or (name == "dataset" and synthetic):
            continue
        if name in ("knowledge", "adversary"):
            words += [] if len(value) != 1 else [f"--{name}", str(value[0])]
        elif value is True:
            words.append(f"--{name}")
        else:
            words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)]
    return words


def _adopted(settings: Row) -> list[str]:
    """The option for a target whose checkpoint was given."""
    return ["--pre_trained", "target.ckpt"] if "target_training" in settings and not settings["target_training"] else []


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _quoted(word: str) -> str:
    """A word, quoted for a shell if necessary."""
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word) else "'" + word.replace("'", "'\"'\"'") + "'"
