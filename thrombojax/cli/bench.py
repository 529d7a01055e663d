"""`thrombojax bench` and `thrombojax bench compare`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from thrombojax.cli import options

app = typer.Typer(help="Measure this machine.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer patients and repeats: under three minutes.")] = False,
    peers: Annotated[
        bool,
        typer.Option(
            "--peers",
            help="SciPy, numbalsoda and deSolve too, not only mrgsolve and diffrax, "
            "which are measured wherever a source checkout finds them.",
        ),
    ] = False,
    json: options.Json = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write tables to FILE (- for standard output).")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE.png|svg", help="Draw a roofline and the speeds.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(metavar="NAME|auto", help="Measure this backend only, not all that run here.")
    ] = None,
    precision: Annotated[options.Precision | None, typer.Option(help="Measure this precision only, not both.")] = None,
) -> None:
    """Measure how fast this machine runs standard workloads.

    Speed, error, memory and energy of each, and their share of what the machine can do, measured beside them.
    """
    if context.invoked_subcommand is not None:
        return
    from thrombojax.bench import record, roofline
    from thrombojax.bench.measure import bench as measure
    from thrombojax.cli import show
    from thrombojax.report import picture

    if figure is not None:
        picture.check(figure)  # before minutes are spent
    for file in (json, markdown):
        show.check_writable(file)

    def say(text: str) -> None:
        print(f"measuring: {text}", file=sys.stderr, flush=True)

    found = measure(quick=quick, with_peers=peers, backend=backend, precision=precision and precision.value, say=say)
    if json is not None:
        show.write_json(found, json)
    if figure is not None:
        roofline.write(found, figure)
    text = record.markdown(found)
    if markdown is not None and str(markdown) != "-":
        show.write_text(text, markdown)
    if str(json) != "-":
        print(text, end="")


@app.command()
def compare(
    first: Annotated[
        Path, typer.Argument(metavar="A.json", help="A record of `thrombojax bench --json`.", show_default=False)
    ],
    second: Annotated[Path, typer.Argument(metavar="B.json", help="Another.", show_default=False)],
    json: options.Json = None,
) -> None:
    """Compare two records.

    The ratio of speeds of every row that both have, and a sentence.
    """
    from thrombojax.bench.compare import compare as compared
    from thrombojax.cli import show

    rows, sentence = compared(first, second)
    if json is not None:
        show.write_json({"rows": rows, "sentence": sentence}, json)
    if str(json) != "-":
        print(f"{show.table(rows)}\n\n{sentence}")
