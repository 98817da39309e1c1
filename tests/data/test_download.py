"""`download` against a server on loopback: complete or not there."""

import hashlib
import http.server
import importlib
import os
import socket
import threading

import pytest

from mindefense.data import SOURCES, Source, download
from mindefense.errors import DataError, InputError, OutputError

CONTENT = os.urandom(200_000)
MODULE = importlib.import_module("mindefense.data.download")  # the package has a function of the same name
NAME = "thing.tgz"
PUBLISHED = "https://example.invalid/thing.tgz"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path: well, and in each way that goes wrong."""

    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/silent":
            self.server.hold.wait(10)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        body = {"/wrong": CONTENT[::-1], "/short": CONTENT[:150_000], "/long": CONTENT + b"x"}.get(self.path, CONTENT)
        self.send_response(200)
        if self.path not in ("/unannounced", "/unannounced-short"):
            self.send_header("Content-Length", str(len(CONTENT) if self.path == "/short" else len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/unannounced-short" else body)

    def log_message(self, format, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.hold = [], threading.Event()
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.hold.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def address(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    source = Source(NAME, PUBLISHED, "sha256", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT))
    monkeypatch.setitem(SOURCES, "thing", source)
    server.asked.clear()
    return f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("path", ["/good", "/moved", "/unannounced"])
def test_good_file_arrives_whole(path, address, tmp_path):
    told = []
    to = tmp_path / "new" / "folder"
    file = download("thing", to, url=address + path, progress=lambda done, total: told.append((done, total)))
    assert file == to / NAME
    assert file.read_bytes() == CONTENT
    assert [entry.name for entry in to.iterdir()] == [NAME]
    assert len(told) > 1
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), None if path == "/unannounced" else len(CONTENT))


def test_published_address_is_the_default(address, server, tmp_path, monkeypatch):
    source = SOURCES["thing"]
    monkeypatch.setitem(SOURCES, "thing", Source(NAME, address + "/default", "sha256", source.digest, source.size))
    download("thing", str(tmp_path))
    assert server.asked == ["/default"]


def test_right_file_is_not_fetched_again(address, server, tmp_path):
    (tmp_path / NAME).write_bytes(CONTENT)
    assert download("thing", tmp_path, url=address + "/good") == tmp_path / NAME
    assert server.asked == []


def test_wrong_file_in_the_way_is_kept_and_named(address, server, tmp_path):
    (tmp_path / NAME).write_bytes(b"mine")
    with pytest.raises(DataError, match="delete it or move it away") as caught:
        download("thing", tmp_path, url=address + "/good")
    assert str(tmp_path / NAME) in str(caught.value)
    assert hashlib.sha256(b"mine").hexdigest() in str(caught.value)
    assert (tmp_path / NAME).read_bytes() == b"mine"
    assert server.asked == []


def refused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/missing", "HTTP 404"),
        ("/wrong", "expected sha256"),
        ("/short", "expected 200,000 bytes, got 150,000 before the connection ended"),
        ("/unannounced-short", "expected sha256"),
        ("/long", "expected 200,000 bytes, got more"),
        ("/silent", "timed out"),
        ("refused", "refused"),
        ("port", "expected an answer"),
    ],
)
def test_failure_says_what_to_do_and_leaves_nothing(path, says, made, address, tmp_path, monkeypatch):
    monkeypatch.setattr(MODULE, "TIMEOUT", 0.2 if path == "/silent" else 5)
    told = []
    to = tmp_path / "a" / "b"
    if made:
        to.mkdir(parents=True)
    where = {"refused": f"http://127.0.0.1:{refused_port()}/x", "port": "http://127.0.0.1:x/"}.get(path, address + path)
    with pytest.raises(DataError) as caught:
        download("thing", to, url=where, progress=lambda done, total: told.append(done))
    assert max(told, default=0) <= len(CONTENT)  # an endless answer must not fill the disk
    message = str(caught.value)
    assert says in message
    assert f"fetch {PUBLISHED} by hand and put it at {to / NAME}" in message
    assert "\n" not in message
    assert sorted(tmp_path.rglob("*")) == ([tmp_path / "a", to] if made else [])


def test_interruption_leaves_nothing(address, tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("thing", tmp_path / "new", url=address + "/good", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_target(address, server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="by hand"):
        download("thing", tmp_path / "file" / "sub", url=address + "/good")
    (tmp_path / NAME).mkdir()
    with pytest.raises(OutputError, match="by hand"):
        download("thing", tmp_path, url=address + "/good")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", NAME]
    assert server.asked == []


def test_failing_rename_leaves_nothing(address, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="no space left"):
        download("thing", tmp_path / "new", url=address + "/good")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:,x", "x", ""])
def test_other_addresses_are_refused(url, address, tmp_path):
    with pytest.raises(InputError, match="http"):
        download("thing", tmp_path, url=url)


def test_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(InputError, match="location"):
        download("nothing", tmp_path)


def test_table_of_sources_is_well_formed():
    for source in SOURCES.values():
        assert source.url.startswith("https://")
        assert source.url.endswith(source.file_name)
        assert len(bytes.fromhex(source.digest)) == hashlib.new(source.algorithm).digest_size


@pytest.mark.skipif("MINDEFENSE_DATA" not in os.environ, reason="MINDEFENSE_DATA is not set: no real file to check")
def test_location_digest_and_size_are_those_of_the_real_file():
    folder = os.path.join(os.environ["MINDEFENSE_DATA"], "location")
    assert download("location", folder, url="http://127.0.0.1:9/").stat().st_size == SOURCES["location"].size
