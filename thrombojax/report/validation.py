"""What the validation says: a line a target for people, rows for machines, and a figure a case."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thrombojax.validation.judge import Judged, Verdict

_AGREES, _MISSED = "#2166ac", "#b2182b"
MOST_PANELS = 24


def rows(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """One object a target, as the contract of `validate --json` has it, with the audit of its run beside it."""
    return [{**v.__dict__, "audit_p99_relative_error": judged.audit} for judged in found for v in judged.verdicts]


def line(v: Verdict) -> dict[str, str]:
    """One row of a table; numbers of reference models with their digits."""
    trial = "" if v.trial_low is None or v.trial_high is None else f" [{_short(v.trial_low)}, {_short(v.trial_high)}]"
    said = (lambda x: f"{x:.9g}") if v.kind == "reference" else _short
    verdict = "agrees" if v.agrees else "MISSED"
    return {
        "target": v.target,
        "unit": v.unit,
        "published": "-" if v.published is None else said(v.published),
        "to lie in": f"{said(v.low)} to {said(v.high)}",
        "simulated [95 % of trials]": f"{said(v.simulated)}{trial}",
        "verdict": verdict if v.counts else f"({verdict}: recalled, not counted)",
        "used for": v.use,
    }


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def figures(found: Sequence[Judged], folder: Path) -> bool:
    """A picture a case and parameter set in a folder; False, and none, where there is no matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        return False
    for judged in found:
        own = f"-set-{judged.parameter_set}" if judged.parameter_set else ""
        figure(judged, folder / f"{judged.case}{own}.png")
    return True


def figure(judged: Judged, path: Path) -> None:
    """Published (black, with the interval to lie in) against simulated (with 95 % of trials): a line a target."""
    from matplotlib.figure import Figure

    some = judged.verdicts[:MOST_PANELS]
    sheet = Figure(figsize=(7.2, 0.6 + 0.42 * len(some)), layout="constrained")
    axes = sheet.subplots(len(some), 1, squeeze=False)[:, 0]
    for axis, v in zip(axes, some, strict=True):
        colour = _AGREES if v.agrees else _MISSED
        axis.plot([v.low, v.high], [1, 1], color="black", lw=1.5)
        if v.published is not None:
            axis.plot(v.published, 1, "o", color="black", ms=5)
        if v.trial_low is not None and v.trial_high is not None:
            axis.plot([v.trial_low, v.trial_high], [0, 0], color=colour, lw=1.5)
        axis.plot(v.simulated, 0, "D", color=colour, ms=5)
        axis.set(ylim=(-0.7, 1.7), yticks=[])
        axis.tick_params(labelsize=6, pad=1)
        axis.spines[["left", "right", "top"]].set_visible(False)
        unit = f", {v.unit}" if v.unit else ""
        axis.set_ylabel(f"{v.target}{unit}", rotation=0, ha="right", va="center", fontsize=7)
    own = f" (parameter set {judged.parameter_set})" if judged.parameter_set else ""
    sheet.suptitle(
        f"{some[0].title}{own}\npublished: black; simulated: blue where it agrees, red where not", fontsize=7
    )
    sheet.savefig(path, dpi=110)
