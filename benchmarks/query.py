"""Does anything but the network cost time when a target is asked about images?

Measures in one process, in turns, images a second of the bare network (the same prepared batch over and over) and of
the whole way: read the records, resize, scale and normalize them, ask the network, remember the answers. Prints the
ratio of the two, and the peak memory of a process that asks about N and about N / 2 images.

python benchmarks/query.py --data_path data/cifar-100-binary
python benchmarks/query.py --data_path data/cifar-100-binary --image_size 224 --num_images 256
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import mindspore as ms
import numpy as np

from mindefense.data import load_cifar100
from mindefense.images import ImageTransform
from mindefense.models import vgg16
from mindefense.runtime import compiled, use_device
from mindefense.targets.cell import Network

ROUNDS = 10


def seconds_of_the_bare_network(net: ms.nn.Cell, inputs: np.ndarray, batches: int) -> float:
    """The same batch, `batches` times."""
    began = time.perf_counter()
    with compiled():
        for _ in range(batches):
            net(ms.Tensor(inputs)).asnumpy()
    return time.perf_counter() - began


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", required=True, help="folder of CIFAR-100")
    parser.add_argument("--num_images", type=int, default=10_000, help="images in all (default: 10000)")
    parser.add_argument("--image_size", type=int, default=32, help="input of the network (default: 32)")
    parser.add_argument("--batch_size", type=int, default=64, help="images at a time (default: 64)")
    parser.add_argument("--width_multiplier", type=float, default=1.0, help="share of the widths (default: 1)")
    parser.add_argument("--device_target", default="auto", help="device (default: auto)")
    parser.add_argument("--memory_only", action="store_true", help="ask once and print the peak memory")
    args = parser.parse_args()
    device = use_device(args.device_target)
    transform = ImageTransform(args.image_size)
    net = vgg16(100, args.image_size, width_multiplier=args.width_multiplier).set_train(False)
    images = load_cifar100(args.data_path).features[: args.num_images]
    if args.memory_only:
        Network(net, prepare=transform, batch_size=args.batch_size, as_graph=True).logits(images)
        peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        print(int(peak.group(1)) // 1024 if peak else -1)
        return
    inputs = next(transform.batches(images, args.batch_size))
    seconds_of_the_bare_network(net, inputs, 3)
    bare, whole = [], []
    # In whole batches, so that both do the same work; in turns, since a machine is not equally fast all the time.
    chunk = max(1, len(images) // args.batch_size // ROUNDS) * args.batch_size
    for first in range(0, len(images) - chunk + 1, chunk):
        bare.append(seconds_of_the_bare_network(net, inputs, chunk // args.batch_size))
        began = time.perf_counter()
        read = load_cifar100(args.data_path).features[first : first + chunk] if not first else images[first:][:chunk]
        Network(net, prepare=transform, batch_size=args.batch_size, as_graph=True).logits(read)
        whole.append(time.perf_counter() - began)
    count = chunk * len(bare)
    ratios = np.array(bare) / np.array(whole)
    print(
        f"VGG16 {args.image_size} px, width {args.width_multiplier:g}, batch {args.batch_size}, {device}, "
        f"{count} images: "
        f"bare {count / sum(bare):.1f} images/s, whole way {count / sum(whole):.1f} images/s, "
        f"ratio {sum(bare) / sum(whole):.1%} in all, {np.median(ratios):.1%} in the median of {len(ratios)} turns"
    )
    for number in (len(images) // 2, len(images)):
        again = [sys.executable, __file__, *sys.argv[1:], "--memory_only", "--num_images", str(number)]
        peak = subprocess.run(again, capture_output=True, text=True, check=True).stdout.strip()
        print(f"peak memory with {number} images: {peak} MiB")


if __name__ == "__main__":
    main()
