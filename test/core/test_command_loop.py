"""The safety layer as a whole, against a plant that follows, sticks, goes limp and falls silent."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vla_ros.core import arm, kinematics
from vla_ros.core.command_loop import CommandLoop, Seen
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.monitor import MonitorLimits
from vla_ros.core.rotations import transform

PERIOD_S = 0.02
PERIOD_NS = 20_000_000
LIMITS = wx250s_limits()
READY = arm.READY_RAD
WAIST = np.array([1.0, 0, 0, 0, 0, 0])
# What one command may add to the speed: 4 rad/s^2 x (0.02 s)^2.
STEP_CHANGE_RAD = 0.0016
TOOL_DOWN = kinematics.forward(READY)[:3, :3]


class Plant:
    """An arm that obeys at once, unless something is wrong with it; checks what it is told."""

    def __init__(self, start=READY):
        self.warnings = []
        self.loop = CommandLoop(
            LIMITS, PERIOD_S, simulated=False, warn=lambda text: self.warnings.append(text)
        )
        self.loop.begin(start, 0.5)
        self.q = np.array(start)
        self.now_ns, self.steady_s = 10**18, 50.0
        self.clock_offset_ns = 0
        self.stamp_ns, self.silent_s = self.now_ns, 0.0
        self.told = start.copy()
        self.velocity = np.zeros(6)
        self.follows = self.talks = True
        self.effort_ma = np.full(7, 100.0)
        self.path = []
        self.reseeds = 0
        # A motion that is commanded as it is: its change of speed, in shares of the largest.
        self.motion = None

    def tick(self, periods=1, gap_s=PERIOD_S):
        for _ in range(periods):
            self.now_ns += round(gap_s * 1e9)
            self.steady_s += gap_s
            if self.talks:
                self.stamp_ns, self.silent_s = self.now_ns + self.clock_offset_ns, 0.0
                self.measured = self.q.copy()
                # As an ammeter, and so that the states are alive.
                self.effort_ma = self.effort_ma + 1e-3
            else:
                self.silent_s += gap_s
            self.seen = Seen(
                self.now_ns + self.clock_offset_ns,
                self.steady_s,
                self.stamp_ns,
                self.silent_s,
                self.measured,
                0.5,
                None if self.effort_ma is None else self.effort_ma,
            )
            self.loop.judge(self.seen)
            if self.motion is not None and self.loop.may_move:
                step = self.velocity * PERIOD_S + STEP_CHANGE_RAD * self.motion
                self.loop.follow(self.told + step, 0.5)
            q, opening = self.loop.command()
            self.check(q, opening, late=gap_s > 2.5 * PERIOD_S)
            if self.follows:
                self.q = q.copy()

    def check(self, q, opening, late):
        """Every command is inside the limits, or it is where the arm is."""
        assert np.all((q >= LIMITS.low_rad) & (q <= LIMITS.high_rad))
        assert 0.0 <= opening <= 1.0
        before = np.zeros(6) if late else self.velocity
        velocity = (q - self.told) / PERIOD_S
        legal = (np.abs(velocity) <= LIMITS.velocity_rad_s + 1e-9) & (
            np.abs(velocity - before) <= LIMITS.acceleration_rad_s2 * PERIOD_S + 1e-6
        )
        # A step that goes on from rest at the measured pose is no other than the pose itself.
        here = np.clip(self.measured, LIMITS.low_rad, LIMITS.high_rad)
        reseed = np.abs(q - here) <= STEP_CHANGE_RAD + 1e-9
        # Joints without torque are given up one by one, while the others brake.
        limp = self.loop.verdict.cause == "limp"
        assert legal.all() or reseed.all() or (limp and np.all(legal | reseed)), (velocity, before)
        assert LIMITS.excess(q[None]).max() <= 1e-8
        self.reseeds += not legal.all()
        anew = ~legal if limp and not reseed.all() else np.full(6, not legal.all())
        self.velocity = np.where(anew, (q - here) / PERIOD_S, velocity)
        self.told = q
        self.path.append(q)


def test_a_target_is_reached_and_held():
    plant = Plant()
    plant.loop.set_target(READY + 0.5 * WAIST, 0.5)
    plant.tick(60)
    assert plant.loop.arrived
    np.testing.assert_allclose(plant.told, READY + 0.5 * WAIST)
    assert plant.reseeds == 0


def test_a_stop_brakes_at_the_next_command_within_the_limits_and_takes_no_target():
    plant = Plant()
    plant.loop.set_target(READY + 1.1 * WAIST, 0.5)
    plant.tick(25)
    assert plant.velocity[0] == pytest.approx(1.5)
    plant.loop.stop("the button")
    plant.tick()
    assert plant.velocity[0] == pytest.approx(1.5 - 0.08)
    # 1.5 rad/s less 0.08 rad/s a period: at rest with the 19th command, 0.27 rad on.
    plant.tick(18)
    assert plant.loop.at_rest
    assert plant.told[0] - plant.path[24][0] == pytest.approx(0.267, abs=0.001)
    plant.loop.set_target(READY, 0.5)
    plant.tick(50)
    assert plant.loop.at_rest
    assert plant.loop.blocked_reason == "the button"
    plant.loop.stop("another")
    assert plant.loop.stop_reason == "the button"
    plant.loop.reset_stop()
    assert plant.loop.blocked_reason == "a person has reset the stop"
    plant.tick(25)
    assert plant.loop.at_rest
    plant.tick(100)
    np.testing.assert_allclose(plant.told, READY)


def test_a_stop_that_is_reset_at_once_still_brakes_to_rest_first():
    plant = Plant()
    plant.loop.set_target(READY + 1.1 * WAIST, 0.5)
    plant.tick(25)
    plant.loop.stop("the button")
    plant.tick(5)
    plant.loop.reset_stop()
    plant.tick(14)
    assert plant.loop.at_rest
    assert plant.loop.blocked_reason == "a person has reset the stop"
    assert plant.reseeds == 0


def test_a_state_that_is_late_once_does_not_stop_an_arm_that_lags_behind():
    plant = Plant()
    plant.loop.set_target(READY + 1.1 * WAIST, 0.5)
    plant.tick(24)
    plant.follows = False
    plant.q = plant.told - 0.15 * WAIST
    plant.stamp_ns -= 10**9
    plant.talks = False
    plant.tick()
    assert plant.loop.verdict.cause == "stale"
    plant.talks, plant.follows = True, True
    plant.tick(3)
    assert plant.reseeds == 0
    assert plant.velocity[0] > 1.4


def test_a_stopped_arm_at_rest_follows_the_hand_that_moves_it_and_does_not_whip_back():
    plant = Plant()
    plant.loop.stop("the button")
    plant.tick(30)
    plant.q = READY + 0.3 * WAIST
    plant.tick(1)
    np.testing.assert_allclose(plant.told, READY + 0.3 * WAIST)
    plant.loop.reset_stop()
    plant.tick(50)
    np.testing.assert_allclose(plant.told, READY + 0.3 * WAIST)


def test_a_blocked_arm_is_pushed_no_more_and_tries_again_after_a_pause():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(10)
    plant.follows, plant.effort_ma[0] = False, 900.0
    pushed = 0
    while not plant.loop.blocks:
        plant.tick()
        pushed += 1
    # From the first touch; 0.1 rad at up to 1.5 rad/s, 0.1 s of standing still, 0.15 s of proof.
    assert pushed * PERIOD_S <= 0.40
    np.testing.assert_allclose(plant.told, plant.q)
    assert "waist is blocked" in plant.loop.blocked_reason
    plant.tick(20)
    assert plant.loop.blocked_reason
    plant.follows, plant.effort_ma[0] = True, 100.0
    plant.tick(80)
    assert plant.loop.arrived, "it did not try again"


def test_a_blocked_arm_is_found_though_its_joint_states_come_in_bursts():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(10)
    plant.follows, plant.effort_ma[0] = False, 900.0
    # 0.16 s with joint states are shorter than the proof takes.
    for _ in range(3):
        plant.talks = True
        plant.tick(8)
        plant.talks = False
        plant.tick(6)
    assert plant.loop.blocks >= 1
    assert np.abs(plant.told - plant.q).max() < 0.1, "it pushes on"


def test_what_was_before_a_long_silence_is_no_proof():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(10)
    plant.follows, plant.effort_ma[0] = False, 900.0
    plant.tick(8)
    plant.talks = False
    plant.tick(17)
    assert plant.loop.age_s > 0.3
    plant.talks = True
    plant.tick(2)
    assert plant.loop.blocks == 0


@pytest.mark.parametrize(("pause_s", "is_limp"), [(0.2, True), (1.0, False)])
def test_what_was_before_a_process_was_held_up_for_long_is_no_proof(pause_s, is_limp):
    plant = Plant()
    plant.loop.set_target(READY, 0.5)
    plant.tick(10)
    # Somebody else has moved the arm; it goes to the next command once there is one.
    plant.q = READY + 0.15 * WAIST
    plant.follows, plant.effort_ma[0] = False, 0.0
    plant.tick()
    plant.tick(gap_s=pause_s)
    assert bool(plant.loop.stop_reason) == is_limp
    plant.follows, plant.effort_ma[0] = True, 100.0
    plant.tick(50)
    assert bool(plant.loop.stop_reason) == is_limp


def test_an_arm_that_stays_blocked_is_given_up_after_ten_times_and_holds():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.follows, plant.effort_ma[0] = False, 900.0
    for _ in range(1000):
        plant.tick()
        if plant.loop.end_reason:
            break
    assert plant.loop.blocks == 10
    assert plant.loop.end_reason.endswith("(blocked 10 times in a row)")
    plant.follows, plant.effort_ma[0] = True, 100.0
    plant.tick(50)
    assert plant.loop.at_rest
    np.testing.assert_allclose(plant.told, READY, atol=1e-9)


def test_a_joint_without_torque_stops_the_arm_until_a_person_resets_and_its_command_follows():
    plant = Plant()
    plant.loop.set_target(READY - 0.9 * WAIST, 0.5)
    plant.tick(10)
    plant.follows, plant.effort_ma[0] = False, 0.0
    for _ in range(30):
        plant.q = plant.q + 0.005 * WAIST
        plant.tick()
    assert "waist is" in plant.loop.stop_reason
    assert "draws no current" in plant.loop.stop_reason
    # When the torque comes back, the goal is near where the joint has sunk to.
    for _ in range(60):
        plant.q = plant.q + 0.005 * WAIST
        plant.tick()
        assert np.abs(plant.told - plant.q).max() < 0.3
    plant.tick(60)
    assert np.abs(plant.told - plant.q).max() <= 0.1


def test_an_arm_that_stands_with_a_limp_joint_is_told_to_stay_as_a_whole():
    """Half the command and half the arm may together be under the table."""
    plant = Plant()
    plant.loop.set_target(READY + 0.9 * WAIST + np.array([0, 0.4, 0, 0, 0, 0]), 0.5)
    plant.follows, plant.effort_ma[0] = False, 0.0
    while not plant.loop.stop_reason:
        plant.tick()
    assert "waist is" in plant.loop.stop_reason
    np.testing.assert_allclose(plant.told, plant.q, atol=1e-9)


def test_the_other_joints_of_an_arm_with_a_limp_one_brake_within_their_limits():
    plant = Plant()
    roll = np.array([0, 0, 0, 0, 0, 1.0])
    plant.loop.set_target(READY + 0.9 * WAIST + 0.9 * roll, 0.5)
    plant.follows, plant.effort_ma[0] = False, 0.0
    while not plant.loop.stop_reason:
        # The wrist follows, the waist hangs.
        plant.q = np.where(roll > 0, plant.told, plant.q)
        plant.tick()
    assert plant.velocity[0] == 0.0
    assert plant.velocity[5] > 0.5
    assert plant.told[0] == READY[0]
    speeds = [plant.velocity[5]]
    while not plant.loop.at_rest:
        plant.q = np.where(roll > 0, plant.told, plant.q)
        plant.tick()
        speeds.append(plant.velocity[5])
    assert np.diff(speeds).min() == pytest.approx(-0.08)
    assert np.diff(speeds).max() < 1e-9


def test_an_arm_whose_limp_joint_sank_to_the_table_brakes_all_the_same_and_comes_back():
    plant = Plant()
    roll = np.array([0, 0, 0, 0, 0, 1.0])
    sunk = READY + [0, 0.8, 0, 0, 0, 0]
    assert LIMITS.excess(sunk[None])[0, 6] > 0.01
    plant.check = lambda q, opening, late: plant.path.append(q)
    plant.loop.set_target(READY + 0.9 * roll, 0.5)
    plant.follows, plant.effort_ma[1] = False, 0.0
    while not plant.loop.stop_reason:
        plant.q = np.where(roll > 0, plant.loop.commanded[0], sunk)
        plant.tick()
    # It takes 0.1 s to be sure: by then the wrist is fast, and goes on without a jolt.
    while not plant.loop.at_rest:
        plant.q = np.where(roll > 0, plant.loop.commanded[0], sunk)
        plant.tick()
    assert plant.path[-1][1] == sunk[1]
    rolled = np.diff([READY[5]] * 2 + [q[5] for q in plant.path], 2)
    assert rolled.min() >= -STEP_CHANGE_RAD - 1e-9
    assert plant.path[-1][5] > READY[5] + 0.02
    plant.loop.reset_stop()
    plant.loop.set_target(READY, 0.5)
    plant.follows, plant.effort_ma[1] = True, 100.0
    plant.tick(150)
    assert plant.loop.arrived


def test_silence_holds_the_arm_and_it_goes_on_without_a_jump():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(20)
    plant.talks = False
    plant.tick(3)
    assert plant.velocity[0] == pytest.approx(1.5)
    plant.tick()
    assert plant.velocity[0] == pytest.approx(1.42)
    plant.tick(20)
    assert plant.loop.at_rest
    assert "the joint states are 0.08 s old: holding" in plant.warnings[0]
    plant.talks = True
    plant.tick(80)
    assert plant.loop.arrived
    assert plant.reseeds == 0


def test_the_same_numbers_with_fresh_stamps_hold_an_arm_in_motion_at_the_third_period():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(20)
    plant.follows, still_ma = False, plant.effort_ma - 1e-3
    for _ in range(3):
        assert plant.velocity[0] == pytest.approx(1.5)
        plant.effort_ma, plant.q = still_ma, plant.measured
        plant.tick()
    assert plant.velocity[0] == pytest.approx(1.42)
    assert "the joint states repeat themselves for 0.1 s" in plant.warnings[0]


def test_silence_for_ten_seconds_gives_the_arm_up():
    plant = Plant()
    plant.tick()
    plant.talks = False
    plant.tick(499)
    assert not plant.loop.end_reason
    plant.tick(3)
    assert "the driver or its cable is gone" in plant.loop.end_reason


def test_an_arm_unseen_for_a_second_is_told_nothing_until_it_is_seen_where_it_fell():
    plant = Plant()
    plant.tick()
    plant.talks = False
    plant.tick(50)
    assert not plant.loop.is_silent
    plant.tick(2)
    assert plant.loop.is_silent
    # The driver was started anew, and the arm has sunk meanwhile.
    plant.q = READY + 0.4 * WAIST
    plant.talks = True
    plant.tick()
    assert not plant.loop.is_silent
    np.testing.assert_allclose(plant.told, READY + 0.4 * WAIST)


def test_an_arm_that_fell_unseen_is_told_to_stay_there_though_its_camera_is_still_away():
    plant = Plant()
    plant.loop.cameras.need("front", 0.5)
    plant.loop.cameras.saw("front", plant.now_ns, 7, plant.q)
    plant.tick()
    plant.talks = False
    plant.tick(150)
    plant.q = READY + 0.4 * WAIST
    plant.talks = True
    plant.tick()
    assert plant.loop.verdict.cause == "camera"
    np.testing.assert_allclose(plant.told, READY + 0.4 * WAIST)


@pytest.mark.parametrize("jump_ns", [0, 3600 * 10**9])
def test_an_unseen_arm_is_told_nothing_when_it_is_given_up_or_the_clock_jumps(jump_ns):
    plant = Plant()
    plant.tick()
    plant.talks = False
    plant.tick(498)
    plant.clock_offset_ns += jump_ns
    for _ in range(5):
        plant.tick()
        assert plant.loop.is_silent


@pytest.mark.parametrize("jump_s", [-3.0, 3.0])
def test_a_clock_that_jumps_holds_the_arm_for_a_moment_and_no_step_is_long(jump_s):
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(20)
    plant.clock_offset_ns = int(jump_s * 1e9)
    plant.tick()
    assert plant.velocity[0] == pytest.approx(1.42)
    assert f"the clock jumped by {jump_s:.2f} s" in plant.warnings[0]
    # It brakes to rest before it begins anew, and then waits for half a second.
    plant.tick(20)
    assert plant.loop.at_rest
    assert "the clock jumped" in plant.loop.blocked_reason
    plant.tick(100)
    assert plant.loop.arrived
    assert plant.reseeds == 0
    assert plant.loop.clock.jumps == 1


def test_an_executor_that_stalls_does_not_catch_up_but_starts_from_rest():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(20)
    assert plant.velocity[0] == pytest.approx(1.5)
    plant.tick(gap_s=0.08)
    assert plant.velocity[0] == pytest.approx(0.08)
    assert plant.loop.clock.late == 1


def test_a_limp_arm_is_where_the_hand_has_it_and_begins_there_when_the_torque_is_back():
    plant = Plant()
    plant.loop.set_target(READY + 1.0 * WAIST, 0.5)
    plant.tick(10)
    plant.loop.let_go()
    plant.follows = False
    plant.q = READY - 0.7 * WAIST
    plant.tick()
    np.testing.assert_allclose(plant.told, READY - 0.7 * WAIST)
    plant.loop.take_hold(plant.q, 0.5)
    plant.follows = True
    plant.tick(40)
    np.testing.assert_allclose(plant.told, READY - 0.7 * WAIST)


def test_a_blind_camera_holds_the_arm():
    plant = Plant()
    plant.loop.cameras.need("front", 0.5)
    plant.loop.set_target(READY + 0.5 * WAIST, 0.5)
    plant.tick(10)
    assert plant.loop.at_rest
    plant.loop.cameras.saw("front", plant.now_ns, 7, plant.q)
    plant.tick(10)
    assert not plant.loop.at_rest


def test_begin_forgets_the_target_and_keeps_the_stop():
    plant = Plant()
    plant.loop.stop("the button")
    plant.loop.set_target(READY + 0.5 * WAIST, 0.5)
    plant.loop.begin(READY, 0.5)
    plant.tick(10)
    assert plant.loop.stop_reason == "the button"
    plant.loop.reset_stop()
    plant.tick(60)
    np.testing.assert_allclose(plant.told, READY)


def test_targets_that_are_none_are_refused_and_counted():
    plant = Plant()
    for target in (np.full(6, np.nan), np.zeros(5), None, "home", np.full(6, 1e300)):
        plant.loop.set_target(target, 0.5)
        plant.tick()
    plant.loop.set_target(READY, float("inf"))
    plant.tick()
    plant.loop.set_target(READY, None)
    plant.tick()
    assert plant.loop.refusals == 7
    assert plant.loop.at_rest
    assert "a target was refused, holding: " in plant.loop.refusal
    plant.loop.set_target(READY, 0.5)
    plant.tick()
    assert (plant.loop.refusal, plant.loop.refusals) == ("", 7)


def test_a_motion_is_sent_as_it_is_and_braked_for_when_it_stops_coming():
    plant = Plant()
    plant.motion = 0.5 * WAIST
    plant.tick(20)
    # Half of 4 rad/s^2 for 0.4 s; step() would brake for every target on the way.
    assert plant.velocity[0] == pytest.approx(0.8)
    plant.motion = None
    plant.tick()
    assert plant.velocity[0] == pytest.approx(0.72)
    plant.tick(9)
    assert plant.loop.at_rest
    rested = plant.told
    plant.tick(20)
    np.testing.assert_array_equal(plant.told, rested)


def test_a_motion_that_stops_coming_is_not_gone_back_to():
    plant = Plant()
    plant.motion = 0.5 * WAIST
    plant.tick(3)
    plant.motion = None
    # 0.0024 rad a period: one more of 0.0008, which leads on beyond the last target.
    plant.tick(6)
    assert np.diff([q[0] for q in plant.path]).min() >= 0.0


def test_a_leash_brakes_and_lets_go_on_to_the_same_target():
    plant = Plant()
    plant.loop.set_target(READY + 0.5 * WAIST, 0.5)
    plant.tick(15)
    plant.loop.leash_reason = "nobody watches"
    plant.tick(20)
    assert plant.loop.at_rest
    assert (plant.loop.may_move, plant.loop.blocked_reason) == (False, "nobody watches")
    assert not plant.loop.is_stopped
    plant.loop.leash_reason = ""
    plant.tick(60)
    assert plant.loop.arrived
    assert plant.reseeds == 0


def test_a_target_changed_by_its_owner_later_is_another_one():
    plant = Plant()
    target = READY + 0.1 * WAIST
    plant.loop.set_target(target, 0.5)
    target[:] = np.nan
    plant.tick(40)
    assert plant.loop.refusals == 0


@st.composite
def poses(draw):
    """Joints for a tool that points down, well inside the workspace."""
    x, y, z = (draw(st.floats(*span)) for span in ((0.18, 0.34), (-0.2, 0.2), (0.06, 0.16)))
    return kinematics.inverse(transform(TOOL_DOWN, np.array([x, y, z])), READY)


wild = st.one_of(
    st.tuples(*[st.floats(-4.0, 4.0)] * 6).map(np.array),
    st.sampled_from([np.full(6, np.nan), np.full(6, np.inf), np.zeros(3), None]),
)
events = st.one_of(
    st.tuples(st.just("target"), st.one_of(poses(), wild)),
    st.tuples(st.just("moved"), poses()),
    st.tuples(st.just("motion"), st.tuples(*[st.floats(-1.2, 1.2)] * 6).map(np.array)),
    st.tuples(
        st.sampled_from(
            ["hold", "stop", "reset", "stuck", "limp", "free", "silent", "loud", "let_go"]
            + ["take_hold", "late", "jump", "overload", "unmeasured", "camera", "picture"]
            + ["leash", "unleash"]
        ),
        st.none(),
    ),
)


def happen(plant, what, value):
    loop = plant.loop
    if what == "target":
        plant.motion = None
        loop.set_target(value, 0.5)
    elif what == "motion":
        plant.motion = value
    elif what in ("leash", "unleash"):
        loop.leash_reason = "nobody watches" if what == "leash" else ""
    elif what == "moved":
        plant.q = value
    elif what in ("stuck", "limp"):
        plant.follows, plant.effort_ma = False, np.full(7, 900.0 if what == "stuck" else 0.0)
    elif what == "free":
        plant.follows, plant.effort_ma = True, np.full(7, 100.0)
    elif what == "overload":
        plant.effort_ma = np.full(7, 1800.0)
    elif what in ("silent", "loud"):
        plant.talks = what == "loud"
    elif what == "take_hold":
        if loop.is_limp:
            plant.velocity = np.zeros(6)
            loop.take_hold(plant.measured, 0.5)
    elif what == "late":
        plant.tick(gap_s=0.3)
    elif what == "camera":
        loop.cameras.need("front", 0.5)
    elif what == "picture":
        loop.cameras.saw("front", plant.now_ns, 7, plant.q)
    elif what == "jump":
        plant.clock_offset_ns += 2 * 10**9
    else:
        {"hold": loop.hold, "let_go": loop.let_go, "reset": loop.reset_stop}.get(
            what, lambda: loop.stop("the button")
        )()


@given(st.lists(st.tuples(events, st.integers(1, 40)), min_size=1, max_size=12))
@settings(deadline=None, max_examples=40)
def test_no_sequence_of_targets_faults_stops_and_resets_makes_a_command_outside_the_limits(story):
    plant = Plant()
    plant.tick()
    for (what, value), periods in story:
        happen(plant, what, value)
        plant.tick(periods)


@given(st.lists(st.tuples(events, st.integers(1, 40)), max_size=8), poses())
@settings(deadline=None, max_examples=15)
def test_whatever_happened_a_stop_brings_the_arm_to_rest_and_keeps_it_there(story, target):
    plant = Plant()
    plant.tick()
    for (what, value), periods in story:
        happen(plant, what, value)
        plant.tick(periods)
    plant.loop.stop("the button")
    plant.tick(20)
    assert plant.loop.at_rest
    plant.follows = True
    plant.loop.set_target(target, 0.5)
    plant.tick(60)
    assert plant.loop.at_rest


def test_the_limits_that_are_set_are_those_of_the_watches():
    limits = MonitorLimits(stale_s=0.2, lost_s=5.0, camera_frozen_rad=0.1, blocked_limit=1)
    loop = CommandLoop(LIMITS, PERIOD_S, simulated=False, monitor_limits=limits)

    def seen(age_s, silent_s=0.0):
        return Seen(10**18, 50.0, 10**18 - round(age_s * 1e9), silent_s, READY, 0.5)

    assert loop.freshness(seen(0.19)).level == "go"
    assert loop.freshness(seen(0.21)).level == "hold"
    assert loop.freshness(seen(0.0, 4.9)).cause == "stale"
    assert loop.freshness(seen(0.0, 5.1)).cause == "lost"
    for _ in range(2):
        # The same picture while the waist turns by 0.11 rad.
        loop.begin(READY, 0.5)
        loop.cameras.need("front", 1.0)
        loop.cameras.saw("front", 10**18, 7, READY)
        loop.cameras.saw("front", 10**18 + 1, 7, READY + 0.11 * WAIST)
        assert loop.cameras.judge(10**18 + 2).level == "hold"
    assert loop._row.failed(0.0)
