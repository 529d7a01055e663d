"""Fixtures of the tests that run whole studies."""

import os
from pathlib import Path

import jax
import pytest
import studies


@pytest.fixture(autouse=True)
def flags(monkeypatch):
    """The command line sets XLA_FLAGS for the process it runs in, which here is that of all tests."""
    jax.local_devices()  # started before, so that every test has the same
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))


@pytest.fixture
def run(tmp_path):
    """run(study, *options) -> (how it ended, path of the results): the command line in this process, without audit."""

    def call(study, *options: object, table: str | None = studies.TABLE, audit: int = 0) -> tuple[studies.Said, Path]:
        out = tmp_path / "out.h5"
        words = ("--overwrite", "--audit", audit, *options)
        return studies.here("run", studies.write(tmp_path, study, table), "-o", out, *words), out

    return call


@pytest.fixture
def results(run):
    """results(study, *options) -> the arrays of a run that must succeed."""

    def call(study, *options: object, **more):
        said, out = run(study, *options, **more)
        assert said.status == 0, said.err
        return studies.arrays(out)

    return call
