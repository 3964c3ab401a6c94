"""The topics and services of Interbotix's xs_sdk, served by a simulated arm."""

from dataclasses import asdict, fields

from interbotix_xs_msgs import srv
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from sensor_msgs.msg import JointState

from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.sim.injection import Injector


class DriverEndpoints:
    """Commands and services in, joint states out; faults lie between them and the arm.

    Args:
        node: the node to live in.
        robot_name: the driver's namespace.
        injector: the arm.
        real_time: whether time runs at the wall's pace; faster, more than xs_sdk's 10 joint states
            wait for a reader that is held up for as long.
    """

    def __init__(self, node: ShellNode, robot_name: str, injector: Injector, real_time: bool):
        self._node = node
        self._prefix = f"/{robot_name}"
        self._injector = injector
        self._driver = injector.world.driver
        self.joint_states_topic = f"{self._prefix}/joint_states"
        self._joint_states = node.create_publisher(
            JointState, self.joint_states_topic, qos.JOINT_STATES if real_time else qos.RECORD
        )
        # One message for all ticks: only its numbers change.
        self._message = conversions.joint_state_to_msg(0, *injector.world.joint_state())
        # xs_sdk's own subscriptions keep 10.
        for message_type, name, take in (
            (JointGroupCommand, "joint_group", self._driver.command_group),
            (JointSingleCommand, "joint_single", self._driver.command_single),
        ):
            node.create_subscription(
                message_type,
                f"{self._prefix}/commands/{name}",
                lambda message, take=take: self._take(take, message),
                qos.JOINT_STATES,
            )
        self._create_services()

    def publish(self, stamp_ns: int) -> None:
        """Publish what the driver has read by now, stamped `stamp_ns` [ns] where it is in time."""
        message = self._message
        for sample in self._injector.joint_states(stamp_ns):
            # A stamp of before 1970, by a clock jump in simulated time, has no message.
            message.header.stamp = conversions.stamp_from_ns(max(0, sample.stamp_ns))
            message.position = conversions.doubles(sample.position)
            message.velocity = conversions.doubles(sample.velocity)
            message.effort = conversions.doubles(sample.effort)
            self._joint_states.publish(message)

    def _take(self, take, message: JointGroupCommand | JointSingleCommand) -> None:
        if self._injector.takes_command():
            take(message.name, message.cmd)

    def _create_services(self) -> None:
        driver = self._driver

        def serve(service_type, name, method, answer=None):
            """Call `method` with the request's fields in order; `answer` fills the response."""

            def handle(request, response):
                slots = request.get_fields_and_field_types()
                result = method(*(getattr(request, slot) for slot in slots))
                if answer is not None:
                    answer(result, response)
                return response

            self._node.create_service(service_type, f"{self._prefix}/{name}", handle)

        serve(srv.TorqueEnable, "torque_enable", driver.torque_enable)
        serve(srv.Reboot, "reboot_motors", driver.reboot)
        serve(srv.OperatingModes, "set_operating_modes", driver.set_operating_modes)
        serve(srv.RobotInfo, "get_robot_info", driver.robot_info, _fill_robot_info)
        serve(srv.MotorGains, "set_motor_pid_gains", self._set_gains)
        serve(srv.RegisterValues, "set_motor_registers", driver.set_register)
        serve(
            srv.RegisterValues,
            "get_motor_registers",
            lambda cmd_type, name, reg, _value: driver.get_register(cmd_type, name, reg),
            lambda values, response: setattr(response, "values", values),
        )

    def _set_gains(self, cmd_type: str, name: str, *gains: int) -> None:
        registers = ("Position_P_Gain", "Position_I_Gain", "Position_D_Gain")
        for register, value in zip(registers, gains, strict=False):
            self._driver.set_register(cmd_type, name, register, value)


def _fill_robot_info(info, response: srv.RobotInfo.Response) -> None:
    values = asdict(info)
    for field in fields(info):
        value = values[field.name]
        setattr(response, field.name, list(value) if isinstance(value, tuple) else value)
