"""A small results file as a study with trial replicates, a ledger and a placebo arm leaves it; numbers known beforehand."""

import numpy as np

from thrombojax.store.hdf5 import filters, lay_out, new_file
from thrombojax.store.layout import Axis, Layout, Variable, flags

ARMS = ("drug", "placebo")
VISITS = np.arange(0.0, 29.0, 7.0)
TIMES = np.arange(0.0, 29.0, 3.5)
DECISIONS = ("kept", "raised", "still_withheld", "missed")


def arrays(arms=ARMS, trials=30, patients=20, failed=(), seed=0, size=1):
    """Every variable with a trial dimension, and an axis `strength` of `size` values: patients are drawn independently.

    failed: places (trial, patient) that failed in the first arm.
    """
    rng = np.random.default_rng(seed)
    base = np.exp(rng.normal(np.log(30), 0.5, (trials, patients)))
    effect = np.exp(rng.normal(0, 0.4, (size, trials, patients)))
    count = np.empty((size, len(arms), trials, len(TIMES), patients))
    for i, arm in enumerate(arms):
        rise = 0 if arm == "placebo" else 60 * (1 - np.exp(-TIMES[:, None] / 7))
        count[:, i] = base[:, None] + effect[:, :, None] * rise
    seen = count[..., ::2, :] * np.exp(rng.normal(0, 0.2, (*count.shape[:3], len(VISITS), patients)))
    missed = rng.random(seen.shape) < 0.05
    seen[missed] = np.nan
    at_50 = count >= 50
    made = {
        "responded": 1.0 * (np.nan_to_num(seen[..., -1, :]) >= 60),
        "nadir": count.min(-2),
        "first_day_at_50": np.where(at_50.any(-2), TIMES[at_50.argmax(-2)], np.nan),
        "peak_day": TIMES[count.argmax(-2)],
        "platelets": count,
        "count": count[..., ::2, :],
        "seen": seen,
        "decision": np.where(missed, 3.0, rng.integers(0, 3, seen.shape)),
        "dose": np.ones(seen.shape),
        "rescue": np.zeros(seen.shape),
    }
    status = np.zeros((size, len(arms), trials, patients))
    for trial, patient in failed:
        status[:, 0, trial, patient] = 1
        for values in made.values():
            values[:, 0, trial, ..., patient] = np.nan
    return {**made, "status": status, "body.weight": rng.normal(70, 10, (trials, patients))}


def write(path, made, arms=ARMS, trials=True, shard=64, ledger=True, trajectories=True):
    """The file of such arrays; trials: False for the first trial alone, without the dimension."""
    size, _, count, patients = made["nadir"].shape
    lead = [*(["strength"] if size > 1 else []), "arm", *(["trial"] if trials else [])]
    cell = (*lead, "patient")
    platelets = {"unit": "1/nL", "attrs": {"display_units": "10^9/L"}}
    variables = [
        Variable("responded", cell, unit="1", attrs={"reducer": "response"}),
        Variable("nadir", cell, **platelets),
        Variable("first_day_at_50", cell, unit="day", attrs={"reducer": "first_day_at_or_above"}),
        Variable("peak_day", cell, unit="day"),
        Variable("status", cell, "uint8", role="status", attrs=flags({"ok": 0, "not_finite": 1})),
        Variable(
            "body.weight", tuple(d for d in cell if d in ("trial", "patient")), role="parameter", group="parameters"
        ),
    ]
    if trajectories:
        variables.append(Variable("platelets", (*lead, "time", "patient"), role="trajectory", **platelets))
    if ledger:
        how = {"role": "trajectory", "group": "ledger", "compression": "gzip"}
        codes = flags({name: code for code, name in enumerate(DECISIONS)}, "float32")
        for name in ("count", "seen", "decision", "dose", "rescue"):
            attrs = {"attrs": codes} if name == "decision" else {"unit": "1/nL"}
            variables.append(Variable(name, (*lead, "visit", "patient"), **attrs, **how))
    axes = [Axis("arm", np.array(arms, dtype=object))]
    axes = ([Axis("strength", np.arange(1.0, size + 1), "ug/kg")] if size > 1 else []) + axes
    axes += [Axis("trial", np.arange(count))] if trials else []
    axes += [Axis("time", TIMES, "day")] if trajectories else []
    axes += [Axis("visit", VISITS, "day")] if ledger else []
    layout = Layout((*axes, Axis("patient", np.arange(patients))), tuple(variables), shard_patients=shard)

    def data(name):
        if name == "body.weight":
            return made[name] if trials else made[name][0]
        values = made[name] if size > 1 else made[name][0]
        return values if trials else np.take(values, 0, axis=2 if size > 1 else 1)

    def make(parent, variable, shape):
        values, chunks = data(variable.name).astype(variable.dtype), layout.chunks(variable)
        return parent.create_dataset(variable.name, data=values, chunks=chunks, **filters(variable))

    with new_file(path) as (file, _):
        lay_out(file, layout, 0, patients, make)
        file.create_group("provenance").attrs.update({"study": '[study]\nname = "trials"\n', "precision": "f32"})
    return path
