from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.exploration import ExplorationParameters, PlayMotion
from vla_ros.core.rotations import matrix_from_rpy, rotvec_from_matrix, transform
from vla_ros.core.safety import CommandGuard, wx250s_limits

DT_S = 0.02
READY = kinematics.forward(arm.READY_RAD)
seeds = st.integers(0, 2**32 - 1)


def play(seed, parameters=None, start=READY, opening=1.0, trajectories=1):
    """Return (phase, pose, opening, waypoint) of every step of whole trajectories."""
    motion = PlayMotion(parameters or ExplorationParameters(), np.random.default_rng(seed))
    motion.start(start, opening)
    samples = []
    for _ in range(trajectories):
        resting = False
        while not (resting and motion.phase != "rest"):
            resting = motion.phase == "rest"
            phase, waypoint = motion.phase, motion.waypoint
            samples.append((phase, *motion.step(DT_S), waypoint))
            assert len(samples) < 10_000
    return samples


def height(pose):
    return kinematics.gripper_points(pose)[:, 2].min()


def waypoints_of(samples):
    """Return the positions (N, 3) of the segments' ends, each once, forced descents left out."""
    ends = [s[3][:3, 3] for s in samples if s[0] in ("move", "brake")]
    return np.array([e for i, e in enumerate(ends) if i == 0 or not np.array_equal(e, ends[i - 1])])


@given(seeds)
@settings(deadline=None, max_examples=2)
def test_same_seed_same_motion(seed):
    for first, second in zip(play(seed), play(seed), strict=True):
        assert first[0] == second[0]
        np.testing.assert_array_equal(first[1], second[1])
        assert first[2] == second[2]


def test_other_seed_other_motion():
    assert not np.array_equal(play(1)[-1][1], play(2)[-1][1])


@given(seeds)
@settings(deadline=None, max_examples=3)
def test_every_target_is_inside_the_region_and_slower_than_its_bound(seed):
    p = ExplorationParameters()
    poses = np.array([sample[1] for sample in play(seed, p, trajectories=2)])
    # The ready pose hangs above the region; from there on the way leads in.
    x, y, heights = poses[:, 0, 3], poses[:, 1, 3], np.array([height(pose) for pose in poses])
    assert p.x_low_m - 1e-9 <= x.min()
    assert x.max() <= p.x_high_m + 1e-9
    assert np.abs(y).max() <= p.y_limit_m + 1e-9
    assert np.hypot(x, y).max() <= p.radius_limit_m + 1e-9
    assert heights.min() >= p.height_low_m - 1e-9
    assert heights.max() <= max(height(READY), p.height_high_m) + 1e-9
    tilts = np.arccos(np.clip(-poses[:, 2, 0], -1.0, 1.0))
    assert tilts.max() <= p.tilt_limit_rad + np.sqrt(3) * 2 * p.noise_rotation_rad + 1e-9
    speeds = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / DT_S
    assert speeds.max() <= p.speed_limit_m_s


@given(seeds)
@settings(deadline=None, max_examples=2)
def test_every_target_has_joints_and_passes_the_guard(seed):
    limits = wx250s_limits()
    guard = CommandGuard(limits, DT_S)
    guard.reset(arm.READY_RAD, 1.0)
    q = arm.READY_RAD
    for _, pose, opening, _ in play(seed):
        q = kinematics.inverse(pose, q)
        commanded, _ = guard.step(q, opening)
        assert not guard.blocked
        # The guard follows: it lags by some centimetres of a motion at 0.15 m/s.
        assert np.linalg.norm(kinematics.forward(commanded)[:3, 3] - pose[:3, 3]) < 0.15


@given(seeds)
@settings(deadline=None, max_examples=5)
def test_successive_waypoints_keep_their_distance(seed):
    p = ExplorationParameters()
    ends = waypoints_of(play(seed, p))
    assert p.waypoints_min <= len(ends) <= p.waypoints_max
    assert np.linalg.norm(np.diff(ends, axis=0), axis=1).min() >= p.min_distance_m


@given(seeds)
@settings(deadline=None, max_examples=4)
def test_hovering_is_ended_by_a_descent_to_the_table(seed):
    p = ExplorationParameters()
    hovering_s, is_over = 0.0, False
    for phase, pose, _, _ in play(seed, p):
        # The way in from above the region does not count.
        is_over = is_over or height(pose) <= p.height_high_m
        hovers = is_over and height(pose) > p.hover_height_m
        hovering_s = hovering_s + DT_S if hovers else 0.0
        # 10 steps at 5 Hz, 0.3 s to brake, and 12 cm at 0.15 m/s or 1 rad at 0.8 rad/s to go.
        assert hovering_s <= 2.0 + 0.3 + 1.25
        if phase == "grip":
            slack = 2 * p.noise_position_m + 0.08 * 4 * p.noise_rotation_rad
            assert height(pose) <= p.descent_high_m + slack


def hovering_parameters(**changes):
    """A region so high that every way hovers: each ends in a forced descent."""
    return replace(
        ExplorationParameters(),
        hover_height_m=0.021,
        hover_steps=1,
        noise_position_m=0.0,
        noise_rotation_rad=0.0,
        **changes,
    )


def test_forced_descent_ends_one_to_two_centimetres_over_the_table_where_it_began():
    samples = play(3, hovering_parameters())
    phases = [sample[0] for sample in samples]
    assert "descend" in phases
    for i, phase in enumerate(phases):
        if phase == "descend" and phases[i - 1] == "brake":
            begin = samples[i - 1][1]
        if phase == "grip" and phases[i - 1] == "descend":
            end = samples[i][1]
            assert 0.01 - 1e-9 <= height(end) <= 0.02 + 1e-9
            np.testing.assert_allclose(end[:2, 3], begin[:2, 3], atol=0.002)


@pytest.mark.parametrize(("probability", "opening"), [(1.0, 0.0), (0.0, 1.0)])
def test_gripper_closes_after_a_descent_with_its_probability(probability, opening):
    parameters = hovering_parameters(close_probability=probability, toggle_probability=0.0)
    samples = play(5, parameters)
    gripping = [sample[2] for sample in samples if sample[0] == "grip"]
    assert gripping
    assert set(gripping) == {opening}


def test_gripper_toggles_at_every_waypoint_with_probability_one():
    p = replace(ExplorationParameters(), toggle_probability=1.0, hover_steps=1000)
    samples = play(7, p)
    openings = [sample[2] for sample in samples]
    changes = np.count_nonzero(np.diff(openings))
    assert set(openings) == {0.0, 1.0}
    assert changes in (len(waypoints_of(samples)) - 1, len(waypoints_of(samples)))


def test_way_without_noise_is_straight_and_a_cosine_in_time():
    p = replace(
        ExplorationParameters(), noise_position_m=0.0, noise_rotation_rad=0.0, hover_steps=1000
    )
    motion = PlayMotion(p, np.random.default_rng(0))
    motion.start(READY, 1.0)
    start, end = READY[:3, 3], motion.waypoint[:3, 3]
    turn = rotvec_from_matrix(motion.waypoint[:3, :3] @ READY[:3, :3].T)
    seconds = max(np.linalg.norm(end - start) / 0.15, np.linalg.norm(turn) / 0.8)
    for _ in range(4):
        pose, _ = motion.step(seconds / 8)
    # Half the time is half the way, half the turn; a quarter of the time is 14.6 %.
    np.testing.assert_allclose(pose[:3, 3], (start + end) / 2, atol=1e-9)
    half = rotvec_from_matrix(pose[:3, :3] @ READY[:3, :3].T)
    np.testing.assert_allclose(half, turn / 2, atol=1e-6)


@given(
    st.floats(0.10, 0.40),
    st.floats(-0.34, 0.34),
    st.floats(0.03, 0.25),
    st.floats(-0.9, 0.9),
    seeds,
)
@settings(deadline=None, max_examples=6)
def test_play_finds_its_way_into_the_region_from_a_little_outside(x, y, z, lean, seed):
    shrink = min(1.0, 0.44 / np.hypot(x, y))
    rotation = matrix_from_rpy(0.0, lean, 0.0) @ READY[:3, :3]
    start = transform(rotation, np.array([max(0.10, x * shrink), y * shrink, z]))
    try:
        q = kinematics.inverse(start, arm.READY_RAD)
    except KinematicsError:
        assume(False)
    assume(height(start) >= 0.0)
    p = replace(ExplorationParameters(), waypoints_min=2, waypoints_max=2)
    samples = play(seed, p, start=start)
    assert np.linalg.norm(samples[0][1][:3, 3] - start[:3, 3]) < 0.02
    for _, pose, _, _ in samples:
        q = kinematics.inverse(pose, q)
    assert height(samples[-1][1]) <= 0.12 + 1e-9


@pytest.mark.parametrize("q", [arm.HOME_RAD, arm.SLEEP_RAD])
def test_play_does_not_start_from_home_or_sleep(q):
    motion = PlayMotion(ExplorationParameters(), np.random.default_rng(0))
    with pytest.raises(SafetyError, match="move the arm to its ready pose first"):
        motion.start(kinematics.forward(q), 1.0)
    assert motion.phase == "idle"


def test_motion_has_no_jumps_between_phases_and_trajectories():
    samples = play(13, trajectories=3)
    poses = [READY, *(sample[1] for sample in samples)]
    jumps = [
        np.linalg.norm(rotvec_from_matrix(b[:3, :3] @ a[:3, :3].T)) for a, b in pairwise(poses)
    ]
    # 0.8 rad/s mean is 1.26 at most; noise adds up to 3^0.5 x 4 x 0.035 x pi / 2 / 0.5 s.
    assert max(jumps) / DT_S < 1.26 + 0.77


def test_rest_between_trajectories_stands_still_for_half_a_second():
    p = replace(ExplorationParameters(), noise_position_m=0.0, noise_rotation_rad=0.0)
    samples = play(2, p, trajectories=2)
    resting = [sample[1] for sample in samples if sample[0] == "rest"]
    assert len(resting) == 50
    np.testing.assert_array_equal(resting[0], resting[24])
    assert samples[-1][0] == "rest"


def test_start_again_begins_where_the_arm_is_now():
    motion = PlayMotion(ExplorationParameters(), np.random.default_rng(2))
    motion.start(READY, 0.0)
    for _ in range(100):
        motion.step(DT_S)
    motion.start(READY, 0.0)
    assert motion.phase == "move"
    np.testing.assert_allclose(motion.step(1e-6)[0], READY, atol=1e-9)


def test_step_before_start_is_refused():
    motion = PlayMotion(ExplorationParameters(), np.random.default_rng(0))
    assert motion.phase == "idle"
    with pytest.raises(SafetyError, match="play has no start pose; call start"):
        motion.step(DT_S)


@pytest.mark.parametrize("dt_s", [0.0, -0.02, np.nan, np.inf])
def test_time_must_advance(dt_s):
    motion = PlayMotion(ExplorationParameters(), np.random.default_rng(0))
    motion.start(READY, 1.0)
    with pytest.raises(SafetyError, match="dt_s must be above 0"):
        motion.step(dt_s)


def test_start_out_of_reach_is_refused():
    motion = PlayMotion(
        replace(ExplorationParameters(), x_high_m=0.5, radius_limit_m=0.46),
        np.random.default_rng(0),
    )
    with pytest.raises(KinematicsError, match="has no joint solution"):
        motion.start(transform(READY[:3, :3], np.array([0.5, 0.0, 0.1])), 1.0)


def test_region_without_a_waypoint_far_enough_is_refused():
    tiny = replace(
        ExplorationParameters(), x_low_m=0.24, x_high_m=0.26, y_limit_m=0.01, min_distance_m=0.3
    )
    motion = PlayMotion(tiny, np.random.default_rng(0))
    with pytest.raises(KinematicsError, match="no reachable waypoint in 200 tries"):
        motion.start(READY, 1.0)


@pytest.mark.parametrize("item", fields(ExplorationParameters), ids=lambda item: item.name)
def test_every_parameter_says_unit_and_range_and_holds_it(item):
    facts = item.metadata
    assert facts["low"] <= item.default <= facts["high"]
    assert facts["unit"]
    assert facts["meaning"]
    for value in (facts["low"] - 1, facts["high"] + 1, np.nan):
        with pytest.raises(SafetyError, match=rf"{item.name} \(.*\) must be from"):
            ExplorationParameters(**{item.name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_low_m": 0.4}, "x_low_m must not exceed x_high_m, got 0.4 and 0.36"),
        ({"waypoints_min": 11}, "waypoints_min must not exceed waypoints_max"),
        ({"descent_low_m": 0.03}, "descent_low_m must not exceed descent_high_m"),
        ({"height_low_m": 0.015}, "height_low_m must not exceed descent_low_m"),
        ({"hover_height_m": 0.015}, "descent_high_m must not exceed hover_height_m"),
        ({"height_high_m": 0.02, "height_low_m": 0.05}, "height_low_m must not exceed"),
    ],
)
def test_contradicting_parameters_are_refused(changes, message):
    with pytest.raises(SafetyError, match=message):
        ExplorationParameters(**changes)
