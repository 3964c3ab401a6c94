"""What one pass over a bag gives, of our own recordings and of foreign ones; what is dropped."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import zstd

from training.recordings.bags import Bag
from training.recordings.recording import read_recording
from training.recordings.source import (
    Gripper,
    Joints,
    Source,
    Task,
    ToolPose,
    load_source,
    vla_source,
)
from vla_ros.core import arm
from vla_ros.core.errors import BagError

DATA = Path(__file__).parents[1] / "data"
MS = 1_000_000
FRONT, WRIST = "/front/image_raw/compressed", "/wrist/image_raw/compressed"
JOINTS, COMMANDED = "/wx250s/joint_states", "/vla/commanded"
STATE, IMAGE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/CompressedImage"
RAW_IMAGE, POSE, TF = (
    "sensor_msgs/msg/Image",
    "geometry_msgs/msg/PoseStamped",
    "tf2_msgs/msg/TFMessage",
)
STRING = "std_msgs/msg/String"
TWO_JOINTS = Joints("/joints", ("a", "b"), Gripper("g", 0.0, 2.0))
OTHER_ARM = Source("two_joints", "base", TWO_JOINTS, task=Task(text="wave"), kind="demo")


class Streams:
    """Messages by topic, ready to be written as one bag."""

    def __init__(self, writer):
        self.writer = writer
        self.streams = {}

    def add(self, topic, msgtype, stamp_ns, message):
        self.streams.setdefault((topic, msgtype), []).append((stamp_ns, message))

    def joints(self, topic, stamp_ns, names, values):
        self.add(topic, STATE, stamp_ns, self.writer.joint_state(stamp_ns, names, values))

    def measured(self, stamp_ns, q=arm.READY_RAD):
        self.add(JOINTS, STATE, stamp_ns, self.writer.measured(stamp_ns, q, 0.5))

    def jpeg(self, stamp_ns, data=b"\xff\xd8", topic=FRONT, frame="front_frame"):
        make = self.writer.types[IMAGE]
        header = self.header(stamp_ns, frame)
        self.add(topic, IMAGE, stamp_ns, make(header, "jpeg", np.frombuffer(data, np.uint8)))

    def header(self, stamp_ns, frame):
        plain = self.writer.header(stamp_ns)
        return type(plain)(stamp=plain.stamp, frame_id=frame)

    def events(self, *events):
        for event in events or self.writer.events("play-0"):
            self.add("/vla/episode", STRING, 0, self.writer.types[STRING](event.to_json()))

    def transform(self, topic, stamp_ns, *links):
        """Add a message of (parent, child, x)."""
        types = self.writer.types
        made = [
            types["geometry_msgs/msg/TransformStamped"](
                header=self.header(stamp_ns, parent),
                child_frame_id=child,
                transform=types["geometry_msgs/msg/Transform"](
                    translation=types["geometry_msgs/msg/Vector3"](x, 0.0, 0.0),
                    rotation=types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
                ),
            )
            for parent, child, x in links
        ]
        self.add(topic, TF, stamp_ns, types[TF](transforms=made))

    def pose(self, topic, stamp_ns, frame, xyz, xyzw=(0.0, 0.0, 0.0, 1.0)):
        types = self.writer.types
        pose = types["geometry_msgs/msg/Pose"](
            position=types["geometry_msgs/msg/Point"](*xyz),
            orientation=types["geometry_msgs/msg/Quaternion"](*xyzw),
        )
        self.add(topic, POSE, stamp_ns, types[POSE](self.header(stamp_ns, frame), pose))

    def write(self, storage=StoragePlugin.MCAP, name="bag"):
        path = self.writer.folder / name
        writer = Writer(path, version=9, storage_plugin=storage)
        self.writer.write_streams(writer, self.streams)
        return path


@pytest.fixture
def streams(bag_writer):
    return Streams(bag_writer)


@pytest.fixture
def ours(streams):
    """Return the streams of a whole recording of ours, five of each 100 ms apart."""
    streams.events()
    for i in range(5):
        streams.measured(i * 100 * MS)
        values = [*arm.READY_RAD, arm.horn_from_opening(0.25)]
        streams.joints(COMMANDED, i * 100 * MS, (*arm.ARM_JOINTS, "gripper"), values)
        streams.jpeg(i * 100 * MS)
    return streams


def read(path, source=None, cameras=("front",)):
    with Bag(path, source) as bag:
        return read_recording(bag, cameras)


def dropped(recording):
    return {drop.reason: drop.count for drop in recording.dropped}


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_one_pass_gives_all_but_the_pictures(ours, storage):
    ours.jpeg(50 * MS, b"\xff\xd8 2", WRIST)
    with Bag(ours.write(storage)) as bag:
        found = read_recording(bag, ("front", "wrist"))
        wrist = {"wrist": found.images["wrist"].places}
        assert list(bag.images_at(wrist)) == [("wrist", 0, b"\xff\xd8 2")]
    assert (found.episode.kind, found.episode.reason) == ("play", "done")
    assert found.images["front"].stamps_ns.tolist() == [i * 100 * MS for i in range(5)]
    assert found.joints.stamps_ns.tolist() == found.commanded.stamps_ns.tolist()
    np.testing.assert_allclose(found.joints.q, [arm.READY_RAD] * 5)
    np.testing.assert_allclose(found.joints.opening, 0.5)
    # The opening goes through the gripper's horn angle and back.
    np.testing.assert_allclose(found.commanded.opening, 0.25, atol=1e-9)
    assert found.ee_pose is None
    assert (found.dropped, found.lost) == ([], [])


def test_a_bag_of_rosbag2_itself_split_in_two_is_read():
    found = read(DATA / "rosbag2")
    assert found.episode.task == "put the carrot on the plate"
    assert found.episode.success is True
    np.testing.assert_allclose(found.joints.q[:, 0], 0.02 * np.arange(40))
    assert len(found.images["front"]) == 10
    assert set(found.images["front"].places[:, 0]) == {0, 1}
    assert (found.dropped, found.lost) == ([], [])


def test_a_bag_of_another_library_and_another_arm_is_read_by_a_source_file():
    source = load_source(DATA / "three_joint_arm.yaml")
    with Bag(DATA / "mcap_ros2_support", source) as bag:
        found = read_recording(bag, ("front",))
        pictures = [
            picture for _, _, picture in bag.images_at({"front": found.images["front"].places})
        ]
    # Published as finger, j3, j1, j2.
    np.testing.assert_allclose(found.joints.q[2], [0.12, 0.22, 0.32])
    np.testing.assert_allclose(found.joints.opening[[0, 9]], [1.0, 0.55])
    np.testing.assert_allclose(found.ee_pose.T_base_tool[3][:3, 3], [0.3, 0.03, 0.2])
    # bgr8 with a row of 20 bytes for 6 pixels.
    assert pictures[4].shape == (4, 6, 3)
    assert pictures[4][3, 5].tolist() == [34, 20, 10]
    assert (found.episode.kind, found.episode.task) == ("demo", "open the drawer")
    assert found.lost == ["metadata.yaml is missing"]


def test_joints_in_another_order_and_among_others_are_found_by_name(ours):
    names = [*reversed(arm.JOINT_STATE_NAMES), "lift"]
    finger = arm.finger_from_opening(0.5)
    values = [-finger, finger, 0.0, *reversed(arm.READY_RAD + 0.01), 9.0]
    ours.joints(JOINTS, 500 * MS, names, values)
    found = read(ours.write())
    np.testing.assert_allclose(found.joints.q[-1], arm.READY_RAD + 0.01)
    assert found.joints.opening[-1] == pytest.approx(0.5)


def test_joint_states_without_velocity_and_effort_are_enough(ours):
    message = ours.writer.measured(500 * MS, arm.READY_RAD, 0.5)
    message.velocity, message.effort = np.zeros(0), np.zeros(0)
    ours.add(JOINTS, STATE, 500 * MS, message)
    assert len(read(ours.write()).joints.q) == 6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.pi])
def test_failed_reads_are_dropped_and_counted(ours, value):
    ours.measured(500 * MS, np.full(6, value))
    ours.measured(600 * MS)
    found = read(ours.write())
    assert found.joints.stamps_ns.tolist()[-2:] == [400 * MS, 600 * MS]
    (drop,) = found.dropped
    assert (drop.reason, drop.count, drop.first_ns) == ("refused joint states", 1, 500 * MS)


def test_a_command_that_is_not_finite_is_dropped_and_counted(ours):
    ours.joints(COMMANDED, 500 * MS, (*arm.ARM_JOINTS, "gripper"), [np.nan] * 7)
    found = read(ours.write())
    assert len(found.commanded.q) == 5
    assert dropped(found) == {"commanded joints not finite": 1}


@pytest.mark.parametrize("side", ["left", "right"])
def test_of_two_arms_on_one_topic_the_source_chooses(streams, side):
    for i in range(4):
        for arm_side, value in (("left", 1.0), ("right", -1.0)):
            names = [f"{arm_side}_{joint}" for joint in ("g", "b", "a")]
            streams.joints("/joints", i * MS, names, [0.5, value, i])
    streams.jpeg(0)
    wanted = Joints("/joints", (f"{side}_a", f"{side}_b"), Gripper(f"{side}_g", 0.0, 2.0))
    source = Source(
        "two", "base", wanted, task=Task(text=""), kind="play", cameras={"front": FRONT}
    )
    found = read(streams.write(), source)
    assert found.joints.q.tolist() == [[i, 1.0 if side == "left" else -1.0] for i in range(4)]
    assert found.joints.opening.tolist() == [0.25] * 4
    assert dropped(found) == {"joint states without the arm's joints": 4}


def test_of_two_arms_on_two_topics_the_source_chooses(ours):
    for i in range(5):
        ours.add(
            "/right/joint_states", STATE, i * MS, ours.writer.measured(i * MS, -arm.READY_RAD, 0)
        )
    path = ours.write()
    left = read(path)
    right = read(path, vla_source("right"))
    np.testing.assert_allclose(right.joints.q, -left.joints.q)


def test_refuses_a_topic_with_other_joints_and_lists_them(streams):
    streams.joints("/joints", 0, ["x", "y"], [0.0, 0.0])
    with pytest.raises(BagError, match=r"wanted are a, b, g, it also has x, y: name its joints"):
        read(streams.write(), OTHER_ARM, ())


def test_after_a_clock_that_was_set_back_nothing_is_used(ours):
    for i in range(3):
        ours.measured(i * 100 * MS - 1000 * MS)
    found = read(ours.write())
    assert found.joints.stamps_ns.tolist() == [i * 100 * MS for i in range(5)]
    assert dropped(found)["after the clock was set back"] >= 3


@pytest.mark.parametrize("wild_ms", [0, 3_600_000])
def test_one_wild_stamp_costs_its_message_and_no_more(streams, wild_ms):
    streams.events()
    start = 10_000
    for i in range(40):
        at = start + 20 * i
        streams.measured((wild_ms if i == 20 else at) * MS)
        streams.jpeg((wild_ms if i == 30 else at) * MS)
        values = [*arm.READY_RAD, arm.horn_from_opening(0.25)]
        streams.joints("/vla/commanded", at * MS, (*arm.ARM_JOINTS, "gripper"), values)
    found = read(streams.write())
    for missed, stamps in ((20, found.joints.stamps_ns), (30, found.images["front"].stamps_ns)):
        assert (stamps // MS).tolist() == [start + 20 * i for i in range(40) if i != missed]
    assert dropped(found) == {
        f"messages on {topic} with a wild stamp": 1 for topic in (JOINTS, FRONT)
    }
    assert len(found.commanded.stamps_ns) == 40


def test_stamps_that_were_not_filled_in_are_no_clock_set_back_however_many(streams):
    streams.events()
    for i in range(40):
        at = 10_000 + 20 * i
        streams.measured(at * MS)
        values = [*arm.READY_RAD, arm.horn_from_opening(0.25)]
        streams.joints("/vla/commanded", at * MS, (*arm.ARM_JOINTS, "gripper"), values)
        streams.jpeg((0 if 10 <= i < 15 else at) * MS)
    found = read(streams.write())
    assert len(found.images["front"].stamps_ns) == 35
    assert dropped(found) == {f"messages on {FRONT} with a wild stamp": 5}


def test_joints_that_go_back_by_more_than_three_periods_are_another_time(streams):
    # Half of the bound for other streams, and 12 of the joints' periods of 20 ms.
    streams.events()
    stamps = [1000 + 20 * i for i in range(30)] + [1580 - 240 + 20 * i for i in range(1, 30)]
    for at in stamps:
        streams.measured(at * MS)
        values = [*arm.READY_RAD, arm.horn_from_opening(0.25)]
        streams.joints("/vla/commanded", at * MS, (*arm.ARM_JOINTS, "gripper"), values)
        streams.jpeg(at * MS)
    found = read(streams.write())
    assert (found.joints.stamps_ns // MS).tolist() == stamps[:30]
    assert dropped(found)["after the clock was set back"] >= 29


def test_a_picture_that_comes_late_is_no_clock_set_back(ours):
    ours.jpeg(350 * MS)
    found = read(ours.write())
    assert found.images["front"].stamps_ns.tolist()[-1] == 350 * MS
    assert found.dropped == []


def test_refuses_an_empty_bag(bag_writer):
    path = bag_writer.folder / "empty"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP):
        pass
    with pytest.raises(BagError, match="no message on /wx250s/joint_states; it has none at all"):
        read(path)


def test_refuses_a_bag_without_the_camera(ours):
    with pytest.raises(BagError, match="no message on /top/image_raw/compressed; it has /front"):
        read(ours.write(), cameras=("front", "top"))


def test_refuses_an_episode_of_length_0(streams):
    streams.events()
    with pytest.raises(BagError, match="no message on /wx250s/joint_states; it has /vla/episode"):
        read(streams.write())


def test_refuses_a_recording_of_two_episodes(ours):
    ours.events()
    with pytest.raises(BagError, match="must hold one episode, got 2 start and 2 end"):
        read(ours.write())


def test_an_episode_that_was_cut_off_has_no_outcome(ours):
    ours.streams[("/vla/episode", STRING)] = ours.streams[("/vla/episode", STRING)][:1]
    found = read(ours.write())
    assert (found.episode.success, found.episode.reason) == (None, "no end event")


def test_refuses_another_type_under_the_name_of_the_pictures(ours):
    ours.streams[(FRONT, STRING)] = ours.streams.pop((FRONT, IMAGE))[:0]
    ours.add(FRONT, STRING, 0, ours.writer.types[STRING]("x"))
    with pytest.raises(
        BagError, match=r"must be sensor_msgs/msg/CompressedImage or .*, got std_msgs"
    ):
        read(ours.write())


def test_camera_pose_and_intrinsics_come_along_and_nothing_is_invented(ours):
    ours.jpeg(0, topic=WRIST, frame="wrist_frame")
    ours.transform(
        "/tf_static", 0, ("wx250s/base_link", "stand", 0.5), ("stand", "front_frame", 0.25)
    )
    ours.transform("/tf", 0, ("wx250s/base_link", "wrist_frame", 0.1))
    info = ours.writer.camera_info(0, (640, 480), [600, 0, 320, 0, 600, 240, 0, 0, 1])
    ours.add("/front/camera_info", "sensor_msgs/msg/CameraInfo", 0, info)
    cameras = read(ours.write(), cameras=("front", "wrist")).cameras
    assert cameras["front"].size == (640, 480)
    assert cameras["front"].K.tolist() == [[600, 0, 320], [0, 600, 240], [0, 0, 1]]
    assert cameras["front"].T_base_camera[:3, 3].tolist() == [0.75, 0, 0]
    assert cameras["wrist"] == type(cameras["wrist"])(None, None, None)


def test_a_camera_that_was_moved_or_calibrated_anew_has_no_pose_and_no_intrinsics(ours):
    for x in (0.5, 0.6):
        ours.transform("/tf_static", 0, ("wx250s/base_link", "front_frame", x))
        info = ours.writer.camera_info(0, (640, 480), [1000 * x, 0, 320, 0, 600, 240, 0, 0, 1])
        ours.add("/front/camera_info", "sensor_msgs/msg/CameraInfo", 0, info)
    camera = read(ours.write()).cameras["front"]
    assert camera.K is None
    assert camera.T_base_camera is None


def test_a_damaged_first_picture_costs_neither_the_bag_nor_the_cameras_pose(ours):
    ours.transform("/tf_static", 0, ("wx250s/base_link", "front_frame", 0.5))
    path = ours.write(StoragePlugin.SQLITE3)
    (storage,) = path.glob("*.db3")
    with sqlite3.connect(storage) as db:
        pictures = "SELECT messages.id FROM messages JOIN topics ON topic_id = topics.id"
        first = f"({pictures} WHERE name = '{FRONT}' ORDER BY messages.id LIMIT 1)"
        # Its stamp is whole, its frame is not.
        db.execute(f"UPDATE messages SET data = substr(data, 1, 18) WHERE id = {first}")
    db.close()
    found = read(path)
    assert len(found.images["front"]) == 5
    assert found.cameras["front"].T_base_camera[:3, 3].tolist() == [0.5, 0, 0]


def other_arm(streams, ee_pose, frame="base"):
    """Return the source of an arm that says its tool pose, and one joint state of it."""
    streams.joints("/joints", 0, ["a", "b", "g"], [0.0, 0.0, 0.0])
    return Source("two", frame, TWO_JOINTS, ee_pose=ee_pose, task=Task(text=""), kind="play")


def test_tool_poses_of_a_topic_must_be_in_the_base_frame(streams):
    source = other_arm(streams, ToolPose(topic="/tool"))
    streams.pose("/tool", 1, "/base", (1.0, 2.0, 3.0))
    streams.pose("/tool", 2, "world", (1.0, 2.0, 3.0))
    streams.pose("/tool", 3, "base", (1.0, 2.0, 3.0), (0.0, 0.0, 0.0, 0.0))
    found = read(streams.write(), source, ())
    assert found.ee_pose.stamps_ns.tolist() == [1]
    assert found.ee_pose.T_base_tool[0][:3, 3].tolist() == [1, 2, 3]
    assert dropped(found) == {
        "tool poses in the frame 'world'": 1,
        "unreadable messages on /tool": 1,
    }


def test_tool_poses_of_transforms_need_every_link_at_one_moment(streams):
    source = other_arm(streams, ToolPose(parent="base", child="tool"))
    streams.transform("/tf_static", 0, ("hand", "tool", 0.5))
    streams.transform("/tf", 10, ("base", "hand_mount", 1.0), ("hand_mount", "hand", 2.0))
    streams.transform("/tf", 20, ("base", "hand_mount", 1.5))
    streams.transform("/tf", 20, ("hand_mount", "hand", 2.5))
    # Written topic by topic, /tf_static after /tf would come too late.
    streams.streams = dict(sorted(streams.streams.items(), key=lambda kv: kv[0][0] != "/tf_static"))
    found = read(streams.write(), source, ())
    assert found.ee_pose.stamps_ns.tolist() == [10, 20]
    assert found.ee_pose.T_base_tool[:, 0, 3].tolist() == [3.5, 4.5]


def test_the_instruction_may_be_a_topic_but_only_one(streams):
    streams.joints("/joints", 0, ["a", "b", "g"], [0.0, 0.0, 0.0])
    source = Source("two", "base", TWO_JOINTS, task=Task(topic="/task"), kind="demo")
    string = streams.writer.types[STRING]
    for text in ("wave", "wave"):
        streams.add("/task", STRING, 0, string(text))
    assert read(streams.write(name="one"), source, ()).episode.task == "wave"
    streams.add("/task", STRING, 0, string("bow"))
    with pytest.raises(BagError, match="/task in bag .* gives 2 different instructions"):
        read(streams.write(name="two"), source, ())


def test_a_message_that_is_too_short_is_dropped_and_counted(ours):
    path = ours.writer.folder / "short"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        store = ours.writer.typestore
        for (topic, msgtype), made in ours.streams.items():
            connection = writer.add_connection(topic, msgtype, typestore=store)
            for i, (stamp, message) in enumerate(made):
                raw = bytes(store.serialize_cdr(message, msgtype))
                is_cut = topic in (JOINTS, FRONT) and i == 2
                writer.write(connection, stamp, raw[:7] if is_cut else raw)
    found = read(path)
    assert len(found.joints.q) == len(found.images["front"]) == 4
    assert dropped(found) == {
        f"unreadable messages on {FRONT}": 1,
        f"unreadable messages on {JOINTS}": 1,
    }


def test_a_compressed_message_that_is_damaged_is_dropped_or_an_empty_picture(ours):
    path = ours.writer.folder / "packed"
    store = ours.writer.typestore
    with Writer(path, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        for (topic, msgtype), made in ours.streams.items():
            connection = writer.add_connection(topic, msgtype, typestore=store)
            for i, (stamp, message) in enumerate(made):
                raw = bytes(store.serialize_cdr(message, msgtype))
                packed = zstd.compress(raw)
                is_cut = topic in (JOINTS, FRONT) and i == 2
                writer.write(connection, stamp, packed[:-3] if is_cut else packed)
    with Bag(path) as bag:
        found = read_recording(bag, ("front",))
        index = found.images["front"]
        pictures = [picture for _, _, picture in bag.images_at({"front": index.places})]
    assert dropped(found)[f"unreadable messages on {JOINTS}"] == 1
    assert len(found.joints.q) == 4
    # Where its stamp could be unpacked, the picture is found out only when it is wanted.
    assert len(pictures) == 5 - dropped(found).get(f"unreadable messages on {FRONT}", 0)
    assert set(pictures) <= {b"", b"\xff\xd8"}
