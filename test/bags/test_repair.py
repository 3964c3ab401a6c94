import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.highlevel import AnyReader

from vla_ros.bags import repair as repair_module
from vla_ros.bags.part import PartFolder
from vla_ros.bags.repair import repair, repair_below
from vla_ros.core.disk_budget import DiskBudget
from vla_ros.core.errors import BagError

ROOT = Path(__file__).resolve().parent.parent.parent


def read(path):
    with AnyReader([path]) as reader:
        return [(c.topic, time_ns, bytes(raw)) for c, time_ns, raw in reader.messages()]


def copy_of(torn, folder, length=None):
    """Return a copy of the unfinished bag, its file cut to `length` bytes."""
    part = Path(shutil.copytree(torn.part.path, folder / torn.part.path.name))
    if length is not None:
        os.truncate(part / "play-1" / "play-1.mcap", length)
    return part


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_message_of_every_whole_chunk_survives_a_cut_anywhere(torn, tmp_path_factory, data):
    size = torn.file.stat().st_size
    near_an_end = st.sampled_from([0, 8, *torn.chunk_ends, *torn.ends]).flatmap(
        lambda end: st.integers(max(0, end - 12), min(size, end + 12))
    )
    cut = data.draw(st.integers(0, size) | near_an_end)
    folder = tmp_path_factory.mktemp("cut")
    part = copy_of(torn, folder, cut)
    before = (part / "play-1" / "play-1.mcap").read_bytes()
    # A chunk's index comes after it and is not needed.
    least = sum(end <= cut for end in torn.chunk_ends) * torn.per_chunk
    if least == 0:
        with pytest.raises(BagError, match="no whole chunk"):
            repair(part)
        assert (part / "play-1" / "play-1.mcap").read_bytes() == before
        return
    repair(part)
    found = read(folder / "play-1")
    assert found == torn.written[:least]
    assert [entry.name for entry in folder.iterdir()] == ["play-1"]


def test_a_repaired_bag_says_so_and_keeps_what_was_known_at_its_start(torn, tmp_path):
    part = copy_of(torn, tmp_path, torn.ends[1] + 5)
    repaired = repair(part)
    assert (repaired.messages, repaired.dropped_bytes, repaired.original) == (6, 5, None)
    assert "6 messages, without a torn end of 5 bytes" in str(repaired)
    facts = yaml.safe_load((tmp_path / "play-1" / "metadata.yaml").read_text())
    custom = facts["rosbag2_bagfile_information"]["custom_data"]
    assert custom["robot_name"] == "wx250s"
    assert custom["episode"] == torn.start.to_json()
    assert json.loads(custom["recovered"])["reason"] == "recovered, cut off"
    topics = facts["rosbag2_bagfile_information"]["topics_with_message_count"]
    assert [(t["topic_metadata"]["name"], t["message_count"]) for t in topics] == [
        ("/vla/episode", 1),
        ("/wx250s/joint_states", 5),
    ]
    assert topics[0]["topic_metadata"]["offered_qos_profiles"][0]["durability"] == "transient_local"
    assert topics[0]["topic_metadata"]["type_description_hash"].startswith("RIHS01_df668c7404")


def test_zeros_at_the_end_as_after_a_power_cut_are_a_torn_end(torn, tmp_path):
    part = copy_of(torn, tmp_path, torn.ends[1])
    with (part / "play-1" / "play-1.mcap").open("ab") as file:
        file.write(bytes(3000))
    repaired = repair(part)
    assert (repaired.messages, repaired.dropped_bytes) == (6, 3000)


def test_a_damaged_chunk_costs_itself_and_the_original_is_kept(torn, tmp_path):
    part = copy_of(torn, tmp_path)
    file = part / "play-1" / "play-1.mcap"
    damaged = bytearray(file.read_bytes())
    # In the middle of the second chunk's packed messages.
    damaged[torn.ends[0] + 120] ^= 0xFF
    file.write_bytes(damaged)
    repaired = repair(part)
    assert repaired.damaged_chunks == 1
    assert read(repaired.path) == torn.written[:3] + torn.written[6:]
    assert (tmp_path / "play-1.damaged" / "play-1.mcap").read_bytes() == damaged
    assert repaired.original == tmp_path / "play-1.damaged"


def test_what_follows_a_page_of_zeros_is_found_and_the_original_is_kept(torn, tmp_path):
    part = copy_of(torn, tmp_path)
    file = part / "play-1" / "play-1.mcap"
    damaged = bytearray(file.read_bytes())
    # From the index of the first chunk into the second one: where that begins is gone.
    first, last = torn.chunk_ends[0] + 1, torn.ends[0] + 60
    damaged[first:last] = bytes(last - first)
    file.write_bytes(damaged)
    repaired = repair(part)
    assert read(repaired.path) == torn.written[:3] + torn.written[6:]
    assert repaired.damaged_chunks == 1
    assert (tmp_path / "play-1.damaged" / "play-1.mcap").read_bytes() == damaged


@pytest.mark.parametrize("byte", [0, 3, 9 + 24 + 4 + 4 + 4 + 3])
def test_a_chunk_that_says_a_wrong_opcode_or_length_costs_itself(torn, tmp_path, byte):
    part = copy_of(torn, tmp_path)
    file = part / "play-1" / "play-1.mcap"
    damaged = bytearray(file.read_bytes())
    assert damaged[torn.ends[1]] == 6
    damaged[torn.ends[1] + byte] ^= 0x80
    file.write_bytes(damaged)
    repaired = repair(part)
    assert read(repaired.path) == torn.written[:6] + torn.written[9:]
    assert repaired.original == tmp_path / "play-1.damaged"


def test_an_end_that_is_neither_cut_nor_zeros_keeps_the_original(torn, tmp_path):
    part = copy_of(torn, tmp_path, torn.ends[1])
    with (part / "play-1" / "play-1.mcap").open("ab") as file:
        file.write(bytes(300) + b"something")
    repaired = repair(part)
    assert (repaired.messages, repaired.damaged_chunks) == (6, 1)
    assert repaired.original == tmp_path / "play-1.damaged"


def test_a_bag_that_was_only_not_renamed_is_whole(torn, tmp_path):
    part = copy_of(torn, tmp_path)
    repair(part)
    part.mkdir()
    (tmp_path / "play-1").rename(part / "play-1")
    repaired = repair(part)
    assert (repaired.messages, repaired.dropped_bytes) == (12, 0)


def test_a_bag_that_somebody_writes_is_left_alone(torn, tmp_path):
    part = copy_of(torn, tmp_path)
    before = sorted(path.name for path in part.rglob("*"))
    with (part / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert repair(part) is None
        assert repair_below([tmp_path], pytest.fail) == (0, 0)
    assert sorted(path.name for path in part.rglob("*")) == before


def test_a_finished_bag_of_the_same_name_is_not_replaced(torn, tmp_path):
    part = copy_of(torn, tmp_path)
    (tmp_path / "play-1").mkdir()
    with pytest.raises(BagError, match="play-1 exists already; move one of them away"):
        repair(part)
    assert (part / "play-1" / "play-1.mcap").exists()


def test_a_disk_that_refuses_the_copy_leaves_the_original(torn, tmp_path, monkeypatch):
    part = copy_of(torn, tmp_path)
    before = torn.file.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vla_ros.bags.repair.ChunkedWriter.close", refuse)
    with pytest.raises(BagError, match=r"cannot be repaired \(No space left on device\): it stays"):
        repair(part)
    assert (part / "play-1" / "play-1.mcap").read_bytes() == before
    assert not (part / "repaired").exists()


def test_a_repair_leaves_free_what_the_recorder_leaves_free(torn, tmp_path, monkeypatch):
    part = copy_of(torn, tmp_path)
    size = (part / "play-1" / "play-1.mcap").stat().st_size
    usage = SimpleNamespace(free=70_000_000 + size - 1)
    monkeypatch.setattr(repair_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(BagError, match=r"besides the 70 MB that must stay free \(min_free_mb\)"):
        repair(part, DiskBudget(70_000_000))
    assert (part / "play-1" / "play-1.mcap").exists()
    usage.free += 1
    assert repair(part, DiskBudget(70_000_000)).messages > 0


def test_a_file_system_without_locks_is_recorded_to_but_nothing_is_repaired_there(
    torn, tmp_path, monkeypatch
):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    part = copy_of(torn, tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert PartFolder.create(tmp_path, "new").path.exists()
    with pytest.raises(BagError, match="No locks available"):
        repair(part)
    assert (part / "play-1" / "play-1.mcap").exists()


def test_a_copy_that_does_not_read_back_is_not_trusted(torn, tmp_path, monkeypatch):
    part = copy_of(torn, tmp_path)
    real = repair_module._copy
    monkeypatch.setattr(repair_module, "_copy", lambda *arguments: real(*arguments) + 1)
    with pytest.raises(BagError, match="gives 12 of 13 messages back"):
        repair(part)
    assert (part / "play-1" / "play-1.mcap").exists()


def test_the_command_repairs_the_sessions_of_a_folder(torn, tmp_path):
    (tmp_path / "night").mkdir()
    copy_of(torn, tmp_path / "night")
    (tmp_path / "night" / "empty.part").mkdir()
    command = [sys.executable, "-m", "vla_ros.bags.repair", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "recovered" in done.stdout
    assert "empty.part holds no whole chunk" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 recovered, 1 not"
    assert len(read(tmp_path / "night" / "play-1")) == 12


def test_a_power_cut_between_the_last_two_steps_loses_neither_copy_nor_original(
    torn, tmp_path, monkeypatch
):
    part = copy_of(torn, tmp_path)
    file = part / "play-1" / "play-1.mcap"
    damaged = bytearray(file.read_bytes())
    damaged[torn.ends[0] + 120] ^= 0xFF
    file.write_bytes(damaged)
    rename = Path.rename

    def cut(path, target):
        if path == part / "play-1":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        repair(part)
    monkeypatch.undo()
    with pytest.raises(BagError, match="play-1 exists already"):
        repair(part)
    assert len(read(tmp_path / "play-1")) == 9
    assert file.read_bytes() == damaged


def test_a_folder_that_a_repair_took_first_is_not_recorded_to(tmp_path, monkeypatch):
    monkeypatch.setattr(PartFolder, "lock", lambda _: False)
    with pytest.raises(BagError, match="was taken for a repair"):
        PartFolder.create(tmp_path, "a")


def test_a_folder_is_created_once_and_its_lock_is_held(tmp_path):
    part = PartFolder.create(tmp_path, "a")
    assert not PartFolder(part.path).lock()
    with pytest.raises(BagError, match="exists already"):
        PartFolder.create(tmp_path, "a")
    part.remove()
    assert not PartFolder(part.path).lock()


def test_unreadable_facts_are_no_facts(tmp_path):
    part = PartFolder.create(tmp_path, "a")
    assert part.facts() == {}
    (part.path / "facts.json").write_text("[1]")
    assert part.facts() == {}
