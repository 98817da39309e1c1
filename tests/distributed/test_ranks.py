"""What ranks do together: one job of three, of which each test looks at a part."""

import json
from pathlib import Path

import pytest

from mindefense.cli import main
from mindefense.errors import InputError
from mindefense.ranks import join_crew, part_of


@pytest.fixture(scope="module")
def found(launch, tmp_path_factory):
    out = tmp_path_factory.mktemp("together") / "found.json"
    ended = launch(3, Path(__file__).parent / "together.py", out)
    assert ended.code == 0, ended.said
    return json.loads(out.read_text())


def test_everybody_is_there(found):
    assert (found["size"], found["here"]) == (3, 3)


def test_parts_come_back_in_order_and_to_the_bit(found):
    assert found["parts"] == dict.fromkeys(("floats", "bytes", "special", "wide", "empty", "nothing"), True)


def test_a_rank_that_cannot_do_its_part_is_named(found):
    reason = "it: expected luck, got none"
    assert found["failures"] == {
        "rank 0": f"InputError: {reason}",
        "rank 2": f"RankError: rank 2 of 3 could not do its part ({reason})",
    }


def test_sums_are_added_in_the_order_of_the_ranks(found):
    assert found["total"] == [0.1 + 0.2 + 0.1 * 3, 1e300]


def test_training_together_is_training(found):
    training = found["training"]
    assert training["resumed"]
    assert training["moved"] > 0.1
    assert training["apart"] < 1e-5
    assert training["history apart"] < 1e-5


def test_training_on_images_keeps_ranks_alike_and_their_crops_apart(found):
    seeds, rows, weights_apart, statistics_apart = zip(*found["training"]["images"], strict=True)
    assert len(set(seeds)) == 3
    assert rows == (10, 11, 11)
    assert max(weights_apart) < 1e-6
    assert max(statistics_apart) < 1e-6


def test_networks_and_defenses_answer_with_the_same_bits(found):
    names = ("logits", "few", "bank", "defenmi", "memguard", "memguard-budget-0.5")
    assert found["studies"] == {f"{model} {name}": True for model in ("mlp", "vgg16") for name in names}


@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("size", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("n", [0, 1, 63, 64, 65, 1000])
def test_parts_make_up_the_whole(n, size, block):
    parts = [part_of(n, rank=rank, size=size, block=block) for rank in range(size)]
    assert [row for part in parts for row in range(n)[part]] == list(range(n))
    assert all(part.start % block == 0 or part.start == n for part in parts)
    blocks = [-(-(part.stop - part.start) // block) for part in parts]
    assert max(blocks) - min(blocks) <= 1


def test_a_single_process_is_told_how_to_start(monkeypatch):
    monkeypatch.delenv("MS_ROLE", raising=False)
    chosen = []
    with pytest.raises(InputError, match=r"^--distributed: expected processes started by msrun.*msrun"):
        join_crew(lambda: chosen.append(1))
    assert chosen == []


def test_processes_of_msrun_that_were_not_told_to_share_do_nothing(monkeypatch, capsys):
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    assert main(["evaluate", "--out", "nowhere"]) == 2
    assert capsys.readouterr().err.startswith("mindefense: error: msrun: expected --distributed among the arguments")


@pytest.mark.parametrize("name", ["train-shadow", "train-defender", "export"])
def test_stages_with_nothing_to_share_have_no_such_option(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--out", "x", "--distributed"])
    assert "--distributed" in capsys.readouterr().err


def test_ranks_have_devices_of_their_own(monkeypatch, capsys):
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    assert main(["evaluate", "--out", "x", "--distributed", "--device_id", "1"]) == 2
    assert capsys.readouterr().err.startswith("mindefense: error: --device_id: expected none with --distributed, got 1")
