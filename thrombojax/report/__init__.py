"""A report of a results file: a picture with a table, the table alone, or a check against observed counts."""

import importlib.util
import os
from pathlib import Path
from typing import Any

from thrombojax.errors import InputError, Problem, RunError
from thrombojax.report.reading import open_results
from thrombojax.report.table import table

__all__ = ["SUFFIXES", "predictive_check", "render", "table"]

SUFFIXES = (".png", ".svg")


def render(results_path: str | Path, out_path: str | Path) -> Path:
    """Draws a results file: bands against time (or endpoints against the first axis), endpoint table, caption.

    The suffix of `out_path` decides the format; a file of that name is replaced, and only by a whole one. Raises
    InputError for another suffix, a file that is no results file, a place that cannot be written; RunError without
    matplotlib.
    """
    out = _checked(out_path)
    from thrombojax.report.figure import draw
    from thrombojax.sensitivity import figure as sensitivities
    from thrombojax.store.results import reading

    with reading(Path(results_path)) as file:
        figure = sensitivities.drawn(file) if sensitivities.holds(file) else None
    if figure is None:
        with open_results(results_path) as results:
            figure = draw(results)
    return _save(figure, out)


def predictive_check(results_path: str | Path, observed_path: str | Path, out_path: str | Path) -> str:
    """Draws observed counts over simulated percentiles and says, in lines of text, how many lie where they should.

    Raises what `render` raises, and InputError for wrong observations, each with its row and column.
    """
    out = _checked(out_path)
    from thrombojax.report import observed, vpc, vpc_figure

    with open_results(results_path) as results:
        data = observed.load(observed_path, [str(name) for name in results.arms.values])
        arms = vpc.predict(results, data)
        figure = vpc_figure.draw(results.title, arms)
    _save(figure, out)
    return vpc.said(arms)


def _checked(out_path: str | Path) -> Path:
    """A place for a picture, before anything is drawn."""
    out = Path(out_path)
    if out.suffix.lower() not in SUFFIXES:
        given = f"got {out.suffix!r}" if out.suffix else "got no suffix"
        raise InputError(Problem(str(out), f"a report is written as {' or '.join(SUFFIXES)}, {given}"))
    if importlib.util.find_spec("matplotlib") is None:
        raise RunError("a picture needs matplotlib: pip install 'thrombojax[plots]'")
    if not out.parent.is_dir():
        raise InputError(Problem(str(out), f"the folder {str(out.parent)!r} does not exist"))
    return out


def _save(figure: Any, out: Path) -> Path:
    from thrombojax.report.figure import save

    temporary = out.with_name(f".{out.name}.tmp{os.getpid()}")
    try:
        save(figure, temporary, out.suffix.lower()[1:])
        temporary.replace(out)
    except OSError as error:
        raise InputError(Problem(str(out), f"cannot be written: {error.strerror or error}")) from None
    finally:
        temporary.unlink(missing_ok=True)
    return out
