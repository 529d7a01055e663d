"""A dozen patients whose doses follow counts, for tests of what clinics do and of its derivatives."""

import functools

import thrombojax as tj
from thrombojax.dosing.administer import administrations, treated
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.dosing.titration import titration
from thrombojax.dosing.treatment import Rescue, Treatment
from thrombojax.endpoints import Endpoint, times
from thrombojax.models import registry
from thrombojax.patients import clinic as clinics
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import engine

DAYS = 84.0
VISITS = tuple(7.0 * k for k in range(1, 13))
TITRATED = titration("romiplostim", "US label, adults with ITP", until=77)
RESCUE = Rescue(12.0, "transfusion", "iv", "1/nL", 40.0)
LEDGER = ("dose_increases", "dose_decreases", "dose_holds", "rescues", "titrated_dose", "wasted_dose", "last_dose")
ENDPOINTS = (
    Endpoint("weeks", "weeks_of_response", stop=DAYS, numbers={"threshold": 50, "rescue_weeks": 4}, visits=VISITS),
    Endpoint("share", "response_share", stop=70, numbers={"threshold": 50}, visits=VISITS[:-2]),
    Endpoint("durable", "response", start=42, stop=DAYS, visits=VISITS[5:],
             numbers={"threshold": 50, "needed": 3, "allow_rescue": 0}),
    Endpoint("stable", "stable_response", start=42, stop=77, visits=VISITS[5:-1],
             numbers={"threshold": 30, "needed": 3, "within": 1, "allow_rescue": 0}),
    Endpoint("near", "doses_near_mode", start=7, stop=77, visits=VISITS[:-1], numbers={"step": 1, "within": 1}),
    Endpoint("peak", "peak", stop=DAYS),
    Endpoint("dose", "cumulative_dose", stop=DAYS, drug="romiplostim"),
    *(Endpoint(name, name, stop=DAYS) for name in LEDGER),
)  # fmt: skip
TREATMENTS = {
    "titrated": Treatment(titration=TITRATED, rescue=RESCUE),
    "with misses": Treatment(titration=TITRATED, rescue=RESCUE, adherence=0.9, attendance=0.9, dropout=0.5),
    "levels": Treatment(titration=titration("eltrombopag", "US label, adults with ITP")),
    "placebo": Treatment(rescue=RESCUE),
    "windows": Treatment(titration=TITRATED, rescue=RESCUE, attendance=0.9, window=2),
    "beside a fixed regimen": Treatment(tj.regimen("eltrombopag 25 mg oral daily x 84"), TITRATED),
}


class Case:
    """One treatment of a dozen patients, ready to be solved."""

    def __init__(self, treatment: Treatment, n: int = 12):
        self.treatment = treatment
        self.patients = tj.cohort("itp").sample(n, seed=3)
        drugs = tuple(sorted({*treatment.drugs, "romiplostim"}))
        self.model = registry.build(self.patients.source, drugs)
        self.cohort = prepare(self.patients, self.model)
        self.seen = clinics.observation(self.patients, self.model)
        columns = treated(self.model, [treatment])
        acts = [day for some in treatment.chances(DAYS) for day in some]
        self.endpoints = [e for e in ENDPOINTS if e.drug is None or any(c.key[0] == e.drug for c in columns)]
        fixed = grid(DAYS, acts, times(self.endpoints), clinics.knots(self.seen, DAYS))
        slots = administrations(self.model, treatment, columns, DAYS)
        self.line = schedule(self.model, shared(self.model, self.cohort), columns, slots, fixed)
        self.clinic = clinics.setting(self.model, [treatment], self.seen)
        self.care = clinics.care(
            self.model, self.clinic, treatment, self.seen, self.line, self.cohort, self.patients, VISITS
        )

    def solve(self, backend: str, precision: str = "f64", **changes):
        given = {"clinic": self.clinic, "care": self.care, "save": ("platelets",), "days": self.treatment.acts(DAYS)}
        line = changes.pop("line", self.line)
        return engine.solve(self.model, self.cohort, line, endpoints=self.endpoints, backend=backend,
                            precision=precision, **{**given, **changes})  # fmt: skip


@functools.cache
def case(name: str) -> Case:
    return Case(TREATMENTS[name])
