"""The signature matrix: what each mechanism and intervention does to the whole system, as ratios to the same patient without it.

`signatures.toml` holds the rows: who, what is changed or given, when it is looked at, and what biology says must move and must
not. `matrix()` has the simulator answer all of them in one program.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from thrombojax import dosing, drugs
from thrombojax.dosing.administer import columns, slots
from thrombojax.dosing.regimen import Regimen
from thrombojax.dosing.timeline import event_times, grid, schedule
from thrombojax.dosing.titration import labels
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.models.protocol import Inputs, Model
from thrombojax.patients.population import prepare, shared
from thrombojax.solve import engine

HERE = Path(__file__).parent
COLUMNS = ("platelets", "tpo", "megakaryocyte_mass", "ploidy", "production", "survival", "splenic_share")
CHEMOTHERAPY = ("nadir", "days_below_150")
SAME = 0.01
"""A ratio within 1 % of 1 is `same`, beyond it `up` or `down`; a row may give a range instead."""
HORIZON = 182.0


@dataclass(frozen=True)
class Signature:
    """patient: parameters of who it happens to; change: parameters that differ (at steady state); regimen, against: what is
    given, and what the same patient is given in the comparison; day: None for steady states.

    expect: column -> up, down, same or [low, high]; missed: columns that the model does not get right, with the reason.
    """

    name: str
    mechanism: str
    source: str
    expect: dict[str, Any]
    patient: dict[str, float] = field(default_factory=dict)
    change: dict[str, float] = field(default_factory=dict)
    regimen: str = ""
    against: str = ""
    day: float | None = None
    missed: dict[str, str] = field(default_factory=dict)


def rows() -> tuple[Signature, ...]:
    """The rows of `signatures.toml`, and those that a drug's own file has."""
    found = tomllib.loads((HERE / "signatures.toml").read_text(encoding="utf-8"))
    people = found["patient"]
    out = []
    for row in (*found["signature"], *(row for drug in drugs.names() for row in labels(drug).get("signature", ()))):
        given = {**row, "patient": people[row.get("patient", "healthy")]}
        out.append(Signature(**given))
    return tuple(out)


GROUPS = {
    "signal": ("megakaryocytes.stem", "megakaryocytes.cfu_1", "megakaryocytes.cfu_2", "niche.mature",
               *(f"megakaryocytes.ploidy_{n}n" for n in (4, 8, 16, 32, 64))),
    "platelets": tuple(f"platelets.age_{j}" for j in range(1, 9)),
    "loss": (*(f"platelets.age_{j}" for j in range(1, 9)), "receptor.platelet_mpl", "regulators.pf4"),
}  # fmt: skip
"""Words for states that always go together: what a signal of c-Mpl moves, platelets of any age, what loss of platelets moves."""


def expected_acts() -> dict[str, frozenset[str]]:
    """Drug -> states of the loop that it acts on at once, as its file says."""
    return {
        drug: frozenset(leaf for word in labels(drug)["acts_on"] for leaf in GROUPS.get(word, (word,)))
        for drug in drugs.names()
    }


def acts_on(drug: str) -> frozenset[str]:
    """States of the loop that a dose of the drug makes jump, or whose rate changes once the drug is there, in health."""
    model = registry.build(registry.Source("feedback"), (drug,))
    p: Any = struct.build(model.Parameters, lambda name, _: np.float64(struct.as_dict(model.defaults)[name]))
    before = struct.as_dict(model.initial(p))
    found = set()
    for entry in model.entries.values():
        jumped = {leaf: before[leaf] + fraction(p) for leaf, fraction in entry.into.items()}
        jumped |= {leaf: before[leaf] * (1.0 + fraction(p)) for leaf, fraction in entry.shares.items()}
        found |= {leaf for leaf in jumped if not leaf.startswith(f"{drug}.")}
    states = [leaf for leaf in before if leaf.startswith(f"{drug}.")]
    phases = Inputs({key: np.float64(1.0) for key in model.entries}, np.float64(0.0))
    rates = [
        struct.as_dict(model.rhs(0.0, struct.unflatten(model.State, [y[leaf] for leaf in before]), p, phases))
        for y in (before, before | dict.fromkeys(states, np.float64(0.5)))
    ]
    return frozenset(
        found | {leaf for leaf in before if leaf not in states and abs(rates[1][leaf] - rates[0][leaf]) > 1e-9}
    )


def matrix(
    found: Sequence[Signature], parameter_set: str = DEFAULT_SET, precision: str = "f64"
) -> list[dict[str, float]]:
    """Per row: ratio with the change or the regimen to without, by column."""
    regimens = {
        text: dosing.regimen(text) if text else Regimen() for row in found for text in (row.regimen, row.against)
    }
    used = tuple(sorted({drug for r in regimens.values() for drug in r.drugs}))
    source = registry.Source("feedback", parameter_set)
    model = registry.build(source, used)
    people: dict[tuple[tuple[str, float], ...], int] = {}
    places = [
        tuple(people.setdefault(tuple(sorted(p.items())), len(people)) for p in ({**r.patient, **r.change}, r.patient))
        for r in found
    ]
    names = sorted({name for key in people for name, _ in key})
    defaults = struct.as_dict(model.defaults)
    values = {name: [float(dict(key).get(name, defaults[name])) for key in people] for name in names}
    patients = model.patients(**values)
    cohort = prepare(patients, model)
    assert not cohort.status.any(), "a patient of the matrix has no steady state"
    courses = together(model, cohort, regimens, precision)
    return [
        _ratios(row, courses[row.regimen], courses[row.against], *place)
        for row, place in zip(found, places, strict=True)
    ]


def together(
    model: Model, cohort: engine.Cohort, regimens: Mapping[str, Regimen], precision: str = "f64"
) -> dict[str, Mapping[str, np.ndarray]]:
    """Daily COLUMNS of prepared patients (`[day, patient]`) on each regimen; one program and one timeline for all of them."""
    cols = columns(model, list(regimens.values()))
    days = [float(t) for t in np.arange(HORIZON)]
    given = {text: slots(model, r, cols, HORIZON) for text, r in regimens.items()}
    bounds = grid(HORIZON, days, *(event_times(model, model.defaults, s, cols) for s in given.values()))
    typical = shared(model, cohort)
    return {
        text: engine.solve(
            model, cohort, schedule(model, typical, cols, s, bounds), save=COLUMNS, days=days, precision=precision
        ).saved
        for text, s in given.items()
    }


def _ratios(row: Signature, with_: Any, without: Any, changed: int, plain: int) -> dict[str, float]:
    at = 0 if row.day is None else int(row.day)
    out = {}
    for name in COLUMNS:
        a, b = float(with_[name][at, changed]), float(without[name][at, plain])
        out[name] = a / b if b else np.nan
    counts = [c["platelets"][:, k] for c, k in ((with_, changed), (without, plain))]
    out["nadir"] = float(counts[0].min() / counts[1].min())
    below = [_days_below(c, 150.0) for c in counts]
    out["days_below_150"] = below[0] / below[1] if below[1] else np.nan
    return out


def _days_below(counts: np.ndarray, threshold: float) -> float:
    """Time that daily counts, joined by lines, spend below."""
    a, b = counts[:-1] - threshold, counts[1:] - threshold
    return float(np.sum((np.maximum(-a, 0.0) + np.maximum(-b, 0.0)) / np.maximum(np.abs(a) + np.abs(b), 1e-300)))


def word(ratio: float) -> str:
    return "up" if ratio > 1 + SAME else "down" if ratio < 1 - SAME else "same"


def agrees(expected: Any, ratio: float) -> bool:
    """Whether a ratio is what the row says."""
    if isinstance(expected, str):
        return word(ratio) == expected
    low, high = expected
    return bool(low <= ratio <= high)
