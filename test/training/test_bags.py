import os

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin

from training.bags import Bag, find_bags, finished_bags
from vla_ros.core import arm
from vla_ros.core.errors import BagError

MS = 1_000_000


@pytest.fixture
def write(bag_writer):
    """Return a function that writes a small bag with some parts replaced."""

    def write_bag(name="play-0", **changes):
        still = [(s * 100 * MS, (arm.READY_RAD, 0.25)) for s in range(5)]
        images = [(s * 100 * MS, bag_writer.picture(40 * s)) for s in range(5)]
        parts = {"joints": still, "commanded": still, "images": images}
        parts["events"] = bag_writer.events(name)
        return bag_writer.write(name, **{**parts, **changes})

    return write_bag


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_stamps_and_values_come_back(write, storage):
    with Bag(write(storage=storage)) as bag:
        images, joints, commanded = (
            list(s) for s in (bag.images("front"), bag.joint_states(), bag.commanded())
        )
        events = bag.episode_events()
    assert [stamp // MS for stamp, _ in images] == [0, 100, 200, 300, 400]
    assert [int(picture[0, 0, 0]) // 10 * 10 for _, picture in images] == [0, 40, 80, 120, 160]
    stamp, names, position = joints[1]
    assert stamp == 100 * MS
    assert tuple(names) == arm.JOINT_STATE_NAMES
    np.testing.assert_allclose(position[:6], arm.READY_RAD)
    # The opening goes through the gripper's horn angle and back.
    np.testing.assert_allclose(commanded[2][1], [*arm.READY_RAD, 0.25], atol=1e-9)
    assert [event.event for event in events] == ["start", "end"]


def test_interbotix_topics_do_not_stop_a_bag_from_opening(write):
    with Bag(write()) as bag:
        assert "/wx250s/commands/joint_group" in bag.topics


def test_bags_are_found_below_a_folder_and_unfinished_ones_are_not(write, bag_writer):
    first, second = write("a"), write("b")
    unfinished = write("c")
    (bag_writer.folder / "d.part").mkdir()
    unfinished.rename(bag_writer.folder / "d.part" / "d")
    assert find_bags([bag_writer.folder, first]) == [first, second]


def test_refuses_a_path_that_is_not_there(tmp_path):
    with pytest.raises(BagError, match="nothing does not exist; give a bag folder"):
        find_bags([tmp_path / "nothing"])


def test_refuses_a_folder_without_bags(tmp_path):
    with pytest.raises(BagError, match="holds no bag"):
        find_bags([tmp_path])


def test_refuses_a_bag_without_a_topic_and_lists_what_there_is(write):
    with (
        Bag(write(omit=("/vla/commanded",))) as bag,
        pytest.raises(BagError, match="no message on /vla/commanded; it has /front/image_raw"),
    ):
        bag.require_topics("/vla/episode", "/vla/commanded")


def test_a_bag_that_was_cut_off_tells_so(write):
    path = write()
    (storage,) = path.glob("*.mcap")
    storage.write_bytes(storage.read_bytes()[:500])
    with Bag(path) as bag:
        assert bag.topics == set()
        assert bag.lost == ["play-0.mcap is cut off, its last 457 bytes are no whole record"]


def test_metadata_that_is_no_yaml_is_done_without(write):
    path = write()
    (path / "metadata.yaml").write_text("{:")
    with Bag(path) as bag:
        assert len(list(bag.joint_states())) == 5
        assert bag.lost == ["metadata.yaml cannot be read"]


def test_refuses_another_type_under_a_known_name(write):
    with Bag(write()) as bag:
        bag.joint_topic = "/vla/episode"
        with pytest.raises(BagError, match="must be sensor_msgs/msg/JointState, got std_msgs"):
            list(bag.joint_states())


def test_refuses_a_picture_that_cannot_be_decoded(write):
    with (
        Bag(write(images=[(0, b"\xff\xd8 broken")])) as bag,
        pytest.raises(BagError, match="cannot be decoded"),
    ):
        list(bag.images("front"))


def test_refuses_a_command_that_is_not_finite(write):
    bad = [(0, (np.full(6, np.nan), 0.5))]
    with (
        Bag(write(commanded=bad)) as bag,
        pytest.raises(BagError, match="must give finite waist, shoulder"),
    ):
        list(bag.commanded())


def test_refuses_an_event_that_is_not_ours(write):
    with (
        Bag(write(events=["hello"])) as bag,
        pytest.raises(BagError, match="/vla/episode in bag .*is not JSON"),
    ):
        bag.episode_events()


def test_a_bag_that_is_saved_while_one_looks_for_bags_does_no_harm(tmp_path, monkeypatch):
    """The recorder takes `x.part` away between the listing of its parent and its own."""
    for name in ("a/one", "a/two.part/two", "b.part"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metadata.yaml").touch()
    vanishing = tmp_path / "a" / "three"
    vanishing.mkdir()
    scandir = os.scandir

    def scan(path):
        if str(path) == str(vanishing):
            vanishing.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert finished_bags(tmp_path) == [tmp_path / "a" / "one"]
    assert not vanishing.exists(), "nothing vanished: the test shows nothing"
