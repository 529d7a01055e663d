"""Section 9 of the model description as it is printed (SciPy LSODA at 1e-11), and how to run it; a table of errors.

Run as a script it prints every number beside ours and the fixed-step error of each scenario:
`.venv/bin/python tests/models/reference_scenarios.py`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import thrombojax as tj
from thrombojax.patients.population import Patients

DAYS = (4, 8, 12, 14, 21, 28, 42)
END = 42.0
SAVE = (0.0, 1.0, 2.0, 4.0, 7.0, 8.0, 12.0, 14.0, 21.0, 28.0, 42.0)


class Scenario(NamedTuple):
    """regimen: as a user types it; padded: the same with doses of nothing, so that R1, R2 and R9 share one program."""

    title: str
    regimen: str
    padded: str
    platelets: str
    tpo_day_2: str
    tpo_day_14: str
    mass_day_7: str
    drug: Mapping[int, str]


def _padded(weekly: float, first: float, iv: float) -> str:
    later = "0" if not weekly else str(weekly)
    return (
        f"romiplostim {first} ug/kg sc once and romiplostim {later} ug/kg sc weekly x 5 from day 7"
        f" and romiplostim {iv} ug/kg iv once"
    )


SCENARIOS = {
    "R1": Scenario(
        "healthy, romiplostim 1 ug/kg SC",
        "romiplostim 1 ug/kg sc once",
        _padded(0, 1, 0),
        "276.29125 359.0427 418.4013 412.73704 283.92898 218.34856 259.9245",
        "1.4928852",
        "0.60548285",
        "2.0122026",
        {1: "0.017028533", 4: "0.0020234383"},
    ),
    "R2": Scenario(
        "healthy, romiplostim 10 ug/kg IV",
        "romiplostim 10 ug/kg iv once",
        _padded(0, 0, 10),
        "297.20801 761.69108 1367.8515 1430.7123 763.53937 231.38983 265.85944",
        "3.640844",
        "0.18008169",
        "8.0563774",
        {1: "7.8142235", 4: "0.027645264"},
    ),
    "R4": Scenario(
        "healthy, eltrombopag 75 mg x10 d",
        "eltrombopag 75 mg oral daily x 10",
        "eltrombopag 75 mg oral daily x 10",
        "261.49194 301.5889 360.87186 377.52381 320.98427 234.22976 254.76121",
        "0.96037792",
        "0.55460995",
        "1.4833106",
        {},
    ),
    "R5": Scenario(
        "cirrhosis (38), lusutrombopag 3 mg (x 0.813) x7 d",
        "lusutrombopag 3 mg oral daily x 7",
        "lusutrombopag 3 mg oral daily x 7",
        "41.628514 55.709265 72.807692 74.974212 53.620136 34.27144 38.848247",
        "0.75426364",
        "0.3470981",
        "1.4135491",
        {},
    ),
    "R6": Scenario(
        "cirrhosis (38), avatrombopag 40 mg x5 d, EC50 150 ng/mL",
        "avatrombopag 40 mg oral daily x 5",
        "avatrombopag 40 mg oral daily x 5",
        "42.219128 58.72343 72.463059 72.196545 47.993564 32.58102 39.145399",
        "0.74782787",
        "0.37458148",
        "1.5279226",
        {},
    ),
    "R9": Scenario(
        "ITP good marrow (16), romiplostim 2 ug/kg SC weekly x6",
        "romiplostim 2 ug/kg sc weekly x 6",
        _padded(2, 2, 0),
        "29.737644 77.959444 152.74609 128.43818 51.630444 77.256267 69.017658",
        "1.8858789",
        "0.5342246",
        "3.7363942",
        {1: "0.077449576", 4: "0.0044129209"},
    ),
}


def patient(name: str) -> Patients:
    """The 70 kg patient of a scenario, from the shipped cohorts."""
    if name == "R5":
        return tj.cohort("cld-lusutrombopag").typical().replace(weight=70.0, count=38.0)
    if name == "R6":
        # All its printed digits come out with 150 ng/mL, which section 3 lists among the values tried; its table says 145.
        p = {"avatrombopag.potency": 150.0}
        return tj.cohort("cld-avatrombopag-low").typical().replace(p, weight=70.0, count=38.0)
    if name == "R9":
        return tj.cohort("itp").typical().replace(weight=70.0, count=16.0)
    return tj.cohort("healthy").typical().replace(weight=70.0)


def observables(name: str) -> tuple[str, ...]:
    drug = SCENARIOS[name].regimen.split()[0]
    return ("platelets", "tpo", "megakaryocyte_mass", f"{drug}.concentration")


def run(name: str, *, padded: bool = False, **options: Any) -> tj.Result:
    regimen = SCENARIOS[name].padded if padded else SCENARIOS[name].regimen
    result = tj.simulate(patient(name), regimen, days=END, save=SAVE, observables=observables(name), **options)
    assert result.status.tolist() == [0]
    return result


def printed(name: str) -> dict[tuple[str, int], str]:
    """(observable, day): the printed number."""
    s = SCENARIOS[name]
    found = {("platelets", day): text for day, text in zip(DAYS, s.platelets.split(), strict=True)}
    found |= {("tpo", 2): s.tpo_day_2, ("tpo", 14): s.tpo_day_14, ("megakaryocyte_mass", 7): s.mass_day_7}
    return found | {("romiplostim.concentration", day): text for day, text in s.drug.items()}


def at(result: tj.Result, observable: str, day: float) -> float:
    return float(result.saved[observable][int(np.flatnonzero(result.time == day)[0]), 0])


def error(result: tj.Result, exact: tj.Result, observable: str = "platelets") -> float:
    """Largest relative error over the saved days."""
    true = exact.saved[observable][1:, 0]
    return float(np.max(np.abs(result.saved[observable][1:, 0] / true - 1.0)))


def main() -> None:
    for name, scenario in SCENARIOS.items():
        exact = run(name, padded=True, backend="reference")
        print(f"{name}  {scenario.title}")
        for (observable, day), text in printed(name).items():
            value = at(exact, observable, day)
            print(f"  {observable:28s} day {day:2d}  {text:>14s}  {value:.9g}  {value / float(text) - 1.0:+.1e}")
        for precision in ("f64", "f32"):
            fixed = run(name, backend="xla", precision=precision)
            print(f"  fixed-step error of the platelets, {precision}: {error(fixed, exact):.1e}")


if __name__ == "__main__":
    import jax

    jax.config.update("jax_enable_x64", True)
    main()
