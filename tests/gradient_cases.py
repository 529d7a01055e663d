"""Small problems whose gradients are taken, and what tests of any backend do with them.

Times of doses lie off the grid and off round fractions of it, so that no difference crosses a bound or another count of steps.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import thrombojax as tj
from thrombojax.dosing.timeline import Column, Slots, grid, schedule
from thrombojax.endpoints import Endpoint
from thrombojax.endpoints import times as times_of
from thrombojax.models import registry, struct
from thrombojax.patients import population
from thrombojax.solve import gradient
from thrombojax.solve.engine import Cohort

DAYS = 21.0
SAVE = (3.5, 10.0, 20.0)
FILE = Path(__file__).parent / "user_models" / "one_compartment.py"
USER = registry.Source("one-compartment", file=str(FILE))


def ends(low: float, high: float, drug: str) -> tuple[Endpoint, ...]:
    return (
        Endpoint("nadir", "nadir", start=5.0, stop=DAYS),
        Endpoint("mean", "mean", stop=DAYS),
        Endpoint("band", "fraction_in_band", stop=DAYS, numbers={"low": low, "high": high}),
        Endpoint("day", "value_on_day", start=14.0, stop=14.0, numbers={"day": 14.0}, visits=(14.0,)),
        Endpoint("given", "cumulative_dose", stop=DAYS, drug=drug),
    )


WEIGHTS = {"nadir": 0.01, "mean": 0.02, "band": 3.0, "day": 0.003, "given": 1e-3}
"""Of the endpoints in the objective, which is also the sum of the logarithms of all saved counts."""


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A model with its patients, doses (time, amount, duration, column; duration 0: a bolus) and what is differentiated."""

    model: Any
    patients: Any
    columns: tuple[Column, ...]
    doses: tuple[tuple[float, float, float, int], ...]
    endpoints: tuple[Endpoint, ...]
    leaves: tuple[str, ...]

    @functools.cached_property
    def cohort(self) -> Cohort:
        return population.prepare(self.patients, self.model)

    @functools.cached_property
    def at(self) -> dict[str, Any]:
        """Where gradients are taken: times, amounts, durations `[dose]`; parameters by leaf, states `[patient]`."""
        p = struct.as_dict(self.cohort.p)
        time, amount, duration = (np.array(v) for v in list(zip(*self.doses, strict=True))[:3])
        return {
            "amounts": amount,
            "times": time,
            "durations": duration,
            "parameters": {leaf: np.asarray(p[leaf]) for leaf in self.leaves},
            "y0": self.cohort.y0,
        }

    def line(self, at: Mapping[str, Any], *looked: Any) -> Any:
        """The timeline of the doses, with bounds at the days that are looked at."""
        column = tuple(d[3] for d in self.doses)
        infused = tuple(d[2] > 0 for d in self.doses)
        slots = Slots(at["times"], at["amounts"], at["durations"], column, infused)
        shared = population.shared(self.model, self.cohort)
        return schedule(self.model, shared, self.columns, slots, grid(DAYS, *looked))

    def solve(self, at: Mapping[str, Any], save: Any = SAVE, wanted: Any = None, cohort: Any = None, **how: Any) -> Any:
        cohort = self.cohort if cohort is None else cohort
        wanted = self.endpoints if wanted is None else wanted
        line = self.line(at, times_of(wanted), save)
        observables = ("platelets",) if save else ()
        given = {"parameters": at["parameters"], "y0": at["y0"], "backend": "native", **how}
        return gradient.solve(self.model, cohort, line, endpoints=wanted, save=observables, days=save, **given)

    def objective(self, at: Mapping[str, Any], live: Any = None, **how: Any) -> Any:
        """Over the patients `live` (all where None), however many there are beside them."""
        found, saved = self.solve(at, **how)
        parts = [WEIGHTS[name] * value for name, value in found.items()]
        parts += [jnp.sum(jnp.log(value), axis=0) for value in saved.values()]
        total = sum(parts[1:], parts[0])
        return jnp.sum(total if live is None else jnp.where(live, total, jnp.zeros_like(total)))

    def slope_of_amounts(self, times: bool, **how: Any) -> Any:
        """Derivative of the objective by a factor on all amounts and rates; times: with a kernel that times could be asked of."""
        base = self.line(self.at, times_of(self.endpoints), SAVE).timeline

        def objective(scale: Any, start: Any) -> Any:
            line = self.line(self.at, times_of(self.endpoints), SAVE)
            moved = base._replace(dose=base.dose * scale, rate=base.rate * scale, start=start)
            found, saved = gradient.solve(self.model, self.cohort, line._replace(timeline=moved), endpoints=self.endpoints,
                                          save=("platelets",), days=SAVE, **how)  # fmt: skip
            parts = [WEIGHTS[name] * value for name, value in found.items()]
            return jnp.sum(sum(parts)) + sum(jnp.sum(jnp.log(value)) for value in saved.values())

        if times:
            return jax.jit(jax.grad(objective))(1.0, base.start)
        return jax.grad(lambda scale: objective(scale, base.start))(1.0)

    def directions(self) -> dict[str, Any]:
        """One random direction for each kind of argument, as large as the values; parameters one by one."""
        draw = np.random.default_rng(3)
        zero = jax.tree.map(np.zeros_like, self.at)
        random = jax.tree.map(lambda a: draw.normal(size=np.shape(a)) * np.maximum(np.abs(a), 1e-3), self.at)
        random["times"] = draw.normal(size=len(self.doses))
        alone = {k: {**zero, k: random[k]} for k in ("amounts", "times", "y0")}
        if self.at["durations"].any():
            alone["durations"] = {**zero, "durations": random["durations"] * (self.at["durations"] > 0)}
        for leaf in self.leaves:
            alone[leaf] = {**zero, "parameters": {**zero["parameters"], leaf: random["parameters"][leaf]}}
        return alone


@functools.cache
def itp(drug: str, n: int = 9) -> Case:
    patients = tj.cohort("itp").sample(n)
    model = registry.build(patients.source, (drug,))
    romiplostim = drug == "romiplostim"
    column = Column((drug, "sc"), True) if romiplostim else Column((drug, "oral"), False)
    doses = (
        [(0.437, 3.0), (7.313, 2.0), (13.871, 4.0)] if romiplostim else [(0.437, 50.0), (1.391, 75.0), (9.577, 25.0)]
    )
    leaves = ("body.weight" if romiplostim else "eltrombopag.potency", "platelets.reference_count")
    return Case(
        model,
        patients,
        (column,),
        tuple((t, a, 0.0, 0) for t, a in doses),
        ends(20.0, 60.0, drug),
        leaves,
    )


@functools.cache
def user(n: int = 13) -> Case:
    """Oral doses, boluses and infusions that overlap, and an apheresis: a share of what there is."""
    model = registry.build(USER)
    draw = np.random.default_rng(5)
    spread = {
        name: list(value * np.exp(0.2 * draw.normal(size=n)))
        for name, value in {"absorption": 3.0, "elimination": 0.3, "slope": 0.1, "count": 200.0, "weight": 70.0}.items()
    }
    return Case(
        model,
        model.patients(**spread, initial_amount=[1.5] * n),
        (Column(("drug", "oral"), False), Column(("drug", "iv"), True), Column(("apheresis", "procedure"), False)),
        (
            (6.171, 30.0, 0.0, 2),
            (0.437, 10.0, 0.0, 0),
            (2.213, 0.05, 0.523, 1),
            (2.591, 0.03, 4.117, 1),
            (9.313, 0.04, 0.0, 1),
            (12.719, 5.0, 0.0, 0),
        ),
        ends(210.0, 260.0, "drug"),
        ("absorption", "elimination", "volume", "bioavailability", "slope", "weight"),
    )


@functools.cache
def several(n: int = 5) -> Case:
    """Three drugs, and no endpoint."""
    patients = tj.cohort("itp").sample(n)
    columns = (
        Column(("romiplostim", "sc"), True),
        Column(("eltrombopag", "oral"), False),
        Column(("transfusion", "iv"), False),
    )
    doses = ((0.437, 2.0, 0.0, 0), (1.391, 50.0, 0.0, 1), (3.613, 20.0, 0.0, 2), (9.577, 25.0, 0.0, 1))
    model = registry.build(patients.source, tuple(c.key[0] for c in columns))
    return Case(model, patients, columns, doses, (), ("romiplostim.potency", "eltrombopag.clearance"))


@functools.cache
def wang(n: int = 6) -> Case:
    model = registry.build(registry.Source("wang2010"))
    patients = model.patients(baseline_platelets=np.linspace(50, 400, n), weight=np.linspace(50, 110, n))
    doses = ((0.437, 1.0, 0.0, 0), (7.313, 2.0, 0.0, 0))
    ends_ = (Endpoint("nadir", "nadir", start=5.0, stop=DAYS), Endpoint("mean", "mean", stop=DAYS))
    return Case(model, patients, (Column(("romiplostim", "sc"), True),), doses, ends_, ("potency", "binding"))


@functools.cache
def published(name: str, cohort: str, column: Column, amount: float, of: tuple[str, ...], n: int = 5) -> Case:
    """Patients of a published model's cohort, and two doses."""
    patients = tj.cohort(cohort, model=name).sample(n)
    doses = ((0.437, amount, 0.0, 0), (7.313, 2 * amount, 0.0, 0))
    ends_ = (Endpoint("nadir", "nadir", start=5.0, stop=DAYS), Endpoint("mean", "mean", stop=DAYS))
    return Case(registry.build(patients.source), patients, (column,), doses, ends_, of)


CASES = {
    "romiplostim": lambda: itp("romiplostim"),
    "eltrombopag": lambda: itp("eltrombopag"),
    "infusions": user,
    "petrov2024": lambda: published(
        "petrov2024", "itp-mech-1", Column(("romiplostim", "sc"), True), 1.0, ("potency", "clearance")
    ),
    "farrell2014": lambda: published(
        "farrell2014", "cld-japanese", Column(("eltrombopag", "oral"), False), 50.0, ("slope", "clearance_child_pugh")
    ),
}
QUICK = ("romiplostim", "infusions")


def dot(a: Any, b: Any) -> float:
    return float(sum(np.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)))


def moved(at: Any, direction: Any, by: float) -> Any:
    return jax.tree.map(lambda a, d: a + by * d, at, direction)


def reverse(f: Any) -> Any:
    """The gradient as one program, where a shape is seen once: JAX compiles dozens of small ones otherwise."""
    return jax.jit(jax.grad(f))


def forward(f: Any) -> Any:
    """(at, direction) -> derivative, likewise."""
    return jax.jit(lambda at, direction: jax.jvp(f, (at,), (direction,))[1])


def patient_rows(tree: Any, rows: Any) -> Any:
    return {
        "parameters": {k: v[rows] for k, v in tree["parameters"].items()},
        "y0": jax.tree.map(lambda a: a[rows], tree["y0"]),
    }
