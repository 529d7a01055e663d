"""The regimen grammar: what each sentence means to the dose, and how a wrong one is refused."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thrombojax.dosing import Dose, Regimen, fill, placeholders, regimen
from thrombojax.errors import InputError

H = 1 / 24


def weekly(first, count):
    return [first + 7 * k for k in range(count)]


SENTENCES = {
    "none": [],
    "romiplostim 3 ug/kg sc weekly x 26": [("romiplostim", 3, "ug/kg", "sc", weekly(0, 26))],
    "eltrombopag 50 mg oral daily x 14": [("eltrombopag", 50, "mg", "oral", range(14))],
    "eltrombopag 50 mg po daily x14": [("eltrombopag", 50, "mg", "oral", range(14))],
    "Romiplostim 3 µg/kg SC WEEKLY × 2": [("romiplostim", 3, "ug/kg", "sc", [0, 7])],
    "a 1.5e2 mg iv every 14 days x 6": [("a", 150, "mg", "iv", [0, 14, 28, 42, 56, 70])],
    "a .5 mg iv every 12 h x 3": [("a", 0.5, "mg", "iv", [0, 0.5, 1])],
    "a 1 mg iv every 8 hours x 4": [("a", 1, "mg", "iv", [0, 8 / 24, 16 / 24, 1])],
    "a 1 mg iv every 2 weeks x 2": [("a", 1, "mg", "iv", [0, 14])],
    "a 1 mg iv every week x 2": [("a", 1, "mg", "iv", [0, 7])],
    "a 1 mg sc once": [("a", 1, "mg", "sc", [0])],
    "a 0 mg sc once from day 3.5": [("a", 0, "mg", "sc", [3.5])],
    "a 1 mg sc at days 0 7 21": [("a", 1, "mg", "sc", [0, 7, 21])],
    "a 1 mg sc at days 21, 0, 7.5": [("a", 1, "mg", "sc", [0, 7.5, 21])],
    "a 1 mg sc at day 4": [("a", 1, "mg", "sc", [4])],
    # modifiers in any order
    "a 1 mg iv over 2 h daily x 2 from day 3": [("a", 1, "mg", "iv", [3, 4], 2 * H)],
    "a 1 mg iv from day 3 daily x 2 over 2h": [("a", 1, "mg", "iv", [3, 4], 2 * H)],
    "a 1mg iv over 30 min once": [("a", 1, "mg", "iv", [0], 30 / 1440)],
    # a transfusion: the rise of the count
    "platelets 50 1/nL iv once": [("platelets", 50, "1/nL", "iv", [0])],
    "platelets 50 1e9/L iv once": [("platelets", 50, "1/nL", "iv", [0])],
    # `then` begins at the last dose plus the interval
    "romiplostim 1 ug/kg sc weekly x 4 then 3 ug/kg weekly x 2": [
        ("romiplostim", 1, "ug/kg", "sc", [0, 7, 14, 21]),
        ("romiplostim", 3, "ug/kg", "sc", [28, 35]),
    ],
    "a 1 mg sc weekly x 2 then 3 daily x 2 then 5 once": [
        ("a", 1, "mg", "sc", [0, 7]),
        ("a", 3, "mg", "sc", [14, 15]),
        ("a", 5, "mg", "sc", [16]),
    ],
    "a 1 mg sc weekly x 2 from day 10 then 3 weekly x 2": [
        ("a", 1, "mg", "sc", [10, 17]),
        ("a", 3, "mg", "sc", [24, 31]),
    ],
    "a 1 mg sc weekly x 2 then 3 weekly x 2 from day 100": [
        ("a", 1, "mg", "sc", [0, 7]),
        ("a", 3, "mg", "sc", [100, 107]),
    ],
    "a 1 mg sc weekly x 2 then 2 mg at days 50 60": [("a", 1, "mg", "sc", [0, 7]), ("a", 2, "mg", "sc", [50, 60])],
    "a 1 mg sc once then 2 daily x 2 from day 7": [("a", 1, "mg", "sc", [0]), ("a", 2, "mg", "sc", [7, 8])],
    "a 1 mg sc weekly x 2 then b 5 mg oral daily x 2": [("a", 1, "mg", "sc", [0, 7]), ("b", 5, "mg", "oral", [14, 15])],
    "a 1 mg sc daily x 2 then a 2 mg daily x 1": [("a", 1, "mg", "sc", [0, 1]), ("a", 2, "mg", "sc", [2])],
    # the infusion time carries over with the route, and only with it
    "a 1 mg iv over 6 h daily x 1 then 2 daily x 1 then 3 mg sc daily x 1": [
        ("a", 1, "mg", "iv", [0], 0.25),
        ("a", 2, "mg", "iv", [1], 0.25),
        ("a", 3, "mg", "sc", [2], 0),
    ],
    "a 1 mg iv over 6 h daily x 1 then 2 over 0 h daily x 1": [
        ("a", 1, "mg", "iv", [0], 0.25),
        ("a", 2, "mg", "iv", [1]),
    ],
    # `and` begins again at day 0, and `then` goes on with the phrase before it
    "a 1 mg sc weekly x 2 and b 5 mg oral daily x 2 then 10 daily x 2": [
        ("a", 1, "mg", "sc", [0, 7]),
        ("b", 5, "mg", "oral", [0, 1]),
        ("b", 10, "mg", "oral", [2, 3]),
    ],
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_sentence_means_these_doses(sentence):
    made = regimen(sentence)
    assert made == Regimen(tuple(Dose(*parts) for parts in SENTENCES[sentence]))
    assert regimen(str(made)) == made


# sentence, the word the carets stand under, what the message says
WRONG = [
    ("a 3 ug/kg sc weekyl x 2", "weekyl", "every N days, at days ...; did you mean 'weekly'?"),
    ("3 ug/kg romiplostim sc once", "3", "expected a drug's name"),
    ("mono-drug! 3 mg sc once", "mono-drug!", "expected a drug's name"),
    ("a three mg sc once", "three", "expected an amount"),
    ("a -3 mg sc once", "-3", "must not be negative"),
    ("a 1e999 mg sc once", "1e999", "must be finite"),
    ("a nan mg sc once", "nan", "expected an amount"),
    ("a 0x10 mg sc once", "x10", "unknown unit 'x10'"),
    ("a 1,000 mg sc once", "1,000", "a plain number"),
    ("a 3 ugg/kg sc once", "ugg/kg", "did you mean 'ug/kg'?"),
    ("a 3 sc once", "sc", "expected a unit"),
    ("a 3 mg weekly x 2", "weekly", "expected a route: sc, iv or oral"),
    ("a 3 mg orla once", "orla", "did you mean 'oral'?"),
    ("a 3 mg sc weekly 26", "26", "expected `x` and a number of doses"),
    ("a 3 mg sc weekly x 0", "0", "at least 1"),
    ("a 3 mg sc weekly x 2.5", "2.5", "must be whole"),
    ("a 3 mg sc weekly x -2", "-2", "must not be negative"),
    ("a 3 mg sc daily x 100001", "100001", "at most 100000 doses"),
    ("a 3 mg sc daily x 60000 then 4 daily x 60000", "60000", "at most 100000 doses in all"),
    ("a 3 mg sc every 0 days x 2", "0", "more than 0"),
    ("a 3 mg sc every 2 moons x 2", "moons", "expected an interval such as `14 days`: min, h, days or weeks"),
    ("a 3 mg sc every 1e308 weeks x 9", "every", "must be finite"),
    ("a 3 mg sc every 1e-30 days x 9 from day 5", "every", "interval is too short"),
    ("a 3 mg sc at days 0 7 -21", "-21", "must not be negative"),
    ("a 3 mg sc at days 0 7 0", "0", "day 0 is given twice"),
    ("a 3 mg sc at days 0,5 7", "0,5", "decimals take a point"),
    ("a 3 mg sc at noon", "noon", "expected `days`"),
    ("a 3 mg sc at days once", "once", "expected a day"),
    ("a 3 mg sc at days 0 7 from day 3", "at", "takes no `from day`"),
    ("a 3 mg sc once from day -1", "-1", "must not be negative"),
    ("a 3 mg sc once from 3", "3", "expected `day`"),
    ("a 3 mg sc over 2 parsecs once", "parsecs", "a unit of time"),
    ("a 3 mg sc once daily x 2", "daily", "a second schedule"),
    ("a 3 mg sc over 2 h once over 3 h", "over", "a second `over`"),
    ("a 3 mg sc once from day 1 from day 2", "from", "a second `from`"),
    ("a 3 mg sc once x 3", "x", "expected over, from day, then, and"),
    ("a 3 mg sc once adn b 3 mg sc once", "adn", "did you mean 'and'?"),
    ("a 3 mg sc once then 4 mg daily x 3", "then", "say when this begins: from day N"),
    ("a 3 mg sc at days 1 2 then 4 mg daily x 3", "then", "say when this begins: from day N"),
    ("a 3 mg sc daily x 2 then 4 weekyl x 3", "weekyl", "did you mean 'weekly'?"),
    ("a 3 mg sc daily x 2 then b 4 daily x 3", "daily", "expected a unit"),
    ("a 3 mg sc daily x 2 and 4 mg daily x 3", "4", "expected a drug's name"),
    ("a {dose} mg sc once", "{dose}", "placeholder"),
    ("none then a 3 mg sc once", "none", "expected a drug's name"),
    ("__import__('os').system('true') 3 mg sc once", "__import__('os').system('true')", "expected a drug's name"),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "word", "message"), WRONG)
def test_an_error_points_at_the_word(sentence, word, message):
    with pytest.raises(InputError) as caught:
        regimen(sentence, where="study.toml: arm[0].regimen")
    first, shown, pointer = str(caught.value).split("\n")
    assert first == "study.toml: arm[0].regimen: does not parse"
    assert shown == "    " + sentence
    start, end = pointer.index("^"), pointer.rindex("^") + 1
    assert shown[start:end] == word
    assert message in pointer


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("romiplostim", "an amount"),
        ("romiplostim 3", "a unit"),
        ("romiplostim 3 ug/kg", "a route"),
        ("romiplostim 3 ug/kg sc", "a schedule"),
        ("romiplostim 3 ug/kg sc weekly", "`x` and a number of doses"),
        ("romiplostim 3 ug/kg sc weekly x ", "a number of doses"),
        ("romiplostim 3 ug/kg sc weekly x 2 then", "a drug's name or an amount"),
        ("romiplostim 3 ug/kg sc weekly x 2 and", "a drug's name"),
    ],
)
def test_an_unfinished_sentence_says_what_is_missing(sentence, expected):
    with pytest.raises(InputError) as caught:
        regimen(sentence)
    pointer = str(caught.value).split("\n")[-1]
    assert pointer.index("^") == 4 + len(sentence.rstrip()) + 1
    assert f"the sentence ends here; expected {expected}" in pointer


@pytest.mark.parametrize("sentence", ["", "  \n"])
def test_an_empty_sentence_is_not_no_treatment(sentence):
    with pytest.raises(InputError, match="for no treatment write `none`"):
        regimen(sentence)


def test_a_long_sentence_is_shown_around_the_word():
    sentence = (
        "a 1 mg sc daily x 2 " + "then 2 mg daily x 2 " * 20 + "then 3 mg dialy x 2 " + "then 2 mg daily x 2 " * 20
    )
    with pytest.raises(InputError) as caught:
        regimen(sentence)
    _, shown, pointer = str(caught.value).split("\n")
    start, end = pointer.index("^"), pointer.rindex("^") + 1
    assert shown[start:end] == "dialy"
    assert len(shown) < 120
    assert shown.startswith("    ... ")
    assert shown.endswith(" ...")


VOCABULARY = """
    romiplostim a 3 0 -1 2.5 1e308 1e-30 100001 26 ug/kg mg 1/nL sc iv oral once daily weekly every x ×3 x26 at days day
    0 7, 21 over 2h h weeks from then and none {dose} foo µg
"""


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(VOCABULARY.split()), max_size=25).map(" ".join))
@example("a 1 mg sc daily x 99999 then 1 daily x 1")
@example("\x1c\ud800")
@example("a ٣ mg sc once")
@example("İ" * 50)
def test_any_text_is_a_regimen_or_an_input_error(text):
    try:
        made = regimen(text)
    except InputError:
        return
    assert regimen(str(made)) == made


# ---- placeholders ----


def test_placeholders_are_named_once_in_order_and_filled():
    text = "a {dose} mg sc weekly x {n} then {dose} from day {start_day} once"
    assert placeholders(text) == ("dose", "n", "start_day")
    filled = fill(text, {"dose": 2.5, "n": 4, "start_day": 1e22})
    assert filled == "a 2.5 mg sc weekly x 4 then 2.5 from day 1e+22 once"
    assert placeholders(filled) == ()
    assert fill("none", {}) == "none"


@settings(max_examples=50, deadline=None)
@given(st.floats(0, allow_nan=False, allow_infinity=False))
def test_a_filled_number_is_read_exactly(number):
    assert regimen(fill("a {dose} mg sc once", {"dose": number})).doses[0].amount == number


@pytest.mark.parametrize(
    ("text", "numbers", "message"),
    [
        ("a {dose} mg", {}, r"no number is given for the placeholder \{dose\}"),
        ("a {dose} mg", {"dose": 1, "dosse": 2}, "unknown placeholder 'dosse'; allowed: dose; did you mean 'dose'?"),
        ("a {dose} mg", {"dose": float("nan")}, "takes a finite number"),
        ("a {dose} mg", {"dose": "3 mg sc once and b 3"}, "takes a finite number"),
        ("a {dose} mg", {"dose": None}, "takes a finite number"),
        ("a {dose mg", {"dose": 1}, "expected a name in braces"),
        ("a {dose!r} mg", {"dose": 1}, "expected a name in braces"),
        ("a {} mg", {}, "expected a name in braces"),
    ],
)
def test_wrong_placeholders_are_refused(text, numbers, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        fill(text, numbers)
