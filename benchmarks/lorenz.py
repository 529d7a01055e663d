"""The GPU ensemble paper's problem through our generic engine: `python -m benchmarks.lorenz [--json FILE] [--most N]`.

Utkarsh et al., CMAME 2024;419:116591: Lorenz's system, rho spread over [0, 21], 1000 fixed Tsit5 steps to t = 1, N
trajectories in float32. Beside it a fair rerun of the paper's JAX side: diffrax with the same method and steps under vmap,
compiled before, results awaited, runtime checks off (EQX_ON_ERROR=nan), as its FAQ asks. A unit of time is a day here.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Annotated as A
from typing import Any, NamedTuple

os.environ.setdefault("EQX_ON_ERROR", "nan")

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from thrombojax.dosing.timeline import Slots, schedule
from thrombojax.models.protocol import Model
from thrombojax.models.struct import quantity
from thrombojax.solve import engine
from thrombojax.solve.steppers import Tableau

STEPS = 1000
TSIT5 = Tableau(
    tuple(tuple(map(float, row)) for row in diffrax.Tsit5.tableau.a_lower[:5]),
    tuple(map(float, diffrax.Tsit5.tableau.b_sol[:6])),
    5,
    3.51,
)
"""Tsitouras, Comput Math Appl 2011;62:770, doi:10.1016/j.camwa.2011.06.002; coefficients as diffrax has them."""


class State(NamedTuple):
    x: A[Array, quantity("1", "convection")]
    y: A[Array, quantity("1", "temperature difference")]
    z: A[Array, quantity("1", "distortion of the temperature profile")]


class Parameters(NamedTuple):
    rho: A[Array, quantity("1", "Rayleigh number, relative", low=0, high=21)]
    weight: A[Array, quantity("kg", "not used")]


class Obs(NamedTuple):
    platelets: A[Array, quantity("1", "x; every model observes something by this name")]


def rhs(t: Any, y: State, p: Parameters, u: Any) -> State:
    return State(10.0 * (y.y - y.x), p.rho * y.x - y.y - y.x * y.z, y.x * y.y - 8.0 / 3.0 * y.z)


MODEL = Model(
    name="lorenz",
    title="Lorenz's system",
    source="Lorenz, J Atmos Sci 1963;20:130",
    State=State,
    Parameters=Parameters,
    Obs=Obs,
    initial=lambda p: State(1.0 + 0.0 * p.rho, 0.0 * p.rho, 0.0 * p.rho),
    rhs=rhs,
    observe=lambda y, p: Obs(y.x),
    entries={},
    max_rate=lambda p: 30.0,
    defaults=Parameters(21.0, 70.0),
    steps_per_day=float(STEPS),
)


def cohort(n: int) -> engine.Cohort:
    p = Parameters(np.linspace(0.0, 21.0, n), np.full(n, 70.0))
    return engine.Cohort(p, MODEL.initial(p), np.full(n, 30.0), np.zeros(n, np.uint8))


def ours(n: int, backend: str, precision: str) -> Any:
    none = Slots(np.zeros(0), np.zeros(0), np.zeros(0), (), ())
    line = schedule(MODEL, MODEL.defaults, (), none, np.asarray([0.0, 1.0]))
    people = cohort(n)

    def run() -> np.ndarray:
        return engine.solve(
            MODEL, people, line, save=("platelets",), days=[1.0], backend=backend, precision=precision, tableau=TSIT5
        ).saved["platelets"][0]

    return run


def theirs(n: int, precision: str) -> Any:
    dtype = engine.dtype_of(precision)
    rho = jnp.linspace(0.0, 21.0, n, dtype=dtype)

    def field(t: Any, y: Any, rho: Any) -> Any:
        return jnp.stack([10.0 * (y[1] - y[0]), rho * y[0] - y[1] - y[0] * y[2], y[0] * y[1] - 8.0 / 3.0 * y[2]])

    def one(rho: Any) -> Any:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field), diffrax.Tsit5(), dtype(0), dtype(1), dtype(1 / STEPS), jnp.asarray([1, 0, 0], dtype),
            args=rho, stepsize_controller=diffrax.ConstantStepSize(), max_steps=STEPS + 8,
            adjoint=diffrax.ForwardMode(),
        )  # fmt: skip
        return solution.ys[0, 0]

    solve = jax.jit(jax.vmap(one))
    return lambda: np.asarray(jax.block_until_ready(solve(rho)))


def best(run: Any, repeats: int = 3) -> tuple[float, np.ndarray]:
    found = run()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - began)
    return min(seconds), found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path)
    parser.add_argument("--most", type=int, default=8_388_608, help="largest N for our engine")
    parser.add_argument("--precision", default="f32", choices=("f32", "f64"))
    args = parser.parse_args()
    backend = engine.choose("auto", MODEL)
    rows: list[dict[str, Any]] = []
    with jax.enable_x64(args.precision == "f64"):
        exact: dict[int, np.ndarray] = {}
        for n in (8192, 131_072, 1_048_576, 8_388_608):
            tools = {f"thrombojax {backend}": ours(n, backend, args.precision)} if n <= args.most else {}
            if n <= 131_072:
                tools["diffrax under vmap"] = theirs(n, args.precision)
            for tool, run in tools.items():
                seconds, found = best(run, 1 if n > 131_072 else 3)
                exact.setdefault(n, found)
                rows.append({
                    "tool": tool, "trajectories": n, "precision": args.precision, "seconds": seconds,
                    "trajectory_steps_per_s": n * STEPS / seconds,
                    "largest_difference": float(np.nanmax(np.abs(found - exact[n]))),
                })  # fmt: skip
                print(
                    f"{tool:20} N = {n:8}  {seconds:9.3f} s  {n * STEPS / seconds:.3g} trajectory-steps/s", flush=True
                )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
