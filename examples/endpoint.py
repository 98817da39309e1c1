"""How much does a model behind an HTTP service reveal about its training rows?

python examples/endpoint.py --smoke
python examples/endpoint.py --url https://host/predict --rows rows.npz --rate 20

With --smoke, the script trains a small model that overfits, serves it on this machine, and evaluates it as a client.
With --url, it evaluates your service. rows.npz has the arrays x (N, ...), y (N,) with class numbers from 0, and
is_member (N,), which is True for the rows that the model was trained on.

The service gets a POST with the JSON document {"rows": [[...], ...]} and answers {"probs": [[...], ...]}, one list for
each row. If your service uses another format, change `Endpoint.encode` and `Endpoint.decode`. Put an access token into
the headers in `Endpoint.request`.
"""

import argparse
import contextlib
import http.client
import http.server
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np

from mindefense import FunctionTarget, evaluate, from_datasets, save_evaluation
from mindefense.data import Split
from mindefense.errors import InputError, MindefenseError
from mindefense.types import Evaluation, LabelledData

ATTACKS = ("confidence", "shokri-label", "stacked", "label-noise")
TRY_AGAIN = (408, 429, 500, 502, 503, 504)
"""HTTP status codes after which the same request may succeed."""


class Endpoint:
    """A model behind an HTTP service, as a function from rows to probabilities.

    Args:
        url: Where the service is.
        rate: Most requests per second, repeated ones included. A request waits for the answer to the one before, and
            then for 1 / rate seconds, so requests are never closer together.
        retries: How often a failed request is repeated.
        timeout: Seconds to wait for an answer.
        wait: Seconds to wait before the first repetition; each further one waits twice as long.

    Attributes:
        requests: How many requests were sent.
        failures: How many of them failed.
    """

    def __init__(self, url: str, *, rate: float, retries: int = 5, timeout: float = 30.0, wait: float = 0.5):
        """Checks the arguments; nothing is sent yet."""
        if not url.startswith(("http://", "https://")):
            raise InputError("url", expected="http://… or https://…", got=repr(url))
        if not 0 < rate < float("inf"):
            raise InputError("rate", expected="a number above 0", got=repr(rate))
        self.url, self.retries, self.timeout, self.wait = url, retries, timeout, wait
        self.requests = self.failures = 0
        self._interval, self._next = 1 / rate, 0.0

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """``(n, C)`` probabilities of ``(n, ...)`` rows, from one request."""
        body, wait = self.encode(rows), self.wait
        for attempt in range(self.retries + 1):
            try:
                return self.decode(self.request(body))
            except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are among OSError
                self.failures += 1
                code = None
                if isinstance(error, urllib.error.HTTPError):
                    code = error.code
                    error.close()
                if attempt == self.retries or (code is not None and code not in TRY_AGAIN):
                    tries = f"{attempt + 1} {'requests' if attempt else 'request'}"
                    raise InputError("service", expected="an answer", got=f"{error} after {tries}") from error
                time.sleep(wait)
                wait *= 2
        raise AssertionError("the last attempt returns or raises")

    def request(self, body: bytes) -> bytes:
        """Sends one request, not earlier than the rate allows, and returns the answer."""
        time.sleep(max(0.0, self._next - time.monotonic()))
        self.requests += 1
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return answer.read()
        finally:
            self._next = time.monotonic() + self._interval

    def encode(self, rows: np.ndarray) -> bytes:
        """The body of the request for some rows."""
        return json.dumps({"rows": rows.tolist()}).encode()

    def decode(self, answer: bytes) -> np.ndarray:
        """The probabilities in an answer."""
        try:
            return np.asarray(json.loads(answer)["probs"], np.float64)
        except (ValueError, TypeError, KeyError) as error:
            fix = "change Endpoint.decode to the format of your service"
            raise InputError("answer of the service", expected='{"probs": …}', got=repr(error), fix=fix) from error


# ------------------------------------------------------------------------------------------ the service of --smoke


def made_up_rows() -> tuple[LabelledData, Split, tuple[np.ndarray, np.ndarray]]:
    """Made-up rows, their split, and the rows that the model is trained on."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=900)
    rows = rng.normal(size=(900, 12)).astype(np.float32)
    rows[np.arange(900), labels] += 1
    members, others = (rows[:300], labels[:300]), (rows[300:], labels[300:])
    data, split = from_datasets(members, others, num_classes=4, name="made-up rows", synthetic=True, defender_share=0)
    return data, split, members


@contextlib.contextmanager
def serving(members: tuple[np.ndarray, np.ndarray]) -> Iterator[tuple[str, list[float]]]:
    """A service on this machine that overfits its training rows; every tenth request fails.

    Yields:
        Its address, and the times at which requests came, in seconds.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    model = ExtraTreesClassifier(20, min_samples_leaf=2, random_state=0).fit(*members)
    came: list[float] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(time.monotonic())
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if len(came) % 10 == 0:
                self.send_error(503)
                return
            probs = model.predict_proba(np.asarray(json.loads(body)["rows"], np.float32))
            answer = json.dumps({"probs": probs.tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *given: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/predict", came
        finally:
            server.shutdown()
            thread.join()


# --------------------------------------------------------------------------------------------------- the evaluation


def rows_of(path: str) -> tuple[LabelledData, Split]:
    """The rows in a file, and which of them the model was trained on."""
    try:
        with np.load(path, allow_pickle=False) as held:
            x, y, is_member = held["x"], held["y"], held["is_member"].astype(bool)
    except (OSError, ValueError, KeyError) as error:
        raise InputError("--rows", expected="an npz file with x, y and is_member", got=str(error)) from error
    members, others = (x[is_member], y[is_member]), (x[~is_member], y[~is_member])
    return from_datasets(members, others, num_classes=int(y.max()) + 1, name="rows", defender_share=0)


def attack(endpoint: Endpoint, data: LabelledData, split: Split, args: argparse.Namespace) -> Evaluation:
    """Evaluates the service, and prints the number of requests."""
    target = FunctionTarget(endpoint, gives="probs", batch_size=args.batch_size, name="service")
    found = evaluate(target, data, split, attacks=ATTACKS, seed=args.seed)
    print(f"{endpoint.requests:,} requests, of which {endpoint.failures} failed and were repeated")
    return found


def parse_args() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--url", help="address of the service; needs --rows")
    what.add_argument("--smoke", action="store_true", help="evaluate a small service that is started here")
    parser.add_argument("--rows", metavar="FILE", help="npz file with x, y and is_member")
    parser.add_argument("--rate", type=float, default=50.0, help="most requests per second (default: 50)")
    parser.add_argument("--batch_size", type=int, default=512, help="rows in a request (default: 512)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait for an answer (default: 30)")
    parser.add_argument("--retries", type=int, default=5, help="repetitions of a failed request (default: 5)")
    parser.add_argument("--out", default="runs/endpoint", metavar="DIR", help="folder for the files")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    args = parser.parse_args()
    if args.url and not args.rows:
        parser.error("--url needs --rows: the rows to query, and which of them the model was trained on")
    return args


def main() -> None:
    """Evaluates a service and writes the report."""
    args = parse_args()
    limits = {"rate": args.rate, "retries": args.retries, "timeout": args.timeout}
    if args.smoke:
        os.environ["no_proxy"] = "127.0.0.1"
        data, split, members = made_up_rows()
        with serving(members) as (url, came):
            found = attack(Endpoint(url, **limits, wait=0.05), data, split, args)
        print(f"shortest time between two requests: {np.diff(came).min():.4f} s")
        print("These rows were made up: the figures say nothing about real data.")
    else:
        data, split = rows_of(args.rows)
        found = attack(Endpoint(args.url, **limits), data, split, args)
    best = found.undefended.strongest
    print(f"{found.undefended.level}: {best.name} has a balanced accuracy of {best.metrics.balanced_accuracy:.3f}")
    print("wrote", *save_evaluation(found, args.out))


if __name__ == "__main__":
    try:
        main()
    except MindefenseError as error:
        sys.exit(f"endpoint.py: error: {error}")
