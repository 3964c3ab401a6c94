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

# Close enough to the sleep pose: of the command, and of the arm, which lies on its rest there.
_SLEEP_COMMANDED_RAD, _SLEEP_MEASURED_RAD = 0.01, 0.1


class ArmTorque:
    """Switches the torque of arm and gripper.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        loop: what commands the arm, and has to know.
        measured: where the arm is.
    """

    def __init__(self, node: ShellNode, robot_name: str, loop: CommandLoop, measured: MeasuredArm):
        self._node, self._loop, self._arm = node, loop, measured
        self._client = node.create_client(TorqueEnable, f"/{robot_name}/torque_enable")

    def switch(self, enable: bool) -> None:
        """Switch it by a person's wish, wherever the arm is; without it a person moves both.

        The person's hand is the command then: the measured pose is what the driver is sent, so that
        the arm stays there when the torque is back, and what `/vla/commanded` says.
        """

        def resume() -> None:
            if enable and self._arm.pose is not None:
                self._loop.take_hold(*self._arm.pose)

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
        """Ask for both, and call `then` when the driver has answered."""

        def gripper_too(_: TorqueEnable.Response) -> None:
            gripper = TorqueEnable.Request(cmd_type="single", name="gripper", enable=enable)
            call(self._node, self._client, gripper, lambda _: then())

        group = TorqueEnable.Request(cmd_type="group", name="arm", enable=enable)
        call(self._node, self._client, group, gripper_too)


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
