"""Raw images of a camera that has a ROS driver of its own, the latest one at a time."""

import threading
from collections.abc import Callable

from rclpy.exceptions import InvalidTopicNameException
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CameraInfo, Image

from vla_ros.core.errors import CameraError
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.stream_health import StampAge

PREFIX = "topic:"
_TYPE = "sensor_msgs/msg/Image"
# Whoever checks the age of pictures does it by their stamps.
_MOST_AGE_S = 0.5


class DriverImages:
    """Hears a driver's images and hands the latest on, in a thread of its own.

    Args:
        node: the node to live in; what `on_image` raises ends it.
        camera: the camera's name, whose own topics are no source for it.
        source: "topic:" and the name of a topic of raw images.
        is_due: called with the stamp [ns] of each image, in the executor; whether to hand it on.
        on_image: called with an image that is due; newer ones meanwhile replace each other.
        on_info: called with each camera_info that the driver publishes next to its images.

    Attributes:
        heard: how many images came while they were asked for.
        skipped: how many images were due and gave way to a newer one.

    Raises:
        CameraError: the topic's name is illegal, or one of the camera's own.
    """

    def __init__(
        self,
        node: ShellNode,
        camera: str,
        source: str,
        is_due: Callable[[int], bool],
        on_image: Callable[[Image], None],
        on_info: Callable[[CameraInfo], None],
    ):
        self.topic = _topic_of(source, camera)
        self._node = node
        self._is_due = is_due
        self._on_image = node.guarded(on_image)
        self._age = StampAge(_MOST_AGE_S)
        self._worker: _Latest | None = None
        self._last_ns = 0
        self.heard = self.skipped = 0
        node.create_subscription(Image, self.topic, self._hear, qos.DRIVER)
        info = f"{self.topic.rpartition('/')[0]}/camera_info"
        node.create_subscription(CameraInfo, info, on_info, qos.DRIVER)

    def start(self) -> None:
        """Begin to hand images on."""
        self._worker = _Latest(self._on_image)
        self._worker.start()

    def stop(self) -> None:
        """Hand on no more; wait for the one that is under way."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def absent(self, wait_s: float) -> str:
        """Return the sentence on why nothing has come for `wait_s` [s]."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        others = {publisher.topic_type for publisher in publishers} - {_TYPE}
        if others:
            return (
                f"{self.topic} carries {', '.join(sorted(others))}, not {_TYPE}: set source to "
                "the driver's topic of raw images"
            )
        if publishers:
            return (
                f"the driver of {self.topic} is there, but has sent no image for {wait_s:g} s; "
                "check its log, and its camera's cable"
            )
        return (
            f"nobody publishes {self.topic} for {wait_s:g} s; start the camera's driver, or look "
            "up the name with `ros2 topic list`"
        )

    def watch_stamps(self) -> tuple[float, bool]:
        """Return how far the stamps lie behind this machine's clock [s], and whether too far.

        Negative where they are ahead. Warns once.
        """
        age_s, begins = self._age.look()
        if begins:
            where = "behind" if age_s > 0 else "ahead of"
            self._node.get_logger().warning(
                f"the images on {self.topic} bear stamps {abs(age_s):.1f} s {where} this machine's "
                "clock, and whoever checks their age will refuse them: have the driver stamp them "
                "with the system's time, and keep the clocks of both machines together (NTP)"
            )
        return age_s, self._age.is_off

    def _hear(self, message: Image) -> None:
        stamp_ns = conversions.ns_from_stamp(message.header.stamp)
        if stamp_ns == 0:
            raise CameraError(
                f"the images on {self.topic} bear no time stamp; have the driver stamp them when "
                "they are taken"
            )
        # A driver that repeats its last image has stopped, whatever it publishes.
        if self._worker is None or stamp_ns == self._last_ns:
            return
        self._last_ns = stamp_ns
        self.heard += 1
        self._age.note((self._node.get_clock().now().nanoseconds - stamp_ns) * 1e-9)
        if self._is_due(stamp_ns):
            self.skipped += self._worker.put(message)


class _Latest(threading.Thread):
    """Calls a function with the latest of what is put in; what it had no time for is left out."""

    def __init__(self, work: Callable[[Image], None]):
        super().__init__(name="driver images", daemon=True)
        self._work = work
        self._changed = threading.Condition()
        self._waiting: Image | None = None
        self._stopping = False

    def put(self, message: Image) -> bool:
        """Leave a message; return whether it took the place of one."""
        with self._changed:
            replaced = self._waiting is not None
            self._waiting = message
            self._changed.notify()
        return replaced

    def run(self) -> None:
        """Work until stopped; the thread's body."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting is not None)
                if self._stopping:
                    return
                message, self._waiting = self._waiting, None
            self._work(message)

    def stop(self) -> None:
        """End the thread and wait for it, at most 2 s."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self.is_alive() and threading.current_thread() is not self:
            self.join(timeout=2.0)


def _topic_of(source: str, camera: str) -> str:
    topic = source.removeprefix(PREFIX)
    try:
        validate_full_topic_name(topic)
    except InvalidTopicNameException:
        raise CameraError(
            f"camera source {source!r} names no topic; give the driver's topic of raw images in "
            f"full, like {PREFIX}/camera/color/image_raw"
        ) from None
    if topic.rpartition("/")[0] == f"/{camera}":
        raise CameraError(
            f"camera source {source!r} lies where camera {camera} itself publishes; give the "
            f"camera or the driver's namespace another name than {camera}"
        )
    return topic
