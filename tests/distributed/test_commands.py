"""The example and the commands on many ranks: the results of one process, to the last bit; and a rank that dies."""

import csv
import json
import os
import shutil
import subprocess
import time

import psutil
import pytest
from launcher import ROOT, command, end, environment, first_handed_out, said_by

from mindefense.checkpoint import load_checkpoint

ATTACKS = "gap,confidence,mindarmour-lr,shokri-label,nn,label-flips,averaging-8,lira,lira-label"
"""One of every kind: thresholds, scikit-learn, a network, changed rows, repeated queries, banks of shadow models."""
MINDEFENSE = ROOT / "mindefense" / "__main__.py"
COUNTED = ROOT / "tests" / "distributed" / "counted.py"
BANK = [f"shadows/online-{number:03d}" for number in range(4)]


def columns(folder):
    """records.csv by column."""
    with (folder / "records.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream))
    return {column[0]: column[1:] for column in zip(*rows, strict=True)}


def results(folder):
    held = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert held.pop("timings")["evaluate"] > 0
    return held


def check_same(folder, alone):
    """Every score and figure of `folder` is that of one process, which had more attackers."""
    here, there = columns(folder), columns(alone)
    assert len(here) == 9 + 6 + 34  # with the risk of each row in two states, and either lira in three
    here = {name: column for name, column in here.items() if "risk" not in name}  # by the best of the attackers there
    assert here == {name: there[name] for name in here}

    def figures(held):
        return {(a["name"], a["knowledge"], a["adversary"], a["defended"]): a for a in held["attacks"]}

    here, there = results(folder), results(alone)
    assert figures(here) == {key: figures(there)[key] for key in figures(here)}
    for part in ("target", "shadow", "defense", "dataset", "versions"):
        for held in (here, there):  # with more attackers there are more questions
            held[part].pop("queries", None) if isinstance(held[part], dict) else None
        assert here[part] == there[part], part


def check_every_rank_asked_the_bank(counts, judged):
    """Every model was asked about the judged rows without and with noise, and once more with 32 changed copies."""
    if len(counts) == 1:
        assert counts == [{}]  # there is nobody to share with
        return
    for model in BANK:
        rows = [count[model] for count in counts]
        assert sum(rows) == (1 + 1 + 33) * judged
        assert min(rows) > 0.4 * sum(rows)


def is_running(process):
    """Whether a process has not ended; msrun leaves those that have as zombies for a while."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_no_connection_takes_the_port_of_a_job_before_it_opens(tmp_path):
    for _ in range(20):
        told = next(word for word in command(1, tmp_path, MINDEFENSE) if str(word).startswith("--master_port="))
        assert 1024 < int(told.partition("=")[2]) < first_handed_out()


def test_a_job_that_takes_too_long_leaves_no_process(launch, tmp_path):
    script = tmp_path / "sleeps.py"
    script.write_text("import time; time.sleep(600)")
    with pytest.raises(subprocess.TimeoutExpired):
        launch(1, script, within=15)
    assert not [one for one in psutil.process_iter(["cmdline"]) if str(script) in (one.info["cmdline"] or ())]


def test_evaluating_an_old_study(launch, staged, tmp_path):
    workers = 2
    out = tmp_path / "out"
    shutil.copytree(staged, out)
    (out / "results.json").unlink()
    ended = launch(workers, COUNTED, tmp_path, "evaluate", "--out", out, "--attacks", ATTACKS, "--distributed")
    assert ended.code == 0, ended.said
    check_same(out, staged)
    counts = [json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(workers)]
    check_every_rank_asked_the_bank(counts, judged=len(columns(out)["index"]))
    assert "wrote " in ended.said[0]
    assert not any("mindefense" in said or "gap" in said for said in ended.said[1:])


def test_the_example_from_end_to_end(launch, staged, tmp_path):
    example, out = ROOT / "examples" / "location_defense.py", tmp_path / "out"
    ranks = 3 if os.environ.get("MINDEFENSE_SLOW") else 2
    ended = launch(ranks, example, "--smoke", "--out", out, "--attacks", ATTACKS, "--distributed")
    assert ended.code == 0, ended.said
    check_same(out, staged)
    for name in ("target", "shadow", "defender", "defense", *BANK):
        here, there = (load_checkpoint(folder / f"{name}.ckpt").parameters for folder in (out, staged))
        assert {key: array.tobytes() for key, array in here.items()} == {
            key: array.tobytes() for key, array in there.items()
        }


def test_a_users_mistake_is_told_once(launch, tmp_path):
    ended = launch(2, MINDEFENSE, "evaluate", "--out", tmp_path / "nowhere", "--distributed")
    assert ended.code == 1  # msrun's, whatever rank 0's was
    assert ended.said[0].startswith("mindefense: error: no study in ")
    assert "Traceback" not in "".join(ended.said)


def test_a_rank_that_dies_ends_the_job(staged, tmp_path):
    out, logs = tmp_path / "out", tmp_path / "logs"
    shutil.copytree(staged, out)
    (out / "results.json").unlink()
    before = sorted(path.name for path in out.iterdir())
    arguments = ("evaluate", "--out", out, "--attacks", "label-flips,nn,nsh,averaging-64", "--distributed")
    job = subprocess.Popen(
        command(2, logs, MINDEFENSE, *arguments),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while "attack" not in said_by(logs, 0) and "defend" not in said_by(logs, 0):
            assert time.monotonic() < deadline
            assert job.poll() is None, said_by(logs, 0)
            time.sleep(0.1)
        ranks = {
            process.environ()["RANK_ID"]: process
            for process in psutil.Process(job.pid).children()
            if process.environ().get("MS_ROLE") == "MS_WORKER" and "python" in process.name()
        }
        died = time.monotonic()
        ranks["1"].kill()
        while is_running(ranks["0"]):
            assert time.monotonic() - died < 20
            time.sleep(0.1)
    finally:
        end(job)  # its scheduler waits half a minute more for the rank
    said = [line for line in said_by(logs, 0).splitlines() if line.startswith("mindefense: error: ")]
    assert len(said) == 1
    assert "rank 1 has ended and the job cannot continue" in said[0]
    assert sorted(path.name for path in out.iterdir()) == before
