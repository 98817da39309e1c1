"""Anybody's pipelines become data and a split, whatever their shape and type; what is wrong with them is one line."""

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision

import mindefense  # noqa: F401  sets MindSpore's log level
from mindefense.data import check_split, from_datasets
from mindefense.errors import DataError, InputError

CLASSES = 4
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(100, 3, 5, 6), dtype=np.uint8)
LABELS = (np.arange(100) % CLASSES).astype(np.int64)
INSIDE, OUTSIDE = slice(0, 40), slice(40, 100)


def slices(part, *, images=IMAGES, labels=LABELS, shuffle=False, names=("image", "label")):
    return ds.NumpySlicesDataset(dict(zip(names, (images[part], labels[part]), strict=True)), shuffle=shuffle)


class Rows:
    """A source of rows for a generator's pipeline; those in `broken` raise."""

    def __init__(self, images, labels, broken=()):
        self.images, self.labels, self.broken = images, labels, broken

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        if row in self.broken:
            raise ValueError("the disk is gone")
        return self.images[row], self.labels[row]


def generated(images, labels, **more):
    return ds.GeneratorDataset(Rows(images, labels, **more), ["image", "label"], shuffle=False)


def both(make, **options):
    return from_datasets(make(INSIDE), make(OUTSIDE), **options)


ONE_HOT = np.eye(CLASSES, dtype=np.float32)[LABELS]
GRAY = IMAGES[:, :1]
SOURCES = {
    "rows": slices,
    "batches": lambda part: slices(part).batch(16),
    "batches of one": lambda part: slices(part).batch(1),
    "batches, then more": lambda part: slices(part).batch(16).map(lambda image: image, "image"),
    "shuffled": lambda part: slices(part, shuffle=True).batch(16),
    "a generator's rows": lambda part: generated(IMAGES[part], LABELS[part]),
    "a pair of arrays": lambda part: (IMAGES[part], LABELS[part]),
    "a pair of lists": lambda part: (IMAGES[part].tolist(), LABELS[part].tolist()),
    "dictionaries": lambda part: [{"image": image, "label": label, "name": "x"}
                                  for image, label in zip(IMAGES[part], LABELS[part], strict=True)],
    "a dict iterator": lambda part: slices(part).batch(16).create_dict_iterator(num_epochs=1, output_numpy=True),
    "a dict iterator of rows": lambda part: slices(part).create_dict_iterator(num_epochs=1),
    "tensors": lambda part: [{"image": ms.Tensor(IMAGES[part]), "label": ms.Tensor(LABELS[part])}],
    "one-hot rows": lambda part: slices(part, labels=ONE_HOT),
    "one-hot batches": lambda part: slices(part, labels=ONE_HOT.astype(np.int32)).batch(16),
    "labels of shape (1,)": lambda part: slices(part, labels=LABELS[:, None]),
    "labels of shape (1,) in batches": lambda part: slices(part, labels=LABELS[:, None]).batch(16),
    "whole numbers as floats": lambda part: slices(part, labels=LABELS.astype(np.float32)),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_whatever_the_form_the_rows_are_the_same(name):
    data, split = both(SOURCES[name], num_classes=CLASSES)
    order = np.arange(100)
    if name == "shuffled":
        position = {image.tobytes(): row for row, image in enumerate(IMAGES)}
        order = np.array([position[image.tobytes()] for image in data.features.astype(np.uint8)])
        assert sorted(order[:40]) == list(range(40))
        assert list(order) != list(range(100))
    np.testing.assert_array_equal(data.features, IMAGES[order])
    np.testing.assert_array_equal(data.labels, LABELS[order])
    assert data.labels.dtype == np.int32
    assert data.features.dtype == (np.float32 if name == "a pair of lists" else np.uint8)
    assert (data.num_classes, data.synthetic, data.name) == (CLASSES, False, "your data")
    assert set(split.target_members) == set(range(40))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", "uint8"), *((name, "float32") for name in ("float16", "float32", "float64", "int32", "int8", "bool"))],
)
def test_types(dtype, expected):
    images = (IMAGES % 100 > 50) if dtype == "bool" else (IMAGES % 100).astype(dtype)
    data, _ = both(lambda part: (images[part], LABELS[part]))
    assert data.features.dtype == expected
    np.testing.assert_array_equal(data.features, images)


@pytest.mark.parametrize("shape", [(100, 90), (100, 1, 9, 10), (100, 9, 10), (100, 2, 3, 3, 5)])
@pytest.mark.parametrize("batch", [None, 7])
def test_shapes(shape, batch):
    images = IMAGES.reshape(shape).astype(np.float32)

    def make(part):
        rows = slices(part, images=images, labels=LABELS[:, None])
        return rows if batch is None else rows.batch(batch)

    data, _ = both(make)
    np.testing.assert_array_equal(data.features, images)


def test_batches_that_a_generator_makes_are_believed_if_it_says_so():
    batches = IMAGES.reshape(20, 5, 3, 5, 6), LABELS.reshape(20, 5)
    data, _ = from_datasets(
        generated(batches[0][:8], batches[1][:8]), generated(batches[0][8:], batches[1][8:]), batched=True
    )
    np.testing.assert_array_equal(data.features, IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_columns_have_any_name_and_others_are_ignored():
    names = ("pixels", "species")
    data, _ = both(lambda part: slices(part, names=names), columns=names, name="beetles", synthetic=True)
    np.testing.assert_array_equal(data.features, IMAGES)
    assert (data.name, data.synthetic) == ("beetles", True)


def test_the_number_of_classes_is_told_or_found():
    assert both(slices)[0].num_classes == CLASSES
    assert both(slices, num_classes=9)[0].num_classes == 9
    wide = np.eye(7, dtype=np.uint8)[LABELS]
    assert both(lambda part: slices(part, labels=wide))[0].num_classes == 7


def test_who_gets_which_rows():
    data, split = both(slices)
    check_split(split, len(data))
    judging, defending = set(split.eval_non_members), set(split.defender_non_members)
    assert judging == set(split.target_non_members)
    assert (len(judging), len(defending)) == (30, 30)
    assert judging | defending == set(range(40, 100))
    assert (len(split.eval_members), len(split.defender_members)) == (30, 30)
    assert len(split.attacker_members) == len(split.attacker_non_members) == 0
    # Pipelines are often sorted by class; neither half of the rows may be.
    assert len(set(LABELS[split.eval_non_members])) == CLASSES
    assert list(split.eval_non_members) != sorted(split.eval_non_members)


def test_without_a_defender_all_non_members_judge():
    _, split = both(slices, defender_share=0)
    assert set(split.eval_non_members) == set(range(40, 100))
    assert len(split.eval_members) == 40
    assert len(split.defender_members) == len(split.defender_non_members) == 0


def test_a_seed_decides_who_gets_them():
    one, other, third = (both(slices, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.eval_non_members, other.eval_non_members)
    assert list(one.eval_non_members) != list(third.eval_non_members)
    assert (one.permutation, third.permutation) == ("seed 1", "seed 2")


def nan_at(row):
    images = IMAGES.astype(np.float32)
    images[row, 0, 2, 3] = np.nan
    return images


def flipped(part):
    return slices(part, images=IMAGES.transpose(0, 2, 3, 1)).map([vision.RandomHorizontalFlip(0.5)], "image")


def seeded(part):
    """A seed gives every new iterator the same flips."""
    before = ds.config.get_seed()
    ds.config.set_seed(7)
    try:
        return flipped(part)
    finally:
        ds.config.set_seed(before)


def ragged(part):
    return [{"image": np.zeros((3, 4 + row % 2)), "label": 0} for row in range(part.start, part.stop)]


MANY = np.concatenate((IMAGES[:20], RNG.integers(256, size=(5000, 3, 5, 6), dtype=np.uint8)))


def dictionaries(images, labels):
    return [{"image": image, "label": label} for image, label in zip(images, labels, strict=True)]


SMOOTH = ONE_HOT * 0.9 + 0.025
# What is wrong → members, non-members, options, the error, words of its one line.
MISTAKES = {
    "no such column": (slices(INSIDE, names=("data", "label")), slices(OUTSIDE), {}, DataError,
                       ["members: expected a column image", "got data, label", 'columns=("data"']),
    "columns that are no pair": (slices(INSIDE), slices(OUTSIDE), {"columns": "image"}, InputError, ["columns", "two"]),
    "tuples": (slices(INSIDE).create_tuple_iterator(), slices(OUTSIDE), {}, DataError, ["members", "columns", "list"]),
    "a number": (3, slices(OUTSIDE), {}, DataError, ["members", "mindspore.dataset", "got int"]),
    "a triple": (slices(INSIDE), (IMAGES, LABELS, 3), {}, DataError, ["non_members", "pair", "tuple of 3"]),
    "nothing": ([], slices(OUTSIDE), {}, DataError, ["members: expected at least one row, got none"]),
    "no rows": ((IMAGES[:0], LABELS[:0]), slices(OUTSIDE), {}, DataError, ["members", "at least one row"]),
    "no rows of floats": (slices(INSIDE), (np.zeros((0, 4), np.float32), LABELS[:0]), {}, DataError,
                          ["non_members: expected at least one row, got none", "needs members and non-members"]),
    "no rows of images of floats": ((IMAGES[:0].astype(np.float64), LABELS[:0]), slices(OUTSIDE), {}, DataError,
                                    ["members: expected at least one row, got none"]),
    "too few members": (slices(slice(0, 19)), slices(OUTSIDE), {}, InputError,
                        ["members: expected at least 20", "got 19", "more rows"]),
    "too few non-members": (slices(INSIDE), slices(slice(40, 78)), {}, InputError,
                            ["non_members to evaluate on: expected at least 20", "got 19"]),
    "too few for the defender": (slices(INSIDE), slices(OUTSIDE), {"defender_share": 0.1}, InputError,
                                 ["non_members for the defender: expected at least 10", "got 6"]),
    "a share of more than all": (slices(INSIDE), slices(OUTSIDE), {"defender_share": 1.0}, InputError,
                                 ["defender_share: expected a fraction", "got 1.0"]),
    "no seed": (slices(INSIDE), slices(OUTSIDE), {"seed": -1}, InputError, ["seed", "-1"]),
    "the same rows twice": (slices(slice(0, 60)), slices(OUTSIDE), {}, InputError,
                            ["non_members: expected rows that the model was not trained on", "20 of 60", "hide a"]),
    "all members among many others": ((IMAGES[:20], LABELS[:20]), (MANY, MANY[:, 0, 0, 0] % 4), {}, InputError,
                                      ["non_members", "20 of 5,020 that are also among the 20 members"]),
    "few rows, often": (slices(slice(0, 15)).repeat(3), slices(OUTSIDE), {}, InputError,
                        ["members: expected at least 20, got 15, not counting 30 repeated ones"]),
    "NaN": ((nan_at(7)[INSIDE], LABELS[INSIDE]), slices(OUTSIDE), {}, DataError,
            ["members image row 7: expected finite float32 numbers, got nan"]),
    "NaN in a later batch": (slices(INSIDE), slices(OUTSIDE, images=nan_at(95)).batch(16), {}, DataError,
                             ["non_members image row 55", "nan"]),
    "too large for float32": ((IMAGES[INSIDE] * 1e300, LABELS[INSIDE]), slices(OUTSIDE), {}, DataError,
                              ["members image row 0", "inf"]),
    "words for images": ((np.array(["x"] * 40), LABELS[INSIDE]), slices(OUTSIDE), {}, DataError,
                         ["members image: expected numbers", "decode"]),
    "words for labels": ((IMAGES[INSIDE], np.array(["cat"] * 40)), slices(OUTSIDE), {}, DataError,
                         ["labels of members: expected class numbers", "<U3"]),
    "labels from 1": ((IMAGES[INSIDE], LABELS[INSIDE] + 1), slices(OUTSIDE), {"num_classes": 4}, InputError,
                      ["labels of members row 3: expected a class 0 … 3, got 4", "from 0"]),
    "labels of a finer kind": (slices(INSIDE), (IMAGES[OUTSIDE], LABELS[OUTSIDE] + 9), {"num_classes": 4}, InputError,
                               ["labels of non_members row 0"]),
    "a share in words": (slices(INSIDE), slices(OUTSIDE), {"defender_share": "0.5"}, InputError,
                         ["defender_share: expected a fraction in [0, 1), got '0.5'"]),
    "classes in words": (slices(INSIDE), slices(OUTSIDE), {"num_classes": "4"}, InputError,
                         ["num_classes: expected a whole number", "got '4'"]),
    "uneven images": (([[1, 2], [3]], [0, 1]), slices(OUTSIDE), {}, DataError,
                      ["members image: expected an array, got list of uneven rows", "one length"]),
    "uneven labels": (slices(INSIDE), (IMAGES[OUTSIDE], [[0, 1], [1]]), {}, DataError, ["non_members label", "uneven"]),
    **{f"labels too large for int32, {kind}": (
        (IMAGES[INSIDE], LABELS[INSIDE].astype(kind) + 2**40), slices(OUTSIDE), {}, DataError,
        ["labels of members row 0: expected class numbers up to 2147483647, got 1099511627776", "from 0"])
       for kind in ("int64", "uint64", "float64")},
    "labels without end": (slices(INSIDE), (IMAGES[OUTSIDE], LABELS[OUTSIDE] + np.inf), {}, DataError,
                           ["labels of non_members row 0: expected class numbers", "got inf"]),
    "labels below 0": ((IMAGES[INSIDE], LABELS[INSIDE] - 1), slices(OUTSIDE), {}, DataError,
                       ["labels of members row 0", "got -1", "count classes from 0"]),
    "smoothed labels": (slices(INSIDE, labels=SMOOTH), slices(OUTSIDE, labels=SMOOTH), {}, DataError,
                        ["labels of members row 0: expected class numbers from 0, or one-hot rows", "smoothing"]),
    "fractions": ((IMAGES[INSIDE], LABELS[INSIDE] + 0.5), slices(OUTSIDE), {}, DataError, ["labels of members row 0"]),
    "batches that nobody told of": (
        generated(IMAGES[INSIDE].reshape(8, 5, 3, 5, 6), LABELS[INSIDE].reshape(8, 5)), slices(OUTSIDE), {}, DataError,
        ["labels of members row 0", "batched=True"]),
    "rows that are no batches": (slices(INSIDE), slices(OUTSIDE), {"batched": True}, DataError,
                                 ["members row 0", "batched=False"]),
    "images of many sizes": (ragged(INSIDE), slices(OUTSIDE), {}, DataError,
                             ["members row 1: expected shapes (3, 4)", "(3, 5)", "resize"]),
    "another size outside": (slices(INSIDE), slices(OUTSIDE, images=IMAGES[:, :, :4]), {}, InputError,
                             ["members and non_members: expected one shape", "(3, 5, 6) and (3, 4, 6)"]),
    "another type outside": (slices(INSIDE), slices(OUTSIDE, images=IMAGES / 255), {}, InputError,
                             ["members and non_members: expected one dtype", "uint8 and float32"]),
    "one-hot inside alone": (slices(INSIDE, labels=ONE_HOT), slices(OUTSIDE), {}, InputError,
                             ["members and non_members: expected one length of one-hot labels", "4 and None"]),
    "random flips": (flipped(INSIDE), flipped(OUTSIDE), {}, DataError,
                     ["members: expected the same rows whenever they are read", "second time", "crops, flips"]),
    "random flips in batches": (slices(INSIDE), slices(OUTSIDE).map([lambda image: image + np.uint8(RNG.integers(99))],
                                "image").batch(16), {}, DataError, ["non_members: expected the same rows"]),
    "random flips of a seed": (seeded(INSIDE), seeded(OUTSIDE), {}, DataError, ["members: expected the same rows"]),
    "a pipeline that fails": (generated(IMAGES[INSIDE], LABELS[INSIDE], broken=(13,)), slices(OUTSIDE), {}, DataError,
                              ["members cannot be read: ValueError: the disk is gone"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name):
    members, non_members, options, kind, words = MISTAKES[name]
    with pytest.raises(kind) as caught:
        from_datasets(members, non_members, **options)
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said


def of_two_lengths():
    for length in (7, 7, 9, 7):
        yield np.zeros((2, length), np.float32), 0


def no_image(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"cut short")
    return ds.ImageFolderDataset(str(tmp_path), decode=True)


def no_record(tmp_path):
    (tmp_path / "rows.tfrecord").write_bytes(b"no record at all" * 9)
    return ds.TFRecordDataset(str(tmp_path / "rows.tfrecord"))


def cut_cifar(tmp_path):
    for part in ("train", "test"):
        (tmp_path / f"{part}.bin").write_bytes(bytes(3074 * 2 - 5))
    return ds.Cifar100Dataset(str(tmp_path), usage="train")


REASONS = {
    "uneven rows in a batch": (
        lambda tmp_path: ds.GeneratorDataset(of_two_lengths, ["image", "label"]).batch(4),
        "Cannot batch tensors with different shapes in column 0.",
    ),
    "an image of one dimension": (
        lambda tmp_path: slices(INSIDE, images=LABELS.astype(np.float32)).map(vision.Resize((3, 3)), "image"),
        "Resize: the image tensor should have at least two dimensions",
    ),
    "a broken image": (no_image, "1.png decode failed"),
    "a broken record": (no_record, "not valid TFRecordDataset files:"),
    "a cut file": (cut_cifar, "Invalid cifar100 file"),
}
"""Pipelines that fail in MindSpore's own code, and words of the reason that MindSpore gives."""


@pytest.mark.parametrize("name", REASONS)
def test_the_reason_that_a_pipeline_gives_is_kept(name, tmp_path):
    make, reason = REASONS[name]
    with pytest.raises(DataError) as caught:
        from_datasets(make(tmp_path), slices(OUTSIDE))
    said = str(caught.value)
    assert said.startswith("members cannot be read: ")
    assert reason in said
    assert "\n" not in said
    for word in ("Refer to", "Call Stack", "[ERROR]", "framework"):
        assert word not in said
    if name == "a broken record":
        assert said.endswith("rows.tfrecord")  # which file it is stands on a line of its own


def nothing():
    yield from ()


EMPTY = {
    "arrays": lambda: (IMAGES[:0], LABELS[:0]),
    "arrays of float": lambda: (IMAGES[:0].astype(np.float32), LABELS[:0]),
    "lists": lambda: ([], []),
    "dictionaries": lambda: [],
    "a generator": lambda: ds.GeneratorDataset(nothing, ["image", "label"]),
    "a filter": lambda: slices(INSIDE).filter(lambda image, label: False, ["image", "label"]),
    "a batch that is never full": lambda: slices(INSIDE).batch(64, drop_remainder=True),
}


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("which", ["members", "non_members"])
def test_a_part_without_rows_is_one_line(name, which):
    sources = {"members": slices(INSIDE), "non_members": slices(OUTSIDE), which: EMPTY[name]()}
    with pytest.raises(DataError, match=rf"^{which}: expected at least one row, got none; check what") as caught:
        from_datasets(**sources)
    assert "\n" not in str(caught.value)


THREE = np.eye(3, dtype=np.float32)[LABELS % 3]
TEN = np.eye(10, dtype=np.float32)[np.arange(100) % 10]
EITHER = {
    "as many channels as classes": (IMAGES, THREE),
    "as many features as classes": (IMAGES.reshape(100, -1)[:, :10], TEN),
    "bits and two classes": (IMAGES[:, :2], THREE[:, :2] * 0 + [0, 1]),
    "one channel and labels of shape (1,)": (GRAY, LABELS[:, None]),
}
"""Images and labels of which one row looks like a batch."""


@pytest.mark.parametrize("name", EITHER)
def test_what_may_be_one_row_or_many_must_be_told(name):
    images, labels = EITHER[name]
    sources = dictionaries(images[INSIDE], labels[INSIDE]), dictionaries(images[OUTSIDE], labels[OUTSIDE])
    with pytest.raises(DataError, match=r"members row 0: expected one row or a batch, .*batched=False.*batched=True"):
        from_datasets(*sources)
    data, _ = from_datasets(*sources, batched=False)
    np.testing.assert_array_equal(data.features, images)
    np.testing.assert_array_equal(data.labels, labels.argmax(axis=1) if labels.shape[1] > 1 else labels[:, 0])


def test_what_the_first_item_is_all_are():
    """Batches of 13 rows, and one of one."""
    batches = [{"image": IMAGES[INSIDE][first : first + 13], "label": LABELS[INSIDE][first : first + 13]}
               for first in range(0, 40, 13)]  # fmt: skip
    data, _ = from_datasets(batches, slices(OUTSIDE))
    np.testing.assert_array_equal(data.features, IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)


def test_smoothed_labels_are_not_taken_for_a_batch():
    with pytest.raises(DataError, match=r"or one-hot rows, got .*smoothing"):
        from_datasets(dictionaries(IMAGES, THREE * 0.9 + 0.03), slices(OUTSIDE))


@pytest.mark.parametrize("times", [1, 2, 4])
def test_rows_that_are_repeated_count_once(times):
    data, split = from_datasets(slices(INSIDE).batch(16).repeat(times), slices(OUTSIDE, shuffle=True).repeat(times))
    once, _ = both(slices)
    np.testing.assert_array_equal(data.features[:40], once.features[:40])
    np.testing.assert_array_equal(data.labels[:40], once.labels[:40])
    assert {row.tobytes() for row in data.features[40:]} == {row.tobytes() for row in IMAGES[OUTSIDE]}
    assert len(data) == 100
    assert not set(split.eval_non_members) & set(split.defender_non_members)
    said = "" if times == 1 else f", {100 * (times - 1)} repeated rows left out"
    assert split.name == "40 members, 60 non-members, 30 of them the defender's" + said


def test_of_repeated_rows_the_first_stays():
    images, labels = np.concatenate((IMAGES[:40], IMAGES[:1])), np.append(LABELS[:40], 3)
    data, split = from_datasets((images, labels), slices(OUTSIDE))
    np.testing.assert_array_equal(data.labels, LABELS)
    assert split.name.endswith(", 1 repeated row left out")


def test_a_few_rows_in_both_are_left_to_the_check_of_duplicates():
    images = RNG.integers(256, size=(300, 7), dtype=np.uint8)
    images[299] = images[0]
    labels = np.zeros(300, int)
    data, _ = from_datasets((images[:100], labels[:100]), (images[100:], labels[100:]), num_classes=2)
    assert len(data) == 300


def test_what_can_be_read_only_once_is_believed():
    items = ({"image": image, "label": label} for image, label in zip(IMAGES[INSIDE], LABELS[INSIDE], strict=True))
    data, _ = from_datasets(items, slices(OUTSIDE))
    np.testing.assert_array_equal(data.features, IMAGES)
