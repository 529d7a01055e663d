"""Equations and parameters against a second writing of the specification (`spec.py`), at random states."""

import functools

import jax
import numpy as np
import pytest
import spec
from hypothesis import given
from hypothesis import strategies as st

from thrombojax.models import struct
from thrombojax.models.feedback import core
from thrombojax.models.feedback.assemble import feedback
from thrombojax.models.feedback.effects import Effect
from thrombojax.models.protocol import Inputs

pytestmark = pytest.mark.xdist_group("flagship")

DRUGS = ("avatrombopag", "eltrombopag", "lusutrombopag", "romiplostim")
TABLES = (spec.FLAGSHIP, spec.AVATROMBOPAG, spec.ELTROMBOPAG, spec.LUSUTROMBOPAG, spec.ROMIPLOSTIM)
DRUG_STATES = tuple(state for drug in DRUGS for state in spec.DRUG_STATES[drug])
N = 200
PHASE = ("eltrombopag", "oral")
DIRECT = ("ligand", "tpo_equivalents", "agonist")
"""Effects that drugs of DRUGS have."""


def test_every_parameter_has_the_value_of_section_3():
    model = feedback(DRUGS, "1")
    ours = struct.as_dict(model.defaults)
    table = {name: value for t in TABLES for name, value in t.values()}
    assert set(ours) == set(table)
    for name, value in table.items():
        assert ours[name] == pytest.approx(value, rel=1e-14), name


def random_patients(seed):
    """Parameters within the plausible ranges, and states from a tenth to ten times the healthy steady state."""
    rng = np.random.default_rng(seed)
    model = feedback(DRUGS, "1")
    p = {}
    for leaf in struct.fields(model.Parameters):
        q = leaf.quantity
        p[leaf.name] = rng.uniform(q.low, q.high, N)
    for name in ("platelets.immune_clearance", "niche.antibody_injury", "thrombopoietin.neutralised"):
        p[name] *= rng.integers(0, 2, N)
    for name in ("romiplostim.sinks_by_binding", "body.female", "body.east_asian", "body.corticosteroids"):
        p[name] = 1.0 * rng.integers(0, 2, N)
    p["body.child_pugh"] = rng.choice([0.0, 5.0, 8.0, 12.0], N)
    y = {s: np.exp(rng.uniform(-2.3, 2.3, N)) for s in spec.STATES}
    y |= {f"p{j}": 47 * np.exp(rng.uniform(-3, 1.5, N)) for j in range(1, 9)}
    y |= {s: np.exp(rng.uniform(-9, 7, N)) * rng.integers(0, 2, N) for s in DRUG_STATES}
    return p, y


@functools.cache
def evaluate():
    model = feedback(DRUGS, "1")

    @jax.jit
    def run(leaves, states, phase):
        p = struct.unflatten(model.Parameters, leaves)
        y = struct.unflatten(model.State, states)
        return (
            jax.tree.leaves(model.rhs(np.zeros(N), y, p, Inputs({PHASE: phase}, np.float64(0.0)))),
            jax.tree.leaves(model.observe(y, p)),
        )

    return run


def in_order(y):
    """States by symbol in the order of thrombojax's leaves."""
    return [y[s] for s in (*spec.STATES, *DRUG_STATES)]


def agree(ours, theirs, scale, what):
    """To 1e-12 of the largest term of the equation, which is what rounding leaves."""
    bound = 1e-12 * np.maximum(np.abs(theirs), scale)
    away = np.abs(np.asarray(ours) - theirs)
    assert np.all(away <= bound), f"{what}: {np.max(away / np.maximum(bound, 1e-300)):.2g} times the bound"


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_right_hand_side_and_outputs_at_random_states(seed, early):
    model = feedback(DRUGS, "1")
    p, y = random_patients(seed)
    rates, seen = evaluate()([p[n] for n in struct.names(model.Parameters)], in_order(y), np.float64(0 if early else 1))
    symbols = {symbol: p[name] for t in TABLES for symbol, (name, _) in t.items()}
    d = spec.flagship(y, symbols, early=early)
    names = (*spec.STATES, *DRUG_STATES)
    rate = 300.0  # per day: the fastest constant of any equation
    for name, ours in zip(names, rates, strict=True):
        others = {"B": "A", "cent": "gut", "D": "B", "peri": "cent", "centA": "gutA", "centL": "gutL", "per1L": "centL"}
        scale = rate * (np.abs(y[name]) + np.abs(y[others.get(name, name)]))
        agree(ours, d[name], np.maximum(scale, 1e3 if name in spec.STATES else 0.0), name)
    hazards = ("bleeding", "thrombosis")  # of 1e-5 a day and more
    outputs = (
        "P",
        "T",
        "Mk",
        "ploidy",
        "production",
        "immature",
        "age",
        "survival",
        "spleen",
        *hazards,
        "concA",
        "conc",
        "concL",
        "X",
    )
    for name, ours in zip(outputs, seen, strict=True):
        agree(ours, y["T"] if name == "T" else d[name], 0.0 if name in hazards else 1e-3, name)


@given(st.integers(0, 2**32 - 1))
def test_the_other_effects_of_drugs(seed):
    """What no drug of DRUGS does enters where section 2 puts it."""
    rng = np.random.default_rng(seed)
    p, y = random_patients(seed)
    effect = {"kill": rng.uniform(0, 3, N), "u_hu": rng.uniform(0, 2, N), "I_ana": rng.uniform(0, 1, N)}
    effect["I_ifn"] = rng.uniform(0, 1, N)
    effect |= {
        k: rng.uniform(0, 1, N) for k in ("IL6", "T", "F", "-F", "G", "sdf", "fgf", "-nu", "krand", "-psi", "-s")
    }
    model = feedback(parameter_set="1")
    ps = struct.unflatten(model.Parameters, [p[n] for n in struct.names(model.Parameters)])
    ys = struct.unflatten(model.State, [y[s] for s in spec.STATES])
    given_ = Effect(
        kill=effect["kill"],
        cfu_block=effect["u_hu"],
        maturation_block=effect["I_ana"],
        release_block=effect["I_ifn"],
        tpo_input=effect["T"],
        il6=effect["IL6"],
        pf4=effect["F"],
        pf4_removed=effect["-F"],
        tgfb=effect["G"],
        sdf1=effect["sdf"],
        fgf4=effect["fgf"],
        niche_lost=effect["-nu"],
        random_loss=effect["krand"],
        spleen_removed=effect["-psi"],
        unresponsive=effect["-s"],
    )
    assert all(np.ndim(v) for name, v in given_._asdict().items() if name not in DIRECT), "an effect is left out here"
    rates = jax.tree.leaves(core.rhs(ys, ps, given_))
    core_only = {s: y[s] for s in spec.STATES}
    symbols = {symbol: p[name] for symbol, (name, _) in spec.FLAGSHIP.items()}
    d = spec.flagship(core_only, symbols, **effect)
    for name, ours in zip(spec.STATES, rates, strict=True):
        agree(ours, d[name], np.maximum(300.0 * np.abs(y[name]), 1e3), name)


def test_drugs_add_only_their_own_states():
    core_names = struct.names(feedback(parameter_set="1").State)
    for drugs in (*((drug,) for drug in DRUGS), ("transfusion",), DRUGS):
        names = struct.names(feedback(drugs, "1").State)
        assert names[: len(core_names)] == core_names
        assert {n.split(".")[0] for n in names[len(core_names) :]} == set(drugs) - {"transfusion"}
    assert len(struct.names(feedback(("romiplostim",)).State)) <= 32, "registers are a budget"


def test_same_arguments_give_the_same_object():
    assert feedback(("romiplostim",)) is feedback(("romiplostim",))
    assert feedback(("romiplostim",)) is not feedback(("eltrombopag",))


def test_a_drug_at_nothing_leaves_the_loop_alone():
    """With no drug on board the core moves as it does without the drug's states."""
    p, y = random_patients(3)
    y |= dict.fromkeys(DRUG_STATES, np.zeros(N))
    model = feedback(DRUGS, "1")
    rates, _ = evaluate()([p[n] for n in struct.names(model.Parameters)], in_order(y), np.float64(1))
    symbols = {symbol: p[name] for symbol, (name, _) in spec.FLAGSHIP.items()}
    d = spec.flagship({s: y[s] for s in spec.STATES}, symbols)
    for name, ours in zip(spec.STATES, rates, strict=False):
        agree(ours, d[name], np.maximum(300.0 * np.abs(y[name]), 1e3), name)
    for ours in rates[len(spec.STATES) :]:
        assert not np.asarray(ours).any()
