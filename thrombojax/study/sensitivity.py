"""[sensitivity]: its keys, and what they say together and with the arms of the study."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from thrombojax.errors import Problem, unknown
from thrombojax.study.messages import path
from thrombojax.study.sections import (
    _A_NUMBER,
    _AN_IDENTIFIER,
    MAX_PATIENTS,
    Identifier,
    Number,
    Text,
    _Section,
)

Given = Mapping[str, Any]

NEEDS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "normal": (("mean",), ("sd", "cv")),
    "log-normal": (("median",), ("cv",)),
    "uniform": (("low",), ("high",)),
    "log-uniform": (("low",), ("high",)),
    "triangular": (("low",), ("mode",), ("high",)),
    "whole": (("low",), ("high",)),
    "range": (),
    "log-range": (),
    "iiv": (),
}
"""Numbers of each distribution; of several in a row, one."""
MAY: Mapping[str, tuple[str, ...]] = {"normal": ("low", "high"), "log-normal": ("low", "high")}
NUMBERS = ("mean", "sd", "median", "cv", "mode", "low", "high")
OF_THE_MODEL = ("range", "log-range", "iiv")
METHODS = ("sobol", "morris", "dgsm", "prcc", "srrc", "pawn", "delta", "rbd-fast", "fast")
INDEPENDENT = ("sobol", "morris", "dgsm", "rbd-fast", "fast")
"""Methods whose numbers mean nothing where factors depend on each other."""
LEAST = 16
"""Base samples of a replicate, at the least."""
TAKEN = ("factor", "factor_2", "estimator", "endpoint", "observable", "others", "bin_1", "bin_2", "percent", "sample")
"""Names that the results of a sensitivity analysis use for themselves."""


PREFIXES = ("sobol_", "morris_", "dgsm", "local_", "prcc", "srrc", "pawn", "delta", "rbd_fast", "fast_", "factor_")


class Factor(_Section):
    """[[sensitivity.factor]]: a parameter or covariate, or a number in braces of a regimen or a policy, and its distribution."""

    name: Identifier = Field(description=_AN_IDENTIFIER)
    parameter: Text | None = Field(
        None, description="the name of a parameter or covariate (`thrombojax info parameters`)"
    )
    distribution: Literal[tuple(NEEDS)] = Field(description=", ".join(NEEDS))  # type: ignore[valid-type]
    mean: Number | None = Field(None, description=_A_NUMBER)
    sd: Number | None = Field(None, gt=0, description="a number more than 0")
    median: Number | None = Field(None, gt=0, description="a number more than 0")
    cv: Number | None = Field(None, gt=0, le=5, description="a coefficient of variation more than 0 and at most 5")
    mode: Number | None = Field(None, description=_A_NUMBER)
    low: Number | None = Field(None, description=_A_NUMBER)
    high: Number | None = Field(None, description=_A_NUMBER)
    group: Text | None = Field(None, description="the name of a group of factors that are taken as one")
    unit: Annotated[str, Field(max_length=80)] = Field("", description="a unit as text of at most 80 characters")
    levels: int | None = Field(None, ge=2, le=1000, description="a whole number from 2 to 1000")


class Correlation(_Section):
    """[[sensitivity.correlation]]: of the normal scores of two factors (a Gaussian copula)."""

    pair: Annotated[tuple[Identifier, Identifier], Field(strict=False)] = Field(description="a list of two factors")
    r: Number = Field(gt=-1, lt=1, description="a correlation between -1 and 1")


class Omega(_Section):
    """[[sensitivity.omega]]: variances and covariances of the logarithms of log-normal factors, as in a NONMEM block."""

    factors: Annotated[tuple[Identifier, ...], Field(strict=False, min_length=2, max_length=50)] = Field(
        description="a list of log-normal factors"
    )
    lower: Annotated[tuple[Number, ...], Field(strict=False, min_length=3)] = Field(
        description="the lower triangle row by row, such as [0.09, 0.03, 0.16]"
    )


class Sensitivity(_Section):
    """[sensitivity]: which factors vary, and by which methods their influence on endpoints and saved times is measured."""

    methods: Annotated[
        tuple[Literal[METHODS], ...],  # type: ignore[valid-type]
        Field(strict=False, min_length=1, max_length=len(METHODS)),
    ] = Field(("sobol",), description=f"a list of {', '.join(METHODS)}")
    base: int = Field(4096, ge=32, le=2**26, description="a whole number from 32 to 67108864, such as 4096")
    replicates: int = Field(16, ge=2, le=1024, description="a whole number from 2 to 1024")
    sampler: Literal["sobol", "random", "latin-hypercube", "grid", "table"] = Field(
        "sobol", description="sobol, random, latin-hypercube, grid or table"
    )
    table: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None, description="the path of a CSV file with a column for each factor, relative to the study file"
    )
    second_order: bool = Field(False, description="true or false")
    estimator: Literal["saltelli", "jansen", "janon"] = Field("saltelli", description="saltelli, jansen or janon")
    confidence: Number = Field(0.95, ge=0.5, lt=1, description="a probability from 0.5 to below 1")
    width: Number | None = Field(None, gt=0, lt=2, description="a width of intervals more than 0")
    sample: int = Field(1024, ge=16, le=MAX_PATIENTS, description=f"a whole number from 16 to {MAX_PATIENTS}")
    trajectories: int = Field(64, ge=4, le=10**6, description="a whole number from 4 to 1000000")
    levels: int = Field(4, ge=2, le=1000, multiple_of=2, description="an even whole number from 2 to 1000")
    derivatives: int = Field(256, ge=32, le=10**7, description="a whole number from 32 to 10000000")
    frequencies: int = Field(1024, ge=65, le=10**7, description="a whole number from 65 to 10000000")
    seed: int | None = Field(None, ge=0, lt=2**63, description="a whole number from 0")
    factor: tuple[Factor, ...] = Field((), strict=False, description="sections written [[sensitivity.factor]]")
    correlation: tuple[Correlation, ...] = Field(
        (), strict=False, description="sections written [[sensitivity.correlation]]"
    )
    omega: tuple[Omega, ...] = Field((), strict=False, description="sections written [[sensitivity.omega]]")


def check(raw: Given, given: Given, wrong: set[str]) -> list[Problem]:
    """Every problem of the section; keys that are wrong by themselves are not in `given`."""
    if "sensitivity" not in raw or not isinstance(raw["sensitivity"], Mapping):
        return []
    found = [
        Problem(key, "does not go with [sensitivity]") for key in ("axis", "events", "fit", "optimise") if key in raw
    ]
    people = raw.get("patients")
    said = "does not go with [sensitivity], whose factors and sizes make the patients"
    if isinstance(people, Mapping):
        found += [Problem(f"patients.{key}", said) for key in ("table", "n", "trials", "entry") if key in people]
    for i, endpoint in enumerate(_tables(raw, "endpoint")):
        name = str(endpoint.get("name"))
        if name in TAKEN or name.startswith(PREFIXES):
            where = path("endpoint", i, "name")
            found.append(Problem(where, f"given {name!r}, which the results of [sensitivity] use for themselves"))
    factors = _tables(given, "factor")
    if not factors and "factor" not in wrong:
        found.append(Problem("sensitivity.factor", "is missing; needed: one [[sensitivity.factor]] at least"))
    names: list[str] = []
    for i, factor in enumerate(factors):
        found += _factor(i, factor, names, _in_omega(given))
        names.append(str(factor.get("name")))
    found += _dependence(given, factors, names)
    return [*found, *_sizes(given)]


def placeholders(raw: Given) -> list[Given]:
    """Factors that fill a placeholder, as the axes that arms look for."""
    section = raw.get("sensitivity")
    factors = _tables(section, "factor") if isinstance(section, Mapping) else []
    points = {"log-normal": ("median",), "triangular": ("mode",), "normal": ("mean",)}
    found: list[Given] = []
    for factor in factors:
        if "parameter" in factor or not isinstance(factor.get("name"), str):
            continue
        numbers = [factor.get(key) for key in (*points.get(str(factor.get("distribution")), ()), "low", "high")]
        values = [v for v in numbers if isinstance(v, int | float) and not isinstance(v, bool)]
        found.append({"name": factor["name"], "values": values or [1.0]})
    return found


def of_factors(said: list[Problem], raw: Given) -> list[Problem]:
    """What is said of the axes of `placeholders`, said of the factors that they are."""
    section = raw.get("sensitivity")
    factors = _tables(section, "factor") if isinstance(section, Mapping) else []
    places = [i for i, f in enumerate(factors) if "parameter" not in f and isinstance(f.get("name"), str)]
    own = {path("axis", k): path("sensitivity", "factor", i) for k, i in enumerate(places)}
    return [
        Problem(
            own.get(p.where, p.where),
            p.message.replace("unknown axis", "unknown factor").replace("needs an axis", "needs a factor"),
        )
        for p in said
    ]


def _tables(raw: Given, key: str) -> list[Given]:
    items = raw.get(key, [])
    return [item for item in items if isinstance(item, Mapping)] if isinstance(items, list) else []


def _in_omega(given: Given) -> set[str]:
    return {name for block in _tables(given, "omega") for name in block.get("factors", [])}


def _factor(at: int, factor: Given, before: list[str], omega: set[str]) -> list[Problem]:
    """A name of its own; the numbers of its distribution, all of them and no others, in order."""
    where, name = path("sensitivity", "factor", at), factor.get("name")
    found = []
    if name in before:
        found.append(Problem(f"{where}.name", f"given {name!r}, which is a factor's name already"))
    if name in TAKEN:
        found.append(Problem(f"{where}.name", f"given {name!r}, which the results file uses for itself"))
    kind = str(factor.get("distribution"))
    if kind not in NEEDS:
        return found
    if kind in OF_THE_MODEL and "parameter" not in factor:
        message = f"{kind} is of a parameter of the model; needed: a parameter, or another distribution"
        found.append(Problem(f"{where}.distribution", message))
    for choice in NEEDS[kind]:
        has = [key for key in choice if key in factor]
        if not has and not ("cv" in choice and name in omega):
            found.append(Problem(f"{where}.{choice[0]}", f"is missing; needed by the distribution {kind}"))
        found += [Problem(f"{where}.{key}", f"does not go with {has[0]}; allowed: one of them") for key in has[1:]]
        if has and "cv" in choice and name in omega:
            found.append(Problem(f"{where}.{has[0]}", "is in [[sensitivity.omega]] already"))
    takes = {key for choice in NEEDS[kind] for key in choice} | set(MAY.get(kind, ()))
    also = ", ".join(key for key in NUMBERS if key in takes) or "none"
    found += [
        Problem(f"{where}.{key}", f"does not go with the distribution {kind}; allowed: {also}")
        for key in NUMBERS
        if key in factor and key not in takes
    ]
    low, high, mode = (factor.get(key) for key in ("low", "high", "mode"))
    if low is not None and high is not None and not low < high:
        found.append(Problem(f"{where}.high", f"given {high!r}; allowed: more than low = {low!r}"))
    if kind == "log-uniform" and low is not None and low <= 0:
        found.append(Problem(f"{where}.low", f"given {low!r}; allowed: more than 0, for a log-uniform distribution"))
    if kind == "whole":
        found += [
            Problem(f"{where}.{key}", f"given {factor[key]!r}; allowed: a whole number")
            for key in ("low", "high")
            if isinstance(factor.get(key), float) and not float(factor[key]).is_integer()
        ]
    if kind == "triangular" and None not in (low, high, mode) and not low <= mode <= high:  # type: ignore[operator]
        found.append(Problem(f"{where}.mode", f"given {mode!r}; allowed: from low = {low!r} to high = {high!r}"))
    if kind == "normal" and "cv" in factor and factor.get("mean") == 0:
        found.append(Problem(f"{where}.cv", "is of a mean that is not 0; allowed here: sd"))
    return found


def _dependence(given: Given, factors: list[Given], names: list[str]) -> list[Problem]:
    found = []
    for i, one in enumerate(_tables(given, "correlation")):
        where = path("sensitivity", "correlation", i, "pair")
        pair = one.get("pair", [])
        found += [unknown(where, "factor", name, names) for name in pair if name not in names]
        if len(pair) == 2 and pair[0] == pair[1]:
            found.append(Problem(where, f"has {pair[0]!r} twice; allowed: two factors"))
    for i, block in enumerate(_tables(given, "omega")):
        mine, lower = block.get("factors", []), block.get("lower", [])
        where = path("sensitivity", "omega", i)
        for name in mine:
            if name not in names:
                found.append(unknown(f"{where}.factors", "factor", name, names))
            elif factors[names.index(name)].get("distribution") != "log-normal":
                found.append(Problem(f"{where}.factors", f"{name!r} is not log-normal, and omega is of logarithms"))
        size = len(mine) * (len(mine) + 1) // 2
        if len(lower) != size:
            message = f"has {len(lower)} numbers; needed: {size}, the lower triangle of {len(mine)} factors"
            found.append(Problem(f"{where}.lower", message))
    return found


def _sizes(given: Given) -> list[Problem]:
    found = []
    methods = given.get("methods", ["sobol"])
    base, replicates = given.get("base", 4096), given.get("replicates", 16)
    sampler = given.get("sampler", "sobol")
    streams = ("sobol", "random", "latin-hypercube")
    if sampler not in streams:
        for method in (m for m in methods if m in ("sobol", "dgsm", "rbd-fast")):
            message = (
                f"given {sampler!r}, and {method} needs a sample of its own; allowed with it: {', '.join(streams)}"
            )
            found.append(Problem("sensitivity.sampler", message))
    if (sampler == "table") != ("table" in given):
        message = "is missing; needed by" if sampler == "table" else "does not go with"
        found.append(Problem("sensitivity.table", f'{message} sampler = "{sampler}"'))
    if sampler == "latin-hypercube" and "width" in given:
        message = 'does not go with sampler = "latin-hypercube", which cannot be made longer; allowed: sobol, random'
        found.append(Problem("sensitivity.width", message))
    if "sobol" in methods and isinstance(base, int) and isinstance(replicates, int):
        found += power(base, replicates, sampler, "sensitivity.base")
    if given.get("second_order") and "sobol" not in methods:
        found.append(Problem("sensitivity.second_order", "needs the method sobol"))
    return found


def power(base: int, replicates: int, sampler: str, where: str) -> list[Problem]:
    """Base samples share out over replicates, each a power of two of a Sobol' sequence."""
    each, rest = divmod(base, replicates)
    if sampler != "sobol":
        near = max(each, LEAST) * replicates
        wrong = bool(rest) or each < LEAST
        message = (
            f"given {base}; allowed: a multiple of the {replicates} replicates, {LEAST} times or more, such as {near}"
        )
        return [Problem(where, message)] if wrong else []
    if not rest and each >= LEAST and each & (each - 1) == 0:
        return []
    below = 1 << max(max(each, LEAST).bit_length() - 1, LEAST.bit_length() - 1)
    message = (
        f"given {base}, which is {base / replicates:g} in each of {replicates} replicates and no power of two: a Sobol' "
        "sequence cut there is out of balance, and its error falls no faster than that of random numbers (1/sqrt(N) in place "
        "of nearly 1/N); "
        f'allowed: {below * replicates} or {2 * below * replicates}, or sampler = "random"'
    )
    return [Problem(where, message)]
