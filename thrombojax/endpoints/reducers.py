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
    dose: amount of the endpoint's drug given at the start and during the segment.
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


class Reducer(NamedTuple):
    """numbers: names of the numbers it takes; kind: continuous, visit or dose; unit: from the observable's unit;

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


def _pick_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (jnp.where(pick > 0.5, v, 0.0 * v),)


def _pick(carry: Carry, seen: Seen, q: Any) -> Carry:
    return (jnp.where(seen.pick > 0.5, seen.v1, carry[0]),)


def _count_first(v: Scalar, pick: Scalar, q: Any) -> Carry:
    return (jnp.where((pick > 0.5) & (v >= q["threshold"]), 1.0, 0.0 * v),)


def _count(carry: Carry, seen: Seen, q: Any) -> Carry:
    return (carry[0] + jnp.where((seen.pick > 0.5) & (seen.v1 >= q["threshold"]), 1.0, 0.0),)


def _dose(carry: Carry, seen: Seen, q: Any) -> Carry:
    return (carry[0] + seen.inside * seen.dose,)


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
    "auc": Reducer("continuous", (), lambda u: f"{u} day" if u != "1" else "day", "area under the curve", _zero, _auc, _total),
    "mean": Reducer("continuous", (), _same, "time-weighted mean", _zero, _auc, _mean),
    "fraction_in_band": Reducer(
        "continuous", ("low", "high"), _one, "fraction of time with low <= value < high", _zero, _band, _mean
    ),
    "first_day_at_or_above": Reducer(
        "continuous", ("threshold",), _day, "first day at or above the threshold (missing: never)", _never, _first, _or_never
    ),
    "value_on_day": Reducer("visit", ("day",), _same, "value on a day, before that day's dose", _pick_first, _pick, _total),
    "weeks_of_response": Reducer(
        "visit", ("threshold",), _one, "visits in the window at or above the threshold", _count_first, _count, _total
    ),
    "cumulative_dose": Reducer("dose", (), _same, "amount given", _zero, _dose, _total),
}  # fmt: skip
