"""Which topics the recorder takes, and how it subscribes to their serialised messages."""

import importlib
from collections.abc import Callable, Iterator

from rclpy.qos import qos_policy_name_from_kind

from vla_ros.core.errors import BagError
from vla_ros.nodes import qos
from vla_ros.nodes.episode_bag import Topic
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.params import ParameterError

TF_STATIC_TOPIC = "/tf_static"
# More different static transforms than this are no static ones.
_MAX_LATCHED = 100


def topics_to_record(
    robot_name: str, cameras: list[str], extra_topics: list[str]
) -> tuple[list[Topic], list[Topic]]:
    """Return (required, optional) topics; an episode starts once each required one arrived.

    Raises:
        ParameterError: an entry of `extra_topics` is not a name, a type, and "optional" or nothing.
    """
    arm = f"/{robot_name}"
    required = [Topic(f"{arm}/joint_states", "sensor_msgs/msg/JointState")]
    for camera in filter(None, cameras):
        image = f"/{camera}/image_raw/compressed"
        required.append(Topic(image, "sensor_msgs/msg/CompressedImage"))
        required.append(Topic(camera_info_topic(camera), "sensor_msgs/msg/CameraInfo"))
    asked_for: list[Topic] = []
    for entry in filter(None, extra_topics):
        parts = entry.split()
        is_optional = parts[2:] == ["optional"]
        if len(parts) != 2 + is_optional or parts[0][0] != "/" or parts[1].count("/") != 2:
            raise ParameterError(
                "an entry of extra_topics must be '/NAME package/msg/Type', and may end with "
                f"optional, got {entry!r}"
            )
        (asked_for if is_optional else required).append(Topic(parts[0], parts[1]))
    optional = [
        Topic(qos.COMMANDED_TOPIC, "sensor_msgs/msg/JointState"),
        Topic(f"{arm}/commands/joint_group", "interbotix_xs_msgs/msg/JointGroupCommand"),
        Topic(f"{arm}/commands/joint_single", "interbotix_xs_msgs/msg/JointSingleCommand"),
        Topic(qos.EPISODE_TOPIC, "std_msgs/msg/String"),
        Topic(qos.TASK_TOPIC, "std_msgs/msg/String", latched=True),
        Topic(qos.STOP_STATE_TOPIC, "std_msgs/msg/String", latched=True),
        Topic(qos.SIM_TASK_STATE_TOPIC, "std_msgs/msg/String", latched=True),
        Topic(qos.SIM_FAULT_STATE_TOPIC, "std_msgs/msg/String", latched=True),
        Topic(TF_STATIC_TOPIC, "tf2_msgs/msg/TFMessage", latched=True),
        Topic("/tf", "tf2_msgs/msg/TFMessage"),
        *asked_for,
    ]
    return required, optional


class Latched:
    """What was said before a bag was opened, and what a reader needs in each."""

    def __init__(self):
        self._said: dict[str, list[bytes]] = {}

    def hear(self, topic: str, data: bytes) -> None:
        """Keep the last message of a topic; of static transforms, which many publish, each."""
        known = self._said.setdefault(topic, [])
        if topic != TF_STATIC_TOPIC:
            known[:] = [data]
        elif data not in known:
            known[:] = [*known[1 - _MAX_LATCHED :], data]

    def messages(self) -> Iterator[tuple[str, bytes]]:
        """Yield (topic, serialised message)."""
        for topic, said in self._said.items():
            for data in said:
                yield topic, data


def camera_info_topic(camera: str) -> str:
    """Return the topic of a camera's calibration."""
    return f"/{camera}/camera_info"


def importable(topics: list[Topic], say: Callable[[str], None]) -> list[Topic]:
    """Return the topics but transforms where tf2_msgs is not installed, which is said once.

    Raises:
        BagError: the type of another topic is not installed.
    """
    try:
        message_class("tf2_msgs/msg/TFMessage")
    except BagError as error:
        say(f"transforms are not recorded: {error}")
        topics = [topic for topic in topics if not topic.type.startswith("tf2_msgs/")]
    for topic in topics:
        message_class(topic.type)
    return topics


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


def starts_with_header(msgtype: str) -> bool:
    """Return whether a message of the type begins with its std_msgs/Header."""
    fields = message_class(msgtype).get_fields_and_field_types()
    return next(iter(fields.values()), "") == "std_msgs/Header"


def subscribe(
    node: ShellNode,
    topic: Topic,
    on_message: Callable[[bytes], None],
    on_lost: Callable[[int], None],
    on_mismatch: Callable[[str], None],
) -> None:
    """Subscribe to serialised messages.

    Args:
        node: the node to subscribe.
        topic: what to.
        on_message: hears every message.
        on_lost: hears how many the middleware lost.
        on_mismatch: hears which quality of service of a publisher, such as RELIABILITY, lets
            nothing of it arrive.
    """
    arguments = (
        message_class(topic.type),
        topic.name,
        on_message,
        qos.RECORD_LATCHED if topic.latched else qos.RECORD,
    )
    try:
        from rclpy.event_handler import SubscriptionEventCallbacks, UnsupportedEventTypeError
    except ImportError:  # Humble
        from rclpy.qos_event import SubscriptionEventCallbacks, UnsupportedEventTypeError
    events = SubscriptionEventCallbacks(
        message_lost=node.guarded(lambda event: on_lost(event.total_count_change)),
        incompatible_qos=node.guarded(lambda event: on_mismatch(_policy(event.last_policy_kind))),
    )
    try:
        node.create_subscription(*arguments, raw=True, event_callbacks=events)
    except UnsupportedEventTypeError:  # a middleware that does not tell
        node.create_subscription(*arguments, raw=True)


def _policy(kind: int) -> str:
    return qos_policy_name_from_kind(kind).removesuffix("_QOS_POLICY").lower()
