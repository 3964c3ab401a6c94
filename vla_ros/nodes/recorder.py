"""recorder_node: one MCAP bag an episode, from serialised messages as they arrived.

The node that moves the arm says on /vla/episode when an episode starts and ends; this one answers
on /vla/recording. An episode is recorded from the moment on at which every topic it needs has
arrived after the start event, never from a guess about discovery.
"""

import importlib
import importlib.metadata
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import String

from vla_ros.core.episode import EpisodeEvent, RecordingState
from vla_ros.core.errors import BagError, EpisodeError
from vla_ros.nodes import qos
from vla_ros.nodes.episode_bag import EpisodeBag, Topic
from vla_ros.nodes.lifetime import ShellNode, run
from vla_ros.nodes.params import ParameterError, declare, parameter

# How long a recorder that was told to stop waits for the commander's end event.
_END_GRACE_S = 1.5


@dataclass(frozen=True)
class RecorderParameters:
    """Parameters of recorder_node."""

    out: str = parameter("rosbags", "Folder that holds the sessions.")
    session: str = parameter("", "Folder of this session in it; empty: the UTC date and time.")
    robot_name: str = parameter("wx250s", "Namespace of the arm driver.")
    cameras: list = parameter(["front"], "Names of the cameras to record.")
    extra_topics: list = parameter(
        [""],
        "More topics that must arrive, each as 'NAME TYPE', like '/x std_msgs/msg/String'.",
    )
    start_timeout_s: float = parameter(
        15.0, "How long an episode may wait for its topics.", "s", 0.1, 600.0
    )
    min_free_mb: int = parameter(
        500, "Recording stops once less than this is free on the disk.", "MB", 0, 10_000_000
    )


class RecorderNode(ShellNode):
    """Subscribes to everything from the start, writes only while an episode runs."""

    def __init__(self):
        super().__init__("recorder")
        self._parameters = parameters = declare(self, RecorderParameters)
        session = parameters.session or time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self._session = Path(parameters.out).expanduser() / session
        required, optional = topics_to_record(parameters)
        self._topics = required + optional
        self._required = tuple(topic.name for topic in required)
        self._bag: EpisodeBag | None = None
        self._start: EpisodeEvent | None = None
        self._missing: set[str] = set()
        self._deadline = 0.0
        self._stop_deadline: float | None = None
        self._latched: dict[str, bytes] = {}
        self.saved = 0
        self._states = self.create_publisher(String, qos.RECORDING_TOPIC, qos.LATCHED)
        for topic in self._topics:
            self._subscribe(topic)
        # Wall time: these bounds hold while simulated time stands still, too.
        self.create_timer(0.2, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._tell("idle")

    def _subscribe(self, topic: Topic) -> None:
        if topic.name == qos.EPISODE_TOPIC:
            handler = self._on_episode
        else:

            def handler(data: bytes) -> None:
                self._on_message(topic.name, data)

        profile = qos.RECORD_LATCHED if topic.latched else qos.RECORD
        self.create_subscription(message_class(topic.type), topic.name, handler, profile, raw=True)

    def _on_message(self, topic: str, data: bytes) -> None:
        if topic in qos.LATCHED_TOPICS:
            self._latched[topic] = bytes(data)
        if self._missing:
            self._missing.discard(topic)
            if not self._missing:
                self._begin()
        if self._bag is not None:
            self._write(topic, data)

    def _on_episode(self, data: bytes) -> None:
        try:
            event = EpisodeEvent.from_json(deserialize_message(bytes(data), String).data)
        except EpisodeError as error:
            self.get_logger().warning(f"an event on {qos.EPISODE_TOPIC} was ignored: {error}")
            return
        if event.event == "start":
            self._on_start(event)
        elif self._start is not None and event.episode_id == self._start.episode_id:
            if self._bag is not None:
                self._write(qos.EPISODE_TOPIC, data)
            self._end(event)

    def _on_start(self, event: EpisodeEvent) -> None:
        if self._start is not None:
            self._end(self._cut_short("another episode started before this one ended"))
        self._check_space(event.episode_id)
        self._start = event
        self._missing = set(self._required)
        self._deadline = time.monotonic() + self._parameters.start_timeout_s
        self._tell("waiting")

    def _begin(self) -> None:
        try:
            self._bag = EpisodeBag(self._session, self._start.episode_id, self._topics)
        except BagError as error:
            self._fail_recording(error)
            return
        # Said before this bag was opened, but a reader needs them in each.
        for topic, data in self._latched.items():
            self._write(topic, data)
        start = serialize_message(String(data=self._start.to_json()))
        self._write(qos.EPISODE_TOPIC, start)
        self._tell("recording")

    def _write(self, topic: str, data: bytes) -> None:
        if self._bag is None:
            return
        try:
            self._bag.write(topic, self.get_clock().now().nanoseconds, data)
        except BagError as error:
            self._fail_recording(error)

    def _end(self, event: EpisodeEvent) -> None:
        bag, self._bag = self._bag, None
        try:
            if bag is None:
                self._tell("discarded", "the episode ended before all topics had arrived")
            elif event.reason == "discard":
                bag.discard()
                self._tell("discarded")
            else:
                path = bag.save(self._facts(event))
                self.saved += 1
                self._tell("saved", path=str(path.resolve()))
        except BagError as error:
            self._fail_recording(error)
        self._start = None
        self._missing = set()
        if self._stop_deadline is not None:
            self.finish(0)

    def _facts(self, event: EpisodeEvent) -> dict[str, str]:
        return {
            "vla_ros_version": _version(),
            "episode": event.to_json(),
            "robot_name": self._parameters.robot_name,
            "cameras": json.dumps(self._parameters.cameras),
        }

    def _cut_short(self, reason: str) -> EpisodeEvent:
        start = self._start
        return EpisodeEvent("end", start.episode_id, start.kind, start.task, None, reason)

    def _watch(self) -> None:
        if self._stop_deadline is not None and time.monotonic() > self._stop_deadline:
            self._end(self._cut_short("the recorder was stopped"))
        elif self._start is not None and self.count_publishers(qos.EPISODE_TOPIC) == 0:
            self._end(self._cut_short("the node that moves the arm is gone"))
        elif self._missing and time.monotonic() > self._deadline:
            missing = ", ".join(sorted(self._missing))
            self._tell(
                "failed",
                f"no message within {self._parameters.start_timeout_s:g} s on {missing}: check "
                "that the arm driver and the cameras run",
            )
            self._start, self._missing = None, set()
        elif self._bag is not None:
            self._check_space(self._start.episode_id)

    def _check_space(self, episode_id: str) -> None:
        """End the recording, and the node, before the disk is full."""
        folder = next(path for path in [self._session, *self._session.parents] if path.exists())
        free_mb = shutil.disk_usage(folder.resolve()).free // 1_000_000
        if free_mb >= self._parameters.min_free_mb:
            return
        if self._bag is not None:
            self._end(self._cut_short("the disk is nearly full"))
        error = BagError(
            f"only {free_mb} MB are free on the disk of {self._session}, under min_free_mb "
            f"{self._parameters.min_free_mb}: saved episodes are whole; free space or choose "
            "another out"
        )
        self._tell("failed", str(error), episode_id=episode_id)
        raise error

    def _fail_recording(self, error: BagError) -> None:
        self._tell("failed", str(error))
        self._bag, self._start, self._missing = None, None, set()
        self.fail(str(error))

    def _tell(self, state: str, detail: str = "", path: str = "", episode_id: str = "") -> None:
        if self._start is not None:
            episode_id = self._start.episode_id
        missing = tuple(sorted(self._missing)) if state in ("waiting", "failed") else ()
        said = RecordingState(episode_id, state, path, missing, detail)
        self._states.publish(String(data=said.to_json()))
        if state in ("saved", "discarded", "failed"):
            # `fail` prints its own sentence at the end; the log has every episode's fate.
            self.get_logger().info(f"{episode_id}: {state} {path}{detail}")

    def stop(self) -> None:
        """Give the commander a moment to end its episode, then save what there is."""
        if self._start is None:
            self.finish(0)
        self._stop_deadline = time.monotonic() + _END_GRACE_S

    def close(self) -> None:
        """Save the open bag, if the node was ended without being asked."""
        if self._bag is not None:
            bag, self._bag = self._bag, None
            bag.save(self._facts(self._cut_short("the recorder was stopped")))


def topics_to_record(parameters: RecorderParameters) -> tuple[list[Topic], list[Topic]]:
    """Return (required, optional) topics; an episode starts once each required one arrived.

    Raises:
        ParameterError: an entry of `extra_topics` is not a name and a type.
    """
    arm = f"/{parameters.robot_name}"
    required = [Topic(f"{arm}/joint_states", "sensor_msgs/msg/JointState")]
    for camera in parameters.cameras:
        image = f"/{camera}/image_raw/compressed"
        required.append(Topic(image, "sensor_msgs/msg/CompressedImage"))
        required.append(Topic(f"/{camera}/camera_info", "sensor_msgs/msg/CameraInfo"))
    for entry in filter(None, parameters.extra_topics):
        parts = entry.split()
        if len(parts) != 2 or not parts[0].startswith("/") or parts[1].count("/") != 2:
            raise ParameterError(
                f"an entry of extra_topics must be '/NAME package/msg/Type', got {entry!r}"
            )
        required.append(Topic(*parts))
    optional = [
        Topic(qos.COMMANDED_TOPIC, "sensor_msgs/msg/JointState"),
        Topic(f"{arm}/commands/joint_group", "interbotix_xs_msgs/msg/JointGroupCommand"),
        Topic(f"{arm}/commands/joint_single", "interbotix_xs_msgs/msg/JointSingleCommand"),
        Topic(qos.EPISODE_TOPIC, "std_msgs/msg/String"),
        Topic(qos.TASK_TOPIC, "std_msgs/msg/String", latched=True),
        Topic(qos.SIM_TASK_STATE_TOPIC, "std_msgs/msg/String", latched=True),
    ]
    return required, optional


def message_class(msgtype: str) -> type:
    """Return the Python class of a message type `package/msg/Name`.

    Raises:
        BagError: its package is not installed or does not have it.
    """
    package, _, name = msgtype.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        raise BagError(
            f"the message type {msgtype} is not installed; install and source {package}"
        ) from None


def _version() -> str:
    try:
        return importlib.metadata.version("vla_ros")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def main() -> int:
    """Run recorder_node; the entry of scripts/recorder_node."""
    return run(RecorderNode, "recorder_node")
