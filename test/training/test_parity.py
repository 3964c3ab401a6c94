"""The same messages give a policy that runs the frames that it was trained on, to the bit."""

import numpy as np
import pytest
import torch

from training.convert import convert
from training.datasets.frames import MaxAge
from training.datasets.shard import open_shard
from training.learning.dataset import open_dataset
from vla_ros.core import arm
from vla_ros.core.contract import tap_contract
from vla_ros.core.joint_states import JointStateFilter
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.observation import ObservationStreams
from vla_ros.core.transforms import Transform
from vla_ros.policy.pictures import encode_jpeg
from vla_ros.policy.runner import TapRunner

MS = 1_000_000
MODEL_SIZE = 24


class Seeing(torch.nn.Linear):
    """A checkpoint, its policy and its backbone in one; only the sizes matter here."""

    def __init__(self, contract):
        super().__init__(1, 1)
        self.contract, self.run, self.image_size = contract, {}, MODEL_SIZE
        self.__dict__["policy"] = self.__dict__["vlm"] = self


def camera_pictures(shape, stamps_ms):
    """Return (stamp, JPEG) of smooth pictures that all differ."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    found = []
    for index, ms in enumerate(stamps_ms):
        channels = [255 * y / shape[0], 255 * x / shape[1], 9 * index + 0 * x]
        found.append((ms * MS, encode_jpeg(np.stack(channels, -1).astype(np.uint8), 90)))
    return found


def seen_live(images, joints, tick_ns):
    """Return policy_node's observation at the tick, of what came by then."""
    streams = ObservationStreams(("front",), 0.5, 0.05, "base_link", 0.2, with_geometry=True)
    streams.take_transform(Transform(0, "base_link", "front_optical_frame", np.eye(4)))
    for stamp_ns, jpeg in images:
        if stamp_ns <= tick_ns:
            streams.take_picture("front", stamp_ns, jpeg, "front_optical_frame")
    for stamp_ns, (q, opening) in joints:
        if stamp_ns <= tick_ns:
            streams.take_state(stamp_ns, q, opening)
    return streams.at(tick_ns, "")


@pytest.mark.parametrize("shape", [(32, 32), (48, 64), (240, 320)], ids=["kept", "small", "large"])
def test_converter_and_live_buffers_give_equal_frames(bag_writer, tmp_path, shape):
    # Exactly on the ticks of 0, 200 and 400 ms; then early, a nanosecond late, and twice one.
    stamps_ms = [0, 100, 200, 300, 400, 517, 590, 700, 790, 800, 810, 900, 1000, 1100, 1200]
    images = camera_pictures(shape, stamps_ms)
    images[9] = (images[9][0] + 1, images[9][1])
    # On the ticks too, but for those of 400 and 800 ms.
    when_ms = [ms for ms in range(0, 1221, 20) if ms not in (400, 800)]
    joints = [(ms * MS, (arm.READY_RAD + 1e-4 * ms, 1.0)) for ms in when_ms]
    path = bag_writer.write("play-0", joints, joints, images, bag_writer.events("play-0"))
    contract = tap_contract(image_size=32)
    convert([path], tmp_path / "d", contract, MaxAge())

    dataset = open_dataset(tmp_path / "d", MODEL_SIZE)
    (folder,) = [p for p in (tmp_path / "d/.shards").iterdir() if p.is_dir()]
    shard = open_shard(folder)
    ages_ms = shard.column("image_age_ms")
    states = shard.column("observation.state")
    (episode,) = shard.facts.episodes
    checkpoint = Seeing(contract)
    runner = TapRunner(checkpoint, None, checkpoint)
    believed = JointStateFilter(wx250s_limits())
    live_joints = []
    for stamp, (q, opening) in joints:
        finger = arm.finger_from_opening(opening)
        values = np.array([*q, arm.horn_from_finger(finger), finger, -finger])
        live_joints.append((stamp, believed.accept(stamp, arm.JOINT_STATE_NAMES, values)))

    assert len(episode) == 6
    ages = []
    for index in range(len(episode)):
        tick_ns = episode.start_ns + index * 200 * MS
        seen = seen_live(images, live_joints, tick_ns)
        jpeg = seen.views["front"].picture
        (stamp_ns,) = (stamp for stamp, data in images if data == jpeg)
        ages.append((tick_ns - stamp_ns) / MS)
        np.testing.assert_array_equal(runner.see("front", jpeg), dataset.images[index])
        np.testing.assert_array_equal(np.float32(seen.state), states[index])
    np.testing.assert_allclose(ages, ages_ms, atol=1e-6)
    # On the tick it is seen at once; 800 ms and a nanosecond is not there yet at 800 ms.
    assert ages == [0, 0, 0, 10, 10, 0]
