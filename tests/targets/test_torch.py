"""A live PyTorch module as a target, against the same weights in a MindSpore Cell."""

import dataclasses

import numpy as np
import pytest

from mindefense.confidence import softmax
from mindefense.data import from_datasets
from mindefense.defenses import fit_defenmi
from mindefense.errors import InputError
from mindefense.evaluation import evaluate
from mindefense.targets import TorchTarget, model_of
from mindefense.training import PUBLISHED_DEFENDER

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch is an extra")

CLASSES, N = 4, 200


def rows(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (N, 6)).astype(np.float32), rng.integers(CLASSES, size=N)


MEMBERS, OTHERS = rows(0), rows(1)


@pytest.fixture(scope="module")
def data_and_split():
    return from_datasets(MEMBERS, OTHERS, num_classes=CLASSES, name="rows", synthetic=True)


@pytest.fixture(scope="module")
def trained():
    """A network that knows its rows by heart, with dropout and batch normalization."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        *(torch.nn.Linear(6, 128), torch.nn.BatchNorm1d(128), torch.nn.ReLU()),
        *(torch.nn.Dropout(0.1), torch.nn.Linear(128, CLASSES)),
    )
    features, labels = torch.tensor(MEMBERS[0]), torch.tensor(MEMBERS[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(features), labels).backward()
        optimizer.step()
    return net


def test_every_attacker_of_a_cell_runs_on_a_module(trained, data_and_split):
    data, split = data_and_split
    train = dataclasses.replace(PUBLISHED_DEFENDER, epochs=4)
    defense = fit_defenmi(trained, data, split, train=train)
    found = evaluate(
        TorchTarget(trained), data, split, defense=defense,
        attacks=("confidence", "shokri-label", "stacked", "label-noise", "averaging-8"),
    )  # fmt: skip
    assert found.undefended.level == "leak"
    assert found.target.member_accuracy > found.target.non_member_accuracy + 0.3
    assert found.defense.defended.label_changes == 0
    assert found.evidence.network == "Sequential"
    assert found.evidence.parameters == sum(parameter.numel() for parameter in trained.parameters())
    assert len(found.evidence.digests["parameters"]) == 64
    there = {(one.name, one.adversary, one.defended) for one in found.attacks}
    assert {("label-noise", "static", False), ("stacked", "adaptive", True), ("averaging-8", "adaptive", True)} <= there


def test_answers_are_those_of_the_module_in_evaluation_mode(trained):
    trained.train()
    target = TorchTarget(trained, batch_size=64)
    logits = target.logits(MEMBERS[0])
    assert trained.training  # left as it was
    trained.eval()
    with torch.no_grad():
        expected = trained(torch.tensor(MEMBERS[0])).numpy()
    trained.train()
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert logits.dtype == np.float32


def test_the_digest_is_of_the_weights(trained):
    target = TorchTarget(trained)
    before = target.digest()
    assert model_of(trained).digest() == before
    with torch.no_grad():
        trained[0].bias[0] += 1
    assert target.digest() != before
    with torch.no_grad():
        trained[0].bias[0] -= 1


class Softmax(torch.nn.Module):
    def forward(self, x):
        return torch.softmax(x[:, :CLASSES], dim=1)


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


class Noisy(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x[:, :CLASSES])


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Softmax(), "leave the softmax out of the module"),
        (Pair(), "one that returns its logits alone"),
        (torch.nn.Linear(7, 4), "expected rows that the network takes, got shape (200, 6)"),
        (torch.nn.Linear(6, 1), "one number a sample"),
        (Noisy(), "F.dropout(x) without training=self.training"),
    ],
)
def test_what_gives_no_logits_is_one_line(module, words, data_and_split):
    with pytest.raises(InputError) as caught:
        evaluate(module, *data_and_split, attacks=("confidence",))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [torch.nn.Linear, np.zeros(3), "net.pt"])
def test_what_is_no_module_is_refused(given):
    with pytest.raises(InputError, match=r"a torch\.nn\.Module"):
        TorchTarget(given)


def test_probabilities_agree_with_a_function_of_the_module(trained, data_and_split):
    trained.eval()

    def probs(features):
        with torch.no_grad():
            return torch.softmax(trained(torch.tensor(features)), dim=1).numpy()

    np.testing.assert_allclose(softmax(model_of(probs).logits(OTHERS[0])), softmax(model_of(trained).logits(OTHERS[0])),
                               atol=1e-5)  # fmt: skip
