"""An arm's driver of plain services and topics, for tests of the nodes that move it."""

import numpy as np
import pytest


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
