"""Second writings of published models in plain NumPy and the symbols of their papers, solved by SciPy: no thrombojax here.

`.venv/bin/python tests/models/scipy_published_b.py` writes published_b.toml, the numbers that tests hold the models to. Each
system is solved from event to event (a dose arrives, an infusion ends, an equation changes) by DOP853 at 1e-12.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.integrate import solve_ivp

FILE = Path(__file__).with_name("published_b.toml")


def solve(f, y0, days, jumps=None, changes=()):
    """States at `days` (left limits: before what is given at that instant).

    f(t, y, since): since is the start of the piece, so that what changes with the time of doses is constant in a piece;
    jumps: day -> function of the state.
    """
    jumps = jumps or {}
    days = sorted(days)
    bounds = sorted({0.0, max(days), *[t for t in (*jumps, *changes) if t < max(days)]})
    y, found = np.array(y0, float), {}
    for begin, end in pairwise(bounds):
        if begin == 0.0 and 0.0 in days:
            found[0.0] = y.copy()
        y = jumps.get(begin, lambda y: y)(y)
        inside = [t for t in days if begin < t <= end]
        out = solve_ivp(
            lambda t, y, begin=begin: f(t, y, begin), (begin, end), y, "DOP853", sorted({*inside, end}),
            rtol=1e-12, atol=1e-13,
        )  # fmt: skip
        assert out.success, out.message
        found |= {t: out.y[:, list(out.t).index(t)] for t in inside}
        y = out.y[:, -1]
    return np.array([found[t] for t in days])


def add(place, amount):
    def jump(y):
        y = y.copy()
        y[place] += amount
        return y

    return jump


def together(*pairs):
    """Jumps by day; those of one day follow each other."""
    found = {}
    for day, jump in pairs:
        before = found.get(day, lambda y: y)
        found[day] = lambda y, before=before, jump=jump: jump(before(y))
    return found


def friberg(mg, hours, doses, days, slope=8.58, circ0=5.05, mtt=88.7, gamma=0.161):
    """Docetaxel and neutrophils; rates per hour in the paper, per day here. Returns counts and uM."""
    k12, k21, k13, k31, k10, v1, mw = (*(24 * k for k in (1.06, 1.51, 1.26, 0.084, 5.2)), 7.4, 0.80789)
    ktr = 4 / mtt * 24

    def f(t, y, since):
        running = any(d - 1e-9 <= since < d + hours / 24 - 1e-9 for d in doses)
        infusion = mg / (hours / 24) if running else 0.0
        c1, c2, c3, prol, t1, t2, t3, circ = y
        edrug = slope * c1 / v1 / mw
        return np.array([
            infusion - (k12 + k13 + k10) * c1 + k21 * c2 + k31 * c3,
            k12 * c1 - k21 * c2,
            k13 * c1 - k31 * c3,
            ktr * prol * (1 - edrug) * (circ0 / circ) ** gamma - ktr * prol,
            ktr * (prol - t1), ktr * (t1 - t2), ktr * (t2 - t3), ktr * (t3 - circ),
        ])  # fmt: skip

    changes = [t for d in doses for t in (d, d + hours / 24)]
    y = solve(f, [0, 0, 0, *[circ0] * 5], days, changes=changes)
    return {"platelets": y[:, 7], "concentration": y[:, 0] / v1 / mw}


def panetta(dose, doses, days, ast=25.0, circ0=267.4, kin=0.93, ktr=0.52, ic50=559.14):
    ka, lag, v, cl, kout = 0.46 * 24, 0.8 / 24, 653.0, 36.5 * 24 * (ast / 25) ** -0.3, 4.80
    km = ktr / (kin - ktr) * circ0

    def f(t, y, since):
        a, c, n1, n2, n3, n4, circ = y
        conc = 1000 * c / v
        return np.array([
            -ka * a, ka * a - cl / v * c,
            kin * km / (km + circ) * ic50 / (ic50 + conc) * n1 - ktr * n1,
            ktr * (n1 - n2), ktr * (n2 - n3), ktr * (n3 - n4), ktr * n4 - kout * circ,
        ])  # fmt: skip

    n0 = kout / ktr * circ0
    y = solve(f, [0, 0, n0, n0, n0, n0, circ0], days, together(*((d + lag, add(0, dose)) for d in doses)))
    return {"platelets": y[:, 6], "concentration": 1000 * y[:, 1] / v}


def srimani(ixazomib, ixazomib_days, lenalidomide, lenalidomide_days, days, bsa=1.87, observed=197.0):
    """Per hour as printed; time is turned into hours for the solution."""
    ka, cl, vc, q2, v2, q3, v3 = 0.34, 1.86, 13.7, 5.18, 309.0, 26.1, 205.0 * (bsa / 1.87) ** 2.06
    kprp, kin, kel = np.exp(-3.20), np.exp(-3.21), 0.0483
    f_oral, lag = 0.58, 13 / 60

    def f(t, y, since):
        a, c, p1, p2, kpd, auc, prol, t1, t2, circ = y
        conc = 1000 * c / vc
        e_ixa, e_len = 0.000859 * (conc + 0.0000818 * auc), 0.0134 * kel * kpd
        return 24 * np.array([
            -ka * a, ka * a - (cl + q2 + q3) / vc * c + q2 / v2 * p1 + q3 / v3 * p2,
            q2 / vc * c - q2 / v2 * p1, q3 / vc * c - q3 / v3 * p2, -kel * kpd, conc,
            kin - (kprp + e_ixa + e_len) * prol, kprp * (prol - t1), kprp * (t1 - t2), kprp * t2 - kin * circ,
        ])  # fmt: skip

    jumps = together(
        *((d + lag / 24, add(0, f_oral * ixazomib)) for d in ixazomib_days),
        *((d, add(4, lenalidomide)) for d in lenalidomide_days),
    )
    p0 = kin / kprp
    y = solve(f, [0, 0, 0, 0, 0, 0, p0, p0, p0, 1], days, jumps)
    return {
        "platelets": (203 + 0.837 * (observed - 197)) * y[:, 9],
        "concentration": 1000 * y[:, 1] / vc,
        "area": y[:, 5] / 24,  # ng/mL day
    }


def centanni(mg, doses, days, circ0=323.0, mtt=175.0, clearance=32.819, ec50=10.3):
    ktr, emax, gamma = 6 / mtt * 24, 0.497, 0.0923

    def f(t, y, since):
        today = sum(mg for d in doses if d - 1e-9 <= since < d + 1 - 1e-9)
        auc = today / clearance
        prol, *transit, circ = y
        edrug = emax * auc / (ec50 + auc)
        before = [prol, *transit[:-1]]
        return np.array([
            ktr * prol * (1 - edrug) * (circ0 / circ) ** gamma - ktr * prol,
            *(ktr * (a - b) for a, b in zip(before, transit, strict=True)),
            ktr * (transit[-1] - circ),
        ])  # fmt: skip

    y = solve(f, [circ0] * 7, days, changes=[t for d in doses for t in (d, d + 1)])
    return {"platelets": y[:, 6]}


def qin(doses, days, bmi=23.1, rtot0=0.317, pltss=332.0, plt0=477.0, ic50=72.4):
    """doses: day -> ug."""
    ka, lag, cl, vc, kint, kdeg, kd = 0.18, 0.62, 0.753 * (bmi / 23.1) ** 0.813, 3.29, 0.0223, 0.51, 0.0662
    rss, kdec, tstart, kout = 0.012, 0.0255, 7.0, 0.0299

    def f(t, y, since):
        a, amount, rtot, plt = y
        capacity = rtot0 + (rss - rtot0) * (1 - np.exp(-kdec * (t - tstart))) * (since >= tstart)
        ctot = amount / vc
        d = ctot - rtot - kd
        root = np.sqrt(d * d + 4 * kd * ctot)
        free = 0.5 * (d + root) if d > 0 else 2 * kd * ctot / (root - d)
        bound = rtot * free / (kd + free)
        return np.array([
            -ka * a, ka * a - cl * free - kint * bound * vc,
            kdeg * capacity - kdeg * (rtot - bound) - kint * bound,
            kout * pltss * (1 - ctot / (ic50 + ctot)) - kout * plt,
        ])  # fmt: skip

    y = solve(f, [0, 0, rtot0, plt0], days, together(*((d + lag, add(0, mg)) for d, mg in doses.items())), [tstart])
    return {"platelets": y[:, 3], "concentration": y[:, 1] / vc, "receptor": y[:, 2]}


def delayed(f, y0, lags, days, kinks=5):
    """By the method of steps: f(t, y, past), past(t) the state then; y0 until day 0.

    Pieces end where the slopes of the past have kinks (sums of lags, until they are too smooth to matter) and are shorter
    than the shortest lag, so that the past is known when it is needed, as DOP853's own polynomials.
    """
    end = max(days)
    sums = {0.0}
    for _ in range(kinks):
        sums |= {s + lag for s in sums for lag in lags if s + lag < end}
    grid = np.arange(0, end, 0.9 * min(lags))
    bounds = sorted({round(t, 9) for t in (*sums, *grid, end)})
    ends, parts = [], []

    def past(t):
        if t <= 0:
            return np.array(y0, float)
        k = min(np.searchsorted(ends, t - 1e-12), len(parts) - 1)
        return parts[k](t)

    y = np.array(y0, float)
    for begin, stop in pairwise(bounds):
        out = solve_ivp(
            lambda t, y: f(t, y, past), (begin, stop), y, "DOP853", dense_output=True, rtol=1e-11, atol=1e-13
        )
        assert out.success, out.message
        ends.append(stop)
        parts.append(out.sol)
        y = out.y[:, -1]
    return np.array([past(t) for t in days])


def zhuge(days, kpbar=0.372, tpm=7.0, etap=0.55, tps=9.5, gp=0.05, th4=35.9, apmax=2.0**19):
    gs, ts, k0, th2, gn, tnm, anmax, etan, f0, th1, kr = 0.1, 2.8, 3.0, 0.5, 2.4, 3.5, 70635, 0.27, 0.40, 0.36, 0.00469
    beta = lambda s: k0 / (1 + (s / th2) ** 4)  # noqa: E731
    kn = lambda n: f0 / (1 + n / th1)  # noqa: E731
    kp = lambda p: kpbar / (1 + 11.66 * p**1.29)  # noqa: E731

    def f(t, y, past):
        s, n, p = y
        sd = past(t - ts)[0]
        sn, nn, _ = past(t - tnm)
        sp, _, pp = past(t - tpm)
        so, _, po = past(t - tpm - tps)
        a_n = anmax * np.exp(-etan * (nn / 79.7) / (1 + nn / 79.7) * tnm)
        a_p = apmax * np.exp(-etap * (pp / th4) / (1 + pp / th4) * tpm)
        return np.array([
            -(beta(s) + kn(n) + kp(p) + kr) * s + 2 * np.exp(-gs * ts) * beta(sd) * sd,
            -gn * n + a_n / 1e2 * kn(nn) * sn,
            -gp * p + a_p / 1e4 * (kp(pp) * sp - np.exp(-gp * tps) * kp(po) * so),
        ])  # fmt: skip

    y = delayed(f, [1.1, 6.9, 3.1071], (ts, tnm, tpm, tpm + tps), days)
    return {"platelets": 140 * y[:, 2], "stem_cells": y[:, 0], "neutrophils": 1.4 * y[:, 1]}


def daily(days, start=0):
    return [float(start + k) for k in range(days)]


def cycles(days, every=28, times=2):
    return [float(k * every + d) for k in range(times) for d in days]


SLOW = {14.0 * k: float(min(100 + 50 * k, 500)) for k in range(12)}
FAST = {0.0: 250.0, 14.0: 350.0} | {14.0 * k: 500.0 for k in range(2, 12)}
THREE_OF_FOUR = cycles([0, 7, 14])
THREE_WEEKS = cycles(range(21))
DOCETAXEL = (1 / 24, 0.25, 1.0, 3.0, 5.0, 7.0, 9.0, 12.0, 16.0, 21.0, 28.0, 35.0, 42.0)
MONTHS = (0.25, 1.0, 5.5, 7.0, 10.0, 14.0, 18.0, 21.0, 24.0, 28.0, 35.0, 42.0, 49.0, 56.0)
QUARTER = (3.0, 6.0, 10.0, 20.0, 30.0, 45.0, 60.0, 80.0)
HALF_YEAR = (1.0, 3.0, 7.0, 10.0, 14.0, 21.0, 28.0, 42.0, 56.0, 84.0, 112.0, 140.0, 168.0)

CASES = {
    ("friberg2002", "180 mg"): (DOCETAXEL, lambda t: friberg(180.0, 1.0, [0.0, 21.0], t)),
    ("friberg2002", "90 mg"): (DOCETAXEL, lambda t: friberg(90.0, 1.0, [0.0, 21.0], t)),
    ("friberg2002", "180 mg, half slope and twice the cells"): (
        DOCETAXEL,
        lambda t: friberg(180.0, 1.0, [0.0, 21.0], t, slope=4.29, circ0=10.1),
    ),
    ("panetta2024", "50 mg/m2"): (MONTHS, lambda t: panetta(50.0, THREE_WEEKS, t)),
    ("panetta2024", "75 mg/m2"): (MONTHS, lambda t: panetta(75.0, THREE_WEEKS, t)),
    ("panetta2024", "75 mg/m2, AST 75"): (MONTHS, lambda t: panetta(75.0, THREE_WEEKS, t, ast=75.0)),
    ("srimani2022", "both"): (MONTHS, lambda t: srimani(4.0, THREE_OF_FOUR, 25.0, THREE_WEEKS, t)),
    ("srimani2022", "lenalidomide"): (MONTHS, lambda t: srimani(0.0, THREE_OF_FOUR, 25.0, THREE_WEEKS, t)),
    ("srimani2022", "both, 1.5 m2, observed 120"): (
        MONTHS,
        lambda t: srimani(4.0, THREE_OF_FOUR, 25.0, THREE_WEEKS, t, bsa=1.5, observed=120.0),
    ),
    ("centanni2025", "50 mg"): (MONTHS, lambda t: centanni(50.0, daily(28), t)),
    ("centanni2025", "37.5 mg"): (MONTHS, lambda t: centanni(37.5, daily(28), t)),
    ("centanni2025", "50 mg, EC50 5, transit 120 h"): (
        MONTHS,
        lambda t: centanni(50.0, daily(28), t, ec50=5.0, mtt=120.0),
    ),
    ("zhuge2019", "healthy"): (QUARTER, lambda t: zhuge(t)),
    ("zhuge2019", "pattern-1a"): (QUARTER, lambda t: zhuge(t, kpbar=0.0744, tpm=13.0)),
    ("zhuge2019", "patient-2"): (
        QUARTER,
        lambda t: zhuge(t, 0.0872189, 9.26656, 0.876661, 6.32347, 0.277219, 11.9973, 471591),
    ),
    ("qin2025", "slow"): (HALF_YEAR, lambda t: qin(SLOW, t)),
    ("qin2025", "fast"): (HALF_YEAR, lambda t: qin(FAST, t)),
    ("qin2025", "fast, BMI 30, ten times the receptors"): (HALF_YEAR, lambda t: qin(FAST, t, bmi=30.0, rtot0=3.17)),
}


def main():
    lines = ["# Written by scipy_published_b.py: days, counts (1e9/L) and what else each model shows.", ""]
    for (model, case), (days, run) in CASES.items():
        lines += [f'["{model}"."{case}"]', f"days = {[float(f'{d:.12g}') for d in days]}"]
        for name, values in run(days).items():
            lines.append(f"{name} = [{', '.join(f'{v:.12g}' for v in values)}]")
        lines.append("")
    FILE.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
