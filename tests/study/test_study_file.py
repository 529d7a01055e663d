"""Study files: what a good one becomes, and the message that each bad one gets."""

import sys

import pytest

from thrombojax.errors import InputError
from thrombojax.study import schema

GOOD = """
schema = 1
[study]
name = "Dose response"
question = "Which dose holds the count between 50 and 200?"
days = 182
[patients]
cohort = "itp"
n = 1_000
overrides = { platelets.life = 9.5, weight = 80 }
[[arm]]
name = "untreated"
[[arm]]
name = "romiplostim"
regimen = "romiplostim {dose} ug/kg sc weekly x 26"
[[axis]]
name = "dose"
from = 1
to = 8
count = 4
spacing = "log"
unit = "ug/kg"
[[axis]]
name = "life"
values = [0.9, 1.0, 1.1]
parameter = "platelets.life"
scale = true
[time]
save = 1
visits = [0, 7, 14]
[[endpoint]]
name = "nadir"
reducer = "nadir"
[[endpoint]]
name = "in_band"
reducer = "fraction_in_band"
low = 50
high = 200
from = 84
[output]
trajectories = true
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        schema.parse(text, "s.toml")
    return [str(problem) for problem in caught.value.problems]


def test_a_good_file():
    study = schema.parse(GOOD, "folder/s.toml")
    assert study.head.days == 182
    assert study.head.precision == "f32"
    assert study.patients.overrides == {"platelets.life": 9.5, "weight": 80.0}
    assert study.axes[0].points == pytest.approx((1, 2, 4, 8))
    assert study.axes[0].points[-1] == 8
    assert study.axes[1].points == (0.9, 1.0, 1.1)
    assert [(e.start, e.end) for e in study.endpoints] == [(0, 182), (84, 182)]
    assert len(study.save_days) == 183
    assert study.visit_days == (0, 7, 14)
    assert study.text == GOOD
    assert study.at("arm", 1, "regimen") == "folder/s.toml: arm[2].regimen"


def test_defaults():
    text = 'schema = 1\n[study]\nname = "a"\ndays = 8\n[patients]\ncohort = "itp"\nn = 1\n[[arm]]\nname = "none"\n'
    study = schema.parse(text + '[[endpoint]]\nname = "low"\nreducer = "nadir"\n')
    assert study.save_days == ()
    assert study.visit_days == (0, 7)
    assert (study.head.model, study.head.parameter_set, study.head.seed) == ("feedback", "2", 1)
    assert (study.head.backend, study.head.accuracy) == ("auto", 1e-4)


def test_a_decimal_interval_reaches_the_last_day():
    days = schema.parse(GOOD.replace("save = 1", "save = 0.1").replace("days = 182", "days = 182.3")).save_days
    assert len(days) == 1824
    assert days[-1] == 182.3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "Dose response"', 'nme = "x"', "study.nme: unknown key 'nme'; allowed: accuracy, backend, days"),
        ('name = "Dose response"', 'name = ""', "study.name: given the text ''; allowed: text of 1 to 200"),
        ('name = "Dose response"', 'name = "a\\nb"', "study.name: given the text 'a\\nb"),
        ("schema = 1", "schema = 2", "schema: given 2; allowed: 1"),
        ("schema = 1", "", "schema: is missing; needed: schema = 1"),
        (
            "schema = 1",
            "schema = 1\nfoo = 2",
            "foo: unknown section 'foo'; allowed: arm, axis, endpoint, events, fit,",
        ),
        ("[study]", "[studdy]", "studdy: unknown section 'studdy'"),
        ("[study]", "[studdy]", "study: is missing; needed: the section [study]"),
        ("days = 182", 'days = "182"', "study.days: given the text '182'; allowed: a number of days more than 0"),
        ("days = 182", "days = 0", "study.days: given 0; allowed: a number of days more than 0 and at most 36500"),
        ("days = 182", "days = true", "study.days: given true; allowed"),
        ("days = 182", "days = inf", "study.days: given inf; allowed"),
        ("days = 182", "days = 1979-05-27", "study.days: given 1979-05-27; allowed"),
        ("days = 182", f"days = 1{'0' * 400}", "study.days: given a whole number beyond 64 bits; allowed"),
        ("days = 182", "days = 182\nseed = -1", "study.seed: given -1; allowed: a whole number from 0"),
        ("days = 182", "days = 182\naccuracy = 0.1", "study.accuracy: given 0.1; allowed: a number from 1e-8 to 1e-2"),
        (
            "days = 182",
            'days = 182\nprecision = "f16"',
            "study.precision: unknown precision 'f16'; allowed: f32, f64; did you mean 'f64'?",
        ),
        (
            "days = 182",
            'days = 182\nbackend = "cudo"',
            "study.backend: unknown backend 'cudo'; allowed: auto, cuda, native, reference, xla; did you mean 'cuda'",
        ),
        ('cohort = "itp"', "", "patients: has neither cohort nor table; allowed: exactly one of them"),
        ('cohort = "itp"', 'cohort = "itp"\ntable = "a.csv"', "patients: has both cohort and table"),
        ("n = 1_000", "", "patients.n: is missing; needed: how many patients"),
        ("n = 1_000", "n = 1e3", "patients.n: given 1000.0; allowed: a whole number from 1"),
        ("n = 1_000", "n = 0", "patients.n: given 0; allowed: a whole number from 1"),
        ("weight = 80", 'weight = "80"', "patients.overrides.weight: given the text '80'; allowed: finite numbers"),
        ("weight = 80", '"platelets.life" = 8', "patients.overrides: given a table; 'platelets.life' is given twice"),
        ("weight = 80", "weight = nan", "patients.overrides.weight: given nan; allowed: finite numbers"),
        ('name = "romiplostim"', 'name = "untreated"', "arm[2].name: given 'untreated', which is the name of arm[1]"),
        ('name = "romiplostim"', "", "arm[2].name: is missing; needed: text of 1 to 200"),
        ("weekly x 26", "wekly x 26", "did you mean 'weekly'?"),
        ("romiplostim {dose}", "romiplostim -3", "it must not be negative"),
        (
            "romiplostim {dose}",
            "romiplostim {doze}",
            "{doze}: unknown axis 'doze'; allowed: dose; did you mean 'dose'?",
        ),
        (
            "romiplostim {dose}",
            "romiplostim 3",
            "axis[1]: is given no parameter, and {dose} is in no regimen; needed: one of them",
        ),
        (
            "{dose} ug",
            "{life} ug",
            "arm[2].regimen: has {life}, but axis[2] sets a parameter; allowed: one or the other",
        ),
        (
            "weekly x 26",
            "weekly x 27",
            "arm[2].regimen: arm 'romiplostim' has a dose on day 182, at or after the horizon of 182 days (at dose",
        ),
        ('[[axis]]\nname = "dose"', '[[axis]]\nname = "a b"', "axis[1].name: given the text 'a b'; allowed: a name"),
        ('name = "life"', 'name = "time"', "axis[2].name: given 'time', which the results file uses for itself"),
        ('name = "life"', 'name = "nadir"', "endpoint[1].name: given 'nadir', which is the name of axis[2] already"),
        ("count = 4", "", "axis[1].count: is missing; needed: values = [...], or from, to and count"),
        ("count = 4", "count = 1", "axis[1].count: given 1; allowed: a whole number from 2"),
        ("count = 4", "values = [1]", "axis[1].from: does not go with values"),
        ("from = 1\n", "from = 9\n", "axis[1].to: given 8; allowed: more than from = 9"),
        ("from = 1\n", "from = 0\n", "axis[1].from: given 0; allowed: more than 0, for log spacing"),
        ('"log"', '"lg"', "axis[1].spacing: unknown spacing 'lg'; allowed: linear, log; did you mean 'log'?"),
        ('unit = "ug/kg"', 'unit = "1e9/L"', "axis[1].unit: given '1e9/L'; allowed: a unit without a scaling factor"),
        ('unit = "ug/kg"', 'unit = "days"', "axis[1].unit: given 'days', which xarray would turn into dates"),
        ("1.0, 1.1]", "1.0, 0.9]", "axis[2].values: has 0.9 more than once; allowed: different numbers"),
        ("1.0, 1.1]", '1.0, "1.1"]', "axis[2].values[3]: given the text '1.1'; allowed: a list of 1 to 10000"),
        ("[0.9, 1.0, 1.1]", "[]", "axis[2].values: given a list of 0; allowed: a list of 1 to 10000"),
        ('parameter = "platelets.life"', "", "axis[2].scale: needs a parameter to multiply"),
        ("[[axis]]", "[axis]", "is not TOML: line 23, column 7: Cannot overwrite a value"),
        ("save = 1", "save = -1", "time.save: given -1; allowed: a number of days more than 0 (every so many days)"),
        ("save = 1", "save = 1e-9", "time.save: given 1e-09, which makes more than 100000 times"),
        ("save = 1\n", "", "output.trajectories: given true, but [time] has no save"),
        ("[0, 7, 14]", "[0, 14, 7]", "time.visits: given a list of 3; allowed: a number of days more than 0"),
        ("[0, 7, 14]", "[0, 7, 190]", "time.visits: has day 190; allowed: at most 182, the days of the study"),
        ('"nadir"\n[[', '"nadr"\n[[', "endpoint[1].reducer: unknown reducer 'nadr'; allowed: auc, cumulative_dose"),
        ("high = 200", "", "endpoint[2].high: is missing; needed by the reducer fraction_in_band"),
        ("high = 200", "high = 20", "endpoint[2].high: given 20; allowed: more than low = 50"),
        ("high = 200", "high = 200\nday = 3", "endpoint[2].day: does not go with the reducer fraction_in_band"),
        ("from = 84", "from = 84\nto = 84", "endpoint[2]: has the window from 84 to 84; allowed: from before to"),
        ("from = 84", "to = 190", "endpoint[2].to: given 190; allowed: at most 182, the days of the study"),
        ('name = "in_band"', 'name = "nadir"', "endpoint[2].name: given 'nadir', which is the name of endpoint[1]"),
        ('name = "in_band"', 'name = "platelets"', "endpoint[2].name: given 'platelets', which is the name of a traj"),
        (
            'reducer = "nadir"',
            'reducer = "weeks_of_response"\nthreshold = 50\nfrom = 20',
            "endpoint[1]: has no visit from day 20 to day 182; needed: visits in [time] that fall in its window",
        ),
        ("trajectories = true", 'trajectories = "yes"', "output.trajectories: given the text 'yes'; allowed: true or"),
        ("trajectories = true", 'compression = "zip"', "output.compression: unknown compression 'zip'; allowed: gzip"),
        ("schema = 1", "schema = 1\n\nx = [1,,2]", "s.toml: is not TOML: line 4, column 8: Invalid value"),
        ("schema = 1", f"schema = 1\nx = {'[' * 3000}", "s.toml: is not"),
        ("schema = 1", f"schema = 1{'0' * 5000}", "s.toml: is not TOML: Exceeds the limit"),
    ],
)
def test_a_bad_file(old: str, new: str, said: str):
    assert old in GOOD
    messages = problems(GOOD.replace(old, new, 1))
    assert any(said in message for message in messages), "\n".join(messages)
    assert all(message.startswith("s.toml: ") for message in messages)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[arm]\nname = 'a'", "arm: is written [arm]; allowed: [[arm]], with two brackets"),
        ("arm = 3", "arm: given 3; allowed: sections written [[arm]]"),
        ("arm = []", "arm: given a list of 0; allowed: sections written [[arm]]"),
        ("arm = [1]", "arm[1]: given 1; allowed: a section written [[arm]]"),
        ("study = 3", "study: given 3; allowed: a section written [study]"),
        ("time = []", "time: given a list of 0; allowed: a section written [time]"),
        ("", "arm: is missing; needed: at least one [[arm]]"),
        ("", "endpoint: is missing; needed: at least one [[endpoint]], or trajectories = true"),
        ("[study]", "study.days: is missing; needed: a number of days"),
    ],
)
def test_the_wrong_kind_of_section(text: str, said: str):
    messages = problems(text)
    assert any(said in message for message in messages), "\n".join(messages)


def test_every_error_of_a_file_at_once():
    text = GOOD
    wrong = {
        "days = 182": 'days = "long"',
        'cohort = "itp"': 'cohrt = "itp"',
        "weekly x 26": "wekly x 26",
        "count = 4": "count = 4.5",
        "save = 1": "save = 0",
        "high = 200": "",
        "trajectories = true": "trajectories = 1",
    }
    for old, new in wrong.items():
        text = text.replace(old, new)
    paths = [message.split(": ")[1] for message in problems(text)]
    for path in (
        "study.days",
        "patients.cohrt",
        "patients",
        "arm[2].regimen",
        "axis[1].count",
        "time.save",
        "endpoint[2].high",
        "output.trajectories",
    ):
        assert path in paths
    sections = [path.partition(".")[0].partition("[")[0] for path in paths]
    assert sections == sorted(sections, key=schema.SECTIONS.index)


def test_more_trajectories_than_any_disk_holds():
    axes = "".join(f'[[axis]]\nname = "a{i}"\nfrom = 0\nto = 1\ncount = 10000\nparameter = "p{i}"\n' for i in range(3))
    messages = problems(GOOD.replace("[time]", axes + "[time]"))
    assert messages == ["s.toml: axis: patients x arms x axes are 2.4e+16 trajectories; allowed: at most 1e12"]


def test_a_long_grid_of_sentences_is_tried_at_its_ends():
    text = GOOD.replace('"log"', '"linear"').replace("count = 4", "count = 9999")
    assert len(schema.parse(text).axes[0].points) == 9999
    text = text.replace("weekly x 26", "weekly x 26 from day {dose}")
    assert any("at or after the horizon" in message and "dose = 8.0" in message for message in problems(text))


def test_files_that_cannot_be_read(tmp_path):
    for name, said in (("none.toml", "No such file"), (".", "Is a directory")):
        with pytest.raises(InputError, match=said):
            schema.load(tmp_path / name)
    with pytest.raises(InputError, match="not a text file"):
        schema.load("a\0b")
    (tmp_path / "s.toml").write_bytes(b"\x89HDF\r\n")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        schema.load(tmp_path / "s.toml")


def test_the_table_is_found_beside_the_study(tmp_path):
    text = GOOD.replace('cohort = "itp"', 'table = "people.csv"')
    (tmp_path / "s.toml").write_text("\ufeff" + text, encoding="utf-8")
    with pytest.raises(InputError, match=r"patients\.table: there is no file '.*people.csv'"):
        schema.load(tmp_path / "s.toml")
    (tmp_path / "people.csv").write_text("id\n")
    assert schema.load(tmp_path / "s.toml").table_path == tmp_path / "people.csv"


def test_options_of_the_command_line_replace_keys():
    study = schema.parse(GOOD).override(n=5, precision="f64", backend=None)
    assert (study.patients.n, study.head.precision, study.head.backend) == (5, "f64", "auto")


def test_reading_needs_no_jax():
    import subprocess

    code = "import sys; from thrombojax.study import schema, catalogue; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reducers_are_those_of_the_endpoints():
    from thrombojax.endpoints.reducers import REDUCERS as computed
    from thrombojax.study.reducers import REDUCERS as asked

    assert set(asked) == set(computed)
    for name, asks in asked.items():
        drug = ("drug",) if computed[name].kind == "dose" else ()
        assert (*asks.needs, *asks.may) == (computed[name].numbers or drug)
