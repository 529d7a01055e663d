"""Progress of a run on standard error: a bar on a terminal, a plain line every few seconds elsewhere."""

import math
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from thrombojax.execute import Progress as State

EVERY = 5.0
"""Seconds between plain lines."""


class Reporter:
    """Called with the state of the run, as often as the caller likes; the last state stays on the screen."""

    def __init__(self, stream: TextIO | None = None, every: float = EVERY):
        self.stream = stream or sys.stderr
        self.every = every
        self.bar: Progress | None = None
        self.task = TaskID(0)
        self.said = -math.inf
        self.unsaid = ""

    def __enter__(self) -> "Reporter":
        if self.stream.isatty():
            columns = (BarColumn(bar_width=30), TextColumn("{task.fields[said]}", markup=False))
            self.bar = Progress(*columns, console=Console(file=self.stream), transient=True)
            self.task = self.bar.add_task("", total=None, said="preparing")
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if self.unsaid:
            print(self.unsaid, file=self.stream, flush=True)

    def __call__(self, state: State) -> None:
        now = time.monotonic()
        self.unsaid = line(state)
        if self.bar is not None:
            self.bar.update(self.task, completed=state.done, total=state.total, said=self.unsaid)
        elif now - self.said >= self.every:
            print(self.unsaid, file=self.stream, flush=True)
            self.said, self.unsaid = now, ""


def line(state: State) -> str:
    """`1200/10000 patients (12 %), 3100 patients/s, 2.8 s left, 0 failed`."""
    share = f" ({100 * state.done // state.total} %)" if state.total else ""
    text = f"{state.done}/{state.total} patients{share}"
    if state.rate > 0:
        text += f", {state.rate:.{0 if state.rate >= 10 else 2}f} patients/s"
    if state.eta and state.done < state.total:
        text += f", {span(state.eta)} left"
    return f"{text}, {state.failed} failed"


def span(seconds: float) -> str:
    """A time that a person reads: 2.8 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
