"""A policy: limits, required attackers, fewest rows; what it says, on which page, and with which exit code."""

import dataclasses
import json

import numpy as np
import pytest

from mindefense import cli
from mindefense.arguments import EXIT_GATE, EXIT_INCONCLUSIVE
from mindefense.data import load_outputs
from mindefense.errors import InputError
from mindefense.evaluation import Policy, evaluate_outputs
from mindefense.evaluation.gate import Gate

WHOLE = """
[limits]
auc = 0.6
named = 5
"tpr@0.01" = 0.05
[require]
attackers = ["confidence", "stacked"]
members = 200
non_members = 300
[judge]
by = "high"
"""


def made(folder, *, leak=0.0, rows=1600, defended=False, name="answers"):
    rng = np.random.default_rng(1)
    labels, is_member = rng.integers(5, size=rows), np.arange(rows) % 2 == 0
    logits = rng.normal(0, 1, (rows, 5))
    logits[np.arange(rows), labels] += 5 - leak * ~is_member
    arrays = {"logits": logits.astype(np.float32), "labels": labels, "is_member": is_member}
    if defended:
        arrays["defended_logits"] = np.where(np.arange(5) == logits.argmax(axis=1)[:, None], 9, 0).astype(np.float32)
    np.savez(folder / f"{name}.npz", **arrays)
    return folder / f"{name}.npz"


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    """Of a model that leaks and one that does not, with one attacker of each kind that recorded outputs allow."""
    folder = tmp_path_factory.mktemp("answers")
    attacks = ("confidence", "max-confidence", "shokri-label")
    return {
        name: evaluate_outputs(load_outputs(made(folder, leak=leak, name=name)), attacks=attacks)
        for name, leak in (("leaky", 3.0), ("tight", 0.0))
    }


def policy(folder, text):
    (folder / "release.toml").write_text(text, encoding="utf-8")
    return Policy.read(folder / "release.toml")


def test_file_is_read(tmp_path):
    found = policy(tmp_path, WHOLE)
    gates = tuple(Gate(metric, limit, "high") for metric, limit in (("auc", 0.6), ("named", 5), ("tpr@0.01", 0.05)))
    assert found == Policy("release.toml", gates, ("confidence", "stacked"), 200, 300)
    plain = policy(tmp_path, "\ufeff[limits]\nauc = 0.6\n")  # as some editors begin a file
    assert plain == Policy("release.toml", (Gate("auc", 0.6),))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no limit"),
        ("[limits]\n", "no limit"),
        ("[limits\n", "a TOML file"),
        ("auc = 0.6\n", "the tables limits, require, judge, got 'auc'"),
        ("[limit]\nauc = 0.6\n", "did you mean 'limits'?"),
        ("[limits]\nacc = 0.6\n", "METRIC=LIMIT with auc or accuracy"),
        ("[limits]\nauc = 60\n", "a fraction"),
        ("[limits]\nauc = 0.6\n[require]\nmember = 5\n", "did you mean 'members'?"),
        ("[limits]\nauc = 0.6\n[require]\nmembers = 0\n", "a whole number from 1, got 0"),
        ("[limits]\nauc = 0.6\n[require]\nmembers = true\n", "a whole number from 1, got True"),
        ("[limits]\nauc = 0.6\n[require]\nattackers = 'gap'\n", "a list of names"),
        ("[limits]\nauc = 0.6\n[judge]\nby = 'middle'\n", "estimate, low, high, got 'middle'"),
    ],
)
def test_mistakes_in_the_file_are_one_line(text, says, tmp_path):
    with pytest.raises(InputError) as error:
        policy(tmp_path, text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        Policy.read(tmp_path / "none.toml")


def test_pass_fail_and_inconclusive(evaluations):
    limit = (Gate("auc", 0.6),)
    assert Policy("p", limit).rule(evaluations["tight"]).outcome == "PASS"
    found = Policy("p", limit).rule(evaluations["leaky"])
    assert found.outcome == "FAIL"
    assert found.limits[0].exceeded
    assert found.limits[0].value == max(one.metrics.two_sided_auc for one in evaluations["leaky"].attacks)
    had = "an attacker was evaluated on"
    for strict, reason in (
        (Policy("p", limit, attackers=("stacked", "confidence")), "required attackers did not take part: stacked"),
        (Policy("p", limit, members=500), f"{had} 400 members, and at least 500 are required"),
        (Policy("p", limit, non_members=401), f"{had} 400 non-members, and at least 401 are required"),
        (Policy("p", (*limit, Gate("tpr@0.001", 0.9))), "tpr@0.001 needs at least 1,000 non-members"),
    ):
        ruling = strict.rule(evaluations["tight"])
        assert ruling.outcome == "INCONCLUSIVE"
        assert ruling.reasons[0].startswith(reason)
        assert strict.rule(evaluations["leaky"]).outcome == "FAIL"  # a leak that was found is one, whatever is missing


@pytest.mark.parametrize("name", ["labels-match", "duplicates", "left-out", "static-only"])
def test_a_check_that_may_hide_a_leak_makes_it_inconclusive(name, evaluations):
    tight = evaluations["tight"]
    check = dataclasses.replace(tight.checks[0], name=name, passed=False, found="Something is wrong.")
    ruling = Policy("p", (Gate("auc", 0.6),)).rule(dataclasses.replace(tight, checks=(*tight.checks, check)))
    assert (ruling.outcome, ruling.reasons) == ("INCONCLUSIVE", (f"the check {name} failed: something is wrong",))


def test_an_upper_end_is_compared_where_the_policy_says_so(evaluations):
    tight = evaluations["tight"]
    limit = max(one.metrics.two_sided_auc for one in tight.attacks) + 0.001
    estimate, high = (Policy("p", (Gate("auc", limit, by),)).rule(tight) for by in ("estimate", "high"))
    assert (estimate.outcome, high.outcome) == ("PASS", "FAIL")


def run(*arguments):
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as left:
        return left.code


@pytest.mark.parametrize(
    ("leak", "text", "attacks", "code", "outcome"),
    [
        (3.0, "[limits]\nauc = 0.6\n", "confidence,shokri-label", EXIT_GATE, "FAIL"),
        (0.0, "[limits]\nauc = 0.6\n", "confidence,shokri-label", 0, "PASS"),
        (0.0, "[limits]\nauc = 0.6\n", "max-confidence,salem-top3", EXIT_INCONCLUSIVE, "INCONCLUSIVE"),
        (0.0, "[limits]\nauc = 0.6\n[require]\nattackers = ['stacked']\n", "confidence,shokri-label",
         EXIT_INCONCLUSIVE, "INCONCLUSIVE"),
    ],
)  # fmt: skip
def test_screen_page_json_and_exit_code_say_the_same(leak, text, attacks, code, outcome, tmp_path, capsys):
    (tmp_path / "release.toml").write_text(text, encoding="utf-8")
    path = made(tmp_path, leak=leak)
    given = ("evaluate", "--outputs", path, "--out", tmp_path / "r", "--attacks", attacks)
    assert run(*given, "--policy", tmp_path / "release.toml") == code
    said = " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "r" / "report.md").read_text(encoding="utf-8")
    for text in (said, page.replace("**", "")):
        assert f"Does the model comply with the policy (release.toml)? {outcome}" in text
    held = json.loads((tmp_path / "r" / "results.json").read_text(encoding="utf-8"))
    assert held["ruling"]["outcome"] == outcome
    assert (held["ruling"]["reasons"] == []) == (outcome != "INCONCLUSIVE")
    assert run(*given, "--policy", tmp_path / "release.toml", "--json") == code
    assert json.loads(capsys.readouterr().out)["ruling"] == held["ruling"]


def test_weak_attackers_alone_clear_nobody(tmp_path, capsys):
    path = made(tmp_path)
    given = ("evaluate", "--outputs", path, "--out", tmp_path / "r", "--fail_above", "auc=0.6")
    assert run(*given, "--attacks", "max-confidence,salem-top3") == EXIT_INCONCLUSIVE
    told = capsys.readouterr()
    assert "--fail_above: INCONCLUSIVE: the check left-out failed" in told.err
    assert "classifiers that see the true class" in told.err
    assert "left-out: Attackers that could have taken part and were not chosen" in " ".join(told.out.split())
    assert run(*given, "--attacks", "max-confidence,salem-top3,confidence,shokri-label") == 0


def test_limits_of_the_command_line_are_added_to_the_file(tmp_path, capsys):
    (tmp_path / "release.toml").write_text("[limits]\nauc = 0.99\n", encoding="utf-8")
    path = made(tmp_path, leak=3.0)
    given = ("evaluate", "--outputs", path, "--out", tmp_path / "r", "--attacks", "confidence,shokri-label")
    assert run(*given, "--policy", tmp_path / "release.toml", "--fail_above", "accuracy=0.6") == EXIT_GATE
    assert "release.toml, --fail_above: accuracy 0." in capsys.readouterr().err


def test_unknown_required_attacker_is_a_mistake(tmp_path, capsys):
    (tmp_path / "release.toml").write_text("[limits]\nauc = 0.6\n[require]\nattackers = ['staked']\n")
    path = made(tmp_path)
    assert run("evaluate", "--outputs", path, "--out", tmp_path / "r", "--policy", tmp_path / "release.toml") == 2
    assert "did you mean 'stacked'?" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_leak_of_few_members_is_not_cleared_by_limits_on_averages(tmp_path, capsys):
    with np.load(made(tmp_path)) as held:
        arrays = dict(held)
    members = np.flatnonzero(arrays["is_member"])[:30]
    arrays["logits"][members, arrays["labels"][members]] += 20
    np.savez(tmp_path / "few.npz", **arrays)
    given = ("evaluate", "--outputs", tmp_path / "few.npz", "--out", tmp_path / "r")
    given = (*given, "--attacks", "confidence,shokri-label")
    assert run(*given, "--fail_above", "auc=0.6") == EXIT_INCONCLUSIVE
    told = capsys.readouterr()
    assert "more than chance explains, and no limit covers them: set named or tpr@0.01" in told.err
    assert "What to do next? Do not release the model as it is." in " ".join(told.out.split())
    assert run(*given, "--fail_above", "auc=0.6", "--fail_above", "named=5") == EXIT_GATE
    assert run(*given, "--fail_above", "auc=0.6", "--fail_above", "named=200") == 0  # the user's own decision
