"""The sections of a study file as pydantic models: each key with its type, its range and what is allowed in words.

Only what one key says by itself is checked here; what keys say together is in `checks`, so that a file with one wrong
key still gets all its other messages. The description of a field is the text of its error messages.
"""

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from thrombojax.models import DEFAULT_SET
from thrombojax.study.reducers import REDUCERS

MAX_DAYS = 36_500
MAX_PATIENTS = 10**8
MAX_TIMES = 100_000
"""Most save or visit times in one study."""
MAX_POINTS = 10_000
"""Most values on one axis."""

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _no_control_characters(text: str) -> str:
    if any(ord(c) < 32 or ord(c) == 127 for c in text):  # they would break HDF5 attributes, terminals and CSV
        raise ValueError("has control characters; allowed: one line of text")
    return text


def _number(value: Any) -> bool:
    """A finite number as TOML writes it; true and false are not numbers although Python says so."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e308 and not math.isnan(value)


def _flat(value: Any) -> Any:
    """{"platelets": {"life": 9.5}} -> {"platelets.life": 9.5}: TOML reads an unquoted dotted key as tables."""
    if not isinstance(value, dict):
        return value
    flat: dict[str, Any] = {}
    for key, item in value.items():
        inner = _flat(item) if isinstance(item, dict) and item else {"": item}
        for rest, number in inner.items():
            name = f"{key}.{rest}" if rest else key
            if name in flat:
                raise ValueError(f"{name!r} is given twice")
            flat[name] = number
    return flat


def _every_or_list(value: Any) -> float | tuple[float, ...]:
    """A number (every so many days) or an explicit list of days."""
    if _number(value) and value > 0:
        return float(value)
    if isinstance(value, list) and value and all(_number(v) for v in value) and value[0] >= 0:
        days = tuple(float(v) for v in value)
        if all(a < b for a, b in itertools.pairwise(days)):
            return days
    raise ValueError  # the message is made from the field's description


Number = Annotated[float, Field(allow_inf_nan=False)]
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_no_control_characters)
]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER, max_length=80)]
Days = Annotated[Any, BeforeValidator(_every_or_list)]

_A_DAY = f"a day from 0 to {MAX_DAYS}"
_A_NUMBER = "a finite number"
_A_NAME = "text of 1 to 200 characters on one line"
_AN_IDENTIFIER = "a name of letters, digits and _ that does not start with a digit"
_A_DAYS = f"a number of days more than 0 (every so many days), or a list of ascending days from 0, at most {MAX_TIMES}"


class Head(_Section):
    """[study]"""

    name: Text = Field(description=_A_NAME)
    question: Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")] = Field(
        "", description="text of at most 10000 characters"
    )
    model: Text = Field("feedback", description="the name of a model (`thrombojax info models`)")
    parameter_set: Text = Field(DEFAULT_SET, description='the name of a parameter set in quotes, such as "1"')
    seed: int = Field(1, ge=0, lt=2**63, description="a whole number from 0 to 9223372036854775807")
    days: Number = Field(gt=0, le=MAX_DAYS, description=f"a number of days more than 0 and at most {MAX_DAYS}")
    precision: Literal["f32", "f64"] = Field("f32", description="f32 or f64")
    accuracy: Number = Field(1e-4, ge=1e-8, le=1e-2, description="a number from 1e-8 to 1e-2")
    backend: Literal["auto", "cuda", "native", "xla", "reference"] = Field(
        "auto", description="auto, cuda, native, xla or reference"
    )
    placebo: bool | None = Field(None, description="true or false")


class Patients(_Section):
    """[patients]"""

    cohort: Text | None = Field(None, description="the name of a cohort (`thrombojax info cohorts`)")
    table: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")] | None = Field(
        None, description="the path of a CSV file, relative to the study file"
    )
    n: int | None = Field(
        None, ge=1, le=MAX_PATIENTS, description=f"a whole number from 1 to {MAX_PATIENTS}, such as 10_000"
    )
    sampler: Literal["random", "typical"] = Field("random", description="random or typical")
    entry: Text | None = Field(None, description='conditions at baseline, such as "platelets < 30 and weight >= 50"')
    implausible: bool = Field(False, description="true or false")
    trials: int | None = Field(None, ge=2, le=MAX_POINTS, description=f"a whole number from 2 to {MAX_POINTS}")
    overrides: Annotated[dict[str, Number], BeforeValidator(_flat)] = Field(
        {}, description="finite numbers by the names of parameters"
    )


class Rescue(_Section):
    """[arm.rescue]: a bolus at a visit that sees too few platelets."""

    below: Number = Field(gt=0, description="a platelet count (1e9/L) more than 0")
    give: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description='one bolus, such as "transfusion 40 1/nL iv"'
    )
    start: Number = Field(0.0, alias="from", ge=0, le=MAX_DAYS, description=_A_DAY)
    stop: Number = Field(float(MAX_DAYS), alias="to", ge=0, le=MAX_DAYS, description=_A_DAY)


class Arm(_Section):
    """[[arm]]: without a regimen, untreated."""

    name: Text = Field(description=_A_NAME)
    regimen: Annotated[str, StringConstraints(max_length=10_000)] | None = Field(
        None, description='a regimen sentence, such as "romiplostim 3 ug/kg sc weekly x 26"'
    )
    policy: dict[str, Any] | None = Field(
        None, description='a table, such as { drug = "romiplostim", label = "US label, adults with ITP" }'
    )
    rescue: Rescue | None = Field(None, description='a table, such as { below = 10, give = "transfusion 40 1/nL iv" }')
    visits: Days | None = Field(None, description=_A_DAYS)
    window: int = Field(0, ge=0, le=365, description="a whole number of days from 0 to 365")
    adherence: Number = Field(1.0, gt=0, le=1, description="a share more than 0 and at most 1")
    attendance: Number = Field(1.0, gt=0, le=1, description="a share more than 0 and at most 1")
    dropout: Number = Field(0.0, ge=0, le=100, description="a rate per year from 0 to 100")


class Observation(_Section):
    """[observation]: how counts are measured, in place of what the cohort says."""

    residual_cv: Number | None = Field(None, ge=0, le=2, description="a coefficient of variation from 0 to 2")
    slow_cv: Number | None = Field(None, ge=0, le=2, description="a coefficient of variation from 0 to 2")
    slow_days: Number | None = Field(None, gt=0, description="a number of days more than 0")
    lloq: Number | None = Field(None, ge=0, description="a platelet count (1e9/L) from 0")
    fluctuation: bool = Field(True, description="true or false")


class Events(_Section):
    """[events]: what each patient was given and when, from a NONMEM-style table."""

    table: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")] = Field(
        description="the path of a CSV file, relative to the study file"
    )
    time_unit: Literal["h", "day"] = Field(description="h or day, the unit of TIME")
    doses: dict[str, Annotated[tuple[Text, ...], Field(strict=False, min_length=3, max_length=3)]] = Field(
        description='what each CMT stands for, such as { "1" = ["romiplostim", "sc", "ug"] }'
    )
    interpolation: Literal["locf", "nocb"] = Field("locf", description="locf or nocb")
    observed: Text | None = Field(None, description="the DVID (or CMT) of the platelet counts")
    drop: Annotated[tuple[Text, ...], Field(strict=False)] = Field((), description="a list of column names")


class Fit(_Section):
    """[fit]: what is estimated from each patient's counts in the event table."""

    parameters: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=20)] = Field(
        description="a list of 1 to 20 names of parameters or covariates (`thrombojax info parameters`)"
    )
    cv: Annotated[dict[str, Annotated[Number, Field(gt=0, le=5)]], BeforeValidator(_flat)] = Field(
        {}, description="coefficients of variation more than 0 and at most 5 by the names of fitted parameters"
    )
    error: Literal["log", "normal"] = Field("log", description="log or normal")
    residual_cv: Number | None = Field(None, ge=0, le=2, description="a coefficient of variation from 0 to 2")
    additive_sd: Number = Field(0.0, ge=0, description="a platelet count (1e9/L) from 0")
    mixtures: Annotated[tuple[Text, ...], Field(strict=False, max_length=20)] | None = Field(
        None, description="a list of names of the cohort's mixtures"
    )
    level: Number = Field(0.9, ge=0.5, le=0.999, description="a probability from 0.5 to 0.999")


class Goal(_Section):
    """[[optimise.objective]]: an endpoint of the study that should be large, or small."""

    maximise: Identifier | None = Field(None, description="the name of an [[endpoint]]")
    minimise: Identifier | None = Field(None, description="the name of an [[endpoint]]")
    weight: Number = Field(1.0, gt=0, description="a number more than 0")
    risk: Literal["mean", "cvar"] = Field("mean", description="mean or cvar")
    level: Number = Field(0.9, gt=0, lt=1, description="a number between 0 and 1")


class Limit(_Section):
    """[[optimise.constraint]]: on an endpoint's mean over patients, or on how many patients keep to it."""

    endpoint: Identifier = Field(description="the name of an [[endpoint]]")
    at_least: Number | None = Field(None, description=_A_NUMBER)
    at_most: Number | None = Field(None, description=_A_NUMBER)
    probability: Number | None = Field(None, gt=0, lt=1, description="a probability between 0 and 1")
    front: Annotated[tuple[Number, ...], Field(strict=False, min_length=2, max_length=100)] | None = Field(
        None, description="a list of 2 to 100 finite numbers"
    )


class RuleNumber(_Section):
    """[[optimise.number]]: a number of the arm's titration rule, such as start, rules[1].by or rules[4].resume_below."""

    name: Text = Field(description="a number of the policy, such as start or rules[1].by")
    low: Number = Field(description=_A_NUMBER)
    high: Number = Field(description=_A_NUMBER)
    step: Number | None = Field(None, gt=0, description="a number more than 0")


class Decided(_Section):
    """[[optimise.dose]]: what is decided of one drug of the arm. The same keys stand in [optimise] where there is only one."""

    drug: Text | None = Field(None, description="the name of a drug of that arm")
    low: Number = Field(0.0, ge=0, description="an amount from 0, in the unit of the regimen")
    high: Number | None = Field(None, gt=0, description="an amount more than 0, in the unit of the regimen")
    hold: Number | None = Field(None, gt=0, description="a number of days more than 0")
    move: Number = Field(0.0, ge=0, description="a number of days from 0")
    amounts: bool = Field(True, description="true or false")
    doses: (
        Annotated[tuple[Annotated[Number, Field(ge=0)], ...], Field(strict=False, min_length=2, max_length=1000)] | None
    ) = Field(None, description="a list of 2 to 1000 amounts, in the unit of the regimen")
    step: Number | None = Field(None, gt=0, description="an amount more than 0, in the unit of the regimen")


class Optimise(Decided):
    """[optimise]: which doses, times or numbers of a rule are decided, what is wanted, and how it is looked for."""

    arm: Text | None = Field(None, description="the name of the [[arm]] that is decided")
    regimen: Annotated[str, StringConstraints(max_length=10_000)] | None = Field(
        None, description='a regimen sentence, such as "romiplostim 3 ug/kg sc weekly x 12"'
    )
    days: Number | None = Field(
        None, gt=0, le=MAX_DAYS, description=f"a number of days more than 0 and at most {MAX_DAYS}"
    )
    samples: int = Field(32, ge=2, le=10_000, description="a whole number from 2 to 10000")
    dose: tuple[Decided, ...] = Field((), strict=False, description="sections written [[optimise.dose]]")
    strata: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=20)] | None = Field(
        None, description='a list of conditions at baseline, such as ["platelets < 15", "platelets >= 15"]'
    )
    objective: tuple[Goal, ...] = Field((), strict=False, description="sections written [[optimise.objective]]")
    constraint: tuple[Limit, ...] = Field((), strict=False, description="sections written [[optimise.constraint]]")
    number: tuple[RuleNumber, ...] = Field((), strict=False, description="sections written [[optimise.number]]")
    starts: int = Field(3, ge=1, le=100, description="a whole number from 1 to 100")
    batch: int = Field(1000, ge=1, le=MAX_PATIENTS, description=f"a whole number from 1 to {MAX_PATIENTS}")
    mini_batches: bool = Field(False, description="true or false")
    steps: int = Field(60, ge=0, le=10_000, description="a whole number from 0 to 10000")
    polish: int = Field(40, ge=0, le=10_000, description="a whole number from 0 to 10000")
    tolerance: Number = Field(1e-3, gt=0, lt=1, description="a number between 0 and 1")
    smoothing: Number = Field(0.1, gt=0, le=1, description="a number more than 0 and at most 1")
    holdout: int = Field(10_000, ge=10, le=MAX_PATIENTS, description=f"a whole number from 10 to {MAX_PATIENTS}")
    seed: int | None = Field(None, ge=0, lt=2**63, description="a whole number from 0")
    confidence: Number = Field(0.95, ge=0.5, lt=1, description="a probability from 0.5 to below 1")


class Axis(_Section):
    """[[axis]]: a number of the regimens, or a parameter or covariate, to grid over."""

    name: Identifier = Field(description=_AN_IDENTIFIER)
    values: Annotated[tuple[Number, ...], Field(strict=False, min_length=1, max_length=MAX_POINTS)] | None = Field(
        None, description=f"a list of 1 to {MAX_POINTS} finite numbers"
    )
    start: Number | None = Field(None, alias="from", description=_A_NUMBER)
    stop: Number | None = Field(None, alias="to", description=_A_NUMBER)
    count: int | None = Field(None, ge=2, le=MAX_POINTS, description=f"a whole number from 2 to {MAX_POINTS}")
    spacing: Literal["linear", "log"] | None = Field(None, description="linear or log")
    unit: Annotated[str, StringConstraints(max_length=80), AfterValidator(_no_control_characters)] = Field(
        "", description="a unit as text of at most 80 characters"
    )
    parameter: Text | None = Field(
        None, description="the name of a parameter or covariate (`thrombojax info parameters`)"
    )
    scale: bool = Field(False, description="true or false")

    @property
    def points(self) -> tuple[float, ...]:
        """The values of the axis, written out where the file gives from, to and count."""
        if self.values is not None:
            return self.values
        if self.start is None or self.stop is None or self.count is None:  # `checks.axis` saw that they are there
            raise ValueError("an axis has values, or from, to and count")
        return spread(self.start, self.stop, self.count, self.spacing == "log")


class Time(_Section):
    """[time]"""

    save: Days = Field(None, description=_A_DAYS)
    visits: Days = Field(7.0, description=_A_DAYS)

    def save_days(self, days: float) -> tuple[float, ...]:
        """Days at which trajectories are saved, day 0 and (where it falls on the raster) the last day included."""
        return () if self.save is None else times(self.save, days)

    def visit_days(self, days: float) -> tuple[float, ...]:
        return times(self.visits, days)


class Endpoint(_Section):
    """[[endpoint]]: one number per patient and arm."""

    name: Identifier = Field(description=_AN_IDENTIFIER)
    reducer: Literal[tuple(REDUCERS)] = Field(description=", ".join(REDUCERS))  # type: ignore[valid-type]
    observable: Text = Field("platelets", description="the name of an observable (`thrombojax info observables`)")
    start: Number = Field(0.0, alias="from", ge=0, le=MAX_DAYS, description=_A_DAY)
    end: Number | None = Field(None, alias="to", ge=0, le=MAX_DAYS, description=_A_DAY)
    low: Number | None = Field(None, description=_A_NUMBER)
    high: Number | None = Field(None, description=_A_NUMBER)
    threshold: Number | None = Field(None, description=_A_NUMBER)
    day: Number | None = Field(None, ge=0, le=MAX_DAYS, description=_A_DAY)
    needed: Number | None = Field(None, ge=1, description="a number of visits from 1")
    below: Number | None = Field(None, description=_A_NUMBER)
    rescue_weeks: Number | None = Field(None, ge=0, le=5000, description="a number of weeks from 0 to 5000")
    within: Number | None = Field(None, ge=0, description="a difference of doses from 0")
    step: Number | None = Field(None, gt=0, description="a step of the dose above 0")
    allow_rescue: bool | None = Field(None, description="true or false")
    relative: Literal["ratio", "change"] | None = Field(
        None, description="ratio or change, against the patient's own value before any dose"
    )
    drug: Text | None = Field(None, description="the name of a drug (`thrombojax info drugs`)")
    published: Text | None = Field(None, description="what a trial found, as text that stands below the table")


class Output(_Section):
    """[output]"""

    ledger: bool = Field(False, description="true or false")
    trajectories: bool = Field(False, description="true or false")
    observables: Annotated[tuple[Text, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        ("platelets",), description="a list of names of observables (`thrombojax info observables`)"
    )
    compression: Literal["none", "gzip", "zstd"] = Field("none", description="none, gzip or zstd")


def spread(start: float, stop: float, count: int, log: bool) -> tuple[float, ...]:
    """`count` numbers from start to stop; both ends are hit exactly."""
    if log:
        low, step = math.log(start), (math.log(stop) - math.log(start)) / (count - 1)
        inner = [math.exp(low + step * i) for i in range(1, count - 1)]
    else:
        inner = [start + (stop - start) * i / (count - 1) for i in range(1, count - 1)]
    return (float(start), *inner, float(stop))


def times(spec: float | tuple[float, ...], days: float) -> tuple[float, ...]:
    """The days that `every so many days` or a list stands for, from 0 to the horizon."""
    if isinstance(spec, tuple):
        return spec
    last = math.floor(days / spec * (1 + 1e-12))  # 0.1 x 30 is 3 for the user, whatever binary fractions say
    return tuple(min(spec * i, days) for i in range(last + 1))
