"""The endpoint tables of a results file, and the difference from the arm without drug.

Of one population: a row a cell, a column an endpoint. Of trials: a row for each endpoint and cell, so that arms stand under
one another, with what all patients have beside what one trial would find.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np

from thrombojax.report.comparison import differences, reference_arm, trial_spread
from thrombojax.report.reading import Results
from thrombojax.report.summary import (
    PERCENTS,
    Summary,
    cell_names,
    endpoint_quantiles,
    grouped,
    merge,
    number_text,
    thin,
    unit_text,
)
from thrombojax.report.table import Table

_SHOWN = [PERCENTS.index(p) for p in (5, 50, 95)]
_OVER_TRIALS = "mean [2.5 %, 97.5 %]"
_OVER_DRAWS = "median [5 %, 95 %]"


def build(results: Results, most_rows: int) -> list[Table]:
    """The table of a file that has endpoints and, where an arm goes without drug, that of differences from it.

    Cells are evenly chosen where they would make too many rows.
    """
    lines = len(results.endpoints) if results.trials else 1  # of the table, for each cell
    grid = thin(results.sizes, max(len(results.arms.values), most_rows // lines))
    cells = list(product(*grid))
    made = [_values(results, cells)]
    published = [f"{v.name} {v.published}" for v in results.endpoints if v.published]
    if published:
        made[0] = _with_notes(made[0], f"Published: {'; '.join(published)}.")
    reference = reference_arm(results)
    others = [cell for cell in cells if cell[-1] != reference]
    if reference is not None and others:
        made.append(_differences(results, others, reference))
    shown, total = prod(map(len, grid)), prod(results.sizes)
    if shown < total:
        made[0] = _with_notes(made[0], f"{shown} of {total} cells are listed.")
    return made


def _values(results: Results, cells: Sequence[tuple[int, ...]]) -> Table:
    found = endpoint_quantiles(results, cells)
    if results.nested:
        return _nested(results, found)
    notes = ["Median [5 %, 95 %] over patients."]
    notes += ["Patients by their weights."] if results.weights is not None else []
    shares = any(v.yes_no for v in results.endpoints)
    if not results.trials:
        summaries = merge([Summary(s.index, s.quantiles[:, _SHOWN]) for s in found])
        notes += ["In %: share of patients [exact 95 % interval]."] if shares else []
        return _never_said(_wide(results, summaries, "", notes, [v.unit for v in results.endpoints]))
    spread = trial_spread(results, cells)
    both = [
        Summary(a.index, np.concatenate([a.quantiles[:, _SHOWN], b.quantiles], axis=1))
        for a, b in zip(found, spread, strict=True)
    ]
    notes = ["In %: share of patients [exact 95 % interval]."] if shares else []
    notes.append(f"{_trials(results)}: mean of what the trials find (each {_finding(results)}) [95 % of the trials].")
    columns = ((f"all {grouped(results.people)} patients", "median [5 %, 95 %]"), (_trials(results), _OVER_TRIALS))
    return _never_said(_long(results, merge(both), "", columns, notes, [v.unit for v in results.endpoints]))


def _nested(results: Results, found: Sequence[Summary]) -> Table:
    """Percentiles over patients, each with its interval over draws of uncertain parameters; of yes/no endpoints the share."""
    summaries = []
    for s in found:
        assert s.sure is not None
        three = np.stack([s.sure[0], s.quantiles, s.sure[1]], axis=-1)[:, _SHOWN]  # [variable, percent, 3]
        for row, variable in zip(three, results.endpoints, strict=True):
            if variable.yes_no:
                row[[0, 2]] = np.nan
        summaries.append(Summary(s.index, three.reshape(len(three), -1)))
    columns = (("5 % of patients", _OVER_DRAWS), ("median, or share", _OVER_DRAWS), ("95 % of patients", _OVER_DRAWS))
    notes = [
        f"Percentiles over patients, each as median [5 %, 95 %] over {_trials(results)}.",
        *(["Patients by their weights."] if results.weights is not None else []),
        *(["In %: share of patients."] if any(v.yes_no for v in results.endpoints) else []),
    ]
    return _never_said(_long(results, merge(summaries), "", columns, notes, [v.unit for v in results.endpoints]))


def _differences(results: Results, cells: Sequence[tuple[int, ...]], reference: int) -> Table:
    summaries = merge(differences(results, cells, reference))
    title = f"Difference from {results.arms.values[reference]} in the same patients"
    units = ["% points" if v.yes_no else v.unit for v in results.endpoints]
    if results.trials:
        made = _long(results, summaries, title, ((_trials(results), _OVER_TRIALS),), [], units)
    else:
        made = _wide(results, summaries, title, ["Differences: mean [95 % interval of the mean]."], units)
    if any(np.isnan(s.quantiles[:, 1]).any() for s in summaries):
        return _with_notes(made, "-: no difference, as some days never came.")
    return made


def _trials(results: Results) -> str:
    what = "draws of uncertain parameters" if results.nested else f"trials of {grouped(results.patients)}"
    return f"{grouped(results.trials)} {what}"


def _finding(results: Results) -> str:
    """What a trial finds of its patients: `a mean or a share`."""
    kinds = {"share": "a share", "other": "a mean", "days": "a median day"}
    found = {"share" if v.yes_no else "days" if v.of_days else "other" for v in results.endpoints}
    *first, last = [text for kind, text in kinds.items() if kind in found]
    return f"{', '.join(first)} or {last}" if first else last


def _wide(results: Results, summaries: Sequence[Summary], title: str, notes: list[str], units: list[str]) -> Table:
    """A row a cell, a column an endpoint."""
    heads = [*_cell_heads(results), *((v.name, unit) for v, unit in zip(results.endpoints, units, strict=True))]
    rows = [(*cell_names(results, s.index), *(_entry(q) for q in s.quantiles)) for s in summaries]
    return Table(
        title,
        len(heads) - len(units),
        tuple(name for name, _ in heads),
        tuple(unit_text(unit) for _, unit in heads),
        tuple(rows),
        tuple(notes),
    )


def _long(
    results: Results,
    summaries: Sequence[Summary],
    title: str,
    columns: tuple[tuple[str, str], ...],
    notes: list[str],
    units: list[str],
) -> Table:
    """A row for each endpoint and cell; columns: heads of the entries, each of three numbers, and what these are."""
    shown = any(map(unit_text, units))
    cell_heads = _cell_heads(results)
    rows: list[tuple[str, ...]] = []
    for e, (variable, unit) in enumerate(zip(results.endpoints, units, strict=True)):
        for k, s in enumerate(summaries):
            name = (
                (variable.name, *([unit_text(unit)] if shown else [])) if k == 0 else ("",) * (1 + shown)
            )  # named once
            entries = (_entry(s.quantiles[e, 3 * i : 3 * i + 3]) for i in range(len(columns)))
            rows.append((*name, *cell_names(results, s.index), *entries))
    named = [("endpoint", ""), *([("unit", "")] if shown else []), *((n, unit_text(u)) for n, u in cell_heads)]
    heads, below = zip(*named, *columns, strict=True)
    return Table(title, len(named), heads, below, tuple(rows), tuple(notes))


def _cell_heads(results: Results) -> list[tuple[str, str]]:
    """Columns that name a cell, with their units: as many as `cell_names` gives."""
    varied = [(axis.name, axis.unit) for axis in results.axes if len(axis.values) > 1]
    return [*([("arm", "")] if len(results.arms.values) > 1 or not varied else []), *varied]


def _entry(numbers: np.ndarray) -> str:
    low, middle, high = map(number_text, numbers)
    return low if low == middle == high and low in ("never", "-") else f"{middle} [{low}, {high}]"


def _never_said(table: Table) -> Table:
    never = any("never" in entry for row in table.rows for entry in row)
    return _with_notes(table, "never: not within the study.") if never else table


def _with_notes(table: Table, *more: str) -> Table:
    return replace(table, notes=(*table.notes, *more))
