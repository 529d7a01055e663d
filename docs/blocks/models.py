"""What the pages show of models, and what the examples of models of one's own print."""

import tempfile
from pathlib import Path

from blocks.said import DOCS, command, fenced, table

EXAMPLE = DOCS / "examples" / "one_compartment.py"
PUBLISHED = DOCS / "examples" / "perez_ruixo2012.py"


def states() -> str:
    import thrombojax as tj
    from thrombojax.models import struct

    model = tj.model("feedback", drugs=("eltrombopag", "romiplostim"))
    rows = [(f"`{s.name}`", s.quantity.unit, s.quantity.meaning) for s in struct.fields(model.State)]
    return table(("state", "unit", "meaning"), rows)


def parameters() -> str:
    """Parameter set 1 as `thrombojax info parameters --model feedback --parameter-set 1` lists it."""
    import thrombojax as tj

    rows = [
        (
            f"`{row['name']}`",
            f"{row['value']:.6g}",
            row["unit"],
            f"{row['low']:g} to {row['high']:g}",
            row["meaning"],
            ", ".join([*row["flags"], *([row["source"]] if row["source"] else [])]),
        )
        for row in tj.info("parameters", model="feedback", parameter_set="1")
    ]
    return table(("parameter", "value", "unit", "plausible", "meaning", "source"), rows)


def scenarios() -> str:
    """The printed scenarios: solved by `reference`, and the error of fixed steps at the default accuracy."""
    import jax
    from reference_scenarios import SCENARIOS, at, error, printed, run

    jax.config.update("jax_enable_x64", True)
    rows = []
    for name, scenario in SCENARIOS.items():
        exact = run(name, padded=True, backend="reference")
        numbers = printed(name)
        away = max(abs(at(exact, *where) / float(text) - 1.0) for where, text in numbers.items())
        fixed = (
            run(name, backend="xla", precision="f64"),
            run(name, backend="xla", precision="f32"),
            run(name, backend="xla", precision="f64", accuracy=1e-6),
        )
        errors = [f"{error(result, exact):.1e}" for result in fixed]
        ours = f"{at(exact, 'platelets', 14):.8g}"
        rows.append((name, scenario.title, numbers["platelets", 14], ours, f"{away:.0e}", *errors))
    heads = (
        "",
        "scenario",
        "day 14: printed",
        "`reference`",
        "largest difference",
        "`xla` f64",
        "`xla` f32",
        "1e-6, f64",
    )
    return table(heads, rows)


def _between(begin: str, end: str, file: Path = EXAMPLE) -> str:
    text = file.read_text(encoding="utf-8")
    start = text.index(begin)
    return fenced(text[start : text.index(end, start) if end else None], "python")


def structs() -> str:
    return _between("class Parameters", "def elimination")


def functions() -> str:
    return _between("def elimination", "MODEL = ")


def model() -> str:
    return _between("MODEL = ", "")


def study() -> str:
    return fenced((EXAMPLE.parent / "one-compartment.toml").read_text(encoding="utf-8"), "toml")


def _run(study: str, file: Path) -> str:
    """What the run of an example prints."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.h5"
        said = command("run", f"docs/examples/{study}.toml", "-o", out, "--model-file", str(file))
        return fenced(said.replace(out, f"out/{study}.h5"))


def example() -> str:
    return _run("one-compartment", EXAMPLE)


def published() -> str:
    """Installed models besides the flagship."""
    import thrombojax as tj
    from thrombojax.models import registry

    models = [tj.model(name) for name in registry.names() if name != "feedback"]
    cohorts = {m.name: ", ".join(sorted({f.stem for d in m.cohorts for f in d.glob("*.toml")})) for m in models}
    rows = [
        (f"`{m.name}`", m.title, ", ".join(dict.fromkeys(d for d, _ in m.entries)), cohorts[m.name]) for m in models
    ]
    return table(("model", "what it is of", "drugs", "cohorts"), rows)


def blocks() -> str:
    """Every function of thrombojax.models.blocks, by the first line of what it says of itself."""
    import inspect

    from thrombojax.models import blocks

    found = {k: f for k, f in vars(blocks).items() if inspect.isfunction(f)}
    calls = {k: f"`{k}({', '.join(inspect.signature(f).parameters)})`" for k, f in found.items()}
    return table(("block", "what it is"), [(calls[k], (f.__doc__ or "").strip()) for k, f in found.items()])


def kpd_structs() -> str:
    return _between("class Parameters", "def rates", PUBLISHED)


def kpd_functions() -> str:
    return _between("def rates", "MODEL = ", PUBLISHED)


def kpd_model() -> str:
    return _between("MODEL = ", "", PUBLISHED)


def kpd_study() -> str:
    return fenced((PUBLISHED.parent / "perez-ruixo2012.toml").read_text(encoding="utf-8"), "toml")


def kpd_example() -> str:
    return _run("perez-ruixo2012", PUBLISHED)


BLOCKS = (
    states,
    parameters,
    scenarios,
    structs,
    functions,
    model,
    study,
    example,
    published,
    blocks,
    kpd_structs,
    kpd_functions,
    kpd_model,
    kpd_study,
    kpd_example,
)
