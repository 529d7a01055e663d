"""A study from the command line to a file that opens, and what is said of wrong ones."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

import thrombojax as tj
from thrombojax.cli import main
from thrombojax.optimise import doses

STUDY = """
schema = 1

[study]
name = "small"
days = 21
parameter_set = "1"

[patients]
cohort = "healthy"
n = 24

[[arm]]
name = "romiplostim"
regimen = "romiplostim 1 ug/kg sc weekly x 3"

[[arm]]
name = "untreated"

[optimise]
arm = "romiplostim"
high = 3
doses = [0, 1, 2, 3]
starts = 1
steps = 4
polish = 4
holdout = 40

[[optimise.objective]]
minimise = "drug"
weight = 0.001

[[optimise.constraint]]
endpoint = "peak"
at_least = 300
probability = 0.8

[[endpoint]]
name = "peak"
reducer = "peak"

[[endpoint]]
name = "drug"
reducer = "cumulative_dose"
drug = "romiplostim"
"""


def write(folder, *changes):
    text = STUDY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.mark.xdist_group("optimise")
def test_a_study_runs_and_its_file_opens(tmp_path, capsys):
    """Real doses by enumeration: the least drug of all 64 plans that keep the constraint, counted here anew."""
    out = tmp_path / "o.h5"
    status = main(["optimise", str(write(tmp_path)), "-o", str(out), "--figure", str(tmp_path / "o.png")])
    said, wrong = capsys.readouterr()
    assert status == 0, wrong
    for words in (
        "plan: romiplostim",
        "in-sample: 24",
        "hold-out (seed 2): 40",
        "P(peak >= 300) >= 80 %",
        "enumerated 65 plans",  # all 64, and the relaxed one
        "gap",
    ):
        assert words in said, said
    data = tj.open(out)
    assert dict(data.sizes)["patient"] == 40
    assert list(data["arm"].values.astype(str)) == ["optimised", "romiplostim", "untreated"]
    plan = data["plan"].values[0]
    patients = tj.cohort("healthy", parameter_set="1").sample(24, seed=1)

    def kept(doses):
        words = " then ".join(f"{'romiplostim ' if i == 0 else ''}{d} ug/kg{' sc' if i == 0 else ''} once"
                              + (f" from day {7 * i}" if i else "") for i, d in enumerate(doses))  # fmt: skip
        peak = tj.Endpoint("peak", "peak")
        found = tj.simulate(patients, words, days=21, endpoints=[peak], save_every=None).endpoints["peak"]
        return np.mean(found >= 300.0)

    # Neither fluctuation nor errors in this cohort: the same count.
    assert kept(plan) >= 0.8
    for i in np.flatnonzero(plan):
        less = plan.copy()
        less[i] -= 1
        assert kept(less) < 0.8
    assert float(data["drug"].sel(arm="untreated").max()) == 0.0
    assert (tmp_path / "o.png").stat().st_size > 10_000


@pytest.mark.xdist_group("optimise")
def test_what_cannot_be_kept_is_said_and_the_best_plan_is_written(tmp_path, capsys):
    out = tmp_path / "o.h5"
    study = write(
        tmp_path, ("at_least = 300", "at_least = 9000"), ("steps = 4", "steps = 2"), ("polish = 4", "polish = 2")
    )
    assert main(["optimise", str(study), "-o", str(out)]) == 1
    said = capsys.readouterr().out
    assert "infeasible as far as was found: P(peak >= 9000) >= 80 %: violated by 0.8" in said
    assert tj.open(out)["plan"].shape == (1, 3)


@pytest.mark.xdist_group("optimise")
def test_an_objective_that_is_not_finite_is_named_and_the_best_plan_before_is_written(tmp_path, capsys, monkeypatch):
    """The first start is in a hole; the second is not."""
    whole = doses.Doses.function

    def holed(self, *given):
        f = whole(self, *given)

        def of(x, rows=None):
            hole = jnp.all(jnp.abs(x - 1.0) < 0.05)
            return {name: jnp.where(hole, jnp.nan, v) for name, v in f.of(x, rows).items()}

        return replace(f, of=of, beside=lambda plans: None)

    monkeypatch.setattr(doses.Doses, "function", holed)
    out = tmp_path / "o.h5"
    assert main(["optimise", str(write(tmp_path, ("starts = 1", "starts = 2"))), "-o", str(out)]) == 1
    said = capsys.readouterr().out
    assert "not all went well: start 1: the objective is not finite at the decisions 1, 1, 1; the best plan" in said
    assert np.isfinite(tj.open(out)["plan"]).all()
    monkeypatch.setattr(doses.Doses, "function", lambda self, *given: lambda x: (jnp.nan * jnp.sum(x), jnp.zeros(1)))
    assert main(["optimise", str(write(tmp_path)), "-o", str(tmp_path / "none.h5")]) == 1
    assert "the objective is not finite at the decisions" in capsys.readouterr().err
    assert not (tmp_path / "none.h5").exists()


@pytest.mark.slow
@pytest.mark.xdist_group("optimise")
def test_a_front_costs_more_the_more_is_asked(tmp_path, capsys):
    out = tmp_path / "o.h5"
    study = write(
        tmp_path, ("at_least = 300", "at_least = 400\nfront = [280, 340, 400]"), ("[0, 1, 2, 3]", "[0, 0.5, 1, 2, 3]")
    )
    status = main(["optimise", str(study), "-o", str(out), "--figure", str(tmp_path / "o.png")])
    assert status == 0, capsys.readouterr().err
    data = tj.open(out)
    np.testing.assert_array_equal(data["front"], [280, 340, 400])
    asked = data["front_objective"].values
    assert np.all(np.diff(asked) >= 0)
    assert asked[-1] > asked[0]
    said = capsys.readouterr().out
    assert "P(peak >= 400)" in said
    rows = said[said.index("front: each bound's own plan") :].splitlines()[2:5]
    assert [float(row.split()[0]) for row in rows] == [280, 340, 400]
    assert [float(row.split()[2]) for row in rows] == pytest.approx(asked, rel=1e-3)


@pytest.mark.slow
@pytest.mark.xdist_group("optimise")
def test_strata_have_plans_of_their_own(tmp_path, capsys):
    """Those with fewer platelets need more for the same count."""
    out = tmp_path / "o.h5"
    study = write(
        tmp_path,
        ("high = 3", 'high = 3\nstrata = ["platelets < 240", "platelets >= 240"]'),
        ("probability = 0.8\n", ""),
    )
    status = main(["optimise", str(study), "-o", str(out)])
    said, wrong = capsys.readouterr()
    assert status == 0, wrong
    assert "plan for platelets < 240: romiplostim" in said
    plan = tj.open(out)["plan"].values
    assert plan[0].sum() >= plan[1].sum()
    assert np.isfinite(tj.open(out)["peak"]).all()


REST = "starts = 1\nsteps = 4\npolish = 4\nholdout = 40"
KEYS = f"high = 3\ndoses = [0, 1, 2, 3]\n{REST}"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('arm = "romiplostim"\nhigh', 'arm = "romiplostin"\nhigh', ["optimise.arm", "did you mean 'romiplostim'"]),
        ("high = 3", "high = 3\nlow = 5", ["optimise.high: given 3; allowed: more than low = 5"]),
        ("doses = [0, 1, 2, 3]", "doses = [0, 4]", ["optimise.doses", "outside of low to high"]),
        ("doses = [0, 1, 2, 3]", "doses = [0, 1]\nstep = 1", ["optimise.step", "one of them"]),
        ('minimise = "drug"', 'minimise = "drugs"', ["optimise.objective[1].minimise", "did you mean 'drug'"]),
        ('minimise = "drug"', 'minimise = "drug"\nmaximise = "peak"', ["objective[1]", "exactly one of them"]),
        ("weight = 0.001", "weight = -1", ["optimise.objective[1].weight", "more than 0"]),
        ("weight = 0.001", "wight = 1", ["optimise.objective[1].wight", "did you mean 'weight'"]),
        ("weight = 0.001", "level = 0.5", ["objective[1].level", 'risk = "cvar"']),
        ("at_least = 300", "at_least = 300\nat_most = 4", ["constraint[1]", "exactly one of them"]),
        ("at_least = 300\n", "", ["constraint[1]", "neither at_least nor at_most"]),
        ("weekly x 3", "weekly x 9", ["at or after the horizon of 21 days"]),
        ("1 ug/kg sc", "1 U sc", ["unit", "'U'"]),
        ("high = 3", "high = 3\nstrata = [\"platelets < 1\", \"platelets >= 1\"]", ["strata[1]", "has 0 of the patients"]),
        ("high = 3", 'high = 3\nstrata = ["platelets < 240"]', ["optimise.strata: hold", "patients not exactly once"]),
        ("1 ug/kg sc", "1 pg/m2 sc", ["arm[1].regimen", "unit of romiplostim sc", "did you mean"]),
        (KEYS, f"{REST}\n[[optimise.dose]]\nhigh = 3\nlow = 4", ["optimise.dose[1].high: given 3; allowed: more than low = 4"]),
        (KEYS, f"{REST}\nhigh = 2\n[[optimise.dose]]\nhigh = 3", ["optimise.high: does not go with [[optimise.dose]]"]),
        (KEYS, f"{REST}\n[[optimise.dose]]\ndrug = 'pf4'\nhigh = 3", ["dose[1].drug: given 'pf4'; allowed: romiplostim"]),
        (KEYS, f"{REST}\n[[optimise.dose]]\nhigh = 3\n[[optimise.dose]]\ndrug = 'pf4'\nhigh = 1\nstep = 1",
         ["optimise.dose[1].drug: is missing", "optimise.dose[1]: has neither doses nor step"]),
        (KEYS, f"{REST}\n[[optimise.dose]]\ndrug = 'pf4'\nhigh = 3\n[[optimise.dose]]\ndrug = 'pf4'\nhigh = 1",
         ["optimise.dose[2].drug: 'pf4' is given twice"]),
        ("high = 3\n", "high = 3\nsamples = 9\n", ["optimise.samples: is of individual plans"]),
        ('arm = "romiplostim"\nhigh', "high", ["optimise.arm: is missing"]),
        ("holdout = 40", "holdout = 40\nmini_batches = 3", ["optimise.mini_batches: given 3; allowed: true or false"]),
        ("holdout = 40", "holdout = 40\nseed = 1", ["optimise.seed", "needed: another"]),
        ("holdout = 40", 'holdout = 40\n[[optimise.number]]\nname = "start"\nlow = 1\nhigh = 2', ["needs a policy"]),
        ('reducer = "peak"', 'reducer = "peak_day"', ["peak_day has no smooth twin"]),
    ],
)  # fmt: skip
def test_a_wrong_study_is_refused(tmp_path, capsys, old, new, words):
    out = tmp_path / "o.h5"
    assert main(["optimise", str(write(tmp_path, (old, new))), "-o", str(out)]) == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said, said
    assert not out.exists()


def test_a_study_without_the_section(tmp_path, capsys):
    text = STUDY[: STUDY.index("[optimise]")] + STUDY[STUDY.index("[[endpoint]]") :]
    (tmp_path / "s.toml").write_text(text)
    assert main(["optimise", str(tmp_path / "s.toml"), "-o", str(tmp_path / "o.h5")]) == 2
    assert "has no section [optimise]" in capsys.readouterr().err


def test_tablets_that_cannot_make_a_dose(tmp_path, capsys):
    study = write(tmp_path, ("romiplostim 1 ug/kg sc weekly x 3", "eltrombopag 50 mg oral daily x 20"), ("high = 3", "high = 75"),
                  ("doses = [0, 1, 2, 3]", "doses = [0, 30, 75]"), ('drug = "romiplostim"', 'drug = "eltrombopag"'))  # fmt: skip
    assert main(["optimise", str(study), "-o", str(tmp_path / "o.h5")]) == 2
    assert "30 mg cannot be made of tablets of eltrombopag" in capsys.readouterr().err
