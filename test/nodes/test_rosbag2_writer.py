"""The rosbag2 backend against stand-ins for what rosbag2_py offers on Humble and on Jazzy.

They take the arguments that the bindings take, and write what the library leaves on the disk.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

pytest.importorskip("rclpy")

from vla_ros.core.errors import BagError
from vla_ros.nodes.episode_bag import (
    EpisodeBag,
    RosbagsWriter,
    Topic,
    choose_writer,
)

TASK = Topic("/vla/task", "std_msgs/msg/String", latched=True)
MAGIC = b"\x89MCAP0\r\n"
JOINTS = Topic("/wx250s/joint_states", "sensor_msgs/msg/JointState")


class Library:
    """What a fake rosbag2_py was asked to do."""

    def __init__(self):
        self.calls = []
        self.options = None
        self.refuses = False
        # The disk takes no more, and as the real one the library does not notice.
        self.is_full = False
        self.metadata_is_empty = False


def sequential_writer(library, with_close):
    class SequentialWriter:
        def open(self, options, converter):
            library.options = options
            library.calls.append(("open", options.uri, vars(converter)))
            self.path = options.uri
            self.kept = 0
            Path(self.path).mkdir()
            self.file = Path(self.path) / f"{Path(self.path).name}_0.mcap"
            self.file.write_bytes(MAGIC)

        def create_topic(self, topic):
            library.calls.append(("create_topic", vars(topic)))

        def write(self, topic, data, time_ns):
            if library.refuses:
                raise RuntimeError("fwrite: No space left on device")
            library.calls.append(("write", topic, data, time_ns))
            if not library.is_full:
                self.kept += 1
                self.file.write_bytes(self.file.read_bytes() + data)

        def _finish(self):
            if not library.is_full:
                self.file.write_bytes(self.file.read_bytes() + MAGIC)
            info = {"rosbag2_bagfile_information": {"version": 5, "message_count": self.kept}}
            text = "" if library.metadata_is_empty else yaml.safe_dump(info)
            self.file.with_name("metadata.yaml").write_text(text)
            library.calls.append(("close",))

    if with_close:
        SequentialWriter.close = SequentialWriter._finish
    else:
        SequentialWriter.__del__ = SequentialWriter._finish
    return SequentialWriter


def converter_options(input_serialization_format="", output_serialization_format=""):
    return SimpleNamespace(input=input_serialization_format, output=output_serialization_format)


def jazzy(library):
    class QoS:
        def __init__(self, depth):
            self.said = [depth]

        def reliable(self):
            self.said.append("reliable")
            return self

        def transient_local(self):
            self.said.append("transient_local")
            return self

    def storage_options(
        uri, storage_id="", max_cache_size=0, storage_preset_profile="", storage_config_uri=""
    ):
        return SimpleNamespace(**locals(), custom_data={})

    def topic_metadata(
        id, name, type, serialization_format, offered_qos_profiles=(), type_description_hash=""
    ):
        return SimpleNamespace(**locals())

    return {
        "StorageOptions": storage_options,
        "TopicMetadata": topic_metadata,
        "SequentialWriter": sequential_writer(library, with_close=True),
        "_storage": SimpleNamespace(QoS=QoS),
    }


def humble(library):
    def storage_options(
        uri, storage_id="", max_cache_size=0, storage_preset_profile="", storage_config_uri=""
    ):
        return SimpleNamespace(**locals())

    def topic_metadata(name, type, serialization_format, offered_qos_profiles=""):
        assert isinstance(offered_qos_profiles, str)
        return SimpleNamespace(**locals())

    return {
        "StorageOptions": storage_options,
        "TopicMetadata": topic_metadata,
        "SequentialWriter": sequential_writer(library, with_close=False),
        "_storage": SimpleNamespace(),
    }


@pytest.fixture
def installed(monkeypatch):
    """Return a function that installs a distro's fake; it returns what the fake is told."""

    def install(distro):
        library = Library()
        module = ModuleType("rosbag2_py")
        module.__spec__ = importlib.machinery.ModuleSpec("rosbag2_py", None)
        vars(module).update(distro(library), ConverterOptions=converter_options)
        monkeypatch.setitem(sys.modules, "rosbag2_py", module)
        monkeypatch.delitem(sys.modules, "vla_ros.nodes.rosbag2_writer", raising=False)
        return library

    yield install
    sys.modules.pop("vla_ros.nodes.rosbag2_writer", None)


def record_one(folder):
    name, make_writer = choose_writer("auto")
    assert name == "rosbag2"
    bag = EpisodeBag(folder, "play-1", [TASK, JOINTS], {"arm": "sim"}, make_writer)
    bag.write("/vla/task", 5, b"raw")
    bag.flush()
    return bag.save({"arm": "sim", "topics": "{}"})


@pytest.mark.parametrize("distro", [humble, jazzy])
def test_bytes_go_through_a_real_cache_and_the_facts_into_the_metadata(installed, tmp_path, distro):
    library = installed(distro)
    path = record_one(tmp_path)
    options = library.options
    assert (options.storage_id, options.storage_preset_profile) == ("mcap", "zstd_fast")
    assert options.max_cache_size == 32 * 1024 * 1024
    assert [call[0] for call in library.calls] == [
        "open",
        "create_topic",
        "create_topic",
        "write",
        "close",
    ]
    assert library.calls[3] == ("write", "/vla/task", b"raw", 5)
    assert path == tmp_path / "play-1"
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    facts = metadata["rosbag2_bagfile_information"]
    assert facts == {
        "version": 5,
        "message_count": 1,
        "custom_data": {"arm": "sim", "topics": "{}", "dropped_by_rosbag2": "0"},
    }
    assert (path / "play-1_0.mcap").exists()


def test_a_topic_has_number_profile_and_hash_on_jazzy(installed, tmp_path):
    library = installed(jazzy)
    record_one(tmp_path)
    task, joints = (call[1] for call in library.calls if call[0] == "create_topic")
    assert (task["id"], joints["id"]) == (1, 2)
    assert task["offered_qos_profiles"][0].said == [10, "reliable", "transient_local"]
    assert joints["offered_qos_profiles"][0].said == [10, "reliable"]
    assert task["type_description_hash"].startswith("RIHS01_df668c74")
    assert library.options.custom_data == {"arm": "sim"}


def test_a_topic_has_its_profile_as_text_on_humble(installed, tmp_path):
    library = installed(humble)
    record_one(tmp_path)
    task = next(call[1] for call in library.calls if call[0] == "create_topic")
    profile = yaml.safe_load(task["offered_qos_profiles"])[0]
    # rmw's numbers: reliable, transient local.
    assert (profile["reliability"], profile["durability"], profile["depth"]) == (1, 1, 10)


def test_an_error_of_the_library_is_one_sentence(installed, tmp_path):
    library = installed(jazzy)
    _, make_writer = choose_writer("rosbag2")
    bag = EpisodeBag(tmp_path, "play-1", [TASK], {}, make_writer)
    library.refuses = True
    with pytest.raises(BagError, match=r"play-1\.part failed \(rosbag2: fwrite: No space left"):
        bag.write("/vla/task", 5, b"raw")


def open_bag(folder):
    _, make_writer = choose_writer("rosbag2")
    return EpisodeBag(folder, "play-1", [TASK], {}, make_writer)


def test_chunks_are_small_and_have_checksums_so_that_a_kill_costs_little(installed, tmp_path):
    library = installed(jazzy)
    bag = open_bag(tmp_path)
    storage = Path(library.options.storage_config_uri)
    assert yaml.safe_load(storage.read_text()) == {"chunkSize": 32768, "noChunkCRC": False}
    bag.save({})
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "metadata.yaml",
        "play-1",
        "play-1_0.mcap",
    ]


def test_a_file_that_no_longer_grows_is_one_sentence(installed, tmp_path):
    library = installed(jazzy)
    bag = open_bag(tmp_path)
    bag.write("/vla/task", 5, b"raw")
    bag.flush()
    library.is_full = True
    for _ in range(4):
        bag.write("/vla/task", 6, bytes(40_000))
    for _ in range(4):
        bag.flush()
    with pytest.raises(BagError, match=r"rosbag2: the file stays at 11 bytes, the disk takes none"):
        bag.flush()


def test_a_topic_that_says_little_is_no_disk_that_takes_nothing(installed, tmp_path):
    installed(jazzy).is_full = True
    bag = open_bag(tmp_path)
    bag.write("/vla/task", 6, bytes(4 * 32768))
    for _ in range(20):
        bag.flush()


def test_a_file_without_its_end_is_not_called_saved(installed, tmp_path):
    library = installed(jazzy)
    bag = open_bag(tmp_path)
    bag.write("/vla/task", 5, b"raw")
    library.is_full = True
    with pytest.raises(BagError, match="play-1_0.mcap lacks its end"):
        bag.save({})
    assert (tmp_path / "play-1.part" / "play-1" / "play-1_0.mcap").exists()


def test_metadata_that_the_disk_refused_are_one_sentence(installed, tmp_path):
    installed(jazzy).metadata_is_empty = True
    bag = open_bag(tmp_path)
    with pytest.raises(BagError, match="metadata.yaml is not whole"):
        bag.save({})


def test_what_the_cache_dropped_is_in_the_bag(installed, tmp_path):
    library = installed(jazzy)
    bag = open_bag(tmp_path)
    bag.write("/vla/task", 5, b"raw")
    library.is_full = True
    bag.write("/vla/task", 6, b"raw")
    library.is_full = False
    metadata = yaml.safe_load((bag.save({}) / "metadata.yaml").read_text())
    facts = metadata["rosbag2_bagfile_information"]["custom_data"]
    assert facts == {"dropped_by_rosbag2": "1"}


def test_rosbags_is_taken_where_there_is_no_rosbag2_or_where_it_is_asked_for(
    installed, monkeypatch
):
    installed(jazzy)
    assert choose_writer("rosbags") == ("rosbags", RosbagsWriter)
    monkeypatch.setitem(sys.modules, "rosbag2_py", None)
    assert choose_writer("auto") == ("rosbags", RosbagsWriter)
    with pytest.raises(BagError, match=r"rosbag2_py cannot be imported .*; install and source"):
        choose_writer("rosbag2")
