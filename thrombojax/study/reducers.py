"""What each endpoint reducer asks of a study file: its own numbers, and whether it has a window and an observable."""

from typing import NamedTuple


class Asks(NamedTuple):
    """needs, may: keys that must and can be given; window: takes `from` and `to`; observable: takes `observable`.

    visits: looks at visits; policy: is what a policy did.
    """

    meaning: str
    needs: tuple[str, ...] = ()
    window: bool = True
    observable: bool = True
    may: tuple[str, ...] = ()
    visits: bool = False
    policy: bool = False


def _ledger(meaning: str) -> Asks:
    return Asks(meaning, window=False, observable=False, policy=True)


REDUCERS: dict[str, Asks] = {
    "nadir": Asks("lowest value in the window"),
    "peak": Asks("highest value in the window"),
    "nadir_day": Asks("day of the lowest value"),
    "peak_day": Asks("day of the highest value"),
    "auc": Asks("area under the curve over the window"),
    "mean": Asks("time average over the window"),
    "fraction_in_band": Asks("fraction of the window spent from `low` to `high`", ("low", "high")),
    "first_day_at_or_above": Asks("first day at or above `threshold`", ("threshold",)),
    "rises": Asks("times that the value rose to `threshold`", ("threshold",)),
    "value_on_day": Asks("value on `day`", ("day",), window=False),
    "weeks_of_response": Asks(
        "visits in the window at or above `threshold`, in weeks",
        ("threshold",),
        may=("below", "rescue_weeks"),
        visits=True,
    ),
    "response_share": Asks(
        "share of the visits kept in the window that are at or above `threshold`",
        ("threshold",),
        may=("below", "rescue_weeks"),
        visits=True,
    ),
    "response": Asks(
        "1 where `needed` visits in the window are at or above `threshold`, else 0",
        ("threshold", "needed"),
        may=("below", "rescue_weeks", "allow_rescue"),
        visits=True,
    ),
    "stable_response": Asks(
        "1 where also the policy's doses in the window differ by at most `within`, else 0",
        ("threshold", "needed", "within"),
        observable=False,
        may=("below", "rescue_weeks", "allow_rescue"),
        visits=True,
        policy=True,
    ),
    "doses_near_mode": Asks(
        "share of the policy's doses in the window that are within `within` of the most frequent one, in steps of `step`",
        ("step", "within"),
        observable=False,
        visits=True,
        policy=True,
    ),
    "cumulative_dose": Asks("amount of `drug` given in the window", ("drug",), observable=False),
    "doses_given": Asks("boluses (tablets, injections) of `drug` in the window", ("drug",), observable=False),
    "dose_changes": Asks(
        "boluses of `drug` that differ from the one before, in the window", ("drug",), observable=False
    ),
    "dose_increases": _ledger("times that a policy raised the dose"),
    "dose_decreases": _ledger("times that a policy lowered the dose"),
    "dose_holds": _ledger("times that a policy withheld the drug"),
    "rescues": _ledger("rescue transfusions"),
    "rescued": _ledger("1 where there was any rescue transfusion, else 0"),
    "discontinuation_day": _ledger("day on which a stop rule ended the drug"),
    "titrated_dose": _ledger("amount of the titrated drug given"),
    "wasted_dose": _ledger("amount left in opened vials"),
    "last_dose": _ledger("dose or level at the end"),
}

NUMBERS = (
    "low",
    "high",
    "threshold",
    "day",
    "drug",
    "needed",
    "below",
    "rescue_weeks",
    "allow_rescue",
    "within",
    "step",
)
"""Keys that belong to some reducer and not to others."""
YES_NO = ("response", "stable_response", "rescued")
"""Reducers whose value is 1 or 0: a share of patients."""
