"""The figure of a record: its rows under the machine's measured ceilings, and its speeds. matplotlib is an extra.

Across: counted operations per byte of compulsory traffic (parameters and states read once, results written once). Up: counted
operations per second. A row below the flat line has arithmetic to gain; one on the slope waits for memory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thrombojax.report import picture

MARKERS = {"forward sweep": "o", "prototype": "s"}
PRECISIONS = ("f64", "f32")


def write(record: Mapping[str, Any], path: Path) -> None:
    """Draw a record as png or svg; a file of that name is replaced, and only by a whole one."""
    picture.check(path)
    from thrombojax.report.figure import STYLE

    picture.save(draw(record), path, STYLE)


def draw(record: Mapping[str, Any]) -> Any:
    """The matplotlib figure: roofline on the left, patient-years per second on the right."""
    import matplotlib
    from matplotlib.figure import Figure

    from thrombojax.report.figure import GREY, STYLE

    machine = record["machine"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.0, 4.6), dpi=160, facecolor="white", layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        _roofline(left, record)
        _speeds(right, record)
        said = f"{machine['cpu']}, {machine['cores']} cores; taken {record['taken']}{', --quick' if record['quick'] else ''}"
        figure.suptitle(f"thrombojax bench: {said}", fontsize=8.5, color=GREY, x=0.01, ha="left")
    return figure


def _roofline(axes: Any, record: Mapping[str, Any]) -> None:
    import numpy as np

    from thrombojax.report.figure import COLOURS, GREY, INK

    ceilings = record["machine"]["ceilings"]
    counted = [row for row in record["rows"] if row.get("operations_per_byte")]
    most = max([row["operations_per_byte"] for row in counted], default=100.0) * 4
    across = np.geomspace(0.1, most, 200)
    bandwidth = ceilings["bandwidth"]
    for i, precision in enumerate(PRECISIONS):
        peak = ceilings["operations"][precision]
        axes.plot(across, np.minimum(peak, bandwidth * across) / 1e9, color=COLOURS[i], linewidth=1.2)
        axes.annotate(f"{precision}: {peak / 1e9:.0f} GFLOP/s", (0.13, peak / 1e9), xytext=(0, 2), textcoords="offset points",
                      color=COLOURS[i], fontsize=8)  # fmt: skip
        axes.axhline(peak / 1e9, color=COLOURS[i], linewidth=0.4, linestyle=":")
    axes.annotate(f"memory: {bandwidth / 1e9:.0f} GB/s", (0.2, 0.2 * bandwidth / 1e9), xytext=(8, -8),
                  textcoords="offset points", color=GREY, fontsize=8)  # fmt: skip
    for row in _largest(counted):
        i = PRECISIONS.index(row["precision"])
        x, y = row["operations_per_byte"], row["operations_per_s"] / 1e9
        axes.plot([x], [y], MARKERS[row["workload"]], color=COLOURS[i], markersize=4.5)
        # float64 lies to the left of float32, its names too
        axes.annotate(row["backend"], (x, y), xytext=(10 * i - 5, 0), textcoords="offset points", fontsize=7,
                      color=INK, ha="left" if i else "right", va="center")  # fmt: skip
    for workload, marker in MARKERS.items():
        axes.plot([], [], marker, color=GREY, markersize=4.5, label=workload)
    axes.set(xscale="log", yscale="log", xlabel="counted operations per byte of compulsory traffic",
             ylabel="counted operations, 10⁹/s", title="Roofline")  # fmt: skip
    axes.legend(loc="lower right")


def _largest(rows: list[Any]) -> list[Any]:
    """Of each workload, backend and precision the row with the most patients."""
    found: dict[tuple[Any, ...], Any] = {}
    for row in sorted(rows, key=lambda row: row["patients"]):
        if row["workload"] in MARKERS:
            found[row["workload"], row["backend"], row["precision"]] = row
    return list(found.values())


def _speeds(axes: Any, record: Mapping[str, Any]) -> None:
    from thrombojax.report.figure import COLOURS, INK

    shown = ("prototype", "forward sweep", "objective", "gradient", "optimisation step", "results file")
    kept: dict[tuple[Any, ...], Any] = {}
    for row in sorted(record["rows"], key=lambda row: row["patients"]):
        if row["workload"] in shown:
            kept[row["workload"], row["backend"], row["precision"]] = row
    rows = sorted(kept.values(), key=lambda row: (shown.index(row["workload"]), row["backend"], row["precision"]))
    speeds = [row["patient_years_per_s"] for row in rows]
    axes.barh(range(len(rows)), speeds, color=[COLOURS[PRECISIONS.index(row["precision"])] for row in rows], height=0.7)
    for place, speed in enumerate(speeds):
        axes.annotate(
            f"{speed:,.0f}",
            (speed, place),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=INK,
        )
    axes.set_yticks(
        range(len(rows)), [f"{row['workload']}, {row['backend']} {row['precision']}" for row in rows], fontsize=7
    )
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="patient-years per second", title="Speed")
    if speeds:
        axes.set_xlim(min(speeds) / 2, max(speeds) * 6)
