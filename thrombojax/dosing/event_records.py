"""What the records of an event table say, and what they may not say: events, doses, order, and who is observed."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from thrombojax.dosing.event_cells import Sheet, code
from thrombojax.dosing.regimen import DAY, HOUR, MOST_DOSES
from thrombojax.errors import Problem, unknown

UNITS = {"h": HOUR, "day": DAY}
COINCIDENT = 1e-9
"""Days within which two events are at the same time, as in `timeline`."""

_OBSERVATION, _DOSE, _OTHER, _RESET, _RESET_AND_DOSE = range(5)
_EVENTS = "0 (observation), 1 (dose), 2 (other), 3 (reset), 4 (reset and dose)"
_NAMES = ("an observation", "a dose", "an other event", "a reset", "a reset and dose")
_NO_RATES = {-1: "a rate that the model estimates", -2: "a duration that the model estimates"}
_NO_STEADY = {2: "a steady state added to what is there", 3: "a steady state that keeps what is there"}


class Days:
    """From the table's unit of time to days."""

    def __init__(self, unit: str):
        self.unit = UNITS[unit]
        self.name = "hours" if unit == "h" else "days"

    def __call__(self, time: np.ndarray) -> np.ndarray:
        return time * self.unit.multiply / self.unit.divide


class Records(NamedTuple):
    """Checked records, one per row: patient (ascending), day, kind (EVID, -1 where it is wrong), and the dose items.

    column: of each dose, into the compartments' distinct drugs (-1: no dose); duration: days; interval: in the table's unit.
    """

    patient: np.ndarray
    day: np.ndarray
    kind: np.ndarray
    column: np.ndarray
    amount: np.ndarray
    duration: np.ndarray
    interval: np.ndarray
    additional: np.ndarray
    steady: np.ndarray

    @property
    def dose(self) -> np.ndarray:
        return (self.kind == _DOSE) | (self.kind == _RESET_AND_DOSE)

    @property
    def reset(self) -> np.ndarray:
        return (self.kind == _RESET) | (self.kind == _RESET_AND_DOSE)

    def next_reset(self) -> np.ndarray:
        """For every record, the row of its patient's next reset; -1 where there is none."""
        return self._beside(np.searchsorted(np.flatnonzero(self.reset), np.arange(len(self.day)), side="right"))

    def last_reset(self) -> np.ndarray:
        """For every record, the row of its patient's last reset before it; -1 where there is none."""
        return self._beside(np.searchsorted(np.flatnonzero(self.reset), np.arange(len(self.day))) - 1)

    def _beside(self, at: np.ndarray) -> np.ndarray:
        rows = np.flatnonzero(self.reset)
        if not len(rows):
            return np.full(len(self.day), -1)
        row = rows[np.clip(at, 0, len(rows) - 1)]
        return np.where((at >= 0) & (at < len(rows)) & (self.patient[row] == self.patient), row, -1)


def patients(sheet: Sheet, expected: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Ids, and the patient of each record. Records come out in the order of `expected`, if that is given."""
    cells = sheet.text("ID")
    sheet.flag(np.array([not cell for cell in cells], bool), "ID", "; needed: the patient of the record")
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    before = ""
    for i, cell in enumerate(cells):
        if not cell:
            continue
        if cell != before and cell in last:
            said = f"goes on here after row {sheet.lines[last[cell]]}; needed: all records of a patient together"
            sheet.report(i, f"{cell[:40]!r} {said}", "ID")
        first.setdefault(cell, i)
        last[cell] = i
        before = cell
    ids = tuple(first) if expected is None else tuple(expected)
    place = {name: k for k, name in enumerate(ids)}
    for name in ids:
        if name not in first:
            sheet.whole(f"patient {name!r} has no records")
    for name, i in first.items():
        if name not in place:
            sheet.report(i, unknown(sheet.place(i, "ID"), "patient", name, ids))
    patient = np.array([place.get(cell, -1) for cell in cells], int)
    if expected is not None:
        order = np.argsort(patient, kind="stable")
        sheet.reorder(order)
        patient = patient[order]
    sheet.bad |= patient < 0
    return ids, patient


def check(sheet: Sheet, patient: np.ndarray, days: Days, compartments: Mapping[str, int]) -> Records:
    """The records, every fault of theirs in the sheet. Wrong numbers come out as 0."""
    time = _times(sheet, patient, days.name)
    kind = _kinds(sheet)
    dose = (kind == _DOSE) | (kind == _RESET_AND_DOSE)
    for name in ("AMT", "RATE", "ADDL", "II", "SS"):
        idle = (kind >= 0) & ~dose & (_zeroed(sheet, name) != 0)
        sheet.flag(
            idle, name, lambda i: f" on {_NAMES[kind[i]]} (EVID {kind[i]}); needed: 0, or . (only doses have it)"
        )
    amount = _amounts(sheet, dose)
    duration = _durations(sheet, dose, amount, days)
    interval, additional, steady = _repeats(sheet, dose, amount, time, days)
    column = _columns(sheet, dose, kind, compartments)
    records = Records(patient, days(time), kind, column, amount, duration, interval, additional, steady)
    _order(sheet, records)
    return records


def _zeroed(sheet: Sheet, name: str) -> np.ndarray:
    """A column with 0 where it is missing or wrong."""
    return np.nan_to_num(sheet.numbers(name), nan=0.0)


def _times(sheet: Sheet, patient: np.ndarray, name: str) -> np.ndarray:
    time = sheet.numbers("TIME")
    sheet.flag(sheet.missing("TIME"), "TIME", f"; needed: a number of {name}")
    sheet.flag(time < 0, "TIME", f", which is before the start; needed: {name} from 0 on")
    rows = np.flatnonzero(~np.isnan(time))
    back = rows[1:][(time[rows][1:] < time[rows][:-1]) & (patient[rows][1:] == patient[rows][:-1])]
    before = dict(zip(rows[1:].tolist(), rows[:-1].tolist(), strict=True))
    mask = np.zeros(len(sheet), bool)
    mask[back] = True
    cells, events = sheet.text("TIME"), sheet.codes("EVID")

    def said(i: int) -> str:
        last = before[i]
        return f", but row {sheet.lines[last]} is at {cells[last]}; needed: ascending times within a patient" + (
            ", which a reset does not start again" if events[i] in ("3", "4") else ""
        )

    sheet.flag(mask, "TIME", said)
    return np.nan_to_num(time, nan=0.0)


def _kinds(sheet: Sheet) -> np.ndarray:
    mdv = sheet.numbers("MDV")
    sheet.flag(~np.isnan(mdv) & (mdv != 0) & (mdv != 1), "MDV", "; allowed: 0 (DV is observed), 1 (it is not)")
    if not sheet.has("EVID"):
        dose = (_zeroed(sheet, "AMT") != 0) | (_zeroed(sheet, "RATE") != 0)
        return np.where(dose, _DOSE, np.where(mdv == 1, _OTHER, _OBSERVATION))
    evid = _zeroed(sheet, "EVID")
    known = np.isin(evid, range(5))
    sheet.flag(~known, "EVID", f" is not supported; allowed: {_EVENTS}")
    unread = np.isnan(sheet.numbers("EVID")) & ~sheet.missing("EVID")
    return np.where(known & ~unread, evid, -1).astype(int)


def _amounts(sheet: Sheet, dose: np.ndarray) -> np.ndarray:
    amount = sheet.numbers("AMT")
    sheet.flag(dose & sheet.missing("AMT"), "AMT", "; needed: the amount of the dose")
    sheet.flag(dose & (amount < 0), "AMT", "; needed: an amount of 0 or more")
    return np.where(dose, np.nan_to_num(amount, nan=0.0), 0.0)


def _durations(sheet: Sheet, dose: np.ndarray, amount: np.ndarray, days: Days) -> np.ndarray:
    rate = np.where(dose, _zeroed(sheet, "RATE"), 0.0)
    for value, meaning in _NO_RATES.items():
        sheet.flag(rate == value, "RATE", f" ({meaning}) is not supported; allowed: 0 (bolus) or a rate above 0")
    sheet.flag((rate < 0) & ~np.isin(rate, list(_NO_RATES)), "RATE", "; allowed: 0 (bolus) or a rate above 0")
    unread = np.isnan(sheet.numbers("AMT"))
    sheet.flag((rate > 0) & (amount == 0) & ~unread, "RATE", " with AMT 0; needed: an AMT above 0, which says how long")
    with np.errstate(over="ignore", under="ignore"):
        duration = days(np.divide(amount, rate, out=np.zeros(len(sheet)), where=(rate > 0) & (amount > 0)))
    wrong = (rate > 0) & (amount > 0) & ~((duration > COINCIDENT) & np.isfinite(duration))
    sheet.flag(wrong, "RATE", f"; needed: a finite duration AMT / RATE above {COINCIDENT} days")
    return np.where(wrong, 0.0, duration)


def _repeats(
    sheet: Sheet, dose: np.ndarray, amount: np.ndarray, time: np.ndarray, days: Days
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Interval, number of additional doses, and whether the first is at steady state."""
    additional, interval, steady = (np.where(dose, _zeroed(sheet, name), 0.0) for name in ("ADDL", "II", "SS"))
    wrong = (additional < 0) | (additional != np.floor(additional)) | (additional >= MOST_DOSES)
    sheet.flag(wrong, "ADDL", f"; needed: a whole number of additional doses from 0 to {MOST_DOSES - 1}")
    for value, meaning in _NO_STEADY.items():
        sheet.flag(steady == value, "SS", f" ({meaning}) is not supported; allowed: 0, 1")
    sheet.flag(~np.isin(steady, range(4)), "SS", "; allowed: 0, 1 (steady state)")
    plain, steady = steady == 0, steady == 1
    sheet.flag(interval < 0, "II", "; needed: an interval above 0")
    unread = np.isnan(sheet.numbers("II")) & ~sheet.missing("II")
    none = (interval == 0) & ~unread
    sheet.flag(
        (additional > 0) & ~wrong & none, "ADDL", " without II; needed: II, the interval of additional doses, above 0"
    )
    sheet.flag(steady & none, "SS", " without II; needed: II, the interval of the doses before, above 0")
    empty = (amount == 0) & ~np.isnan(sheet.numbers("AMT"))
    sheet.flag(steady & empty, "SS", " without an AMT above 0; needed: the amount of the doses before")
    unread = np.isnan(sheet.numbers("ADDL")) & ~sheet.missing("ADDL")
    idle = (interval > 0) & (additional == 0) & plain & ~unread
    sheet.flag(idle, "II", " without ADDL or SS; needed: ADDL, the number of additional doses, or no II")
    with np.errstate(over="ignore", invalid="ignore"):
        end = time + additional * interval
        short = (interval > 0) & ~((days(interval) > COINCIDENT) & (end - interval < end) & np.isfinite(end))
    sheet.flag(
        short & ~idle & ~wrong, "II", ", which makes no series of different, finite times; needed: another interval"
    )
    good = ~wrong & ~short
    return np.where(good, interval, 0.0), np.where(good, additional, 0).astype(int), steady


def _columns(sheet: Sheet, dose: np.ndarray, kind: np.ndarray, compartments: Mapping[str, int]) -> np.ndarray:
    found = np.full(len(sheet), -1)
    codes = sheet.codes("CMT")
    only = next(iter(compartments.values())) if len(compartments) == 1 else None
    unclear = np.zeros(len(sheet), bool)
    for i in np.flatnonzero(dose).tolist():
        if codes[i] in compartments:
            found[i] = compartments[codes[i]]
        elif compartments and codes[i] not in ("", "0"):
            sheet.report(i, unknown(sheet.place(i, "CMT"), "compartment", codes[i], compartments))
        elif only is not None:
            found[i] = only
        else:
            unclear[i] = True
    allowed = f"one of {', '.join(compartments)}" if compartments else "none, because `doses` names no drug"
    sheet.flag(unclear, "CMT", f" on a dose; allowed: {allowed}")
    off = np.array([c.startswith("-") and c[1:].isdigit() for c in codes], bool)
    sheet.flag(off & ~dose & (kind >= 0), "CMT", " (a compartment turned off) is not supported")
    return found


def _order(sheet: Sheet, records: Records) -> None:
    """Faults of records that are each right, but not together."""
    if np.any(np.diff(records.patient) < 0):
        return  # patients in pieces are a fault already
    coming, gone = records.next_reset(), records.last_reset()
    day, dose = records.day, records.dose
    good = ~sheet.bad
    undone = good & dose & (coming >= 0) & (day[coming] - day <= COINCIDENT)
    said = "at the same TIME undoes this dose; needed: the reset first"
    sheet.flag(undone, "EVID", lambda i: f", but the reset of row {sheet.lines[coming[i]]} {said}")
    start = np.searchsorted(records.patient, records.patient)  # of a patient, whose records are together
    late = good & (records.kind == _OBSERVATION) & (gone >= 0) & (day - day[gone] <= COINCIDENT) & (day > day[start])
    said = "at the same TIME, before which counts are read; needed: the observation first, or later"
    sheet.flag(late, "TIME", lambda i: f", after the reset of row {sheet.lines[gone[i]]} {said}")
    first: dict[tuple[int, int, int], int] = {}
    era = np.where(records.reset, np.arange(len(day)), gone)
    for i in np.flatnonzero(good & dose).tolist():
        key = (int(records.patient[i]), int(records.column[i]), int(era[i]))
        earlier = first.setdefault(key, i)
        if records.steady[i] and earlier != i:
            said = f"SS after the dose of row {sheet.lines[earlier]} into the same compartment is not supported"
            sheet.report(i, f"{said}; allowed: on the first dose, or the first after a reset", "SS")


def observations(sheet: Sheet, records: Records, observed: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the observations of one kind, and their values: NaN where nothing was measured."""
    values = np.where(sheet.numbers("MDV") == 1, np.nan, sheet.numbers("DV"))
    rows = np.flatnonzero(records.kind == _OBSERVATION)
    by = next((name for name in ("DVID", "CMT") if sheet.has(name)), None)
    codes = sheet.codes(by) if by else [""] * len(sheet)
    if observed is not None:
        mine = [i for i in rows.tolist() if codes[i] == code(observed)]
        if not mine:
            present = sorted({codes[i] or "." for i in rows.tolist()}) if by else []
            allowed = f"; found: {', '.join(present[:12])}" if present else ""
            sheet.whole(f"no observation has {by or 'DVID or CMT'} {observed!r}{allowed}")
        return np.array(mine, int), values[mine]
    kinds = {
        codes[i]: i for i in reversed(rows[~np.isnan(values[rows])].tolist()) if codes[i]
    }  # of each, its first row
    if len(kinds) > 1:
        i = sorted(kinds.values())[1]
        named = ", ".join(sorted(kinds)[:12])
        said = f"is a second kind of observation (the table has {named}); needed: which one is the count, as `observed`"
        sheet.report(i, Problem(sheet.place(i, by), said))
    return rows, values[rows]
