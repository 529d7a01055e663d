"""sweeps/wang2010-healthy-romiplostim.toml as it is shipped: its file holds the published model's numbers."""

import numpy as np
import pytest
import studies
from printed import assert_printed

import thrombojax as tj

# science.md M1, 70 kg and 250e9/L, SciPy LSODA at 1e-10; peaks on a 0.5 h grid
# arm: peak, count on days 8, 14 and 28, free drug (ng/mL) on days 1 and 4
SINGLE = {
    "iv 0.3": "331.473426 321.245658 315.622011 250.641821 1.880824e-3 5.158424e-5",
    "iv 1": "453.363082 412.578167 427.620210 253.796003 1.139272e-2 1.336033e-3",
    "iv 10": "1372.290386 800.272470 1361.344573 304.790214 8.455730 9.182793e-2",
    "sc 0.1": "269.134316 262.417970 267.974281 250.441435 1.614725e-3 2.701561e-4",
    "sc 0.3": "305.838917 286.130738 302.462527 251.271944 4.964902e-3 8.100132e-4",
    "sc 1": "420.317580 359.070566 410.214671 253.800545 1.812844e-2 2.701879e-3",
    "sc 2": "555.130954 442.669848 537.719562 256.799499 4.195230e-2 5.439102e-3",
    "sc 10": "1146.544141 748.773887 1117.243941 275.900857 2.658392 3.792508e-2",
}
COLUMNS = ("peak", "platelets_day_8", "platelets_day_14", "platelets_day_28", "free_drug_day_1", "free_drug_day_4")
PEAK_DAY = {"iv 0.3": 10.40, "iv 1": 11.15, "iv 10": 13.25, "sc 0.1": 12.10, "sc 1": 12.13, "sc 10": 12.63}
# peak after 10 ug/kg by count before dosing
BY_COUNT = {
    "iv 10": {22: "218.6832", 74: "595.3251", 224: "1286.9790", 672: "2281.0169"},
    "sc 10": {22: "202.0211", 74: "528.3727", 224: "1078.0580", 672: "1978.9346"},
}
# lowest and highest count of days 28-56
REPEATED = {"sc 1 weekly": "415.33 434.33", "sc 1 every 2 weeks": "320.07 385.01"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wang2010")
    study = studies.REPO / "sweeps" / "wang2010-healthy-romiplostim.toml"
    said = studies.alone("run", study, "-o", "out.h5", "--audit", 0, cwd=folder)
    assert said.status == 0, said.err
    with tj.open(folder / "out.h5") as found:
        yield found.load()


def test_its_shape_and_units(data):
    assert not data["status"].any()
    assert data["patient"].values.tolist() == [250, 22, 74, 224, 672]
    assert data["concentration"].attrs["units"] == "ng/mL"
    assert data["platelets"].sizes == {"arm": 10, "time": 113, "patient": 5}


@pytest.mark.parametrize("arm", SINGLE)
def test_single_doses(data, arm):
    """The sweep asks for 1e-6; tests/models hold the digits that are printed."""
    for name, text in zip(COLUMNS, SINGLE[arm].split(), strict=True):
        value = float(data[name].sel(arm=arm, patient=250))
        assert value == pytest.approx(float(text), rel=2e-6), name
    if arm in PEAK_DAY:
        assert float(data["peak_day"].sel(arm=arm, patient=250)) == pytest.approx(PEAK_DAY[arm], abs=0.03)


@pytest.mark.parametrize("arm", BY_COUNT)
def test_counts_before_dosing(data, arm):
    for count, text in BY_COUNT[arm].items():
        assert float(data["peak"].sel(arm=arm, patient=count)) == pytest.approx(float(text), rel=2e-6)


@pytest.mark.parametrize("arm", REPEATED)
def test_repeated_doses(data, arm):
    low, high = REPEATED[arm].split()
    of = data.sel(arm=arm, patient=250)
    assert_printed(of["nadir_week_5_8"], low, "lowest")
    assert_printed(of["peak_week_5_8"], high, "highest")


def test_before_the_dose_all_are_at_their_count(data):
    assert np.allclose(data["platelets"].sel(time=0), data["patient"], rtol=1e-12)
