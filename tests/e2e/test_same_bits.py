"""A patient's numbers are the same to the bit whatever the number of patients, the chunks, the cores and devices."""

import os
import subprocess

import numpy as np
import pytest
import studies
from studies import changed

import thrombojax as tj

STUDY = changed(axis=[{"name": "dose", "values": [3], "unit": "ug/kg"}])


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """1500 patients in two launches."""
    folder = tmp_path_factory.mktemp("many")
    said = studies.here("run", studies.write(folder, STUDY), "-o", folder / "o.h5", "--audit", 0, "--patients", 1500)
    assert said.status == 0, said.err
    return studies.arrays(folder / "o.h5")


def assert_first(few: dict[str, np.ndarray], many: dict[str, np.ndarray], n: int) -> None:
    assert few.keys() == many.keys()
    for name, values in few.items():
        np.testing.assert_array_equal(values, of(many[name], n), name)


def of(values: np.ndarray, n: int) -> np.ndarray:
    """The first n patients of an array that has patients."""
    return values[..., :n] if values.shape[-1] == 1500 else values


def test_few_patients_are_the_first_of_many(results, many):
    assert_first(results(STUDY, "--patients", 100), many, 100)


@pytest.mark.parametrize(
    ("start", "environment"),
    [
        (["taskset", "-c", str(min(os.sched_getaffinity(0)))], {}),
        ([], {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}),
    ],
    ids=["one core", "two host devices"],
)
def test_cores_and_host_devices_change_no_bit(tmp_path, many, start, environment):
    words = ("run", studies.write(tmp_path, STUDY), "-o", "o.h5", "--audit", 0, "--patients", 1100)
    subprocess.run(
        [*start, *studies.command(*words)],
        check=True,
        cwd=tmp_path,
        env=studies.environ(**environment),
        capture_output=True,
        timeout=300,
    )
    if start:
        assert tj.store.provenance(tmp_path / "o.h5")["workers"] == 1
    assert_first(studies.arrays(tmp_path / "o.h5"), many, 1100)


def test_another_seed_is_other_patients(results, many):
    other = results(changed(STUDY, study={"seed": 2}))
    for name in ("parameters/body.weight", "the_peak", "platelets"):
        assert not np.array_equal(other[name], of(many[name], 20))
    assert not np.intersect1d(other["parameters/body.weight"], many["parameters/body.weight"]).size


def test_the_file_is_the_same_when_it_is_written_again(run):
    said, out = run(STUDY)
    assert said.status == 0
    before = studies.chunks(out)
    said, out = run(STUDY)
    assert studies.chunks(out) == before
