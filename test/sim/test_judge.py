"""The independent check at the servos, on streams whose every step is known."""

from dataclasses import replace

import numpy as np
import pytest

from vla_ros.core import arm, kinematics
from vla_ros.core.limits import wx250s_limits
from vla_ros.sim.judge import WIRE_RAD, ServoJudge
from vla_ros.sim.servo import Servo

T_S = 0.02
# 1 rad/s is 0.02 rad a goal, 4 rad/s^2 a change of 0.0016 rad from goal to goal.
LIMITS = wx250s_limits(velocity_rad_s=1.0, acceleration_rad_s2=4.0)
STILL = np.zeros(6)
WAIST, ROLL = np.eye(6)[0], np.eye(6)[5]
SPEED_UP = [0.0016 * k for k in range(1, 13)]


def waist_goals(steps_rad, start_rad=0.0):
    """Return goals (N, 6) as they come off the wire: the ready pose with the waist moving so."""
    goals = np.tile(arm.READY_RAD, (len(steps_rad) + 1, 1))
    goals[:, 0] = start_rad + np.concatenate([[0.0], np.cumsum(steps_rad)])
    return goals.astype(np.float32).astype(np.float64)


def box(high_y_m):
    """Return limits whose box ends at y; the ready pose's tool is 0.25 m from the waist's axis."""
    return replace(LIMITS, workspace_high_m=np.array([0.5, high_y_m, 0.5]))


def judged(goals, limits=LIMITS, kept=None):
    """Return the judge after a stream to an arm that follows exactly, of which it sees `kept`."""
    judge = ServoJudge(limits, T_S)
    for period, goal in enumerate(goals):
        if kept is None or period in kept:
            # Moving, so that no later goal passes for a new start.
            speed = STILL if period == 0 else np.ones(6)
            judge.measured(period * T_S, goals[max(0, period - 1)])
            judge.goal(period * T_S, goal, speed)
        else:
            judge.lost()
    judge.finish()
    return judge


LEGAL = waist_goals([*SPEED_UP, *[0.02] * 10, *SPEED_UP[::-1], 0.0, 0.0], start_rad=-0.3)


def test_a_stream_at_its_limits_is_legal_even_in_float32():
    judge = judged(LEGAL)
    assert judge.violations == {}
    assert (judge.goals, judge.restarts) == (len(LEGAL), 1)


@pytest.mark.parametrize(
    ("steps", "violations"),
    [
        ([*SPEED_UP, 0.0201, 0.0201], {"goal velocity": 2}),
        ([0.0017, 0.0017, 0.0], {"goal acceleration": 2}),
        ([0.05], {"goal velocity": 1, "goal acceleration": 1}),
    ],
)
def test_a_step_a_little_too_long_or_too_sudden_is_counted(steps, violations):
    assert judged(waist_goals(steps)).violations == violations


@pytest.mark.parametrize("lost", [{5}, {5, 6, 7}, {15, 16}, {10, 11, 12, 13, 14}, {24, 25, 26}])
def test_lost_goals_of_a_legal_stream_break_nothing(lost):
    kept = set(range(len(LEGAL))) - lost
    assert judged(LEGAL, kept=kept).violations == {}


def test_a_gap_is_no_excuse_for_a_step_that_is_too_long_for_it():
    # Three periods for 0.0606 rad: 1.01 rad/s.
    goals = waist_goals([*SPEED_UP, 0.02, 0.02, 0.02, 0.0206])
    kept = set(range(len(goals))) - {len(goals) - 3, len(goals) - 2}
    assert judged(goals, kept=kept).violations == {"goal velocity": 1}


@pytest.mark.parametrize("pause_s", [0.1, 1.0, 10.0])
def test_no_pause_is_an_excuse_for_a_jump_that_nobody_sent_goals_for(pause_s):
    judge = judged(waist_goals([0.0] * 10))
    there = waist_goals([], start_rad=0.05)[0]
    told(judge, 10 * T_S + pause_s, there, HERE)
    assert judge.violations == JUMPED


HERE, THERE = waist_goals([0.3])
JUMPED = {"goal velocity": 1, "goal acceleration": 1}


def told(judge, at_s, goal, present, speed=STILL, torque=(True,) * 6):
    """Hand the judge a pose and a goal; return it."""
    judge.measured(at_s, present)
    judge.goal(at_s, goal, speed, torque)
    return judge


def jumps(present, speed=STILL, at_s=T_S, **more):
    """Return the judge after a goal that jumps by 0.3 rad while the arm is measured so."""
    judge = told(ServoJudge(LIMITS, T_S), 0.0, HERE, HERE)
    return told(judge, at_s, THERE, present, speed, **more)


@pytest.mark.parametrize(
    ("away_rad", "speed", "restarts", "violations"),
    [
        (0.0, STILL, 2, {}),
        # One first step from rest: 4 rad/s^2 x (0.02 s)^2.
        (0.0016, STILL, 2, {}),
        (0.0017, STILL, 1, JUMPED),
        (0.04, STILL, 1, JUMPED),
        (-0.3, STILL, 1, JUMPED),
        (0.0, np.full(6, 0.11), 1, JUMPED),
    ],
)
def test_a_stream_may_start_anew_only_where_the_arm_stands(away_rad, speed, restarts, violations):
    present = THERE.copy()
    present[0] += away_rad
    judge = jumps(present, speed)
    assert (judge.restarts, judge.violations) == (restarts, violations)


def test_a_pose_that_was_measured_long_ago_is_no_reason_to_start_there():
    for periods, violations in ((5, {}), (7, JUMPED)):
        judge = told(ServoJudge(LIMITS, T_S), 0.0, HERE, HERE)
        judge.measured(T_S, THERE)
        for period in range(2, periods + 1):
            told(judge, period * T_S, HERE, HERE)
        assert told(judge, (periods + 1) * T_S, THERE, HERE).violations == violations


def test_which_of_two_poses_a_stream_began_at_is_shown_by_its_next_goal():
    # From a pose at 0.3 or at 0.3016 rad: the goal is the first, or one first step short of it.
    for step, violations in ((-0.0016, {}), (-0.0032, {}), (-0.0033, {"goal acceleration": 1})):
        judge = told(ServoJudge(LIMITS, T_S), 0.0, HERE, HERE)
        away = np.array([0.0016, 0, 0, 0, 0, 0])
        judge.measured(T_S, THERE + away)
        told(judge, T_S, THERE, THERE)
        goal = (THERE + away * step / 0.0016).astype(np.float32)
        assert told(judge, 2 * T_S, goal, THERE, np.ones(6)).violations == violations


def given_up(roll_speed=0.0, waist_step=0.0032, roll_rad=0.15):
    """Return the judge after a waist that brakes while the roll is sent to where it is measured."""
    roll = np.array([0, 0, 0, 0, 0, 1.0])
    goals = waist_goals([0.0016, 0.0032, 0.0048, waist_step, 0.0016])
    judge = told(ServoJudge(LIMITS, T_S), 0.0, goals[0], goals[0])
    for period, goal in enumerate(goals[1:], start=1):
        # The arm does not follow at all: a roll that is told to stand 0.15 rad away is at 0.
        present = goals[0] - (roll_rad * roll if period >= 4 else 0.0)
        goal = goal - (0.15 * roll if period >= 4 else 0.0)
        speed = np.array([1.0, 0, 0, 0, 0, roll_speed])
        told(judge, period * T_S, goal.astype(np.float32), present, speed)
    return judge


def test_a_joint_may_be_sent_to_where_it_stands_while_the_others_brake():
    judge = given_up()
    assert (judge.violations, judge.restarts, judge.joint_restarts) == ({}, 1, 1)
    # Where it moves, where it is not, or where another joint does what it must not.
    assert given_up(roll_speed=0.11).violations["goal velocity"] == 1
    assert given_up(roll_rad=0.1).violations["goal velocity"] == 1
    assert given_up(waist_step=0.0031).violations["goal acceleration"] == 1


@pytest.mark.parametrize(
    ("away_rad", "speed", "violations"),
    [
        (0.0012, STILL, {}),
        (0.0, STILL, {"goal acceleration": 1}),
        (0.0012, np.ones(6), {"goal acceleration": 1}),
    ],
)
def test_a_stream_that_begins_beside_the_last_goal_is_told_by_its_second_goal(
    away_rad, speed, violations
):
    # From 1.2 mrad beside the goal, steps of -1.6 and -3.2 mrad: the first looks like -0.4.
    judge = told(ServoJudge(LIMITS, T_S), 0.0, HERE, HERE)
    away = np.array([1.0, 0, 0, 0, 0, 0])
    told(judge, T_S, HERE, HERE)
    for period in range(2, 9):
        told(judge, period * T_S, HERE, HERE + away * away_rad)
    for period, short_rad in ((9, -0.0004), (10, -0.0036)):
        goal = (HERE + away * short_rad).astype(np.float32)
        told(judge, period * T_S, goal, HERE + away * away_rad, speed)
    assert judge.violations == violations


def test_a_stream_may_begin_outside_beside_a_goal_inside():
    """The box ends at a waist of 0.2014 rad; an arm told to stand before it is found behind."""
    inside, outside = (waist_goals([], start_rad=waist)[0] for waist in (0.2013, 0.2016))
    for present, violations in ((outside, {}), (inside - 0.01, {"goal workspace": 1})):
        judge = ServoJudge(box(0.05), T_S)
        told(judge, 0.0, inside, inside)
        told(judge, T_S, inside, present)
        for period in range(2, 9):
            told(judge, period * T_S, inside, present)
        told(judge, 9 * T_S, outside, present)
        judge.finish()
        assert judge.violations == violations


def test_a_pose_beyond_a_joint_limit_is_started_from_at_the_limit():
    pose = HERE.copy()
    pose[0] = LIMITS.high_rad[0]
    judge = told(ServoJudge(LIMITS, T_S), 0.0, HERE, HERE)
    told(judge, T_S, pose.astype(np.float32), pose + np.array([0.01, 0, 0, 0, 0, 0]))
    assert (judge.restarts, judge.violations) == (2, {})


def test_after_a_pause_in_which_the_servos_came_to_rest_a_stream_goes_on_from_rest():
    # At 0.48 rad/s (0.0096 a period) the goals end; 0.0016 and 0.0032 are steps from rest.
    for pause, steps, violations in (
        (3, [0.0016, 0.0032], {}),
        (3, [0.0016, 0.0033], {"goal acceleration": 1}),
        (2, [0.0016], {"goal acceleration": 1}),
    ):
        goals = waist_goals([*SPEED_UP[:6], *steps])
        judge = ServoJudge(LIMITS, T_S)
        for period, goal in enumerate(goals):
            at_s = T_S * (period + (pause - 1 if period > 6 else 0))
            told(
                judge,
                at_s,
                goal,
                goal if period == 0 else HERE,
                STILL if period == 0 else np.ones(6),
            )
        assert judge.violations == violations


def test_a_joint_without_torque_ignores_how_its_goal_moves():
    for torque, violations in (
        ([False, *[True] * 5], {}),
        ([True, False, *[True] * 4], JUMPED),
    ):
        judge = jumps(HERE, torque=torque)
        assert (judge.restarts, judge.violations) == (1, violations)


def test_the_first_goal_must_be_where_the_arm_is():
    judge = told(ServoJudge(LIMITS, T_S), 0.0, arm.READY_RAD + 0.1, arm.READY_RAD)
    assert judge.violations == {"goal velocity": 1}


def test_positions_are_judged_to_the_last_bit_of_the_wire():
    pose = arm.READY_RAD.copy()
    for over_rad, count in ((0.5 * WIRE_RAD, 0), (1e-6, 1)):
        pose[5] = LIMITS.high_rad[5] + over_rad
        assert judged(pose[None]).violations["goal position"] == count


def test_each_violation_is_told_with_its_time_joints_and_size():
    judge = judged(waist_goals([0.0017, 0.0017, 0.0201]))
    (first, second, third) = judge.tally.events
    assert first == (T_S, "goal acceleration", "waist 106%")
    assert second == (3 * T_S, "goal velocity", "waist 100%")
    assert third.detail == "waist 1150%"


def test_what_is_no_number_is_counted_and_moves_nothing():
    judge = judged(np.array([arm.READY_RAD, np.full(6, np.nan), arm.READY_RAD]))
    assert judge.violations == {"goal not finite": 1}


# 0.25 sin(waist) = 0.05 m at 0.2014 rad.
OUT = waist_goals([0.001] * 20, start_rad=0.19)


def test_goals_outside_the_box_are_counted():
    assert judged(OUT, box(0.05)).violations == {"goal workspace": 9}


def test_an_arm_that_creeps_out_of_the_box_is_no_stream_that_begins_outside():
    judge = ServoJudge(box(0.05), T_S)
    for period, goal in enumerate(OUT):
        # At 0.05 rad/s it follows so closely that each goal is a first step from where it is.
        told(judge, period * T_S, goal, OUT[max(0, period - 1)], np.full(6, 0.05))
    judge.finish()
    assert judge.violations == {"goal workspace": 9}


def test_an_arm_found_outside_may_go_back_but_not_out_again():
    back_and_out = np.concatenate([OUT[::-1], OUT])
    judge = judged(back_and_out, box(0.05))
    assert judge.violations == {"goal workspace": 9}
    assert judged(OUT[::-1], box(0.05)).violations == {}


def test_goals_under_the_table_clearance_are_counted():
    goals = np.tile(arm.READY_RAD, (20, 1))
    goals[:, 1] += 0.001 * np.arange(20)
    lowest_m = np.array([kinematics.link_points(q)[:, 2].min() for q in goals])
    limits = replace(LIMITS, table_clearance_m=float(lowest_m[[12, 13]].mean()))
    assert judged(goals, limits).violations == {"goal table": 7}


def ticked(waist_rad, arm_waist_rad=None, powered=True, limits=LIMITS, goals_at=range(1, 30)):
    """Return the judge after one reference and one arm pose every 10 ms, from period 10 on."""
    judge = ServoJudge(limits, T_S)
    told(judge, 0.0, arm.READY_RAD, arm.READY_RAD)
    goals_at = list(goals_at)
    for tick, waist in enumerate(waist_rad):
        now_s = 10 * T_S + tick * T_S / 2
        while goals_at and goals_at[0] * T_S <= now_s:
            told(judge, goals_at.pop(0) * T_S, arm.READY_RAD, arm.READY_RAD)
        reference, present = arm.READY_RAD.copy(), arm.READY_RAD.copy()
        reference[0] = waist
        present[0] = waist if arm_waist_rad is None else arm_waist_rad[tick]
        judge.tick(
            now_s, reference, present, powered if powered in (True, False) else powered[tick]
        )
    judge.finish()
    return judge


RAMP = 0.0133 * np.arange(8)


def test_a_reference_a_third_too_fast_is_counted():
    # Windows of two times 20 ms fit four times into eight ticks.
    assert ticked(RAMP).violations == {"reference velocity": 4}
    assert ticked(0.0102 * np.arange(8)).violations == {}


def test_what_a_servo_makes_of_lost_goals_is_counted_apart():
    # Goal 8 is the last before goal 11, which comes with the third tick.
    judge = ticked(RAMP, goals_at=[*range(1, 9), *range(11, 20)])
    assert judge.violations == {}
    assert judge.apart == {"reference velocity, lost goals": 4}


@pytest.mark.parametrize("start_s", [0.0, 333.34, 1000.0, 4321.98])
def test_the_stop_after_the_last_goal_is_of_lost_goals_at_any_time(start_s):
    judge = ServoJudge(LIMITS, T_S)
    told(judge, start_s, arm.READY_RAD, arm.READY_RAD)
    for tick in range(20, 61):
        # 1 rad/s until the profile of the goal of tick 40 ends, 25 ms later.
        pose = arm.READY_RAD + np.array([0.01 * min(tick, 42.5), 0, 0, 0, 0, 0])
        judge.tick(start_s + tick * T_S / 2, pose, arm.READY_RAD, True)
        if tick % 2 == 0 and tick <= 40:
            judge.goal(start_s + tick * T_S / 2, arm.READY_RAD, STILL)
    judge.finish()
    assert (judge.violations, set(judge.apart)) == ({}, {"reference acceleration, lost goals"})


def test_a_servo_that_gets_its_torque_back_is_counted_apart():
    judge = ticked(RAMP, powered=[False, *[True] * 7])
    assert judge.violations == {}
    # The first window of five ticks with torque is the second.
    assert judge.apart == {"reference velocity, torque back": 3}


def test_the_step_of_a_new_stream_to_where_the_arm_stands_is_no_motion():
    assert ticked(RAMP, goals_at=[]).apart.total() == 4
    judge = ServoJudge(LIMITS, T_S)
    for tick in range(40):
        now_s = tick * T_S / 2
        waist = 0.0 if tick < 20 else 0.04
        pose = arm.READY_RAD + np.array([waist, 0, 0, 0, 0, 0])
        if tick % 2 == 0:
            told(judge, now_s, pose.astype(np.float32), pose)
        judge.tick(now_s, pose, arm.READY_RAD, True)
    judge.finish()
    assert (judge.restarts, judge.violations, judge.apart) == (2, {}, {})


def test_what_servos_make_of_two_commanders_is_counted_apart():
    judge = ticked(np.zeros(8))
    for tick, waist in enumerate(RAMP):
        judge.rival(1.0 + tick * T_S / 2)
        judge.goal(1.0 + tick * T_S / 2, arm.READY_RAD, STILL)
        pose = arm.READY_RAD + np.array([waist, 0, 0, 0, 0, 0])
        judge.tick(1.0 + tick * T_S / 2, pose, arm.READY_RAD, True)
    judge.finish()
    assert judge.violations == {}
    assert judge.apart["reference velocity, second commander"] >= 4


@pytest.mark.parametrize("away_rad", [0.3, 2.9])
def test_how_a_servo_comes_back_from_a_second_commander_is_counted_apart(away_rad):
    judge, servo = ServoJudge(LIMITS, T_S), Servo(-3.0, 3.0, "position", "time")
    servo.registers.update(Profile_Velocity=25, Profile_Acceleration=10)
    for tick in range(140):
        now_s = tick * T_S / 2
        if tick % 2 == 0:
            told(judge, now_s, arm.READY_RAD, arm.READY_RAD)
            servo.command(0.0, now_s)
            if 50 <= tick <= 60:
                judge.rival(now_s)
                servo.command(away_rad, now_s)
        servo.advance(now_s + T_S / 2, T_S / 2)
        judge.tick(now_s, arm.READY_RAD + servo.position * WAIST, arm.READY_RAD, True)
    judge.finish()
    assert judge.apart["reference acceleration, second commander"] > 0
    assert judge.violations == {}


def test_a_reference_that_turns_too_suddenly_is_counted():
    # 0.0025 rad over two windows of 0.02 s are 6.25 rad/s^2.
    judge = ticked([0.0, 0.0, 0.0, 0.00125, 0.0025, 0.00375, 0.005])
    assert judge.violations == {"reference acceleration": 1}
    assert judge.peaks["reference acceleration"] == pytest.approx(6.25 / 4.0)


def test_a_servo_that_gets_its_torque_back_sets_out_from_outside():
    # 0.25 sin(0.22) is 4.6 mm outside; ticks 1 to 15 are 7 periods.
    back = [False, *[True] * 40]
    assert ticked(np.full(15, 0.22), powered=back, limits=box(0.05)).violations == {}
    late = ticked(np.full(18, 0.22), powered=back, limits=box(0.05)).violations
    assert late == {"reference workspace": 2}
    # Until a goal comes, nobody has sent it anywhere.
    unsent = ticked(np.full(18, 0.22), powered=back, limits=box(0.05), goals_at=range(1, 10))
    assert unsent.violations == {}


def test_a_reference_comes_in_after_its_goals():
    """Goals come in from 0.2016 rad; the reference is behind by the 25 ms of its profile."""
    judge = ServoJudge(box(0.05), T_S)
    for tick in range(40):
        now_s = tick * T_S / 2
        waist = max(0.19, 0.25 - 0.004 * max(0, tick - 20))
        behind = max(0.19, 0.25 - 0.004 * max(0, tick - 22.5))
        pose, reference = (arm.READY_RAD + angle * WAIST for angle in (waist, behind))
        if tick % 2 == 0:
            told(judge, now_s, pose.astype(np.float32), pose, STILL if tick == 0 else np.ones(6))
        judge.tick(now_s, reference, arm.READY_RAD, True)
    judge.finish()
    assert judge.violations["reference workspace"] == 0


def test_what_moves_without_torque_is_nobodys_command():
    ramp = 0.1 * np.arange(8)
    assert ticked(np.zeros(8), ramp).violations == {"arm velocity": 4}
    assert ticked(np.zeros(8), ramp, powered=False).violations == {}


def test_an_arm_far_outside_the_box_is_counted():
    # 0.25 sin(0.4) = 0.097 m, 47 mm out; 30 mm are for bending.
    judge = ticked(np.zeros(8), np.full(8, 0.4), limits=box(0.05))
    assert judge.violations == {"arm workspace": 4}
    assert ticked(np.zeros(8), np.full(8, 0.3), limits=box(0.05)).violations == {}


LIMP_WAIST = [False, *[True] * 5]


def sunk(*waists_and_rolls, torque=LIMP_WAIST, kept=None):
    """Return the judge after goals with the waist and the wrist so far round.

    The arm moves too fast for a new start; the box ends at a waist of 0.2014 rad.
    """
    judge = kept or ServoJudge(box(0.05), T_S)
    for waist, roll in waists_and_rolls:
        pose = (arm.READY_RAD + np.array([waist, 0, 0, 0, 0, roll])).astype(np.float32)
        speed = np.ones(6) if judge.goals else STILL
        told(judge, judge.goals * T_S, pose, pose, speed, torque)
    judge.finish()
    return judge


def test_where_a_limp_joint_has_sunk_to_is_counted_apart_and_allowed_on_the_way_back():
    judge = sunk((0.0, 0.0), (0.4, 0.0))
    assert (judge.violations, judge.apart) == ({}, {"goal workspace, limp joint": 1})
    judge = sunk((0.4, 0.0), (0.3995, 0.0), (0.4, 0.0), torque=[True] * 6, kept=judge)
    assert judge.violations == {}
    judge = sunk((0.0, 0.0), (0.4, 0.0), torque=[True] * 6)
    assert judge.violations["goal workspace"] == 1


def test_a_goal_outside_that_speeds_another_joint_up_is_no_limp_joints_doing():
    judge = sunk((0.0, 0.0), (0.4, 0.001))
    assert (judge.violations, judge.apart) == ({"goal workspace": 1}, {})
    # The wrist was at 0.05 rad/s, within its acceleration, and goes on, or brakes.
    judge = sunk((0.0, 0.0), (0.0, 0.001), (0.4, 0.002))
    assert (judge.violations, judge.apart) == ({}, {"goal workspace, limp joint": 1})


def test_where_joints_with_torque_are_sent_to_where_they_stand_a_limp_one_may_be_anywhere():
    for present_roll, counts in ((0.001, 0), (0.0, 0), (0.01, 1)):
        judge = ServoJudge(box(0.05), T_S)
        poses = [
            arm.READY_RAD + waist * WAIST + roll * ROLL for waist, roll in ((0, 0), (0.4, 0.001))
        ]
        told(judge, 0.0, poses[0].astype(np.float32), poses[0])
        present = arm.READY_RAD + 0.4 * WAIST + present_roll * ROLL
        for period in range(1, 9):
            told(judge, period * T_S, poses[0].astype(np.float32), present, STILL, LIMP_WAIST)
        told(judge, 9 * T_S, poses[1].astype(np.float32), present, STILL, LIMP_WAIST)
        assert judge.violations["goal workspace"] == counts


def test_the_speed_of_a_limp_joint_is_no_reason_against_a_new_start():
    there = THERE + np.array([0, 0, 0, 0, 0, 0.04])
    for torque, restarts in ((LIMP_WAIST, 2), ([True] * 6, 1)):
        judge = told(ServoJudge(LIMITS, T_S), 0.0, HERE, HERE)
        told(judge, T_S, there, there, np.array([1.0, 0, 0, 0, 0, 0]), torque)
        assert judge.restarts == restarts
