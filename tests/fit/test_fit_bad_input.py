"""What cannot be fitted is said: by file, row and column where there is one, and exit status 2."""

import numpy as np
import pytest
import table

from thrombojax.cli import main

COUNTS = np.full((len(table.DAYS), 2), 200.0)


def refused(folder, capsys, *words, study=table.STUDY, dv=COUNTS, change=lambda text: text):
    path = table.write(folder, dv, study)
    (folder / "counts.csv").write_text(change((folder / "counts.csv").read_text()))
    assert main(["fit", str(path), "-o", str(folder / "o.h5")]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said, said
    assert not (folder / "o.h5").exists()


@pytest.mark.parametrize("value", ["-3", "0"])
def test_counts_that_cannot_be_are_named_by_row_and_column(tmp_path, capsys, value):
    refused(tmp_path, capsys, "counts.csv: row 4, column 'DV'", f"given '{value}'", "more than 0",
            change=lambda text: text.replace("1,4,0,.,.,.,200", f"1,4,0,.,.,.,{value}"))  # fmt: skip


def test_a_zero_may_be_where_an_error_can_have_made_it(tmp_path, capsys):
    study = table.STUDY.replace("residual_cv = 0.1", 'residual_cv = 0.1\nerror = "normal"\nadditive_sd = 5.0')
    path = table.write(tmp_path, np.where(np.arange(8)[:, None] == 3, 0.0, COUNTS), study)
    assert main(["fit", str(path), "-o", str(tmp_path / "o.h5")]) == 0
    assert "nan" not in capsys.readouterr().out.lower()


def test_a_table_without_counts(tmp_path, capsys):
    refused(tmp_path, capsys, "counts.csv: has no observation", change=lambda text: text.replace(",200", ",."))


def test_a_patient_without_counts_is_named(tmp_path, capsys):
    def change(text):
        return (
            "\n".join(line.replace(",200", ",.") if line.startswith("2,") else line for line in text.splitlines())
            + "\n"
        )

    refused(tmp_path, capsys, "patient '2'", "has no observation", change=change)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"potency", ', '"potancy", ', ["fit.parameters[1]", "potancy", "did you mean 'potency'"]),
        ("cv = { potency = 0.6,", "cv = {", ["'potency' does not vary in the model 'wang2010'", "needed: its CV"]),
        ("potency = 0.6", "potenci = 0.6", ["fit.cv.potenci", "did you mean 'potency'"]),
        ("residual_cv = 0.1", "", ["fit.residual_cv: is missing"]),
        ("residual_cv = 0.1", "residual_cv = 0", ["fit.residual_cv: is 0"]),
        ("residual_cv = 0.1", "residual_cvv = 0.1", ["did you mean 'residual_cv'"]),
        ("residual_cv = 0.1", "residual_cv = 0.1\nadditive_sd = 3", ['goes with error = "normal"']),
        ('["potency", ', '["potency", "potency", ', ["'potency' is given twice"]),
        ('["potency", ', '["count", "potency", ', ["count"]),
        ("[fit]", "[fits]", ["unknown section 'fits'"]),
        ("residual_cv = 0.1", 'residual_cv = 0.1\nmixtures = ["sex"]', ["fit.mixtures", "unknown mixture 'sex'"]),
    ],
)
def test_a_wrong_section_is_named_with_what_is_allowed(tmp_path, capsys, old, new, words):
    assert old in table.STUDY
    refused(tmp_path, capsys, *words, study=table.STUDY.replace(old, new))


def test_a_study_without_the_section(tmp_path, capsys):
    study = table.STUDY[: table.STUDY.index("[fit]")] + '[[endpoint]]\nname = "peak"\nreducer = "peak"\n'
    refused(tmp_path, capsys, "fit: is missing", study=study)


def test_a_study_without_a_table(tmp_path, capsys):
    a, b = table.STUDY.index("[events]"), table.STUDY.index("[fit]")
    study = table.STUDY[:a] + "[patients]\ncohort = 'healthy'\nn = 3\n[[arm]]\nname = 'x'\n" + table.STUDY[b:]
    refused(tmp_path, capsys, "fit: needs [events]", study=study)


FLAGSHIP = table.STUDY.replace('"wang2010"', '"feedback"').replace("[events]", '[patients]\ncohort = "itp"\n[events]')


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ('"romiplostim.potency"', ["fit.mixtures: is missing", '"production"', '"marrow response"']),
        ('"eltrombopag.potency"', ["belongs to a drug that nobody in the table is given"]),
        ('"immune_clearance"', ["is solved from each patient's count; allowed: 'count'"]),
        ('"vascular_smoothing"', ["does not vary in the cohort 'itp'"]),
    ],
)
def test_what_a_cohort_cannot_say(tmp_path, capsys, parameters, words):
    start = FLAGSHIP.index("parameters =")
    study = FLAGSHIP[:start] + f"parameters = [{parameters}]\nresidual_cv = 0.1\n"
    if "mixtures" not in words[0]:
        study += "mixtures = []\n"
    refused(tmp_path, capsys, *words, study=study)
