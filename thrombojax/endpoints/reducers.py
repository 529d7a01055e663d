"""Endpoints reduced while the trajectory runs: one carry per patient, no trajectory kept.

A reducer is four functions of plain arrays. `continuous` reducers see every segment as a cubic; `visit` reducers see the value
at chosen bounds. Days count from the start of the study.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from thrombojax.endpoints import hermite
from thrombojax.models.struct import Scalar

Carry = tuple[Scalar, ...]


class Seen(NamedTuple):
    """One segment as a reducer sees it.

    start (day), length (days); v0, d0, v1, d1: observable and its slope after the start's doses and before the end's;
    inside: 1 if the segment lies in the endpoint's window; pick: 1 if its end is one of the endpoint's visits;
    dose: amount of the endpoint's drug given at the start and during the segment; bolus: that at the start; rescued: day of the
    last rescue before the end, rescues: how many there were; prescribed: the dose or level that a policy had in force during the
    segment, 0 where it withheld the drug. Visit reducers of the count, and those of a ledger, get what the clinic sees as v1
    (NaN: it does not).
    """

    start: Scalar
    length: Scalar
    v0: Scalar
    d0: Scalar
    v1: Scalar
    d1: Scalar
    inside: Scalar
    pick: Scalar
    dose: Scalar
    rescued: Scalar = -1e9
    rescues: Scalar = 0.0
    bolus: Scalar = 0.0
    prescribed: Scalar = 0.0


class Reducer(NamedTuple):
    """numbers: names of the numbers it takes; kind: continuous, visit, dose or ledger; unit: from the observable's unit;

    init(v, pick, q) -> carry, from the value before any dose; update(carry, seen, q) -> carry;
    finish(carry, window, q) -> value, window = (from, to) in days.
    """

    kind: str
    numbers: tuple[str, ...]
    unit: Callable[[str], str]
    meaning: str
    init: Callable[[Scalar, Scalar, Any], Carry]
    update: Callable[[Carry, Seen, Any], Carry]
    finish: Callable[[Carry, tuple[float, float], Any], Scalar]


def _same(unit: str) -> str:
    return unit


def _day(unit: str) -> str:
    return "day"


def _one(unit: str) -> str:
    return "1"


def _days_of(unit: str) -> str:
    return {"1": "day", "1/day": "1"}.get(unit, f"{unit} day")


def _extreme(sign: float) -> tuple[Callable[..., Carry], Callable[..., Carry]]:
    def init(v: Scalar, pick: Scalar, q: Any) -> Carry:
        return (0.0 * v - jnp.inf, 0.0 * v)

    def update(carry: Carry, seen: Seen, q: Any) -> Carry:
        best, day = carry
        c = hermite.cubic(seen.length, seen.v0, seen.d0, seen.v1, seen.d1)
        for s in (0.0, *hermite.turning(c), 1.0):
            v = sign * hermite.value(c, jax.lax.stop_gradient(s))  # flat there, or at an end: only the curve moves it
            better = (v > best) & (seen.inside > 0.5)
            best = jnp.where(better, v, best)
            day = jnp.where(better, seen.start + s * seen.length, day)
        return best, day

    return init, update


def _finish_value(sign: float) -> Callable[..., Scalar]:
    return lambda carry, window, q: sign * carry[0]


def _finish_day(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    return carry[1]


def _zero(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (0.0 * v,)


def _auc(carry: Carry, seen: Seen, q: Any) -> Carry:
    c = hermite.cubic(seen.length, seen.v0, seen.d0, seen.v1, seen.d1)
    return (carry[0] + seen.inside * seen.length * hermite.mean(c),)


def _band(carry: Carry, seen: Seen, q: Any) -> Carry:
    c = hermite.cubic(seen.length, seen.v0, seen.d0, seen.v1, seen.d1)
    inside = hermite.above(c, q["low"])[0] - hermite.above(c, q["high"])[0]
    return (carry[0] + seen.inside * seen.length * inside,)


def _never(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (0.0 * v + jnp.inf,)


def _first(carry: Carry, seen: Seen, q: Any) -> Carry:
    c = hermite.cubic(seen.length, seen.v0, seen.d0, seen.v1, seen.d1)
    s = hermite.above(c, q["threshold"])[1]
    found = (s <= 1.0) & (seen.inside > 0.5) & jnp.isinf(carry[0])
    return (jnp.where(found, seen.start + s * seen.length, carry[0]),)


def _rises_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return 0.0 * v, jnp.where(v < q["threshold"], 1.0, jnp.zeros_like(v))


def _rises(carry: Carry, seen: Seen, q: Any) -> Carry:
    times, low = carry
    c = hermite.cubic(seen.length, seen.v0, seen.d0, seen.v1, seen.d1)
    for s in (0.0, *hermite.turning(c), 1.0):
        below = hermite.value(c, s) < q["threshold"]
        times = times + jnp.where((low > 0.5) & ~below & (seen.inside > 0.5), 1.0, 0.0)
        low = jnp.where(below, 1.0, 0.0)
    return times, low


def _pick_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (jnp.where(pick > 0.5, v, 0.0 * v),)


def _pick(carry: Carry, seen: Seen, q: Any) -> Carry:
    return (jnp.where(seen.pick > 0.5, seen.v1, carry[0]),)


def _count_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (jnp.where((pick > 0.5) & (v >= q["threshold"]) & (v < q["below"]), 1.0, jnp.zeros_like(v)),)


def _count(carry: Carry, seen: Seen, q: Any) -> Carry:
    counts = (seen.pick > 0.5) & _responds(seen.v1, seen.start + seen.length - seen.rescued, q)
    return (carry[0] + jnp.where(counts, 1.0, 0.0),)


def _responds(v: Scalar, since: Scalar, q: Any) -> Any:
    """Whether a visit counts as response: at the threshold, not too high, and no rescue in the weeks before."""
    return (v >= q["threshold"]) & (v < q["below"]) & (since >= 7.0 * q["rescue_weeks"])


def _share_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return *_count_first(v, pick, q), jnp.where(pick > 0.5, 1.0, jnp.zeros_like(v))


def _share(carry: Carry, seen: Seen, q: Any) -> Carry:
    kept = (seen.pick > 0.5) & _kept(seen)
    return *_count((carry[0],), seen, q), carry[1] + jnp.where(kept, 1.0, 0.0)


def _kept(seen: Seen) -> Any:
    """Whether the clinic saw the patient: missed visits are no number."""
    return seen.v1 >= -jnp.inf


def _of_kept(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    return jnp.where(carry[1] > 0.5, carry[0] / jnp.maximum(carry[1], 1.0), jnp.nan)


def _response_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return *_count_first(v, pick, q), jnp.zeros_like(v)


def _response(carry: Carry, seen: Seen, q: Any) -> Carry:
    day = seen.start + seen.length
    counts = (seen.pick > 0.5) & _responds(seen.v1, day - seen.rescued, q)
    return carry[0] + jnp.where(counts, 1.0, 0.0), jnp.maximum(carry[1], seen.inside * seen.rescues)


def _responder(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    free = (q["allow_rescue"] > 0.5) | (carry[1] < 0.5)
    return jnp.where((carry[0] >= q["needed"]) & free, 1.0, 0.0)


def _stable_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return 0.0 * v, 0.0 * v, 0.0 * v + jnp.inf, 0.0 * v - jnp.inf


def _stable(carry: Carry, seen: Seen, q: Any) -> Carry:
    *own, least, most = carry
    looks, dose = seen.pick > 0.5, seen.prescribed
    least = jnp.where(looks & (dose < least), dose, least)
    most = jnp.where(looks & (dose > most), dose, most)
    return *_response((own[0], own[1]), seen, q), least, most


def _stable_responder(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    *own, least, most = carry
    # Steps of a dose are no exact floats: 0.1 + 0.2 is within 0.3 of 0.
    return _responder((own[0], own[1]), window, q) * jnp.where(most - least <= q["within"] * (1.0 + SAME), 1.0, 0.0)


BINS = 16
"""Doses that a mode is found among, in steps of a dose: the highest label has ten."""


def _no_bins(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (0.0 * v,) * BINS


def _bins(carry: Carry, seen: Seen, q: Any) -> Carry:
    steps = seen.prescribed / q["step"]

    def more(k: int, count: Scalar) -> Scalar:
        mine = (steps > k + 0.5) & ((steps <= k + 1.5) | (k == BINS - 1))
        return count + jnp.where(mine & (seen.pick > 0.5) & _kept(seen), 1.0, 0.0)

    return tuple(more(k, count) for k, count in enumerate(carry))


def _near_mode(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    most: Scalar = 0.0 * carry[0]
    mode: Scalar = 0.0 * carry[0]
    for k, count in enumerate(carry):
        mode = jnp.where(count > most, float(k), mode)
        most = jnp.maximum(count, most)
    reach = q["within"] / q["step"] * (1.0 + SAME)
    near = sum((jnp.where(jnp.abs(k - mode) <= reach, count, 0.0) for k, count in enumerate(carry)), 0.0 * most)
    total = sum(carry, 0.0 * most)
    return jnp.where(total > 0.5, near / jnp.maximum(total, 1.0), jnp.nan)


def _nothing(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return ()


def _still(carry: Carry, seen: Seen, q: Any) -> Carry:
    return carry


def _dose(carry: Carry, seen: Seen, q: Any) -> Carry:
    return (carry[0] + seen.inside * seen.dose,)


def _given(carry: Carry, seen: Seen, q: Any) -> Carry:
    return (carry[0] + jnp.where((seen.inside > 0.5) & (seen.bolus > 0.0), 1.0, 0.0),)


def _no_dose(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return 0.0 * v, 0.0 * v


def _changes(carry: Carry, seen: Seen, q: Any) -> Carry:
    times, last = carry
    now = (seen.inside > 0.5) & (seen.bolus > 0.0)
    other = now & (last > 0.0) & (jnp.abs(seen.bolus - last) > SAME * last)
    return times + jnp.where(other, 1.0, 0.0), jnp.where(now, seen.bolus, last)


SAME = 1e-4
"""Two doses that differ by less, relatively, are one dose."""


def _total(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    return carry[0]


def _mean(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    return carry[0] / (window[1] - window[0])


def _or_never(carry: Carry, window: tuple[float, float], q: Any) -> Scalar:
    return jnp.where(jnp.isinf(carry[0]), jnp.nan, carry[0])


REDUCERS: Mapping[str, Reducer] = {
    "nadir": Reducer("continuous", (), _same, "lowest value", *_extreme(-1.0), _finish_value(-1.0)),
    "peak": Reducer("continuous", (), _same, "highest value", *_extreme(1.0), _finish_value(1.0)),
    "nadir_day": Reducer("continuous", (), _day, "day of the lowest value", *_extreme(-1.0), _finish_day),
    "peak_day": Reducer("continuous", (), _day, "day of the highest value", *_extreme(1.0), _finish_day),
    "auc": Reducer("continuous", (), _days_of, "area under the curve", _zero, _auc, _total),
    "mean": Reducer("continuous", (), _same, "time-weighted mean", _zero, _auc, _mean),
    "fraction_in_band": Reducer(
        "continuous", ("low", "high"), _one, "fraction of time with low <= value < high", _zero, _band, _mean
    ),
    "first_day_at_or_above": Reducer(
        "continuous", ("threshold",), _day, "first day at or above the threshold (missing: never)", _never, _first, _or_never
    ),
    "rises": Reducer(
        "continuous", ("threshold",), _one, "times that the value rose to the threshold", _rises_first, _rises, _total
    ),
    "value_on_day": Reducer("visit", ("day",), _same, "value on a day, before that day's dose", _pick_first, _pick, _total),
    "weeks_of_response": Reducer(
        "visit", ("threshold", "below", "rescue_weeks"), _one, "visits in the window at or above the threshold",
        _count_first, _count, _total
    ),
    "response_share": Reducer(
        "visit", ("threshold", "below", "rescue_weeks"), _one,
        "share of the visits kept in the window at or above the threshold", _share_first, _share, _of_kept
    ),
    "response": Reducer(
        "visit", ("threshold", "needed", "below", "rescue_weeks", "allow_rescue"), _one,
        "1 where enough visits in the window are at or above the threshold", _response_first, _response, _responder
    ),
    "stable_response": Reducer(
        "ledger", ("threshold", "needed", "within", "below", "rescue_weeks", "allow_rescue"), _one,
        "1 where enough visits in the window are at or above the threshold, on a dose that hardly changes",
        _stable_first, _stable, _stable_responder
    ),
    "doses_near_mode": Reducer(
        "ledger", ("step", "within"), _one, "share of the doses that are near the most frequent one", _no_bins, _bins, _near_mode
    ),
    "cumulative_dose": Reducer("dose", (), _same, "amount given", _zero, _dose, _total),
    "doses_given": Reducer("dose", (), _one, "boluses (tablets, injections) given", _zero, _given, _total),
    "dose_changes": Reducer("dose", (), _one, "boluses that differ from the one before", _no_dose, _changes, _total),
    **{name: Reducer("ledger", (), unit, meaning, _nothing, _still, _total) for name, unit, meaning in (
        ("dose_increases", _one, "times the dose was raised"),
        ("dose_decreases", _one, "times the dose was lowered"),
        ("dose_holds", _one, "times the drug was withheld"),
        ("rescues", _one, "rescue transfusions"),
        ("rescued", _one, "1 where there was any rescue transfusion"),
        ("discontinuation_day", _day, "day on which a stop rule ended the drug (missing: never)"),
        ("titrated_dose", _same, "amount of the titrated drug given"),
        ("wasted_dose", _same, "amount left in opened vials"),
        ("last_dose", _one, "dose or level at the end, in the unit of its rule"),
    )},
}  # fmt: skip

LEDGER: Mapping[str, str] = {
    "dose_increases": "raised",
    "dose_decreases": "lowered",
    "dose_holds": "withheld",
    "rescues": "rescues",
    "rescued": "rescues",
    "discontinuation_day": "ended",
    "titrated_dose": "given",
    "wasted_dose": "wasted",
    "last_dose": "dose",
}
"""What a policy's memory has of a patient: reducer -> field."""
DEFAULTS: Mapping[str, float] = {"below": 1e30, "rescue_weeks": 0.0, "allow_rescue": 1.0}
"""Numbers that an endpoint may leave out."""
