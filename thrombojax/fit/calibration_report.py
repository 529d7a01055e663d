"""What a calibration found, as text, as JSON, and as a parameter set."""

from typing import Any

import numpy as np

from thrombojax.fit.calibration import PROFILE, Calibrated, Parameter, centre_and_sd
from thrombojax.fit.calibration_file import Target

LITTLE = 0.9
"""A parameter whose standard deviation is still that share of the prior's has stayed at its prior."""
CORRELATED = 0.8


def record(of: Calibrated) -> dict[str, Any]:
    """All of it as JSON values."""
    sd = np.sqrt(np.diag(of.covariance))
    information = np.linalg.eigvalsh(of.jacobian.T @ of.jacobian)
    correlation = of.covariance / np.outer(sd, sd)
    names = [p.name for p in of.parameters]
    parameters = [
        {
            "name": p.name, "unit": p.unit, "base": p.base, "value": float(v), "low_95": _at(p, z - 1.96 * s),
            "high_95": _at(p, z + 1.96 * s), "sd_of_prior": float(s), "stayed_at_prior": bool(s > LITTLE),
            "moved_by": [
                {"target": of.file.targets[t].name, "sd": float(of.pull[t, k] / s)}
                for t in np.argsort(-np.abs(of.pull[:, k]))[:3]
            ],
            "profile": [None if np.isnan(x) else float(x) for x in of.profile[k]],
        }
        for k, (p, v, z, s) in enumerate(zip(of.parameters, of.values, of.z, sd, strict=True))
    ]  # fmt: skip
    targets = [
        {
            "name": t.name, "source": t.source, "published": published, "low_95": low, "high_95": high,
            "base": float(of.before[i]), "calibrated": float(of.after[i]),
            "residual_base": float(of.residual_before[i]), "residual": float(of.residual[i]),
        }
        for i, t in enumerate(of.file.targets)
        for published, low, high in [_published(t)]
    ]  # fmt: skip
    return {
        "name": of.file.head.name, "base": of.file.head.base, "objective": of.objective,
        "sum_of_squares": {"base": float((of.residual_before**2).sum()), "calibrated": float((of.residual**2).sum())},
        "starts": of.starts, "same": of.same, "parameters": parameters, "targets": targets,
        "information": [float(x) for x in information[::-1]],
        "correlated": [
            {"pair": [names[i], names[j]], "r": float(correlation[i, j])}
            for i in range(len(names)) for j in range(i) if abs(correlation[i, j]) > CORRELATED
        ],
        "covariance_of_logarithms": {"names": names, "values": _of_logarithms(of)},
    }  # fmt: skip


def _of_logarithms(of: Calibrated) -> list[list[float]]:
    """Covariance of the logarithms of the calibrated values, to first order: what `covariance` in [uncertainty] reads."""
    found = zip(of.parameters, of.z, of.values, strict=True)
    slopes = np.array([float(p.slope(z)) / float(v) for p, z, v in found])
    return (of.covariance * np.outer(slopes, slopes)).tolist()


def _at(p: Parameter, z: float) -> float:
    return float(p.value(z))


def _published(t: Target) -> tuple[float, float, float]:
    centre, sd = centre_and_sd(t)
    ends = np.array([centre, centre - 1.96 * sd, centre + 1.96 * sd])
    middle, low, high = (float(x) for x in (np.exp(ends) if t.log else ends))
    return middle, low, high


def text(of: Calibrated) -> str:
    """For a terminal."""
    from thrombojax.cli import show

    said = record(of)
    base = f"set {of.file.head.base}"
    targets = [
        {"target": t["name"], "published": _few(t["published"]), "95 %": f"{t['low_95']:.3g} to {t['high_95']:.3g}",
         base: _few(t["base"]), "calibrated": _few(t["calibrated"]), "off by (SD)": _few(t["residual"], 2)}
        for t in said["targets"]
    ]  # fmt: skip
    parameters = [
        {"parameter": p["name"], "unit": p["unit"], base: _few(p["base"]), "calibrated": _few(p["value"]),
         "95 %": f"{p['low_95']:.3g} to {p['high_95']:.3g}", "SD / prior SD": _few(p["sd_of_prior"], 2),
         "moved most by (SD)": "; ".join(f"{m['target']} {m['sd']:+.1f}" for m in p["moved_by"])}
        for p in said["parameters"]
    ]  # fmt: skip
    stayed = [p["name"] for p in said["parameters"] if p["stayed_at_prior"]]
    squares = said["sum_of_squares"]
    known = sum(x > 1 for x in said["information"])
    lines = [
        show.table(targets), "", show.table(parameters), "",
        f"sum of squares: {squares['base']:.1f} with {base}, {squares['calibrated']:.1f} calibrated, of {len(targets)} targets; "
        f"{said['same']} of {said['starts']} starts end here",
        "stayed at the prior: " + (", ".join(stayed) if stayed else "none"),
        f"directions that the targets know better than the priors: {known} of {len(parameters)} (information "
        + ", ".join(f"{x:.2g}" for x in said["information"]) + ")",
        "correlated: " + ("; ".join(f"{' and '.join(c['pair'])} {c['r']:+.2f}" for c in said["correlated"]) or "none beyond 0.8"),
        "profiles, rise of the objective at " + ", ".join(f"{x:+g}" for x in PROFILE) + " SD (2, 0.5, 0.5, 2 if normal):",
    ]  # fmt: skip
    for p in said["parameters"]:
        lines.append(f"  {p['name']}: " + ", ".join("outside" if x is None else f"{x:.2g}" for x in p["profile"]))
    return "\n".join(lines)


def _few(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def toml(of: Calibrated, name: str) -> str:
    """A parameter set: what differs from the base, to five digits, with what moved it."""
    said = record(of)
    lines = [
        f"# Parameter set {name}: what `thrombojax calibrate` made of set {of.file.head.base} and its targets.",
        "", "[set]", f'name = "{name}"', f'base = "{of.file.head.base}"', f'title = "{of.file.head.title}"',
    ]  # fmt: skip
    groups: dict[str, list[str]] = {}
    for p, found in zip(of.parameters, said["parameters"], strict=True):
        moved = "; ".join(m["target"] for m in found["moved_by"][:2])
        why = f"calibration {of.file.head.name}; moved most by: {moved}".replace('"', "'")
        why += "" if len(p.leaves) == 1 else f"; in proportion: {', '.join(p.leaves)}"
        for leaf, base in p.leaves.items():
            group, _, key = leaf.partition(".")
            value = _few(base * found["value"] / p.base, 5)
            entry = f'{key} = {{ value = {value!r}, kind = "FIT", source = "{why}" }}'
            groups.setdefault(group, []).append(entry)
    for group, entries in groups.items():
        lines += ["", f"[{group}]", *entries]
    return "\n".join(lines) + "\n"
