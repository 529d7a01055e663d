"""Reverse mode on GPUs: one patient a thread, what is recorded on the way there in the GPU's memory."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thrombojax.codegen import adjoint
from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Timeline
from thrombojax.models.protocol import Model
from thrombojax.solve import chunks, cuda, places
from thrombojax.solve.adjoint import Cotangents, checkpoint, recorded, windows
from thrombojax.solve.pieces import Plan
from thrombojax.solve.places import Place
from thrombojax.solve.xla import Watch

FILL = 1 << 15
"""Patients whose records should fit at once: as many as an H100 has threads of this kernel."""


@functools.lru_cache(maxsize=64)
def kernel(model: Model, plan: Plan, precision: str, wrt: tuple[int, ...], times: bool = True) -> cuda.Kernel:
    """Trace and transpose; raises as `cuda.kernel` does."""
    return cuda.made(adjoint.build(model, plan, wrt, times=times), precision)


def run(
    made: cuda.Kernel,
    plan: Plan,
    p: Any,
    y0: Any,
    timeline: Timeline,
    watch: Watch,
    factor: np.ndarray,
    keep: np.ndarray,
    wrt: Sequence[int],
    endpoints: Mapping[str, np.ndarray],
    saved: Mapping[str, np.ndarray],
    memory: int | None = None,
    care: Care | None = None,
    on: Sequence[Place] | None = None,
) -> Cotangents:
    """What `adjoint.run` does. memory: bytes that a place may take at once, half of what is free where not said."""
    on = places.gpus() if on is None else on
    program, n, columns = made.program, len(factor), len(plan.columns)
    room = min(place.most() for place in on) if memory is None else memory
    parameters = {k: np.zeros(n, made.dtype) for k in wrt}
    first = [np.zeros(n, made.dtype) for _ in range(program.states)]
    rule = [np.zeros(n, made.dtype) for _ in range(program.rules)]
    common = np.zeros((len(timeline.steps), 2 + 2 * columns))
    for level in np.unique(factor[factor > 0]):
        rows = np.flatnonzero(factor == level)
        case = _Back(made, plan, p, y0, timeline, watch, float(level), keep, rows, tuple(saved), care)
        case.divide(room // min(-(-len(rows) // len(on)), FILL))
        case.endpoint_ = [np.asarray(endpoints[name], made.dtype) for name in program.endpoints]
        case.saved_ = [np.asarray(values, made.dtype) for values in saved.values()]
        case.parameters, case.first = [parameters[k] for k in program.wrt], first
        case.rule = rule
        chunks.everywhere(case, on, room)
        common += case.sums.sum(axis=0).reshape(common.shape)
    start, length, dose, rate = np.split(common, [1, 2, 2 + columns], axis=1)
    return Cotangents(start[:, 0], length[:, 0], dose, rate, list(parameters.values()), first, rule)


class _Back(cuda.Course):
    """The way back of one run. parameters, first, rule: cotangents `[patient]`, written; sums: `[batch, number]`, the rest."""

    endpoint_: Sequence[Any]
    saved_: Sequence[Any]
    parameters: Sequence[np.ndarray]
    first: Sequence[np.ndarray]
    rule: Sequence[np.ndarray]

    def divide(self, room: int, most: np.ndarray | None = None) -> None:
        """Choose windows: the longest whose records fit into so many bytes. most: steps of each segment, where their number is
        traced, at most."""
        program, steps, xp = self.made.program, self.lines["steps"], self.xp
        self.window, record = windows(program, steps if most is None else most, room // self.made.dtype.itemsize)
        each = xp.asarray(recorded(program, steps), np.int64)
        ahead = xp.cumsum(each) - each
        self.mark = ahead - ahead[np.arange(len(steps)) // self.window * self.window]
        self.shares = len(steps) * (2 + 2 * program.sizes.get("dose", 0))
        self.sums = np.zeros((-(-len(self.rows) // chunks.LEAST), self.shares))
        checkpoints = -(-len(steps) // self.window) * checkpoint(program)
        self.kept = {"record": record, "checkpoint": checkpoints, "shares": self.shares}

    @property
    def each(self) -> int:
        program = self.made.program
        numbers = program.states + len(program.wrt) + program.rules + sum(self.kept.values())
        return super().each + self.made.dtype.itemsize * numbers

    def inputs(self, rows: np.ndarray) -> dict[str, Any]:
        return {
            **super().inputs(rows),
            "endpoint_": self.xp.asarray([values[rows] for values in self.endpoint_], self.made.dtype),
            "saved_": self.xp.asarray([values[:, rows] for values in self.saved_], self.made.dtype),
            "mark": self.mark.astype(np.int64),
        }

    def outputs(self, n: int) -> dict[str, cuda.Shape]:
        program, dtype = self.made.program, self.made.dtype
        return {
            "finite": cuda.Shape((n,), np.uint8),
            "p_": cuda.Shape((len(program.wrt), n), dtype),
            "y0_": cuda.Shape((program.states, n), dtype),
            "rule_": cuda.Shape((program.rules, n), dtype),
            "sums": cuda.Shape((-(-n // chunks.LEAST), self.shares), np.float64),
        }

    def scratch(self, n: int) -> dict[str, cuda.Shape]:
        return {name: cuda.Shape((values, n), self.made.dtype) for name, values in self.kept.items()}

    def prepare(self, job: Any) -> None:
        job.per_window = self.window

    def kernels(self, n: int) -> list[tuple[str, int]]:
        return [("thrombojax_back", n), ("thrombojax_sum", -(-n // chunks.LEAST) * self.shares)]

    def take(self, chunk: slice, out: Mapping[str, np.ndarray]) -> None:
        rows = self.rows[chunk]
        for into, name in ((self.parameters, "p_"), (self.first, "y0_"), (self.rule, "rule_")):
            for values, found in zip(into, out[name], strict=True):
                values[rows] = found
        at = chunk.start // chunks.LEAST
        self.sums[at : at + len(out["sums"])] = out["sums"]
