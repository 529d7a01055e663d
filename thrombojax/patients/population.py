"""Virtual patients: where their parameters come from, and their steady state before treatment."""

import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.cohort import COUNT
from thrombojax.patients.draw import normal, numbered
from thrombojax.solve import native
from thrombojax.solve.engine import NO_BASELINE, OK, Cohort

PREPARE = 1024
"""Patients per launch of the baseline solve: one fixed block, so that no chunking changes a bit."""
RESIDUAL = 1e-6
"""Largest relative residual that counts as a steady state."""


@dataclass(frozen=True)
class Patients:
    """Patients of a cohort or of a model, with changes; parameters are drawn when a study says which drugs the model needs.

    index: `[patient]`, numbers of the patients in the cohort of `seed` (the same number is the same patient always), or None
    for the typical patient repeated `n` times. changes: leaf -> number or `[patient]` (`count` sets the blood count that
    anchors a cohort such as ITP); scales: leaf -> factor on what was drawn or set; places: of patients without a number, where
    some were picked.
    """

    source: registry.Source
    n: int
    cohort: cohorts.Cohort | None = None
    seed: int = 1
    index: np.ndarray | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, Any] = field(default_factory=dict)
    places: np.ndarray | None = None

    @property
    def numbers(self) -> np.ndarray:
        """Whose errors and fluctuations each patient has (`[patient]`): its number, or its place where it has none."""
        if self.index is not None:
            return self.index
        return numbered(self.n) if self.places is None else self.places

    def replace(self, changes: Mapping[str, Any] | None = None, **more: Any) -> "Patients":
        """The same patients with parameters set, to a number or to one value per patient.

        Names may be short where that is unique: `.replace(spleen_ratio=0.02)`, `.replace({"platelets.spleen_ratio": 0.02})`.
        """
        given = {**(changes or {}), **more}
        problems = []
        for name, value in given.items():
            array = np.asarray(value)
            if array.dtype.kind not in "iuf" or array.ndim > 1 or not np.all(np.isfinite(array)):
                problems.append(Problem(name, f"must be a finite number or a list of them, given {value!r}"))
            elif array.ndim and len(array) != self.n:
                problems.append(Problem(name, f"has {len(array)} values for {self.n} patients"))
        if problems:
            raise InputError(*problems)
        scales = {leaf: factor for leaf, factor in self.scales.items() if leaf not in given}
        return replace(self, changes={**self.changes, **given}, scales=scales)

    def scale(self, name: str, factor: float) -> "Patients":
        """The same patients with a parameter multiplied, whether it was drawn or set."""
        return replace(self, scales={**self.scales, name: factor * self.scales.get(name, 1.0)})

    def pick(self, rows: Any) -> "Patients":
        """Some of these patients, by a slice or by their places, each the same as before."""
        part = {name: np.asarray(v)[rows] if np.ndim(v) else v for name, v in self.changes.items()}
        index = None if self.index is None else self.index[rows]
        n = len(range(self.n)[rows]) if isinstance(rows, slice) else len(rows)
        return replace(self, n=n, index=index, changes=part, places=self.numbers[rows])


def values(patients: Patients, model: Model) -> dict[str, np.ndarray]:
    """Every parameter of every patient by leaf name (`[patient]`, float64), and `count` where it anchors."""
    defaults = struct.as_dict(model.defaults)
    n = patients.n
    if patients.cohort is not None:
        cohorts.check_units(
            patients.cohort, {leaf.name: leaf.quantity.unit for leaf in struct.fields(model.Parameters)}
        )
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
    anchored = patients.cohort.anchor.unknown if patients.cohort and patients.cohort.anchor else None
    for name, value in patients.changes.items():
        given = _leaf(name, known, patients)
        if given is None:
            continue
        found[given] = np.broadcast_to(np.asarray(value, float), (n,)).copy()
        if given == anchored:
            found.pop(COUNT, None)
    for name, factor in patients.scales.items():
        scaled = _leaf(name, known, patients)
        if scaled == (anchored if COUNT in found else COUNT) and anchored is not None:
            message = f"{anchored} and the count are solved from each other: only the one that is given can be scaled"
            raise InputError(Problem(name, message))
        if scaled is not None:
            found[scaled] = found[scaled] * factor
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
    run = steady_states(model, key)

    def block(start: int) -> Any:
        rows = np.resize(np.arange(start, min(start + PREPARE, n)), PREPARE)
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, run([column[rows] for column in given]))

    parts = [block(0)]  # compiles once, before the others need the program
    with ThreadPoolExecutor(native.cores(), thread_name_prefix="thrombojax-prepare") as pool:
        parts += pool.map(block, range(PREPARE, n, PREPARE))
    p, y0, rate, residual = jax.tree.map(lambda *a: np.concatenate(a)[:n], *parts)
    sound = np.all([np.isfinite(leaf) for leaf in jax.tree.leaves((p, y0))], axis=0) & (np.abs(residual) < RESIDUAL)
    return Cohort(p, y0, rate, np.where(sound, OK, NO_BASELINE).astype(np.uint8))


@functools.lru_cache(maxsize=64)
def steady_states(model: Model, anchor: tuple[str, tuple[float, float]] | None) -> Any:
    """Jitted: leaves of one block (and counts) -> (p, y0, fastest rate, residual of the steady state)."""

    def block(leaves: list[Any]) -> Any:
        count = leaves[-1] if anchor is not None else None
        p: Any = struct.unflatten(model.Parameters, leaves[: len(struct.names(model.Parameters))])
        shape = jnp.zeros_like(leaves[0])
        if anchor is not None and model.anchor is not None:
            p, y0, residual = model.anchor(p, anchor[0], count, anchor[1])
        elif model.steady is not None:
            y0, residual = model.steady(p)
        else:
            y0, residual = model.initial(p), shape
        y0 = jax.tree.map(lambda a: a + shape, y0)
        return p, y0, model.max_rate(p) + shape, residual + shape

    return jax.jit(block)


def shared(model: Model, cohort: Cohort) -> Any:
    """Parameters as scalars for what must be the same in all patients (lags, breakpoints); an error names what varies."""
    first = jax.tree.map(lambda a: np.float64(a[0]), cohort.p)
    for (drug, route), entry in model.entries.items():
        if entry.lag is not None and np.ptp(np.asarray(entry.lag(cohort.p))) > 0:
            raise InputError(Problem(f"{drug} {route}", "lag times that vary between patients are not supported yet"))
    points = model.breakpoints(cohort.p)
    for times in (points.at, *points.after_dose.values()):
        if any(np.ptp(np.asarray(t)) > 0 for t in times):
            raise InputError(Problem(model.name, "breakpoints that vary between patients are not supported yet"))
    return first


@dataclass(frozen=True)
class CohortSource:
    """A cohort of a model, to sample from."""

    name: str
    source: registry.Source = field(default_factory=registry.Source)

    def _load(self) -> cohorts.Cohort:
        return cohorts.load(registry.build(self.source).cohorts, self.name)

    def sample(self, n: int, seed: int = 1) -> Patients:
        """Patients 0..n-1; a larger sample of the same seed begins with the same patients."""
        if n < 1:
            raise InputError(Problem("n", f"must be at least 1, given {n}"))
        return Patients(self.source, n, self._load(), seed, numbered(n))

    def typical(self) -> Patients:
        """One patient with every median, and the most probable part of every mixture."""
        return Patients(self.source, 1, self._load())


def cohort(name: str, model: str = "feedback", parameter_set: str = DEFAULT_SET) -> CohortSource:
    """A cohort by name; an unknown one is an error that names the nearest."""
    found = CohortSource(name, registry.Source(model, parameter_set))
    known = cohorts.names(registry.build(found.source).cohorts)
    if name not in known:
        raise InputError(unknown("cohort", "cohort", name, known))
    return found


def of_model(source: registry.Source, changes: Mapping[str, Any]) -> Patients:
    """Patients by covariates and parameters, the rest typical; lists give one patient per value."""
    sizes = {np.size(v) for v in changes.values() if np.ndim(v)}
    if len(sizes) > 1:
        raise InputError(Problem(", ".join(changes), f"lists of different lengths: {sorted(sizes)}"))
    return Patients(source, sizes.pop() if sizes else 1).replace(changes)
