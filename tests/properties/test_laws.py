"""Laws that hold for every model and regimen: order, blocks, devices and neighbours never change a patient's numbers."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import thrombojax as tj
from thrombojax.models import registry, struct
from thrombojax.models.protocol import Inputs
from thrombojax.solve import engine

ROMIPLOSTIM = "romiplostim 3 ug/kg sc weekly x 2"
DAYS = 14.0
ENDPOINTS = (tj.Endpoint("peak", "peak"), tj.Endpoint("mean", "mean"))

CASES = {
    "itp, romiplostim": (lambda n: tj.cohort("itp").sample(n), ROMIPLOSTIM),
    "healthy, eltrombopag": (lambda n: tj.cohort("healthy").sample(n), "eltrombopag 50 mg oral daily x 7"),
    "cirrhosis, lusutrombopag": (
        lambda n: tj.cohort("cld-lusutrombopag").sample(n),
        "lusutrombopag 3 mg oral daily x 7",
    ),
    "cirrhosis, avatrombopag": (
        lambda n: tj.cohort("cld-avatrombopag-low").sample(n),
        "avatrombopag 60 mg oral daily x 5",
    ),
    "wang2010": (
        lambda n: tj.model("wang2010").patients(
            baseline_platelets=np.linspace(50, 400, n), weight=np.linspace(50, 110, n)
        ),
        ROMIPLOSTIM,
    ),
    "petrov2024": (lambda n: tj.cohort("itp-splenectomised-mech-1", model="petrov2024").sample(n), ROMIPLOSTIM),
    "farrell2014": (lambda n: tj.cohort("cld", model="farrell2014").sample(n), "eltrombopag 75 mg oral daily x 7"),
    "shimizu2021": (lambda n: tj.cohort("cld", model="shimizu2021").sample(n), "lusutrombopag 3 mg oral daily x 7"),
}


def solved(patients, regimen=ROMIPLOSTIM, **options):
    return tj.simulate(patients, regimen, days=DAYS, save_every=1.0, endpoints=ENDPOINTS, **options)


def same(a, b) -> bool:
    """Equal to the bit, platelets and endpoints."""
    arrays = [(a.platelets, b.platelets), *((a.endpoints[k], b.endpoints[k]) for k in a.endpoints)]
    return all(np.array_equal(x, y) for x, y in arrays) and np.array_equal(a.status, b.status)


@pytest.fixture(scope="module")
def whole():
    """1500 patients: more than one block."""
    return solved(tj.cohort("itp").sample(1500))


@pytest.mark.xdist_group("laws")
@pytest.mark.parametrize("rows", [slice(0, 1), slice(700, 707), slice(0, 1037), slice(1400, 1500)], ids=str)
def test_any_chunk_gives_the_same_bits(whole, rows):
    part = solved(tj.cohort("itp").sample(1500).pick(rows))
    assert np.array_equal(part.platelets, whole.platelets[:, rows])
    assert np.array_equal(part.endpoints["peak"], whole.endpoints["peak"][rows])


@pytest.mark.xdist_group("laws")
def test_any_order_gives_the_same_bits(whole):
    order = np.random.default_rng(1).permutation(1500)
    shuffled = solved(tj.cohort("itp").sample(1500).pick(order))
    assert np.array_equal(shuffled.platelets, whole.platelets[:, order])
    assert np.array_equal(shuffled.endpoints["mean"], whole.endpoints["mean"][order])


@pytest.mark.xdist_group("laws")
def test_a_larger_sample_begins_with_the_smaller(whole):
    assert np.array_equal(solved(tj.cohort("itp").sample(20)).platelets, whole.platelets[:, :20])


@pytest.mark.xdist_group("laws")
def test_patients_that_fail_are_counted_and_touch_nobody(whole):
    patients = tj.cohort("itp").sample(1500)
    potency = struct.as_dict(registry.build(patients.source, ("romiplostim",)).defaults)["romiplostim.potency"]
    drawn = solved(patients).parameters["romiplostim.potency"].copy()
    assert drawn.min() < potency < drawn.max()
    capacity = solved(patients).parameters["megakaryocytes.stem_capacity"].copy()
    capacity[[3, 900]] = -1.0  # no steady state has a negative stem pool
    broken = solved(patients.replace({"megakaryocytes.stem_capacity": capacity}))
    assert (np.flatnonzero(broken.status) == [3, 900]).all()
    assert np.isnan(broken.platelets[:, [3, 900]]).all()
    good = broken.status == engine.OK
    assert np.array_equal(broken.platelets[:, good], whole.platelets[:, good])


@pytest.mark.slow  # tests/e2e/test_same_bits.py has a sweep on two
def test_two_devices_give_the_bits_of_one():
    code = (
        "import thrombojax as tj, hashlib, jax, json;"
        f"r = tj.simulate(tj.cohort('itp').sample(1500), {ROMIPLOSTIM!r}, days=14, save_every=7.0);"
        "print(json.dumps([jax.local_device_count(), hashlib.sha256(r.platelets.tobytes()).hexdigest()]))"
    )
    said = []
    for count in (1, 2):
        flags = f"--xla_force_host_platform_device_count={count}"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "XLA_FLAGS": flags},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(json.loads(done.stdout))
    assert [devices for devices, _ in said] == [1, 2]
    assert said[0][1] == said[1][1]


@pytest.mark.parametrize("name", CASES)
def test_float32_is_near_float64_and_positive(name):
    patients, regimen = CASES[name]
    f32, f64 = (solved(patients(64), regimen, precision=precision) for precision in ("f32", "f64"))
    assert f32.platelets.dtype == np.float32
    assert f64.platelets.dtype == np.float64
    assert not f32.status.any()
    assert (f64.platelets > 0).all()
    np.testing.assert_allclose(f32.platelets, f64.platelets, rtol=3e-5)
    np.testing.assert_allclose(f32.endpoints["peak"], f64.endpoints["peak"], rtol=3e-5)


@pytest.mark.parametrize("name", CASES)
def test_nothing_given_changes_nothing(name):
    patients, regimen = CASES[name]
    drug, _, rest = regimen.split(" ", 2)
    zero = solved(patients(64), f"{drug} 0 {rest}", precision="f64")
    np.testing.assert_allclose(zero.platelets, np.broadcast_to(zero.platelets[0], zero.platelets.shape), rtol=1e-11)
    np.testing.assert_allclose(zero.endpoints["mean"], zero.platelets[0], rtol=1e-11)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.slow
@pytest.mark.parametrize("count", [3.0, 6.0])
def test_fast_clearance_takes_more_steps_and_stays_stable(count):
    """Splenectomised ITP at 3e9/L has rates to 14 per day: four Runge-Kutta steps a day would blow up."""
    patients = tj.cohort("itp-splenectomised").sample(32).replace(count=count)
    exact = solved(patients, precision="f64", backend="reference")
    for backend in ("native", "xla"):
        fast = solved(patients, precision="f64", backend=backend)
        assert not fast.status.any()
        np.testing.assert_allclose(fast.platelets, exact.platelets, rtol=2e-4)


def test_a_patient_too_stiff_for_any_step_is_said_so():
    patients = tj.cohort("itp").sample(4).replace({"thrombopoietin.tpo_turnover": np.array([1.5, 1e6, 1.5, 1.5])})
    assert solved(patients).status.tolist() == [0, engine.TOO_STIFF, 0, 0]


def test_romiplostim_is_lost_by_elimination_and_internalisation_only():
    """The three compartments lose what is cleared, at any state: k_el free V + k_int bound V."""
    model = registry.build(registry.Source("feedback"), ("romiplostim",))
    draw = np.random.default_rng(3)
    p = jax.tree.map(lambda v: np.full(50, float(v)), model.defaults)
    p = p._replace(romiplostim=jax.tree.map(lambda v: v * np.exp(0.2 * draw.standard_normal(50)), p.romiplostim))
    y = jax.tree.map(lambda a: np.asarray(a) * np.exp(0.3 * draw.standard_normal(50)), model.initial(p))
    y = y._replace(romiplostim=type(y.romiplostim)(*(10 ** draw.uniform(-2, 3, 50) for _ in range(3))))
    d = model.rhs(0.0, y, p, Inputs({}, 0.0)).romiplostim
    free = np.asarray(model.observe(y, p).romiplostim.concentration)
    drug, volume = p.romiplostim, p.romiplostim.volume * p.body.weight
    bound = y.romiplostim.central / volume - free
    cleared = (drug.elimination * free + drug.internalisation * bound) * volume
    np.testing.assert_allclose(np.asarray(d.depot + d.central + d.peripheral), -cleared, rtol=1e-9, atol=1e-12)
    # far above capacity the bound share is a difference of large numbers
    assert (np.asarray(bound) > -1e-9 * y.romiplostim.central / volume).all()
