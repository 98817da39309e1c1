"""`DefendedModel`: keyed noise, the same query the same answer, in both of its ways."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from toy_defenses import l1, softmax, toy_defense

from mindefense.defenses import DefendedModel, Defense, LabelOnly, LaplaceOutput, MemGuardBudget, TopK, defended_target
from mindefense.errors import InputError
from mindefense.images import ImageTransform
from mindefense.keyed_noise import keyed_laplace, keyed_uniform
from mindefense.models import MLP
from mindefense.targets.cell import Network, forward

KEY = b"a secret of the owner of the model"
FEATURES = np.float32(np.random.default_rng(0).normal(size=(24, 6)))


@pytest.fixture(scope="module")
def net():
    return MLP((6, 16, 3), seed=3)


@pytest.fixture(scope="module", params=["defenmi", "memguard"])
def defended(request, net):
    # A small c3 for MemGuard: see test_construct.
    c3 = {"c3_first": 1e-4, "threshold": 1e-3} if request.param == "memguard" else {}
    return DefendedModel(net, toy_defense(request.param, "corrected", 3, max_iterations=100, **c3), key=KEY)


@pytest.fixture(scope="module")
def answered(defended):
    """What the Cell says of all rows at once."""
    return defended(ms.Tensor(FEATURES)).asnumpy()


def test_answers_are_log_probabilities(defended, answered, net):
    assert (answered.shape, answered.dtype) == ((24, 3), np.float32)
    np.testing.assert_allclose(np.exp(np.float64(answered)).sum(axis=1), 1, atol=1e-5)
    clean = forward(net, FEATURES)
    np.testing.assert_array_equal(answered.argmax(axis=1), clean.argmax(axis=1))
    assert (l1(np.exp(answered), softmax(clean)) > 1e-2).mean() > 0.5  # it does something


def test_same_query_same_answer(defended, answered):
    np.testing.assert_array_equal(defended(ms.Tensor(FEATURES)).asnumpy(), answered)


def test_a_row_alone_gets_the_answer_it_gets_in_company(defended, answered):
    alone = defended(ms.Tensor(FEATURES[9:10])).asnumpy()
    np.testing.assert_allclose(np.exp(alone), np.exp(answered[9:10]), atol=1e-4)


def test_responses_do_not_depend_on_the_company(defended):
    together = defended.respond(FEATURES)
    alone = np.concatenate([defended.respond(row[None]) for row in FEATURES])
    np.testing.assert_array_equal(alone, together)
    np.testing.assert_array_equal(defended.respond(FEATURES[::-1]), together[::-1])


def test_both_ways_agree(defended, answered):
    finished = []
    responded = defended.respond(FEATURES, on_progress=finished.append)
    assert (responded.shape, responded.dtype, sum(finished)) == ((24, 3), np.float32, 24)
    assert (l1(np.exp(responded), np.exp(answered)) < 1e-3).mean() >= 0.9


def test_predicts_within_a_mindspore_model(defended, answered):
    predicted = ms.train.Model(defended).predict(ms.Tensor(FEATURES)).asnumpy()
    np.testing.assert_allclose(np.exp(predicted), np.exp(answered), atol=1e-4)


def test_answers_depend_on_the_key(defended, net):
    def respond(key):
        return DefendedModel(net, defended.defense, key=key).respond(FEATURES)

    mine, again, other = respond(KEY), respond(KEY), respond(b"another")
    np.testing.assert_array_equal(mine, again)
    drawn, drawn_again = respond(None), respond(None)
    if defended.defense.name == "memguard":  # no noise, hence nothing to key
        np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(mine, drawn)
    else:
        for one, two in ((mine, other), (mine, drawn), (drawn, drawn_again)):
            assert (l1(np.exp(one), np.exp(two)) > 1e-3).mean() > 0.5


def test_noise_is_on_the_input(net):
    # What the driver gets is what the paper says: clean logits of x, start logits of x + Laplace(Δ/ε).
    defense = toy_defense("defenmi", "corrected", 3, delta=3.0, epsilon=2.0, max_iterations=60)
    noised = FEATURES + keyed_laplace(FEATURES, 1.5, KEY)
    expected = defense.reshape(np.float32(softmax(forward(net, FEATURES))), forward(net, noised))
    np.testing.assert_allclose(np.exp(DefendedModel(net, defense, key=KEY).respond(FEATURES)), expected, atol=1e-5)


def test_labels_are_those_of_the_logits():
    # Two logits so near each other that their probabilities are the same in float32.
    net = MLP((6, 3))
    near = np.float32(0.03)
    net.load_weights([(np.zeros((6, 3), np.float32), np.float32([near, np.nextafter(near, np.float32(1)), -3]))])
    clean = forward(net, FEATURES)
    assert set(clean.argmax(axis=1)) == {1}
    assert set(np.float32(softmax(clean)).argmax(axis=1)) == {0}
    for name in ("defenmi", "memguard"):
        defended = DefendedModel(net, toy_defense(name, "corrected", 3, max_iterations=20), key=KEY)
        assert set(defended.respond(FEATURES).argmax(axis=1)) == {1}


class Watched(nn.Cell):
    """A network that tells of every batch it is given."""

    def __init__(self, net, events):
        super().__init__()
        self.net = net
        self.events = events

    def __call__(self, x):
        self.events.append("given")
        return self.net(x)


class Watching:
    """Images on their way, told of one batch at a time."""

    def __init__(self, events):
        self.events = events

    def batches(self, samples, batch_size, **settings):
        for batch in ImageTransform(16).batches(samples, batch_size, **settings):
            self.events.append("made")
            yield batch


IMAGES = np.random.default_rng(5).integers(256, size=(12, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def ready():
    """The images as the network is given them."""
    (batch,) = ImageTransform(16).batches(IMAGES, 12)
    return batch


@pytest.fixture(scope="module")
def classifies_images():
    rng = np.random.default_rng(8)
    weight = ms.Tensor(np.float32(rng.normal(size=(3, 768)) / 20))
    return nn.SequentialCell(nn.Flatten(), nn.Dense(768, 3, weight_init=weight))


def defends_images(net, name="defenmi", **feed):
    # Little noise: 768 features of scale 2 would drown every image.
    noise = {"delta": 0.1, "epsilon": 1.0} if name == "defenmi" else {}
    defense = toy_defense(name, "corrected", 3, max_iterations=40, **noise)
    return DefendedModel(net, defense, key=KEY, **{"prepare": ImageTransform(16), "batch_size": 5, **feed})


def test_responses_to_images_do_not_depend_on_the_company(classifies_images):
    defended = defends_images(classifies_images)
    together = defended.respond(IMAGES)
    assert (together.shape, together.dtype) == ((12, 3), np.float32)
    np.testing.assert_array_equal(np.concatenate([defended.respond(image[None]) for image in IMAGES]), together)
    np.testing.assert_array_equal(defended.respond(IMAGES[::-1]), together[::-1])
    np.testing.assert_array_equal(defends_images(classifies_images).respond(IMAGES), together)
    changed = DefendedModel(classifies_images, defended.defense, key=b"another", prepare=ImageTransform(16))
    assert (l1(np.exp(changed.respond(IMAGES)), np.exp(together)) > 1e-3).mean() > 0.5


def test_noise_is_on_the_prepared_input(classifies_images, ready):
    # As the network is given it, and keyed on it: what looks the same to the network is the same query.
    defended = defends_images(classifies_images)
    noised = ready + keyed_laplace(ready, 0.1, KEY)
    clean = np.float32(softmax(forward(classifies_images, ready)))
    expected = defended.defense.reshape(clean, forward(classifies_images, noised))
    np.testing.assert_allclose(np.exp(defended.respond(IMAGES)), expected, atol=1e-5)
    assert l1(expected, defended.defense.reshape(clean, forward(classifies_images, ready))).max() > 1e-3


class Moded(nn.Cell):
    """A network that keeps the modes in which it was called."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.modes = set()

    def __call__(self, x):
        self.modes.add(ms.get_context("mode"))
        return self.net(x)


def test_large_networks_are_compiled(classifies_images):
    net = Moded(classifies_images)
    expected = defends_images(net).respond(IMAGES)
    assert net.modes == {ms.get_context("mode")} == {ms.PYNATIVE_MODE}
    net.modes.clear()
    np.testing.assert_array_equal(defends_images(net, as_graph=True).respond(IMAGES), expected)
    assert net.modes == {ms.GRAPH_MODE}


@pytest.mark.parametrize(("name", "passes"), [("defenmi", 2), ("memguard", 1)])
def test_logits_that_are_known_are_not_computed_again(classifies_images, name, passes):
    counted = []
    defended = defends_images(classifies_images, name, on_rows=counted.append)
    expected = defended.respond(IMAGES)
    assert counted == [5, 5, 2] * passes
    counted.clear()
    logits = forward(classifies_images, IMAGES, prepare=ImageTransform(16), batch_size=5)
    np.testing.assert_array_equal(defended.respond(IMAGES, clean_logits=logits), expected)
    assert counted == [5, 5, 2] * (passes - 1)
    # They are believed: another class on top is another answer.
    turned = defended.respond(IMAGES, clean_logits=np.roll(logits, 1, axis=1))
    np.testing.assert_array_equal(turned.argmax(axis=1), (logits.argmax(axis=1) + 1) % 3)


def test_noise_is_drawn_batch_by_batch(classifies_images):
    # A batch is with the network before the next one is made, so that memory does not grow with the images.
    events = []
    defended = defends_images(Watched(classifies_images, events), prepare=Watching(events))
    defended.respond(IMAGES)
    assert events == ["made", "given"] * 6


def test_respond_takes_float64_like_float32(defended):
    np.testing.assert_array_equal(defended.respond(np.float64(FEATURES)), defended.respond(FEATURES))


# ---------------------------------------------------------------------- what a defense needs, and no more


class Counted(nn.Cell):
    """A network that counts the rows it is given."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.rows = 0

    def __call__(self, x):
        self.rows += len(x)
        return self.net(x)


QUICK = {
    "label-only": lambda: LabelOnly(),
    "top-2": lambda: TopK(2),
    "laplace-output": lambda: LaplaceOutput(0.2, 3),
    "memguard-budget": lambda: MemGuardBudget(toy_defense("memguard", "corrected", 3, max_iterations=20), 0.1),
    "defenmi": lambda: toy_defense("defenmi", "corrected", 3, max_iterations=20),
}
quick = pytest.mark.parametrize("name", QUICK)


class Noised(Defense):
    """The answer to a noised input: the smallest defense with a noise scale."""

    name = "noised"
    keeps_labels = False
    noise_scale = 0.5

    def transform_numpy(self, clean_probs, start_logits, draws):
        return np.float32(softmax(start_logits))

    def construct(self, clean_logits, second):
        return ops.log_softmax(second)


@pytest.mark.parametrize("make", [QUICK["label-only"], QUICK["top-2"], QUICK["laplace-output"], Noised])
def test_cell_runs_the_network_once_unless_the_input_is_noised(net, make):
    counted = Counted(net)
    defended = DefendedModel(counted, make(), key=KEY)
    answered = defended(ms.Tensor(FEATURES)).asnumpy()
    assert counted.rows == len(FEATURES) * (2 if make is Noised else 1)
    assert l1(np.exp(answered), np.exp(defended.respond(FEATURES))).max() < 1e-5


@quick
@pytest.mark.parametrize("noise", ["keyed", "fresh"])
def test_again(net, name, noise):
    defended = DefendedModel(net, QUICK[name](), key=KEY, noise=noise)
    first, second, third = (defended.respond(FEATURES, again=again) for again in range(3))
    np.testing.assert_array_equal(first, DefendedModel(net, defended.defense, key=KEY).respond(FEATURES))
    np.testing.assert_array_equal(defended.respond(FEATURES[::-1], again=1)[::-1], second)
    for one, other in ((first, second), (first, third), (second, third)):
        varied = (one != other).any(axis=1).mean()
        assert varied > 0.1 if noise == "fresh" and defended.defense.is_random else varied == 0


@pytest.mark.parametrize(("noise", "times"), [("keyed", (0, 0)), ("fresh", (1, 2))])
def test_fresh_cells_count_their_calls(net, noise, times):
    defended = DefendedModel(net, LaplaceOutput(0.2, 3), key=KEY, noise=noise)
    for again in (0, *times):
        answered = defended(ms.Tensor(FEATURES)).asnumpy()
        np.testing.assert_allclose(answered, defended.respond(FEATURES, again=again), atol=1e-4)


def test_draws_are_not_those_of_the_noise(net):
    # With one stream for both, who knew the draws would know the noise.
    defense = LaplaceOutput(0.2, 3)
    clean = np.float32(softmax(forward(net, FEATURES)))
    answered = np.exp(DefendedModel(net, defense, key=KEY).respond(FEATURES))
    same_stream = defense.reshape(clean, draws=keyed_uniform(FEATURES, 3, KEY))
    assert (l1(answered, same_stream) > 1e-3).mean() > 0.8


def test_draws_are_keyed_on_the_prepared_input(classifies_images, ready):
    def respond(samples, **feed):
        model = DefendedModel(classifies_images, LaplaceOutput(0.2, 3), key=KEY, batch_size=5, **feed)
        return model.respond(samples)

    np.testing.assert_array_equal(respond(IMAGES, prepare=ImageTransform(16)), respond(ready))


@quick
@pytest.mark.parametrize("noise", ["keyed", "fresh"])
def test_target_of_a_defended_network(net, name, noise):
    counted, finished = Counted(net), []
    network, defense = Network(counted, batch_size=24), QUICK[name]()
    target = defended_target(network, defense, key=KEY, noise=noise, on_progress=finished.append)
    clean = network.logits(FEATURES)
    labels = target.labels(FEATURES)
    assert (counted.rows == 24) == (defense.noise_scale == 0 or defense.keeps_labels)
    assert (finished == []) == defense.keeps_labels
    answered = target.query(FEATURES)
    np.testing.assert_array_equal(answered, DefendedModel(net, defense, key=KEY).respond(FEATURES))
    np.testing.assert_array_equal(labels, answered.argmax(axis=1))
    assert sum(finished) == 24
    assert counted.rows == 24 * (2 if defense.noise_scale else 1)
    assert target.varies == (noise == "fresh" and defense.is_random)
    again = target.query(FEATURES, again=1)
    assert (again != answered).any() == target.varies
    np.testing.assert_array_equal(network.logits(FEATURES), clean)


def test_labels_of_a_defense_that_does_not_keep_them(net):
    network = Network(net)
    target = defended_target(network, LaplaceOutput(2.0, 3), key=KEY)
    assert (target.labels(FEATURES) != network.logits(FEATURES).argmax(axis=1)).any()


def test_bad_arguments(net):
    for make in (lambda: DefendedModel(net, LabelOnly(), noise="none"),
                 lambda: defended_target(Network(net), LabelOnly(), key=KEY, noise="none")):  # fmt: skip
        with pytest.raises(InputError, match=r"^noise: expected keyed or fresh, got 'none'"):
            make()
    with pytest.raises(InputError, match=r"^again: expected 0 or more, got -1"):
        DefendedModel(net, LabelOnly()).respond(FEATURES, again=-1)
