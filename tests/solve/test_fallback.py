"""A kernel that cannot be made, though a trial went well, is no end: `xla` runs, and one line says so."""

import functools
import warnings

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.codegen import build
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.solve import native

pytestmark = pytest.mark.usefixtures("small_blocks")

FAILS = """#!/bin/sh
case "$*" in *--version*) exit 0;; esac
grep -q thrombojax_works "$(echo "$*" | tr ' ' '\\n' | grep kernel.c)" && exec cc "$@"
echo 'kernel.c:9: error: no more memory' >&2
exit 1
"""


def forget() -> None:
    for cached in (build._load, build._version, native.kernel, native.unusable):
        cached.cache_clear()


@pytest.fixture(autouse=True)
def afresh(monkeypatch, tmp_path):
    monkeypatch.setenv("THROMBOJAX_CACHE", str(tmp_path / "cache"))
    forget()
    yield
    forget()


def solved(**options):
    patients = tj.model("wang2010").patients(weight=[70.0, 80.0])
    return tj.simulate(patients, "romiplostim 1 ug/kg sc once", days=2, **options)


def test_a_compiler_that_fails_on_the_kernel_alone(monkeypatch, tmp_path):
    path = tmp_path / "compiler"
    path.write_text(FAILS)
    path.chmod(0o755)
    monkeypatch.setenv("THROMBOJAX_CC", str(path))
    with pytest.warns(RuntimeWarning) as said:
        found = solved()
    (line,) = (str(w.message) for w in said if "backend" in str(w.message))
    assert line == f"backend native: {path} failed (status 1): kernel.c:9: error: no more memory; xla runs instead"
    np.testing.assert_array_equal(found.platelets, solved(backend="xla").platelets)


def test_what_only_this_plan_cannot_translate(monkeypatch):
    @functools.lru_cache
    def kernel(model, plan, precision):
        raise CannotTranslate("the plan asks for a sort")

    monkeypatch.setattr(native, "kernel", kernel)
    with pytest.warns(RuntimeWarning, match="^backend native: the plan asks for a sort; xla runs instead$"):
        found = solved(backend="native")
    assert not found.status.any()


def test_a_kernel_that_is_made_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(backend="native")
