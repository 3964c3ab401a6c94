"""camera_node: images of the sim, a USB camera or a video file, stamped at capture."""

import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState
from tf2_msgs.msg import TFMessage

from vla_ros.core.errors import CameraError
from vla_ros.nodes import conversions, qos
from vla_ros.nodes.diagnostics import OK, STALE, WARN, Diagnostics
from vla_ros.nodes.extrinsics import extrinsics_to_msg, load_extrinsics, sim_extrinsics
from vla_ros.nodes.lifetime import ShellNode, run
from vla_ros.nodes.params import declare, parameter
from vla_ros.nodes.stream_health import StreamHealth
from vla_ros.nodes.video import VideoReader, is_video_file, open_video


@dataclass(frozen=True)
class CameraParameters:
    """Parameters of camera_node."""

    name: str = parameter("front", "The camera's name: its namespace and its view in the sim.")
    source: str = parameter(
        "sim", "'sim', a V4L2 index or path (0, /dev/video0), or a video file's path."
    )
    width: int = parameter(640, "Image width.", "px", 16, 4096)
    height: int = parameter(480, "Image height.", "px", 16, 4096)
    rate_hz: float = parameter(30.0, "Images a second.", "Hz", 0.1, 240.0)
    jpeg_quality: int = parameter(90, "JPEG quality.", "", 1, 100)
    calibration: str = parameter(
        "", "YAML file of camera_calibration; empty: a real camera counts as uncalibrated."
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
        self._renderer = None

    def configure(self) -> None:
        """Load calibration and extrinsics; prepare the renderer of a simulated camera.

        Raises:
            CameraError: a file cannot be used.
            SceneError: the simulated camera cannot be drawn.
        """
        parameters = self._given
        topic = f"/{parameters.name}/image_raw"
        self._info_message: CameraInfo | None = None
        self._calibration = load_calibration(parameters.calibration)
        if parameters.source == "sim":
            self._make_renderer()
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
        if self._renderer is None:
            self._start_video()

    def deactivate(self) -> None:
        """Publish nothing more, and leave the camera to others."""
        if self._reader is not None:
            self._reader.stop()
            self._reader = None

    def _make_renderer(self) -> None:
        # MuJoCo is needed, and installed, only where the sim is.
        from vla_ros.sim.render import SceneRenderer, intrinsics

        size = self._given.width, self._given.height
        self._renderer = SceneRenderer(*size, self._given.name)
        K = intrinsics(self._given.name, *size)
        self._info_message = conversions.camera_info_to_msg(*size, K, None, self._frame_id)

    def _start_video(self) -> None:
        parameters = self._given
        size = parameters.width, parameters.height
        is_file = is_video_file(parameters.source)
        self._reader = VideoReader(
            f"camera source {parameters.source!r}",
            lambda: open_video(parameters.source, *size, parameters.rate_hz),
            self._on_video_frame,
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

    def _on_sim_state(self, message: JointState) -> None:
        stamp_ns, _, qpos = conversions.joint_state_from_msg(message)
        self._health.alive(time.monotonic())
        period_ns = int(1e9 / self._given.rate_hz)
        # A quarter of slack for the sim's own grid; farther off than a period is another clock.
        early_ns = self._next_ns - stamp_ns
        if self.state != "active" or period_ns // 4 < early_ns <= period_ns:
            return
        self._next_ns = (self._next_ns if abs(early_ns) <= period_ns else stamp_ns) + period_ns
        self._publish(self._renderer.render(qpos), stamp_ns)

    def _on_video_frame(self, bgr: np.ndarray) -> None:
        # Runs in the reader's thread; publishing is safe from any thread.
        stamp_ns = self.get_clock().now().nanoseconds
        self._health.alive(time.monotonic())
        if self._info_message is None:
            self._info_message = self._video_info(bgr.shape[1], bgr.shape[0])
        self._publish(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), stamp_ns)

    def _on_video_end(self, sentence: str) -> None:
        if sentence:
            self.fail(sentence)
        else:
            self.get_logger().info(f"the video {self._given.source} is over")
            self.finish(0)

    def _video_info(self, width: int, height: int) -> CameraInfo:
        if (width, height) != (self._given.width, self._given.height):
            self.get_logger().warning(
                f"camera {self._given.name} gives {width}x{height}, not the "
                f"{self._given.width}x{self._given.height} asked for"
            )
        if self._calibration is None:
            return conversions.camera_info_to_msg(width, height, None, None, self._frame_id)
        size, K, distortion = self._calibration
        if size != (width, height):
            self.fail(
                f"calibration {self._given.calibration} is for {size[0]}x{size[1]}, the "
                f"camera gives {width}x{height}; calibrate at this size or ask for that one"
            )
        return conversions.camera_info_to_msg(width, height, K, distortion, self._frame_id)

    def _publish(self, rgb: np.ndarray, stamp_ns: int) -> None:
        self._health.count(time.monotonic())
        jpeg = conversions.jpeg_from_rgb(rgb, self._given.jpeg_quality)
        self._jpeg.publish(conversions.compressed_to_msg(jpeg, stamp_ns, self._frame_id))
        if self._raw.get_subscription_count():
            self._raw.publish(conversions.image_to_msg(rgb, "rgb8", stamp_ns, self._frame_id))
        self._info_message.header.stamp = conversions.stamp_from_ns(stamp_ns)
        self._info.publish(self._info_message)

    def _watch(self) -> None:
        if self.state != "active":
            return
        silent_s = self._health.silent_s(time.monotonic())
        if not self._health.images:
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
        }
        if self.state != "active":
            self.diagnostics.set("images", OK, f"the camera is {self.state}", values)
        elif not health.images:
            self.diagnostics.set("images", STALE, "no image yet", values)
        elif health.stalled:
            self.diagnostics.set("images", WARN, "no image any more", values)
        else:
            self.diagnostics.set("images", OK, "images arrive", values)

    def close(self) -> None:
        """Stop the reader's thread and free the renderer."""
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def load_calibration(path: str) -> tuple[tuple[int, int], np.ndarray, np.ndarray] | None:
    """Return ((width, height), K (3, 3), distortion (5,)) of a camera_calibration YAML file.

    None for an empty path.

    Raises:
        CameraError: the file is missing or not such a calibration.
    """
    if not path:
        return None
    try:
        data = yaml.safe_load(Path(path).expanduser().read_text())
        size = int(data["image_width"]), int(data["image_height"])
        K = np.array(data["camera_matrix"]["data"], dtype=np.float64).reshape(3, 3)
        distortion = np.array(data["distortion_coefficients"]["data"], dtype=np.float64)
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CameraError(
            f"calibration file {path} cannot be used ({error!r}); give the YAML file that "
            "camera_calibration writes"
        ) from None
    return size, K, distortion


def main() -> int:
    """Run camera_node; the entry of scripts/camera_node."""
    return run(CameraNode, "camera_node")
