"""Every mechanism leaves the signature that biologists know it by: what must move, and what must not."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

import thrombojax as tj
from thrombojax import drugs
from thrombojax.validation import signatures

pytestmark = pytest.mark.xdist_group("signatures")
ROWS = signatures.rows()


@functools.cache
def found():
    return signatures.matrix(ROWS, "1")


@pytest.mark.parametrize("k", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_signature(k):
    row, ratios = ROWS[k], found()[k]
    for column, expected in row.expect.items():
        said = f"{row.name}: {column} x{ratios[column]:.4g}, expected {expected} ({row.source})"
        if column in row.missed:
            assert not signatures.agrees(expected, ratios[column]), f"{said}: no longer missed, say so"
        else:
            assert signatures.agrees(expected, ratios[column]), said


def test_rows_say_what_they_rest_on():
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.source
        assert row.mechanism
        assert row.expect
        assert set(row.expect) <= {*signatures.COLUMNS, *signatures.CHEMOTHERAPY}
        assert set(row.missed) <= set(row.expect)
        assert (row.day is None) == (not row.regimen)


def test_every_treatment_has_a_signature():
    given = {drug for row in ROWS if row.regimen for drug in tj.regimen(row.regimen).drugs}
    assert given == set(drugs.names())


@pytest.mark.parametrize("drug", drugs.names())
def test_a_treatment_acts_where_it_should_and_nowhere_else(drug):
    assert signatures.acts_on(drug) == signatures.expected_acts()[drug]


def test_mutations_apply():
    """The record of what fails without a mechanism (docs/mutations.md) is of this code."""
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("mutations.py"), "--list"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
