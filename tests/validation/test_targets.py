"""Cases are data: each says whence its numbers and intervals are, and what is wrong with one is said once, by name."""

import functools
import math

import case_file
import pytest
from case_file import changed, target

from thrombojax.cli import main
from thrombojax.errors import InputError
from thrombojax.validation import targets

CASES = targets.load()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_target_has_a_source_an_interval_and_one_use(case):
    assert case.targets
    assert case.head.title
    assert case.head.population
    for t in case.targets:
        low, high = targets.interval(t)
        assert math.isfinite(low)
        assert math.isfinite(high)
        assert low < high
        assert t.source or case.head.source
        assert t.rule or case.head.rule
        assert (t.use or case.head.use) in ("calibration", "validation")
        assert t.published is not None or t.signature is not None


def test_there_are_enough_rows():
    kinds = [case.head.kind for case in CASES for t in case.targets if not t.recalled]
    assert len(kinds) >= 120
    assert sum(kind != "reference" for kind in kinds) >= 60
    assert {case.head.kind for case in CASES} == set(targets.KINDS)


def test_no_number_is_both_calibrated_on_and_validated_with():
    """Neither in one file nor in two that ask the same study, row or cohort."""
    uses: dict[tuple, set[str]] = {}
    for case in CASES:
        of = case.name if case.study is None else case.study.where
        for t in case.targets:
            at = tuple(sorted(t.at.items()))
            place = (
                t.endpoint and of,
                t.endpoint,
                t.signature,
                t.cohort,
                t.column,
                t.arm,
                t.against,
                at,
                t.statistic,
                t.over,
                t.among,
            )
            uses.setdefault((*place, t.threshold, t.population or case.head.population), set()).add(
                t.use or case.head.use
            )
    assert [place for place, use in uses.items() if len(use) > 1] == []


def test_reference_cases_are_exact():
    for case in CASES:
        if case.head.kind == "reference" and "1e-6" in case.head.rule:
            assert case.study.head.precision == "f64"
            assert case.study.head.accuracy == 1e-8


def test_names_and_kinds_are_asked_for():
    assert [c.name for c in targets.load(["kuter-2008", "wang-2010", "wang-2010"])] == ["wang-2010", "kuter-2008"]
    assert {c.head.kind for c in targets.load(["mechanistic"])} == {"mechanistic"}
    both = [c.name for c in targets.load(["kuter-2008", "reference"])]
    assert both[-1] == "kuter-2008"
    assert set(both[:-1]) == {c.name for c in CASES if c.head.kind == "reference"}
    with pytest.raises(InputError, match=r"CASE: unknown case or kind 'wang-2011'; .*did you mean 'wang-2010'"):
        targets.load(["wang-2011"])
    with pytest.raises(InputError, match="did you mean 'clinical'"):
        targets.load(["clinic"])


# ---- intervals ----


@pytest.mark.parametrize(
    ("printed", "low", "high"),
    [
        ("24.1", 24.05, 24.15),
        ("17", 16.5, 17.5),
        ("100", 99.5, 100.5),
        ("-0.5", -0.55, -0.45),
        ("1.88e-3", 1.875e-3, 1.885e-3),
        ("5e2", 450, 550),
        ("331.473426", 331.473426 * (1 - 1e-6), 331.473426 * (1 + 1e-6)),
        ("21.50", 21.495, 21.505),
    ],
)
def test_the_digits_that_are_printed_say_how_exact_a_number_is(tmp_path, printed, low, high):
    text = target(published=f'"{printed}"', low="", high="", head="reference")
    (t,) = case_file.case(tmp_path, text).targets
    assert targets.interval(t) == pytest.approx((low, high), rel=1e-8)


def test_an_interval_that_is_given_is_taken(tmp_path):
    (t,) = case_file.case(tmp_path, target(head="reference")).targets
    assert targets.interval(t) == (400, 500)


# ---- what is wrong with a file ----

WRONG = {
    "not TOML": ("title =", "two-doses.toml: is not TOML: line 1, column 8"),
    "no interval": (target(low="", high=""), "target[1].low, high: 'highest count': has no interval; needed: both ends"),
    "half an interval": (target(low="", head="reference"), "'highest count': has no interval; needed: both ends"),
    "an interval upside down": (target(low="500", high="400"), "given 500 to 400; allowed: low below high"),
    "published outside": (target(published="399"), "target[1].published: 'highest count': given 399, which is not in 400"),
    "no published": (target(published=""), "target[1].published: 'highest count': is missing"),
    "published is text": (target(published='"about 4"'), 'target[1].published: given the text \'about 4\'; allowed: a number'),
    "published is no number": (target(published="nan"), "target[1].published: given nan; allowed: a number"),
    "no source": (changed('source = "Someone 2010"\n', ""), "two-doses.toml: source: is missing; needed: paper or register"),
    "an empty source": (target(source='""'), "target[1].source: given the text ''"),
    "no rule": (changed('rule = "within 10 points"\n', ""), "two-doses.toml: rule: is missing; needed: where the intervals"),
    "no use": (changed('use = "validation"\n', ""), "two-doses.toml: use: is missing; needed: calibration, validation"),
    "both uses": (target(use='"both"'), "target[1].use: unknown use 'both'; allowed: calibration, validation"),
    "unknown kind": (changed('"clinical"', '"clinic"'), "kind: unknown kind 'clinic'; allowed: clinical, mechanistic, reference; "
                     "did you mean 'clinical'?"),
    "unknown key": (target(endpont='"highest"'), "target[1].endpont: unknown key 'endpont'; allowed: "),
    "unknown key of the file": ("titel = 1\n" + case_file.CASE, "two-doses.toml: titel: unknown section 'titel'"),
    "unknown endpoint": (target(endpoint='"higest"'), "target[1].endpoint: 'highest count': unknown endpoint 'higest'; allowed: "
                         "day_at_400, highest; did you mean 'highest'?"),
    "unknown arm": (target(arm='"romiplostin"'), "target[1].arm: 'highest count': unknown arm 'romiplostin'; allowed: placebo, "
                    "romiplostim; did you mean 'romiplostim'?"),
    "unknown other arm": (target(against='"plcebo"'), "target[1].against: 'highest count': unknown arm 'plcebo'"),
    "no arm": (target(arm=""), "target[1].arm: 'highest count': is missing; allowed: placebo, romiplostim"),
    "unknown minus": (target(minus='"higest"'), "target[1].minus: 'highest count': unknown endpoint 'higest'"),
    "unknown over": (target(over='"higest"'), "target[1].over: 'highest count': unknown endpoint 'higest'"),
    "among what is no yes or no": (target(among='"highest"'), "target[1].among: 'highest count': unknown endpoint 'highest'"),
    "unknown patient": (target(patient='"b"', statistic=""), "target[1].patient: 'highest count': unknown patient 'b'"),
    "a mean of one": (target(patient='"a"'), "target[1].statistic: 'highest count': given mean; allowed: value"),
    "unknown axis": (target(at="{ dose = 3, dos = 1 }"), "target[1].at: 'highest count': unknown axis 'dos'; allowed: dose; did "
                     "you mean 'dose'?"),
    "unknown value": (target(at="{ dose = 2 }"), "target[1].at.dose: 'highest count': given 2.0; allowed: 1, 3"),
    "no value": (target(at=""), "target[1].at.dose: 'highest count': given None; allowed: 1, 3"),
    "unknown statistic": (target(statistic='"medan"'), "target[1].statistic: unknown statistic 'medan'; "),
    "no threshold": (target(statistic='"share_below"'), "target[1].threshold: 'highest count': belongs to share_at_or_above"),
    "a threshold for nothing": (target(threshold="5"), "target[1].threshold: 'highest count': belongs to share_at_or_above"),
    "nowhere": (target(endpoint=""), "endpoint, signature, cohort: 'highest count': given none; allowed: one of them"),
    "two places": (target(cohort='"itp"', column='"tpo"'), "'highest count': given endpoint, cohort; allowed: one of them"),
    "a column for nothing": (target(column='"tpo"'), "target[1].column: 'highest count': does not go with endpoint"),
    "no targets": (case_file.CASE.partition("[[target]]")[0], "two-doses.toml: target: is missing; needed: at least one"),
    "a target of one bracket": (changed("[[target]]", "[target]"), "two-doses.toml: target: given a table; allowed: sections "
                                "written [[target]]"),
    "a name twice": (case_file.CASE + "[[target]]\n" + case_file.CASE.partition("[[target]]\n")[2],
                     "target[2].name: 'highest count' is given twice"),
    "a study that is wrong": (changed('reducer = "peak"', 'reducer = "peek"'), "two-doses.toml: endpoint[1].reducer: unknown "
                              "reducer 'peek'"),
    "no schema": (changed("schema = 1\n", ""), "two-doses.toml: schema: is missing; needed: schema = 1"),
    "no table": (changed("patients.csv", "patient.csv"), "two-doses.toml: patients.table: there is no file"),
}  # fmt: skip

ELSEWHERE = """\
title = "Without a study"
kind = "mechanistic"
use = "validation"
source = "Someone 2010"
population = "adults"
rule = "within a factor of two"

[[target]]
name = "TPO"
unit = "1"
published = 1.0
low = 0.5
high = 2.0
"""
WRONG |= {
    "unknown signature": (ELSEWHERE + 'signature = "no c-mpl"\ncolumn = "platelets"\n', "target[1].signature: 'TPO': unknown row "
                          "'no c-mpl'; "),
    "unknown column": (ELSEWHERE + 'signature = "no c-Mpl"\ncolumn = "platelet"\n', "target[1].column: 'TPO': unknown column "
                       "'platelet'; "),
    "unknown cohort": (ELSEWHERE + 'cohort = "itpp"\ncolumn = "tpo"\nstatistic = "median"\n', "target[1].cohort: 'TPO': unknown "
                       "cohort 'itpp'; "),
    "unknown observable": (ELSEWHERE + 'cohort = "itp"\ncolumn = "tpoo"\nstatistic = "median"\n', "target[1].column: 'TPO': "
                           "unknown observable 'tpoo'; "),
    "one patient of a cohort": (ELSEWHERE + 'cohort = "itp"\ncolumn = "tpo"\n', "target[1].statistic: 'TPO': value is of one "
                                "patient, and a cohort has many"),
    "an arm of a cohort": (ELSEWHERE + 'cohort = "itp"\ncolumn = "tpo"\nstatistic = "mean"\narm = "a"\n', "target[1].arm: 'TPO': "
                           "does not go with cohort"),
    "a statistic of a signature": (ELSEWHERE + 'signature = "no c-Mpl"\ncolumn = "platelets"\nstatistic = "mean"\n',
                                   "target[1].statistic: 'TPO': does not go with signature"),
    "a ratio of a signature": (ELSEWHERE + 'signature = "no c-Mpl"\ncolumn = "platelets"\nover = "highest"\n',
                               "target[1].over: 'TPO': does not go with signature"),
    "an endpoint without a study": (ELSEWHERE + 'endpoint = "highest"\n', "target[1].endpoint: 'TPO': is of a study, and the "
                                    "file is none and names none"),
    "unknown study": (ELSEWHERE.replace("[[target]]", 'study = "kuter"\n[[target]]') + 'endpoint = "peak"\n', "two-doses.toml: "
                      "study: unknown study 'kuter'; "),
    "unknown key without a study": (ELSEWHERE.replace("[[target]]", "tials = 5\n[[target]]") + 'signature = "no c-Mpl"\n'
                                    'column = "platelets"\n', "two-doses.toml: tials: unknown key 'tials'; allowed: "),
}  # fmt: skip
NEAREST = {
    "unknown kind": "clinical", "unknown key": "endpoint", "unknown endpoint": "highest", "unknown arm": "romiplostim",
    "unknown axis": "dose", "unknown statistic": "median", "unknown signature": "no c-Mpl", "unknown column": "platelets",
    "unknown cohort": "itp", "unknown observable": "tpo",
    "unknown key of the file": "time", "unknown key without a study": "trials", "unknown other arm": "placebo",
    "unknown minus": "highest", "unknown over": "highest",
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_said_once_and_where_it_is(tmp_path, mistake):
    text, said = WRONG[mistake]
    with pytest.raises(InputError) as error:
        case_file.case(tmp_path, text)
    (line,) = str(error.value).splitlines()
    assert said in line
    assert line.startswith("two-doses.toml: ")
    if mistake in NEAREST:
        assert line.endswith(f"did you mean {NEAREST[mistake]!r}?")


def test_all_mistakes_of_all_files_are_said_at_once(tmp_path):
    case_file.write(tmp_path, target(endpoint='"higest"', arm='"romiplostin"'), "a")
    case_file.write(tmp_path, target(low="", high=""), "b")
    with pytest.raises(InputError) as error:
        targets.load(folder=tmp_path)
    assert [str(p.where) for p in error.value.problems] == [
        "a.toml: target[1].endpoint", "a.toml: target[1].arm", "b.toml: target[1].low, high",
    ]  # fmt: skip


def test_a_file_that_is_no_text_or_not_there(tmp_path):
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a text file in UTF-8"):
        targets.load(folder=tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        targets.read(tmp_path / "b.toml")


def test_one_patient_of_many_is_no_statistic(tmp_path):
    text = (
        target(statistic="")
        .replace('model = "wang2010"', 'model = "feedback"')
        .replace('table = "patients.csv"', 'cohort = "healthy"\nn = 20')
    )
    with pytest.raises(
        InputError, match="statistic: 'highest count': given value; allowed: value of one patient, of whom 20 are there"
    ):
        case_file.case(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WRONG["not TOML"][0], "is not TOML"),
        (WRONG["unknown endpoint"][0], "did you mean 'highest'?"),
        (changed('model = "wang2010"', 'model = "wang2011"'), "study.model: unknown model 'wang2011'"),
        (
            changed("ug/kg sc once", "ug/kg oral once"),
            "arm[2].regimen: arm 'romiplostim': unknown route of romiplostim",
        ),
    ],
)
def test_the_command_refuses_a_wrong_file_before_it_runs(tmp_path, monkeypatch, capsys, text, said):
    """Also for names that only a model knows."""
    case_file.write(tmp_path, text)
    monkeypatch.setattr(targets, "load", functools.partial(targets.load, folder=tmp_path))
    assert main(["validate", "-o", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.strip().splitlines()
    assert line.startswith("thrombojax: ")
    assert "two-doses.toml" in line
    assert said in line
    assert not (tmp_path / "out").exists()
