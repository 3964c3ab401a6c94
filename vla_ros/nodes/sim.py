"""sim_node: the simulated arm with the topics, services and units of Interbotix's xs_sdk.

Time advances by absolute deadlines, `speed` times as fast as the wall's. Where the machine cannot
keep up, simulated time simply runs slower; nothing is skipped. At speed 1 stamps are ROS time; at
any other speed they are simulated time since the start, /clock tells everybody, and time waits for
commands and cameras that are behind, so that a slow machine gives the same data as a fast one.
"""

import json
import time
from collections import deque
from dataclasses import asdict, dataclass, fields

from interbotix_xs_msgs import srv
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from vla_ros.core.arm import ROBOT_MODELS
from vla_ros.core.errors import VlaError
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode, run
from vla_ros.nodes.pacing import Follower, Pacer
from vla_ros.nodes.params import declare, parameter
from vla_ros.sim.tasks import parse_task
from vla_ros.sim.world import CONTROL_PERIOD_NS, DEFAULT_OBJECTS, SimWorld

# /clock at 50 Hz of simulated time: the command timers' rate, and no more callbacks than needed.
_TICKS_PER_CLOCK = 2
_TICKS_PER_TASK_CHECK = 20
# How far time may run ahead of a commander (50 Hz), and of a camera in pictures.
_COMMAND_LAG_NS = 20_000_000
_CAMERA_LAG_PERIODS = 1.5
# Waiting longer than this, time is told once more: rclpy listens to /clock by best effort.
_NUDGE_NS = 30_000_000
# Another arm in the domain is looked for before time starts, and for as long after as discovery
# may take (3.1 s was the longest of 32 starts). Of two that start within that time of each other,
# either may be the one that gives way.
_CLASH_CHECK_S, _CLASH_WATCH_S = 1.0, 6.0
_REPORT_S = 60.0
# Episodes of one seed draw layouts from here on; other seeds never meet them.
_LAYOUTS_PER_SEED = 100_000


@dataclass(frozen=True)
class SimParameters:
    """Parameters of sim_node."""

    robot_model: str = parameter("wx250s", "The arm.", choices=ROBOT_MODELS)
    robot_name: str = parameter("wx250s", "Namespace of its topics and services.")
    speed: float = parameter(1.0, "Simulated seconds in a second.", "", 0.01, 1000.0)
    seed: int = parameter(0, "Seed of the layouts.", "", 0, 2**31 - 1)
    objects: list = parameter(list(DEFAULT_OBJECTS), "Names of the objects on the table.")
    state_rate_hz: float = parameter(
        30.0, "Rate of /sim/state, from which the cameras render.", "Hz", 0.1, 100.0
    )
    cameras: list = parameter(["front"], "Cameras that time waits for at a speed other than 1.")


class DomainClashError(VlaError):
    """Another arm driver speaks on the same topics."""


class SimNode(ShellNode):
    """Shell over SimWorld: paces it, publishes what it measures, hands it what arrives."""

    def __init__(self):
        super().__init__("sim")
        self._parameters = parameters = declare(self, SimParameters)
        self._prefix = f"/{parameters.robot_name}"
        self._episode = 0
        self._world = SimWorld(
            self._layout_seed, tuple(parameters.objects), self.get_logger().warning
        )
        self._task_text = ""
        self._task = None
        self._told: dict = {}
        self._states_per_tick = min(1.0, parameters.state_rate_hz * CONTROL_PERIOD_NS * 1e-9)
        self._real_time = parameters.speed == 1.0
        self._epoch_ns = 0
        self._pacer = Pacer(CONTROL_PERIOD_NS, parameters.speed)
        self._followers: dict[str, Follower] = {}
        self._waiting_since_ns: int | None = None
        self._progress: deque[tuple[float, int]] = deque(maxlen=2)
        self._create_topics()
        self._create_services()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._made_s = time.monotonic()
        self._check_timer = self.create_timer(0.1, self._check_clash, clock=self._steady)

    @property
    def _layout_seed(self) -> int:
        return self._parameters.seed * _LAYOUTS_PER_SEED + self._episode

    def _create_topics(self) -> None:
        prefix = self._prefix
        self._joint_states = self.create_publisher(
            JointState, f"{prefix}/joint_states", qos.JOINT_STATES
        )
        # One message for all ticks: only its numbers change.
        self._joint_message = conversions.joint_state_to_msg(0, *self._world.joint_state())
        self._states = self.create_publisher(JointState, qos.SIM_STATE_TOPIC, qos.SIM_STATE)
        self._qpos_names = tuple(self._world.qpos_names())
        self._task_states = self.create_publisher(String, qos.SIM_TASK_STATE_TOPIC, qos.LATCHED)
        if not self._real_time:
            self._clock = self.create_publisher(ClockMessage, "/clock", qos.COMMANDS)
            self._clock_message = ClockMessage()
            self._follow_all()
        driver = self._world.driver
        # xs_sdk's own subscriptions keep 10.
        self.create_subscription(
            JointGroupCommand,
            f"{prefix}/commands/joint_group",
            lambda message: driver.command_group(message.name, message.cmd),
            qos.JOINT_STATES,
        )
        self.create_subscription(
            JointSingleCommand,
            f"{prefix}/commands/joint_single",
            lambda message: driver.command_single(message.name, message.cmd),
            qos.JOINT_STATES,
        )
        self.create_subscription(String, qos.TASK_TOPIC, self._on_task, qos.LATCHED)

    def _follow_all(self) -> None:
        """Have time wait for the commander and the cameras, by their messages' stamps."""
        camera_lag_ns = int(_CAMERA_LAG_PERIODS * 1e9 / self._parameters.state_rate_hz)
        self._follow(JointState, qos.COMMANDED_TOPIC, qos.COMMANDED, _COMMAND_LAG_NS)
        for name in self._parameters.cameras:
            self._follow(CameraInfo, f"/{name}/camera_info", qos.CAMERA, camera_lag_ns)

    def _follow(self, message_type, topic: str, profile, lag_ns: int) -> None:
        follower = self._followers[topic] = Follower(lag_ns)

        def heard(message) -> None:
            stamp_ns = conversions.ns_from_stamp(message.header.stamp)
            follower.heard(stamp_ns, time.monotonic_ns())
            if self._progress:
                # Time may have waited for just this message.
                self._advance()

        self.create_subscription(message_type, topic, heard, profile)

    def _create_services(self) -> None:
        driver, prefix = self._world.driver, self._prefix

        def serve(service_type, name, method, answer=None):
            """Call `method` with the request's fields in order; `answer` fills the response."""

            def handle(request, response):
                slots = request.get_fields_and_field_types()
                result = method(*(getattr(request, slot) for slot in slots))
                if answer is not None:
                    answer(result, response)
                return response

            self.create_service(service_type, f"{prefix}/{name}", handle)

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
        self.create_service(Trigger, qos.SIM_RESET_SERVICE, self._on_reset)

    def _set_gains(self, cmd_type: str, name: str, *gains: int) -> None:
        registers = ("Position_P_Gain", "Position_I_Gain", "Position_D_Gain")
        for register, value in zip(registers, gains, strict=False):
            self._world.driver.set_register(cmd_type, name, register, value)

    # --- time ---

    def _check_clash(self) -> None:
        """Refuse to be the second arm here; let time start when none was seen for a second."""
        topic = f"{self._prefix}/joint_states"
        others = self.count_publishers(topic) - 1
        if others > 0:
            raise DomainClashError(
                f"{others} other publisher(s) of {topic} in this ROS domain: another arm or sim "
                "runs here; stop it, or set another ROS_DOMAIN_ID"
            )
        age_s = time.monotonic() - self._made_s
        if age_s > _CLASH_CHECK_S and not self._progress:
            self._start_time()
        if age_s > _CLASH_WATCH_S:
            self._check_timer.cancel()

    def _start_time(self) -> None:
        self._pacer.start(time.monotonic_ns())
        if self._real_time:
            self._epoch_ns = self.get_clock().now().nanoseconds - self._world.time_ns
        self._tell_task_state()
        period_s = CONTROL_PERIOD_NS * 1e-9 / self._parameters.speed
        self.create_timer(period_s, self._advance, clock=self._steady)
        self.create_timer(_REPORT_S, self._report_pace, clock=self._steady)
        self._progress.append((time.monotonic(), 0))

    def _advance(self) -> None:
        now_ns = time.monotonic_ns()
        given_up = self._pacer.given_up
        for _ in range(self._pacer.due(now_ns)):
            if any(self._waits_for(topic, now_ns) for topic in self._followers):
                self._pacer.pause(now_ns)
                self._nudge(now_ns)
                break
            self._waiting_since_ns = None
            self._tick()
            self._pacer.tick()
        if self._real_time:
            # Stamps stay ROS time across a hiccup.
            self._epoch_ns += (self._pacer.given_up - given_up) * CONTROL_PERIOD_NS

    def _waits_for(self, topic: str, now_ns: int) -> bool:
        follower = self._followers[topic]
        times_lost = follower.times_lost
        waits = follower.lags(self._world.time_ns, now_ns)
        if follower.times_lost > times_lost:
            self.get_logger().info(f"time goes on without {topic}: nothing was heard there for 2 s")
        return waits

    def _nudge(self, now_ns: int) -> None:
        """Tell the time once more when it has stood still for a while."""
        if self._waiting_since_ns is None:
            self._waiting_since_ns = now_ns
        elif now_ns - self._waiting_since_ns > _NUDGE_NS:
            self._clock.publish(self._clock_message)
            self._waiting_since_ns = now_ns

    def _tick(self) -> None:
        self._world.step()
        ticks = self._world.time_ns // CONTROL_PERIOD_NS
        stamp_ns = self._epoch_ns + self._world.time_ns
        stamp = conversions.stamp_from_ns(stamp_ns)
        if not self._real_time and ticks % _TICKS_PER_CLOCK == 0:
            self._clock_message.clock = stamp
            self._clock.publish(self._clock_message)
        message = self._joint_message
        message.header.stamp = stamp
        _, position, velocity, effort = self._world.joint_state()
        message.position = conversions.doubles(position)
        message.velocity = conversions.doubles(velocity)
        message.effort = conversions.doubles(effort)
        self._joint_states.publish(message)
        # Right on average also for rates that do not divide the ticks', like 30 Hz.
        if int(ticks * self._states_per_tick) > int((ticks - 1) * self._states_per_tick):
            self._states.publish(
                conversions.joint_state_to_msg(stamp_ns, self._qpos_names, self._world.qpos())
            )
        if ticks % _TICKS_PER_TASK_CHECK == 0:
            self._tell_task_state()

    def _report_pace(self) -> None:
        self._progress.append((time.monotonic(), self._pacer.ticks))
        (start_s, start_ticks), (end_s, end_ticks) = self._progress
        pace = (end_ticks - start_ticks) * CONTROL_PERIOD_NS * 1e-9 / (end_s - start_s)
        if pace < 0.95 * self._parameters.speed:
            self.get_logger().warning(
                f"simulated time ran at {pace:.2f} times real time in the last minute, not "
                f"{self._parameters.speed:g}: this machine is busy, or choose a lower speed"
            )

    # --- scene and task ---

    def _on_task(self, message: String) -> None:
        self._task_text = message.data
        self._task = parse_task(message.data)
        missing = set(self._task.objects if self._task else ()) - set(self._world.objects)
        if missing:
            self.get_logger().warning(
                f"nobody can judge the task {message.data!r}: {', '.join(sorted(missing))} not on "
                "the table; add it to the parameter objects"
            )
            self._task = None
        self._tell_task_state()

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Lay the objects out anew; arm and time go on, so that no joint ever jumps."""
        self._episode += 1
        layout = self._world.reset(self._layout_seed, keep_arm=True)
        self._tell_task_state()
        response.success = True
        response.message = json.dumps(
            {"episode": self._episode, "layout_seed": self._layout_seed, "layout": layout}
        )
        return response

    def _tell_task_state(self) -> None:
        """Publish how far the task is, when that changed; null where nobody can judge."""
        state = self._task.evaluate(self._world) if self._task is not None else None
        told = {
            "task": self._task_text,
            "episode": self._episode,
            "partial": None if state is None else state.partial,
            "success": None if state is None else state.success,
            "layout_seed": self._layout_seed,
        }
        if told != self._told:
            self._told = told
            self._task_states.publish(String(data=json.dumps(told, ensure_ascii=False)))


def _fill_robot_info(info, response: srv.RobotInfo.Response) -> None:
    values = asdict(info)
    for field in fields(info):
        value = values[field.name]
        setattr(response, field.name, list(value) if isinstance(value, tuple) else value)


def main() -> int:
    """Run sim_node; the entry of scripts/sim_node."""
    return run(SimNode, "sim_node")
