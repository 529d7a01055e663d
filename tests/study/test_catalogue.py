"""Names that only a model knows, against a small catalogue."""

import pytest
from test_study_file import GOOD

from thrombojax.study import schema
from thrombojax.study.catalogue import Catalogue, check_against, resolve

CATALOGUE = Catalogue(
    models=frozenset({"feedback", "wang2010"}),
    parameter_sets=frozenset({"1", "2"}),
    cohorts=frozenset({"itp", "itp_splenectomised", "healthy"}),
    drugs={
        "romiplostim": frozenset({("sc", "ug/kg"), ("sc", "ug"), ("iv", "ug/kg")}),
        "eltrombopag": frozenset({("oral", "mg")}),
    },
    parameters=frozenset({"platelets.life", "platelets.rate", "receptor.rate", "receptor.jak2_gain"}),
    covariates=frozenset({"weight"}),
    observables=frozenset({"platelets", "tpo"}),
)

DOSE = '[[endpoint]]\nname = "given"\nreducer = "cumulative_dose"\ndrug = "romiplostim"\n'


def messages(text: str) -> list[str]:
    return [str(problem) for problem in check_against(schema.parse(text, "s.toml"), CATALOGUE)]


def test_nothing_wrong():
    assert messages(GOOD.replace("[output]", DOSE + "[output]")) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "days = 182",
            'days = 182\nmodel = "wang2001"',
            "study.model: unknown model 'wang2001'; allowed: feedback, wang2010;",
        ),
        (
            "days = 182",
            'days = 182\nparameter_set = "3"',
            "study.parameter_set: unknown parameter set '3'; allowed: 1, 2",
        ),
        (
            '"itp"',
            '"ipt"',
            "patients.cohort: unknown cohort 'ipt'; allowed: healthy, itp, itp_splenectomised; did you mean",
        ),
        (
            "romiplostim {",
            "romiplostin {",
            "arm 'romiplostim': unknown drug 'romiplostin'; allowed: eltrombopag, romip",
        ),
        ("kg sc", "kg oral", "arm 'romiplostim': unknown route of romiplostim 'oral'; allowed: iv, sc"),
        ("ug/kg sc", "mg sc", "arm 'romiplostim': unknown unit of romiplostim sc 'mg'; allowed: ug, ug/kg"),
        (
            '"platelets.life"',
            '"lif"',
            "axis[2].parameter: unknown parameter or covariate 'lif'; allowed: platelets.life,",
        ),
        ('"platelets.life"', '"lif"', "did you mean 'life'?"),
        (
            '"platelets.life"',
            '"rate"',
            "axis[2].parameter: 'rate' may be any of platelets.rate, receptor.rate; needed:",
        ),
        ("weight = 80", "wieght = 80", "patients.overrides.wieght: unknown parameter or covariate 'wieght'; allowed:"),
        (
            "weight = 80",
            "life = 8",
            "patients.overrides.life: sets platelets.life, which patients.overrides.platelets.life",
        ),
        (
            "scale = true",
            "",
            "axis[2].parameter: sets platelets.life, which patients.overrides.platelets.life sets already",
        ),
        (
            'reducer = "nadir"',
            'reducer = "nadir"\nobservable = "plt"',
            "endpoint[1].observable: unknown observable 'plt'",
        ),
        ("[output]", DOSE.replace("romi", "rom") + "[output]", "endpoint[3].drug: unknown drug 'romplostim'"),
        (
            "[output]",
            DOSE.replace("romiplostim", "eltrombopag") + "[output]",
            "'eltrombopag' is given in no arm; allowed",
        ),
        (
            "[output]",
            '[output]\nobservables = ["tpo", "tpp"]',
            "output.observables[2]: unknown observable 'tpp'; allowed",
        ),
    ],
)
def test_one_thing_wrong(old: str, new: str, said: str):
    found = messages(GOOD.replace(old, new, 1))
    assert len(found) == 1
    assert found[0].startswith("s.toml: ")
    assert said in found[0]


def test_everything_at_once():
    text = GOOD.replace('"itp"', '"ipt"').replace("kg sc", "kg po").replace('"platelets.life"', '"lif"')
    assert len(messages(text)) == 3


def test_resolve():
    assert resolve("life", CATALOGUE.numbers) == "platelets.life"
    assert resolve("platelets.life", CATALOGUE.numbers) == "platelets.life"
    assert resolve("weight", CATALOGUE.numbers) == "weight"
    assert resolve("rate", CATALOGUE.numbers) is None
    assert resolve("ife", CATALOGUE.numbers) is None
    assert resolve("rate", {"rate", "receptor.rate"}) == "rate"
