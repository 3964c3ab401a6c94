import numpy as np
import pytest

from vla_ros.core.errors import ContractError
from vla_ros.core.joint_plan import Curve, JointPlan, smoothed

STEP_S = 0.1


def plan(values, **changes):
    """Return a plan whose six joints all go through the same values."""
    q = np.repeat(np.asarray(values, float)[:, None], 6, axis=1)
    facts = {"stamp_ns": 0, "step_s": STEP_S, "q_rad": q, "opening": np.ones(len(q))}
    return JointPlan(**{**facts, **changes})


def curve(values, start=0.0, smoothing_s=0.0, **changes):
    return Curve(plan(values, **changes), smoothing_s, np.full(6, start))


def test_waypoints_are_met_when_they_are_due():
    path = curve([0.1, 0.3, 0.2, -0.5])
    for h, value in enumerate([0.1, 0.3, 0.2, -0.5]):
        assert path.at((h + 1) * STEP_S) == pytest.approx(np.full(6, value))


def test_a_straight_plan_is_a_straight_line_from_the_observation_on():
    path = curve([0.1, 0.2, 0.3], start=9.0)
    for time_s in (0.0, 0.05, 0.17, 0.3):
        assert path.at(time_s) == pytest.approx(np.full(6, time_s))
    assert path.at(-1.0) == pytest.approx(np.zeros(6))


def test_a_single_action_goes_straight_from_where_it_starts():
    path = curve([0.2], start=0.1)
    assert path.at(0.05) == pytest.approx(np.full(6, 0.15))


def test_the_curve_and_its_speed_have_no_corners_not_even_at_the_end():
    path = curve([0.0, 0.3, -0.2, 0.1, 0.4])
    dt = 1e-3
    q = np.array([path.at(t)[0] for t in np.arange(0.0, 1.2, dt)])
    speed = np.diff(q) / dt
    acceleration = np.diff(speed) / dt
    assert np.abs(np.diff(speed)).max() < 0.5
    assert np.abs(np.diff(acceleration)).max() < 10.0
    # It runs out: at rest 0.3 s after the last way-point, half of that at the last speed away.
    assert speed[-1] == pytest.approx(0.0, abs=1e-4)
    last = speed[round(0.5 / dt) - 1]
    assert q[-1] == pytest.approx(0.4 + 0.15 * last, abs=1e-2)


def test_the_gripper_heads_for_the_next_waypoint():
    path = curve([0.0, 0.0, 0.0], opening=np.array([1.0, 0.5, 0.0]))
    found = [path.opening_at(time_s) for time_s in (-1.0, 0.0, 0.1, 0.1001, 0.25, 0.3, 5.0)]
    assert found == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0]


def test_smoothing_keeps_parabolas_and_takes_jitter_out():
    places = np.arange(20.0)
    parabola = (0.01 * places**2 - 0.1 * places)[:, None]
    jitter = 0.01 * (-1.0) ** places[:, None]
    found = smoothed(parabola + jitter, step_s=0.02, shortest_s=0.25)
    assert smoothed(parabola, 0.02, 0.25) == pytest.approx(parabola)
    assert np.abs(found - parabola)[4:-4].max() < 0.001
    # Way-points that are far apart are meant.
    assert smoothed(jitter, step_s=0.2, shortest_s=0.25) == pytest.approx(jitter, abs=2e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"q_rad": np.zeros((0, 6))},
        {"q_rad": np.zeros((3, 5))},
        {"q_rad": np.zeros(6)},
        {"q_rad": np.full((3, 6), np.nan)},
        {"q_rad": [[0.0] * 6, [0.0] * 5]},
        {"q_rad": None},
        {"opening": np.ones(2)},
        {"opening": np.array([1.0, np.inf, 0.0])},
        {"step_s": 0.0},
        {"step_s": float("nan")},
    ],
)
def test_what_is_no_plan_is_refused(wrong):
    with pytest.raises(ContractError, match="chunk"):
        plan([0.0, 0.1, 0.2], **wrong)


def test_a_plan_cannot_be_changed_afterwards():
    q = np.zeros((2, 6))
    made = plan([0.0, 0.0], q_rad=q)
    q[:] = 9.0
    assert not made.q_rad.any()
    with pytest.raises(ValueError, match="read-only"):
        made.q_rad[0, 0] = 1.0
