"""Torque on and off: by a person's wish anywhere, by itself only where the arm rests on itself."""

from collections.abc import Callable

import numpy as np
from interbotix_xs_msgs.srv import TorqueEnable

from vla_ros.core import arm
from vla_ros.core.command_loop import CommandLoop
from vla_ros.core.errors import SafetyError
from vla_ros.nodes.arm_stream import MeasuredArm
from vla_ros.nodes.driver_setup import call
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.question import Question

# Close enough to the sleep pose: of the command, and of the arm, which lies on its rest there.
_SLEEP_COMMANDED_RAD, _SLEEP_MEASURED_RAD = 0.01, 0.1
# How long the driver may take to answer for both [s, wall].
_PATIENCE_S = 5.0
# Torque comes back only where the arm was measured within so long [s, wall]: what the servos were
# last sent is that pose, and a hand leads the arm on.
_FRESH_S = 0.5


class ArmTorque:
    """Switches the torque of arm and gripper.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        loop: what commands the arm, and has to know.
        measured: where the arm is.
        unanswered: called with one sentence when nobody knows whether the arm has torque.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        loop: CommandLoop,
        measured: MeasuredArm,
        unanswered: Callable[[str], None],
    ):
        self._node, self._loop, self._arm = node, loop, measured
        self._unanswered = unanswered
        self._client = node.create_client(TorqueEnable, f"/{robot_name}/torque_enable")
        self._question = Question(node, self._give_up_asking)

    @property
    def is_asking(self) -> bool:
        """Whether the driver's answer is waited for."""
        return self._question.is_open

    def switch(self, enable: bool, active: bool) -> None:
        """Switch it by a person's wish, wherever the arm is; without it a person moves both.

        The person's hand is the command then: the measured pose is what the driver is sent, so that
        the arm stays there when the torque is back, and what `/vla/commanded` says. An arm that is
        not limp goes on being commanded while its torque is asked for.

        Args:
            enable: on or off.
            active: whether the arm is commanded.

        Raises:
            SafetyError: on, and the servos may have another goal than where the arm is: they would
                leap to it. Nothing was asked then.
        """
        if enable and not active:
            raise SafetyError(
                "the torque stays as it is: the arm is not active, and might leap to an old goal; "
                "go on holding it and activate the node, which makes it stiff where it is"
            )
        if enable and self._arm.silent_s > _FRESH_S:
            raise SafetyError(
                f"the torque stays as it is: no joint state for {self._arm.silent_s:.1f} s, and "
                "the arm might leap to an old goal; go on holding it, and look at the driver"
            )
        was_limp = self._loop.is_limp

        def resume() -> None:
            if enable:
                self._take_hold()
                if was_limp:
                    self._node.get_logger().warning("the arm holds: let it go slowly")

        if not enable:
            self._loop.let_go()
        self._ask(enable, resume)

    def release(self, active: bool, then: Callable[[], None]) -> None:
        """Switch it off where the arm rests on itself, then call `then`.

        Args:
            active: whether the arm is commanded.
            then: called when the driver has answered.

        Raises:
            SafetyError: the arm is not at rest in its sleep pose, stopped, or not believed.
        """
        loop = self._loop
        problem = loop.stop_reason or loop.verdict.sentence
        if not active:
            problem = "the arm is not active"
        elif not problem:
            problem = why_not_release(loop.commanded[0], self._arm.pose[0], loop.at_rest)
        if problem:
            raise SafetyError(f"the torque stays on: {problem}")
        loop.let_go()
        self._ask(False, then)

    def _ask(self, enable: bool, then: Callable[[], None]) -> None:
        """Ask for both, and call `then` when the driver has answered in time."""
        is_waited_for = self._question.ask(_PATIENCE_S)

        def gripper_too(_: TorqueEnable.Response) -> None:
            gripper = TorqueEnable.Request(cmd_type="single", name="gripper", enable=enable)
            call(self._node, self._client, gripper, answered)

        def answered(_: TorqueEnable.Response) -> None:
            if is_waited_for():
                self._question.settle()
                then()

        group = TorqueEnable.Request(cmd_type="group", name="arm", enable=enable)
        call(self._node, self._client, group, gripper_too)

    def _give_up_asking(self) -> None:
        # As if it had torque: one that has would creep down under commands that follow it, and one
        # that has none is followed by a stopped arm's command, too.
        self._take_hold()
        self._unanswered(
            f"the driver did not answer torque_enable for {_PATIENCE_S:g} s, so nobody knows "
            "whether the arm has torque: support it, look at the driver, call torque_enable, then "
            "/vla/reset_stop"
        )

    def _take_hold(self) -> None:
        if self._loop.is_limp and self._arm.pose is not None:
            self._loop.take_hold(*self._arm.pose)


def why_not_release(q_commanded: np.ndarray, q_measured: np.ndarray, at_rest: bool) -> str:
    """Return why the arm would fall without torque; empty where it rests on itself.

    Args:
        q_commanded, q_measured: joints (6,) [rad].
        at_rest: whether the last command moved no joint.
    """
    commanded_rad = float(np.abs(q_commanded - arm.SLEEP_RAD).max())
    measured_rad = float(np.abs(q_measured - arm.SLEEP_RAD).max())
    if not at_rest or commanded_rad > _SLEEP_COMMANDED_RAD:
        return "the arm is not at rest in its sleep pose and would fall; park it first"
    if measured_rad > _SLEEP_MEASURED_RAD:
        return (
            f"the arm is measured {measured_rad:.2f} rad from its sleep pose and would fall; "
            "clear its way and park it again"
        )
    return ""
