"""Small recordings written with `rosbags`, and tiny datasets made of them by the converter."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from training.bags import make_typestore
from training.convert import convert
from training.frames import MaxAge
from vla_ros.core import arm
from vla_ros.core.contract import tap_contract
from vla_ros.core.episode import EpisodeEvent
from vla_ros.policy.preprocess import encode_jpeg

SECOND_NS = 1_000_000_000
IMAGE_SIZE = 32


class BagWriter:
    """Writes one episode's bag; each stream is a list of (stamp [ns], value)."""

    def __init__(self, folder):
        self.folder = folder
        self.typestore = make_typestore()
        self.types = self.typestore.types

    def header(self, stamp_ns):
        """Return a std_msgs Header at the stamp."""
        stamp = self.types["builtin_interfaces/msg/Time"](
            sec=int(stamp_ns // SECOND_NS), nanosec=int(stamp_ns % SECOND_NS)
        )
        return self.types["std_msgs/msg/Header"](stamp=stamp, frame_id="")

    def joint_state(self, stamp_ns, names, values):
        """Return a JointState message."""
        values = np.asarray(values, np.float64)
        return self.types["sensor_msgs/msg/JointState"](
            header=self.header(stamp_ns),
            name=list(names),
            position=values,
            velocity=np.zeros(len(values)),
            effort=np.zeros(len(values)),
        )

    def measured(self, stamp_ns, joints, opening):
        """Return a joint state as the driver publishes it."""
        finger = arm.finger_from_opening(opening)
        horn = arm.horn_from_finger(finger)
        values = [*joints, horn, finger, -finger]
        return self.joint_state(stamp_ns, arm.JOINT_STATE_NAMES, values)

    def command(self, stamp_ns, joints, opening):
        """Return a /vla/commanded message."""
        values = [*joints, arm.horn_from_opening(opening)]
        return self.joint_state(stamp_ns, (*arm.ARM_JOINTS, "gripper"), values)

    def write(self, name, joints, commanded, images, events, omit=(), storage=StoragePlugin.MCAP):
        """Write the bag `name` and return its path; topics in `omit` are left out."""
        jpegs = [
            (stamp, data if isinstance(data, bytes) else encode_jpeg(data, 95))
            for stamp, data in images
        ]
        compressed = self.types["sensor_msgs/msg/CompressedImage"]
        string = self.types["std_msgs/msg/String"]
        state = "sensor_msgs/msg/JointState"
        streams = {
            ("/vla/episode", "std_msgs/msg/String"): [
                (0, string(data=e if isinstance(e, str) else e.to_json())) for e in events
            ],
            ("/wx250s/joint_states", state): [
                (s, v if hasattr(v, "header") else self.measured(s, *v)) for s, v in joints
            ],
            ("/vla/commanded", state): [(s, self.command(s, *v)) for s, v in commanded],
            ("/front/image_raw/compressed", "sensor_msgs/msg/CompressedImage"): [
                (s, compressed(self.header(s), "jpeg", np.frombuffer(d, np.uint8)))
                for s, d in jpegs
            ],
            ("/wx250s/commands/joint_group", "interbotix_xs_msgs/msg/JointGroupCommand"): [
                (s, self.types["interbotix_xs_msgs/msg/JointGroupCommand"](
                    name="arm", cmd=np.asarray(v[0], np.float32)
                ))
                for s, v in commanded
            ],
        }  # fmt: skip
        path = self.folder / name
        writer = Writer(path, version=9, storage_plugin=storage)
        if storage == StoragePlugin.MCAP:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            for (topic, msgtype), messages in streams.items():
                if topic in omit:
                    continue
                connection = writer.add_connection(topic, msgtype, typestore=self.typestore)
                for stamp, message in messages:
                    raw = self.typestore.serialize_cdr(message, msgtype)
                    # Receive times are late on purpose: only stamps may count.
                    writer.write(connection, 3 * SECOND_NS + 2 * stamp, raw)
        return path

    def moving_episode(self, name, num_frames, kind="play", task="", success=None, seed=0):
        """Write a bag of `num_frames` + 1 ticks at 5 Hz in which joints and pictures move."""
        rng = np.random.default_rng([seed, len(name)])
        ticks = [SECOND_NS + i * SECOND_NS // 5 for i in range(num_frames + 1)]
        phase = rng.uniform(0, 6)
        poses = [
            arm.READY_RAD + 0.1 * np.sin(phase + 0.5 * i + np.arange(6)) for i in range(len(ticks))
        ]
        joints = [(t, (pose, i % 2)) for i, (t, pose) in enumerate(zip(ticks, poses, strict=True))]
        shape = (IMAGE_SIZE, IMAGE_SIZE, 3)
        images = [(t, rng.integers(0, 255, shape, np.uint8)) for t in ticks]
        return self.write(name, joints, joints, images, self.events(name, kind, task, success))

    @staticmethod
    def events(name, kind="play", task="", success=None):
        """Return the start and the end event of an episode."""
        return [
            EpisodeEvent("start", name, kind, task),
            EpisodeEvent("end", name, kind, task, success, "done"),
        ]

    @staticmethod
    def picture(value):
        """Return a (32, 32, 3) uint8 picture of one grey."""
        return np.full((IMAGE_SIZE, IMAGE_SIZE, 3), value, np.uint8)


@pytest.fixture
def bag_writer(tmp_path):
    folder = tmp_path / "bags"
    folder.mkdir()
    return BagWriter(folder)


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """Return a dataset made once; tests get copies of it."""
    folder = tmp_path_factory.mktemp("converted")
    writer = BagWriter(folder)
    paths = [writer.moving_episode(f"play-{i}", 8, seed=i) for i in range(3)]
    for i in range(3):
        task = "Put the carrot on the plate"
        paths.append(
            writer.moving_episode(f"demo-{i}", 8, "demo", task, success=i > 0, seed=10 + i)
        )
    convert(paths, folder / "data", tap_contract(image_size=IMAGE_SIZE), MaxAge())
    return folder / "data"


@pytest.fixture
def dataset_path(converted, tmp_path):
    """Return a dataset of 3 play and 3 demonstration episodes (one failed) of 8 frames each."""
    return Path(shutil.copytree(converted, tmp_path / "data"))
