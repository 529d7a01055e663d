"""Kernels inside JAX's own programs on a GPU: launched on XLA's stream and on its buffers, so that nothing goes through the host.

What `gradient` does by a callback where JAX runs on the processor, with the same kernels and the same layout of their jobs
(`cuda.Course`). What a program is made of is settled when it is traced: which patients take how many steps, chunks, windows, and
what all patients share. Timelines may be traced: their segments' steps are counted on the device.
"""

import ctypes
import functools
import hashlib
import threading
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from thrombojax.codegen import build
from thrombojax.codegen.emit_cuda import BLOCK
from thrombojax.dosing.care import Care
from thrombojax.dosing.timeline import Timeline
from thrombojax.solve import chunks, cuda, cuda_adjoint, native, places, tangent
from thrombojax.solve.steppers import counted

TARGET = "thrombojax_launch"
_HEADER = "xla/ffi/api/c_api.h"


class Known(NamedTuple):
    """What must be known when a program is traced.

    leaves: of Parameters, of the patients that are solved; levels: factors on the steps and the patients who have them; first,
    window, numbers: of Watch; steps: of each segment, at accuracy 1e-4, at most; care: theirs, whose rule may be traced.
    """

    leaves: list[np.ndarray]
    levels: Sequence[tuple[float, np.ndarray]]
    first: Any
    window: Any
    numbers: Any
    steps: np.ndarray
    care: Care | None


def known(ways: Any, fixed: Any, most: int, levels: Callable[[np.ndarray], Any]) -> Known | None:
    """None where kernels are called from the host: no GPU of JAX's, something traced that must be known, or rules of one's own.

    ways, fixed: of `ways`; most: steps of a segment, at most; levels: finds `Known.levels` from factors on the steps.
    """
    watch, rows, care, clinic = fixed.watch, fixed.rows, ways.care, ways.plan.clinic
    given = (rows, watch.first, watch.window, watch.numbers, ways.cohort.p, care and care._replace(rule=()))
    if ways.backend != "cuda" or any(map(_is_traced, jax.tree.leaves(given))) or (clinic and clinic.rules):
        return None
    if not platforms():
        return None
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(ways.cohort.p)]
    if rows is not None:
        leaves = [leaf[np.asarray(rows)] for leaf in leaves]
    steps = np.full(np.shape(fixed.steps), most) if _is_traced(fixed.steps) else np.asarray(fixed.steps)
    if care is not None:
        of = slice(None) if rows is None else np.asarray(rows)
        own = {name: np.asarray(getattr(care, name))[..., of] for name in ("factor", "taken", "course")}
        care = care._replace(**own)
    return Known(leaves, levels(ways.factors(rows)), watch.first, watch.window, watch.numbers, steps, care)


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


@functools.cache
def platforms() -> tuple[str, ...]:
    """JAX's platforms whose programs can launch kernels: `cuda` where JAX has a GPU, and a C compiler makes the handler."""
    try:
        jax.devices("cuda")
        jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(_library().thrombojax_launch), platform="CUDA")
    except (RuntimeError, OSError):  # of JAX: no such platform; of the compiler; no header
        return ()
    return ("cuda",)


@functools.cache
def _library() -> ctypes.CDLL:
    """The handler, compiled. Raises NoCompiler, OSError."""
    header = (Path(jax.ffi.include_dir()) / _HEADER).read_text(encoding="utf-8")
    text = (resources.files("thrombojax.codegen") / "launch.c").read_text(encoding="utf-8")
    return build.load(text.replace(f'#include "{_HEADER}"', header))


class _Module(ctypes.Structure):
    """The `Module` of launch.c."""

    _fields_ = (
        ("next", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("hash", "gpus", "kernels", "block")),
        *((name, ctypes.c_void_p) for name in ("contexts", "functions", "enter", "launch", "name")),
    )


_kept: list[Any] = []
"""What the handler has been told of, which never ends: programs may be called as long as the process lives."""
_turn = threading.Lock()


@functools.cache
def _module(text: str, kernels: tuple[str, ...], on: tuple[places.Gpu, ...]) -> int:
    """Load a text on every GPU and tell the handler; its name in programs."""
    loaded = [gpu.load(text) for gpu in on]
    contexts = (ctypes.c_void_p * len(on))(*(gpu.context.value for gpu in on))
    found = [gpu.function(made, name).value for gpu, made in zip(on, loaded, strict=True) for name in kernels]
    functions = (ctypes.c_void_p * len(found))(*found)
    # Of the text, for programs that JAX keeps on disk: another process finds its own module by it.
    name = int.from_bytes(hashlib.sha256("\0".join([text, *kernels]).encode()).digest()[:8], "little", signed=True)
    driver = on[0].driver.library
    calls = [
        ctypes.cast(f, ctypes.c_void_p).value
        for f in (driver.cuCtxSetCurrent, driver.cuLaunchKernel, driver.cuGetErrorName)
    ]
    where = (ctypes.addressof(contexts), ctypes.addressof(functions))
    module = _Module(None, name, len(on), len(kernels), BLOCK, *where, *calls)
    with _turn:
        _kept.append((module, contexts, functions, driver))
        _library().thrombojax_know(ctypes.byref(module))
    return name


def forward(ways: Any, moving: Any, fixed: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """`Ways.forward`."""
    with jax.enable_x64(True):
        made = cuda.kernel(ways.model, ways.plan, ways.precision)
        return _trajectories(ways, made, *_problem(ways, moving, fixed), fixed, np.nan)


def push(ways: Any, moving: Any, fixed: Any, tangents: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """`Ways.push`."""
    with jax.enable_x64(True):
        made = tangent.kernel(cuda, ways.model, ways.plan, ways.precision, ways.wrt)
        p, y0, line, watch, care = _problem(ways, moving, fixed)
        both, wide, dots, care = tangent.beside(p, y0, line, ways.wrt, tangents, care, jnp)
        return _trajectories(ways, made, *both, wide, watch, care, fixed, 0.0, " tangent", dots)


def pull(ways: Any, moving: Any, fixed: Any, cotangents: Any) -> Any:
    """`Ways.pull`."""
    with jax.enable_x64(True):
        made = cuda_adjoint.kernel(ways.model, ways.plan, ways.precision, ways.wrt, ways.times)
        program, room, columns = made.program, _room(ways.memory), len(ways.plan.columns)
        p, y0, line, watch, care = _problem(ways, moving, fixed)
        last = native.places(fixed.keep, len(line.steps), jnp)[fixed.keep]
        ends = cotangents[0]
        saved = {name: jnp.zeros_like(values).at[last].add(values) for name, values in cotangents[1].items()}
        n = moving.y0.shape[1]
        each = {"p_": len(program.wrt), "y0_": program.states, "rule_": program.rules}
        own = {name: jnp.zeros((k, n), made.dtype) for name, k in each.items()}
        common = jnp.zeros((len(line.steps), 2 + 2 * columns))
        for level, rows in ways.known.levels:
            case = cuda_adjoint._Back(
                made, ways.plan, p, y0, line, watch, level, fixed.keep, rows, tuple(saved), care, xp=jnp
            )
            case.divide(room // min(len(rows), cuda_adjoint.FILL), counted(ways.known.steps, level))
            case.endpoint_ = [ends[name] for name in program.endpoints]
            case.saved_ = list(saved.values())
            found = _run(case, room)
            own = {name: _put(into, rows, found[name]) for name, into in own.items()}
            # Apart from what joins the chunks, so that their number cannot change the order of the sum.
            common = common + jax.lax.optimization_barrier(found["sums"]).sum(axis=0).reshape(common.shape)
        start, length, dose, rate = jnp.split(common.astype(made.dtype), [1, 2, 2 + columns], axis=1)
        zero = jnp.zeros(n, made.dtype)
        asked = [own["p_"][program.wrt.index(k)] if k in program.wrt else zero for k in ways.wrt]
        rule = own["rule_"].sum(axis=1, dtype=float).astype(made.dtype)  # which all patients share
        return moving._replace(
            parameters=jnp.stack(asked) if asked else jnp.zeros((0, n), made.dtype),
            y0=own["y0_"],
            start=start[:, 0],
            length=length[:, 0],
            dose=dose,
            rate=rate,
            rule=moving.rule if care is None else rule,
        )


def _problem(ways: Any, moving: Any, fixed: Any) -> tuple[Any, Any, Timeline, Any, Care | None]:
    """As `Ways.problem` and `attended`: p, y0, timeline, watch, care."""
    leaves: list[Any] = list(ways.known.leaves)
    for k, values in zip(ways.wrt, moving.parameters, strict=True):
        leaves[k] = values
    steps = jnp.minimum(
        jnp.asarray(fixed.steps, np.int32), ways.known.steps.astype(np.int32)
    )  # no record is longer than there is room
    line = Timeline(
        moving.start, moving.length, moving.dose, moving.rate, fixed.phase, fixed.era, steps, np.zeros(0, np.int32)
    )
    watch = fixed.watch._replace(first=ways.known.first, window=ways.known.window, numbers=ways.known.numbers)
    care = ways.known.care
    if care is not None:
        care = care._replace(rule=jax.tree.unflatten(jax.tree.structure(care.rule), list(moving.rule)))
    return leaves, list(moving.y0), line, watch, care


def _trajectories(
    ways: Any,
    made: cuda.Kernel,
    p: Any,
    y0: Any,
    line: Timeline,
    watch: Any,
    care: Care | None,
    fixed: Any,
    blank: float,
    suffix: str = "",
    dots: Any = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Endpoints and saved values of that suffix; blank: of a patient without a result."""
    shapes = ways.shapes(fixed)
    ends, saved = jax.tree.map(lambda s: jnp.full(s.shape, blank, s.dtype), shapes)
    names = [name + suffix for name in saved]
    last = native.places(fixed.keep, len(line.steps), jnp)[fixed.keep]  # days that share a bound share its values
    for level, rows in ways.known.levels:
        case = cuda.Course(made, ways.plan, p, y0, line, watch, level, fixed.keep, rows, names, care, dots, jnp)
        found = _run(case, _room())
        sound = found["finite"] != 0

        def put(into: Any, values: Any, rows: Any = rows, sound: Any = sound) -> Any:
            return _put(into, rows, jnp.where(jnp.broadcast_to(sound, values.shape), values, blank))

        for name in ends:
            ends[name] = put(ends[name], found["endpoint"][made.program.endpoints.index(name + suffix)])
        for k, name in enumerate(saved):
            saved[name] = put(saved[name], found["saved"][k][last])
    return ends, saved


def _put(into: Any, rows: np.ndarray, values: Any) -> Any:
    return into.at[..., rows].set(values, unique_indices=True, indices_are_sorted=True)


def _run(case: cuda.Course, room: int) -> dict[str, Any]:
    """What the jobs of all rows write, chunk by chunk; room: bytes of a chunk at most."""
    on = places.gpus()
    shared, text = case.made.text(case.shared, False)
    alike = case.alike(on[0], on[0].load(text), shared)
    step, n = chunks.size(case, room), len(case.rows)
    parts = [_launch(case, case.rows[k : k + step], text, alike, on) for k in range(0, n, step)]
    # Everything is the patients' but the sums, of which there are some for each chunk.
    return {name: jnp.concatenate([p[name] for p in parts], 0 if name == "sums" else -1) for name in parts[0]}


def _launch(case: cuda.Course, rows: np.ndarray, text: str, alike: Sequence[float], on: Any) -> dict[str, Any]:
    """The job of a chunk; addresses of arrays without a value stay null."""
    n = len(rows)
    job = case.job(n, alike)
    words = np.frombuffer(bytes(job), np.int64)
    out, scratch = case.outputs(n), case.scratch(n)
    given = {name: jnp.asarray(a) for name, a in case.inputs(rows).items() if np.size(a)}
    results = {name: jax.ShapeDtypeStruct(*s) for name, s in {**out, **scratch}.items() if s.bytes}
    kernels, threads = zip(*case.kernels(n), strict=True)
    call = jax.ffi.ffi_call(TARGET, list(results.values()), vmap_method="sequential")
    found = call(
        *given.values(),
        job=words,
        offsets=np.array([getattr(type(job), name).offset for name in (*given, *results)]),
        threads=np.array(threads),
        module=np.array([_module(text, kernels, on)]),
    )
    written = dict(zip(results, found, strict=True))
    return {name: written[name] if name in written else jnp.zeros(*s) for name, s in out.items()}


def _room(memory: int | None = None) -> int:
    """Bytes of a launch: half of what JAX may have, where not said."""
    if memory is not None:
        return memory
    most = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")  # of the pool that JAX has taken
    return min(gpu.most() for gpu in places.gpus()) if most is None else int(most) // 2
