"""A person teaches, by a gamepad or by hand: the mission of demo_node's teachers with hands.

What they say of recordings, by whatever means, is `nodes/teleop_words.py`'s.
"""

import time
from collections.abc import Callable
from functools import partial

from vla_ros.core import arm as facts
from vla_ros.core.duty import Reminder
from vla_ros.core.errors import VlaError
from vla_ros.core.teleop import Gamepad, TeleopParameters
from vla_ros.core.teleop_takes import Takes
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.diagnostics import OK, WARN
from vla_ros.nodes.episodes import RecordingCutError, Steps
from vla_ros.nodes.mission import why_cut
from vla_ros.nodes.teleop_guide import HandGuide
from vla_ros.nodes.teleop_joy import JoyDriver, JoyTopic
from vla_ros.nodes.teleop_parameters import JoyParameters
from vla_ros.nodes.teleop_words import Answer, TakeWords

# How long the driver may take to switch the torque on at the end; less where a signal ends it [s].
_HOLD_S, _HOLD_AT_STOP_S = 6.0, 2.0
# How often the servos of a waiting arm are asked how they are [s, wall].
_SERVO_LOOK_S = 5.0
# Same in a recording: each question leaves a gap in its joint states.
_SERVO_LOOK_RECORDED_S = 60.0
# A forgotten recording would fill the disk, and nobody would know: how often it is said [min].
_REMIND_MIN = 5.0
_MOTION_WORDS = ("gripper", "frame")


class Teaching:
    """Records what a person shows, until enough was kept.

    Args:
        node: demo_node, configured.
        task: the instruction.
        wanted: demonstrations to keep.
        drives: whether the person drives by the pad; else leads the arm by hand.
        joy: which pad.
        motion: how it moves the arm.
        keys: whether to read the terminal's keys.
    """

    def __init__(
        self,
        node: CommanderNode,
        task: str,
        wanted: int,
        drives: bool,
        joy: JoyParameters,
        motion: TeleopParameters,
        keys: bool,
    ):
        self._node, self._task = node, task
        self._takes = Takes(wanted)
        controls = joy.controls()
        self._pad = Gamepad(controls if drives else controls.without_motion(), motion)
        JoyTopic(node, joy.topic, self._pad, self._on_press, drives)
        self._joy = self._guide = None
        if drives:
            limits = node.limits
            self._joy = JoyDriver(node, node.arm, self._pad, limits, motion, joy.start_frame)
        else:
            self._guide = HandGuide(node, node.arm)
        more_keys = {} if self._guide is None else _torque_keys(self._guide)
        self._words = TakeWords(node, self._takes, keys, more_keys)
        self._look_s = 0.0

    # --- the mission ---

    def mission(self) -> Steps:
        """Record until enough was kept or the person has finished, then put the arm to rest.

        Raises:
            VlaError: recording failed; the arm was put to rest first.
        """
        node = self._node
        node.acting = self._joy is not None
        try:
            yield from self._record()
        except VlaError as error:
            node.exit_sentence = str(error)
            self._takes.give_up()
            node.get_logger().error(f"nothing more is recorded, because {error}")
            node.episodes.abandon(str(error))
            yield from self._put_to_rest()
            raise
        self._report(self._takes.summary)
        yield from self._put_to_rest()

    def tick(self) -> None:
        """Set the arm's target; called before each command."""
        if self._joy is not None:
            self._joy.tick()

    def end_first(self) -> Steps:
        """Do what has to be done before the node ends in the middle of things."""
        if self._guide is not None:
            yield from self._guide.take_hold(_HOLD_AT_STOP_S)

    def deactivate(self) -> None:
        """Forget what was recorded or asked for; the node ends its episode.

        Raises:
            SafetyError: the arm is in the person's hands.
        """
        if self._guide is not None:
            self._guide.require_held()
        takes = self._takes
        if takes.state == "ending" and not self._node.episodes.running:
            takes.over()  # its end was said
        if takes.state != "idle":
            self._node.get_logger().warning(f"a take that is {takes.state} is given up")
            takes.lost()

    def _record(self) -> Steps:
        node, takes, number = self._node, self._takes, 0
        while not takes.done:
            if takes.state == "idle":
                node.phase = f"waiting for the person to start a recording: {takes.summary}"
                self._look_at_servos(_SERVO_LOOK_S)
                yield
                continue
            episode_id, number = f"demo-{number:05d}", number + 1
            try:
                yield from self._begin(episode_id)
                if takes.state == "idle":
                    continue  # the start was taken back
                yield from self._take(episode_id)
            except RecordingCutError as error:
                takes.lost()
                node.get_logger().error(str(error))
            if self._joy is not None and node.scene_can_reset and not takes.done:
                yield from node.reset_scene()

    def _look_at_servos(self, every_s: float) -> None:
        # Each question delays the joint states: none while the person drives.
        now_s = time.monotonic()
        if now_s - self._look_s < every_s or (self._joy is not None and self._joy.drives):
            return
        if self._node.arm.check_hardware():
            self._look_s = now_s

    def _begin(self, episode_id: str) -> Steps:
        """Start the recording, unless the person takes the start back, or the arm is stopped."""
        node, takes = self._node, self._takes
        node.phase = f"starting to record {episode_id}"
        steps = self._begin_steps(episode_id)
        while takes.state == "asked for":
            if cut := why_cut(node.arm):
                takes.cut("")
                self._report(f"no recording begins: {cut}")
                break
            try:
                next(steps)
            except StopIteration:
                takes.began(node.now_ns * 1e-9)
                return
            yield
        steps.close()
        # Of no demonstration there is nothing to keep; the recorder may not have answered yet.
        node.episodes.abandon("discard")

    def _begin_steps(self, episode_id: str) -> Steps:
        yield from self._node.ask_servos()
        yield from self._node.episodes.begin(episode_id, self._task)

    def _take(self, episode_id: str) -> Steps:
        node, takes = self._node, self._takes
        self._report(f"{episode_id}: recording")
        node.phase = f"recording {episode_id}: {takes.summary}"
        forgotten = Reminder(_REMIND_MIN)
        forgotten.attended(node.now_ns)
        while takes.state == "running":
            if cut := why_cut(node.arm):
                takes.cut(cut)
            node.episodes.check()
            takes.saw(*node.arm.commanded)
            if forgotten.due(node.now_ns):
                forgotten.attended(node.now_ns)
                self._report(f"{episode_id}: still recording; keep or discard it")
            self._look_at_servos(_SERVO_LOOK_RECORDED_S)
            yield
        end = takes.end
        yield from node.episodes.end(end.success, end.reason)
        takes.over()
        self._report(f"{episode_id}: {end.reason}; {takes.summary}")

    def _put_to_rest(self) -> Steps:
        if self._joy is None:
            yield from self._guide.take_hold(_HOLD_S)
        elif self._node.parameters.park:
            yield from self._park()

    def _park(self) -> Steps:
        """Go to the sleep pose, for as long as the person holds the dead-man button."""
        self._node.phase = "waiting for the dead-man button, to park the arm while it is held"
        self._joy.lead([facts.READY_RAD, facts.SLEEP_RAD])
        self._report(
            "press the dead-man button anew and hold it: the arm goes to its sleep pose; nudge a "
            "stick every few seconds, or press anew"
        )
        while self._joy.route:
            self._look_at_servos(_SERVO_LOOK_S)
            yield
        yield from self._node.settle()
        yield from self._node.release_arm()

    def _on_press(self, word: str) -> None:
        if word not in _MOTION_WORDS:
            self._words.press(word)
        elif self._joy is not None:
            self._joy.press(word)

    def _report(self, sentence: str) -> None:
        print(f"demo: {sentence}", flush=True)

    # --- life ---

    def say_status(self) -> None:
        """Put the teacher on /diagnostics."""
        takes, problem = self._takes, self._pad.problem if self._joy is not None else ""
        counts = {"kept": takes.kept, "failed": takes.failed, "discarded": takes.discarded}
        facts_said: dict = {"take": takes.state, **counts}
        if self._joy is not None:
            facts_said |= {"frame": self._joy.frame, "follows": self._joy.drives}
            facts_said |= {"hindered": self._joy.hindered}
        level, sentence = (WARN, problem) if problem else (OK, takes.summary)
        self._node.diagnostics.set("teacher", level, sentence, facts_said)

    def close(self) -> None:
        """Give the terminal back."""
        self._words.close()


def _torque_keys(guide: HandGuide) -> dict[str, Callable[[], Answer]]:
    """One key for limp and another for stiff: a held one, which repeats, never does both."""
    return {"t": partial(guide.switch, False), " ": partial(guide.switch, True)}
