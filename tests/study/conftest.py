import contextlib
import io
import os
from pathlib import Path

import numpy as np
import pytest

import mindefense  # noqa: F401  sets MindSpore's log level
from mindefense.data import make_cifar_like


@pytest.fixture(scope="session")
def at_once(example_run):
    """The folder of the same smoke test, done by the example in a process of its own."""
    return example_run / "out"


def write_records(folder, data):
    """Writes made-up images as the binary files of CIFAR-100."""
    folder.mkdir(exist_ok=True)
    for part, rows in data.parts.items():
        labels, pixels = data.labels[rows], data.features[rows].reshape(len(rows), -1)
        (folder / f"{part}.bin").write_bytes(np.column_stack([labels // 5, labels, pixels]).astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="session")
def few_images(tmp_path_factory):
    """A folder with 60 training and 50 test images in the form of CIFAR-100."""
    return write_records(tmp_path_factory.mktemp("few") / "images", make_cifar_like(2, train=60, test=50))


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """The real CIFAR-100 where MINDEFENSE_DATA holds it, else made-up records of its form."""
    real = Path(os.environ.get("MINDEFENSE_DATA", "")) / "cifar-100-binary"
    if "MINDEFENSE_DATA" in os.environ and real.is_dir():
        return real
    return write_records(tmp_path_factory.mktemp("made") / "images", make_cifar_like(2, train=400, test=200))


class Watched:
    """What commands answered, the units of work that they promised and told, and the inputs that reached the target.

    Inputs count that came in batches of `size`, as all questions do; a training also looks whether one row fits.
    """

    def __init__(self, size):
        self.size = size
        self.inputs, self.screens, self.errors, self.codes, self.units = {}, {}, {}, {}, {}

    def run(self, name, work):
        from mindefense.attacks import METHODS
        from mindefense.models import VGG16
        from mindefense.progress import ConsoleProgress

        seen, call, stage = [], VGG16.__call__, ConsoleProgress.stage
        units = self.units[name] = {}

        def watch(net, x):
            if len(x) == self.size:
                seen.extend(row.tobytes() for row in x.asnumpy())
            return call(net, x)

        @contextlib.contextmanager
        def listen(progress, title, total):
            told = units[title] = [units.get(title, [0, 0])[0] + total, units.get(title, [0, 0])[1]]
            with stage(progress, title, total) as advance:

                def add(done, note):
                    told[1] += done
                    advance(done, note)

                yield add

        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.setattr(VGG16, "__call__", watch)
            patch.setattr(ConsoleProgress, "stage", listen)
            patch.setitem(METHODS["rf"], "n_estimators", [5])  # for these few rows; 100 take most of the time
            self.codes[name] = work()
        self.inputs[name], self.screens[name], self.errors[name] = seen, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def watch():
    """Makes a `Watched`."""
    return Watched
