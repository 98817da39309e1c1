"""Private descent: equal to a reference computed row by row, its ε, and an audit that finds a broken clip."""

import dataclasses

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.pld import PLDAccountant
from scipy.optimize import brentq
from scipy.stats import norm

from mindefense.checkpoint import load_checkpoint, parameters_of
from mindefense.errors import InputError
from mindefense.metrics import epsilon_lower_bound
from mindefense.models.mlp import MLP
from mindefense.models.vgg import vgg16
from mindefense.training import TrainConfig, train_classifier
from mindefense.training import private as private_module
from mindefense.training.accounting import noise_for_epsilon, spent_epsilon, usual_delta
from mindefense.training.dense import DenseTask, train_dense
from mindefense.training.private import PrivateDescent, clip_factors, secret_generator
from mindefense.training.private_engines import PrivateRows, private_engine

WIDTHS = (12, 32, 16, 5)
CONFIG = TrainConfig(
    epochs=3, learning_rate=0.5, decay_every=2, batch_size=16, noise_multiplier=0.7, clip_norm=0.3, weight_decay=0.01,
    label_smoothing=0.1,
)  # fmt: skip


def rows(n=90, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.random((n, WIDTHS[0]), np.float32)
    return features, (features[:, :5] + 0.1 * rng.random((n, 5))).argmax(axis=1).astype(np.int32)


def task(config=CONFIG, *, noise_seed=3):
    return DenseTask(MLP(WIDTHS, seed=1).weights(), *rows(), config, noise_seed=noise_seed)


def gradient_of(layers, x, label, smoothing):
    """The gradients of the loss of one row by the chain rule, in float64."""
    values = [x.astype(np.float64)]
    for level, (weight, bias) in enumerate(layers):
        z = values[-1] @ weight + bias
        values.append(z if level == len(layers) - 1 else np.maximum(z, 0))
    z = values.pop()
    p = np.exp(z - z.max())
    truth = np.full(len(z), smoothing / len(z))
    truth[label] += 1 - smoothing
    slope, found = p / p.sum() - truth, []
    for level in range(len(layers) - 1, -1, -1):
        found.append((np.outer(values[level], slope), slope))
        slope = (layers[level][0] @ slope) * (values[level] > 0)
    return found[::-1]


def by_hand(one):
    """Algorithm 1 of Abadi et al., row by row, with the same draws."""
    config, layers = one.config, [(w.astype(np.float64), b.astype(np.float64)) for w, b in one.start]
    rng = np.random.Generator(np.random.PCG64DXSM(one.noise_seed))
    n, batch = len(one.labels), config.batch_size
    for epoch in range(config.epochs):
        for rate in config.rates(epoch, -(-n // batch)):
            sums = [[np.zeros_like(w), np.zeros_like(b)] for w, b in layers]
            for row in np.flatnonzero(rng.random(n) < batch / n):
                gradients = gradient_of(layers, one.features[row], one.labels[row], config.label_smoothing)
                norm = np.sqrt(sum((g**2).sum() for pair in gradients for g in pair))
                for total, pair in zip(sums, gradients, strict=True):
                    for k in (0, 1):
                        total[k] += pair[k] * min(1, config.clip_norm / norm)
            for level, (w, b) in enumerate(layers):
                noise = [rng.standard_normal(part.shape, np.float32) for part in (w, b)]
                deviation = config.noise_multiplier * config.clip_norm
                change = [(total + deviation * drawn) / batch for total, drawn in zip(sums[level], noise, strict=True)]
                layers[level] = (w - rate * (change[0] + config.weight_decay * w), b - rate * change[1])
    return layers


def test_steps_are_those_of_the_algorithm_computed_row_by_row():
    one = task()
    layers, history = train_dense(one)
    for (weight, bias), (right_weight, right_bias), (start, _) in zip(layers, by_hand(one), one.start, strict=True):
        np.testing.assert_allclose(weight, right_weight, atol=1e-5)
        np.testing.assert_allclose(bias, right_bias, atol=1e-5)
        assert np.abs(weight - start).max() > 1e-2
    assert [epoch.number for epoch in history] == [1, 2, 3]


def test_any_network_is_trained_row_by_row_as_an_mlp_is():
    """MindSpore's gradients of single rows, clipped and added, are those of NumPy's; only rounding differs."""
    config = dataclasses.replace(CONFIG, noise_multiplier=1e-9)
    one = task(config)
    wanted, history = train_dense(one)
    net = MLP(WIDTHS, seed=1)
    engine = PrivateRows(net, one.features, one.labels, config, None, noise_seed=one.noise_seed)
    figures = [engine.run(number) for number in range(config.epochs)]
    for (weight, bias), (right_weight, right_bias) in zip(net.weights(), wanted, strict=True):
        np.testing.assert_allclose(weight, right_weight, atol=2e-5)
        # The weights' penalty is the same; biases have none.
        np.testing.assert_allclose(bias, right_bias, atol=2e-5)
    np.testing.assert_allclose(figures, [(epoch.loss, epoch.accuracy) for epoch in history], rtol=1e-4)


def test_the_noise_of_any_network_has_the_deviation_it_should():
    """With a clipping norm so small that only noise is left, a step of rate 1 moves weights by σ · C / batch."""
    config = dataclasses.replace(CONFIG, epochs=1, learning_rate=1.0, noise_multiplier=1e6, clip_norm=1e-6,
                                 weight_decay=0.0, batch_size=90, warmup_epochs=0)  # fmt: skip
    net = MLP((12, 64, 5), seed=1)
    before = net.weights()
    PrivateRows(net, *rows(), config, None, noise_seed=5).run(0)
    pairs = zip(net.weights(), before, strict=True)
    moved = np.concatenate([(after[k] - start[k]).ravel() for after, start in pairs for k in (0, 1)])
    assert moved.std() == pytest.approx(1 / 90, rel=0.1)


def test_train_classifier_trains_privately_and_resumes(tmp_path):
    features, labels = rows()
    path = tmp_path / "net.ckpt"
    nets = [MLP(WIDTHS, seed=1) for _ in range(3)]
    short = dataclasses.replace(CONFIG, weight_decay=0.0)
    train_classifier(nets[0], features, labels, short, progress=False, noise_seed=3)
    train_dense(dataclasses.replace(task(short), config=short))
    assert np.array_equal(nets[0].weights()[0][0], train_dense(task(short))[0][0][0])

    def interrupt(epoch):
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_classifier(nets[1], features, labels, short, checkpoint=path, checkpoint_every=1, on_epoch=interrupt)
    kept = load_checkpoint(path)
    history = train_classifier(nets[2], features, labels, short, checkpoint=path, resume=True, progress=False)
    assert [epoch.number for epoch in history] == [1, 2, 3]
    moved = np.abs(nets[2].weights()[0][0] - parameters_of(nets[1])["layers.0.weight"].T).max()
    assert 0 < moved < 1  # one further epoch from the stored weights
    assert kept.description["train"]["noise_multiplier"] == short.noise_multiplier


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (lambda: vgg16(5, 32, width_multiplier=0.05), {}, "no batch normalization"),
        (lambda: MLP(WIDTHS), {"momentum": 0.9}, "momentum, augment: expected 0"),
    ],
)
def test_what_would_break_the_guarantee_is_refused(build, changes, message):
    config = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(InputError, match=message):
        private_engine(build(), *rows(), config, None)


def test_an_end_that_depends_on_the_rows_is_refused():
    with pytest.raises(InputError, match="until_accuracy: expected None for private training"):
        dataclasses.replace(CONFIG, until_accuracy=0.9)


def test_a_gradient_is_scaled_down_to_the_norm_and_never_up():
    factors = clip_factors(np.array([0.0, 0.01, 1.0, 100.0]), 0.5)
    assert factors[:2].tolist() == [1, 1]
    assert factors[2:] == pytest.approx([0.5, 0.05], rel=2e-5)
    assert (factors[2:] * [1, 10] < 0.5).all()


def test_norms_are_those_of_all_weights_and_biases_of_a_row():
    one = task()
    descent = PrivateDescent(one)
    logits = descent._last.forward(one.features)
    _, _, slope = descent._loss(logits, one.labels.astype(int), CONFIG.label_smoothing)
    squares = descent._squares(descent._last.slopes(slope))
    for row in (0, 7, 89):
        gradients = gradient_of(one.start, one.features[row], one.labels[row], CONFIG.label_smoothing)
        assert squares[row] == pytest.approx(sum((g**2).sum() for pair in gradients for g in pair), rel=1e-5)


def test_noise_is_secret_unless_a_seed_is_given():
    one, other, again = (train_dense(task(noise_seed=seed))[0] for seed in (None, None, 3))
    assert not np.array_equal(one[0][0], other[0][0])
    assert np.array_equal(again[0][0], train_dense(task())[0][0][0])
    assert secret_generator().random() != secret_generator().random()


def test_private_training_learns_with_little_noise():
    learning = {"epochs": 100, "decay_every": None, "noise_multiplier": 0.05, "clip_norm": 1.0}
    config = dataclasses.replace(CONFIG, **learning, weight_decay=0.0, label_smoothing=0.0)
    assert train_dense(task(config))[1][-1].accuracy > 0.8


def test_epsilon_is_that_of_dp_accounting():
    accountant = PLDAccountant()
    accountant.compose(SelfComposedDpEvent(PoissonSampledDpEvent(0.05, GaussianDpEvent(1.5)), 200))
    assert spent_epsilon(1.5, 0.05, 200, 1e-5) == accountant.get_epsilon(1e-5)
    # One step on all rows is the Gaussian mechanism.
    assert delta_of(spent_epsilon(2.0, 1.0, 1, 1e-5), 2.0) == pytest.approx(1e-5, rel=1e-3)


def delta_of(epsilon, noise):
    """The δ of the Gaussian mechanism (Balle & Wang, ICML 2018, theorem 8)."""
    a, b = 1 / (2 * noise) - epsilon * noise, -1 / (2 * noise) - epsilon * noise
    return norm.cdf(a) - np.exp(epsilon) * norm.cdf(b)


def test_the_noise_for_an_epsilon_spends_it_and_no_more():
    epsilon = 2.0
    noise = noise_for_epsilon(epsilon, 0.1, 30, 1e-5)
    assert 0.995 * epsilon < spent_epsilon(noise, 0.1, 30, 1e-5) <= epsilon


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.1, 10, 1e-5), "epsilon: expected a number above 0"),
        ((1.0, 0.0, 10, 1e-5), "sampling_rate: expected a probability"),
        ((1.0, 0.1, 0, 1e-5), "steps: expected a whole number"),
        ((1.0, 0.1, 10, 1.0), r"delta: expected a number in \(0, 1\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        noise_for_epsilon(*arguments)


def test_delta_is_far_below_one_row():
    assert usual_delta(1000) == 1e-6


CANARY_ROWS, TRAININGS = 10, 80


def audited(epsilon, *, seed):
    """The lower bound on ε that trainings with and without one extreme row prove, from the weights themselves."""
    rng = np.random.default_rng(seed)
    # Two steps on all rows are one Gaussian mechanism with less noise.
    noise = 2**0.5 * brentq(lambda one: delta_of(epsilon, one) - 1e-5, 0.05, 50)
    config = TrainConfig(epochs=2, learning_rate=1.0, decay_every=None, batch_size=CANARY_ROWS, clip_norm=1.0,
                         noise_multiplier=noise)  # fmt: skip
    features = np.zeros((CANARY_ROWS, 3), np.float32)
    features[-1] = 100.0
    labels = np.zeros(CANARY_ROWS, np.int32)
    start = [(np.zeros((3, 2), np.float32), np.zeros(2, np.float32))]
    scores, held = [], np.arange(TRAININGS) % 2 == 0
    for has_canary in held:
        part = slice(None) if has_canary else slice(-1)
        one = DenseTask(start, features[part], labels[part], config, noise_seed=int(rng.integers(2**31)))
        layers, _ = train_dense(one)
        scores.append(float(layers[0][0][:, 0].sum() - layers[0][0][:, 1].sum()))
    return epsilon_lower_bound(scores, held)


@pytest.mark.parametrize("epsilon", [1.0, 4.0, 16.0])
def test_no_attack_proves_more_than_the_guarantee(epsilon):
    bounds = [audited(epsilon, seed=seed) for seed in range(6)]
    assert max(bounds) <= epsilon


def test_the_audit_finds_a_clip_that_is_broken(monkeypatch):
    monkeypatch.setattr(private_module, "clip_factors", lambda squares, clip_norm: np.ones(len(squares), np.float32))
    assert audited(1.0, seed=0) > 1.0
