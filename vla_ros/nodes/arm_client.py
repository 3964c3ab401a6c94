"""The one way from a node to the arm: believed joint states in, guarded commands out at 50 Hz.

Used by the explorer, the policy and the teacher, so that each of them moves the arm under the
same rules. Nothing here waits: activation is a chain of asynchronous service calls, and the
stream is a timer on the node's clock (simulated time where there is one).
"""

import time
from collections.abc import Callable

import numpy as np
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from interbotix_xs_msgs.srv import TorqueEnable
from sensor_msgs.msg import JointState

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.safety import CommandGuard, JointStateFilter, wx250s_limits
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.driver_setup import DriverError, DriverSetup, call
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.ticker import tick_every

COMMAND_PERIOD_S = 0.02
# A joint state older than this, by stamp or by arrival, stops the arm [s].
_STALE_S = 0.25
# Joint states missing for this long end the node: the driver, or its cable, is gone [s, wall].
_LOST_S = 10.0
# An arm this far behind its commands for this long is blocked, limp or in error; going on would
# let it whip to the far goal once it is free [rad], [ns].
_LAG_RAD, _LAG_NS = 0.4, 500_000_000
# An unchanged gripper command is repeated every so many periods.
_GRIPPER_REPEAT = 25
_COMMANDED_NAMES = (*arm.ARM_JOINTS, "gripper")


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
        self._lagging_since_ns: int | None = None
        self._limp = False
        self._simulated_time = node.get_parameter("use_sim_time").value
        self.active = False
        self.refusals = 0
        self._wait_s = driver_wait_s
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
        self._torque = node.create_client(TorqueEnable, f"{prefix}/torque_enable")
        self._timer = tick_every(node, COMMAND_PERIOD_S, self._tick)
        self._setup = DriverSetup(
            node, self._name, self._wait_s, lambda: self._measured is not None, self._activate
        )

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
        """Switch the torque of arm and gripper; without it a person moves both.

        Nothing is sent to a limp arm. The person's hand is the command then, so the measured pose
        is what `/vla/commanded` says.
        """
        self.hold()
        self._limp = True
        if self._measured is not None:
            # Nothing is left of a motion that was under way.
            self._guard.reset(*self._measured[1:])

        def resume(_: TorqueEnable.Response) -> None:
            if enable and self._measured is not None:
                self._guard.reset(*self._measured[1:])
                self._limp = False

        def gripper_too(_: TorqueEnable.Response) -> None:
            gripper = TorqueEnable.Request(cmd_type="single", name="gripper", enable=enable)
            call(self._node, self._torque, gripper, resume)

        group = TorqueEnable.Request(cmd_type="group", name="arm", enable=enable)
        call(self._node, self._torque, group, gripper_too)

    def _activate(self) -> None:
        self._guard.reset(*self._measured[1:])
        self.active = True

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
        if self._limp:
            self._say_commanded(*self._measured[1:])
            return
        self._watch_lag()
        if self._on_tick is not None and not self._stale:
            self._on_tick()
        self._send(*self._next_command())

    def _watch_age(self) -> None:
        """Note whether the joint states are stale; start anew from the measured pose after."""
        now_ns = self._node.get_clock().now().nanoseconds
        age_s = (now_ns - self._measured[0]) / 1e9
        if not self._simulated_time:
            # Stamps of a driver with another clock say nothing; simulated time may stand still.
            silent_s = time.monotonic() - self._arrival_s
            if silent_s > _LOST_S:
                raise DriverError(
                    f"no believable joint state of {self._name} for {_LOST_S:g} s: the driver or "
                    "its cable is gone; the servos hold their last goal, restart the driver"
                )
            age_s = max(age_s, silent_s)
        stale = age_s > _STALE_S
        if stale and not self._stale:
            self._warn(f"the joint states are {age_s:.2f} s old: holding until they are back")
            self._filter.reset()
        if self._stale and not stale:
            self._guard.reset(*self._measured[1:])
        self._stale = stale

    def _watch_lag(self) -> None:
        """End the node when the arm does not follow.

        Raises:
            DriverError: it is far behind its commands for long.
        """
        lag_rad = float(np.abs(self._guard.commanded[0] - self._measured[1]).max())
        now_ns = self._node.get_clock().now().nanoseconds
        if self._stale or lag_rad < _LAG_RAD:
            self._lagging_since_ns = None
        elif self._lagging_since_ns is None:
            self._lagging_since_ns = now_ns
        elif now_ns - self._lagging_since_ns > _LAG_NS:
            # The servos' goal becomes where the arm is: once free, it stays there.
            self._guard.reset(*self._measured[1:])
            self._send(*self._guard.commanded)
            raise DriverError(
                f"the arm is {lag_rad:.2f} rad behind its commands: blocked, without torque or in "
                "error; clear its way, reboot_motors if a servo blinks, then start again"
            )

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
        self._say_commanded(q, opening)

    def _say_commanded(self, q: np.ndarray, opening: float) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        position = np.append(q, arm.horn_from_opening(opening))
        self._commanded.publish(conversions.joint_state_to_msg(now_ns, _COMMANDED_NAMES, position))

    def _warn(self, sentence: str) -> None:
        self._node.get_logger().warning(sentence, throttle_duration_sec=2.0)
