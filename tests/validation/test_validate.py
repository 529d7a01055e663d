"""How a case is judged: statistics, trials, what agrees; and `thrombojax validate` as a whole."""

import json
import os
import signal
import types

import case_file
import numpy as np
import pytest
import scipy.stats
from case_file import target

from thrombojax.cli import main
from thrombojax.errors import RunError
from thrombojax.execute.signals import stop_request
from thrombojax.report import validation as page
from thrombojax.validation import judge, signatures, targets

KEYS = {
    "case",
    "kind",
    "target",
    "population",
    "statistic",
    "unit",
    "published",
    "low",
    "high",
    "simulated",
    "agrees",
    "source",
}
"""Of the contract of `validate --json`."""
DRAW = np.random.default_rng(3)
COUNTS = DRAW.lognormal(4, 0.6, 200)
TRIALS = DRAW.lognormal(4, 0.6, (50, 30))


@pytest.fixture
def judged(tmp_path, monkeypatch):
    """judged(text, values, ...) -> the verdicts of a case whose study had these results."""

    def call(text, values, days=None, status=0, interrupted=False):
        asked = []

        def run_study(study, out, *, audit):
            asked.append((study, audit))
            case_file.results(out, values, days, status)
            found = {"audit_p99_relative_error": 1e-5} if audit else None
            return types.SimpleNamespace(path=out, interrupted=interrupted, audit=found)

        monkeypatch.setattr(judge.api, "run_study", run_study)
        found = judge.judge(case_file.case(tmp_path, text), None, audit=16)
        call.study, call.audit = asked[0]
        return found

    return call


def one(found):
    (verdict,) = found.verdicts
    return verdict


# ---- statistics ----


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("mean", np.mean),
        ("median", np.median),
        ("sd", lambda x: np.std(x, ddof=1)),
        ("cv", lambda x: 100 * scipy.stats.variation(x, ddof=1)),
        ("p5", lambda x: np.percentile(x, 5)),
        ("p95", lambda x: scipy.stats.scoreatpercentile(x, 95)),
    ],
)
@pytest.mark.parametrize("missing", [0, 7])
def test_statistics_are_those_of_numpy(judged, statistic, expected, missing):
    """Patients without a result do not count."""
    values = np.concatenate([COUNTS, np.full(missing, np.nan)])
    v = one(judged(target(statistic=f'"{statistic}"'), values))
    assert v.simulated == pytest.approx(expected(COUNTS), rel=1e-12)
    assert v.trial_low is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"statistic": '"share_at_or_above"'}, 100 * 3 / 5),
        ({"statistic": '"share_below"'}, 100 * 2 / 5),
    ],
)
def test_shares_are_of_those_with_a_result(judged, keys, expected):
    values = [10, 49.9, 50, 51, 200, np.nan]
    v = one(judged(target(threshold="50", published="50", low="0", high="100", **keys), values))
    assert v.simulated == pytest.approx(expected)


def test_a_share_of_yes_and_no(judged):
    assert one(judged(target(statistic='"share"'), [1, 0, 0, 1, 1, np.nan])).simulated == pytest.approx(60)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"statistic": '"median"'}, 20),
        ({"statistic": '"p95"'}, np.inf),
        ({"statistic": '"mean"'}, 15),
        ({"statistic": '"share_below"', "threshold": "21"}, 100 * 3 / 5),
        ({"statistic": '"share_at_or_above"', "threshold": "21"}, 100 * 2 / 5),
    ],
)
def test_a_day_that_never_came_is_later_than_all_others(judged, keys, expected):
    """But who could not be solved does not count; and there is no mean of never."""
    days = np.tile([10, 15, 20, np.nan, np.nan, np.nan], 4)
    status = np.tile([0, 0, 0, 0, 0, 3], 4)
    v = one(judged(target(endpoint='"day_at_400"', **keys), np.ones(24), days, status))
    assert v.simulated == pytest.approx(expected)


def test_the_cell_the_other_arm_and_the_unit(judged):
    """Doses of 1 have one less in the hand-made results, and placebo has half."""
    wide = {"published": "5", "low": "0", "high": "1000"}
    mean = COUNTS.mean()
    assert one(judged(target(at="{ dose = 1 }", **wide), COUNTS)).simulated == pytest.approx(mean - 1)
    assert one(judged(target(arm='"placebo"', **wide), COUNTS)).simulated == pytest.approx(mean / 2)
    assert one(judged(target(against='"placebo"', **wide), COUNTS)).simulated == pytest.approx(mean / 2)
    assert one(judged(target(times="0.1", **wide), COUNTS)).simulated == pytest.approx(mean / 10)
    assert one(judged(target(statistic='"value"', **wide), COUNTS[:1])).simulated == COUNTS[0]


def test_a_patient_of_a_table_and_the_difference_of_two_endpoints(tmp_path, judged):
    text = target(patient='"b"', statistic="", minus='"day_at_400"', published="5", low="0", high="1000")
    (tmp_path / "patients.csv").write_text("id,weight\na,70\nb,80\nc,90\n")
    v = one(judged(text, [100.0, 200.0, 300.0], np.array([1.0, 2.0, 3.0])))
    assert v.simulated == 198
    assert v.error == 0


def test_the_ratio_of_two_endpoints_is_of_each_patient(judged):
    v = one(judged(target(over='"day_at_400"', published="5", low="0", high="1000"), [8.0, 9.0], np.array([2.0, 18.0])))
    assert v.simulated == pytest.approx((8 / 2 + 9 / 18) / 2)


@pytest.mark.parametrize("yes", [[1, 0, 1, np.nan], [1, 0, 1, 0]])
def test_among_those_with_yes(judged, yes):
    more = 'name = "responded"\nreducer = "response"\nthreshold = 50\nneeded = 1\n\n[[endpoint]]'
    text = target(among='"responded"', published="5", low="0", high="1000")
    text = text.replace("[[endpoint]]", f"[[endpoint]]\n{more}", 1)
    assert one(judged(text, np.tile([10.0, 20.0, 60.0, 70.0], 5), np.tile(yes, 5))).simulated == 35.0


# ---- trials, errors, verdicts ----


def test_trials_give_an_interval_and_the_error_of_their_mean(judged):
    v = one(judged(target(), TRIALS))
    means = TRIALS.mean(1)
    assert v.simulated == pytest.approx(means.mean())
    assert (v.trial_low, v.trial_high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])))
    assert v.error == pytest.approx(1.96 * scipy.stats.sem(means))


def test_one_population_is_resampled(judged):
    v = one(judged(target(), COUNTS))
    assert v.error == pytest.approx(1.96 * scipy.stats.sem(COUNTS), rel=0.2)
    assert one(judged(target(statistic='"value"'), COUNTS[:1])).error == 0


@pytest.mark.parametrize(
    ("simulated", "agrees"),
    [(400, True), (500, True), (450, True), (399.999, False), (500.001, False), (np.nan, False)],
)
def test_edges_agree_and_no_number_does_not(judged, simulated, agrees):
    v = one(judged(target(statistic='"value"'), [simulated]))
    assert v.agrees is agrees


@pytest.mark.parametrize(("beyond", "agrees"), [(0.99, True), (1.01, False)])
@pytest.mark.parametrize("side", [-1, 1])
def test_beyond_an_edge_within_the_monte_carlo_error(judged, beyond, agrees, side):
    noise = TRIALS - TRIALS.mean()
    error = 1.96 * scipy.stats.sem(noise.mean(1))
    v = one(judged(target(), noise + (450 + side * (50 + beyond * error))))
    assert v.error == pytest.approx(error)
    assert v.agrees is agrees


def test_what_a_row_says(judged):
    v = one(judged(target(source='"Else 2012"', rule='"9 %"', use='"calibration"', recalled="true"), COUNTS))
    assert (v.source, v.rule, v.use, v.counts) == ("Else 2012", "9 %", "calibration", False)
    v = one(judged(target(), COUNTS))
    assert (v.source, v.rule, v.use, v.counts) == ("Someone 2010", "within 10 points", "validation", True)
    assert (v.population, v.published, v.parameter_set) == ("20 adults", 450.0, None)


def test_the_audit_is_of_clinical_cases(judged):
    """The reference would solve reference cases to the digits that they hold already."""
    assert judged(target(), COUNTS).audit == 1e-5
    assert judged(target(head="reference"), COUNTS).audit is None
    assert judged.audit == 0


def test_an_interrupted_study_is_no_result(judged):
    with pytest.raises(RunError, match="interrupted in two-doses"):
        judged(target(), COUNTS, interrupted=True)


def test_the_unit_of_a_signature(tmp_path, monkeypatch):
    monkeypatch.setattr(signatures, "matrix", lambda rows, own: [{"platelets": 0.25} for _ in rows])
    text = """
title = "A"
kind = "mechanistic"
use = "validation"
source = "B"
population = "C"
rule = "D"
[[target]]
name = "platelets without c-Mpl"
signature = "no c-Mpl"
column = "platelets"
times = 100
unit = "%"
low = 20
high = 30
"""
    v = one(judge.judge(case_file.case(tmp_path, text), "2"))
    assert (v.simulated, v.agrees, v.published, v.parameter_set) == (25.0, True, None, "2")


def verdict(kind, use, agrees, counts=True, own="1"):
    return types.SimpleNamespace(kind=kind, use=use, agrees=agrees, counts=counts, parameter_set=own)


def test_the_summary_counts_by_kind_set_and_use():
    some = [verdict("clinical", "validation", True)] * 3 + [verdict("clinical", "validation", False)]
    some += [verdict("clinical", "calibration", True), verdict("clinical", "validation", False, counts=False)]
    other = [verdict("clinical", "validation", False, own="2"), verdict("reference", "validation", True, own=None)]
    found = judge.summary([types.SimpleNamespace(verdicts=some), types.SimpleNamespace(verdicts=other)])
    assert found == [
        {"kind": "reference", "set": "-", "rows": 1, "agree": 1, "share": "100 %", "calibration": "0 of 0",
         "validation": "1 of 1"},
        {"kind": "clinical", "set": "1", "rows": 5, "agree": 4, "share": "80 %", "calibration": "1 of 1",
         "validation": "3 of 4"},
        {"kind": "clinical", "set": "2", "rows": 1, "agree": 0, "share": "0 %", "calibration": "0 of 0",
         "validation": "0 of 1"},
    ]  # fmt: skip


# ---- the command ----


def test_a_published_model_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main(["validate", "wang-2010-by-count", "--json", "-", "-o", str(out)]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert len(rows) == 12
    assert all(set(row) >= KEYS for row in rows)
    assert all(row["agrees"] for row in rows)
    assert {row["case"] for row in rows} == {"wang-2010-by-count"}
    assert "1/1 wang-2010-by-count ... 12 of 12 agree, " in printed.err
    assert {path.name for path in out.iterdir()} == {"validation.txt", "validation.json", "wang-2010-by-count.png"}
    assert json.loads((out / "validation.json").read_text()) == rows
    assert "1286.979" in (out / "validation.txt").read_text()


def test_two_processes_find_what_one_does(tmp_path, capsys):
    """In the order of the cases, whichever ends first."""
    rows = []
    for jobs in ("1", "2"):
        words = ["validate", "wang-2010-by-count", "panetta-2024", "--audit", "0", "--jobs", jobs]
        assert main([*words, "--json", "-", "-o", str(tmp_path / jobs)]) == 0
        rows.append(json.loads(capsys.readouterr().out))
    assert rows[0] == rows[1]
    assert len({row["case"] for row in rows[0]}) == 2


@pytest.fixture
def some_case(tmp_path, monkeypatch):
    """A command whose only case is that of `case_file`, with results that miss its target; the folder that it writes to."""
    path = case_file.write(tmp_path)
    monkeypatch.setattr(targets, "load", lambda wanted: (targets.read(path),) * 2)

    def run_study(study, out, *, audit):
        case_file.results(out, [7.0])
        return types.SimpleNamespace(path=out, interrupted=False, audit=None)

    monkeypatch.setattr(judge.api, "run_study", run_study)
    return tmp_path / "out"


def test_a_miss_is_shown_and_is_no_failure(some_case, capsys):
    """The command did what it was asked to: the page says what agrees and what does not."""
    assert main(["validate", "-o", str(some_case), "--json", str(some_case.parent / "a.json")]) == 0
    printed = capsys.readouterr()
    assert "MISSED" in printed.out
    assert "clinical  -       2      0  0 %" in printed.out
    assert json.loads((some_case.parent / "a.json").read_text())[0]["agrees"] is False


def test_without_matplotlib_there_are_no_figures(some_case, monkeypatch, capsys):
    monkeypatch.setattr(page.importlib.util, "find_spec", lambda name: None)
    assert main(["validate", "-o", str(some_case)]) == 0
    printed = capsys.readouterr()
    assert "pip install 'thrombojax[plots]'" in printed.err
    assert {path.name for path in some_case.iterdir()} == {"validation.txt", "validation.json"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wang-2011"], "did you mean 'wang-2010'?"),
        (["--parameter-set", "9"], "--parameter-set: unknown parameter set '9'; allowed: 1, 2"),
        (["--json", "none/a.json"], "the folder 'none' does not exist"),
        (["-o", os.devnull], "cannot be written"),
        (["--audit", "-1"], "--audit"),
    ],
)
def test_wrong_words_have_status_2_before_anything_runs(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(judge, "judge")
    assert main(["validate", *words]) == 2
    printed = capsys.readouterr()
    assert said in " ".join(printed.err.split())
    assert not any(tmp_path.iterdir())


def test_the_list_of_cases(capsys):
    assert main(["validate", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in targets.names())


@pytest.fixture
def signals():
    """Python's own handler, which tests in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_after_the_case_in_hand_and_writes_nothing(some_case, monkeypatch, capsys, signals):
    run_study = judge.api.run_study

    def run(study, out, *, audit):
        with stop_request() as stop:  # as of a run, within that of the command
            signal.raise_signal(signal.SIGINT)
            assert stop.reason == "SIGINT"
        return run_study(study, out, audit=audit)

    monkeypatch.setattr(judge.api, "run_study", run)
    assert main(["validate", "-o", str(some_case)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert lines[-1] == "thrombojax: interrupted after 1 of 2 cases; nothing was written"
    assert not some_case.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_at_once(some_case, monkeypatch, capsys, signals):
    def run(study, out, *, audit):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(judge.api, "run_study", run)
    assert main(["validate", "-o", str(some_case)]) == 130
    assert "1/2 two-doses ... failed" in capsys.readouterr().err
    assert not some_case.exists()


REFERENCE = [case for case in targets.load() if case.head.kind == "reference"]


@pytest.mark.slow
@pytest.mark.parametrize("case", REFERENCE, ids=[case.name for case in REFERENCE])
def test_every_reference_row_agrees(case):
    missed = [(v.target, v.simulated, v.low, v.high) for v in judge.judge(case).verdicts if not v.agrees]
    assert missed == []
