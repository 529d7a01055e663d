"""The exact linear block against SciPy's matrix exponential, and its gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm

from thrombojax.models.protocol import LinearBlock
from thrombojax.solve import linear

# (from, to or None): a depot into two compartments; three compartments with a depot; a chain
N = 12
SHAPES = {
    "one": ((0, 1), (1, None)),
    "two": ((0, 1), (1, None), (1, 2), (2, 1)),
    "three": ((0, 1), (1, None), (1, 2), (2, 1), (1, 3), (3, 1)),
    "chain": ((0, 1), (1, 2), (2, 3), (3, None)),
}
ELTROMBOPAG = [0.333 * 24, 0.953 * 24 / 9.75, 0.633 * 24 / 9.75, 0.633 * 24 / 9.41]
SWITCHED = [5.26 * 24, *ELTROMBOPAG[1:]]


def matrix(shape, rates, inputs=None):
    """Our generator with the rates as arrays `[patient]`, and the same as NumPy matrices `[patient, n, n]`."""
    n = 1 + max(max(i, j or 0) for i, j in SHAPES[shape])
    transfers = tuple((i, j, r) for (i, j), r in zip(SHAPES[shape], rates, strict=True))
    block = LinearBlock(tuple("abcd"[:n]), transfers)
    a = linear.generator(block, inputs or {})
    plain = np.zeros((len(rates[0]), len(a), len(a)))
    for i, j, r in transfers:
        plain[:, i, i] -= r
        if j is not None:
            plain[:, j, i] += r
    for i, rate in (inputs or {}).items():
        plain[:, i, n] = rate
    return a, plain


def dense(increment, n):
    """The matrix as one array `[patient, n, n]`, of the dtype of its entries that are arrays."""
    dtype = next(x.dtype for row in increment for x in row if not isinstance(x, float))
    return np.stack([np.stack([np.broadcast_to(np.asarray(x, dtype), n) for x in row], -1) for row in increment], -2)


def draw(seed, shape, n=N):
    """Rates from 0.05 to 150 per day."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.uniform(np.log(0.05), np.log(150), (len(SHAPES[shape]), n)))


def coalescing(seed, shape, n=N):
    """All rates of a patient exactly the same, or nearly."""
    rng = np.random.default_rng(seed)
    apart = 10.0 ** rng.uniform(-15, -3, (len(SHAPES[shape]), n)) * rng.integers(0, 2, n)
    return draw(seed, shape)[:1] * (1 + apart)


def by_squaring(m):
    """exp(m) - I in 80-bit floats. SciPy's expm loses six digits on nearly coalescing triangular matrices."""
    small = m.astype(np.longdouble) / 2**12
    term, total = small, small.copy()
    for k in range(2, 16):
        term = term @ small / k
        total = total + term
    for _ in range(12):
        total = 2 * total + total @ total
    return total.astype(float)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(SHAPES)), st.sampled_from([1e-6, 0.01, 0.125, 0.5, 1.0]))
def test_increment_against_scipy(seed, shape, h):
    """exp(A h) - I to 1e-12."""
    a, plain = matrix(shape, draw(seed, shape))
    ours = dense(linear.increment(a, h), N)
    theirs = expm(plain * h) - np.eye(plain.shape[-1])
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(SHAPES)), st.sampled_from([0.01, 0.125, 0.5, 1.0]))
def test_increment_at_coalescing_rates(seed, shape, h):
    rates = coalescing(seed, shape)
    a, plain = matrix(shape, rates)
    ours = dense(linear.increment(a, h), N)
    np.testing.assert_allclose(ours, by_squaring(plain * h), rtol=0, atol=1e-12)
    if shape == "one":  # ka (exp(-ke h) - exp(-ka h)) / (ka - ke), written so that it does not cancel
        ka, ke = rates
        d = np.where(ka == ke, 1e-300, (ka - ke) * h)
        np.testing.assert_allclose(ours[:, 1, 0], ka * h * np.exp(-ke * h) * -np.expm1(-d) / d, rtol=1e-11, atol=1e-14)


@given(st.integers(0, 2**32 - 1), st.sampled_from(list(SHAPES)))
def test_small_steps_keep_relative_precision(seed, shape):
    """The reason to work on the difference from the identity: at 1e-9 days every entry still has 12 digits."""
    a, plain = matrix(shape, draw(seed, shape))
    h = 1e-9
    ours = dense(linear.increment(a, h), N)
    m = plain * h
    theirs = m + m @ m / 2 + m @ m @ m / 6 + m @ m @ m @ m / 24
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=0)


@pytest.mark.parametrize("rates", [ELTROMBOPAG, SWITCHED])
@pytest.mark.parametrize("h", [1 / 24, 0.25, 0.5])
def test_float32(rates, h):
    """A few units in the last place of float32, at the rates and steps of eltrombopag."""
    single = [np.full(1, r, np.float32) for r in rates]
    with jax.enable_x64(False):
        a, _ = matrix("two", single)
        a = jax.tree.map(lambda x: x if isinstance(x, float) else jnp.asarray(x), a)
        ours = dense(jax.tree.map(np.asarray, linear.increment(a, h)), 1)
    assert ours.dtype == np.float32
    _, plain = matrix("two", [np.full(1, np.float64(np.float32(r))) for r in rates])
    np.testing.assert_allclose(ours[0], expm(plain[0] * h) - np.eye(3), rtol=0, atol=1e-6)


def test_constant_inputs():
    """An infusion: the last compartment that stays one."""
    rates = draw(3, "two")
    a, plain = matrix("two", rates, {1: np.full(N, 2.5)})
    ours = dense(linear.increment(a, 0.3), N)
    np.testing.assert_allclose(ours, expm(plain * 0.3) - np.eye(4), rtol=0, atol=1e-12)
    y = np.array([1.0, 2.0, 3.0])
    advanced = np.stack(linear.advance(linear.increment(a, 0.3), [np.full(N, v) for v in y]))
    np.testing.assert_allclose(advanced.T, (expm(plain * 0.3) @ [*y, 1.0])[:, :3], atol=1e-12)


def test_mass_is_conserved_without_elimination():
    rates = [np.array([r]) for r in (3.0, 0.0, 1.3, 0.7)]
    a, _ = matrix("two", rates)
    y = [np.array([5.0]), np.array([1.0]), np.array([0.0])]
    after = linear.advance(linear.increment(a, 0.9), y)
    assert float(sum(after)[0]) == pytest.approx(6.0, rel=1e-15)


@pytest.mark.parametrize("rates", [[0.3, 0.3], [0.3, 0.3 * (1 + 1e-9)], [3.0, 0.2], [120.0, 2.4]])
def test_gradients_to_rates_and_time(rates):
    """Against central differences, and for ka = ke against the closed form; forward and reverse mode agree."""

    def central(x):
        a = [[-x[0], 0.0], [x[0], -x[1]]]
        return 1.0 * linear.increment(a, x[2])[1][0]

    x = np.array([*rates, 0.7])
    forward, reverse = jax.jacfwd(central)(x), jax.jacrev(central)(x)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12)
    ka, ke, t = x
    if abs(ka - ke) < 1e-6 * ka:  # ka t exp(-ka t)
        decay = np.exp(-ka * t)
        exact = [t * decay - ka * t**2 * decay / 2, -ka * t**2 * decay / 2, ka * decay - ka**2 * t * decay]
        np.testing.assert_allclose(forward, exact, rtol=1e-7)
    for k in range(3):
        h = 1e-5 * x[k]
        up, down = x.copy(), x.copy()
        up[k], down[k] = x[k] + h, x[k] - h
        numeric = (float(central(up)) - float(central(down))) / (2 * h)
        np.testing.assert_allclose(forward[k], numeric, rtol=1e-7, atol=1e-10)


def test_structural_zeros_cost_nothing():
    """The upper triangle of a depot-central system is the float 0.0, not an array."""
    a, _ = matrix("one", [np.ones(2), np.ones(2)])
    result = linear.increment(a, jnp.asarray(0.5))
    assert result[0][1] == 0.0
    assert isinstance(result[0][1], float)
