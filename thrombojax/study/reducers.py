"""What each endpoint reducer asks of a study file: its own numbers, and whether it has a window and an observable."""

from typing import NamedTuple


class Asks(NamedTuple):
    """needs: keys that must be given; window: takes `from` and `to`; observable: takes `observable`."""

    meaning: str
    needs: tuple[str, ...] = ()
    window: bool = True
    observable: bool = True


REDUCERS: dict[str, Asks] = {
    "nadir": Asks("lowest value in the window"),
    "peak": Asks("highest value in the window"),
    "nadir_day": Asks("day of the lowest value"),
    "peak_day": Asks("day of the highest value"),
    "auc": Asks("area under the curve over the window"),
    "mean": Asks("time average over the window"),
    "fraction_in_band": Asks("fraction of the window spent from `low` to `high`", ("low", "high")),
    "first_day_at_or_above": Asks("first day at or above `threshold`", ("threshold",)),
    "value_on_day": Asks("value on `day`", ("day",), window=False),
    "weeks_of_response": Asks("visits in the window at or above `threshold`, in weeks", ("threshold",)),
    "cumulative_dose": Asks("amount of `drug` given in the window", ("drug",), observable=False),
}

NUMBERS = ("low", "high", "threshold", "day", "drug")
"""Keys that belong to some reducer and not to others."""
