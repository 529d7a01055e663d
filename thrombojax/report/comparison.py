"""What trials of this size would find, and what an arm changes in the same patients: numbers for the endpoint tables."""

from collections.abc import Sequence

import numpy as np

from thrombojax.report.intervals import mean_interval, over_trials, percentiles
from thrombojax.report.reading import Results, Variable, by_trial, trial_weights
from thrombojax.report.summary import ENDPOINT_SAMPLE, Summary, prepared

WITHOUT_DRUG = ("placebo", "untreated")  # arms that others are compared with, the first that is there


def trial_spread(results: Results, cells: Sequence[tuple[int, ...]]) -> list[Summary]:
    """For every endpoint the mean over trials of what each trial finds, `[variable, (2.5 %, mean, 97.5 %)]`.

    A trial finds a share, a mean or, of days that may never come, a median.
    """
    return [Summary(c, np.array([_one_spread(results, v, c) for v in results.endpoints])) for c in cells]


def _one_spread(results: Results, variable: Variable, cell: tuple[int, ...]) -> tuple[float, float, float]:
    found = []
    for data, well in by_trial(results, variable, cell, ENDPOINT_SAMPLE):
        kept = np.where(well, prepared(variable, data), np.nan)
        found.append(percentiles(kept, (50,))[0] if variable.of_days else _means(kept, None))
    return over_trials(np.concatenate(found))


def _means(data: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Mean along the last axis of the values that are there, weighted where there are weights; NaN where there are none."""
    there = ~np.isnan(data)
    if weights is not None:
        total = (there * weights).sum(axis=-1)
        return np.where(
            total > 0, (np.where(there, data, 0.0) * weights).sum(axis=-1) / np.where(total > 0, total, 1), np.nan
        )
    count = np.count_nonzero(there, axis=-1)
    return np.where(count > 0, np.where(there, data, 0.0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def reference_arm(results: Results) -> int | None:
    """The arm without drug, by its name, if there is one and another arm to compare with it."""
    names = [str(name).strip().casefold() for name in results.arms.values]
    return next((names.index(name) for name in WITHOUT_DRUG if name in names and len(names) > 1), None)


def differences(results: Results, cells: Sequence[tuple[int, ...]], reference: int) -> list[Summary]:
    """For every endpoint the mean difference from the reference arm in the same patients, `[variable, (low, mean, high)]`.

    Every arm has the same patients, with the same chance events, so that a patient is his own control. The 95 % interval
    is that of the mean over patients or, where there are trials, that of trials' means. NaN for days of which one never
    came: there is no difference from never.
    """
    return [Summary(c, np.array([_difference(results, v, c, reference) for v in results.endpoints])) for c in cells]


def _difference(
    results: Results, variable: Variable, cell: tuple[int, ...], reference: int
) -> tuple[float, float, float]:
    weights = trial_weights(results, variable, ENDPOINT_SAMPLE)
    arm = by_trial(results, variable, cell, ENDPOINT_SAMPLE)
    other = by_trial(results, variable, (*cell[:-1], reference), ENDPOINT_SAMPLE)
    found = []
    for (data, well), (data_0, well_0) in zip(arm, other, strict=True):
        with np.errstate(invalid="ignore"):  # inf - inf: never in both
            paired = prepared(variable, data) - prepared(variable, data_0)
        both = well & well_0
        if variable.of_days and not np.isfinite(paired[both]).all():
            return np.nan, np.nan, np.nan
        paired = np.where(both, paired, np.nan)
        found.append(_means(paired, weights) if results.trials else paired.ravel())
    if results.trials:
        return over_trials(np.concatenate(found))
    return mean_interval(np.concatenate(found), weights)
