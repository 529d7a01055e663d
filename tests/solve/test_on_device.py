"""Kernels inside JAX's own programs: by the handler on the processor, with a driver whose GPUs it is. No GPU is needed."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gradient_cases import forward, itp, patient_rows, reverse, user, wang
from test_policy_gradients import smooth

from thrombojax.solve import cuda, cuda_adjoint, engine, on_device, places
from thrombojax.solve.steppers import method

pytestmark = pytest.mark.xdist_group("on device")


@functools.cache
def register():
    handler = jax.ffi.pycapsule(on_device._library().thrombojax_launch_here)
    jax.ffi.register_ffi_target(on_device.TARGET, handler, platform="cpu")


@pytest.fixture
def gpu(fake, monkeypatch):
    """JAX's processor is the first of the fake driver's GPUs."""
    register()
    monkeypatch.setattr(cuda, "unusable", lambda model, precision="f32": None)
    monkeypatch.setattr(places, "gpus", lambda: fake.on[:1])
    monkeypatch.setattr(on_device, "platforms", lambda: ("cpu",))
    yield fake
    jax.clear_caches()


@pytest.fixture
def by_host(monkeypatch):
    """(f, what it is given) -> its value where kernels are called from the host."""

    def call(f, *given):
        with monkeypatch.context() as patch:
            patch.setattr(on_device, "platforms", lambda: ())
            return f(*given)

    return call


def by_cuda(case: Any, **how: Any) -> Any:
    return functools.partial(case.objective, backend="cuda", **how)


def values(case: Any, **how: Any) -> Any:
    return jax.jit(lambda at: case.solve(at, backend="cuda", **how))


def whole(case: Any) -> Any:
    return jax.tree.map(lambda *parts: sum(parts), *case.directions().values())


def assert_near(ours: Any, theirs: Any, rtol: float) -> None:
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.nanmax(np.abs(b), initial=0.0))


@pytest.mark.parametrize("precision", ["f64", "f32"])
@pytest.mark.parametrize("case", [user, wang], ids=["infusions", "wang2010"])
def test_the_numbers_of_the_host(gpu, by_host, case, precision):
    """Values, and gradients of both directions, with dose times traced: to the bit."""
    case = case()
    for make, given in (
        (values, (case.at,)),
        (lambda c, **k: reverse(by_cuda(c, **k)), (case.at,)),
        (lambda c, **k: forward(by_cuda(c, **k)), (case.at, whole(case))),
    ):
        before = gpu.launches()
        ours = make(case, precision=precision)(*given)
        assert gpu.launches() > before
        assert_near(ours, by_host(make(case, precision=precision), *given), 0.0)


def lowered(f: Any, *given: Any, platforms: Any = None) -> str:
    return jax.jit(f).trace(*given).lower(lowering_platforms=platforms).as_text()


def test_no_callback_is_left(gpu):
    case = user()
    for f in (by_cuda(case), jax.grad(by_cuda(case))):
        text = lowered(f, case.at)
        assert on_device.TARGET in text
        assert "callback" not in text


def test_the_program_of_a_gpu(gpu, monkeypatch):
    """JAX makes it without a GPU: a gradient has the kernels of its values and those of the way back, and no callback."""
    monkeypatch.setattr(on_device, "platforms", lambda: ("cuda",))
    case = user()
    text = lowered(jax.grad(by_cuda(case)), case.at, platforms=("cuda",))
    assert text.count(f"@{on_device.TARGET}") == 2
    assert "callback" not in text
    text = lowered(jax.grad(by_cuda(case)), case.at, platforms=("cpu",))
    assert on_device.TARGET not in text
    assert "callback" in text


def test_chunks_and_windows_change_no_bit(gpu, monkeypatch):
    case, found, seen, divide = user(70), [], [], cuda_adjoint._Back.divide

    def watched(self, *given):
        divide(self, *given)
        seen.append(self.window)

    monkeypatch.setattr(cuda_adjoint._Back, "divide", watched)
    for memory in (None, 300_000, 38_000):
        f = jax.grad(by_cuda(case, memory=memory))
        found.append((lowered(f, case.at).count(f"@{on_device.TARGET}"), jax.jit(f)(case.at)))
    assert len(set(seen)) == 3
    assert min(seen) == 1
    assert [calls for calls, _ in found] == [3 + 3, 3 + 3, 3 + 9], "values in three chunks, and the way back"
    for _, other in found[1:]:
        jax.tree.map(np.testing.assert_array_equal, other, found[0][1])


def test_several_numbers_of_steps(gpu, by_host):
    """And a patient who has no result, for whom nothing is launched."""
    case = user()
    rate, status = case.cohort.rate.copy(), case.cohort.status.copy()
    rate[[2, 3, 11]], rate[7], status[5] = 30.0, 70.0, 1
    cohort = dataclasses.replace(case.cohort, rate=rate, status=status)
    live = status == 0
    how = {"cohort": cohort, "live": live}
    assert len(set(engine.buckets(case.model, rate, method(case.model)))) == 3
    ours = reverse(by_cuda(case, **how))(case.at)
    assert_near(ours, by_host(reverse(by_cuda(case, **how)), case.at), 1e-12)
    assert all(np.all(part == 0) for part in jax.tree.leaves(patient_rows(ours, 5)))
    found = values(case, cohort=cohort)(case.at)
    assert_near(found, by_host(values(case, cohort=cohort), case.at), 1e-12)
    assert np.isnan(found[0]["mean"]).tolist() == (~live).tolist()


def test_a_patient_whose_state_is_not_finite(gpu, by_host):
    case = user()
    slope = case.at["parameters"]["slope"].copy()
    slope[5] = 1e308
    at = {**case.at, "parameters": {**case.at["parameters"], "slope": slope}}
    found = values(case)(at)
    assert np.isnan(found[1]["platelets"]).any(axis=0).tolist() == (np.arange(case.cohort.n) == 5).tolist()
    live = np.arange(case.cohort.n) != 5
    ours = reverse(by_cuda(case, live=live))(at)
    assert_near(ours, by_host(reverse(by_cuda(case, live=live)), at), 1e-12)


def test_outside_of_jit(gpu, by_host):
    """Of amounts alone: the timeline is known."""
    case = user()
    f = lambda amounts: by_cuda(case)({**case.at, "amounts": amounts})  # noqa: E731
    assert_near(jax.grad(f)(case.at["amounts"]), by_host(jax.grad(f), case.at["amounts"]), 1e-12)
    assert float(f(case.at["amounts"])) == pytest.approx(float(by_host(f, case.at["amounts"])), rel=1e-12)


def test_selected_patients(gpu, by_host):
    """In any order, one twice; where the selection is traced, kernels are called from the host."""
    case = user()
    rows = np.array([3, 1, 12, -1, 3])

    def course(rows, amounts):
        at = {**case.at, "amounts": amounts, "parameters": {}, "y0": None}
        return case.solve(at, backend="cuda", rows=rows)

    known = functools.partial(course, rows)
    amounts = case.at["amounts"]
    assert on_device.TARGET in lowered(known, amounts)
    assert_near(jax.jit(known)(amounts), by_host(jax.jit(known), amounts), 1e-12)
    text = lowered(course, rows, amounts)
    assert on_device.TARGET not in text
    assert "callback" in text


def test_days_that_share_a_bound(gpu, by_host):
    case, how = user(), {"save": (10.0, 10.0, 3.5), "wanted": ()}
    assert_near(values(case, **how)(case.at), by_host(values(case, **how), case.at), 0.0)
    assert_near(reverse(by_cuda(case, **how))(case.at), by_host(reverse(by_cuda(case, **how)), case.at), 1e-12)


def test_endpoints_alone(gpu, by_host):
    """No day is saved, no parameter moves."""
    case = user()
    at = {**case.at, "parameters": {}}
    ours = reverse(by_cuda(case, save=()))(at)
    assert_near(ours, by_host(reverse(by_cuda(case, save=())), at), 1e-12)


def test_float32_where_jax_has_no_float64(gpu, by_host):
    """Sums and marks have 64 bits all the same."""
    case = user()
    with jax.enable_x64(False):
        at = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), case.at)
        ours = reverse(by_cuda(case, precision="f32"))(at)
        assert_near(ours, by_host(reverse(by_cuda(case, precision="f32")), at), 1e-5)
        assert all(part.dtype == np.float32 for part in jax.tree.leaves(ours))


def test_many_at_once(gpu, by_host):
    """`vmap` of values: one after another. (A linear call has no rule for it, so gradients have none either.)"""
    case = user()
    f = lambda amounts: by_cuda(case)({**case.at, "amounts": amounts})  # noqa: E731
    amounts = np.stack([case.at["amounts"], 2 * case.at["amounts"]])
    ours = jax.jit(jax.vmap(f))(amounts)
    assert_near(ours, np.stack([jax.jit(f)(row) for row in amounts]), 1e-12)


def test_doses_that_follow_counts(gpu, by_host):
    """A smooth policy: its numbers are reached too."""
    case = smooth("with misses")
    f, along = functools.partial(case.objective, backend="cuda"), case.direction()
    assert "callback" not in lowered(jax.grad(f), *case.at)
    for call in (
        lambda: jax.jit(f)(*case.at),
        lambda: jax.jit(jax.grad(f, argnums=(0, 1, 2, 3)))(*case.at),
        lambda: jax.jit(lambda at, along: jax.jvp(f, at, along)[1])(case.at, along),
    ):
        assert_near(call(), by_host(call), 1e-12)


@pytest.mark.slow
def test_the_flagship(gpu, by_host):
    case = itp("romiplostim")
    assert_near(reverse(by_cuda(case))(case.at), by_host(reverse(by_cuda(case)), case.at), 1e-12)


def test_an_error_of_the_driver(gpu):
    case = user()
    f = values(case).lower(case.at).compile()
    gpu.switch("fake_launch", 719)
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"thrombojax: cuLaunchKernel: CUDA_ERROR \(719\)"):
        jax.block_until_ready(f(case.at))
    gpu.switch("fake_launch", 0)
    jax.block_until_ready(f(case.at))


def test_a_kernel_that_is_not_loaded(gpu):
    """A program of another process, say, whose text this one has not seen."""
    given = {"job": np.zeros(8, int), "offsets": np.array([0]), "threads": np.array([1]), "module": np.array([1])}
    call = jax.ffi.ffi_call(on_device.TARGET, jax.ShapeDtypeStruct((3,), np.float32))
    with pytest.raises(jax.errors.JaxRuntimeError, match="not loaded"):
        jax.block_until_ready(call(**given))
    with pytest.raises(jax.errors.JaxRuntimeError, match="do not fit together"):
        jax.block_until_ready(call(**{**given, "offsets": np.array([0, 8])}))


def test_where_jax_has_no_gpu():
    """And with the handler compiled for one where there is."""
    on_device.platforms.cache_clear()
    assert on_device.platforms() == (("cuda",) if jax.default_backend() == "gpu" else ())


def test_on_a_gpu():
    """What no other test here can: XLA's own stream and buffers."""
    if not on_device.platforms() or cuda.available() is not None:
        pytest.skip("JAX has no GPU here")
    case = user()
    assert "callback" not in lowered(jax.grad(by_cuda(case)), case.at)
    native = functools.partial(case.objective, backend="native")
    assert_near(reverse(by_cuda(case))(case.at), reverse(native)(case.at), 1e-10)
    along = forward(native)(case.at, whole(case))
    assert float(forward(by_cuda(case))(case.at, whole(case))) == pytest.approx(float(along), rel=1e-10)
