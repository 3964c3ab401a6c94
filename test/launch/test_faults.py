"""Every fault that the simulator can be given, in one running play graph, watched on the wire.

First the explorer is in command, then a policy, whose answers come from a server in this process.
The order of what happens is asserted, never times; the times are printed (pytest -rP shows them).
"""

import signal
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from play_graph import CALM, LIMIT_S, Circling, Play, Wire  # noqa: E402
from policy_servers import served  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402


@pytest.fixture(scope="module")
def play(module_graph):
    play = Play(module_graph)
    yield play
    # Where a test failed, this says why.
    if play.commander.poll() is None:
        play.commander.send_signal(signal.SIGINT)
        print(play.commander.communicate(timeout=LIMIT_S)[0])


@pytest.fixture(scope="module")
def wire(module_graph, play):
    wire = Wire(module_graph.domain)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def server():
    with served(Circling()) as address:
        yield address


@pytest.mark.parametrize(
    "fault",
    [
        "read_minus_pi@1.5",
        "frozen_joints@1.5",
        "frozen_joints@1.5:silent",
        "delay@1.5:0.5",
        "clock_jump@1.5:-5",
    ],
)
def test_the_arm_holds_while_its_joint_states_are_bad_and_plays_on_after(wire, fault):
    holds_and_goes_on(wire, fault)


def holds_and_goes_on(wire, fault):
    wire.until_play()
    told_s = wire.inject(fault)
    wire.until(lambda: wire.rested(told_s), "rest")
    assert wire.braked(told_s), "it only fell silent"
    wire.report(fault, told_s)
    wire.until_over()
    assert wire.rested(told_s, wire.faults[-1][0]), "the fault was over before the arm held"
    wire.until_play()


def test_lost_commands_do_not_stop_play(wire):
    follows_on(wire)


def follows_on(wire):
    wire.until_play()
    told_s = wire.inject("drop_commands@1.5:0.5")
    wire.until_over()
    over_s = wire.until_play()
    assert not wire.stop["stopped"]
    during = [q for at_s, q in wire.commands if told_s < at_s < over_s]
    assert np.abs(during[-1] - wire.joints).max() < 0.15


def test_a_stop_in_motion_brakes_at_once_and_only_a_reset_lets_the_arm_go_on(wire):
    wire.until_play()
    told_s = time.monotonic()
    wire.estop.publish(Bool(data=True))
    wire.until(lambda: wire.rests(told_s), "rest")
    assert wire.braked(told_s), "it only fell silent"
    wire.report("e-stop", told_s)
    assert wire.stop["stopped"]
    wire.estop.publish(Bool(data=False))
    told_s = time.monotonic()
    wire.until(lambda: wire.rests(told_s), "rest")
    assert wire.stop["stopped"], "a message with false is no reset"
    wire.call(Trigger, qos.RESET_STOP_SERVICE)
    wire.until(lambda: not wire.stop["stopped"], "a reset")
    wire.until_play()


def test_an_arm_that_is_blocked_gives_way_and_tries_again(wire):
    gives_way(wire)


def gives_way(wire):
    wire.until_play()
    told_s = wire.inject("stall@1.5:shoulder")
    wire.until(lambda: wire.rested(told_s), "rest")
    wire.report("stall", told_s)
    wire.until_over()
    wire.until_play()


@pytest.mark.parametrize("fault", ["servo_error@1.5:waist", "torque_lost@1.5:waist"])
def test_a_joint_without_torque_stops_the_arm_until_a_person_has_seen_to_it(wire, fault):
    stops_until_reset(wire, fault)
    wire.until_play()


def stops_until_reset(wire, fault):
    wire.until_play()
    told_s = wire.inject(fault)
    wire.until(lambda: wire.stop["stopped"], "a latched stop")
    wire.until(lambda: wire.rests(told_s), "rest")
    wire.report(fault, told_s)
    wire.until_over()
    assert "waist" in wire.stop["reason"]
    wire.help_up()


def test_an_arm_that_is_blocked_for_long_gives_way_each_time_and_holds_at_the_next_fault_too(wire):
    wire.until_play()
    told_s = wire.inject("stall@3:shoulder")
    wire.until_over()
    assert wire.rested(told_s, wire.faults[-1][0])
    # Longer than the 2 s after which the servo would drop out, had it been pushed all the while.
    wire.until_play()
    assert not wire.stop["stopped"], wire.stop
    holds_and_goes_on(wire, "read_nan@1.5")


def test_a_second_arm_in_the_same_domain_refuses_to_start_and_play_goes_on(wire, play):
    # 8 s: by then the first no longer looks for others, and is the one that stays.
    wire.until(lambda: wire.joint_states > 800, "8 s of joint states")
    code, output = play.graph.run(*play.graph.node("sim", "-p", "seed:=1"))
    assert code == 1
    said = [line for line in output.splitlines() if line.startswith("sim_node: ")]
    assert len(said) == 1, output
    assert "another arm or sim runs here" in said[0]
    assert "Traceback" not in output
    assert play.sim.poll() is None
    wire.until_play()
    assert not wire.stop["stopped"]


def test_without_pictures_the_segment_is_cut_and_play_goes_on_in_a_new_one(wire):
    wire.until_play()
    saved = len(wire.recorded("saved"))
    wire.inject("no_camera@3")
    wire.until(lambda: len(wire.recorded("saved", "failed")) > saved, "the cut segment's bag")
    assert wire.recorded("saved", "failed")[-1]["state"] == "saved"
    wire.until_over()
    wire.until(lambda: wire.recordings[-1]["state"] == "recording", "a new segment")
    wire.until_play()


def in_command(wire, play, name, *parameters):
    """Have explorer or policy in command, in motion and recorded."""
    if play.name == name and play.commander.poll() is None:
        return
    if play.commander.poll() is None:  # the tests before were left out
        play.commander.send_signal(signal.SIGINT)
        play.commander.communicate(timeout=LIMIT_S)
    segments = len(wire.recorded("recording"))
    play.start(name, *parameters)
    wire.until(lambda: len(wire.recorded("recording")) > segments, "a recording")
    wire.until_play()


def kill_commander(wire, play):
    wire.until_play()
    play.commander.send_signal(signal.SIGKILL)
    play.commander.wait(LIMIT_S)
    told_s = time.monotonic()
    wire.until(lambda: wire.rests(told_s), "rest")
    last = wire.commands[-1][1]
    wire.until(lambda: np.abs(wire.joints - last).max() < 0.1, "the arm at its last command")


def test_when_the_explorer_is_killed_the_arm_rests_at_its_last_command_and_the_bag_is_saved(
    wire, play
):
    saved = len(wire.recorded("saved"))
    kill_commander(wire, play)
    wire.until(lambda: len(wire.recorded("saved")) > saved, "the cut segment's bag")
    assert wire.recorded("saved")[-1]["detail"] == "the node that moves the arm is gone"


# --- a policy in command ---


@pytest.fixture(scope="module")
def policy(wire, play, server):
    """Have a policy in command from here on."""
    words = (f"checkpoint:={server}", "task:=go round", "episodes:=0", "episode_s:=600.0")
    in_command(wire, play, "policy", *words)


@pytest.mark.parametrize(
    "fault", ["read_nan@1.5", "frozen_joints@1.5", "delay@1.5:0.5", "clock_jump@1.5:-5"]
)
def test_a_policy_holds_while_joint_states_are_bad_and_goes_on_in_the_same_episode(
    wire, policy, fault
):
    begun = len(wire.recordings)
    holds_and_goes_on(wire, fault)
    assert wire.recordings[begun:] == []


def test_lost_commands_do_not_stop_a_policy(wire, policy):
    follows_on(wire)


def test_a_policy_that_blocks_the_arm_gives_way_and_goes_on(wire, policy):
    begun = len(wire.recordings)
    gives_way(wire)
    assert wire.recordings[begun:] == []


@pytest.mark.parametrize("fault", ["servo_error@1.5:waist", "torque_lost@1.5:waist"])
def test_a_joint_without_torque_ends_a_policys_episode_and_the_next_one_waits_for_a_person(
    wire, policy, fault
):
    saved, begun = len(wire.recorded("saved")), len(wire.recorded("recording"))
    stops_until_reset(wire, fault)
    wire.until(lambda: len(wire.recorded("saved")) > saved, "the episode's bag")
    wire.until(lambda: len(wire.recorded("recording")) > begun, "the next episode")
    wire.until_play()


def test_when_a_policy_is_killed_the_arm_rests_and_who_comes_next_begins_anew(wire, play, policy):
    saved = len(wire.recorded("saved"))
    kill_commander(wire, play)
    # At once: the recorder still takes the killed one for alive.
    in_command(wire, play, "explorer", *CALM)
    assert len(wire.recorded("saved")) > saved


# --- what ends play, by its other processes ---


def test_when_the_recorder_is_killed_the_explorer_comes_to_rest_and_ends_with_a_sentence(
    wire, play
):
    in_command(wire, play, "explorer", *CALM)
    play.recorder.send_signal(signal.SIGKILL)
    play.recorder.wait(LIMIT_S)
    sentence = play.end()
    assert play.commander.returncode == 1
    assert "the recorder is gone" in sentence
    wire.until(lambda: np.abs(wire.joints - arm.SLEEP_RAD).max() < 0.1, "a parked arm")


def test_when_the_driver_is_killed_the_explorer_holds_and_ends_with_a_sentence(wire, play):
    play.start("explorer", *CALM, "record:=false", "safety.lost_s:=3.0")
    wire.until_play()
    told_s = time.monotonic()
    play.sim.send_signal(signal.SIGKILL)
    wire.until(lambda: wire.rests(told_s), "rest")
    wire.report("driver killed", told_s)
    sentence = play.end()
    assert play.commander.returncode == 1
    assert wire.braked(told_s), "it only fell silent"
    assert "the driver or its cable is gone" in sentence
