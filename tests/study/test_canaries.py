"""Mislabeled samples: who gets which label, what is left to judge by, and that nothing else changes."""

import dataclasses

import numpy as np
import pytest

from mindefense.data import Split
from mindefense.errors import InputError
from mindefense.study.canaries import plant
from mindefense.types import LabelledData

N = 200


def data_of(classes=5, n=N):
    labels = (np.arange(n) % classes).astype(np.int32)
    features = np.arange(n, dtype=np.float32)[:, None]
    return LabelledData("toy", features, labels, classes, synthetic=True, parts={"train": range(n)})


def split_of(members, non_members):
    members, non_members = np.asarray(members), np.asarray(non_members)
    return Split(
        target_members=np.arange(80),
        target_non_members=np.arange(80, 160),
        defender_members=np.arange(40),
        defender_non_members=np.arange(120, 160),
        eval_members=members,
        eval_non_members=non_members,
        attacker_members=np.arange(160, 180),
        attacker_non_members=np.arange(180, 200),
        name="toy split",
        permutation="seed 0",
    )


DATA = data_of()
SPLIT = split_of(np.arange(40)[::-1], np.arange(90, 120))  # an order of its own, which must stay


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("count", [1, 7, 15])
def test_as_many_of_either_kind_get_a_wrong_label_and_nobody_else(classes, count):
    data = data_of(classes)
    planted, _, canaries = plant(data, SPLIT, count, seed=3)
    changed = np.flatnonzero(planted.labels != data.labels)
    assert sorted(canaries.indices()) == changed.tolist()
    assert len(canaries.members) == len(canaries.non_members) == count
    assert set(canaries.members.indices) <= set(SPLIT.eval_members)
    assert set(canaries.non_members.indices) <= set(SPLIT.eval_non_members)
    assert planted.labels.dtype == np.int32
    assert set(planted.labels) <= set(range(classes))
    for samples in (canaries.members, canaries.non_members):
        np.testing.assert_array_equal(samples.labels, planted.labels[samples.indices])
        np.testing.assert_array_equal(samples.features[:, 0], samples.indices)


def test_canaries_leave_the_rows_to_judge_by_in_their_order():
    _, split, canaries = plant(DATA, SPLIT, 7, seed=3)
    for role, samples in (("eval_members", canaries.members), ("eval_non_members", canaries.non_members)):
        before, left = getattr(SPLIT, role), getattr(split, role)
        assert left.tolist() == [row for row in before if row not in samples.indices]
        assert len(left) == len(before) - 7
    for field in dataclasses.fields(Split):
        if not field.name.startswith("eval") and field.name != "target_non_members":
            assert getattr(split, field.name) is getattr(SPLIT, field.name)
    # Wrong labels would spoil the target's accuracy on its test rows.
    tested = [row for row in SPLIT.target_non_members if row not in canaries.non_members.indices]
    assert split.target_non_members.tolist() == tested


def test_data_stay_as_they_were_and_the_new_ones_are_others():
    before, labels = DATA.fingerprint, DATA.labels.copy()
    planted, _, _ = plant(DATA, SPLIT, 7, seed=3)
    np.testing.assert_array_equal(DATA.labels, labels)
    assert DATA.fingerprint == before != planted.fingerprint
    assert planted.features is DATA.features
    assert (planted.name, planted.synthetic, planted.parts) == ("toy", True, DATA.parts)


def test_canaries_are_seeded():
    def drawn(seed, count=7):
        planted, _, canaries = plant(DATA, SPLIT, count, seed=seed)
        return canaries.indices().tolist(), planted.labels.tolist()

    assert drawn(3) == drawn(3)
    assert drawn(3)[0] != drawn(4)[0]
    assert drawn(3)[0][:5] != drawn(3, 5)[0][:5]
    positions = [np.searchsorted(SPLIT.eval_non_members, drawn(3)[0][7:]), 39 - np.array(drawn(3)[0][:7])]
    assert positions[0].tolist() != positions[1].tolist()  # the two kinds are drawn independently


def test_every_row_and_every_wrong_label_may_be_drawn():
    drawn = [plant(DATA, SPLIT, 10, seed=seed) for seed in range(40)]
    assert set(np.concatenate([canaries.indices() for *_, canaries in drawn])) == {*range(40), *range(90, 120)}
    shifts = {int(shift) for planted, *_ in drawn for shift in np.unique((planted.labels - DATA.labels) % 5)}
    assert shifts == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("count", [16, 30, 1000, 0, -1])
def test_no_more_than_half_of_the_smaller_kind(count):
    with pytest.raises(InputError, match="canaries: expected a whole number from 1 to 15") as caught:
        plant(DATA, SPLIT, count, seed=3)
    assert f"got {count}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_fraction_is_no_number_of_canaries():
    with pytest.raises(InputError, match="a whole number"):
        plant(DATA, SPLIT, 2.5, seed=3)


def test_one_class_leaves_no_wrong_label():
    with pytest.raises(InputError, match="two or more classes, got 1"):
        plant(data_of(1), SPLIT, 3, seed=3)
