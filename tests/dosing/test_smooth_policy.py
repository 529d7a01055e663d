"""The smooth twin of a policy: the rule itself as edges become sharp, and continuous where the rule jumps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from thrombojax.dosing import policy
from thrombojax.dosing.policy import Band, Rule, Stop
from thrombojax.dosing.smooth_policy import Twin

BANDS = (
    Band(low=0.0, high=50.0, by=1.0),
    Band(low=200.0, high=400.0, visits=2.0, by=-1.0),
    Band(low=400.0, high=policy.ALWAYS, withhold=1.0),
)
STOPS = {
    "none": (),
    "no response": (Stop(high=50.0, least=4.0, days=28.0),),
    "no rise": (Stop(rise=15.0, high=policy.ALWAYS, most=2.0, days=14.0),),
    "settled": (Stop(low=60.0, high=190.0, days=14.0, settled=21.0),),
    "from a day on": (Stop(high=50.0, days=0.0, since=35.0),),
}


def rule(stops, start=1.0):
    return Rule(start=start, highest=4.0, resume_below=180.0, resume_by=1.0, bands=BANDS, stops=STOPS[stops])


def course(decider, made, counts):
    """Memory after each weekly visit."""
    shape = policy.shape((made,))
    m = policy.begin(shape, made, jnp.asarray(counts[0]))
    found = []
    for week, count in enumerate(counts):
        m = decider(made, m, jnp.asarray(count), jnp.asarray(1.0), jnp.asarray(7.0 * week))
        found.append(m)
    return found


@pytest.mark.parametrize("stops", STOPS)
def test_sharp_edges_are_the_rule(stops):
    """Dose, withheld and stopped, visit by visit, of random courses that stay away from edges."""
    made = rule(stops)
    values = np.array([10.0, 30.0, 45.0, 70.0, 120.0, 170.0, 230.0, 350.0, 600.0])
    ended = 0
    with jax.enable_x64(True):
        for seed in range(12):
            rng = np.random.default_rng(seed)
            low = rng.random() < 0.5
            counts = rng.choice(values[:3] if low else values, 14)
            pairs = zip(course(policy.decide, made, counts), course(Twin(1e-3).decide, made, counts), strict=True)
            for week, (hard, soft) in enumerate(pairs):
                for name in ("dose", "held", "stopped"):
                    said = f"seed {seed}, week {week}, {name}"
                    assert float(getattr(soft, name)) == pytest.approx(float(getattr(hard, name)), abs=1e-6), said
                ended += int(hard.stopped > 0.5)
    assert (ended > 0) == (stops != "none")


def test_a_stop_rule_has_a_gradient_and_no_jump():
    """The share of the drug that is left, as the first dose goes through what the stop rule needs."""
    counts = np.array([20.0, 30.0, 48.0, 49.0, 45.0, 47.0, 40.0, 44.0, 41.0, 46.0])

    def left(start, decider):
        m = course(decider, rule("no response", start), counts)[-1]
        return (1.0 - m.stopped) * m.dose

    with jax.enable_x64(True):
        starts = np.linspace(0.2, 1.8, 81)
        soft = np.asarray(jax.vmap(lambda s: left(s, Twin(0.1).decide))(jnp.asarray(starts)))
        slope = np.asarray(jax.vmap(jax.grad(lambda s: left(s, Twin(0.1).decide)))(jnp.asarray(starts)))
    assert np.abs(np.diff(soft)).max() < 0.1
    # Where nothing is clipped, the slope is that of the curve.
    middle = (soft[2:] - soft[:-2]) / (starts[2] - starts[0])
    assert np.median(np.abs(slope[1:-1] - middle)) < 1e-2 * np.abs(middle).max()
    assert np.abs(slope).max() > 0.0
