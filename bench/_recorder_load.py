"""Two cameras, an arm and a commander for `bench.recorder`, in a process of their own.

Writes {topic: [stamps in ns]} of what it sent while the recorder was recording.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, JointState
from std_msgs.msg import String

from vla_ros.core import arm
from vla_ros.core.episode import EpisodeEvent, RecordingState
from vla_ros.nodes import conversions, qos

CAMERAS = ("front", "wrist")
EPISODE_ID = "bench"
_FRAMES = 30
_JPEG_BYTES = 45_000
_CAMERA_HZ, _JOINT_HZ = 30, 100
_WAIT_S = 30.0


def jpegs(seed: int) -> list[bytes]:
    """Return JPEG files of 640x480 with about 45 kB each: blurred shapes under a sensor's noise."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(_FRAMES):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        files = [conversions.jpeg_from_rgb(picture, quality) for quality in range(40, 100, 4)]
        found.append(min(files, key=lambda file: abs(len(file) - _JPEG_BYTES)))
    return found


class Load(Node):
    """Publishes at absolute deadlines and notes the stamps while the recorder records."""

    def __init__(self):
        super().__init__("load")
        self._state = RecordingState()
        self.sent: dict[str, list[int]] = {}
        self._events = self.create_publisher(String, qos.EPISODE_TOPIC, qos.EPISODE)
        self.create_subscription(String, qos.RECORDING_TOPIC, self._on_state, qos.LATCHED)
        self._streams = []
        for number, camera in enumerate(CAMERAS):
            images = [conversions.compressed_to_msg(file, 0, camera) for file in jpegs(seed=number)]
            info = conversions.camera_info_to_msg(640, 480, np.eye(3), None, camera)
            topic = f"/{camera}/image_raw/compressed"
            self._stream(CompressedImage, topic, images, _CAMERA_HZ, qos.CAMERA)
            self._stream(CameraInfo, f"/{camera}/camera_info", [info], _CAMERA_HZ, qos.CAMERA)
        names = (*arm.ARM_JOINTS, "gripper", "left_finger", "right_finger")
        joints = conversions.joint_state_to_msg(
            0, names, np.zeros(9), velocity=np.zeros(9), effort=np.zeros(9)
        )
        self._stream(JointState, "/wx250s/joint_states", [joints], _JOINT_HZ, qos.JOINT_STATES)

    def _stream(self, kind, topic, messages, rate_hz, profile) -> None:
        publisher = self.create_publisher(kind, topic, profile)
        self._streams.append([0.0, 1.0 / rate_hz, topic, messages, publisher])

    def _on_state(self, message: String) -> None:
        self._state = RecordingState.from_json(message.data)

    def say(self, event: str) -> None:
        """Start or end the episode."""
        said = EpisodeEvent(event, EPISODE_ID, "play")
        self._events.publish(String(data=said.to_json()))

    def until(self, state: str) -> None:
        """Publish until the recorder says the state."""
        deadline = time.monotonic() + _WAIT_S
        while self._state.state != state:
            if time.monotonic() > deadline or self._state.state == "failed":
                sys.exit(f"the recorder says {self._state}, not {state}")
            self.publish(0.05, note=False)
            rclpy.spin_once(self, timeout_sec=0.0)

    def publish(self, duration_s: float, note: bool) -> None:
        """Publish what is due for so long."""
        end_s = time.monotonic() + duration_s
        while (now_s := time.monotonic()) < end_s:
            for stream in self._streams:
                due_s, period_s, topic, messages, publisher = stream
                if now_s < due_s:
                    continue
                # A hiccup of the machine is not caught up: a camera would not, either.
                stream[0] = (due_s if now_s - due_s < period_s else now_s) + period_s
                stamp_ns = time.time_ns()
                message = messages[len(self.sent.get(topic, ())) % len(messages)]
                message.header.stamp = conversions.stamp_from_ns(stamp_ns)
                publisher.publish(message)
                if note:
                    self.sent.setdefault(topic, []).append(stamp_ns)
            next_s = min(stream[0] for stream in self._streams)
            time.sleep(max(0.0, next_s - time.monotonic()))


def main() -> None:
    """Record one episode and write what was sent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("seconds", type=float)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    rclpy.init()
    load = Load()
    load.until("idle")
    load.say("start")
    load.until("recording")
    print("recording", flush=True)
    load.publish(arguments.seconds, note=True)
    print("done", flush=True)
    # What is on its way must arrive before the end event.
    time.sleep(1.0)
    load.say("end")
    load.until("saved")
    arguments.out.write_text(json.dumps(load.sent))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
