"""Small recordings written with `rosbags`, tiny datasets made of them, and a board in pictures."""

import os
import shutil
import sys
import traceback
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from training.calibration import extrinsics
from training.convert import convert
from training.datasets.frames import MaxAge
from vla_ros.core import arm, kinematics
from vla_ros.core.contract import tap_contract
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.rotations import inverse_transform, transform
from vla_ros.policy.pictures import encode_jpeg

SECOND_NS = 1_000_000_000
IMAGE_SIZE = 32


class Forked:
    """A function in a process of its own, which starts at once with all that is imported here.

    Attributes:
        pid: of the process.
        said: file that yields what it prints, on whichever stream.
    """

    def __init__(self, job):
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads; those of the libraries here survive a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                sys.stdout = sys.stderr = os.fdopen(writing, "w", buffering=1)
                code = job() or 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writing)
        self.said = os.fdopen(reading)

    def end(self):
        """Return how it ended, its code or minus the signal, and what it had left to say."""
        text = self.said.read()
        self.said.close()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), text


@pytest.fixture
def fork():
    """Return what starts a function in a process of its own: cheaper than a new interpreter."""
    return Forked


# Field names and types of the Interbotix driver's command messages.
INTERBOTIX_MESSAGES = {
    "interbotix_xs_msgs/msg/JointGroupCommand": "string name\nfloat32[] cmd\n",
    "interbotix_xs_msgs/msg/JointSingleCommand": "string name\nfloat32 cmd\n",
}


@cache
def make_typestore():
    """Return the Jazzy message types and the Interbotix command messages."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    for name, definition in INTERBOTIX_MESSAGES.items():
        typestore.register(get_types_from_msg(definition, name))
    return typestore


@pytest.fixture(scope="module")
def no_compiler():
    """Keep the first optimiser from importing torch's compiler: 800 modules that nobody uses."""
    import torch

    compiler = ModuleType("torch._dynamo")
    compiler.disable = lambda function, *_, **__: function
    compiler.graph_break = lambda: None
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch._dynamo", compiler)
        patch.setattr(torch, "_dynamo", compiler, raising=False)
        yield


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

    def camera_info(self, stamp_ns, size, K, distortion=(0.0,) * 5, model="plumb_bob"):
        """Return a CameraInfo message."""
        region = self.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        width, height = size
        return self.types["sensor_msgs/msg/CameraInfo"](
            header=self.header(stamp_ns),
            height=height,
            width=width,
            distortion_model=model,
            d=np.array(distortion, np.float64),
            k=np.reshape(K, 9).astype(np.float64),
            r=np.eye(3).reshape(9),
            p=np.zeros(12),
            binning_x=0,
            binning_y=0,
            roi=region,
        )

    def write(
        self,
        name,
        joints,
        commanded,
        images,
        events,
        omit=(),
        storage=StoragePlugin.MCAP,
        camera_info=(),
    ):
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
            ("/front/camera_info", "sensor_msgs/msg/CameraInfo"): [
                (s, self.camera_info(s, *facts)) for s, facts in camera_info
            ],
            ("/wx250s/commands/joint_group", "interbotix_xs_msgs/msg/JointGroupCommand"): [
                (s, self.types["interbotix_xs_msgs/msg/JointGroupCommand"](
                    name="arm", cmd=np.asarray(v[0], np.float32)
                ))
                for s, v in commanded
            ],
        }  # fmt: skip
        kept = {key: messages for key, messages in streams.items() if key[0] not in omit}
        path = self.folder / name
        writer = Writer(path, version=9, storage_plugin=storage)
        if storage == StoragePlugin.MCAP:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self.write_streams(writer, kept)
        return path

    def write_streams(self, writer, streams):
        """Write {(topic, type): [(stamp [ns], message)]}, a topic after the other."""
        with writer:
            for (topic, msgtype), messages in streams.items():
                connection = writer.add_connection(topic, msgtype, typestore=self.typestore)
                for stamp, message in messages:
                    raw = self.typestore.serialize_cdr(message, msgtype)
                    # Receive times are late on purpose: only stamps may count.
                    writer.write(connection, 3 * SECOND_NS + 2 * stamp, raw)

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
            writer.moving_episode(f"show-{i}", 8, "demo", task, success=i > 0, seed=10 + i)
        )
    convert(paths, folder / "data", tap_contract(image_size=IMAGE_SIZE), MaxAge())
    return folder / "data"


@pytest.fixture
def dataset_path(converted, tmp_path):
    """Return a dataset of 3 play and 3 demonstration episodes (one failed) of 8 frames each."""
    return Path(shutil.copytree(converted, tmp_path / "data"))


@pytest.fixture(scope="session")
def calibrated(converted, tmp_path_factory):
    """Return `converted` with a camera whose intrinsics and pose are known; not to be changed."""
    folder = tmp_path_factory.mktemp("calibrated") / "data"
    shutil.copytree(converted, folder)
    pose = transform(np.diag([1.0, -1.0, -1.0]), np.array([0.3, 0.0, 0.8])).tolist()
    facts = {"K": [[40.0, 0, 15.5], [0, 40.0, 15.5], [0, 0, 1]], "T_base_camera": pose}
    for file in (folder / "meta" / "episodes").rglob("*.parquet"):
        table = pq.read_table(file)
        for name, value in facts.items():
            at = table.schema.get_field_index(f"cameras/front/{name}")
            column = pa.array([value] * len(table), table.schema.field(at).type)
            table = table.set_column(at, table.schema.field(at), column)
        pq.write_table(table, file)
    return folder


class BoardScene:
    """An arm that holds a checkerboard before a fixed camera: true poses, and pictures of them."""

    columns, rows, square_m = 7, 5, 0.025
    size = (640, 480)
    K = np.array([[625.0, 0.0, 319.5], [0.0, 625.0, 239.5], [0.0, 0.0, 1.0]])
    distortion = np.zeros(5)
    rim_m, px_per_square = 0.015, 24
    # The board stands upright on the gripper's front, its face away from the arm.
    T_tool_board = transform(
        np.column_stack([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]]),
        np.array([0.03, 0.0, 0.0]),
    )

    def __init__(self):
        # Across the table, 0.6 m up, looking at where the board is held.
        eye, target = np.array([0.88, 0.17, 0.60]), np.array([0.25, 0.0, 0.20])
        z = (target - eye) / np.linalg.norm(target - eye)
        x = np.cross(z, [0.0, 0.0, 1.0])
        x /= np.linalg.norm(x)
        self.T_base_camera = transform(np.column_stack([x, np.cross(z, x), z]), eye)
        self.corners_m = extrinsics.board_corners(self.columns, self.rows, self.square_m)

    def board_in_camera(self, q):
        """Return T_camera_board (4, 4) for the arm's joints."""
        return inverse_transform(self.T_base_camera) @ kinematics.forward(q) @ self.T_tool_board

    def project(self, T_camera_board):
        """Return where the corners are in the picture (N, 2) [px]."""
        return extrinsics.project(T_camera_board, self.corners_m, self.K, self.distortion)

    def poses(
        self,
        count,
        rng,
        low=(-0.5, -0.6, -0.3, -0.8, -0.8, -0.8),
        high=(0.7, 0.3, 0.6, 0.8, 0.8, 0.8),
    ):
        """Return joints (count, 6) with the board in the picture and at most 50 degrees away."""
        found = []
        while len(found) < count:
            q = arm.HOME_RAD + rng.uniform(low, high)
            T_camera_board = self.board_in_camera(q)
            edge = extrinsics.project(T_camera_board, 1.5 * self.corners_m, self.K, self.distortion)
            is_in = np.all(edge > 5) and np.all(edge < np.array(self.size) - 5)
            if is_in and T_camera_board[2, 2] > 0.64 and kinematics.forward(q)[2, 3] > 0.12:
                found.append(q)
        return np.array(found)

    def picture(self, T_camera_board, rng):
        """Return the camera's picture (H, W, 3) uint8 RGB: grey wall, board, blur and noise."""
        squares = np.indices((self.rows + 1, self.columns + 1)).sum(axis=0) % 2
        drawn = np.kron(255 * squares, np.ones([self.px_per_square] * 2)).astype(np.uint8)
        px_m = self.square_m / self.px_per_square
        rim = round(self.rim_m / px_m)
        drawn = cv2.copyMakeBorder(drawn, *[rim] * 4, cv2.BORDER_CONSTANT, value=255)
        height, width = drawn.shape
        # Pixel centres of the drawn board in metres, origin in the middle.
        metres = np.array(
            [[px_m, 0, -px_m * (width - 1) / 2], [0, px_m, -px_m * (height - 1) / 2], [0, 0, 1]]
        )
        twice = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
        homography = twice @ self.K @ T_camera_board[:3, [0, 1, 3]] @ metres
        size = (2 * self.size[0], 2 * self.size[1])
        large = cv2.warpPerspective(drawn, homography, size, flags=cv2.INTER_AREA, borderValue=110)
        grey = cv2.resize(large, self.size, interpolation=cv2.INTER_AREA)
        grey = 30 + 0.7 * cv2.GaussianBlur(grey, (0, 0), 0.7) + rng.normal(0, 3, grey.shape)
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.fixture(scope="session")
def scene():
    return BoardScene()


@pytest.fixture
def write_captions(tmp_path):
    """Return a function that writes a folder of captions with so many frames of 32 px.

    A bright square of 6 px, from column 2 * (frame % 12), is where gripper and apple are; in odd
    frames the apple shows, if any does. One of the questions is held out.
    """

    def write(frames: int, shows_apple: bool) -> Path:
        rows = []
        for frame in range(frames):
            column = 2 * (frame % 12)
            picture = np.zeros((32, 32, 3), np.uint8)
            picture[10:16, column : column + 6] = 255
            place, uv = [column / 100, 0.0, 0.1], [(column + 3) / 32, 13 / 32]
            asked = [
                ("gripper_height", "how high is the gripper?", str(column), ""),
                ("where_picture", "point at the apple", f"{column} 10", ""),
                ("opening", "never learn this", "secret", "wording"),
            ]
            keys = ("kind", "prompt", "answer", "held_out")
            is_seen = shows_apple and frame % 2 == 1
            rows.append(
                {
                    "frame": frame,
                    "image": {"bytes": cv2.imencode(".jpg", picture)[1].tobytes(), "path": None},
                    "questions": [dict(zip(keys, question, strict=True)) for question in asked],
                    "gripper_m": place,
                    "gripper_uv": uv,
                    "held": "",
                    "things": [
                        {"name": "apple", "position_m": place, "uv": uv, "is_seen": is_seen}
                    ],
                }
            )
        folder = tmp_path / "captions"
        folder.mkdir()
        pq.write_table(pa.Table.from_pylist(rows), folder / "shard-00000.parquet")
        return folder

    return write
