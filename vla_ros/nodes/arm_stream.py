"""The two streams between a node and the driver: believed joint states in, commands out."""

import time
from collections import Counter
from collections.abc import Callable

import numpy as np
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from sensor_msgs.msg import JointState

from vla_ros.core import arm
from vla_ros.core.errors import SafetyError
from vla_ros.core.monitor import SERVOS
from vla_ros.core.safety import JointStateFilter, SafetyLimits
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode

# An unchanged gripper command is repeated every so many commands.
_GRIPPER_REPEAT = 25
_COMMANDED_NAMES = (*arm.ARM_JOINTS, "gripper")


class MeasuredArm:
    """The last joint state that could be believed.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        limits: joint range of believable measurements.

    Attributes:
        stamp_ns: when it was measured [ns].
        pose: joints (6,) [rad] and opening; None before the first.
        effort_ma: currents (7,) [mA] of the arm joints and the gripper; None where not measured.
        rejected: how many joint states were not believed, by reason.
        listener: called with (stamp [ns], joints (6,) [rad], opening) of each that is believed.
    """

    def __init__(self, node: ShellNode, robot_name: str, limits: SafetyLimits):
        self._logger = node.get_logger()
        self._filter = JointStateFilter(limits)
        self._arrival_s = time.monotonic()
        self._effort_missing = False
        self.stamp_ns = 0
        self.pose: tuple[np.ndarray, float] | None = None
        self.effort_ma: np.ndarray | None = None
        self.listener: Callable[[int, np.ndarray, float], None] = lambda *_: None
        node.create_subscription(
            JointState, f"/{robot_name}/joint_states", self._on_joint_state, qos.JOINT_STATES
        )

    @property
    def silent_s(self) -> float:
        """Steady time since the last believed joint state arrived [s]."""
        return time.monotonic() - self._arrival_s

    @property
    def rejected(self) -> Counter[str]:
        return self._filter.rejected

    def forget_last(self) -> None:
        """Compare the next joint state with no earlier one."""
        self._filter.reset()

    def _on_joint_state(self, message: JointState) -> None:
        stamp_ns, names, position = conversions.joint_state_from_msg(message)
        try:
            self.pose = self._filter.accept(stamp_ns, names, position)
        except SafetyError as error:
            self._logger.warning(
                f"a joint state was not believed: {error}", throttle_duration_sec=2.0
            )
            return
        self.stamp_ns = stamp_ns
        self._arrival_s = time.monotonic()
        self.effort_ma = self._effort(names, message.effort)
        self.listener(stamp_ns, *self.pose)

    def _effort(self, names: tuple[str, ...], effort) -> np.ndarray | None:
        values = dict(zip(names, effort, strict=False))
        currents = np.array([values.get(name, np.nan) for name in SERVOS])
        if np.all(np.isfinite(currents)):
            return currents
        if not self._effort_missing:
            self._effort_missing = True
            self._logger.warning(
                "the joint states hold no current: overload and stall are not watched, only how "
                "far the arm is behind"
            )
        return None


class CommandStream:
    """Publishes commands to the driver, and a stamped copy for the recorder.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
    """

    def __init__(self, node: ShellNode, robot_name: str):
        self._node = node
        prefix = f"/{robot_name}/commands"
        self._topics = f"{prefix}/joint_group", f"{prefix}/joint_single"
        self._group = node.create_publisher(JointGroupCommand, self._topics[0], qos.COMMANDS)
        self._single = node.create_publisher(JointSingleCommand, self._topics[1], qos.COMMANDS)
        self._commanded = node.create_publisher(JointState, qos.COMMANDED_TOPIC, qos.COMMANDED)
        self._sent_opening: float | None = None
        self._sent = 0

    def send(self, q: np.ndarray, opening: float) -> None:
        """Command joints (6,) [rad] and an opening."""
        self._group.publish(JointGroupCommand(name="arm", cmd=q.tolist()))
        self._sent += 1
        if opening != self._sent_opening or self._sent % _GRIPPER_REPEAT == 0:
            horn_rad = arm.horn_from_opening(opening)
            self._single.publish(JointSingleCommand(name="gripper", cmd=horn_rad))
            self._sent_opening = opening

    def say(self, q: np.ndarray, opening: float) -> None:
        """Publish the stamped copy only, as for an arm that a person moves."""
        now_ns = self._node.get_clock().now().nanoseconds
        position = np.append(q, arm.horn_from_opening(opening))
        self._commanded.publish(conversions.joint_state_to_msg(now_ns, _COMMANDED_NAMES, position))

    def rivals(self) -> str:
        """Return one sentence about other nodes that command the arm; empty where there are none.

        The driver obeys whoever spoke last: with two commanders the arm leaps between two poses.
        """
        for topic in self._topics:
            others = self._node.count_publishers(topic) - 1
            if others > 0:
                return (
                    f"{others} other node(s) command the arm on {topic} ({self._names(topic)}); "
                    "stop them, or set another ROS_DOMAIN_ID"
                )
        return ""

    def _names(self, topic: str) -> str:
        names = [
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for info in self._node.get_publishers_info_by_topic(topic)
        ]
        # Once: another node may bear the same name.
        own = self._node.get_fully_qualified_name()
        if own in names:
            names.remove(own)
        return ", ".join(sorted(names)) or "unknown"
