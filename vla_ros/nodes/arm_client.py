"""The one way from a node to the arm: believed joint states in, guarded commands out at 50 Hz.

Used by the explorer, the policy and the teacher, so that each of them moves the arm under the
same rules. Nothing here waits: activation is a chain of asynchronous service calls, and the
stream is a timer on the node's clock (simulated time where there is one).
"""

import time
from collections.abc import Callable

import numpy as np
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import OperatingModes, RegisterValues, RobotInfo, TorqueEnable
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import JointState

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError, VlaError
from vla_ros.core.safety import CommandGuard, JointStateFilter, wx250s_limits
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode

COMMAND_PERIOD_S = 0.02
# Time profile on the servos while streaming: 1.25 and 0.5 of the command period [ms].
_PROFILE_VELOCITY_MS = 25
_PROFILE_ACCELERATION_MS = 10
# A joint state older than this, by stamp or by arrival, stops the arm [s].
_STALE_S = 0.25
# An unchanged gripper command is repeated every so many periods.
_GRIPPER_REPEAT = 25
_COMMANDED_NAMES = (*arm.ARM_JOINTS, "gripper")


class DriverError(VlaError):
    """The arm driver is absent, or not the one of this arm."""


class ArmClient:
    """Joint targets in, commands on the wire; holds still whenever something is wrong.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        driver_wait_s: how long the driver may take to appear [s, wall time].
        on_tick: called before each command, 50 times a second, while active and not stale.
    """

    def __init__(
        self,
        node: ShellNode,
        robot_name: str,
        driver_wait_s: float,
        on_tick: Callable[[], None] | None = None,
    ):
        self._node = node
        self._name = robot_name
        self._on_tick = on_tick
        self._filter = JointStateFilter(wx250s_limits())
        self._guard = CommandGuard(wx250s_limits(), COMMAND_PERIOD_S)
        self._measured: tuple[int, np.ndarray, float] | None = None
        self._arrival_s = 0.0
        self._target: tuple[np.ndarray, float] | None = None
        self._sent_opening: float | None = None
        self._ticks = 0
        self._stale = False
        self._simulated_time = node.get_parameter("use_sim_time").value
        self.active = False
        self.refusals = 0
        self._wait_s = driver_wait_s
        self._deadline: float | None = None
        self._create_endpoints()

    def _create_endpoints(self) -> None:
        node, prefix = self._node, f"/{self._name}"
        self._group = node.create_publisher(
            JointGroupCommand, f"{prefix}/commands/joint_group", qos.COMMANDS
        )
        self._single = node.create_publisher(
            JointSingleCommand, f"{prefix}/commands/joint_single", qos.COMMANDS
        )
        self._commanded = node.create_publisher(JointState, qos.COMMANDED_TOPIC, qos.COMMANDED)
        node.create_subscription(
            JointState, f"{prefix}/joint_states", self._on_joint_state, qos.JOINT_STATES
        )
        self._info = node.create_client(RobotInfo, f"{prefix}/get_robot_info")
        self._modes = node.create_client(OperatingModes, f"{prefix}/set_operating_modes")
        self._registers = node.create_client(RegisterValues, f"{prefix}/set_motor_registers")
        self._torque = node.create_client(TorqueEnable, f"{prefix}/torque_enable")
        self._timer = node.create_timer(COMMAND_PERIOD_S, self._tick)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._start_timer = node.create_timer(0.1, self._await_driver, clock=self._steady)

    @property
    def measured(self) -> tuple[np.ndarray, float] | None:
        """The last believed joints (6,) [rad] and opening; None before the first."""
        return None if self._measured is None else self._measured[1:]

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The last commanded joints (6,) [rad] and opening."""
        return self._guard.commanded

    @property
    def at_rest(self) -> bool:
        """Whether the last command moved no joint."""
        return self._guard.at_rest

    @property
    def arrived(self) -> bool:
        """Whether the last target is commanded and the arm has been told to rest there."""
        return self._guard.arrived

    def set_target(self, q_rad: np.ndarray, opening: float) -> None:
        """Head for joints (6,) [rad] and an opening from the next command on."""
        self._target = (np.asarray(q_rad, dtype=np.float64), float(opening))

    def hold(self) -> None:
        """Brake to rest and stay there until the next target."""
        self._target = None

    def set_torque(self, enable: bool) -> None:
        """Switch the arm's torque; without it a person moves the arm and nothing is streamed."""
        self.hold()
        request = TorqueEnable.Request(cmd_type="group", name="arm", enable=enable)
        self.active = False

        def resume(_: TorqueEnable.Response) -> None:
            if enable and self._measured is not None:
                self._guard.reset(*self._measured[1:])
                self.active = True

        self._call(self._torque, request, resume)

    # --- activation: joint states, services, identity, gripper mode, servo profile ---

    def _await_driver(self) -> None:
        missing = [] if self._measured else [f"joint states on /{self._name}/joint_states"]
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
        self._start_timer.cancel()
        # Calls that the driver never answers end here too.
        self._start_timer = self._node.create_timer(self._wait_s, self._give_up, clock=self._steady)
        request = RobotInfo.Request(cmd_type="group", name="arm")
        self._call(self._info, request, self._check_identity)

    def _give_up(self) -> None:
        raise DriverError(
            f"the arm driver of {self._name} did not answer its services for {self._wait_s:g} s; "
            "restart it"
        )

    def _check_identity(self, info: RobotInfo.Response) -> None:
        if tuple(info.joint_names) != arm.ARM_JOINTS:
            raise DriverError(
                f"the driver of {self._name} moves joints {list(info.joint_names)}, expected "
                f"{list(arm.ARM_JOINTS)}; start it with robot_model:={arm.ROBOT_MODELS[0]}"
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
        self._call(self._modes, request, lambda _: self._set_profile_velocity())

    def _set_profile_velocity(self) -> None:
        # Registers, not a mode change: that would drop the arm's torque for a moment.
        request = self._register("Profile_Velocity", _PROFILE_VELOCITY_MS)
        self._call(self._registers, request, lambda _: self._set_profile_acceleration())

    def _set_profile_acceleration(self) -> None:
        request = self._register("Profile_Acceleration", _PROFILE_ACCELERATION_MS)
        self._call(self._registers, request, lambda _: self._activate())

    def _activate(self) -> None:
        self._node.destroy_timer(self._start_timer)
        self._guard.reset(*self._measured[1:])
        self.active = True

    def _register(self, register: str, value: int) -> RegisterValues.Request:
        return RegisterValues.Request(cmd_type="group", name="arm", reg=register, value=value)

    def _call(self, client, request, then: Callable) -> None:
        def done(future) -> None:
            try:
                then(future.result())
            except VlaError as error:
                self._node.fail(str(error))

        client.call_async(request).add_done_callback(done)

    # --- the streams ---

    def _on_joint_state(self, message: JointState) -> None:
        stamp_ns, names, position = conversions.joint_state_from_msg(message)
        try:
            q, opening = self._filter.accept(stamp_ns, names, position)
        except SafetyError as error:
            self._warn(f"a joint state was not believed: {error}")
            return
        self._measured = (stamp_ns, q, opening)
        self._arrival_s = time.monotonic()

    def _tick(self) -> None:
        if not self.active:
            return
        self._watch_age()
        if self._on_tick is not None and not self._stale:
            self._on_tick()
        self._send(*self._next_command())

    def _watch_age(self) -> None:
        """Note whether the joint states are stale; start anew from the measured pose after."""
        now_ns = self._node.get_clock().now().nanoseconds
        age_s = (now_ns - self._measured[0]) / 1e9
        if not self._simulated_time:
            # Stamps of a driver with another clock say nothing; simulated time may stand still.
            age_s = max(age_s, time.monotonic() - self._arrival_s)
        stale = age_s > _STALE_S
        if stale and not self._stale:
            self._warn(f"the joint states are {age_s:.2f} s old: holding until they are back")
            self._filter.reset()
        if self._stale and not stale:
            self._guard.reset(*self._measured[1:])
        self._stale = stale

    def _next_command(self) -> tuple[np.ndarray, float]:
        if self._target is None or self._stale:
            return self._guard.hold()
        try:
            return self._guard.step(*self._target)
        except SafetyError as error:
            self.refusals += 1
            self._warn(f"a target was refused, holding: {error}")
            return self._guard.hold()

    def _send(self, q: np.ndarray, opening: float) -> None:
        horn_rad = arm.horn_from_opening(opening)
        self._group.publish(JointGroupCommand(name="arm", cmd=q.tolist()))
        self._ticks += 1
        if opening != self._sent_opening or self._ticks % _GRIPPER_REPEAT == 0:
            self._single.publish(JointSingleCommand(name="gripper", cmd=horn_rad))
            self._sent_opening = opening
        now_ns = self._node.get_clock().now().nanoseconds
        position = np.append(q, horn_rad)
        self._commanded.publish(conversions.joint_state_to_msg(now_ns, _COMMANDED_NAMES, position))

    def _warn(self, sentence: str) -> None:
        self._node.get_logger().warning(sentence, throttle_duration_sec=2.0)
