import numpy as np
import pytest

from vla_ros.core.joint_plan import Curve, JointPlan
from vla_ros.core.plan_mix import Part, blended, ensembled, smooth_step

STEP_S = 0.1


def part(value, origin_s, enter_s, blend_s=0.2, count=10):
    """Return a part that stays at a value for `count` steps."""
    plan = JointPlan(0, STEP_S, np.full((count, 6), value), np.ones(count))
    return Part(Curve(plan, 0.0, np.full(6, value)), np.zeros(6), origin_s, enter_s, blend_s)


def test_a_step_leaves_and_arrives_at_rest():
    assert [smooth_step(x) for x in (-1.0, 0.0, 0.5, 1.0, 2.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]
    assert smooth_step(0.01) < 1e-5
    assert smooth_step(0.99) > 1.0 - 1e-5


def test_a_newer_part_takes_over():
    parts = [part(0.0, 0.0, 0.0), part(1.0, 0.1, enter_s=0.3)]
    found = [blended(parts, plan_s)[0] for plan_s in (0.2, 0.3, 0.4, 0.5, 0.9)]
    assert found == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_a_third_part_takes_over_from_a_mix():
    parts = [part(0.0, 0, 0), part(1.0, 0.1, 0.3), part(4.0, 0.2, 0.4)]
    # At 0.4 s the second has half, at 0.5 s all, of which the third has taken half.
    assert blended(parts, 0.4)[0] == pytest.approx(0.5)
    assert blended(parts, 0.5)[0] == pytest.approx(2.5)


def test_the_ensemble_weighs_as_act_does():
    # The second begins one step after the first: weights 1 and exp(-0.5).
    parts = [part(0.0, 0.0, 0.0), part(1.0, 0.1, enter_s=0.2)]
    newer = np.exp(-0.5)
    assert ensembled(parts, 0.5, decay=0.5)[0] == pytest.approx(newer / (1.0 + newer))
    assert ensembled(parts, 0.2, decay=0.5)[0] == pytest.approx(0.0)
    # The oldest is silent after its last way-point.
    assert ensembled(parts, 1.0, decay=0.5)[0] == pytest.approx(1.0)


def test_an_ensemble_is_smooth_where_parts_come_and_go():
    parts = [part(0.0, 0, 0), part(1.0, 0.5, 0.6), part(0.2, 1.0, 1.2)]
    q = np.array([ensembled(parts, s, 0.01)[0] for s in np.arange(0.0, 2.0, 4e-3)])
    assert np.abs(np.diff(q)).max() < 0.06
    assert np.abs(np.diff(q, n=2)).max() < 8e-3
