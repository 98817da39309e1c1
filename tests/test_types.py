"""Values of the lowest packages print as a line with numbers of rows, never their arrays; and parts of a data set."""

import numpy as np
import pytest

from mindefense.data import load_outputs, make_cifar_like, make_location_like, parts_split, published_split
from mindefense.errors import InputError
from mindefense.metrics import membership_metrics
from mindefense.types import AttackResult, LabelledData, Outputs, Trial

N, C = 60, 3
IS_MEMBER = np.arange(N) < 20
LABELS = (np.arange(N) % C).astype(np.int32)
PROBS = np.full((N, C), 1 / C, np.float32)


def a_line(value):
    text = repr(value)
    assert "\n" not in text
    assert "array(" not in text
    assert len(text) < 300
    return text


def test_data_set_says_rows_shape_classes_and_that_it_is_made_up():
    data = LabelledData("mine", np.zeros((1234, 7), np.float32), np.zeros(1234, np.int32), 30)
    assert a_line(data) == "LabelledData('mine': 1,234 rows, features 7 float32, 30 classes)"
    made_up = make_location_like(0)
    assert a_line(made_up).endswith(f"{len(made_up):,} rows, features 446 float32, 30 classes, SYNTHETIC)")


def test_images_say_their_shape_and_parts():
    text = a_line(make_cifar_like(2, train=60, test=50))
    assert "110 rows, features 3×32×32 uint8, 100 classes, train 60, test 50, SYNTHETIC" in text


def test_samples_say_rows_and_shape():
    data = make_location_like(0)
    assert a_line(data.take(np.arange(40))) == "Samples(40 rows, features 446 float32)"
    numbers = LabelledData("numbers", np.zeros(9, np.int64), np.zeros(9, np.int32), 2)
    assert a_line(numbers.take(np.arange(4))) == "Samples(4 rows, features one int64)"


@pytest.mark.parametrize("name", ["a\nb", "x" * 50])
def test_a_name_cannot_break_the_line(name):
    assert repr(name) in a_line(LabelledData(name, np.zeros((2, 1), np.float32), np.zeros(2, np.int32), 2))


def test_split_says_how_many_rows_each_role_has():
    data = make_location_like(0)
    assert a_line(published_split(data)) == (
        "Split('published': members + non-members: target 1,000 + 1,000, defender 1,000 + 1,000, "
        "evaluation 1,000 + 1,000, attacker 500 + 500; order synthetic)"
    )
    nobody = a_line(parts_split(make_cifar_like(2, train=60, test=50)))
    assert "attacker 0 + 0" in nobody
    assert "target 60 + 25" in nobody


def test_recorded_outputs_say_members_classes_and_states(tmp_path):
    held = {"probs": PROBS, "labels": LABELS, "is_member": IS_MEMBER}
    np.savez(tmp_path / "a.npz", **held)
    np.savez(tmp_path / "b.npz", **held, defended_probs=PROBS)
    says = "20 members, 40 non-members, 3 classes, undefended"
    assert a_line(load_outputs(tmp_path / "a.npz")) == f"RecordedOutputs('a.npz': {says} only, given as probs)"
    assert a_line(load_outputs(tmp_path / "b.npz")) == f"RecordedOutputs('b.npz': {says} and defended, given as probs)"


def test_answers_and_trials_say_who_was_judged_and_how_well():
    answers = Outputs(LABELS, IS_MEMBER, np.arange(N), PROBS)
    assert a_line(answers) == "Outputs(20 members, 40 non-members, 3 classes, undefended only)"
    both = Outputs(LABELS, IS_MEMBER, np.arange(N), PROBS, PROBS)
    assert "undefended and defended" in a_line(both)
    scores = np.where(IS_MEMBER, 1.0, np.arange(N) % 2)
    result = AttackResult("mine", "auditor", "adaptive", True, membership_metrics(scores, IS_MEMBER, threshold=0.5))
    assert a_line(Trial(result, scores, 0.5, np.arange(N), IS_MEMBER)) == (
        "Trial(defended: mine (auditor, adaptive), balanced accuracy 0.750, AUC 0.750; on 20 members and 40 "
        "non-members)"
    )


# Parts of a data set


def tiny(**changes):
    given = {"features": np.zeros((5, 2), np.float32), "labels": np.zeros(5, np.int32), "num_classes": 1, **changes}
    return LabelledData("tiny", **given)


@pytest.mark.parametrize(
    "rows",
    [range(6), range(-1, 2), range(3, 3), range(4, 2), range(0, 4, 2), range(4, 0, -1), (0, 5), slice(0, 5), None],
)
def test_parts_must_be_ranges_of_rows(rows):
    with pytest.raises(InputError, match=r"tiny part test: expected a range of one or more rows within 0…4, got"):
        tiny(parts={"train": range(2), "test": rows})


def test_parts_may_be_all_rows():
    assert tiny(parts={"all": range(5)}).parts == {"all": range(5)}
    assert tiny().parts is None


def test_fingerprint_tells_borders_apart():
    # Of the data set without parts, as it was before there were any.
    assert tiny().fingerprint == "1fe8af4a69288e777e4a008f9cfa20a63edc05874548f3d5dc7d42b6a974474e"
    borders = [{"a": range(2), "b": range(2, 5)}, {"a": range(3), "b": range(3, 5)}, {"c": range(2), "b": range(2, 5)}]
    prints = [tiny(parts=parts).fingerprint for parts in (None, {}, *borders)]
    assert len(set(prints)) == len(prints)
    assert tiny(parts=dict(reversed(borders[0].items()))).fingerprint == prints[2]
