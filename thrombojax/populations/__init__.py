"""Virtual populations: plausible patients and the weights with which they match what trials published."""

from thrombojax.populations.results import Done, run

__all__ = ["Done", "run"]
