"""diffrax and this project on their share of the patients: `python -m benchmarks.peers.worker_jax METHOD FOLDER INDEX`.

METHOD: a diffrax solver (Tsit5, Dopri5, Dopri8), or a backend of ours (native, xla), which uses every core by itself. diffrax as
its FAQ asks for comparisons: runtime checks off (EQX_ON_ERROR=nan in the environment), nothing saved but the counts and the
state at a dose, one solve from dose to dose, blocks of patients under vmap. workers.py starts it.
"""

import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import thrombojax as tj
from benchmarks.peers import BLOCK, problem
from benchmarks.peers.problem import DAYS, SENTENCE, Problem
from thrombojax.dosing.administer import columns, slots
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.models.protocol import Inputs
from thrombojax.patients.population import shared
from thrombojax.process import prepare as prepare_process
from thrombojax.solve import engine

DIFFRAX = ("Tsit5", "Dopri5", "Dopri8")
Solve = Callable[[slice, float, float], np.ndarray]
"""(patients, rtol, atol) -> `[patient, day]` counts."""


def ours(given: Problem, backend: str) -> Solve:
    """rtol is the accuracy that the steps aim at; prepared patients, as the other tools get them."""
    regimen = tj.regimen(SENTENCE)
    cols = columns(given.model, [regimen])
    line = schedule(given.model, shared(given.model, given.cohort), cols, slots(given.model, regimen, cols, DAYS),
                    grid(DAYS))  # fmt: skip
    days = [float(day) for day in range(1, DAYS + 1)]

    def solve(rows: slice, rtol: float, atol: float) -> np.ndarray:
        p, y0, rate, status = jax.tree.map(lambda a: a[rows], (given.cohort.p, given.cohort.y0, given.cohort.rate,
                                                             given.cohort.status))  # fmt: skip
        found = engine.solve(given.model, engine.Cohort(p, y0, rate, status), line, save=("platelets",), days=days,
                             backend=backend, precision="f64", accuracy=rtol)  # fmt: skip
        return found.saved["platelets"].T

    return solve


def diffrax_vmap(given: Problem, solver: str) -> Solve:
    """One solve a week under vmap, daily counts interpolated by the solver."""
    model, nothing = given.model, Inputs({}, 0.0)
    gaps = np.diff([*given.doses, DAYS])
    length = float(gaps[0])
    assert np.all(gaps == length), "one compiled segment serves all doses"
    save = diffrax.SaveAt(
        subs=[
            diffrax.SubSaveAt(ts=jnp.arange(1.0, length + 0.5), fn=lambda t, y, p: model.observe(y, p).platelets),
            diffrax.SubSaveAt(t1=True),
        ]
    )

    def one(p, y0, amount, rtol, atol):
        def segment(y, _):
            y = y._replace(romiplostim=y.romiplostim._replace(depot=y.romiplostim.depot + amount))
            counts, last = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, p: model.rhs(t, y, p, nothing)),
                getattr(diffrax, solver)(),
                0.0,
                length,
                0.01,
                y,
                args=p,
                saveat=save,
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=atol),
                max_steps=10_000,
                throw=False,
                adjoint=diffrax.ForwardMode(),
            ).ys
            return jax.tree.map(lambda a: a[-1], last), counts

        return jax.lax.scan(segment, y0, None, length=len(gaps))[1].reshape(-1)

    run = jax.jit(jax.vmap(one, in_axes=(0, 0, 0, None, None)))

    def solve(rows: slice, rtol: float, atol: float) -> np.ndarray:
        places = np.arange(rows.start, rows.stop)
        found = []
        for start in range(0, len(places), BLOCK):
            block = places[start : start + BLOCK]
            padded = np.resize(block, BLOCK)
            p, y0 = jax.tree.map(lambda a, padded=padded: np.asarray(a)[padded], (given.cohort.p, given.cohort.y0))
            found.append(np.asarray(run(p, y0, given.amount[padded], rtol, atol))[: len(block)])
        return np.concatenate(found)

    return solve


def main() -> None:
    prepare_process("f64")
    method, folder, index = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    asked = int((folder / "sizes.txt").read_text().split()[-1])
    given = problem.make(asked)
    if method not in DIFFRAX and method not in given.model.backends:
        print(f"missing backend {method}", flush=True)
        return
    solve = diffrax_vmap(given, method) if method in DIFFRAX else ours(given, method)
    solve(slice(0, 2 * BLOCK), 1e-3, 1e-4)
    said = f"{version('diffrax')}, jax {version('jax')}" if method in DIFFRAX else version("thrombojax")
    print(f"ready {said}", flush=True)
    for line in sys.stdin:
        rtol, atol, first, last = line.split()
        before, begin = time.process_time(), time.time()
        counts = solve(slice(int(first), int(last)), float(rtol), float(atol))
        end, used = time.time(), time.process_time() - before
        np.ascontiguousarray(counts, dtype=float).tofile(folder / f"counts-{index}.bin")
        print(f"{begin:.6f} {end:.6f} {used:.6f}", flush=True)


if __name__ == "__main__":
    main()
