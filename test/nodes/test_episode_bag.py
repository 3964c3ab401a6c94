import errno
import json
import resource
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip("rclpy")

from rosbags.highlevel import AnyReader

from vla_ros.bags import part as part_module
from vla_ros.bags.part import PartFolder
from vla_ros.bags.repair import repair
from vla_ros.core.errors import BagError
from vla_ros.nodes.episode_bag import EpisodeBag, RosbagsWriter, Topic

STRING = Topic("/vla/task", "std_msgs/msg/String", latched=True)
GROUP = Topic("/wx250s/commands/joint_group", "interbotix_xs_msgs/msg/JointGroupCommand")


def string_cdr(text: str) -> bytes:
    """Return a serialised std_msgs/String: header, length with the final zero, bytes."""
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + len(data).to_bytes(4, "little") + data


def test_messages_come_back_byte_for_byte_with_their_times(tmp_path):
    bag = EpisodeBag(tmp_path, "play-1", [STRING, GROUP], make_writer=RosbagsWriter)
    bag.write("/vla/task", 5, string_cdr("put it there"))
    assert not (tmp_path / "play-1").exists()
    path = bag.save({"episode": json.dumps({"success": True})})
    assert path == tmp_path / "play-1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["play-1"]
    with AnyReader([path]) as reader:
        messages = [(time, bytes(raw)) for _, time, raw in reader.messages()]
        assert reader.topics[GROUP.name].msgtype == GROUP.type
    assert messages == [(5, string_cdr("put it there"))]
    metadata = yaml.safe_load((path / "metadata.yaml").read_text())
    facts = metadata["rosbag2_bagfile_information"]
    assert facts["custom_data"] == {"episode": '{"success": true}'}
    assert facts["relative_file_paths"] == ["play-1.mcap"]


def test_an_episode_that_exists_is_not_overwritten(tmp_path):
    EpisodeBag(tmp_path, "a", [STRING]).save({})
    with pytest.raises(BagError, match="a exists already; choose another session name"):
        EpisodeBag(tmp_path, "a", [STRING])


def test_a_discarded_bag_leaves_nothing(tmp_path):
    bag = EpisodeBag(tmp_path, "a", [STRING])
    bag.write("/vla/task", 1, string_cdr("x"))
    bag.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["write", "close"])
def test_a_full_disk_is_one_sentence_and_spares_what_is_saved(tmp_path, monkeypatch, call):
    saved = EpisodeBag(tmp_path, "saved", [STRING]).save({})
    bag = EpisodeBag(tmp_path, "full", [STRING])

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bag._writer._writer, call, refuse)

    def write_and_save():
        bag.write("/vla/task", 1, string_cdr("x"))
        bag.save({})

    with pytest.raises(BagError, match=r"full\.part failed \(No space left on device\)"):
        write_and_save()
    assert (saved / "metadata.yaml").exists()
    assert not (tmp_path / "full").exists()


def test_a_disk_that_fills_up_in_mid_write_costs_the_torn_chunk_only(tmp_path):
    bag = EpisodeBag(tmp_path, "a", [STRING])
    rng = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    written = []

    def write_on():
        for index in range(100):
            written.append(rng.bytes(20_000))
            bag.write("/vla/task", index, written[-1])
            if index % 5 == 4:
                bag.flush()

    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, hard))
    try:
        with pytest.raises(BagError, match=r"a\.part failed \(File too large\)"):
            write_on()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # Twelve messages fit; the chunks hold five each.
    assert repair(tmp_path / "a.part").messages == 10
    with AnyReader([tmp_path / "a"]) as reader:
        assert [bytes(raw) for _, _, raw in reader.messages()] == written[:10]


def test_a_bag_that_has_its_name_already_is_named_when_the_last_step_fails(tmp_path, monkeypatch):
    bag = EpisodeBag(tmp_path, "a", [STRING])
    bag.write("/vla/task", 1, string_cdr("x"))
    real = part_module.sync

    def refuse_the_session(path):
        if path == tmp_path:
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(part_module, "sync", refuse_the_session)
    with pytest.raises(BagError, match=f"what was written stays in {tmp_path / 'a'},"):
        bag.save({})
    with AnyReader([tmp_path / "a"]) as reader:
        assert len([*reader.messages()]) == 1


def test_a_discarded_bag_that_cannot_be_deleted_is_said(tmp_path, monkeypatch):
    bag = EpisodeBag(tmp_path, "a", [STRING])
    monkeypatch.setattr(part_module.shutil, "rmtree", lambda *_, **__: None)
    with pytest.raises(BagError, match=r"discarded .*a\.part could not be deleted"):
        bag.discard()


@pytest.mark.parametrize("make", [PartFolder.create, PartFolder.free_id])
def test_a_session_that_cannot_be_looked_into_is_refused(tmp_path, monkeypatch, make):
    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(BagError, match=r"\(Permission denied\); choose another out"):
        make(tmp_path, "a")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BagError, match="Not a directory"):
        EpisodeBag(tmp_path / "file", "a", [STRING])


def test_a_message_type_without_definition_is_refused(tmp_path):
    with pytest.raises(BagError, match="install and source the package nowhere_msgs"):
        EpisodeBag(tmp_path, "a", [Topic("/x", "nowhere_msgs/msg/X")], make_writer=RosbagsWriter)
