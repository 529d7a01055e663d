"""A study that fits Wang 2010 to a few patients, and its table."""

import numpy as np

import thrombojax as tj

STUDY = """
schema = 1
[study]
name = "fit"
question = "What made these counts?"
model = "wang2010"
days = 40
accuracy = 1e-6
[events]
table = "counts.csv"
time_unit = "day"
doses = { "1" = ["romiplostim", "sc", "ug/kg"] }
[fit]
parameters = ["potency", "baseline_platelets", "platelet_lifespan"]
cv = { potency = 0.6, baseline_platelets = 0.2, platelet_lifespan = 0.1 }
residual_cv = 0.1
"""
CV = {"potency": 0.6, "baseline_platelets": 0.2, "platelet_lifespan": 0.1}
DAYS = (0.0, 4.0, 8.0, 12.0, 16.0, 22.0, 30.0, 40.0)
REGIMEN = "romiplostim 1 ug/kg sc weekly x 2"


def sd(cv):
    return np.sqrt(np.log1p(cv**2))


def truth(n, seed=1):
    """Parameters of n patients, `[parameter, patient]`."""
    z = np.random.default_rng(seed).normal(size=(len(CV), n))
    medians = {"potency": 0.052, "baseline_platelets": 250.0, "platelet_lifespan": 253 / 24}
    return np.stack([medians[name] * np.exp(sd(cv) * z[k]) for k, (name, cv) in enumerate(CV.items())])


def simulated(values):
    """Counts `[day, patient]` of parameters, by the simulator as any user calls it."""
    people = tj.model("wang2010").patients(**dict(zip(CV, values, strict=True)))
    return tj.simulate(people, REGIMEN, days=40, save=DAYS, precision="f64", accuracy=1e-6).saved["platelets"]


def counts(n, seed=1):
    return simulated(truth(n, seed)) * np.exp(sd(0.1) * np.random.default_rng(seed + 99).normal(size=(len(DAYS), n)))


def write(folder, dv, study=STUDY, header="ID,TIME,EVID,AMT,ADDL,II,DV"):
    rows = [header]
    for k in range(dv.shape[1]):
        rows.append(f"{k + 1},0,1,1,1,7,.")
        rows += [f"{k + 1},{day:g},0,.,.,.,{value:.10g}" for day, value in zip(DAYS, dv[:, k], strict=True)]
    (folder / "counts.csv").write_text("\n".join(rows) + "\n")
    (folder / "fit.toml").write_text(study)
    return folder / "fit.toml"
