"""Configuration files: their settings become command-line arguments, which argparse checks like typed ones."""

from __future__ import annotations

import argparse
import configparser
import dataclasses
import importlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mindefense.errors import InputError, did_you_mean

TABLES = (
    *("run", "train", "train-defender", "train-shadow", "train-shadows", "defend", "evaluate", "compare", "export"),
    *("diff", "download", "report", "doctor", "demo", "location_defense", "example_vgg_cifar"),
)
"""The tables that a file may have: commands, and scripts without ``.py``."""
_OF_A_STUDY = (*TABLES[:9], "location_defense")
"""Commands that accept DefenMI's ``config.ini``."""
_NO_KEYS = ("help", "config", "section")
"""Options that can only be given on the command line."""

# The keys of a section of DefenMI's config.ini other than the ranges of rows, in four kinds.
_INI_OPTIONS = {
    "all_data_path": "data_path",
    "result_folder": "out",
    "user_epochs": "epochs",
    "batch_size": "batch_size",
}
_INI_PUBLISHED = {
    "defense_epochs": 400,
    "defense_batch_size": 64,
    "defense_training_ratio": 1,
    "attack_epochs": 400,
    "delta": 1,
    "epsilon": 3,
    "beta": 0.1,
    "max_iteration": 300,
    "threshold": 10000,
}
"""Keys without an option: another value than the published one is an error."""
_INI_SHADOW = {"attack_shallow_model_epochs": "user_epochs", "attack_shallow_model_batch_size": "batch_size"}
"""Settings of the shadow model, which must have the target's value."""
_INI_IDLE = (
    *("result_file", "result_file_publish", "result_file_old"),  # the files of this package have fixed names
    *("defense_member_data_number", "attacker_evaluate_member_number", "attacker_evaluate_non_member_number"),
    *("num_classes", "network_architecture", "network_name"),  # given by the data and by `--model`
)
"""Keys that are ignored."""

_DERIVED = ("privacy", "split", "order", "target_training")
"""Settings in a file of results that follow from the other settings."""
_ELSEWHERE = {
    "data_path": "the folder or file of the data",
    "split_config": "the config.ini with the ranges of the rows",
    "pre_trained": "the checkpoint of the target",
    "members": "the file with the numbers of the target's rows",
}
"""Settings whose path is not in a file of results, or only without its folder."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One value from a configuration file.

    Attributes:
        where: File, table and key, for messages.
        option: Name of the option, without dashes.
        value: The value in the file.
    """

    where: str
    option: str
    value: Any


def with_configuration(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """Adds the settings of ``--config FILE`` in front of `argv`; typed arguments override them.

    ``--no_SWITCH`` turns off a switch that the file turns on, or that was typed before it.

    Args:
        parser: Parser of the command. The last word of its name, without ``.py``, is the name of its table in a file.
        argv: The arguments that were typed after the command.

    Returns:
        The settings of the file and then `argv`, without ``--no_SWITCH``; only the latter without ``--config``.

    Raises:
        InputError: If the file is missing or damaged, or has an unknown key or an invalid value. Values are checked
            even if the command line overrides them.
    """
    options = _options(parser)
    argv, taken_back = _without_switches_off(argv, options)
    if "config" not in options or not {"-h", "--help"}.isdisjoint(argv):
        return argv
    path, section = _typed(argv, "--config"), _typed(argv, "--section")
    if path is None:
        if section is not None:
            raise InputError("--section", expected="--config config.ini with it", got="none")
        return argv
    for name in _NO_KEYS:
        options.pop(name, None)
    typed = taken_back | {word.partition("=")[0].removeprefix("--") for word in argv if word.startswith("--")}
    command = Path(parser.prog.split()[-1]).stem
    siblings = {name: _options(sibling) for name, sibling in getattr(parser, "siblings", {}).items()}
    arguments = []
    for setting in _read(Path(path), section, command, {**siblings, command: options}, typed):
        texts = _checked(parser, options[setting.option], setting)
        if setting.option not in typed:
            arguments += texts
    return arguments + argv


def spelled(parser: argparse.ArgumentParser, argv: Sequence[str]) -> list[str]:
    """`argv` with options in the parser's spelling, whether they were typed with dashes or underscores."""
    options = _options(parser)

    def own(word: str) -> str:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        is_own = word.startswith("--") and (name in options or _switched_off(name, options) is not None)
        return f"--{name}{equals}{value}" if is_own else word

    return [own(word) for word in argv]


def _switched_off(name: str, options: Mapping[str, argparse.Action]) -> str | None:
    """The switch that ``no_SWITCH`` turns off; None if `name` is not of this form."""
    switch = name.removeprefix("no_")
    return switch if switch != name and isinstance(options.get(switch), argparse._StoreTrueAction) else None


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Long options by their names without dashes."""
    return {
        name.removeprefix("--"): action
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }


def _without_switches_off(argv: Sequence[str], options: Mapping[str, argparse.Action]) -> tuple[list[str], set[str]]:
    """`argv` without each ``--no_SWITCH`` and the switch that it turns off, and the names of these switches."""
    kept: list[str] = []
    taken_back = set()
    for word in argv:
        switch = _switched_off(word.removeprefix("--"), options) if word.startswith("--") else None
        if switch is None:
            kept.append(word)
        else:
            kept = [earlier for earlier in kept if earlier != f"--{switch}"]
            taken_back.add(switch)
    return kept, taken_back


def _typed(argv: Sequence[str], option: str) -> str | None:
    """The last value that was typed for an option; None without one, which argparse reports."""
    value = None
    for word, following in zip(argv, [*argv, "-"][1:], strict=True):
        if word == option and not following.startswith("-"):
            value = following
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
    return value


def _read(
    path: Path,
    section: str | None,
    command: str,
    commands: Mapping[str, Mapping[str, argparse.Action]],
    typed: set[str],
) -> Iterable[Setting]:
    """The settings of a file for a command, each option once; `commands` has the options of all commands."""
    options = commands[command]
    readers = (".toml", ".ini", ".json")
    if path.suffix not in readers:
        raise InputError("--config", expected=f"a file that ends in {', '.join(readers)}", got=str(path))
    if section is not None and path.suffix != ".ini":
        raise InputError("--section", expected="an .ini file as --config", got=str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark first
    except OSError as error:
        raise InputError(
            "--config", expected="a readable file", got=f"{path} ({error.strerror})", fix="check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(f"--config {path}", expected="UTF-8 text", got=str(error)) from error
    if path.suffix == ".toml":
        return _from_toml(text, path, command, commands)
    if path.suffix == ".json":
        return _from_results(text, path, command, options, typed)
    return _from_ini(text, path, section, command, options, typed)


# ------------------------------------------------------------------------------------------------------------ values


def _checked(parser: argparse.ArgumentParser, action: argparse.Action, setting: Setting) -> list[str]:
    """A setting as arguments, after the parser has checked them."""
    option, value = f"--{setting.option}", setting.value
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise InputError(setting.where, expected="true or false", got=_shown(value))
        return [option] * value
    several = value if isinstance(action, argparse._AppendAction) and isinstance(value, list) else [value]
    texts = [_text(action, one, setting.where) for one in several]
    for text in texts:
        try:
            parser._get_values(action, [text])
        except argparse.ArgumentError as error:
            raise InputError(f"{setting.where}: {error.message}") from error
    return [f"{option}={text}" for text in texts]


def _text(action: argparse.Action, value: Any, where: str) -> str:
    """A value in the spelling of the command line."""
    is_text = action.type is None and action.choices is None
    parts = value if isinstance(value, list) else [value]
    right = (str,) if is_text else (str, int, float)
    if (is_text and isinstance(value, list)) or any(isinstance(p, bool) or not isinstance(p, right) for p in parts):
        expected = f"text, {action.metavar}" if is_text else f"a value of {action.option_strings[-1]}"
        raise InputError(where, expected=expected, got=_shown(value))
    return ",".join(map(str, parts))


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _unknown(where: str, name: str, known: Iterable[str], *, what: str, fix: str = "") -> InputError:
    """The error for an unknown name, with the most similar known name."""
    known = sorted(known)
    hint = did_you_mean(name, known)
    expected = what if hint else f"{what} ({', '.join(known)})"
    return InputError(
        where, expected=expected, got=repr(name), fix=" ".join(part for part in (hint, fix) if part) or None
    )


# ------------------------------------------------------------------------------------------------------------- files


def _from_toml(text: str, path: Path, command: str, commands: Mapping[str, Mapping[str, Any]]) -> list[Setting]:
    """Keys at the top level, overridden by those of the command's table; the keys of all tables must be known."""
    options = commands[command]
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        held = toml.loads(text)
    except ValueError as error:
        raise InputError(f"--config {path}", expected="TOML", got=str(error)) from error
    found: dict[str, Setting] = {}
    own = held.get(command)
    for name, value in held.items():
        if not isinstance(value, dict):
            fix = "put options of other commands into tables with the names of these commands"
            option = _known(str(path), name, options, command, fix=fix)
            found[option] = Setting(f"{path} {name}", option, value)
        elif name not in TABLES:
            raise _unknown(f"{path} [{name}]", name, TABLES, what="a table with a command's name")
        elif name != command and name in commands:
            for key in value:
                _known(f"{path} [{name}]", key, commands[name], name)
    for name, value in own.items() if isinstance(own, dict) else ():
        option = _known(f"{path} [{command}]", name, options, command)
        found[option] = Setting(f"{path} [{command}] {name}", option, value)
    return list(found.values())


def _known(where: str, name: str, options: Mapping[str, Any], command: str, *, fix: str = "") -> str:
    """The option with the name of a key, which may have dashes or underscores."""
    option = name.replace("-", "_")
    if option not in options:
        raise _unknown(f"{where} {name}", name, options, what=f"an option of {command} without its dashes", fix=fix)
    return option


def _from_results(
    text: str, path: Path, command: str, options: Mapping[str, Any], typed: set[str]
) -> Iterable[Setting]:
    """The settings of an evaluation in ``results.json``, to repeat it."""
    if command != "run":
        raise InputError(
            f"--config {path}",
            expected="a .toml file for this command",
            got="JSON",
            fix="only `mindefense run` accepts results.json",
        )
    try:
        held = json.loads(text)
        settings = dict(held["settings"])
        if not {"dataset", "seed"} <= settings.keys() or "verdict" not in held:  # a comparison, or recorded outputs
            raise KeyError
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"--config {path}", expected="results.json of a study", got="something else") from error
    for name, every in (("knowledge", "all"), ("adversary", "both")):
        chosen = settings.get(name, [every])
        settings[name] = chosen if len(chosen) == 1 else every
    settings.pop("shadows", None)  # trained by another command
    settings["device_target"] = settings.pop("device", None)
    for name, wanted in _ELSEWHERE.items():
        if name == "members" and not isinstance(settings.get(name), str):
            continue  # a number of rows needs no file
        if settings.pop(name, None) is not None and name not in typed:
            raise InputError(
                f"--{name}", expected=wanted, got="none", fix=f"give it: {path} was made with one and lacks its path"
            )
    for name, value in settings.items():
        if value is None or name in _DERIVED:
            continue
        _known(f"{path} settings", name, options, command)
        yield Setting(f"{path} settings {name}", name, value)


def _from_ini(
    text: str, path: Path, section: str | None, command: str, options: Mapping[str, argparse.Action], typed: set[str]
) -> list[Setting]:
    """DefenMI's configuration: ranges of rows, paths and the target's training."""
    if command not in _OF_A_STUDY:
        raise InputError(f"--config {path}", expected="a .toml file for this command", got="DefenMI's configuration")
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read_string(text, source=str(path))
    except configparser.Error as error:
        raise InputError(f"--config {path}", expected="a readable ini file", got=str(error)) from error
    section = section or config.get("dataset", "dataset", fallback=None)
    if section is None or not config.has_section(section):
        there = [name for name in config.sections() if name != "dataset"]
        raise InputError("--section", expected=f"one of {', '.join(there)} in {path}", got=section or "none")
    held, where = config[section], f"{path} [{section}]"
    _check_ini(held, where)
    folder = path.parent
    given = {option: held[key] for key, option in _INI_OPTIONS.items() if key in held}
    keys = {option: key for key, option in _INI_OPTIONS.items()}
    if "shuffle_index" in held and "data_path" in given and "data_path" not in typed:
        order, data = folder / held["shuffle_index"], folder / given["data_path"]
        if order.parent != data.parent or order.stem != "shuffle_index":
            fix = "put it there, or give --data_path"
            raise InputError(
                f"{where} shuffle_index",
                expected="shuffle_index.npz in the folder of all_data_path",
                got=str(order),
                fix=fix,
            )
    # DefenMI's scripts run in the folder of their configuration.
    given |= {name: os.path.normpath(folder / given[name]) for name in ("data_path", "out") if name in given}
    given |= {"split_config": str(path), "split_section": section}
    if "dataset" in options and section in (options["dataset"].choices or ()):
        given["dataset"] = section
    return [
        Setting(f"{where} {keys.get(option, option)}", option, value)
        for option, value in given.items()
        if option in options and not (option == "batch_size" and command == "export")
    ]


def _check_ini(held: Mapping[str, str], where: str) -> None:
    """Raises InputError for settings that this package would silently not observe."""
    from mindefense.data.splits import RANGE_KEYS

    known = {*RANGE_KEYS, *_INI_OPTIONS, *_INI_PUBLISHED, *_INI_SHADOW, *_INI_IDLE, "shuffle_index"}
    fix = "to read only the ranges of the rows, give --split_config and --split_section instead of --config"
    for key, value in held.items():
        if key not in known:
            raise _unknown(f"{where} {key}", key, known, what="a key of DefenMI's config.ini", fix=fix)
        same = held.get(_INI_SHADOW.get(key, ""), value) if key in _INI_SHADOW else _INI_PUBLISHED.get(key, value)
        try:
            differs = value != same and float(value) != float(same)
        except ValueError:
            differs = True
        if differs:
            other = f"{same}, the target's value" if key in _INI_SHADOW else f"{same}, the published value"
            raise InputError(f"{where} {key}", expected=other, got=value, fix=f"there is no option for it; {fix}")
