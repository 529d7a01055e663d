"""Titration rules as data: from a drug's label, or written in a study, to the numbers that a policy runs on.

A rule is bands of the count, which together cover every count once; each raises, keeps, lowers or withholds the dose. Doses that
the drug's tablets cannot make are refused here.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from thrombojax import drugs
from thrombojax.dosing.policy import ALWAYS, Band, Rule, Stop, Weight
from thrombojax.dosing.regimen import plain, unit_name
from thrombojax.dosing.sentence import regimen
from thrombojax.dosing.treatment import WEEK, Rescue, Titration
from thrombojax.errors import InputError, Problem, unknown

MOST_TABLETS = 100
"""At one time: more than anyone takes, and few enough to try their sums."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BandTable(_Table):
    """from <= count < to (1e9/L), for so many visits in a row; weeks: so long after the start or the last change; wait: so long
    after the last change, but at any time before the first."""

    low: float = Field(0.0, alias="from", ge=0)
    high: float = Field(ALWAYS, alias="to", gt=0)
    action: Literal["raise", "keep", "lower", "withhold"]
    by: float = Field(0.0, ge=0)
    visits: float = Field(1.0, ge=1)
    weeks: float = Field(0.0, ge=0)
    wait: float = Field(0.0, ge=0)
    resume_below: float | None = Field(None, gt=0)


class StopTable(_Table):
    """When the drug ends: a count below or above, a rise over the first count, a dose at or beyond one, for weeks on end.

    weeks_at_dose: a count that may have come at once, on a dose given for so long; from_day: days since the first dose.
    """

    dose: float = 0.0
    at_most: float = ALWAYS
    below: float = ALWAYS
    above: float = 0.0
    at_least_rise: float = -ALWAYS
    weeks: float = Field(0.0, ge=0)
    weeks_at_dose: float = Field(0.0, ge=0)
    from_day: float = Field(0.0, ge=0)
    why: str = ""


class WeightTable(_Table):
    """from <= weight < to (kg): amounts are so many times as large."""

    low: float = Field(0.0, alias="from", ge=0)
    high: float = Field(ALWAYS, alias="to", gt=0)
    times: float = Field(ge=0)


def _list(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


class TitrationTable(_Table):
    """A `[[titration]]` of a drug's file, and the `policy` of a study's arm."""

    name: str = ""
    route: Literal["sc", "iv", "oral"]
    unit: str
    start: float = Field(ge=0)
    step: float = Field(0.0, ge=0)
    lowest: float | None = Field(None, ge=0)
    highest: float = Field(gt=0)
    every: float = Field(gt=0)
    first: float = Field(0.0, alias="from", ge=0)
    until: float | None = Field(None, gt=0)
    visit_days: float = Field(7.0, gt=0)
    clinic: bool | None = None
    rounding: float | None = Field(None, ge=0)
    vial: float | None = Field(None, ge=0)
    levels: tuple[tuple[float, ...], ...] = ()
    weights: tuple[WeightTable, ...] = ()
    rules: tuple[BandTable, ...] = Field(min_length=1)
    stop: Annotated[tuple[StopTable, ...], BeforeValidator(_list)] = ()
    source: str = ""
    status: str = ""
    notes: str = ""


def labels(drug: str) -> Mapping[str, Any]:
    """The drug's file of label data."""
    drugs.load(drug)  # an unknown one is an error that names the nearest
    return tomllib.loads((resources.files("thrombojax.drugs") / f"{drug}.toml").read_text(encoding="utf-8"))


def titration(drug: str, label: str | None = None, where: str = "policy", **changes: Any) -> Titration:
    """The rule of a drug's label, with changes, or one that the changes describe in full. Keys are those of `TitrationTable`.

    Raises InputError for an unknown drug, label or key, bands that overlap or leave counts out, and doses that cannot be made.
    """
    try:
        data = labels(drug)
    except InputError as error:
        raise InputError(*(Problem(f"{where}.drug", p.message) for p in error.problems)) from None
    known = {t["name"]: t for t in data.get("titration", [])}
    if label is not None and label not in known:
        raise InputError(unknown(f"{where}.label", f"label of {drug}", label, known))
    try:
        table = TitrationTable.model_validate({**(known[label] if label is not None else {}), **changes})
    except ValidationError as error:
        raise InputError(*_problems(error, where)) from None
    problems = [*_bands(table, where), *_doses(table, data, where)]
    if problems:
        raise InputError(*problems)
    unit = unit_name(table.unit) or table.unit
    return Titration(
        drug, table.route, unit, table.every, table.first, table.until, table.visit_days,
        _rule(table, data), label or table.name or "titration",
    )  # fmt: skip


def rescue(below: float, give: str, where: str = "rescue") -> Rescue:
    """Rescue by a bolus; give: such as `transfusion 40 1/nL iv`."""
    given = regimen(f"{give} once", where)
    if len(given.doses) != 1 or given.doses[0].duration:
        raise InputError(Problem(where, f"given {give!r}; allowed: one bolus, such as 'transfusion 40 1/nL iv'"))
    d = given.doses[0]
    return Rescue(float(below), d.drug, d.route, d.unit, d.amount)


def _problems(error: ValidationError, where: str) -> list[Problem]:
    found = []
    for e in error.errors(include_url=False):
        at = ".".join([where, *(f"[{p + 1}]" if isinstance(p, int) else str(p) for p in e["loc"])]).replace(".[", "[")
        if e["type"] == "extra_forbidden":
            parts: dict[str, type[_Table]] = {"rules": BandTable, "stop": StopTable, "weights": WeightTable}
            table = parts.get(str(e["loc"][0]), TitrationTable)
            allowed = [f.alias or name for name, f in table.model_fields.items()]
            more = ["drug", "label"] if table is TitrationTable else []
            found.append(unknown(at, "key", str(e["loc"][-1]), [*more, *allowed]))
        elif e["type"] == "missing":
            found.append(Problem(at, "is missing; needed: it, or a label that has it"))
        else:
            found.append(Problem(at, f"given {e['input']!r:.60}; {e['msg'][0].lower()}{e['msg'][1:]}"))
    return found


def _bands(table: TitrationTable, where: str) -> list[Problem]:
    """Every count belongs to one band."""
    found = []
    bands = sorted(table.rules, key=lambda b: (b.low, b.high))
    for band in bands:
        if band.high <= band.low:
            found.append(
                Problem(f"{where}.rules", f"a band from {_count(band.low)} to {_count(band.high)} holds no count")
            )
        if band.action in ("raise", "lower") and band.by <= 0:
            found.append(
                Problem(f"{where}.rules", f"the band from {_count(band.low)} has no `by`; needed: more than 0")
            )
        if (band.action == "withhold") != (band.resume_below is not None):
            what = "needs `resume_below`" if band.action == "withhold" else "has `resume_below`, which is for withhold"
            found.append(Problem(f"{where}.rules", f"the band from {_count(band.low)} ({band.action}) {what}"))
    if sum(b.action == "withhold" for b in bands) > 1:
        found.append(Problem(f"{where}.rules", "has more than one band that withholds; allowed: one"))
    found += _covered(f"{where}.rules", "counts", [(b.low, b.high) for b in bands])
    if table.weights:
        spans = sorted((w.low, w.high) for w in table.weights)
        found += _covered(f"{where}.weights", "weights", spans)
    return found


def _covered(where: str, what: str, spans: Sequence[tuple[float, float]]) -> list[Problem]:
    """Ascending spans that overlap or leave something out."""
    found = [Problem(where, f"no rule for {what} below {_count(spans[0][0])}")] if spans[0][0] > 0 else []
    for before, after in pairwise(spans):
        if after[0] > before[1]:
            found.append(Problem(where, f"no rule for {what} from {_count(before[1])} to {_count(after[0])}"))
        elif after[0] < before[1]:
            end = min(before[1], after[1])
            found.append(Problem(where, f"two rules for {what} from {_count(after[0])} to {_count(end)}"))
    if spans[-1][1] < ALWAYS:
        found.append(Problem(where, f"no rule for {what} of {_count(spans[-1][1])} and more"))
    return found


def _count(value: float) -> str:
    return "any count on" if value >= ALWAYS else plain(value)


def _lowest(table: TitrationTable) -> float:
    return table.lowest if table.lowest is not None else 1.0 if table.levels else 0.0


def _levels(table: TitrationTable, where: str) -> list[Problem]:
    """Rows of one length, and only their places for doses."""
    rows, found = table.levels, []
    if len({len(row) for row in rows}) > 1 or not rows[0] or any(amount < 0 for row in rows for amount in row):
        message = (
            f"given {[list(row) for row in rows]!s:.60}; allowed: rows of one length, of amounts that are not negative"
        )
        found.append(Problem(f"{where}.levels", message))
    for key, level in (("start", table.start), ("lowest", _lowest(table)), ("highest", table.highest)):
        if level not in range(1, len(rows) + 1):
            found.append(Problem(f"{where}.{key}", f"given {plain(level)}; allowed: a level, from 1 to {len(rows)}"))
    for band in table.rules:
        if band.by % 1:
            message = f"the band from {_count(band.low)} moves by {plain(band.by)}; allowed: whole levels"
            found.append(Problem(f"{where}.rules", message))
    return found


def _doses(table: TitrationTable, data: Mapping[str, Any], where: str) -> list[Problem]:
    """The start lies in the range, and tablets make every dose that the rules can reach."""
    lowest, highest = _lowest(table), table.highest
    found = _levels(table, where) if table.levels else []
    if not lowest <= table.start <= highest:
        message = f"given {plain(table.start)}; allowed: from {plain(lowest)} to the highest dose, {plain(highest)}"
        found.append(Problem(f"{where}.start", message))
    if table.until is not None and table.until <= table.first:
        message = f"given {plain(table.until)}; allowed: after the first dose (day {plain(table.first)})"
        found.append(Problem(f"{where}.until", message))
    if unit_name(table.unit) is None and not table.levels:
        found.append(Problem(f"{where}.unit", f"unknown unit {table.unit!r}"))
    products = [
        sorted(map(float, s["amounts"]))
        for s in data.get("strength", [])
        if "tablet" in s["form"] and s["unit"] == table.unit
    ]
    if found or not products or table.unit.endswith("/kg"):
        return found
    times = {w.times for w in table.weights} or {1.0}
    given = {d for row in table.levels for d in row} if table.levels else reachable(table)
    doses = sorted({d * factor for d in given for factor in times})
    # tablets of one product make all doses: nobody takes two salts of a drug
    wrong = {product: [d for d in doses if not made_of(d, product)] for product in map(tuple, products)}
    tablets, left = min(wrong.items(), key=lambda item: len(item[1]))
    if left:
        shown = ", ".join(map(plain, left[:5])) + (", ..." if len(left) > 5 else "")
        strengths = ", ".join(map(plain, tablets))
        message = f"the rules lead to {shown} {table.unit}, which tablets of {strengths} {table.unit} cannot make"
        found.append(Problem(f"{where}.rules", message))
    return found


def reachable(table: TitrationTable) -> set[float]:
    """Every dose that the rules can lead to."""
    moves = [b.by if b.action == "raise" else -b.by for b in table.rules if b.by]
    found, new = set[float](), {table.start}
    while new and len(found) < 1000:
        found |= new
        new = {min(max(d + by, _lowest(table)), table.highest) for d in new for by in moves} - found
    return found


def made_of(dose: float, tablets: Sequence[float]) -> bool:
    """Whether whole tablets, not more than MOST_TABLETS of the largest, add up to a dose."""
    if dose > MOST_TABLETS * max(tablets):
        return False
    found, new = set[float](), {0.0}
    while new:
        found |= new
        new = {round(sum_ + tablet, 6) for sum_ in new for tablet in tablets if sum_ + tablet < dose + 1e-6} - found
    return any(abs(sum_ - dose) < 1e-6 for sum_ in found)


def _rule(table: TitrationTable, data: Mapping[str, Any]) -> Rule:
    sign = {"raise": 1.0, "lower": -1.0}
    held = next((b for b in table.rules if b.action == "withhold"), None)
    bands = tuple(
        Band(
            low=b.low,
            high=b.high,
            visits=b.visits,
            days=max(b.weeks, b.wait) * WEEK,
            since=table.first + b.weeks * WEEK,
            by=sign[b.action] * b.by if b.action in sign else 0.0,
            withhold=float(b.action == "withhold"),
        )
        for b in table.rules
        if b.action != "keep"
    )
    stops = tuple(
        Stop(
            low=s.above,
            high=s.below,
            rise=s.at_least_rise,
            least=s.dose,
            most=s.at_most,
            days=s.weeks * WEEK,
            since=table.first + max(s.from_day, s.weeks_at_dose * WEEK),
            settled=s.weeks_at_dose * WEEK,
        )
        for s in table.stop
    )
    vials = [s for s in data.get("strength", []) if s["form"] == "vial"] if table.route in ("sc", "iv") else []
    vial = table.vial if table.vial is not None else min((a for s in vials for a in s["amounts"]), default=0.0)
    rounding = (
        table.rounding if table.rounding is not None else max((s.get("measured_to", 0) for s in vials), default=0)
    )
    return Rule(
        start=table.start,
        lowest=_lowest(table),
        highest=table.highest,
        per_kg=float(table.unit.endswith("/kg")),
        clinic=float(table.every >= WEEK if table.clinic is None else table.clinic),
        rounding=float(rounding),
        strength=float(vial),
        resume_below=held.resume_below if held is not None and held.resume_below is not None else 0.0,
        resume_by=held.by if held is not None else 0.0,
        first=table.first,
        until=table.until if table.until is not None else ALWAYS,
        bands=bands,
        stops=stops,
        table=table.levels,
        weights=tuple(Weight(w.low, w.high, w.times) for w in table.weights),
    )
