"""Blocks of models of blood counts: what they conserve and where they rest; and the example that is built from them."""

from pathlib import Path

import numpy as np
import pytest

import thrombojax as tj
from thrombojax.models import blocks, registry

FILE = Path(__file__).parents[2] / "docs" / "examples" / "perez_ruixo2012.py"


def test_a_chain_conserves_and_rests_where_it_is_filled():
    y = (3.0, 1.0, 4.0)
    d = blocks.chain(2.0, 0.5, y)
    assert sum(d) == pytest.approx(2.0 - 0.5 * y[-1])
    assert blocks.chain(2.0, 0.5, blocks.steady(2.0, 0.5, 3)) == (0.0, 0.0, 0.0)
    assert len(blocks.chain(1.0, 2.0, (5.0,))) == 1


def test_pools_feedback_and_covariates():
    assert blocks.random_loss(3.0, 0.5, 6.0) == 0.0
    assert blocks.proliferation(1.0, 0.7, 9.0) == 0.0
    assert blocks.proliferation(0.0, 0.7, 9.0) == pytest.approx(-0.7 * 9.0)
    assert blocks.rebound(50.0, 200.0, 0.5) == pytest.approx(2.0)
    assert blocks.saturation(0.0, 7.0) == 1.0
    assert blocks.saturation(7.0, 7.0) == 0.5
    assert blocks.emax(7.0, 3.0, 7.0) == 1.5
    assert blocks.emax(2.0, 1.0, 7.0) == pytest.approx(1.0 - blocks.saturation(2.0, 7.0))
    assert blocks.power(25.0, 25.0, -0.3) == 1.0
    assert [blocks.switch(on, 0.6) for on in (0.0, 1.0)] == [1.0, 0.6]


@pytest.mark.usefixtures("small_blocks")
def test_the_example_of_the_page_has_the_rise_that_its_paper_prints():
    """On average over a week in the long run: 351 % in responders and 12 % in others for 100 ug a week, in proportion."""
    model = registry.build(registry.Source("perez-ruixo2012", file=str(FILE)))
    patients = model.patients(responder=[0.0, 1.0])
    mean = tj.Endpoint("mean", "mean", start=140.0, stop=147.0)
    run = tj.simulate(patients, "romiplostim 100 ug sc weekly x 21", days=147, endpoints=[mean], precision="f64")
    np.testing.assert_allclose(run.endpoints["mean"], [11.1 * 1.12, 11.1 * 4.51], rtol=1e-4)
    assert run.platelets[0] == pytest.approx([11.1, 11.1])
