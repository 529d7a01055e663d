"""`thrombojax validate`: what was published, what is simulated, and whether they agree."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from thrombojax.cli import options

if TYPE_CHECKING:
    from thrombojax.validation.judge import Judged
    from thrombojax.validation.targets import Case

AUDIT = 16
MOST_JOBS = 4
"""Each takes up to 2 GB."""
WORTH = 4
"""Cases that make it worth to start a process."""


def validate(
    cases: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CASE ...]", help="Cases, or kinds of them; all, where none is named."),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the table, JSON and a figure per case go.")
    ] = Path("validation"),
    json: options.Json = None,
    parameter_set: Annotated[
        list[str] | None, typer.Option("--parameter-set", metavar="SET", help="Of the flagship; may be repeated.")
    ] = None,
    audit: Annotated[
        int, typer.Option(min=0, help="Patients of each study to solve again by the reference; 0 for none.")
    ] = AUDIT,
    jobs: Annotated[
        int, typer.Option(min=0, help="Processes that share the cases; 0: as the machine and their number suggest.")
    ] = 0,
    listed: Annotated[bool, typer.Option("--list", help="List the cases; nothing runs.")] = False,
) -> None:
    """Hold the simulator against the literature.

    Every case is a study with the numbers that a paper found in it, run as the trial was: its cohort, entry, doses, visits,
    noise and size. Misses are shown as misses.
    """
    from thrombojax.cli import show
    from thrombojax.validation import targets

    chosen = targets.load(cases or ())
    if listed:
        rows = [{"case": c.name, "kind": c.head.kind, "targets": len(c.targets), "title": c.head.title} for c in chosen]
        print(show.table(rows))
        return
    targets.check_sets(parameter_set or [])
    show.check_writable(json)
    show.check_folder(out)
    from thrombojax import process
    from thrombojax.models import DEFAULT_SET

    process.prepare("f64")  # reference numbers have more digits than float32
    from thrombojax.report import validation as page
    from thrombojax.solve.native import cores
    from thrombojax.validation import judge

    judge.check(chosen)
    runs = judge.runs(chosen, parameter_set or [DEFAULT_SET])
    found = _judged(runs, audit, jobs or max(1, min(MOST_JOBS, cores(), len(runs) // WORTH)))
    said = _text(found, judge.summary(found))
    out.mkdir(parents=True, exist_ok=True)
    show.write_text(said + "\n", out / "validation.txt")
    show.write_json(page.rows(found), out / "validation.json")
    drawn = page.figures(found, out)
    if json is not None:
        show.write_json(page.rows(found), json)
    if json is None or str(json) != "-":
        print(said)
        print(f"\n{out}: validation.txt, validation.json and {'a figure a case' if drawn else 'no figures'}")
    if not drawn:
        print("figures need matplotlib: pip install 'thrombojax[plots]'", file=sys.stderr)


def _judged(runs: "Sequence[tuple[Case, str | None]]", audit: int, jobs: int) -> "list[Judged]":
    """Each run in turn; RunError where Ctrl-C stops it, before anything is written."""
    from thrombojax.cli.progress import span
    from thrombojax.errors import RunError
    from thrombojax.execute.signals import stop_request
    from thrombojax.validation import judge

    found: list[Judged] = []
    with stop_request() as stop, closing(judge.each(runs, audit, jobs)) as judged:
        for case, own in runs:
            name = case.name + (f", set {own}" if own else "")
            print(f"{len(found) + 1}/{len(runs)} {name} ... ", end="", file=sys.stderr, flush=True)
            said = "failed"
            try:
                found.append(next(judged))
                agree, rows = sum(v.agrees for v in found[-1].verdicts), len(found[-1].verdicts)
                said = f"{agree} of {rows} agree, {span(found[-1].seconds)}"
            finally:
                print(said, file=sys.stderr, flush=True)
            if stop.reason is not None:
                raise RunError(f"interrupted after {len(found)} of {len(runs)} cases; nothing was written")
    return found


def _text(found: "Sequence[Judged]", summary: "Sequence[Mapping[str, Any]]") -> str:
    """A table a case, then the summary by kind."""
    from thrombojax.cli import show
    from thrombojax.report.validation import line

    parts = []
    for judged in found:
        first = judged.verdicts[0]
        own = f", parameter set {judged.parameter_set}" if judged.parameter_set else ""
        audit = "" if judged.audit is None else f"Audit in float64: 99 % of relative errors below {judged.audit:.1e}.\n"
        table = show.table([line(v) for v in judged.verdicts])
        parts.append(
            f"{judged.case} ({first.kind}{own}): {first.title}\n{first.population}\n{first.source}\n"
            f"Intervals: {first.rule}\n{audit}\n{table}\n"
        )
    return "\n".join([*parts, show.table(summary)])
