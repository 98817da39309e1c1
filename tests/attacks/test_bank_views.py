"""Attackers with a bank that ask about changed images too: closed forms, nulls, and what is chosen on the bank."""

import numpy as np
import pytest
from scipy.special import ndtr

from mindefense.attacks.bank import BankClassifierAttack, LiraAttack
from mindefense.attacks.bank_questions import LOG_ODDS, correct_share, log_odds_of_views
from mindefense.attacks.label_only import ShiftAttack
from mindefense.attacks.registry import ATTACKS, AttackContext
from mindefense.confidence import log_softmax
from mindefense.metrics import auc
from mindefense.targets.bank import ShadowBank, assign_rows
from mindefense.targets.base import Target
from mindefense.types import Samples

VIEWS = 1 + ShiftAttack().variants_per_sample
ATTACKERS = {
    "lira-augmented": lambda: LiraAttack("lira-augmented", log_odds_of_views()),
    "lira-label": lambda: LiraAttack("lira-label", [correct_share(0)]),
    "bank-label": lambda: BankClassifierAttack("bank-label", [correct_share(0)], rounds=60),
    "bank": lambda: BankClassifierAttack("bank", [LOG_ODDS, correct_share(0)], rounds=60),
}


class Views:
    """N images; a model that was trained on one is surer of it and of its variants by `leak`, with noise for each."""

    def __init__(self, n=400, *, leak=0.8, difficulty=1.5, noise=1.0, seed=0):
        self.rng = np.random.default_rng(seed)
        self.n, self.leak = n, leak
        self.noise = np.broadcast_to(noise, (VIEWS,))
        images = self.rng.integers(0, 256, (n, 3, 6, 6), np.uint8)
        self.rows = Samples(images, np.zeros(n, np.int32), np.arange(n))
        self.difficulty = difficulty * self.rng.standard_normal(n)
        views = np.concatenate((images[:, None], ShiftAttack().variants(self.rows)), axis=1)
        self.places = {views[i, v].tobytes(): (i, v) for i in range(n) for v in range(VIEWS)}

    def target(self, held):
        """A model that was trained on the images `held`."""
        noise = self.noise * self.rng.standard_normal((self.n, VIEWS))
        values = (self.difficulty + self.leak * held)[:, None] + noise

        def respond(images):
            odds = np.array([values[self.places[one.tobytes()]] for one in images], np.float32)
            return log_softmax(np.stack((odds, np.zeros_like(odds)), axis=1))

        return Target(respond)

    def bank(self, count):
        held = assign_rows(self.n, self.n // 2, count, seed=0)
        return ShadowBank([self.target(line) for line in held], held, pool=self.rows)

    def judge(self, attack, held=None):
        held = self.rng.permutation(self.n) < self.n // 2 if held is None else held
        return attack.score(self.target(held), self.rows), held


def test_six_answers_separate_as_the_closed_form_says():
    """Six independent answers that are .8 apart each are .8 · √6 apart together: an AUC of Φ(.8 √6 / √2) = .917."""
    world = Views(1000)
    bank = world.bank(32)
    once, views = LiraAttack().fit(bank), ATTACKERS["lira-augmented"]().fit(bank)
    held = np.random.default_rng(1).permutation(world.n) < world.n // 2
    area_once, area = (auc(*world.judge(attack, held)) for attack in (once, views))
    assert area_once == pytest.approx(ndtr(0.8 / 2**0.5), abs=0.03)
    assert ndtr(0.8 * 6**0.5 / 2**0.5) - 0.05 < area < ndtr(0.8 * 6**0.5 / 2**0.5) + 0.02


def test_answers_that_are_mostly_noise_are_weighed_or_averaged_as_the_bank_decides():
    """A mean is spoiled by noisy answers; ratios that are added up weigh each answer by what it tells."""
    world = Views(leak=1.0, noise=np.array([0.5, 8, 8, 8, 8, 8]))
    attack = ATTACKERS["lira-augmented"]().fit(world.bank(8))
    assert attack.adds_
    areas = {}
    for attack.adds_ in (True, False):
        areas[attack.adds_] = auc(*attack.on_the_bank())
    assert areas[True] > areas[False] + 0.1


def test_the_mean_is_taken_where_it_finds_more():
    attack = ATTACKERS["lira-augmented"]().fit(Views(leak=0.5).bank(8))
    chosen, areas = attack.adds_, {}
    for attack.adds_ in (True, False):
        areas[attack.adds_] = auc(*attack.on_the_bank())
    assert chosen == (areas[True] >= areas[False])


@pytest.mark.parametrize("name", ATTACKERS)
def test_a_leak_is_found(name):
    world = Views(leak=2.0)
    scores, held = world.judge(ATTACKERS[name]().fit(world.bank(8)))
    assert auc(scores, held) > 0.7


@pytest.mark.parametrize("name", ATTACKERS)
def test_nothing_is_found_where_nothing_is(name):
    """Targets that were trained on none of the images: 50 draws of who counts as a member."""
    world = Views(200, seed=3)
    attack = ATTACKERS[name]().fit(world.bank(8))
    areas, rates = [], []
    for _ in range(50):
        scores, _ = world.judge(attack, np.zeros(world.n, bool))
        held = world.rng.permutation(world.n) < world.n // 2
        areas.append(auc(scores, held))
        rates.append(np.mean(scores[held] > np.sort(scores[~held])[-2]))
    assert np.mean(areas) == pytest.approx(0.5, abs=4 * np.std(areas) / 50**0.5)
    # Above the second of 100 non-members there are 2 of 101 members on average, if all are alike.
    assert np.mean(rates) <= 2 / 101 + 4 * np.std(rates) / 50**0.5


@pytest.mark.parametrize("name", ["lira-augmented", "lira-label"])
def test_a_model_never_calibrates_itself(name):
    scores, held = ATTACKERS[name]().fit(Views(leak=0.0).bank(8)).on_the_bank()
    assert auc(scores, held) == pytest.approx(0.5, abs=4 * (1 / 12 / 1600 * 2) ** 0.5)


def test_only_images_have_views():
    attack = ATTACKS["lira-augmented"].make(AttackContext())
    table = Samples(np.zeros((3, 4), np.float32), np.zeros(3, np.int32), np.arange(3))
    assert "not images" in attack.unsupported(table)
    assert attack.unsupported(Views(10).rows) is None
    assert attack.asks == "variants"


@pytest.mark.parametrize("name", ATTACKERS)
def test_a_model_of_the_bank_that_is_attacked_is_not_asked_again(name):
    world = Views(100)
    bank = world.bank(8)
    attack = ATTACKERS[name]().fit(bank.take(np.arange(2, 8)))
    for statistic in attack._statistics:
        bank.measure(statistic, world.rows)
    before = bank.targets[0].queries
    scores = attack.score(bank.targets[0], world.rows)
    assert bank.targets[0].queries == before
    twin = Target(bank.targets[0].query)  # the same answers, but another object, which has to be asked
    assert np.array_equal(scores, attack.score(twin, world.rows))
    assert twin.queries
