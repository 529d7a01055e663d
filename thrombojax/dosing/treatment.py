"""What an arm's patients are given: fixed doses, a drug whose dose follows the count, rescue, and how well they keep to it."""

from dataclasses import dataclass, field, replace

from thrombojax.dosing.policy import ALWAYS, Rule
from thrombojax.dosing.regimen import DAY as ONE_DAY
from thrombojax.dosing.regimen import MOST_DOSES, Regimen, series

WEEK = 7.0


@dataclass(frozen=True)
class Titration:
    """A drug whose dose follows the count. every, first, until: days of administration; visit_days: days between visits.

    period: length of a weekly pattern, 1 where there is none; rule: numbers of the policy, doses in `unit`.
    """

    drug: str
    route: str
    unit: str
    every: float
    first: float
    until: float | None
    visit_days: float
    rule: Rule
    name: str = ""

    @property
    def period(self) -> int:
        return max((len(row) for row in self.rule.table), default=1)

    def days(self, horizon: float) -> tuple[float, ...]:
        """Days of administration before the horizon."""
        end = min(horizon, self.until if self.until is not None else horizon)
        count = min(max(0, int((end - self.first) / self.every + 1.0)), MOST_DOSES)
        return tuple(t for t in series(self.first, self.every, ONE_DAY, count) if t < end) if count else ()


@dataclass(frozen=True)
class Rescue:
    """A bolus given at a visit from day `start` to day `stop` that sees a count below `below` (1e9/L)."""

    below: float
    drug: str
    route: str
    unit: str
    amount: float
    start: float = 0.0
    stop: float = ALWAYS


@dataclass(frozen=True)
class Treatment:
    """Everything that an arm's patients are given, and how well they keep to it.

    regimen: fixed doses; visits: days between the clinic's visits, or the days themselves, at which titration and rescue decide;
    window: days by which a visit may come early or late, each day as likely; adherence: share of administrations taken;
    attendance: share of visits kept; dropout: per year.
    """

    regimen: Regimen = field(default_factory=Regimen)
    titration: Titration | None = None
    rescue: Rescue | None = None
    visits: float | tuple[float, ...] | None = None
    adherence: float = 1.0
    attendance: float = 1.0
    dropout: float = 0.0
    window: int = 0

    @property
    def drugs(self) -> tuple[str, ...]:
        """Names of the drugs, each once."""
        more = [part.drug for part in (self.titration, self.rescue) if part is not None]
        return tuple(dict.fromkeys([*self.regimen.drugs, *more]))

    @property
    def decides(self) -> bool:
        """Whether anything follows the count."""
        return self.titration is not None or self.rescue is not None

    def acts(self, horizon: float) -> tuple[float, ...]:
        """Days of its visits from day 0 on, before the horizon."""
        if not self.decides:
            return ()
        if isinstance(self.visits, tuple):
            return tuple(sorted({0.0, *(t for t in self.visits if t < horizon)}))
        every = self.visits or (self.titration.visit_days if self.titration is not None else WEEK)
        return tuple(t for t in series(0.0, every, ONE_DAY, int(horizon / every) + 1) if t < horizon)

    def chances(self, horizon: float) -> tuple[tuple[float, ...], ...]:
        """Per visit the days on which it may take place; the first visit is on day 0."""
        planned = self.acts(horizon)
        around = range(-self.window, self.window + 1)
        return tuple(
            tuple(t + d for d in (around if t > 0 else (0,)) if 0 < t + d < horizon or t == 0) for t in planned
        )

    def rule(self) -> Rule:
        """All numbers of its policy."""
        found = self.titration.rule if self.titration is not None else Rule()
        if self.rescue is not None:
            found = found._replace(
                rescue_below=self.rescue.below,
                rescue=self.rescue.amount,
                rescue_from=self.rescue.start,
                rescue_to=self.rescue.stop,
            )
        return found

    def placebo(self) -> "Treatment":
        """The same visits, rescue and background (what is given besides a titrated drug), without the drug."""
        if self.titration is None:
            return replace(self, regimen=Regimen())
        return replace(self, titration=None, visits=self.visits or self.titration.visit_days)
