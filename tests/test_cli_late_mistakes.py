"""Mistakes that the command line finds in files and folders: one line that names a remedy, and nothing left behind."""

import gzip
import io
import resource
import tarfile

import numpy as np
import pytest
from typed_commands import command

from mindefense import cli


def location_line(label=1, features=446, feature=0):
    return b'"%d"' % label + b",%d" % feature * features


def tgz(text):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("bangkok")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return gzip.compress(sink.getvalue(), 1)


def data(name, content):
    """Puts a data file into ./data."""

    def write(folder):
        (folder / "data").mkdir()
        (folder / "data" / name).write_bytes(content() if callable(content) else content)
        return ["--data_path", "data"]

    return write


def arrays(value, at_label=False):
    """The content of a data_complete.npz with `value` in row 7 of x or y."""

    def content():
        x, y = np.zeros((5010, 446), np.float32), np.ones(5010, np.float32)
        if at_label:
            y[7] = value
        else:
            x[7, 3] = value
        sink = io.BytesIO()
        np.savez(sink, x=x, y=y)
        return sink.getvalue()

    return content


def empty_folder(folder):
    (folder / "data").mkdir()
    return ["--data_path", "data"]


def net_checkpoint(folder, widths, description, name="net.ckpt"):
    from mindefense.checkpoint import parameters_of, save_checkpoint
    from mindefense.models import MLP

    save_checkpoint(folder / name, parameters_of(MLP(widths)), description)
    (folder / name).chmod(0o600)
    return ["--pre_trained", name]


def other_architecture(folder):
    return net_checkpoint(
        folder, (446, 8, 30), {"kind": "target", "architecture": {"name": "mlp", "widths": [446, 8, 30]}}
    )


def other_data_set(folder):
    return net_checkpoint(folder, (600, 1024, 512, 256, 128, 100), {"kind": "target"})


def other_program(folder):
    import mindspore as ms

    ms.save_checkpoint([{"name": "conv.weight", "data": ms.Tensor(np.zeros(3, np.float32))}], str(folder / "net.ckpt"))
    return ["--pre_trained", "net.ckpt"]


def other_rows(folder):
    return net_checkpoint(folder, (446, 1024, 512, 256, 128, 30), {"kind": "target", "rows": "0123"})


def truncated_checkpoint(folder):
    arguments = other_architecture(folder)
    content = (folder / "net.ckpt").read_bytes()
    (folder / "net.ckpt").write_bytes(content[: len(content) // 2])
    return arguments


def defense_checkpoint(folder):
    from mindefense.defenses import DefenderClassifier, MemGuard

    MemGuard(DefenderClassifier(30)).save(folder / "defense.ckpt")
    return ["--pre_trained", "defense.ckpt"]


def no_checkpoint(folder):
    (folder / "net.ckpt").write_text("these are no weights")
    return ["--pre_trained", "net.ckpt"]


def empty_checkpoint(folder):
    (folder / "net.ckpt").touch()
    return ["--pre_trained", "net.ckpt"]


def split_file(text):
    def write(folder):
        (folder / "config.ini").write_text(text)
        return ["--split_config", "config.ini"]

    return write


def file_as_out(below):
    def write(folder):
        (folder / "file").write_text("mine")
        return ["--out", f"file{below}"]

    return write


def typed(text, prepare=lambda folder: []):
    """Arguments as they are typed, and those of a preparation."""
    return lambda folder: [*text.split(), *prepare(folder)]


def vgg_checkpoint(folder):
    """Parameters alone, as another program writes them."""
    import mindspore as ms

    from mindefense.models import vgg16

    net = vgg16(image_size=32, width_multiplier=0.0625)
    ms.save_checkpoint(net, str(folder / "net.ckpt"))
    (folder / "net.ckpt").chmod(0o600)
    return ["--pre_trained", "net.ckpt"]


# InputTransform that returns arguments → what is wrong, what to do.
LATE_MISTAKES = {
    "folder without data": (empty_folder, ["location data", "data_complete.npz"], "mindefense download location"),
    "truncated archive": (
        data("dataset_location.tgz", lambda: tgz((location_line() + b"\n") * 5010)[:2000]),
        ["dataset_location.tgz", "damaged or truncated"],
        "mindefense download location",
    ),
    "too few columns": (
        data("bangkok", location_line() + b"\n" + location_line(features=445)),
        ["bangkok line 2", "447 columns", "446"],
        "replace the file",
    ),
    "label out of range": (
        data("bangkok", location_line() + b"\n" + location_line(label=31)),
        ["bangkok line 2", "label 1…30", "31"],
        "replace the file",
    ),
    "label 0": (data("bangkok", location_line(label=0)), ["line 1", "label 1…30"], "replace the file"),
    "feature out of range": (data("bangkok", location_line(feature=2)), ["line 1", "0 or 1"], "replace the file"),
    "too few rows": (data("bangkok", location_line() + b"\n"), ["5,010 rows", "got 1"], "replace the file"),
    "NaN in the features": (
        data("data_complete.npz", arrays(np.nan)),
        ["x row 7", "nan"],
        "replace the file",
    ),
    "NaN in the labels": (data("data_complete.npz", arrays(np.nan, True)), ["y row 7", "nan"], "replace the file"),
    "label of npz out of range": (data("data_complete.npz", arrays(31, True)), ["y row 7", "31"], "replace the file"),
    "no npz": (data("data_complete.npz", b"PK\3\4 and no more"), ["npz"], "replace the file"),
    "other architecture": (other_architecture, ["net.ckpt", "does not fit", "mis-shaped"], "MLP 446-8-30"),
    "checkpoint of another data set": (other_data_set, ["net.ckpt", "does not fit"], "choose another checkpoint"),
    "checkpoint of another program": (other_program, ["unexpected: conv.weight"], "choose another checkpoint"),
    "checkpoint of other rows": (other_rows, ["net.ckpt", "its rows differ"], "give the data, split, members and seed"),
    "truncated checkpoint": (truncated_checkpoint, ["net.ckpt", "cannot be read"], "train it again"),
    "no checkpoint": (no_checkpoint, ["net.ckpt", "cannot be read"], "train it again"),
    "empty checkpoint": (empty_checkpoint, ["net.ckpt", "cannot be read"], "train it again"),
    "folder as a checkpoint": (lambda folder: ["--pre_trained", "."], ["no checkpoint at ."], "check the path"),
    "defense as a target": (defense_checkpoint, ["defense.ckpt", "of a defense"], "a checkpoint of a target"),
    "out below a file": (file_as_out("/below"), ["cannot write", "Not a directory"], "choose a writable folder"),
    "out is a file": (file_as_out(""), ["cannot write", "file"], "choose a writable folder"),
    "no such section": (split_file("[other]\na=1\n"), ["'synthetic'", "config.ini"], "one of other"),
    "section without ranges": (
        split_file("[synthetic]\na=1\n"),
        ["[synthetic]", "user_training_data_index_range", "no such key"],
        "add it to the section",
    ),
    "no ini file": (split_file("x"), ["config.ini"], "readable ini file"),
    "image size of a table": (typed("--image_size 32"), ["image_size", "got model mlp"], "only with model vgg16"),
    "members of a table": (typed("--members 32"), ["members", "got model mlp"], "only with model vgg16"),
    "parity of a table": (typed("--parity"), ["parity", "got model mlp"], "only with model vgg16"),
    "ranges for images": (
        typed("--model vgg16", split_file("[synthetic]\na=1\n")),
        ["split_config", "got model vgg16"],
        "only with model mlp",
    ),
    "table for vgg16": (
        typed("--model vgg16 --dataset location --data_path ."),
        ["model for location", "'vgg16'"],
        "expected mlp",
    ),
    "images for an mlp": (
        typed("--model mlp --dataset cifar100 --data_path ."),
        ["model for cifar100", "'mlp'"],
        "expected vgg16",
    ),
    "folder without images": (
        typed("--model vgg16", empty_folder),
        ["cifar100 data", "train.bin and test.bin"],
        "mindefense download cifar100",
    ),
    "odd image size": (typed("--model vgg16 --image_size 33"), ["image_size", "got 33"], "a multiple of 32"),
    "more members than there are": (
        typed("--model vgg16 --members 601"),
        ["members", "got 601", "the training part has 600 rows"],
        "a whole number from 1 to 600",
    ),
    "more judged than members": (
        typed("--model vgg16 --members 40 --num_samples 41"),
        ["num_samples", "got 41", "40 members and 300 test rows"],
        "a whole number from 1 to 40",
    ),
    "nobody left for the defender": (
        typed("--model vgg16 --members 600 --num_samples 300"),
        ["rows for the defender", "neither the target's members nor evaluated", "first 600 of train, first 300"],
        "--num_samples",
    ),
    "checkpoint of a table for images": (
        typed("--model vgg16 --width_multiplier 0.0625", other_architecture),
        ["net.ckpt", "does not fit", "expected VGG16 with batch normalization, image_size 224, 100 classes"],
        "got a file that seems to contain MLP 446-8-30",
    ),
    "checkpoint of other images": (
        typed("--model vgg16 --image_size 64 --width_multiplier 0.0625", vgg_checkpoint),
        ["net.ckpt", "does not fit", "expected VGG16 with batch normalization, image_size 64, 100 classes"],
        "seems to contain VGG16 with batch normalization, image_size 32, 100 classes, width_multiplier 0.06",
    ),
}


@pytest.mark.parametrize("name", LATE_MISTAKES)
def test_late_mistake_is_one_line_with_a_remedy_and_leaves_nothing(name, here, capfd):
    prepare, wrong, remedy = LATE_MISTAKES[name]
    arguments = prepare(here)
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    capfd.readouterr()
    code = cli.main(["run", "--smoke", "--device_target", "CPU", "--out", "out", *arguments])
    err = capfd.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("mindefense: error: ")
    for word in (*wrong, remedy):
        assert word in err
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == before
    assert not (here / "out").exists()


def test_section_of_the_split_is_named(here, capfd):
    (here / "config.ini").write_text("[location]\na=1\n")
    assert cli.main(["train", "--split_config", "config.ini", "--split_section", "texas", "--out", "out"]) == 2
    err = capfd.readouterr().err
    assert "'texas'" in err
    assert "one of location" in err


@pytest.mark.parametrize(
    "text",
    [
        '{"dataset": ',
        "[]",
        '{"colour": 1}',
        '{"seed": "x"}',
        '{"defense": "dp"}',
    ],
)
def test_damaged_study_is_one_line(text, here, capfd):
    (here / "study.json").write_text(text)
    assert cli.main(["evaluate", "--out", "."]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["study.json"]


def test_absent_device_is_one_line_without_noise(tmp_path):
    run = command("run", "--smoke", "--device_target", "GPU", "--out", tmp_path / "out")
    if run.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    for word in ("device_target GPU", "CPU", "use --device_target auto"):
        assert word in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """A run with a limit on the size of files, which stands for the disk: study.json fits, a checkpoint does not."""
    tmp_path = tmp_path_factory.mktemp("disk")
    arguments = net_checkpoint(tmp_path, (446, 1024, 512, 256, 128, 30), {"kind": "target"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "target.ckpt").write_bytes(b"old")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    run = command("train", "--smoke", *arguments, "--out", "out", cwd=tmp_path, preexec_fn=limit)
    run.out = out
    return run


def test_full_disk_is_said_and_leaves_the_old_file(full_disk):
    assert full_disk.returncode == 2
    assert "Traceback" not in full_disk.stderr
    assert full_disk.stderr.splitlines()[-1].startswith("mindefense: error: cannot write out/target.ckpt: ")
    assert "free space" in full_disk.stderr.splitlines()[-1]
    assert (full_disk.out / "target.ckpt").read_bytes() == b"old"


def test_full_disk_is_one_line(full_disk):
    assert full_disk.stderr.count("\n") == 1


def test_full_disk_leaves_nothing_partial(full_disk):
    assert sorted(path.name for path in full_disk.out.iterdir()) == ["study.json", "target.ckpt"]
