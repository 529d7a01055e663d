"""The vector functions of generated kernels: errors in ulp against longer arithmetic, special cases, the same bits everywhere.

Checked by hand once more on NEON (aarch64-linux-gnu-gcc 12 with qemu-aarch64-static) and with clang 14: the same bits. Those
tests run where the tools are there. AVX-512 was compiled and its assembly read, not run.
"""

import ctypes
import itertools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

HEADER = Path(__file__).parents[2] / "thrombojax" / "codegen" / "vector_math.h"
FLAGS = "-std=c11 -O3 -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-signed-zeros"
UNARY = ("exp", "log", "expm1", "log1p", "tanh", "logistic", "sqrt", "floor", "abs", "isfinite")
BINARY = ("pow", "min", "max")
CIRCULAR = ("sin", "cos")  # the C library's
DTYPES = {64: np.float64, 32: np.float32}
INTEGERS: dict[int, Any] = {64: np.int64, 32: np.int32}

# Measured in 16 million points of each: exp 1.01, log 0.94, pow 1.45 (float32 1.21), expm1 1.63, log1p 0.95, tanh 2.83,
# logistic 2.40.
LARGEST_ULP = {
    "exp": 1.1,
    "log": 1.1,
    "pow": 1.6,
    "expm1": 2,
    "log1p": 1.1,
    "tanh": 3,
    "logistic": 2.5,
    "sqrt": 0.501,
    "floor": 0,
}

LOOP = """
void all_NAME(const REAL *a, const REAL *b, REAL *out, long count) {
    (void)b;
    for (long i = 0; i < count; i += W) {
        V x, y, result;
        __builtin_memcpy(&x, a + i, sizeof(V));
        __builtin_memcpy(&y, b + i, sizeof(V));
        result = (V)tj_NAME(ARGUMENTS);
        (void)y;
        __builtin_memcpy(out + i, &result, sizeof(V));
    }
}
"""
MAIN = """
#include <stdio.h>
static REAL a[COUNT], b[COUNT], out[COUNT];
int main(void) {
    if (fread(a, sizeof a, 1, stdin) != 1 || fread(b, sizeof b, 1, stdin) != 1) return 1;
    CALLS
    return 0;
}
"""


def source(bits: int, lanes: int, count: int = 0) -> str:
    """C text of one loop for each function; with a count, a program that maps so many points of stdin too."""
    real = {64: "double", 32: "float"}[bits]
    text = f"typedef {real} REAL;\n#define TJ_F{bits}\n#define W {lanes}\n"
    text += "typedef REAL V __attribute__((vector_size(W * sizeof(REAL))));\n"
    text += f"typedef __INT{bits}_TYPE__ I __attribute__((vector_size(W * sizeof(REAL))));\n" + HEADER.read_text()
    for name in UNARY + CIRCULAR + BINARY:
        text += LOOP.replace("NAME", name).replace("ARGUMENTS", "x, y" if name in BINARY else "x")
    if count:
        calls = (f"all_{name}(a, b, out, COUNT); fwrite(out, sizeof out, 1, stdout);" for name in UNARY + BINARY)
        text += MAIN.replace("CALLS", "\n    ".join(calls)).replace("COUNT", str(count))
    return text


def compiled(folder: Path, bits: int, lanes: int, compiler: str, *options: str, count: int = 0) -> Path:
    stem = "-".join(["k", compiler.replace("/", "_"), str(bits), str(lanes), *options])
    text, binary = folder / f"{stem}.c", folder / f"{stem}.so"
    text.write_text(source(bits, lanes, count))
    kind = ["-static"] if count else ["-shared", "-fPIC"]
    command = [compiler, *FLAGS.split(), *options, *kind, str(text), "-o", str(binary), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return binary


def apply(library: ctypes.CDLL, name: str, a: NDArray[Any], b: NDArray[Any] | None = None) -> NDArray[Any]:
    count = len(a)
    whole = -(-count // 16) * 16  # the loops have no remainder
    a = np.resize(a, whole)
    b = a if b is None else np.resize(b, whole)
    out = np.empty_like(a)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, out)]
    getattr(library, f"all_{name}")(*pointers, ctypes.c_long(whole))
    return out[:count]


def native_lanes(bits: int) -> int:
    return 256 // bits


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, ctypes.CDLL]]:
    """For each precision, by instruction set and lanes; "native" first."""
    folder = tmp_path_factory.mktemp("vector_math")
    variants: dict[tuple[int, str], tuple[Any, ...]] = {}
    for bits in DTYPES:
        variants[bits, "native"] = (native_lanes(bits), "cc", "-march=native")
        variants[bits, "one lane"] = (1, "cc")
        variants[bits, "baseline"] = (128 // bits, "cc")  # on x86-64 SSE2: no rounding, no blends
        if bits == 64:
            variants[bits, "baseline, wide"] = (4, "cc")  # vectors in two registers
        variants[bits, "flushing"] = (native_lanes(bits), "cc", "-march=native", "-DTJ_FLUSHES")
        if shutil.which("clang"):
            variants[bits, "clang"] = (native_lanes(bits), "clang", "-march=native")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = pool.map(lambda item: compiled(folder, item[0][0], *item[1]), variants.items())
    found: dict[int, dict[str, ctypes.CDLL]] = {bits: {} for bits in DTYPES}
    for (bits, name), path in zip(variants, paths, strict=True):
        found[bits][name] = ctypes.CDLL(str(path))
    return found


def spread(bits: int, count: int, seed: int) -> list[NDArray[Any]]:
    """Arguments: of every exponent and sign (NaNs too), over the range of exp, near 0, of some units, and near 1."""
    draw = np.random.default_rng(seed)
    dtype, integer = DTYPES[bits], INTEGERS[bits]
    limits = np.iinfo(integer)
    any_bits = draw.integers(limits.min, limits.max, count, dtype=integer, endpoint=True).view(dtype)
    overflow, underflow = {64: (716, 750), 32: (92, 106)}[bits]
    rest = (
        draw.uniform(-underflow, overflow, count),
        draw.uniform(-1.2, 1.2, count),
        draw.normal(0, 8, count),
        np.exp2(draw.uniform(-1, 1, count)),
    )
    return [any_bits, *(values.astype(dtype) for values in rest)]


def spread_of_powers(bits: int, count: int, seed: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Bases and exponents; in the first three, results of every exponent."""
    draw = np.random.default_rng(seed)
    dtype, longer = DTYPES[bits], LONGER[bits]
    any_bits, _, _, units, near = spread(bits, count, seed)
    close = (1 + draw.normal(0, 1, count) * np.exp2(draw.uniform(-30, -2, count))).astype(dtype)
    exponent = draw.uniform(-1, 1, count) * {64: 1080, 32: 152}[bits]
    pairs = []
    for base in (np.abs(any_bits), near, close):
        with np.errstate(all="ignore"):
            pairs.append((base, (exponent / np.log2(base.astype(longer))).astype(dtype)))
    pairs.append((np.exp(units[::-1] / 2), draw.uniform(0, 10, count).astype(dtype)))
    pairs.append((units, np.round(units[::-1])))
    pairs.append((any_bits, spread(bits, count, seed + 1)[0]))
    return pairs


LONGER: dict[int, Any] = {64: np.longdouble, 32: np.float64}


def logistic(x: NDArray[Any]) -> NDArray[Any]:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, np.ones_like(x)) / (1 + e)


REFERENCES: dict[str, Any] = {
    "exp": np.exp,
    "log": np.log,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": logistic,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "pow": np.power,
}


def ulps(got: NDArray[Any], want: NDArray[Any]) -> NDArray[Any]:
    """Error in spacings of got's type at the wanted value; subnormals have the spacing of the smallest normal number."""
    info = np.finfo(got.dtype)
    exponent = np.maximum(np.frexp(want)[1], info.minexp + 1)
    spacing = np.ldexp(want.dtype.type(1), exponent - info.nmant - 1)
    overflows = np.abs(want) >= want.dtype.type(info.max) * (1 + want.dtype.type(info.eps) / 4)
    rounded = np.where(overflows, np.copysign(want.dtype.type(np.inf), want), want)
    error = np.abs(got - rounded) / spacing
    error = np.where((got == rounded) | (np.isnan(got) & np.isnan(want)), 0, error)
    return np.where(np.isnan(error), np.inf, error)


needs_x87 = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no longer arithmetic than float64 here")
PRECISIONS = [pytest.param(64, marks=needs_x87), 32]


@pytest.mark.parametrize("bits", PRECISIONS)
@pytest.mark.parametrize("name", REFERENCES)
def test_error_is_within_bounds(libraries, bits, name):
    count = 1 << 15 if bits == 64 else 1 << 16
    unary = [(values,) for values in spread(bits, count, seed=3)]
    for values in spread_of_powers(bits, count, seed=3) if name == "pow" else unary:
        with np.errstate(all="ignore"):
            got = apply(libraries[bits]["native"], name, *values)
            error = ulps(got, REFERENCES[name](*(v.astype(LONGER[bits]) for v in values)))
        worst = np.argmax(error)
        assert error[worst] <= LARGEST_ULP[name], [value[worst] for value in values]


def edges(bits: int) -> NDArray[Any]:
    info: Any = np.finfo(DTYPES[bits])
    tiny, step, whole = float(info.smallest_subnormal), float(info.eps), 2.0**info.nmant
    values = [0.0, 1, 2, 3, 0.5, 1.5, 2.5, 1 + step, 1 - step / 2, step / 3, 1e-30, 1e30, np.inf, np.nan]
    values += [float(info.max), float(info.tiny), tiny, 7 * tiny, whole, whole + 1, 2 * whole, whole / 2 + 0.5]
    values += [20, 40, 87.3, 88.7, 103.9, 104, 708.3, 709.7, 710, 745.1, 746]
    return np.array([sign * value for value in values for sign in (1, -1)], DTYPES[bits])


@pytest.mark.parametrize("bits", PRECISIONS)
def test_special_cases_of_powers_are_those_of_c99(libraries, bits):
    values = edges(bits)
    base, exponent = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(values, values))
    got = apply(libraries[bits]["native"], "pow", base, exponent)
    with np.errstate(all="ignore"):
        want = np.power(base.astype(LONGER[bits]), exponent.astype(LONGER[bits]))
        assert np.max(ulps(got, want)) <= LARGEST_ULP["pow"]
    numbers = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[numbers]), np.signbit(want[numbers]))


@pytest.mark.parametrize("bits", PRECISIONS)
@pytest.mark.parametrize("name", [name for name in REFERENCES if name != "pow"])
def test_special_cases(libraries, bits, name):
    values = edges(bits)
    got = apply(libraries[bits]["native"], name, values)
    with np.errstate(all="ignore"):
        error = ulps(got, REFERENCES[name](values.astype(LONGER[bits])))
    assert np.max(error) <= LARGEST_ULP[name], values[np.argmax(error)]


@pytest.mark.parametrize("bits", DTYPES)
def test_comparisons_and_finiteness_as_in_numpy(libraries, bits):
    values = edges(bits)
    a, b = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(values, values))
    for library in libraries[bits].values():
        np.testing.assert_array_equal(apply(library, "min", a, b), np.minimum(a, b))
        np.testing.assert_array_equal(apply(library, "max", a, b), np.maximum(a, b))
        np.testing.assert_array_equal(apply(library, "abs", values), np.abs(values))
        mask = apply(library, "isfinite", values).view(INTEGERS[bits])
        np.testing.assert_array_equal(mask, -np.isfinite(values).astype(INTEGERS[bits]))


@pytest.mark.parametrize("bits", DTYPES)
def test_circular_functions_are_the_library_s(libraries, bits):
    values = spread(bits, 1 << 10, seed=1)[3]
    for name, reference in (("sin", np.sin), ("cos", np.cos)):
        got, want = apply(libraries[bits]["native"], name, values), reference(values.astype(np.float64))
        np.testing.assert_allclose(got, want, rtol=0, atol=np.finfo(values.dtype).eps)


def canonical(values: NDArray[Any]) -> NDArray[Any]:
    """Bits, with one NaN for all: sign and payload of a NaN differ between machines."""
    return np.where(np.isnan(values), np.nan, values).astype(values.dtype).view(INTEGERS[8 * values.itemsize])


def cases(bits: int, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """So many pairs of arguments, a fifth of each kind of `spread`, and edge cases with each other."""
    a, b = (np.concatenate(spread(bits, count // 5, seed)) for seed in (5, 6))
    np.random.default_rng(7).shuffle(b)
    pairs = np.array(list(itertools.product(edges(bits), repeat=2)), DTYPES[bits])
    return np.concatenate([a, pairs[:, 0]]), np.concatenate([b, pairs[:, 1]])


@pytest.mark.parametrize("bits", DTYPES)
def test_same_bits_on_every_instruction_set_and_width(libraries, bits):
    a, b = cases(bits, 1_000_000)
    native, *others = libraries[bits].items()
    for name in UNARY + BINARY:
        # isfinite gives masks: all ones would be a NaN
        as_bits = canonical if name != "isfinite" else lambda values: values.view(INTEGERS[bits])
        want = as_bits(apply(native[1], name, a, b))
        for variant, library in others:
            got = as_bits(apply(library, name, a, b))
            if variant == "flushing":  # of subnormal arguments it has to know nothing
                normal = np.all([(v == 0) | ~(np.abs(v) < np.finfo(v.dtype).tiny) for v in (a, b)], axis=0)
                assert np.array_equal(got[normal], want[normal]), (name, variant)
            else:
                assert np.array_equal(got, want), (name, variant)


@pytest.mark.skipif(
    not (shutil.which("aarch64-linux-gnu-gcc") and shutil.which("qemu-aarch64-static")),
    reason="needs gcc-aarch64-linux-gnu and qemu-user-static",
)
@pytest.mark.parametrize("bits", DTYPES)
def test_same_bits_on_neon(libraries, tmp_path, bits):
    a, b = (np.resize(values, 24_400) for values in cases(bits, 20_000))
    program = compiled(tmp_path, bits, 128 // bits, "aarch64-linux-gnu-gcc", count=len(a))
    points = a.tobytes() + b.tobytes()
    ran = subprocess.run(["qemu-aarch64-static", str(program)], input=points, capture_output=True, check=True)
    results = np.frombuffer(ran.stdout, a.dtype).reshape(-1, len(a))
    for name, got in zip(UNARY + BINARY, results, strict=True):
        want = apply(libraries[bits]["native"], name, a, b)
        if name == "isfinite":
            np.testing.assert_array_equal(got.view(INTEGERS[bits]), want.view(INTEGERS[bits]))
        else:
            np.testing.assert_array_equal(canonical(got), canonical(want), err_msg=name)
