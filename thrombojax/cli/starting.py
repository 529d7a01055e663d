"""What commands do before they import what they need, and what they say when they are stopped."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import typer

from thrombojax.cli import options


def resumable(resume: bool, overwrite: bool, stop_after: str | None) -> float | None:
    """Seconds after which to stop. Refuses options that contradict each other."""
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    return None if stop_after is None else options.duration(stop_after)


def interrupted(command: str, study: Path, out: Path, given: Mapping[str, object]) -> NoReturn:
    """Ends a command, and says how to go on."""
    print(f"interrupted; to go on: {resume_command(command, study, out, given)}", file=sys.stderr)
    raise typer.Exit(1)


def resume_command(command: str, study: Path, out: Path, given: Mapping[str, object]) -> str:
    """The command that goes on with a run, as a shell reads it; given: its other options, None or False if not used."""
    words = ["thrombojax", command, str(study), "-o", str(out), "--resume"]
    for name, value in given.items():
        words += [name] if value is True else [] if value is None or value is False else [name, str(value)]
    return shlex.join(words)


def prepare(study: Path, precision: options.Precision | None) -> None:
    """Reads the study, whose messages need no JAX; then sets the process up, which must be before JAX is imported."""
    from thrombojax.study import schema

    said = schema.load(study).head.precision
    from thrombojax import process

    process.prepare(precision.value if precision else said)
