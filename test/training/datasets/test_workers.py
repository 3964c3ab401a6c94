"""Bags that cannot be converted: what is a failure, and what a refusal for good."""

import errno

import pytest

from training.datasets import bag_shard, shard_writer
from training.datasets.bag_shard import Settings
from training.datasets.frames import MaxAge
from training.datasets.workers import convert_one
from training.recordings.bag_files import McapFile
from vla_ros.core.contract import tap_contract

SETTINGS = Settings(tap_contract(image_size=16), MaxAge())


def test_a_bag_that_vanished_or_may_not_be_read_is_a_failure_and_no_refusal(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    done = convert_one(tmp_path / "gone", folder, SETTINGS, lambda *_: None)
    assert done.key is None
    assert not done.is_disk
    assert "gone cannot be opened (No such file or directory: " in done.failure
    assert not list(folder.iterdir())


def test_a_bag_without_a_file_is_refused_for_good(bag_writer, tmp_path):
    empty = tmp_path / "session/empty"
    empty.mkdir(parents=True)
    (empty / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    folder = tmp_path / "shards"
    folder.mkdir()
    done = convert_one(empty, folder, SETTINGS, lambda *_: None)
    assert (folder / f"{done.key}.refused.json").exists()


def converted_while(monkeypatch, bag_writer, tmp_path, owner, name, error):
    """Return (what became of a good bag while `owner.name` raises `error`, the folder, again)."""
    bag = bag_writer.moving_episode("play-0", 3)
    folder = tmp_path / "shards"
    folder.mkdir()

    def broken(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        done = convert_one(bag, folder, SETTINGS, lambda *_: None)
    left = list(folder.iterdir())
    return done, left, convert_one(bag, folder, SETTINGS, lambda *_: None)


@pytest.mark.parametrize("name", ["scan", "fetch"])
def test_a_read_error_that_passes_is_a_failure_of_the_bag_and_no_refusal(
    bag_writer, tmp_path, monkeypatch, name
):
    error = OSError(errno.EIO, "Input/output error")
    done, left, again = converted_while(monkeypatch, bag_writer, tmp_path, McapFile, name, error)
    assert (done.key, done.is_disk, left) == (None, False, [])
    assert "play-0 cannot be read (Input/output error): check the disk" in done.failure
    assert again.key is not None


def test_a_read_error_while_hashing_names_the_bag(bag_writer, tmp_path, monkeypatch):
    bag = bag_writer.moving_episode("play-0", 3)
    real = type(bag).stat

    def stat(self, **more):
        if self.suffix == ".mcap":
            raise OSError(errno.EIO, "Input/output error")
        return real(self, **more)

    monkeypatch.setattr(type(bag), "stat", stat)
    done = convert_one(bag, tmp_path, SETTINGS, lambda *_: None)
    assert (done.key, done.is_disk) == (None, False)
    assert "play-0 cannot be" in done.failure


def test_only_what_is_written_speaks_of_the_disk(bag_writer, tmp_path, monkeypatch):
    error = OSError(errno.ENOSPC, "No space left on device")
    done, _, again = converted_while(
        monkeypatch, bag_writer, tmp_path, shard_writer, "sync_file", error
    )
    assert (done.key, done.is_disk, done.failure) == (None, True, "No space left on device")
    assert again.key is not None


def test_an_error_that_nobody_foresaw_costs_its_bag_and_is_said(bag_writer, tmp_path, monkeypatch):
    done, left, again = converted_while(
        monkeypatch, bag_writer, tmp_path, bag_shard, "read_recording", TypeError("odd")
    )
    assert (done.key, done.is_disk, left) == (None, False, [])
    assert done.failure == "the converter failed on it (TypeError('odd')); leave it out"
    assert again.key is not None
