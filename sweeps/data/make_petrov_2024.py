"""Makes petrov-2024-itp.csv, a NONMEM-style event table: `.venv/bin/python sweeps/data/make_petrov_2024.py`.

No trial's data: 40 virtual adults with chronic ITP, not splenectomised, simulated by the published model of romiplostim of Petrov
A et al., Clin Pharmacol Drug Dev 2025;14(2):116-126, doi 10.1002/cpdd.1494 (Table S1): its equations, variability between
patients and residual error. Assumptions of ours, since the paper says less: both mechanisms are equally frequent; who has 30e9/L
or more is not enrolled; visits fall up to two days from their date and one in twelve is missed; the dose moves by 1 ug/kg a visit
towards the paper's target of 50-200e9/L (at most 15 ug/kg).

NumPy and SciPy only: nothing here is thrombojax.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp

SEED = 20241
PATIENTS = 40
OUT = Path(__file__).with_name("petrov-2024-itp.csv")
HOURS = 24.0
RESIDUAL = 0.093
TYPICAL = {"V": 2565.0, "kel": 0.03, "ka": 0.02, "EC50": 0.042, "Emax": 9.0, "ktr": 0.02}
"""L (apparent), per hour, ng/mL."""
MECHANISMS = ({"kin": 4.3, "kdeg": 0.20}, {"kin": 1.7, "kdeg": 0.08})
"""Not splenectomised: 1 destruction, 2 destruction and reduced production (1e9/L/h, per hour)."""
CV = {"V": 0.30, "kel": 0.35, "EC50": 0.73, "Emax": 0.15, "ktr": 0.11, "kin": 0.14, "kdeg": 0.50}
WEEKLY, FORTNIGHTLY = range(0, 84, 7), range(84, 168, 14)
HIGHEST, LAST = 15, 168


def parameters(mechanism: int, weight: float, antibodies: bool, eta: Mapping[str, float]) -> dict[str, float]:
    """A patient's parameters; eta: standard normal deviates by name."""
    p = {**TYPICAL, **MECHANISMS[mechanism - 1]}
    p |= {name: p[name] * float(np.exp(np.sqrt(np.log1p(CV[name] ** 2)) * z)) for name, z in eta.items()}
    p["V"] *= (weight / 77) ** 1.04
    p["kel"] *= float(np.exp(0.25 * antibodies))
    return p


def start(p: Mapping[str, float]) -> np.ndarray:
    """Depot and central amounts (ug), four precursors, platelets."""
    return np.array([0.0, 0.0, *[p["kin"] / p["ktr"]] * 4, p["kin"] / p["kdeg"]])


def advance(y: np.ndarray, p: Mapping[str, float], hours: float) -> np.ndarray:
    """The state so many hours later."""

    def rate(_: float, y: np.ndarray) -> list[float]:
        depot, central, *precursors, count = y
        seen = central / p["V"]
        made = p["kin"] * (1 + p["Emax"] * seen / (p["EC50"] + seen))
        before = [made, *(p["ktr"] * x for x in precursors)]
        chain = [a - p["ktr"] * x for a, x in zip(before[:-1], precursors, strict=True)]
        return [-p["ka"] * depot, p["ka"] * depot - p["kel"] * central, *chain, before[-1] - p["kdeg"] * count]

    if hours <= 0:
        return y
    return solve_ivp(rate, (0, hours), y, method="LSODA", rtol=1e-9, atol=1e-9).y[:, -1]


def visits(draw: np.random.Generator) -> list[tuple[float, int]]:
    """Days of the visits, and for how many weeks each gives doses; the first visit is on its day and kept."""
    planned = [*((day, 1) for day in WEEKLY), *((day, 2) for day in FORTNIGHTLY), (LAST - 2, 0)]
    moved = [(day + draw.uniform(-2, 2), weeks) for day, weeks in planned]
    kept = draw.uniform(size=len(planned)) > 1 / 12
    return [(0.0, 1), *((round(day, 2), weeks) for (day, weeks), k in zip(moved[1:], kept[1:], strict=True) if k)]


def next_dose(dose: int, count: float) -> int:
    """ug/kg of the next administrations; 0 where they are left out."""
    if count > 400:
        return 0
    step = 1 if count < 50 else -1 if count > 200 else 0
    return min(max(dose + step, 1), HIGHEST)


def patient(number: int, draw: np.random.Generator) -> list[str]:
    """The records of one patient."""
    while True:
        mechanism = int(draw.integers(1, 3))
        weight = round(float(np.clip(draw.normal(77, 0.2 * 77), 40, 140)), 1)
        p = parameters(mechanism, weight, draw.uniform() < 0.05, dict(zip(CV, draw.normal(size=len(CV)), strict=True)))
        baseline = _measured(p["kin"] / p["kdeg"], draw)
        if baseline < 30:
            break
    y, now, due, dose, records = start(p), 0.0, [], 1, []
    for k, (day, weeks) in enumerate(visits(draw)):
        for when, amount in [d for d in due if d[0] < day]:  # what was injected at home since
            y, now = advance(y, p, (when - now) * HOURS), when
            y[0] += amount
        y, now = advance(y, p, (day - now) * HOURS), day
        count = baseline if k == 0 else _measured(y[-1], draw)
        records.append(f"{number},{day:g},0,.,.,.,{count:g},{weight:g},{baseline:g},{mechanism}")
        dose = dose if k == 0 else next_dose(dose, count)
        amount, due = round(dose * weight), []
        if weeks and amount:
            y[0] += amount
            due = [(day + 7.0, amount)] if weeks == 2 else []
            more = "1,7" if weeks == 2 else ".,."
            records.append(f"{number},{day:g},1,{amount},{more},.,{weight:g},{baseline:g},{mechanism}")
        dose = max(dose, 1)
    return records


def _measured(count: float, draw: np.random.Generator) -> float:
    return round(max(count * (1 + RESIDUAL * draw.normal()), 1.0), 1)


def table() -> str:
    """The whole file."""
    lines = [
        "# Virtual patients of Petrov 2024 (doi 10.1002/cpdd.1494), made by make_petrov_2024.py; TIME in days, AMT in ug",
        "ID,TIME,EVID,AMT,ADDL,II,DV,weight,count,mechanism",
    ]
    for number in range(1, PATIENTS + 1):
        lines += patient(number, np.random.default_rng([SEED, number]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    OUT.write_text(table(), encoding="utf-8")
    print(f"{OUT}: {len(table().splitlines())} lines")
