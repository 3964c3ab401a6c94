"""A person teaches, by a gamepad or by hand: the mission of demo_node's teachers with hands.

What they say of recordings, by whatever means, is `nodes/teleop_words.py`'s.
"""

import time
from collections.abc import Callable
from functools import partial

from vla_ros.core import arm as facts
from vla_ros.core.teleop import Gamepad, TeleopParameters
from vla_ros.core.teleop_takes import Takes
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.diagnostics import OK, WARN
from vla_ros.nodes.episodes import RecordingCutError, Steps
from vla_ros.nodes.teleop_guide import HandGuide
from vla_ros.nodes.teleop_joy import JoyDriver, JoyTopic
from vla_ros.nodes.teleop_parameters import JoyParameters
from vla_ros.nodes.teleop_words import Answer, TakeWords

# How long the driver may take to switch the torque on at the end; less where a signal ends it [s].
_HOLD_S, _HOLD_AT_STOP_S = 6.0, 2.0
# How often the servos of a waiting arm are asked how they are [s, wall].
_SERVO_LOOK_S = 5.0
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
        """Record until enough was kept or the person has finished, then put the arm to rest."""
        node, takes, number = self._node, self._takes, 0
        if takes.state in ("running", "ending"):
            takes.lost()  # by a deactivation
        node.acting = self._joy is not None
        while not takes.done:
            if takes.state == "idle":
                self._wait_for_a_word()
                yield
                continue
            try:
                yield from self._take(f"demo-{number:05d}")
            except RecordingCutError as error:
                takes.lost()
                node.get_logger().error(str(error))
            number += 1
            if self._joy is not None and node.scene_can_reset and not takes.done:
                yield from node.reset_scene()
        self._report(takes.summary)
        if self._joy is None:
            yield from self._guide.take_hold(_HOLD_S)
        elif node.parameters.park:
            yield from self._park()

    def tick(self) -> None:
        """Set the arm's target; called before each command."""
        if self._joy is not None:
            self._joy.tick()

    def end_first(self) -> Steps:
        """Do what has to be done before the node ends in the middle of things."""
        if self._guide is not None:
            yield from self._guide.take_hold(_HOLD_AT_STOP_S)

    def _wait_for_a_word(self) -> None:
        self._node.phase = f"waiting for the person to start a recording: {self._takes.summary}"
        # Each question delays the joint states: none while the person drives.
        now_s = time.monotonic()
        if now_s > self._look_s and not (self._joy is not None and self._joy.drives):
            self._look_s = now_s + _SERVO_LOOK_S
            self._node.arm.check_hardware()

    def _take(self, episode_id: str) -> Steps:
        node, takes = self._node, self._takes
        yield from node.until_free()
        yield from node.episodes.begin(episode_id, self._task)
        takes.began()
        self._report(f"{episode_id}: recording")
        node.phase = f"recording {episode_id}: {takes.summary}"
        while takes.state == "running":
            if node.arm.stopped:
                takes.cut(f"stopped: {node.arm.blocked_reason}")
            node.episodes.check()
            yield
        end = takes.end
        yield from node.episodes.end(end.success, end.reason)
        takes.over()
        self._report(f"{episode_id}: {end.reason}; {takes.summary}")

    def _park(self) -> Steps:
        """Go to the sleep pose, for as long as the person holds the dead-man button."""
        self._node.phase = "waiting for the dead-man button, to park the arm while it is held"
        self._joy.lead([facts.READY_RAD, facts.SLEEP_RAD])
        self._report(
            "press the dead-man button anew and hold it: the arm goes to its sleep pose; nudge a "
            "stick every few seconds, or press anew"
        )
        while self._joy.route:
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
