"""A report of a results file: a picture with a table, the table alone, or a check against observed counts."""

from pathlib import Path

from thrombojax.report import picture
from thrombojax.report.reading import open_results
from thrombojax.report.table import table

__all__ = ["predictive_check", "render", "table"]


def render(results_path: str | Path, out_path: str | Path) -> Path:
    """Draws a results file: bands against time (or endpoints against the first axis), endpoint table, caption.

    The suffix of `out_path` decides the format; a file of that name is replaced, and only by a whole one. Raises
    InputError for another suffix, a file that is no results file, a place that cannot be written; RunError without
    matplotlib.
    """
    out = Path(out_path)
    picture.check(out)
    from thrombojax.report import indices_figure
    from thrombojax.report.figure import STYLE, draw
    from thrombojax.store.results import reading

    with reading(Path(results_path)) as file:
        figure = indices_figure.drawn(file) if indices_figure.holds(file) else None
    if figure is None:
        with open_results(results_path) as results:
            figure = draw(results)
    return picture.save(figure, out, STYLE)


def predictive_check(results_path: str | Path, observed_path: str | Path, out_path: str | Path) -> str:
    """Draws observed counts over simulated percentiles and says, in lines of text, how many lie where they should.

    Raises what `render` raises, and InputError for wrong observations, each with its row and column.
    """
    out = Path(out_path)
    picture.check(out)
    from thrombojax.report import observed, vpc, vpc_figure
    from thrombojax.report.figure import STYLE

    with open_results(results_path) as results:
        data = observed.load(observed_path, [str(name) for name in results.arms.values])
        arms = vpc.predict(results, data)
        figure = vpc_figure.draw(results.title, arms)
    picture.save(figure, out, STYLE)
    return vpc.said(arms)
