"""Virtual patients: where their parameters come from, and their steady state before treatment."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.cohort import COUNT
from thrombojax.patients.draw import normal
from thrombojax.solve.engine import NO_BASELINE, OK, Cohort

PREPARE = 1024
"""Patients per launch of the baseline solve: one fixed block, so that no chunking changes a bit."""
RESIDUAL = 1e-6
"""Largest relative residual that counts as a steady state."""


@dataclass(frozen=True)
class Patients:
    """Patients `index` of a cohort (seed, index -> the same patient always), or given ones, with changes.

    changes: leaf name -> number or `[patient]`; `count` sets the blood count that anchors a cohort such as ITP.
    index None: one typical patient, repeated to the length of the changes.
    """

    source: registry.Source
    cohort: cohorts.Cohort | None = None
    seed: int = 1
    index: np.ndarray | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        if self.index is not None:
            return len(self.index)
        return max((np.size(v) for v in (*self.changes.values(), *self.scales.values())), default=1)

    def replace(self, **changes: Any) -> "Patients":
        """The same patients with parameters set, to numbers or one value per patient (write `a__b` or pass a dict for `a.b`)."""
        return self.change({name.replace("__", "."): value for name, value in changes.items()})

    def change(self, changes: Mapping[str, Any]) -> "Patients":
        """The same patients with the named parameters set."""
        for name, value in changes.items():
            array = np.asarray(value)
            if array.dtype.kind not in "iuf" or array.ndim > 1 or not np.all(np.isfinite(array)):
                raise InputError(Problem(name, "must be a finite number or a list of them, one per patient"))
            if self.index is not None and array.ndim and len(array) != self.n:
                raise InputError(Problem(name, f"has {len(array)} values for {self.n} patients"))
        lengths = {np.size(v) for v in (*self.changes.values(), *changes.values()) if np.ndim(v)} - {1}
        if self.index is None and len(lengths) > 1:
            raise InputError(Problem(", ".join(changes), f"lists of different lengths: {sorted(lengths)}"))
        return replace(self, changes={**self.changes, **changes})

    def take(self, start: int, stop: int) -> "Patients":
        """Patients start..stop of these, each the same as before."""
        part = {k: v[start:stop] if np.ndim(v) and np.size(v) > 1 else v for k, v in self.changes.items()}
        if self.index is not None:
            return replace(self, index=self.index[start:stop], changes=part)
        size = np.full(stop - start, np.nan)
        return replace(self, index=None, changes=part or {}, scales={**self.scales, "": size})


def values(patients: Patients, model: Model) -> dict[str, np.ndarray]:
    """Every parameter of every patient by leaf name (`[patient]`, float64), and `count` where it anchors."""
    defaults = struct.as_dict(model.defaults)
    n = patients.n
    if patients.cohort is None:
        found = {leaf: np.full(n, float(v)) for leaf, v in defaults.items()}
        if patients.index is not None:
            for leaf in struct.fields(model.Parameters):
                if leaf.quantity.cv:
                    z = normal(patients.seed, leaf.name, patients.index)
                    found[leaf.name] = found[leaf.name] * np.exp(np.sqrt(np.log1p(leaf.quantity.cv**2)) * z)
    elif patients.index is not None:
        found = cohorts.sample(patients.cohort, defaults, patients.seed, patients.index)
    else:
        found = {leaf: np.resize(v, n) for leaf, v in cohorts.typical(patients.cohort, defaults).items()}
    known = tuple(found)
    for name, factor in patients.scales.items():
        if name:
            leaf = struct.resolve(name, known, "patients")
            found[leaf] = found[leaf] * factor
    anchored = patients.cohort.anchor.unknown if patients.cohort and patients.cohort.anchor else None
    for name, value in patients.changes.items():
        leaf = _leaf(name, known, patients)
        if leaf is None:
            continue
        found[leaf] = np.broadcast_to(np.asarray(value, float), (n,)).copy()
        if leaf == anchored:
            found.pop(COUNT, None)
    return found


def _leaf(name: str, known: tuple[str, ...], patients: Patients) -> str | None:
    """Full name of a changed parameter; None where it belongs to a drug that this model was assembled without."""
    if name == COUNT and COUNT not in known:
        raise InputError(Problem("count", "only a cohort that is drawn by its count can be given one; this one is not"))
    try:
        return struct.resolve(name, known, "patients")
    except InputError:
        if registry.is_assembled(patients.source) and name.split(".")[0] in registry.drugs(patients.source):
            return None
        raise


def prepare(patients: Patients, model: Model) -> Cohort:
    """Parameters and steady states in float64. A patient without a steady state gets a status, never an exception."""
    found = values(patients, model)
    n = patients.n
    leaves = struct.names(model.Parameters)
    anchor = patients.cohort.anchor if patients.cohort is not None and COUNT in found else None
    key = (anchor.unknown, anchor.start) if anchor is not None else None
    given = [found[leaf] for leaf in leaves] + ([found[COUNT]] if anchor is not None else [])
    parts = []
    with jax.enable_x64(True):
        run = _prepare(model, key)
        for start in range(0, n, PREPARE):
            rows = np.resize(np.arange(start, min(start + PREPARE, n)), PREPARE)
            part = run([column[rows] for column in given])
            parts.append(jax.tree.map(lambda a, m=min(PREPARE, n - start): np.asarray(a)[:m], part))
    p, y0, rate, residual = jax.tree.map(lambda *a: np.concatenate(a), *parts)
    sound = np.all([np.isfinite(leaf) for leaf in jax.tree.leaves((p, y0))], axis=0) & (np.abs(residual) < RESIDUAL)
    return Cohort(p, y0, rate, np.where(sound, OK, NO_BASELINE).astype(np.uint8))


@functools.lru_cache(maxsize=64)
def _prepare(model: Model, anchor: tuple[str, tuple[float, float]] | None) -> Any:
    """Jitted: leaves of one block (and counts) -> (p, y0, fastest rate, residual of the steady state)."""

    def block(leaves: list[Any]) -> Any:
        count = leaves[-1] if anchor is not None else None
        p = struct.unflatten(model.Parameters, leaves[: len(struct.names(model.Parameters))])
        if anchor is not None and model.anchor is not None:
            p = model.anchor(p, anchor[0], count, anchor[1])
        shape = jnp.zeros_like(leaves[0])
        y0 = jax.tree.map(lambda a: a + shape, model.initial(p))
        residual = model.baseline_error(p) if model.baseline_error is not None else shape
        return p, y0, model.max_rate(p) + shape, residual + shape

    return jax.jit(block)


def shared(model: Model, cohort: Cohort) -> Any:
    """Parameters as scalars for what must be the same in all patients (lags, breakpoints); an error names what varies."""
    first = jax.tree.map(lambda a: np.float64(a[0]), cohort.p)
    for (drug, route), entry in model.entries.items():
        if entry.lag is not None and np.ptp(np.asarray(entry.lag(cohort.p))) > 0:
            raise InputError(Problem(f"{drug} {route}", "lag times that vary between patients are not supported yet"))
    for times in model.breakpoints(cohort.p).after_dose.values():
        if any(np.ptp(np.asarray(t)) > 0 for t in times):
            raise InputError(Problem(model.name, "breakpoints that vary between patients are not supported yet"))
    return first


@dataclass(frozen=True)
class CohortSource:
    """A cohort of a model, to sample from."""

    name: str
    source: registry.Source = registry.Source()

    def _load(self) -> cohorts.Cohort:
        return cohorts.load(registry.build(self.source).cohorts, self.name)

    def sample(self, n: int, seed: int = 1) -> Patients:
        """Patients 0..n-1; a larger sample of the same seed begins with the same patients."""
        if n < 1:
            raise InputError(Problem("n", f"must be at least 1, given {n}"))
        return Patients(self.source, self._load(), seed, np.arange(n))

    def typical(self) -> Patients:
        """One patient with every median, and the most probable part of every mixture."""
        return Patients(self.source, self._load())


def cohort(name: str, model: str = "feedback", parameter_set: str = "1") -> CohortSource:
    """A cohort by name; an unknown one is an error that names the nearest."""
    found = CohortSource(name, registry.Source(model, parameter_set))
    known = cohorts.names(registry.build(found.source).cohorts)
    if name not in known:
        raise InputError(unknown("cohort", "cohort", name, known))
    return found
