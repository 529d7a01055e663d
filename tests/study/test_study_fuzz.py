"""Whatever is done to a study file, reading it gives a Study or an InputError, and nothing else."""

import copy
import tomllib
from datetime import date
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_study_file import GOOD

from thrombojax.errors import InputError
from thrombojax.study import schema
from thrombojax.study.catalogue import Catalogue, check_against
from thrombojax.study.reducers import REDUCERS
from thrombojax.study.sections import MAX_TIMES

CATALOGUE = Catalogue(
    models=frozenset({"feedback"}),
    parameter_sets=frozenset({"1"}),
    cohorts=frozenset({"itp", "healthy"}),
    drugs={"romiplostim": frozenset({("sc", "ug/kg"), ("iv", "ug/kg")})},
    parameters=frozenset({"platelets.life", "receptor.jak2_gain"}),
    covariates=frozenset({"weight"}),
    observables=frozenset({"platelets"}),
)

WORDS = st.sampled_from(
    [
        "platelets",
        "itp",
        "log",
        "dose",
        "time",
        "platelets.life",
        "romiplostim {dose} ug/kg sc weekly x 26 then 5 daily x 100000",
        "romiplostim {life} mg oral once and eltrombopag 50 mg oral daily x 14",
        "romiplostim 3 ug/kg sc at days 0 -1 1e309",
        "{}{dose",
        "romiplostim {dose} ug/kg sc every 1e-12 days x 99999999",
        "a\nb\x00",
        *REDUCERS,
    ]
)
NUMBERS = st.one_of(
    st.integers(-3, 400),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0, -0.0, 1e-300, 1e308, 10**400, 2**63, 182, 36500]),
)
SCALARS = st.one_of(WORDS, NUMBERS, st.booleans(), st.text(max_size=20), st.just(date(2026, 1, 1)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Key paths of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, item in items for p in ((*path, key), *places(item, (*path, key)))]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """The good study after a few mutations: a key dropped, given another value, renamed, repeated, or a new one."""
    document = copy.deepcopy(tomllib.loads(GOOD))
    for _ in range(draw(st.integers(1, 4))):
        everywhere = places(document)
        if not everywhere:
            break
        *path, last = draw(st.sampled_from(everywhere))
        parent: Any = document
        for key in path:
            parent = parent[key]
        match draw(st.sampled_from(["drop", "replace", "rename", "repeat", "add"])):
            case "drop":
                del parent[last]
            case "replace":
                parent[last] = draw(VALUES)
            case "rename" if isinstance(parent, dict):
                parent[draw(st.one_of(WORDS, st.text(max_size=8)))] = parent.pop(last)
            case "repeat" if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[last]))
            case _ if isinstance(parent, dict):
                keys = st.sampled_from(
                    ["from", "to", "day", "drug", "threshold", "table", "values", "observables", "x"]
                )
                parent[draw(keys)] = draw(VALUES)
    return document


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(documents())
def test_a_mutated_document_is_a_study_or_a_message(document: dict[str, Any]):
    study, found = None, ()
    try:
        study = schema.read(document, "", "s.toml")
    except InputError as error:
        found = error.problems
    if study is not None:
        assert len(study.save_days) <= MAX_TIMES + 1
        assert all(axis.points for axis in study.axes)
        found = check_against(study, CATALOGUE)
    assert study is not None or found
    assert all(p.where.startswith("s.toml: ") and p.message for p in found)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_mutated_text_is_a_study_or_a_message(data: st.DataObject):
    at = data.draw(st.integers(0, len(GOOD)))
    upto = data.draw(st.integers(at, min(len(GOOD), at + 30)))
    text = (
        GOOD[:at]
        + data.draw(st.one_of(st.text(max_size=10), st.sampled_from(["[", '"', "\n", "nan", "'''"])))
        + GOOD[upto:]
    )
    try:
        good = bool(schema.parse(text).arms)
    except InputError as error:
        good = bool(error.problems)
    assert good
