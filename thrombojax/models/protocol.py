"""The model contract: a handful of pure functions over named structs.

Everything is elementwise, so that the same function serves one patient (scalars), a block of patients (arrays whose only
axis is the patient) and a code generator. The patient axis never appears in model code. Time is in days.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from thrombojax.models.struct import Scalar

Key = tuple[str, str]
"""(drug, route)"""


class Inputs(NamedTuple):
    """What the timeline holds constant over a segment and hands to `rhs`.

    phase: for every (drug, route) with breakpoints, how many of them have passed since its last dose (all, before the first);
    era: how many of the model's absolute breakpoints have passed; lagged: name of a delay -> State as it was that long ago.
    """

    phase: Mapping[Key, Scalar]
    era: Scalar
    lagged: Mapping[str, Any] = {}


class Breakpoints(NamedTuple):
    """Times where the equations change: absolute days, and days after each dose of a (drug, route)."""

    at: tuple[Scalar, ...] = ()
    after_dose: Mapping[Key, tuple[Scalar, ...]] = {}


class LinearBlock(NamedTuple):
    """Linear compartments that are advanced exactly: names of State leaves, and transfers (from, to or None, rate per day)."""

    states: tuple[str, ...]
    transfers: tuple[tuple[int, int | None, Scalar], ...]


@dataclass(frozen=True)
class Entry:
    """How an administered amount enters the state.

    unit: of one unit of amount, e.g. `ug` (a regimen in `ug/kg` is scaled by the parameter `weight`).
    into: State leaf -> fraction(p), bioavailability included; each leaf rises by amount x fraction at arrival.
    shares: likewise, but the leaf rises by amount x fraction of what it holds (falls, where the fraction is below zero).
    lag: p -> days from administration to arrival.
    refine: ((days after arrival, steps per day), ...): short steps that a sharp bend after a dose needs at accuracy 1e-4.
    order: the power of the step with which errors fall from 1e-4 to 1e-6, where such steps grow finer towards the bend.
    """

    unit: str
    into: Mapping[str, Callable[[Any], Scalar]]
    lag: Callable[[Any], Scalar] | None = None
    infusible: bool = False
    refine: tuple[tuple[float, float], ...] = ()
    order: float = 3.0
    shares: Mapping[str, Callable[[Any], Scalar]] = field(default_factory=dict)


def in_steps(*windows: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """`refine` of an entry from (days after arrival, steps since the window before); the classical method takes twice as many."""
    begins = (0.0, *(until for until, _ in windows))
    return tuple((until, n / (until - begin)) for begin, (until, n) in zip(begins, windows, strict=False))


def _no_breakpoints(p: Any) -> Breakpoints:
    return Breakpoints()


@dataclass(frozen=True, eq=False)
class Model:
    """A model of the contract. `State`, `Parameters` and `Obs` are NamedTuple types whose fields carry `quantity()`.

    initial(p) -> State; rhs(t, y, p, u: Inputs) -> State of derivatives per day; observe(y, p) -> Obs (always has `platelets`).
    linear_block(p, u) -> LinearBlock; max_rate(p): bound of the fastest rate (per day) that the explicit solver sees.
    steps_per_day: fixed steps (`solve.steppers.LONG`) that hold 1e-4 away from doses; a drug's short steps count likewise.
    """

    name: str
    title: str
    source: str
    State: type
    Parameters: type
    Obs: type
    initial: Callable[[Any], Any]
    rhs: Callable[[Scalar, Any, Any, Inputs], Any]
    observe: Callable[[Any, Any], Any]
    entries: Mapping[Key, Entry]
    max_rate: Callable[[Any], Scalar]
    defaults: Any
    """Parameters of the typical patient: floats, one per leaf."""
    steps_per_day: float
    positive: tuple[str, ...] = ()
    """State leaves of the size of 1 or more that are never below 0, unless steps were too long: a patient where one is has no
    result at those steps."""
    baseline: Callable[[Any], Any] | None = None
    linear_block: Callable[[Any, Inputs], LinearBlock] | None = None
    breakpoints: Callable[[Any], Breakpoints] = _no_breakpoints
    delays: Callable[[Any], Mapping[str, Scalar]] | None = None
    """delays(p) -> days by name, of each patient's own, after which `rhs` sees a state again as `u.lagged[name]`. Before day 0
    the state was what it is then. Such a model runs on `xla` only."""
    steady: Callable[[Any], tuple[Any, Scalar]] | None = None
    """steady(p) -> (baseline, its relative residual) where the baseline is solved for, not given in closed form."""
    weight: str = "weight"
    """Name of the parameter that `/kg` amounts are multiplied by."""
    parameter_set: str = "published"
    backends: tuple[str, ...] = ("cuda", "native", "xla", "reference")
    anchor: Callable[..., Any] | None = None
    """anchor(p, leaf, count, start) -> (p whose `leaf` gives a steady state at that count, the state, its residual)."""
    cohorts: tuple[Path, ...] = ()
    """Folders of this model's cohort files; the first that has a name is the one that counts."""
    sites: Mapping[str, str] = field(default_factory=dict)
    """Drug -> where it binds, for drugs that must not be given together because the model does not say what they do then."""
    file: str | None = None
    """The user's own file that defines the model, where it is not installed."""

    def __post_init__(self) -> None:
        if self.delays is not None:  # the other backends keep no past
            object.__setattr__(self, "backends", ("xla",))

    @property
    def classical(self) -> bool:
        """Whether steps are those of the classical Runge-Kutta method, which looks only where linear compartments are known,
        and only within the step, beyond which a past may have a kink.

        Such a model takes twice as many steps as it declares: the method of all others carries twice as far.
        """
        return self.linear_block is not None or self.delays is not None

    def patients(self, **changes: Any) -> Any:
        """Patients of this model by covariates and parameters, the rest typical: `m.patients(weight=[80.0])`."""
        from thrombojax.models.registry import Source
        from thrombojax.patients.population import of_model

        return of_model(Source(self.name, self.parameter_set, self.file), changes)
