"""Entry by criterion: which of a cohort's patients a trial would take, by their baseline."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import struct
from thrombojax.models.protocol import Model
from thrombojax.patients.population import Patients, prepare
from thrombojax.solve.engine import OK

_CONDITION = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|<|>)\s*([+-]?[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*")
_COMPARE: dict[str, Callable[[Any, float], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
BATCH = 4096
RAREST = 1e-3
"""Least share of candidates that must be admitted: a criterion below it does not belong to the cohort."""


def conditions(text: str, model: Model, where: str = "entry") -> tuple[tuple[str, str, float], ...]:
    """(name, comparison, number) of conditions joined by `and`; names of observables and parameters. Raises InputError."""
    return parsed(text, (*struct.names(model.Obs), *struct.names(model.Parameters)), where)


def parsed(
    text: str, known: Sequence[str], where: str, kind: str = "observable or parameter"
) -> tuple[tuple[str, str, float], ...]:
    """Conditions on values of those names."""
    found, problems = [], []
    for part in re.split(r"\band\b", text):
        said = _CONDITION.fullmatch(part)
        if said is None:
            message = f"given {part.strip()!r}; allowed: NAME < NUMBER (or <=, >, >=), several joined by 'and'"
            problems.append(Problem(where, message))
            continue
        try:
            found.append((struct.resolve(said[1], known), said[2], float(said[3])))
        except InputError:
            problems.append(unknown(where, kind, said[1], known))
    if problems:
        raise InputError(*problems)
    return tuple(found)


def admitted(patients: Patients, model: Model, text: str, where: str = "entry") -> Patients:
    """The first `patients.n` of the same cohort whose baseline meets the criterion, each with its own number.

    Raises InputError where the cohort has hardly any such patients.
    """
    asked = conditions(text, model, where)
    if patients.index is None:
        raise InputError(Problem(where, "needs patients that are drawn from a cohort"))
    found = np.zeros(0, int)
    tried = 0
    while len(found) < patients.n:
        batch = Patients(
            patients.source, BATCH, patients.cohort, patients.seed, np.arange(tried, tried + BATCH),
            patients.changes, patients.scales,
        )  # fmt: skip
        found = np.append(found, batch.index[meets(batch, model, asked)])  # type: ignore[index]
        tried += BATCH
        if len(found) < RAREST * tried:
            message = f"{len(found)} of {tried} patients of the cohort meet {text!r}; needed: one in {1 / RAREST:g}"
            raise InputError(Problem(where, message))
    return Patients(
        patients.source,
        patients.n,
        patients.cohort,
        patients.seed,
        found[: patients.n],
        patients.changes,
        patients.scales,
    )


def meets(batch: Patients, model: Model, asked: tuple[tuple[str, str, float], ...]) -> np.ndarray:
    """Which patients' baseline meets conditions (`[patient]`); one without a steady state does not."""
    cohort = prepare(batch, model)
    with jax.enable_x64(True):
        values = {**struct.as_dict(cohort.p), **struct.as_dict(model.observe(cohort.y0, cohort.p))}
    return np.asarray((cohort.status == OK) & holds(values, asked))


def holds(values: Mapping[str, Any], asked: Sequence[tuple[str, str, float]]) -> np.ndarray:
    """Which patients meet all conditions, of values by name (`[patient]`)."""
    return np.all([_COMPARE[how](np.asarray(values[name]), number) for name, how, number in asked], axis=0)
