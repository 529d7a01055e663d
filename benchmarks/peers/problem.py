"""What every tool solves: ITP patients of the flagship on weekly romiplostim for 26 weeks, daily platelet counts."""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

import thrombojax as tj
from benchmarks.peers import translate
from thrombojax.dosing.administer import columns, slots
from thrombojax.models import registry
from thrombojax.models.protocol import Model
from thrombojax.patients.population import Patients, prepare
from thrombojax.solve.engine import Cohort

SENTENCE = "romiplostim 3 ug/kg sc weekly x 26"
DAYS = 182
OUT = Path(__file__).parents[2] / "out" / "peers"
"""What is built and computed once: mrgsolve, reference solutions."""
CHECKED = 256
"""Patients whose error is measured; the first of the sample."""


@dataclass(frozen=True, eq=False)
class Problem:
    """constants, y0: `[patient, ...]`; doses: days; amount: `[patient]` ug into the state `depot`; text: the right-hand side."""

    model: Model
    patients: Patients
    cohort: Cohort
    text: translate.Translation
    constants: np.ndarray
    y0: np.ndarray
    doses: np.ndarray
    amount: np.ndarray
    depot: int
    asked: int
    checked: int = CHECKED

    @functools.cached_property
    def reference(self) -> np.ndarray:
        """`[day, patient]` counts on days 1.. of the first patients, to 1e-10; kept in `out/peers`, by what they follow from."""
        n = self.checked
        parts = (
            self.constants[:n],
            self.y0[:n],
            self.amount[:n],
            self.doses,
            translate.c_functions(self.text).encode(),
        )
        digest = hashlib.sha256(b"".join(bytes(part) for part in parts)).hexdigest()[:16]
        kept = OUT / f"reference-{digest}.npy"
        if not kept.exists():
            first = self.patients.pick(slice(n))
            found = tj.simulate(first, SENTENCE, days=DAYS, save_every=1.0, backend="reference").platelets[1:]
            OUT.mkdir(parents=True, exist_ok=True)
            np.save(kept, found)
        return np.load(kept)

    def error(self, counts: np.ndarray) -> float:
        """99th percentile over patients of the largest relative error of a daily count; counts: `[day, patient]`, days 1.. ."""
        n = min(self.checked, counts.shape[1])
        worst = np.abs(counts[:, :n] / self.reference[:, :n] - 1.0).max(axis=0)
        return float(np.quantile(np.nan_to_num(worst, nan=np.inf), 0.99, method="higher"))

    def write(self, folder: Path) -> None:
        """For tools in processes of their own: raw float64, row-major, and `sizes.txt`: patients, constants, states,

        days, depot, patients asked for."""
        for name in ("constants", "y0", "amount", "doses"):
            getattr(self, name).astype("<f8").tofile(folder / f"{name}.bin")
        sizes = (*self.constants.shape, self.y0.shape[1], DAYS, self.depot, self.asked)
        (folder / "sizes.txt").write_text(" ".join(map(str, sizes)) + "\n")
        (folder / "functions.h").write_text(translate.c_functions(self.text))
        (folder / "functions.py").write_text(translate.python_functions(self.text))
        (folder / "model.cpp").write_text(translate.mrgsolve_model(self.text, self.depot))


def make(n: int, checked: int = CHECKED) -> Problem:
    """The first patients of the sample that have a steady state: n of them, or a few fewer."""
    patients = tj.cohort("itp", parameter_set="1").sample(n)
    model = registry.build(patients.source, ("romiplostim",))
    cohort = prepare(patients, model)
    sound = np.flatnonzero(cohort.status == 0)
    if len(sound) < n:
        patients, cohort = patients.pick(sound), prepare(patients.pick(sound), model)
    regimen = tj.regimen(SENTENCE)
    cols = columns(model, [regimen])
    given = slots(model, regimen, cols, DAYS)
    entry = model.entries[cols[0].key]
    ((leaf, fraction),) = entry.into.items()
    text = translate.translate(model)
    weight = cohort.p.body.weight if cols[0].per_kg else 1.0
    return Problem(
        model,
        patients,
        cohort,
        text,
        translate.constants(text, cohort.p),
        np.stack([np.asarray(leaf) for leaf in jax.tree.leaves(cohort.y0)], axis=1),
        np.asarray(given.time),
        np.asarray(given.amount[0] * fraction(cohort.p) * weight),
        text.states.index(leaf),
        n,
        checked,
    )
