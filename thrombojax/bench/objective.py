"""The population objective whose gradient is timed: one place, so that faster adjoints have one place to go.

Mean over patients and weeks of (log of the trough / 100e9/L) squared, as a function of the 26 weekly doses (ug/kg).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing.timeline import Schedule
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve import gradient
from thrombojax.solve.engine import Cohort, workers
from thrombojax.solve.steppers import FixedSteps
from thrombojax.solve.xla import Plan, Watch, trajectory

TARGET = 100.0
"""1e9/L"""
BLOCK = 256
"""Patients differentiated at once: the states at all bounds of a block are kept for the way back."""

Doses = np.ndarray


Calls = dict[str, Callable[[Doses], Any]]
"""`objective`: doses -> value; `gradient`: doses -> (value, gradient); `gradient in one pass`: the same, where there is one."""


def objective(
    model: Model, cohort: Cohort, line: Schedule, weeks: Sequence[float], dtype: Any, backend: str = "xla"
) -> Calls:
    """The objective over all patients, on every core."""
    return (_kernel if backend == "native" else _blocks)(model, cohort, line, weeks, dtype)


def _kernel(model: Model, cohort: Cohort, line: Schedule, weeks: Sequence[float], dtype: Any) -> Calls:
    """Through the generated kernel, all patients in one call."""
    precision = "f64" if dtype == np.float64 else "f32"
    slot, column = (np.asarray(a) for a in np.nonzero(line.timeline.dose))
    nothing = np.zeros(np.shape(line.timeline.dose), dtype)

    def timed(doses: Any) -> Schedule:
        timeline = line.timeline._replace(dose=jnp.asarray(nothing).at[slot, column].set(doses))
        return line._replace(timeline=timeline)

    def mean(doses: Any) -> Any:
        how: dict[str, Any] = {"save": ("platelets",), "days": weeks, "precision": precision, "backend": "native"}
        _, saved = gradient.solve(model, cohort, timed(doses), **how)
        return jnp.mean(jnp.log(saved["platelets"] / dtype(TARGET)) ** 2)

    def once(doses: Any) -> Any:
        how: dict[str, Any] = {"days": weeks, "precision": precision, "backend": "native"}
        return gradient.total(model, cohort, timed(doses), _score, 1.0 / cohort.n, **how)

    def on_host(call: Any) -> Callable[[Doses], Any]:
        def run(doses: Doses) -> Any:
            with jax.enable_x64(dtype == np.float64):
                return jax.tree.map(np.asarray, call(np.asarray(doses, dtype)))

        return run

    calls = {"objective": mean, "gradient": jax.value_and_grad(mean), "gradient in one pass": jax.value_and_grad(once)}
    return {name: on_host(jax.jit(call)) for name, call in calls.items()}


def _score(saved: Any) -> Any:
    """Of one patient."""
    weeks = saved["platelets"]
    return sum(jnp.log(count / TARGET) ** 2 for count in weeks) / len(weeks)


def _blocks(model: Model, cohort: Cohort, line: Schedule, weeks: Sequence[float], dtype: Any) -> Calls:
    """Through XLA, blocks of patients on every core."""
    at = np.asarray([line.bound(day) for day in weeks])
    slot, column = (np.asarray(a) for a in np.nonzero(line.timeline.dose))
    timeline = jax.tree.map(
        lambda a: np.asarray(a, dtype if np.asarray(a).dtype.kind == "f" else np.int32), line.timeline
    )

    def loss(most: int) -> Callable[[Any, Any, Any], Any]:
        plan = Plan(line.columns, (), ("platelets",), tuple(line.timeline.phase), line.infusions, FixedSteps(most))
        nothing = np.zeros((0, len(timeline.start)), dtype)
        watch = Watch(nothing, nothing, np.zeros(0, dtype), np.zeros((0, 2), dtype), ())

        def total(doses: Any, p: Any, y0: Any) -> Any:
            given = jnp.zeros(timeline.dose.shape, dtype).at[slot, column].set(doses)
            weight = struct.as_dict(p)[model.weight]
            scale = [weight if c.per_kg else jnp.ones_like(weight) for c in line.columns]
            out = trajectory(model, plan, p, y0, scale, timeline._replace(dose=given), watch, jnp.int32(1))
            return jnp.sum(jnp.log(out.saved["platelets"][at] / dtype(TARGET)) ** 2)

        return total

    scale = 1.0 / (cohort.n * len(at))
    blocks = [
        jax.tree.map(lambda a, start=start: np.asarray(a[start : start + BLOCK], dtype), (cohort.p, cohort.y0))
        for start in range(0, cohort.n, BLOCK)
    ]
    # The value alone takes the loop that reverse mode cannot take, which is the forward run's.
    value = _over(jax.jit(loss(0)), blocks, dtype, scale)
    both = _over(jax.jit(jax.value_and_grad(loss(line.most_steps))), blocks, dtype, scale)
    return {"objective": value, "gradient": both}


def _over(call: Any, blocks: Sequence[Any], dtype: Any, scale: float) -> Callable[[Doses], Any]:
    """The sum of a call over the blocks, times `scale`, a thread per core."""

    def run(doses: Doses) -> Any:
        def one(block: Any) -> Any:
            with jax.enable_x64(dtype == np.float64):
                return jax.tree.map(np.asarray, call(np.asarray(doses, dtype), *block))

        with ThreadPoolExecutor(len(workers())) as pool:
            parts = list(pool.map(one, blocks))
        return jax.tree.map(lambda *leaves: scale * np.sum(leaves, axis=0, dtype=np.float64), *parts)

    return run
