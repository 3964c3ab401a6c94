import errno
import os
import shutil
import sqlite3

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import zstd

from training.recordings.bag_folder import UnreadableBagError
from training.recordings.bags import Bag, find_bags, finished_bags
from vla_ros.bags.torn_mcap import TornMcap
from vla_ros.bags.writer import ChunkedWriter
from vla_ros.core import arm
from vla_ros.core.errors import BagError

MS = 1_000_000
JOINTS = "/wx250s/joint_states"
JOINT_STATE = "sensor_msgs/msg/JointState"


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


def stamps_ms(bag):
    """Return the stamps of the bag's joint states [ms]."""
    return [stamp // MS for stamp, _, _ in bag.joint_states()]


def messages(bag):
    """Return all that the bag's joint states say."""
    return {(stamp, tuple(names), *position) for stamp, names, position in bag.joint_states()}


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_stamps_and_values_come_back(write, storage):
    with Bag(write(storage=storage)) as bag:
        images, joints = list(bag.images("front")), list(bag.joint_states())
        events = bag.episode_events()
        assert bag.lost == []
    assert [stamp // MS for stamp, _ in images] == [0, 100, 200, 300, 400]
    assert [int(picture[0, 0, 0]) // 10 * 10 for _, picture in images] == [0, 40, 80, 120, 160]
    stamp, names, position = joints[1]
    assert stamp == 100 * MS
    assert names == arm.JOINT_STATE_NAMES
    np.testing.assert_allclose(position[:6], arm.READY_RAD)
    assert [event.event for event in events] == ["start", "end"]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_pictures_are_indexed_by_stamp_and_fetched_in_one_pass(write, storage):
    with Bag(write(storage=storage)) as bag:
        index = bag.image_index("front")
        found = list(bag.images_at({"front": index.places[[4, 1]]}))
        pictures = dict(bag.pictures("front"))
    assert index.stamps_ns.tolist() == [0, 100 * MS, 200 * MS, 300 * MS, 400 * MS]
    # In the order of the file; the row tells which was asked for.
    assert found == [("front", 1, pictures[100 * MS]), ("front", 0, pictures[400 * MS])]


def test_interbotix_topics_do_not_stop_a_bag_from_opening(write):
    with Bag(write()) as bag:
        assert "/wx250s/commands/joint_group" in bag.topics


def test_the_hash_tells_bags_apart_and_copies_not(write, tmp_path):
    path, other = write("a"), write("b")
    copy = shutil.copytree(path, tmp_path / "copy")
    (copy / "metadata.yaml").unlink()
    hashes = []
    for folder in (path, copy, other):
        with Bag(folder) as bag:
            hashes.append(bag.sha256())
    assert hashes[0] == hashes[1] != hashes[2]


def test_bags_are_found_below_a_folder_and_unfinished_ones_are_not(write, bag_writer):
    first, second = write("a"), write("b")
    (second / "metadata.yaml").unlink()
    unfinished, set_aside = write("c"), write("e")
    (bag_writer.folder / "d.part").mkdir()
    unfinished.rename(bag_writer.folder / "d.part" / "d")
    set_aside.rename(bag_writer.folder / "e.damaged")
    assert find_bags([bag_writer.folder, first]) == [first, second]
    asked_for = bag_writer.folder / "d.part"
    assert find_bags([asked_for]) == [asked_for / "d"]


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


@pytest.fixture
def chunked(bag_writer):
    """Return a bag of 40 joint states in 8 checksummed chunks, without a torn end."""
    path = bag_writer.folder / "chunked"
    with ChunkedWriter(path) as writer:
        connection = writer.add_connection(JOINTS, JOINT_STATE, typestore=bag_writer.typestore)
        for i in range(40):
            message = bag_writer.measured(i * MS, arm.READY_RAD + 1e-3 * i, 0.5)
            raw = bag_writer.typestore.serialize_cdr(message, JOINT_STATE)
            writer.write(connection, i, raw)
            if i % 5 == 4:
                writer.flush()
    return path


@pytest.mark.parametrize("tenths", range(10))
def test_of_a_bag_cut_off_anywhere_what_is_whole_is_read_and_the_original_stays(chunked, tenths):
    (storage,) = chunked.glob("*.mcap")
    (chunked / "metadata.yaml").unlink()
    whole = storage.read_bytes()
    storage.write_bytes(whole[: len(whole) * tenths // 10])
    before = contents(chunked)
    if tenths == 0:
        with (
            pytest.raises(BagError, match="chunked.mcap cannot be read .it is empty"),
            Bag(chunked),
        ):
            pass
        return
    with Bag(chunked) as bag:
        found = stamps_ms(bag)
        told = bag.lost
    assert told[0] == "metadata.yaml is missing"
    # Near its end only the index is cut off.
    assert len(found) == 40 or "chunked.mcap is cut off" in told[1]
    assert found == list(range(len(found)))
    assert len(found) % 5 == 0
    assert contents(chunked) == before


def test_a_damaged_chunk_costs_its_messages_and_is_told(chunked):
    (storage,) = chunked.glob("*.mcap")
    place = [place for place, _ in TornMcap(storage).groups()][2]
    data = bytearray(storage.read_bytes())
    data[place + 200] ^= 0xFF
    storage.write_bytes(data)
    with Bag(chunked) as bag:
        assert stamps_ms(bag) == [*range(10), *range(15, 40)]
        assert bag.lost == ["chunked.mcap has 1 damaged chunks, 5 messages"]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(at=st.floats(0, 0.999), flip=st.integers(1, 255))
def test_no_damaged_byte_makes_a_message_or_another_error(chunked, at, flip):
    (storage,) = chunked.glob("*.mcap")
    with Bag(chunked) as bag:
        written = messages(bag)
    whole = storage.read_bytes()
    data = bytearray(whole)
    data[int(at * len(data))] ^= flip
    storage.write_bytes(data)
    try:
        with Bag(chunked) as bag:
            assert messages(bag) <= written
    except BagError:
        pass
    finally:
        storage.write_bytes(whole)


def test_a_bag_without_metadata_reads_the_same(write):
    path = write()
    (path / "metadata.yaml").unlink()
    with Bag(path) as bag:
        assert stamps_ms(bag) == [0, 100, 200, 300, 400]
        assert bag.lost == ["metadata.yaml is missing"]


@pytest.mark.parametrize("text", ["{:", "a: 1", "rosbag2_bagfile_information: 3"])
def test_metadata_that_is_no_yaml_is_done_without(write, text):
    path = write()
    (path / "metadata.yaml").write_text(text)
    with Bag(path) as bag:
        assert stamps_ms(bag) == [0, 100, 200, 300, 400]
        assert bag.lost == ["metadata.yaml cannot be read"]


def parts_of(bag_writer, name, count):
    """Return a split bag of `count` files with a joint state each, in a folder of its own."""
    folder = bag_writer.folder / name
    folder.mkdir()
    for i in range(count):
        joints = [(i * MS, bag_writer.measured(i * MS, arm.READY_RAD, 0.5))]
        writer = Writer(bag_writer.folder / "one", version=9, storage_plugin=StoragePlugin.MCAP)
        bag_writer.write_streams(writer, {(JOINTS, JOINT_STATE): joints})
        (bag_writer.folder / "one" / "one.mcap").rename(folder / f"{name}_{i}.mcap")
        shutil.rmtree(bag_writer.folder / "one")
    return folder


def test_files_of_a_split_bag_are_read_in_the_order_of_their_numbers(bag_writer):
    with Bag(parts_of(bag_writer, "split", 12)) as bag:
        assert stamps_ms(bag) == list(range(12))


def test_a_missing_file_of_a_split_bag_is_told(bag_writer):
    path = parts_of(bag_writer, "split", 3)
    names = "".join(f"    - split_{i}.mcap\n" for i in range(3))
    text = f"rosbag2_bagfile_information:\n  relative_file_paths:\n{names}"
    (path / "metadata.yaml").write_text(text)
    (path / "split_1.mcap").unlink()
    with Bag(path) as bag:
        assert stamps_ms(bag) == [0, 2]
        assert bag.lost == ["split_1.mcap of its files are missing"]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_files_and_messages_read_the_same(bag_writer, storage, mode):
    path = bag_writer.folder / "packed"
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    image = bag_writer.types["sensor_msgs/msg/CompressedImage"]
    data = np.frombuffer(os.urandom(300), np.uint8)
    streams = {
        (JOINTS, JOINT_STATE): [(MS, bag_writer.measured(MS, arm.READY_RAD, 0.5))],
        ("/front/image_raw/compressed", "sensor_msgs/msg/CompressedImage"): [
            (MS, image(bag_writer.header(MS), "jpeg", data))
        ],
    }
    bag_writer.write_streams(writer, streams)
    before = contents(path)
    with Bag(path) as bag:
        assert stamps_ms(bag) == [1]
        index = bag.image_index("front")
        assert index.stamps_ns.tolist() == [MS]
        assert list(bag.images_at({"front": index.places})) == [("front", 0, data.tobytes())]
        assert bag.lost == []
    assert contents(path) == before


def test_a_compressed_file_that_was_cut_off_is_read_as_far_as_it_goes(bag_writer):
    path = bag_writer.folder / "packed"
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.FILE, CompressionFormat.ZSTD)
    text = bag_writer.types["std_msgs/msg/String"]
    # Two chunks and a half, of what does not shrink.
    noise = [(i, text(os.urandom(150_000).hex())) for i in range(9)]
    bag_writer.write_streams(writer, {("/noise", "std_msgs/msg/String"): noise})
    (storage,) = path.glob("*.zstd")
    storage.write_bytes(storage.read_bytes()[:1_000_000])
    with Bag(path) as bag:
        assert len(list(bag.read(["/noise"]))) == 4
        assert bag.lost[0] == "packed.mcap.zstd is cut off"
        assert bag.lost[1].startswith("packed.mcap is cut off")


def test_a_database_that_was_never_closed_is_read_with_its_log_and_not_touched(write):
    path = write(storage=StoragePlugin.SQLITE3)
    (storage,) = path.glob("*.db3")
    database = sqlite3.connect(storage)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    number = database.execute("SELECT id FROM topics WHERE name = ?", (JOINTS,)).fetchone()[0]
    database.execute("DELETE FROM messages WHERE topic_id = ? AND timestamp > 3000000000", [number])
    database.commit()
    killed = path.with_name("killed")
    shutil.copytree(path, killed)
    database.close()
    before = contents(killed)
    with Bag(killed) as bag:
        assert stamps_ms(bag) == [0]
    assert contents(killed) == before


def test_a_database_that_was_cut_off_gives_what_is_whole(write):
    path = write(storage=StoragePlugin.SQLITE3)
    (storage,) = path.glob("*.db3")
    data = storage.read_bytes()
    storage.write_bytes(data[: len(data) * 2 // 3])
    try:
        with Bag(path) as bag:
            assert set(stamps_ms(bag)) <= {0, 100, 200, 300, 400}
            assert bag.lost
    except BagError as error:
        assert "cannot be opened" in str(error)  # noqa: PT017  (either is right, by the page lost)


def test_refuses_a_file_that_may_not_be_read(write, monkeypatch):
    path = write()

    def refuse(self, *arguments, **keywords):
        if self.suffix == ".mcap":
            raise PermissionError(13, "Permission denied", str(self))
        return open(self, *arguments, **keywords)

    monkeypatch.setattr(type(path), "open", refuse)
    with (
        pytest.raises(BagError, match="cannot be opened .Permission denied: .*give access"),
        Bag(path),
    ):
        pass


def test_refuses_a_file_that_is_no_recording(tmp_path):
    (tmp_path / "notes.mcap").write_text("milk, bread and eggs")
    (tmp_path / "more.db3").write_text("milk, bread and eggs " * 200)
    with (
        pytest.raises(BagError, match=r"notes.mcap cannot be read .it is no MCAP file"),
        Bag(tmp_path),
    ):
        pass


def test_refuses_messages_that_are_not_of_ros_2(bag_writer):
    path = bag_writer.folder / "old"
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        writer.add_connection(
            "/x", JOINT_STATE, typestore=bag_writer.typestore, serialization_format="ros1"
        )
    with pytest.raises(BagError, match="messages of the format ros1, not cdr"), Bag(path):
        pass


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


@pytest.mark.parametrize("value", [7, 2.5, "a text"])
def test_a_message_of_a_database_that_is_no_blob_is_a_damaged_one(write, value):
    path = write(storage=StoragePlugin.SQLITE3)
    (storage,) = path.glob("*.db3")
    with sqlite3.connect(storage) as db:
        pictures = "topic_id = (SELECT id FROM topics WHERE name LIKE '%compressed')"
        db.execute(f"UPDATE messages SET data = ? WHERE {pictures}", (value,))
    db.close()
    with Bag(path) as bag:
        assert stamps_ms(bag) == [0, 100, 200, 300, 400]
        with pytest.raises(BagError, match="compressed in bag .* cannot be read"):
            bag.image_index("front")
        rows = np.array([[0, place, 0] for place in (1, 2)])
        assert all(isinstance(data, bytes) for _, data in bag.fetch(rows))


def test_copies_are_made_where_they_are_wanted_and_only_if_need_be(bag_writer, tmp_path):
    path = bag_writer.moving_episode("play-0", 2)
    (file,) = path.glob("*.mcap")
    with Bag(path, scratch_in=tmp_path / "not there") as bag:
        assert bag.lost == []
    packed = file.with_name(f"{file.name}.zstd")
    packed.write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()
    with Bag(path, scratch_in=tmp_path) as bag:
        assert bag.topics
        assert len(list(tmp_path.glob(".bag-*.tmp/*.mcap"))) == 1
    assert not list(tmp_path.glob(".bag-*"))


def test_no_room_to_unpack_is_said_and_is_no_damage(bag_writer, tmp_path, monkeypatch):
    path = bag_writer.moving_episode("play-0", 2)
    (file,) = path.glob("*.mcap")
    file.rename(file.with_name(f"{file.name}.zstd"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.recordings.bag_folder.expand", full)
    with pytest.raises(UnreadableBagError, match=r"cannot be unpacked \(No space left .*\.tmp\)"):
        Bag(path, scratch_in=tmp_path).__enter__()
    assert not list(tmp_path.glob(".bag-*"))


def test_a_disk_that_refuses_is_not_a_database_that_is_damaged(write, monkeypatch):
    path = write(storage=StoragePlugin.SQLITE3)

    class Refusing:
        def execute(self, *_):
            raise sqlite3.OperationalError("disk I/O error")

        def close(self):
            pass

    with Bag(path) as bag:
        monkeypatch.setattr(bag._files[0], "_db", Refusing())
        with pytest.raises(UnreadableBagError, match="cannot be read .disk I/O error"):
            stamps_ms(bag)
        with pytest.raises(UnreadableBagError, match="cannot be read .disk I/O error"):
            list(bag.fetch(np.array([[0, 1, 0]])))
        assert bag.lost == []
