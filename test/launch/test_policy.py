"""An APT checkpoint on the graph, by the launch file that runs TAP's too, and tasks as goals."""

import signal
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytestmark = [pytest.mark.ros, pytest.mark.slow]

from rclpy.action import ActionClient  # noqa: E402
from rclpy.node import Node  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from tiny_policies import apt, ask_for  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.core.task_run import Outcome  # noqa: E402
from vla_ros.core.task_text import chained  # noqa: E402
from vla_ros.nodes import qos  # noqa: E402
from vla_ros.nodes.extrinsics import sim_extrinsics  # noqa: E402
from vla_ros.nodes.task_server import do_task_type  # noqa: E402
from vla_ros.policy.checkpoint import save_checkpoint  # noqa: E402

LIMIT_S = 120.0


class Caller:
    """Another node, which gives tasks."""

    def __init__(self):
        self.node, self.said = Node("caller"), []
        self.type = do_task_type()
        self.actions = ActionClient(self.node, self.type, qos.DO_TASK_ACTION)

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            rclpy.spin_once(self.node, timeout_sec=0.1)

    def send(self, task, **goal):
        """Return the goal's handle and its future result."""
        self.said.clear()
        sent = self.actions.send_goal_async(
            self.type.Goal(task=task, **goal), lambda message: self.said.append(message.feedback)
        )
        self.until(sent.done)
        return sent.result(), sent.result().get_result_async()

    def until_acts(self):
        self.until(lambda: self.said and self.said[-1].state == self.type.Feedback.ACTING)
        self.until(lambda: self.said[-1].inference_ms > 0.0 and self.said[-1].steps)

    def outcome(self, asked):
        self.until(asked.done)
        result = asked.result().result
        return Outcome(result.outcome), result.message


@pytest.fixture
def caller(graph, ros):
    """Return another node of the graph, gone with the test."""
    ros(domain=graph.domain)
    caller = Caller()
    yield caller
    caller.actions.destroy()
    caller.node.destroy_node()


@pytest.mark.skipif(do_task_type() is None, reason="vla_ros_msgs is not built: run `make setup`")
def test_an_apt_checkpoint_moves_the_simulated_arm_where_its_chunks_lead_goal_after_goal(
    graph, caller, listen
):
    checkpoint = apt(run={"intrinsics": True}, horizon=8, train_steps=10_000)
    # 6 cm up in base_link, in the camera's axes; no turn, gripper closed.
    up_m = sim_extrinsics("front").T_parent_camera[:3, :3].T @ [0, 0, 0.06]
    ask_for(checkpoint, (*up_m, 1.0, 0, 0, 0, 1.0, 0, -1.0))
    save_checkpoint(checkpoint, graph.folder / "apt")
    process = graph.start(
        *("ros2", "launch", "vla_ros", "policy.launch.py", "record:=false"),
        *(f"checkpoint:={graph.folder / 'apt'}", "speed:=4"),
        *("camera_width:=64", "camera_height:=48", "camera_rate:=10", "episode_s:=600"),
    )
    ready_m = kinematics.forward(arm.READY_RAD)[:3, 3]

    def is_higher(message):
        tool_m = kinematics.forward(np.array(message.position[:6]))[:3, 3]
        return tool_m[2] > ready_m[2] + 0.08 and np.all(np.abs(tool_m - ready_m)[:2] < 0.03)

    assert caller.actions.wait_for_server(timeout_sec=LIMIT_S)
    goal, asked = caller.send("push the apple to the left")
    caller.until_acts()
    listen(JointState, qos.COMMANDED_TOPIC, qos.COMMANDED, is_higher)
    goal.cancel_goal_async()
    assert caller.outcome(asked) == (Outcome.CANCELLED, "cancelled")
    task = chained(("put the carrot on the plate", "push the apple to the left"))
    _, asked = caller.send(task, from_ready=True)
    caller.until_acts()
    process.send_signal(signal.SIGINT)
    assert caller.outcome(asked) == (Outcome.ERROR, "the node came to rest: stopped")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0, output
    assert graph.survivors() == []
