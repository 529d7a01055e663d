"""Fills the marked blocks of README.md and docs/*.md with what this tree prints: `.venv/bin/python docs/fill.py [NAME ...]`.

A block stands between `<!-- NAME -->` and `<!-- end -->`. All of them take about fifteen minutes on two cores; the figure of the
README is made by `make figures`.
"""

import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
ROOT = DOCS.parent
DEMO = "sweeps/itp-romiplostim-dose-response.toml"
FIT = "sweeps/itp-romiplostim-fit.toml"
POPULATION = "sweeps/cld-procedure-virtual-population.toml"
POPULATION_ITP = "sweeps/itp-virtual-population.toml"
RESPONSE = "sweeps/itp-response-sensitivity.toml"
FIGURE = DOCS / "figures" / "itp-response-sensitivity.png"
RULE = "sweeps/itp-romiplostim-rule.toml"
CALIBRATION = "sweeps/calibration/flagship.toml"
EXAMPLE = DOCS / "examples" / "one_compartment.py"
PUBLISHED = DOCS / "examples" / "perez_ruixo2012.py"
sys.path[:0] = [str(DOCS), str(ROOT / "tests" / "models")]

import howto  # noqa: E402
from said import code, command, fenced, table  # noqa: E402


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


def demo() -> str:
    """What `make demo` prints of its run."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("run", DEMO, "-o", f"{folder}/demo.h5")
        return fenced(said.replace(f"{folder}/demo.h5", "out/itp-romiplostim-dose-response.h5"))


def check() -> str:
    return fenced(f"$ thrombojax check {DEMO}\n{command('check', DEMO)}")


def snippet() -> str:
    """What the README's Python prints."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return fenced(code(found[1]))


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


@functools.cache
def judged(*sets: str) -> list[Any]:
    """The whole validation with these parameter sets; with the default one, audited."""
    from thrombojax import process

    process.prepare("f64")
    from thrombojax.validation import judge, targets

    cases = targets.load()
    known = [case for case in cases if case.has_sets] if sets else cases
    wanted = [(case, own) for case in known for own in sets or (None,)]
    return list(judge.each(wanted, 0 if sets else 16, jobs=2))


def validation_summary() -> str:
    from thrombojax.models import DEFAULT_SET
    from thrombojax.models.feedback.assemble import parameter_sets
    from thrombojax.validation import judge

    others = tuple(name for name in parameter_sets() if name != DEFAULT_SET)
    rows = sorted(judge.summary([*judged(), *judged(*others)]), key=lambda row: (row["kind"], row["set"]))
    return table(rows[0], ([str(v) for v in row.values()] for row in rows))


def validation_cases() -> str:
    from thrombojax.report.validation import line

    parts = []
    for one in judged():
        first = one.verdicts[0]
        lines = [line(v) for v in one.verdicts]
        audit = "" if one.audit is None else f" Audit: 99 % of relative errors below {one.audit:.1e}."
        who = f"{first.title} ({first.kind}). {first.population}. {first.source}. Intervals: {first.rule}."
        parts.append(f"### {one.case}\n\n{who}{audit}\n\n{table(lines[0], (row.values() for row in lines))}")
    return "\n\n".join(parts)


def validation_misses() -> str:
    """A section a miss; a miss that no case explains is an error here."""
    from thrombojax.validation import targets

    why = {(case.name, t.name): t.missed for case in targets.load() for t in case.targets}
    parts = []
    for v in (v for one in judged() for v in one.verdicts if not v.agrees):
        said = why[v.case, v.target]
        assert said is not None, f"{v.case}: {v.target} is missed, and its file does not say why"
        unit = f" {v.unit}" if v.unit else ""
        kind = "recalled, not counted" if not v.counts else v.kind
        published = "a direction" if v.published is None else f"{v.published:g}{unit}"
        size = f"Published {published} (to lie in {v.low:g} to {v.high:g}), simulated {v.simulated:.3g}{unit}; {kind}, {v.use}."
        reasons = f"- Likely: {said.why}\n- Tried: {said.tried}\n- Would settle it: {said.data}"
        parts.append(f"### {v.target} ({v.case})\n\n{size}\n\n{reasons}")
    return "\n\n".join(parts)


def fitted() -> str:
    """What `thrombojax fit` prints, but for the time."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("fit", FIT, "-o", f"{folder}/fit.h5")
        return fenced(said.replace(f"{folder}/fit.h5", "out/fit.h5").partition("\n\nfitted in")[0])


def refit() -> str:
    """What `python -m benchmarks.refit` measured, as committed."""
    found = json.loads((ROOT / "benchmarks" / "results" / "refit-2-core-x86-64.json").read_text(encoding="utf-8"))
    cover, shrinkage = found["coverage_of_90_percent"], found["shrinkage"]
    rows = [(f"`{name}`", f"{100 * cover[name]:.1f} %", f"{100 * x:.0f} %") for name, x in shrinkage.items()]
    batch, alone = 1e3 * found["batch_s_per_patient"], 1e3 * found["scipy_s_per_patient"]
    away = found["largest_difference_from_scipy_in_prior_sd"]
    whole = (
        f"{found['what']}: 90 % intervals hold {100 * cover['all']:.1f} % of all true values. One batch takes "
        f"{found['batch_s']:.2g} s on {found['cores']} cores, {batch:.2g} ms a patient. SciPy's BFGS on the same posterior, with "
        f"exact gradients by the same kernel, takes {alone:.3g} ms a patient, {found['ratio']:.0f} times as long, ending at most "
        f"{away:.0e} SD of the prior away."
    )
    return table(("parameter", "truth in its 90 % interval", "shrinkage"), rows) + "\n\n" + whole


def calibrated() -> str:
    """What `thrombojax calibrate` prints of the flagship."""
    with tempfile.TemporaryDirectory() as folder:
        return fenced(command("calibrate", CALIBRATION, "-o", f"{folder}/3.toml"))


def optimised() -> str:
    """What `thrombojax optimise` prints of the titration rule, but for the time."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("optimise", RULE, "-o", f"{folder}/rule.h5")
        return fenced(said.replace(f"{folder}/rule.h5", "out/rule.h5").partition("\n\noptimised in")[0])


def combined() -> str:
    """What it prints of PF4, romiplostim and SDF-1 around chemotherapy, but for the time."""
    return _optimised("chemotherapy-combination-schedule")


def individual() -> str:
    """What it prints of plans of patients' own, but for the time."""
    return _optimised("itp-romiplostim-individual")


def _optimised(study: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/out.h5"
        said = command("optimise", f"sweeps/{study}.toml", "-o", out)
        return fenced(said.replace(out, f"out/{study}.h5").partition("\n\noptimised in")[0])


@functools.cache
def _populations() -> tuple[str, str]:
    """What `thrombojax population` prints of the liver study, and `thrombojax run` of the example that takes its patients."""
    with tempfile.TemporaryDirectory() as folder:
        picture = DOCS / "figures" / "virtual-population.png"
        made = command("population", POPULATION, "-o", f"{folder}/cld.h5", "--figure", str(picture))
        made = made.replace(f"{folder}/", "out/")
        shutil.copy(DOCS / "examples" / "cld-doses.toml", folder)
        used = command("run", f"{folder}/cld-doses.toml", "-o", f"{folder}/doses.h5").replace(f"{folder}/", "out/")
    return fenced(made), fenced(used)


def unmet() -> str:
    """What `thrombojax population` says of a target that it cannot meet."""
    with tempfile.TemporaryDirectory() as folder:
        text = (ROOT / POPULATION).read_text(encoding="utf-8")
        wide = text.replace("mean = 0.56\n", 'mean = 0.56\nsd = 0.39\ndistribution = "log-normal"\n')
        assert wide != text
        (Path(folder) / "study.toml").write_text(wide, encoding="utf-8")
        words = ("population", f"{folder}/study.toml", "-o", f"{folder}/cld.h5", "--audit", "0")
        done = subprocess.run([sys.executable, "-m", "thrombojax", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    return fenced(
        "\n".join(line for line in done.stderr.replace(f"{folder}/", "").splitlines() if "patients/s" not in line)
    )


def populated() -> str:
    return _populations()[0]


def populated_itp() -> str:
    """What `thrombojax population` says of the targets of the study in ITP, and of its arms at the end."""
    with tempfile.TemporaryDirectory() as folder:
        made = command("population", POPULATION_ITP, "-o", f"{folder}/itp.h5").replace(f"{folder}/", "out/")
    arms, said = made.split("\n\nDifference from placebo")[0], made[made.index("\nplausible: ") + 1 :]
    return fenced(f"{arms}\n\n{said}")


def nested() -> str:
    return _populations()[1]


def descents() -> str:
    """What `python -m benchmarks.optimise` measured, as committed."""
    found = json.loads((ROOT / "benchmarks" / "results" / "optimise-2-core-x86-64.json").read_text(encoding="utf-8"))
    rows = [
        (
            row["method"],
            f"{row['seconds']:.1f} s" if row["reached"] else f"not in {row['seconds']:.0f} s",
            str(row["calls"]),
            f"{row['ratio']:.1f}" if row["reached"] else f"more than {row['ratio']:.0f}",
        )
        for row in found["rows"]
    ]
    return table(("method", "time to the target", "calls", "x ours"), rows)


@functools.cache
def _indices() -> str:
    """What `thrombojax sensitivity` prints of the response to romiplostim."""
    with tempfile.TemporaryDirectory() as folder:
        said = command("sensitivity", RESPONSE, "-o", f"{folder}/s.h5", "--figure", str(FIGURE))
        return re.sub(r"results: .* \(in .*\)", "results: out/itp-response.h5", said)


def sensitive() -> str:
    """What the page shows of that: how it was done, indices of two endpoints, and the bounds."""
    parts = _indices().strip().split("\n\n")
    shown = ("mean_count, arm 'romiplostim' (", "time_above_50, arm 'romiplostim' (", "bounds by derivatives")
    chosen = [*parts[:2], *(part for part in parts[2:] if part.startswith(shown))]
    return f"{fenced(chr(10).join(chr(10) + part for part in chosen))}\n\n![indices](figures/{FIGURE.name})"


def own_function() -> str:
    """What the page's example of `sobol` prints."""
    page = (DOCS / "how-to-sensitivity.md").read_text(encoding="utf-8")
    code = page[page.index("from thrombojax.sensitivity import Distribution") :].partition("```")[0]
    words = [sys.executable, "-c", f"import thrombojax as tj\n{code}"]
    return fenced(subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def streamed() -> str:
    """What `python -m benchmarks.sensitivity` measured, as committed."""
    found = json.loads((ROOT / "benchmarks" / "results" / "sensitivity-2-core-x86-64.json").read_text(encoding="utf-8"))
    cost, screened = found["cost"], found["screening"]
    memory = [f"{size / 1e6:.0f} MB at {int(base):,} base samples" for base, size in found["peak_rss_bytes"].items()]
    said = (
        f"Cost (`python -m benchmarks.sensitivity`, this study, {found['factors']} factors, {found['days']:g} days): "
        f"{cost['runs']:,} runs with sums and shards take {cost['ratio']:.2f} times the CPU time of the same rows simulated and "
        f"forgotten. Memory at its peak: {', '.join(memory)}. Derivatives of {screened['derivatives']} samples cost "
        f"1/{1 / screened['share']:.0f} of the indices of {found['large']:,}, and {screened['same']} of the "
        f"{screened['of']} factors with the five largest bounds of an endpoint have its five largest totals."
    )
    return textwrap.fill(said, 128)


BLOCKS: tuple[Callable[[], str], ...] = (
    states, parameters, scenarios, demo, check, snippet, structs, functions, model, study, example,
    validation_summary, validation_cases, validation_misses,
    published, blocks, kpd_structs, kpd_functions, kpd_model, kpd_study, kpd_example,
    fitted, refit, calibrated, optimised, combined, individual, descents, populated, populated_itp, nested, unmet, sensitive,
    own_function, streamed,
    *howto.BLOCKS,
)  # fmt: skip


def main() -> None:
    chosen = [make for make in BLOCKS if make.__name__ in sys.argv[1:] or len(sys.argv) == 1]
    files = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
    for make in chosen:
        block = re.compile(rf"(<!-- {make.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
        holding = [file for file in files if block.search(file.read_text(encoding="utf-8"))]
        assert holding, f"no file has a block {make.__name__}"
        made = make()
        for file in holding:
            text = file.read_text(encoding="utf-8")
            file.write_text(block.sub(lambda found, made=made: f"{found[1]}{made}\n{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
