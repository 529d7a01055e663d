"""Event tables: who was given what and when, what was seen, and covariates over time, from a NONMEM-style CSV file.

Columns, in any order and case: ID TIME AMT RATE II ADDL EVID CMT SS DV MDV DVID; all others are covariates. Lines that start
with `#` are comments, `.` and empty cells are missing. Everything else that NONMEM allows is refused by name. How records
are read, where tools differ:

- TIME counts from the day a patient starts, ascends within a patient, and does not start again at a reset.
- Without EVID a record with AMT or RATE is a dose, any other an observation (MDV 1: neither).
- EVID 3 and 4 put a patient back to baseline. As in NONMEM that ends infusions and cancels additional doses still to come;
  the additional doses of an EVID 4 record do not reset again.
- Counts are read before anything else happens at a time, whatever the order of the records.
- ADDL doses may go on after a patient's last record. SS 1 is taken on the first dose into a compartment only, and marks that
  dose alone, not its additional ones.
- An observation whose DV is missing, or MDV 1, asks for a prediction: it is kept, without a value.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from thrombojax.dosing import event_cells
from thrombojax.dosing.event_cells import Sheet, code
from thrombojax.dosing.event_records import COINCIDENT, UNITS, Days, Records, check, observations, patients
from thrombojax.dosing.regimen import MOST_DOSES, ROUTES, UNITS_HELP, drug_name, unit_name
from thrombojax.errors import InputError, Problem, unknown

MOST_IN_ALL = 5_000_000
"""Doses of a whole table, additional ones counted."""
INTERPOLATIONS = ("locf", "nocb")


class Drug(NamedTuple):
    """What a compartment number stands for; unit: of AMT, such as `ug` or `ug/kg`."""

    drug: str
    route: str
    unit: str


class Record(NamedTuple):
    """One administration: its day, which of the table's `drugs`, how much of it, over how many days (0: bolus).

    ss: given at the steady state of such doses every `interval` days (0 where ss is not set).
    """

    time: float
    column: int
    amount: float
    duration: float
    ss: bool
    interval: float


class Observed(NamedTuple):
    """A patient's observations: days, ascending, and what was measured; NaN where nothing was."""

    time: np.ndarray
    dv: np.ndarray


@dataclass(frozen=True, eq=False)
class Varying:
    """A covariate over time, piecewise constant: from `days[patient][k]` on it is `values[patient][k]`, until the next.

    The first value, from day 0 on, is that of the first record. Days ascend; only the second may be 0 too: then the first value
    is that of the start alone.
    """

    days: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]

    def at(self, patient: int, day: np.ndarray | float) -> np.ndarray:
        """Values from these days on."""
        return self.values[patient][np.searchsorted(self.days[patient], day, side="right") - 1]


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events of patients in the order of `ids`; days everywhere. A record's `column` is a place in `drugs`.

    doses: ascending in time, additional ones included; resets: days on which all states go back to baseline, before the doses
    of that day; constant: covariate -> `[patient]`; varying: those that change in any patient; last_day: of any record,
    dose or end of an infusion.
    """

    ids: tuple[str, ...]
    drugs: tuple[Drug, ...]
    doses: tuple[tuple[Record, ...], ...]
    resets: tuple[tuple[float, ...], ...]
    observations: tuple[Observed, ...]
    constant: Mapping[str, np.ndarray]
    varying: Mapping[str, Varying]
    interpolation: str
    last_day: float

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, n: int) -> "EventTable":
        """The table of its first n patients."""
        of = {name: Varying(v.days[:n], v.values[:n]) for name, v in self.varying.items()}
        constant = {name: values[:n] for name, values in self.constant.items()}
        mine = (self.doses[:n], self.resets[:n], self.observations[:n])
        return EventTable(self.ids[:n], self.drugs, *mine, constant, of, self.interpolation, self.last_day)


def read(
    path: str | Path,
    *,
    unit: Literal["h", "day"],
    doses: Mapping[str, Sequence[str]],
    interpolation: Literal["locf", "nocb"],
    drop: Iterable[str] = (),
    observed: str | None = None,
    ids: Sequence[str] | None = None,
    steady: bool = True,
    until: float | None = None,
    counts: Literal["any", "not negative", "positive"] = "any",
) -> EventTable:
    """The event table of a CSV file. Raises InputError with everything that is wrong with it.

    unit: of TIME, II and (per unit) RATE. doses: what each CMT stands for, `{"1": ("romiplostim", "sc", "ug")}`; if there is
    one only, CMT may be missing. interpolation: of covariates between records, the last value (`locf`) or the next (`nocb`).
    drop: columns that are not read. observed: the DVID of the observations to keep (their CMT, in a table without DVID);
    needed where there are several. ids: the patients that the table must have, and their order; else as in the file. steady:
    whether SS 1 is taken. until: the day by which everything must have ended. counts: which DV are allowed.
    """
    drugs, compartments = _arguments(unit, doses, interpolation, ids)
    sheet = event_cells.load(path, drop)
    names, patient = patients(sheet, ids)
    days = Days(unit)
    records = check(sheet, patient, days, compartments)
    if not steady:
        sheet.flag(
            records.steady & records.dose, "SS", " (steady state) is not supported; allowed: the doses that lead to it"
        )
    if until is not None:
        sheet.flag(
            records.day > until + COINCIDENT,
            "TIME",
            f", after the end of the study (day {until:g}); needed: all within it",
        )
    rows, values = observations(sheet, records, observed)
    _impossible(sheet, rows, values, counts)
    covariates = {name: sheet.numbers(name) for name in sheet.covariates}
    for name in covariates:
        _has_values(sheet, name, names, patient)
    given = _administrations(sheet, records, days, len(names))
    if until is not None:
        _ended(sheet, names, given.records, until)
    sheet.stop()

    n = len(names)
    constant, varying = {}, {}
    for name, column in covariates.items():
        found = _knots(patient, records.day, column, interpolation, n)
        if any(len(known) > 1 for known in found.values):
            varying[name] = found
        else:
            constant[name] = np.concatenate(found.values)
    resets = [np.unique(at).tolist() for at in _split(records.day[records.reset], patient[records.reset], n)]
    seen = zip(_split(records.day[rows], patient[rows], n), _split(values, patient[rows], n), strict=True)
    return EventTable(
        names,
        drugs,
        given.records,
        tuple(map(tuple, resets)),
        tuple(Observed(time, dv) for time, dv in seen),
        constant,
        varying,
        interpolation,
        max(float(records.day.max()), given.end),
    )


def _arguments(
    unit: str, doses: Mapping[str, Sequence[str]], interpolation: str, ids: Sequence[str] | None
) -> tuple[tuple[Drug, ...], dict[str, int]]:
    """Distinct drugs, and the place of each compartment's drug among them."""
    found: list[Problem] = []
    if unit not in UNITS:
        found.append(unknown("events: unit", "unit of time", str(unit), UNITS))
    if interpolation not in INTERPOLATIONS:
        found.append(unknown("events: interpolation", "interpolation", str(interpolation), INTERPOLATIONS))
    if ids is not None and len(set(ids)) < len(ids):
        twice = next(name for i, name in enumerate(ids) if name in ids[:i])
        found.append(Problem("events: ids", f"patient {twice!r} is given twice"))
    drugs: dict[Drug, int] = {}
    compartments: dict[str, int] = {}
    for key, given in doses.items():
        where = f"events: doses.{key}"
        parts = [given] if isinstance(given, str) else list(given)
        if len(parts) != 3:
            found.append(Problem(where, f"given {given!r}; needed: drug, route and unit"))
            continue
        drug, route, amount = drug_name(str(parts[0])), ROUTES.get(str(parts[1]).lower()), unit_name(str(parts[2]))
        if drug is None:
            found.append(Problem(where, f"not a drug's name: {parts[0]!r}"))
        if route is None:
            found.append(unknown(where, "route", str(parts[1]), ROUTES))
        if amount is None:
            found.append(Problem(where, f"unknown unit {parts[2]!r}; allowed: {UNITS_HELP}"))
        name = code(str(key))
        if name in ("", ".") or name.startswith("-"):
            found.append(Problem(where, f"{key!r} is not a compartment; needed: a number or a name"))
        elif name in compartments:
            found.append(Problem(where, "names a compartment that is there already"))
        elif drug is not None and route is not None and amount is not None:
            compartments[name] = drugs.setdefault(Drug(drug, route, amount), len(drugs))
    if found:
        raise InputError(*found)
    return tuple(drugs), compartments


def _impossible(sheet: Sheet, rows: np.ndarray, values: np.ndarray, allowed: str) -> None:
    """A fault for each count that cannot be, or that an error in proportion to the count cannot have made."""
    wrong = values < 0 if allowed == "not negative" else values <= 0
    mask = np.zeros(len(sheet), bool)
    if allowed != "any":
        mask[rows[wrong]] = True
        needed = "0 or more" if allowed == "not negative" else 'more than 0 (for 0: error = "normal" with additive_sd)'
        sheet.flag(mask, "DV", f", which is not a count that can be fitted; needed: {needed}")


def _has_values(sheet: Sheet, name: str, names: Sequence[str], patient: np.ndarray) -> None:
    """A fault for each patient without any value of a covariate (wrong cells are faults already)."""
    some = np.zeros(len(names), bool)
    mine = patient >= 0
    some[patient[mine & ~sheet.missing(name)]] = True
    for k in np.flatnonzero(~some).tolist():
        rows = np.flatnonzero(patient == k)
        if len(rows):  # a patient without records is a fault already
            first, last = sheet.lines[rows[0]], sheet.lines[rows[-1]]
            said = f"patient {names[k]!r} has no value of it (rows {first} to {last}); needed: one at least"
            sheet.report(int(rows[0]), said, name)


def _split(values: np.ndarray, patient: np.ndarray, n: int) -> list[np.ndarray]:
    """The values of each of n patients; `patient` ascends."""
    return np.split(values, np.searchsorted(patient, np.arange(1, n)))


def _knots(patient: np.ndarray, day: np.ndarray, column: np.ndarray, interpolation: str, n: int) -> Varying:
    """When a covariate changes, and to what: every value from its own record on, or from the record before it."""
    known = ~np.isnan(column)
    patient, day, value = patient[known], day[known], column[known]
    first = _starts(patient)
    start = np.where(first, 0.0, np.roll(day, 1) if interpolation == "nocb" else day)
    after = np.append(~first[1:] & (np.diff(start) == 0), False)  # another value from the same day on
    keep = first | ~after
    patient, start, value = patient[keep], start[keep], value[keep]
    change = _starts(patient) | (np.diff(value, prepend=np.nan) != 0)
    patient, start, value = patient[change], start[change], value[change]
    return Varying(tuple(_split(start, patient, n)), tuple(_split(value, patient, n)))


def _starts(patient: np.ndarray) -> np.ndarray:
    """Which records are the first of their patient."""
    return np.diff(patient, prepend=-1) != 0


class _Administrations(NamedTuple):
    records: tuple[tuple[Record, ...], ...]
    end: float


def _administrations(sheet: Sheet, records: Records, days: Days, n: int) -> _Administrations:
    """Doses and additional doses of records without fault; a fault for each that is given twice."""
    rows = np.flatnonzero(records.dose & ~sheet.bad)
    count = records.additional[rows] + 1
    totals = np.bincount(records.patient[rows], weights=count, minlength=n)
    for k in np.flatnonzero(totals > MOST_DOSES).tolist():
        i = int(rows[records.patient[rows] == k][0])
        sheet.report(i, f"at most {MOST_DOSES} doses a patient, got {totals[k]:.0f}, additional ones counted", "ID")
    if totals.sum() > MOST_IN_ALL:
        sheet.whole(f"at most {MOST_IN_ALL} doses, got {totals.sum():.0f}, additional ones counted")
    if (totals > MOST_DOSES).any() or totals.sum() > MOST_IN_ALL:
        return _Administrations((), 0.0)

    source = np.repeat(rows, count)
    nth = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count)
    interval = records.interval[source]
    time = records.day[source] + days(nth * interval)  # the same days as in `regimen.series`
    reset = records.next_reset()[source]
    until = np.where(reset >= 0, records.day[reset], np.inf)
    going = time < until - COINCIDENT
    source, nth, time, until, interval = (column[going] for column in (source, nth, time, until, interval))
    duration, amount = records.duration[source], records.amount[source]
    _no_repeats(sheet, records, source, nth, time)
    cut = (duration > 0) & (time + duration > until + COINCIDENT)
    amount = np.where(cut, amount * np.divide(until - time, duration, out=np.ones(len(time)), where=cut), amount)
    duration = np.where(cut, until - time, duration)

    steady = records.steady[source] & (nth == 0)
    columns = (time, records.column[source], amount, duration, steady, np.where(steady, days(interval), 0.0))
    order = np.lexsort((time, records.patient[source]))
    every = list(map(Record._make, zip(*(column[order].tolist() for column in columns), strict=True)))
    ends = np.searchsorted(records.patient[source][order], np.arange(n + 1)).tolist()
    return _Administrations(
        tuple(tuple(every[a:b]) for a, b in pairwise(ends)), float((time + duration).max(initial=0.0))
    )


def _ended(sheet: Sheet, names: Sequence[str], given: Sequence[Sequence[Record]], until: float) -> None:
    """A fault for each patient to whom an additional dose, or an infusion, is given after the study."""
    for name, mine in zip(names, given, strict=False):  # there are none where there are too many
        end = max((record.time + record.duration for record in mine), default=0.0)
        if end > until + COINCIDENT:
            said = f"is given doses to day {end:.6g}, additional ones and infusions counted"
            sheet.whole(f"patient {name!r} {said}; needed: none after the end of the study (day {until:g})")


def _no_repeats(sheet: Sheet, records: Records, source: np.ndarray, nth: np.ndarray, time: np.ndarray) -> None:
    """A fault where the same amount goes into the same compartment at the same time once more."""
    keys = (time, records.amount[source], records.column[source], records.patient[source])
    order = np.lexsort(keys)
    same = np.diff(time[order]) <= COINCIDENT
    for key in keys[1:]:
        same &= np.diff(key[order]) == 0
    said: set[tuple[int, int]] = set()
    for at in np.flatnonzero(same).tolist():
        pair = order[at : at + 2]
        (one, k), (two, m) = sorted(zip(source[pair].tolist(), nth[pair].tolist(), strict=True))
        if (one, two) not in said:
            said.add((one, two))
            other = (
                f"the dose of row {sheet.lines[one]}" if k == 0 else f"additional dose {k} of row {sheet.lines[one]}"
            )
            this = "repeats" if m == 0 else f"additional dose {m} repeats"
            day = "" if m == 0 else f" on day {time[pair[0]]:.6g}"
            sheet.report(two, f"{this} {other}: the same ID, TIME, CMT and AMT{day}; needed: one record of it", "AMT")
