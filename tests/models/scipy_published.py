"""The published models written a second time, in plain NumPy and each paper's own units, and solved by SciPy.

`.venv/bin/python tests/models/scipy_published.py` prints every number that the tests of `petrov2024`, `shimizu2021`,
`farrell2014` and `zhu2025` hold and that their sources do not print, at 1e-11; tests also compare random patients with it.
Nothing here is thrombojax.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

HOURS = 24.0
Dose = tuple[float, float]
"""Day, amount."""
Patient = Mapping[str, float]
Rate = Callable[[float, np.ndarray], Sequence[float]]


def integrate(
    rate: Callable[[float], Rate],
    y: np.ndarray,
    grid: np.ndarray,
    given: Sequence[Dose] = (),
    switches: Sequence[float] = (),
    into: int = 0,
    rtol: float = 1e-11,
    method: str = "LSODA",
) -> np.ndarray:
    """States at the days of `grid`, before that day's dose (`[state, day]`).

    rate(day): derivatives per day of the piece that begins then; given: (day, amount) into state `into`; switches: days where
    the equations change.
    """
    ends = np.unique([0.0, *(d for d, _ in given), *switches, grid[-1]])
    ends = ends[ends <= grid[-1]]
    found = np.zeros((len(y), len(grid)))
    found[:, grid == 0] = y[:, None]
    for a, b in pairwise(ends):
        y = y.copy()
        y[into] += sum(amount for day, amount in given if day == a)
        mine = np.flatnonzero((grid > a) & (grid <= b))
        at = np.unique([*grid[mine], b])
        piece = solve_ivp(rate(a), (a, b), y, method=method, rtol=rtol, atol=rtol, t_eval=at)
        assert piece.success
        found[:, mine] = piece.y[:, np.searchsorted(at, grid[mine])]
        y = piece.y[:, -1]
    return found


def top(t: np.ndarray, v: np.ndarray) -> tuple[float, float]:
    """Highest value between the points of a fine grid, and its day: a polynomial through the seven points around."""
    k = int(np.clip(v.argmax(), 3, len(v) - 4))
    x, near = (t[k - 3 : k + 4] - t[k]) / (t[k + 1] - t[k]), v[k - 3 : k + 4]
    c = np.polynomial.Polynomial.fit(x, near - near[3], 6)
    roots = [r.real for r in c.deriv().roots() if abs(r.imag) < 1e-9 and -1.01 <= r.real <= 1.01]
    best = max(roots, key=c)
    return float(c(best) + near[3]), float(t[k] + best * (t[k + 1] - t[k]))


# --- Petrov 2024: hours, ug, ng/mL -----------------------------------------------------------------------------------
PETROV = {"V": 2565.0, "kel": 0.03, "ka": 0.02, "EC50": 0.042, "Emax": 9.0, "ktr": 0.02, "kin": 4.3, "kdeg": 0.20,
          "WT": 77.0, "NAB": 0.0}  # fmt: skip
PETROV_GROUPS = {
    "itp-mech-1": {"kin": 4.3, "kdeg": 0.20},
    "itp-mech-2": {"kin": 1.7, "kdeg": 0.08},
    "itp-splenectomised-mech-1": {"kin": 4.3, "kdeg": 0.26},
    "itp-splenectomised-mech-2": {"kin": 1.7, "kdeg": 0.10},
}


def petrov(p: Patient, doses: Sequence[Dose], grid: np.ndarray, **how: object) -> dict[str, np.ndarray]:
    """Platelets (1e9/L) and drug (ng/mL)."""
    volume = p["V"] * (p["WT"] / 77) ** 1.04
    kel = p["kel"] * np.exp(0.25 * p["NAB"])

    def rate(_: float, y: np.ndarray) -> list[float]:
        depot, central, p1, p2, p3, p4, circ = y
        c = central / volume
        made = p["kin"] * (1 + p["Emax"] * c / (p["EC50"] + c))
        k = p["ktr"]
        per_hour = [-p["ka"] * depot, p["ka"] * depot - kel * central, made - k * p1, k * (p1 - p2), k * (p2 - p3),
                    k * (p3 - p4), k * p4 - p["kdeg"] * circ]  # fmt: skip
        return [HOURS * x for x in per_hour]

    y = np.array([0.0, 0.0, *[p["kin"] / p["ktr"]] * 4, p["kin"] / p["kdeg"]])
    found = integrate(lambda _: rate, y, grid, doses, **how)
    return {"platelets": found[6], "concentration": found[1] / volume}


# --- Farrell 2014: hours, mg, ug/mL ----------------------------------------------------------------------------------
FARRELL = {"CL": 0.953, "V": 9.75, "Vp": 9.41, "Q": 0.633, "Ka1": 0.333, "Ka2": 5.26, "MTIME": 1.46, "lag": 0.447,
           "SLOP": 0.648, "KIN": 0.211, "KT": 0.0214, "base": 41.0, "female": 0.0, "east_asian": 0.0, "south_asian": 0.0,
           "CP": 6.0}  # fmt: skip


def farrell(p: Patient, doses: Sequence[Dose], grid: np.ndarray, **how: object) -> dict[str, np.ndarray]:
    """Platelets (1e9/L) and drug (ug/mL). CP 0: healthy. The depot left over empties at Ka1 from the next dose on."""
    liver = 0.536 * (1 - 0.113 * (p["CP"] - 5)) if p["CP"] else 1.0
    cl = p["CL"] * 0.622 ** p["female"] * 0.476 ** p["east_asian"] * liver
    volume = p["V"] * 2.98 ** p["south_asian"]
    slope = p["SLOP"] * 0.660 ** p["east_asian"]
    out = p["KIN"] / p["base"]
    lag, late = p["lag"] / HOURS, p["MTIME"] / HOURS
    days = [d for d, _ in doses]

    def rate(begin: float) -> Rate:
        before = [d for d in days if d <= begin + 1e-12]
        early = bool(before) and begin < before[-1] + late - 1e-12
        ka = p["Ka1"] if early else p["Ka2"]

        def per_day(_: float, y: np.ndarray) -> list[float]:
            depot, central, peripheral, p1, p2, p3, circ = y
            c = central / volume
            moved = p["Q"] * (c - peripheral / p["Vp"])
            k = p["KT"]
            per_hour = [-ka * depot, ka * depot - cl * c - moved, moved, p["KIN"] * (1 + slope * c) - k * p1,
                        k * (p1 - p2), k * (p2 - p3), k * p3 - out * circ]  # fmt: skip
            return [HOURS * x for x in per_hour]

        return per_day

    y = np.array([0.0, 0.0, 0.0, *[p["KIN"] / p["KT"]] * 3, p["base"]])
    switches = [*days, *(d + late for d in days)]
    found = integrate(rate, y, grid, [(d + lag, a) for d, a in doses], switches, **how)
    return {"platelets": found[6], "concentration": found[1] / volume}


# --- Shimizu 2021: days, mg, ng/mL, pM, cells ------------------------------------------------------------------------
SHIMIZU = {"T0": 1.4, "P0": 20.0, "f": 2 / 3, "PP": 0.0, "kout": 1.0, "F": 1.0}
"""PP or f is derived from the other: 0 says which."""
SHIMIZU_CLD = {**SHIMIZU, "T0": 0.78, "P0": 4.0, "f": 0.0, "PP": 2500.0}


def shimizu(p: Patient, doses: Sequence[Dose], grid: np.ndarray, **how: object) -> dict[str, np.ndarray]:
    """Platelets (1e9/L), free TPO (pM), drug (ng/mL), first megakaryocytes and first platelets (cells), plasma fraction."""
    emax, half, ec50 = 4.52, (4.52 - 1) * 1.4, 183.0
    t0, kout, r0 = p["T0"], p["kout"], 164 * p["P0"] / 20
    k0 = emax * t0 / (half + t0)
    kon, koff, kfn, knf, kint = 1.32, 60.0, 3.12, 1.152, 2.4 * t0 / 1.4
    pp = p["PP"] or p["P0"] * 5e10 / (p["f"] * 2**26 * 9 * k0)
    f = p["f"] or p["P0"] * 5e10 / (pp * 2**26 * 9 * k0)
    made = kint * kon * t0 * r0 / (koff + kint)

    def rate(_: float, y: np.ndarray) -> np.ndarray:
        depot, central, per1, per2, t, t_ns, t_cx = y[:7]
        prog, mk, plt = y[7:34], y[34:39], y[39:48]
        c = 1000 * central / 13.7
        kout1 = max(kout * emax * (t / (half + t) + c / (ec50 + c)), kout * k0)
        bound = kon * t * r0 * (plt.sum() / 5e10 * f / p["P0"])
        first = 1.2816 * central - 2.088 * per1
        second = 0.03408 * central - 0.14088 * per2
        return np.concatenate([
            [-7.176 * depot, 7.176 * depot - 1.358 * central - first - second, first, second],
            [made - bound + koff * t_cx - kfn * t + knf * t_ns, kfn * t - knf * t_ns, bound - (koff + kint) * t_cx],
            kout1 * (np.append(1.0, 2 * prog[:-1]) - prog),
            [kout1 * prog[-1] - kout * mk[0]], kout * (mk[:-1] - mk[1:]),
            [pp * kout * mk[-1] - kout * plt[0]], kout * (plt[:-1] - plt[1:]),
        ])  # fmt: skip

    y = np.concatenate([np.zeros(4), [t0, kfn / knf * t0, kon * t0 * r0 / (koff + kint)], 2.0 ** np.arange(27),
                        np.full(5, 2**26 * k0), np.full(9, pp * 2**26 * k0)])  # fmt: skip
    found = integrate(lambda _: rate, y, grid, [(d, a * p["F"]) for d, a in doses], **how)
    return {"platelets": found[39:48].sum(0) / 5e10 * f * 10, "tpo": found[4], "concentration": 1000 * found[1] / 13.7,
            "mk1": found[34], "plt1": found[39], "plasma_fraction": np.full(len(grid), f)}  # fmt: skip


# --- Zhu 2025: days, cells per kg ------------------------------------------------------------------------------------
ZHU = {"p1": 0.027, "p2": 0.035, "p3": 0.808, "p4": 1.52, "p5": 0.16, "p6": 0.16, "a1": 0.877, "a2": 0.854, "a3": 0.853,
       "a4": 0.688, "k_p": 1.4e-9, "k_a": 5.4e-11, "d": 0.19, "k_dec": 0.345, "k_shed": 1037.0, "cd34": 3.47e6,
       "HSC": 0.0408, "MPP": 0.0719, "CMP": 0.2839, "MEP": 0.1484, "plt0": 196.8107065}  # fmt: skip
PER_KG = 5e9 / 70
"""Platelets per kg of 1e9/L."""


def zhu(p: Patient, grid: np.ndarray, **how: object) -> dict[str, np.ndarray]:
    """Platelets and those from the graft (1e9/L), and the six kinds of cells before them (per kg)."""

    def rate(_: float, c: np.ndarray) -> list[float]:
        count = c[6] + c[7]
        sp, sa = 1 / (1 + p["k_p"] * count), 1 / (1 + p["k_a"] * count)
        d, come = [], 0.0
        for i in (1, 2, 3, 4):
            divide, own = p[f"p{i}"] * sp * c[i - 1], p[f"a{i}"] * sa
            d.append((2 * own - 1) * divide + come)
            come = 2 * (1 - own) * divide
        d += [come - p["p5"] * c[4], p["p5"] * c[4] - p["p6"] * c[5]]
        return [*d, p["k_shed"] * p["p6"] * c[5] - p["d"] * c[6], -p["k_dec"] * c[7]]

    y = np.array([*(p["cd34"] * p[k] for k in ("HSC", "MPP", "CMP", "MEP")), 0, 0, 0, p["plt0"] * PER_KG])
    found = integrate(lambda _: rate, y, grid, **how)
    return {"platelets": (found[6] + found[7]) / PER_KG, "new": found[6] / PER_KG, "cells": found[:6]}


def first_day(p: Patient, count: float) -> float:
    """Day at which platelets from the graft reach a count."""
    grid = np.arange(0.0, 60.01, 0.25)
    new = zhu(p, grid)["new"]
    k = int(np.argmax(new >= count))
    return brentq(lambda t: zhu(p, np.array([0.0, t]))["new"][-1] - count, grid[k - 1], grid[k], xtol=1e-9)


# --- what sources do not print ---------------------------------------------------------------------------------------
PETROV_TITRATED = {
    "itp-mech-1": ("1 2 2 2 2 2 2 2 2 2 2 2", "63.900462"),
    "itp-mech-2": ("1 2 3 3 3 3 3 3 3 3 3 3", "76.635946"),
    "itp-splenectomised-mech-1": ("1 2 3 3 3 3 3 3 3 3 3 3", "59.819540"),
    "itp-splenectomised-mech-2": ("1 2 3 3 3 3 3 3 3 3 3 3", "61.368302"),
    "sensitive": ("1 2 2 2 2 1 1 0 0 0 0 0", "221.713904"),
}
"""Typical patients, and one whom little drug is too much for: weekly doses (ug/kg) towards 50-200e9/L, count on day 84."""
SENSITIVE = {"kin": 4.3, "kdeg": 0.1, "EC50": 0.00005, "ktr": 0.006}


def petrov_titrated(p: Patient, weeks: int = 12) -> tuple[list[int], np.ndarray]:
    """Weekly doses (ug/kg) and the counts before them, to the last week's end; a syringe holds a multiple of 5 ug.

    From 1 ug/kg on: one more below 50e9/L (15 at most), one less (or none) after two counts in a row from 200 on, none from 400
    on until below 200 again, and then one less.
    """
    doses: list[int] = []
    given: list[Dose] = []
    counts, dose, above, held = [p["kin"] / p["kdeg"]], 1, 0, False
    for week in range(weeks):
        count = counts[-1]
        if week and held:
            if count < 200:
                held, dose = False, max(dose - 1, 0)
        elif week:
            above = above + 1 if 200 <= count < 400 else 0
            held = count >= 400
            if count < 50:
                dose = min(dose + 1, 15)
            elif above == 2:
                dose, above = max(dose - 1, 0), 0
        doses.append(0 if held else dose)
        given.append((7.0 * week, 5 * float(np.floor(doses[-1] * p["WT"] / 5 + 0.5))))
        counts.append(float(petrov(p, given, np.array([0.0, 7.0 * (week + 1)]))["platelets"][-1]))
    return doses, np.array(counts)


FARRELL_STRATA = (
    ("woman", {"female": 1.0}, "15.242750 232.942386 19.65"),
    ("South Asian", {"south_asian": 1.0}, "8.018445 157.554176 20.21"),
    ("Japanese woman, score 5", {"female": 1.0, "east_asian": 1.0, "child_pugh": 5.0}, "23.100276 253.007603 21.25"),
    ("score 9", {"child_pugh": 9.0}, "15.311603 234.090330 19.67"),
)
"""75 mg daily x 14 in liver disease: highest drug of day 13 and highest count on a half-hour grid, and the count's day."""


def farrell_stratum(changes: Mapping[str, float]) -> str:
    """The row of `FARRELL_STRATA`."""
    last, later = 13 + np.arange(13) / 48, np.arange(17 * 48, 22 * 48 + 1) / 48
    named = {("CP" if name == "child_pugh" else name): value for name, value in changes.items()}
    found = farrell({**FARRELL, **named}, [(float(d), 75.0) for d in range(14)], np.concatenate([[0.0], last, later]))
    drug, count = found["concentration"][1:14], found["platelets"][14:]
    return f"{drug.max():.6f} {count.max():.6f} {later[count.argmax()]:.2f}"


if __name__ == "__main__":
    for name in PETROV_TITRATED:
        doses, counts = petrov_titrated({**PETROV, **PETROV_GROUPS.get(name, SENSITIVE)})
        print(name, " ".join(map(str, doses)), f"{counts[-1]:.6f}", counts.round(1))
    for name, changes, _ in FARRELL_STRATA:
        print(name, farrell_stratum(changes))
