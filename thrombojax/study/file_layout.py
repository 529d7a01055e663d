"""The layout of a study's results file: its dimensions, its variables with their units, and how it is cut into shards."""

from typing import NamedTuple

import numpy as np

from thrombojax.dosing.policy import DECISIONS, LEDGER
from thrombojax.dosing.timeline import Column
from thrombojax.endpoints import REDUCERS, Endpoint
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients.draw import numbered
from thrombojax.solve import engine
from thrombojax.store.layout import DRAW, WEIGHT, Axis, Layout, Variable, flags
from thrombojax.study.schema import Study

OBSERVED = ("observation", "observed", "day", "dv", "predicted")
"""Names that a file with an event table uses besides."""
_AGAINST = {"": "", "ratio": ", x baseline", "change": ", change from baseline"}
SHARD_BYTES = 64 * 2**20
"""What the results of one shard should take in memory, at most."""
SHARD_PATIENTS = 16384
SMALL_SHARD = 1024
"""Patients below which a shard wastes launches: it gets smaller only to keep within LARGE_SHARD_BYTES."""
LARGE_SHARD_BYTES = 2**30

LEDGER_MEANING = {
    "day": ("day", "day of the visit"),
    "count": ("1/nL", "true platelet count at the visit"),
    "seen": ("1/nL", "platelet count as measured (missing: no visit)"),
    "decision": ("", "what the policy decided"),
    "dose": ("1", "dose or level from the visit on, in the unit of its rule"),
    "rescue": ("1/nL", "rescue transfusion, as a rise of the count"),
}


class Shape(NamedTuple):
    """What a layout depends on; visits: days of the ledger, where it is asked for; observed: most observations of a patient.

    weighted: whether patients have weights; uncertain: leaves of which there are draws.
    """

    study: Study
    model: Model
    ids: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    observables: tuple[str, ...]
    parameters: tuple[str, ...]
    columns: tuple[Column, ...]
    backend: str
    visits: tuple[float, ...]
    observed: int = 0
    weighted: bool = False
    uncertain: tuple[str, ...] = ()


def layout(shape: Shape) -> Layout:
    """Axes: the study's own, arm, trial, time, visit, patient, as far as it has them."""
    study, model, ids, endpoints, observables, parameters, cols, backend, visits, observed, weighted, uncertain = shape
    n = len(ids) or study.patients.n or 1
    dtype = "float64" if study.head.precision == "f64" or backend == "reference" else "float32"
    trials = study.patients.trials
    draws = study.uncertainty.draws if study.uncertainty is not None else 0
    leading = (
        *(axis.name for axis in study.axes), "arm", *((DRAW,) if draws else ()), *(("trial",) if trials else ()),
    )  # fmt: skip
    axes = [
        Axis(axis.name, np.asarray(axis.points), axis.unit, axis.parameter or f"{axis.name} in the regimen")
        for axis in study.axes
    ]
    axes.append(Axis("arm", np.asarray([arm.name for arm in study.arms], dtype=object)))
    if draws:
        axes.append(Axis(DRAW, np.arange(draws), "", "draw of the uncertain parameters"))
    if trials:
        axes.append(Axis("trial", np.arange(trials), "", "replicate of the trial, with patients of its own"))
    if observables:
        axes.append(Axis("time", np.asarray(study.save_days), "day", "time since the start of the study"))
    if visits:
        axes.append(Axis("visit", np.asarray(visits), "day", "visits at which policies decide"))
    if observed:
        axes.append(Axis("observation", np.arange(observed), "", "number of a patient's observation"))
    axes.append(people(ids, n))
    obs = {leaf.name: leaf.quantity for leaf in struct.fields(model.Obs)}
    known = {leaf.name: leaf.quantity for leaf in struct.fields(model.Parameters)}
    variables = []
    published = {e.name: {"published": e.published} for e in study.endpoints if e.published}
    for e in endpoints:
        reducer = REDUCERS[e.reducer]
        if reducer.kind == "ledger":
            base, what = next((model.entries[c.key].unit for c in cols if c.by == "policy"), "1"), ""
        elif e.drug:
            base, what = next((model.entries[c.key].unit for c in cols if c.key[0] == e.drug), "1"), f": {e.drug}"
        else:
            base, what = obs[e.observable].unit, f": {obs[e.observable].meaning}{_AGAINST[e.relative]}"
            base = "1" if e.relative == "ratio" else base
        unit = reducer.unit(base)
        variables.append(
            Variable(
                e.name,
                (*leading, "patient"),
                dtype,
                unit,
                reducer.meaning + what,
                attrs={**_shown(unit), "reducer": e.reducer, **published.get(e.name, {})},
            )
        )
    for name in observables:
        unit = obs[name].unit
        compression = study.output.compression
        variables.append(
            Variable(name, (*leading, "time", "patient"), dtype, unit, obs[name].meaning, "trajectory",
                     compression=compression, attrs=_shown(unit))
        )  # fmt: skip
    variables.append(
        Variable("status", (*leading, "patient"), "uint8", "", "how the patient's simulation ended", "status",
                 attrs=flags(engine.STATUS))
    )  # fmt: skip
    if visits:
        variables += [_entry(name, (*leading, "visit", "patient"), dtype) for name in LEDGER]
    if observed:
        variables += of_observations(leading, dtype, obs["platelets"].meaning)
    own = (*(("trial",) if trials else ()), "patient")
    variables += [
        Variable(name, own, dtype, known[name].unit, known[name].meaning, "parameter", "parameters")
        for name in parameters
    ]
    if weighted:
        variables.append(of_weights())
    variables += [
        Variable(f"{name}.factor", (DRAW,), "float64", "1", f"factor on {name}", "covariate", "uncertainty")
        for name in uncertain
    ]
    cells = (draws or 1) * int(np.prod([len(axis.points) for axis in study.axes], dtype=int)) * len(study.arms)
    per_patient = (
        cells
        * np.dtype(dtype).itemsize
        * (len(endpoints) + len(observables) * len(study.save_days) + 6 * len(visits) + observed + 1)
    )
    per_patient *= trials or 1
    shard = SHARD_PATIENTS
    while shard > SMALL_SHARD and shard * per_patient > SHARD_BYTES:
        shard //= 2
    while shard > 1 and shard * per_patient > LARGE_SHARD_BYTES:
        shard //= 2
    title = {"title": study.head.name, "institution": "", "source": f"thrombojax, model {model.name}"}
    return Layout(tuple(axes), tuple(variables), {k: v for k, v in title.items() if v}, shard)


def of_weights() -> Variable:
    """How much of the population each patient stands for."""
    return Variable(
        WEIGHT, ("patient",), "float64", "1", "share of the population that the patient stands for", "weight"
    )


def people(ids: tuple[str, ...], n: int) -> Axis:
    """The patients' axis: numbers, where all names are such (007 stays text)."""
    whole = all(i.isascii() and i.isdecimal() and len(i) < 18 and str(int(i)) == i for i in ids)
    values = numbered(n) if not ids else np.asarray([int(i) for i in ids] if whole else ids, int if whole else object)
    return Axis("patient", values, "", "patient number")


def of_observations(leading: tuple[str, ...], dtype: str, meaning: str) -> list[Variable]:
    """What an event table has of observations, and what is predicted for them (missing where a patient has fewer)."""
    place = ("observation", "patient")
    return [
        Variable("day", place, "float64", "day", "day of the observation", "covariate", "observed"),
        Variable("dv", place, "float64", "1/nL", "platelet count as observed", "covariate", "observed", attrs=_shown("1/nL")),
        Variable("predicted", (*leading, *place), dtype, "1/nL", f"predicted {meaning}", "trajectory", "observed", "gzip",
                 _shown("1/nL")),
    ]  # fmt: skip


def _entry(name: str, dims: tuple[str, ...], dtype: str) -> Variable:
    """A variable of the ledger. Its role is that of a trajectory: all visits of a patient lie in one chunk."""
    unit, meaning = LEDGER_MEANING[name]
    attrs = flags({d: k for k, d in enumerate(DECISIONS)}, dtype) if name == "decision" else _shown(unit)
    return Variable(name, dims, dtype, unit, meaning, "trajectory", "ledger", "gzip", attrs)


def _shown(unit: str) -> dict[str, str]:
    return {"display_units": unit.replace("1/nL", "10^9/L")} if "1/nL" in unit else {}
