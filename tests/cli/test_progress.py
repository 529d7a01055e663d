"""Progress lines, and the bar that a terminal gets."""

import io

from thrombojax.cli.progress import Reporter, line, span
from thrombojax.execute import Progress


def test_a_line():
    state = Progress(done=1200, total=10_000, failed=3, rate=3100.4, eta=2.84)
    assert line(state) == "1200/10000 patients (12 %), 3100 patients/s, 2.8 s left, 3 failed"
    assert line(Progress(0, 10, 0, 0.0, None)) == "0/10 patients (0 %), 0 failed"
    assert line(Progress(10, 10, 0, 0.5, 0.0)) == "10/10 patients (100 %), 0.50 patients/s, 0 failed"


def test_spans():
    said = [span(seconds) for seconds in (0, 9.94, 9.96, 59.4, 59.6, 200, 3599.6, 7500, 100_000)]
    assert said == ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "3 min 20 s", "1 h 00 min", "2 h 05 min", "1 d 3 h"]


def test_plain_lines_come_seldom_but_the_last_always():
    stream = io.StringIO()
    with Reporter(stream, every=1000.0) as progress:
        for done in range(1, 101):
            progress(Progress(done, 100, 0, 10.0, (100 - done) / 10))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("1/100 patients (1 %)")
    assert lines[1].startswith("100/100 patients (100 %)")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_and_keeps_the_last_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Reporter(stream) as progress:
        progress(Progress(50, 100, 0, 10.0, 5.0))
    text = stream.getvalue()
    assert "\x1b[" in text
    assert text.rstrip().endswith("50/100 patients (50 %), 10 patients/s, 5.0 s left, 0 failed")


def test_no_colour_where_none_is_wanted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with Reporter(stream) as progress:
        progress(Progress(50, 100, 0, 10.0, 5.0))
    assert "\x1b[3" not in stream.getvalue()
