"""Steady states of the flagship as section 5 of the model description prints them, and what they must obey."""

import functools

import jax
import numpy as np
import pytest
import spec
from printed import assert_printed

import thrombojax as tj
from thrombojax.models import registry, struct
from thrombojax.models.feedback.assemble import feedback
from thrombojax.models.protocol import Inputs
from thrombojax.patients.population import prepare

pytestmark = pytest.mark.xdist_group("flagship")

MPL = {"rho_prog": 1e-9, "rho_mk": 1e-9, "rho_plt": 1e-9}
NICHE = {"sdf": 4.0, "fgf": 1.6}
# what differs from healthy: P, TPO ratio, MK mass, ploidy, production, mean age (- = not printed)
STRUCTURAL = {
    "healthy": ({}, "250 1 1 20.5 1 5.62"),
    "ITP, good marrow": ({"qcap": 1.1, "kimm": 2.939604282005111}, "16 1.412159 1.336 21.1 1.404 0.43"),
    "ITP, reduced production": ({"qcap": 0.6, "kimm": 2.284325}, "16 1.818154 1.022 22.3 1.110 0.55"),
    "ITP, splenectomised": ({"qcap": 1.1, "psi": 0.02, "kimm": 5.334488}, "13 1.471044 1.372 21.2 1.450 0.23"),
    "cirrhosis": (
        {"lf": 0.45, "krand": 0.03, "qcap": 0.75, "psi": 4.2556364146707315},
        "38 0.797402 0.694 20.3 0.672 4.97",
    ),
    "aplastic anaemia": (
        {"mA": 1.2, "mW": 1.3, "qcap": 0.0438828239536152},
        "27 16.016683 0.132 23.8 0.169 4.38",
    ),
    "persistent CIT": ({"qcap": 0.02565293}, "62 7.338219 0.250 28.3 0.311 4.99"),
    "ET": (
        {"rho_plt": 0.25, "rho_mk": 0.25, "b0": 0.06, "J": 2.0513867637531367},
        "950 1.293493 3.294 19.5 3.531 5.82",
    ),
    "Mpl-/-": (MPL, "28.26521 58.163521 0.244 16.9 0.175 4.42"),
    "CAMT II": (dict.fromkeys(MPL, 0.01), "67.58751 56.447854 0.413 18.0 0.332 5.05"),
    "Thpo-/-": ({"gthpo": 1e-9}, "39.76735 0 0.299 17.3 0.223 4.68"),
    "platelet-only Mpl loss": ({"rho_plt": 1e-9}, "412.05350 1.792150 1.463 21.7 1.587 5.72"),
    "platelet + MK Mpl loss": ({"rho_plt": 1e-9, "rho_mk": 0.1}, "796.09273 8.854738 3.163 17.5 2.975 5.81"),
    "IL-6": ({"IL6": 1.0}, "312.25940 1.297643 1.181 21.1 1.226 5.67"),
    "IL-6 in Mpl-/-": ({"IL6": 1.0, **MPL}, "28.26521 79.27 - - - -"),
    "IL-6 in Thpo-/-": ({"IL6": 1.0, "gthpo": 1e-9}, "39.76735 0 - - - -"),
    "SDF-1 + FGF-4": (NICHE, "451.12080 0.513 1.15 - - -"),
    "SDF-1 + FGF-4 in Mpl-/-": ({**NICHE, **MPL}, "175.11147 60.8 0.54 - - -"),
    "SDF-1 + FGF-4 in Thpo-/-": ({**NICHE, "gthpo": 1e-9}, "214.26068 0 0.63 - - -"),
    "niche disruption": ({"nu": 0.3}, "99.59895 1.985469 0.818 22.9 0.451 5.27"),
    "PF4 x0": ({"pf4": 0.0}, "287.84073 0.845 - - - -"),
    "PF4 x2": ({"pf4": 2.0}, "228.57782 1.114 - - - -"),
    "PF4 x4": ({"pf4": 4.0}, "202.88970 1.291 - - - -"),
    "TGF-beta x3": ({"tgf": 3.0}, "236.06847 1.031193 0.945 18.7 0.950 -"),
    "JAK2 gain x1.5": ({"J": 1.5}, "298.22517 0.787169 1.141 20.9 1.175 -"),
    "liver x0.5": ({"lf": 0.5}, "182.37365 0.682848 0.796 19.8 0.754 -"),
    "splenectomy": ({"psi": 0.02}, "367.64706 1 1 - 1 -"),
    "hypersplenism": ({"psi": 4.0}, "75.00000 1 1 - 1 -"),
}
OUTPUTS = ("platelets", "tpo", "megakaryocyte_mass", "ploidy", "production", "mean_age")


@functools.cache
def steady():
    """All rows, solved in one batch: patients, their steady states, outputs by name `[row]`."""
    rows = list(STRUCTURAL.values())
    symbols = sorted({symbol for changes, _ in rows for symbol in changes})
    changes = {spec.FLAGSHIP[s][0]: [change.get(s, spec.FLAGSHIP[s][1]) for change, _ in rows] for s in symbols}
    model = feedback(parameter_set="1")
    patients = registry.build(registry.Source(parameter_set="1")).patients(**changes)
    cohort = prepare(patients, model)
    seen = jax.jit(model.observe)(cohort.y0, cohort.p)
    return patients, cohort, {name: np.asarray(v) for name, v in struct.as_dict(seen).items()}


def row(name):
    return list(STRUCTURAL).index(name)


@pytest.mark.parametrize("name", STRUCTURAL)
def test_the_printed_steady_state(name):
    _, cohort, seen = steady()
    assert cohort.status[row(name)] == 0
    for output, text in zip(OUTPUTS, STRUCTURAL[name][1].split(), strict=True):
        value = seen[output][row(name)]
        if output == "platelets" and "." not in text:
            # The count was the anchor; the parameter that gives it is printed to 16 digits, or to 7.
            digits = max((len(str(v)) for v in STRUCTURAL[name][0].values()), default=16)
            assert value == pytest.approx(float(text), rel=1e-11 if digits > 12 else 5e-7)
        elif text != "-":
            # Rounded twice in the source (0.671492 to 0.6715 to 0.672): 0.55 units at most.
            assert_printed(value, text, output, half_units=1.1)


def test_healthy_is_the_vector_of_ones():
    _, cohort, _ = steady()
    y = {name: leaf[0] for name, leaf in struct.as_dict(cohort.y0).items()}
    printed = "50.739081 49.583930 48.455078 47.351926 46.273889 45.220395 44.190886 43.184815"
    for j, text in enumerate(printed.split(" ")):
        assert_printed(y[f"platelets.age_{j + 1}"], text)
    ladder = {"16n": 0.82, "32n": 0.2706, "64n": 0.051414}
    for name, value in y.items():
        if not name.startswith("platelets."):
            expected = ladder.get(name.rpartition("_")[2], 1.0) if "ploidy" in name else 1.0
            assert value == pytest.approx(expected, rel=1e-12), name


def test_the_right_hand_side_vanishes():
    """By our own equations and by the second writing of them; relative to the flux through each state."""
    _, cohort, _ = steady()
    model = feedback(parameter_set="1")
    ours = jax.tree.leaves(model.rhs(np.zeros(1), cohort.y0, cohort.p, Inputs({}, np.float64(0))))
    leaves = struct.as_dict(cohort.p)
    symbols = {symbol: leaves[name] for symbol, (name, _) in spec.FLAGSHIP.items()}
    y = dict(zip(spec.STATES, jax.tree.leaves(cohort.y0), strict=True))
    d = spec.flagship(y, symbols)
    for name, rate in zip(spec.STATES, ours, strict=True):
        scale = np.maximum(np.abs(y[name]), 1e-9)
        assert np.max(np.abs(rate) / scale) < 4e-11, name
        assert np.max(np.abs(d[name]) / scale) < 4e-11, name


def test_tpo_synthesis_equals_clearance_and_production_equals_loss():
    """Mass balance of TPO and of platelets, from the fluxes as the specification writes them."""
    _, cohort, seen = steady()
    p = struct.as_dict(cohort.p)
    y = struct.as_dict(cohort.y0)
    pool = sum(y[f"platelets.age_{j}"] for j in range(1, 9))
    ageing = 8 / p["platelets.lifespan"]
    count = pool / (1 + p["platelets.spleen_ratio"])
    np.testing.assert_allclose(seen["platelets"], count, rtol=1e-13)
    per_platelet = (
        p["platelets.vascular_consumption"] / (pool + p["platelets.vascular_smoothing"])
        + p["platelets.random_loss"]
        + p["platelets.immune_clearance"] / (1 + count / p["platelets.immune_saturation"])
    )
    made = seen["production"] * 39.558966  # section 2.0, healthy production
    np.testing.assert_allclose(made, per_platelet * pool + ageing * y["platelets.age_8"], rtol=2e-8)
    tpo, sites, mass = y["thrombopoietin.tpo"], y["receptor.platelet_mpl"], seen["megakaryocyte_mass"]
    kd = p["receptor.mpl_affinity"]
    cleared = 0.0165 * tpo + (0.6 * sites + 0.3835 * p["receptor.mpl_megakaryocyte"] * mass) * tpo * (1 + kd) / (
        kd + tpo
    )
    stroma = 2 / (1 + (y["regulators.pf4"] + y["regulators.tgfb"]) / 2)
    liver = 0.8 * p["thrombopoietin.liver_function"] * y["thrombopoietin.hepatic_mrna"]
    made = p["thrombopoietin.tpo_dose"] * (liver * (1 + 0.5 * p["thrombopoietin.il6"]) + 0.1 + 0.1 * stroma)
    np.testing.assert_allclose(made, cleared, rtol=1e-12)


@pytest.mark.parametrize(
    ("leaf", "changes", "count", "start", "text"),
    [
        pytest.param(
            *("spleen_ratio", {"lf": 0.45, "krand": 0.03, "qcap": 0.75}, 38.0, (-0.3, 1.2), "4.2556364146707315"),
            marks=pytest.mark.slow,  # each leaf is a program of its own
        ),
        ("immune_clearance", {"qcap": 1.1}, 16.0, (0.3, 0.7), "2.939604282005111"),
        ("immune_clearance", {"qcap": 0.6}, 16.0, (0.3, 0.7), "2.284325"),
        ("immune_clearance", {"qcap": 1.1, "psi": 0.02}, 13.0, (0.3, 0.7), "5.334488"),
        pytest.param(
            *("jak2_gain", {"rho_plt": 0.25, "rho_mk": 0.25, "b0": 0.06}, 950.0, (0.0, 0.7), "2.0513867637531367"),
            marks=pytest.mark.slow,
        ),
        ("stem_capacity", {"mA": 1.2, "mW": 1.3}, 27.0, (3.0, -3.0), "0.0438828239536152"),
        ("stem_capacity", {}, 62.0, (1.5, -1.5), "0.02565293"),
    ],
)
def test_anchored_on_a_count(leaf, changes, count, start, text):
    """The parameter that explains a count, as printed: to its digits, at best 1e-12."""
    model = feedback(parameter_set="1")
    p = struct.replace(model.defaults, {spec.FLAGSHIP[s][0]: v for s, v in changes.items()})
    p = jax.tree.map(np.float64, p)
    solved, state, residual = anchoring(leaf)(p, np.float64(count), np.asarray(start))
    leaves = struct.as_dict(solved)
    value = float(leaves[struct.resolve(leaf, leaves)])
    assert residual < 1e-12
    assert struct.as_dict(feedback(parameter_set="1").observe(state, solved))["platelets"] == pytest.approx(
        count, rel=1e-13
    )
    if len(text) > 12:
        assert value == pytest.approx(float(text), rel=1e-12)
    else:
        assert_printed(value, text)


@functools.cache
def anchoring(leaf):
    return jax.jit(lambda p, count, start: feedback(parameter_set="1").anchor(p, leaf, count, (start[0], start[1])))


def test_untreated_stays_at_baseline():
    """60 days without treatment, every row: to rounding."""
    patients, _, seen = steady()
    constant = {name: np.broadcast_to(seen[name], (61, len(STRUCTURAL))) for name in ("platelets", "tpo")}
    result = tj.simulate(patients, days=60, observables=("platelets", "tpo"), precision="f64")
    assert not result.status.any()
    for name, value in constant.items():
        np.testing.assert_allclose(result.saved[name], value, rtol=1e-12, atol=1e-12)
    single = tj.simulate(patients, days=60, precision="f32")
    np.testing.assert_allclose(single.platelets, constant["platelets"], rtol=2e-5)
