"""Weekly intravenous doses of one linear compartment, whose concentrations have a closed form."""

from pathlib import Path

import numpy as np

import thrombojax as tj
from thrombojax.endpoints import Endpoint
from thrombojax.models import registry
from thrombojax.optimise import problem
from thrombojax.patients.population import Patients

FILE = Path(__file__).parents[1] / "user_models" / "one_compartment.py"
SOURCE = registry.Source("one-compartment", file=str(FILE))
WEEKS, DAYS = 4, 28.5
K, V = 0.3, 2.0
TARGET = 1.0
ENDS = tuple(
    Endpoint(f"trough{k}", "value_on_day", "concentration", 7.0 * k, 7.0 * k, {"day": 7.0 * k}, visits=(7.0 * k,))
    for k in range(1, WEEKS + 1)
)
DRUG = Endpoint("amount", "cumulative_dose", stop=DAYS, drug="drug")


def matrix(times=None):
    """Trough by dose `[trough, dose]`."""
    at = 7.0 * np.arange(1, WEEKS + 1)
    given = 7.0 * np.arange(WEEKS) if times is None else np.asarray(times)
    since = at[:, None] - given
    return np.where(since > 0, np.exp(-K * since) / V, 0.0)


def dosing(goals, limits=(), people=None, move=0.0, ends=(*ENDS, DRUG), high=60.0, **how):
    regimen = tj.regimen(f"drug 10 mg iv weekly x {WEEKS}")
    if people is None:
        people = problem.population(Patients(SOURCE, 3), ("drug",), ends)
    made = problem.course(regimen, DAYS, low=0.0, high=high, move=move)
    return problem.Dosing(made, people, DAYS, ends, tuple(goals), tuple(limits), **how)
