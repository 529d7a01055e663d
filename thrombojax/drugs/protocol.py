"""What a drug is: its own state and parameters, its kinetics, and how it acts on the feedback."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from thrombojax.models.feedback.effects import NONE, Effect, Surroundings
from thrombojax.models.protocol import Breakpoints, Entry, Inputs, Key, LinearBlock

TRANSMEMBRANE = "the transmembrane site of c-Mpl"


class Nothing(NamedTuple):
    """State, parameters or observables of a drug that has none."""


def _still(y: Any, p: Any, around: Surroundings, u: Inputs) -> Any:
    return y


def _no_effect(y: Any, p: Any, around: Surroundings) -> Effect:
    return NONE


def _observe_nothing(y: Any, p: Any, around: Surroundings) -> Nothing:
    return Nothing()


def fade(y: Any, p: Any, around: Surroundings, u: Inputs) -> Any:
    """rhs of a drug with one state, `level`, that goes at the rate `elimination`."""
    return type(y)(-p.elimination * y.level)


def seen(y: Any, p: Any, around: Surroundings) -> Any:
    """observe of a drug whose states are its observables."""
    return y


@dataclass(frozen=True, eq=False)
class Drug:
    """rhs(y, p, around, u) -> State; effect(y, p, around) -> Effect; observe(y, p, around) -> Obs; linear_block(p, body, u).

    entries' fractions and lags take the drug's own parameters; leaves in `into` without a dot are the drug's own states,
    those with a dot are the feedback's (`platelets.age_1`) and take the parameters of the whole model.
    """

    name: str
    title: str
    source: str
    entries: Mapping[Key, Entry]
    State: type = Nothing
    Parameters: type = Nothing
    Obs: type = Nothing
    rhs: Callable[..., Any] = _still
    effect: Callable[..., Effect] = _no_effect
    observe: Callable[..., Any] = _observe_nothing
    site: str = ""
    """Where it binds, if what two drugs at that place do together is not defined."""
    linear_block: Callable[[Any, Any, Inputs], LinearBlock] | None = None
    breakpoints: Callable[[Any], Breakpoints] | None = None
