"""The labels' titrations give the doses that were worked out by hand from their text: histories.toml says how to read them."""

import re
import tomllib
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thrombojax import drugs
from thrombojax.dosing import policy
from thrombojax.dosing.titration import labels, titration
from thrombojax.dosing.treatment import Titration

RESCUE = {"rescue_below": 10.0, "rescue": 40.0}
WEIGHT = 100.0  # a whole number of 5 ug in every ug/kg
DRUGS = ("romiplostim", "eltrombopag", "avatrombopag", "lusutrombopag")
WORDS = dict(zip(policy.DECISIONS, ("", "+", "-", "H", "h", "r", "S", "s", "?"), strict=True))


class History(NamedTuple):
    """first: the count on day 0; days, counts: of the visits (NaN: missed); expected: words."""

    text: str
    first: float
    days: tuple[float, ...]
    counts: tuple[float, ...]
    expected: tuple[str, ...]


def repeated(text: str) -> list[str]:
    """Words, those with `x3` three times."""
    found = []
    for word in text.split():
        what, _, times = word.partition("x")
        found += [what] * int(times or 1)
    return found


def climbing(word: str) -> list[str]:
    """`+2..4` as +2, +3, +4."""
    climb = re.fullmatch(r"\+(\d+)\.\.(\d+)", word)
    return [f"+{k}" for k in range(int(climb[1]), int(climb[2]) + 1)] if climb else [word]


def history(line: str, every: float) -> History:
    counts, _, doses = line.partition("|")
    first, _, counts = counts.rpartition(":")
    days, seen, day = [], [], 0.0
    for word in repeated(counts):
        count, _, at = word.partition("@")
        day = float(at) if at else day + every
        days.append(day)
        seen.append(np.nan if count == "?" else float(count))
    expected = [w for word in repeated(doses) for w in climbing(word)]
    assert len(expected) == len(days), line
    return History(line, float(first or 30), tuple(days), tuple(seen), tuple(expected))


TABLES = tomllib.loads((Path(__file__).parent / "histories.toml").read_text(encoding="utf-8"))["table"]
LABELS = [(drug, rule["name"]) for drug in DRUGS for rule in labels(drug)["titration"]]


def of(drug: str, label: str) -> tuple[str, list[History], Titration]:
    """What doses are per, the histories of a label, and its rule."""
    mine = [table for table in TABLES if [drug, label] in table["labels"]]
    rule = titration(drug, label)
    lines = [line for table in mine for line in table["histories"].splitlines() if line and not line.startswith("#")]
    (per,) = {table["per"] for table in mine}
    return per, [history(line, rule.visit_days) for line in lines], rule


SHAPE = policy.shape(tuple(titration(*of).rule for of in LABELS))
"""One shape holds every label, as in a study whose arms are these: compiled once."""
VISITS, PATIENTS = 32, 64


@jax.jit
def run(rule: policy.Rule, first: jax.Array, day: jax.Array, seen: jax.Array, period: jax.Array):
    """Memory at the end, and by visit `[visit, patient]` the decision, dose, transfusion and (`[visit, day, patient]`) amounts of
    the seven days from it on. A visit on day 0 is none: the history has ended."""

    def visit(m, given):
        day, seen = given
        after = policy.decide(rule, m, seen, jnp.where(jnp.isnan(seen), 0.0, 1.0), day)
        after = jax.tree.map(lambda new, old: jnp.where(day > 0.0, new, old), after, m)
        week = jax.vmap(lambda k: policy.amount(rule, after, 1.0 + k % period, WEIGHT)[0])(jnp.arange(7.0))
        return after, (after.decision, policy.prescribed(after), after.rescue, week)

    return jax.lax.scan(visit, policy.begin(SHAPE, rule, first), (day, seen))


def followed(label: Titration, per: str, histories: list[History]) -> list[list[str]]:
    """The same words from the policy, all histories at a time."""
    rule = jax.tree.map(np.float64, policy.padded(label.rule._replace(**RESCUE), SHAPE))
    day, seen, first = np.zeros((VISITS, PATIENTS)), np.full((VISITS, PATIENTS), np.nan), np.full(PATIENTS, 30.0)
    for i, h in enumerate(histories):
        day[: len(h.days), i], seen[: len(h.days), i], first[i] = h.days, h.counts, h.first
    last, rows = run(rule, first, day, seen, float(label.period))
    decision, dose, rescue, week = map(np.asarray, rows)
    if per == "visit":  # what the clinic does not see it does not inject
        mg = dose
        given = np.where(np.isnan(seen), 0.0, dose * WEIGHT)
        np.testing.assert_allclose(week[:, 0][day > 0], given[day > 0])
    else:
        mg = week.sum(1) / (7.0 if per == "day" else 1.0)
    words = [
        [word(decision[k, i], mg[k, i], rescue[k, i]) for k in range(len(h.days))] for i, h in enumerate(histories)
    ]
    counted(words, histories, jax.tree.map(np.asarray, last))
    return words


def word(decision: float, mg: float, rescue: float) -> str:
    what = WORDS[policy.DECISIONS[int(decision)]]
    if what in ("H", "h", "S", "s"):
        assert mg == 0
    dose = f"{mg:g}" if what in ("", "+", "-", "r") else ""
    assert rescue in (0.0, 40.0)
    return what + dose + ("!" if rescue else "")


def counted(words: list[list[str]], histories: list[History], m: policy.Memory) -> None:
    """The counters and the day of the end are those of the words."""
    for i, (said, h) in enumerate(zip(words, histories, strict=True)):
        starts = [w[0] for w in said]
        assert m.raised[i] == starts.count("+"), h.text
        assert starts.count("-") <= m.lowered[i] <= starts.count("-") + starts.count("r"), h.text
        assert m.withheld[i] == starts.count("H"), h.text
        assert m.rescues[i] == sum("!" in w for w in said), h.text
        assert m.ended[i] == (h.days[starts.index("S")] if "S" in starts else policy.NEVER), h.text
        assert m.first[i] == h.first


def test_these_are_all_drugs_whose_doses_follow_counts():
    assert {*DRUGS, "transfusion"} == {name for name in drugs.names() if labels(name).get("titration")}
    assert {tuple(label) for table in TABLES for label in table["labels"]} == set(LABELS)


@pytest.mark.parametrize(("drug", "label"), LABELS, ids=[f"{drug}: {label}" for drug, label in LABELS])
def test_a_label_gives_the_doses_worked_out_by_hand(drug, label):
    per, histories, rule = of(drug, label)
    assert len({h.text for h in histories}) == len(histories) >= 30
    found = followed(rule, per, histories)
    wrong = [f"{h.text}: got {' '.join(words)}" for h, words in zip(histories, found, strict=True)
             if tuple(words) != h.expected]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def standing(rule: policy.Rule, dose: np.ndarray, **changes: float) -> policy.Memory:
    """Patients on these doses."""
    m = policy.begin(policy.shape((rule,)), rule, jnp.full(dose.shape, 30.0))
    return m._replace(dose=jnp.asarray(dose), **{k: jnp.full(dose.shape, v) for k, v in changes.items()})


# ug/kg, kg, ug in the syringe (0.01 mL is 5 ug), ug left in the vials (of 125, 250 and 500 ug, so that 125 ug is what counts)
SYRINGES = [
    (1, 70, 70, 55),
    (1, 72.4, 70, 55),
    (1, 72.5, 75, 50),
    (1, 73, 75, 50),
    (1, 2.4, 0, 0),
    (1, 2.5, 5, 120),
    (0, 70, 0, 0),
    (2, 62.5, 125, 0),
    (3, 41.6, 125, 0),
    (3, 42, 125, 0),
    (3, 42.5, 130, 120),
    (4, 62.5, 250, 0),
    (5, 51, 255, 120),
    (7, 83.3, 585, 40),
    (8, 72.4, 580, 45),
    (10, 50, 500, 0),
    (10, 50.2, 500, 0),
    (10, 50.3, 505, 120),
    (10, 101, 1010, 115),
]


@pytest.mark.parametrize("label", [label for drug, label in LABELS if drug == "romiplostim"])
def test_romiplostim_is_drawn_in_steps_of_5_ug_and_the_rest_of_the_vials_is_wasted(label):
    rule = titration("romiplostim", label).rule
    assert (rule.rounding, rule.strength) == (5, 125)
    dose, kg, given, wasted = np.array(SYRINGES, float).T
    m = standing(rule, dose)
    np.testing.assert_allclose(policy.amount(rule, m, 1.0, kg), (given, wasted), atol=1e-9)
    for nothing in ({"held": 1.0}, {"stopped": 1.0}, {"present": 0.0}):
        assert not np.any(policy.amount(rule, standing(rule, dose, **nothing), 1.0, kg))
    assert not np.any(policy.amount(rule, m, 0.0, kg))


# tablets of 20 mg on the days of a week
WEEKS = ["1000000", "2000000", "1010100", "1111111", "2121211", "2222222"]


def test_levels_of_avatrombopag_are_tablets_on_the_days_of_a_week():
    rule = titration("avatrombopag", "US label, adults with ITP").rule
    levels = np.arange(1.0, 7.0)
    for day in range(7):
        mg = [20.0 * int(week[day]) for week in WEEKS]
        given, wasted = policy.amount(rule, standing(rule, levels), 1.0 + day, 70.0)
        assert given.tolist() == mg
        assert not np.any(wasted)
        missed = policy.amount(rule, standing(rule, levels, present=0.0), 1.0 + day, 70.0)[0]
        assert missed.tolist() == mg, "tablets are at home"
    assert not np.any(policy.amount(rule, standing(rule, levels, held=1.0), 1.0, 70.0))


def test_doses_of_lusutrombopag_are_seven():
    given = titration("lusutrombopag", "L-PLUS, before a procedure")
    assert given.days(35.0) == (0, 1, 2, 3, 4, 5, 6)
    assert given.visit_days == 1


def test_numbers_reach_the_model_in_its_unit():
    rule = titration("romiplostim", "US label, adults with ITP").rule._replace(unit=1e-3)
    np.testing.assert_allclose(policy.amount(rule, standing(rule, np.ones(1)), 1.0, 70.0), [[0.070], [0.055]])
