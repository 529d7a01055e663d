"""`thrombojax population`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from thrombojax.cli import options


def population(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where the weighted patients go.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run, or weigh again with other targets.")
    ] = False,
    overwrite: options.Overwrite = False,
    patients: options.Patients = None,
    precision: options.PrecisionOption = None,
    backend: options.BackendOption = None,
    stop_after: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after 30s, 20m, 3h ...; --resume goes on.")
    ] = None,
    audit: Annotated[int, typer.Option(min=0, help="Patients to solve again by the reference; 0 for none.")] = 256,
    model_file: Annotated[
        Path | None, typer.Option("--model-file", metavar="M.py", help="A Python file that defines a model.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="OUT.png|svg", help="Draw targets and weighted patients too.")
    ] = None,
) -> None:
    """Make a virtual population.

    Candidates of the study's cohort, the plausible ones weighted until they match what [population] says of trials.
    """
    from thrombojax import process
    from thrombojax.study import schema

    seconds = None if stop_after is None else options.duration(stop_after)
    said = schema.load(study).head.precision  # messages about the file need no JAX
    process.prepare(precision.value if precision else said)
    from thrombojax import populations
    from thrombojax.cli.progress import Reporter

    with Reporter() as progress:
        done = populations.run(
            study,
            out,
            resume=resume,
            overwrite=overwrite,
            patients=patients,
            precision=precision and precision.value,
            backend=backend and backend.value,
            stop_after=seconds,
            audit=audit,
            model_file=model_file,
            figure=figure,
            progress=progress,
        )
    if done.interrupted:
        print("interrupted; the same command with --resume goes on", file=sys.stderr)
        raise typer.Exit(1)
    print(done.summary)
