"""What the engine is measured between, on the prototype: hand-written C above it, tuned plain XLA below it.

Both are frozen. Each gives a call that solves all patients once: `[day, patient]` platelets.
"""

import ctypes
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from thrombojax.bench import compiler, machine, prototype
from thrombojax.errors import RunError

BLOCKS = (256, 2048)
"""Patients of a block that the tuning of XLA tries; the number of patients is a multiple of them on every core."""
REALS = {"f32": "float", "f64": "double"}

Call = Callable[[], np.ndarray]


def ceiling(n: int, precision: str) -> Call:
    """The hand-written C on every core; raises RunError without a compiler."""
    real = REALS[precision]
    dtype = np.dtype(np.float32 if precision == "f32" else np.float64)
    lanes = compiler.vector_bytes() // dtype.itemsize
    library = compiler.library("hand_written.c", {"REAL": real, "W": lanes})
    if library is None:
        raise RunError("the hand-written limit needs a C compiler (cc, or THROMBOJAX_CC)")
    if n % lanes:
        raise ValueError(f"{n} patients do not fill vectors of {lanes}")
    cohort = prototype.cohort(n)
    p, y0 = prototype.flat(cohort.p, dtype), prototype.flat(cohort.y0, dtype)
    out = np.zeros((prototype.DAYS, 2, n), dtype)
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (p, y0, out)]

    def call() -> np.ndarray:
        library.run(*pointers, ctypes.c_long(n), prototype.DAYS, prototype.STEPS_PER_DAY, machine.cores())
        return out[:, 0]

    return call


def tune_xla() -> None:
    """Before JAX starts: one host device per core and the flags that were the fastest for plain XLA."""
    flags = [
        f"--xla_force_host_platform_device_count={machine.cores()}",
        f"--xla_cpu_prefer_vector_width={8 * compiler.vector_bytes()}",
        "--xla_cpu_copy_insertion_use_region_analysis=true",
    ]
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *flags]).strip()


def floor(n: int, precision: str) -> Call:
    """Plain XLA, struct-of-arrays, all host devices by `shard_map`, blocks by `lax.map`: the fastest block of `BLOCKS`."""
    import jax

    dtype: Any = np.float32 if precision == "f32" else np.float64
    devices = jax.local_devices(backend="cpu")
    mesh = jax.sharding.Mesh(np.asarray(devices), ("b",))
    spec = jax.sharding.PartitionSpec("b")
    cohort = prototype.cohort(n)
    p, y = jax.tree.map(
        lambda a: jax.device_put(np.asarray(a, dtype), jax.sharding.NamedSharding(mesh, spec)), (cohort.p, cohort.y0)
    )
    calls = []
    for block in BLOCKS:
        if n % (block * len(devices)):
            continue
        run = jax.jit(
            jax.shard_map(
                lambda y, p, block=block: _blocks(y, p, block, dtype), mesh=mesh, in_specs=(spec, spec), out_specs=spec
            )
        )
        jax.block_until_ready(run(y, p))
        began = time.perf_counter()
        jax.block_until_ready(run(y, p))
        calls.append((time.perf_counter() - began, run))
    if not calls:
        raise RunError(f"{n} patients do not divide into blocks of {BLOCKS[0]} on {len(devices)} cores")
    fastest = min(calls, key=lambda pair: pair[0])[1]

    def call() -> np.ndarray:
        platelets = np.asarray(jax.block_until_ready(fastest(y, p))[0])
        return np.moveaxis(platelets, 0, 1).reshape(prototype.DAYS, n)

    return call


def _blocks(y: Any, p: Any, block: int, dtype: Any) -> Any:
    """One device's patients, a block at a time: (platelets, TPO), each `[block, day, patient of it]`."""
    import jax

    count = jax.tree.leaves(y)[0].shape[0] // block
    parts = jax.tree.map(lambda a: a.reshape(count, block), (y, p))
    return jax.lax.map(lambda part: _course(part[0], part[1], dtype), parts)


def _course(y: Any, p: Any, dtype: Any) -> Any:
    import jax
    import jax.numpy as jnp

    h = dtype(1 / prototype.STEPS_PER_DAY)

    def day(y: Any, d: Any) -> Any:
        weekly = jnp.where(d % 7 == 0, dtype(prototype.WEEKLY), dtype(0))
        y = y._replace(depot=y.depot + weekly, gut=y.gut + dtype(prototype.DAILY))
        y = jax.lax.fori_loop(0, prototype.STEPS_PER_DAY, lambda _, y: step(y, p, h), y)
        return y, tuple(prototype.MODEL.observe(y, p))

    return jax.lax.scan(day, y, jnp.arange(prototype.DAYS))[1]


def step(y: Any, p: Any, h: Any) -> Any:
    """One classical Runge-Kutta step as it is written down first, all four slopes in a row."""
    import jax

    def slope(y: Any) -> Any:
        return prototype.rhs(0.0, y, p, None)

    def ahead(k: Any, c: Any) -> Any:
        return jax.tree.map(lambda a, b: a + c * b, y, k)

    k1 = slope(y)
    k2 = slope(ahead(k1, h / 2))
    k3 = slope(ahead(k2, h / 2))
    k4 = slope(ahead(k3, h))
    return jax.tree.map(lambda a, b, c, d, e: a + h / 6 * (b + 2 * c + 2 * d + e), y, k1, k2, k3, k4)
