"""Steady states of patients and how they move with their parameters, in blocks of one size."""

import functools
from typing import Any

import jax
import numpy as np

from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients import population
from thrombojax.patients.cohort import COUNT
from thrombojax.solve import engine

BLOCK = 256
"""Rows that are solved at once: one fixed block, so that no row depends on how many there are."""

Anchor = tuple[str, tuple[float, float]] | None
"""The parameter that a count is explained by, and where its search starts."""


def names(model: Model, anchor: Anchor) -> tuple[str, ...]:
    """Leaves of Parameters in order, and the count where it is given."""
    return (*struct.names(model.Parameters), *([COUNT] if anchor is not None else []))


def move(
    model: Model,
    anchor: Anchor,
    columns: list[np.ndarray],
    places: tuple[int, ...],
    slopes: np.ndarray,
    block: int = BLOCK,
) -> tuple[engine.Cohort, list[np.ndarray], list[np.ndarray]]:
    """(cohort, leaves of p in each direction `[direction, row]`, leaves of y0 likewise).

    columns: `[row]` of each of `names`; places: which of them move; slopes: by how much, `[direction, place, row]`.
    """
    run, parts, n = _moved(model, anchor, places), [], len(columns[0])
    with jax.enable_x64(True):
        for start in range(0, n, block):
            mine = np.resize(np.arange(start, min(start + block, n)), block)
            parts.append(jax.tree.map(np.asarray, run([c[mine] for c in columns], slopes[..., mine])))
    (p, y0, rate, residual), (dp, dy0) = jax.tree.map(lambda *a: np.concatenate(a, -1)[..., :n], *parts)
    sound = np.all([np.isfinite(a) for a in jax.tree.leaves((p, y0))], axis=0) & (
        np.abs(residual) < population.RESIDUAL
    )
    status = np.where(sound, engine.OK, engine.NO_BASELINE).astype(np.uint8)
    return engine.Cohort(p, y0, rate, status), jax.tree.leaves(dp), jax.tree.leaves(dy0)


@functools.lru_cache(maxsize=16)
def _moved(model: Model, anchor: Anchor, places: tuple[int, ...]) -> Any:
    """Jitted `move` of one block."""
    prepare = population.steady_states(model, anchor)

    def run(columns: list[Any], slopes: Any) -> Any:
        def solved(*moving: Any) -> Any:
            mine = list(columns)
            for place, value in zip(places, moving, strict=True):
                mine[place] = value
            return prepare(mine)

        primals = tuple(columns[place] for place in places)

        def push(along: Any) -> Any:
            return jax.jvp(solved, primals, tuple(along[k] for k in range(len(places))))

        found, moved = jax.vmap(push, out_axes=(None, 0))(slopes)  # the state itself is solved for once
        return found, moved[:2]

    return jax.jit(run)
