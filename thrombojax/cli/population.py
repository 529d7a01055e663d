"""`thrombojax population`."""

from pathlib import Path
from typing import Annotated

from thrombojax.cli import options, starting


def population(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where the weighted patients go.")],
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    patients: options.Patients = None,
    precision: options.PrecisionOption = None,
    backend: options.BackendOption = None,
    stop_after: options.StopAfter = None,
    audit: options.Audit = options.AUDIT,
    model_file: options.ModelFile = None,
    figure: Annotated[Path | None, options.figure("Draw targets and weighted patients too.")] = None,
) -> None:
    """Make a virtual population.

    Candidates of the study's cohort, the plausible ones weighted until they match what [population] says of trials.
    With --resume a finished run is weighed again with other targets.
    """
    seconds = starting.resumable(resume, overwrite, stop_after)
    starting.prepare(study, precision)
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
        given = {
            "--patients": patients,
            "--precision": precision,
            "--backend": backend,
            "--stop-after": stop_after,
            "--audit": None if audit == options.AUDIT else audit,
            "--model-file": model_file,
            "--figure": figure,
        }
        starting.interrupted("population", study, out, given)
    print(done.summary)
