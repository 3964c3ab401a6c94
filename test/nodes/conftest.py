"""Surroundings for nodes in this process: an arm's driver, and listeners around a camera."""

import time

import numpy as np
import pytest

LIMIT_S = 30.0


@pytest.fixture
def make_driver():
    """Return the class of a driver whose arm stands at READY and follows at once."""
    pytest.importorskip("rclpy")
    pytest.importorskip("interbotix_xs_msgs")
    from interbotix_xs_msgs import srv
    from interbotix_xs_msgs.msg import JointGroupCommand
    from rclpy.node import Node
    from sensor_msgs.msg import JointState

    from vla_ros.core import arm
    from vla_ros.nodes import qos
    from vla_ros.nodes.conversions import joint_state_to_msg

    class Driver(Node):
        """An arm at READY that is at once where it is told to be."""

        def __init__(self):
            super().__init__("driver")
            self.commands, self.asked, self.registers = [], [], {}
            self.position = np.array([*arm.READY_RAD, 0.0, 0.037, -0.037])
            for kind, name in (
                (srv.RobotInfo, "get_robot_info"),
                (srv.OperatingModes, "set_operating_modes"),
                (srv.RegisterValues, "set_motor_registers"),
                (srv.RegisterValues, "get_motor_registers"),
                (srv.TorqueEnable, "torque_enable"),
            ):
                self.create_service(kind, f"/wx250s/{name}", self.answer)
            self.states = self.create_publisher(JointState, "/wx250s/joint_states", 10)
            self.create_timer(0.01, self.publish)
            topic = "/wx250s/commands/joint_group"
            self.create_subscription(JointGroupCommand, topic, self.follow, qos.COMMANDS)

        def answer(self, request, response):
            self.asked.append(request)
            if isinstance(response, srv.RobotInfo.Response):
                response.joint_names, response.mode = list(arm.ARM_JOINTS), "position"
                response.profile_type = "time"
            elif isinstance(response, srv.RegisterValues.Response):
                response.values = self.registers.get((request.name, request.reg), [])
            return response

        def publish(self):
            now_ns = self.get_clock().now().nanoseconds
            names = arm.JOINT_STATE_NAMES
            self.states.publish(joint_state_to_msg(now_ns, names, self.position))

        def follow(self, message):
            self.commands.append(np.array(message.cmd))
            self.position[:6] = message.cmd

    return Driver


@pytest.fixture
def camera_stage(ros):
    """Return a function that makes a camera node of these parameters, and what listens to it."""
    pytest.importorskip("rclpy")
    pytest.importorskip("tf2_msgs")
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.node import Node
    from sensor_msgs.msg import CameraInfo, CompressedImage
    from tf2_msgs.msg import TFMessage

    from vla_ros.nodes import lifetime, qos
    from vla_ros.nodes.camera import CameraNode

    class Stage:
        def __init__(self):
            self.camera, self.listener = CameraNode(), Node("listener")
            self.images, self.transforms, self.arrays, self.infos = [], [], [], []
            for kind, topic, heard, profile in (
                (CompressedImage, "/front/image_raw/compressed", self.images, qos.CAMERA),
                (CameraInfo, "/front/camera_info", self.infos, qos.CAMERA),
                (TFMessage, qos.TF_STATIC_TOPIC, self.transforms, qos.STATIC_TRANSFORMS),
                (DiagnosticArray, qos.DIAGNOSTICS_TOPIC, self.arrays, qos.DIAGNOSTICS),
            ):
                self.listener.create_subscription(kind, topic, heard.append, profile)
            self.executor = lifetime._executor()
            self.executor.add_node(self.camera)
            self.executor.add_node(self.listener)

        def until(self, condition):
            deadline = time.monotonic() + LIMIT_S
            while not condition():
                assert time.monotonic() < deadline
                self.executor.spin_once(timeout_sec=0.05)

        def said(self):
            """Return the messages of the status of images so far."""
            return [status.message for array in self.arrays for status in array.status]

        def values(self):
            """Return the values behind the next status of images."""
            count = len(self.arrays)
            self.until(lambda: len(self.arrays) > count)
            return {pair.key: pair.value for pair in self.arrays[-1].status[0].values}

        def spin_for(self, duration_s):
            end = time.monotonic() + duration_s
            while time.monotonic() < end:
                self.executor.spin_once(timeout_sec=0.02)

        def close(self):
            self.executor.shutdown()
            self.camera.close()
            self.camera.destroy_node()
            self.listener.destroy_node()

    made = []

    def make(**parameters):
        ros(*[word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")])
        made.append(Stage())
        return made[0]

    yield make
    for scene in made:
        scene.close()


@pytest.fixture
def near_cradle(monkeypatch):
    """Have the cradle near the ready pose, so that lying down takes no time; return its pose."""
    from vla_ros.core import arm
    from vla_ros.nodes import mission

    monkeypatch.setattr(arm, "SLEEP_RAD", arm.READY_RAD - np.array([0, 0.05, 0, 0, 0, 0]))
    monkeypatch.setattr(mission, "_SINK_S", 0.1)
    return arm.SLEEP_RAD


@pytest.fixture
def make_policy(ros, make_driver, monkeypatch, tmp_path):
    """Return a function that makes a policy node with what is around it, and its runner.

    Of a contract, the runner is told what to say; without one it is that of `checkpoint`.
    """
    pytest.importorskip("rclpy")
    from policy_stage import Runner, Stage

    from vla_ros.nodes import policy

    made = []

    def make(contract=None, is_placed=True, driver=make_driver, goes_on=False, **parameters):
        given = {"task": "push", "record": "false", "park": "false", "episode_s": "30.0"}
        # A process of its own would take seconds to start; what it does is tested without a node.
        given |= {"results": str(tmp_path / "results.json"), "own_process": "false"}
        runner = None
        if contract is not None:
            (tmp_path / "weights").mkdir(exist_ok=True)
            (tmp_path / "weights" / "model").write_bytes(b"1")
            given |= {"checkpoint": str(tmp_path / "weights")}
            runner = Runner(contract)
            runner.goes_on = goes_on
            monkeypatch.setattr(policy, "load_runner", lambda *_: runner)
        given |= parameters
        ros(*[word for name, value in given.items() for word in ("-p", f"{name}:={value}")])
        made.append(Stage(driver(), is_placed, given["record"] == "true"))
        made[-1].node.bring_up()
        return made[-1], runner

    yield make
    for stage in made:
        stage.close()
