"""The right-hand side that other people's tools get is the model's, in every notation; and the patients' doses are right."""

import ctypes
import json
import shutil
import subprocess

import jax
import numpy as np
import pytest

from benchmarks import peers
from benchmarks.peers import problem, translate
from thrombojax.bench.record import RATIOS, REQUIRED
from thrombojax.models import struct
from thrombojax.models.protocol import Inputs


@pytest.fixture(scope="module")
def given():
    return problem.make(8)


@pytest.fixture(scope="module")
def cases(given):
    """(state, constants, derivatives, count) of the model at random states of every patient, in float64."""
    rng = np.random.default_rng(1)
    found = []
    with jax.enable_x64(True):
        for i, y0 in enumerate(given.y0):
            y = y0 * rng.lognormal(size=y0.shape) + 0.1 * rng.lognormal(size=y0.shape)
            p = jax.tree.map(lambda a, i=i: np.float64(a[i]), given.cohort.p)
            state = struct.unflatten(given.model.State, list(y))
            rates = np.array(jax.tree.leaves(given.model.rhs(0.0, state, p, Inputs({}, 0.0))), float)
            found.append((y, given.constants[i], rates, float(given.model.observe(state, p).platelets)))
    return found


def _check(cases, rhs, count):
    for y, k, expected, platelets in cases:
        d = np.empty_like(y)
        rhs(y, k, d)
        np.testing.assert_allclose(d, expected, rtol=1e-12, atol=1e-12 * np.abs(y).max())
        assert count(y, k) == pytest.approx(platelets, rel=1e-12)


def test_python_text_is_the_model(given, cases):
    scope = {}
    exec(translate.python_functions(given.text), scope)
    _check(cases, scope["rhs"], scope["count"])


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_c_text_is_the_model(given, cases, tmp_path):
    wrappers = ("void f(double *y, double *k, double *d) { rhs(y, k, d); }\n"
                "double g(double *y, double *k) { return count(y, k); }\n")  # fmt: skip
    (tmp_path / "rhs.c").write_text(translate.c_functions(given.text) + wrappers)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "rhs.c", "-o", "rhs.so", "-lm"], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "rhs.so"))
    library.g.restype = ctypes.c_double

    def pointer(a):
        return a.ctypes.data_as(ctypes.POINTER(ctypes.c_double))

    _check(cases, lambda y, k, d: library.f(pointer(y), pointer(k), pointer(d)),
           lambda y, k: library.g(pointer(y), pointer(k)))  # fmt: skip


def test_mrgsolve_text_is_the_c_text_in_other_names(given):
    """The same expressions: `k[3]` is written `k3`, `d[3] = ` is `dxdt_y3 = `."""
    c = translate.c_functions(given.text).replace("[", "").replace("]", "")
    rhs = c[c.index("{") + 1 : c.index("}")].replace("const double", "local_double").replace("const int", "local_int")
    lines = [line.strip() for line in rhs.strip().splitlines()]
    model = translate.mrgsolve_model(given.text, given.depot).splitlines()
    ode = model[model.index("$ODE") + 1 : model.index("$TABLE")]
    assert [line.replace("dxdt_y", "d") for line in ode] == lines


def test_doses_are_those_of_the_sentence(given):
    p = given.cohort.p
    np.testing.assert_array_equal(given.doses, 7.0 * np.arange(26))
    np.testing.assert_allclose(given.amount, 3.0 * p.body.weight * p.romiplostim.bioavailability, rtol=1e-14)
    assert given.text.states[given.depot] == "romiplostim.depot"


def test_error_is_of_the_worst_day_and_never_hides_a_failure(given):
    given.__dict__["reference"] = np.full((problem.DAYS, 8), 100.0)
    counts = np.full((problem.DAYS, 8), 100.0)
    counts[40, 3] = 101.0
    assert given.error(counts) == pytest.approx(0.01)
    counts[41, 2] = np.nan
    assert given.error(counts) == np.inf


def test_search_takes_the_loosest_tolerance_that_holds():
    found = peers._loosest(lambda rtol, ratio: 3.0 * rtol * ratio**0.25, 1e-4)
    for rtol, atol in found:
        error = 3.0 * rtol * (atol / rtol) ** 0.25
        assert error <= 1e-4 < error * 10**0.25 * 1.0001
    assert peers._loosest(lambda rtol, ratio: 0.0, 1e-4) == [
        (peers.LOOSEST, peers.LOOSEST),
        (peers.LOOSEST, peers.LOOSEST * 1e-2),
    ]
    assert peers._loosest(lambda rtol, ratio: 1.0, 1e-4) == []


def test_a_tolerance_of_an_earlier_run_is_taken_where_it_holds_and_searched_for_where_it_does_not():
    known = [{"peer": "a", "target": 1e-4, "tolerance": 1e-4, "atol": 1e-6}]
    assert peers._again(lambda rtol, ratio: rtol * ratio, "a", 1e-4, known) == [(1e-4, 1e-6)]
    assert peers._again(lambda rtol, ratio: 2.0 * rtol, "a", 1e-4, known) == []
    assert peers._again(lambda rtol, ratio: 0.0, "a", 1e-6, known) == []
    assert peers._again(lambda rtol, ratio: 0.0, "b", 1e-4, known) == []


def test_the_main_peers_are_what_the_ratios_of_every_record_need():
    rows = [peers._row(name, target, seconds=1.0, patient_years_per_s=1.0)
            for name, targets in {"thrombojax native": peers.TARGETS, **peers.MAIN}.items() for target in targets]  # fmt: skip
    needed = {name for name in RATIOS if "mrgsolve" in name or "diffrax" in name}
    assert len(needed) == 3
    assert needed <= peers.record(rows)["ratios"].keys()


def test_the_main_peer_of_diffrax_is_its_faster_method_of_the_record():
    rows = json.loads(peers.RECORD.read_text())["rows"]
    speed = {row["peer"]: row["patient_years_per_s"] for row in rows if row["target"] == 1e-4}
    fastest = max((name for name in speed if name.startswith("diffrax")), key=speed.__getitem__)
    assert [name for name in peers.MAIN if name.startswith("diffrax")] == [fastest]


def test_the_record_has_the_tolerances_of_the_main_peers():
    known = {(row["peer"], row["target"]) for row in json.loads(peers.RECORD.read_text())["rows"]}
    assert {(name, target) for name, targets in peers.MAIN.items() for target in targets} <= known


def test_a_tool_that_is_absent_gives_a_row_that_says_so(given, monkeypatch):
    monkeypatch.setitem(peers.PEERS, "absent", (("no-such-program",), ""))
    (row,) = peers.measure({"absent": (1e-4,)}, backends=(), given=given)
    assert row["note"] == "no-such-program is not installed"
    assert row["patient_years_per_s"] is None
    assert "no-such-program is not installed" in peers.table([row])


def test_the_record_is_what_bench_reads():
    def row(peer, speed):
        return peers._row(peer, 1e-4, patients=10, seconds=1.0, patient_years_per_s=speed, tolerance=1e-4)

    rows = [
        row("thrombojax native", 80.0),
        row("mrgsolve", 8.0),
        row("diffrax Tsit5", 10.0),
        row("diffrax Dopri8", 5.0),
    ]
    found = peers.record([*rows, peers._row("deSolve", 1e-4, note="R is not installed")])
    assert found["ratios"]["native/mrgsolve f64 1e-4"] == 10.0
    assert found["ratios"]["native/diffrax f64"] == 8.0
    assert found["notes"] == ["deSolve: not measured: R is not installed"]
    assert len(found["rows"]) == 4
    assert all(set(REQUIRED) <= set(row) for row in found["rows"])
