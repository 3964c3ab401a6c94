"""sim_node: the simulated arm with the topics, services and units of Interbotix's xs_sdk.

Time advances by absolute deadlines, `speed` times as fast as the wall's. Where the machine cannot
keep up, simulated time simply runs slower; nothing is skipped. At speed 1 stamps are ROS time; at
any other speed they are simulated time since the start, /clock tells everybody, and time waits for
commands and cameras that are behind, so that a slow machine gives the same data as a fast one.

Faults of arm, bus and cameras come from the parameter `faults`, or while it runs from /sim/fault;
/sim/fault_state says which are on.
"""

import json
import time
from collections import deque
from dataclasses import dataclass

from rclpy.clock import Clock, ClockType
from rosgraph_msgs.msg import Clock as ClockMessage
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String

from vla_ros.core.arm import ROBOT_MODELS
from vla_ros.core.errors import VlaError
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode, run
from vla_ros.nodes.pacing import Follower, Pacer
from vla_ros.nodes.params import declare, parameter
from vla_ros.nodes.seeds import SEED_MAX, given_or_drawn
from vla_ros.nodes.sim_driver import DriverEndpoints
from vla_ros.nodes.sim_scene import SceneTopics
from vla_ros.sim.faults import FaultError, FaultSchedule, parse_faults
from vla_ros.sim.injection import Injector
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


@dataclass(frozen=True)
class SimParameters:
    """Parameters of sim_node."""

    robot_model: str = parameter("wx250s", "The arm.", choices=ROBOT_MODELS)
    robot_name: str = parameter("wx250s", "Namespace of its topics and services.")
    speed: float = parameter(1.0, "Simulated seconds in a second.", "", 0.01, 1000.0)
    seed: int = parameter(0, "Seed of the layouts; -1: drawn anew.", "", -1, SEED_MAX)
    objects: list = parameter(list(DEFAULT_OBJECTS), "Names of the objects on the table.")
    state_rate_hz: float = parameter(
        30.0, "Rate of /sim/state, from which the cameras render.", "Hz", 0.1, 100.0
    )
    cameras: list = parameter(["front"], "Cameras that time waits for at a speed other than 1.")
    faults: list = parameter(
        [""], "What goes wrong, each as NAME@START_S:DURATION_S[:ARG], from the start of time."
    )


class DomainClashError(VlaError):
    """Another arm driver speaks on the same topics."""


class SimNode(ShellNode):
    """Shell over SimWorld: paces it, publishes what it measures, hands it what arrives."""

    def __init__(self):
        super().__init__("sim")
        self._given = parameters = declare(self, SimParameters)
        seed = given_or_drawn(self, parameters.seed)
        self._world = SimWorld(
            SceneTopics.first_layout(seed),
            tuple(parameters.objects),
            self.get_logger().warning,
        )
        faults = [fault for text in parameters.faults if text for fault in parse_faults(text)]
        self._injector = Injector(self._world, FaultSchedule(faults), seed)
        self._real_time = parameters.speed == 1.0
        self._driver = DriverEndpoints(self, parameters.robot_name, self._injector, self._real_time)
        self._scene = SceneTopics(self, self._world, seed)
        self._states_per_tick = min(1.0, parameters.state_rate_hz * CONTROL_PERIOD_NS * 1e-9)
        self._epoch_ns = 0
        self._pacer = Pacer(CONTROL_PERIOD_NS, parameters.speed)
        self._followers: dict[str, Follower] = {}
        self._waiting_since_ns: int | None = None
        self._progress: deque[tuple[float, int]] = deque(maxlen=2)
        self._create_topics()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._made_s = time.monotonic()
        self._check_timer = self.create_timer(0.1, self._check_clash, clock=self._steady)

    def _create_topics(self) -> None:
        self._states = self.create_publisher(JointState, qos.SIM_STATE_TOPIC, qos.SIM_STATE)
        self._qpos_names = tuple(self._world.qpos_names())
        self._fault_states = self.create_publisher(String, qos.SIM_FAULT_STATE_TOPIC, qos.LATCHED)
        self.create_subscription(String, qos.SIM_FAULT_TOPIC, self._on_fault, qos.EPISODE)
        if not self._real_time:
            self._clock_publisher = self.create_publisher(ClockMessage, "/clock", qos.COMMANDS)
            self._clock_message = ClockMessage()
            self._follow_all()

    def _follow_all(self) -> None:
        """Have time wait for the commander and the cameras, by their messages' stamps."""
        camera_lag_ns = int(_CAMERA_LAG_PERIODS * 1e9 / self._given.state_rate_hz)
        self._follow(JointState, qos.COMMANDED_TOPIC, qos.COMMANDED, _COMMAND_LAG_NS)
        self._camera_topics = {f"/{name}/camera_info" for name in self._given.cameras}
        for topic in sorted(self._camera_topics):
            self._follow(CameraInfo, topic, qos.CAMERA, camera_lag_ns)

    def _follow(self, message_type, topic: str, profile, lag_ns: int) -> None:
        follower = self._followers[topic] = Follower(lag_ns)

        def heard(message) -> None:
            stamp_ns = conversions.ns_from_stamp(message.header.stamp)
            follower.heard(stamp_ns, time.monotonic_ns())
            if self._progress:
                # Time may have waited for just this message.
                self._advance()

        self.create_subscription(message_type, topic, heard, profile)

    # --- time ---

    def _check_clash(self) -> None:
        """Refuse to be the second arm here; let time start when none was seen for a second."""
        topic = self._driver.joint_states_topic
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
        self._scene.tell()
        period_s = CONTROL_PERIOD_NS * 1e-9 / self._given.speed
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
        if topic in self._camera_topics and not self._injector.gives_pictures:
            return False
        waits = follower.lags(self._world.time_ns, now_ns)
        if follower.times_lost > times_lost:
            self.get_logger().info(f"time goes on without {topic}: nothing was heard there for 2 s")
        return waits

    def _nudge(self, now_ns: int) -> None:
        """Tell the time once more when it has stood still for a while."""
        if self._waiting_since_ns is None:
            self._waiting_since_ns = now_ns
        elif now_ns - self._waiting_since_ns > _NUDGE_NS:
            self._clock_publisher.publish(self._clock_message)
            self._waiting_since_ns = now_ns

    def _tick(self) -> None:
        if self._injector.step():
            self._tell_faults()
        ticks = self._world.time_ns // CONTROL_PERIOD_NS
        stamp_ns = self._epoch_ns + self._world.time_ns
        if not self._real_time and ticks % _TICKS_PER_CLOCK == 0:
            self._clock_message.clock = conversions.stamp_from_ns(stamp_ns)
            self._clock_publisher.publish(self._clock_message)
        self._driver.publish(stamp_ns)
        # Right on average also for rates that do not divide the ticks', like 30 Hz.
        if int(ticks * self._states_per_tick) > int((ticks - 1) * self._states_per_tick):
            picture = self._injector.picture()
            if picture is not None:
                self._states.publish(
                    conversions.joint_state_to_msg(stamp_ns, self._qpos_names, picture)
                )
        if ticks % _TICKS_PER_TASK_CHECK == 0:
            self._scene.tell()

    def _report_pace(self) -> None:
        self._progress.append((time.monotonic(), self._pacer.ticks))
        (start_s, start_ticks), (end_s, end_ticks) = self._progress
        pace = (end_ticks - start_ticks) * CONTROL_PERIOD_NS * 1e-9 / (end_s - start_s)
        if pace < 0.95 * self._given.speed:
            self.get_logger().warning(
                f"simulated time ran at {pace:.2f} times real time in the last minute, not "
                f"{self._given.speed:g}: this machine is busy, or choose a lower speed"
            )

    # --- faults ---

    def _on_fault(self, message: String) -> None:
        """Take a fault that starts so many seconds from now; what is no fault only warns."""
        try:
            self._injector.schedule.add(parse_faults(message.data), self._world.time_ns * 1e-9)
        except FaultError as error:
            self.get_logger().warning(str(error))

    def _tell_faults(self) -> None:
        active = [str(fault) for fault in self._injector.active]
        self.get_logger().info(f"faults: {', '.join(active) or 'none'}")
        self._fault_states.publish(String(data=json.dumps({"active": active})))


def main() -> int:
    """Run sim_node; the entry of scripts/sim_node."""
    return run(SimNode, "sim_node")
