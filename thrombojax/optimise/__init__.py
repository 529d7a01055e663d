"""Doses and titration rules optimised over a population, or for each patient by its counts, and verified on others."""

from thrombojax.optimise.individual import Individual, individual_plans
from thrombojax.optimise.problem import Dosing, Goal, Limit, course, population, together
from thrombojax.optimise.risk import clopper_pearson
from thrombojax.optimise.solve import Optimised, optimise

__all__ = [
    "Dosing", "Goal", "Individual", "Limit", "Optimised", "clopper_pearson", "course", "individual_plans", "optimise",
    "population", "together",
]  # fmt: skip
