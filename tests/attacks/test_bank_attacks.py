"""Attackers with a bank find what is there, as closed forms say, and nothing where there is nothing."""

import numpy as np
import pytest
from attacks.bank_worlds import World, samples, target_of
from scipy.special import ndtr

from mindefense.attacks.bank import BankClassifierAttack, CalibratedAttack, LiraAttack, RmiaAttack
from mindefense.attacks.bank_statistics import InAndOut, calibrated, fitted_a, lira, log_odds, rmia, tell_of_each_other
from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.metrics import auc, auc_interval, best_threshold, membership_metrics
from mindefense.targets.bank import ShadowBank, assign_rows
from mindefense.targets.base import Target
from mindefense.types import Samples

ALL = {"lira": LiraAttack, "calibrated": CalibratedAttack, "rmia": RmiaAttack, "bank": BankClassifierAttack}


def tpr(scores, held, fpr):
    return (scores[held] > np.quantile(scores[~held], 1 - fpr)).mean()


def test_log_odds_keep_their_digits_where_a_model_is_sure():
    log_probs = np.array([[-1e-9, -25.0, -26.0]])
    assert log_odds(log_probs, np.array([0]))[0] == pytest.approx(25 - np.log1p(np.exp(-1)), abs=1e-6)


def test_means_and_spreads_by_hand():
    values = np.array([[1.0, 5.0], [3.0, 7.0], [10.0, 1.0], [14.0, 3.0]])
    held = np.array([[False, True], [False, True], [True, False], [True, False]])
    each = InAndOut.of(values, held)
    assert each.mean_in.tolist() == [12, 6]
    assert each.mean_out.tolist() == [2, 2]
    # The variances over all rows are 5 and 2, and count as much as 8 more values of each row.
    assert each.std_in == pytest.approx([((8 + 8 * 5) / (1 + 8)) ** 0.5, ((2 + 8 * 5) / (1 + 8)) ** 0.5])
    assert each.std_out == pytest.approx([((2 + 8 * 2) / (1 + 8)) ** 0.5] * 2)
    pooled = InAndOut.of(values, held, each_row=False)
    assert pooled.std_in == pytest.approx([5**0.5] * 2)
    assert pooled.std_out == pytest.approx([2**0.5] * 2)


def test_statistics_by_hand():
    bank = InAndOut(np.array([4.0]), np.array([1.0]), np.array([2.0]), np.array([1.0]))
    by_hand = -((3 - 4) ** 2) / 8 - np.log(2) + (3 - 1) ** 2 / 2
    assert lira(np.array([3.0]), bank) == pytest.approx([by_hand])
    assert calibrated(np.array([3.0]), bank) == [2]
    alone = InAndOut(np.array([np.nan]), np.array([1.0]), np.array([1.0]), np.array([4.0]), is_offline=True)
    assert lira(np.array([3.0]), alone) == [0.5]


def test_rmia_by_hand():
    log = np.log
    scores = rmia(
        log([0.8, 0.2]), log([[0.9, 0.1], [0.1, 0.5]]), np.array([[True, False], [False, True]]),
        population=log([0.1, 0.4, 0.9]), bank_on_population=log([[0.4, 0.5, 0.4], [0.4, 0.3, 0.6]]),
        population_held=np.zeros((2, 3), bool), gamma=2, a=1,
    )  # fmt: skip
    # Ratios: .8 / .5 and .2 / .3; of the population .25, 1 and 1.8.
    assert (scores * 3).astype(int).tolist() == [1, 1]
    assert scores[0] > scores[1]


def test_the_constant_of_rmia_is_fitted_to_models_of_both_kinds():
    probs = np.array([[0.2, 0.6], [0.2, 0.8], [0.6, 0.6], [0.6, 0.9]])
    held = np.array([[False, False], [False, True], [True, False], [True, True]])
    # Models that were trained on a row miss .4 and .15 of 1, others .8 and .4.
    assert fitted_a(probs, held) == pytest.approx((0.4 * 0.8 + 0.15 * 0.4) / (0.8**2 + 0.4**2))


def test_a_row_that_no_model_holds_takes_the_usual_difference():
    bank = InAndOut(np.array([5.0, np.nan, 2.0]), np.array([3.0, 1.0, np.nan]), *np.ones((2, 3)), usual=2.0)
    mean_in, mean_out = bank.filled()
    assert (mean_in.tolist(), mean_out.tolist()) == ([5, 3, 2], [3, 1, 0])


@pytest.mark.parametrize(("pool", "size", "count"), [(10, 5, 6), (3010, 1000, 7), (9, 2, 5)])
def test_rows_are_assigned_evenly_and_a_bank_grows(pool, size, count):
    held = assign_rows(pool, size, count, seed=3)
    assert (held.sum(axis=1) == size).all()
    for first in range(0, count, 2):
        assert held[first : first + 2].sum(axis=0).max() == 1
    assert (assign_rows(pool, size, count + 9, seed=3)[:count] == held).all()
    assert (assign_rows(pool, size, count, seed=4) != held).any()


def test_models_of_a_pair_tell_of_each_other_and_others_do_not():
    held = assign_rows(2000, 1000, 6, seed=0)
    assert (tell_of_each_other(held) == np.kron(np.eye(3, dtype=bool), np.ones((2, 2), bool))).all()


def test_lira_meets_the_closed_form():
    """With means and variances known, the likelihood ratio of two Gaussians has an AUC of Φ(d / √2)."""
    world = World(4000, leak=1.5, seed=1)
    attack = LiraAttack().fit(world.bank(64))
    scores, held = world.judge(attack)
    low, high = auc_interval(scores, held)
    # The means of 32 models each are uncertain by 1/32 of a variance, which costs a little.
    known = ndtr(1.5 / 2**0.5)
    assert low - 0.01 <= known <= high + 0.01
    assert auc(scores, held) > known - 0.02
    plain = membership_metrics(target_scores(world, held), held, threshold=0.0).auc
    assert plain < 0.65, "the difficulty of rows hides the leak from a single threshold"
    accuracy = membership_metrics(scores, held, threshold=attack.threshold_).balanced_accuracy
    assert accuracy == pytest.approx(ndtr(0.75), abs=0.03)


def test_the_deviation_of_a_row_finds_more_than_one_for_all_where_rows_differ():
    """The noise of a row is .3 to 3: with 32 models, each row's own deviation and the common one together are best."""
    world = World(4000, leak=1.5, seed=6)
    world.spread = np.exp(world.rng.uniform(np.log(0.3), np.log(3), world.n))
    bank = world.bank(32)
    held = world.rng.permutation(world.n) < world.n // 2
    target, values = world.values(held), np.stack([log_odds_in(target, bank) for target in bank.targets])
    found = {each: auc(lira(target, InAndOut.of(values, bank.in_training, each_row=each)), held)
             for each in (True, False)}  # fmt: skip
    assert found[True] > found[False] + 0.02


def log_odds_in(target, bank):
    return log_odds(target.query(bank.rows.features), bank.rows.labels)


def target_scores(world, held):
    return log_odds(target_of(world.values(held)).query(samples(np.arange(world.n)).features), np.zeros(world.n, int))


@pytest.mark.parametrize("name", [name for name in ALL if name != "rmia"])
def test_a_leak_that_thresholds_miss_is_found(name):
    """Five in a hundred rows leak much; no threshold on the answers sees it, and a bank names them."""
    leak = np.where(np.arange(2000) < 100, 8.0, 0.0)
    world = World(2000, leak=leak, difficulty=4.0, seed=2)
    attack = ALL[name]().fit(world.bank(32))
    scores, held = world.judge(attack)
    by_threshold = tpr(target_scores(world, held), held, 0.01)
    assert by_threshold < 0.03
    assert tpr(scores, held, 0.01) > 0.035


def test_a_ratio_of_probabilities_finds_what_difficulty_hides():
    """Where most rows are hard, so that the probability of the true class can rise."""
    world = World(2000, leak=1.5, seed=2)
    world.difficulty -= 4
    scores, held = world.judge(RmiaAttack().fit(world.bank(16)))
    assert auc(scores, held) > auc(target_scores(world, held), held) + 0.1


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_found_where_nothing_is(name):
    """Targets that hold none of the rows: 50 draws of who counts as a member."""
    world = World(1000, leak=1.5, seed=3)
    attack = ALL[name]().fit(world.bank(16))
    areas, rates = [], []
    for _ in range(50):
        scores, _ = world.judge(attack, np.zeros(1000, bool))
        held = world.rng.permutation(1000) < 500
        areas.append(auc(scores, held))
        rates.append(tpr(scores, held, 0.01))
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 50**0.5)
    assert np.mean(rates) == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize("name", ALL)
def test_a_model_never_calibrates_itself(name):
    """Models without a leak: whoever has its own answers in its mean, or its complement's counts, seems to leak."""
    world = World(1000, leak=0.0, seed=4)
    attack = ALL[name]().fit(world.bank(8))
    if name == "bank":
        features, held = attack._for_each_model(attack._features)
        scores = features.reshape(len(held), -1)[:, 1]
    else:
        scores, held = attack.on_the_bank()
    assert auc(scores, held) == pytest.approx(0.5, abs=4 * (1 / 12 / 4000 * 2) ** 0.5)


def test_what_goes_wrong_when_a_model_calibrates_itself():
    """The test above can fail: with its own answer among those that were trained on a row, a model seems to leak."""
    world = World(1000, leak=0.0, seed=4)
    bank = world.bank(8)
    attack = LiraAttack().fit(bank)
    scores = np.concatenate([attack.score(target, bank.rows) for target in bank.targets])
    assert abs(auc(scores, bank.in_training.ravel()) - 0.5) > 0.05


def test_the_learned_densities_beat_gaussians_where_there_are_none():
    """The leak of hard rows is larger: LiRA pools one variance, the classifier sees the difficulty."""
    world = World(2000, leak=1.0, seed=5)
    world.leak = np.where(world.difficulty < 0, 3.0, 0.0)
    bank = world.bank(8)
    held = world.rng.permutation(2000) < 1000
    target = target_of(world.values(held))
    found = {name: auc(ALL[name]().fit(bank).score(target, bank.rows), held) for name in ("lira", "bank")}
    assert found["bank"] > 0.72
    assert found["bank"] >= found["lira"] - 0.01


def test_too_few_models_are_refused():
    with pytest.raises(InputError, match=r"has 2 shadow models and needs 4; train more"):
        LiraAttack().fit(World(100).bank(2))


def test_a_bank_without_a_pool_is_refused():
    bank = World(100).bank(4)
    with pytest.raises(InputError, match="no pool"):
        LiraAttack().fit(ShadowBank(bank.targets, bank.in_training))


def test_offline_models_find_the_leak_from_one_side():
    """The bank was trained on other rows of the same kind, none of them judged."""
    world = World(3000, leak=2.0, difficulty=2.0, seed=6)
    pool, judged = np.arange(1000, 3000), np.arange(1000)
    held = np.zeros((16, 3000), bool)
    held[:, pool] = assign_rows(2000, 1000, 16, seed=0)
    bank = ShadowBank([target_of(world.values(line)) for line in held], held, pool=samples(pool), is_offline=True)
    member = np.zeros(3000, bool)
    member[:500] = True
    target = target_of(world.values(member))
    found = {name: auc(kind().fit(bank).score(target, samples(judged)), member[:1000]) for name, kind in ALL.items()}
    plain = auc(log_odds_of(target, judged), member[:1000])
    assert plain < 0.8
    for name, area in found.items():
        assert area > plain + 0.02, (name, found)


def log_odds_of(target, rows):
    return log_odds(target.query(samples(rows).features), np.zeros(len(rows), int))


class Offline:
    """Models that were trained on rows 1000 and up, a target that was trained on half of the rows below."""

    def __init__(self, *, models=16, size=1000, seed=6):
        self.world = World(3500, leak=2.0, difficulty=2.0, seed=seed)
        pool = np.arange(1000, 3000)
        held = np.zeros((models, 3500), bool)
        held[:, pool] = assign_rows(2000, size, models, seed=0)
        population = samples(np.arange(3000, 3500))
        targets = [target_of(self.world.values(line)) for line in held]
        self.bank = ShadowBank(targets, held, pool=samples(pool), population=population, is_offline=True)
        member = np.zeros(3500, bool)
        member[self.world.rng.permutation(1000)[:500]] = True
        self.target, self.is_member = target_of(self.world.values(member)), member[:1000]

    def judge(self, attack):
        return attack.score(self.target, samples(np.arange(1000))), self.is_member


@pytest.mark.parametrize("name", ALL)
def test_the_threshold_of_offline_models_is_one_for_rows_that_no_model_holds(name):
    """The models play the target as it will be attacked: calibrated by models that were not trained on the row."""
    world = Offline()
    attack = ALL[name]().fit(world.bank)
    scores, is_member = world.judge(attack)
    reached = membership_metrics(scores, is_member, threshold=attack.threshold_).balanced_accuracy
    best = membership_metrics(scores, is_member, threshold=best_threshold(scores, is_member)).balanced_accuracy
    assert reached > best - 0.03


def test_the_offline_constant_is_chosen_by_rows_that_no_model_holds():
    """Every constant is tried as it will be used; so they do not all find the same."""
    attack, found = RmiaAttack().fit(Offline().bank), {}
    best = attack.a_
    for constant in attack._CONSTANTS:
        attack.a_ = constant
        found[constant] = auc(*attack.on_the_bank())
    assert max(found.values()) - min(found.values()) > 0.01
    assert found[best] == max(found.values())


def test_without_a_population_a_row_is_compared_with_the_others():
    world = World(1000, leak=2.0, seed=7)
    scores, held = world.judge(RmiaAttack().fit(world.bank(8)))
    assert scores.min() < 0.1
    assert scores.max() > 0.5
    assert auc(scores, held) > 0.7


@pytest.mark.parametrize("size", [200, 500, 600])
def test_a_large_pool_leaves_models_to_compare_with(size):
    """However few of the rows each model is trained on."""
    world = Offline(models=4, size=size)
    scores, is_member = world.judge(LiraAttack().fit(world.bank))
    assert auc(scores, is_member) > 0.7


def test_models_that_all_tell_of_each_other_are_refused():
    bank = World(100).bank(2)
    twins = ShadowBank(bank.targets * 2, np.tile(bank.in_training, (2, 1)), pool=bank.pool)
    with pytest.raises(InputError, match=r"none of its 4 shadow models has 2 others .* rows drawn independently"):
        LiraAttack().fit(twins)


@pytest.mark.parametrize("offline", [False, True], ids=["online", "offline"])
@pytest.mark.parametrize("name", ALL)
def test_a_row_scores_the_same_whichever_rows_are_scored_with_it(name, offline):
    """Members and non-members are scored in two parts, which must not tell one from the other."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(300, 4)), rng.integers(3, size=300)
    held = assign_rows(200, 100, 8, seed=1)
    held = np.concatenate([held, np.zeros((8, 100), bool)], axis=1)
    everyone = Samples(features, labels, np.arange(300))
    weights = rng.normal(size=(9, 4, 3))
    # Answers to the second half of the rows vary more, so that deviations within a part differ.
    scale = np.where(np.arange(300) % 200 < 100, 0.2, 3.0)

    def target(number):
        def query(rows):
            places = [int(np.flatnonzero((features == row).all(axis=1))[0]) for row in rows]
            return log_softmax((rows @ weights[number]) * scale[places][:, None])

        return Target(query)

    pool = everyone.take(np.arange(200))
    bank = ShadowBank([target(number) for number in range(8)], held, pool=pool, is_offline=offline)
    attack = ALL[name]().fit(bank)
    judged = everyone.take(np.arange(200, 300) if offline else np.arange(200))
    whole = attack.score(target(8), judged)
    halves = [attack.score(target(8), judged.take(part)) for part in np.array_split(np.arange(len(judged)), 2)]
    np.testing.assert_allclose(np.concatenate(halves), whole, rtol=1e-9)
    assert len(np.unique(whole)) > 50


@pytest.mark.parametrize("share", [0.5, 0.25, 0.2, 0.1])
def test_the_partner_of_a_model_tells_about_it_however_small_their_part_of_the_pool_is(share):
    told = tell_of_each_other(assign_rows(2000, int(2000 * share), 8, seed=0))
    pairs = np.kron(np.eye(4, dtype=bool), np.ones((2, 2), bool))
    assert (told == pairs).all()


def test_a_row_that_no_model_was_trained_on_scores_the_same_alone_and_among_others():
    world = World(60, seed=2)
    held = assign_rows(60, 30, 8, seed=0)
    targets = [target_of(world.values(line)) for line in held]
    held = np.where(np.arange(60) == 7, False, held)
    attack = LiraAttack().fit(ShadowBank(targets, held, pool=samples(np.setdiff1d(np.arange(60), [7]))))
    target = target_of(world.values(np.arange(60) < 30))
    alone, among = attack.score(target, samples([7])), attack.score(target, samples(np.arange(60)))
    np.testing.assert_allclose(alone[0], among[7])
