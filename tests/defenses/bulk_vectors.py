"""Recorded vectors for the tests of many of them: what they are, how they are defended, and what that must give."""

from toy_defenses import plain_logits, starts

from mindefense.confidence import softmax as probs_of
from mindefense.defenses.bulk import defend_vectors
from mindefense.keyed_noise import KeyedDraws

N, C, ROWS = 50, 6, 16
LOGITS = plain_logits(N, C)
PROBS = probs_of(LOGITS)
NOISED = starts("defenmi", LOGITS)
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


def defend(recorded, defense, out, **options):
    given = {"key": KEY if defense.draws else None, "rows_at_a_time": ROWS, "workers": 1}
    return defend_vectors(recorded, defense, out, **{**given, **options})


def files(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def in_one_go(defense, probs=PROBS, start=None, key=KEY):
    draws = KeyedDraws.of(key, defense.draws)(probs) if defense.draws else None
    return defense.reshape(probs, NOISED if defense.noise_scale else start, draws=draws, workers=1)
