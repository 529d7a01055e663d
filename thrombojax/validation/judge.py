"""Cases run, and their numbers held against what was published."""

import multiprocessing
import signal
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import jax
import numpy as np

from thrombojax import api
from thrombojax.errors import InputError, Problem, RunError
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.patients import population
from thrombojax.solve import engine
from thrombojax.study import plan
from thrombojax.study.schema import Study
from thrombojax.validation import signatures
from thrombojax.validation.targets import KINDS, Case, Target, interval

PATIENTS = 2000
"""Drawn of a cohort that is looked at before any treatment."""
REPEATS = 200
"""Resamples of the patients that the Monte-Carlo error of one population is found with."""
_LATE = 1e300
"""A day for what never came: between two that are infinite nothing can be interpolated."""
_PERCENT = {"share", "share_at_or_above", "share_below"}

NEIGHBOURS = 4
"""Cases that one process takes together: those of one drug stand side by side and share what is compiled."""


@dataclass(frozen=True)
class Verdict:
    """One target of one case, simulated with one parameter set (None: the model has none).

    simulated: over all trials; error: 95 % of the Monte-Carlo error of that; trial_low, trial_high: 95 % of trials of the
    published size (None: no trials); agrees: `simulated`, within its error, lies in [low, high]; counts: whether the row counts,
    which what was only recalled does not.
    """

    case: str
    title: str
    kind: str
    target: str
    population: str
    statistic: str
    unit: str
    published: float | None
    low: float
    high: float
    simulated: float
    error: float
    trial_low: float | None
    trial_high: float | None
    agrees: bool
    counts: bool
    use: str
    rule: str
    source: str
    parameter_set: str | None


@dataclass(frozen=True)
class Judged:
    """A case with one parameter set: its verdicts, and the audit of the run (99th percentile of relative errors; None: none)."""

    case: str
    parameter_set: str | None
    verdicts: tuple[Verdict, ...]
    audit: float | None
    seconds: float


def judge(case: Case, parameter_set: str | None = None, audit: int = 0) -> Judged:
    """Run one case and hold it against its targets. audit: patients of its study that the reference solves again; of none
    in reference cases, whose numbers are solutions as exact. RunError where Ctrl-C stops the run.
    """
    began = time.monotonic()
    own = (parameter_set or DEFAULT_SET) if case.has_sets else None
    error = None
    found: dict[int, tuple[np.ndarray, float]] = {}
    if case.study is not None:
        study = case.study.override(trials=case.head.trials, parameter_set=own)
        with tempfile.TemporaryDirectory() as folder:
            done = api.run_study(
                study, Path(folder) / "results.h5", audit=0 if case.head.kind == "reference" else audit
            )
            if done.interrupted:
                raise RunError(f"interrupted in {case.name}; nothing was written")
            with h5py.File(done.path) as file:
                found = {i: _of_study(file, study, t) for i, t in enumerate(case.targets) if t.endpoint is not None}
        error = (done.audit or {}).get("audit_p99_relative_error")
    found |= _of_matrix(case.targets, own) | _of_cohorts(case.targets, own)
    verdicts = tuple(_verdict(case, t, *found[i], own) for i, t in enumerate(case.targets))
    return Judged(case.name, own, verdicts, error, time.monotonic() - began)


def _verdict(case: Case, target: Target, found: np.ndarray, error: float, parameter_set: str | None) -> Verdict:
    """found: the target's number in each trial; error: of their mean."""
    simulated, trials = float(np.mean(found)), len(found) > 1
    low, high = interval(target)
    ends = tuple(float(v) for v in np.percentile(found, [2.5, 97.5])) if trials else (None, None)
    head = case.head
    return Verdict(
        case=case.name,
        title=head.title,
        kind=head.kind,
        target=target.name,
        population=target.population or head.population,
        statistic=target.statistic,
        unit=target.unit,
        published=None if target.published is None else float(target.published),
        low=low,
        high=high,
        simulated=simulated,
        error=error,
        trial_low=ends[0],
        trial_high=ends[1],
        agrees=bool(low - error <= simulated <= high + error),
        counts=not target.recalled,
        use=target.use or head.use,
        rule=target.rule or head.rule,
        source=target.source or head.source,
        parameter_set=parameter_set,
    )


def _of_study(file: h5py.File, study: Study, target: Target) -> tuple[np.ndarray, float]:
    """The target's number in each trial, and 95 % of the Monte-Carlo error of their mean."""
    own = target.endpoint or ""
    values = _values(file, study, target, own, target.arm)
    other = None
    if target.against is not None or target.minus is not None:
        other = _values(file, study, target, target.minus or own, target.against or target.arm)
    found = _per_trial(values, other, target)
    if len(found) > 1:
        return found, 1.96 * float(np.std(found, ddof=1)) / len(found) ** 0.5
    if values.size == 1:
        return found, 0.0
    return found, 1.96 * _resampled(values[0], None if other is None else other[0], target)


def _of_matrix(targets: Sequence[Target], parameter_set: str | None) -> dict[int, tuple[np.ndarray, float]]:
    """Numbers of rows of the signature matrix: of one typical patient each."""
    asked = {i: t for i, t in enumerate(targets) if t.signature is not None}
    if not asked:
        return {}
    rows = {row.name: row for row in signatures.rows()}
    wanted = list(dict.fromkeys(t.signature for t in asked.values()))
    made = signatures.matrix([rows[name] for name in wanted if name], parameter_set or DEFAULT_SET)
    found = {i: made[wanted.index(t.signature)][t.column or ""] * t.times for i, t in asked.items()}
    return {i: (np.asarray([value]), 0.0) for i, value in found.items()}


def _of_cohorts(targets: Sequence[Target], parameter_set: str | None) -> dict[int, tuple[np.ndarray, float]]:
    """Numbers of cohorts as they are before any treatment."""
    found = {}
    for name in dict.fromkeys(t.cohort for t in targets if t.cohort is not None):
        patients = population.cohort(name, parameter_set=parameter_set or DEFAULT_SET).sample(PATIENTS, seed=1)
        model = registry.build(patients.source)
        ready = population.prepare(patients, model)
        with jax.enable_x64(True):
            seen = struct.as_dict(model.observe(ready.y0, ready.p))
        for i, t in enumerate(targets):
            if t.cohort == name:
                values = np.where(ready.status == engine.OK, np.asarray(seen[t.column or ""], float), np.nan)
                found[i] = (_per_trial(values[None], None, t), 1.96 * _resampled(values, None, t))
    return found


def _values(file: h5py.File, study: Study, target: Target, endpoint: str, arm: str | None) -> np.ndarray:
    """`[trial, patient]` of one cell; one trial where there are none. A day that never came is infinite."""
    found = _cell(file, endpoint, target, arm)
    (reducer,) = (e.reducer for e in study.endpoints if e.name == endpoint)
    if reducer == "first_day_at_or_above":
        solved = _cell(file, "status", target, arm) == engine.OK
        found = np.where(np.isnan(found) & solved, np.inf, found)
    if target.over is not None:
        found = found / _cell(file, target.over, target, arm)
    if target.among is not None:
        found = np.where(_cell(file, target.among, target, arm) > 0.5, found, np.nan)
    return found


def _cell(file: h5py.File, name: str, target: Target, arm: str | None) -> np.ndarray:
    """`[trial, patient]`; of the target's patient alone, where it has one."""
    data = file[name]
    found = np.asarray(data, float)
    names = [Path(dim[0].name).name for dim in data.dims]
    wanted: Mapping[str, str | float | None] = {"arm": arm, "patient": target.patient, **target.at}
    for axis in reversed(range(len(names))):
        given = wanted.get(names[axis])
        known = file[names[axis]]
        if given is None and names[axis] in ("trial", "patient"):
            continue
        if given is None:
            places = [0]
        elif isinstance(given, str):
            places = [known.asstr()[...].tolist().index(given)]
        else:
            places = [int(np.argmin(np.abs(known[...] - given)))]
        found = np.take(found, places if names[axis] == "patient" else places[0], axis=axis)
    return np.atleast_2d(found)


def _per_trial(values: np.ndarray, other: np.ndarray | None, target: Target) -> np.ndarray:
    """The target's statistic of each trial `[trial]`."""
    found = _statistic(values, target) - (0.0 if other is None else _statistic(other, target))
    return found * target.times


def _resampled(values: np.ndarray, other: np.ndarray | None, target: Target) -> float:
    """Standard error of the statistic of one population, by resampling its patients."""
    pick = np.random.default_rng(0).integers(0, len(values), (REPEATS, len(values)))
    found = _per_trial(values[pick], None if other is None else other[pick], target)
    found = found[np.isfinite(found)]
    return float(np.std(found)) if found.size else 0.0


def _statistic(values: np.ndarray, target: Target) -> np.ndarray:
    """Over the last axis. A patient without a result does not count; a day that never came (infinite) is later than all
    others, and counts for shares and percentiles, but not for means.
    """
    name = target.statistic
    if name == "value":
        return values[:, 0]
    if name == "share":
        return 100.0 * np.nanmean(values, axis=-1)
    if name in _PERCENT:
        inside = values >= target.threshold if name == "share_at_or_above" else values < target.threshold
        return 100.0 * np.sum(inside, axis=-1) / np.sum(~np.isnan(values), axis=-1)
    if name in ("median", "p5", "p95"):
        found = np.nanpercentile(np.minimum(values, _LATE), {"median": 50, "p5": 5, "p95": 95}[name], axis=-1)
        return np.where(found > _LATE / 1e9, np.inf, found)
    values = np.where(np.isinf(values), np.nan, values)
    if name == "sd":
        return np.nanstd(values, axis=-1, ddof=1)
    if name == "cv":
        return 100.0 * np.nanstd(values, axis=-1, ddof=1) / np.nanmean(values, axis=-1)
    return np.nanmean(values, axis=-1)


def runs(cases: Sequence[Case], sets: Sequence[str]) -> list[tuple[Case, str | None]]:
    """What there is to judge: all cases, those of the flagship once with each parameter set."""
    return [(case, own) for case in cases for own in (sets if case.has_sets else (None,))]


def each(wanted: Sequence[tuple[Case, str | None]], audit: int, jobs: int = 1) -> Generator[Judged]:
    """What `judge` says of each, in their order; jobs: processes that share the work, 1 for this one alone.

    Most of a case's time goes into compiling its model, which one core does. Closing the generator ends the processes.
    """
    if jobs == 1:
        for case, own in wanted:
            yield judge(case, own, audit)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, _alone) as pool:
        yield from pool.imap(_judged, [(case, own, audit) for case, own in wanted], NEIGHBOURS)


def _alone() -> None:
    """A process of its own: whoever started it answers Ctrl-C."""
    from thrombojax import process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.prepare("f64")


def _judged(asked: tuple[Case, str | None, int]) -> Judged:
    return judge(*asked)


def check(cases: Sequence[Case]) -> None:
    """Raises InputError for what the models do not have that studies name: before anything runs."""
    wrong: list[Problem] = []
    for study in (case.study for case in cases if case.study is not None):
        try:
            plan.make(study)
        except InputError as error:
            wrong += error.problems
    if wrong:
        raise InputError(*wrong)


def summary(found: Sequence[Judged]) -> list[Mapping[str, Any]]:
    """By kind and parameter set: rows that count, how many agree, apart for calibration and validation."""
    rows: list[Mapping[str, Any]] = []
    verdicts = [v for judged in found for v in judged.verdicts if v.counts]
    for kind in KINDS:
        for own in dict.fromkeys(v.parameter_set for v in verdicts if v.kind == kind):
            mine = [v for v in verdicts if v.kind == kind and v.parameter_set == own]
            row: dict[str, Any] = {
                "kind": kind,
                "set": own or "-",
                "rows": len(mine),
                "agree": sum(v.agrees for v in mine),
            }
            row["share"] = f"{100 * row['agree'] / len(mine):.0f} %"
            for use in ("calibration", "validation"):
                some = [v for v in mine if v.use == use]
                row[use] = f"{sum(v.agrees for v in some)} of {len(some)}"
            rows.append(row)
    return rows
