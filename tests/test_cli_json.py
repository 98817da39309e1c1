"""``--json``: one document on stdout for machines, all that is for people on stderr; and what a shell completes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mindefense import cli


def asked(capfd, *argv):
    """Exit code, the one document, and stderr."""
    capfd.readouterr()
    code = cli.main([*map(str, argv), "--json"])
    out, err = capfd.readouterr()
    held = json.loads(out)
    assert held["exit_code"] == code
    assert held["command"] == argv[0]
    return code, held, err


@pytest.fixture
def study(staged, tmp_path, monkeypatch, on_the_cpu):
    shutil.copytree(staged, tmp_path / "study")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "study"


def test_evaluation(study, capfd):
    code, held, err = asked(capfd, "evaluate", "--out", "study", "--attacks", "gap,confidence", "--fail_above", "auc=0")
    results = json.loads((study / "results.json").read_text(encoding="utf-8"))
    assert code == 4
    assert held["verdict"] == results["verdict"]
    assert {name: held[name] for name in ("dataset", "synthetic", "smoke", "warnings")} == {
        "dataset": "location-like", "synthetic": True, "smoke": True, "warnings": results["warnings"]
    }  # fmt: skip
    assert held["checks_failed"] == [check["name"] for check in results["checks"] if not check["passed"]]
    assert "auc " in held["gates_exceeded"][0]
    names = ("results.json", "attacks.csv", "records.csv", "report.html", "report.md")
    assert held["wrote"] == [f"study/{name}" for name in names]
    for words in ("Membership inference on location-like", "undefended: ", "wrote study/results.json", "--fail_above"):
        assert words in err


def test_comparison(study, capfd):
    code, held, err = asked(capfd, "compare", "--out", "study", "--attacks", "gap", "--defenses", "label-only,top-k=3")
    assert (code, [contender["name"] for contender in held["contenders"]]) == (0, ["none", "label-only", "top-k=3"])
    written = json.loads((study / "comparison.json").read_text(encoding="utf-8"))
    assert held["contenders"] == [
        {name: contender[name] for name in held["contenders"][0]} for contender in written["contenders"]
    ]
    assert "Ways to defend" in err
    assert all((study.parent / path).is_file() for path in held["wrote"])


@pytest.mark.parametrize(
    ("stage", "wrote", "lacking", "following"),
    [
        ("train-defender", ["defender.ckpt"], "shadow.ckpt", "train-shadow"),
        ("train-shadow", ["shadow.ckpt"], "defense.ckpt", "defend"),
        ("defend", ["defense.ckpt", "defended.npz"], None, "evaluate"),
    ],
)
def test_stage(stage, wrote, lacking, following, study, capfd):
    if lacking is not None:
        (study / lacking).unlink()
    code, held, err = asked(capfd, stage, "--out", "study")
    assert (code, held["next"]) == (0, f"mindefense {following} --out study")
    assert held["wrote"] == [f"study/{name}" for name in wrote]
    assert f"next: {held['next']}" in err


def test_recorded_vectors(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    np.save("probs.npy", np.random.default_rng(0).dirichlet(np.ones(5), 20).astype(np.float32))
    code, held, _ = asked(capfd, "defend", "--outputs", "probs.npy", "--defense", "rounding=1", "--out", "x")
    assert (code, held["rows"], held["resumed"], held["wrote"]) == (0, 20, 0, ["x/defended_outputs.npy"])
    assert held["mean_l1"] > 0


def test_export_and_report(study, capfd):
    code, held, err = asked(capfd, "export", "--out", "study", "--defense", "none")
    assert (code, held["defense"], held["key"], held["most_passes"]) == (0, None, None, None)
    assert held["wrote"] == ["study/guarded.mindir", "study/guarded.json"]
    assert "GuardedModel.load" in err
    code, held, _ = asked(capfd, "report", "study/results.json", "--out", "page")
    assert (code, held["wrote"]) == (0, ["page/report.html", "page/report.md"])


@pytest.mark.parametrize(
    "argv", [("report", "nowhere.json"), ("evaluate", "--out", "nowhere"), ("run", "--data_path", "nowhere")]
)
def test_a_mistake_is_told_to_both(argv, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    code, held, err = asked(capfd, *argv)
    assert (code, held["wrote"]) == (2, [])
    assert "nowhere" in held["error"]
    assert err == f"mindefense: error: {held['error']}\n"


def test_without_it_stdout_is_for_people(study, capfd):
    assert cli.main(["report", "study/results.json"]) == 0
    out, err = capfd.readouterr()
    assert (out, err) == ("wrote study/report.html, study/report.md\n", "")


# ---------------------------------------------------------------------------------------------------------- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_script_for_every_shell(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("mindefense", "train-shadow", "fail_above", "cifar100"):
        assert word in out


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("mindefense tra", {"train", "train-defender", "train-shadow"}),
        ("mindefense run --fail", {"--fail_above"}),
        ("mindefense run --device_target A", {"Ascend"}),
        ("mindefense download ", {"location", "cifar100"}),
        ("mindefense report res", {"results.json"}),
    ],
)
def test_what_bash_completes(typed, offered, tmp_path, capsys):
    assert cli.main(["completion", "bash"]) == 0
    (tmp_path / "completion.sh").write_text(capsys.readouterr().out)
    (tmp_path / "results.json").write_text("{}")
    words = typed.split(" ")
    script = f"""
        source completion.sh
        COMP_WORDS=({" ".join(words) if words[-1] else typed + '""'}); COMP_CWORD={len(words) - 1}
        COMP_LINE="{typed}"; COMP_POINT={len(typed)}
        $(complete -p mindefense | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert run.stderr == ""
    assert {word.strip() for word in run.stdout.split()} >= offered
    assert not words[-1] or all(word.startswith(words[-1]) for word in run.stdout.split())


# -------------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("name", ["SIGINT", *(["SIGTERM"] if os.environ.get("MINDEFENSE_SLOW") else [])])
def test_a_signal_while_graphs_run(name, tmp_path):
    """MindSpore makes SIGTERM of Ctrl-C once a graph has run; nothing but a real signal shows that."""
    argv = [sys.executable, "-m", "mindefense", "train", "--epochs", "5000", "--out", "out", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as run:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "out/target.ckpt").exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            run.send_signal(signal.Signals[name])
            out, err = run.communicate(timeout=60)
        finally:
            run.kill()
    assert run.returncode == 130
    assert json.loads(out) == {"command": "train", "exit_code": 130, "wrote": [], "error": "interrupted"}
    assert err.splitlines()[-1].startswith("mindefense: interrupted; trainings go on with --resume")
    assert "Traceback" not in err


def test_who_stops_reading_is_not_told(tmp_path):
    run = subprocess.run(
        f"{sys.executable} -m mindefense completion bash | head -1", shell=True, capture_output=True, text=True
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_a_mistake_of_the_package_is_a_traceback_and_told_to_machines(monkeypatch, tmp_path, capfd):
    def report(path):
        raise ZeroDivisionError("x")

    monkeypatch.setattr("mindefense.reports.report.read_results", report)
    with pytest.raises(ZeroDivisionError):
        cli.main(["report", "x.json", "--json"])
    assert json.loads(capfd.readouterr().out)["error"] == "ZeroDivisionError: x"
