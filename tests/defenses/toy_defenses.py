"""Small classifiers, queries and defenses that the tests of the defenses share."""

import itertools

import numpy as np

from mindefense.defenses import (
    ClassMean,
    DefenderClassifier,
    DefenMI,
    DefenMIConfig,
    LabelOnly,
    LaplaceOutput,
    MemGuard,
    MemGuardBudget,
    MemGuardConfig,
    Rounding,
    Temperature,
    TopK,
)

KINDS = [("defenmi", "corrected"), ("defenmi", "published"), ("memguard", "corrected"), ("memguard", "published")]


def softmax(logits):
    """In float64 and our own, so that the package's is not its own judge."""
    powers = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def l1(one, other):
    return np.abs(np.float64(one) - other).sum(axis=1)


def toy_layers(classes, *, seed=0, widths=(32, 16), gain=1.5):
    """A random classifier that calls half of all random confidence vectors members."""
    rng = np.random.default_rng((seed, classes))
    units = [classes, *widths, 1]
    layers = [
        (np.float32(rng.normal(size=(i, o)) * gain * np.sqrt(2 / i)), np.float32(rng.normal(size=o) / 10))
        for i, o in itertools.pairwise(units)
    ]
    h = membership_logits(layers, np.sort(softmax(3 * rng.normal(size=(200, classes))), axis=1))
    layers[-1] = (layers[-1][0], np.float32(layers[-1][1] - np.median(h)))
    return layers


def membership_logits(layers, sorted_probs):
    x = np.float64(sorted_probs)
    for w, b in layers[:-1]:
        x = np.maximum(x @ w + b, 0)
    return (x @ layers[-1][0] + layers[-1][1])[:, 0]


def toy_means(classes, *, seed=0):
    """Class means, about half of whose rows have their largest value at another class."""
    return np.float32(np.random.default_rng((seed, classes, 7)).dirichlet(np.ones(classes), classes))


def plain_logits(rows, classes, *, seed=0):
    """Logits as a trained model gives them: no ties, nothing saturated."""
    return np.float32(np.random.default_rng((seed, classes, rows)).normal(size=(rows, classes)) * 2.5)


def hard_logits(classes, *, seed=0):
    """Every kind of row that is hard on a softmax, a sort or an argmax; 52 rows."""
    rng = np.random.default_rng((seed, classes, 9))
    z = rng.normal(size=(52, classes)) * 2.5
    z[10:15] *= 1e-3  # near uniform
    z[15:20] *= 4  # confident
    z[20:25] = np.where(np.arange(classes) == rng.integers(classes, size=(5, 1)), 200, -200)  # one-hot
    z[25:30] = rng.choice([-200, 0, 200], size=(5, classes))
    z[30:40] = np.round(z[30:40])  # ties anywhere
    z[40:42] = 0  # all equal
    z[42:52, :2] = z[42:52].max(axis=1, keepdims=True)  # ties at the top
    return np.float32(z)


def has_tie(logits):
    """Rows in which a sort, or a float32 softmax, leaves the order of some classes open."""
    probs = np.sort(np.float32(softmax(logits)), axis=1)
    return (probs[:, 1:] == probs[:, :-1]).any(axis=1)


def toy_defense(name, alignment, classes, *, layers=None, means=None, **search):
    classifier = DefenderClassifier.from_weights(toy_layers(classes) if layers is None else layers)
    if name == "memguard":
        return MemGuard(classifier, MemGuardConfig(alignment=alignment, **search))
    means = toy_means(classes) if means is None else means
    return DefenMI(classifier, means, DefenMIConfig(alignment=alignment, **search))


def starts(name, clean_logits, *, seed=1):
    """The logits that the search starts from: of a noised input for DefenMI, the clean ones for MemGuard."""
    if name == "memguard":
        return clean_logits
    noise = np.random.default_rng((seed, *clean_logits.shape)).normal(size=clean_logits.shape)
    return np.float32(clean_logits + noise * np.maximum(1, np.abs(clean_logits) / 4))


# Steps that are large beside a float32's rounding, and few, so that NumPy and the graph take the same ones.
TAME = {"c3_first": 1e-4, "threshold": 1e-3, "max_iterations": 60}

BASELINES = {
    "rounding-0": lambda classes: Rounding(0),
    "rounding-1": lambda classes: Rounding(1),
    "rounding-3": lambda classes: Rounding(3),
    "top-1": lambda classes: TopK(1),
    "top-2": lambda classes: TopK(2),
    "top-100": lambda classes: TopK(100),
    "temperature-0.5": lambda classes: Temperature(0.5),
    "temperature-10": lambda classes: Temperature(10.0),
    "label-only": lambda classes: LabelOnly(),
    "class-mean": lambda classes: ClassMean(toy_means(classes)),
    "laplace-output-0.01": lambda classes: LaplaceOutput(0.01, classes),
    "laplace-output-2": lambda classes: LaplaceOutput(2.0, classes),
}
"""Instance name → one for a number of classes; they take any number."""
SEARCHES = {
    "memguard-budget-0.3": lambda classes: MemGuardBudget(toy_defense("memguard", "corrected", classes, **TAME), 0.3),
    "memguard": lambda classes: toy_defense("memguard", "corrected", classes, max_iterations=60),
    "defenmi": lambda classes: toy_defense("defenmi", "corrected", classes, max_iterations=60),
}
"""The same for those that hold a classifier, of two classes or more."""
