"""Small results files, written by the store, with numbers that look like platelets."""

import numpy as np

from thrombojax.store.hdf5 import filters, lay_out, new_file
from thrombojax.store.layout import Axis, Layout, Variable, flags

STUDY = """schema = 1
[study]
name = "itp-romiplostim-dose-response"
question = "How does the platelet response in ITP depend on the weekly romiplostim dose?"
"""
DOSES = Axis("dose", np.array([0.0, 1.0, 3.0, 5.0, 7.0, 10.0]), "ug/kg")
PLATELETS = {"unit": "1/nL", "attrs": {"display_units": "10^9/L"}}


def write(path, axes=(), arms=("weekly",), patients=200, days=85, observables=("platelets",), endpoints=True, **more):
    """A results file. The first axis is the dose; an arm named placebo has none. more: failed, and provenance.

    failed: patients whose status is not 0, in every cell.
    """
    failed = list(more.pop("failed", ()))
    time = np.arange(days, dtype=float)
    layout = Layout(
        (*axes, Axis("arm", np.array(arms)), Axis("time", time, "day"), Axis("patient", np.arange(patients))),
        tuple(_variables([axis.name for axis in axes], observables, endpoints)),
        shard_patients=64,
    )
    arrays = _arrays(layout, axes, arms, time, failed)

    def make(parent, variable, shape):
        data, chunks = arrays[variable.name].astype(variable.dtype), layout.chunks(variable)
        return parent.create_dataset(variable.name, data=data, chunks=chunks, **filters(variable))

    with new_file(path) as (file, _):
        lay_out(file, layout, 0, patients, make)
        facts = {"study": STUDY, "precision": "f32", "audit_p99_relative_error": 2.1e-5, "audit_patients": 256}
        file.create_group("provenance").attrs.update(facts | more)
    return path


def _variables(axes, observables, endpoints):
    cell = (*axes, "arm", "patient")
    yield Variable("status", cell, "uint8", role="status", attrs=flags({"ok": 0, "not_finite": 1}))
    if endpoints:
        yield Variable("platelet_nadir", cell, long_name="lowest platelet count", **PLATELETS)
        yield Variable("platelet_peak", cell, long_name="highest platelet count", **PLATELETS)
        yield Variable("first_day_at_50", cell, unit="day", long_name="first day at or above 50")
        yield Variable("time_above_50", cell, unit="1", long_name="fraction of time above 50")
        yield Variable("auc", cell, unit="1/nL day", attrs={"display_units": "10^9/L day"})
    for name in observables:
        unit = PLATELETS | {"long_name": "platelet count"} if name == "platelets" else {"unit": "pg/mL"}
        yield Variable(name, (*axes, "arm", "time", "patient"), role="trajectory", **unit)


def _arrays(layout, axes, arms, time, failed):
    rng = np.random.default_rng(0)
    base = np.exp(rng.normal(np.log(20), 0.5, layout.n))
    effect = np.exp(rng.normal(0, 0.6, layout.n))
    cells = tuple(axis.size for axis in axes)
    count = np.empty((*cells, len(arms), len(time), layout.n))
    for *place, arm in np.ndindex(*cells, len(arms)):
        strength = 0.0 if arms[arm] == "placebo" else float(axes[0].values[place[0]]) if axes else 3.0
        for other in place[1:]:
            strength *= 1 + 0.5 * other
        swing = 1 + 0.2 * np.sin(np.pi * time[:, None] / 3.5)
        rise = strength * 18 * effect * (1 - np.exp(-time[:, None] / 14)) * swing
        count[(*place, arm)] = base * (1 + 0.08 * np.sin(time[:, None] / 3.5)) + rise
    count[..., failed] = np.nan
    status = np.zeros(count.shape[:-2] + count.shape[-1:])
    status[..., failed] = 1
    at_50 = count >= 50
    return {
        "status": status,
        "platelets": count,
        "tpo": 1e5 / count**2,
        "platelet_nadir": count.min(-2),
        "platelet_peak": count.max(-2),
        "first_day_at_50": np.where(at_50.any(-2), at_50.argmax(-2), np.nan),
        "time_above_50": at_50.mean(-2),
        "auc": count.sum(-2),
    } | {v.name: count for v in layout.variables if v.name.startswith("observable")}
