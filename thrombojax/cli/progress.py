"""Progress of a run on standard error: a bar on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

EVERY = 5.0
"""Seconds between plain lines."""


class Reporter:
    """Called with patients done, patients in all and patients that failed, as often as the caller likes.

    The rate counts from the first call, so that patients a resumed run finds done are not counted as fast ones.
    """

    def __init__(self, stream: TextIO | None = None, every: float = EVERY):
        self.stream = stream or sys.stderr
        self.every = every
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.start: tuple[float, int] | None = None
        self.said = 0.0
        self.text = ""

    def __enter__(self) -> "Reporter":
        if self.stream.isatty():
            console = Console(file=self.stream)
            self.bar = Progress(
                BarColumn(bar_width=30),
                TextColumn("{task.fields[said]}", markup=False),
                console=console,
                transient=True,
            )
            self.task = self.bar.add_task("", total=None, said="preparing")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.text:  # how far it came stays on the screen
            print(self.text, file=self.stream, flush=True)

    def __call__(self, done: int, total: int, failed: int = 0) -> None:
        now = time.monotonic()
        if self.start is None:
            self.start = (now, done)
            self.said = now
        self.text = line(done, total, failed, done - self.start[1], now - self.start[0])
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, said=self.text)
        elif now - self.said >= self.every:
            self.said = now
            print(self.text, file=self.stream, flush=True)
            self.text = ""


def line(done: int, total: int, failed: int, since: int, seconds: float) -> str:
    """`1200/10000 patients (12 %), 3100 patients/s, 3 s left, 0 failed`."""
    share = f" ({100 * done // total} %)" if total else ""
    text = f"{done}/{total} patients{share}"
    if since > 0 and seconds > 0:
        rate = since / seconds
        text += f", {rate:.{0 if rate >= 10 else 2}f} patients/s"
        text += f", {span((total - done) / rate)} left" if done < total else f", {span(seconds)}"
    return f"{text}, {failed} failed"


def span(seconds: float) -> str:
    """A time that a person reads: 8 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if seconds >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
