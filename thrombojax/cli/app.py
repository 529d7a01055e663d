"""The commands. Each imports what it needs when it runs, so that `--help` and a message about a file stay quick."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from thrombojax.cli import bench, options, starting
from thrombojax.cli.population import population
from thrombojax.cli.sensitivity import sensitivity
from thrombojax.cli.validate import validate
from thrombojax.models import DEFAULT_SET

app = typer.Typer(
    name="thrombojax",
    help="Parameter sweeps of the thrombopoietin-platelet feedback.",
    epilog="Exit status: 0 done, 1 the run failed or was interrupted, 2 the input was wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: a third of the start-up time, and it can be searched and piped
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(bench.app, name="bench")
app.command()(validate)
app.command()(population)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"thrombojax {version('thrombojax')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def run(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where the results go.")],
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    patients: options.Patients = None,
    precision: options.PrecisionOption = None,
    backend: options.BackendOption = None,
    workers: Annotated[
        str, typer.Option(metavar="N|ADDRESS", help="Processes to use, or the address of a scheduler.")
    ] = "1",
    stop_after: options.StopAfter = None,
    audit: options.Audit = options.AUDIT,
    keep_shards: Annotated[
        bool, typer.Option("--keep-shards", help="Keep shards beside a virtual results file.")
    ] = False,
    allow_mixed: options.AllowMixed = False,
    model_file: options.ModelFile = None,
) -> None:
    """Run a study and write its results file."""
    seconds = starting.resumable(resume, overwrite, stop_after)
    crew = options.workers(workers)
    starting.prepare(study, precision)
    from thrombojax import api
    from thrombojax.cli.progress import Reporter

    with Reporter() as progress:
        outcome = api.run(
            study,
            out,
            resume=resume,
            overwrite=overwrite,
            patients=patients,
            precision=precision and precision.value,
            backend=backend and backend.value,
            workers=crew,
            stop_after=seconds,
            audit=audit,
            keep_shards=keep_shards,
            allow_mixed=allow_mixed,
            model_file=model_file,
            progress=progress,
        )
    if outcome.interrupted:
        given = {
            "--patients": patients,
            "--precision": precision,
            "--backend": backend,
            "--workers": None if crew == 1 else crew,
            "--stop-after": stop_after,
            "--audit": None if audit == options.AUDIT else audit,
            "--keep-shards": keep_shards,
            "--allow-mixed": allow_mixed,
            "--model-file": model_file,
        }
        starting.interrupted("run", study, out, given)
    print(outcome.summary)


@app.command()
def fit(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where the estimates go.")],
    overwrite: options.Overwrite = False,
    patients: options.Patients = None,
) -> None:
    """Fit each patient's counts.

    The parameters of [fit] for every patient of the event table: most probable values, standard errors, shrinkage.
    """
    starting.prepare(study, options.Precision.f64)
    from thrombojax.fit import results

    print(results.run(study, out, overwrite=overwrite, patients_asked=patients).summary)


@app.command()
def optimise(
    study: options.Study,
    out: Annotated[Path, options.out("OUT.h5", "Where plans and their evaluation go.")],
    overwrite: options.Overwrite = False,
    patients: options.Patients = None,
    figure: Annotated[Path | None, options.figure("Draw plan, counts and convergence too.")] = None,
) -> None:
    """Optimise doses, their times or a titration rule.

    What [optimise] asks for, on the study's patients; then counted on patients that took no part, beside the other arms.
    """
    starting.prepare(study, options.Precision.f64)
    from thrombojax.optimise import results

    done = results.run(
        study,
        out,
        overwrite=overwrite,
        patients=patients,
        figure=figure,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(done.summary)
    if not done.feasible:
        raise typer.Exit(1)


app.command()(sensitivity)


@app.command()
def calibrate(
    file: Annotated[Path, typer.Argument(metavar="CALIBRATION.toml", help="The calibration file.", show_default=False)],
    out: Annotated[Path, options.out("SET.toml", "Where the parameter set goes; its name is the set's.")],
    overwrite: options.Overwrite = False,
    json: options.Json = None,
) -> None:
    """Calibrate a parameter set.

    Free parameters by what was seen of typical patients; what moved what, what can be told apart, what stayed at its prior.
    """
    from thrombojax import process
    from thrombojax.fit import calibration_file
    from thrombojax.outputs import free

    said = calibration_file.load(file)
    free(out, overwrite)
    process.prepare("f64")
    from thrombojax.cli import show
    from thrombojax.fit import calibration, calibration_report

    found = calibration.calibrate(said)
    if json is not None:
        show.write_json(calibration_report.record(found), json)
    if json is None or str(json) != "-":
        print(calibration_report.text(found))
    out.write_text(calibration_report.toml(found, out.stem), encoding="utf-8")
    print(f"parameter set: {out}", file=sys.stderr)


@app.command()
def check(
    study: options.Study,
    patients: options.Patients = None,
    precision: options.PrecisionOption = None,
    backend: options.BackendOption = None,
    json: options.Json = None,
) -> None:
    """Say what a study would run.

    Patients, arms, segments, trajectories, disk, memory and time. Nothing runs.
    """
    starting.prepare(study, precision)
    from thrombojax import api
    from thrombojax.cli import show
    from thrombojax.cli.progress import span

    plan = api.check(
        study, patients=patients, precision=precision and precision.value, backend=backend and backend.value
    )
    if json is not None:
        show.write_json(plan, json)
    if json is None or str(json) != "-":
        people = {"bytes_on_disk": show.size, "peak_memory_bytes": show.size, "seconds": span}
        for key, value in plan.items():
            label = key.removesuffix("_bytes").removeprefix("bytes_").replace("_", " ")
            label = {"seconds": "time, about"}.get(label, label)
            print(f"{label:<14}{'-' if value is None else people.get(key, show.cell)(value)}")


@app.command()
def export(
    results: options.Results,
    out: Annotated[Path, options.out("OUT.csv|parquet", "Where the table goes; its ending says which kind.")],
    trajectories: Annotated[
        bool, typer.Option("--trajectories", help="One row per patient and time, not per patient.")
    ] = False,
    ledger: Annotated[
        bool, typer.Option("--ledger", help="One row per patient and visit: seen, decided, given.")
    ] = False,
    observed: Annotated[
        bool, typer.Option("--observed", help="One row per observation of an event table: observed, predicted.")
    ] = False,
    indices: Annotated[
        bool, typer.Option("--indices", help="One row per index of a sensitivity analysis, with its interval.")
    ] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Add the patients' parameters as columns.")] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a results file as one tidy table.

    For R and friends: one row per patient, arm and grid point, and per trial where there are replicates.
    """
    asked = {"trajectories": trajectories, "ledger": ledger, "observed": observed, "indices": indices}
    wanted = [name for name, given in asked.items() if given]
    if len(wanted) > 1:
        said = " and ".join(f"--{name}" for name in wanted)
        raise typer.BadParameter(f"{said} exclude each other: they are {len(wanted)} tables")
    from thrombojax import store

    what = wanted[0] if wanted else "endpoints"
    rows = store.export(results, out, what=what, parameters=parameters, overwrite=overwrite)
    print(f"{out}: {rows} rows")


@app.command()
def report(
    results: options.Results,
    out: Annotated[Path, options.out("OUT.png|svg", "Where the figure goes; its ending says which kind.")],
    observed: Annotated[
        Path | None,
        typer.Option(
            "--observed",
            metavar="DATA.csv",
            help="Draw these counts over simulated ones: columns ID, TIME (days), DV (1e9/L), ARM.",
        ),
    ] = None,
) -> None:
    """Draw a results file.

    Percentile bands per arm and an endpoint table; or a visual predictive check of observed counts.
    """
    from thrombojax import report as reports

    if observed is None:
        print(reports.render(results, out))
    else:
        print(reports.predictive_check(results, observed, out), out, sep="\n")


@app.command()
def verify(results: options.Results) -> None:
    """Read a results file for damage.

    Reads all of it and says whether every number in it is what was written.
    """
    from thrombojax import store

    found = store.verify(results)
    print(found)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def consolidate(
    parts: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run's shards.", show_default=False)],
    out: Annotated[Path, options.out("OUT.h5", "Where the results file goes.")],
    overwrite: options.Overwrite = False,
    keep_shards: Annotated[bool, typer.Option("--keep-shards", help="Keep the shards, beside a virtual file.")] = False,
) -> None:
    """Make a results file from shards."""
    from thrombojax import store
    from thrombojax.cli import show

    made = store.consolidate(parts, out, overwrite=overwrite, keep_shards=keep_shards)
    print(f"{made.path}: {show.size(made.bytes)}")


@app.command()
def info(
    topic: Annotated[options.Topic | None, typer.Argument(help="What to list.", show_default=False)] = None,
    name: Annotated[
        str | None, typer.Argument(help="All about this cohort, drug or mechanism, with sources.", show_default=False)
    ] = None,
    model: Annotated[str | None, typer.Option(help="List what this model has.")] = None,
    parameter_set: Annotated[
        str, typer.Option("--parameter-set", metavar="SET", help="Of the flagship, for values and cohorts.")
    ] = DEFAULT_SET,
    json: options.Json = None,
) -> None:
    """List models, drugs, parameters ...

    Devices, models, cohorts, drugs, mechanisms, parameters, endpoints or observables.
    """
    if topic is None:
        print("thrombojax info TOPIC lists: " + ", ".join(options.Topic))
        raise typer.Exit
    from thrombojax.cli import show
    from thrombojax.report import listing

    if name is not None:
        print(listing.page(topic.value, name))
        return
    rows = listing.info(topic.value, model=model, parameter_set=parameter_set)
    if json is not None:
        show.write_json(rows, json)
    if json is None or str(json) != "-":
        print(show.table(rows))
