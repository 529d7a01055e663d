"""Measuring in other processes: workers whose repeats are interleaved, and whole commands."""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PACKAGES = str(Path(__file__).parents[2])


class Failed(Exception):
    """A worker that could not do its work; the message is the last thing it said."""


class Worker:
    """One workload in a process of its own. `start` returns at once; `ready` waits until it has warmed up."""

    def __init__(self, **options: Any):
        self.options = options
        self.facts: dict[str, Any] = {}
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the worker)
        words = [sys.executable, "-m", "thrombojax.bench.worker", json.dumps(options)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
                                         bufsize=1, env=environment(options.get("environment", {})))  # fmt: skip

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def ready(self) -> "Worker":
        self.facts = self._answer()["facts"]
        return self

    def time(self, call: str = "run") -> dict[str, Any]:
        """seconds and joules (or None) of one call."""
        return self._ask(call)

    def end(self) -> dict[str, Any]:
        """peak_rss_bytes, and what the workload has to say when all has been timed."""
        return self._ask("end")

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            return dict(json.loads(line))
        status = self._process.wait()
        self._said.seek(0)
        last = next(
            (text.strip() for text in reversed(self._said.readlines()) if text.strip()), f"exit status {status}"
        )
        raise Failed(last[:300])


def once(**options: Any) -> dict[str, Any]:
    """The facts of a workload that has nothing to time."""
    with Worker(**options) as worker:
        return worker.ready().facts


Result = dict[str, Any] | Failed
"""A worker's facts and last words with `times` (call -> answers of all rounds), or why it failed."""


def interleaved(wanted: Sequence[Mapping[str, Any]], repeats: int, together: int = 2) -> list[Result]:
    """What each worker of `wanted` (its options) found; all live at once.

    A round calls each worker once, so that a busy minute of the machine falls on all alike; an option `repeats` makes a
    worker sit out later rounds. together: workers that prepare at the same time.
    """
    with ExitStack() as stack:
        failed: dict[int, Failed] = {}
        times: list[dict[str, list[dict[str, Any]]]] = [{} for _ in wanted]
        last: list[dict[str, Any]] = [{} for _ in wanted]

        def ask(i: int, call: Callable[[], Any]) -> Any:
            """The answer of a worker that has not failed before."""
            try:
                return call() if i not in failed else None
            except Failed as error:
                failed[i] = error
                return None

        def begin(i: int) -> Worker:
            worker = stack.enter_context(Worker(**wanted[i]))
            ask(i, worker.ready)
            return worker

        with ThreadPoolExecutor(together) as pool:
            workers = list(pool.map(begin, range(len(wanted))))
        for turn in range(repeats):
            for i, worker in enumerate(workers):
                for name in wanted[i].get("calls", ("run",)) if turn < wanted[i].get("repeats", repeats) else ():
                    answer = ask(i, functools.partial(worker.time, name))
                    times[i].setdefault(name, []).extend([answer] if answer else [])
        for i, worker in enumerate(workers):
            last[i] = ask(i, worker.end) or {}
        return [failed.get(i) or {**workers[i].facts, **last[i], "times": times[i]} for i in range(len(wanted))]


def command(words: Sequence[str], changes: Mapping[str, str]) -> dict[str, Any]:
    """Seconds from the start of a command to its end, and its largest resident memory."""
    with tempfile.TemporaryFile("w+") as said:
        began = time.perf_counter()
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                                   env=environment(changes))  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise Failed((said.read().strip().splitlines() or [f"exit status {process.returncode}"])[-1][:300])
    unit = 1 if sys.platform == "darwin" else 1024
    return {"seconds": seconds, "peak_rss_bytes": used.ru_maxrss * unit}


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with the package it runs from first on the path, and some changes."""
    paths = [PACKAGES, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **changes}
