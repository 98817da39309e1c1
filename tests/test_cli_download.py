"""``mindefense download`` without a network, and of what is there already."""

import hashlib
import os
import socket

import pytest

from mindefense import cli
from mindefense.data import SOURCES, Source


@pytest.fixture
def source(monkeypatch):
    """Replaces Location by a small file at an address where nobody answers."""
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    content = b"the right file"
    small = Source(
        "small.tgz", f"http://127.0.0.1:{port}/x", "sha256", hashlib.sha256(content).hexdigest(), len(content)
    )
    monkeypatch.setitem(SOURCES, "location", small)
    return small, content


def test_download_without_a_network_says_what_to_do_and_leaves_nothing(source, here, capfd):
    assert cli.main(["download", "location", "--to", "new/folder"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "refused" in err
    assert f"fetch {source[0].url} by hand and put it at {os.path.join('new', 'folder', 'small.tgz')}" in err
    assert list(here.iterdir()) == []


def test_download_that_is_there_already(source, here, capfd):
    (here / "small.tgz").write_bytes(source[1])
    assert cli.main(["download", "location", "--to", "."]) == 0
    out, err = capfd.readouterr()
    assert "wrote small.tgz" in out
    assert err == ""
