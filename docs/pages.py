"""Writes docs/reference/ (a page per cohort, drug and mechanism, each with a figure) and docs/signatures.md.

`.venv/bin/python docs/pages.py [NAME ...]` takes two minutes; `--text` leaves the figures alone.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib import pyplot as plt
from PIL import Image

import thrombojax as tj
from thrombojax import dosing, drugs
from thrombojax.models import registry, struct
from thrombojax.patients.population import prepare
from thrombojax.report import pages
from thrombojax.solve.engine import OK
from thrombojax.validation import signatures

DOCS = Path(__file__).parent
OUT = DOCS / "reference"
KINDS = ("mechanisms", "cohorts", "drugs")
PATIENTS = 400
HEAD = """# The signature matrix

What each mechanism and intervention does, as the ratio to the same patient without it: at steady state, or on the day given.
**Bold**: what the literature says must move so, or must not, and does. ~~Struck~~: said, and missed. Others are consequences.
Every row is a test (`tests/validation/test_signatures.py`); what is expected, and of whom it is known, stands in
`thrombojax/validation/signatures.toml`. Made by `docs/pages.py`. What fails when a mechanism is taken out:
[mutations](mutations.md).

"""
SHOWN = ("platelets", "tpo", "megakaryocyte_mass")


def save(figure: Any, path: Path) -> None:
    """A small picture: 32 colours are enough for lines and bars."""
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
    Image.open(path).convert("RGB").quantize(32).save(path, optimize=True)


def histograms(name: str, path: Path) -> str:
    """Counts and TPO of a cohort's patients; their percentiles in words."""
    patients = tj.cohort(name).sample(PATIENTS, seed=1)
    model = registry.build(patients.source)
    cohort = prepare(patients, model)
    with jax.enable_x64(True):
        seen = struct.as_dict(model.observe(cohort.y0, cohort.p))
    good = cohort.status == OK
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.4))
    rows = []
    for axis, (column, label) in zip(axes, (("platelets", "platelets, 1e9/L"), ("tpo", "TPO, x healthy")), strict=True):
        values = np.asarray(seen[column])[good]
        axis.hist(values, bins=30, color="#4878a8")
        axis.set_xlabel(label)
        axis.set_yticks([])
        rows.append((label, *(f"{v:.3g}" for v in np.percentile(values, [5, 50, 95]))))
    save(figure, path)
    failed = int((~good).sum())
    note = f" {failed} of {PATIENTS} have no steady state." if failed else ""
    return pages.table(("untreated", "5 %", "median", "95 %"), rows) + f"\n\n{PATIENTS} patients, seed 1.{note}"


def bars(name: str, found: Sequence[tuple[signatures.Signature, dict[str, float]]], path: Path) -> bool:
    """Ratios of the rows of a mechanism; whether there are any."""
    rows = [(row, ratios) for row, ratios in found if any(leaf.startswith(f"{name}.") for leaf in row.change)]
    if not rows:
        return False
    figure, axis = plt.subplots(figsize=(6.4, 0.9 + 0.36 * len(rows)))
    for k, column in enumerate(SHOWN):
        values = [np.clip(ratios[column], 0.02, 50) for _, ratios in rows]
        axis.barh(np.arange(len(rows)) + 0.26 * (k - 1), np.log10(values), 0.24, label=column.replace("_", " "))
    axis.set_yticks(range(len(rows)), [row.name for row, _ in rows], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("log10 of the ratio to the same patient without it", fontsize=8)
    axis.legend(fontsize=7)
    axis.axvline(0, color="black", linewidth=0.6)
    save(figure, path)
    return True


def hazards(path: Path) -> None:
    """Both hazards over the count."""
    from thrombojax.models.feedback import hazards as mechanism

    p = registry.build(registry.Source("feedback")).defaults.hazards
    counts = np.geomspace(1, 2000, 200)
    figure, axis = plt.subplots(figsize=(6.4, 2.6))
    axis.plot(counts, 365.25 * np.asarray(mechanism.bleeding(counts, p)), label="bleeding of grade 2 or more")
    axis.plot(counts, 365.25 * np.asarray(mechanism.thrombosis(counts, 50.0, p)), label="thrombosis")
    axis.set(xscale="log", xlabel="platelets, 1e9/L", ylabel="hazard, per year")
    axis.legend(fontsize=8)
    save(figure, path)


def covariates(path: Path) -> None:
    """The count of four adults on eltrombopag, whose clearance depends on covariates."""
    model = registry.build(registry.Source("feedback"), ("eltrombopag",))
    who = {
        "White man": (0, 0, 0),
        "White woman": (1, 0, 0),
        "East Asian woman": (1, 1, 0),
        "the same, Child-Pugh 8": (1, 1, 8),
    }
    female, east_asian, child_pugh = (list(map(float, column)) for column in zip(*who.values(), strict=True))
    patients = model.patients(female=female, east_asian=east_asian, child_pugh=child_pugh)
    text = "eltrombopag 50 mg oral daily x 10"
    found = signatures.together(model, prepare(patients, model), {text: dosing.regimen(text)})[text]["platelets"]
    figure, axis = plt.subplots(figsize=(6.4, 2.6))
    for k, name in enumerate(who):
        axis.plot(found[:43, k], label=name)
    axis.set(xlabel="day", ylabel="platelets, 1e9/L")
    axis.legend(fontsize=8)
    save(figure, path)


def courses(names: Sequence[str]) -> dict[str, tuple[str, np.ndarray]]:
    """Drug -> its first regimen and the course of a healthy typical adult on it, all in one program."""
    import tomllib

    folder = Path(drugs.__file__).parent
    first = {
        n: tomllib.loads((folder / f"{n}.toml").read_text(encoding="utf-8"))["regimen"][0]["sentence"] for n in names
    }
    model = registry.build(registry.Source("feedback"), tuple(names))
    regimens = {text: dosing.regimen(text) for text in first.values()}
    found = signatures.together(model, prepare(model.patients(), model), regimens)
    return {n: (text, found[text]) for n, text in first.items()}


def course(drug: str, text: str, found: Any, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.4))
    last = min(int(max(t for d in dosing.regimen(text).doses for t in d.times)) + 42, int(signatures.HORIZON) - 1)
    for axis, (column, label) in zip(axes, (("platelets", "platelets, 1e9/L"), ("tpo", "TPO, x healthy")), strict=True):
        axis.plot(found[column][: last + 1, 0], color="#4878a8")
        axis.set(xlabel="day", ylabel=label, ylim=(0, None))
    save(figure, path)


def matrix(found: dict[str, list[dict[str, float]]]) -> str:
    """docs/signatures.md: the matrix of every parameter set."""
    arrows = {"up": "↑", "down": "↓", "same": "→"}

    def cell(row: signatures.Signature, ratios: dict[str, float], column: str) -> str:
        ratio = ratios[column]
        if np.isnan(ratio):
            return ""
        shown = f"{arrows[signatures.word(ratio)]} {ratio:.3g}"
        if column in row.expect:
            shown = f"**{shown}**" if signatures.agrees(row.expect[column], ratio) else f"~~{shown}~~"
        return shown

    text = HEAD
    rows = signatures.rows()
    for number, ratios in found.items():
        heads = ("what", "day", *(c.replace("_", " ") for c in signatures.COLUMNS), "nadir", "days below 150")
        body = [
            (row.name, "" if row.day is None else f"{row.day:g}", *(cell(row, r, c) for c in signatures.COLUMNS),
             *(cell(row, r, c) if c in row.expect else "" for c in signatures.CHEMOTHERAPY))
            for row, r in zip(rows, ratios, strict=True)
        ]  # fmt: skip
        text += f"## Parameter set {number}\n\n{pages.table(heads, body)}\n\n"
    missed = [(row.name, column, why) for row in rows for column, why in row.missed.items()]
    return text + "## Missed in set 1\n\n" + pages.table(("what", "column", "the model"), missed) + "\n"


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    plt.switch_backend("Agg")
    asked = [word for word in sys.argv[1:] if not word.startswith("--")]
    drawing = "--text" not in sys.argv
    rows = signatures.rows()
    found: list[dict[str, float]] = []
    if drawing and not asked:
        from thrombojax.models.feedback.assemble import parameter_sets

        by_set = {number: signatures.matrix(rows, number) for number in parameter_sets()}
        found = by_set["1"]
        (DOCS / "signatures.md").write_text(matrix(by_set), encoding="utf-8")
    elif drawing:
        found = signatures.matrix(rows)
    given = courses([n for n in drugs.names() if not asked or n in asked] or ["romiplostim"]) if drawing else {}
    index = "# Reference\n\nMade from the data that the simulator runs on, by `docs/pages.py`; the same pages on a terminal: "
    index += "`thrombojax info cohorts NAME`.\n\n"
    for kind in KINDS:
        folder = OUT / kind
        folder.mkdir(parents=True, exist_ok=True)
        index += f"## {kind.capitalize()}\n\n"
        for name in pages.names(kind):
            text, picture = pages.page(kind, name), folder / f"{name}.png"
            index += f"- [{text.partition(chr(10))[0].removeprefix('# ')}]({kind}/{name}.md)\n"
            if asked and name not in asked:
                continue
            caption = ""
            if drawing and kind == "cohorts":
                caption = histograms(name, picture)
            elif drawing and kind == "drugs":
                course(name, *given[name], picture)
                caption = f"A healthy adult of 70 kg on `{given[name][0]}`, parameter set 1."
            elif drawing and name == "hazards":
                hazards(picture)
                caption = "Hazards over the count, without risk factors."
            elif drawing and name == "body":
                covariates(picture)
                caption = "Healthy adults on 50 mg of eltrombopag a day for ten days, parameter set 1."
            elif drawing and bars(name, list(zip(rows, found, strict=True)), picture):
                caption = "The [signature matrix](../../signatures.md), parameter set 1."
            old = (folder / f"{name}.md").read_text(encoding="utf-8") if (folder / f"{name}.md").exists() else ""
            seen = caption and f"## From the simulator\n\n![{name}]({name}.png)\n\n{caption}\n"
            kept = old[old.index("## From the simulator") :] if "## From the simulator" in old and not drawing else seen
            (folder / f"{name}.md").write_text(text + kept, encoding="utf-8")
        index += "\n"
    (OUT / "index.md").write_text(index, encoding="utf-8")


if __name__ == "__main__":
    main()
