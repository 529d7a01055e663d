"""Regimen sentences: `romiplostim 1 ug/kg sc weekly x 4 then 3 ug/kg weekly x 8 and eltrombopag 50 mg oral daily x 84`.

    sentence  = "none" | chain { "and" chain }
    chain     = phrase { "then" phrase }
    phrase    = [DRUG] AMOUNT [UNIT] [ROUTE] { schedule | "over" NUMBER TIME | "from day" NUMBER }
    schedule  = "once" | "daily" x COUNT | "weekly" x COUNT | "every" [NUMBER] TIME x COUNT
              | "at days" NUMBER { NUMBER }
    TIME      = min, h, day, week (and their plurals and long forms)

Exactly one schedule a phrase; schedule, `over` and `from day` in any order. Words are split at white space, upper and
lower case are the same; numbers are plain decimals with or without an exponent. Nothing is ever evaluated.

`and` begins a chain at day 0 (or its own `from day`). `then` begins where the schedule before it ended: its last dose
plus its interval, so `weekly x 4 then ...` goes on at day 28. `once` and `at days` have no interval, so what follows
them must say `from day` (or `at days`, which always counts days of the study). A `then` phrase that names no drug, or
the same one, may leave out unit and route; with the route left out the infusion time stays as it was, too.
"""

from dataclasses import dataclass, replace

from thrombojax.dosing.regimen import (
    DAY,
    ROUTES,
    UNITS,
    UNITS_HELP,
    WEEK,
    Dose,
    Regimen,
    Unit,
    drug_name,
    plain,
    series,
    unit_name,
    whole_count,
)
from thrombojax.dosing.words import NUMBER, STARTS_NUMBER, Cursor, Word, hint, split
from thrombojax.errors import InputError, Problem

_INTERVALS = {"daily": (1.0, DAY), "weekly": (1.0, WEEK)}
_SCHEDULES = ("once", "daily", "weekly", "every", "at")
_JOINTS = ("then", "and")
_TAIL = (*_SCHEDULES, "over", "from", *_JOINTS)  # the words that may stand behind a route
_SCHEDULE_HELP = "a schedule: once, daily, weekly, every N days, at days ..."


@dataclass(frozen=True)
class _Phrase:
    dose: Dose
    end: float | None  # day at which a following `then` starts; None after `once` and `at days`


@dataclass(frozen=True)
class _Tail:
    """What stands behind the route. word: the schedule's first word; days: of `at days`; start: of `from day`."""

    word: Word | None = None
    interval: tuple[float, Unit] | None = None  # None for `once` and `at days`
    count: int = 1
    days: tuple[float, ...] | None = None
    start: float | None = None
    duration: float | None = None  # days


def regimen(sentence: str, where: str = "regimen") -> Regimen:
    """The regimen a sentence describes; the grammar stands at the top of this file. `none` is no treatment.

    where: what an error names as the place, such as a study file and key path. Raises InputError that points at the
    word which does not fit.
    """
    if not isinstance(sentence, str):
        raise InputError(Problem(where, f"a regimen is a sentence, got {sentence!r:.80}"))
    cursor = Cursor(sentence, where, split(sentence))
    if not cursor.words:
        raise InputError(Problem(where, "the regimen is empty; for no treatment write `none`"))
    if [word.low for word in cursor.words] == ["none"]:
        return Regimen()
    phrases = [_phrase(cursor, None)]
    while cursor.word.text:
        joint = cursor.take()  # a phrase ends only at `then`, `and` or the end
        phrases.append(_phrase(cursor, phrases[-1] if joint.low == "then" else None, joint))
    return Regimen(tuple(phrase.dose for phrase in phrases))


def _phrase(cursor: Cursor, before: _Phrase | None, then: Word | None = None) -> _Phrase:
    """One phrase; `before` is the phrase it follows by the word `then`, None at the start of a chain."""
    last = before.dose if before else None
    drug = _drug(cursor, last)
    if last and last.drug != drug:
        last = None  # nothing carries over to another drug
    amount = cursor.number("an amount")
    unit = _unit(cursor, last)
    route = _route(cursor, last)
    tail = _tail(cursor, carried=route is None)
    if tail.days is not None:
        if tail.start is not None:
            cursor.fail("`at days` counts days of the study, it takes no `from day`", tail.word)
        times, end = tail.days, None
    else:
        start = tail.start
        if start is None:
            start = before.end if before else 0.0
        if start is None:
            cursor.fail("`once` and `at days` have no interval, so say when this begins: from day N", then)
        if tail.interval is None:
            times, end = (start,), None
        else:
            *days, end = series(start, *tail.interval, tail.count + 1)
            times = tuple(days)
    duration = tail.duration
    if duration is None:
        duration = last.duration if last and route is None else 0.0
    try:
        made = Dose(drug, amount, unit, route or (last.route if last else ""), times, duration)
    except InputError as error:  # times that overflow or coincide; everything else was checked word by word
        cursor.fail(error.problems[0].message, tail.word)
    return _Phrase(made, end)


def _drug(cursor: Cursor, last: Dose | None) -> str:
    if last and STARTS_NUMBER.match(cursor.word.text):
        return last.drug
    drug = drug_name(cursor.word.text)
    if drug is None:
        cursor.fail("expected a drug's name" + (" or an amount" if last else ""))
    cursor.place += 1
    return drug


def _unit(cursor: Cursor, last: Dose | None) -> str:
    word = cursor.word
    unit = unit_name(word.text)
    if unit is not None:
        cursor.place += 1
        return unit
    if last and (word.low in ROUTES or word.low in _TAIL or not word.text):
        return last.unit
    if word.low in ROUTES or word.low in _TAIL or not word.text:
        cursor.fail("expected a unit, e.g. ug/kg or mg")
    near = hint(word, (*UNITS, *_TAIL) if last else UNITS)
    cursor.fail(f"unknown unit {word.text[:40]!r}; allowed: {UNITS_HELP}{near}")


def _route(cursor: Cursor, last: Dose | None) -> str | None:
    """The route named, or None where it carries over."""
    route = ROUTES.get(cursor.word.low)
    if route is not None:
        cursor.place += 1
    elif last is None:
        cursor.fail(f"expected a route: sc, iv or oral{hint(cursor.word, ROUTES)}")
    return route


def _tail(cursor: Cursor, carried: bool) -> _Tail:
    """Schedule, `over` and `from day` in any order, up to `then`, `and` or the end. carried: no route was named."""
    tail = _Tail()
    while cursor.word.text and cursor.word.low not in _JOINTS:
        word = cursor.word
        if word.low in _SCHEDULES:
            if tail.word:
                cursor.fail("a second schedule: a phrase has one; `then` or `and` begins another phrase")
            tail = _schedule(cursor, tail)
        elif word.low == "over":
            if tail.duration is not None:
                cursor.fail("a second `over`")
            tail = replace(tail, duration=_over(cursor))
        elif word.low == "from":
            if tail.start is not None:
                cursor.fail("a second `from`")
            tail = replace(tail, start=_from(cursor))
        else:
            expected = "over, from day, then, and" if tail.word else _SCHEDULE_HELP
            near = (*_TAIL, *ROUTES) if carried and not tail.word else _TAIL
            cursor.fail(f"expected {expected}{hint(word, near)}")
    if tail.word is None:
        cursor.fail(f"expected {_SCHEDULE_HELP}")
    return tail


def _schedule(cursor: Cursor, tail: _Tail) -> _Tail:
    word = cursor.take()
    tail = replace(tail, word=word)
    if word.low == "once":
        cursor.spend(1, word)
        return tail
    if word.low == "at":
        return replace(tail, days=_days(cursor))
    if word.low == "every":
        first = cursor.word
        number = cursor.number("an interval") if STARTS_NUMBER.match(first.text) else 1.0
        unit = cursor.time_unit("an interval such as `14 days`")
        if number == 0:
            cursor.fail("an interval must be more than 0", first)
    else:
        number, unit = _INTERVALS[word.low]
    return replace(tail, interval=(number, unit), count=_count(cursor))


def _count(cursor: Cursor) -> int:
    """`x 26`, `x26` or `× 26`."""
    word = cursor.word
    if word.low[:1] not in ("x", "×") or not (len(word.text) == 1 or STARTS_NUMBER.match(word.text[1:])):
        cursor.fail("expected `x` and a number of doses, e.g. weekly x 26")
    cursor.place += 1
    if len(word.text) > 1:
        cursor.place -= 1
        cursor.words[cursor.place] = Word(word.text[1:], word.column + 1)
    at = cursor.word
    count = whole_count(cursor.number("a number of doses"))
    if isinstance(count, str):
        cursor.fail(count, at)
    cursor.spend(count, at)
    return count


def _days(cursor: Cursor) -> tuple[float, ...]:
    """`days 0 7 21`, with or without commas behind the numbers, in any order, each once."""
    if cursor.word.low not in ("day", "days"):
        cursor.fail("expected `days` and numbers, e.g. at days 0 7 21")
    cursor.place += 1
    days: dict[float, None] = {}  # a set that is cheap to test and keeps its order
    while not days or STARTS_NUMBER.match(cursor.word.text):
        word = cursor.word
        bare = word.text.removesuffix(",")
        if not NUMBER.fullmatch(bare):
            cursor.fail("expected a day, a plain number: decimals take a point, a list takes spaces")
        cursor.words[cursor.place] = Word(bare, word.column)
        day = cursor.number("a day")
        if day in days:
            cursor.fail(f"day {plain(day)} is given twice", word)
        cursor.spend(1, word)
        days[day] = None
    return tuple(sorted(days))


def _over(cursor: Cursor) -> float:
    cursor.place += 1
    number = cursor.number("a duration such as `2 h`")
    unit = cursor.time_unit("a unit of time")
    return number * unit.multiply / unit.divide


def _from(cursor: Cursor) -> float:
    cursor.place += 1
    if cursor.word.low != "day":
        cursor.fail("expected `day` and a number, e.g. from day 3")
    cursor.place += 1
    return cursor.number("a day")
