"""The one door: batches of one shape, every row asked once, answers in order."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.models import MLP
from mindefense.target import Target, forward

ROWS = np.float32(np.random.default_rng(0).normal(size=(23, 5)))


class Recorder(nn.Cell):
    """A network that keeps the shapes and modes in which it was called."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.calls = []

    def __call__(self, x):
        self.calls.append((x.shape, x.dtype, self.training))
        return self.net(x)


class Fixed(nn.Cell):
    """A network that says what it is told to, whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def __call__(self, x):
        return ms.Tensor(self.answer)


def by_hand(net, rows):
    x = np.float64(rows)
    *hidden, (w, b) = net.weights()
    for v, c in hidden:
        x = np.maximum(x @ v + c, 0)
    return x @ w + b


@pytest.mark.parametrize("batch_size", [1, 4, 22, 23, 1000])
def test_forward(batch_size):
    net = Recorder(MLP((5, 8, 3), seed=2))
    logits = forward(net, ROWS, batch_size=batch_size)
    assert (logits.shape, logits.dtype) == ((23, 3), np.float32)
    np.testing.assert_allclose(logits, by_hand(net.net, ROWS), atol=1e-5)
    # One shape, so that a graph is compiled once, and no call more than it takes.
    assert net.calls == [((batch_size, 5), ms.float32, False)] * -(-23 // batch_size)


@pytest.mark.parametrize("training", [True, False])
def test_forward_leaves_the_mode_as_it_was(training):
    net = MLP((5, 3))
    net.set_train(training)
    forward(net, ROWS)
    assert net.training == training
    with pytest.raises(InputError):
        forward(net, ROWS[:, :2])
    assert net.training == training


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.bool_])
def test_forward_takes_other_numbers(dtype):
    rows = (ROWS > 0).astype(dtype)
    net = MLP((5, 8, 3))
    np.testing.assert_array_equal(forward(net, rows), forward(net, rows.astype(np.float32)))


@pytest.mark.parametrize(
    ("net", "rows", "words"),
    [
        (MLP((5, 3)), ROWS[:0], "features: expected at least one row, got none"),
        (
            MLP((7, 3)),
            ROWS,
            r"features: expected rows that the network takes, got shape \(23, 5\) and .*; give the net",
        ),
        (MLP((5, 3)), ROWS[:, :4], r"features: expected rows that the network takes, got shape \(23, 4\) and .*"),
        (Fixed(np.float32([[0, np.nan]])), ROWS[:1], "logits of the network row 0: expected finite values, got nan"),
        (Fixed(np.float32([[0, -np.inf]])), ROWS[:1], "logits of the network row 0: expected finite values, got -inf"),
        (Fixed(np.float32([0.5])), ROWS[:1], r"logits of the network: expected shape \(N, C\)"),
        (Fixed(np.int32([[1, 2]])), ROWS[:1], "logits of the network: expected floating-point numbers"),
    ],
)
def test_forward_refuses(capfd, net, rows, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        forward(net, rows)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def asked():
    return []


@pytest.fixture
def target(asked):
    """A target that answers with the first feature, and keeps what it was asked."""

    def respond(features):
        asked.append(features.copy())
        return np.float32(np.stack((features[:, 0], -features[:, 0]), axis=1))

    return Target(respond)


def test_answers_are_log_probabilities_of_the_cell():
    net = MLP((5, 8, 3), seed=2)
    target = Target.from_cell(net, batch_size=7)
    answers = target.query(ROWS)
    assert (answers.shape, answers.dtype, target.queries) == ((23, 3), np.float32, 23)
    np.testing.assert_allclose(answers, log_softmax(by_hand(net, ROWS)), atol=1e-5)


def test_every_row_is_asked_once(target, asked):
    np.testing.assert_array_equal(target.query(ROWS[:10])[:, 0], ROWS[:10, 0])
    assert target.queries == 10
    np.testing.assert_array_equal(target.query(ROWS[5:15])[:, 0], ROWS[5:15, 0])
    assert target.queries == 15
    np.testing.assert_array_equal(target.query(ROWS[:15])[:, 0], ROWS[:15, 0])
    assert target.queries == 15
    assert [len(rows) for rows in asked] == [10, 5]
    np.testing.assert_array_equal(np.concatenate(asked), ROWS[:15])


def test_order_is_kept_among_duplicates(target, asked):
    picked = np.array([3, 3, 0, 7, 3, 0, 1])
    np.testing.assert_array_equal(target.query(ROWS[picked])[:, 0], ROWS[picked, 0])
    assert target.queries == 4
    assert len(asked[0]) == 4
    picked = np.array([7, 9, 7, 3, 9])
    np.testing.assert_array_equal(target.query(ROWS[picked])[:, 0], ROWS[picked, 0])
    assert target.queries == 5


def test_one_bit_makes_another_row(target):
    rows = ROWS[[0, 0]]
    rows.view(np.int32)[1, 4] ^= 1
    target.query(rows)
    assert target.queries == 2


def test_rows_may_be_images_and_views(target):
    images = np.float32(np.random.default_rng(0).normal(size=(4, 3, 2)))

    def respond(features):
        assert features.shape[1:] == (3, 2)
        return features.reshape(len(features), -1)

    target = Target(respond)
    np.testing.assert_array_equal(target.query(images), images.reshape(4, 6))
    np.testing.assert_array_equal(target.query(np.asfortranarray(images)[::2]), images[::2].reshape(2, 6))
    assert target.queries == 4


def test_an_answer_cannot_be_changed_from_outside(target):
    target.query(ROWS)[:] = 9
    np.testing.assert_array_equal(target.query(ROWS)[:, 0], ROWS[:, 0])


def test_a_failed_query_is_not_counted():
    target = Target.from_cell(MLP((5, 3)))
    with pytest.raises(InputError, match=r"^features"):
        target.query(ROWS[:, :4])
    assert target.queries == 0
    assert target.query(ROWS).shape == (23, 3)


def test_no_rows(target):
    with pytest.raises(InputError, match=r"^features: expected at least one row"):
        target.query(ROWS[:0])
