"""camera_node: images of the sim, a USB camera, a camera driver's topic or a video file."""

import time
from dataclasses import dataclass

import cv2
import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from tf2_msgs.msg import TFMessage

from vla_ros.core.errors import CameraError
from vla_ros.nodes import conversions, driver_images, qos
from vla_ros.nodes.bridge import choose_bridge
from vla_ros.nodes.diagnostics import OK, STALE, WARN, Diagnostics
from vla_ros.nodes.driver_images import DriverImages
from vla_ros.nodes.extrinsics import extrinsics_to_msg, load_extrinsics, sim_extrinsics
from vla_ros.nodes.intrinsics import Intrinsics
from vla_ros.nodes.lifetime import ShellNode, run
from vla_ros.nodes.params import declare, parameter
from vla_ros.nodes.stream_health import StreamHealth
from vla_ros.nodes.video import VideoReader, is_video_file, open_video

# How long the first pictures go without camera_info for a driver whose own may still come.
_INFO_WAIT_S = 3.0


@dataclass(frozen=True)
class CameraParameters:
    """Parameters of camera_node."""

    name: str = parameter("front", "The camera's name: its namespace and its view in the sim.")
    source: str = parameter(
        "sim",
        "'sim', a V4L2 index or path (0, /dev/video0), 'topic:' and the topic of a camera driver's "
        "raw images (topic:/camera/color/image_raw), or a video file's path.",
    )
    width: int = parameter(640, "Image width.", "px", 16, 4096)
    height: int = parameter(480, "Image height.", "px", 16, 4096)
    rate_hz: float = parameter(30.0, "Images a second.", "Hz", 0.1, 240.0)
    jpeg_quality: int = parameter(90, "JPEG quality.", "", 1, 100)
    calibration: str = parameter(
        "", "YAML file of camera_calibration; empty: what a driver says, else uncalibrated."
    )
    extrinsics: str = parameter(
        "", "YAML file of training.hand_eye; empty: where a real camera is stays unsaid."
    )
    robot_name: str = parameter("wx250s", "Namespace of the robot's links in tf.")
    wait_s: float = parameter(10.0, "How long the camera may be absent at start.", "s", 0.0, 3600.0)
    stall_s: float = parameter(2.0, "Without an image this long it counts as stalled.", "s", 0.1)
    loop: bool = parameter(True, "Whether a video file starts again at its end.")


class CameraNode(ShellNode):
    """Publishes <name>/image_raw (when asked for), its JPEG form, camera_info, and where it is."""

    def __init__(self):
        super().__init__("camera")
        self._given = declare(self, CameraParameters)
        self._frame_id = f"{self._given.name}_optical_frame"
        self._reader: VideoReader | None = None
        self._driver: DriverImages | None = None
        self._renderer = None

    def configure(self) -> None:
        """Load calibration and extrinsics; prepare the renderer of a simulated camera.

        Raises:
            CameraError: a file cannot be used.
            SceneError: the simulated camera cannot be drawn.
        """
        parameters = self._given
        topic = f"/{parameters.name}/image_raw"
        self._bridge, said = choose_bridge()
        self.get_logger().info(said)
        is_driver = parameters.source.startswith(driver_images.PREFIX)
        self._intrinsics = Intrinsics(
            parameters.name,
            (parameters.width, parameters.height),
            parameters.calibration,
            self.get_logger().warning,
            _INFO_WAIT_S if is_driver else 0.0,
        )
        self._complaints: set[str] = set()
        if parameters.source == "sim":
            self._make_renderer()
        if is_driver:
            self._driver = DriverImages(
                self,
                parameters.name,
                parameters.source,
                self._is_due,
                self._on_driver_image,
                self._intrinsics.hear,
            )
        self._raw = self.create_publisher(Image, topic, qos.CAMERA)
        self._jpeg = self.create_publisher(CompressedImage, f"{topic}/compressed", qos.CAMERA)
        self._info = self.create_publisher(
            CameraInfo, f"/{parameters.name}/camera_info", qos.CAMERA
        )
        self._say_where()
        self._health = StreamHealth(parameters.stall_s)
        self.diagnostics = Diagnostics(self, parameters.name)
        self._next_ns = 0
        if self._renderer is not None:
            self.create_subscription(
                JointState, qos.SIM_STATE_TOPIC, self._on_sim_state, qos.SIM_STATE
            )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.5, self._watch, clock=steady)
        self.create_timer(1.0, self._say_status, clock=steady)

    def activate(self) -> None:
        """Begin to publish; a camera that is absent fails the node after `wait_s`."""
        self._health.restart(time.monotonic())
        if self._driver is not None:
            self._driver.start()
        elif self._renderer is None:
            self._start_video()

    def deactivate(self) -> None:
        """Publish nothing more, and leave the camera to others."""
        if self._driver is not None:
            self._driver.stop()
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    def _make_renderer(self) -> None:
        # MuJoCo is needed, and installed, only where the sim is.
        from vla_ros.sim.render import SceneRenderer, intrinsics

        size = self._given.width, self._given.height
        self._renderer = SceneRenderer(*size, self._given.name)
        K = intrinsics(self._given.name, *size)
        self._sim_info = conversions.camera_info_to_msg(*size, K, None, self._frame_id)

    def _start_video(self) -> None:
        parameters = self._given
        size = parameters.width, parameters.height
        is_file = is_video_file(parameters.source)
        self._reader = VideoReader(
            f"camera source {parameters.source!r}",
            lambda: open_video(parameters.source, *size, parameters.rate_hz),
            self.guarded(self._on_video_frame),
            self.get_logger().warning,
            self._on_video_end,
            parameters.wait_s,
            period_s=1.0 / parameters.rate_hz if is_file else 0.0,
            loop=parameters.loop,
        )
        self._reader.start()

    def _say_where(self) -> None:
        """Publish where the camera is on /tf_static; nothing where nobody has measured it."""
        parameters = self._given
        if self._renderer is not None:
            where = sim_extrinsics(parameters.name)
        elif parameters.extrinsics:
            where = load_extrinsics(parameters.extrinsics, self._frame_id)
        else:
            self.get_logger().warning(
                f"where camera {parameters.name} is on the robot is not known, and not published: "
                "measure it with training.hand_eye and set the parameter extrinsics"
            )
            return
        self._transforms = self.create_publisher(TFMessage, qos.TF_STATIC_TOPIC, qos.LATCHED)
        now_ns = self.get_clock().now().nanoseconds
        self._transforms.publish(
            extrinsics_to_msg(where, parameters.robot_name, self._frame_id, now_ns)
        )

    def _is_due(self, stamp_ns: int) -> bool:
        """Return whether an image of this stamp is wanted by the rate; if so, it is the last."""
        period_ns = int(1e9 / self._given.rate_hz)
        # A quarter of slack for the source's own grid; farther off than a period is another clock.
        early_ns = self._next_ns - stamp_ns
        if self.state != "active" or period_ns // 4 < early_ns <= period_ns:
            self._health.alive(time.monotonic())
            return False
        self._next_ns = (self._next_ns if abs(early_ns) <= period_ns else stamp_ns) + period_ns
        return True

    def _on_sim_state(self, message: JointState) -> None:
        stamp_ns, _, qpos = conversions.joint_state_from_msg(message)
        if self._is_due(stamp_ns):
            self._publish(self._renderer.render(qpos), stamp_ns, self._sim_info)

    def _on_driver_image(self, message: Image) -> None:
        # Runs in a thread of its own; publishing is safe from any thread.
        try:
            rgb = self._bridge.rgb_from_msg(message)
        except CameraError as error:
            # A driver that never gave a usable image is set up wrong; one bad image is left out.
            if not self._health.images:
                raise
            if str(error) not in self._complaints:
                self._complaints.add(str(error))
                self.get_logger().warning(f"images are left out: {error}")
            return
        info = self._intrinsics.info(message.width, message.height, time.monotonic())
        self._publish(rgb, conversions.ns_from_stamp(message.header.stamp), info)

    def _on_video_frame(self, bgr: np.ndarray) -> None:
        # Runs in the reader's thread; publishing is safe from any thread.
        stamp_ns = self.get_clock().now().nanoseconds
        info = self._intrinsics.info(bgr.shape[1], bgr.shape[0], time.monotonic())
        self._publish(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), stamp_ns, info)

    def _on_video_end(self, sentence: str) -> None:
        if sentence:
            self.fail(sentence)
        else:
            self.get_logger().info(f"the video {self._given.source} is over")
            self.finish(0)

    def _publish(self, rgb: np.ndarray, stamp_ns: int, info: CameraInfo | None) -> None:
        self._health.count(time.monotonic())
        jpeg = conversions.jpeg_from_rgb(rgb, self._given.jpeg_quality)
        self._jpeg.publish(conversions.compressed_to_msg(jpeg, stamp_ns, self._frame_id))
        if self._raw.get_subscription_count():
            self._raw.publish(self._bridge.msg_from_rgb(rgb, stamp_ns, self._frame_id))
        if info is not None:
            info.header.stamp = conversions.stamp_from_ns(stamp_ns)
            self._info.publish(info)

    def _watch(self) -> None:
        if self.state != "active":
            return
        silent_s = self._health.silent_s(time.monotonic())
        if not self._health.images:
            if self._driver is not None and silent_s > self._given.wait_s:
                raise CameraError(self._driver.absent(self._given.wait_s))
            # A sim that is there but busy starting is waited for by whoever needs pictures.
            absent = self.count_publishers(qos.SIM_STATE_TOPIC) == 0
            if self._renderer is not None and absent and silent_s > self._given.wait_s:
                raise CameraError(
                    f"no simulated camera: nothing on {qos.SIM_STATE_TOPIC} for "
                    f"{self._given.wait_s:g} s; start sim_node, or set source to a camera"
                )
        elif self._health.changed(time.monotonic()):
            what = f"camera {self._given.name}"
            if self._health.stalled:
                self.get_logger().warning(f"{what} has given no image for {silent_s:.1f} s")
            else:
                self.get_logger().info(f"{what} gives images again")
            self._say_status()

    def _say_status(self) -> None:
        health = self._health
        values = {
            "rate_hz": round(health.rate_hz(time.monotonic()), 1),
            "wanted_rate_hz": self._given.rate_hz,
            "images": health.images,
            "stalls": health.stalls,
            "reopened": 0 if self._reader is None else self._reader.reopened,
            "converted_with": self._bridge.name,
        }
        is_off = False
        if self._driver is not None:
            age_s, is_off = self._driver.watch_stamps()
            values["stamp_age_s"] = round(age_s, 3)
            values |= {"heard": self._driver.heard, "skipped": self._driver.skipped}
        if self.state != "active":
            self.diagnostics.set("images", OK, f"the camera is {self.state}", values)
        elif not health.images:
            self.diagnostics.set("images", STALE, "no image yet", values)
        elif health.stalled:
            self.diagnostics.set("images", WARN, "no image any more", values)
        elif is_off:
            self.diagnostics.set("images", WARN, "the stamps are of another clock", values)
        else:
            self.diagnostics.set("images", OK, "images arrive", values)

    def close(self) -> None:
        """Stop the threads of reader and driver, and free the renderer."""
        if self._driver is not None:
            self._driver.stop()
            self._driver = None
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def main() -> int:
    """Run camera_node; the entry of scripts/camera_node."""
    return run(CameraNode, "camera_node")
