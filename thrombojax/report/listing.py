"""What there is: models, cohorts, drugs, mechanisms, parameters, states, endpoints, observables, devices."""

from typing import Any

import jax

from thrombojax import drugs
from thrombojax.endpoints import REDUCERS
from thrombojax.errors import InputError, Problem, unknown
from thrombojax.models import DEFAULT_SET, registry, struct
from thrombojax.models.protocol import Model
from thrombojax.patients import cohort as cohorts
from thrombojax.report import pages

TOPICS = ("devices", "models", "cohorts", "drugs", "mechanisms", "parameters", "states", "endpoints", "observables")


def info(topic: str, *, model: str | None = None, parameter_set: str = DEFAULT_SET) -> list[dict[str, Any]]:
    """Rows about one topic; `model` limits parameters, states, observables, drugs and cohorts to one model.

    parameter_set: of the flagship, for its values and cohorts.
    """
    if topic not in TOPICS:
        raise InputError(unknown("topic", "topic", topic, TOPICS))
    if topic == "devices":
        return [{"device": str(d), "kind": d.device_kind, "platform": d.platform} for d in jax.local_devices()]
    if topic == "endpoints":
        return [
            {"reducer": k, "kind": r.kind, "numbers": list(r.numbers), "meaning": r.meaning}
            for k, r in REDUCERS.items()
        ]
    if model is not None and model not in registry.names():
        raise InputError(unknown("--model", "model", model, registry.names()))
    rows = []
    for name in (model,) if model else registry.names():
        source = registry.Source(name, parameter_set)
        rows += _describe(topic, registry.build(source, registry.drugs(source)), source)
    return rows


def _describe(topic: str, built: Model, source: registry.Source) -> list[dict[str, Any]]:
    if topic == "models":
        return [{"model": built.name, "title": built.title, "states": len(struct.names(built.State)),
                 "parameters": len(struct.names(built.Parameters)), "drugs": list(registry.drugs(source)),
                 "backends": list(built.backends), "source": built.source}]  # fmt: skip
    if topic == "cohorts":
        found = [cohorts.load(built.cohorts, name) for name in cohorts.names(built.cohorts)]
        return [
            {"cohort": c.name, "model": built.name, "title": c.title, "species": c.species, "source": c.source}
            for c in found
        ]
    if topic == "drugs":
        return [
            {"drug": drug, "route": route, "unit": entry.unit, "model": built.name, **_about(drug, source)}
            for (drug, route), entry in built.entries.items()
        ]
    if topic == "mechanisms":
        return _mechanisms(built, source)
    if topic in ("states", "observables"):
        kind = built.State if topic == "states" else built.Obs
        return [{"model": built.name, "name": leaf.name, "unit": leaf.quantity.unit, "meaning": leaf.quantity.meaning}
                for leaf in struct.fields(kind)]  # fmt: skip
    given = _sources(source)
    values = struct.as_dict(built.defaults)
    return [
        {
            "model": built.name,
            "name": leaf.name,
            "value": float(values[leaf.name]),
            "unit": leaf.quantity.unit,
            "low": leaf.quantity.low,
            "high": leaf.quantity.high,
            "meaning": leaf.quantity.meaning,
            "source": given.get(leaf.name, {}).get("source") or leaf.quantity.source,
            "flags": [given[leaf.name]["kind"]] if leaf.name in given else list(leaf.quantity.flags),
        }
        for leaf in struct.fields(built.Parameters)
    ]


def page(topic: str, name: str) -> str:
    """All about one cohort, drug or mechanism of the flagship, as Markdown."""
    if topic not in ("cohorts", "drugs", "mechanisms"):
        raise InputError(Problem(f"info {topic}", "has no pages; allowed: cohorts, drugs or mechanisms, and a name"))
    return pages.page(topic, name)


def _about(drug: str, source: registry.Source) -> dict[str, str]:
    """Title and source of a drug that is assembled into its model."""
    if not registry.is_assembled(source):
        return {}
    found = drugs.load(drug)
    return {"title": found.title, "source": found.source}


def _mechanisms(built: Model, source: registry.Source) -> list[dict[str, Any]]:
    if not registry.is_assembled(source):
        return []
    groups = [leaf.name.partition(".")[0] for leaf in struct.fields(built.Parameters)]
    titles = {name: pages.page("mechanisms", name).partition("\n")[0].removeprefix("# ") for name in pages.MECHANISMS}
    return [
        {"mechanism": name, "model": built.name, "parameters": groups.count(name), "title": title}
        for name, title in titles.items()
    ]


def _sources(source: registry.Source) -> dict[str, Any]:
    if not registry.is_assembled(source):
        return {}
    from thrombojax.models.feedback.assemble import read_set

    return dict(read_set(source.parameter_set))
