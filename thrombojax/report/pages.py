"""A page of text (Markdown) on one cohort, drug or mechanism, from the data that the simulator runs on."""

import importlib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

import numpy as np

from thrombojax import drugs
from thrombojax.errors import InputError, unknown
from thrombojax.models import registry, struct
from thrombojax.models.feedback import core
from thrombojax.models.feedback.assemble import parameter_sets, read_set
from thrombojax.patients import cohort as cohorts
from thrombojax.validation import signatures
from thrombojax.validation.signatures import Signature

MECHANISMS = core.Parameters._fields
"""One file of `thrombojax/models/feedback/` each."""


def names(kind: str) -> tuple[str, ...]:
    """All pages of a kind: cohorts, drugs or mechanisms."""
    if kind == "cohorts":
        return cohorts.names(registry.build(registry.Source("feedback")).cohorts)
    return drugs.names() if kind == "drugs" else MECHANISMS


def page(kind: str, name: str) -> str:
    """The page; an unknown name is an error that names the nearest."""
    if name not in names(kind):
        raise InputError(unknown(f"info {kind}", kind.removesuffix("s"), name, names(kind)))
    return {"cohorts": _cohort, "drugs": _drug, "mechanisms": _mechanism}[kind](name)


def table(heads: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """A Markdown table; empty without rows."""
    lines = [tuple(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows]
    heads = tuple(heads)
    shown = "\n".join(f"| {' | '.join(line)} |" for line in (heads, ("---",) * len(heads), *lines))
    return shown if lines else ""


def _section(title: str, *texts: str) -> str:
    body = "\n\n".join(text for text in texts if text)
    return f"## {title}\n\n{body}\n\n" if body else ""


def _number(value: float) -> str:
    return f"{value:.6g}"


def _spread(d: Any) -> str:
    if isinstance(d, cohorts.Normal):
        return f"normal, mean {_number(d.mean)}, CV {100 * d.cv:g} %, {_number(d.low)} to {_number(d.high)}"
    if isinstance(d, cohorts.Uniform):
        return f"{d.kind}, {_number(d.low)} to {_number(d.high)}"
    centre = "" if d.median is None else f"median {_number(d.median)}, "
    clip = "" if d.low == 0 and np.isinf(d.high) else f", {_number(d.low)} to {_number(d.high)}"
    return f"log-normal, {centre}CV {100 * d.cv:g} %{clip}"


def _cohort(name: str) -> str:
    parts = []
    for parameter_set in parameter_sets():
        folders = registry.build(registry.Source("feedback", parameter_set)).cohorts
        own = (folders[0] / f"{name}.toml").exists()
        if parameter_set == parameter_sets()[0] or own:
            parts.append(_recipe(cohorts.load(folders, name), parameter_set))
    first = cohorts.load(registry.build(registry.Source("feedback")).cohorts, name)
    return f"# {first.title}\n\nCohort `{name}`, species: {first.species}. {first.source}.\n\n" + "".join(parts)


def _recipe(found: cohorts.Cohort, parameter_set: str) -> str:
    anchor = found.anchor
    drawn = (
        ""
        if anchor is None
        else f"Drawn by the count: {_spread(anchor.count)} ({anchor.count.source}); "
        + (f"`{anchor.unknown}` is solved so that the steady state has it.")
    )
    fixed = table(
        ("parameter", "value", "source"), ((f"`{k}`", _number(v.value), v.source) for k, v in found.parameters.items())
    )
    mixed = table(
        ("groups", "share", "what differs", "source"),
        (
            (f"{m.name}: {part.name}", f"{100 * part.probability:g} %", _differs(part), m.source)
            for m in found.mixture
            for part in m.parts
        ),
    )
    varies = table(
        ("parameter", "between patients", "source"), ((f"`{k}`", _spread(v), v.source) for k, v in found.vary.items())
    )
    wanders = table(
        ("parameter", "within a patient", "source"),
        (
            (f"`{k}`", f"SD {v.sd:g} (logarithm), correlation {v.days:g} d", v.source)
            for k, v in found.fluctuation.items()
        ),
    )
    seen = ""
    if found.observation is not None:
        o = found.observation
        slow = f", slow part CV {100 * o.slow_cv:g} % over {o.slow_days:g} d" if o.slow_cv else ""
        seen = f"A count has an error of CV {100 * o.residual_cv:g} %{slow} ({o.status}: {o.source})."
    return _section(f"Parameter set {parameter_set}", drawn, fixed, mixed, varies, wanders, seen)


def _differs(part: cohorts.Part) -> str:
    said = [f"`{leaf}` {_number(value)}" for leaf, value in part.set.items()]
    return ", ".join([*said, *(f"`{leaf}` x{_number(value)}" for leaf, value in part.scale.items())]) or "nothing"


def _changes(said: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """The sets that say something else of a parameter than the set before, the first included."""
    return [one for k, one in enumerate(said) if k == 0 or one[1] != said[k - 1][1]]


def _in_set(number: str, text: str) -> str:
    return text if number == parameter_sets()[0] else f"set {number}: {text}"


def _parameters(group: str, fields: Iterable[Any]) -> str:
    sets = {number: read_set(number) for number in parameter_sets()}
    rows = []
    for leaf in fields:
        if not leaf.name.startswith(f"{group}."):
            continue
        q = leaf.quantity
        changes = _changes([(number, given[leaf.name]) for number, given in sets.items() if leaf.name in given])
        values = [_in_set(number, _number(float(v["value"]))) for number, v in changes] or [
            _number(float(q.value or 0.0))
        ]
        sources = [_in_set(number, f"{v['kind']} {v['source']}".strip()) for number, v in changes]
        source = "; ".join(sources) if sources else f"{' '.join(q.flags)} {q.source}".strip()
        rows.append(
            (f"`{leaf.name}`", "; ".join(values), q.unit, f"{_number(q.low)} to {_number(q.high)}", q.meaning, source)
        )
    return table(("parameter", "value", "unit", "plausible", "meaning", "source"), rows)


def _prose(module: str) -> tuple[str, str]:
    """First line and the rest of a module's docstring."""
    text = (importlib.import_module(module).__doc__ or "").strip()
    first, _, rest = text.partition("\n")
    return first, rest.strip()


def _drug(name: str) -> str:
    drug = drugs.load(name)
    data = tomllib.loads((resources.files("thrombojax.drugs") / f"{name}.toml").read_text(encoding="utf-8"))
    first, rest = _prose(f"thrombojax.drugs.{name}")
    sources: Mapping[str, str] = data["sources"]
    given = table(
        ("given", "unit", "arrives in"),
        (
            (
                f"`{drug_} ... {route}`",
                entry.unit,
                ", ".join([*entry.into, *(f"{leaf} (share)" for leaf in entry.shares)]),
            )
            for (drug_, route), entry in drug.entries.items()
        ),
    )
    regimens = table(
        ("regimen", "sentence", "source"),
        ((r["name"], f"`{r['sentence']}`", f"{sources[r['source']]} ({r['status']})") for r in data.get("regimen", [])),
    )
    strengths = table(
        ("form", "amounts", "source"),
        (
            (
                s["form"],
                f"{', '.join(map(_number, s['amounts']))} {s['unit']}",
                f"{sources[s['source']]} ({s['status']})",
            )
            for s in data.get("strength", [])
        ),
    )
    rules = table(
        ("titration", "start", "highest", "source"),
        (
            (
                t["name"],
                f"{_number(t['start'])} {t['unit']}",
                _number(t["highest"]),
                f"{sources[t['source']]} ({t['status']})",
            )
            for t in data.get("titration", [])
        ),
    )
    fields = struct.fields(registry.build(registry.Source("feedback"), (name,)).Parameters)
    site = f"Not with another drug at {drug.site}." if drug.site else ""
    acts = (
        "Acts at once on " + ", ".join(f"`{leaf}`" for leaf in sorted(signatures.expected_acts().get(name, ()))) + "."
    )
    rows = [row for row in signatures.rows() if name in (row.regimen + " ").replace(" and ", " ").split()]
    return (
        f"# {drug.title}\n\n{first}\n\n{rest}\n\nSource: {drug.source}.\n\n"
        + _section("How it is given", given, regimens, strengths, rules, site)
        + _section("Parameters", _parameters(name, fields))
        + _section("Signature", acts, _expected(rows))
    )


def _mechanism(name: str) -> str:
    first, rest = _prose(f"thrombojax.models.feedback.{name}")
    fields = struct.fields(registry.build(registry.Source("feedback")).Parameters)
    rows = [row for row in signatures.rows() if any(leaf.startswith(f"{name}.") for leaf in row.change)]
    return (
        f"# {first}\n\n{rest}\n\nFile: `thrombojax/models/feedback/{name}.py`.\n\n"
        + _section("Parameters", _parameters(name, fields))
        + _section("Signature", _expected(rows))
    )


def _expected(rows: Iterable[Signature]) -> str:
    return table(("what", "must", "source"), ((row.name, "; ".join(expectations(row)), row.source) for row in rows))


def expectations(row: Signature) -> list[str]:
    """What a row of the signature matrix says, in words."""
    said = []
    for column, expected in row.expect.items():
        what = expected if isinstance(expected, str) else f"x{_number(expected[0])} to x{_number(expected[1])}"
        missed = f" (missed: {row.missed[column]})" if column in row.missed else ""
        said.append(f"{column.replace('_', ' ')} {what}{missed}")
    return said
