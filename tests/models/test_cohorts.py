"""Cohorts: what their files may say, typical members as printed, and populations beside what is reported of patients."""

import functools

import jax
import numpy as np
import pytest
from printed import assert_printed
from scipy.integrate import solve_ivp
from test_flagship_baselines import OUTPUTS, STRUCTURAL

import thrombojax as tj
from thrombojax import drugs
from thrombojax.models import registry, struct
from thrombojax.models.feedback.assemble import feedback
from thrombojax.models.protocol import Inputs
from thrombojax.patients import cohort as cohorts
from thrombojax.patients.entry import admitted
from thrombojax.patients.population import prepare, values

pytestmark = pytest.mark.xdist_group("flagship")

SETS = ("1", "2")
FILES = [(s, name) for s in SETS for name in cohorts.names(feedback((), s).cohorts)]


def prepared(patients):
    """(cohort, observables by name) of the drug-free model."""
    model = registry.build(patients.source)
    found = prepare(patients, model)
    with jax.enable_x64(True):
        return found, {k: np.asarray(v) for k, v in struct.as_dict(model.observe(found.y0, found.p)).items()}


@functools.cache
def population(parameter_set, name):
    """200 patients: (cohort, observables by name)."""
    return prepared(tj.cohort(name, parameter_set=parameter_set).sample(200))


# What a file may say


@pytest.mark.parametrize(("parameter_set", "name"), FILES)
def test_a_file_is_sound(parameter_set, name):
    """Every leaf is one of the model with all drugs, every value has a source and is plausible, all shares sum to one."""
    model = feedback(drugs.names(), parameter_set)
    cohort = cohorts.load(model.cohorts, name)
    assert cohort.name == name
    assert cohort.observation is not None
    known = {leaf.name: leaf.quantity for leaf in struct.fields(model.Parameters)}
    typical = {**struct.as_dict(model.defaults), **{leaf: fixed.value for leaf, fixed in cohort.parameters.items()}}

    said = [cohort, *cohort.parameters.values(), *cohort.mixture, *cohort.vary.values(), *cohort.correlation]
    said += [*cohort.fluctuation.values(), cohort.observation]
    said += [cohort.anchor.count] if cohort.anchor else []
    assert all(part.source.strip() for part in said)

    for mixture in cohort.mixture:
        assert sum(part.probability for part in mixture.parts) == pytest.approx(1, abs=1e-12), mixture.name
    parts = [part for mixture in cohort.mixture for part in mixture.parts]
    leaves = [
        *cohort.parameters,
        *cohort.vary,
        *cohort.fluctuation,
        *(leaf for c in cohort.correlation for leaf in c.pair),
    ]
    leaves += [leaf for part in parts for leaf in (*part.set, *part.scale)]
    leaves += [cohort.anchor.unknown] if cohort.anchor else []
    assert set(leaves) <= set(known)

    middle = [(leaf, float(d.at(typical[leaf], np.zeros(1))[0])) for leaf, d in cohort.vary.items()]
    settings = [(leaf, value) for part in parts for leaf, value in part.set.items()]
    for leaf, value in [*((leaf, fixed.value) for leaf, fixed in cohort.parameters.items()), *settings, *middle]:
        own = cohort.parameters.get(leaf)
        low = known[leaf].low if own is None or own.low is None else own.low
        high = known[leaf].high if own is None or own.high is None else own.high
        if cohort.species == "human":
            assert low <= value <= high, leaf


# Typical members

TYPICAL = {
    "healthy": ("healthy", None),
    "itp": ("ITP, good marrow", 16.0),
    "cld-lusutrombopag": ("cirrhosis", 38.0),
    "aplastic-anaemia": ("aplastic anaemia", None),
    "chemotherapy-induced-thrombocytopenia": ("persistent CIT", None),
    "et": ("ET", None),
    "camt-1": ("Mpl-/-", None),
    "camt-2": ("CAMT II", None),
    "mouse-thpo-null": ("Thpo-/-", None),
    "mouse-mpl-null": ("Mpl-/-", None),
    "mouse-platelet-mpl-null": ("platelet-only Mpl loss", None),
}
SLOW = {"cld-lusutrombopag"}  # an anchored leaf is a program of its own


def typical(name, parameter_set, count):
    patients = tj.cohort(name, parameter_set=parameter_set).typical()
    return prepared(patients if count is None else patients.replace(count=count))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in TYPICAL])
def test_the_typical_member_is_the_printed_one(name):
    """model.md section 5. Mice have the human member's ratios to the wild type; platelets' age goes by their lifespan."""
    row, count = TYPICAL[name]
    cohort, seen = typical(name, "1", count)
    assert cohort.status[0] == 0
    mouse = name.startswith("mouse")
    for output, text in zip(OUTPUTS, STRUCTURAL[row][1].split(), strict=True):
        scale = {"platelets": 250 / 1050, "mean_age": 10.5 / 5}.get(output, 1.0) if mouse else 1.0
        value = seen[output][0] * scale
        if output == "platelets" and "." not in text:
            assert value == pytest.approx(float(text), rel=1e-11)  # the anchor
        elif not (mouse and output == "tpo" and text == "0"):
            assert_printed(value, text, output, half_units=1.1)


@pytest.mark.parametrize(
    ("name", "count", "solved"),
    [
        ("aplastic-anaemia", None, 0.049849033),
        ("chemotherapy-induced-thrombocytopenia", None, 0.045189454),
        ("et", None, 2.3130035),
        ("itp", 16.0, 1.0757980613657865),
        pytest.param("cld-lusutrombopag", 38.0, 4.138787642990654, marks=pytest.mark.slow),
    ],
)
def test_what_explains_the_typical_count_in_set_2(name, count, solved):
    """model-set2.md sections 1.3 and 4."""
    cohort, _ = typical(name, "2", count)
    leaf = tj.cohort(name)._load().anchor.unknown
    assert struct.as_dict(cohort.p)[leaf][0] == pytest.approx(solved, rel=5e-8)


# Populations

# Percentiles 5, 50 and 95 of the count and of the TPO ratio that 200 patients have: sets 1 and 2. What the model does.
REACHED = {
    "aplastic-anaemia": ("15.37 26.61 54.58", "4.768 14.1 30.1", "15.37 26.61 54.58", "4.106 14.63 38.5"),
    "autologous-transplantation": (
        "119.8 194.5 366.6",
        "0.3863 1.403 4.466",
        "119.8 194.5 366.6",
        "0.4154 1.358 4.151",
    ),
    "camt-1": ("14.25 28.61 51.35", "38.16 55.68 85.15", "15.8 32.15 58.18", "76.13 111.3 171.1"),
    "camt-2": ("38.28 65.08 113.8", "36.9 53.85 83.52", "51.56 88.89 153.7", "76.23 113.8 179.3"),
    "chemotherapy": ("174.3 245 347.7", "0.6187 0.9963 1.532", "171.8 244.9 350.4", "0.5888 0.9951 1.568"),
    "chemotherapy-induced-thrombocytopenia": (
        "34.8 61.3 95.98",
        "2.792 7.17 17.27",
        "34.8 61.3 95.98",
        "2.187 6.688 17.73",
    ),
    "cld": ("27.88 86.82 176.5", "0.5461 0.8743 1.436", "27.13 86.93 174", "0.5241 0.848 1.472"),
    "cyclic-thrombocytopenia": ("43.28 68.57 99.94", "1.761 2.343 3.099", "41.26 61.99 86.87", "1.569 2.007 2.545"),
    "et": ("577.8 937.9 1768", "0.35 1.247 3.611", "577.8 937.9 1768", "0.4378 1.513 4.549"),
    "et-calr": ("638.7 1037 1954", "0.3044 1.072 3.171", "638.7 1037 1954", "0.3829 1.302 3.984"),
    "et-jak2": ("517 839.2 1582", "0.4104 1.474 4.036", "517 839.2 1582", "0.5099 1.784 4.912"),
    "et-mpl": ("638.7 1037 1954", "0.3044 1.072 3.171", "638.7 1037 1954", "0.3829 1.302 3.984"),
    "et-triple-negative": ("547.4 888.5 1675", "0.378 1.352 3.856", "547.4 888.5 1675", "0.4712 1.64 4.829"),
    "healthy": ("174.3 245 347.7", "0.6187 0.9963 1.532", "171.8 244.9 350.4", "0.5888 0.9951 1.568"),
    "itp": ("10.34 16.78 30", "1.214 1.562 2.212", "10.34 16.78 30", "1.111 1.5 2.047"),
    "mds": ("12.49 23.6 50", "1.132 3.804 10.94", "12.49 23.6 50", "0.9435 3.199 9.654"),
    "mouse": ("916.5 1037 1173", "0.8389 0.9951 1.172", "918.3 1037 1187", "0.8304 0.9951 1.186"),
    "mouse-mpl-null": ("87.19 119.1 153.1", "49.06 57.16 67.89", "96.96 132.8 172.5", "97.65 113.8 135.3"),
    "mouse-platelet-mpl-null": ("1525 1711 1921", "1.545 1.785 2.05", "1626 1824 2066", "1.775 2.081 2.423"),
    "mouse-thpo-null": (
        "124.5 167.1 214.8",
        "2.303e-09 3.087e-09 4.093e-09",
        "109.1 148.6 193",
        "2.316e-09 3.117e-09 4.124e-09",
    ),
    "neutralising-antibodies": ("24.77 47.71 89.23", "0.6386 0.938 1.438", "22.72 43.48 89.87", "0.5392 0.8 1.23"),
    "reactive-thrombocytosis": ("450 517.1 682.9", "0.2615 0.5988 1.292", "450 517.1 682.9", "0.3088 0.6672 1.459"),
}
# Of patients or mice, as science.md (sections 2 to 4) has it: medians between these; a shared normal is 1.
REPORTED = {
    ("aplastic-anaemia", "tpo"): (14, 29),
    ("camt-1", "platelets"): (0, 80),
    ("camt-1", "tpo"): (5, np.inf),
    ("camt-2", "platelets"): (0, 80),
    ("camt-2", "tpo"): (5, np.inf),
    ("cld", "tpo"): (0.56, 1.0),
    ("et", "tpo"): (1, 2),
    ("et-calr", "tpo"): (1, 2),
    ("et-jak2", "tpo"): (1, 2),
    ("et-mpl", "tpo"): (1, 2),
    ("et-triple-negative", "tpo"): (1, 2),
    ("et", "production"): (5, 8),
    ("et", "megakaryocyte_mass"): (5, 8),
    ("itp", "tpo"): (1, 1.5),
    ("mds", "tpo"): (0, 500 / 95.3),
    ("mds", "survival"): (1.6, 1.9),
    ("mouse", "platelets"): (1000, 1100),
    ("mouse-mpl-null", "platelets"): (105, 157.5),
    ("mouse-mpl-null", "tpo"): (5, np.inf),
    ("mouse-thpo-null", "platelets"): (105, 157.5),
    ("mouse-platelet-mpl-null", "platelets"): (4000, 6500),
    ("reactive-thrombocytosis", "tpo"): (0.5, 1.0),
}
# Where a set does not: (set, cohort, what) and what it has instead.
MISSED = {
    ("1", "itp", "tpo"): 1.562,
    ("1", "mouse-thpo-null", "platelets"): 167.1,
    ("2", "camt-2", "platelets"): 88.89,
    **{(s, "mouse-platelet-mpl-null", "platelets"): v for s, v in zip(SETS, (1711, 1824), strict=True)},
    **{(s, "et", "production"): 3.541 for s in SETS},
    **{(s, "et", "megakaryocyte_mass"): v for s, v in zip(SETS, (3.297, 3.170), strict=True)},
}


@pytest.mark.parametrize("name", REACHED)
@pytest.mark.parametrize("parameter_set", SETS)
def test_a_population_is_what_it_was(parameter_set, name):
    """Every patient has a steady state, and counts and TPO have the percentiles above, to what is printed of them."""
    cohort, seen = population(parameter_set, name)
    assert not cohort.status.any()
    first = 2 * SETS.index(parameter_set)
    for what, text in zip(("platelets", "tpo"), REACHED[name][first : first + 2], strict=True):
        found = np.percentile(seen[what], [5, 50, 95])
        print(parameter_set, name, what, " ".join(f"{v:.4g}" for v in found))
        assert found == pytest.approx([float(v) for v in text.split()], rel=1e-3)


@pytest.mark.parametrize(("name", "what"), REPORTED)
@pytest.mark.parametrize("parameter_set", SETS)
def test_a_median_lies_where_it_is_reported(parameter_set, name, what):
    low, high = REPORTED[name, what]
    found = np.median(population(parameter_set, name)[1][what])
    missed = MISSED.get((parameter_set, name, what))
    if missed is None:
        assert low <= found <= high
    else:
        assert found == pytest.approx(missed, rel=1e-3)
        assert not low <= found <= high  # else it is missed no longer, and the cohort's file says what is not so


def test_counts_fall_from_child_pugh_a_to_c():
    """97 +- 8 in one series of all stages."""
    for parameter_set in SETS:
        cohort, seen = population(parameter_set, "cld")
        score = np.asarray(cohort.p.body.child_pugh)
        a, b, c = (np.median(seen["platelets"][score == s]) for s in (5.5, 8, 11))
        assert a > b > c
        assert c < 50
        assert seen["platelets"].mean() == pytest.approx(97, abs=8)


def test_genotypes_are_shared_and_all_are_of_the_same_disease():
    """JAK2 lower than CALR and MPL; thrombosis twice as often with JAK2 (IPSET)."""
    medians = {n: np.median(population("1", f"et-{n}")[1]["platelets"]) for n in ("jak2", "calr", "mpl")}
    assert medians["jak2"] < min(medians["calr"], medians["mpl"])
    mixed = values(tj.cohort("et").sample(4000), feedback())["hazards.thrombosis_multiplier"]
    assert np.mean(mixed == 2.0) == pytest.approx(0.623 + 0.016, abs=0.02)
    for name, risk in {"et-jak2": 2.0, "et-calr": 1.0, "et-triple-negative": 1.0}.items():
        assert np.all(values(tj.cohort(name).sample(10), feedback())["hazards.thrombosis_multiplier"] == risk)


def test_entry_by_stage_and_count():
    model = feedback()
    stage_b = admitted(tj.cohort("cld").sample(50), model, "child_pugh >= 7 and child_pugh < 10 and platelets < 50")
    cohort, seen = prepared(stage_b)
    assert np.all(np.asarray(cohort.p.body.child_pugh) == 8)
    assert np.all(seen["platelets"] < 50)
    assert len(np.unique(stage_b.index)) == 50


def test_shares_of_covariates():
    """Recipe of parameter set 2; set 1 has none of them, so that what was found with it stands."""
    model = feedback(drugs.names(), "2")
    itp = values(tj.cohort("itp", parameter_set="2").sample(4000), model)
    shares = {"body.female": 0.66, "body.east_asian": 0.20, "body.corticosteroids": 0.35}
    for leaf, share in shares.items():
        assert itp[leaf].mean() == pytest.approx(share, abs=0.02)
        assert not values(tj.cohort("itp", parameter_set="1").sample(100), feedback(drugs.names(), "1"))[leaf].any()
    assert np.mean(itp["romiplostim.neutralised"] > 0) == pytest.approx(0.05, abs=0.01)
    healthy = values(tj.cohort("healthy").sample(4000), feedback())
    assert healthy["body.female"].mean() == pytest.approx(0.5, abs=0.02)
    assert healthy["body.age"].mean() == pytest.approx(40, abs=1)


# The loop that cycles


def test_cyclic_thrombocytopenia_cycles():
    """Its steady state is unstable, and what it falls into has the published nadir, peak and period."""
    cohort, _ = typical("cyclic-thrombocytopenia", "1", None)
    model = feedback((), "1")
    structure = jax.tree.structure(cohort.y0)

    @jax.jit
    def flat(y):
        state = jax.tree.unflatten(structure, [y[i] for i in range(y.shape[0])])
        return jax.numpy.stack(jax.tree.leaves(model.rhs(0.0, state, cohort.p, Inputs({}, 0.0))))

    def rate(y):
        """[state] or [state, column]; one program for both: 64 columns."""
        columns = np.zeros((len(y), 64)) + (y if y.ndim == 2 else y[:, None])
        out = np.asarray(flat(columns))
        return out if y.ndim == 2 else out[:, 0]

    rest = np.array([leaf[0] for leaf in jax.tree.leaves(cohort.y0)])
    n = len(rest)
    step = 1e-6 * np.maximum(np.abs(rest), 1e-3)
    moved = np.tile(rest[:, None], 64)
    moved[:, :n] += np.diag(step)
    moved[:, n : 2 * n] -= np.diag(step)
    change = rate(moved)
    leading = max(np.linalg.eigvals((change[:, :n] - change[:, n : 2 * n]) / (2 * step)), key=lambda e: e.real)
    assert leading.real == pytest.approx(0.0241, abs=5e-4)
    assert 2 * np.pi / abs(leading.imag) == pytest.approx(24.5, abs=3)

    ages = [i for i, name in enumerate(struct.names(model.State)) if name.startswith("platelets.age")]
    start = rest.copy()
    start[ages] *= 3  # a transfusion
    days = np.arange(250.0, 400.0)
    run = solve_ivp(lambda _, y: rate(y), (0, 400), start, "LSODA", days, rtol=1e-7, atol=1e-9)
    count = run.y[ages].sum(0) / 1.5
    rises = np.flatnonzero((count[:-1] < count.mean()) & (count[1:] >= count.mean()))
    assert count.min() == pytest.approx(11.1, rel=0.05)  # published: 10 (1-90)
    assert count.max() == pytest.approx(370, rel=0.05)  # 330 (72-2300)
    assert np.diff(rises).mean() == pytest.approx(26.9, abs=0.5)  # 21 to 35 d
