"""What long work tells while it lasts: bars on a terminal, elsewhere a line now and then."""

import contextlib
import re

import pytest
from screens import screen

from mindefense.progress import Brief, ConsoleProgress, Quiet, progress_of


def test_progress_elsewhere_than_on_a_terminal_is_one_line_a_stage():
    def work(console):
        with ConsoleProgress(console).stage("train target", 3) as advance:
            for number in range(3):
                advance(1, f"loss {number}")

    text = screen(work, force_terminal=False)
    assert re.fullmatch(r"train target: loss 2 \(\d+\.\d s\)\n", text)


def test_progress_on_a_terminal_shows_bars_and_survives_an_error():
    def work(console):
        with contextlib.suppress(KeyError), ConsoleProgress(console).stage("train target", 3) as advance:
            advance(2, "loss 0.5")
            raise KeyError

    text = screen(work, force_terminal=True)
    assert "train target" in text
    assert "2/3" in text


def lines_of(news, total, **options):
    """What is seen of a stage of which `news` tells: (second, units done, note)."""
    now = [100.0]

    def work(console):
        with ConsoleProgress(console, clock=lambda: now[0]).stage("train target", total) as advance:
            for second, done, note in news:
                now[0] = 100.0 + second
                advance(done, note)

    return screen(work, force_terminal=False, **options).splitlines()


def test_long_stage_elsewhere_says_how_far_it_is_once_a_minute():
    news = [(20.0 * number, 1, f"loss {number}") for number in range(1, 11)]
    assert lines_of(news, 10) == [
        "train target: 2/10, loss 2; 0:02:40 left",
        "train target: 5/10, loss 5; 0:01:40 left",
        "train target: 8/10, loss 8; 0:00:40 left",
        "train target: loss 10 (200.0 s)",
    ]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (9.0, ["train target: 128/20000; 0:46:34 left"]),  # as soon as the pace is known
        (0.5, ["train target: 704/20000; 0:02:31 left"]),  # of fast batches more are measured
        (0.1, []),  # the whole takes half a minute
    ],
)
def test_how_long_it_takes_is_said_once_after_the_first_batches(batch, expected, capsys):
    news = [(20 + batch * number, 64, "") for number in range(300)]  # the first one holds the compiling
    early = [(second, done, note) for second, done, note in news if second < 55]
    assert lines_of(early, 20_000)[: len(expected)] == expected
    assert len(lines_of(early, 20_000)) == len(expected) + 1  # and the end
    for progress, said in ((Brief, expected), (Quiet, [])):
        now = [100.0]
        given = Brief(clock=lambda now=now: now[0]) if progress is Brief else Quiet()
        with given.stage("train target", 20_000) as advance:
            for second, done, note in news:
                now[0] = 100.0 + second
                advance(done, note)
        assert capsys.readouterr().err.splitlines() == said


def test_without_a_terminal_the_usual_progress_is_brief(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert type(progress_of(None)) is Brief
    assert type(progress_of(False)) is Quiet
    assert type(progress_of(True)) is ConsoleProgress


def test_slow_units_are_told_one_by_one():
    # The first one holds the compiling: nothing can be said of the others yet.
    news = [(400.0, 1, "a"), (700.0, 1, "b"), (1000.0, 1, "c"), (1300.0, 1, "d")]
    assert lines_of(news, 40)[:3] == [
        "train target: 1/40, a",
        "train target: 2/40, b; 3:10:00 left",
        "train target: 3/40, c; 3:05:00 left",
    ]


def test_time_left_of_a_resumed_training_counts_no_epoch_of_an_earlier_run():
    assert lines_of([(50.0, 61, "a"), (90.0, 1, "b")], 100)[0] == "train target: 62/100, b; 0:25:20 left"


def test_short_stage_elsewhere_says_nothing_before_its_end():
    news = [(6.0 * number, 1, "") for number in range(10)]
    assert lines_of(news, 10) == ["train target:  (54.0 s)"]


def test_news_without_a_note_or_at_the_very_end():
    assert lines_of([(30.0, 1, ""), (70.0, 1, ""), (140.0, 2, ""), (210.0, 0, "4 rows")], 4) == [
        "train target: 2/4; 0:01:20 left",
        "train target: 4 rows (210.0 s)",
    ]


def test_on_a_terminal_the_bar_is_enough():
    now = iter(range(0, 10_000, 300))

    def work(console):
        with ConsoleProgress(console, clock=lambda: float(next(now))).stage("train target", 5) as advance:
            for _ in range(4):
                advance(1, "slow")

    assert "left" not in screen(work, force_terminal=True)
