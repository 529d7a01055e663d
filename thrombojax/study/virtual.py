"""Sections of virtual populations: [population] with its targets, [uncertainty] and [omega]; and what their keys say together."""

import itertools
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from thrombojax.errors import Problem
from thrombojax.study.messages import path
from thrombojax.study.sections import _A_NUMBER, MAX_POINTS, Number, Text, _flat, _Section

Given = Mapping[str, Any]
File = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
Pair = Annotated[tuple[Number, Number], Field(strict=False)]
_A_FILE = "the path of a file, relative to the study file"


class Range(_Section):
    """One parameter of [population.vary]: plausible patients have it anywhere between low and high."""

    kind: Literal["uniform", "log-uniform"] = Field("uniform", description="uniform or log-uniform")
    low: Number = Field(description=_A_NUMBER)
    high: Number = Field(description=_A_NUMBER)


class Target(_Section):
    """[[population.target]]: what a trial says of one quantity over its patients."""

    name: Text | None = Field(None, description="text of 1 to 200 characters on one line")
    of: Text = Field(description="the name of an [[endpoint]], or of an observable or a parameter at baseline")
    arm: Text | None = Field(None, description="the name of an [[arm]]")
    distribution: Literal["normal", "log-normal"] | None = Field(None, description="normal or log-normal")
    mean: Number | None = Field(None, description=_A_NUMBER)
    sd: Number | None = Field(None, gt=0, description="a number more than 0")
    low: Number | None = Field(None, description=_A_NUMBER)
    high: Number | None = Field(None, description=_A_NUMBER)
    share: Number | None = Field(None, ge=0, le=1, description="a share from 0 to 1")
    at_least: Number | None = Field(None, description=_A_NUMBER)
    quantiles: Annotated[tuple[Pair, ...], Field(strict=False, min_length=1, max_length=1000)] | None = Field(
        None, description="a list of pairs of a probability and a value, such as [[0.25, 12], [0.5, 18]]"
    )
    edges: Annotated[tuple[Number, ...], Field(strict=False, min_length=2, max_length=1001)] | None = Field(
        None, description="a list of 2 to 1001 ascending numbers"
    )
    shares: (
        Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(strict=False, min_length=1, max_length=1000)] | None
    ) = Field(None, description="a list of shares, one less than edges")
    table: File | None = Field(None, description=_A_FILE)
    column: Text | None = Field(None, description="a column of the table")
    source: Text | None = Field(None, description="text of 1 to 200 characters on one line")


class Population(_Section):
    """[population]: which candidates are plausible patients, and what weights make of them."""

    widen: Number = Field(1.0, ge=1, le=5, description="a number from 1 to 5")
    base: Literal["cohort", "plausible"] = Field("cohort", description="cohort or plausible")
    plausible: Annotated[tuple[Text, ...], Field(strict=False, max_length=100)] = Field(
        (), description='a list of conditions, such as ["platelets < 50", "ARM: ENDPOINT < 400"]'
    )
    tolerance: Number = Field(0.05, gt=0, lt=1, description="a distance between 0 and 1")
    vary: Annotated[dict[str, Range], BeforeValidator(lambda v: _ranges(v))] = Field(
        {}, description="tables { kind, low, high } by the names of parameters"
    )
    target: tuple[Target, ...] = Field((), strict=False, description="sections written [[population.target]]")


class Uncertainty(_Section):
    """[uncertainty]: how well the typical values of parameters are known."""

    draws: int = Field(ge=2, le=MAX_POINTS, description=f"a whole number from 2 to {MAX_POINTS}")
    cv: Annotated[dict[str, Annotated[Number, Field(gt=0, le=5)]], BeforeValidator(_flat)] = Field(
        {}, description="coefficients of variation more than 0 and at most 5 by the names of parameters"
    )
    covariance: File | None = Field(None, description=_A_FILE)
    estimates: File | None = Field(None, description=_A_FILE)
    names: dict[str, Text] = Field({}, description='names of parameters by those of the file, { THETA1 = "clearance" }')


class Omega(_Section):
    """[omega]: variation between patients as a fit with nlmixr2 or NONMEM found it, in place of the cohort's."""

    table: File = Field(description=_A_FILE)
    names: dict[str, Text] = Field(description='names of parameters by those of the file, { "eta.cl" = "clearance" }')


def _ranges(value: Any) -> Any:
    """{"platelets": {"life": {"low": 8, ...}}} -> {"platelets.life": {...}}: an unquoted dotted key is tables."""
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, item in value.items():
        if (
            isinstance(item, dict)
            and not {"kind", "low", "high"} & set(item)
            and any(isinstance(v, dict) for v in item.values())
        ):
            found |= {f"{key}.{rest}": inner for rest, inner in _ranges(item).items()}
        else:
            found[key] = item
    return found


def check(raw: Given) -> list[Problem]:
    """Every problem of what the sections say together; each key is as the file has it, whether it is right by itself or not."""
    found = []
    if "population" in raw:
        others = [key for key in ("axis", "events", "fit", "optimise", "sensitivity", "uncertainty") if key in raw]
        found += [Problem(key, "does not go with [population]") for key in others]
        people = raw.get("patients")
        if isinstance(people, Mapping):
            message = "does not go with [population]: its plausible patients are drawn from a cohort"
            found += [Problem(f"patients.{key}", message) for key in ("table", "trials") if key in people]
        if isinstance(raw["population"], Mapping):
            found += _population(raw["population"], raw)
    for key in ("population", "uncertainty", "omega"):
        if key in raw and _of(raw, "patients", "sampler") == "typical":
            found.append(Problem("patients.sampler", f"given 'typical'; [{key}] needs patients that differ"))
    if "uncertainty" in raw:
        message = "does not go with [uncertainty] yet"
        found += [Problem(key, message) for key in ("events", "fit", "optimise", "sensitivity") if key in raw]
        found += [Problem("patients.trials", message)] if _of(raw, "patients", "trials") is not None else []
        found += _uncertainty(raw["uncertainty"]) if isinstance(raw["uncertainty"], Mapping) else []
    if "omega" in raw and _of(raw, "patients", "cohort") is None:
        found.append(Problem("omega", "needs a cohort in [patients], whose variation it replaces"))
    return found


def _of(raw: Given, section: str, key: str) -> Any:
    return raw[section].get(key) if isinstance(raw.get(section), Mapping) else None


def _population(given: Given, raw: Given) -> list[Problem]:
    found = []
    targets = given.get("target", [])
    if not isinstance(targets, list) or not targets:
        message = (
            "is missing; needed: at least one [[population.target]], what the weights should make the population match"
        )
        return [Problem("population.target", message)]
    arms = [arm.get("name") for arm in raw.get("arm", []) if isinstance(arm, Mapping)]
    endpoints = {e.get("name"): e for e in raw.get("endpoint", []) if isinstance(e, Mapping)}
    for i, target in enumerate(targets):
        if isinstance(target, Mapping):
            found += _target(path("population", "target", i), target, arms, endpoints)
    for name, item in given["vary"].items() if isinstance(given.get("vary"), Mapping) else ():
        low, high = (item.get(k) for k in ("low", "high")) if isinstance(item, Mapping) else (None, None)
        if isinstance(low, int | float) and isinstance(high, int | float):
            if not low < high:
                found.append(
                    Problem(f"population.vary.{name}.high", f"given {high!r}; allowed: more than low = {low!r}")
                )
            if item.get("kind") == "log-uniform" and low <= 0:
                found.append(
                    Problem(f"population.vary.{name}.low", f"given {low!r}; allowed: more than 0, for log-uniform")
                )
    return found


FORMS = (("share",), ("quantiles",), ("edges", "shares"), ("table", "column"), ("mean",))
"""Ways to say a marginal: exactly one of them."""


def _target(where: str, given: Given, arms: list[Any], endpoints: Mapping[Any, Given]) -> list[Problem]:
    found = []
    forms = [form for form in FORMS if any(key in given for key in form)]
    if len(forms) != 1:
        allowed = "share; quantiles; edges and shares; table and column; mean (and sd, distribution)"
        said = "says nothing" if not forms else f"says it as {' and as '.join(' and '.join(form) for form in forms)}"
        return [Problem(where, f"{said}; allowed: exactly one of {allowed}")]
    form = forms[0]
    found += [Problem(f"{where}.{key}", f"is missing; it goes with {form[0]}") for key in form if key not in given]
    takes = {"share": ("at_least",), "mean": ("sd", "distribution", "low", "high")}.get(form[0], ())
    for key in ("at_least", "sd", "distribution", "low", "high"):
        if key in given and key not in takes:
            found.append(Problem(f"{where}.{key}", f"does not go with {form[0]}"))
    if "distribution" in given and "sd" not in given:
        found.append(Problem(f"{where}.sd", "is missing; a distribution has a mean and an SD"))
    for key in ("low", "high"):
        if key in given and "distribution" not in given:
            found.append(
                Problem(f"{where}.{key}", "cuts a distribution, and none is given; allowed: normal, log-normal")
            )
    if given.get("distribution") == "log-normal" and _real(given.get("mean")) and given["mean"] <= 0:
        found.append(Problem(f"{where}.mean", f"given {given['mean']!r}; allowed: more than 0, for log-normal"))
    if _real(given.get("low")) and _real(given.get("high")) and not given["low"] < given["high"]:
        found.append(Problem(f"{where}.high", f"given {given['high']!r}; allowed: more than low = {given['low']!r}"))
    found += _lists(where, given)
    of = given.get("of")
    if of in endpoints:
        yes_no = endpoints[of].get("reducer") in ("response", "rescued")
        if form[0] == "share" and "at_least" not in given and not yes_no:
            found.append(Problem(f"{where}.at_least", f"is missing; needed: from which {of} on a patient counts"))
        if "arm" not in given and len(arms) != 1:
            found.append(Problem(f"{where}.arm", f"is missing; needed: one of the arms {', '.join(map(str, arms))}"))
    elif form[0] == "share" and "at_least" not in given:
        found.append(Problem(f"{where}.at_least", "is missing; needed: from which value on a patient counts"))
    elif "arm" in given:
        found.append(
            Problem(f"{where}.arm", f"goes with an [[endpoint]], and {of!r} is none; baseline is the same in all arms")
        )
    return found


def _lists(where: str, given: Given) -> list[Problem]:
    """Quantiles and edges ascend; there is a share a bin."""
    found = []
    pairs = given.get("quantiles")
    if isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 and all(map(_real, p)) for p in pairs):
        for k, name in enumerate(("probabilities", "values")):
            column = [p[k] for p in pairs]
            if any(a >= b for a, b in itertools.pairwise(column)):
                found.append(Problem(f"{where}.quantiles", f"has {name} that do not ascend"))
        if any(not 0 < p[0] < 1 for p in pairs):
            found.append(Problem(f"{where}.quantiles", "has a probability that is not between 0 and 1"))
    edges, shares = given.get("edges"), given.get("shares")
    if isinstance(edges, list) and all(map(_real, edges)):
        if any(a >= b for a, b in itertools.pairwise(edges)):
            found.append(Problem(f"{where}.edges", "do not ascend"))
        if isinstance(shares, list) and len(shares) != len(edges) - 1:
            found.append(Problem(f"{where}.shares", f"has {len(shares)} shares for {len(edges) - 1} bins"))
        elif isinstance(shares, list) and all(map(_real, shares)) and not sum(shares) > 0:
            found.append(Problem(f"{where}.shares", "are all 0"))
    return found


def _uncertainty(given: Given) -> list[Problem]:
    found = []
    if "cv" not in given and "covariance" not in given:
        found.append(Problem("uncertainty", "says of no parameter how well it is known; needed: cv or covariance"))
    if "cv" in given and "covariance" in given:
        found.append(Problem("uncertainty", "has both cv and covariance; allowed: exactly one of them"))
    found += [
        Problem(f"uncertainty.{key}", "goes with covariance, which is not given")
        for key in ("estimates", "names")
        if key in given and "covariance" not in given
    ]
    return found


def without_targets(text: str) -> str:
    """A study's text without the sections that only weigh patients: what is simulated does not depend on them."""
    kept, mine = [], False
    for line in text.splitlines():
        if re.match(r"\s*\[\[?\s*[A-Za-z_\"']", line):
            mine = re.match(r"\s*\[\[?\s*population\b", line) is not None
        kept += [] if mine else [line]
    return "\n".join(kept)


def _real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
