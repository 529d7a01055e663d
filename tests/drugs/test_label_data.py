"""The label facts beside each drug: they parse, name their sources, and speak the language of regimens and units."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

import thrombojax as tj
from thrombojax import drugs
from thrombojax.dosing.administer import units

FOLDER = Path(drugs.__file__).parent
STATUS = {"read", "recalled", "computed"}
ACTIONS = {"raise", "keep", "lower", "withhold", "give"}


def facts(name):
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def test_every_drug_has_its_facts_and_no_facts_lack_a_drug():
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(drugs.names())


@pytest.mark.parametrize("name", drugs.names())
def test_everything_says_where_it_comes_from(name):
    found = facts(name)
    assert found["name"] == name
    assert found["title"]
    items = [item for kind in ("strength", "regimen", "titration") for item in found[kind]]
    for item in items:
        assert item["status"] in STATUS, item
        assert item["source"] in found["sources"], item
    assert {item["source"] for item in items} == set(found["sources"]), "a source that nothing rests on"


@pytest.mark.parametrize("name", drugs.names())
def test_label_regimens_are_sentences_that_the_drug_can_be_given_by(name):
    entries = drugs.load(name).entries
    for item in facts(name)["regimen"]:
        regimen = tj.regimen(item["sentence"])
        assert regimen.drugs == (name,)
        for dose in regimen.doses:
            assert dose.unit in units(entries[name, dose.route].unit)
    assert len({item["name"] for item in facts(name)["regimen"]}) == len(facts(name)["regimen"])


@pytest.mark.parametrize(
    "rule",
    [pytest.param(rule, id=f"{name}: {rule['name']}") for name in drugs.names() for rule in facts(name)["titration"]],
)
def test_titration_rules_cover_every_count_once(rule):
    bands = rule["rules"]
    assert "from" not in bands[0]
    assert "to" not in bands[-1]
    assert all(low["to"] == high["from"] for low, high in pairwise(bands))
    assert {band["action"] for band in bands} <= ACTIONS
    assert all(band["resume_below"] <= band["from"] for band in bands if band["action"] == "withhold")
    assert 0 < rule["start"] <= rule["highest"]
