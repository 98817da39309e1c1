"""What results say of what was judged, and when: against the files themselves."""

import datetime
import hashlib
import json

import numpy as np
import pytest

from mindefense import cli
from mindefense.data import load_outputs
from mindefense.evaluation import evaluate_outputs
from mindefense.evaluation.evidence import digest_of_members
from mindefense.types import Outputs


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("outputs"), np.random.default_rng(0)
    labels, is_member = rng.integers(4, size=400), np.arange(400) % 2 == 0
    logits = rng.normal(0, 1, (400, 4))
    logits[np.arange(400), labels] += 2 + is_member
    index = rng.permutation(400) + 1000
    path = folder / "answers.npz"
    np.savez(path, logits=logits.astype(np.float32), labels=labels, is_member=is_member, index=index)
    return path


def members_of(path):
    with np.load(path) as held:
        return hashlib.sha256(np.sort(held["index"][held["is_member"]]).astype("<i8").tobytes()).hexdigest()


def test_recorded_outputs_are_named_by_their_digest(outputs):
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    evidence = evaluate_outputs(load_outputs(outputs), attacks=["confidence"]).evidence
    after = datetime.datetime.now(datetime.timezone.utc)
    assert evidence.digests == {
        "outputs": hashlib.sha256(outputs.read_bytes()).hexdigest(),
        "members": members_of(outputs),
    }
    assert before <= datetime.datetime.fromisoformat(evidence.created) <= after
    assert (evidence.network, evidence.parameters, evidence.title, evidence.command) == (None, None, None, None)


def test_members_are_told_by_who_they_are_and_not_by_their_order():
    def answers(indices, is_member):
        n = len(indices)
        probs = np.full((n, 2), 0.5)
        return Outputs(np.zeros(n, np.int64), np.array(is_member), np.array(indices), probs, None)

    first = digest_of_members(answers([5, 3, 9], [True, True, False]))
    assert digest_of_members(answers([9, 3, 5], [False, True, True])) == first
    assert digest_of_members(answers([5, 3, 9], [True, False, True])) != first


def test_title_note_and_command_stand_in_results_and_report(outputs, tmp_path, capsys):
    typed = ["evaluate", "--outputs", str(outputs), "--out", str(tmp_path), "--attacks", "confidence"]
    assert cli.main([*typed, "--title", "Model 7 <before> release", "--note", "built on Monday"]) == 0
    capsys.readouterr()
    evidence = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["evidence"]
    assert (evidence["title"], evidence["note"]) == ("Model 7 <before> release", "built on Monday")
    assert evidence["command"] == (
        f"mindefense evaluate --outputs answers.npz --out {tmp_path.name} --attacks confidence --title "
        "'Model 7 <before> release' --note 'built on Monday'"
    )
    html, markdown = ((tmp_path / f"report.{end}").read_text(encoding="utf-8") for end in ("html", "md"))
    assert "<h1>Model 7 &lt;before&gt; release</h1>" in html
    assert "<before>" not in html
    for text in (html, markdown):
        assert "built on Monday" in text
        assert evidence["created"][:10] in text
        assert evidence["digests"]["outputs"] in text
        assert evidence["digests"]["members"] in text
        assert str(tmp_path.parent) not in text
