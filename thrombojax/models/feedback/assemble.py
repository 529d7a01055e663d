"""The flagship model for the drugs a study uses, so that no kernel carries states that stay zero."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from thrombojax import drugs as drug_library
from thrombojax.drugs.protocol import Drug
from thrombojax.errors import InputError, unknown
from thrombojax.models import DEFAULT_SET, struct
from thrombojax.models.feedback import baseline, core
from thrombojax.models.feedback.effects import Effect, Surroundings, combine
from thrombojax.models.protocol import Breakpoints, Entry, Inputs, Key, LinearBlock, Model
from thrombojax.models.struct import Scalar

HERE = Path(__file__).parent


def parameter_sets() -> tuple[str, ...]:
    """Names of the shipped parameter sets."""
    return tuple(sorted(path.stem for path in (HERE / "sets").glob("*.toml")))


@functools.lru_cache(maxsize=64)
def feedback(drugs: tuple[str, ...] = (), parameter_set: str = DEFAULT_SET) -> Model:
    """The thrombopoietin-platelet feedback with the states, parameters and entries of `drugs`.

    The same arguments give the same object, so that compiled programs are found again.
    """
    if parameter_set not in parameter_sets():
        raise InputError(unknown("parameter_set", "parameter set", parameter_set, parameter_sets()))
    loaded = tuple(drug_library.load(name) for name in drugs)
    state = _extend("State", core.State, {d.name: d.State for d in loaded})
    parameters = _extend("Parameters", core.Parameters, {d.name: d.Parameters for d in loaded})
    obs = _extend("Obs", core.Obs, {d.name: d.Obs for d in loaded})

    def effects(y: Any, p: Any, around: Surroundings) -> Effect:
        return combine([d.effect(getattr(y, d.name), getattr(p, d.name), around) for d in loaded])

    def untreated(homeostasis: core.State) -> Any:
        zero = 0.0 * homeostasis.thrombopoietin.tpo
        return state(*homeostasis, *(struct.build(d.State, lambda *_: zero) for d in loaded))

    def steady(p: Any) -> tuple[Any, Scalar]:
        homeostasis, residual = baseline.steady(p)
        return untreated(homeostasis), residual

    def initial(p: Any) -> Any:
        return steady(p)[0]

    def anchor(p: Any, leaf: str, count: Scalar, start: tuple[float, float] = (0.0, 0.0)) -> tuple[Any, Any, Scalar]:
        solved, homeostasis, residual = baseline.anchor(p, leaf, count, start)
        return solved, untreated(homeostasis), residual

    def rhs(t: Scalar, y: Any, p: Any, u: Inputs) -> Any:
        around = core.surroundings(y, p)
        loop = core.rhs(y, p, effects(y, p, around))
        return state(*loop, *(d.rhs(getattr(y, d.name), getattr(p, d.name), around, u) for d in loaded))

    def observe(y: Any, p: Any) -> Any:
        around = core.surroundings(y, p)
        seen = core.observe(y, p, effects(y, p, around))
        return obs(*seen, *(d.observe(getattr(y, d.name), getattr(p, d.name), around) for d in loaded))

    def linear_block(p: Any, u: Inputs) -> LinearBlock:
        names: tuple[str, ...] = ()
        transfers: list[tuple[int, int | None, Scalar]] = []
        for d in loaded:
            if d.linear_block is None:
                continue
            block = d.linear_block(getattr(p, d.name), p.body, u)
            first = len(names)
            names += tuple(f"{d.name}.{name}" for name in block.states)
            transfers += [(a + first, None if b is None else b + first, rate) for a, b, rate in block.transfers]
        return LinearBlock(names, tuple(transfers))

    def breakpoints(p: Any) -> Breakpoints:
        after: dict[Key, tuple[Scalar, ...]] = {}
        for d in loaded:
            if d.breakpoints is not None:
                after.update(d.breakpoints(getattr(p, d.name)).after_dose)
        return Breakpoints(after_dose=after)

    return Model(
        name="feedback",
        title="Thrombopoietin-platelet feedback",
        source="thrombojax model description, parameter set " + parameter_set,
        State=state,
        Parameters=parameters,
        Obs=obs,
        initial=initial,
        baseline=initial,
        steady=steady,
        anchor=anchor,
        rhs=rhs,
        observe=observe,
        entries={key: _whole(entry, d) for d in loaded for key, entry in d.entries.items()},
        linear_block=linear_block if any(d.linear_block for d in loaded) else None,
        breakpoints=breakpoints,
        max_rate=core.max_rate,
        defaults=struct.build(parameters, _values(parameter_set)),
        steps_per_day=STEPS_PER_DAY,
        positive=("thrombopoietin.tpo", "receptor.platelet_mpl", "platelets.age_1"),
        weight="body.weight",
        parameter_set=parameter_set,
        sites={d.name: d.site for d in loaded if d.site},
        cohorts=(*(HERE / "cohorts" / f"set-{name}" for name in lineage(parameter_set)), HERE / "cohorts"),
    )


STEPS_PER_DAY = 2.0


def _extend(name: str, base: type, parts: Mapping[str, type]) -> type:
    """A NamedTuple with the fields of `base` and one nested struct per drug."""
    fields = [*base.__annotations__.items(), *parts.items()]
    return NamedTuple(name, fields)  # type: ignore[return-value]


def _whole(entry: Entry, drug: Drug) -> Entry:
    """The drug's entry in terms of the whole model: full leaf names, functions of all parameters."""

    def scoped(function: Any) -> Any:
        return lambda p: function(getattr(p, drug.name))

    def whole(leaves: Mapping[str, Any]) -> dict[str, Any]:
        return {
            (leaf if "." in leaf else f"{drug.name}.{leaf}"): (fraction if "." in leaf else scoped(fraction))
            for leaf, fraction in leaves.items()
        }

    lag = scoped(entry.lag) if entry.lag else None
    return replace(entry, into=whole(entry.into), lag=lag, shares=whole(entry.shares))


@functools.lru_cache(maxsize=8)
def read_set(parameter_set: str) -> Mapping[str, Mapping[str, Any]]:
    """A parameter set: leaf name -> {value, kind, source}; what its file leaves out is that of the set it is based on."""
    groups = tomllib.loads((HERE / "sets" / f"{parameter_set}.toml").read_text(encoding="utf-8"))
    base = groups["set"].get("base")
    return (dict(read_set(base)) if base is not None else {}) | {
        f"{group}.{name}": entry
        for group, entries in groups.items()
        if group != "set"
        for name, entry in entries.items()
    }


def lineage(parameter_set: str) -> tuple[str, ...]:
    """A parameter set and those that it is based on: cohorts that one recalibrates hold for what is made of it."""
    text = (HERE / "sets" / f"{parameter_set}.toml").read_text(encoding="utf-8")
    base = tomllib.loads(text)["set"].get("base")
    return (parameter_set, *(lineage(base) if base is not None else ()))


def _values(parameter_set: str) -> Any:
    given = read_set(parameter_set)

    def value(name: str, meta: struct.Quantity) -> float:
        if name in given:
            return float(given[name]["value"])
        if meta.value is None:
            raise KeyError(f"parameter set {parameter_set} has no value for {name}")
        return meta.value

    return value
