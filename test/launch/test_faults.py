"""Every fault that the simulator can be given, in one running play graph, watched on the wire.

The order of what happens is asserted, never times; the times are printed (pytest -rP shows them).
"""

import bisect
import json
import signal
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from interbotix_xs_msgs.msg import JointGroupCommand  # noqa: E402
from interbotix_xs_msgs.srv import Reboot, TorqueEnable  # noqa: E402
from rclpy.experimental import EventsExecutor  # noqa: E402
from rclpy.task import Future  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402

ARM = "/wx250s"
LIMIT_S = 30.0
# Without motion for so long, the commands are at rest; in motion for so long, the arm plays [s].
REST_S = 0.4


# One segment for all tests, and as many blocks in a row as they make.
CALM = ("segment_s:=600.0", "blocked_limit:=100")


class Wire:
    """Hears what a play graph says, tells it of faults, and plays the person beside it."""

    def __init__(self, domain):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("wire", context=self.context)
        self.commands: list[tuple[float, np.ndarray]] = []
        self.faults: list[tuple[float, list[str]]] = []
        self.recordings: list[dict] = []
        self.stop = {"stopped": False, "reason": ""}
        self.joints, self.joint_states = np.zeros(6), 0
        hear = self.node.create_subscription
        hear(JointGroupCommand, f"{ARM}/commands/joint_group", self._on_command, 10)
        hear(JointState, f"{ARM}/joint_states", self._on_joints, 10)
        hear(String, qos.SIM_FAULT_STATE_TOPIC, self._on_faults, qos.LATCHED)
        hear(String, qos.RECORDING_TOPIC, self._on_recording, qos.LATCHED)
        hear(String, qos.STOP_STATE_TOPIC, self._on_stop, qos.LATCHED)
        self._fault = self.node.create_publisher(String, qos.SIM_FAULT_TOPIC, qos.EPISODE)
        self.estop = self.node.create_publisher(Bool, qos.ESTOP_TOPIC, qos.ESTOP)
        self._executor = EventsExecutor(context=self.context)
        self._executor.add_node(self.node)

    def _on_command(self, message):
        self.commands.append((time.monotonic(), np.array(message.cmd)))

    def _on_joints(self, message):
        self.joints = np.array(message.position[:6])
        self.joint_states += 1

    def _on_faults(self, message):
        self.faults.append((time.monotonic(), json.loads(message.data)["active"]))

    def _on_recording(self, message):
        self.recordings.append(json.loads(message.data))

    def _on_stop(self, message):
        self.stop = json.loads(message.data)

    def until(self, condition, what, limit_s=LIMIT_S):
        """Listen until a condition holds; `what` is said when it never does."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, f"never: {what}"
            self._executor.spin_until_future_complete(Future(), timeout_sec=0.02)

    def call(self, kind, service, **fields):
        client = self.node.create_client(kind, service)
        self.until(client.service_is_ready, service)
        future = client.call_async(kind.Request(**fields))
        self.until(future.done, f"an answer of {service}")
        return future.result()

    def steps(self, since_s):
        """Return how far each command since then moved a joint at most [rad]."""
        since_s = max(since_s, time.monotonic() - REST_S)
        first = bisect.bisect(self.commands, since_s, key=lambda command: command[0])
        recent = [q for _, q in self.commands[max(0, first - 1) :]]
        return self.all_steps(recent)

    def rests(self, since_s=0.0):
        """Tell whether no command moved the arm for a while; silence is rest for the servos."""
        return time.monotonic() - since_s > REST_S and not self.steps(since_s).any()

    def rested(self, since_s, until_s=np.inf):
        """Tell whether no command moved the arm for a while between two times, now if not over."""
        inside = [(at_s, q) for at_s, q in self.commands if since_s <= at_s <= until_s]
        moved = [at_s for (at_s, q), (_, p) in zip(inside[1:], inside, strict=False) if any(q != p)]
        ends = [since_s, *moved, min(until_s, time.monotonic())]
        return bool(np.diff(ends).max() > REST_S)

    def braked(self, since_s):
        """Tell whether the commands came to rest from a step that the limits allow to rest from.

        That is 4 rad/s^2 x (0.02 s)^2; play takes steps of 5 to 20 mrad. Silence may follow it.
        """
        steps = self.all_steps([q for at_s, q in self.commands if at_s > since_s - REST_S])
        moving = steps[steps > 0]
        return len(moving) > 1 and moving[-1] < 0.0017

    @staticmethod
    def all_steps(commands):
        return np.abs(np.diff(commands, axis=0)).max(axis=1) if len(commands) > 1 else np.zeros(0)

    def moves(self, since_s=0.0):
        steps = self.steps(since_s)
        return len(steps) >= REST_S * 25 and bool(np.all(steps > 1e-5))

    def until_play(self):
        """Wait for motion that is being recorded; return when it was seen."""
        now_s = time.monotonic()
        self.until(lambda: self.moves(now_s), "play in motion")
        return time.monotonic()

    def inject(self, text):
        """Give the arm a fault from now on; return when the simulator said that it is there."""
        heard = len(self.faults)
        self._fault.publish(String(data=text.replace("@", "@0:")))
        name = text.split("@")[0]
        self.until(
            lambda: any(name in one for _, active in self.faults[heard:] for one in active), text
        )
        return self.faults[heard][0]

    def until_over(self):
        self.until(lambda: not self.faults[-1][1], "the fault's end")

    def report(self, what, since_s):
        """Print how long after `since_s` the commands that end in the present rest began to brake.

        Braking takes 0.0016 rad a command off the fastest joint's steps; the last may take less.
        """
        steps = np.abs(np.diff([q for _, q in self.commands], axis=0)).max(axis=1)
        first = int(np.flatnonzero(steps)[-1])
        while first > 1 and steps[first - 1] - steps[first] > 0.0015:
            first -= 1
        begun_s = max(since_s, self.commands[first + 1][0])
        print(f"{what}: {1e3 * (begun_s - since_s):.0f} ms from fault to braking")

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


class Play:
    """The four processes of a play graph."""

    def __init__(self, graph):
        self.graph = graph
        node = graph.node
        self.sim = graph.start(*node("sim", "-p", "seed:=3", "-p", "state_rate_hz:=10.0"))
        self.camera = graph.start(
            *node("camera", "-p", "width:=64", "-p", "height:=64", "-p", "rate_hz:=10.0")
        )
        self.start_recorder()
        self.start_explorer()

    def start_recorder(self):
        self.recorder = self.graph.start(
            *self.graph.node("recorder", "-p", f"out:={self.graph.folder / 'bags'}")
        )

    def start_explorer(self, *parameters):
        words = [word for one in (*CALM, *parameters) for word in ("-p", one)]
        self.explorer = self.graph.start(*self.graph.node("explorer", *words))

    def end_of_explorer(self):
        """Return the explorer's last line, which it ended with."""
        output, _ = self.explorer.communicate(timeout=LIMIT_S)
        assert "Traceback" not in output, output
        print(output)
        return output.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def play(module_graph):
    play = Play(module_graph)
    yield play
    # Where a test failed, this says why.
    if play.explorer.poll() is None:
        play.explorer.send_signal(signal.SIGINT)
        print(play.explorer.communicate(timeout=LIMIT_S)[0])


@pytest.fixture(scope="module")
def wire(module_graph, play):
    wire = Wire(module_graph.domain)
    yield wire
    wire.close()


@pytest.mark.parametrize(
    "fault",
    [
        "read_minus_pi@2.5",
        "read_nan@2.5",
        "frozen_joints@2.5",
        "frozen_joints@2.5:silent",
        "delay@2.5:0.5",
        "clock_jump@2.5:-5",
    ],
)
def test_the_arm_holds_while_its_joint_states_are_bad_and_plays_on_after(wire, fault):
    wire.until_play()
    told_s = wire.inject(fault)
    wire.until(lambda: wire.rested(told_s), "rest")
    assert wire.braked(told_s), "it only fell silent"
    wire.report(fault, told_s)
    wire.until_over()
    assert wire.rested(told_s, wire.faults[-1][0]), "the fault was over before the arm held"
    wire.until_play()


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


def test_lost_commands_do_not_stop_play(wire):
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
    wire.until_play()
    told_s = wire.inject("stall@1.5:shoulder")
    wire.until(lambda: wire.rested(told_s), "rest")
    wire.report("stall", told_s)
    wire.until_over()
    wire.until_play()


@pytest.mark.parametrize("fault", ["servo_error@2:waist", "torque_lost@2:waist"])
def test_a_joint_without_torque_stops_the_arm_until_a_person_has_seen_to_it(wire, fault):
    wire.until_play()
    told_s = wire.inject(fault)
    wire.until(lambda: wire.stop["stopped"], "a latched stop")
    wire.until(lambda: wire.rests(told_s), "rest")
    wire.report(fault, told_s)
    wire.until_over()
    assert "waist" in wire.stop["reason"]
    help_up(wire)
    wire.until_play()


def test_an_arm_that_is_blocked_for_long_gives_way_each_time_and_holds_at_the_next_fault_too(wire):
    wire.until_play()
    told_s = wire.inject("stall@4:shoulder")
    wire.until_over()
    assert wire.rested(told_s, wire.faults[-1][0])
    # Longer than the 2 s after which the servo would drop out, had it been pushed all the while.
    wire.until_play()
    assert not wire.stop["stopped"], wire.stop
    told_s = wire.inject("read_nan@2.5")
    wire.until(lambda: wire.rested(told_s), "rest")
    wire.until_over()
    wire.until_play()


def help_up(wire):
    """Do what a person does: reboot servos in error, give them torque, and reset."""
    group = {"cmd_type": "group", "name": "arm", "enable": True}
    wire.call(Reboot, f"{ARM}/reboot_motors", smart_reboot=True, **group)
    wire.call(TorqueEnable, f"{ARM}/torque_enable", **group)
    wire.call(Trigger, qos.RESET_STOP_SERVICE)


def recorded(wire, *states):
    return [said for said in wire.recordings if said["state"] in states]


def test_without_pictures_the_segment_is_cut_and_play_goes_on_in_a_new_one(wire):
    wire.until_play()
    saved = len(recorded(wire, "saved"))
    wire.inject("no_camera@3")
    wire.until(lambda: len(recorded(wire, "saved", "failed")) > saved, "the cut segment's bag")
    assert recorded(wire, "saved", "failed")[-1]["state"] == "saved"
    wire.until_over()
    wire.until(lambda: wire.recordings[-1]["state"] == "recording", "a new segment")
    wire.until_play()


def restart(wire, play):
    """Start the explorer anew, until it plays and is recorded."""
    segments = len(recorded(wire, "recording"))
    play.start_explorer()
    wire.until(lambda: len(recorded(wire, "recording")) > segments, "a new segment")
    wire.until_play()


def test_when_the_explorer_is_killed_the_arm_rests_at_its_last_command_and_the_bag_is_saved(
    wire, play
):
    wire.until_play()
    saved = len(recorded(wire, "saved"))
    play.explorer.send_signal(signal.SIGKILL)
    play.explorer.wait(LIMIT_S)
    told_s = time.monotonic()
    wire.until(lambda: wire.rests(told_s), "rest")
    last = wire.commands[-1][1]
    wire.until(lambda: np.abs(wire.joints - last).max() < 0.1, "the arm at its last command")
    wire.until(lambda: len(recorded(wire, "saved")) > saved, "the cut segment's bag")
    assert recorded(wire, "saved")[-1]["detail"] == "the node that moves the arm is gone"
    restart(wire, play)


def test_when_the_recorder_is_killed_the_explorer_comes_to_rest_and_ends_with_a_sentence(
    wire, play
):
    wire.until_play()
    play.recorder.send_signal(signal.SIGKILL)
    play.recorder.wait(LIMIT_S)
    sentence = play.end_of_explorer()
    assert play.explorer.returncode == 1
    assert "the recorder is gone" in sentence
    wire.until(lambda: np.abs(wire.joints - arm.SLEEP_RAD).max() < 0.1, "a parked arm")
    play.start_recorder()
    restart(wire, play)


def test_a_second_commander_ends_play_with_a_sentence(wire, play):
    wire.until_play()
    rival = wire.node.create_publisher(JointGroupCommand, f"{ARM}/commands/joint_group", 1)
    try:
        sentence = play.end_of_explorer()
    finally:
        wire.node.destroy_publisher(rival)
    assert play.explorer.returncode == 1
    assert "other node(s) command the arm on /wx250s/commands/joint_group (/wire)" in sentence
    wire.until(lambda: wire.recordings[-1]["state"] == "saved", "its bag")


def test_when_the_driver_is_killed_the_explorer_holds_and_ends_with_a_sentence(wire, play):
    play.start_explorer("record:=false", "safety.lost_s:=3.0")
    wire.until_play()
    told_s = time.monotonic()
    play.sim.send_signal(signal.SIGKILL)
    wire.until(lambda: wire.rests(told_s), "rest")
    wire.report("driver killed", told_s)
    sentence = play.end_of_explorer()
    assert play.explorer.returncode == 1
    assert wire.braked(told_s), "it only fell silent"
    assert "the driver or its cable is gone" in sentence
