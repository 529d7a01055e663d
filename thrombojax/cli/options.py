"""Options that more than one command takes, and the words they are written in."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Precision(StrEnum):
    f32 = "f32"
    f64 = "f64"


class Backend(StrEnum):
    auto = "auto"
    xla = "xla"
    native = "native"
    cuda = "cuda"
    reference = "reference"


class Topic(StrEnum):
    devices = "devices"
    models = "models"
    cohorts = "cohorts"
    drugs = "drugs"
    mechanisms = "mechanisms"
    parameters = "parameters"
    endpoints = "endpoints"
    observables = "observables"


MOST_PATIENTS = 10**8  # study.sections.MAX_PATIENTS, which `--help` has no time to import
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> float:
    """Seconds in a duration such as 30s, 20m, 3h or 1.5h."""
    said = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*(s|m|min|h|d)", text.strip(), re.ASCII)
    if said is None or float(said[1]) == 0:
        raise typer.BadParameter(
            f"{text!r} is not a duration; allowed: 30s, 20m, 3h, 1.5h and the like", param_hint="--stop-after"
        )
    return float(said[1]) * _SECONDS[said[2]]


def workers(text: str | int) -> int | str:
    """A number of processes, or the address of a scheduler."""
    said = str(text)
    if re.fullmatch(r"-?\d+", said, re.ASCII):
        if not 1 <= int(said) <= 4096:
            raise typer.BadParameter(
                f"{said} is not a number of workers; allowed: 1 to 4096, or an address", param_hint="--workers"
            )
        return int(said)
    if ":" not in said:
        raise typer.BadParameter(
            f"{said!r} is neither a number nor an address such as tcp://host:8786", param_hint="--workers"
        )
    return said


Study = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False)]
Results = Annotated[Path, typer.Argument(metavar="OUT.h5", help="A results file.", show_default=False)]
Patients = Annotated[
    int | None, typer.Option(min=1, max=MOST_PATIENTS, help="Take this many patients, not the study's number.")
]
PrecisionOption = Annotated[Precision | None, typer.Option(help="Compute in this precision, not the study's.")]
BackendOption = Annotated[Backend | None, typer.Option(help="Compute by this backend, not the study's.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run; start if there is none.")]
StopAfter = Annotated[str | None, typer.Option(metavar="TIME", help="Stop after 30s, 20m, 3h ...; --resume goes on.")]
Audit = Annotated[int, typer.Option(min=0, help="Patients to solve again by the reference; 0 for none.")]
AUDIT = 256
AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Resume although the software or the device has changed.")
]
ModelFile = Annotated[
    Path | None, typer.Option("--model-file", metavar="M.py", help="A Python file that defines a model.")
]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write JSON to FILE (- for standard output).")
]


def out(metavar: str, text: str) -> typer.models.OptionInfo:
    """The option -o of a command."""
    return typer.Option("-o", "--out", metavar=metavar, help=text, show_default=False)


def figure(text: str) -> typer.models.OptionInfo:
    """The option --figure of a command."""
    return typer.Option("--figure", metavar="FILE.png|svg", help=text)
