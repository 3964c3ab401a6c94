from contextlib import suppress
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, exploration, kinematics
from vla_ros.core.errors import KinematicsError, SafetyError
from vla_ros.core.exploration import ExplorationParameters, PlayMotion
from vla_ros.core.pose_library import PoseLibrary, generate
from vla_ros.core.rotations import matrix_from_rpy, rotvec_from_matrix, transform
from vla_ros.core.safety import CommandGuard, wx250s_limits

DT_S = 0.02
MM = 1.0e-3 + 1e-4  # a turn may dip the gripper by 1 mm, and a little more between two checks
READY = kinematics.forward(arm.READY_RAD)
seeds = st.integers(0, 2**32 - 1)


def play(seed, parameters=None, start=READY, opening=1.0, trajectories=1):
    """Return (phase, pose, opening, waypoint) of every step of whole trajectories."""
    motion = play_motion(seed, parameters)
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


def play_motion(seed, parameters=None):
    """Return a motion on the default library, which is generated once for all tests."""
    parameters = parameters or ExplorationParameters()
    return PlayMotion(parameters, np.random.default_rng(seed), generate(ExplorationParameters()))


def height(pose):
    return kinematics.gripper_points(pose)[:, 2].min()


def waypoints_of(samples):
    """Return the positions (N, 3) of the segments' ends, each once, forced descents left out."""
    ends = [s[3][:3, 3] for s in samples if s[0] in ("move", "brake")]
    return np.array([e for i, e in enumerate(ends) if i == 0 or not np.array_equal(e, ends[i - 1])])


@given(seeds)
@settings(deadline=None, max_examples=1)
def test_same_seed_same_motion(seed):
    for first, second in zip(play(seed), play(seed), strict=True):
        assert first[0] == second[0]
        np.testing.assert_array_equal(first[1], second[1])
        assert first[2] == second[2]


def test_other_seed_other_motion():
    assert not np.array_equal(play(1)[-1][1], play(2)[-1][1])


@given(seeds)
@settings(deadline=None, max_examples=2)
def test_every_target_is_inside_the_bounds_with_its_noise(seed):
    p = ExplorationParameters()
    poses = np.array([sample[1] for sample in play(seed, p, trajectories=2)])
    # The ready pose hangs above the region; from there on the way leads in.
    x, y, heights = poses[:, 0, 3], poses[:, 1, 3], np.array([height(pose) for pose in poses])
    assert p.x_low_m - MM <= x.min()
    assert x.max() <= p.x_high_m + MM
    assert np.abs(y).max() <= p.y_limit_m + MM
    assert np.hypot(x, y).max() <= p.radius_limit_m + MM
    assert heights.min() >= p.height_low_m - MM
    assert heights.max() <= max(height(READY), p.height_high_m) + MM
    # Noise and all.
    tilts = np.arccos(np.clip(-poses[:, 2, 0], -1.0, 1.0))
    assert tilts.max() <= p.tilt_limit_rad + 0.02


@pytest.mark.parametrize(
    "changes",
    [{}, {"hover_steps": 1, "hover_height_m": 0.021}, {"noise_period_s": 0.1, "speed_m_s": 0.5}],
)
def test_tool_keeps_its_speed_and_acceleration_at_every_sample(changes):
    p = replace(ExplorationParameters(), waypoints_max=6, **changes)
    positions = np.array([sample[1][:3, 3] for sample in play(17, p, trajectories=2)])
    # From rest at the ready pose.
    positions = np.concatenate([np.tile(READY[:3, 3], (2, 1)), positions])
    velocities = np.diff(positions, axis=0) / DT_S
    accelerations = np.diff(velocities, axis=0) / DT_S
    assert np.linalg.norm(velocities, axis=1).max() <= p.speed_limit_m_s
    assert np.linalg.norm(accelerations, axis=1).max() <= p.acceleration_limit_m_s2


def test_bounds_of_speed_and_acceleration_by_hand():
    p = replace(ExplorationParameters(), speed_m_s=0.2, acceleration_m_s2=1.5, noise_position_m=0.0)
    # Cosine peak pi / 2 x 0.2; that is braked to 0 in 0.3 s.
    assert p.speed_limit_m_s == pytest.approx(0.314159, abs=1e-6)
    assert p.acceleration_limit_m_s2 == pytest.approx(1.5 + 1.047198, abs=1e-6)
    noisy = replace(p, noise_position_m=0.01, noise_period_s=1.0)
    # Three axes of 1 cm: changes by 4 of them in 1 s, fades by 2 of them in 0.5 s.
    assert noisy.speed_limit_m_s == pytest.approx(0.314159 + 0.017321 * 4 * np.pi, abs=1e-5)


def exact_joints(pose, q):
    """Return joints (6,) that bring the tool to the pose to rounding, unlike the 0.1 mm solver."""
    q = kinematics.inverse(pose, q)
    for _ in range(2):
        now = kinematics.forward(q)
        turn = rotvec_from_matrix(pose[:3, :3] @ now[:3, :3].T)
        error = np.concatenate([pose[:3, 3] - now[:3, 3], turn])
        q = q + np.linalg.solve(kinematics.jacobian(q), error)
    return q


def test_joints_keep_their_speed_and_acceleration_at_every_sample_without_noise():
    p = replace(
        ExplorationParameters(),
        noise_position_m=0.0,
        noise_rotation_rad=0.0,
        hover_steps=0,
        joint_speed_rad_s=0.5,
        joint_acceleration_rad_s2=0.8,
    )
    joints = [exact_joints(READY, arm.READY_RAD)]
    for _, pose, _, _ in play(23, p):
        joints.append(exact_joints(pose, joints[-1]))
    speeds = np.diff(joints, axis=0) / DT_S
    pushes = np.diff(speeds, axis=0) / DT_S
    # Checked at points along the way, so to a few per cent between them; near both on purpose.
    assert 0.8 * 0.5 < np.abs(speeds).max() <= 1.03 * 0.5
    assert np.abs(pushes).max() <= 1.1 * 0.8


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
        # 10 steps at 5 Hz, 0.3 s to brake, 12 cm at 0.08 m/s to go, and 0.2 s to speed up for it.
        assert hovering_s <= 2.0 + 0.3 + 1.5 + 0.2
        if phase == "grip":
            slack = 2 * p.noise_position_m + 0.08 * 4 * p.noise_rotation_rad
            assert height(pose) <= p.descent_high_m + slack


def hovering_parameters(hover_steps=1, **changes):
    """A region so high that every way hovers: each ends in a forced descent."""
    return replace(
        ExplorationParameters(),
        hover_height_m=0.021,
        hover_steps=hover_steps,
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
        ExplorationParameters(),
        noise_position_m=0.0,
        noise_rotation_rad=0.0,
        hover_steps=1000,
        acceleration_m_s2=5.0,
        turn_acceleration_rad_s2=20.0,
        joint_speed_rad_s=3.0,
        joint_acceleration_rad_s2=5.0,
        speed_m_s=0.1,
        turn_rate_rad_s=0.5,
    )
    motion = play_motion(0, p)
    motion.start(READY, 1.0)
    start, end = READY[:3, 3], motion.waypoint[:3, 3]
    turn = rotvec_from_matrix(motion.waypoint[:3, :3] @ READY[:3, :3].T)
    seconds = max(np.linalg.norm(end - start) / 0.1, np.linalg.norm(turn) / 0.5)
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
    p, samples = replace(ExplorationParameters(), waypoints_min=2, waypoints_max=2), None
    with suppress(KinematicsError):  # leaning far, close to the base: it says what to do
        samples = play(seed, p, start=start)
    assume(samples is not None)
    assert np.linalg.norm(samples[0][1][:3, 3] - start[:3, 3]) < 0.02
    for _, pose, _, _ in samples:
        # At a joint's limit noise asks for what is some millimetres beyond it.
        q = kinematics.inverse(pose, q, 5e-3, 1e-2)
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


def test_rest_between_trajectories_stands_still_until_a_way_is_found():
    p = replace(ExplorationParameters(), noise_position_m=0.0, noise_rotation_rad=0.0)
    samples = play(2, p, trajectories=2)
    resting = [sample[1] for sample in samples if sample[0] == "rest"]
    # Half a second each, and then some 6 to 20 checks of the way on, two a step.
    assert 2 * 25 < len(resting) < 2 * (25 + 30)
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


def library_of(*positions_m):
    poses = [transform(READY[:3, :3], np.array(position)) for position in positions_m]
    return PoseLibrary(np.array(poses), "teleoperated", {})


def waypoints_on(library, seed, number, before_each=lambda motion: None, **changes):
    """Return the waypoints' positions (number, 3) of play on a library, moved instantly."""
    p = replace(
        ExplorationParameters(),
        waypoints_min=number,
        waypoints_max=number,
        hover_steps=0,
        **changes,
    )
    motion = PlayMotion(p, np.random.default_rng(seed), library)
    motion.start(READY, 1.0)
    ends = []
    for _ in range(number):
        ends.append(motion.waypoint[:3, 3])
        before_each(motion)
        motion.step(100.0)
        while np.array_equal(motion.waypoint[:3, 3], ends[-1]) and len(ends) < number:
            motion.step(1e-6)
    return np.array(ends)


def test_waypoints_are_the_librarys_poses():
    library = library_of([0.2, -0.1, 0.06], [0.3, 0.1, 0.06], [0.2, 0.15, 0.1])
    ends = waypoints_on(library, 4, 12)
    for end in ends:
        assert np.linalg.norm(library.poses[:, :3, 3] - end, axis=1).min() == 0.0
    assert len(np.unique(ends, axis=0)) == 3


FOUR = library_of([0.2, -0.15, 0.05], [0.32, -0.1, 0.05], [0.2, 0.15, 0.05], [0.3, 0.1, 0.05])


def share_of_waypoints(index, before_each, **changes):
    ends = waypoints_on(FOUR, 8, 60, before_each, **changes)
    return (np.linalg.norm(ends - FOUR.poses[index, :3, 3], axis=1) < 0.05)[1:].mean()


def test_weights_of_zero_choose_uniformly_and_interest_draws_to_what_moved():
    place = np.array([[0.31, 0.11]])

    def something_moves(motion):
        motion.interest.moved(place)

    off = share_of_waypoints(3, something_moves, interest_weight=0.0, coverage_weight=0.0)
    on = share_of_waypoints(3, something_moves, interest_weight=100.0, coverage_weight=0.0)
    # One of four, never twice in a row; with interest every second one, as often as can be.
    assert 0.1 < off < 0.4
    assert on > 0.45


def test_waypoint_of_interest_is_shifted_and_lowered_to_the_place():
    place = np.array([[0.3275, 0.1125]])
    ends = waypoints_on(
        FOUR, 8, 20, lambda motion: motion.interest.moved(place), interest_weight=1000.0
    )
    # The middle of the place's cell: 0.14 + 7.5 x 2.5 cm, -0.3 + 16.5 x 2.5 cm.
    apart = np.linalg.norm(ends[:, :2] - place, axis=1)
    there = ends[apart < 1e-9]
    assert len(there) >= 8
    # Down to where a forced descent ends: the tips are 1.5 cm below the tool.
    assert there[:, 2].max() <= 0.02 + 0.0155


def test_coverage_avoids_where_the_tool_has_been():
    def been_there(motion):
        motion.interest.visited(FOUR.poses[3, :3, 3], 1000.0)

    assert share_of_waypoints(3, been_there, interest_weight=0.0, coverage_weight=100.0) < 0.1


def test_way_down_ends_and_lifts_off_when_the_arm_is_held_up():
    p = replace(hovering_parameters(), waypoints_min=20, waypoints_max=20)
    motion = play_motion(3, p)
    motion.start(READY, 1.0)
    while motion.phase != "descend":
        motion.step(DT_S)
    motion.step(DT_S, p.press_limit_m - 1e-6)
    assert motion.phase == "descend"
    heights = [height(motion.step(DT_S, 0.02)[0])]
    assert motion.phase == "press"
    while motion.phase == "press":
        heights.append(height(motion.step(DT_S, 0.02)[0]))
    assert motion.phase == "lift"
    # 0.08 m/s on average is 0.126 at most, braked in 0.3 s: 1.9 cm further down, then up again.
    assert heights[0] - min(heights) <= 0.019 + 1e-6
    while motion.phase == "lift":
        lifted = height(motion.step(DT_S, 0.02)[0])
    expected = min(heights[-1] + 0.02 + p.press_limit_m, p.height_high_m)
    assert lifted == pytest.approx(expected, abs=1e-3)
    assert motion.phase == "move"


@pytest.mark.parametrize(("retreat_m", "up_m"), [(0.05, 0.05), (0.3, 0.12), (0.0, None)])
def test_a_blocked_arm_goes_up_first_and_is_drawn_elsewhere(retreat_m, up_m):
    p = replace(ExplorationParameters(), retreat_m=retreat_m, height_high_m=0.18)
    low = READY.copy()
    low[:3, 3] += (0.0, 0.1, 0.06 - height(READY))
    motion = play_motion(3, p)
    motion.start(low, 1.0, blocked=True)
    # Four visits' worth: 1 / (1 + 4).
    assert motion.interest.rarity(low[None, :2, 3])[0] == pytest.approx(0.2)
    if up_m is None:
        assert motion.phase == "move"
        return
    assert motion.phase == "lift"
    while motion.phase == "lift":
        pose = motion.step(DT_S)[0]
        np.testing.assert_allclose(pose[:2, 3], low[:2, 3], atol=0.005)
    assert height(pose) == pytest.approx(0.06 + up_m, abs=5e-3)
    while motion.phase != "move":
        motion.step(DT_S)


def test_no_steps_of_hovering_means_no_forced_descent():
    phases = {sample[0] for sample in play(3, hovering_parameters(hover_steps=0))}
    assert phases == {"move", "rest"}


def test_no_step_solves_more_than_two_poses_on_the_way_on(monkeypatch):
    solved = []
    inverse = kinematics.inverse
    monkeypatch.setattr(kinematics, "inverse", lambda *a: solved.append(a) or inverse(*a))
    motion = play_motion(4, replace(ExplorationParameters(), hover_steps=2))
    motion.start(READY, 1.0)
    phases, most = set(), 0
    for _ in range(2000):
        solved.clear()
        motion.step(DT_S)
        phases.add(motion.phase)
        most = max(most, len(solved))
    assert most == 2
    assert phases == {"move", "brake", "descend", "grip", "rest"}


def test_arm_without_a_way_up_stands_until_it_finds_another(monkeypatch):
    motion = play_motion(3, replace(hovering_parameters(), waypoints_min=20, waypoints_max=20))
    motion.start(READY, 1.0)
    while motion.phase != "descend":
        motion.step(DT_S)
    monkeypatch.setattr(exploration, "plan", lambda *_: None)
    while motion.phase != "wait":
        pose, _ = motion.step(DT_S, 0.02)
    waypoint = motion.waypoint
    while motion.phase == "wait":
        np.testing.assert_allclose(motion.step(DT_S)[0], pose, atol=1e-9)
    assert motion.phase == "move"
    assert not np.array_equal(motion.waypoint, waypoint)


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
    with pytest.raises(KinematicsError, match="no reachable waypoint from tool"):
        motion.start(READY, 1.0)


@pytest.mark.parametrize("item", fields(ExplorationParameters), ids=lambda item: item.name)
def test_every_parameter_says_unit_and_range_and_holds_it(item):
    facts = item.metadata
    assert facts["low"] <= item.default <= facts["high"]
    assert facts["unit"]
    assert facts["description"]
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
