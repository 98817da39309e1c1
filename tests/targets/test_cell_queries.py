"""A target and its network asked again: the same answer, and every row asked once."""

import numpy as np
import pytest
from mindspore import nn, ops
from watched_cells import BYTES, ROWS, Outputs, Reader, Recorder, Scaled, by_hand

from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.models import MLP
from mindefense.targets.base import Target, clean_target
from mindefense.targets.cell import Network

MANY = np.float32(np.random.default_rng(3).normal(size=(200, 5)))


class InAList(nn.Cell):
    """Holds its dropout where `set_train` does not find it."""

    def __init__(self, training):
        super().__init__()
        self.hidden = [nn.Dropout(p=0.3)]
        self.hidden[0].set_train(training)

    def construct(self, x):
        return self.hidden[0](x)


VARYING = {
    "dropout": Outputs(lambda x: ops.dropout(x, 0.2, training=True)),
    "noise": Outputs(lambda x: x + 0.05 * ops.standard_normal(x.shape)),
    "a Cell in a list": InAList(training=True),
    "statistics of the batch": Outputs(lambda x: (x - x.mean(0)) / x.std(0)),
}


@pytest.mark.parametrize("name", VARYING)
@pytest.mark.parametrize("rows", [200, 20])
def test_a_network_that_answers_differently_the_second_time_is_refused(name, rows):
    words = "^network: expected the same answer to a repeated query, got another answer for"
    with pytest.raises(InputError, match=words) as caught:
        Network(VARYING[name]).check_repeats(MANY[:rows])
    assert "set_train(False)" in str(caught.value)


@pytest.mark.parametrize(
    "net",
    [
        MLP((5, 8, 3)),
        InAList(training=False),
        nn.SequentialCell(nn.Dense(5, 8), nn.BatchNorm1d(8), nn.Dropout(p=0.5), nn.Dense(8, 3)).set_train(True),
        Outputs(lambda x: x + 1e-6 * ops.standard_normal(x.shape)),  # rounding of a device that adds in any order
        Outputs(lambda x: 0 * x),
    ],
)
@pytest.mark.parametrize("rows", [200, 20, 1])
def test_a_network_that_repeats_itself_is_taken(net, rows):
    asked = []
    network = Network(net, on_rows=asked.append)
    network.check_repeats(MANY[:rows])
    assert sum(asked) == min(rows, 64)  # what is asked a second time is nobody's progress


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
    target = clean_target(Network(net, batch_size=7))
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
    target = clean_target(Network(MLP((5, 3))))
    with pytest.raises(InputError, match=r"^features"):
        target.query(ROWS[:, :4])
    assert target.queries == 0
    assert target.query(ROWS).shape == (23, 3)


def test_no_rows(target):
    with pytest.raises(InputError, match=r"^features: expected at least one row"):
        target.query(ROWS[:0])


def test_new_rows_are_those_not_asked_before(target):
    assert target.new(ROWS[[0, 0, 1]]) == 2
    assert (target.queries, target.new(ROWS[:3])) == (0, 3)  # asking about it is no query
    target.query(ROWS[:5])
    assert (target.new(ROWS[:5]), target.new(ROWS[3:9]), target.queries) == (0, 4, 5)


def test_a_target_prepares_its_samples():
    net, prepare = MLP((5, 8, 3), seed=2), Scaled()
    target = clean_target(Network(net, batch_size=8, prepare=prepare))
    np.testing.assert_allclose(target.query(BYTES), log_softmax(by_hand(net, BYTES / 255)), atol=1e-5)
    target.query(BYTES[::-1])
    assert (target.queries, prepare.given) == (23, [8, 8, 7])


def test_a_network_gives_each_sample_to_the_cell_once():
    cell, counted = Reader(MLP((5, 8, 3), seed=2)), []
    prepare = Scaled()
    network = Network(cell, prepare=prepare, batch_size=1, on_rows=counted.append)
    assert network.cell is cell
    assert (network.prepare, network.batch_size) == (prepare, 1)
    expected = by_hand(cell.net, BYTES / 255)
    for rows, new in ((np.arange(9), 9), (np.array([3, 3, 12, 0, 12, 8]), 1), (np.arange(23)[::-1], 13), ([5], 0)):
        assert network.new(BYTES[rows]) == new
        logits = network.logits(BYTES[rows])
        assert (logits.shape, logits.dtype) == ((len(rows), 3), np.float32)
        np.testing.assert_allclose(logits, expected[rows], atol=1e-5)
    assert counted == [1] * 23
    assert sorted(cell.rows) == sorted((np.float32(BYTES) / 255).tolist())


def test_a_network_counts_no_padding():
    cell, counted = Recorder(MLP((5, 3))), []
    Network(cell, batch_size=8, on_rows=counted.append).logits(ROWS)
    assert (counted, [shape for shape, *_ in cell.calls]) == ([8, 8, 7], [(8, 5)] * 3)


def test_logits_cannot_be_changed_from_outside():
    network = Network(MLP((5, 3)))
    first = network.logits(ROWS).copy()
    network.logits(ROWS)[:] = 9
    np.testing.assert_array_equal(network.logits(ROWS), first)


def test_a_network_asked_nothing():
    with pytest.raises(InputError, match=r"^features: expected at least one row"):
        Network(MLP((5, 3))).logits(ROWS[:0])
