"""Gradients by the CUDA text, compiled for this processor: against those of `native`, and through a driver whose GPUs it is."""

import functools
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from gradient_cases import dot, forward, itp, moved, patient_rows, reverse, several, user, wang

from thrombojax.codegen.trace import CannotTranslate
from thrombojax.errors import InputError
from thrombojax.solve import chunks, cuda, cuda_adjoint, gradient, places

pytestmark = pytest.mark.xdist_group("fast gradients")  # whose kernels of `native` are compared with


@pytest.fixture(autouse=True)
def usable(monkeypatch):
    """The processor in place of GPUs."""
    monkeypatch.setattr(cuda, "unusable", lambda model, precision="f32": None)
    on(monkeypatch, places.Host())


def on(monkeypatch: Any, *place: Any) -> None:
    monkeypatch.setattr(places, "gpus", lambda: place)


def by(backend: str, case: Any, **how: Any) -> Any:
    return functools.partial(case.objective, backend=backend, **how)


def assert_same(ours: Any, theirs: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def whole(case: Any) -> Any:
    """One direction in all arguments."""
    return jax.tree.map(lambda *parts: sum(parts), *case.directions().values())


@functools.cache
def slope(case: Any, backend: str) -> Any:
    return reverse(by(backend, case))(case.at)


@pytest.mark.parametrize(
    "case",
    [pytest.param(itp, marks=pytest.mark.slow), pytest.param(user, marks=pytest.mark.slow), wang],
    ids=["romiplostim", "infusions", "wang2010"],
)
def test_both_modes_are_those_of_native(case):
    case = case("romiplostim") if case is itp else case()
    ours, theirs = slope(case, "cuda"), slope(case, "native")
    for mine, exact in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(mine, exact, rtol=1e-10, atol=1e-12 * np.abs(exact).max())
    assert float(forward(by("cuda", case))(case.at, whole(case))) == pytest.approx(dot(theirs, whole(case)), rel=1e-10)


@pytest.mark.slow
def test_several_drugs():
    """Reverse mode against forward mode, and against a central difference."""
    case = several()
    f, direction, h = by("cuda", case), whole(several()), 1e-5
    along = dot(reverse(f)(case.at), direction)
    value = jax.jit(f)
    assert float(forward(f)(case.at, direction)) == pytest.approx(along, rel=1e-10)
    difference = float(value(moved(case.at, direction, h)) - value(moved(case.at, direction, -h))) / (2 * h)
    assert along == pytest.approx(difference, rel=1e-6)


def test_times_that_nobody_asks_for_change_nothing():
    asked, not_asked = (float(user().slope_of_amounts(times, backend="cuda")) for times in (True, False))
    assert not_asked == pytest.approx(asked, rel=1e-12)


def test_single_precision():
    case = user()
    exact, single = slope(case, "cuda"), reverse(by("cuda", case, precision="f32"))(case.at)
    for a, b in zip(jax.tree.leaves(single), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * np.abs(b).max())
    along = forward(by("cuda", case, precision="f32"))(case.at, whole(case))
    assert float(along) == pytest.approx(dot(exact, whole(case)), rel=1e-4)


def test_memory_and_chunks_change_no_bit(monkeypatch):
    """However short the windows are between which states are kept, and however few patients a launch takes."""
    monkeypatch.setattr(chunks, "LEAST", 4)
    seen, launches = [], []

    def windows(*given):
        seen.append(cuda_adjoint_windows(*given)[0])
        return (seen[-1], cuda_adjoint_windows(*given)[1])

    cuda_adjoint_windows, call = cuda_adjoint.windows, places.Host.call

    def watched(self, made, name, job, threads):
        launches.append(name)
        return call(self, made, name, job, threads)

    monkeypatch.setattr(cuda_adjoint, "windows", windows)
    monkeypatch.setattr(places.Host, "call", watched)
    case = user()
    long, short, least = (reverse(by("cuda", case, memory=memory))(case.at) for memory in (None, 38_000, 1))
    assert seen[0] > seen[1] > seen[2] == 1
    assert launches.count("thrombojax_back") == 1 + 2 + 4
    assert_same(short, long)
    assert_same(least, long)


def test_a_patient_without_a_result_has_no_gradient_and_harms_no_neighbour():
    case, bad = user(), 5
    live = np.arange(case.cohort.n) != bad
    slope = case.at["parameters"]["slope"].copy()
    slope[bad] = 1e308
    at = {**case.at, "parameters": {**case.at["parameters"], "slope": slope}}
    sound, found = (reverse(by("cuda", case, live=live))(where) for where in (case.at, at))
    for part in jax.tree.leaves(patient_rows(found, bad)):
        assert part == 0.0
    assert_same(patient_rows(found, live), patient_rows(sound, live))
    for what in ("amounts", "times", "durations"):
        np.testing.assert_allclose(found[what], sound[what], rtol=1e-12)


def test_two_gpus(fake, monkeypatch):
    """The bits of one processor, whatever fits into memory at once."""
    case, launches = user(70), [fake.launches()]
    both = reverse(by("cuda", case)), forward(by("cuda", case))
    alone = both[0](case.at), both[1](case.at, whole(case))
    for gpus, limit in ((fake.on, 1 << 40), (fake.on[:1], 200_000)):
        on(monkeypatch, *gpus)
        fake.switch("fake_limit", limit)
        assert_same((both[0](case.at), both[1](case.at, whole(case))), alone)
        launches.append(fake.launches() - sum(launches))
    assert launches[2] > launches[1] >= 3 * 7, "three chunks and seven kernels, then halves of chunks"


def test_days_that_share_a_bound():
    """Each has its share of the gradient."""
    case = user()
    once, twice = (reverse(by("cuda", case, save=days, wanted=()))(case.at) for days in ((10.0,), (10.0, 10.0)))
    for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(twice), strict=True):
        np.testing.assert_allclose(b, 2 * np.asarray(a), rtol=1e-12)


def test_which_backend(monkeypatch):
    model = user().model
    assert gradient.choose("auto", model, "f32") == "cuda"
    monkeypatch.setattr(cuda, "unusable", lambda model, precision: "there is none")
    assert gradient.choose("auto", model, "f32") == gradient.choose("native", model, "f32") == "native"
    with pytest.warns(RuntimeWarning, match="backend cuda: there is none; native runs instead"):
        assert gradient.choose("cuda", model, "f32") == "native"
    with pytest.raises(InputError, match="xla"):
        gradient.choose("xla", model, "f32")


def test_which_backend_a_model_allows():
    model = replace(user().model, backends=("cuda", "xla"))
    with pytest.raises(InputError, match="runs on cuda, xla, not on native"):
        gradient.choose("native", model, "f32")
    with pytest.raises(CannotTranslate, match="runs on xla, reference alone"):
        gradient.choose("auto", replace(model, backends=("xla", "reference")), "f32")
    assert gradient.choose("auto", replace(model, backends=("native", "xla")), "f32") == "native"
