"""How much does your own network reveal about its training images, and what does DefenMI change?

python examples/your_model.py                       trains the network below on made-up images, then attacks it
python examples/your_model.py --pre_trained X.ckpt  loads the weights of an earlier training of YourNet

For your own model, copy this file, replace `YourNet` by your Cell, make `pipelines` return your images (those that
the checkpoint was trained on, and others from the same source), and remove ``synthetic=True`` in `prepare`.
"""

import argparse
import sys

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore import nn

from mindefense import LabelledData, TrainConfig, evaluate, fit_defenmi, from_datasets, save_evaluation
from mindefense.checkpoint import load_checkpoint, load_into
from mindefense.data import Split
from mindefense.errors import MindefenseError
from mindefense.files import check_writable

CLASSES, SIDE = 5, 16
MEMBERS, OTHERS = 200, 400
QUICK_ATTACKS = ("confidence", "mindarmour-lr", "shokri-label")
QUICK_TRAINING = TrainConfig(epochs=40, learning_rate=0.05, decay_every=None, loss="sigmoid")
"""Training of the defender's classifier; the published training, the default of `fit_defenmi`, takes longer."""


class YourNet(nn.Cell):
    """Images ``(N, 1, 16, 16)`` to logits ``(N, 5)``, without a softmax, which the loss adds in training."""

    def __init__(self):
        """Layers with random weights."""
        super().__init__()
        self.features = nn.SequentialCell(
            nn.Conv2d(1, 16, 3, stride=2, has_bias=True), nn.ReLU(), nn.Flatten(), nn.Dropout(p=0.1)
        )
        self.head = nn.SequentialCell(nn.Dense(16 * (SIDE // 2) ** 2, 64), nn.ReLU(), nn.Dense(64, CLASSES))

    def construct(self, image):
        """The logits."""
        return self.head(self.features(image))


def pipelines() -> tuple[ds.Dataset, ...]:
    """Images that the network is trained on, and others from the same source, both through the same steps.

    These are made up: a pattern for each class with so much noise that the network misclassifies some other images.
    They are the same in every run: if the members of a checkpoint changed, the evaluation would miss a leak.
    """
    rng = np.random.default_rng(0)
    signs = rng.normal(size=(CLASSES, 1, SIDE // 4, SIDE // 4)).repeat(4, axis=2).repeat(4, axis=3)
    label = rng.integers(CLASSES, size=MEMBERS + OTHERS).astype(np.int32)
    image = (signs[label] / 8 + rng.normal(size=(len(label), 1, SIDE, SIDE))).astype(np.float32)
    return tuple(
        ds.NumpySlicesDataset({"image": image[part], "label": label[part]}, shuffle=False).batch(50)
        for part in (slice(0, MEMBERS), slice(MEMBERS, None))
    )


def train(net: nn.Cell, images: ds.Dataset, *, epochs: int) -> None:
    """Trains until the network has memorized the images, as many networks do."""
    optimizer = nn.Momentum(net.trainable_params(), learning_rate=0.05, momentum=0.9)
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    ms.Model(net, loss, optimizer).train(epochs, images, dataset_sink_mode=False)


def parse_args() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pre_trained", metavar="CKPT", help="weights of YourNet (default: train it first)")
    parser.add_argument("--out", default="runs/your_model", metavar="DIR", help="folder for the files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the training and the attackers")
    parser.add_argument("--smoke", action="store_true", help="few attackers; the result proves nothing")
    return parser.parse_args()


def prepare(args: argparse.Namespace) -> tuple[nn.Cell, LabelledData, Split]:
    """A network from its checkpoint, the images, and their split."""
    ms.set_seed(args.seed)
    inside, outside = pipelines()
    checkpoint = args.pre_trained
    if checkpoint is None:
        checkpoint = str(check_writable(args.out) / "your_net.ckpt")
        net = YourNet()
        train(net, inside, epochs=15)
        ms.save_checkpoint(net, checkpoint)
        print(f"trained YourNet and wrote {checkpoint}")
    net = YourNet()
    # Unlike ms.load_param_into_net, raises an error if the file does not fit, so no weight stays random.
    load_into(net, load_checkpoint(checkpoint))
    data, split = from_datasets(inside, outside, num_classes=CLASSES, name="made-up images", synthetic=True)
    return net, data, split


def main() -> None:
    """Attacks, defends, attacks again, reports."""
    args = parse_args()
    net, data, split = prepare(args)
    attacks = QUICK_ATTACKS if args.smoke else None
    defense = fit_defenmi(net, data, split, train=QUICK_TRAINING)
    found = evaluate(net, data, split, attacks=attacks, defense=defense, seed=args.seed)
    for state, verdict in (("undefended", found.undefended), ("behind DefenMI", found.defended)):
        assert verdict is not None
        best = verdict.strongest
        accuracy = best.metrics.balanced_accuracy
        print(f"{state}: {best.name} ({best.adversary}) has a balanced accuracy of {accuracy:.3f}")
    for check in found.checks:
        if not check.passed:
            print(f"failed check: {check.found} {check.advice}")
    print("wrote", *save_evaluation(found, args.out))


if __name__ == "__main__":
    try:
        main()
    except MindefenseError as error:
        sys.exit(f"your_model.py: error: {error}")
