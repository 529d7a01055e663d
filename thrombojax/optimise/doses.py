"""Doses and their times as decisions of a study."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from thrombojax.dosing.regimen import Regimen
from thrombojax.dosing.titration import labels, made_of
from thrombojax.dosing.treatment import Treatment
from thrombojax.errors import InputError, Problem
from thrombojax.optimise import discrete
from thrombojax.optimise.objective import Objective, objective
from thrombojax.optimise.problem import Course, Decisions, Dosing, Goal, Limit, Population, course, population, together
from thrombojax.optimise.run import gradients_by
from thrombojax.patients.population import Patients
from thrombojax.study import plan as plans
from thrombojax.study.schema import Study
from thrombojax.study.sections import Decided


@dataclass(frozen=True, eq=False)
class Doses:
    """Slots of a regimen; the rest of the treatment stays as it is."""

    study: Study
    plan: plans.Plan
    base: Treatment
    course: Course
    real: list[np.ndarray] | None
    _ready: dict[int, Population]

    @property
    def decisions(self) -> Decisions:
        return self.course.decisions

    def treatment(self, x: np.ndarray) -> Treatment:
        return replace(self.base, regimen=self.course.regimen(x))

    def levels(self) -> list[np.ndarray] | None:
        return self.real

    def function(self, patients: Patients, goals: Sequence[Goal], limits: Sequence[Limit], n: int | None) -> Objective:
        if id(patients) not in self._ready:
            seen = plans.observation(self.study, patients, self.plan.model)
            self._ready[id(patients)] = population(patients, sorted(self.base.drugs), self.plan.endpoints, seen)
        people = self._ready[id(patients)]
        head, said = self.study.head, self.study.optimise
        assert said is not None
        problem = Dosing(
            self.course, people, head.days, self.plan.endpoints, tuple(goals), tuple(limits), said.smoothing,
            head.precision, head.accuracy, gradients_by(head.backend), lambda name: f"{self.study.where}: endpoint {name!r}",
        )  # fmt: skip
        return objective(problem if n is None else problem.on(n))


def deciding(study: Study, plan: plans.Plan, cell: plans.Cell) -> Doses:
    """InputError for a drug that is not there, tablets that cannot make a dose, and what cannot be decided."""
    said, given = study.optimise, cell.treatment
    assert said is not None
    if given.adherence < 1 or given.dropout or given.rescue is not None:
        raise InputError(
            Problem(
                study.at("optimise", "arm"),
                "has missed doses or a rescue, which gradients do not see; allowed: neither",
            )
        )
    made = [part(given.regimen, study.head.days, one, where) for one, where in parts(study)]
    real = None if made[0][1] is None else [v for _, levels in made for v in levels or []]
    return Doses(study, plan, given, together([one for one, _ in made]), real, {})


def parts(study: Study) -> list[tuple[Decided, str]]:
    """What is decided of each drug, and where the study says it."""
    said = study.optimise
    assert said is not None
    if not said.dose:
        return [(said, study.at("optimise"))]
    return [(one, study.at("optimise", "dose", i)) for i, one in enumerate(said.dose)]


def part(given: Regimen, days: float, said: Decided, where: str) -> tuple[Course, list[np.ndarray] | None]:
    """One drug's course, and the values that its decisions may take."""
    high = said.high if said.high is not None else max(said.doses or (0.0,))
    made = course(
        given, days, low=said.low, high=high, drug=said.drug, hold=said.hold, move=said.move,
        amounts=said.amounts, where=where,
    )  # fmt: skip
    if said.doses is None and said.step is None:
        return made, None
    d = made.decisions
    whole = discrete.levels(d.low[d.amounts], d.high[d.amounts], said.doses, said.step)
    if any(len(v) == 0 for v in whole):
        raise InputError(Problem(f"{where}.step", "leaves no dose between low and high"))
    if whole:
        _makeable(f"{where}.doses", made, [float(v) for v in whole[0]])
    return made, [*whole, *discrete.levels(d.low[~d.amounts], d.high[~d.amounts], None, 1.0)]


def _makeable(where: str, made: Course, doses: Sequence[float]) -> None:
    """Oral doses are sums of tablets, where the drug's file has any."""
    drug, route, unit = next(w[:3] for i, w in enumerate(made.who) if made.amount[i].any())
    if route != "oral" or unit.endswith("/kg"):
        return
    sizes = [
        (s["amounts"], s["unit"])
        for s in labels(drug).get("strength", [])
        if s["form"].startswith(("tablet", "capsule"))
    ]
    known = [amounts for amounts, of in sizes if of == unit]
    bad = [d for d in doses if d > 0 and known and not any(made_of(d, amounts) for amounts in known)]
    if bad:
        text = "; ".join(", ".join(f"{a:g}" for a in amounts) for amounts in known)
        raise InputError(Problem(where, f"{bad[0]:g} {unit} cannot be made of tablets of {drug}: {text} {unit}"))
