"""The event table made by Petrov's model: it is what its script says, and the how-to's code runs on it."""

import importlib.util
import re
import shutil

import numpy as np
import pytest
from studies import REPO, arrays, here

import thrombojax as tj

MAKER = REPO / "sweeps" / "data" / "make_petrov_2024.py"
STUDY = REPO / "sweeps" / "itp-romiplostim-event-table.toml"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_petrov_2024", MAKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("mechanism", "dose", "baseline", "peak", "day"),
    [(1, 1, 21.5, 36.272865, 10.13), (1, 10, 21.5, 92.652968, 10.85), (2, 3, 21.25, 55.980727, None)],
)
def test_the_script_is_the_published_model(maker, mechanism, dose, baseline, peak, day):
    """science.md M2: the highest count of a typical patient of 77 kg after one dose."""
    p = maker.parameters(mechanism, 77, False, {})
    y = maker.start(p)
    assert y[-1] == pytest.approx(baseline)
    y[0] += dose * 77
    days = np.arange(9.5, 11.5, 0.01)
    y, counts = maker.advance(y, p, days[0] * 24), []
    for hours in np.diff(days, append=days[-1] + 0.01) * 24:
        counts.append(y[-1])
        y = maker.advance(y, p, hours)
    assert max(counts) == pytest.approx(peak, rel=1e-4)
    assert day is None or days[np.argmax(counts)] == pytest.approx(day, abs=0.03)


def test_the_table_is_what_the_script_makes(maker):
    lines = maker.OUT.read_text(encoding="utf-8").splitlines()
    for number in (1, 17):
        mine = [line for line in lines if line.startswith(f"{number},")]
        made = maker.patient(number, np.random.default_rng([maker.SEED, number]))
        assert [line.split(",")[1:4] for line in made] == [line.split(",")[1:4] for line in mine]
        for one, other in zip(made, mine, strict=True):  # a rounding may go the other way on another machine
            a, b = (float(line.split(",")[6].replace(".", "0", line.split(",")[6] == ".")) for line in (one, other))
            assert a == pytest.approx(b, abs=0.11)


@pytest.mark.slow
def test_the_how_to_runs(tmp_path, monkeypatch):
    page = (REPO / "docs" / "how-to-event-data.md").read_text(encoding="utf-8")
    compare, check = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL):
        assert block in STUDY.read_text(encoding="utf-8")
    shutil.copytree(REPO / "sweeps" / "data", tmp_path / "sweeps" / "data")
    shutil.copy(STUDY, tmp_path / "sweeps")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    assert tj.run("sweeps/itp-romiplostim-event-table.toml", "out/events.h5", audit=0).failed == 0
    assert here("export", "out/events.h5", "-o", "out/events.csv", "--observed").status == 0
    exec(compare, {})
    exec(check.replace("range(100)", "range(2)"), {})
    assert arrays(tmp_path / "out" / "copies.h5")["platelets"].shape == (1, 169, 80)
    said = here("report", "out/copies.h5", "--observed", "sweeps/data/petrov-2024-itp.csv", "-o", "vpc.png")
    assert said.status == 0, said.err
    assert "40 patients, 698 observations" in said.out
