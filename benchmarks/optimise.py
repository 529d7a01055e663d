"""26 weekly doses of romiplostim in ITP by the adjoint, and by other optimisers on the same simulator.

    python -m benchmarks.optimise [--patients 300] [--times 25] [--json FILE]

All minimise the same smooth objective (minus the time in 50 to 200e9/L, plus twice that above 400e9/L) from
3 ug/kg a week, within 0 to 10 ug/kg. The target is what our projected L-BFGS reaches, a thousandth short of it.
Time counts from the first call to the first value at the target, compilation left out; a rival is given up after
`times` as long as that took. Then one gradient of each of three starts, in turns and side by side (rows of their own in one
launch), by turns in one process.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import differential_evolution, minimize

import thrombojax as tj
from thrombojax.bench import machine
from thrombojax.endpoints import Endpoint
from thrombojax.optimise import descent, objective
from thrombojax.optimise.problem import Dosing, Goal, course, population

DAYS = 182.0
ENDS = (
    Endpoint("band", "fraction_in_band", stop=DAYS, numbers={"low": 50.0, "high": 200.0}),
    Endpoint("high", "fraction_in_band", stop=DAYS, numbers={"low": 400.0, "high": 1e6}),
)
GOALS = (Goal("band", -1.0), Goal("high", 1.0, 2.0))
SLACK = 1e-3
STARTS, SIZES, REPEATS = 3, (100, 1000), 7


class Reached(Exception):
    """The target is there, or the time is over."""


class Clock:
    """Counts calls of a function; ends them at a target or a time."""

    def __init__(self, f: Callable[[Any], float], target: float, most: float):
        self.f, self.target, self.most = f, target, most
        self.began, self.calls, self.best, self.seconds = time.perf_counter(), 0, np.inf, None

    def __call__(self, x: Any) -> float:
        value = float(self.f(jnp.asarray(x)))
        self.calls += 1
        self.best = min(self.best, value)
        spent = time.perf_counter() - self.began
        if value <= self.target:
            self.seconds = spent
            raise Reached
        if spent > self.most:
            raise Reached
        return value


def problem(patients: int, precision: str = "f64") -> Dosing:
    people = population(tj.cohort("itp", parameter_set="2").sample(patients, seed=1), ("romiplostim",), ENDS)
    made = course(tj.regimen("romiplostim 3 ug/kg sc weekly x 26"), DAYS, low=0.0, high=10.0)
    return Dosing(made, people, DAYS, ENDS, GOALS, precision=precision)


def rivals(d: Any) -> dict[str, Callable[[Clock], Any]]:
    box = list(zip(d.low, d.high, strict=True))
    return {
        "SciPy L-BFGS-B, finite differences": lambda f: minimize(
            f, d.start, method="L-BFGS-B", bounds=box, options={"maxfun": 10**6}
        ),
        "SciPy COBYQA": lambda f: minimize(
            f, d.start, method="COBYQA", bounds=box, options={"maxfev": 10**6, "maxiter": 10**6}
        ),
        "SciPy differential evolution": lambda f: differential_evolution(
            f, box, x0=d.start, seed=1, maxiter=10**6, polish=False
        ),
    }  # fmt: skip


def starts(patients: int) -> dict[str, Any]:
    """Median seconds of a gradient of each of some starts, both ways, in single precision."""
    made = problem(patients, "f32")
    f = objective.objective(made)
    several = f.beside(STARTS)
    assert several is not None
    d = made.course.decisions
    x = jnp.asarray(np.random.default_rng(1).uniform(1.0, 6.0, (d.k, STARTS)))
    one = jax.jit(jax.grad(lambda x: f(x)[0]))
    all_of = jax.jit(jax.grad(lambda x: jnp.sum(several(x)[0])))
    ways = {"turns": lambda: [one(v) for v in x.T], "side_by_side": lambda: all_of(x)}
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 + REPEATS):  # the first compiles
        for name, run in ways.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            spent[name].append(time.perf_counter() - began)
    seconds = {name: float(np.median(v[1:])) for name, v in spent.items()}
    return {"patients": patients, "starts": STARTS, **seconds, "ratio": seconds["side_by_side"] / seconds["turns"]}


def measure(patients: int, times: float, say: Callable[[str], None] = print) -> dict[str, Any]:
    jax.config.update("jax_enable_x64", True)
    made = problem(patients)
    d, f = made.course.decisions, objective.objective(made)
    value = jax.jit(lambda x: f(x)[0])
    value(jnp.asarray(d.start)).block_until_ready()
    warm = descent.Settings(1, 0, 2)
    descent.descend(f, f, d.low, d.high, d.start, warm)  # compiles the adjoint
    found = descent.descend(f, f, d.low, d.high, d.start, descent.Settings(1, 0, 120, 1e-4))
    target = min(found.trace.objective) + SLACK
    # The first gradient of a descent traces anew: its time is not that of the method.
    first = found.trace.seconds[0]
    at = next(i for i, v in enumerate(found.trace.objective) if v <= target)
    ours = found.trace.seconds[at] - first + (found.trace.seconds[-1] - first) / (len(found.trace.seconds) - 1)
    rows = [
        {"method": "thrombojax, adjoint", "seconds": ours, "calls": at + 1, "best": target - SLACK, "reached": True}
    ]
    say(f"{rows[0]}")
    for name, run in rivals(d).items():
        clock = Clock(value, target, max(times * ours, 20.0))
        with contextlib.suppress(Reached):
            run(clock)
        spent = clock.seconds if clock.seconds is not None else time.perf_counter() - clock.began
        rows.append(
            {
                "method": name,
                "seconds": spent,
                "calls": clock.calls,
                "best": clock.best,
                "reached": clock.seconds is not None,
            }
        )
        say(f"{rows[-1]}")
    for row in rows:
        row["ratio"] = row["seconds"] / ours
    return {
        "machine": machine.describe(), "patients": patients, "decisions": d.k, "precision": "f64", "target": target,
        "start": float(value(jnp.asarray(d.start))), "rows": rows, "starts": [starts(n) for n in SIZES],
        "notes": "ratio: seconds over thrombojax's; a lower bound where the target was not reached",
    }  # fmt: skip


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--patients", type=int, default=300)
    ask.add_argument("--times", type=float, default=25.0)
    ask.add_argument("--json", type=Path)
    given = ask.parse_args()
    found = measure(given.patients, given.times)
    for row in found["rows"]:
        bound = "" if row["reached"] else ", not reached"
        print(f"{row['method']:<36}{row['seconds']:>9.1f} s{row['calls']:>8} calls{row['ratio']:>8.1f} x{bound}")
    for of in found["starts"]:
        print(f"{of['starts']} starts, {of['patients']} patients, a gradient of each: in turns {of['turns']:.3f} s, side by side "
              f"{of['side_by_side']:.3f} s ({of['ratio']:.2f})")  # fmt: skip
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
