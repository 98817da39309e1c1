"""The Python release of CIFAR-100: every pickle that holds it, and none that does anything else."""

import codecs
import functools
import os
import pickle

import numpy as np
import pytest
from cifar100_files import TEST, check, fields_of, python2, refusal, write_pickles

from mindefense.data import cifar100, load_cifar100, make_cifar_like


def python3(value):
    return pickle.dumps(value, protocol=2)


FORMS = {
    "Python 2": python2,
    "Python 2, by column": functools.partial(python2, by_column=True),
    "Python 2, NumPy 2": functools.partial(python2, room="numpy._core.multiarray"),
    "Python 3": python3,
    "Python 3, NumPy 1": lambda value: python3(value).replace(b"cnumpy._core.multi", b"cnumpy.core.multi"),
    "Python 3, NumPy 2": lambda value: python3(value).replace(b"cnumpy.core.multi", b"cnumpy._core.multi"),
    "Python 3, by column": lambda value: python3({**value, b"data": np.asfortranarray(value[b"data"])}),
}


def test_the_tests_write_what_pickle_reads(made):
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        pytest.skip("NumPy 2 warns of the old name of its module")
    for form in (python2, FORMS["Python 2, by column"]):
        held = pickle.loads(form(fields_of(made, "test")), encoding="bytes")
        np.testing.assert_array_equal(held.pop(b"data"), (expected := fields_of(made, "test")).pop(b"data"))
        assert held == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", [".", "cifar-100-python"])
def test_pickles_give_the_same_data(folder, form, tmp_path, made):
    write_pickles(tmp_path / folder, made, FORMS[form])
    check(load_cifar100(tmp_path), made)


def test_pickles_of_many_rows(tmp_path):
    made = make_cifar_like(6, train=700, test=300)  # more than a byte counts
    check(load_cifar100(write_pickles(tmp_path, made)), made)


class Calls:
    """Pickles to a call."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.parts


def harmful(name, value):
    """A pickle that calls a function by a name that may mean another module here."""
    return python3(Calls(os.getenv, value)).replace(b"cos\ngetenv\n", name)


DTYPE = np.dtype("u1").__reduce__()[0]
RECONSTRUCT, (NDARRAY, EMPTY, CODE) = np.zeros((1, 3072), np.uint8).__reduce__()[:2]
STATE = (3, "|", None, None, None, -1, -1, 0)


def array_of(dtype, raw=b"\0" * 3072, shape=(1, 3072), reconstruct=(NDARRAY, EMPTY, CODE)):
    return Calls(RECONSTRUCT, *reconstruct, state=(1, shape, dtype, False, raw))


UINT8 = Calls(DTYPE, "u1", False, True, state=STATE)
HOSTILE = {
    "os.system": (lambda trap: harmful(b"cposix\nsystem\n", f"touch {trap}"), "asks for 'posix' 'system'"),
    "subprocess": (lambda trap: harmful(b"csubprocess\ngetoutput\n", f"touch {trap}"), "'subprocess' 'getoutput'"),
    "builtins.eval": (lambda trap: harmful(b"cbuiltins\neval\n", f"open({str(trap)!r}, 'w')"), "'builtins' 'eval'"),
    "__builtin__.eval": (lambda trap: harmful(b"c__builtin__\neval\n", f"open({str(trap)!r}, 'w')"), "'__builtin__'"),
    "old call": (lambda trap: b"(S'touch %s'\niposix\nsystem\n." % str(trap).encode(), "instruction STRING"),
    "other of the same module": (lambda trap: harmful(b"cnumpy\nload\n", str(trap)), "asks for 'numpy' 'load'"),
    "inside of the allowed": (lambda trap: harmful(b"cnumpy\nndarray.tofile\n", str(trap)), "'ndarray.tofile'"),
    "newer protocol": (lambda trap: pickle.dumps({b"data": 1}, 4), "instruction FRAME"),
    "older protocol": (lambda trap: pickle.dumps({b"data": 1}, 0), "instruction"),
    "persistent": (lambda trap: b"\x80\x02K\x01Q.", "instruction BINPERSID"),
    "registered": (lambda trap: b"\x80\x02\x82\x01.", "instruction EXT1"),
    "endless memory": (lambda trap: b"\x80\x02}r\xff\xff\xff\x7f.", "place 2147483647 in the memory"),
    "endless text": (lambda trap: b"\x80\x02T\xff\xff\xff\x7fabc.", "something else"),
    "objects": (lambda trap: python3({b"data": np.array([[Calls(os.mkdir, str(trap))]], object)}), "other than uint8"),
    "floats": (lambda trap: python3({b"data": np.zeros((1, 3072))}), "a type other than uint8"),
    "structure": (
        lambda trap: python3(array_of(Calls(DTYPE, "u1", False, True, state=(3, "|", None, ("a",), {}, 8, 1, 0)))),
        "a type other than uint8",
    ),
    "type in another way": (lambda trap: python3(array_of("O")), "an array of a type other than uint8"),
    "no bytes": (lambda trap: python3(array_of(UINT8, raw=[1] * 3072)), "an array of a type other than uint8"),
    "wide": (lambda trap: python3(array_of(UINT8, shape=(2, 1536))), "another shape"),
    "cut": (lambda trap: python3(array_of(UINT8, raw=b"\0" * 3071)), "another shape"),
    "too much": (lambda trap: python3(array_of(UINT8, raw=b"\0" * 3073)), "another shape"),
    "claims more": (lambda trap: python3(array_of(UINT8, shape=(1 << 40, 3072))), "another shape"),
    "negative": (lambda trap: python3(array_of(UINT8, shape=(-1, 3072))), "another shape"),
    "array of another kind": (lambda trap: python3(array_of(UINT8, reconstruct=(DTYPE, (0,), b"b"))), "in another way"),
    "array not empty": (lambda trap: python3(array_of(UINT8, reconstruct=(NDARRAY, (9,), b"b"))), "in another way"),
    "codec rot13": (lambda trap: python3(Calls(codecs.encode, "abc", "rot13")), "other than latin1"),
    "codec zip": (lambda trap: python3(Calls(codecs.encode, b"abc", "zip")), "other than latin1"),
    "codec by default": (lambda trap: python3(Calls(codecs.encode, "abc")), "other than latin1"),
    "not latin1": (lambda trap: python3(Calls(codecs.encode, "€", "latin1")), "something else"),
    "change of a function": (lambda trap: b"\x80\x02c_codecs\nencode\n}U\x05_callK\x01sb.", "an object without one"),
    "slots of a function": (
        lambda trap: b"\x80\x02c_codecs\nencode\nN}U\x05_callK\x01s\x86b.",
        "an object without one",
    ),
    "change of a class": (lambda trap: b"\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.", "an object without one"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickle_is_refused_and_not_run(case, tmp_path, made):
    make, says = HOSTILE[case]
    part = ("train", "test")[len(case) % 2]
    trap = tmp_path / "sprung"
    file = write_pickles(tmp_path / "data", made) / part
    file.write_bytes(make(trap))
    message = refusal(tmp_path / "data")
    assert message.startswith(f"{file}: expected a file of CIFAR-100's Python release, got something else")
    assert says in message
    assert "use the binary release" in message
    assert not trap.exists()
    check(load_cifar100(write_pickles(tmp_path / "good", made, python3)), made)  # nothing was changed for later


def test_traps_would_spring(tmp_path):
    """The pickles above are real: without this loader they do what they are for."""
    for case in ("os.system", "subprocess", "builtins.eval", "old call", "objects"):
        trap = tmp_path / "sprung"
        held = pickle.loads(HOSTILE[case][0](trap))
        assert trap.exists(), case
        getattr(held, "close", lambda: None)()
        trap.rmdir() if trap.is_dir() else trap.unlink()


FIELDS = {
    "no dictionary": lambda fields: [fields],
    "no data": lambda fields: fields.pop(b"data"),
    "CIFAR-10": lambda fields: {b"data": fields[b"data"], b"labels": fields[b"fine_labels"]},
    "no fine labels": lambda fields: {key: value for key, value in fields.items() if key != b"fine_labels"},
    "no coarse labels": lambda fields: {key: value for key, value in fields.items() if key != b"coarse_labels"},
    "data as bytes": lambda fields: {**fields, b"data": b"\0" * 3072 * TEST},
    "no rows": lambda fields: {b"data": fields[b"data"][:0], b"fine_labels": [], b"coarse_labels": []},
    "fewer labels": lambda fields: {**fields, b"fine_labels": fields[b"fine_labels"][1:]},
    "fewer coarse labels": lambda fields: {**fields, b"coarse_labels": fields[b"coarse_labels"][1:]},
    "labels of other kinds": lambda fields: {**fields, b"fine_labels": [b"1"] * TEST},
    "flags": lambda fields: {**fields, b"fine_labels": [True] * TEST},
    "negative labels": lambda fields: {**fields, b"fine_labels": [-1] * TEST},
    "huge labels": lambda fields: {**fields, b"coarse_labels": [1 << 30] * TEST},
    "labels as text": lambda fields: {**fields, b"fine_labels": b"1" * TEST},
}


@pytest.mark.parametrize("case", FIELDS)
@pytest.mark.parametrize("form", [python2, python3])
def test_pickle_of_something_else_is_refused(form, case, tmp_path, made):
    fields = FIELDS[case](fields_of(made, "test"))
    (write_pickles(tmp_path, made) / "test").write_bytes(form(fields))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'test'}: expected a file of CIFAR-100's Python release")
    assert "use the binary release" in message


@pytest.mark.parametrize(("key", "value"), [(b"fine_labels", 100), (b"coarse_labels", 20)])
def test_bad_label_in_a_pickle_is_named(key, value, tmp_path, made):
    fields = fields_of(made, "train")
    fields[key][7] = value
    (write_pickles(tmp_path, made) / "train").write_bytes(python2(fields))
    message = refusal(tmp_path)
    assert "train row 8: expected a coarse label 0…19 and a fine label 0…99" in message
    assert f"got {fields[b'coarse_labels'][7]} and {fields[b'fine_labels'][7]};" in message


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("form", [python2, python3])
def test_cut_pickle_is_refused(form, share, tmp_path, made):
    file = write_pickles(tmp_path, made, form) / "train"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert "got something else" in refusal(tmp_path)


def test_huge_pickle_is_not_read(tmp_path, made, monkeypatch):
    size = (write_pickles(tmp_path, made) / "train").stat().st_size
    monkeypatch.setattr(cifar100, "LIMIT", size - 1)
    assert f"expected at most {size - 1:,} bytes, got {size:,}" in refusal(tmp_path)
    monkeypatch.setattr(cifar100, "LIMIT", size)
    check(load_cifar100(tmp_path), made)
