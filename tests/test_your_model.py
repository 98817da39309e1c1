"""What docs/your_model.md promises: the messages on it are those that come; own Cells, attacks and defenses work."""

import re
from pathlib import Path
from typing import ClassVar

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops

from mindefense import (
    Attack,
    AttackSpec,
    BeforeSoftmax,
    DefendedModel,
    Defense,
    Network,
    ScoreAttack,
    evaluate,
    evaluate_outputs,
    fit_defenmi,
    from_datasets,
    load_defense,
    load_outputs,
)
from mindefense.attacks import BoundaryDistanceAttack
from mindefense.defenses import LabelOnly
from mindefense.errors import CheckpointError, InputError, MindefenseError
from mindefense.targets.cell import forward

PAGE = Path(__file__).parent.parent / "docs" / "your_model.md"
CLASSES, N = 4, 100
RNG = np.random.default_rng(0)
LABELS = np.arange(3 * N) % CLASSES
IMAGES = RNG.normal(size=(3 * N, 1, 2, 2)).astype(np.float32)
IMAGES.reshape(3 * N, CLASSES)[np.arange(3 * N), LABELS] += np.where(np.arange(3 * N) < N, 3, 1)


class Says(nn.Cell):
    """Answers with the image itself, surer of members, or with what `change` makes of that."""

    def __init__(self, change=lambda logits: logits):
        super().__init__()
        self.change = change

    def construct(self, image):
        return self.change(image.reshape(len(image), -1))


def rows(images=IMAGES, labels=LABELS, cut=N, **more):
    inside, outside = (images[:cut], labels[:cut]), (images[cut:], labels[cut:])
    return from_datasets(inside, outside, name="my images", num_classes=CLASSES, **more)


def run(net=None, images=IMAGES, labels=LABELS, **more):
    return evaluate(net or Says(), *rows(images, labels), **{"attacks": ("confidence",), **more})


def by_key(found):
    return {(r.name, r.adversary, r.defended): r.metrics for r in found.attacks}


class Margin(ScoreAttack):
    name = "margin"

    def score(self, target, samples):
        log_probs = target.query(samples.features).astype(np.float64)
        true = log_probs[np.arange(len(samples)), samples.labels].copy()
        log_probs[np.arange(len(samples)), samples.labels] = -np.inf
        return true - log_probs.max(axis=1)


class Flatten(Defense):
    name = "flatten"

    def __init__(self, share):
        super().__init__()
        self.share = share

    def transform(self, probs, logits, predicted, noised_logits, draws):
        return (1 - self.share) * probs + self.share / probs.shape[1]

    def settings(self):
        return {"share": self.share}


# ---------------------------------------------------------------------- the messages of the page


def bad_at(row, value):
    images = IMAGES.copy()
    images[row, 0, 0, 0] = value
    return images


def label_at(row, value):
    labels = LABELS.astype(np.float32)
    labels[row] = value
    return labels


class Random:
    """Dictionaries that are others whenever they are read."""

    def __iter__(self):
        return iter([{"image": RNG.normal(size=(N, 1, 2, 2)), "label": LABELS[:N]}])


class Broken:
    def __iter__(self):
        raise OSError("no such disk")


class TooFew(Margin):
    def score(self, target, samples):
        return super().score(target, samples)[:1]

    def fit(self, target, members, non_members):
        self.threshold_ = 0.0
        return self


class NoThreshold(Margin):
    def fit(self, target, members, non_members):
        return self


class Doubled(Flatten):
    def transform(self, probs, logits, predicted, noised_logits, draws):
        return 2 * probs


class Sized(Margin):
    def __init__(self, size):
        self.size = size


class Scoreless(Attack):
    def fit(self, target, members, non_members):
        return self


class Gives(Flatten):
    """Answers with what `change` makes of the confidence vectors."""

    def __init__(self, change):
        super().__init__(0.0)
        self.change = change

    def transform(self, probs, logits, predicted, noised_logits, draws):
        return self.change(probs)


class Lettered:
    """A fitted classifier whose classes have names."""

    classes_ = np.array(list("abcd"))

    def predict_proba(self, rows):
        return np.full((len(rows), CLASSES), 1 / CLASSES)


class Threes:
    """A fitted classifier that never saw the top class."""

    classes_ = np.arange(3)

    def predict_proba(self, rows):
        return np.full((len(rows), 3), 1 / 3)


HOT = np.eye(CLASSES)[LABELS]
OTHERS = (IMAGES[N:], LABELS[N:])
MISTAKES = {
    "members: expected a column image, got …": lambda: from_datasets([{"data": 1, "label": 2}], OTHERS),
    "members: expected the same rows whenever they are read": lambda: from_datasets(Random(), OTHERS),
    "non_members: expected rows that the model was not trained on": lambda: from_datasets(OTHERS, OTHERS),
    "members cannot be read: …": lambda: from_datasets(Broken(), OTHERS),
    "members image row 7: expected finite float32 numbers": lambda: rows(bad_at(7, np.nan)),
    "members row 0: expected one row or a batch": (
        lambda: from_datasets([{"image": IMAGES[0].reshape(4, 1), "label": HOT[0]}], OTHERS)
    ),
    "members image: expected an array, got list of uneven rows": lambda: from_datasets(([[1, 2], [3]], [0, 1]), OTHERS),
    "labels of members row 7: expected class numbers from 0, or one-hot rows": lambda: rows(labels=label_at(7, 0.5)),
    "labels of members row 7: expected a class 0 … 3": lambda: rows(labels=label_at(7, 4)),
    "members and non_members: expected one shape": lambda: from_datasets((IMAGES[:N, :, :1], LABELS[:N]), OTHERS),
    "members: expected at least 20": lambda: rows(cut=19),
    "logits of the network: expected values from before softmax": lambda: run(Says(ops.softmax)),
    "logits of the network row 0: expected finite values": lambda: run(Says(lambda logits: logits / 0)),
    "logits of the network: expected values from before a sigmoid or softmax": lambda: run(Says(ops.sigmoid)),
    "logits of the network: expected shape (N, C) with at least two classes": (
        lambda: run(Says(lambda logits: logits[:, 0]))
    ),
    "answer of the network: expected one Tensor": lambda: run(Says(lambda logits: (logits, logits))),
    "answer of the network: expected one row of logits for each of the 64 samples": (
        lambda: run(Says(lambda logits: logits.mean(0, keep_dims=True)))
    ),
    "network: expected the same answer to a repeated query": (
        lambda: run(Says(lambda logits: ops.dropout(logits, 0.5, training=True)))
    ),
    "target: expected a trained model": lambda: run(ms.Model(Says())),
    "answers of the target row 0: expected": lambda: run(lambda rows: rows.reshape(len(rows), -1)),
    "classes of the target: expected whole numbers from 0": lambda: run(Lettered()),
    "classes of the Threes: expected 4, the number of classes of my images, got 3": lambda: run(Threes()),
    "features: expected rows that the network takes": lambda: run(nn.Dense(9, 4)),
    "my images labels: expected classes 0…2, since the network has 3 outputs": (
        lambda: run(Says(lambda logits: logits[:, :3]))
    ),
    "attack margin: expected a class without required arguments": lambda: run(own_attacks={"margin": Sized}),
    "scores of attack margin: expected one for each of 50 samples": lambda: run(own_attacks={"margin": TooFew}),
    "attack margin: expected threshold_ after fit": lambda: run(own_attacks={"margin": NoThreshold}),
    "attack margin: expected threshold_, since its needs_fit is False": (
        lambda: run(own_attacks={"margin": told(needs_fit=False)})
    ),
    "answers of the defense flatten: expected a Tensor": lambda: run(defense=Gives(lambda probs: probs.asnumpy())),
    "answers of the defense flatten row 0: expected a sum of 1": lambda: run(defense=Doubled(0.5)),
}
"""What the page shows → what brings it about."""


def messages():
    table = PAGE.read_text(encoding="utf-8").partition("## What the messages mean")[2]
    return re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)


def test_the_page_shows_these_messages():
    assert messages() == list(MISTAKES)


@pytest.mark.parametrize("message", MISTAKES)
def test_a_message_of_the_page_is_what_comes(message):
    with pytest.raises(MindefenseError) as caught:
        MISTAKES[message]()
    said = str(caught.value)
    assert said.startswith(message.removesuffix("…"))
    assert "\n" not in said


# What else is a mistake → what brings it about, words of its line.
MORE = {
    "an attacker's name that is taken": (lambda: run(own_attacks={"gap": Margin}), ["own_attacks", "'gap'"]),
    "an instance for a class": (lambda: run(own_attacks={"m": Margin()}), ["attack m: expected a subclass", "Margin"]),
    "a class that is no attack": (lambda: run(attacks={"m": int}), ["attack m: expected a subclass", "got int"]),
    "NaN among scores": (
        lambda: run(own_attacks={"m": AttackSpec(lambda context: Undefined())}), ["row 0", "expected a number, got NaN"]
    ),
    "a class for a network": (lambda: run(Says), ["target: expected a trained model", "got the class Says", "Says()"]),
    "a path for a network": (lambda: run("net.ckpt"), ["target: expected a trained model", "got str"]),
    "a name for a defense": (lambda: run(defense="defenmi"), ["expected a Defense", "'defenmi'", "fit_defenmi"]),
    "a class for a defense": (lambda: run(defense=Flatten), ["defense: expected a Defense", "the class Flatten"]),
    "more classes than outputs": (
        lambda: run(Says(lambda logits: logits[:, :3]), labels=LABELS % 3),
        ["num_classes: expected 3, the number of the network's outputs, got 4"],
    ),
    "nobody left for the defender": (
        lambda: fit_defenmi(Says(), *rows(defender_share=0)), ["defender_non_members", "defender_share above 0"]
    ),
    "one score for all, and fit on top of it": (
        lambda: run(own_attacks={"m": OneScore}), ["scores of attack margin: expected one for each of"]
    ),
    "dropout for a defender": (
        lambda: fit_defenmi(Says(lambda logits: ops.dropout(logits, 0.5, training=True)), *rows()),
        ["network: expected the same answer to a repeated query", "set_train(False)"],
    ),
    "one output for a defender": (
        lambda: fit_defenmi(Says(lambda logits: logits[:, :1]), *rows()), ["at least two classes", "(0 * z, z)"]
    ),
    "a Model for a defender": (
        lambda: fit_defenmi(ms.Model(Says()), *rows()),
        ["target: expected a trained model", "got an ms.Model", "the network in it"],
    ),
    "a sigmoid at the end": (
        lambda: run(Says(ops.sigmoid)),
        ["before a sigmoid or softmax, got values from 0 to 1", "leave the sigmoid out of the Cell"],
    ),
    "a softmax, but for one row in eight": (
        lambda: run(Says(lambda logits: ops.softmax(logits) * (ops.arange(len(logits)) % 8 > 0)[:, None])),
        ["expected values from before softmax, got ", "rows ≥ 0 that sum to 1, not row 0", "BeforeSoftmax(net)"],
    ),
    "one output": (
        lambda: run(Says(lambda logits: logits[:, :1])),
        ["got (200, 1), one number a sample", "ops.stack((0 * z, z), axis=1)"],
    ),
    "one output without an axis": (
        lambda: run(Says(lambda logits: logits[:, 0])),
        ["expected shape (N, C) with at least two classes, got (", "ops.stack((0 * z, z), axis=1)"],
    ),
    "no softmax to go before": (lambda: run(BeforeSoftmax(Says(ops.abs))), ["BeforeSoftmax", "ends in a softmax"]),
    "a softmax for a defender": (
        lambda: fit_defenmi(Says(ops.softmax), *rows()), ["before softmax", "BeforeSoftmax(net)"]
    ),
    "an attack without a name": (lambda: run(own_attacks={"": Margin}), ["name of an attack: expected a word", "''"]),
    "an attack with a number": (lambda: run(attacks={3: Margin}), ["name of an attack: expected a word", "got 3"]),
    "a name that parts would be made of": (lambda: run(own_attacks={"a|b": Margin}), ["without |", "'a|b'"]),
    "attacks without names": (lambda: run(own_attacks=[Margin]), ["own_attacks: expected", "by name", "got list"]),
    "an attack of which something is missing": (
        lambda: run(own_attacks={"m": Scoreless}), ["attack m: expected fit and score, got no score", "ScoreAttack"]
    ),
    "a class that takes arguments": (
        lambda: run(own_attacks={"m": Sized}),
        ["got Sized, missing a required argument: 'size'", "AttackSpec(lambda context"],
    ),
    "a defense that loses columns": (
        lambda: run(defense=Gives(lambda probs: probs[:, :3])), ["of the defense flatten: expected shape (", " 3)"]
    ),
    "a defense that gives one vector for all": (
        lambda: run(defense=Gives(lambda probs: probs[0])), ["of the defense flatten: expected shape (", "(4,)"]
    ),
    "a defense that gives nothing": (
        lambda: run(defense=Gives(lambda probs: None)), ["flatten: expected a Tensor, got NoneType", "transform"]
    ),
}  # fmt: skip


class OneScore(Margin):
    def score(self, target, samples):
        return np.array([1.0])


class Undefined(Margin):
    def score(self, target, samples):
        return np.full(len(samples), np.nan)


@pytest.mark.parametrize("name", MORE)
def test_another_mistake_is_one_line(name):
    bring_about, words = MORE[name]
    with pytest.raises(InputError) as caught:
        bring_about()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


# ---------------------------------------------------------------------- the network


def test_a_cell_is_taken_as_it_is():
    found = run()
    assert by_key(found) == by_key(run(Network(Says())))
    assert by_key(found)["confidence", "static", False].auc > 0.75, "the leak was planted"


def test_a_softmax_that_is_wrapped_gives_the_same_figures():
    wrapped = run(BeforeSoftmax(Says(ops.softmax)))
    for key, metrics in by_key(run()).items():
        assert by_key(wrapped)[key].auc == pytest.approx(metrics.auc, abs=1e-3)
    logits = forward(BeforeSoftmax(Says(ops.softmax)), IMAGES)
    expected = np.log(np.float64(forward(Says(ops.softmax), IMAGES[:7])))  # so few may sum to 1 by chance
    np.testing.assert_allclose(logits[:7], expected, atol=1e-5)


def test_a_softmax_in_half_precision_is_noticed():
    with pytest.raises(InputError, match="before softmax"):
        forward(Says(lambda logits: ops.softmax(logits).astype(ms.float16)), IMAGES)


@pytest.mark.parametrize(
    "change",
    [
        ops.log_softmax,
        lambda logits: ops.softmax(logits) * 1.1,
        lambda logits: ops.softmax(logits) * 2 - 1 / logits.shape[1],  # sums to 1, but below 0 in places
    ],
)
def test_what_is_no_softmax_is_none(change):
    assert forward(Says(change), IMAGES).shape == (3 * N, CLASSES)


# ---------------------------------------------------------------------- one's own attack


def test_an_own_attack_stands_beside_the_others():
    found = run(own_attacks={"margin": Margin}, defense=LabelOnly())
    assert [key for key in by_key(found) if key[0] == "margin"] == [
        ("margin", "static", False), ("margin", "static", True), ("margin", "adaptive", True),
    ]  # fmt: skip
    names = {name for name, _, _ in by_key(found)}
    assert names == {"gap", "confidence", "margin"}
    assert by_key(found)["margin", "static", False].auc > 0.75
    assert [name for name in found.records if name.startswith("margin|auditor|adaptive|")]


def test_an_own_attack_leaves_the_others_as_they_are():
    with_own, without = by_key(run(own_attacks={"margin": Margin})), by_key(run())
    assert {key: with_own[key] for key in without} == without


@pytest.mark.parametrize("attacks", [{"margin": Margin}, {"margin": AttackSpec(lambda context: Margin())}])
def test_an_own_attack_alone(attacks):
    assert {result.name for result in run(attacks=attacks).attacks} == {"gap", "margin"}


@pytest.mark.parametrize(
    ("more", "attacks", "own"),
    [
        ({"own_attacks": {"margin": Margin}}, ("confidence",), ("margin",)),
        ({"attacks": {"margin": Margin}}, ("gap",), ("margin",)),
        ({"attacks": {"a": Margin}, "own_attacks": {"b": Margin}}, ("gap",), ("a", "b")),
        ({}, ("confidence",), None),
    ],
)
def test_the_settings_name_all_attackers(more, attacks, own):
    settings = run(**more, fit_share=0.4).settings
    assert (settings["attacks"], settings.get("own_attacks"), settings["fit_share"]) == (attacks, own, 0.4)


def test_a_name_alone_is_not_taken_for_letters():
    assert {result.name for result in run(attacks="entropy").attacks} == {"gap", "entropy"}


def test_an_attack_that_learns_is_fitted_where_it_should_be():
    class Learned(Attack):
        def fit(self, target, members, non_members):
            self.threshold_ = float(target.query(members.features).max(axis=1).mean())
            thresholds.append(self.threshold_)
            return self

        def score(self, target, samples):
            return target.query(samples.features).max(axis=1).astype(np.float64)

    thresholds = []
    found = by_key(run(own_attacks={"learned": Learned}, defense=Flatten(0.9)))
    assert len(thresholds) == 2, "once on the bare model, once behind the defense"
    assert thresholds[0] > thresholds[1]
    assert found["learned", "static", True].recall == 0
    assert found["learned", "adaptive", True].recall > 0.3


# ---------------------------------------------------------------------- what one's own attack declares


class Told(Margin):
    """Writes down on which rows it was fitted and judged."""

    fitted: ClassVar[list[int]]
    judged: ClassVar[list[int]]

    def fit(self, target, members, non_members):
        self.fitted.append(len(members))
        return super().fit(target, members, non_members)

    def score(self, target, samples):
        self.judged.append(len(samples))
        return super().score(target, samples)


def told(**declared):
    return type("Mine", (Told,), {"fitted": [], "judged": [], **declared})


def recorded(folder, **more):
    logits = IMAGES.reshape(3 * N, CLASSES)
    held = {"logits": logits, "labels": LABELS, "is_member": np.arange(3 * N) < N, **more}
    np.savez(folder / "outputs.npz", **{name: array for name, array in held.items() if array is not None})
    return load_outputs(folder / "outputs.npz")


def why_not(found, name):
    return {left_out.knowledge: left_out.reason for left_out in found.not_run if left_out.name == name}


def test_an_attack_that_needs_no_fit_is_judged_once_and_never_fitted():
    mine = told(needs_fit=False, threshold_=0.0)
    data, split = rows()
    found = evaluate(Says(), data, split, attacks=("confidence",), own_attacks={"mine": mine}, defense=LabelOnly())
    results = [one for one in found.attacks if one.name == "mine"]
    assert [(one.knowledge, one.adversary, one.defended) for one in results] == [
        ("none", "static", False), ("none", "static", True),
    ]  # fmt: skip
    assert mine.fitted == []
    assert mine.judged == 2 * [len(split.eval_members), len(split.eval_non_members)]
    assert results[0].metrics.auc > 0.75


def test_an_attack_that_needs_no_fit_takes_part_whatever_is_known():
    mine = told(needs_fit=False, threshold_=0.0)
    found = run(own_attacks={"mine": mine}, knowledge=("shadow",))
    assert [one.knowledge for one in found.attacks if one.name == "mine"] == ["none"]
    assert why_not(found, "mine") == {}


def test_an_attack_that_needs_no_fit_needs_a_threshold():
    with pytest.raises(InputError) as caught:
        run(own_attacks={"mine": told(needs_fit=False)})
    assert str(caught.value) == (
        "attack mine: expected threshold_, since its needs_fit is False, got none; set it on the class or in __init__, "
        "or declare needs_fit = True and set it in fit"
    )


def test_an_attack_that_asks_about_variants_runs_on_a_model_and_not_on_recorded_outputs(tmp_path):
    mine = told(asks="variants")
    found = evaluate_outputs(recorded(tmp_path), attacks=("confidence",), own_attacks={"mine": mine})
    assert "changed samples" in why_not(found, "mine")["auditor"]
    assert {one.name for one in found.attacks} == {"gap", "confidence"}
    assert (mine.fitted, mine.judged) == ([], [])
    assert "mine" in {one.name for one in run(own_attacks={"mine": mine}).attacks}


@pytest.mark.parametrize("given", ["own_attacks", "attacks"])
def test_an_own_attack_runs_on_recorded_outputs(given, tmp_path):
    outputs = recorded(tmp_path, defended_logits=IMAGES.reshape(3 * N, CLASSES) / 3)
    found = evaluate_outputs(outputs, **{"attacks": ("confidence",), given: {"mine": told()}})
    expected = {"gap", "mine"} if given == "attacks" else {"gap", "confidence", "mine"}
    assert {name for name, _, _ in by_key(found)} == expected
    assert [key[1:] for key in by_key(found) if key[0] == "mine"] == [
        ("static", False), ("static", True), ("adaptive", True),
    ]  # fmt: skip
    assert by_key(found)["mine", "static", False].auc > 0.75
    assert [name for name in found.records if name.startswith("mine|auditor|adaptive|")]


def test_an_own_attack_finds_in_recorded_outputs_what_it_finds_in_the_model(tmp_path):
    _, split = rows(defender_share=0)
    is_fit = np.zeros(3 * N, bool)
    is_fit[::2] = True
    outputs = recorded(tmp_path, split=np.where(is_fit, "fit", "eval"))
    assert len(split.eval_members) + len(split.eval_non_members) == 3 * N
    found = evaluate_outputs(outputs, attacks={"mine": Margin})
    logits = IMAGES.reshape(3 * N, CLASSES)[~is_fit].astype(np.float64)
    labels, is_member = LABELS[~is_fit], (np.arange(3 * N) < N)[~is_fit]
    true = logits[np.arange(len(labels)), labels].copy()
    logits[np.arange(len(labels)), labels] = -np.inf
    scores = true - logits.max(axis=1)
    auc = (scores[is_member][:, None] > scores[~is_member]).mean()
    assert by_key(found)["mine", "static", False].auc == pytest.approx(auc, abs=1e-3)


@pytest.mark.parametrize("needs_labels", [True, False])
def test_an_attack_that_needs_true_classes_does_not_run_without(needs_labels, tmp_path):
    class Largest(ScoreAttack):
        name = "largest"

        def score(self, target, samples):
            return target.query(samples.features).max(axis=1).astype(np.float64)

    Largest.needs_labels = needs_labels
    outputs = recorded(tmp_path, labels=None)
    found = evaluate_outputs(outputs, attacks=("entropy",), own_attacks={"mine": Largest})
    assert ("mine" in {one.name for one in found.attacks}) == (not needs_labels)
    assert ("true classes" in why_not(found, "mine").get("auditor", "")) == needs_labels


@pytest.mark.parametrize(
    ("declared", "knowledge", "words"),
    [
        ({"learns_from": ("shadow",)}, "shadow", "there is no shadow"),
        ({"unsupported": lambda self, samples: "only on Sundays"}, "auditor", "only on Sundays"),
        ({"needs_randomness": True}, "auditor", "no answers depended on noise"),
    ],
)
def test_an_attack_that_cannot_take_part_is_listed_with_the_reason(declared, knowledge, words):
    mine = told(**declared)
    found = run(own_attacks={"mine": mine})
    assert words in why_not(found, "mine")[knowledge]
    assert (mine.fitted, mine.judged) == ([], [])


def test_an_attack_is_fitted_and_judged_by_at_most_max_samples():
    mine = told(max_samples=7)
    found = run(own_attacks={"mine": mine})
    assert mine.fitted == [7]
    assert mine.judged == [7, 7, 7, 7]  # members and non-members, to fit and to judge
    assert by_key(found)["mine", "static", False].n_members == 7


def test_max_queries_reaches_attacks_that_search(monkeypatch):
    monkeypatch.setattr(BoundaryDistanceAttack, "max_samples", 15)  # it takes a while for each
    images = (IMAGES - IMAGES.min()) / (IMAGES.max() - IMAGES.min())  # the attack takes features in 0 … 1
    contexts = []
    own = {"mine": AttackSpec(lambda context: contexts.append(context) or Margin())}

    def asked(most):
        net = Says(lambda logits: 5 * logits)  # or they would look like the answers of a sigmoid
        found = run(net, images, attacks=("boundary-distance",), own_attacks=own, max_queries=most)
        assert found.settings["max_queries"] == most
        assert "boundary-distance" in {one.name for one in found.attacks}
        return found.target.queries

    few, more = asked(4), asked(12)
    assert 200 < few <= 200 + 200 * 4  # the answers, and the labels of the search
    assert few < more <= 200 + 200 * 12
    assert {context.max_queries for context in contexts} == {4, 12}


# ---------------------------------------------------------------------- one's own defense


def test_an_own_defense_keeps_rows_valid_and_the_predicted_class():
    for share in (0.0, 0.7, 1.0):
        model = DefendedModel(Says(), Flatten(share), key=b"key")
        probs = np.exp(model.respond(IMAGES).astype(np.float64))
        assert (probs >= 0).all()
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)
        logits = IMAGES.reshape(3 * N, CLASSES)
        np.testing.assert_array_equal(probs.argmax(axis=1), logits.argmax(axis=1))
        clean = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected = (1 - share) * clean / clean.sum(axis=1, keepdims=True) + share / CLASSES
        np.testing.assert_allclose(probs, expected, atol=1e-5)
        np.testing.assert_allclose(model(ms.Tensor(IMAGES)).asnumpy(), np.log(probs), atol=1e-5)


@pytest.mark.parametrize("answer", [(0.6, 0.2, 0.1, 0.1), (0.1, 0.1, 0.2, 0.6), (0.25,) * 4, (0.0, 1.0, 0.0, 0.0)])
def test_an_own_defense_that_forgets_the_label_is_put_right(answer):
    """The predicted class changes places with the largest, in the fast driver and in the graph."""
    fixed = ms.Tensor(answer, ms.float32)
    model = DefendedModel(Says(), Gives(lambda probs: 0 * probs + fixed), key=b"key")
    predicted = IMAGES.reshape(3 * N, CLASSES).argmax(axis=1)
    here, expected = np.arange(3 * N), np.tile(answer, (3 * N, 1))
    top = np.argmax(answer)
    expected[here, predicted], expected[:, top] = expected[:, top].copy(), expected[here, predicted].copy()
    for log_probs in (model.respond(IMAGES), model(ms.Tensor(IMAGES)).asnumpy()):
        np.testing.assert_allclose(np.exp(log_probs), expected, atol=2e-6)
        np.testing.assert_array_equal(log_probs.argmax(axis=1), predicted)
    assert run(defense=model.defense).defense.defended.label_changes == 0


def test_an_own_defense_answers_a_row_alike_in_any_company():
    class Cooled(Defense):
        def transform(self, probs, logits, predicted, noised_logits, draws):
            shares = ops.exp(ops.log(probs + 1e-6) / 3)
            return shares / ops.ReduceSum(True)(shares, 1)

    # Of seven classes: a CPU takes several exponentials at a time, and the rest one by one.
    model, images = DefendedModel(Says(), Cooled(), key=b"key"), np.float32(RNG.normal(size=(200, 7)))
    answers, order = model.respond(images), RNG.permutation(200)
    np.testing.assert_array_equal(model.respond(images[order]), answers[order])
    for part in (*(slice(row, row + 1) for row in range(20)), slice(10, 75), slice(3, 200)):
        np.testing.assert_array_equal(model.respond(images[part]), answers[part])


def test_an_own_defense_falls_to_those_who_know_of_it():
    found = by_key(run(defense=Flatten(0.7)))
    undefended = found["confidence", "static", False]
    assert found["confidence", "static", True].balanced_accuracy == 0.5
    assert found["confidence", "adaptive", True].balanced_accuracy == undefended.balanced_accuracy > 0.65


@pytest.mark.parametrize(("noise_scale", "draws"), [(0.0, 3), (0.5, 0)])
def test_an_own_defense_gets_what_it_asks_for(noise_scale, draws):
    """Numbers that it draws, or the logits of a noised input: the same from the fast driver and in the graph."""

    class Asking(Defense):
        keeps_labels = False

        @property
        def noise_scale(self):
            return noise_scale

        def transform(self, probs, logits, predicted, noised_logits, draws):
            given = noised_logits if noise_scale else draws
            return ops.softmax(0.5 * logits + ops.ReduceSum(True)(given, 1) * probs, 1)

    defense = Asking()
    defense.draws = draws
    model = DefendedModel(Says(), defense, key=b"key")
    fast, graph = model.respond(IMAGES[:64]), model(ms.Tensor(IMAGES[:64])).asnumpy()
    np.testing.assert_allclose(fast, graph, atol=1e-4)
    assert not np.allclose(fast, DefendedModel(Says(), defense, key=b"another").respond(IMAGES[:64]), atol=1e-3)


def test_an_own_defense_comes_back_from_its_file(tmp_path):
    path = tmp_path / "flatten.ckpt"
    Flatten(0.25).save(path)
    again = load_defense(path, own=(Flatten,))
    assert (type(again), again.settings()) == (Flatten, {"share": 0.25})
    with pytest.raises(CheckpointError, match=r"expected a defense \(.*top-k\), got flatten"):
        load_defense(path)


def test_a_defense_without_a_name_has_one():
    assert (
        run(defense=type("Mine", (Defense,), {"transform": Flatten.transform, "share": 0.2})()).defense.name
        == "unnamed"
    )
