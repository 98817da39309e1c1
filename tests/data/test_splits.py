"""Splits: the published ranges, DefenMI's file, published parts, and every overlap that the protocol forbids."""

import codecs
import configparser
import dataclasses
import itertools

import numpy as np
import pytest

from mindefense.data import Split, check_split, parts_split, published_split, split_from_config
from mindefense.errors import DataError, InputError
from mindefense.types import LabelledData

ROWS = 5010
PUBLISHED = {
    "target_members": (0, 1000),
    "target_non_members": (1000, 2000),
    "defender_members": (0, 1000),
    "defender_non_members": (1000, 2000),
    "eval_members": (0, 1000),
    "eval_non_members": (2000, 3000),
    "attacker_members": (3000, 3500),
    "attacker_non_members": (4000, 4500),
}
KEYS = {
    "user_training_data_index_range": "target_members",
    "user_testing_data_index_range": "target_non_members",
    "defense_member_data_index_range": "defender_members",
    "defense_nonmember_data_index_range": "defender_non_members",
    "attacker_evaluate_member_data_range": "eval_members",
    "attacker_evaluate_nonmember_data_range": "eval_non_members",
    "attacker_train_member_data_range": "attacker_members",
    "attacker_train_nonmember_data_range": "attacker_non_members",
}
ORDER = np.random.default_rng(9).permutation(ROWS)


def make_data(rows=ROWS, *, order=None, synthetic=False):
    return LabelledData("d", np.zeros((rows, 1), np.float32), np.zeros(rows, np.int32), 1, synthetic, order)


def check_ranges(split, ranges, order):
    for role, (start, end) in ranges.items():
        indices = getattr(split, role)
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(indices, order[start:end], err_msg=role)


@pytest.mark.parametrize(
    ("data", "seed", "order", "words"),
    [
        (make_data(order=ORDER), 5, ORDER, "published"),
        (make_data(order=ORDER, synthetic=True), 5, ORDER, "synthetic"),
        (make_data(), 0, np.random.default_rng(0).permutation(ROWS), "seed 0"),
        (make_data(), 7, np.random.default_rng(7).permutation(ROWS), "seed 7"),
    ],
)
def test_published_split(data, seed, order, words):
    split = published_split(data, seed=seed)
    assert (split.name, split.permutation) == ("published", words)
    check_ranges(split, PUBLISHED, order)


@pytest.mark.parametrize(("scale", "sizes"), [(0.2, (200, 100)), (0.0001, (1, 1)), (0.5, (500, 250)), (1, (1000, 500))])
def test_scale_takes_the_first_rows_of_each_range(scale, sizes):
    split = published_split(make_data(order=ORDER), scale=scale)
    ranges = {
        role: (start, start + (sizes[1] if "attacker" in role else sizes[0])) for role, (start, _) in PUBLISHED.items()
    }
    check_ranges(split, ranges, ORDER)
    assert split.name == ("published" if scale == 1 else f"published × {scale}")


@pytest.mark.parametrize(
    ("rows", "arguments", "says"),
    [
        (4499, {}, "at least 4,500 rows, got 4,499"),
        (ROWS, {"scale": 0}, "scale"),
        (ROWS, {"scale": 1.5}, "scale"),
        (ROWS, {"scale": float("nan")}, "scale"),
        (ROWS, {"seed": -1}, "seed: expected a whole number ≥ 0, got -1"),
        (ROWS, {"seed": 0.5}, "seed"),
    ],
)
def test_published_split_refuses(rows, arguments, says):
    with pytest.raises(InputError, match=says):
        published_split(make_data(rows), **arguments)


def make_split(**roles) -> Split:
    """A split of 100 rows that is right, but for the roles given."""
    right = {
        "target_members": range(20),
        "target_non_members": range(20, 40),
        "defender_members": range(20),
        "defender_non_members": range(20, 40),
        "eval_members": range(20),
        "eval_non_members": range(40, 60),
        "attacker_members": range(60, 80),
        "attacker_non_members": range(80, 100),
    }
    arrays = {role: np.array(rows, np.int64) for role, rows in (right | roles).items()}
    return Split(**arrays, name="made", permutation="none")


FORBIDDEN = [
    # The evaluation's non-members with everything fitted.
    ({"eval_non_members": [0, 41]}, "target_members and eval_non_members|eval_non_members and target_members"),
    ({"eval_non_members": [20, 41]}, "eval_non_members and defender_non_members"),
    ({"eval_non_members": [60, 41]}, "eval_non_members and attacker_members"),
    ({"eval_non_members": [80, 41]}, "eval_non_members and attacker_non_members"),
    ({"eval_non_members": [19]}, "eval_non_members and target_members: expected no row in common, got 1 in common"),
    # The attacker with the target's members, and with itself.
    ({"attacker_members": [60, 0]}, "target_members and attacker_members"),
    ({"attacker_non_members": [80, 19]}, "target_members and attacker_non_members"),
    ({"attacker_non_members": [80, 60]}, "attacker_members and attacker_non_members"),
    # What is called a member must be one, and nothing else.
    ({"eval_members": [0, 20]}, "eval_members: expected rows of target_members only, got 1 others"),
    ({"defender_members": [0, 50]}, "eval_non_members and defender_members"),
    ({"defender_members": [0, 30]}, "defender_members: expected rows of target_members only"),
    ({"defender_non_members": [20, 0]}, "target_members and defender_non_members"),
    ({"target_non_members": [20, 0]}, "target_members and target_non_members"),
    # Indices.
    ({"eval_members": [0, 0]}, "eval_members: expected each row once, got 1 repeated"),
    ({"eval_non_members": [99, 100]}, "eval_non_members: expected indices 0…99, got 99…100"),
    ({"eval_non_members": [-1, 50]}, "eval_non_members: expected indices 0…99, got -1…50"),
    *(({role: []}, f"{role}: expected at least one index") for role in PUBLISHED),
]


@pytest.mark.parametrize(("roles", "says"), FORBIDDEN)
def test_forbidden(roles, says):
    with pytest.raises(InputError, match=says):
        check_split(make_split(**roles), 100)


@pytest.mark.parametrize("indices", [np.array([0.0, 1.0]), np.array([[0, 1]]), np.array([True, False])])
def test_indices_must_be_a_row_of_integers(indices):
    with pytest.raises(InputError, match="eval_members"):
        check_split(dataclasses.replace(make_split(), eval_members=indices), 100)


@pytest.mark.parametrize(
    "roles",
    [
        {},
        {"defender_members": range(5, 15), "eval_members": range(10, 20)},
        {"target_non_members": range(40, 60)},
        {"attacker_members": range(20, 40)},
        {"defender_members": [], "defender_non_members": []},
        {"attacker_members": [], "attacker_non_members": []},
        {
            "defender_members": [],
            "defender_non_members": [],
            "attacker_members": [],
            "attacker_non_members": [],
            "eval_non_members": range(60, 100),
        },
    ],
)
def test_allowed(roles):
    check_split(make_split(**roles), 100)


@pytest.mark.parametrize("pair", [("target_members", "target_non_members"), ("eval_members", "eval_non_members")])
def test_target_and_evaluation_cannot_be_left_out(pair):
    with pytest.raises(InputError, match=f"{pair[0]}: expected at least one index"):
        check_split(make_split(**{role: [] for role in pair}), 100)


def test_leaving_out_a_pair_lets_nothing_else_pass():
    left_out = {"attacker_members": [], "attacker_non_members": []}
    for roles, says in FORBIDDEN:
        if not any("attacker" in role for role in roles) and "attacker" not in says:
            with pytest.raises(InputError, match=says):
                check_split(make_split(**roles, **left_out), 100)


@pytest.fixture
def config(tmp_path):
    """Writes a configuration like DefenMI's with some values changed, or left out where None."""

    def write(**changes):
        values = {key: f'{{"start":"{PUBLISHED[role][0]}","end":"{PUBLISHED[role][1]}"}}' for key, role in KEYS.items()}
        values |= {"result_folder": "./result/100%/", "num_classes": "30", **changes}
        parser = configparser.ConfigParser(interpolation=None)
        parser["dataset"] = {"dataset": "location"}
        parser["location"] = {key: value for key, value in values.items() if value is not None}
        with (tmp_path / "config.ini").open("w") as sink:
            parser.write(sink)
        return tmp_path / "config.ini"

    return write


def test_config_with_the_published_ranges(config):
    split = split_from_config(config(), "location", make_data(order=ORDER))
    assert (split.name, split.permutation) == ("location", "published")
    check_ranges(split, PUBLISHED, ORDER)


def test_config_with_a_byte_order_mark(config):
    path = config()
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    check_ranges(split_from_config(path, "location", make_data(order=ORDER)), PUBLISHED, ORDER)


@pytest.mark.parametrize("key", KEYS)
def test_config_key_goes_to_its_role(key, config):
    role = KEYS[key]
    start, end = PUBLISHED[role]
    changes = {key: f"{{'start': {start + 3}, 'end': {end - 4}}}"}
    if role == "target_members":  # whose members the others must stay within
        names = {value: name for name, value in KEYS.items()}
        changes |= {names[name]: '{"start":"5","end":"9"}' for name in ("defender_members", "eval_members")}
    split = split_from_config(config(**changes), "location", make_data(), seed=2)
    assert split.permutation == "seed 2"
    np.testing.assert_array_equal(getattr(split, role), np.random.default_rng(2).permutation(ROWS)[start + 3 : end - 4])


@pytest.mark.parametrize("key", KEYS)
def test_config_missing_key_is_named(key, config):
    with pytest.raises(DataError, match=rf"\[location\] {key}: .* got no such key"):
        split_from_config(config(**{key: None}), "location", make_data())


@pytest.mark.parametrize(
    "value",
    [
        "",
        "0-1000",
        "50%",
        "{",
        "(" * 300,
        "[0, 1000]",
        '{"start":"0"}',
        '{"start":"0","end":"x"}',
        '{"start":"0","end":None}',
        '{"start":"5","end":"5"}',
        '{"start":"-5","end":"5"}',
        '{"start":"0","end":"5011"}',
        "__import__('os').getcwd()",
    ],
)
def test_config_bad_range_is_named(value, config):
    with pytest.raises(DataError, match=r"\[location\] attacker_train_member_data_range") as caught:
        split_from_config(config(attacker_train_member_data_range=value), "location", make_data())
    assert "B ≤ 5010" in str(caught.value)


def test_config_may_begin_with_a_byte_order_mark(config):
    path = config()
    plain = split_from_config(path, "location", make_data(4500))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert roles_of(split_from_config(path, "location", make_data(4500))) == roles_of(plain)


def test_config_overlap_is_refused(config):
    path = config(attacker_evaluate_nonmember_data_range='{"start":"1500","end":"2500"}')
    with pytest.raises(InputError, match=r"eval_non_members and defender_non_members.*got 500 in common"):
        split_from_config(path, "location", make_data())


def test_config_missing_section_lists_the_others(config):
    with pytest.raises(InputError, match=r"one of dataset, location in .*config\.ini, got 'cifar'"):
        split_from_config(config(), "cifar", make_data())


@pytest.mark.parametrize("content", [None, b"no section", b"[a]\nx=1\nx=2\n", b"\xff\xfe"])
def test_config_unreadable(content, tmp_path):
    path = tmp_path / "config.ini"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"config\.ini"):
        split_from_config(path, "location", make_data())


# Published parts


def make_parts(train, test, *, synthetic=False):
    """Data whose test part comes first, so that positions in a part and in the data differ."""
    data = make_data(train + test, synthetic=synthetic)
    return dataclasses.replace(data, parts={"test": range(test), "train": range(test, test + train)})


def roles_of(split):
    return {name: rows.tolist() for name, rows in vars(split).items() if isinstance(rows, np.ndarray)}


@pytest.mark.parametrize(
    ("members", "num_samples", "expected"),
    [
        # All of train are members: the defender's others are test rows that are not judged.
        (None, 3, (range(8, 28), range(3), range(3, 8), [], [])),
        (20, 3, (range(8, 28), range(3), range(3, 8), [], [])),
        (None, 1, (range(8, 28), range(1), range(1, 8), [], [])),
        # All test rows are judged: nobody is left for the defender.
        (None, 8, (range(8, 28), range(8), [], [], [])),
        (None, None, (range(8, 28), range(4), range(4, 8), [], [])),
        # Some of train: the next ones are the defender's, as many; the rest is the attacker's, half and half.
        (6, 3, (range(8, 14), range(3), range(14, 20), range(20, 24), range(24, 28))),
        (7, 8 - 1, (range(8, 15), range(7), range(15, 22), range(22, 25), range(25, 28))),
        (6, None, (range(8, 14), range(6), range(14, 20), range(20, 24), range(24, 28))),
        (5, 5, (range(8, 13), range(5), range(13, 18), range(18, 23), range(23, 28))),
        (1, 1, (range(8, 9), range(1), range(9, 10), range(10, 19), range(19, 28))),
        # Fewer are left than would be wanted: none for the attacker.
        (10, 8, (range(8, 18), range(8), range(18, 28), [], [])),
        (15, 8, (range(8, 23), range(8), range(23, 28), [], [])),
    ],
)
def test_parts_are_divided_from_the_front(members, num_samples, expected):
    split = parts_split(make_parts(20, 8), members=members, num_samples=num_samples)
    target, judged, unseen, shadow, left = (list(rows) for rows in expected)
    assert roles_of(split) == {
        "target_members": target,
        "target_non_members": judged,
        "defender_members": target[: len(unseen)],
        "defender_non_members": unseen,
        "eval_members": target[: len(judged)],
        "eval_non_members": judged,
        "attacker_members": shadow,
        "attacker_non_members": left,
    }
    assert {rows.dtype for rows in vars(split).values() if isinstance(rows, np.ndarray)} == {np.dtype(np.int64)}


def test_members_may_be_listed():
    split = parts_split(make_parts(20, 8), members=np.array([17, 2, 9, 4]), num_samples=3)
    assert roles_of(split) == {
        "target_members": [10, 12, 17, 25],  # the training part begins at 8
        "target_non_members": [0, 1, 2],
        "defender_members": [10, 12, 17, 25],
        "defender_non_members": [8, 9, 11, 13],
        "eval_members": [10, 12, 17],
        "eval_non_members": [0, 1, 2],
        "attacker_members": [14, 15, 16, 18, 19, 20],
        "attacker_non_members": [21, 22, 23, 24, 26, 27],
    }
    assert split.name == "4 of train, first 3 of each judged"


@pytest.mark.parametrize("count", [3, 20])
def test_members_that_are_listed_from_the_front_are_the_first(count):
    listed, first = (parts_split(make_parts(20, 8), members=members) for members in (np.arange(count)[::-1], count))
    assert roles_of(listed) == roles_of(first)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([3, 20], r"members position 1: expected a row number 0 … 19, got 20; count rows from 0"),
        ([-1], r"members position 0: expected a row number 0 … 19, got -1"),
        ([4, 4], r"members position 1: expected each row once, got 4"),
        ([1.0, 2.0], r"members: expected integers"),
        ([], r"members: expected integers \(n,\), the numbers of rows, got none"),
    ],
)
def test_a_list_of_members_that_is_none_is_refused(members, words):
    with pytest.raises(DataError, match=f"^{words}"):
        parts_split(make_parts(20, 8), members=np.array(members))


def test_one_row_left_is_no_attackers():
    split = parts_split(make_parts(21, 8), members=10, num_samples=8)
    assert len(split.defender_non_members) == 10
    assert len(split.attacker_members) == len(split.attacker_non_members) == 0


def test_nobody_judged_was_fitted_on_whatever_the_numbers():
    for train, test in itertools.product(range(1, 8), range(1, 6)):
        data = make_parts(train, test)
        for members, num_samples in itertools.product([None, *range(1, train + 1)], [None, *range(1, test + 1)]):
            if num_samples is not None and num_samples > (train if members is None else members):
                continue
            split = parts_split(data, members=members, num_samples=num_samples)
            roles = {name: set(rows) for name, rows in roles_of(split).items()}
            case = train, test, members, num_samples, roles
            assert roles["target_members"] == set(range(test, test + (members or train))), case
            assert len(roles["eval_members"]) == len(roles["eval_non_members"]) > 0, case
            assert roles["eval_members"] <= roles["target_members"], case
            assert roles["eval_non_members"] <= set(range(test)), case
            unseen = roles["defender_non_members"]
            assert not unseen & (roles["eval_non_members"] | roles["target_members"]), case
            assert bool(unseen) == bool(roles["defender_members"]), case
            assert len(unseen) <= len(roles["target_members"]), case
            # The defender goes without only if all of train are members and all of test is judged.
            nothing_left = len(roles["target_members"]) == train and len(roles["eval_non_members"]) == test
            assert bool(unseen) != nothing_left, case
            attacker = roles["attacker_members"], roles["attacker_non_members"]
            assert bool(attacker[0]) == bool(attacker[1]), case
            assert abs(len(attacker[0]) - len(attacker[1])) <= 1, case
            assert not (attacker[0] | attacker[1]) & (unseen | roles["target_members"] | set(range(test))), case


@pytest.mark.parametrize(
    ("train", "test", "members", "judged"),
    [(6000, 5500, None, 5000), (6000, 4000, None, 2000), (6000, 5500, 300, 300), (4999, 5500, None, 4999)],
)
def test_5000_are_judged_or_as_many_as_there_are(train, test, members, judged):
    split = parts_split(make_parts(train, test), members=members)
    assert len(split.eval_members) == len(split.eval_non_members) == judged
    assert split.name == f"first {members or train:,} of train, first {judged:,} of each judged"


@pytest.mark.parametrize(("synthetic", "says"), [(False, "as published"), (True, "synthetic")])
def test_parts_say_where_their_order_comes_from(synthetic, says):
    assert parts_split(make_parts(4, 4, synthetic=synthetic)).permutation == says


@pytest.mark.parametrize("count", [0, -1, 21, 2**70, 1.0, 1.5, "3", float("nan")])
def test_bad_number_of_members_is_refused(count):
    with pytest.raises(InputError, match=r"^members: expected a whole number from 1 to 20, got .*; .* has 20 rows"):
        parts_split(make_parts(20, 8), members=count)


@pytest.mark.parametrize(("members", "most"), [(None, 8), (5, 5)])
@pytest.mark.parametrize("more", [-100, 1, 1000, 0.5])
def test_bad_number_to_judge_by_is_refused(more, members, most):
    says = (
        f"^num_samples: expected a whole number from 1 to {most}, got .*; there are {members or 20} members and 8 test"
    )
    with pytest.raises(InputError, match=says):
        parts_split(make_parts(20, 8), members=members, num_samples=most + more)


@pytest.mark.parametrize("parts", [None, {"train": range(9)}, {"test": range(9)}, {"a": range(3), "b": range(3, 9)}])
def test_data_without_both_parts_are_refused(parts):
    with pytest.raises(InputError, match=r"^d parts: expected train and test, got"):
        parts_split(dataclasses.replace(make_data(9), parts=parts))
