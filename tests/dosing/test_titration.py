"""Titration rules as data: what of a table reaches the policy's numbers, and how a wrong one is refused."""

import pytest

from thrombojax.dosing.policy import ALWAYS, Band, Stop
from thrombojax.dosing.titration import made_of, rescue, titration
from thrombojax.dosing.treatment import Rescue, Treatment
from thrombojax.errors import InputError

US = "US label, adults with ITP"
LOW = {"to": 50, "action": "raise", "by": 25}
MIDDLE = {"from": 50, "to": 200, "action": "keep"}
HIGH = {"from": 200, "to": 400, "action": "lower", "by": 25}
TOP = {"from": 400, "action": "withhold", "resume_below": 150, "by": 25}
OWN = {
    "route": "oral", "unit": "mg", "every": 1, "start": 50, "lowest": 25, "highest": 75, "rules": [LOW, MIDDLE, HIGH, TOP],
}  # fmt: skip
LEVELS = {**OWN, "levels": [[25], [50], [75]], "start": 2, "lowest": 1, "highest": 3,
          "rules": [{**LOW, "by": 1}, MIDDLE, {**HIGH, "by": 1}, {**TOP, "by": 1}]}  # fmt: skip


def refused(*args, **changes):
    with pytest.raises(InputError) as caught:
        titration(*args, **changes)
    return [(p.where, p.message) for p in caught.value.problems]


# key, words of the message, changes of OWN
WRONG = [
    ("rules", "two rules for counts from 40 to 50", {"rules": [LOW, {**MIDDLE, "from": 40}, HIGH, TOP]}),
    ("rules", "two rules for counts from 200 to 400", {"rules": [LOW, MIDDLE, HIGH, HIGH, TOP]}),
    ("rules", "no rule for counts from 50 to 60", {"rules": [LOW, {**MIDDLE, "from": 60}, HIGH, TOP]}),
    ("rules", "no rule for counts below 50", {"rules": [MIDDLE, HIGH, TOP]}),
    ("rules", "no rule for counts of 400 and more", {"rules": [LOW, MIDDLE, HIGH]}),
    ("rules", "a band from 60 to 60 holds no count", {"rules": [LOW, MIDDLE, HIGH, TOP, {**MIDDLE, "from": 60, "to": 60}]}),
    ("rules", "the band from 0 has no `by`", {"rules": [{"to": 50, "action": "raise"}, MIDDLE, HIGH, TOP]}),
    ("rules", "(withhold) needs `resume_below`", {"rules": [LOW, MIDDLE, HIGH, {"from": 400, "action": "withhold"}]}),
    ("rules", "has `resume_below`, which is for withhold", {"rules": [LOW, {**MIDDLE, "resume_below": 100}, HIGH, TOP]}),
    ("rules", "more than one band that withholds", {"rules": [LOW, MIDDLE, {**TOP, "from": 200, "to": 400}, TOP]}),
    ("rules", "lead to 30, 35, 40, 45, 55, ... mg, which tablets of", {"rules": [{**LOW, "by": 10}, MIDDLE, HIGH, TOP]}),
    ("rules", "lead to 26, 51 mg, which tablets of 12.5, 25, 50, 75 mg cannot make", {"start": 51}),
    ("rules", "cannot make", {"start": 1e6, "highest": 1e6}),
    ("rules", "at least 1 item", {"rules": []}),
    ("rules[1].action", "'raise', 'keep', 'lower' or 'withhold'", {"rules": [{**LOW, "action": "double"}, MIDDLE, HIGH, TOP]}),
    ("rules[1].visit", "unknown key 'visit'; allowed:", {"rules": [{**LOW, "visit": 2}, MIDDLE, HIGH, TOP]}),
    ("rules[1].visit", "did you mean 'visits'?", {"rules": [{**LOW, "visit": 2}, MIDDLE, HIGH, TOP]}),
    ("stop[2].belo", "did you mean 'below'?", {"stop": [{"below": 9}, {"belo": 50}]}),
    ("rules[1].visits", "greater than or equal to 1", {"rules": [{**LOW, "visits": 0}, MIDDLE, HIGH, TOP]}),
    ("stop[1].weeks", "greater than or equal to 0", {"stop": {"below": 50, "weeks": -1}}),
    ("weights", "no rule for weights of 80 and more", {"weights": [{"to": 80, "times": 2}]}),
    ("weights[1].time", "did you mean 'times'?", {"weights": [{"times": 1, "time": 2}]}),
    ("rules", "lead to 7.5, 15, 22.5 mg", {"weights": [{"times": 0.3}]}),
    ("start", "given 100; allowed: from 25 to the highest dose, 75", {"start": 100}),
    ("start", "given 12.5; allowed: from 25", {"start": 12.5}),
    ("start", "greater than or equal to 0", {"start": -1}),
    ("start", "finite number", {"start": float("nan")}),
    ("until", "given 7; allowed: after the first dose (day 10)", {"from": 10, "until": 7}),
    ("unit", "unknown unit 'tablets'", {"unit": "tablets"}),
    ("route", "'sc', 'iv' or 'oral'", {"route": "nasal"}),
    ("every", "greater than 0", {"every": 0}),
    ("strat", "unknown key 'strat'; allowed:", {"strat": 50}),
    ("strat", "did you mean 'start'?", {"strat": 50}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "words", "changes"), WRONG)
def test_what_is_wrong_is_named_by_its_key(key, words, changes):
    found = refused("eltrombopag", where="study.toml: arm[0].policy", **{**OWN, **changes})
    assert [where for where, _ in found] == [f"study.toml: arm[0].policy.{key}"] * len(found)
    assert any(words in message for _, message in found), found


WRONG_LEVELS = [
    ("start", "given 4; allowed: a level, from 1 to 3", {"start": 4}),
    ("start", "given 1.5; allowed: a level, from 1 to 3", {"start": 1.5}),
    ("highest", "given 4; allowed: a level, from 1 to 3", {"highest": 4}),
    ("lowest", "given 0; allowed: a level, from 1 to 3", {"lowest": 0}),
    ("rules", "moves by 0.5; allowed: whole levels", {"rules": [{**LOW, "by": 0.5}, *LEVELS["rules"][1:]]}),
    ("rules", "lead to 40 mg, which tablets of 12.5, 25, 50, 75 mg cannot make", {"levels": [[25], [40], [75]]}),
    ("rules", "lead to 36 mg, which tablets", {"levels": [[25], [36], [75]]}),
    ("levels", "rows of one length", {"levels": [[25], [50, 25], [75]]}),
    ("levels", "rows of one length", {"levels": [[], [], []]}),
    ("levels", "not negative", {"levels": [[-25], [50], [75]]}),
]


@pytest.mark.parametrize(("key", "words", "changes"), WRONG_LEVELS)
def test_levels_are_rows_of_tablets_and_doses_their_places(key, words, changes):
    found = refused("eltrombopag", **{**LEVELS, **changes})
    assert any(where == f"policy.{key}" and words in message for where, message in found), found


def test_tablets_of_one_product_make_all_doses():
    changed = {**LEVELS, "levels": [[18], [36], [54]]}
    assert titration("eltrombopag", **changed).rule.table == ((18,), (36,), (54,))


def test_what_is_missing_is_said_key_by_key():
    found = refused("eltrombopag", start=50)
    assert {where for where, _ in found} == {
        "policy.route",
        "policy.unit",
        "policy.highest",
        "policy.every",
        "policy.rules",
    }
    assert all("is missing; needed: it, or a label that has it" in message for _, message in found)


def test_an_unknown_drug_or_label_is_answered_by_the_nearest():
    ((where, message),) = refused("eltrombopg", US)
    assert where == "policy.drug"
    assert "did you mean 'eltrombopag'?" in message
    ((where, message),) = refused("romiplostim", "US label, adult with ITP")
    assert where == "policy.label"
    assert "unknown label of romiplostim 'US label, adult with ITP'" in message
    assert f"did you mean {US!r}?" in message


def test_every_problem_is_found_at_once():
    found = refused("eltrombopag", **{**OWN, "start": 100, "rules": [LOW, HIGH]})
    assert [where for where, _ in found] == ["policy.rules"] * 2 + ["policy.start"]


def test_a_label_may_be_changed_key_by_key():
    given = titration("romiplostim", US, highest=5, visit_days=14, until=70, vial=250, rounding=10, **{"from": 14})
    assert (given.rule.highest, given.rule.strength, given.rule.rounding) == (5, 250, 10)
    assert (given.rule.first, given.rule.until) == (14, 70)
    assert given.days(168.0) == (14, 21, 28, 35, 42, 49, 56, 63)
    assert given.rule.start == titration("romiplostim", US).rule.start
    assert given.name == US


def test_romiplostim_s_numbers():
    rule = titration("romiplostim", US).rule
    assert rule.bands == (
        Band(0, 50, 1, 0, 0, 1, 0), Band(200, 400, 2, 0, 0, -1, 0), Band(400, ALWAYS, 1, 0, 0, 0, 1),
    )  # fmt: skip
    assert rule.stops == (Stop(low=0, high=50, least=10, days=28),)
    assert (rule.start, rule.lowest, rule.highest, rule.resume_below, rule.resume_by) == (1, 0, 10, 200, 1)
    assert (rule.per_kg, rule.clinic, rule.rounding, rule.strength, rule.table) == (1, 1, 5, 125, ())


def test_avatrombopag_s_two_stop_rules_and_waits():
    given = titration("avatrombopag", US, **{"from": 7})
    assert given.period == 7
    rule = given.rule
    assert rule.stops == (
        Stop(high=50, least=6, days=28, since=7), Stop(low=400, most=1, since=21, settled=14),
    )  # fmt: skip
    # the first two weeks of the drug are too early to raise its dose, not to lower it
    assert [(b.days, b.since, b.by) for b in rule.bands] == [(14, 21, 1), (14, 7, -1), (0, 7, 0)]
    assert (rule.per_kg, rule.clinic, rule.rounding, rule.strength) == (0, 0, 0, 0)


def test_lusutrombopag_s_days():
    rule = titration("lusutrombopag", "L-PLUS, before a procedure").rule
    assert rule.stops == (Stop(low=50, rise=20, since=4),)
    assert (rule.first, rule.until, rule.bands) == (0, 7, ())


def test_tablets_add_up():
    tablets = [12.5, 25, 50, 75]
    assert all(made_of(12.5 * k, tablets) for k in range(0, 60))
    assert not any(made_of(12.5 * k + 5, tablets) for k in range(60))
    assert made_of(7, [2, 3])
    assert not made_of(1, [2, 3])
    assert not made_of(1e9, tablets)


def test_visits_and_what_remains_of_a_treatment_without_its_drug():
    given = Treatment(
        titration=titration("lusutrombopag", "L-PLUS, before a procedure"), rescue=rescue(10, "transfusion 40 1/nL iv")
    )
    assert given.rescue == Rescue(10, "transfusion", "iv", "1/nL", 40)
    assert given.drugs == ("lusutrombopag", "transfusion")
    assert given.acts(10.0) == tuple(map(float, range(10)))
    placebo = given.placebo()
    assert placebo.drugs == ("transfusion",)
    assert placebo.acts(10.0) == given.acts(10.0)
    assert (placebo.rule().rescue_below, placebo.rule().rescue, placebo.rule().start) == (10, 40, 0)


@pytest.mark.parametrize("give", ["transfusion 40 1/nL iv daily x 2", "transfusion 40 1/nL iv over 2 h"])
def test_rescue_is_one_bolus(give):
    with pytest.raises(InputError, match=r"rescue"):
        rescue(10, give)
