"""A report of a results file: a picture with a table, or the table alone."""

import importlib.util
import os
from pathlib import Path

from thrombojax.errors import InputError, Problem, RunError
from thrombojax.report.reading import open_results
from thrombojax.report.table import table

__all__ = ["SUFFIXES", "render", "table"]

SUFFIXES = (".png", ".svg")


def render(results_path: str | Path, out_path: str | Path) -> Path:
    """Draws a results file: bands against time (or endpoints against the first axis), endpoint table, caption.

    The suffix of `out_path` decides the format; a file of that name is replaced, and only by a whole one. Raises
    InputError for another suffix, a file that is no results file, a place that cannot be written; RunError without
    matplotlib.
    """
    out = Path(out_path)
    if out.suffix.lower() not in SUFFIXES:
        given = f"got {out.suffix!r}" if out.suffix else "got no suffix"
        raise InputError(Problem(str(out), f"a report is written as {' or '.join(SUFFIXES)}, {given}"))
    if importlib.util.find_spec("matplotlib") is None:
        raise RunError("a picture needs matplotlib: pip install 'thrombojax[plots]'")
    from thrombojax.report.figure import draw, save

    if not out.parent.is_dir():
        raise InputError(Problem(str(out), f"the folder {str(out.parent)!r} does not exist"))
    with open_results(results_path) as results:
        figure = draw(results)
    temporary = out.with_name(f".{out.name}.tmp{os.getpid()}")
    kind = out.suffix.lower()[1:]
    try:
        save(figure, temporary, kind)
        temporary.replace(out)
    except OSError as error:
        raise InputError(Problem(str(out), f"cannot be written: {error.strerror or error}")) from None
    finally:
        temporary.unlink(missing_ok=True)
    return out
