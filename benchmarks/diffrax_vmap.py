"""The same patients through what a JAX user writes first: `jax.vmap` over an adaptive diffrax solve, dose to dose.

Tsit5 with a PID controller, one solve a week (weekly dosing), daily platelet counts saved as our endpoints need them;
runtime checks off, as diffrax's FAQ asks for comparisons. Float64.
"""

import os
import time

os.environ.setdefault("EQX_ON_ERROR", "nan")

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.models.protocol import Inputs


def solver(model, weeks: int, daily: bool):
    """Jitted: (p, y0, weekly dose ug/kg, rtol) -> platelets `[patient, week, day]`."""
    nothing = Inputs({}, 0.0)
    days = jnp.arange(1.0, 8.0) if daily else jnp.asarray([7.0])

    def one(p, y0, dose, rtol):
        def week(y, _):
            amount = dose * p.body.weight * p.romiplostim.bioavailability
            y = y._replace(romiplostim=y.romiplostim._replace(depot=y.romiplostim.depot + amount))
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(lambda t, y, p: model.rhs(t, y, p, nothing)),
                diffrax.Tsit5(),
                0.0,
                7.0,
                0.01,
                y,
                args=p,
                saveat=diffrax.SaveAt(ts=days) if daily else diffrax.SaveAt(t1=True),
                stepsize_controller=diffrax.PIDController(rtol=rtol, atol=0.01 * rtol),
                max_steps=1000,
            )
            counts = jax.vmap(lambda y: model.observe(y, p).platelets)(solution.ys)
            return jax.tree.map(lambda a: a[-1], solution.ys), counts

        return jax.lax.scan(week, y0, None, length=weeks)[1]

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None, None)))


def measure(model, cohort, dose: float, weeks: int, reference: np.ndarray, target: float, daily: bool) -> dict:
    """Time at the loosest tolerance whose 99th percentile error of weekly counts is at most `target`.

    reference: `[week, patient]` counts of the first patients.
    """
    run = solver(model, weeks, daily)
    for rtol in (5e-4, 3e-4, 2e-4, 1e-4, 3e-5, 1e-5):
        counts = np.asarray(run(cohort.p, cohort.y0, dose, rtol))
        error = np.abs(counts[: reference.shape[1], :, -1].T / reference - 1.0).max(axis=0)
        if np.quantile(error, 0.99) <= target:
            break
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        jax.block_until_ready(run(cohort.p, cohort.y0, dose, rtol))
        seconds.append(time.perf_counter() - began)
    n = cohort.n
    return {"seconds": min(seconds), "patient_years_per_s": n * weeks * 7 / 365.25 / min(seconds), "rtol": rtol,
            "achieved_error": float(np.quantile(error, 0.99)), "patients": n}  # fmt: skip
