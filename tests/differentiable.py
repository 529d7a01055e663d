"""A trajectory as a function of parameters, dose times, amounts and durations, for one patient: through XLA, or generated C."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.dosing.timeline import Column, Slots, grid, schedule
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.solve import engine, gradient
from thrombojax.solve.steppers import FixedSteps, method
from thrombojax.solve.xla import Plan, Watch, trajectory


def course(
    model: Model,
    columns: Sequence[Column],
    column: Sequence[int],
    infused: Sequence[bool],
    days: float,
    save: Sequence[float],
    observables: Sequence[str],
    *,
    stepper: Any = None,
    refine: int = 1,
) -> Any:
    """f(changes, times, amounts, durations) -> `[save, observable]`; changes: parameter -> scalar, the rest typical.

    stepper None: fixed steps in a loop that reverse mode can differentiate.
    """
    fixed = grid(days, save)
    columns = tuple(columns)

    def f(changes: Mapping[str, Any], times: Any, amounts: Any, durations: Any) -> Any:
        dtype = jnp.result_type(times)
        p = struct.replace(model.defaults, changes)
        p = jax.tree.map(lambda a: jnp.asarray(a, dtype), p)
        s = schedule(model, p, columns, Slots(times, amounts, durations, tuple(column), tuple(infused)), fixed)
        one = jax.tree.map(lambda a: a[None], p)
        chosen = FixedSteps(s.most_steps * refine, method(model)) if stepper is None else stepper
        plan = Plan(columns, (), tuple(observables), tuple(s.timeline.phase), s.infusions, chosen)
        weight = struct.as_dict(one)[model.weight]
        scale = [weight if c.per_kg else jnp.ones_like(weight) for c in columns]
        segments = len(s.timeline.start)
        none = jnp.zeros((0, segments), dtype)
        watch = Watch(none, none, jnp.zeros(0, dtype), jnp.zeros((0, 2), dtype), ())
        y0 = jax.tree.map(lambda a: a + jnp.zeros(1, dtype), model.initial(one))
        out = trajectory(model, plan, one, y0, scale, s.timeline, watch, np.int32(refine))
        at = jnp.stack([s.bound(day) for day in save])
        return jnp.stack([out.saved[name][at, 0] for name in observables], axis=-1)

    return f


def generated(
    model: Model,
    columns: Sequence[Column],
    column: Sequence[int],
    infused: Sequence[bool],
    days: float,
    save: Sequence[float],
    observables: Sequence[str],
    *,
    refine: int = 1,
) -> Any:
    """The function of `course`, by the kernel that `native` runs: compiled in seconds, in both directions."""
    fixed = grid(days, save)
    accuracy = 1e-4 / refine ** min(model.entries[c.key].order for c in columns)  # asks for as many steps, or more
    typical = jax.tree.map(lambda a: np.full(1, float(a)), model.defaults)
    y0 = jax.tree.map(lambda a: np.asarray(a) + np.zeros(1), model.initial(typical))
    cohort = engine.Cohort(typical, y0, np.asarray(model.max_rate(typical)) + np.zeros(1), np.zeros(1, np.uint8))

    def f(changes: Mapping[str, Any], times: Any, amounts: Any, durations: Any) -> Any:
        p = jax.tree.map(jnp.asarray, struct.replace(model.defaults, changes))
        slots = Slots(times, amounts, durations, tuple(column), tuple(infused))
        line = schedule(model, p, tuple(columns), slots, fixed)
        first = jax.tree.map(lambda a: a + jnp.zeros(1), model.initial(jax.tree.map(lambda a: a[None], p)))
        moved = {name: value[None] for name, value in changes.items()}
        asked = {"save": observables, "days": save, "accuracy": accuracy, "parameters": moved, "y0": first}
        _, saved = gradient.solve(model, cohort, line, backend="native", **asked)
        return jnp.stack([saved[name][:, 0] for name in observables], axis=-1)

    return f
