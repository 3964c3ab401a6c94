"""An APT checkpoint on the graph, by the launch file that runs TAP's too."""

import signal

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from sensor_msgs.msg import JointState  # noqa: E402
from tiny_policies import apt, ask_for  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.extrinsics import sim_extrinsics  # noqa: E402
from vla_ros.policy.checkpoint import save_checkpoint  # noqa: E402


def test_an_apt_checkpoint_moves_the_simulated_arm_where_its_chunks_lead(graph, listen):
    checkpoint = apt(run={"intrinsics": True}, horizon=8, train_steps=10_000)
    # 6 cm up in base_link, in the camera's axes; no turn, gripper closed.
    up_m = sim_extrinsics("front").T_parent_camera[:3, :3].T @ [0, 0, 0.06]
    ask_for(checkpoint, (*up_m, 1.0, 0, 0, 0, 1.0, 0, -1.0))
    save_checkpoint(checkpoint, graph.folder / "apt")
    process = graph.start(
        *("ros2", "launch", "vla_ros", "policy.launch.py", "task:=push", "record:=false"),
        *(f"checkpoint:={graph.folder / 'apt'}", "speed:=4"),
        *("camera_width:=64", "camera_height:=48", "camera_rate:=10", "episode_s:=600"),
    )
    ready_m = kinematics.forward(arm.READY_RAD)[:3, 3]

    def is_higher(message):
        tool_m = kinematics.forward(np.array(message.position[:6]))[:3, 3]
        return tool_m[2] > ready_m[2] + 0.08 and np.all(np.abs(tool_m - ready_m)[:2] < 0.03)

    listen(JointState, qos.COMMANDED_TOPIC, qos.COMMANDED, is_higher, limit_s=120.0)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert graph.survivors() == []
