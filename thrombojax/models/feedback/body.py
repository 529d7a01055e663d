"""The patient besides the loop: covariates that drugs' kinetics and hazards depend on."""

from typing import Annotated as A
from typing import NamedTuple

from jaxtyping import Array

from thrombojax.models.struct import quantity

GIVEN = "covariate: the default is the typical patient's"


class Body(NamedTuple):
    weight: A[Array, quantity("kg", "body weight", low=2, high=200)]
    age: A[Array, quantity("year", "age", GIVEN, low=0, high=110, value=50.0)]
    female: A[Array, quantity("1", "sex: 1 for women", GIVEN, low=0, high=1, value=0.0)]
    east_asian: A[Array, quantity("1", "East Asian ancestry: 1 for yes", GIVEN, low=0, high=1, value=0.0)]
    child_pugh: A[Array, quantity(
        "1", "Child-Pugh score: A 5-6, B 7-9, C 10-15; 0 without liver disease", GIVEN, low=0, high=15, value=0.0
    )]  # fmt: skip
    corticosteroids: A[Array, quantity("1", "corticosteroids are taken: 1 for yes", GIVEN, low=0, high=1, value=0.0)]
