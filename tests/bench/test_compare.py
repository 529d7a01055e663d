"""`thrombojax bench compare`: ratios of common rows, one sentence, and one clear message for files that are no records."""

import json

import pytest
from records import record, row, write

from thrombojax.bench.compare import compare
from thrombojax.cli import main
from thrombojax.errors import InputError


def test_ratios_are_speeds_of_b_over_a_for_common_rows(tmp_path):
    a = write(tmp_path / "a.json", record(row(seconds=2.0), row(backend="native", seconds=1.0), row(patients=7)))
    b = write(tmp_path / "b.json", record(row(backend="native", seconds=1.0), row(seconds=0.5), cpu="Other", cores=8))
    table, sentence = compare(a, b)
    assert [(line["backend"], line["B/A"]) for line in table] == [("xla", 4.0), ("native", 1.0)]
    assert sentence == (
        "B is 2.00 times as fast as A (geometric mean of 2 common rows; B/A from 1.00 to 4.00; A on AMD EPYC (2 cores), "
        "B on Other (8 cores))."
    )


@pytest.mark.parametrize(("seconds", "said"), [(1.01, "B is as fast as A"), (4.0, "A is 4.00 times as fast as B")])
def test_the_sentence_says_who_is_faster(tmp_path, seconds, said):
    a, b = (write(tmp_path / f"{s}.json", record(row(seconds=s))) for s in (1.0, seconds))
    assert compare(a, b)[1].startswith(said)


def test_rows_on_other_numbers_of_cores_are_other_rows(tmp_path):
    a = write(tmp_path / "a.json", record(row("strong scaling", cores=1), row("strong scaling", cores=2, seconds=0.5)))
    table, _ = compare(a, a)
    assert [line["workload"] for line in table] == ["strong scaling on 1 cores", "strong scaling on 2 cores"]


BAD = {
    "no JSON": ("hello", "is not JSON"),
    "a list": ([1, 2], "it holds a list"),
    "no machine": ({"rows": []}, "'machine' is missing"),
    "rows of another kind": ({**record(), "rows": {}}, "'rows' is missing or of another kind"),
    "a row without time": ({**record(), "rows": [{"workload": "x"}]}, "row 0 has no 'model'"),
    "a row that is a number": ({**record(), "rows": [3]}, "row 0 is no object"),
    "no time at all": (record(row(seconds=1.0) | {"seconds": 0}), "'seconds' 0, not a number above 0"),
    "a word for a time": (record(row() | {"seconds": "fast"}), "'seconds' 'fast'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_record_is_named_with_what_is_wrong(tmp_path, capsys, name):
    content, said = BAD[name]
    good, bad = write(tmp_path / "good.json", record(row())), write(tmp_path / "bad.json", content)
    for order in ((good, bad), (bad, good)):
        assert main(["bench", "compare", *map(str, order)]) == 2
        message = capsys.readouterr().err
        assert str(bad) in message
        assert said in message
        assert len(message.splitlines()) == 1


def test_a_missing_file_and_records_with_nothing_in_common_are_wrong_input(tmp_path, capsys):
    a = write(tmp_path / "a.json", record(row()))
    assert main(["bench", "compare", str(a), str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err
    with pytest.raises(InputError, match="no row in common"):
        compare(a, write(tmp_path / "b.json", record(row(patients=5))))


def test_the_command_prints_a_table_and_the_sentence(tmp_path, capsys):
    a = write(tmp_path / "a.json", record(row()))
    assert main(["bench", "compare", str(a), str(a), "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "forward sweep" in said
    assert said.strip().endswith("both on AMD EPYC (2 cores)).")
    assert json.loads((tmp_path / "out.json").read_text())["rows"][0]["B/A"] == 1.0
