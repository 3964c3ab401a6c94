"""What the driver is asked before the first command: is it this arm's, and in which modes?

A chain of asynchronous service calls, so no callback waits: identity, gripper mode and its limit,
servo profile. Every wait is bounded. xs_sdk answers nothing when it fails, so what matters is read
back.
"""

import time
from collections.abc import Callable

from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rclpy.clock import Clock, ClockType
from rclpy.timer import Timer

from vla_ros.core import arm
from vla_ros.core.errors import VlaError
from vla_ros.nodes.lifetime import ShellNode

# The current of a grasp, and the profile of the arm.
_GRASP, *_PROFILE = arm.STREAM_REGISTERS
# A gripper without a current limit (the XL430 of many arms) is limited in duty instead: 250 of 885
# is what Interbotix's own modules push with by default.
_GRIPPER_PWM = 250
_CURRENT_BASED_POSITION = 5
# What only reads is asked again after this [s, wall]: a question is lost where it goes to a driver
# that has just been ended, or where its answer comes before the way back is known. What writes is
# not: a mode set late would undo the registers written since.
_ASK_AGAIN_S = 2.0


# cmd_type, name, register and value of a RegisterValues request.
Register = tuple[str, str, str, int]


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


def write_registers(
    node: ShellNode, client, registers: list[Register], then: Callable[[], None]
) -> None:
    """Write registers one after the other by a client of set_motor_registers, then call `then`."""
    waiting = list(registers)

    def next_one(_: object = None) -> None:
        if not waiting:
            then()
            return
        cmd_type, name, register, value = waiting.pop(0)
        request = RegisterValues.Request(cmd_type=cmd_type, name=name, reg=register, value=value)
        call(node, client, request, next_one)

    next_one()


class DriverSetup:
    """Waits for the driver, checks it, prepares its servos, then calls `ready`.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        wait_s: how long the driver may take to appear, and again to answer [s, wall time].
        has_joint_states: whether a believable joint state has arrived.
        ready: called once, when commands may be sent, with the registers that were written: those
            of `write_registers`, which a servo forgets when it is rebooted.
        rivals: returns one sentence when other nodes command the arm, else nothing.
        aim: called before the torque of an arm without it is switched on; makes its goal its pose.
            None: the torque stays as it is.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        wait_s: float,
        has_joint_states: Callable[[], bool],
        ready: Callable[[list[Register]], None],
        rivals: Callable[[], str],
        aim: Callable[[], None] | None,
    ):
        self._node = node
        self._name = robot_name
        self._wait_s = wait_s
        self._has_joint_states = has_joint_states
        self._ready = ready
        self._rivals = rivals
        self._aim = aim
        self._cancelled = False
        self._deadline: float | None = None
        self._asking: Timer | None = None
        prefix = f"/{robot_name}"
        self._info = node.create_client(RobotInfo, f"{prefix}/get_robot_info")
        self._modes = node.create_client(OperatingModes, f"{prefix}/set_operating_modes")
        self._registers = node.create_client(RegisterValues, f"{prefix}/set_motor_registers")
        self._read = node.create_client(RegisterValues, f"{prefix}/get_motor_registers")
        self._torque = node.create_client(TorqueEnable, f"{prefix}/torque_enable")
        self._clients = self._info, self._modes, self._registers, self._read, self._torque
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(0.1, self._await_driver, clock=self._steady)

    def cancel(self) -> None:
        """Ask nothing more and never call `ready`."""
        self._cancelled = True
        self._end()

    def _end(self) -> None:
        self._node.destroy_timer(self._timer)
        self._end_asking()
        for client in self._clients:
            self._node.destroy_client(client)

    def _call(self, client, request, then: Callable) -> None:
        call(self._node, client, request, lambda answer: self._cancelled or then(answer))

    def _ask(self, client, request, then: Callable) -> None:
        """Call a service that only reads, again and again until there is an answer."""

        def answered(answer) -> None:
            # Of a question that was asked twice, the first answer counts.
            if self._asking is again:
                self._end_asking()
                then(answer)

        def ask() -> None:
            self._call(client, request, answered)

        self._asking = again = self._node.create_timer(_ASK_AGAIN_S, ask, clock=self._steady)
        ask()

    def _end_asking(self) -> None:
        if self._asking is not None:
            self._node.destroy_timer(self._asking)
            self._asking = None

    def _await_driver(self) -> None:
        missing = (
            [] if self._has_joint_states() else [f"joint states on /{self._name}/joint_states"]
        )
        missing += [
            f"service {client.srv_name}"
            for client in self._clients
            if not client.service_is_ready()
        ]
        # One that was killed is still counted until DDS misses it, after 10 s.
        topic = f"/{self._name}/joint_states"
        drivers = self._node.count_publishers(topic)
        if drivers > 1:
            missing.append(f"a single driver: {drivers} nodes publish {topic}, stop all but one")
        # From the first look on: a node may have loaded a model since it was made.
        self._deadline = self._deadline or time.monotonic() + self._wait_s
        if missing:
            if time.monotonic() > self._deadline:
                raise DriverError(
                    f"no arm driver for {self._wait_s:g} s, missing {', '.join(missing)}; start "
                    "sim_node or xs_sdk with this robot_name and in this ROS_DOMAIN_ID"
                )
            return
        self._node.destroy_timer(self._timer)
        # Calls that the driver never answers end here too.
        self._timer = self._node.create_timer(self._wait_s, self._give_up, clock=self._steady)
        request = RobotInfo.Request(cmd_type="group", name="arm")
        self._ask(self._info, request, self._check_driver)

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
        if rivals := self._rivals():
            raise DriverError(rivals)
        self._set_gripper_mode(arm.GRIPPER_MODE[0], self._read_gripper_mode)

    def _set_gripper_mode(self, mode: str, then: Callable) -> None:
        _, profile_type, velocity, acceleration = arm.GRIPPER_MODE
        request = OperatingModes.Request(
            cmd_type="single",
            name="gripper",
            mode=mode,
            profile_type=profile_type,
            profile_velocity=velocity,
            profile_acceleration=acceleration,
        )
        self._call(self._modes, request, then)

    def _read_gripper_mode(self, _: OperatingModes.Response) -> None:
        request = RegisterValues.Request(cmd_type="single", name="gripper", reg="Operating_Mode")
        self._ask(self._read, request, self._check_gripper_mode)

    def _check_gripper_mode(self, mode: RegisterValues.Response) -> None:
        if list(mode.values) in ([], [_CURRENT_BASED_POSITION]):
            self._set_registers(_GRASP)
            return
        self._node.get_logger().warning(
            "the gripper's servo has no current-based position mode: it is driven by position "
            f"with its duty limited to {_GRIPPER_PWM} of 885"
        )
        limit = ("single", "gripper", "Goal_PWM", _GRIPPER_PWM)
        self._set_gripper_mode("position", lambda _: self._set_registers(limit))

    def _set_registers(self, gripper_limit: Register) -> None:
        # Registers of the arm, not a mode change: that would drop its torque for a moment.
        registers = [gripper_limit, *_PROFILE]

        self._written = registers

        def written() -> None:
            if not self._cancelled:
                self._read_torque(self._check_torque)

        write_registers(self._node, self._registers, registers, written)

    def _read_torque(self, then: Callable) -> None:
        request = RegisterValues.Request(cmd_type="group", name="arm", reg="Torque_Enable")
        self._ask(self._read, request, then)

    def _check_torque(self, torque: RegisterValues.Response) -> None:
        if self._aim is None or 0 not in list(torque.values):
            self._finish()
            return
        self._node.get_logger().warning(
            "the arm is without torque, as after a rest: it is switched on where the arm is"
        )
        self._aim()
        # One more answer, so that the driver has taken the goal before the torque comes.
        self._read_torque(lambda _: self._enable("group", "arm", self._enable_gripper))

    def _enable_gripper(self, _: TorqueEnable.Response) -> None:
        self._enable("single", "gripper", lambda _: self._finish())

    def _enable(self, cmd_type: str, name: str, then: Callable) -> None:
        request = TorqueEnable.Request(cmd_type=cmd_type, name=name, enable=True)
        self._call(self._torque, request, then)

    def _finish(self) -> None:
        self._end()
        self._ready(self._written)
