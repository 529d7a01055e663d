"""Plans of patients' own: gradients, problems whose answer is known for each patient, truth that plans are to find, bad input."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pk
import pytest
from scipy.optimize import lsq_linear

import thrombojax as tj
from thrombojax.cli import main
from thrombojax.endpoints import Endpoint
from thrombojax.optimise import discrete, individual, lockstep, objective, own, problem
from thrombojax.optimise.individual import Sampled
from thrombojax.optimise.problem import Goal, Limit
from thrombojax.patients import clinic
from thrombojax.patients.population import Patients, prepare
from thrombojax.study import plan as plans
from thrombojax.study.schema import load

pytestmark = pytest.mark.xdist_group("optimise")
N = 5
EVERY = np.arange(N)


ELIMINATION = np.linspace(0.2, 0.5, N)
VOLUME = np.linspace(3.0, 1.5, N)


def people(n=N):
    found = Patients(pk.SOURCE, n).replace({"elimination": ELIMINATION[:n], "volume": VOLUME[:n]})
    model = pk.registry.build(pk.SOURCE, ("drug",))
    return model, prepare(found, model)


def matrix(k):
    """Trough by dose of patient k."""
    since = 7.0 * np.arange(1, pk.WEEKS + 1)[:, None] - 7.0 * np.arange(pk.WEEKS)
    return np.where(since > 0, np.exp(-ELIMINATION[k] * since) / VOLUME[k], 0.0)


def sampled(ends=pk.ENDS, high=60.0, samples=1):
    model, cohort = people()
    course = problem.course(tj.regimen(f"drug 10 mg iv weekly x {pk.WEEKS}"), pk.DAYS, low=0.0, high=high)
    return Sampled(own.own(model, cohort, course, pk.DAYS, tuple(ends)), N // samples, samples)


def squares(of, weights):
    def f(x, who):
        found = of.own.smooth(of.of_each(x), of.rows(who))
        loss = sum(w * (found[e.name] - pk.TARGET) ** 2 for w, e in zip(weights, pk.ENDS, strict=True))
        return loss, jnp.zeros((0, x.shape[1]))

    return f


@pytest.mark.parametrize("high", [60.0, 14.5])
def test_each_patient_has_its_own_least_squares(high):
    """SciPy's bounded answer, patient by patient, also where bounds hold."""
    weights = np.array([1.0, 4.0, 1.0, 2.0])
    of = sampled(high=high)
    d = of.own.course.decisions
    start = np.tile(d.start[:, None], N)
    found = lockstep.descend(squares(of, weights), d.low, d.high, start, most=400, tolerance=1e-8)
    assert found.converged.all()
    for k in range(N):
        root = np.sqrt(weights)
        exact = lsq_linear(root[:, None] * matrix(k), root * pk.TARGET, (0, high), tol=1e-14)
        np.testing.assert_allclose(found.x[:, k], exact.x, rtol=1e-4, atol=1e-4 * high)
        assert found.objective[k] == pytest.approx(2 * exact.cost, abs=1e-4)


def test_the_least_drug_that_keeps_each_patients_troughs():
    """Load, then replace what each loses in a week, in closed form; and the same by whole milligrams."""
    of = sampled((*pk.ENDS, pk.DRUG))
    goals, limits = (Goal("amount", 1.0, 0.01),), tuple(Limit(e.name, pk.TARGET, True) for e in pk.ENDS)
    d = of.own.course.decisions
    found = lockstep.descend(
        of.smooth(goals, limits), d.low, d.high, np.tile(d.start[:, None], N), most=600, tolerance=1e-6, rounds=40
    )
    lost = pk.TARGET * VOLUME * np.expm1(7 * ELIMINATION)
    best = np.stack([lost + pk.TARGET * VOLUME, *[lost] * (pk.WEEKS - 1)])
    assert found.converged.all()
    np.testing.assert_allclose(found.x, best, rtol=3e-3)  # as tight as constraints are held
    np.testing.assert_allclose(of.exact(best, goals, limits).kept, pk.TARGET, rtol=1e-3)
    levels = [np.arange(0.0, 61.0)] * pk.WEEKS
    x, _, tried = individual._real(of, goals, limits, found, found.x.mean(axis=1), levels, lambda text: None)
    assert tried.min() > 1
    assert of.exact(x, goals, limits).excess(limits).max() <= 1e-9
    for k in range(N):
        less = [np.array(y) for y in itertools.product(*(range(max(int(v) - 2, 0), int(v) + 1) for v in x[:, k]))]
        kept = [y for y in less if np.all(matrix(k) @ y >= pk.TARGET - 1e-6)]
        assert min(y.sum() for y in kept) == pytest.approx(x[:, k].sum())


@dataclass
class Few:
    """Some patients of a batch, as if there were no others."""

    of: Sampled
    among: np.ndarray

    @property
    def patients(self):
        return len(self.among)

    def exact(self, x, goals, limits, who=None):
        return self.of.exact(x, goals, limits, who=self.among if who is None else self.among[who])


def test_enumeration_is_exact_for_each():
    rng = np.random.default_rng(3)
    cost = rng.normal(size=(3, 4, N))
    of = [np.arange(4.0)] * 3

    def merit(x, who):
        return sum(cost[i, x[i].astype(int), who] for i in range(3)) + 0.1 * x[0] * x[1] * x[2]

    found = discrete.search_each(merit, np.full((3, N), 1.2), of)
    every = np.stack(
        [merit(np.tile(np.array(p, float)[:, None], N), EVERY) for p in itertools.product(range(4), repeat=3)]
    )
    np.testing.assert_array_equal(merit(found, EVERY), every.min(axis=0))


def test_searches_end_where_no_neighbour_is_better():
    """Convex costs, too many combinations to try: the minimum where decisions are apart, and each patient by itself."""
    rng = np.random.default_rng(4)
    centre, of = rng.uniform(0.0, 9.0, (4, N)), [np.arange(10.0)] * 4
    asked = []

    def merit(ridge):
        def f(x, who):
            asked.append(len(who))
            return np.sum((x - centre[:, who]) ** 2, axis=0) + ridge * np.sum(x - centre[:, who], axis=0) ** 2

        return f

    found = discrete.search_each(merit(0.0), np.full((4, N), 5.0), of)
    np.testing.assert_array_equal(found, np.round(centre))
    assert asked[-1] < asked[1]  # those who are done are not asked
    ridge = merit(3.0)
    found = discrete.search_each(ridge, np.full((4, N), 5.0), of)
    for step in discrete._steps(4):
        there = found + step[:, None]
        inside = np.all((there >= 0) & (there <= 9), axis=0)
        assert np.all(~inside | (ridge(there, EVERY) >= ridge(found, EVERY) - 1e-12))
    for k in range(N):
        alone = discrete.search_each(lambda x, who, k=k: ridge(x, who + k), np.full((4, 1), 5.0), of)
        np.testing.assert_array_equal(alone[:, 0], found[:, k])


def test_a_plan_does_not_depend_on_who_else_is_there():
    """To the bit: relaxed, with multipliers and evaluations, and in real doses."""
    of = sampled((*pk.ENDS, pk.DRUG))
    goals, limits = (Goal("amount", 1.0, 0.01),), tuple(Limit(e.name, pk.TARGET, True) for e in pk.ENDS)
    d, f = of.own.course.decisions, of.smooth(goals, limits)
    levels = [np.arange(0.0, 61.0, 5.0)] * pk.WEEKS

    def plans_of(who):
        g = lambda x, mine: f(x, jnp.where(mine >= 0, jnp.asarray(who)[mine], -1))  # noqa: E731
        few = Few(of, who)
        found = lockstep.descend(g, d.low, d.high, np.tile(d.start[:, None], len(who)), most=20, tolerance=1e-6)
        return found, individual._real(few, goals, limits, found, d.start, levels, lambda text: None)[0]

    together, real = plans_of(np.arange(N))
    assert len(set(together.evaluations.tolist())) > 1
    who = np.array([4, 1])
    alone, its_real = plans_of(who)
    for name in ("x", "objective", "excess", "multipliers", "norm", "converged", "evaluations"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name)[..., who])
    np.testing.assert_array_equal(its_real, real[:, who])


ENDS = (
    Endpoint("band", "fraction_in_band", stop=pk.DAYS, numbers={"low": 210.0, "high": 300.0}),
    Endpoint("nadir", "nadir", stop=pk.DAYS),
    Endpoint("peak", "peak", start=3.0, stop=pk.DAYS),
    Endpoint("given", "doses_given", stop=pk.DAYS, drug="drug"),
    Endpoint("changes", "dose_changes", stop=pk.DAYS, drug="drug"),
    pk.DRUG,
)
GOALS = (Goal("band", -1.0), Goal("nadir", 1.0, 0.01), Goal("peak", 1.0, 0.003, 0.5), Goal("amount", 1.0, 0.01), Goal("given"),
         Goal("changes"))  # fmt: skip
LIMITS = (Limit("peak", 280.0, False, 0.9), Limit("band", 0.5, True))


def test_gradients_are_each_patients_own():
    """Against central differences to 1e-5; what one patient is given moves no other."""
    of = sampled(ENDS)
    f = of.smooth(GOALS, LIMITS)
    x = np.random.default_rng(5).uniform(0.5, 30.0, (pk.WEEKS, N))
    total = jax.jit(lambda x: (lambda out: out[0] + jnp.sum(out[1], axis=0))(f(x, EVERY)))
    slope = jax.jit(jax.grad(lambda x: jnp.sum(total(x))))(x)
    d = np.random.default_rng(6).normal(size=x.shape)
    h = 1e-5
    difference = np.asarray(total(x + h * d) - total(x - h * d)) / (2 * h)
    np.testing.assert_allclose(np.sum(slope * d, axis=0), difference, rtol=1e-5, atol=1e-9)
    moved = x.copy()
    moved[:, 2] += 1.0
    others = np.arange(N) != 2
    np.testing.assert_array_equal(np.asarray(total(moved))[others], np.asarray(total(x))[others])


def test_the_same_plan_for_all_is_the_shared_problem():
    """Means over patients of the same smooth endpoints."""
    of = sampled(ENDS)
    model, cohort = people()
    shared = problem.Dosing(of.own.course, problem.Population(model, cohort, {}), pk.DAYS, ENDS, GOALS)
    x = np.array([9.0, 0.1, 14.0, 14.0])
    mine = of.own.smooth(np.tile(x[:, None], N))
    for name, values in objective.values(shared)(jnp.asarray(x)).items():
        np.testing.assert_allclose(mine[name], values, rtol=1e-9)


def test_counted_is_what_the_simulator_counts():
    """Each patient's own plan as a regimen of its own, doses of 0 and all."""
    of = sampled(ENDS)
    x = np.array(
        [
            [9.0, 12.0, 0.0, 10.0, 30.0],
            [0.0, 12.0, 0.0, 5.0, 30.0],
            [9.0, 0.0, 8.0, 5.0, 2.0],
            [4.0, 6.0, 8.0, 5.0, 0.0],
        ]
    )
    mine, count = of.own.exact(x, [0.0, 10.0, 28.0])
    for k in range(N):
        words = " and ".join(f"drug {a} mg iv once from day {7 * i}" for i, a in enumerate(x[:, k]) if a)
        one = Patients(pk.SOURCE, 1).replace({"elimination": ELIMINATION[k : k + 1], "volume": VOLUME[k : k + 1]})
        how = {"days": pk.DAYS, "endpoints": list(ENDS), "save": (0.0, 10.0, 28.0), "precision": "f64"}
        theirs = tj.simulate(one, words, **how)
        for e in ENDS:
            assert mine[e.name][k] == pytest.approx(theirs.endpoints[e.name][0], rel=1e-4, abs=1e-12), e.name
        np.testing.assert_allclose(count[:, k], theirs.saved["platelets"][:, 0], rtol=1e-5)
    assert mine["given"].tolist() == [3, 3, 2, 4, 3]
    assert mine["changes"].tolist() == [1, 1, 0, 1, 1]


STUDY = """
schema = 1
[study]
name = "individual"
model = "feedback"
parameter_set = "2"
seed = 1
days = 43
[patients]
cohort = "itp"
[events]
table = "counts.csv"
time_unit = "day"
doses = { "1" = ["romiplostim", "sc", "ug/kg"] }
[fit]
parameters = ["count", "romiplostim.potency"]
mixtures = []
[optimise]
regimen = "romiplostim 3 ug/kg sc weekly x 4"
days = 28
samples = 8
high = 10
hold = 14
steps = 10
polish = 30
[[optimise.objective]]
maximise = "band"
[[endpoint]]
name = "band"
reducer = "fraction_in_band"
low = 50
high = 200
"""
TABLE_DAYS = (0.0, 7.0, 14.0, 21.0, 28.0, 35.0, 42.0)


def write(folder, n, *changes, noise=0.15):
    """A study, its table of simulated counts, and the true patients."""
    rng = np.random.default_rng(11)
    typical = tj.cohort("itp", parameter_set="2").typical()
    count, potency = 18.0 * np.exp(0.35 * rng.normal(size=n)), 0.045 * np.exp(0.65 * rng.normal(size=n))
    true = tj.Patients(typical.source, n, typical.cohort).replace({"count": count, "romiplostim.potency": potency})
    out = tj.simulate(true, "romiplostim 2 ug/kg sc weekly x 6", days=43, save=TABLE_DAYS, precision="f64")
    seen = out.saved["platelets"] * np.exp(noise * rng.normal(size=(len(TABLE_DAYS), n)))
    rows = ["ID,TIME,EVID,AMT,ADDL,II,DV"]
    for k in range(n):
        rows.append(f"p{k},0,1,2,5,7,.")
        rows += [f"p{k},{day:g},0,.,.,.,{value:.6g}" for day, value in zip(TABLE_DAYS, seen[:, k], strict=True)]
    (folder / "counts.csv").write_text("\n".join(rows) + "\n")
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "study.toml").write_text(text)
    return folder / "study.toml", true


def lived(true, x, k):
    """Time in the band of one true patient, and its counts: the record, then the plan, by the simulator as any user calls it."""
    one = true.pick(np.array([k]))
    parts = ["romiplostim 2 ug/kg sc weekly x 6"]
    parts += [f"romiplostim {x[j]:.6f} ug/kg sc weekly x 2 from day {42 + 14 * j}" for j in range(2) if x[j] > 1e-4]
    band = Endpoint("band", "fraction_in_band", start=42.0, stop=70.0, numbers={"low": 50.0, "high": 200.0})
    days = np.arange(42.0, 71.0)
    out = tj.simulate(one, " and ".join(parts), days=70, endpoints=[band], save=days)
    return out.endpoints["band"][0], out.saved["platelets"][:, 0]


@pytest.mark.slow
def test_individual_plans_beat_the_best_shared_one_on_the_true_patients(tmp_path, monkeypatch):
    """Whose disease does not fluctuate, as the posterior is told: then what is predicted is what is lived."""
    monkeypatch.setattr(plans, "observation", lambda *given: clinic.PERFECT)
    study, true = write(tmp_path, 24, ("samples = 8", "samples = 32"))
    found = individual.individual_plans(load(study))
    assert len(found.rows) == 24
    mine, counts = (
        np.array(a) for a in zip(*(lived(true, found.x[:, i], k) for i, k in enumerate(found.rows)), strict=True)
    )
    shared = np.array([lived(true, found.shared, k)[0] for k in found.rows])
    gain = mine - shared
    assert gain.mean() > 2.0 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert gain.mean() > 0.02
    predicted = found.holdout["individual"]
    assert mine.mean() == pytest.approx(predicted.mean["band"].mean(), abs=0.06)
    low, high = np.percentile(predicted.count, [5, 95], axis=1)
    assert 0.8 < np.mean((low <= counts.T) & (high >= counts.T)) < 0.98


def test_a_study_runs_and_its_file_opens(tmp_path, capsys):
    study, _ = write(tmp_path, 3, ("high = 10\n", "high = 10\nstep = 1\n"))
    out = tmp_path / "o.h5"
    status = main(["optimise", str(study), "-o", str(out), "--figure", str(tmp_path / "o.png")])
    said, wrong = capsys.readouterr()
    assert status == 0, wrong
    for words in (
        "one plan for all",
        "converged",
        "fresh posterior samples",
        "individual less",
        "gap to the relaxed ones",
    ):
        assert words in said, said
    data = tj.open(out)
    assert list(data["patient"].values.astype(str)) == ["p0", "p1", "p2"]
    assert data["plan"].dims == ("decision", "patient")
    np.testing.assert_array_equal(data["plan"], np.round(data["plan"]))
    np.testing.assert_array_equal(data["start_day"], 42.0)
    bands = data["count_percentile"].sel(arm="individual")
    assert np.all(np.diff(bands.values, axis=0) >= 0)
    assert np.isfinite(bands).all()
    assert (tmp_path / "o.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("days = 28\n", "", ["optimise.days: is missing"]),
        ('regimen = "romiplostim 3 ug/kg sc weekly x 4"\n', "", ["optimise.regimen: is missing"]),
        ("weekly x 4", "weekly x 5", ["optimise.regimen: gives a dose on day 28"]),
        ("romiplostim 3 ug/kg sc", "eltrombopag 25 mg oral", ["eltrombopag is in no record", "allowed: romiplostim"]),
        ("romiplostim 3 ug/kg sc", "romiplostim 3 mU sc", ["optimise.regimen", "mU"]),
        ("romiplostim 3 ug/kg sc", "romiplostim 3 U sc", ["unit of romiplostim sc", "'U'"]),
        ("samples = 8", "samples = 1", ["optimise.samples: given 1; allowed: a whole number from 2"]),
        ("hold = 14", "hold = 14\nmove = 2", ["optimise.move: does not go with [events]"]),
        ("hold = 14", "hold = 14\nmini_batches = true", ["optimise.mini_batches: does not go with [events]"]),
        ("hold = 14", 'hold = 14\narm = "a"', ["optimise.arm: does not go with [events]"]),
        ("hold = 14", "hold = 14\nlow = 20", ["optimise.high: given 10; allowed: more than low = 20"]),
        ('maximise = "band"', 'maximise = "bad"', ["objective[1].maximise", "did you mean 'band'"]),
        ('[fit]\nparameters = ["count", "romiplostim.potency"]\nmixtures = []\n', "", ["fit: is missing"]),
    ],
)
def test_a_wrong_study_is_refused(tmp_path, capsys, old, new, words):
    study, _ = write(tmp_path, 1, (old, new))
    out = tmp_path / "o.h5"
    assert main(["optimise", str(study), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said, said
    assert not out.exists()


def test_a_history_without_counts_is_refused(tmp_path, capsys):
    study, _ = write(tmp_path, 2)
    table = (tmp_path / "counts.csv").read_text().splitlines()
    (tmp_path / "counts.csv").write_text("\n".join(r for r in table if not (r.startswith("p1") and ",0,." in r)) + "\n")
    assert main(["optimise", str(study), "-o", str(tmp_path / "o.h5")]) == 2
    assert "patient 'p1': has no observation with a DV" in capsys.readouterr().err
    rows = [r.rsplit(",", 1)[0] + ",." for r in table[1:]]
    (tmp_path / "counts.csv").write_text("\n".join([table[0], *rows]) + "\n")
    assert main(["optimise", str(study), "-o", str(tmp_path / "o.h5")]) == 2
    assert "has no observation with a DV; needed: counts to fit" in capsys.readouterr().err


def test_a_record_that_ends_with_a_dose_starts_the_plan_the_day_after(tmp_path):
    study, _ = write(tmp_path, 1)
    table = (tmp_path / "counts.csv").read_text() + "p0,42,1,2,.,.,.\n"
    (tmp_path / "counts.csv").write_text(table)
    read = load(study)
    np.testing.assert_array_equal(individual._starts(read, plans.make(read)), [43.0])
    study.write_text(study.read_text().replace("days = 43", "days = 42.5"))
    read = load(study)
    with pytest.raises(tj.InputError, match=r"'p0': its last record is on day 42.*needed: days = 43 or more"):
        individual.individual_plans(read)
