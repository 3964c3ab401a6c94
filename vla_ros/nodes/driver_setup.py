"""What the driver is asked before the first command: is it this arm's, and in which modes?

A chain of asynchronous service calls, so no callback waits: identity, gripper mode and current,
servo profile. Every wait is bounded.
"""

import time
from collections.abc import Callable

from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rclpy.clock import Clock, ClockType

from vla_ros.core import arm
from vla_ros.core.errors import VlaError
from vla_ros.nodes.lifetime import ShellNode

# Time profile on the servos while streaming: 1.25 and 0.5 of the command period of 20 ms.
_PROFILE = (("Profile_Velocity", 25), ("Profile_Acceleration", 10))
# Largest current of a grasp: about 0.54 A of the XM430's 2.3 A stall current, in its 2.69 mA units.
_GRIPPER_CURRENT = 200


class DriverError(VlaError):
    """The arm driver is absent, not the one of this arm, or does not move it."""


def call(node: ShellNode, client, request, then: Callable) -> None:
    """Call a service and hand its answer to `then`; what that raises ends the node."""

    def done(future) -> None:
        try:
            then(future.result())
        except VlaError as error:
            node.fail(str(error))

    client.call_async(request).add_done_callback(done)


class DriverSetup:
    """Waits for the driver, checks it, prepares its servos, then calls `ready`.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        wait_s: how long the driver may take to appear, and again to answer [s, wall time].
        has_joint_states: whether a believable joint state has arrived.
        ready: called once, when commands may be sent.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        wait_s: float,
        has_joint_states: Callable[[], bool],
        ready: Callable[[], None],
    ):
        self._node = node
        self._name = robot_name
        self._wait_s = wait_s
        self._has_joint_states = has_joint_states
        self._ready = ready
        self._deadline: float | None = None
        prefix = f"/{robot_name}"
        self._info = node.create_client(RobotInfo, f"{prefix}/get_robot_info")
        self._modes = node.create_client(OperatingModes, f"{prefix}/set_operating_modes")
        self._registers = node.create_client(RegisterValues, f"{prefix}/set_motor_registers")
        self._torque = node.create_client(TorqueEnable, f"{prefix}/torque_enable")
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(0.1, self._await_driver, clock=self._steady)

    def _await_driver(self) -> None:
        missing = (
            [] if self._has_joint_states() else [f"joint states on /{self._name}/joint_states"]
        )
        missing += [
            f"service {client.srv_name}"
            for client in (self._info, self._modes, self._registers, self._torque)
            if not client.service_is_ready()
        ]
        # From the first look on: a node may have loaded a model since it was made.
        self._deadline = self._deadline or time.monotonic() + self._wait_s
        if missing:
            if time.monotonic() > self._deadline:
                raise DriverError(
                    f"no arm driver for {self._wait_s:g} s, missing {', '.join(missing)}; start "
                    "sim_node or xs_sdk with this robot_name and in this ROS_DOMAIN_ID"
                )
            return
        self._timer.cancel()
        # Calls that the driver never answers end here too.
        self._timer = self._node.create_timer(self._wait_s, self._give_up, clock=self._steady)
        request = RobotInfo.Request(cmd_type="group", name="arm")
        call(self._node, self._info, request, self._check_driver)

    def _give_up(self) -> None:
        raise DriverError(
            f"the arm driver of {self._name} did not answer its services for {self._wait_s:g} s; "
            "restart it"
        )

    def _check_driver(self, info: RobotInfo.Response) -> None:
        if tuple(info.joint_names) != arm.ARM_JOINTS:
            raise DriverError(
                f"the driver of {self._name} moves joints {list(info.joint_names)}, expected "
                f"{list(arm.ARM_JOINTS)}; start it with robot_model:={arm.ROBOT_MODELS[0]}"
            )
        if (info.mode, info.profile_type) != ("position", "time"):
            raise DriverError(
                f"the arm of {self._name} is in mode {info.mode!r} with profile "
                f"{info.profile_type!r}, expected position and time: start the driver with "
                "Interbotix's modes.yaml"
            )
        topic = f"/{self._name}/commands/joint_group"
        others = self._node.count_publishers(topic) - 1
        if others > 0:
            raise DriverError(
                f"{others} other node(s) command the arm on {topic}; stop them, or set another "
                "ROS_DOMAIN_ID"
            )
        # A position command limited by current: a grasp neither slips nor overheats the servo.
        request = OperatingModes.Request(
            cmd_type="single",
            name="gripper",
            mode="current_based_position",
            profile_type="time",
            profile_velocity=200,
            profile_acceleration=50,
        )
        call(self._node, self._modes, request, lambda _: self._set_registers())

    def _set_registers(self) -> None:
        # Registers of the arm, not a mode change: that would drop its torque for a moment.
        requests = [
            RegisterValues.Request(
                cmd_type="single", name="gripper", reg="Goal_Current", value=_GRIPPER_CURRENT
            )
        ]
        requests += [
            RegisterValues.Request(cmd_type="group", name="arm", reg=register, value=value)
            for register, value in _PROFILE
        ]

        def next_one(_: object = None) -> None:
            if requests:
                call(self._node, self._registers, requests.pop(0), next_one)
            else:
                self._node.destroy_timer(self._timer)
                self._ready()

        next_one()
