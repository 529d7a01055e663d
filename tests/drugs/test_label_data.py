"""The label facts beside each drug: they parse, name their sources, and speak the language of regimens and units."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

import thrombojax as tj
from thrombojax import drugs
from thrombojax.dosing.administer import units
from thrombojax.dosing.titration import titration
from thrombojax.models.feedback.assemble import feedback

FOLDER = Path(drugs.__file__).parent
STATUS = {"read", "recalled", "computed", "assumed"}
ACTIONS = {"raise", "keep", "lower", "withhold", "give"}
STOPS = (
    {"dose", "weeks", "below", "why"},  # below for so long at that dose, or more
    {"at_most", "weeks_at_dose", "above", "why"},  # above on that dose, or less, given for so long
    {"at_least_rise", "above", "from_day", "why"},  # at least that count and rise, from that day on
)


def facts(name):
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def test_every_drug_has_its_facts_and_no_facts_lack_a_drug():
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(drugs.names())


@pytest.mark.parametrize("name", drugs.names())
def test_everything_says_where_it_comes_from(name):
    found = facts(name)
    assert found["name"] == name
    assert found["title"]
    items = [item for kind in ("strength", "regimen", "titration") for item in found.get(kind, [])]
    assert found["regimen"]
    for item in items:
        assert item["status"] in STATUS, item
        assert item["source"] in found["sources"], item
    assert {item["source"] for item in items} == set(found["sources"]), "a source that nothing rests on"


@pytest.mark.parametrize("name", drugs.names())
def test_label_regimens_are_sentences_that_the_drug_can_be_given_by(name):
    model = feedback((name,))
    for item in facts(name)["regimen"]:
        regimen = tj.regimen(item["sentence"])
        assert regimen.drugs == (name,)
        for dose in regimen.doses:
            assert dose.unit in units(model, model.entries[name, dose.route])
    assert len({item["name"] for item in facts(name)["regimen"]}) == len(facts(name)["regimen"])


RULES = [(name, rule) for name in drugs.names() for rule in facts(name).get("titration", [])]
TITRATED = [(name, rule) for name, rule in RULES if all(band["action"] != "give" for band in rule["rules"])]


def each(rules):
    return pytest.mark.parametrize(("name", "rule"), rules, ids=[f"{name}: {rule['name']}" for name, rule in rules])


@each(RULES)
def test_titration_rules_cover_every_count_once(name, rule):
    bands = rule["rules"]
    assert "from" not in bands[0]
    assert "to" not in bands[-1]
    assert all(low["to"] == high["from"] for low, high in pairwise(bands))
    assert {band["action"] for band in bands} <= ACTIONS
    assert all(band["resume_below"] <= band["from"] for band in bands if band["action"] == "withhold")
    assert all(band["by"] > 0 for band in bands if band["action"] in ("raise", "lower"))
    assert 0 < rule["start"] <= rule["highest"]
    assert rule["visit_days"] > 0


@each(TITRATED)
def test_titrated_doses_can_be_given(name, rule):
    model = feedback((name,))
    assert rule["unit"] in units(model, model.entries[name, rule["route"]])
    assert rule["every"] == {"sc": 7, "oral": 1}[rule["route"]]
    assert rule["visit_days"] % rule["every"] == 0
    read = titration(name, rule["name"])  # which refuses keys that it does not know, and doses that tablets do not make
    assert len(read.rule.stops) == len(rule.get("stop", []))


@each(TITRATED)
def test_levels_are_weeks_of_whole_tablets_from_low_to_high(name, rule):
    if "levels" not in rule:
        return
    levels = rule["levels"]
    tablets = {amount for strength in facts(name)["strength"] for amount in strength["amounts"]}
    assert all(len(week) == 7 for week in levels)
    assert all(low < high for low, high in pairwise(map(sum, levels)))
    assert all(any(amount % tablet == 0 for tablet in tablets) for week in levels for amount in week)
    counted = (rule["start"], rule["step"], rule["highest"], *(band["by"] for band in rule["rules"] if "by" in band))
    assert all(isinstance(number, int) for number in counted)
    assert rule["highest"] == len(levels)


@each(TITRATED)
def test_stop_rules_are_of_a_known_form(name, rule):
    for stop in rule.get("stop", []):
        assert set(stop) in STOPS
        assert stop["why"]
        assert 0 < stop.get("dose", stop.get("at_most", rule["highest"])) <= rule["highest"]


def test_no_two_rules_of_a_drug_have_one_name():
    assert len({(name, rule["name"]) for name, rule in RULES}) == len(RULES)


def test_the_levels_of_avatrombopag_are_the_label_s():
    """science.md section 5: 40 daily; 40 x3 + 20 x4; 20 daily; 20 x3; 40 weekly; 20 weekly."""
    (rule,) = facts("avatrombopag")["titration"]
    assert [sum(week) for week in rule["levels"]] == [20, 40, 60, 140, 200, 280]
    assert rule["levels"][rule["start"] - 1] == [20] * 7
