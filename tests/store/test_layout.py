import json
from dataclasses import replace

import numpy as np
import pytest
from small_work import layout, plain_layout

from thrombojax.store import Axis, Layout, Variable, flags
from thrombojax.store.layout import from_json, to_json

PATIENTS = Axis("patient", np.arange(50_000))


def trajectory(days: int, shard: int, patients: int = 50_000) -> tuple[int, ...] | None:
    curve = Variable("x", ("arm", "time", "patient"), role="trajectory")
    axes = (
        Axis("arm", np.array(["a", "b"])),
        Axis("time", np.arange(float(days))),
        Axis("patient", np.arange(patients)),
    )
    return Layout(axes, (curve,), shard_patients=shard).chunks(curve)


def test_endpoint_chunks_are_one_cell_and_one_shard():
    found = layout(100, 16)
    assert [found.chunks(v) for v in found.variables if v.name in ("nadir", "kin", "response", "doses")] == [
        (1, 1, 16),
        (16,),
        (3,),
        None,
    ]


@pytest.mark.parametrize("days", [29, 183, 365, 2000])
def test_trajectory_chunks_hold_all_times_and_about_a_megabyte(days):
    arms, times, patients = trajectory(days, 16384)
    assert (arms, times) == (1, days)
    assert 16384 % patients == 0
    assert 0.5e6 <= 4 * days * patients <= 2e6


def test_chunks_never_outgrow_few_patients():
    assert trajectory(183, 16384, patients=5) == (1, 183, 5)
    assert plain_layout(1).chunks(plain_layout(1).variables[0]) == (1,)


def test_the_last_shard_is_short():
    found = layout(100, 16)
    assert found.shard_count == 7
    assert found.bounds(6) == (96, 100)


def test_fingerprint_sees_numbers_not_descriptions():
    one = layout()
    described = replace(one, attrs={"title": "another"}, axes=(replace(one.axes[0], long_name="x"), *one.axes[1:]))
    moved = replace(one, axes=(replace(one.axes[0], values=one.axes[0].values + 1), *one.axes[1:]))
    assert described.fingerprint() == one.fingerprint()
    prints = {one.fingerprint(), moved.fingerprint(), layout(99).fingerprint(), layout(shard=32).fingerprint()}
    assert len(prints) == 4


def test_a_layout_survives_json():
    one = layout()
    two = from_json(json.loads(json.dumps(to_json(one))), one.axes[-1].values)
    assert two.fingerprint() == one.fingerprint()
    assert two.attrs == one.attrs
    status = next(v for v in two.variables if v.name == "status")
    assert status.attrs["flag_values"].dtype == np.uint8


def test_bytes_are_those_of_the_arrays():
    assert layout(100).bytes("none") == 3 * 2 * 30 * 100 * 4
    assert layout(100).bytes() == 3 * 2 * 30 * 100 * 4 + 6 * 100 * (4 + 2 + 1) + 100 * 8 + 24 + 4


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Axis("time", np.arange(3), "days"), "'day'"),
        (lambda: Axis("time", np.arange(0)), "non-empty"),
        (lambda: Axis("a/b", np.arange(3)), "netCDF name"),
        (lambda: Variable("p", ("patient",), unit="1e9/L"), "scaling factor"),
        (lambda: Variable("p", ("patient", "arm")), "last"),
        (lambda: Variable("p", ("patient",), dtype="object"), "not a number type"),
        (lambda: Variable("p", ("patient",), role="thing"), "role"),
        (lambda: Variable("p", ("patient",), compression="lzf"), "compression"),
        (lambda: Variable("p", ("patient",), group="provenance"), "reserved"),
        (lambda: Layout((PATIENTS,), (Variable("p", ("arm", "patient")),)), "lacks: arm"),
        (lambda: Layout((PATIENTS,), (Variable("patient", ("patient",)),)), "twice: patient"),
        (lambda: Layout((PATIENTS, Axis("arm", np.arange(2))), ()), "last axis"),
        (lambda: flags({"not finite": 1}), "one word"),
    ],
)
def test_what_cannot_be_written_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
