"""What teaching is made of, each by itself: torque, the pad's driver, starts, keys; no graph."""

import logging
import os
import subprocess
import sys
import termios
import time

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from vla_ros.core import arm  # noqa: E402
from vla_ros.core.errors import EpisodeError, SafetyError  # noqa: E402
from vla_ros.core.safety import wx250s_limits  # noqa: E402
from vla_ros.core.teleop import Gamepad, TeleopParameters  # noqa: E402
from vla_ros.core.teleop_pad import PadChoice, pad_of  # noqa: E402
from vla_ros.core.teleop_takes import Confirmation, Takes  # noqa: E402
from vla_ros.nodes import arm_torque, teleop, teleop_guide  # noqa: E402
from vla_ros.nodes.episodes import RecordingCutError  # noqa: E402
from vla_ros.nodes.teleop_joy import JoyDriver  # noqa: E402
from vla_ros.nodes.teleop_keys import Keys  # noqa: E402

LIMIT_S = 30.0
DEAD_MAN = 4


class StillArm:
    """An arm at rest in the ready pose, that notes whether it was given a target."""

    blocked_reason = stop_reason = ""
    asks_servos, at_rest, stopped = False, True, False
    commanded = (arm.READY_RAD, 1.0)
    targets = 0

    def check_hardware(self):
        return False

    def hold(self):
        pass

    def set_target(self, *_):
        self.targets += 1


class SilentNode:
    """What of a node a pad's driver needs."""

    def get_logger(self):
        return logging.getLogger()


class LimpArm:
    """A raised arm without torque, of a driver that does not answer."""

    active = is_limp = True
    asks_torque = False
    measured = (arm.READY_RAD, 1.0)

    def set_torque(self, enable):
        self.asks_torque = True


def test_an_arm_is_not_said_to_hold_before_the_driver_has_answered():
    guide = object.__new__(teleop_guide.HandGuide)
    guide._arm, guide._confirmation = LimpArm(), Confirmation(1.5, 10.0)
    done, sentence = guide.switch(True)
    assert done
    assert "go on holding the arm until" in sentence
    done, sentence = guide.switch(False)
    assert not done
    assert "still asked for the last switch" in sentence
    with pytest.raises(SafetyError, match="ends with a limp arm, hold it"):
        list(guide.take_hold(-1.0))


@pytest.mark.parametrize(("active", "silent_s"), [(False, 0.0), (True, 0.6)])
def test_torque_is_not_switched_on_where_the_servos_may_have_an_old_goal(active, silent_s):
    class Measured:
        pose = (arm.READY_RAD, 1.0)

    torque = object.__new__(arm_torque.ArmTorque)
    torque._arm, torque._loop, asked = Measured(), LimpArm(), []
    torque._arm.silent_s, torque._ask = silent_s, lambda *words: asked.append(words)
    with pytest.raises(SafetyError, match="might leap to an old goal"):
        torque.switch(True, active)
    assert asked == []
    torque._arm.silent_s = 0.1
    torque.switch(True, True)
    assert len(asked) == 1


def test_the_way_to_the_cradle_begins_with_a_press_after_the_route_was_set():
    pad, still = Gamepad(pad_of(PadChoice("xbox")), TeleopParameters()), StillArm()
    driver = JoyDriver(SilentNode(), still, pad, wx250s_limits(), TeleopParameters(), "base")

    def hold(*buttons):
        pad.hear(time.monotonic(), 0, [0.0] * 8, [int(n in buttons) for n in range(11)])
        driver.tick()
        return driver.drives

    driver.tick()
    assert not hold()
    assert hold(DEAD_MAN)
    driver.lead([arm.SLEEP_RAD])
    count = still.targets
    assert not hold(DEAD_MAN)
    assert not hold(DEAD_MAN)
    assert still.targets == count
    assert not hold()
    assert hold(DEAD_MAN)
    assert still.targets == count + 1


class WaitingNode(SilentNode):
    """A node whose recorder does not answer, or answers with a failure."""

    def __init__(self):
        self.arm, self.episodes, self.abandoned = StillArm(), self, []
        self.fault, self.now_ns = "", 0

    def ask_servos(self):
        yield

    def begin(self, *_):
        while not self.fault:
            yield
        raise EpisodeError(self.fault)

    def abandon(self, reason):
        self.abandoned.append(reason)


def test_a_start_is_taken_back_while_the_recorder_is_waited_for_or_dropped_by_a_stop():
    teaching = object.__new__(teleop.Teaching)
    teaching._node, teaching._takes, teaching._task = WaitingNode(), Takes(1), "lift it"

    def begin():
        teaching._takes.say("start", 0.0)
        steps = teaching._begin("demo-00000")
        for _ in range(3):
            next(steps)
        return steps

    steps = begin()
    teaching._takes.say("discard", 0.0)
    assert (list(steps), teaching._takes.state) == ([], "idle")
    steps = begin()
    teaching._node.arm.stop_reason = "a person"
    assert (list(steps), teaching._takes.state) == ([], "idle")
    assert teaching._node.abandoned == ["discard", "discard"]


class RecordedNode(WaitingNode):
    """A node whose recorder records at once, until it cuts the recording."""

    def __init__(self):
        super().__init__()
        self.cut, self.ends = False, []

    def begin(self, *_):
        yield

    def check(self):
        if self.cut:
            raise RecordingCutError("the recorder ended it")

    def end(self, *how):
        self.ends.append(how)
        yield


def test_a_take_that_is_stopped_or_cut_is_nobodys_verdict_and_the_next_can_be_started():
    teaching = object.__new__(teleop.Teaching)
    node, takes = RecordedNode(), Takes(1)
    teaching._node, teaching._takes, teaching._task = node, takes, "lift it"
    teaching._joy, teaching._look_s = None, 0.0
    steps = teaching._record()

    def after(word=""):
        if word:
            takes.say(word, 0.0)
        return [next(steps) for _ in range(5)] and takes.state

    assert after("start") == "running"
    node.arm.stop_reason = "a person"
    assert (after(), node.ends) == ("idle", [(None, "stopped: a person")])
    node.arm.stop_reason = ""
    assert after("start") == "running"
    # Nobody has stopped it: it waits for its driver.
    node.arm.stopped, node.arm.blocked_reason = True, "the driver was silent: ..."
    assert (after(), node.ends[1:]) == ("idle", [(None, "the driver was silent: ...")])
    node.arm.stopped = False
    assert after("start") == "running"
    node.cut = True
    assert after() == "idle"
    node.cut = False
    assert after("start") == "running"
    assert takes.summary == "0 of 1 kept, 0 failed, 0 discarded"


def test_where_recording_fails_for_good_the_arm_is_held_before_the_node_ends():
    class Guide:
        holds = False

        def take_hold(self, limit_s):
            yield
            self.holds = True

    teaching = object.__new__(teleop.Teaching)
    teaching._node, teaching._takes, teaching._task = WaitingNode(), Takes(1), "lift it"
    teaching._joy, teaching._guide = None, Guide()
    teaching._takes.say("start", 0.0)
    steps = teaching.mission()
    next(steps)
    teaching._node.fault = "the recorder is gone"
    with pytest.raises(EpisodeError, match="the recorder is gone"):
        list(steps)
    assert teaching._guide.holds
    with pytest.raises(EpisodeError, match="nothing more to record"):
        teaching._takes.say("start", 0.0)
    assert teaching._node.exit_sentence == "the recorder is gone"


def test_a_forgotten_recording_is_said_again_and_again(capsys):
    teaching = object.__new__(teleop.Teaching)
    node, takes = RecordedNode(), Takes(1)
    teaching._node, teaching._takes, teaching._joy, teaching._look_s = node, takes, None, 0.0
    takes.began(0.0)
    steps = teaching._take("demo-00000")
    for minute in (0, 4, 5, 9, 10):
        node.now_ns = minute * 60 * 10**9
        next(steps)
    takes.say("discard", 600.0)
    assert next(steps) is None
    assert capsys.readouterr().out.count("demo-00000: still recording") == 2


def test_a_held_key_never_switches_the_torque_to_and_fro():
    class Guide:
        asked = ()

        def switch(self, enable):
            self.asked += (enable,)

    guide = Guide()
    keys = teleop._torque_keys(guide)
    for key in "ttt  ":
        keys[key]()
    assert guide.asked == (False, False, False, True, True)


CHILD = """
import os, sys, time
os.open(sys.argv[1], os.O_RDWR)  # of a session's leader: its terminal from here on
from vla_ros.nodes.teleop_keys import Keys
keys, got = Keys(), ""
sys.stdin.readline()
assert keys.read() == "", "typed before anybody asked"
print("ready", flush=True)
while "q" not in got:
    got += keys.read()
    time.sleep(0.01)
keys.close()
print(got)
"""


def test_keys_come_one_by_one_and_the_terminal_is_put_back():
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, os.ttyname(theirs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    os.write(ours, b"k\n")
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.stdout.readline() == "ready\n"
    assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO)
    os.write(ours, b"kdq")
    assert child.communicate(timeout=LIMIT_S)[0] == "kdq\n"
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_without_a_terminal_of_its_own_it_reads_no_keys():
    ours, theirs = os.openpty()
    before = termios.tcgetattr(theirs)
    os.write(ours, b"k\n")
    for path in ("/no/such/terminal", os.ttyname(theirs)):
        keys = Keys(path)
        assert keys.read() == ""
        keys.close()
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)
