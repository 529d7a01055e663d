"""Models as expressions: every primitive against JAX, what has no translation, folding, sharing and regrouping."""

import ctypes
import operator
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from jax import lax

from thrombojax.codegen import build, emit_c, trace
from thrombojax.codegen.expression import Graph
from thrombojax.codegen.printing import assign, statements
from thrombojax.codegen.program import Block
from thrombojax.codegen.regroup import regroup
from thrombojax.codegen.trace import CannotTranslate
from thrombojax.endpoints.rare import rarely
from thrombojax.errors import RunError

MEANING = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "reciprocal": lambda a: 1.0 / a,
    "max": np.maximum, "min": np.minimum, "abs": np.abs, "floor": np.floor, "sqrt": np.sqrt, "pow": np.power,
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "expm1": np.expm1, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
    "logistic": scipy.special.expit, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal, "and": np.logical_and, "or": np.logical_or, "not": np.logical_not,
    "is_finite": np.isfinite, "select": np.where,
    "rare": lambda condition, otherwise, value: np.where(condition, value, otherwise),
}  # fmt: skip
"""What each operation of a graph does."""


def value(g, node, symbols):
    """A node's value by NumPy; symbols: name -> array."""
    at = []
    with np.errstate(all="ignore"):
        for name, args, given_ in g.operations[: node + 1]:
            if name == "constant":
                at.append(np.asarray(given_))
            elif name == "symbol":
                at.append(symbols[given_[0]])
            else:
                at.append(MEANING[name](*(at[a] for a in args)))
    return at[node]


@jax.custom_jvp
def twice(x):
    return 2.0 * x


twice.defjvp(lambda primals, tangents: (twice(*primals), 3.0 * tangents[0]))  # not its derivative: so that it shows


@jax.custom_vjp
def thrice(x):
    return 3.0 * x


thrice.defvjp(lambda x: (thrice(x), x), lambda x, back: (5.0 * back,))


def smooth(x, y):
    return jnp.exp(-x * x) * jnp.log1p(x * x + y * y) / (1.0 + jnp.sqrt(x * x + 0.5)) + twice(x) ** 3


def gradient(x, y):
    out, back = jax.vjp(smooth, x, y)
    return out + sum(back(jnp.ones_like(out)))


CASES = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "neg": lambda x, y: -x,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "exp": lambda x, y: jnp.exp(x),
    "exp2": lambda x, y: jnp.exp2(x),
    "log": lambda x, y: jnp.log(x),
    "log1p": lambda x, y: jnp.log1p(x),
    "expm1": lambda x, y: jnp.expm1(x),
    "sqrt": lambda x, y: jnp.sqrt(x),
    "rsqrt": lambda x, y: lax.rsqrt(x),
    "tanh": lambda x, y: jnp.tanh(x),
    "logistic": lambda x, y: jax.nn.sigmoid(x),
    "abs": lambda x, y: jnp.abs(x),
    "sin": lambda x, y: jnp.sin(x),
    "cos": lambda x, y: jnp.cos(x),
    "floor": lambda x, y: jnp.floor(x),
    "sign": lambda x, y: jnp.sign(x),
    "square": lambda x, y: jnp.square(x),
    "integer powers": lambda x, y: x**2 + x**3 - x**7 + 1e-3 * y**-3 + x**0,
    "integer powers, big": lambda x, y: lax.integer_pow(x * 1e-2, 21),
    "power": lambda x, y: jnp.power(jnp.abs(x), y),
    "power, fixed": lambda x, y: jnp.abs(x) ** 0.75 + jnp.abs(y) ** 0.5 + jnp.power(y, 3.0) + jnp.power(y, -2.0),
    "power, infinite": lambda x, y: jnp.power(jnp.abs(x), jnp.inf),
    "base fixed": lambda x, y: 1.5**x,
    "comparisons": lambda x, y: sum(
        jnp.where(f(x, y), 2.0**k, 0.0)
        for k, f in enumerate((operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne))
    ),
    "logic": lambda x, y: jnp.where((x > 0) & ~(y > 0) | (x > y), x, y) + jnp.where((x > 0) ^ (y > 0), 1.0, 0.0),
    "truths chosen": lambda x, y: jnp.where(jnp.where(x > 0, y > 1, y < -1), 1.0, jnp.where(x > 0, False, True) * 3.0),
    "truths compared": lambda x, y: jnp.where((x > 0) == (y > 0), 1.0, 2.0),
    "is_finite": lambda x, y: jnp.where(jnp.isfinite(x / y), 1.0, 2.0),
    "truth as a number": lambda x, y: (x > 0).astype(float) + (y > 0).astype(int) + (x > y),
    "number as a truth": lambda x, y: jnp.where(x.astype(bool), 1.0, 2.0),
    "whole constants": lambda x, y: x + jnp.asarray(2.7).astype(int) - jnp.asarray(-2.7).astype(int) + 3,
    "where": lambda x, y: jnp.where(x > 0, y, -y),
    "select of three": lambda x, y: lax.select_n((x > 0).astype(int) + (y > 0), x, y, x * y),
    "clip": lambda x, y: jnp.clip(x, -1.0, 1.0) + lax.clamp(-0.5, y, 0.5),
    "cond": lambda x, y: lax.cond(x > 0, lambda x, y: x * y, lambda x, y: x - y, x, y),
    "switch": lambda x, y: lax.switch((x > 0).astype(int) + (y > 0), (lambda x: x, lambda x: -x, lambda x: x * x), x),
    "rarely": lambda x, y: rarely(x > 1, y, lambda x, y: jnp.log(x) * y, x, y),
    "rarely in rarely": lambda x, y: rarely(
        x > 0, y, lambda x, y: rarely(y > 0, x, lambda x, y: jnp.exp(x) + y, x, y) * 2.0, x, y
    ),
    "jit": lambda x, y: jax.jit(lambda a: jax.jit(jnp.exp)(a) + y)(x) * jax.jit(jnp.hypot)(x, y),
    "softplus": lambda x, y: jax.nn.softplus(x) - jax.nn.relu(y),
    "checkpoint": lambda x, y: jax.checkpoint(lambda x: x * jnp.exp(-y * y))(x),
    "custom_jvp": lambda x, y: twice(x),
    "custom_jvp, derivative": lambda x, y: jax.jvp(twice, (x,), (y,))[1],
    "custom_vjp": lambda x, y: thrice(x),
    "custom_vjp, derivative": lambda x, y: jax.grad(thrice)(x) * y,
    "jvp": lambda x, y: jax.jvp(smooth, (x, y), (y, x))[1],
    "jvp of extremes": lambda x, y: jax.jvp(lambda a: jnp.maximum(a, y) * jnp.clip(a, -1, 1) + a**y, (jnp.abs(x),), (y,))[1],
    "vjp": gradient,
    "second derivative": lambda x, y: jax.grad(jax.grad(smooth))(x, y),
    "optimization_barrier": lambda x, y: lax.optimization_barrier(x) + y,
    "shapes": lambda x, y: lax.broadcast(x, ()) + lax.reshape(x, ()) + jnp.squeeze(y) + lax.stop_gradient(x),
    "copy": lambda x, y: jnp.array(x, copy=True) + lax.reduce_precision(y, 11, 52),
    "literals": lambda x, y: x * np.float32(0.5) + np.int32(3) + jnp.pi,
}  # fmt: skip
NEVER = {"broadcast_in_dim", "copy_p", "stop_gradient", "pvary", "sharding_constraint", "squeeze"}
"""Names that JAX does not use for scalars here."""
POINTS = 301


@pytest.fixture(scope="module")
def points():
    """Ordinary numbers of every size, then every pair of special ones."""
    draw = np.random.default_rng(5)
    x, y = draw.normal(0, 3, (2, POINTS))
    special = np.array([0.0, 1.0, -1.0, 2.0, 1e-8, 1e8, -1e8, np.inf, -np.inf, np.nan])
    a, b = np.meshgrid(special, special)
    return np.concatenate([x, a.ravel()]), np.concatenate([y, b.ravel()])


def each(x, y):
    with jax.numpy_dtype_promotion("standard"):
        return {name: jnp.asarray(f(x, y), float) for name, f in CASES.items()}


@pytest.fixture(scope="module")
def by_jax(points):
    return {name: np.asarray(v) for name, v in jax.jit(jax.vmap(each))(*points).items()}


@pytest.fixture(scope="module")
def graph():
    """One graph of all cases: (graph, name -> node)."""
    g = Graph()
    return g, trace.trace(g, each, g.symbol(("x", 0), 3), g.symbol(("y", 0), 3))


@pytest.mark.parametrize("name", CASES)
def test_each_primitive_is_that_of_jax(graph, points, by_jax, name):
    g, nodes = graph
    ours = np.broadcast_to(value(g, nodes[name], dict(zip("xy", points, strict=True))), by_jax[name].shape)
    normal = slice(0, POINTS)
    np.testing.assert_allclose(ours[normal], by_jax[name][normal], rtol=1e-13, atol=1e-14)
    # A division is a product with a reciprocal, and products with 0 are 0, which only infinite arguments tell apart.
    finite = np.isfinite(points).all(axis=0)
    np.testing.assert_allclose(ours[finite], by_jax[name][finite], rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def by_c(graph, points):
    """All cases by one compiled function of vectors."""
    g, nodes = graph
    block = Block(tuple((("o", k), node) for k, node in enumerate(nodes.values())))
    text = statements(g, emit_c.VECTOR, block, assign, lambda array, index: f"{array}[{index}]", {})
    header, functions = (Path(emit_c.__file__).with_name(name).read_text() for name in ("vector.h", "vector_math.h"))
    source = (
        f"#define TJ_F64\n#define REAL double\n{header}\n{functions}\n"
        f"static void one(const V *x, const V *y, V *o) {{\n{text}\n}}\n"
        f"enum {{ N = {len(nodes)} }};\n"
        '__attribute__((visibility("default"))) int lanes(void) { return W; }\n'
        '__attribute__((visibility("default"))) void all(const REAL *x, const REAL *y, REAL *out, long count) {\n'
        "  V o[N];\n  for (long i = 0; i < count; i += W) {\n"
        "    const V a = LOAD(x + i), b = LOAD(y + i);\n    one(&a, &b, o);\n"
        "    for (int k = 0; k < N; k++) STORE(out + k * count + i, o[k]);\n  }\n}\n"
    )
    library = build.load(source)
    lanes = library.lanes()
    count = -(-len(points[0]) // lanes) * lanes
    x, y = (np.resize(v, count) for v in points)
    out = np.empty((len(nodes), count))
    library.all(*(ctypes.c_void_p(a.ctypes.data) for a in (x, y, out)), ctypes.c_long(count))
    return dict(zip(nodes, out[:, : len(points[0])], strict=True))


@pytest.mark.parametrize("name", CASES)
def test_compiled_primitives_are_those_of_jax(by_c, points, by_jax, name):
    finite = np.isfinite(points).all(axis=0)
    np.testing.assert_allclose(by_c[name][finite], by_jax[name][finite], rtol=1e-12, atol=1e-13)


def test_what_is_not_finite_passes_through(by_c, points, by_jax):
    """Sums, products, quotients and extremes with infinities and NaN are what JAX makes of them."""
    for name in ("add", "sub", "mul", "div", "max", "min", "abs", "exp", "sqrt", "log", "where", "clip", "comparisons"):
        np.testing.assert_allclose(by_c[name], by_jax[name], rtol=1e-12, atol=1e-13, err_msg=name)


def primitives(jaxpr):
    """Names of all primitives of a jaxpr, nested ones too."""
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                found |= primitives(inner)
    return found


def test_every_translation_has_a_case():
    found = primitives(jax.make_jaxpr(each)(1.0, 2.0).jaxpr)
    assert set(trace._SAME | trace._RULES.keys()) - NEVER <= found


HERE = __file__


def stacked(x):
    return jnp.cumsum(jnp.stack([x, x]))[0]


def product(x):
    return (jnp.array([[1.0, 2.0], [3.0, 4.0]]) @ (x * jnp.ones(2)))[0]


def table(x):
    return TABLE[1] * x


TABLE = jnp.arange(3.0)


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: jax.scipy.special.erf(x), ["'erf'"]),
        (lambda x: jnp.cbrt(x), ["'cbrt'"]),
        (lambda x: jnp.arctan2(x, 2.0), ["'atan2'"]),
        (lambda x: jnp.round(x), ["'round'"]),
        (lambda x: x % 2.0, ["'rem'"]),
        (lambda x: jnp.exp(jax.jit(jax.scipy.special.erfc)(x)), ["'erfc'"]),
        (lambda x: x.astype(int) + 1.0, ["whole numbers"]),
        (lambda x: 1.0 * ((x > 0).astype(int) // 2), ["whole numbers"]),
        (lambda x: 1.0 * ((x > 0).astype(int) & 1), ["bitwise 'and' of numbers"]),
        (lambda x: jnp.where(jnp.maximum(x > 0, x < 1), x, 0.0), ["'max' of truths"]),
        (lambda x: jnp.abs(x + 1j), ["complex"]),
        (lambda x: lax.fori_loop(0, 3, lambda i, v: v * x, x), ["'scan'"]),
        (lambda x: lax.while_loop(lambda v: v < 10.0, lambda v: v * 2.0, x), ["'while'"]),
        (lambda x: jnp.sum(jnp.ones(3) * x), ["shape (3,)"]),
        (lambda x: jax.pure_callback(lambda v: v, jax.ShapeDtypeStruct((), float), x), ["'pure_callback'"]),
        (stacked, ["shape (2,)"]),
        (product, ["shape (2,)"]),
        (table, ["shape (3,)"]),
    ],
)  # fmt: skip
def test_what_has_no_translation_is_named_with_its_line(f, words):
    g = Graph()
    with pytest.raises(CannotTranslate) as caught, jax.numpy_dtype_promotion("standard"):
        trace.trace(g, f, g.symbol(("x", 0), 3))
    first = f.__code__.co_firstlineno
    said = str(caught.value)
    assert any(f"{HERE}:{line}" in said for line in (first, first + 1)), said
    assert not [word for word in words if word not in said], said
    assert "\n" not in said
    assert isinstance(caught.value, RunError)


def sizes(f, *levels):
    """How often each operation is in the graph of a function of as many numbers."""
    g = Graph()
    out = trace.trace(g, f, *(g.symbol(("xyz"[k], 0), 3) for k in range(f.__code__.co_argcount)))
    return Counter(g.operations[n].name for n in g.order(jax.tree.leaves(out)))


@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (lambda x, y: (x * y + y * x), {"mul": 1, "add": 1}),
        (lambda x, y, z: (x / z, y / z), {"reciprocal": 1, "mul": 2}),
        (lambda x, y: (jnp.exp(x) + y, jax.jit(jnp.exp)(x) - y), {"exp": 1, "add": 1, "sub": 1}),
        (lambda x: 2.0 * 3.0 + x + 0.0, {"add": 1}),
        (lambda x: (0.0 + x) * 1.0 / 1.0 - 0.0, {}),
        (lambda x: 0.0 * jnp.exp(x), {}),
        (lambda x: -jnp.negative(x), {}),
        (lambda x, y: -(x - y), {"sub": 1}),
        (lambda x, y: x + (-y), {"sub": 1}),
        (lambda x, y: x - (-y), {"add": 1}),
        (lambda x, y: (-x) * (-y), {"mul": 1}),
        (lambda x: -1.0 * x, {"neg": 1}),
        (lambda x: jnp.where(x > 0, jnp.exp(x), jnp.exp(x)), {"exp": 1}),
        (lambda x: jnp.where(jnp.asarray(1.0) > 0, x, jnp.exp(x)), {}),
        (lambda x: x**4, {"mul": 2}),
        (lambda x: x**-2, {"mul": 1, "reciprocal": 1}),
        (lambda x: jnp.power(x, 0.5), {"sqrt": 1}),
        (lambda x: jnp.maximum(x, x), {}),
        (lambda x: jnp.where((x > 0) & (x > 0), x, 1.0), {"gt": 1, "select": 1}),
        (lambda x: rarely(x > 0, 1.0, jnp.log, x), {"gt": 1, "log": 1, "rare": 1}),
    ],
)  # fmt: skip
def test_folding_and_sharing(f, expected):
    assert sizes(f) == expected


SPECIAL = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 3.0, 1e300, 1e-300, 800.0, np.inf, -np.inf, np.nan])
UNARY = ("neg", "abs", "sqrt", "exp", "log", "reciprocal", "is_finite")
BINARY = ("add", "sub", "mul", "max", "min", "lt", "le", "gt", "ge", "eq", "ne")


@given(st.sampled_from(UNARY + BINARY), SPECIAL, SPECIAL)
def test_operations_on_constants_are_done_rightly_or_left(name, a, b):
    g = Graph()
    numbers = (a, b)[: 1 if name in UNARY else 2]
    node = g.add(name, *(g.constant(v) for v in numbers))
    with np.errstate(all="ignore"):
        expected = MEANING[name](*map(np.float64, numbers))
    np.testing.assert_array_equal(value(g, node, {}), expected)
    assert g.is_mask(node) == (np.asarray(expected).dtype == bool)


SYMBOLS = {"x": 1, "y": 2, "z": 3, "w": 3}
"""By level."""
TREES = st.recursive(
    st.sampled_from(sorted(SYMBOLS)) | st.sampled_from([0.5, 1.0, -1.0, 3.0]),
    lambda inner: st.tuples(st.sampled_from(["add", "sub", "mul"]), inner, inner) | st.tuples(st.just("neg"), inner),
    max_leaves=40,
)


def grow(g, tree):
    if isinstance(tree, str):
        return g.symbol((tree, 0), SYMBOLS[tree])
    if isinstance(tree, float):
        return g.constant(tree)
    return g.add(tree[0], *(grow(g, t) for t in tree[1:]))


def exactly(tree, symbols):
    """(value, sum of magnitudes) of a tree, operation by operation in longer numbers."""
    if isinstance(tree, (str, float)):
        v = np.longdouble(symbols[tree] if isinstance(tree, str) else tree)
        return v, abs(v)
    values, sizes_ = zip(*(exactly(t, symbols) for t in tree[1:]), strict=True)
    return MEANING[tree[0]](*values), np.prod(sizes_) if tree[0] == "mul" else sum(sizes_)


def leaves(tree):
    return sum(map(leaves, tree[1:])) if isinstance(tree, tuple) else 1


@given(st.lists(TREES, min_size=1, max_size=4), st.lists(st.floats(-4, 4, width=32), min_size=4, max_size=4))
def test_regrouping_keeps_values_to_rounding(trees, numbers):
    symbols = dict(zip(sorted(SYMBOLS), map(float, numbers), strict=True))
    g = Graph()
    nodes = [grow(g, tree) for tree in trees]
    for tree, node, other in zip(trees, nodes, regroup(g, nodes, 3), strict=True):
        true, size = exactly(tree, symbols)
        allowed = float(2.3e-16 * 2 * leaves(tree) * size) + 1e-300
        assert abs(float(value(g, node, symbols) - true)) <= allowed
        assert abs(float(value(g, other, symbols) - true)) <= allowed


def test_regrouping_gathers_what_changes_seldom():
    """x (w (x z)) with x per patient: the square of x is done once per patient."""
    g = Graph()
    x, z, w = g.symbol(("x", 0), 1), g.symbol(("z", 0), 3), g.symbol(("w", 0), 3)
    (node,) = regroup(g, [g.add("mul", x, g.add("mul", w, g.add("mul", x, z)))], 3)
    assert g.add("mul", x, x) in g.order([node])
    assert g.level[g.add("mul", x, x)] == 1
