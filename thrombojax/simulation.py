"""Simulation from Python: patients and a regimen in, labelled NumPy arrays out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from thrombojax import dosing
from thrombojax.dosing.administer import columns, slots
from thrombojax.dosing.regimen import Regimen
from thrombojax.dosing.timeline import grid, schedule
from thrombojax.endpoints import Endpoint, times
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.models import registry, struct
from thrombojax.patients.population import Patients, prepare, shared
from thrombojax.solve import engine


@dataclass(frozen=True)
class Result:
    """time: `[time]` days; saved: observable -> `[time, patient]`; endpoints: name -> `[patient]`; status: `[patient]`.

    parameters: leaf -> `[patient]`; units: of every array by name. Observables are attributes too: `result.platelets`.
    """

    time: Float[np.ndarray, "time"]
    saved: Mapping[str, Float[np.ndarray, "time patient"]]
    endpoints: Mapping[str, Float[np.ndarray, "patient"]]
    status: UInt8[np.ndarray, "patient"]
    parameters: Mapping[str, Float[np.ndarray, "patient"]]
    units: Mapping[str, str] = field(default_factory=dict)

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
    regimen: Regimen | str | None = None,
    *,
    days: float,
    save_every: float | None = 1.0,
    save: Sequence[float] | None = None,
    observables: Sequence[str] = ("platelets",),
    endpoints: Sequence[Endpoint] = (),
    backend: str = "auto",
    precision: str = "f32",
    accuracy: float = 1e-4,
) -> Result:
    """Simulate patients on a regimen (None: untreated) for `days` days.

    save_every or save: days at which observables are kept (values before that day's doses). accuracy: relative error of the
    platelet count that the steps aim at. Wrong names, units and times raise InputError.
    """
    given = dosing.regimen(regimen) if isinstance(regimen, str) else regimen or Regimen()
    model = registry.build(patients.source, given.drugs)
    if not (np.isfinite(days) and days > 0):
        raise InputError(Problem("days", f"must be more than 0, given {days!r}"))
    kept = _save_days(days, save_every, save)
    known = struct.names(model.Obs)
    wanted = tuple(struct.resolve(name, known, "observables", "observable") for name in observables)
    windows = [e if e.stop else replace(e, stop=days) for e in endpoints]
    cohort = prepare(patients, model)
    typical = shared(model, cohort)
    cols = columns(model, [given])
    plan = schedule(model, typical, cols, slots(model, given, cols, days), grid(days, kept, times(windows)))
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
    )
    units = {leaf.name: leaf.quantity.unit for leaf in struct.fields(model.Obs)}
    return Result(
        time=np.asarray(kept),
        saved=out.saved,
        endpoints=out.endpoints,
        status=out.status,
        parameters=struct.as_dict(cohort.p),
        units={name: units[name] for name in wanted},
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
