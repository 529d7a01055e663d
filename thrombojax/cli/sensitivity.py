"""`thrombojax sensitivity`."""

import importlib.util
import sys
from pathlib import Path
from typing import Annotated

import typer

from thrombojax.cli import options, starting


def sensitivity(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where indices and the stored sample go.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run; start if there is none.")
    ] = False,
    overwrite: options.Overwrite = False,
    precision: options.PrecisionOption = None,
    backend: options.BackendOption = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after 30s, 20m, 3h ...; --resume goes on.")
    ] = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Resume although the software or the device has changed.")
    ] = False,
    model_file: Annotated[
        Path | None, typer.Option("--model-file", metavar="M.py", help="A Python file that defines a model.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option("--figure", metavar="FILE.png|svg", help="Where the figure goes: OUT.png if not here."),
    ] = None,
) -> None:
    """Find what decides the endpoints.

    What [sensitivity] asks for: Sobol' indices with intervals, derivatives, screening, correlations.
    """
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    seconds = None if stop_after is None else options.duration(stop_after)
    starting.prepare(study, precision)
    from thrombojax.cli.progress import Reporter
    from thrombojax.sensitivity import results

    drawn = figure or (out.with_suffix(".png") if importlib.util.find_spec("matplotlib") else None)
    with Reporter() as progress:
        outcome = results.run(
            study,
            out,
            resume=resume,
            overwrite=overwrite,
            precision=precision and precision.value,
            backend=backend and backend.value,
            stop_after=seconds,
            allow_mixed=allow_mixed,
            model_file=model_file,
            figure=drawn,
            progress=progress,
        )
    if outcome.interrupted:
        given = {
            "--precision": precision,
            "--backend": backend,
            "--stop-after": stop_after,
            "--allow-mixed": allow_mixed,
            "--model-file": model_file,
            "--figure": figure,
        }
        again = starting.resume_command(study, out, given, "sensitivity")
        print(f"interrupted; to go on: {again}", file=sys.stderr)
        raise typer.Exit(1)
    print(outcome.summary)
    print(f"\nfigure: {drawn}" if drawn is not None else "\nno figure: that needs matplotlib, thrombojax[plots]")
    if outcome.constant:
        raise typer.Exit(1)
