"""`thrombojax sensitivity`."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from thrombojax.cli import options, starting


def sensitivity(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where indices and the stored sample go.")],
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    precision: options.PrecisionOption = None,
    backend: options.BackendOption = None,
    stop_after: options.StopAfter = None,
    allow_mixed: options.AllowMixed = False,
    model_file: options.ModelFile = None,
    figure: Annotated[Path | None, options.figure("Where the figure goes: OUT.png if not here.")] = None,
) -> None:
    """Find what decides the endpoints.

    What [sensitivity] asks for: Sobol' indices with intervals, derivatives, screening, correlations.
    """
    seconds = starting.resumable(resume, overwrite, stop_after)
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
        starting.interrupted("sensitivity", study, out, given)
    print(outcome.summary)
    print(f"\nfigure: {drawn}" if drawn is not None else "\nno figure: that needs matplotlib, thrombojax[plots]")
    if outcome.constant:
        raise typer.Exit(1)
