"""Smooth twins of the reducers, from a trajectory kept every day: what gradients see. Reports count exactly.

Counts are compared on their logarithm: an edge of width 0.1 is ten per cent of the threshold wide.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.endpoints import Endpoint
from thrombojax.errors import Problem

LEAST = 1e-3
"""Values below it are taken as it where a logarithm is needed."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the twins look at. days: `[day]`; saved: observable -> `[day, patient]`; dose: what an endpoint's drug adds up to,
    `[patient]`; factor: what a visit sees over the truth, by day; smoothing: width of edges; boluses: an endpoint's drug -> its
    amounts in order, `[slot]` or `[slot, patient]`, over the largest that each may be; None where a rule gives them."""

    days: np.ndarray
    saved: Mapping[str, Any]
    dose: Callable[[Endpoint], Any]
    factor: Mapping[float, Any]
    smoothing: float
    boluses: Callable[[Endpoint], Any] | None = None


def _log(v: Any) -> Any:
    return jnp.log(jnp.maximum(v, LEAST))


def _over(v: Any, threshold: float, width: float) -> Any:
    """1 above, 0 below; a threshold of 0 or less is below everything."""
    if threshold <= 0:
        return jnp.ones_like(v)
    if threshold >= 1e5:
        return jnp.zeros_like(v)
    return jax.nn.sigmoid((_log(v) - np.log(threshold)) / width)


def _weights(e: Endpoint, days: np.ndarray) -> np.ndarray:
    """Days that each kept value stands for within the endpoint's window (trapezoids)."""
    inside = (days >= e.start - 1e-9) & (days <= e.stop + 1e-9)
    at = days[inside]
    weight = np.zeros(len(days))
    if len(at) > 1:
        half = 0.5 * np.diff(at)
        weight[inside] = np.concatenate([half, [0.0]]) + np.concatenate([[0.0], half])
    return weight


def _values(e: Endpoint, seen: Seen) -> Any:
    v = seen.saved[e.observable]
    return {"ratio": lambda: v / v[:1], "change": lambda: v - v[:1]}.get(e.relative, lambda: v)()


def _at(e: Endpoint, seen: Seen) -> list[Any]:
    """What the endpoint's visits see, each `[patient]`."""
    v = seen.saved[e.observable]

    def on(day: float) -> Any:
        value = v[int(np.argmin(np.abs(seen.days - day)))]
        return value * seen.factor[day] if e.observable == "platelets" and day in seen.factor else value

    at = [on(day) for day in e.visits]
    first = on(0.0) if e.relative else None
    return [
        {"ratio": lambda a=a: a / first, "change": lambda a=a: a - first}.get(e.relative, lambda a=a: a)() for a in at
    ]


def _in_band(e: Endpoint, seen: Seen) -> Any:
    v, w = _values(e, seen), seen.smoothing
    inside = _over(v, e.numbers["low"], w) - _over(v, e.numbers["high"], w)
    return jnp.tensordot(_weights(e, seen.days) / (e.stop - e.start), inside, 1)


def _auc(e: Endpoint, seen: Seen) -> Any:
    return jnp.tensordot(_weights(e, seen.days), _values(e, seen), 1)


def _mean(e: Endpoint, seen: Seen) -> Any:
    return _auc(e, seen) / (e.stop - e.start)


def _extreme(sign: float) -> Callable[[Endpoint, Seen], Any]:
    def found(e: Endpoint, seen: Seen) -> Any:
        inside = (seen.days >= e.start - 1e-9) & (seen.days <= e.stop + 1e-9)
        width = 0.2 * seen.smoothing
        v = _log(_values(e, seen)[np.flatnonzero(inside)])
        # The mean of those at the extreme, not their sum: a flat course has its own value.
        share = jax.nn.softmax(sign * v / width, axis=0)
        return jnp.exp(jnp.sum(share * v, axis=0))

    return found


def _value(e: Endpoint, seen: Seen) -> Any:
    return _at(e, seen)[0]


def _responses(e: Endpoint, seen: Seen) -> Any:
    high = e.numbers.get("below", 1e30)
    w = seen.smoothing
    return sum(_over(a, e.numbers["threshold"], w) - _over(a, high, w) for a in _at(e, seen))


def _response(e: Endpoint, seen: Seen) -> Any:
    return jax.nn.sigmoid((_responses(e, seen) - e.numbers["needed"] + 0.5) / (2.0 * seen.smoothing))


def _dose(e: Endpoint, seen: Seen) -> Any:
    return seen.dose(e)


def _there(amount: Any, width: float) -> Any:
    """0 for an amount of 0, else 1."""
    return amount**2 / (amount**2 + width**2)


def _given(e: Endpoint, seen: Seen) -> Any:
    assert seen.boluses is not None
    return jnp.sum(_there(seen.boluses(e), 0.5 * seen.smoothing), axis=0)


def _changes(e: Endpoint, seen: Seen) -> Any:
    """Against the last one that was given, however long ago."""
    assert seen.boluses is not None
    width = 0.5 * seen.smoothing

    def step(carry: Any, now: Any) -> Any:
        times, last, any_before = carry
        here = _there(now, width)
        times = times + here * any_before * _there(now - last, width)
        return (times, last + here * (now - last), any_before + here * (1.0 - any_before)), None

    amounts = seen.boluses(e)
    zero = jnp.zeros_like(amounts[0])
    return jax.lax.scan(step, (zero, zero, zero), amounts)[0][0]


TWINS: Mapping[str, Callable[[Endpoint, Seen], Any]] = {
    "fraction_in_band": _in_band,
    "auc": _auc,
    "mean": _mean,
    "nadir": _extreme(-1.0),
    "peak": _extreme(1.0),
    "value_on_day": _value,
    "weeks_of_response": _responses,
    "response": _response,
    "cumulative_dose": _dose,
    "doses_given": _given,
    "dose_changes": _changes,
    "titrated_dose": _dose,
}


REGIMENS = ("doses_given", "dose_changes")
"""Twins that see the amounts of a regimen."""


def problems(endpoints: Sequence[Endpoint], where: Callable[[str], str], rule: bool = False) -> list[Problem]:
    """Endpoints that have no smooth twin, or none under a rule."""
    known = sorted(name for name in TWINS if not (rule and name in REGIMENS))
    return [
        Problem(where(e.name), f"{e.reducer} has no smooth twin to optimise; allowed: {', '.join(known)}")
        for e in endpoints
        if e.reducer not in known
    ]


def value(e: Endpoint, seen: Seen) -> Any:
    """`[patient]`."""
    return TWINS[e.reducer](e, seen)


def observables(endpoints: Sequence[Endpoint]) -> tuple[str, ...]:
    """What must be kept of the trajectory."""
    dosed = ("cumulative_dose", "titrated_dose", *REGIMENS)
    return tuple(dict.fromkeys(e.observable for e in endpoints if e.reducer not in dosed)) or ("platelets",)


def keep(endpoints: Sequence[Endpoint], days: float) -> np.ndarray:
    """Days to keep: every one, and those that endpoints name."""
    named = [day for e in endpoints for day in (e.start, e.stop, *e.visits)]
    return np.unique(np.concatenate([np.arange(np.floor(days) + 1), [days], named]).round(9))
