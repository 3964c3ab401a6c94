"""Bags for `bench.data`: two cameras 640x480 at 30 Hz as JPEG, joints and commands at 100 Hz.

The pictures look like a camera's: a textured table that is slowly panned, an arm's dark links that
move, and a sensor's noise; about 45 kB each.
"""

from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from vla_ros.core import arm
from vla_ros.core.episode import EpisodeEvent

CAMERAS = ("front", "wrist")
CAMERA_HZ, JOINT_HZ = 30, 100
WIDTH, HEIGHT = 640, 480
_START_NS = 1_700_000_000_000_000_000
_JPEG_QUALITY = 85
_NOISES = 8
_SECOND_NS = 1_000_000_000


def jpegs(seed: int, count: int) -> Iterator[bytes]:
    """Yield `count` consecutive pictures of one camera."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 220, (40, 60, 3), dtype=np.uint8)
    table = cv2.resize(coarse, (2 * WIDTH, 2 * HEIGHT), interpolation=cv2.INTER_CUBIC)
    shape = (HEIGHT, WIDTH, 3)
    noises = [rng.normal(0, 3, shape).round().astype(np.int16) for _ in range(_NOISES)]
    for number in range(count):
        at = number / CAMERA_HZ
        x, y = (int(m + 0.4 * m * np.sin(w * at)) for m, w in ((WIDTH / 2, 0.3), (HEIGHT / 2, 0.2)))
        picture = table[y : y + HEIGHT, x : x + WIDTH].copy()
        joint = 320 + 150 * np.sin(0.9 * at), 200 + 60 * np.cos(0.7 * at)
        hand = joint[0] + 110 * np.sin(1.3 * at), joint[1] + 130
        for start, end in (((320, 0), joint), (joint, hand)):
            ends = [tuple(int(v) for v in point) for point in (start, end)]
            cv2.line(picture, *ends, (35, 35, 40), 36, cv2.LINE_AA)
        noisy = np.clip(picture + noises[number % _NOISES], 0, 255).astype(np.uint8)
        _, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        yield data.tobytes()


def write_bag(path: Path, seconds: float, seed: int = 0, cycle_s: float | None = None) -> int:
    """Write one play recording and return its size [bytes].

    Args:
        path: the bag's folder.
        seconds: how long it is.
        seed: of pictures and motion.
        cycle_s: pictures repeat after it, which spares encoding them; None: never.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)

    def header(stamp_ns: int):
        stamp = types["builtin_interfaces/msg/Time"](*divmod(stamp_ns, _SECOND_NS))
        return types["std_msgs/msg/Header"](stamp, "")

    def joints(at_s: float, stamp_ns: int, names: tuple[str, ...]):
        q = arm.READY_RAD + 0.2 * np.sin((0.5 + 0.1 * seed) * at_s + np.arange(6) + 2 * seed)
        opening = 0.5 + 0.5 * np.sin((1 + 0.2 * seed) * at_s + seed)
        finger = arm.finger_from_opening(opening)
        fingers = [arm.horn_from_finger(finger), finger, -finger][: len(names) - 6]
        none = np.zeros(0)
        position = np.array([*q, *fingers])
        return types["sensor_msgs/msg/JointState"](
            header(stamp_ns), list(names), position, none, none
        )

    image_type, state_type = "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/JointState"
    text = types["std_msgs/msg/String"]
    commanded_names = (*arm.ARM_JOINTS, "gripper")
    with writer:

        def topic(name: str, kind: str):
            return writer.add_connection(name, kind, typestore=store), kind

        def put(where: tuple, stamp_ns: int, message) -> None:
            writer.write(where[0], stamp_ns, store.serialize_cdr(message, where[1]))

        events = topic("/vla/episode", "std_msgs/msg/String")
        measured = topic("/wx250s/joint_states", state_type)
        commanded = topic("/vla/commanded", state_type)
        cameras = [topic(f"/{name}/image_raw/compressed", image_type) for name in CAMERAS]
        shown = int(min(seconds, cycle_s or seconds) * CAMERA_HZ)
        streams = [jpegs(2 * seed + n, shown) for n in range(len(CAMERAS))]
        pictures = [islice(cycle(s), int(seconds * CAMERA_HZ)) for s in streams]
        start = EpisodeEvent("start", path.name, "play")
        put(events, _START_NS, text(start.to_json()))
        next_picture = 0
        for tick in range(int(seconds * JOINT_HZ)):
            at_s, now_ns = tick / JOINT_HZ, _START_NS + tick * _SECOND_NS // JOINT_HZ
            put(measured, now_ns, joints(at_s, now_ns, arm.JOINT_STATE_NAMES))
            put(commanded, now_ns, joints(at_s, now_ns, commanded_names))
            while next_picture / CAMERA_HZ < at_s + 1 / JOINT_HZ:
                stamp_ns = _START_NS + next_picture * _SECOND_NS // CAMERA_HZ
                for where, camera in zip(cameras, pictures, strict=True):
                    data = next(camera, None)
                    if data is not None:
                        array = np.frombuffer(data, np.uint8)
                        message = types[image_type](header(stamp_ns), "jpeg", array)
                        put(where, stamp_ns, message)
                next_picture += 1
        end_ns = _START_NS + int(seconds * _SECOND_NS)
        put(events, end_ns, text(start.ended(None, "over").to_json()))
    return sum(file.stat().st_size for file in path.iterdir())
