"""Tables of studies with trial replicates, and of the ledger: who was seen when, what was decided and given."""

from dataclasses import replace

import numpy as np
import pytest
from small_work import work

import thrombojax.store as store
from thrombojax.cli import main
from thrombojax.errors import InputError
from thrombojax.execute import execute
from thrombojax.store import Axis, Layout, Variable, flags

pandas = pytest.importorskip("pandas")
ARMS, TRIALS, VISITS, N = ("drug", "placebo"), 3, np.array([0.0, 7, 14, 21]), 10
DECISIONS = ("kept", "raised", "still_withheld", "missed")


def layout(trials):
    lead = ("arm", *(("trial",) if trials else ()))
    ledger = {"role": "trajectory", "group": "ledger", "compression": "gzip"}
    coded = flags({word: code for code, word in enumerate(DECISIONS)}, "float32")
    return Layout(
        (
            Axis("arm", np.array(ARMS)),
            *((Axis("trial", np.arange(TRIALS)),) if trials else ()),
            Axis("time", np.arange(3.0), "day"),
            Axis("visit", VISITS, "day"),
            Axis("patient", np.array([f"P{i}" for i in range(N)])),
        ),
        (
            Variable("nadir", (*lead, "patient"), unit="1/nL"),
            Variable("platelets", (*lead, "time", "patient"), unit="1/nL", role="trajectory"),
            Variable("status", (*lead, "patient"), "uint8", role="status", attrs=flags({"ok": 0, "not_finite": 1})),
            Variable("seen", (*lead, "visit", "patient"), unit="1/nL", **ledger),
            Variable("decision", (*lead, "visit", "patient"), attrs=coded, **ledger),
            Variable("weight", (*lead[1:], "patient"), unit="kg", role="parameter", group="parameters"),
        ),
        shard_patients=4,
    )


def number(trials, arm, trial, when, patient):
    """A number that tells all of its place."""
    return 10_000 * arm + 1000 * trial * trials + 100 * when + patient


def compute(trials):
    def part(start, stop):
        arm, trial, when, patient = np.ogrid[:2, : TRIALS if trials else 1, :4, start:stop]
        whole = number(trials, arm, trial, when, patient).astype("float32")
        seen = np.where(when + patient == 5, np.nan, whole)
        decision = np.where(when + patient == 5, 3, np.broadcast_to((when + patient) % 3, whole.shape))
        decision = np.where((patient == 9) & (arm == 1), np.nan, decision)
        arrays = {
            "nadir": whole[:, :, 0],
            "platelets": whole[:, :, :3],
            "status": np.zeros(whole[:, :, 0].shape, "uint8"),
            "seen": seen,
            "decision": decision,
            "weight": 60 + whole[0, :, 0],
        }
        return {name: values if trials else _first_trial(name, values) for name, values in arrays.items()}

    return part


def _first_trial(name, values):
    return values[0] if name == "weight" else values[:, 0]


@pytest.fixture(scope="module", params=[True, False], ids=["trials", "one population"])
def made(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "trials.h5"
    execute(replace(work(N), layout=layout(request.param), compute=compute(request.param)), out)
    return out, request.param


def key(table, trials):
    trial = table.trial if trials else 0
    arm = (table.arm == "placebo").astype(int)
    return arm, trial, table.patient.str[1:].astype(int)


def test_the_ledger_is_one_row_a_visit_with_decisions_in_words(made, tmp_path):
    file, trials = made
    rows = 2 * (TRIALS if trials else 1) * len(VISITS) * N
    assert store.export(file, tmp_path / "t.csv", what="ledger") == rows
    table = pandas.read_csv(tmp_path / "t.csv")
    assert list(table.columns) == [
        "arm", *(["trial"] if trials else []), "patient", "visit", "seen", "decision", "status"
    ]  # fmt: skip
    arm, trial, patient = key(table, trials)
    when = (table.visit / 7).astype(int)
    missed = when + patient == 5
    np.testing.assert_array_equal(table.seen.isna(), missed)
    np.testing.assert_array_equal(table.seen[~missed], number(trials, arm, trial, when, patient)[~missed])
    nothing = (patient == 9) & (arm == 1)
    words = np.array(["kept", "raised", "still withheld", "missed"])[np.where(missed, 3, (when + patient) % 3)]
    assert table.decision[~nothing].tolist() == words[~nothing].tolist()
    assert nothing.any()
    assert table.decision[nothing].isna().all()
    assert table.visit[:8].tolist() == [*VISITS, *VISITS]  # a patient's visits one after another
    assert table.patient[:8].tolist() == ["P0"] * 4 + ["P1"] * 4
    assert not table.duplicated(["arm", *(["trial"] if trials else []), "patient", "visit"]).any()


def test_endpoints_and_parameters_of_trials(made, tmp_path):
    file, trials = made
    store.export(file, tmp_path / "t.csv", parameters=True)
    table = pandas.read_csv(tmp_path / "t.csv")
    arm, trial, patient = key(table, trials)
    assert len(table) == 2 * (TRIALS if trials else 1) * N
    np.testing.assert_array_equal(table.nadir, number(trials, arm, trial, 0, patient))
    np.testing.assert_array_equal(table.weight, 60 + number(trials, 0, trial, 0, patient))


def test_trajectories_of_trials_are_time_by_time(made, tmp_path):
    file, trials = made
    store.export(file, tmp_path / "t.csv", what="trajectories")
    table = pandas.read_csv(tmp_path / "t.csv")
    arm, trial, patient = key(table, trials)
    assert "seen" not in table.columns
    np.testing.assert_array_equal(table.platelets, number(trials, arm, trial, table.time.astype(int), patient))
    assert table.patient[:4].tolist() == ["P0", "P1", "P2", "P3"]


def test_parquet_holds_the_same_ledger_with_text_and_units(made, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    file, _ = made
    store.export(file, tmp_path / "t.csv", what="ledger", parameters=True)
    store.export(file, tmp_path / "t.parquet", what="ledger", parameters=True)
    table, text = parquet.read_table(tmp_path / "t.parquet"), pandas.read_csv(tmp_path / "t.csv")
    assert table.column_names == list(text.columns)
    assert table.schema.field("seen").metadata == {b"units": b"1/nL"}
    assert table.column("decision").null_count == text.decision.isna().sum() > 0
    assert str(table.schema.field("decision").type) == "string"
    for name in text.columns:
        one, other = table.column(name).to_pandas(), text[name]
        assert one.isna().tolist() == other.isna().tolist()
        assert one[one.notna()].tolist() == other[other.notna()].tolist(), name


def test_the_command_line_writes_the_ledger(made, tmp_path, capsys):
    file, trials = made
    out = str(tmp_path / "t.csv")
    assert main(["export", str(file), "-o", out, "--ledger"]) == 0
    assert capsys.readouterr().out == f"{out}: {240 if trials else 80} rows\n"
    assert main(["export", str(file), "-o", out, "--ledger", "--trajectories", "--overwrite"]) == 2
    assert "exclude each other" in " ".join(capsys.readouterr().err.split())


def test_without_a_ledger_it_is_said_how_to_keep_one(tmp_path):
    execute(work(20), tmp_path / "plain.h5")
    with pytest.raises(InputError, match=r"holds no ledger; a study keeps one with `ledger = true` in \[output\]"):
        store.export(tmp_path / "plain.h5", tmp_path / "t.csv", what="ledger")
    assert not (tmp_path / "t.csv").exists()
