"""The flagship's scenarios R1, R2, R4 and R9 as printed, and the error that fixed steps make in each."""

import functools

import pytest
from printed import assert_printed
from reference_scenarios import SCENARIOS, at, error, printed, run

pytestmark = pytest.mark.xdist_group("flagship")


@functools.cache
def exact(name):
    return run(name, padded=True, backend="reference")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_printed_number(name):
    for (observable, day), text in printed(name).items():
        assert_printed(at(exact(name), observable, day), text, f"{observable} on day {day}")


@pytest.mark.parametrize("name", SCENARIOS)
def test_error_of_fixed_steps(name, record_property):
    """Platelets to 1e-4 at default accuracy, which promises no more (TPO of R2 is at 4e-4); float32 adds 2e-5."""
    double = run(name, backend="xla", precision="f64")
    single = run(name, backend="xla", precision="f32")
    found = {}
    for observable in ("platelets", "tpo", "megakaryocyte_mass"):
        found[observable] = error(double, exact(name), observable)
        rounding = error(single, double, observable)
        print(f"{name} {observable:20s} fixed-step error {found[observable]:.1e}, float32 rounding {rounding:.1e}")
        record_property(f"error {observable}", found[observable])
        assert rounding < 2e-5
    assert found["platelets"] < 1e-4
    assert max(found.values()) < 1e-3


def test_finer_steps_give_the_printed_digits():
    """The same program at accuracy 1e-8 on the fixed-step backend: nothing but the step separates the two."""
    fine = run("R1", backend="xla", precision="f64", accuracy=1e-8)
    assert error(fine, exact("R1")) < 2e-8
