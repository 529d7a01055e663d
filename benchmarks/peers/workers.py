"""Tools in processes of their own: one process per core, each with its share of the patients, started by a line on its input.

The line a worker reads: `rtol atol first last`. It solves patients first..last-1, answers `begin end used` (seconds since the
epoch around the solution only, and its processor seconds) and leaves their daily counts in `counts-INDEX.bin` (float64, one row
per patient). It answers `ready VERSION` when it has compiled and loaded everything, or `missing REASON`.
"""

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.peers.problem import DAYS


class Run(NamedTuple):
    """seconds: from the first begin to the last end; busy: share of the cores' time that it had; counts: `[day, patient]`."""

    seconds: float
    busy: float
    counts: np.ndarray


class Missing(Exception):
    """A tool that is not installed here; the message says what is missing."""


class Workers:
    """`with Workers(command, folder, number, cores, env) as w: w.run(...)`; folder and index are appended to the command."""

    def __init__(self, command: Sequence[str], folder: Path, number: int, cores: int, env: dict[str, str]):
        self.folder, self.cores = folder, cores
        self.processes = []
        self.errors = [(folder / f"errors-{i}.txt").open("w+") for i in range(number)]
        for i in range(number):
            # One after another: the first compiles, the others find what it compiled.
            process = subprocess.Popen(
                [*command, str(folder), str(i)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors[i],
                text=True,
                bufsize=1,
                env={**os.environ, **env},
            )
            self.processes.append(process)
            word, _, self.version = self._answer(i).partition(" ")
            if word != "ready":
                self.close()
                raise Missing(self.version)

    def _answer(self, i: int) -> str:
        stdout = self.processes[i].stdout
        line = stdout.readline().strip() if stdout else ""
        if not line:
            self.errors[i].seek(0)
            said = self.errors[i].read().strip().splitlines()
            self.close()
            raise Missing(said[-1] if said else "its process ended without a word")
        return line

    def run(self, n: int, rtol: float, atol: float) -> Run:
        """Solve the first n patients."""
        cuts = np.linspace(0, n, len(self.processes) + 1).astype(int)
        for i, process in enumerate(self.processes):
            assert process.stdin is not None
            process.stdin.write(f"{rtol!r} {atol!r} {cuts[i]} {cuts[i + 1]}\n")
            process.stdin.flush()
        times = np.array([[float(x) for x in self._answer(i).split()] for i in range(len(self.processes))])
        parts = [np.fromfile(self.folder / f"counts-{i}.bin").reshape(-1, DAYS) for i in range(len(self.processes))]
        seconds = float(times[:, 1].max() - times[:, 0].min())
        return Run(seconds, float(times[:, 2].sum()) / (seconds * self.cores), np.concatenate(parts).T)

    def peak(self) -> int:
        """The largest resident memory of each process so far, all together; pages that they share count in each."""
        status = [Path(f"/proc/{process.pid}/status").read_text().splitlines() for process in self.processes]
        return 1024 * sum(int(line.split()[1]) for lines in status for line in lines if line.startswith("VmHWM:"))

    def real_time(self, on: bool) -> None:
        """Every thread ahead of the rest of the machine, or not, where the system allows it."""
        policy, priority = (os.SCHED_FIFO, 10) if on else (os.SCHED_OTHER, 0)
        for process in self.processes:
            for task in Path(f"/proc/{process.pid}/task").glob("*"):
                with contextlib.suppress(OSError):
                    os.sched_setscheduler(int(task.name), policy, os.sched_param(priority))

    def close(self) -> None:
        for process in self.processes:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(timeout=60)
        for file in self.errors:
            file.close()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
