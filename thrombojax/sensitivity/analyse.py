"""Everything that [sensitivity] asks for: the stored sample, and each method on samples of its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from thrombojax.errors import RunError
from thrombojax.sensitivity import borrowed, derivatives
from thrombojax.sensitivity.derivatives import tangents
from thrombojax.sensitivity.design import Counted, Function, Saltelli, in_memory, room
from thrombojax.sensitivity.dgsm import dgsm
from thrombojax.sensitivity.factors import Space
from thrombojax.sensitivity.moments import sizes
from thrombojax.sensitivity.morris import morris
from thrombojax.sensitivity.problem import Setup, table
from thrombojax.sensitivity.ranks import Coefficients, prcc, srrc
from thrombojax.sensitivity.samples import STREAMS, grid, numbers, points
from thrombojax.sensitivity.simulate import Rows, moves, simulator
from thrombojax.sensitivity.sobol import Sobol, centre_of, stream
from thrombojax.solve import engine

SAMPLE = 2**20
"""Replicate of the stored sample, which no other has."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that are kept: values `[factor, row]`, y `[output, row]`, status `[arm, row]`."""

    values: Float[np.ndarray, "factor row"]
    y: Float[np.ndarray, "output row"]
    status: np.ndarray


@dataclass(frozen=True, eq=False)
class Analysis:
    """What was found. measures: method -> what it found (`Sobol`, `Morris`, ...)."""

    given: Setup
    sample: Sample
    measures: dict[str, Any] = field(default_factory=dict)

    @property
    def sobol(self) -> Sobol | None:
        return self.measures.get("sobol")


def analyse(given: Setup, counted: Counted = in_memory, say: Callable[[str], None] = lambda text: None) -> Analysis:
    """Run every method. Raises RunError where no trajectory has a result."""
    asked = given.study.sensitivity
    assert asked is not None
    if "dgsm" in asked.methods:
        derivatives.check(given)
    seed = given.study.head.seed if asked.seed is None else asked.seed
    simulate = simulator(given)
    sample = sampled(given, simulate, seed, counted)
    if not (sample.status == engine.OK).any():
        names = {code: name.replace("_", " ") for name, code in engine.STATUS.items()}
        codes, counts = np.unique(sample.status, return_counts=True)
        said = ", ".join(f"{n} {names[int(code)]}" for code, n in zip(codes, counts, strict=True))
        raise RunError(
            f"{given.study.where}: all {sample.status.size} runs of the sample failed ({said}): nothing to analyse"
        )
    centre = centre_of(sample.y)
    made: dict[str, Any] = {}
    if "sobol" in asked.methods:
        among = [i for i, o in enumerate(given.outputs) if o.day is None] or list(range(len(given.outputs)))
        made["sobol"] = stream(
            simulate, given.space, asked.base, centre, replicates=asked.replicates, sampler=asked.sampler,
            second=asked.second_order, seed=seed, confidence=asked.confidence, width=asked.width,
            estimator=asked.estimator, chance=given.chance, among=among, counted=counted,
        )  # fmt: skip
    outputs = len(given.outputs)
    confidence = asked.confidence
    if "morris" in asked.methods:
        made["morris"] = morris(
            simulate,
            given.space,
            asked.trajectories,
            outputs,
            levels=asked.levels,
            counted=counted,
            seed=seed,
            confidence=confidence,
        )
    if "dgsm" in asked.methods:
        follows = moves(given)
        variance = made["sobol"].found.estimates.variance if "sobol" in made else None
        made["dgsm"] = dgsm(
            lambda rows: tangents(given, follows, rows), given.space, asked.derivatives, outputs,
            replicates=min(asked.replicates, asked.derivatives // 16), sampler=asked.sampler, variance=variance,
            counted=counted, seed=seed, confidence=confidence,
        )  # fmt: skip
    if "fast" in asked.methods:
        made["fast"] = borrowed.fast(
            simulate, given.space, asked.frequencies, outputs, counted=counted, seed=seed, confidence=confidence
        )
    for name, of in (("prcc", prcc), ("srrc", srrc)):
        if name in asked.methods:
            rows = [of(sample.values, y, confidence) for y in sample.y]
            made[name] = Coefficients(*(np.stack(part) for part in zip(*rows, strict=True)))
    ends = len(given.plan.cells) * len(given.plan.endpoints)
    for name in ("pawn", "delta", "rbd-fast"):
        if name in asked.methods:
            one = [borrowed.given(name, given.space.names, sample.values, y, seed, confidence) for y in sample.y[:ends]]
            made[name] = {key: np.stack([f[key] for f in one]) for key in one[0]} if one else {}
    return Analysis(given, sample, made)


def planned(given: Setup) -> tuple[int, int]:
    """Rows of all samples together, a derivative as one more row for each factor, and bytes that are kept of them.

    A rule for stopping may need fewer.
    """
    asked, space = given.study.sensitivity, given.space
    assert asked is not None
    seed = given.study.head.seed if asked.seed is None else asked.seed
    groups = len(space.groups) + given.chance
    each = {
        "sobol": asked.base * (2 + groups * (1 + asked.second_order)),
        "morris": asked.trajectories * (space.k + 1),
        "dgsm": asked.derivatives * (space.k + 1),
        "fast": asked.frequencies * space.k,
    }
    n, outputs = sample_values(given, seed).shape[1], len(given.outputs)
    kept = 8 * (outputs + space.k) * n
    if "sobol" in asked.methods:
        of = Saltelli(space, 0, asked.base // asked.replicates, asked.replicates, asked.sampler, seed, asked.second_order,
                      given.chance, room(outputs))  # fmt: skip
        kept += 8 * of.blocks * sum(sizes(outputs, of.groups, of.second))
    return n + sum(rows for method, rows in each.items() if method in asked.methods), kept


def sampled(given: Setup, simulate: Function, seed: int, counted: Counted) -> Sample:
    """The stored sample: what scatter plots show, and what methods of given data look at."""
    asked = given.study.sensitivity
    assert asked is not None
    values = sample_values(given, seed)
    n = values.shape[1]
    chance = numbers(SAMPLE, 0, n)
    outputs, arms = len(given.outputs), len(given.plan.cells)
    width = min(room(outputs), n)

    def compute(block: int) -> np.ndarray:
        mine = slice(block * width, min((block + 1) * width, n))
        y, status = simulate(Rows(values[:, mine], chance[mine]))
        vector = np.full((outputs + arms, width), np.nan)
        vector[:outputs, : y.shape[1]], vector[outputs:, : y.shape[1]] = y, status
        return np.append(vector, np.count_nonzero(status))

    cells = (outputs + arms) * width + 1
    kept = [v[:-1].reshape(outputs + arms, width) for v in counted("sample", -(-n // width), cells, width, compute)]
    whole = np.concatenate(kept, axis=1)[:, :n]
    return Sample(values, whole[:outputs], whole[outputs:].astype(np.uint8))


def sample_values(given: Setup, seed: int) -> Float[np.ndarray, "factor row"]:
    """Factor values of the stored sample."""
    asked, space = given.study.sensitivity, given.space
    assert asked is not None
    if asked.sampler == "table":
        return table(given.study, space)
    if asked.sampler == "grid":
        return space.values(grid([f.levels or asked.levels for f in asked.factor]))
    return of_stream(space, asked.sampler, asked.sample, seed, SAMPLE)


def of_stream(space: Space, sampler: str, n: int, seed: int, replicate: int) -> Float[np.ndarray, "factor row"]:
    """n rows of a replicate of their own."""
    assert sampler in STREAMS
    return space.values(points(sampler, space.k, n, seed, replicate, 0, n))
