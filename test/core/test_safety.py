from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.errors import SafetyError
from vla_ros.core.rotations import transform
from vla_ros.core.safety import CommandGuard, JointStateFilter, wx250s_limits

PERIOD_S = 0.02
LIMITS = wx250s_limits()
TOOL_DOWN = kinematics.forward(arm.READY_RAD)[:3, :3]
EPS = 1e-9


class Watch:
    """Drives a guard and checks every command against the limits."""

    def __init__(self, start, limits=LIMITS, opening=0.0):
        self.limits = limits
        self.guard = CommandGuard(limits, PERIOD_S)
        self.guard.reset(start, opening)
        self.path = [self.guard.commanded[0]]
        self.opening = opening
        self.velocity = np.zeros(6)

    def check(self, command):
        q, opening = command
        limits = self.limits
        velocity = (q - self.path[-1]) / PERIOD_S
        acceleration = (velocity - self.velocity) / PERIOD_S
        assert np.all((q >= limits.low_rad) & (q <= limits.high_rad))
        assert np.all(np.abs(velocity) <= limits.velocity_rad_s + EPS)
        assert np.all(np.abs(acceleration) <= limits.acceleration_rad_s2 + 1e-6)
        seed, before, after = limits.excess(np.stack([self.path[0], self.path[-1], q]))
        assert np.all(after[:6] <= np.where(seed[:6] > 0, seed[:6] + 0.05, 0.0) + 2 * EPS)
        assert after[6] <= before[6] + 2 * EPS
        assert 0.0 <= opening <= 1.0
        assert abs(opening - self.opening) <= limits.opening_rate_s * PERIOD_S + EPS
        self.path.append(q)
        self.velocity, self.opening = velocity, opening

    def go(self, target, opening=0.0, periods=1):
        """Step towards a target as a node does; return whether it was refused."""
        refused = False
        for _ in range(periods):
            try:
                self.check(self.guard.step(target, opening))
            except SafetyError:
                refused = True
                self.check(self.guard.hold())
        return refused

    def go_until_arrived(self, target, opening=0.0):
        for _ in range(1000):
            self.check(self.guard.step(target, opening))
            if self.guard.arrived:
                return
        raise AssertionError(f"never arrived: {self.guard.commanded}")


near_ready = st.tuples(*[st.floats(-1.5, 1.5)] * 6).map(lambda d: arm.READY_RAD + np.array(d))
anywhere = st.tuples(*[st.floats(-4.0, 4.0)] * 6).map(np.array)
huge = st.tuples(*[st.floats(-1e12, 1e12)] * 6).map(np.array)
spoiled = st.sampled_from([np.full(6, np.nan), np.full(6, np.inf), np.zeros(5), None])


@st.composite
def tool_down(draw):
    """Joints for a tool that points down anywhere over the table, from low to high."""
    x, y, z = (draw(st.floats(*span)) for span in ((0.14, 0.36), (-0.28, 0.28), (0.021, 0.16)))
    shrink = min(1.0, 0.42 / np.hypot(x, y))
    pose = transform(TOOL_DOWN, np.array([x * shrink, y * shrink, z]))
    return kinematics.inverse(pose, arm.READY_RAD)


orders = st.lists(
    st.tuples(
        st.one_of(tool_down(), near_ready, anywhere, huge, spoiled),
        st.floats(-2.0, 3.0),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=8,
)


@given(orders, st.sampled_from([arm.READY_RAD, arm.SLEEP_RAD, arm.HOME_RAD]))
@settings(deadline=None, max_examples=80)
def test_whatever_is_asked_every_command_is_inside_every_limit(orders, start):
    watch = Watch(start)
    for target, opening, periods in orders:
        watch.go(target, opening, periods)
    np.testing.assert_array_equal(LIMITS.excess(np.array(watch.path)), 0.0)


# Targets of a motion, as changes of the last step [share of what is allowed], and what else is
# asked between them.
small = st.tuples(*[st.floats(-1.3, 1.3)] * 6).map(np.array)
motions = st.lists(
    st.tuples(
        st.sampled_from(["follow", "follow", "follow", "step", "hold"]),
        st.one_of(small, small, small, near_ready, anywhere, spoiled),
        st.floats(-1.0, 2.0),
        st.integers(1, 25),
    ),
    min_size=1,
    max_size=10,
)


def follow(watch, target, opening):
    """Have a target followed; it is the command, or that is the braking of before."""
    guard = watch.guard
    q, _ = guard.commanded
    braked = guard._braked(guard._u)
    try:
        command = guard.follow(target, opening)
    except SafetyError:
        command = guard.hold()
        target = None
    watch.check(command)
    if target is None or not np.array_equal(command[0], np.clip(target, *RANGE)):
        np.testing.assert_allclose(command[0] - q, braked, atol=1e-12)
    return target is not None and np.array_equal(command[0], target)


RANGE = LIMITS.low_rad, LIMITS.high_rad


@given(motions, st.sampled_from([arm.READY_RAD, arm.SLEEP_RAD, arm.HOME_RAD]))
@settings(deadline=None, max_examples=60)
def test_whatever_motion_is_asked_every_command_is_inside_every_limit(motions, start):
    watch = Watch(start)
    change = LIMITS.acceleration_rad_s2 * PERIOD_S**2
    for call, wanted, opening, periods in motions:
        for _ in range(periods):
            if call == "hold":
                watch.check(watch.guard.hold())
            elif call == "step" or np.shape(wanted) != (6,):
                watch.go(wanted, opening)
            else:
                # As a motion: from the step that was made last.
                at = watch.path[-1] + watch.velocity * PERIOD_S + change * wanted
                follow(watch, at if np.abs(wanted).max() <= 1.3 else wanted, opening)
    for _ in range(19):
        watch.check(watch.guard.hold())
    assert watch.guard.at_rest
    np.testing.assert_array_equal(LIMITS.excess(np.array(watch.path)), 0.0)


def test_a_motion_at_the_limits_is_sent_as_it_is():
    """4 rad/s^2 for 19 periods, 1.5 rad/s, and back: each of its targets is the next command."""
    watch = Watch(arm.READY_RAD)
    rising = 0.0016 * np.arange(1, 19)
    steps = [*rising, *[0.03] * 10, *rising[::-1], 0.0]
    for step in steps:
        target = watch.path[-1] + step * np.array([1.0, 0, 0, 0, 0, -1.0])
        assert follow(watch, target, 1.0)
    assert watch.guard.at_rest
    assert watch.guard.arrived
    # step() would have braked for each target: it never comes near that speed.
    assert np.abs(np.diff(watch.path, axis=0)).max() == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("steps", "change"),
    [
        # Faster than 4 rad/s^2, faster than 1.5 rad/s, and back at once.
        ([0.0017], 0),
        ([0.0016 * n for n in range(1, 19)] + [0.0301], 18),
        ([0.0016, 0.0032, 0.0], 2),
    ],
)
def test_a_motion_beyond_a_limit_is_braked(steps, change):
    watch = Watch(arm.READY_RAD)
    followed = [
        follow(watch, watch.path[-1] + step * np.array([1.0, 0, 0, 0, 0, 0]), 0.0) for step in steps
    ]
    assert followed == [True] * change + [False]
    assert watch.guard.blocked


def test_a_motion_towards_the_table_is_braked_while_it_can_stop_over_it():
    watch = Watch(arm.READY_RAD)
    step, q = 0.0, arm.READY_RAD
    while q[1] < 1.5:
        step = min(step + 0.0016, 0.02)
        q = watch.path[-1] + step * np.array([0, 1.0, 0, 0, 0, 0])
        if not follow(watch, q, 0.0):
            break
    assert step == 0.02
    for _ in range(20):
        watch.check(watch.guard.hold())
    assert watch.guard.at_rest
    (lowest,) = LIMITS.excess(watch.path[-1][None] + [0, 0.03, 0, 0, 0, 0])[:, 6]
    assert lowest > 0.0, "it stopped long before it had to"


def test_a_motion_that_starts_outside_leads_in():
    limits = replace(LIMITS, workspace_low_m=np.array([0.15, -0.4, 0.25]))
    start = arm.READY_RAD
    assert limits.excess(start[None]).any(), "the pose is inside"
    for shoulder, goes in ((0.0015, False), (-0.0015, True)):
        watch = Watch(start, limits)
        assert follow(watch, start + [0, shoulder, 0, 0, 0, 0], 0.0) == goes


@given(st.lists(st.one_of(tool_down(), near_ready), min_size=1, max_size=4), st.integers(1, 60))
@settings(deadline=None, max_examples=50)
def test_hold_brings_any_motion_to_rest_within_the_limits(targets, periods):
    watch = Watch(arm.READY_RAD)
    for target in targets:
        watch.go(target, 1.0, periods)
    opening = watch.guard.commanded[1]
    # 1.5 rad/s at 4 rad/s^2 takes 0.375 s: 19 periods.
    for _ in range(19):
        watch.check(watch.guard.hold())
    assert watch.guard.at_rest
    assert watch.guard.commanded[1] == opening
    np.testing.assert_array_equal(watch.guard.hold()[0], watch.path[-1])


@given(tool_down(), tool_down())
@settings(deadline=None, max_examples=40)
def test_target_is_reached_exactly_without_overshoot_or_the_way_is_blocked(start, target):
    watch = Watch(start)
    for _ in range(400):
        watch.check(watch.guard.step(target, 1.0))
        if watch.guard.arrived:
            break
    path = np.array(watch.path)
    if watch.guard.arrived:
        np.testing.assert_array_equal(path[-1], target)
    else:
        # A straight way in joint space may dip under the table clearance: then it stands still.
        assert watch.guard.blocked
        assert watch.guard.at_rest
    progress = np.diff(path, axis=0) * np.sign(target - start)
    assert progress.min() >= -EPS


def test_one_joint_accelerates_cruises_and_brakes_as_computed_by_hand():
    # 1 rad/s at 1 rad/s^2 and periods of 0.1 s: steps of 0.01, 0.02, ... towards 0.08 rad are
    # 0.01 0.02, then at most 0.02 (0.05 left: 0.02 + 0.01 fit, 0.03 + 0.02 + 0.01 do not).
    limits = replace(LIMITS, velocity_rad_s=np.ones(6), acceleration_rad_s2=np.ones(6))
    guard = CommandGuard(limits, 0.1)
    guard.reset(arm.READY_RAD, 0.5)
    target = arm.READY_RAD + [0.08, 0, 0, 0, 0, 0]
    waist = [guard.step(target, 0.5)[0][0] for _ in range(6)]
    steps = np.diff(waist, prepend=0.0)
    np.testing.assert_allclose(steps[:2], [0.01, 0.02])
    # With 0.05 left and n = floor((sqrt(1 + 8 * 5) - 1) / 2) = 2: u = (5 + 3) / 3 = 2.67.
    np.testing.assert_allclose(steps[2:5], [0.08 / 3, 0.05 / 3, 0.02 / 3])
    assert steps[5] == pytest.approx(0.0, abs=1e-12)


def test_long_move_reaches_the_velocity_limit_and_all_joints_arrive_together():
    watch = Watch(arm.READY_RAD)
    target = arm.READY_RAD + [1.0, -0.2, 0, 0, 0, 1.5]
    watch.go_until_arrived(target)
    velocity = np.diff(np.array(watch.path), axis=0) / PERIOD_S
    assert np.abs(velocity).max() == pytest.approx(1.5)
    last_moves = [np.flatnonzero(np.abs(velocity[:, joint]) > 1e-6)[-1] for joint in (0, 1, 5)]
    assert max(last_moves) - min(last_moves) <= 1


def test_first_command_starts_from_the_measured_pose():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.SLEEP_RAD, 0.3)
    q, opening = guard.step(arm.READY_RAD, 1.0)
    # From rest no joint goes further than 4 rad/s^2 (0.02 s)^2, the gripper 2/s x 0.02 s.
    assert np.abs(q - arm.SLEEP_RAD).max() == pytest.approx(0.0016)
    assert opening == pytest.approx(0.34)


def test_arm_leaves_its_sleep_pose_and_returns_to_it():
    watch = Watch(arm.SLEEP_RAD)
    watch.go_until_arrived(arm.READY_RAD, 1.0)
    watch.go_until_arrived(arm.SLEEP_RAD, 0.0)
    np.testing.assert_array_equal(watch.path[-1], arm.SLEEP_RAD)


@pytest.mark.parametrize("start", [arm.SLEEP_RAD, arm.READY_RAD])
def test_pose_measured_outside_can_only_come_back(start):
    # A box that both poses lie outside of: sleep behind and under it, ready under it.
    limits = replace(
        LIMITS,
        workspace_low_m=np.array([0.15, -0.4, 0.25]),
        workspace_high_m=np.array([0.5, 0.4, 0.5]),
    )
    watch = Watch(start, limits)
    assert watch.go(start + [0, 0.3, 0, 0, 0.0, 0])
    watch.go_until_arrived(arm.HOME_RAD)
    np.testing.assert_array_equal(limits.excess(arm.HOME_RAD[None]), 0.0)
    assert watch.go(start)


def test_measured_pose_below_the_table_clearance_can_only_rise():
    low = kinematics.inverse(transform(TOOL_DOWN, np.array([0.25, 0, 0.012])), arm.READY_RAD)
    deeper = kinematics.inverse(transform(TOOL_DOWN, np.array([0.25, 0, 0.011])), low)
    watch = Watch(low)
    assert watch.go(deeper)
    watch.go_until_arrived(arm.READY_RAD)


def test_joint_that_sank_to_the_table_is_dropped_while_the_others_brake_and_come_back():
    guard = CommandGuard(LIMITS)
    guard.reset(arm.READY_RAD, 1.0)
    # Six periods of 0.0016 rad more each: 0.0096 rad, then one less each, 0.024 rad on.
    roll = np.array([0, 0, 0, 0, 0, 1.0])
    for _ in range(6):
        guard.step(arm.READY_RAD + roll, 1.0)
    began, _ = guard.commanded
    sunk = began + [0, 0.8, 0, 0, 0, 0]
    assert LIMITS.excess(sunk[None])[0, 6] > 0.01, "the pose is not under the table clearance"
    guard.drop((1,), sunk + [0, 0, 0, 0, 0, -0.05])
    rows = [guard.commanded[0]]
    while not guard.at_rest:
        rows.append(guard.hold()[0])
    # Rounding may leave one more step of nothing.
    steps = np.diff(rows, axis=0)[:6, 5]
    np.testing.assert_allclose(steps, 0.0016 * np.arange(5.0, -1.0, -1.0), atol=1e-12)
    np.testing.assert_allclose(rows[-1], sunk + 0.024 * roll)
    back = [guard.step(arm.READY_RAD, 1.0)[0] for _ in range(200)]
    assert guard.arrived
    assert np.diff(LIMITS.excess(np.array(back))[:, 6]).max() <= 1e-9


def test_a_command_further_outside_than_the_arm_is_given_up_though_it_is_near():
    """0.25 sin(0.21) is 2.1 mm outside of a box that ends at 0.05 m; 0.19 rad is inside."""
    limits = replace(LIMITS, workspace_high_m=np.array([0.5, 0.05, 0.5]))
    waist = np.array([1.0, 0, 0, 0, 0, 0])
    for commanded, measured, anew in ((0.21, 0.19, True), (0.21, 0.23, False), (0.19, 0.21, False)):
        guard = CommandGuard(limits)
        guard.reset(arm.READY_RAD + commanded * waist, 0.5)
        assert guard.resync(arm.READY_RAD + measured * waist, 0.5) == anew


def test_way_that_leaves_the_box_ends_in_a_stop():
    # From x = 0.14 m to 0.40 m at one height, the straight way in joint space rises by 37 mm.
    limits = replace(LIMITS, workspace_high_m=np.array([0.5, 0.4, 0.22]))
    start, target = (
        kinematics.inverse(transform(TOOL_DOWN, np.array([x, 0, 0.21])), arm.READY_RAD)
        for x in (0.14, 0.40)
    )
    watch = Watch(start, limits)
    watch.go(target, periods=300)
    assert watch.guard.blocked
    assert watch.guard.at_rest
    np.testing.assert_array_equal(limits.excess(np.array(watch.path)), 0.0)
    # Another target frees it.
    watch.go_until_arrived(start)
    assert not watch.guard.blocked


@pytest.mark.parametrize(
    ("target", "opening", "message"),
    [
        (np.full(6, np.nan), 0.5, "target must be 6 finite joints"),
        (np.array([0, 0, 0, 0, 0, np.inf]), 0.5, "target must be 6 finite joints"),
        (arm.READY_RAD, np.nan, "a finite opening"),
        (np.zeros(7), 0.5, "target must be 6 finite joints"),
        (np.zeros((1, 6)), 0.5, "target must be 6 finite joints"),
        (None, 0.5, "target must be 6"),
        ("home", 0.5, "target must be 6 joints"),
        (arm.READY_RAD + [0, 2.2, 0, 0, 0, 0], 0.5, "shoulder at 2.029 rad, outside"),
        (arm.READY_RAD + [3.1, 0, 0, 0, 0, 0], 0.5, "mm outside the workspace"),
        (arm.READY_RAD + [0, 0.6, 0, 0, 0, 0], 0.5, "under the table clearance"),
    ],
)
def test_refused_target_changes_nothing(target, opening, message):
    watch, twin = Watch(arm.SLEEP_RAD), Watch(arm.SLEEP_RAD)
    watch.go(arm.READY_RAD, 1.0, 15)
    twin.go(arm.READY_RAD, 1.0, 15)
    with pytest.raises(SafetyError, match=message):
        watch.guard.step(target, opening)
    np.testing.assert_array_equal(watch.guard.commanded[0], twin.guard.commanded[0])
    # The last good target stays: both go on to it alike.
    for _ in range(100):
        command, expected = watch.guard.advance(), twin.guard.step(arm.READY_RAD, 1.0)
        watch.check(command)
        np.testing.assert_array_equal(command[0], expected[0])
    assert watch.guard.arrived


def test_target_on_the_urdf_limit_is_brought_inside():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.READY_RAD, 0.0)
    target = arm.READY_RAD.copy()
    target[5] = arm.UPPER_RAD[5]
    for _ in range(300):
        guard.step(target, 0.0)
    assert guard.arrived
    assert guard.commanded[0][5] == LIMITS.high_rad[5]


def test_opening_is_limited_in_range_and_rate():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.READY_RAD, 0.9)
    openings = [guard.step(arm.READY_RAD, 5.0)[1] for _ in range(4)]
    np.testing.assert_allclose(openings, [0.94, 0.98, 1.0, 1.0])
    assert guard.step(arm.READY_RAD, -5.0)[1] == pytest.approx(0.96)


@pytest.mark.parametrize("call", ["step", "advance", "hold", "commanded"])
def test_nothing_is_commanded_before_a_measured_pose(call):
    guard = CommandGuard(LIMITS, PERIOD_S)
    with pytest.raises(SafetyError, match="no measured pose to start from"):
        guard.step(arm.READY_RAD, 0.0) if call == "step" else getattr(guard, call)()


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (np.full(6, np.nan), "measured pose must be 6 finite joints"),
        (np.full(6, -np.pi), "measured pose has wrist_angle at -3.142 rad, outside"),
    ],
)
def test_failed_read_is_no_seed(pose, message):
    guard = CommandGuard(LIMITS, PERIOD_S)
    with pytest.raises(SafetyError, match=message):
        guard.reset(pose, 0.0)
    with pytest.raises(SafetyError, match="no measured pose"):
        guard.hold()


def test_pose_resting_on_its_stop_seeds_the_nearest_legal_command():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.SLEEP_RAD + [0, -0.13, 0, 0, 0, 0], 1.02)
    assert guard.commanded[0][1] == LIMITS.low_rad[1]
    assert guard.commanded[1] == 1.0


def test_commanded_cannot_be_changed_from_outside():
    guard = CommandGuard(LIMITS, PERIOD_S)
    guard.reset(arm.READY_RAD, 0.0)
    guard.commanded[0][:] = 9.0
    np.testing.assert_array_equal(guard.commanded[0], arm.READY_RAD)


@pytest.mark.parametrize("period", [0.0, -0.02, np.nan, np.inf])
def test_period_must_be_positive(period):
    with pytest.raises(SafetyError, match="period_s must be above 0"):
        CommandGuard(LIMITS, period)


MS = 1_000_000


def state(q=arm.READY_RAD, finger=0.026, names=arm.JOINT_STATE_NAMES):
    values = dict(zip(arm.ARM_JOINTS, q, strict=True))
    values |= {"gripper": 0.1, "left_finger": finger, "right_finger": -finger}
    return list(names), np.array([values[name] for name in names])


def test_good_joint_state_is_read_by_name():
    shuffled = arm.JOINT_STATE_NAMES[::-1]
    q, opening = JointStateFilter(LIMITS).accept(0, *state(names=shuffled))
    np.testing.assert_array_equal(q, arm.READY_RAD)
    assert opening == pytest.approx(0.5)


@pytest.mark.parametrize(("finger", "opening"), [(0.010, 0.0), (0.040, 1.0)])
def test_opening_is_clipped_to_its_range(finger, opening):
    assert JointStateFilter(LIMITS).accept(0, *state(finger=finger))[1] == opening


@pytest.mark.parametrize(
    ("q", "finger", "message"),
    [
        (np.full(6, -np.pi), 0.026, "every joint reads -pi"),
        (np.full(6, -3.1345), 0.026, "every joint reads -pi"),
        (np.full(6, np.nan), 0.026, "joint state must be 6 finite joints"),
        (arm.READY_RAD * [1, 1, np.nan, 1, 1, 1], 0.026, "joint state must be 6 finite"),
        (arm.READY_RAD, np.nan, "a finite opening"),
        (arm.READY_RAD + [0, -2.5, 0, 0, 0, 0], 0.026, "joint state has shoulder at -2.671 rad"),
    ],
)
def test_failed_read_is_refused_and_the_next_good_one_passes(q, finger, message):
    joint_states = JointStateFilter(LIMITS)
    joint_states.accept(0, *state())
    with pytest.raises(SafetyError, match=message):
        joint_states.accept(10 * MS, *state(q, finger))
    np.testing.assert_array_equal(joint_states.accept(20 * MS, *state())[0], arm.READY_RAD)


def test_missing_joint_is_named():
    names, position = state(names=arm.JOINT_STATE_NAMES[1:])
    with pytest.raises(SafetyError, match="lacks waist; check the driver"):
        JointStateFilter(LIMITS).accept(0, names, position)


def test_fewer_positions_than_names_are_refused():
    names, position = state()
    with pytest.raises(SafetyError, match="for each of 9 names and lacks positions"):
        JointStateFilter(LIMITS).accept(0, names, position[:5])


@pytest.mark.parametrize("stamp", [0, 10 * MS])
def test_stamp_that_does_not_advance_is_refused_until_reset(stamp):
    joint_states = JointStateFilter(LIMITS)
    joint_states.accept(10 * MS, *state())
    with pytest.raises(SafetyError, match="is not later than the last at 10000000 ns"):
        joint_states.accept(stamp, *state())
    joint_states.reset()
    joint_states.accept(stamp, *state())


def test_jump_faster_than_a_servo_is_refused_until_enough_time_has_passed():
    joint_states = JointStateFilter(LIMITS)
    joint_states.accept(0, *state())
    moved = arm.READY_RAD + [0, 0, 0, 0.5, 0, 0]
    # Allowed: 0.05 + 1.5 pi t, so 0.5 rad takes 95.5 ms.
    with pytest.raises(SafetyError, match=r"forearm_roll jumped 0\.50 rad in 0\.010 s"):
        joint_states.accept(10 * MS, *state(moved))
    with pytest.raises(SafetyError, match="forearm_roll jumped"):
        joint_states.accept(95 * MS, *state(moved))
    joint_states.accept(96 * MS, *state(moved))


@given(st.floats(0.0, np.pi), st.integers(1, 300))
@example(np.pi, 10)
def test_motion_at_the_servo_limit_passes(speed, period_ms):
    joint_states = JointStateFilter(LIMITS)
    for i in range(3):
        q = arm.READY_RAD + [min(speed * period_ms * 1e-3 * i, 3.0), 0, 0, 0, 0, 0]
        joint_states.accept(i * period_ms * MS, *state(q))
