"""Numbers for tables and pictures: percentiles of each cell of a study, and how cells are chosen, merged and named.

A cell is one arm at one point of the study's grid. Its index has a place for each study axis and one for the arm; None
stands for an axis that makes no difference to the arm (a placebo arm has no dose).
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from thrombojax.report.intervals import effective, exact_share, percentiles
from thrombojax.report.reading import Results, Variable, by_trial, sample, trial_weights, weighted

PERCENTS = (5, 25, 50, 75, 95)
TRAJECTORY_SAMPLE = 20_000  # patients per cell that bands are drawn from, fewer where they have very many times
TRAJECTORY_VALUES = 2**24
ENDPOINT_SAMPLE = 1_000_000

Index = tuple[int | None, ...]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Summary:
    """index: the cell's; quantiles: `[variable, percent]`, or `[percent, time]` of one trajectory; inf: never.

    A yes/no endpoint has in their place the share in % and, on either side of it, its exact 95 % interval. Of draws of uncertain
    parameters each is the median over draws, and sure is the 5th and 95th percentile over them, `[2, ...]`.
    """

    index: Index
    quantiles: np.ndarray
    sure: np.ndarray | None = None


def thin(sizes: Sequence[int], most: int) -> tuple[tuple[int, ...], ...]:
    """Evenly spaced indices of each dimension, first and last kept where there is room, at most `most` cells in all."""
    counts = list(sizes)
    while np.prod(counts) > most and max(counts) > 1:
        counts[int(np.argmax(counts))] -= 1
    return tuple(spread(size, count) for size, count in zip(sizes, counts, strict=True))


def spread(size: int, most: int) -> tuple[int, ...]:
    """At most `most` of the indices 0 .. size - 1, first and last among them; the middle one if only one is wanted.

    Somewhat fewer where that makes the steps equal: of ten, 0 3 6 9 rather than six with steps of one and two.
    """
    if size <= most:
        return tuple(range(size))
    if most == 1:
        return (size // 2,)
    count = next((n for n in range(most, max(1, most // 2), -1) if (size - 1) % (n - 1) == 0), most)
    return tuple(int(i) for i in np.linspace(0, size - 1, count).round())


def spread_of(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spaced."""
    return [items[i] for i in spread(len(items), most)]


def endpoint_quantiles(results: Results, cells: Sequence[tuple[int, ...]]) -> list[Summary]:
    """Percentiles of every endpoint in each cell."""
    if results.nested:
        return [_over_draws(c, np.stack([draws_of(results, v, c) for v in results.endpoints], axis=1)) for c in cells]
    chosen = [sample(results, v, ENDPOINT_SAMPLE) for v in results.endpoints]
    pairs = list(zip(results.endpoints, chosen, strict=True))
    return [Summary(c, np.array([_quantiles(results, v, c, patients) for v, patients in pairs])) for c in cells]


def bands(results: Results, variable: Variable, cells: Sequence[tuple[int, ...]]) -> list[Summary]:
    """Percentiles of a trajectory against time in each cell, NaN where a cell has no patient left."""
    if results.nested:
        return [_over_draws(c, np.moveaxis(draws_of(results, variable, c), -1, 1)) for c in cells]
    chosen = sample(results, variable, trajectory_sample(results.file[variable.name].shape[-2]))
    made = []
    for cell in cells:
        data, weights = weighted(results, variable, cell, chosen)
        if weights is not None:
            made.append(Summary(cell, percentiles(data, PERCENTS, weights)))
            continue
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice")  # a cell or a time without values has no percentiles
            empty = np.full((len(PERCENTS), data.shape[0]), np.nan)
            made.append(Summary(cell, np.nanpercentile(data, PERCENTS, axis=-1) if data.shape[-1] else empty))
    return made


def draws_of(results: Results, variable: Variable, cell: tuple[int, ...]) -> np.ndarray:
    """Percentiles over patients of every draw of uncertain parameters, `[draw, percent]`, or `[draw, time, percent]`."""
    data = results.file[variable.name]
    most = ENDPOINT_SAMPLE if variable in results.endpoints else trajectory_sample(data.shape[-2])
    weights = trial_weights(results, variable, most)
    found = []
    for values, well in by_trial(results, variable, cell, most):  # [..., draw, patient]
        kept = np.where(well, prepared(variable, values), np.nan)
        if variable.yes_no:
            rows = [_share(row, weights) for row in kept]
            found.append(np.array(rows))
        else:
            found.append(np.moveaxis(percentiles(kept, PERCENTS, weights), (0, -1), (-1, 0)))
    return np.concatenate(found)


def _over_draws(cell: tuple[int, ...], found: np.ndarray) -> Summary:
    """Of percentiles by draw, `[draw, ...]`: their medians, and the 5th and 95th percentile of each."""
    low, middle, high = percentiles(np.moveaxis(found, 0, -1), (5, 50, 95))
    return Summary(cell, middle, np.stack([low, high]))


def trajectory_sample(times: int) -> int:
    return min(TRAJECTORY_SAMPLE, max(1000, TRAJECTORY_VALUES // times))


def prepared(variable: Variable, data: np.ndarray) -> np.ndarray:
    """Values of patients who did not fail as numbers to summarise: yes is 100 %, a day that is missing never came (inf)."""
    data = data.astype(np.float64)
    if variable.yes_no:
        return 100 * data
    return np.nan_to_num(data, nan=np.inf, posinf=np.inf, neginf=-np.inf) if variable.of_days else data


def _quantiles(results: Results, variable: Variable, cell: tuple[int, ...], chosen: np.ndarray) -> np.ndarray:
    """Percentiles [percent] of the values that are present; of a yes/no endpoint the share and its interval."""
    data, weights = weighted(results, variable, cell, chosen)
    data = prepared(variable, data)
    return _share(data, weights) if variable.yes_no else percentiles(data, PERCENTS, weights)


def _share(data: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Share of yes in % with its interval, in the places of percentiles, `[percent]`; weighted: of so many as are effective."""
    there = ~np.isnan(data)
    yes = data[there] > 50
    if weights is None:
        low, share, high = exact_share(int(np.count_nonzero(yes)), len(yes))
    else:
        own = weights[there]
        n = effective(own)
        low, share, high = exact_share(n * float(own[yes].sum() / own.sum()) if n else 0, n)
    return 100 * np.array([low, low, share, high, high])


def merge(summaries: Sequence[Summary]) -> list[Summary]:
    """The cells without repetition: where an axis makes no difference to an arm, one cell stands for all its values."""
    merged = list(summaries)
    for axis in range(len(merged[0].index) - 1):
        groups: dict[Index, list[Summary]] = {}
        for s in merged:
            groups.setdefault((*s.index[:axis], None, *s.index[axis + 1 :]), []).append(s)
        merged = []
        for index, group in groups.items():
            same = all(np.array_equal(s.quantiles, group[0].quantiles, equal_nan=True) for s in group)
            merged += [Summary(index, group[0].quantiles, group[0].sure)] if same and len(group) > 1 else group
    # Arm by arm, each along its axes; an axis without effect comes first.
    return sorted(merged, key=lambda s: (s.index[-1], tuple(-1 if i is None else i for i in s.index[:-1])))


def cell_names(results: Results, index: Index) -> tuple[str, ...]:
    """What distinguishes a cell: the arm if there are several, then a text for each axis with several values."""
    named = [str(results.arms.values[index[-1]])] if len(results.arms.values) > 1 else []
    for axis, i in zip(results.axes, index, strict=False):
        if len(axis.values) > 1:
            named.append("any" if i is None else coordinate(axis.values[i]))
    return tuple(named) or (str(results.arms.values[index[-1]]),)


def cell_title(results: Results, index: Index) -> str:
    """One line for a panel: `weekly, dose 3 µg/kg`."""
    parts = [str(results.arms.values[index[-1]])] if len(results.arms.values) > 1 else []
    for axis, i in zip(results.axes, index, strict=False):
        if len(axis.values) > 1 and i is not None:
            parts.append(f"{axis.name.replace('_', ' ')} {coordinate(axis.values[i])} {unit_text(axis.unit)}".rstrip())
    return ", ".join(parts) or str(results.arms.values[index[-1]])


def coordinate(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def unit_text(unit: str) -> str:
    """A unit as it is printed: 10^9/L is 10⁹/L, ug/kg is µg/kg; nothing for a pure number."""
    if unit == "1":
        return ""
    shown = unit.replace("1/nL", "10^9/L")
    head, *powers = shown.split("^")
    for power in powers:
        digits = len(power) - len(power.lstrip("-0123456789"))
        head += power[:digits].translate(_SUPERSCRIPTS) + power[digits:]
    return re.sub(r"\bu(?=(g|mol|M|L)\b)", "µ", head)


def number_text(value: float) -> str:
    """Three significant digits, without an exponent where the number is of ordinary size."""
    if np.isnan(value):
        return "-"
    if np.isinf(value):
        return "never"
    size = abs(value)
    if size and (size >= 1e6 or size < 1e-3):
        return f"{value:.2e}"
    if size >= 100:
        return f"{float(f'{value:.3g}'):.0f}"
    return f"{value:.3g}"


def facts_text(results: Results, drawn: bool) -> list[str]:
    """The caption's statements: patients, failures, precision, audit; drawn: and the bands' sample."""
    facts = results.facts
    patients = f"{grouped(results.patients)} patients per cell"
    what = "draws of uncertain parameters, the same" if results.nested else "trials of"
    parts = [f"{grouped(results.trials)} {what} {patients}" if results.trials else patients]
    if results.weights is not None:
        parts.append(f"weighted, effective sample size {grouped(round(effective(results.weights)))}")
    if results.total:
        parts.append(f"{grouped(results.failed)} of {grouped(results.total)} trajectories failed")
    if "precision" in facts:
        parts.append({"f32": "float32", "f64": "float64"}.get(facts["precision"], str(facts["precision"])))
    error = facts.get("audit_p99_relative_error")
    if isinstance(error, float) and np.isfinite(error):
        among = f" in {facts['audit_patients']} audited patients" if "audit_patients" in facts else " (audit)"
        parts.append(f"99 % of relative errors below {error:.1e}{among}")
    else:
        parts.append("not audited")
    times = 1 if results.time is None else len(results.time.values)
    for size, what, said in ((trajectory_sample(times), "bands", drawn), (ENDPOINT_SAMPLE, "percentiles", True)):
        if said and (results.patients if results.nested else results.people) > size:
            parts.append(f"{what} from {grouped(size)} evenly chosen patients per cell")
    return parts


def grouped(number: int) -> str:
    """A count as it is printed: 1234, 12 345."""
    return f"{number:,}".replace(",", " ") if number >= 10_000 else str(number)
