"""The CUDA text, compiled for this processor, against `xla`: every model, drug and reducer; and what is asked of a driver, by a
driver whose GPUs are this processor. No GPU is needed, and none is used."""

import functools
import subprocess
from pathlib import Path

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.codegen import build, emit_cuda, nvrtc
from thrombojax.endpoints import REDUCERS
from thrombojax.errors import RunError
from thrombojax.models import registry
from thrombojax.solve import cuda, engine, places
from thrombojax.solve.steppers import CLASSICAL, LONG

HERE = Path(__file__).parent
DAYS = 14.0
ROMIPLOSTIM = "romiplostim 3 ug/kg sc weekly x 2"
ELTROMBOPAG = "eltrombopag 50 mg oral daily x 7"
TRANSFUSION = "transfusion 30 1/nL iv once from day 3"


def user_model(path):
    """Patients of a user's own model, none like another."""
    model = registry.build(registry.Source("one-compartment", file=str(path)))
    return model.patients(volume=list(np.linspace(2, 90, 12)), absorption=list(np.linspace(1, 20, 12)))


CASES = {
    "feedback": (lambda: tj.cohort("healthy").sample(12), None),
    "romiplostim": (lambda: tj.cohort("itp").sample(12), ROMIPLOSTIM),
    "eltrombopag": (lambda: tj.cohort("healthy").sample(12), ELTROMBOPAG),
    "transfusion": (lambda: tj.cohort("itp").sample(12), TRANSFUSION),
    "all drugs": (lambda: tj.cohort("itp").sample(12), f"{ROMIPLOSTIM} and {ELTROMBOPAG} and {TRANSFUSION}"),
    "wang2010": (
        lambda: tj.model("wang2010").patients(
            baseline_platelets=np.linspace(50, 400, 12), weight=np.linspace(50, 110, 12)
        ),
        f"{ROMIPLOSTIM} and romiplostim 1 ug/kg iv once from day 9",
    ),
    "petrov2024": (lambda: tj.cohort("itp-mech-2", model="petrov2024").sample(12), ROMIPLOSTIM),
    "farrell2014": (lambda: tj.cohort("cld", model="farrell2014").sample(12), ELTROMBOPAG),
    "shimizu2021": (lambda: tj.cohort("cld", model="shimizu2021").sample(12), "lusutrombopag 3 mg oral daily x 7"),
    "zhu2025": (lambda: tj.model("zhu2025").patients(cd34=np.geomspace(1e6, 1e7, 12)), None),
    "infusions": (
        lambda: user_model(HERE.parent / "user_models" / "one_compartment.py"),
        "drug 10 mg oral weekly x 2 and drug 6 mg iv over 0.5 days once from day 2.2",
    ),
    "example": (
        lambda: user_model(HERE.parents[1] / "docs" / "examples" / "one_compartment.py"),
        "mydrug 25 mg oral daily x 9",
    ),
}
ENDPOINTS = [tj.Endpoint("nadir", "nadir"), tj.Endpoint("mean", "mean", start=2.0)]
NUMBERS = {
    "threshold": 212.0,
    "low": 205.0,
    "high": 230.0,
    "day": 9.0,
    "needed": 2.0,
    "below": 1e9,
    "rescue_weeks": 1.0,
    "allow_rescue": 0.0,
}
LOOKS = (0.0, 5.0, 7.0, 10.0, 14.0)
EVERY = [
    tj.Endpoint(
        name,
        name,
        start=3.0 if name in ("auc", "first_day_at_or_above", "cumulative_dose") else 0.0,
        stop=DAYS,
        numbers={k: NUMBERS[k] for k in reducer.numbers},
        drug="drug" if reducer.kind == "dose" else None,
        visits={
            "value_on_day": (9.0,),
            **dict.fromkeys(("weeks_of_response", "response_share", "response"), LOOKS),
        }.get(name, ()),
    )
    for name, reducer in REDUCERS.items()
    if reducer.kind != "ledger"  # of plans that have a policy: tests/solve/test_policies.py
]
EVERY.append(tj.Endpoint("no number", "value_on_day", stop=DAYS, visits=(9.0,)))


def solved(patients, regimen, backend="xla", precision="f64", endpoints=tuple(ENDPOINTS), run=None, kernel=cuda.kernel):
    """run: in place of that of `native`, whose arguments are the same."""
    with pytest.MonkeyPatch.context() as patch:
        if run is not None:
            backend = "native"
            patch.setattr(engine.native, "unusable", lambda model: None)
            patch.setattr(engine.native, "kernel", kernel)
            patch.setattr(engine.native, "run", run)
        asked = {"days": DAYS, "save_every": 1.0, "endpoints": endpoints, "backend": backend, "precision": precision}
        return tj.simulate(patients, regimen, **asked)


on_host = functools.partial(solved, run=cuda.run_on_host)


def assert_near(found, exact, rtol):
    assert not found.status.any()
    assert not exact.status.any()
    for name, value in {**exact.saved, **exact.endpoints}.items():
        mine = found.saved[name] if name in exact.saved else found.endpoints[name]
        np.testing.assert_allclose(mine, value, rtol=rtol, atol=rtol * np.nanmax(np.abs(value)), err_msg=name)


def assert_same(found, other):
    """To the bit."""
    for name in (*other.saved, *other.endpoints):
        mine, theirs = ((r.saved if name in r.saved else r.endpoints)[name] for r in (found, other))
        assert np.array_equal(mine, theirs, equal_nan=True), name


LONG_ONES = ("shimizu2021", "romiplostim", "eltrombopag", "transfusion")
"""Whose steps are so short that a block by `xla` takes seconds; and parts of "all drugs"."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG_ONES)) for n in CASES])
def test_every_model(name):
    """And, on one of them, every reducer; on another, no endpoint at all."""
    patients, regimen = CASES[name][0](), CASES[name][1]
    endpoints = {"transfusion": (), "infusions": EVERY}.get(name, ENDPOINTS)
    exact = solved(patients, regimen, endpoints=endpoints)
    assert_near(on_host(patients, regimen, endpoints=endpoints), exact, 1e-11)
    assert_near(on_host(patients, regimen, endpoints=endpoints, precision="f32"), exact, 3e-5)


def test_what_a_step_keeps():
    """Slopes become sums half-way through the six stages; a step of four needs one sum."""
    assert emit_cuda._Storage(CLASSICAL).size == 1
    assert emit_cuda._Storage(LONG).size == 3


@pytest.mark.parametrize("precision", ["f32", "f64"])
def test_what_patients_share_changes_no_bit(precision):
    """One patient shares every parameter with itself; two of a cohort share some; with a parameter set apart, fewer."""
    patients = tj.cohort("itp").sample(12)
    whole = on_host(patients, ROMIPLOSTIM, precision=precision)
    for rows in (slice(0, 1), slice(3, 5)):
        part = on_host(patients.pick(rows), ROMIPLOSTIM, precision=precision)
        assert np.array_equal(part.platelets, whole.platelets[:, rows])
        assert np.array_equal(part.endpoints["mean"], whole.endpoints["mean"][rows])


def test_a_text_is_printed_again_only_where_much_more_is_shared():
    made = cuda.kernel(registry.build(registry.Source("wang2010")), plan_of("wang2010"), "f32")
    few, more = frozenset(range(2)), frozenset(range(3))
    assert made.text(few, True)[0] == few
    assert made.text(more, True)[0] == few
    assert made.text(frozenset(range(8)), True)[0] == frozenset(range(8))
    assert made.text(frozenset({1}), True)[0] != few


def plan_of(name):
    """The plan of a case, as the engine makes it."""
    seen = []

    def kernel(model, plan, precision):
        seen.append(plan)
        return cuda.kernel(model, plan, precision)

    solved(CASES[name][0](), CASES[name][1], run=cuda.run_on_host, kernel=kernel, precision="f32")
    return seen[0]


# What is asked of a driver


def wang(n):
    return tj.model("wang2010").patients(baseline_platelets=np.linspace(50, 400, n), weight=np.linspace(50, 110, n))


def on_gpus(fake, n=150):
    return solved(wang(n), ROMIPLOSTIM, precision="f32", run=functools.partial(cuda.run, on=fake.on))


def test_chunks_on_two_gpus(fake):
    assert_same(on_gpus(fake), on_host(wang(150), ROMIPLOSTIM, precision="f32"))
    assert fake.launches() >= 5


def test_a_chunk_that_does_not_fit_is_halved(fake):
    fake.switch("fake_limit", 30_000)
    assert_same(on_gpus(fake), on_host(wang(150), ROMIPLOSTIM, precision="f32"))


def test_no_memory_at_all(fake):
    fake.switch("fake_limit", 2_000)
    with pytest.raises(RunError, match=r"GPU \d \(Fake\): out of memory for 8 patients"):
        on_gpus(fake)


def test_a_driver_that_does_not_take_the_instructions(fake):
    fake.switch("fake_load", 209)
    for gpu in fake.on:
        gpu.made.clear()
    with pytest.raises(RunError, match=r"NO_BINARY_FOR_GPU.*driver of CUDA 13\.0"):
        on_gpus(fake)


def test_no_driver_and_no_gpu(fake, library):
    with pytest.raises(places.NoGpu, match="no NVIDIA driver"):
        places.Driver("libthere-is-none.so.1")
    fake.switch("fake_init", 100)
    with pytest.raises(places.NoGpu, match="finds no GPU"):
        places.Driver(library)


NVRTC = """
int nvrtcVersion(int *major, int *minor) { *major = 11; *minor = 8; return 0; }
const char *nvrtcGetErrorString(int code) { return "as asked"; }
"""


def test_nvrtc_of_another_version_than_the_driver(tmp_path, monkeypatch):
    source, made = tmp_path / "nvrtc.c", tmp_path / "libnvrtc.so.11"
    source.write_text(NVRTC)
    subprocess.run([*build.compiler(), "-shared", "-fPIC", "-o", str(made), str(source)], check=True)
    monkeypatch.setenv("THROMBOJAX_NVRTC", str(made))
    nvrtc.find.cache_clear()
    with pytest.raises(nvrtc.NoNvrtc, match=r"driver is of CUDA 13.*NVRTC 11\.8"):
        nvrtc.find(13)
    assert nvrtc.find(11).version == (11, 8)
    nvrtc.find.cache_clear()
