"""examples/endpoint.py: a model behind a service is evaluated, and the service is treated as its owner asks."""

import contextlib
import http.server
import importlib.util
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from mindefense import FunctionTarget
from mindefense.errors import InputError

SCRIPT = Path(__file__).parent.parent / "examples" / "endpoint.py"
RATE = 40
ROWS = np.zeros((3, 2), np.float32)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("endpoint", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@contextlib.contextmanager
def service(*answers):
    """A service that gives these answers, each a status with a body or a number of seconds to wait; the last one on."""
    came = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            came.append((time.monotonic(), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = answers[min(len(came), len(answers)) - 1]
            if isinstance(answer, float):
                time.sleep(answer)
                answer = (200, "late")
            status, body = answer
            with contextlib.suppress(OSError):  # the client has left
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body.encode())

        def log_message(self, *given):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", came
        server.shutdown()


GOOD = (200, json.dumps({"probs": [[0.5, 0.5]] * len(ROWS)}))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("endpoint") / "out"
    command = [sys.executable, str(SCRIPT), "--smoke", "--rate", str(RATE), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False), out


def test_smoke_run_finds_the_leak(smoke):
    run, out = smoke
    assert (run.returncode, run.stderr) == (0, "")
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert held["verdict"]["undefended"]["level"] == "leak"
    assert held["synthetic"] is True
    assert {one["name"] for one in held["attacks"]} == {"gap", "confidence", "shokri-label", "stacked", "label-noise"}
    assert re.search(r"^leak: [\w-]+ has a balanced accuracy of 0\.[89]\d\d$", run.stdout, re.MULTILINE)
    assert "made up" in run.stdout


def test_smoke_run_repeats_what_failed_and_keeps_to_the_rate(smoke):
    run, _ = smoke
    sent, failed = map(int, re.search(r"^(\d+) requests, of which (\d+) failed", run.stdout, re.MULTILINE).groups())
    assert failed == sent // 10 > 0  # every tenth request to the service of the smoke run fails
    (least,) = re.findall(r"^shortest time between two requests: ([\d.]+) s$", run.stdout, re.MULTILINE)
    assert float(least) >= 1 / RATE


def test_requests_are_never_closer_than_the_rate_says(example):
    """As the service sees them, whatever is asked and however often it fails."""
    with service((503, "busy"), GOOD, GOOD, (500, "broken"), GOOD) as (url, came):
        endpoint = example.Endpoint(url, rate=RATE, wait=0.001)
        target = FunctionTarget(endpoint, batch_size=len(ROWS))
        target.logits(np.arange(30, dtype=np.float32).reshape(15, 2))
    assert len(came) == endpoint.requests == 5 + 2
    assert endpoint.failures == 2
    assert np.diff([at for at, _ in came]).min() >= 1 / RATE
    assert all(len(body["rows"]) == len(ROWS) for _, body in came)


def test_an_answer_that_comes_too_late_is_asked_for_again(example):
    with service(1.0, GOOD) as (url, came):
        endpoint = example.Endpoint(url, rate=1000, timeout=0.2, wait=0.001)
        np.testing.assert_array_equal(endpoint(ROWS), np.full((3, 2), 0.5))
        time.sleep(1)  # the first answer is on its way until then
    assert (len(came), endpoint.failures) == (2, 1)


@pytest.mark.parametrize(
    ("answers", "requests", "words"),
    [
        ([(400, "what?")], 1, "HTTP Error 400"),
        ([(401, "who?")], 1, "HTTP Error 401"),
        ([(503, "busy")], 3, "after 3 requests"),
        ([(200, "<html>")], 1, "Endpoint.decode"),
        ([(200, "[]")], 1, "Endpoint.decode"),
        ([(200, '{"probs": [[0.5, 0.5]]}')], 1, "one row of logits for each of the 3 samples"),
        ([(200, '{"probs": [[3, 5], [1, 2], [0, 1]]}')], 1, "answers of the target row 0"),
    ],
)
def test_a_service_that_does_not_do_is_one_line(answers, requests, words, example):
    with service(*answers) as (url, came):
        target = FunctionTarget(example.Endpoint(url, rate=1000, retries=2, wait=0.001))
        with pytest.raises(InputError) as caught:
            target.logits(ROWS + np.arange(3, dtype=np.float32)[:, None])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(came) == requests


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["--smoke", "--rate", "0"], 1, "rate: expected a number above 0"),
        (["--url", "http://127.0.0.1:9"], 2, "--url needs --rows"),
        (["--url", "http://127.0.0.1:9", "--rows", "no.npz"], 1, "--rows: expected an npz file"),
        (["--url", "ftp://somewhere", "--rows", "rows.npz"], 1, "url: expected http://"),
        (["--url", "http://127.0.0.1:9", "--rows", "rows.npz", "--retries", "0"], 1, "after 1 request"),
    ],
)
def test_a_mistake_ends_with_one_line(typed, code, words, tmp_path):
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(200) % 3, is_member=np.arange(200) < 80)
    run = subprocess.run(
        [sys.executable, str(SCRIPT), *typed], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (run.returncode, run.stdout) == (code, "")
    assert words in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
