"""The frozen floor: a 22-state TPO-platelet-like model through plain XLA, one large batch, 180 days, 8 Runge-Kutta steps a day.

What a careful JAX user writes first: struct-of-arrays carry, fixed steps, no blocks, one device. Kept as it was when the
project began, so that later engines are measured against the same thing.
"""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np

CHAIN, AGES, DAYS, STEPS = 5, 8, 180, 8
MEANS = dict(kT=60.0, kns=0.3, kint=4.0, Rp=0.01, Rm=0.5, Kd=150.0, kd2=30.0, ka=0.8, kel=1.0, k12=0.5, k21=0.7, emax=8.0,
             ec50=100.0, h=1.2, kp=0.05, kmk=1.0, kn=0.5, rel=20.0, kpl=0.9, ks=2.0, fs=0.5, kdes=0.02)  # fmt: skip


def rhs(y, p):
    tpo, depot, drug, deep, gut, oral, progenitor = y[:7]
    cells, niche, ages, spleen = y[7 : 7 + CHAIN], y[7 + CHAIN], y[8 + CHAIN : 8 + CHAIN + AGES], y[-1]
    platelets, mass = sum(ages), sum(cells)
    a, b = tpo / p["Kd"], drug / p["kd2"]
    free = 1 + a + b
    sink = p["kint"] * (p["Rp"] * (platelets + spleen) + p["Rm"] * mass) / free
    seen = (a + b) / free + oral / (oral + p["ec50"])
    x = jnp.exp(p["h"] * jnp.log(seen + 1e-6))
    gain = 1 + p["emax"] * x / (x + 0.5)
    flow = p["ks"] * (p["fs"] * platelets - spleen)
    leave = p["kpl"] + p["kdes"]
    out = [
        p["kT"] - p["kns"] * tpo - sink * a,
        -p["ka"] * depot,
        p["ka"] * depot - (p["kel"] + p["k12"]) * drug + p["k21"] * deep - sink * b,
        p["k12"] * drug - p["k21"] * deep,
        -p["ka"] * gut,
        p["ka"] * gut - p["kel"] * oral,
        p["kp"] * gain - p["kmk"] * progenitor,
        p["kmk"] * progenitor * gain - p["kmk"] * cells[0],
        *(p["kmk"] * (cells[i - 1] - cells[i]) for i in range(1, CHAIN)),
        p["kmk"] * cells[-1] - p["kn"] * niche,
        p["rel"] * p["kn"] * niche - leave * ages[0] - flow * 0.1,
        *(p["kpl"] * ages[i - 1] - leave * ages[i] for i in range(1, AGES)),
        flow,
    ]
    return tuple(out)


def step(y, p, h):
    def ahead(k, c):
        return tuple(a + c * b for a, b in zip(y, k, strict=True))

    k1 = rhs(y, p)
    k2 = rhs(ahead(k1, h / 2), p)
    k3 = rhs(ahead(k2, h / 2), p)
    k4 = rhs(ahead(k3, h), p)
    return tuple(a + h / 6 * (b + 2 * c + 2 * d + e) for a, b, c, d, e in zip(y, k1, k2, k3, k4, strict=True))


def patients(n, dtype):
    draw = np.random.default_rng(0)
    p = {name: jnp.asarray(mean * np.exp(0.2 * draw.standard_normal(n)), dtype) for name, mean in MEANS.items()}
    start = [100, 0, 0, 0, 0, 0, 1] + [5] * CHAIN + [5] + [30] * AGES + [100]
    return tuple(jnp.full(n, v, dtype) for v in start), p


def measure(n: int, dtype) -> dict:
    """Patient-steps per second, and operations per step as counted in the jaxpr (arithmetic, exp and log: one each)."""
    from benchmarks.count import operations

    h = dtype(1.0 / STEPS)

    @jax.jit
    def run(y, p):
        def day(y, d):
            y = list(y)
            y[1] = y[1] + jnp.where(d % 7 == 0, dtype(10), dtype(0))
            y[4] = y[4] + dtype(50)
            y = jax.lax.fori_loop(0, STEPS, lambda _, y: step(y, p, h), tuple(y))
            return y, (sum(y[8 + CHAIN : 8 + CHAIN + AGES]), y[0])

        return jax.lax.scan(day, y, jnp.arange(DAYS))

    y, p = patients(n, dtype)
    jax.block_until_ready(run(y, p))
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(run(y, p))
        seconds.append(time.perf_counter() - began)
    scalar = jax.tree.map(lambda a: a[0], (y, p))
    counted = operations(lambda y: step(y, scalar[1], h), scalar[0])
    rate = n * DAYS * STEPS / min(seconds)
    return {"patient_steps_per_s": rate, "operations_per_step": counted, "gigaoperations_per_s": rate * counted / 1e9}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    print(measure(int(os.environ.get("N", "16384")), jnp.float64))
