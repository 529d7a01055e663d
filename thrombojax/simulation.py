"""Simulation from Python: patients and a regimen in, labelled NumPy arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from thrombojax import dosing
from thrombojax.dosing.administer import administrations, treated
from thrombojax.dosing.regimen import Regimen
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.dosing.treatment import Treatment
from thrombojax.endpoints import Endpoint, times
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.models import registry, struct
from thrombojax.patients import clinic as clinics
from thrombojax.patients.clinic import Observation
from thrombojax.patients.population import Patients, prepare, shared
from thrombojax.solve import engine


@dataclass(frozen=True)
class Result:
    """time: `[time]` days; saved: observable -> `[time, patient]`; endpoints: name -> `[patient]`; status: `[patient]`.

    parameters: leaf -> `[patient]`; units: of every array by name. Observables are attributes too: `result.platelets`.
    visits: `[visit]` days, ledger: what was seen, decided and given there -> `[visit, patient]`, of a treatment that follows
    counts (`thrombojax.dosing.policy.LEDGER`; decisions are places in `policy.DECISIONS`).
    """

    time: Float[np.ndarray, "time"]
    saved: Mapping[str, Float[np.ndarray, "time patient"]]
    endpoints: Mapping[str, Float[np.ndarray, "patient"]]
    status: UInt8[np.ndarray, "patient"]
    parameters: Mapping[str, Float[np.ndarray, "patient"]]
    units: Mapping[str, str] = field(default_factory=dict)
    visits: Float[np.ndarray, "visit"] = field(default_factory=lambda: np.zeros(0))
    ledger: Mapping[str, Float[np.ndarray, "visit patient"]] = field(default_factory=dict)

    def __getattr__(self, name: str) -> np.ndarray:
        saved = self.__dict__.get("saved", {})
        if name in saved:
            return np.asarray(saved[name])
        raise AttributeError(f"no observable {name!r} was saved; saved: {', '.join(saved) or 'none'}")

    def to_xarray(self) -> Any:
        """xarray.Dataset with dimensions `time` and `patient`, units on every variable."""
        try:
            import xarray
        except ImportError as error:
            raise RunError("to_xarray needs xarray: pip install 'thrombojax[xarray]'") from error
        arrays: dict[str, Any] = {name: (("time", "patient"), v) for name, v in self.saved.items()}
        arrays |= {name: (("patient",), v) for name, v in self.endpoints.items()}
        data = xarray.Dataset(
            {**arrays, "status": (("patient",), self.status)},
            coords={"time": ("time", self.time, {"units": "day"}), "patient": np.arange(len(self.status))},
        )
        for name, unit in self.units.items():
            if name in data:
                data[name].attrs["units"] = unit
        return data

    def to_dataframe(self) -> Any:
        """pandas.DataFrame, tidy: one row per patient and time."""
        frame = self.to_xarray()[list(self.saved)].to_dataframe()
        return frame.reset_index().sort_values(["patient", "time"], ignore_index=True)


def simulate(
    patients: Patients,
    regimen: Regimen | Treatment | str | None = None,
    *,
    days: float,
    save_every: float | None = 1.0,
    save: Sequence[float] | None = None,
    observables: Sequence[str] = ("platelets",),
    endpoints: Sequence[Endpoint] = (),
    backend: str = "auto",
    precision: str = "f32",
    accuracy: float = 1e-4,
    observation: Observation | None = None,
) -> Result:
    """Simulate patients on a regimen (None: untreated) or a whole treatment for `days` days.

    observation: how visits measure; where it is not given, as the cohort says for a treatment that follows counts, and
    perfectly otherwise. save_every or save: days at which observables are kept (values before that day's doses). accuracy:
    relative error of the platelet count that the steps aim at. Wrong names, units and times raise InputError.
    """
    given = dosing.regimen(regimen) if isinstance(regimen, str) else regimen or Regimen()
    treatment = given if isinstance(given, Treatment) else Treatment(given)
    model = registry.build(patients.source, treatment.drugs)
    if not (np.isfinite(days) and days > 0):
        raise InputError(Problem("days", f"must be more than 0, given {days!r}"))
    kept = _save_days(days, save_every, save)
    known = struct.names(model.Obs)
    wanted = tuple(struct.resolve(name, known, "observables", "observable") for name in observables)
    windows = [e if e.stop else replace(e, stop=days) for e in endpoints]
    cohort = prepare(patients, model)
    typical = shared(model, cohort)
    cols = treated(model, [treatment])
    follows = treatment.decides or treatment.adherence < 1 or treatment.attendance < 1 or treatment.dropout > 0
    clinic = seen = None
    if follows or observation is not None:
        seen = observation or clinics.observation(patients, model)
        clinic = clinics.setting(model, [treatment], seen)
    acts = treatment.acts(days)
    knots = clinics.knots(seen, days) if seen is not None else ()
    chances = [day for some in treatment.chances(days) for day in some]
    fixed = grid(days, kept, times(windows), chances, knots)
    plan = schedule(model, typical, cols, administrations(model, treatment, cols, days), fixed)
    looks = sorted({day for e in windows for day in e.visits})
    own = clinics.care(model, clinic, treatment, seen, plan, cohort, patients, looks) if clinic and seen else None
    out = engine.solve(
        model,
        cohort,
        plan,
        endpoints=windows,
        save=wanted if kept else (),
        days=kept,
        backend=backend,
        precision=precision,
        accuracy=accuracy,
        clinic=clinic,
        care=own,
    )
    units = {leaf.name: leaf.quantity.unit for leaf in struct.fields(model.Obs)}
    return Result(
        time=np.asarray(kept),
        saved=out.saved,
        endpoints=out.endpoints,
        status=out.status,
        parameters=struct.as_dict(cohort.p),
        units={name: units[name] for name in wanted},
        visits=np.asarray(acts),
        ledger=clinics.by_visit(treatment, patients, days, out.ledger),
    )


def _save_days(days: float, every: float | None, explicit: Sequence[float] | None) -> list[float]:
    if explicit is not None:
        chosen = sorted({float(t) for t in explicit})
        if not chosen or chosen[0] < 0 or chosen[-1] > days:
            raise InputError(Problem("save", f"days must lie between 0 and {days:g}"))
        return chosen
    if every is None:
        return []
    if not every > 0:
        raise InputError(Problem("save_every", f"must be more than 0 days, given {every!r}"))
    return [float(t) for t in np.arange(int(np.floor(days / every + 1e-9)) + 1) * every if t <= days]
