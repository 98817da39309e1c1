"""Rows through a network: batches of one shape, answers in order, and what is no row of logits for each sample."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from watched_cells import BYTES, ROWS, Outputs, Reader, Recorder, Scaled, by_hand

from mindefense.errors import InputError
from mindefense.models import MLP
from mindefense.targets.base import Identity
from mindefense.targets.cell import Network, forward


class Fixed(nn.Cell):
    """A network that says what it is told to of every row, whatever it is asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def __call__(self, x):
        return ms.Tensor(np.repeat(self.answer, len(x), axis=0))


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


def test_forward_prepares_rows():
    net, prepare = MLP((5, 8, 3), seed=2), Scaled()
    logits = forward(net, BYTES, prepare=prepare, batch_size=8)
    np.testing.assert_allclose(logits, by_hand(net, BYTES / 255), atol=1e-5)
    assert prepare.given == [8, 8, 7]


def test_forward_adds_noise_to_what_the_network_is_given():
    net, noised, counted = Reader(MLP((5, 3), seed=2)), [], []

    def noise(inputs):
        noised.append(inputs.copy())
        return inputs**2

    logits = forward(net, BYTES, prepare=Scaled(), noise=noise, batch_size=8, on_rows=counted.append)
    inputs = np.float32(BYTES) / 255
    np.testing.assert_allclose(logits, by_hand(net.net, inputs + inputs**2), atol=1e-5)
    # What fills up the last batch is seen by the network alone.
    assert counted == [len(batch) for batch in noised] == [8, 8, 7]
    np.testing.assert_array_equal(np.concatenate(noised), inputs)
    np.testing.assert_array_equal(np.float32(net.rows), np.vstack((inputs + inputs**2, (inputs + inputs**2)[-1:])))


def test_forward_works_batch_by_batch():
    # A batch is with the network before the next one is made, so that memory does not grow with the rows.
    net, prepare, seen = MLP((5, 3)), Scaled(), []
    forward(
        net,
        BYTES,
        prepare=prepare,
        noise=lambda inputs: seen.append(("noise", list(prepare.given))) or 0 * inputs,
        batch_size=8,
        on_rows=lambda rows: seen.append(("answer", list(prepare.given))),
    )
    made = [[8], [8, 8], [8, 8, 7]]
    assert seen == [(what, given) for given in made for what in ("noise", "answer")]


class Moded(nn.Cell):
    """A network that keeps the modes in which it was called."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.modes = []

    def __call__(self, x):
        self.modes.append(ms.get_context("mode"))
        return self.net(x)


@pytest.mark.parametrize("outside", [ms.PYNATIVE_MODE, ms.GRAPH_MODE])
def test_a_graph_gives_the_same_bits(outside):
    before = ms.get_context("mode")
    net, modes = Moded(MLP((5, 8, 3), seed=2)), []
    try:
        ms.set_context(mode=ms.PYNATIVE_MODE)
        expected = forward(net.net, ROWS, batch_size=8)
        ms.set_context(mode=outside)
        got = forward(net, ROWS, batch_size=8, as_graph=True, on_rows=lambda _: modes.append(ms.get_context("mode")))
        forward(net, ROWS, batch_size=8)
        assert ms.get_context("mode") == outside
        assert modes == [outside] * 3  # compiled is what the network does alone
        assert net.modes == [ms.GRAPH_MODE] * 3 + [outside] * 3
        network = Network(net, batch_size=8, as_graph=True)
        np.testing.assert_array_equal(network.logits(ROWS), expected)
        assert net.modes[6:] == [ms.GRAPH_MODE] * 3
    finally:
        ms.set_context(mode=before)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("order", [None, np.array([4, 4, 22, 0, 9])])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
@pytest.mark.parametrize("samples", [ROWS, BYTES, np.float64(ROWS)])
def test_samples_as_they_are(order, batch_size, samples):
    batches = list(Identity().batches(samples, batch_size, order=order))
    wanted = np.float32(samples if order is None else samples[order])
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (-(-len(wanted) // batch_size) - 1)
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate(batches), wanted)


@pytest.mark.parametrize("seed", [0, 7])
def test_samples_as_they_are_cannot_be_varied(seed):
    with pytest.raises(InputError, match=r"^augment: expected images, to crop and flip, got samples of another kind$"):
        list(Identity().batches(ROWS, 8, augment_seed=seed))


@pytest.mark.parametrize(
    ("net", "rows", "words"),
    [
        (MLP((5, 3)), ROWS[:0], "features: expected at least one row, got none"),
        (
            MLP((7, 3)),
            ROWS,
            r"features: expected rows that the network takes, got shape \(23, 5\) and .*; use the net",
        ),
        (MLP((5, 3)), ROWS[:, :4], r"features: expected rows that the network takes, got shape \(23, 4\) and .*"),
        (Fixed(np.float32([[0, np.nan]])), ROWS[:1], "logits of the network row 0: expected finite values, got nan"),
        (Fixed(np.float32([[0, -np.inf]])), ROWS[:1], "logits of the network row 0: expected finite values, got -inf"),
        (Fixed(np.float32([[[0.5]]])), ROWS[:1], r"logits of the network: expected shape \(N, C\)"),
        (Fixed(np.int32([[1, 2]])), ROWS[:1], "logits of the network: expected floating-point numbers"),
    ],
)
def test_forward_refuses(capfd, net, rows, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        forward(net, rows)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class _Refuses:
    """A preparation that takes no samples."""

    def batches(self, samples, batch_size, *, order=None, augment_seed=None):
        raise InputError("images", expected="uint8", got="float32")
        yield


class _Fails(nn.Cell):
    """Fails without a word, as an allocation may."""

    def construct(self, x):
        raise RuntimeError


def test_what_a_preparation_refuses_is_not_blamed_on_the_network():
    with pytest.raises(InputError, match=r"^images: expected uint8, got float32$"):
        forward(MLP((2, 2)), np.zeros((1, 2), np.float32), prepare=_Refuses())


def test_a_wordless_failure_is_named_by_its_kind():
    with pytest.raises(InputError, match=r"got shape .1, 2. and RuntimeError; .*smaller batches"):
        forward(_Fails(), np.zeros((1, 2), np.float32))


# ---------------------------------------------------------------------- what is no row of logits for each sample


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        (lambda x: ops.repeat_interleave(x, 2, 0), r"\(16, 5\)"),  # two crops of each sample
        (lambda x: x.mean(0, keep_dims=True), r"\(1, 5\)"),
        (lambda x: x.mean(0), r"\(5,\)"),
        (lambda x: x.mean(), r"\(\)"),
        (lambda x: x[:-1], r"\(7, 5\)"),
    ],
)
@pytest.mark.parametrize("rows", [8, 11, 3])
def test_answers_about_other_rows_than_asked_are_refused(change, shape, rows):
    words = f"answer of the network: expected one row of logits for each of the 8 samples .*, got shape {shape}; "
    with pytest.raises(InputError, match=f"^{words}"):
        forward(Outputs(change), ROWS[:rows], batch_size=8)


@pytest.mark.parametrize("change", [lambda x: x[:, :1], lambda x: x[:, 0]])
def test_one_output_a_sample_is_refused_and_the_advice_works(change):
    with pytest.raises(InputError, match="one number a sample; of the logit z of class 1 answer") as caught:
        Network(Outputs(change)).logits(ROWS)
    assert "\n" not in str(caught.value)

    class Wrapped(nn.Cell):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def construct(self, x):
            z = self.net(x).reshape(-1)
            return ops.stack((0 * z, z), axis=1)

    assert "ops.stack((0 * z, z), axis=1), where z = net(x).reshape(-1)" in str(caught.value)
    logits = Network(Wrapped(Outputs(change))).logits(ROWS)
    np.testing.assert_array_equal(logits, np.stack((0 * ROWS[:, 0], ROWS[:, 0]), axis=1))
    with pytest.raises(InputError, match="from before a sigmoid"):
        Network(Wrapped(Outputs(lambda x: ops.sigmoid(change(x))))).logits(ROWS)


def test_one_output_is_right_for_a_network_that_tells_members():
    assert forward(MLP((5, 1)), ROWS).shape == (23, 1)


def test_a_sigmoid_for_each_class_is_refused_and_the_advice_works():
    def sigmoid(x):
        return ops.sigmoid(4 * x)

    with pytest.raises(InputError, match=r"^logits of the network: expected values from before a sigmoid") as caught:
        forward(Outputs(sigmoid), ROWS)
    assert "answer ops.log(p / (1 - p)) of its p, clipped to 1e-7 … 1 - 1e-7" in str(caught.value)

    def undone(x):
        p = ops.clamp(sigmoid(x), 1e-7, 1 - 1e-7)
        return ops.log(p / (1 - p))

    np.testing.assert_allclose(forward(Outputs(undone), ROWS), 4 * ROWS, atol=1e-2)
    forward(Outputs(undone), 100 * ROWS)  # where p is 0 or 1 in float32


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (lambda x: 0 * x, 23),  # a network that was never trained
        (lambda x: 3 * ops.sigmoid(x), 23),
        (lambda x: ops.sigmoid(x) - 0.4, 23),
        (ops.sigmoid, 7),  # it may be chance
    ],
)
def test_logits_that_no_sigmoid_can_have_made_are_taken(change, rows):
    assert forward(Outputs(change), ROWS[:rows]).shape == (rows, 5)
