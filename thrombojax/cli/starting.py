"""What commands do before they import what they need, and what they say when they are stopped."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from thrombojax.cli import options


def resume_command(study: Path, out: Path, given: Mapping[str, object], command: str = "run") -> str:
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
