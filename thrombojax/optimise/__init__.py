"""Dosing schedules and titration rules optimised over a population, and verified on patients that took no part."""

from thrombojax.optimise.problem import Dosing, Goal, Limit, course, population
from thrombojax.optimise.risk import clopper_pearson
from thrombojax.optimise.solve import Optimised, optimise

__all__ = ["Dosing", "Goal", "Limit", "Optimised", "clopper_pearson", "course", "optimise", "population"]
