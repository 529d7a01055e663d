"""What a results file of a sensitivity analysis says, as text for a terminal."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from thrombojax.cli import show
from thrombojax.errors import RunError
from thrombojax.store.results import coordinate, reading
from thrombojax.study.schema import Study

SALIB = ("pawn", "delta", "rbd-fast", "fast")
"""Methods that are SALib's."""
TOP = 5
"""Pairs and factors that are told of an endpoint."""


def need(study: Study) -> None:
    """Raises RunError where a method is SALib's, and that is not installed."""
    asked = [m for m in SALIB if study.sensitivity is not None and m in study.sensitivity.methods]
    if not asked:
        return
    try:
        import SALib  # noqa: F401
    except ImportError:
        raise RunError(f"{', '.join(asked)} need SALib: pip install 'thrombojax[sensitivity]'") from None


def summary(path: Path) -> tuple[str, tuple[str, ...]]:
    """Tables of every method, and which endpoints do not vary."""
    with reading(path) as file:
        facts = dict(file["provenance"].attrs)
        arms, names = ([str(v) for v in coordinate(file[axis])] for axis in ("arm", "endpoint"))
        factors = [str(v) for v in coordinate(file["factor"])]
        parts: list[str] = []
        constant: list[str] = []
        if "sobol_first" in file:
            parts.append(_head(facts))
            for a, arm in enumerate(arms):
                for e, name in enumerate(names):
                    text = _sobol(file, facts, (a, e), factors)
                    if text is None and file["sobol_n"][a, e] == 0:
                        constant.append(f"{name} in arm {arm!r} (no base sample has values of all its runs)")
                    elif text is None:
                        value = float(file["sobol_mean"][a, e])
                        constant.append(f"{name} in arm {arm!r} (always {value:.6g})")
                    else:
                        parts.append(f"{name}, arm {arm!r}{_spread(file, (a, e))}\n{text}")
        parts += [text for text in (_other(file, arms, names, factors), _bounds(file, arms, names)) if text]
        if constant:
            parts.append(f"constant, or nearly: no variance to share out for {'; '.join(constant)}")
        return "\n\n".join(parts), tuple(constant)


def _head(facts: dict[str, Any]) -> str:
    base, runs, failed = (int(facts[f"sensitivity_{key}"]) for key in ("base", "runs", "failed"))
    stopped = ", stopped as narrow enough" if facts["sensitivity_stopped"] else ""
    text = (
        f"Sobol' indices: {base} base samples in {int(facts['sensitivity_replicates'])} replicates "
        f"({facts['sensitivity_sampler']}), {runs} runs{stopped}; "
        f"{facts['sensitivity_estimator']} with {100 * float(facts['sensitivity_confidence']):g} % intervals"
    )
    return text + (f"\nfailed: {failed} runs; their base samples are left out" if failed else "")


def _spread(file: h5py.File, at: tuple[int, int]) -> str:
    mean, sd = float(file["sobol_mean"][at]), float(np.sqrt(file["sobol_variance"][at]))
    missing, n = int(file["sobol_missing"][at]), int(file["sobol_n"][at])
    left_out = f"; {missing} of {n + missing} base samples without a value" if missing else ""
    return f" (mean {mean:.4g}, SD {sd:.3g}{left_out})"


def _sobol(file: h5py.File, facts: dict[str, Any], at: tuple[int, int], factors: list[str]) -> str | None:
    """First and total indices of one endpoint, the largest total first; None where it does not vary."""
    place = [str(v) for v in coordinate(file["estimator"])].index(str(facts["sensitivity_estimator"]))
    whole = {key: file[f"sobol_{key}"][(place, *at)] for key in _KEYS}
    if not np.isfinite(whole["total"]).any():
        return None
    order = [i for i in np.argsort(-np.nan_to_num(whole["total"], nan=-np.inf)) if np.isfinite(whole["total"][i])]
    rows = [{"factor": factors[i], "first": _with(whole, "first", i), "total": _with(whole, "total", i)} for i in order]
    return show.table(rows) + _pairs(file, at, factors)


_KEYS = ("first", "first_low", "first_high", "total", "total_low", "total_high")


def _with(whole: dict[str, np.ndarray], name: str, i: int) -> str:
    value, low, high = (round(float(whole[key][i]), 3) + 0.0 for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _pairs(file: h5py.File, at: tuple[int, int], factors: list[str]) -> str:
    """The largest second-order indices of one endpoint."""
    if "sobol_second" not in file:
        return ""
    whole = {f"second{end}": file[f"sobol_second{end}"][at] for end in ("", "_low", "_high")}
    flat = {key: values[np.triu_indices(len(factors), 1)] for key, values in whole.items()}
    i, j = np.triu_indices(len(factors), 1)
    order = [k for k in np.argsort(-np.nan_to_num(flat["second"], nan=-np.inf)) if np.isfinite(flat["second"][k])]
    rows = [{"pair": f"{factors[i[k]]} x {factors[j[k]]}", "second": _with(flat, "second", k)} for k in order[:TOP]]
    return f"\n\n{show.table(rows)}" if rows else ""


OTHERS = (
    "dgsm_bound",
    "morris_mu_star",
    "morris_sigma",
    "prcc",
    "srrc",
    "pawn",
    "delta",
    "rbd_fast_first",
    "fast_total",
)
"""What is printed of the other methods."""


def _other(file: h5py.File, arms: list[str], names: list[str], factors: list[str]) -> str:
    """One table an endpoint: a column for each other method, the strongest factor by the first of them on top."""
    here = [key for key in OTHERS if key in file]
    parts = []
    for a, arm in enumerate(arms) if here else ():
        for e, name in enumerate(names):
            columns = {key: np.asarray(file[key][a, e]) for key in here}
            columns = {key: c for key, c in columns.items() if np.isfinite(c).any()}
            if not columns:
                continue
            order = np.argsort(-np.nan_to_num(np.abs(next(iter(columns.values()))), nan=-1.0))
            rows = [
                {"factor": factors[i], **{key.replace("_", " "): _few(c[i]) for key, c in columns.items()}}
                for i in order
                if any(np.isfinite(c[i]) for c in columns.values())
            ]
            parts.append(f"{name}, arm {arm!r}, by other methods\n{show.table(rows)}")
    return "\n\n".join(parts)


def _bounds(file: h5py.File, arms: list[str], names: list[str]) -> str:
    """Whether the bounds by derivatives hold against the totals, and whether they find the same strongest factors."""
    if "dgsm_bound" not in file or "sobol_total" not in file:
        return ""
    place = [str(v) for v in coordinate(file["estimator"])].index(
        str(file["provenance"].attrs["sensitivity_estimator"])
    )
    held = there = same = alike = shown = 0
    for a in range(len(arms)):
        for e in range(len(names)):
            bound, above = file["dgsm_bound"][a, e], file["dgsm_bound_high"][a, e]
            total, low, high = (file[f"sobol_total{end}"][place, a, e] for end in ("", "_low", "_high"))
            both = np.isfinite(bound) & np.isfinite(total)
            if not both.any():
                continue
            held += int((low[both] <= above[both] + ROUNDING).sum())
            there += int(both.sum())
            by_bound, by_total = (np.argsort(-np.where(both, x, -1.0))[: min(TOP, both.sum())] for x in (bound, total))
            same += len(set(by_bound.tolist()) & set(by_total.tolist()))
            alike += int((high[by_bound] >= low[by_total[-1]]).sum())
            shown += len(by_total)
    return (
        f"bounds by derivatives: {held} of {there} hold (lower end of the total, upper end of the bound); of the {TOP} factors "
        f"with the largest bounds of each endpoint, {same} of {shown} have its {TOP} largest totals, {alike} where intervals of "
        "totals overlap"
    )


ROUNDING = 1e-6
"""Of an index of float32 runs."""
TOP = 5


def _few(value: float) -> float | None:
    return float(f"{value:.3g}") if np.isfinite(value) else None
