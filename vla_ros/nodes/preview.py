"""What a policy is about to do, for people: joints over time, and where the tool goes."""

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Pose, PoseArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.core import arm, kinematics
from vla_ros.core.joint_plan import JointPlan
from vla_ros.core.rotations import quat_from_matrix
from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode

_NAMES = [*arm.ARM_JOINTS, "gripper"]


class Preview:
    """Publishes plans on /vla/preview, and tool poses on /vla/preview_poses for RViz and Foxglove.

    Only where somebody listens: forward kinematics of a chunk costs milliseconds.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
    """

    def __init__(self, node: ShellNode, robot_name: str):
        self._node, self._frame = node, f"{robot_name}/base_link"
        self._joints = node.create_publisher(JointTrajectory, qos.PREVIEW_TOPIC, qos.PREVIEW)
        self._poses = node.create_publisher(PoseArray, qos.PREVIEW_POSES_TOPIC, qos.PREVIEW)

    def show(self, plan: JointPlan) -> None:
        """Publish a plan, its times counted from now."""
        stamp = self._node.get_clock().now().to_msg()
        if self._joints.get_subscription_count():
            message = JointTrajectory(joint_names=_NAMES)
            message.header.stamp, message.header.frame_id = stamp, self._frame
            message.points = [
                _point(q, opening, (h + 1) * plan.step_s)
                for h, (q, opening) in enumerate(zip(plan.q_rad, plan.opening, strict=True))
            ]
            self._joints.publish(message)
        if self._poses.get_subscription_count():
            poses = PoseArray(poses=[_pose(kinematics.forward(q)) for q in plan.q_rad])
            poses.header.stamp, poses.header.frame_id = stamp, self._frame
            self._poses.publish(poses)


def _point(q: np.ndarray, opening: float, due_s: float) -> JointTrajectoryPoint:
    """Return joints (6,) [rad] and the gripper's horn [rad], as the driver's joint states."""
    seconds, nanoseconds = divmod(round(due_s * 1e9), 10**9)
    return JointTrajectoryPoint(
        positions=[*q.tolist(), arm.horn_from_opening(float(opening))],
        time_from_start=Duration(sec=seconds, nanosec=nanoseconds),
    )


def _pose(T_base_tool: np.ndarray) -> Pose:
    pose = Pose()
    pose.position.x, pose.position.y, pose.position.z = T_base_tool[:3, 3].tolist()
    w, x, y, z = quat_from_matrix(T_base_tool[:3, :3]).tolist()
    pose.orientation.w, pose.orientation.x = w, x
    pose.orientation.y, pose.orientation.z = y, z
    return pose
